//! The thread that commits checkpoints, one at a time, beside the epochs that go on meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use delta::Epoch;
use parking_lot::Mutex;
use storage::{ChangeSet, Durability, Store};

use crate::command::{Command, CommandSender};
use crate::panics;

/// How long the thread waits before it tries a commit again that found the disk full.
const FULL_DISK_RETRY: Duration = Duration::from_secs(1);

/// A checkpoint on its way to the store.
pub(crate) struct Checkpoint {
    /// The last epoch that it covers.
    pub(crate) epoch: Epoch,
    /// All that changed since the checkpoint before.
    pub(crate) changes: ChangeSet,
    /// What must hold when it is done.
    pub(crate) durability: Durability,
}

/// Hands checkpoints to the thread; at most one is under way.
pub(crate) struct Committer {
    queue: Option<Sender<Checkpoint>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    trouble: Mutex<Option<String>>,
    give_up: AtomicBool,
}

impl Committer {
    /// Starts the thread; each result comes back as [`Command::Committed`].
    pub(crate) fn start(store: Arc<dyn Store>, commands: CommandSender) -> std::io::Result<Self> {
        // One checkpoint is in the thread's hands at most, so the queue never holds a second.
        let (queue, receiver) = bounded(1);
        let shared = Arc::new(Shared::default());
        let shown = shared.clone();
        let thread = std::thread::Builder::new()
            .name("commit".into())
            .spawn(move || run(&*store, &receiver, &commands, &shown))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), shared })
    }

    /// Without a thread: whoever holds the other end carries commits out one by one.
    #[cfg(test)]
    pub(crate) fn by_hand() -> (Self, Hand) {
        let (queue, receiver) = bounded(1);
        let shared = Arc::new(Shared::default());
        (
            Self { queue: Some(queue), thread: None, shared: shared.clone() },
            Hand { queue: receiver, shared, tried: None },
        )
    }

    /// Starts a commit. The caller waits for its [`Command::Committed`] before the next one.
    pub(crate) fn commit(&self, checkpoint: Checkpoint) {
        let queue = self.queue.as_ref().expect("the committer is stopped after the last commit");
        queue.send(checkpoint).expect("the commit thread lives as long as its queue");
    }

    /// Why the commit under way can't finish, such as a full disk.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.shared.trouble.lock().clone()
    }

    /// The engine stops: a commit that finds the disk full fails instead of waiting for room.
    pub(crate) fn give_up(&self) {
        self.shared.give_up.store(true, Ordering::Release);
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the commit thread panicked");
        }
    }
}

fn run(store: &dyn Store, queue: &Receiver<Checkpoint>, commands: &CommandSender, shared: &Shared) {
    while let Ok(checkpoint) = queue.recv() {
        let started = Instant::now();
        let result = commit(store, &checkpoint, shared);
        metrics::histogram!("millrace_commit_seconds").record(started.elapsed().as_secs_f64());
        commands.send_from_thread(Command::Committed { epoch: checkpoint.epoch, result });
    }
}

/// Carries commits out when a test says so.
#[cfg(test)]
pub(crate) struct Hand {
    queue: Receiver<Checkpoint>,
    shared: Arc<Shared>,
    /// The one that has found the disk full.
    tried: Option<Checkpoint>,
}

#[cfg(test)]
impl Hand {
    /// Whether there is something to do.
    pub(crate) fn has_work(&self) -> bool {
        self.tried.is_some() || !self.queue.is_empty()
    }

    /// Tries the commit that waits, once; what the epoch thread is told, unless the disk was full.
    pub(crate) fn step(&mut self, store: &dyn Store) -> Option<Command> {
        let checkpoint = self.tried.take().or_else(|| self.queue.try_recv().ok())?;
        match attempt(store, &checkpoint, &self.shared) {
            Some(result) => Some(Command::Committed { epoch: checkpoint.epoch, result }),
            None => {
                self.tried = Some(checkpoint);
                None
            }
        }
    }
}

/// Commits, waiting for room as long as the disk is full: the engine takes no input meanwhile, readers go on.
fn commit(store: &dyn Store, checkpoint: &Checkpoint, shared: &Shared) -> storage::Result<()> {
    loop {
        if let Some(result) = attempt(store, checkpoint, shared) {
            return result;
        }
        std::thread::sleep(FULL_DISK_RETRY);
    }
}

/// Tries to commit; `None` when there is no room and it shall be tried again.
fn attempt(store: &dyn Store, checkpoint: &Checkpoint, shared: &Shared) -> Option<storage::Result<()>> {
    let tried = catch_unwind(AssertUnwindSafe(|| store.commit(checkpoint.changes.clone(), checkpoint.durability)));
    let tried = tried.unwrap_or_else(|panic| {
        let detail = format!("the commit panicked: {}", panics::message(&*panic));
        Err(storage::Error::Uncertain { detail })
    });
    match tried {
        Err(storage::Error::Full { .. }) if !shared.give_up.load(Ordering::Acquire) => {
            let text = "the disk is full: input waits until there is room".to_owned();
            if shared.trouble.lock().replace(text).is_none() {
                tracing::error!(epoch = checkpoint.epoch.0, "the disk is full: input waits until there is room");
            }
            None
        }
        result => {
            if shared.trouble.lock().take().is_some() && result.is_ok() {
                tracing::info!("there is room on the disk again");
            }
            Some(result)
        }
    }
}
