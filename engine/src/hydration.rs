//! Building a new view beside the running graph: a private graph reads the past, catches up, and joins between two epochs.
//!
//! Sources are read again from their start, by offset, until the gap to the running graph is small; tables and views are read from
//! one published epoch. From that epoch on the running graph's inputs are tapped, so that nothing is missed and nothing comes
//! twice. Running views never wait.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use catalog::{Catalog, Object, ObjectId};
use connectors::{Positions, SourceBatch, batch_channel, open_source};
use crossbeam_channel::{Receiver, Sender, unbounded};
use dataflow::{EpochInputs, Graph};
use delta::{Delta, Epoch};
use storage::{Durability, Store};
use tokio::sync::oneshot;

use crate::command::{Command, CommandSender};
use crate::coordinator::{dataflow_error, storage_error};
use crate::inputs::{SavedInput, external, spec, watermark_tracker};
use crate::published::Published;
use crate::watermark::WatermarkTracker;
use crate::{Error, Result};

/// Records between a source's replay and the running graph below which the running graph's inputs are tapped: what
/// arrives during the rest of the build waits in memory.
const SMALL_GAP: i64 = 200_000;

/// Rows of the past that go into one step of the private graph at most.
const STEP_ROWS: usize = 131_072;

/// Steps of the private graph between two of its checkpoints: what is built can be evicted.
const STEPS_PER_CHECKPOINT: usize = 32;

/// How far a view is built.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Rows of the past that were read.
    pub(crate) rows: u64,
    /// Why it can't be built, when it can't.
    pub(crate) error: Option<String>,
}

/// From the building thread.
pub(crate) enum HydrationCommand {
    /// Where are the running sources now?
    Positions {
        /// Answered with the next offsets by source.
        reply: oneshot::Sender<HashMap<ObjectId, Positions>>,
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
}

/// The epoch thread's end of a tap.
pub(crate) struct Tap {
    /// What is handed over.
    pub(crate) relations: HashSet<ObjectId>,
    /// Where to. Without a bound: it holds what arrives while the last small gap is read.
    pub(crate) records: Sender<EpochRecord>,
    /// The other end, for the epoch thread to finish the rest itself.
    pub(crate) rest: Receiver<EpochRecord>,
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
    pub(crate) fn new(relations: HashSet<ObjectId>) -> Self {
        let (records, rest) = unbounded();
        Self { relations, records, rest }
    }
}

impl EpochRecord {
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
    pub(crate) reads: HashSet<ObjectId>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) commands: CommandSender,
}

impl Hydration {
    /// Builds on a thread of its own.
    pub(crate) fn start(mut self) -> Result<()> {
        let name = self.view.name.to_string();
        let spawned = std::thread::Builder::new().name(format!("hydrate {name}")).spawn(move || {
            let (view, commands) = (self.view.id, self.commands.clone());
            if let Err(error) = self.build() {
                tracing::error!(view = %self.view.name, %error, "a view can't be built");
                let progress = Progress { rows: 0, error: Some(error.to_string()) };
                commands.send_from_thread(Command::Hydration(HydrationCommand::Progress { view, progress }));
                return;
            }
            let graph = Box::new(self.graph);
            commands.send_from_thread(Command::Hydration(HydrationCommand::Ready { view, graph }));
        });
        spawned.map(drop).map_err(|e| Error::internal(format!("no thread to build {name}: {e}")))
    }

    fn build(&mut self) -> Result<()> {
        let mut replay = Replay::new(self)?;
        loop {
            let running = replay.hydration.ask(|reply| HydrationCommand::Positions { reply })?;
            let gap = replay.gap(&running);
            if gap <= SMALL_GAP {
                break;
            }
            replay.read_until(&running)?;
        }
        let relations = replay.hydration.reads.clone();
        let view = replay.hydration.view.id;
        let start = replay.hydration.ask(|reply| HydrationCommand::Tap { view, relations, reply })?;
        replay.read_until(&start.published.positions)?;
        replay.read_stored(&start.published)?;
        replay.finish()?;
        // What is tapped meanwhile is the epoch thread's to finish, once this graph has joined; most of it is done here.
        let mut steps = 0;
        while let Ok(record) = start.records.try_recv() {
            replay.step(record.into_inputs())?;
            steps += 1;
            if steps % STEPS_PER_CHECKPOINT == 0 {
                replay.checkpoint()?;
            }
        }
        replay.checkpoint()
    }

    fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> HydrationCommand) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send_from_thread(Command::Hydration(command(reply)));
        answer.blocking_recv().map_err(|_| Error::new(crate::ErrorKind::ShuttingDown, "the engine has stopped"))
    }
}

/// Feeds the past to the private graph.
struct Replay<'a> {
    hydration: &'a mut Hydration,
    sources: HashMap<ObjectId, ReplayedSource>,
    watermarks: HashMap<ObjectId, i64>,
    rows: u64,
    steps: usize,
}

struct ReplayedSource {
    object: Arc<Object>,
    positions: Positions,
    watermark: Option<WatermarkTracker>,
}

impl<'a> Replay<'a> {
    fn new(hydration: &'a mut Hydration) -> Result<Self> {
        let mut sources = HashMap::new();
        for id in &hydration.reads {
            let Some(object) = hydration.catalog.get(*id) else { continue };
            if let catalog::ObjectKind::Source(source) = &object.kind {
                let positions = source.connector.start.clone();
                let saved = SavedInput { positions: positions.clone(), ..SavedInput::default() };
                let watermark = watermark_tracker(object, &saved, Instant::now())?;
                sources.insert(*id, ReplayedSource { object: object.clone(), positions, watermark });
            }
        }
        Ok(Self { hydration, sources, watermarks: HashMap::new(), rows: 0, steps: 0 })
    }

    /// Records between what was read and `running`. Only an estimate where offsets count bytes or have holes.
    fn gap(&self, running: &HashMap<ObjectId, Positions>) -> i64 {
        let source_gap = |id: &ObjectId, source: &ReplayedSource| -> i64 {
            let Some(running) = running.get(id) else { return 0 };
            running.iter().map(|(p, end)| (end - source.positions.get(p).unwrap_or(&0)).max(0)).sum()
        };
        self.sources.iter().map(|(id, source)| source_gap(id, source)).sum()
    }

    /// Reads every source up to these positions.
    fn read_until(&mut self, until: &HashMap<ObjectId, Positions>) -> Result<()> {
        let ids: Vec<ObjectId> = self.sources.keys().copied().collect();
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
            .map(|(p, end)| (*p, *end))
            .collect();
        if ahead.is_empty() {
            return Ok(());
        }
        let (spec, _) = spec(&source.object)?;
        let opened = open_source(&spec).map_err(|e| external(&spec.name, &e))?;
        let (sender, batches) = batch_channel(Arc::new(|| ()));
        let running = opened.run(&source.positions, Some(&ahead), sender).map_err(|e| external(&spec.name, &e))?;
        let mut deltas = Vec::new();
        let mut rows = 0;
        for batch in batches.iter() {
            rows += batch.delta.num_rows();
            self.observe(id, &batch);
            deltas.push(batch.delta);
            if rows >= STEP_ROWS {
                self.step_past(HashMap::from([(id, std::mem::take(&mut deltas))]))?;
                rows = 0;
            }
        }
        if let connectors::Health::Failed(why) = running.status().health {
            return Err(Error::new(crate::ErrorKind::External, format!("{} can't be read again: {why}", spec.name)));
        }
        if !deltas.is_empty() {
            self.step_past(HashMap::from([(id, deltas)]))?;
        }
        let source = self.sources.get_mut(&id).expect("ids come from the map");
        source.positions.extend(ahead);
        Ok(())
    }

    fn observe(&mut self, id: ObjectId, batch: &SourceBatch) {
        let source = self.sources.get_mut(&id).expect("ids come from the map");
        if let Some(watermark) = &mut source.watermark {
            watermark.observe(batch, Instant::now());
        }
    }

    /// Reads tables and views as they were published.
    fn read_stored(&mut self, published: &Published) -> Result<()> {
        let stored: Vec<ObjectId> = self.hydration.reads.iter().copied().collect();
        for id in stored {
            let Some(view) = published.relations.get(&id) else { continue };
            let mut deltas = Vec::new();
            let mut rows = 0;
            for batch in view.scan(published.snapshot.clone(), None).map_err(dataflow_error)? {
                let batch = batch.map_err(dataflow_error)?;
                rows += batch.num_rows();
                deltas.push(Delta::inserts(batch));
                if rows >= STEP_ROWS {
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

    /// Even without any past there is a first step: a count over nothing is a row.
    fn finish(&mut self) -> Result<()> {
        self.step_past(HashMap::new())
    }

    fn step_past(&mut self, deltas: HashMap<ObjectId, Vec<Delta>>) -> Result<()> {
        let before = self.watermarks.clone();
        for (id, source) in &mut self.sources {
            if let Some(watermark) = source.watermark.as_mut().and_then(|w| w.advance(Instant::now())) {
                self.watermarks.insert(*id, watermark);
            }
        }
        self.rows += deltas.values().flatten().map(|delta| delta.num_rows() as u64).sum::<u64>();
        self.step(EpochInputs {
            epoch: Epoch(0),
            timestamp_us: 0,
            watermarks_before: before,
            watermarks: self.watermarks.clone(),
            deltas,
        })?;
        self.steps += 1;
        if self.steps % STEPS_PER_CHECKPOINT == 0 {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn step(&mut self, inputs: EpochInputs) -> Result<()> {
        self.hydration.graph.step(inputs).map(drop).map_err(dataflow_error)
    }

    /// The new states are nobody's yet: they may be committed beside the running graph's.
    fn checkpoint(&mut self) -> Result<()> {
        let changes = self.hydration.graph.checkpoint().map_err(dataflow_error)?;
        self.hydration.store.commit(changes, Durability::Process).map_err(storage_error)?;
        let snapshot = self.hydration.store.snapshot().map_err(storage_error)?;
        self.hydration.graph.committed(snapshot).map_err(dataflow_error)?;
        let progress = Progress { rows: self.rows, error: None };
        let command = HydrationCommand::Progress { view: self.hydration.view.id, progress };
        self.hydration.commands.send_from_thread(Command::Hydration(command));
        Ok(())
    }
}
