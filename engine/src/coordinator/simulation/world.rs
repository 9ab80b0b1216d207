//! Everything around a simulated engine: time, the topic's readers, the sinks' broker, views being built. Nothing moves unless it is told to.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow::datatypes::{Schema, SchemaRef};
use connectors::{
    BatchSender, Health, PartitionId, Positions, RunningSource, Sink, SinkSpec, Source, SourceSpec, SourceStatus,
};
use parking_lot::{Condvar, Mutex};

use super::broker::{Log, Logs, Outcome, SimulatedSink};
use super::random::Random;
use super::topic::{PARTITIONS, Topic};
use crate::Result;
use crate::hydration::Hydration;
use crate::outside::Outside;
use crate::planted;
use crate::sinks::Courier;

/// When the simulation begins, microseconds since 1970.
const BEGINS_US: i64 = 1_700_000_000_000_000;

/// The world of one seed, over all lives of its engine.
pub(super) struct World {
    began: Instant,
    state: Mutex<State>,
}

/// What one life of the engine meets.
pub(super) struct Around {
    world: Arc<World>,
    /// Names the life.
    instance: String,
}

struct State {
    passed: Duration,
    /// How far the wall clock is off, microseconds.
    clock_off_us: i64,
    random: Random,
    topic: Topic,
    /// The end of each partition.
    ends: Positions,
    source_away: bool,
    broker_away: bool,
    /// Sinks fail now and then.
    unreliable: bool,
    readers: Vec<Reader>,
    couriers: Vec<Courier>,
    builds: Vec<Arc<Baton>>,
    logs: Logs,
    happened: Happened,
    lives: u64,
}

/// How often what has happened around the engine.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Happened {
    pub(super) source_failures: u64,
    pub(super) sink_failures: u64,
    pub(super) answers_lost: u64,
    pub(super) fenced: u64,
    pub(super) taken_over: u64,
    pub(super) clock_jumps: u64,
    /// Subscribers that were too slow.
    pub(super) left_behind: u64,
}

/// One running source's place in the topic.
struct Reader {
    stopped: Arc<AtomicBool>,
    output: BatchSender,
    schema: SchemaRef,
    next: Positions,
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            state: Mutex::new(State {
                passed: Duration::ZERO,
                clock_off_us: 0,
                random: Random::new(seed ^ 0x0077_6f72_6c64),
                topic: Topic { seed },
                ends: (0..PARTITIONS).map(|partition| (partition, 0)).collect(),
                source_away: false,
                broker_away: false,
                unreliable: true,
                readers: Vec::new(),
                couriers: Vec::new(),
                builds: Vec::new(),
                logs: Logs::new(),
                happened: Happened::default(),
                lives: 0,
            }),
        })
    }

    /// What the next life meets.
    pub(super) fn around(self: &Arc<Self>) -> Around {
        let mut state = self.state.lock();
        state.lives += 1;
        Around { world: self.clone(), instance: format!("life {}", state.lives) }
    }

    fn now(&self) -> Instant {
        self.began + self.state.lock().passed
    }

    /// Another instance of some sink comes up, and fences whoever writes there; with `writes`, it is another server's, and has
    /// written something.
    pub(super) fn fence(&self, writes: bool) {
        let mut state = self.state.lock();
        let State { logs, random, happened, unreliable, .. } = &mut *state;
        if logs.is_empty() || !*unreliable {
            return;
        }
        let number = random.below(logs.len() as u64) as usize;
        let Some(log) = logs.values_mut().nth(number) else { return };
        log.generation += 1;
        happened.fenced += 1;
        let note = log.note.as_deref().and_then(|note| serde_json::from_str::<serde_json::Value>(note).ok());
        if let (true, Some(mut note)) = (writes, note) {
            note["instance"] = "another server".into();
            log.note = Some(note.to_string());
            log.taken_over = log.is_known;
            happened.taken_over += 1;
        }
    }

    pub(super) fn happened(&self) -> Happened {
        self.state.lock().happened
    }

    pub(super) fn pass(&self, time: Duration) {
        self.state.lock().passed += time;
    }

    /// Somebody sets the wall clock: it is so far off from now on, microseconds.
    pub(super) fn set_clock(&self, off_us: i64) {
        let mut state = self.state.lock();
        state.clock_off_us = off_us;
        state.happened.clock_jumps += 1;
    }

    /// Adds records to a partition.
    pub(super) fn produce(&self, partition: PartitionId, records: i64) {
        *self.state.lock().ends.entry(partition).or_default() += records;
    }

    pub(super) fn ends(&self) -> Positions {
        self.state.lock().ends.clone()
    }

    /// The source, or the sinks' broker, goes away or comes back.
    pub(super) fn set_away(&self, source: bool, broker: bool) {
        let mut state = self.state.lock();
        (state.source_away, state.broker_away) = (source, broker);
    }

    /// From now on nothing fails any more.
    pub(super) fn calm(&self) {
        self.set_away(false, false);
        let mut state = self.state.lock();
        (state.unreliable, state.clock_off_us) = (false, 0);
    }

    /// Hands the next records of a partition over, at most so many; how many there were.
    pub(super) fn feed(&self, partition: PartitionId, records: i64) -> i64 {
        let now = self.now();
        let mut state = self.state.lock();
        let State { readers, ends, topic, source_away, .. } = &mut *state;
        readers.retain(|reader| !reader.stopped.load(Ordering::Relaxed));
        if *source_away {
            return 0;
        }
        let mut fed = 0;
        for reader in readers {
            let from = reader.next.get(&partition).copied().unwrap_or(0);
            let to = (from + records).min(ends[&partition]);
            if to <= from {
                continue;
            }
            let batch = topic.batch(&reader.schema, partition, from, to, now);
            // A full queue is what slows a source down.
            if reader.output.send_timeout(batch, Duration::ZERO).is_ok() {
                reader.next.insert(partition, to);
                fed += to - from;
            }
        }
        fed
    }

    /// How many sinks have couriers.
    pub(super) fn couriers(&self) -> usize {
        let mut state = self.state.lock();
        state.couriers.retain(|courier| !courier.is_dismissed());
        state.couriers.len()
    }

    /// Lets a courier do one thing; whether it sent something.
    pub(super) fn courier_step(&self, number: usize) -> bool {
        // Its sink asks the world, so the world may not be locked meanwhile.
        let Some(mut courier) = self.take_courier(number) else { return false };
        let delivered = match courier.step() {
            Ok(step) => step == crate::sinks::Step::Delivered,
            Err(error) => {
                courier.failed(error);
                false
            }
        };
        let mut state = self.state.lock();
        let place = number.min(state.couriers.len());
        state.couriers.insert(place, courier);
        delivered
    }

    fn take_courier(&self, number: usize) -> Option<Courier> {
        let mut state = self.state.lock();
        (number < state.couriers.len()).then(|| state.couriers.remove(number))
    }

    /// How many views are being built.
    pub(super) fn builds(&self) -> usize {
        let mut state = self.state.lock();
        state.builds.retain(|baton| !baton.has_ended());
        state.builds.len()
    }

    /// Lets the build of a view go on until it next lets others.
    pub(super) fn build_step(&self, number: usize) {
        let baton = self.state.lock().builds.get(number).cloned();
        if let Some(baton) = baton {
            baton.lend();
        }
    }

    /// The engine has died: its threads go.
    pub(super) fn end_life(&self) {
        while self.builds() > 0 {
            self.build_step(0);
        }
        let mut state = self.state.lock();
        state.couriers.clear();
        state.readers.clear();
        for log in state.logs.values_mut() {
            (log.is_known, log.taken_over) = (false, false);
        }
    }

    /// All that sinks have written, by identity.
    pub(super) fn logs(&self) -> Logs {
        self.state.lock().logs.clone()
    }

    /// Asks the broker about one sink's log; the second argument says whether the broker is away.
    pub(super) fn with_broker<T>(&self, identity: &str, ask: impl FnOnce(&mut Log, bool) -> T) -> T {
        let mut state = self.state.lock();
        let away = state.broker_away;
        ask(state.logs.entry(identity.to_owned()).or_default(), away)
    }

    /// What happens to the next transaction.
    pub(super) fn outcome(&self) -> Outcome {
        let mut state = self.state.lock();
        if !state.unreliable || !state.random.one_in(4) {
            return Outcome::Done;
        }
        state.happened.sink_failures += 1;
        match state.random.below(4) {
            0 => Outcome::Refused,
            1 => {
                state.happened.answers_lost += 1;
                Outcome::AnswerLost
            }
            2 => Outcome::NeverArrived,
            _ => {
                state.happened.fenced += 1;
                Outcome::TakenOver
            }
        }
    }
}

impl Outside for Around {
    fn now(&self) -> Instant {
        self.world.now()
    }

    fn now_us(&self) -> Result<i64> {
        let state = self.world.state.lock();
        Ok(BEGINS_US + state.passed.as_micros() as i64 + state.clock_off_us)
    }

    fn instance(&self) -> &str {
        &self.instance
    }

    fn has_threads(&self) -> bool {
        false
    }

    fn open_source(&self, spec: &SourceSpec) -> connectors::Result<Box<dyn Source>> {
        let fields = spec.columns.iter().map(|column| column.sql_type.field(&column.name, column.nullable));
        let world = self.world.clone();
        Ok(Box::new(SimulatedSource { world, schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())) }))
    }

    /// A source sends all at once, on the thread that will read it: nobody would make room.
    fn queued_bytes(&self, _bounded: usize) -> usize {
        connectors::QUEUED_BYTES
    }

    fn open_sink(&self, spec: &SinkSpec) -> connectors::Result<Box<dyn Sink>> {
        let world = self.world.clone();
        Ok(Box::new(SimulatedSink { world, identity: spec.identity.clone(), generation: 0, found: None }))
    }

    fn start_courier(&self, courier: Courier) -> Result<Option<JoinHandle<()>>> {
        self.world.state.lock().couriers.push(courier);
        Ok(None)
    }

    fn start_hydration(&self, hydration: Hydration) -> Result<JoinHandle<()>> {
        let baton = Arc::new(Baton::default());
        self.world.state.lock().builds.push(baton.clone());
        let bug = planted::planted();
        let work = move || {
            planted::plant(bug);
            BATON.set(Some(baton.clone()));
            let _end = EndsWhenDropped(baton.clone());
            baton.wait_for_it();
            hydration.run();
        };
        Ok(std::thread::spawn(work))
    }

    fn pause(&self) {
        BATON.with_borrow(|baton| {
            if let Some(baton) = baton {
                baton.give_back();
            }
        });
    }
}

struct SimulatedSource {
    world: Arc<World>,
    schema: SchemaRef,
}

impl Source for SimulatedSource {
    fn resolve_start(&self) -> connectors::Result<Positions> {
        Ok((0..PARTITIONS).map(|partition| (partition, 0)).collect())
    }

    fn end_positions(&self) -> connectors::Result<Positions> {
        Ok(self.world.ends())
    }

    fn run(
        &self,
        from: &Positions,
        until: Option<&Positions>,
        output: BatchSender,
    ) -> connectors::Result<Box<dyn RunningSource>> {
        let stopped = Arc::new(AtomicBool::new(false));
        let now = self.world.now();
        let mut state = self.world.state.lock();
        let next: Positions = (0..PARTITIONS).map(|p| (p, from.get(&p).copied().unwrap_or(0))).collect();
        match until {
            None => {
                let stopped = stopped.clone();
                state.readers.push(Reader { stopped, output, schema: self.schema.clone(), next });
            }
            Some(_) if state.source_away => {
                state.happened.source_failures += 1;
                let reason = "it is away".to_owned();
                return Err(connectors::Error::Unreachable { what: "the simulated topic".to_owned(), reason });
            }
            Some(until) => {
                // Few enough that the queue holds them all.
                for (&partition, &end) in until {
                    let mut from = next[&partition];
                    while from < end {
                        let some = 1 + state.random.below(12).max((end - next[&partition]) as u64 / 4) as i64;
                        let to = (from + some).min(end);
                        let batch = state.topic.batch(&self.schema, partition, from, to, now);
                        assert!(output.send(batch), "who reads the past again listens");
                        from = to;
                    }
                }
            }
        }
        Ok(Box::new(RunningReader { stopped, world: self.world.clone(), finishes: until.is_some() }))
    }
}

struct RunningReader {
    stopped: Arc<AtomicBool>,
    world: Arc<World>,
    /// Everything there will ever be has been sent.
    finishes: bool,
}

impl RunningSource for RunningReader {
    fn status(&self) -> SourceStatus {
        let state = self.world.state.lock();
        let health = match state.source_away {
            true if !self.finishes => Health::Retrying("it is away".to_owned()),
            _ => Health::Running,
        };
        SourceStatus { health, end_offsets: state.ends.clone(), finished: self.finishes, skipped: 0 }
    }
}

impl Drop for RunningReader {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

thread_local! {
    static BATON: RefCell<Option<Arc<Baton>>> = const { RefCell::new(None) };
}

/// A thread that panics ends too.
struct EndsWhenDropped(Arc<Baton>);

impl Drop for EndsWhenDropped {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Who holds it runs: the simulation, or one thread that builds a view.
#[derive(Default)]
struct Baton {
    holder: Mutex<Holder>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Holder {
    #[default]
    Simulation,
    Build,
    /// The build has ended.
    Nobody,
}

impl Baton {
    /// The simulation waits until the build gives it back or ends.
    fn lend(&self) {
        let mut holder = self.holder.lock();
        if *holder == Holder::Nobody {
            return;
        }
        *holder = Holder::Build;
        self.changed.notify_all();
        while *holder == Holder::Build {
            self.changed.wait(&mut holder);
        }
    }

    fn wait_for_it(&self) {
        let mut holder = self.holder.lock();
        while *holder != Holder::Build {
            self.changed.wait(&mut holder);
        }
    }

    fn give_back(&self) {
        *self.holder.lock() = Holder::Simulation;
        self.changed.notify_all();
        self.wait_for_it();
    }

    fn end(&self) {
        *self.holder.lock() = Holder::Nobody;
        self.changed.notify_all();
    }

    fn has_ended(&self) -> bool {
        *self.holder.lock() == Holder::Nobody
    }
}
