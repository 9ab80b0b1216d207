//! The epoch thread's part of building a view: start it, tap the inputs, let it join.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use catalog::{Object, ObjectId, ObjectKind};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use dataflow::{EpochInputs, Graph};
use delta::Delta;
use planner::ViewPlan;
use planner::statement::plan::CreatePlan;
use storage::StateId;
use tokio::sync::oneshot;

use super::ddl::operator_states;
use super::first_read::FirstRead;
use super::{Coordinator, epoch::dataflow_error};
use crate::command::{Command, DdlDone};
use crate::ddl::Exposed;
use crate::hydration::{
    EpochRecord, Hydration, HydrationCommand, KeptOperator, Leash, Progress, Reached, Tap, TapStart,
};
use crate::sinks::RunningSink;
use crate::{Error, ErrorKind, Result, recovery};

/// Waiting times before a build that failed for a reason outside, or because the store couldn't be read or written, begins again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A view that is being built.
pub(crate) struct Building {
    pub(crate) progress: Progress,
    plan: Arc<ViewPlan>,
    stage: Stage,
    /// Builds that have failed.
    failures: u32,
}

/// An operator inside of a running view, as a relation that a view being built reads.
pub(crate) struct ExposedOperator {
    /// The view being built.
    pub(super) reader: ObjectId,
    pub(super) kept: KeptOperator,
}

/// A build that waits until it can follow operators.
pub(crate) struct DeferredTap {
    pub(super) view: ObjectId,
    pub(super) relations: HashSet<ObjectId>,
    pub(super) reply: oneshot::Sender<TapStart>,
}

enum Stage {
    /// The checkpoint of this number empties its tables, then its thread starts, once all that it reads is built.
    Waiting { checkpoint: u64, graph: Box<Graph> },
    /// A thread builds it.
    Running { leash: Arc<Leash>, thread: JoinHandle<()> },
    /// It failed, and begins again then, if ever.
    Failed { again_at: Option<Instant> },
}

impl Building {
    /// Whether it counts among the builds that may run at the same time. One that waits for a broker that is away doesn't hold up others.
    fn takes_room(&self) -> bool {
        matches!(self.stage, Stage::Running { .. }) && self.progress.error.is_none()
    }
}

impl Coordinator {
    /// Begins to build a view in a graph beside the running one.
    pub(super) fn hydrate(&mut self, object: &Arc<Object>, plan: &ViewPlan, graph: Graph) -> Result<()> {
        // After a restart: a source goes on where it was even if only this view reads it, so its past must be known to end there.
        for id in &plan.inputs {
            if self.recovering && recovery::input(*id, &self.snapshot)?.is_some() {
                self.ensure_running_for(&[*id])?;
            }
        }
        let stage = self.cleared(object, graph);
        let building = Building { progress: Progress::default(), plan: Arc::new(plan.clone()), stage, failures: 0 };
        self.hydrating.insert(object.id, building);
        Ok(())
    }

    /// Empties the tables of a view, in which a build that was cut short may have left something.
    fn cleared(&mut self, object: &Object, graph: Graph) -> Stage {
        self.clear_states(object);
        self.pending.dirty = true;
        // Somebody waits: the next checkpoint is due at once.
        self.waiting.push(Box::new(|_| ()));
        Stage::Waiting { checkpoint: self.checkpoints.started + 1, graph: Box::new(graph) }
    }

    fn clear_states(&mut self, object: &Object) {
        if let ObjectKind::MaterializedView(view) = &object.kind {
            self.pending.changes.clear_state(StateId(view.state_id));
        }
        for id in operator_states(&object.kind).into_iter().flat_map(|states| states.values()) {
            self.pending.changes.clear_state(StateId(*id));
        }
    }

    /// Starts the threads of views whose tables are empty and whose inputs are built, the oldest first, as far as there is room for them.
    pub(super) fn start_builds(&mut self) {
        while let Some(view) = self.next_to_build() {
            if let Err(error) = self.start_build(view) {
                self.build_failed(view, &error);
            }
        }
    }

    fn next_to_build(&self) -> Option<ObjectId> {
        // One that has only to join, between two checkpoints, makes room for the next.
        let joins = |id: &ObjectId| self.ready.iter().any(|(view, _)| view == id);
        let running = self.hydrating.iter().filter(|(id, building)| building.takes_room() && !joins(id)).count();
        if running >= self.settings.concurrent_builds.max(1) {
            return None;
        }
        let startable = |building: &Building| match &building.stage {
            Stage::Waiting { checkpoint, .. } => {
                *checkpoint <= self.checkpoints.done
                    && building.plan.inputs.iter().all(|id| !self.hydrating.contains_key(id))
            }
            Stage::Running { .. } | Stage::Failed { .. } => false,
        };
        self.hydrating.iter().filter(|(_, building)| startable(building)).map(|(id, _)| *id).min()
    }

    fn start_build(&mut self, view: ObjectId) -> Result<()> {
        let (Some(building), Some(object)) = (self.hydrating.get_mut(&view), self.catalog.get(view)) else {
            return Ok(());
        };
        let stage = std::mem::replace(&mut building.stage, Stage::Failed { again_at: None });
        let Stage::Waiting { mut graph, .. } = stage else { return Err(Error::internal("a view is built twice")) };
        // What was left in its tables is gone in this one.
        graph.committed(self.snapshot.clone()).map_err(dataflow_error)?;
        let leash = Arc::new(Leash::of(&graph));
        let met = building.plan.root.met_inputs();
        let is_source = |id| self.catalog.get(id).is_some_and(|object| matches!(object.kind, ObjectKind::Source(_)));
        let hydration = Hydration {
            view: object.clone(),
            graph: *graph,
            reads: building.plan.inputs.iter().copied().collect(),
            met: met.iter().map(|input| input.relation).collect(),
            kept: building
                .plan
                .inputs
                .iter()
                .filter_map(|id| Some((*id, self.exposed.get(id)?.kept.clone())))
                .collect(),
            met_only_grow: met.iter().any(|input| input.append_only && !is_source(input.relation)),
            catalog: self.catalog.clone(),
            store: self.store.clone(),
            commands: self.commands.clone(),
            bell: self.bell.clone(),
            leash: leash.clone(),
            outside: self.outside.clone(),
            bounds: self.settings.input_bounds(),
        };
        building.stage = Stage::Running { leash, thread: self.outside.start_hydration(hydration)? };
        Ok(())
    }

    fn build_failed(&mut self, view: ObjectId, error: &Error) {
        let now = self.outside.now();
        let Some(building) = self.hydrating.get_mut(&view) else { return };
        self.taps.remove(&view);
        let name = self.catalog.get(view).map_or_else(String::new, |object| object.name.to_string());
        // A read that failed may succeed, and a disk have room again; what is wrong with the view itself stays wrong.
        let again = matches!(error.kind, ErrorKind::External | ErrorKind::Storage | ErrorKind::DiskFull);
        let pause = LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.saturating_pow(building.failures));
        building.failures += 1;
        let next = if again {
            tracing::warn!(view = %name, %error, "a view can't be built yet");
            "it is tried again by itself"
        } else {
            tracing::error!(view = %name, %error, "a view can't be built");
            "drop the view and create it again"
        };
        building.progress = Progress { rows: 0, kept_rows: 0, error: Some(format!("{error}; {next}")) };
        building.stage = Stage::Failed { again_at: again.then(|| now + pause) };
        self.publish();
    }

    /// When the next build that failed begins again.
    pub(super) fn next_build(&self) -> Option<Instant> {
        let again = |building: &Building| match building.stage {
            Stage::Failed { again_at } => again_at,
            Stage::Waiting { .. } | Stage::Running { .. } => None,
        };
        self.hydrating.values().filter_map(again).min()
    }

    /// Lets builds begin again whose pause is over.
    pub(super) fn build_again(&mut self) -> Result<()> {
        let now = self.outside.now();
        let due = |building: &Building| matches!(building.stage, Stage::Failed { again_at: Some(at) } if at <= now);
        let views: Vec<ObjectId> = self.hydrating.iter().filter(|(_, b)| due(b)).map(|(id, _)| *id).collect();
        for view in views {
            let (Some(object), Some(building)) = (self.catalog.get(view).cloned(), self.hydrating.get(&view)) else {
                continue;
            };
            let plan = building.plan.clone();
            let graph = self.attached_beside(&object, &plan)?;
            let stage = self.cleared(&object, graph);
            if let Some(building) = self.hydrating.get_mut(&view) {
                building.stage = stage;
            }
        }
        Ok(())
    }

    /// Ends the build of a view that is dropped, and leaves nothing of it.
    pub(super) fn forget_build(&mut self, object: &Object) {
        let Some(building) = self.hydrating.remove(&object.id) else { return };
        if let Stage::Running { leash, thread } = building.stage {
            leash.cut();
            self.end_later(thread);
        }
        self.taps.remove(&object.id);
        self.ready.retain(|(view, _)| *view != object.id);
        self.clear_states(object);
    }

    /// A thread has been told to end; it is waited for when the engine stops.
    pub(super) fn end_later(&mut self, thread: JoinHandle<()>) {
        self.ending.retain(|thread| !thread.is_finished());
        self.ending.push(thread);
    }

    /// Ends all threads that build views and write to sinks, for good. They may ask this thread something: that is taken, and not answered.
    pub(super) fn end_threads(&mut self, commands: &Receiver<Command>) {
        let mut threads = std::mem::take(&mut self.ending);
        threads.extend(self.sinks.values_mut().filter_map(RunningSink::end));
        for (_, building) in std::mem::take(&mut self.hydrating) {
            if let Stage::Running { leash, thread } = building.stage {
                leash.cut();
                threads.push(thread);
            }
        }
        self.taps.clear();
        self.deferred_taps.clear();
        for thread in threads {
            while !thread.is_finished() {
                match commands.recv_timeout(Duration::from_millis(5)) {
                    Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            if thread.join().is_err() {
                tracing::error!("a thread that builds a view or writes to a sink panicked");
            }
        }
    }

    /// A message from a building thread.
    pub(super) fn hydration(&mut self, command: HydrationCommand) {
        let told = match command {
            HydrationCommand::Positions { reply } => {
                let positions = self.inputs.iter().map(|(id, input)| (*id, input.positions.clone())).collect();
                let (watermarks, timestamp_us) = (self.watermarks.clone(), self.timestamp_us);
                reply.send(Reached { positions, watermarks, timestamp_us, published: self.published.load() }).is_ok()
            }
            HydrationCommand::Tap { view, relations, reply } => {
                self.tap(view, relations, reply);
                true
            }
            HydrationCommand::Progress { view, progress } => {
                if let Some(building) = self.hydrating.get_mut(&view) {
                    building.progress = progress;
                    self.publish();
                    self.start_builds();
                }
                true
            }
            HydrationCommand::Failed { view, error } => {
                self.build_failed(view, &error);
                self.start_builds();
                true
            }
            HydrationCommand::Ready { view, graph } => {
                if let Some(building) = self.hydrating.get(&view) {
                    self.build_rows.inputs += building.progress.rows;
                    self.build_rows.state += building.progress.kept_rows;
                    self.ready.push((view, *graph));
                    // What its thread has committed must be in the snapshot that its operators will read.
                    if self.in_flight.is_none() {
                        match self.adopt_snapshot() {
                            Ok(()) => self.join_hydrated(),
                            Err(error) => self.fail(error),
                        }
                    }
                    self.start_builds();
                }
                true
            }
        };
        if !told {
            tracing::debug!("a building thread has ended before it was told");
        }
    }

    /// From the next epoch on a build gets what it reads. What operators have put out so far is read off their state: then all of that must be
    /// in the store.
    pub(super) fn tap(&mut self, view: ObjectId, relations: HashSet<ObjectId>, reply: oneshot::Sender<TapStart>) {
        if !self.hydrating.contains_key(&view) || self.failure.is_some() {
            return;
        }
        let is_open = self.in_flight.is_some() || self.pending.dirty;
        if is_open && relations.iter().any(|id| self.exposed.contains_key(id)) {
            self.deferred_taps.push(DeferredTap { view, relations, reply });
            self.pending.dirty = true;
            self.waiting.push(Box::new(|_| ()));
            return;
        }
        let tap = Tap::new(relations, self.settings.input_bounds().tapped_bytes);
        let (records, waiting) = (tap.rest.clone(), tap.waiting.clone());
        self.taps.insert(view, tap);
        if reply.send(TapStart { published: self.published.load(), records, waiting }).is_err() {
            tracing::debug!("a building thread has ended before it was told");
        }
    }

    /// Makes a view that goes on from operators of running ones.
    pub(super) fn create_beside(
        &mut self,
        create: CreatePlan,
        past: FirstRead,
        exposed: Vec<Exposed>,
    ) -> Result<DdlDone> {
        let name = create.object.name.clone();
        // Nobody has it yet.
        let nobody = ObjectId(0);
        let numbers: Vec<ObjectId> = exposed.iter().map(|part| part.number).collect();
        let made = exposed.into_iter().try_for_each(|Exposed { number, view, operator }| {
            let states = self.graph.expose(number, view, &operator).map_err(dataflow_error)?;
            let kept = KeptOperator { operator, states };
            self.exposed.insert(number, ExposedOperator { reader: nobody, kept });
            Ok(())
        });
        let made = made.and_then(|()| self.create(create, past));
        match (&made, self.catalog.find(&name).map(|object| object.id)) {
            (Ok(_), Some(reader)) => {
                let parts = self.exposed.iter_mut().filter(|(number, _)| numbers.contains(number));
                parts.for_each(|(_, part)| part.reader = reader);
            }
            _ => self.conceal(nobody),
        }
        made
    }

    /// Nobody reads the operators any more that a view went on from, which is gone or has taken another's place. Their state is others', who go on.
    pub(super) fn conceal(&mut self, reader: ObjectId) {
        let numbers: Vec<ObjectId> =
            self.exposed.iter().filter(|(_, part)| part.reader == reader).map(|(number, _)| *number).collect();
        for number in numbers {
            self.exposed.remove(&number);
            self.graph.detach(number);
        }
    }

    /// Lets views that are built join the running graph. Only while no checkpoint is under way: what it is about to confirm is not theirs.
    pub(super) fn join_hydrated(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        for (view, graph) in std::mem::take(&mut self.ready) {
            if let Err(error) = self.join(view, graph) {
                self.fail(error);
                return;
            }
        }
        self.start_builds();
        self.make_indexes();
    }

    /// Goes on with indexes of views that are built, or gone.
    pub(super) fn make_indexes(&mut self) {
        for (view, planned_against, change, reply) in std::mem::take(&mut self.after_build) {
            if self.hydrating.contains_key(&view) {
                self.after_build.push((view, planned_against, change, reply));
            } else if self.catalog.get(view).is_some() {
                self.ddl(planned_against, change, reply);
            } else {
                let gone = Error::new(ErrorKind::UndefinedTable, "the view was dropped before its index could be made");
                super::ddl::answer(reply, Err(gone));
            }
        }
    }

    fn join(&mut self, view: ObjectId, mut graph: Graph) -> Result<()> {
        let Some(tap) = self.taps.remove(&view) else { return Ok(()) };
        while let Ok(record) = tap.rest.try_recv() {
            graph.step(record.into_inputs()).map_err(dataflow_error)?;
        }
        // Epochs in which only time has passed are not tapped.
        if graph.due().is_some_and(|due| due <= self.timestamp_us) {
            let inputs = EpochInputs {
                epoch: self.epoch,
                timestamp_us: self.timestamp_us,
                watermarks_before: self.watermarks.clone(),
                watermarks: self.watermarks.clone(),
                deltas: HashMap::new(),
            };
            graph.step(inputs).map_err(dataflow_error)?;
        }
        for state in self.graph.absorb(graph, false).map_err(dataflow_error)? {
            self.pending.changes.clear_state(state);
        }
        self.hydrating.remove(&view);
        recovery::put_hydrated(view, &mut self.pending.changes)?;
        self.pending.dirty = true;
        self.show(view);
        // Sinks that were made meanwhile begin with what is there.
        let sinks: Vec<ObjectId> = self.sinks.iter().filter(|(_, sink)| sink.from == view).map(|(id, _)| *id).collect();
        for sink in sinks {
            self.emit_contents(sink)?;
        }
        self.show_errors(view)?;
        let reads: Vec<ObjectId> = tap.relations.into_iter().collect();
        self.ensure_running_for(&reads)?;
        // Who sees that the view is built must also see the sources that have just been started for it: that they have more to give.
        self.show_soon();
        self.refresh_runtime();
        self.publish();
        Ok(())
    }

    /// Hands an epoch's inputs, and what it changed in stored relations, to the views being built.
    pub(super) fn feed_taps(&mut self, record: EpochRecord, outputs: &HashMap<ObjectId, Vec<Delta>>) {
        for tap in self.taps.values() {
            let mut deltas = HashMap::new();
            for id in &tap.relations {
                let stored = self.relations.contains_key(id) || self.exposed.contains_key(id);
                let changes = if stored { outputs.get(id) } else { record.deltas.get(id) };
                if let Some(changes) = changes {
                    deltas.insert(*id, changes.clone());
                }
            }
            let moved = record.watermarks != record.watermarks_before;
            if !deltas.is_empty() || moved {
                tap.send(EpochRecord { deltas, ..record.clone() });
            }
        }
    }
}
