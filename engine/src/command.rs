//! What the epoch thread is asked, by sessions and by the threads beside it.

use std::sync::Arc;

use catalog::ObjectId;
use crossbeam_channel::{Receiver, Sender, bounded};
use dataflow::OperatorStats;
use delta::{Delta, Epoch};
use tokio::sync::oneshot;

use crate::ddl::DdlChange;
use crate::hydration::HydrationCommand;
use crate::subscription::Subscription;
use crate::{Error, ErrorKind, Result};

/// Commands that wait for the epoch thread, at most. A full queue makes sessions wait; the bound is well above the number of
/// sessions that can have one statement each under way in a few milliseconds.
const QUEUED_COMMANDS: usize = 1_024;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// The closed list of what the epoch thread does beside taking input.
pub(crate) enum Command {
    /// Changes the catalog between two epochs.
    Ddl {
        /// The version of the catalog that the statement was planned against; another one is refused and planned again.
        planned_against: u64,
        /// What changes.
        change: Box<DdlChange>,
        /// Answered when the change is durable.
        reply: Reply<DdlDone>,
    },
    /// Changes tables' rows, all in one epoch.
    Write {
        /// The changes.
        write: Write,
        /// Answered when they are durable and every view shows them.
        reply: Reply<Epoch>,
    },
    /// From here on, all changes of a relation.
    Subscribe {
        /// The relation.
        relation: ObjectId,
        /// What it is called in messages.
        name: String,
        /// The subscription.
        reply: Reply<Subscription>,
    },
    /// What the operators of a view have done and hold.
    Operators {
        /// The view.
        relation: ObjectId,
        /// As of the last epoch.
        reply: Reply<Vec<OperatorStats>>,
    },
    /// A checkpoint is in the store, or could not be written.
    Committed {
        /// The last epoch that it covers.
        epoch: Epoch,
        /// Whether it is there.
        result: storage::Result<()>,
    },
    /// From a thread that builds a new view.
    Hydration(HydrationCommand),
    /// Finish the epoch under way, commit, stop.
    Shutdown {
        /// Answered when everything is durable.
        reply: Reply<()>,
    },
}

/// What a DDL statement answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct DdlDone {
    /// What the user should know.
    pub(crate) notices: Vec<String>,
}

/// Changes of tables that belong together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Write {
    /// By table: the rows taken away and added, as they were computed from `read_at`'s contents.
    pub(crate) deltas: Vec<(ObjectId, Delta)>,
    /// The epoch whose contents the statement saw.
    pub(crate) read_at: Epoch,
    /// The catalog's version that it was planned against.
    pub(crate) planned_against: u64,
}

/// The sending end of the epoch thread's queue.
#[derive(Clone)]
pub(crate) struct CommandSender {
    queue: Sender<Command>,
}

/// The epoch thread's queue.
pub(crate) fn command_channel() -> (CommandSender, Receiver<Command>) {
    let (queue, receiver) = bounded(QUEUED_COMMANDS);
    (CommandSender { queue }, receiver)
}

impl CommandSender {
    /// Sends from a thread that may wait. A command to an engine that has stopped has nobody left to answer it.
    pub(crate) fn send_from_thread(&self, command: Command) {
        if self.queue.send(command).is_err() {
            tracing::debug!("the epoch thread has ended before this command");
        }
    }

    /// Sends from where nothing may wait; a full queue is waited for on another thread.
    pub(crate) fn send_soon(&self, command: Command) {
        if let Err(error) = self.queue.try_send(command) {
            let queue = self.queue.clone();
            if let crossbeam_channel::TrySendError::Full(command) = error {
                let sent = std::thread::Builder::new().name("send".into()).spawn(move || queue.send(command).is_ok());
                if let Err(error) = sent {
                    tracing::warn!(%error, "a command could not be sent");
                }
            }
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Sends from an async task and waits for the answer.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let mut command = command(reply);
        loop {
            match self.queue.try_send(command) {
                Ok(()) => break,
                Err(crossbeam_channel::TrySendError::Full(back)) => {
                    command = back;
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                Err(crossbeam_channel::TrySendError::Disconnected(_)) => return Err(stopped()),
            }
        }
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::ShuttingDown, "the engine has stopped")
}

/// Something that many threads ring and one waits for.
#[derive(Clone)]
pub(crate) struct Doorbell(Sender<()>);

impl Doorbell {
    /// A bell, and where it is heard.
    pub(crate) fn new() -> (Self, Receiver<()>) {
        let (sender, receiver) = bounded(1);
        (Self(sender), receiver)
    }

    /// Rings. A bell that already rings goes on ringing.
    pub(crate) fn ring(&self) {
        if let Err(crossbeam_channel::TrySendError::Disconnected(())) = self.0.try_send(()) {
            tracing::trace!("nobody hears the doorbell any more");
        }
    }

    /// As a callback.
    pub(crate) fn callback(&self) -> Arc<dyn Fn() + Send + Sync> {
        let bell = self.clone();
        Arc::new(move || bell.ring())
    }
}
