//! Building a new view beside the running graph: a private graph reads the past, catches up, and joins between two epochs.
//!
//! Sources are read again from their start, by offset, until the gap to the running graph is small; tables and views are read from
//! one published epoch. From that epoch on the running graph's inputs are tapped, so that nothing is missed and nothing comes
//! twice. Running views don't wait, unless the tap is full.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use catalog::{Catalog, Object, ObjectId};
use connectors::{Health, Positions, SourceBatch, batch_channel_of};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use dataflow::{EpochInputs, Graph, read_output};
use delta::{Delta, Epoch};
use parking_lot::Mutex;
use planner::Node;
use storage::{Durability, StateId, Store};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::command::{Command, CommandSender, Doorbell};
use crate::coordinator::{dataflow_error, storage_error};
use crate::inputs::{SavedInput, external, spec, watermark_tracker};
use crate::outside::Outside;
use crate::panics::contained;
use crate::planted::{Bug, is_planted};
use crate::published::Published;
use crate::settings::InputBounds;
use crate::watermark::WatermarkTracker;
use crate::{Error, Result};

/// Records between a source's replay and the running graph below which the running graph's inputs are tapped: what
/// arrives during the rest of the build waits in memory.
const SMALL_GAP: i64 = 200_000;

/// Rounds of reading after which a build goes on even if the gap is not small: more comes in than it can read.
const MOST_ROUNDS: usize = 8;

/// How long a build that waits for a source may overlook that it shall end.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// Steps of the private graph between two of its checkpoints, at most: what is built can be evicted.
const STEPS_PER_CHECKPOINT: usize = 32;

/// How far a view is built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Rows of the past that were read, of sources, tables and views.
    pub(crate) rows: u64,
    /// Rows that were read off the state of operators of running views.
    pub(crate) kept_rows: u64,
    /// Why it isn't built, when something is in the way.
    pub(crate) error: Option<String>,
}

/// Where the running graph is.
pub(crate) struct Reached {
    /// The next offsets of the running sources.
    pub(crate) positions: HashMap<ObjectId, Positions>,
    /// Their watermarks, microseconds since 1970.
    pub(crate) watermarks: HashMap<ObjectId, i64>,
    /// The timestamp of its last epoch.
    pub(crate) timestamp_us: i64,
    /// What readers see.
    pub(crate) published: Arc<Published>,
}

/// Lets the epoch thread end a build at any moment: when it has been cut, nothing that belongs to the view is written any more.
pub(crate) struct Leash {
    cut: Mutex<bool>,
    /// Ends a step that takes long.
    stopper: Arc<AtomicBool>,
}

impl Leash {
    /// Of a build in this graph.
    pub(crate) fn of(graph: &Graph) -> Self {
        Self { cut: Mutex::new(false), stopper: graph.stopper() }
    }

    /// The build ends. Waits for a commit of its that is under way.
    pub(crate) fn cut(&self) {
        self.stopper.store(true, Ordering::Relaxed);
        *self.cut.lock() = true;
    }

    fn is_cut(&self) -> bool {
        *self.cut.lock()
    }

    /// Does something that must not happen afterwards.
    fn hold<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let cut = self.cut.lock();
        if *cut && !is_planted(Bug::BuildNotStopped) { Err(ended()) } else { work() }
    }
}

pub(crate) fn ended() -> Error {
    Error::new(crate::ErrorKind::ShuttingDown, "the view was dropped, or the engine has stopped")
}

/// From the building thread.
pub(crate) enum HydrationCommand {
    /// Where are the running sources now?
    Positions {
        /// Answered at once.
        reply: oneshot::Sender<Reached>,
    },
    /// From the next epoch on, hand over what these relations get.
    Tap {
        /// The view being built.
        view: ObjectId,
        /// What it reads.
        relations: HashSet<ObjectId>,
        /// Answered with the epoch before the first tapped one.
        reply: oneshot::Sender<TapStart>,
    },
    /// So far now.
    Progress {
        /// The view.
        view: ObjectId,
        /// How far.
        progress: Progress,
    },
    /// It can't go on.
    Failed {
        /// The view.
        view: ObjectId,
        /// Why.
        error: Error,
    },
    /// All of the past is in; what is left is in the tap.
    Ready {
        /// The view.
        view: ObjectId,
        /// Its operators.
        graph: Box<Graph>,
    },
}

/// Where a tap begins.
pub(crate) struct TapStart {
    /// The contents of stored relations, and the positions of sources, before the first tapped epoch.
    pub(crate) published: Arc<Published>,
    /// The tapped epochs.
    pub(crate) records: Receiver<EpochRecord>,
    /// Bytes of changes that wait in the tap.
    pub(crate) waiting: Arc<AtomicUsize>,
}

/// The epoch thread's end of a tap.
pub(crate) struct Tap {
    /// What is handed over.
    pub(crate) relations: HashSet<ObjectId>,
    /// Where to. The channel has no bound of its own; no epoch is made while `most_bytes` wait in it.
    records: Sender<EpochRecord>,
    /// The other end, for the epoch thread to finish the rest itself.
    pub(crate) rest: Receiver<EpochRecord>,
    /// Bytes of changes that wait.
    pub(crate) waiting: Arc<AtomicUsize>,
    most_bytes: usize,
}

/// One epoch's inputs, as recorded.
#[derive(Clone)]
pub(crate) struct EpochRecord {
    pub(crate) epoch: Epoch,
    pub(crate) timestamp_us: i64,
    pub(crate) watermarks_before: HashMap<ObjectId, i64>,
    pub(crate) watermarks: HashMap<ObjectId, i64>,
    pub(crate) deltas: HashMap<ObjectId, Vec<Delta>>,
}

impl Tap {
    pub(crate) fn new(relations: HashSet<ObjectId>, most_bytes: usize) -> Self {
        let (records, rest) = unbounded();
        Self { relations, records, rest, waiting: Arc::default(), most_bytes }
    }

    /// Hands an epoch over.
    pub(crate) fn send(&self, record: EpochRecord) {
        self.waiting.fetch_add(record.bytes(), Ordering::AcqRel);
        if self.records.send(record).is_err() {
            tracing::debug!("a building thread has ended");
        }
    }

    /// Whether no more should come.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Acquire) >= self.most_bytes
    }
}

impl EpochRecord {
    fn bytes(&self) -> usize {
        self.deltas.values().flatten().map(Delta::memory_size).sum()
    }

    /// As a step's inputs.
    pub(crate) fn into_inputs(self) -> EpochInputs {
        EpochInputs {
            epoch: self.epoch,
            timestamp_us: self.timestamp_us,
            watermarks_before: self.watermarks_before,
            watermarks: self.watermarks,
            deltas: self.deltas,
        }
    }
}

/// What a building thread works with.
pub(crate) struct Hydration {
    pub(crate) view: Arc<Object>,
    pub(crate) graph: Graph,
    /// What it reads: sources and stored relations.
    pub(crate) reads: BTreeSet<ObjectId>,
    /// Those that rows of the others meet as they are: their rows come first.
    pub(crate) met: HashSet<ObjectId>,
    /// Nothing may be taken away from some of those again.
    pub(crate) met_only_grow: bool,
    /// What it reads off the state of operators of running views.
    pub(crate) kept: BTreeMap<ObjectId, KeptOperator>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) commands: CommandSender,
    pub(crate) bell: Doorbell,
    pub(crate) leash: Arc<Leash>,
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) bounds: InputBounds,
}

/// An operator of a running view, whose output another goes on from.
#[derive(Clone)]
pub(crate) struct KeptOperator {
    pub(crate) operator: Arc<Node>,
    pub(crate) states: BTreeMap<String, StateId>,
}

impl Hydration {
    /// Builds the view, on a thread of its own.
    pub(crate) fn run(mut self) {
        let (view, commands) = (self.view.id, self.commands.clone());
        let what = format!("the build of {}", self.view.name);
        let built = contained(&what, || self.build());
        let done = match built {
            Ok(()) => HydrationCommand::Ready { view, graph: Box::new(self.graph) },
            Err(_) if self.leash.is_cut() => return,
            Err(error) => HydrationCommand::Failed { view, error },
        };
        commands.send_from_thread(Command::Hydration(done));
    }

    fn build(&mut self) -> Result<()> {
        let mut replay = Replay::new(self)?;
        let mut met: Option<Arc<Published>> = None;
        // What is met must be there before what meets it; where it can't be taken back, it is read once, while all else waits in the tap.
        let rounds = if replay.hydration.met_only_grow { 0 } else { MOST_ROUNDS };
        for _ in 0..rounds {
            let reached = replay.hydration.ask(|reply| HydrationCommand::Positions { reply })?;
            replay.timestamp_us = reached.timestamp_us;
            let gap = replay.gap(&reached.positions);
            if gap <= SMALL_GAP {
                break;
            }
            if met.is_none() && !replay.hydration.met.is_empty() {
                replay.read_stored(&reached.published, Stored::Met, 1)?;
                met = Some(reached.published.clone());
            }
            replay.read_until(&reached.positions, &reached.watermarks)?;
        }
        let relations: HashSet<ObjectId> = replay.hydration.reads.iter().copied().collect();
        let view = replay.hydration.view.id;
        let start = replay.hydration.ask(|reply| HydrationCommand::Tap { view, relations, reply })?;
        replay.timestamp_us = start.published.timestamp_us;
        if let Some(before) = met {
            replay.read_stored(&before, Stored::Met, -1)?;
        }
        replay.read_stored(&start.published, Stored::Met, 1)?;
        replay.read_until(&start.published.positions, &start.published.watermarks)?;
        replay.read_stored(&start.published, Stored::Others, 1)?;
        replay.read_kept(&start.published)?;
        replay.finish(&start.published.watermarks)?;
        // What is tapped meanwhile is the epoch thread's to finish, once this graph has joined; most of it is done here.
        let mut steps = 0;
        for _ in 0..MOST_ROUNDS {
            replay.hydration.outside.pause();
            for record in start.records.try_iter().take(start.records.len()) {
                let bytes = record.bytes();
                if is_planted(Bug::TappedTwice) {
                    replay.step(record.clone().into_inputs())?;
                }
                replay.step(record.into_inputs())?;
                start.waiting.fetch_sub(bytes, Ordering::AcqRel);
                replay.hydration.bell.ring();
                steps += 1;
                if replay.is_checkpoint_due(steps) {
                    replay.checkpoint()?;
                }
            }
        }
        replay.checkpoint()
    }

    fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> HydrationCommand) -> Result<T> {
        let (reply, mut answer) = oneshot::channel();
        self.commands.send_from_thread(Command::Hydration(command(reply)));
        loop {
            self.outside.pause();
            match answer.try_recv() {
                Ok(answer) => return Ok(answer),
                Err(TryRecvError::Closed) => return Err(ended()),
                Err(TryRecvError::Empty) if self.outside.has_threads() => {
                    return answer.blocking_recv().map_err(|_| ended());
                }
                // Others must have their turn first.
                Err(TryRecvError::Empty) => {}
            }
        }
    }

    fn tell(&self, progress: Progress) {
        let command = HydrationCommand::Progress { view: self.view.id, progress };
        self.commands.send_from_thread(Command::Hydration(command));
    }
}

/// Which stored relations are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    /// Those that rows of others meet as they are.
    Met,
    Others,
}

/// Feeds the past to the private graph.
struct Replay<'a> {
    hydration: &'a mut Hydration,
    sources: BTreeMap<ObjectId, ReplayedSource>,
    watermarks: HashMap<ObjectId, i64>,
    /// The running graph's: a replay, which may read partitions in another order, doesn't get ahead of them, so that at the end both
    /// have closed the same windows.
    bounds: HashMap<ObjectId, i64>,
    /// What `now()` is: that of the running graph, as far as it is known. What is over by then is not built up first.
    timestamp_us: i64,
    rows: u64,
    kept_rows: u64,
    steps: usize,
    /// The last trouble that was told.
    trouble: Option<String>,
}

struct ReplayedSource {
    object: Arc<Object>,
    positions: Positions,
    watermark: Option<WatermarkTracker>,
}

impl<'a> Replay<'a> {
    fn new(hydration: &'a mut Hydration) -> Result<Self> {
        let mut sources = BTreeMap::new();
        for id in &hydration.reads {
            let Some(object) = hydration.catalog.get(*id) else { continue };
            if let catalog::ObjectKind::Source(source) = &object.kind {
                let positions = source.connector.start.clone();
                let saved = SavedInput { positions: positions.clone(), ..SavedInput::default() };
                let watermark = watermark_tracker(object, &saved, hydration.outside.now())?;
                sources.insert(*id, ReplayedSource { object: object.clone(), positions, watermark });
            }
        }
        let (watermarks, bounds) = (HashMap::new(), HashMap::new());
        let (rows, kept_rows, steps) = (0, 0, 0);
        Ok(Self { hydration, sources, watermarks, bounds, timestamp_us: 0, rows, kept_rows, steps, trouble: None })
    }

    /// Records between what was read and `running`. Only an estimate where offsets count bytes or have holes.
    fn gap(&self, running: &HashMap<ObjectId, Positions>) -> i64 {
        let source_gap = |id: &ObjectId, source: &ReplayedSource| -> i64 {
            let Some(running) = running.get(id) else { return 0 };
            running.iter().map(|(p, end)| (end - source.positions.get(p).unwrap_or(&0)).max(0)).sum()
        };
        self.sources.iter().map(|(id, source)| source_gap(id, source)).sum()
    }

    /// Reads every source up to these positions, where the running graph has these watermarks.
    fn read_until(&mut self, until: &HashMap<ObjectId, Positions>, watermarks: &HashMap<ObjectId, i64>) -> Result<()> {
        self.bounds.clone_from(watermarks);
        let mut ids: Vec<ObjectId> = self.sources.keys().copied().collect();
        ids.sort_unstable_by_key(|id| (!self.hydration.met.contains(id), *id));
        for id in ids {
            let Some(until) = until.get(&id) else { continue };
            self.read_source(id, until)?;
        }
        Ok(())
    }

    fn read_source(&mut self, id: ObjectId, until: &Positions) -> Result<()> {
        let source = self.sources.get(&id).expect("ids come from the map");
        let ahead: Positions = until
            .iter()
            .filter(|(p, end)| source.positions.get(p).is_none_or(|at| at < end))
            .map(|(p, end)| (*p, *end - i64::from(is_planted(Bug::HydrationShort))))
            .collect();
        if ahead.is_empty() {
            return Ok(());
        }
        let (spec, _) = spec(&source.object)?;
        let opened = self.hydration.outside.open_source(&spec).map_err(|e| external(&spec.name, &e))?;
        let InputBounds { queued_bytes, step_rows, .. } = self.hydration.bounds;
        let queued_bytes = self.hydration.outside.queued_bytes(queued_bytes);
        let (sender, batches) = batch_channel_of(queued_bytes, Arc::new(|| ()));
        let running = opened.run(&source.positions, Some(&ahead), sender).map_err(|e| external(&spec.name, &e))?;
        let mut deltas = Vec::new();
        let mut rows = 0;
        loop {
            match batches.recv_timeout(STOP_CHECK) {
                Ok(batch) => {
                    rows += batch.delta.num_rows();
                    self.observe(id, &batch);
                    deltas.push(batch.delta);
                }
                Err(RecvTimeoutError::Timeout) => self.look_at(&running.status().health)?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if rows >= step_rows {
                self.step_past(HashMap::from([(id, std::mem::take(&mut deltas))]))?;
                rows = 0;
            }
        }
        if let Health::Failed(why) = running.status().health {
            return Err(Error::new(crate::ErrorKind::External, format!("{} can't be read again: {why}", spec.name)));
        }
        if !deltas.is_empty() {
            self.step_past(HashMap::from([(id, deltas)]))?;
        }
        let source = self.sources.get_mut(&id).expect("ids come from the map");
        source.positions.extend(ahead);
        Ok(())
    }

    /// Nothing has come for a while: is it wanted still, and is the source well?
    fn look_at(&mut self, health: &Health) -> Result<()> {
        if self.hydration.leash.is_cut() {
            return Err(ended());
        }
        let trouble = match health {
            Health::Retrying(why) => Some(why.clone()),
            Health::Running | Health::Failed(_) => None,
        };
        if trouble != self.trouble {
            self.hydration.tell(Progress { error: trouble.clone(), ..self.progress() });
            self.trouble = trouble;
        }
        Ok(())
    }

    fn observe(&mut self, id: ObjectId, batch: &SourceBatch) {
        let source = self.sources.get_mut(&id).expect("ids come from the map");
        if let Some(watermark) = &mut source.watermark {
            watermark.observe(batch, self.hydration.outside.now());
        }
    }

    /// Reads tables and views as they were published; with a weight of -1, takes away again what was read.
    fn read_stored(&mut self, published: &Published, which: Stored, weight: i64) -> Result<()> {
        let Hydration { reads, met, .. } = &*self.hydration;
        let wanted = |id: &&ObjectId| met.contains(*id) == (which == Stored::Met);
        let mut stored: Vec<ObjectId> = reads.iter().filter(wanted).copied().collect();
        stored.sort_unstable();
        for id in stored {
            let Some(view) = published.relations.get(&id) else { continue };
            let mut deltas = Vec::new();
            let mut rows = 0;
            for batch in view.scan(published.snapshot.clone(), None).map_err(dataflow_error)? {
                let batch = batch.map_err(dataflow_error)?;
                rows += batch.num_rows();
                let weights = (weight != 1).then(|| vec![weight; batch.num_rows()].into());
                deltas.push(Delta::new(batch, weights));
                if rows >= self.hydration.bounds.step_rows {
                    self.step_past(HashMap::from([(id, std::mem::take(&mut deltas))]))?;
                    rows = 0;
                }
            }
            if !deltas.is_empty() {
                self.step_past(HashMap::from([(id, deltas)]))?;
            }
        }
        Ok(())
    }

    /// Reads what operators of running views have put out off their state. The snapshot has all of it: the tap began when nothing was open.
    fn read_kept(&mut self, published: &Published) -> Result<()> {
        let workers = self.hydration.graph.workers().clone();
        for (id, kept) in self.hydration.kept.clone() {
            let mut waiting = Vec::new();
            let mut rows = 0;
            let mut failed = None;
            let read = read_output(&kept.operator, &kept.states, &published.snapshot, &workers, &mut |delta| {
                rows += delta.num_rows();
                waiting.push(delta);
                if rows < self.hydration.bounds.step_rows {
                    return Ok(());
                }
                rows = 0;
                self.step_past(HashMap::from([(id, std::mem::take(&mut waiting))])).map_err(|error| {
                    failed = Some(error);
                    dataflow::Error::Broken("what is read can't be taken in".to_owned())
                })
            });
            if let Some(error) = failed {
                return Err(error);
            }
            read.map_err(dataflow_error)?;
            if !waiting.is_empty() {
                self.step_past(HashMap::from([(id, waiting)]))?;
            }
        }
        Ok(())
    }

    fn progress(&self) -> Progress {
        Progress { rows: self.rows, kept_rows: self.kept_rows, error: None }
    }

    /// The last step of the past comes to the running graph's watermarks. Even without any past there is one: a count over nothing is a
    /// row.
    fn finish(&mut self, watermarks: &HashMap<ObjectId, i64>) -> Result<()> {
        let before = std::mem::replace(&mut self.watermarks, watermarks.clone());
        self.step_from(before, HashMap::new())
    }

    fn step_past(&mut self, deltas: HashMap<ObjectId, Vec<Delta>>) -> Result<()> {
        let before = self.watermarks.clone();
        let now = self.hydration.outside.now();
        for (id, source) in &mut self.sources {
            let reached = source.watermark.as_mut().and_then(|w| w.advance(now));
            if let (Some(reached), Some(bound)) = (reached, self.bounds.get(id)) {
                let watermark = self.watermarks.entry(*id).or_insert(i64::MIN);
                *watermark = (*watermark).max(reached.min(*bound));
            }
        }
        self.step_from(before, deltas)
    }

    fn step_from(&mut self, before: HashMap<ObjectId, i64>, deltas: HashMap<ObjectId, Vec<Delta>>) -> Result<()> {
        if self.hydration.leash.is_cut() {
            return Err(ended());
        }
        for (id, deltas) in &deltas {
            let rows: u64 = deltas.iter().map(|delta| delta.num_rows() as u64).sum();
            let count = if self.hydration.kept.contains_key(id) { &mut self.kept_rows } else { &mut self.rows };
            *count += rows;
        }
        self.step(EpochInputs {
            epoch: Epoch(0),
            timestamp_us: self.timestamp_us,
            watermarks_before: before,
            watermarks: self.watermarks.clone(),
            deltas,
        })?;
        self.steps += 1;
        if self.is_checkpoint_due(self.steps) {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Whether so many steps, or what they have changed, are enough.
    fn is_checkpoint_due(&self, steps: usize) -> bool {
        let unwritten = self.hydration.graph.unwritten_bytes();
        steps.is_multiple_of(STEPS_PER_CHECKPOINT) || unwritten >= self.hydration.bounds.unwritten_bytes
    }

    fn step(&mut self, inputs: EpochInputs) -> Result<()> {
        self.hydration.graph.step(inputs).map(drop).map_err(dataflow_error)
    }

    /// The new states are nobody's yet: they may be committed beside the running graph's.
    fn checkpoint(&mut self) -> Result<()> {
        let changes = self.hydration.graph.checkpoint().map_err(dataflow_error)?;
        let Hydration { store, leash, .. } = &*self.hydration;
        leash.hold(|| store.commit(changes, Durability::Process).map_err(storage_error))?;
        let snapshot = store.snapshot().map_err(storage_error)?;
        self.hydration.graph.committed(snapshot).map_err(dataflow_error)?;
        self.hydration.tell(self.progress());
        Ok(())
    }
}
