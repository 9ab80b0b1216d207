//! The epoch thread: it alone changes anything.
//!
//! It waits for input, commands or a deadline; runs an epoch when there is something to compute ([`epoch`]); hands checkpoints to the
//! commit thread ([`checkpoint`]); and changes the catalog between epochs ([`ddl`]). Everything that it decides from a clock (an
//! epoch's timestamp, an idle partition) becomes part of the epoch's recorded inputs.

mod alter;
mod checkpoint;
mod ddl;
mod epoch;
mod first_read;
mod hydrate;
#[cfg(test)]
mod replay;
mod restored;
#[cfg(test)]
mod simulation;
mod sinks;
mod writes;

pub(crate) use checkpoint::storage_error;
use ddl::Installed;
pub(crate) use ddl::{catalog_error, layout};
pub(crate) use epoch::{dataflow_error, delta_error};
use first_read::FirstRead;
use hydrate::{Building, DeferredTap, ExposedOperator};

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use catalog::{Catalog, Object, ObjectId, ObjectKind};
use connectors::DeadLetter;
use crossbeam_channel::{Receiver, select};
use dataflow::{Graph, PublishedView, Workers};
use delta::Epoch;
use parking_lot::Mutex;
use planner::ViewPlan;
use storage::{ChangeSet, Snapshot, Store};

use crate::command::{Command, CommandSender, Doorbell, Reply, Write};
use crate::commit::Committer;
use crate::dead_letters::DeadLetters;
use crate::hydration::Tap;
use crate::inputs::{Input, Inputs};
use crate::outside::Outside;
use crate::panics::contained;
use crate::published::{Published, PublishedCell};
use crate::recovery::{self, SavedEpoch};
use crate::runtime::{BuildRows, Runtime};
use crate::sinks::RunningSink;
use crate::subscription::Subscriber;
use crate::{Error, ErrorKind, Result, Settings};

/// The longest that the thread sleeps when nothing is due: status that others read is refreshed this often.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// A clock that is so far behind the last epoch was set back: two epochs in one microsecond are none of its business.
const CLOCK_SET_BACK_US: i64 = 1_000_000;

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
    pub(crate) hydrating: BTreeMap<ObjectId, Building>,
    /// Threads of views and sinks that have been dropped, on their way to their end.
    pub(crate) ending: Vec<JoinHandle<()>>,
    /// What readers get of each stored relation; only what an epoch touched is replaced.
    pub(crate) relations: imbl::HashMap<ObjectId, PublishedView>,
    /// What the expressions of views fail on, as far as they do.
    pub(crate) errors: imbl::HashMap<ObjectId, PublishedView>,

    /// Counts changes of the catalog since the start.
    pub(crate) catalog_version: u64,
    /// Names this data directory for good: part of sinks' identities.
    pub(crate) server_id: String,
    pub(crate) dead_letters: DeadLetters,
    /// Changes of the catalog that wait for a commit; no epoch runs meanwhile.
    pub(crate) deferred: Vec<(u64, crate::ddl::DdlChange, Reply<crate::command::DdlDone>)>,
    /// Builds that begin to follow operators when all that these have is in the store; no epoch runs meanwhile.
    pub(crate) deferred_taps: Vec<DeferredTap>,
    /// Operators of running views that views being built go on from, by the numbers that they have there.
    pub(crate) exposed: BTreeMap<ObjectId, ExposedOperator>,
    /// Rows that builds which are done have read.
    pub(crate) build_rows: BuildRows,
    /// Indexes that wait for their views to be built.
    pub(crate) after_build: Vec<(ObjectId, u64, crate::ddl::DdlChange, Reply<crate::command::DdlDone>)>,
    /// Threads of all graphs in which views are built; made for the first.
    pub(crate) build_workers: Option<Workers>,
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

    /// Relations over topics and files that are being read for the first time.
    pub(crate) first_reads: HashMap<ObjectId, FirstRead>,
    /// What the store has is being put to work.
    pub(crate) recovering: bool,

    /// Writes that wait for the next epoch.
    pub(crate) writes: VecDeque<(Write, Reply<Epoch>)>,
    /// What to do when the next checkpoint is durable.
    pub(crate) waiting: Vec<Waiter>,
    /// Outbox entries, dead letters and catalog changes of epochs since the last checkpoint.
    pub(crate) pending: Pending,
    /// The checkpoint in the commit thread's hands.
    pub(crate) in_flight: Option<InFlight>,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) last_checkpoint: Instant,

    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) committer: Committer,
    pub(crate) published: Arc<PublishedCell>,
    pub(crate) runtime: Arc<Mutex<Runtime>>,
    pub(crate) commands: CommandSender,
    pub(crate) bell: Doorbell,
    pub(crate) refreshed: Instant,
    pub(crate) shown: bool,
    /// Of which state of the graph the operators' figures were shown last.
    shown_graph: Option<GraphState>,
    pub(crate) stopping: Vec<Reply<()>>,
    pub(crate) failure: Option<Error>,
}

/// Answered when a checkpoint is durable.
pub(crate) type Waiter = Box<dyn FnOnce(Result<()>) + Send>;

/// A checkpoint under way.
pub(crate) struct InFlight {
    pub(crate) waiters: Vec<Waiter>,
}

/// How many checkpoints there have been since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checkpoints {
    pub(crate) started: u64,
    pub(crate) done: u64,
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

/// As long as all of this is the same, so are the operators and their state.
#[derive(Clone, Copy, PartialEq, Eq)]
struct GraphState {
    epoch: Epoch,
    catalog_version: u64,
    checkpoints: u64,
    building: usize,
    followed: (u32, usize),
}

/// What a coordinator begins with.
pub(crate) struct Parts {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) snapshot: Arc<dyn Snapshot>,
    pub(crate) saved: SavedEpoch,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) server_id: String,
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) committer: Committer,
    pub(crate) published: Arc<PublishedCell>,
    pub(crate) runtime: Arc<Mutex<Runtime>>,
    pub(crate) commands: CommandSender,
    pub(crate) bell: Doorbell,
}

impl Coordinator {
    pub(crate) fn new(parts: Parts) -> Result<Self> {
        let graph_settings = crate::engine::graph_settings(&parts.settings);
        Ok(Self {
            graph: Graph::new(graph_settings, parts.snapshot.clone()).map_err(dataflow_error)?,
            dead_letters: DeadLetters::open(&parts.snapshot)?,
            settings: parts.settings,
            store: parts.store,
            snapshot: parts.snapshot,
            catalog: parts.catalog,
            inputs: Inputs::new(),
            sinks: HashMap::new(),
            subscribers: HashMap::new(),
            taps: HashMap::new(),
            hydrating: BTreeMap::new(),
            ending: Vec::new(),
            relations: imbl::HashMap::new(),
            errors: imbl::HashMap::new(),
            catalog_version: 1,
            server_id: parts.server_id,
            deferred: Vec::new(),
            deferred_taps: Vec::new(),
            exposed: BTreeMap::new(),
            build_rows: BuildRows::default(),
            after_build: Vec::new(),
            build_workers: None,
            ready: Vec::new(),
            followed_inputs: HashMap::new(),
            followed: 0,
            table_changed: HashMap::new(),
            wants_step: false,
            epoch: parts.saved.epoch,
            timestamp_us: parts.saved.timestamp_us,
            watermarks: HashMap::new(),
            first_reads: HashMap::new(),
            recovering: false,
            writes: VecDeque::new(),
            waiting: Vec::new(),
            pending: Pending::default(),
            in_flight: None,
            checkpoints: Checkpoints::default(),
            last_checkpoint: parts.outside.now(),
            committer: parts.committer,
            published: parts.published,
            runtime: parts.runtime,
            commands: parts.commands,
            bell: parts.bell,
            refreshed: parts.outside.now(),
            outside: parts.outside,
            shown: false,
            shown_graph: None,
            stopping: Vec::new(),
            failure: None,
        })
    }

    /// Puts to work what the store has: objects in the order in which they were made, with the plans of views.
    pub(crate) fn recover(&mut self, objects: &[(Arc<Object>, Option<ViewPlan>)]) -> Result<()> {
        self.drop_temporary()?;
        self.recovering = true;
        let mut otherwise = Vec::new();
        for (object, plan) in objects {
            let is_view = matches!(object.kind, ObjectKind::MaterializedView(_));
            let how = match is_view && !recovery::is_hydrated(object.id, &self.snapshot)? {
                true => Installed::Unfinished,
                false => Installed::Recovered,
            };
            self.install(object, plan.as_ref(), how)?;
            if ddl::is_planned_otherwise(&self.graph, object.id) {
                otherwise.push(object.name.to_string());
            }
        }
        if !otherwise.is_empty() {
            return Err(ddl::planned_otherwise(&otherwise));
        }
        self.recovering = false;
        self.publish();
        Ok(())
    }

    /// Whoever followed these views, or was building them to take the place of others, has gone with the engine.
    fn drop_temporary(&mut self) -> Result<()> {
        for id in crate::ddl::temporary(&self.catalog) {
            let Some(object) = self.catalog.get(id).cloned() else { continue };
            self.drop_object(id)?;
            // It was not put to work: what only it has is known by the catalog alone.
            let kept: std::collections::BTreeSet<u32> =
                self.catalog.objects().flat_map(|o| alter::states_of(o)).collect();
            for state in alter::states_of(&object).filter(|state| !kept.contains(state)) {
                self.pending.changes.clear_state(storage::StateId(state));
            }
            self.pending.dirty = true;
        }
        Ok(())
    }

    /// Runs until it is told to stop, or a commit fails for good.
    pub(crate) fn run(mut self, commands: &Receiver<Command>, bell: &Receiver<()>) {
        if let Err(error) = contained("the epoch thread", || self.catch_up(commands)) {
            self.fail(error);
        }
        while !self.has_stopped() {
            let timeout = self.timeout();
            let first = select! {
                recv(commands) -> command => match command {
                    Ok(command) => Some(command),
                    Err(_) => return,
                },
                recv(bell) -> _ => None,
                default(timeout) => None,
            };
            let round = contained("the epoch thread", || {
                for command in first.into_iter().chain(commands.try_iter()) {
                    self.handle(command);
                }
                self.work()
            });
            if let Err(error) = round {
                self.fail(error);
            }
        }
        self.stop(commands);
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Ddl { planned_against, change, reply } => self.ddl(planned_against, *change, reply),
            Command::Write { write, reply } => match self.no_room() {
                None => self.writes.push_back((write, reply)),
                Some(error) => {
                    if reply.send(Err(error)).is_err() {
                        tracing::debug!("a writer has gone before it was refused");
                    }
                }
            },
            Command::Subscribe { relation, name, reply } => self.subscribe(relation, &name, reply),
            Command::Operators { relation, reply } => {
                let mut operators = self.graph.operators();
                operators.retain(|operator| operator.relations.contains(&relation));
                if reply.send(Ok(operators)).is_err() {
                    tracing::debug!("the session has gone before its EXPLAIN was answered");
                }
            }
            Command::Committed { epoch, result } => self.committed(epoch, result),
            Command::Hydration(command) => self.hydration(command),
            Command::Shutdown { reply } => {
                self.committer.give_up();
                self.stopping.push(reply);
            }
        }
    }

    /// While a commit waits for room on the disk, nothing more is promised to anybody.
    pub(super) fn no_room(&self) -> Option<Error> {
        let trouble = self.committer.trouble()?;
        Some(
            Error::new(ErrorKind::DiskFull, "could not write: the disk is full")
                .with_detail(trouble)
                .with_hint("make room; reading goes on meanwhile"),
        )
    }

    /// One round: an epoch if there is something to compute, a checkpoint if one is due.
    fn work(&mut self) -> Result<()> {
        if self.failure.is_some() {
            self.refuse_writes();
            return Ok(());
        }
        self.build_again()?;
        while self.epoch_if_wanted()? {
            self.checkpoint_if_due()?;
            if !self.commands_are_empty() {
                break;
            }
        }
        self.checkpoint_if_due()?;
        self.end_first_reads();
        self.refresh_runtime();
        Ok(())
    }

    /// Runs an epoch if there is something to compute and nothing to wait for; whether it did.
    fn epoch_if_wanted(&mut self) -> Result<bool> {
        let wanted = self.wants_epoch() && !self.must_wait();
        if wanted {
            self.run_epoch()?;
        }
        Ok(wanted)
    }

    fn commands_are_empty(&self) -> bool {
        self.commands.is_empty()
    }

    fn timeout(&self) -> Duration {
        if self.wants_epoch() && !self.must_wait() {
            return Duration::ZERO;
        }
        let now = self.outside.now();
        let mut at = now + HEARTBEAT;
        if let Some(left) = self.due_in() {
            // An epoch that is due may have to wait for something else.
            at = at.min(now + left.clamp(Duration::from_millis(1), HEARTBEAT));
        }
        for due in [self.checkpoint_due(), self.next_build()].into_iter().flatten() {
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
        let known = self.catalog.get(relation).is_some() || self.followed_inputs.contains_key(&relation);
        let answer = if !known {
            Err(Error::new(ErrorKind::UndefinedTable, format!("relation \"{name}\" does not exist")))
        } else {
            let columns = self.catalog.get(relation).map(|object| object.columns.len());
            let (subscriber, subscription) =
                crate::subscription::subscription(self.published.load(), columns, self.settings.subscriber_bytes);
            self.subscribers.entry(relation).or_default().push(subscriber);
            self.ensure_running_for(&[relation]).map(|()| subscription)
        };
        if reply.send(answer).is_err() {
            tracing::debug!("the subscriber has gone before it was told");
        }
    }

    /// Readers see the epoch just computed.
    pub(crate) fn publish(&mut self) {
        let reading_first = self.reading_first();
        self.published.publish(Published {
            epoch: self.epoch,
            timestamp_us: self.timestamp_us,
            catalog: self.catalog.clone(),
            catalog_version: self.catalog_version,
            snapshot: self.snapshot.clone(),
            relations: self.relations.clone(),
            errors: self.errors.clone(),
            hydrating: Arc::new(self.hydrating.iter().map(|(id, building)| (*id, building.progress.clone())).collect()),
            reading_first,
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
        let now = self.outside.now();
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
        let clock_behind_us = self.clock_behind_us();
        let mut runtime = self.runtime.lock();
        if clock_behind_us >= CLOCK_SET_BACK_US && runtime.clock_behind_us < CLOCK_SET_BACK_US {
            tracing::warn!(
                seconds = clock_behind_us / 1_000_000,
                "the clock was set back: now() stands still for so long"
            );
        }
        runtime.clock_behind_us = clock_behind_us;
        runtime.inputs = inputs;
        runtime.sinks = sinks;
        let graph = GraphState {
            epoch: self.epoch,
            catalog_version: self.catalog_version,
            checkpoints: self.checkpoints.done,
            building: self.hydrating.len(),
            followed: (self.followed, self.followed_inputs.len()),
        };
        // An engine of a thousand views that has nothing to do looks at none of them.
        if self.shown_graph.replace(graph) != Some(graph) {
            runtime.operators = self.graph.operators();
            runtime.state_bytes = self.graph.state_bytes();
        }
        runtime.build_rows = self.build_rows;
        runtime.store = self.store.stats();
        runtime.commit_trouble = self.committer.trouble();
        runtime.failure = self.failure.as_ref().map(ToString::to_string);
    }

    /// How far the clock is behind the last epoch's time.
    fn clock_behind_us(&self) -> i64 {
        self.outside.now_us().map_or(0, |now_us| self.timestamp_us.saturating_sub(now_us).max(0))
    }

    /// What nobody can go on from: the epoch thread takes no input any more, readers keep the last published epoch.
    pub(crate) fn fail(&mut self, error: Error) {
        if self.failure.is_some() {
            return;
        }
        tracing::error!(%error, epoch = self.epoch.0, "the engine stops taking input");
        // Whoever is told of it finds the engine not ready.
        self.runtime.lock().failure = Some(error.to_string());
        for waiter in self.waiting.drain(..).chain(self.in_flight.take().into_iter().flat_map(|f| f.waiters)) {
            waiter(Err(error.clone()));
        }
        self.deferred_taps.clear();
        let indexes = self.after_build.drain(..).map(|(_, _, _, reply)| reply);
        for reply in self.deferred.drain(..).map(|(_, _, reply)| reply).chain(indexes) {
            ddl::answer(reply, Err(error.clone()));
        }
        // Nothing else is looked at any more: what it was on may be half done.
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
            && (self.failure.is_some() || !self.pending.dirty && self.writes.is_empty())
    }

    fn stop(mut self, commands: &Receiver<Command>) {
        self.end_threads(commands);
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
