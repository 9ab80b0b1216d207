//! The epoch thread: it alone changes anything.
//!
//! It waits for input, commands or a deadline; runs an epoch when there is something to compute ([`epoch`]); hands checkpoints to the
//! commit thread ([`checkpoint`]); and changes the catalog between epochs ([`ddl`]). Everything that it decides from a clock (an
//! epoch's timestamp, an idle partition) becomes part of the epoch's recorded inputs.

mod checkpoint;
mod ddl;
mod epoch;
mod hydrate;
mod writes;

pub(crate) use checkpoint::storage_error;
pub(crate) use ddl::Installed;
pub(crate) use epoch::{dataflow_error, delta_error};

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{Catalog, ObjectId};
use connectors::DeadLetter;
use crossbeam_channel::{Receiver, select};
use dataflow::{Graph, PublishedView};
use delta::Epoch;
use parking_lot::Mutex;
use storage::{ChangeSet, Snapshot, Store};

use crate::command::{Command, CommandSender, Doorbell, Reply, Write};
use crate::commit::Committer;
use crate::dead_letters::DeadLetters;
use crate::hydration::{Progress, Tap};
use crate::inputs::{Input, InputCounters, Inputs};
use crate::published::{Published, PublishedCell};
use crate::runtime::Runtime;
use crate::sinks::RunningSink;
use crate::subscription::Subscriber;
use crate::{Error, ErrorKind, Result, Settings};

/// The longest that the thread sleeps when nothing is due: status that others read is refreshed this often.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How often others are let see how things are.
const REFRESH: Duration = Duration::from_millis(200);

/// The epoch thread's state.
pub(crate) struct Coordinator {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<dyn Store>,
    /// What the last finished commit left.
    pub(crate) snapshot: Arc<dyn Snapshot>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) graph: Graph,
    pub(crate) inputs: Inputs,
    pub(crate) sinks: HashMap<ObjectId, RunningSink>,
    pub(crate) subscribers: HashMap<ObjectId, Vec<Subscriber>>,
    pub(crate) taps: HashMap<ObjectId, Tap>,
    pub(crate) hydrating: HashMap<ObjectId, Progress>,
    /// What readers get of each stored relation; only what an epoch touched is replaced.
    pub(crate) relations: imbl::HashMap<ObjectId, PublishedView>,

    /// Counts changes of the catalog since the start.
    pub(crate) catalog_version: u64,
    /// Names this data directory for good: part of sinks' identities.
    pub(crate) server_id: String,
    pub(crate) dead_letters: DeadLetters,
    /// Changes of the catalog that wait for a commit; no epoch runs meanwhile.
    pub(crate) deferred: Vec<(u64, crate::ddl::DdlChange, Reply<crate::command::DdlDone>)>,
    /// Views that are built and wait to join.
    pub(crate) ready: Vec<(ObjectId, Graph)>,
    /// Queries that somebody follows, with what they read.
    pub(crate) followed_inputs: HashMap<ObjectId, Vec<ObjectId>>,
    pub(crate) followed: u32,
    /// The last epoch in which a write changed a table.
    pub(crate) table_changed: HashMap<ObjectId, Epoch>,
    /// A step is wanted although nothing arrived: a view was made.
    pub(crate) wants_step: bool,

    pub(crate) epoch: Epoch,
    pub(crate) timestamp_us: i64,
    pub(crate) watermarks: HashMap<ObjectId, i64>,
    /// Counters of sources that don't run at the moment.
    pub(crate) counters: HashMap<ObjectId, InputCounters>,

    /// Writes that wait for the next epoch.
    pub(crate) writes: VecDeque<(Write, Reply<Epoch>)>,
    /// What to do when the next checkpoint is durable.
    pub(crate) waiting: Vec<Waiter>,
    /// Outbox entries, dead letters and catalog changes of epochs since the last checkpoint.
    pub(crate) pending: Pending,
    /// The checkpoint in the commit thread's hands.
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) last_checkpoint: Instant,

    pub(crate) committer: Committer,
    pub(crate) published: Arc<PublishedCell>,
    pub(crate) runtime: Arc<Mutex<Runtime>>,
    pub(crate) commands: CommandSender,
    pub(crate) bell: Doorbell,
    pub(crate) refreshed: Instant,
    pub(crate) shown: bool,
    pub(crate) stopping: Vec<Reply<()>>,
    pub(crate) failure: Option<Error>,
}

/// Answered when a checkpoint is durable.
pub(crate) type Waiter = Box<dyn FnOnce(Result<()>) + Send>;

/// A checkpoint under way.
pub(crate) struct InFlight {
    pub(crate) waiters: Vec<Waiter>,
}

/// Changes beside operator state that the next checkpoint takes along.
#[derive(Default)]
pub(crate) struct Pending {
    pub(crate) changes: ChangeSet,
    /// Records that could not be decoded, by source.
    pub(crate) dead_letters: Vec<(ObjectId, DeadLetter)>,
    /// Whether any epoch ran or anything else changed.
    pub(crate) dirty: bool,
    /// The checkpoint must be on stable storage: a write or a sink waits for it.
    pub(crate) durable: bool,
    /// When sinks' changes began to wait for a commit.
    pub(crate) outbox_since: Option<Instant>,
}

impl Coordinator {
    /// Runs until it is told to stop, or a commit fails for good.
    pub(crate) fn run(mut self, commands: &Receiver<Command>, bell: &Receiver<()>) {
        while !self.has_stopped() {
            let timeout = self.timeout();
            select! {
                recv(commands) -> command => match command {
                    Ok(command) => self.handle(command),
                    Err(_) => return,
                },
                recv(bell) -> _ => {}
                default(timeout) => {}
            }
            for command in commands.try_iter() {
                self.handle(command);
            }
            if let Err(error) = self.work() {
                self.fail(error);
            }
        }
        self.stop();
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Ddl { planned_against, change, reply } => self.ddl(planned_against, *change, reply),
            Command::Write { write, reply } => self.writes.push_back((write, reply)),
            Command::Subscribe { relation, name, reply } => self.subscribe(relation, &name, reply),
            Command::Committed { epoch, result } => self.committed(epoch, result),
            Command::Hydration(command) => self.hydration(command),
            Command::Shutdown { reply } => self.stopping.push(reply),
        }
    }

    /// One round: an epoch if there is something to compute, a checkpoint if one is due.
    fn work(&mut self) -> Result<()> {
        if self.failure.is_some() {
            self.refuse_writes();
            return Ok(());
        }
        while self.wants_epoch() && !self.must_wait_for_commit() {
            self.run_epoch()?;
            self.checkpoint_if_due()?;
            if !self.commands_are_empty() {
                break;
            }
        }
        self.checkpoint_if_due()?;
        self.refresh_runtime();
        Ok(())
    }

    fn commands_are_empty(&self) -> bool {
        self.commands.is_empty()
    }

    fn timeout(&self) -> Duration {
        if self.wants_epoch() && !self.must_wait_for_commit() {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let mut at = now + HEARTBEAT;
        if let Some(due) = self.checkpoint_due() {
            at = at.min(due);
        }
        for input in self.inputs.values() {
            if let Some(deadline) = input.watermark.as_ref().and_then(|w| w.next_deadline(now)) {
                at = at.min(deadline);
            }
        }
        at.saturating_duration_since(now)
    }

    fn subscribe(&mut self, relation: ObjectId, name: &str, reply: Reply<crate::subscription::Subscription>) {
        let answer = if self.catalog.get(relation).is_none() {
            Err(Error::new(ErrorKind::UndefinedTable, format!("relation \"{name}\" does not exist")))
        } else {
            let (subscriber, subscription) = crate::subscription::subscription(self.published.load());
            self.subscribers.entry(relation).or_default().push(subscriber);
            self.ensure_running_for(&[relation]).map(|()| subscription)
        };
        if reply.send(answer).is_err() {
            tracing::debug!("the subscriber has gone before it was told");
        }
    }

    /// Readers see the epoch just computed.
    pub(crate) fn publish(&mut self) {
        self.published.publish(Published {
            epoch: self.epoch,
            timestamp_us: self.timestamp_us,
            catalog: self.catalog.clone(),
            catalog_version: self.catalog_version,
            snapshot: self.snapshot.clone(),
            relations: self.relations.clone(),
            hydrating: Arc::new(self.hydrating.clone()),
            positions: Arc::new(self.inputs.iter().map(|(id, input)| (*id, input.positions.clone())).collect()),
            watermarks: Arc::new(self.watermarks.clone()),
        });
    }

    pub(super) fn graph_settings(&self) -> dataflow::GraphSettings {
        crate::engine::graph_settings(&self.settings)
    }

    /// What changed is worth to be seen at once: a source that was just started, say.
    pub(super) fn show_soon(&mut self) {
        self.shown = false;
    }

    /// Lets others see how things are.
    fn refresh_runtime(&mut self) {
        let now = Instant::now();
        if self.shown
            && now.duration_since(self.refreshed) < REFRESH
            && !self.inputs.values().any(Input::has_just_finished)
        {
            return;
        }
        self.refreshed = now;
        self.shown = true;
        let inputs = self.inputs.iter_mut().map(|(id, input)| (*id, input.view())).collect();
        let sinks = self.sinks.iter().map(|(id, sink)| (*id, sink.view())).collect();
        let mut runtime = self.runtime.lock();
        runtime.inputs = inputs;
        runtime.sinks = sinks;
        runtime.operators = self.graph.operators();
        runtime.state_bytes = self.graph.state_bytes();
        runtime.store = self.store.stats();
        runtime.commit_trouble = self.committer.trouble().lock().clone();
        runtime.failure = self.failure.as_ref().map(ToString::to_string);
    }

    /// What nobody can go on from: the epoch thread takes no input any more, readers keep the last published epoch.
    pub(crate) fn fail(&mut self, error: Error) {
        if self.failure.is_some() {
            return;
        }
        tracing::error!(%error, epoch = self.epoch.0, "the engine stops taking input");
        for waiter in self.waiting.drain(..).chain(self.in_flight.take().into_iter().flat_map(|f| f.waiters)) {
            waiter(Err(error.clone()));
        }
        self.failure = Some(error);
        self.refuse_writes();
    }

    fn refuse_writes(&mut self) {
        let Some(error) = &self.failure else { return };
        for (_, reply) in self.writes.drain(..) {
            if reply.send(Err(error.clone())).is_err() {
                tracing::debug!("a writer has gone before it was refused");
            }
        }
    }

    fn has_stopped(&self) -> bool {
        !self.stopping.is_empty()
            && self.in_flight.is_none()
            && (self.failure.is_some() || !(self.pending.dirty || !self.writes.is_empty()))
    }

    fn stop(mut self) {
        self.inputs.clear();
        self.sinks.clear();
        self.subscribers.clear();
        let result = self.failure.take();
        for reply in self.stopping.drain(..) {
            let answer = result.clone().map_or(Ok(()), Err);
            if reply.send(answer).is_err() {
                tracing::debug!("nobody waits for the engine to stop");
            }
        }
    }
}
