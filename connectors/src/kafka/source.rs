//! A topic as a source: what `start` means, and the threads that read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::client::{ASK_TIMEOUT, Asking, Context, config, failed};
use super::consumer::{ConsumerThread, Share};
use crate::error::{Error, Result};
use crate::formats::Decoder;
use crate::options::{KafkaSourceOptions, Start};
use crate::source::{BatchSender, Health, PartitionId, Positions, RunningSource, Source, SourceSpec, SourceStatus};

/// The properties of a consumer. Fetches wait for a record, which brokers answer at once; an idle topic costs ten a second. They are
/// bounded in memory; the wait of a second that librdkafka takes when its queue was full once would starve a fast reader.
const PROPERTIES: &[(&str, &str)] = &[
    ("group.id", "millrace"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("isolation.level", "read_committed"),
    ("statistics.interval.ms", "1000"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.min.bytes", "1"),
    ("fetch.queue.backoff.ms", "1"),
    ("fetch.error.backoff.ms", "100"),
    ("queued.min.messages", "100000"),
];

/// Records that each of so many consumers keeps before they are decoded, at most, in KiB: together half of what the queue behind them holds.
fn fetched_kib(queued_bytes: usize, consumers: usize) -> String {
    (queued_bytes / 2 / consumers.max(1)).div_ceil(1 << 10).max(LEAST_FETCHED_KIB).to_string()
}

/// With less, a consumer would wait for the broker again and again.
const LEAST_FETCHED_KIB: usize = 1 << 10;

/// The source of `connector = 'kafka'`.
pub struct KafkaSource {
    spec: SourceSpec,
    options: KafkaSourceOptions,
}

impl KafkaSource {
    /// Checks the options and columns; connects to nothing.
    pub fn open(spec: &SourceSpec) -> Result<Self> {
        let options = KafkaSourceOptions::parse(&spec.options, spec.upsert.is_some())?;
        Decoder::new(&spec.columns, spec.upsert.as_ref(), &options.decode)?;
        config(&options.connection, PROPERTIES)?;
        Ok(Self { spec: spec.clone(), options })
    }

    /// Where a partition starts.
    fn start(&self, asking: &Asking<'_>, partition: PartitionId, by_time: Option<i64>) -> Result<i64> {
        let (first, end) = asking.watermarks(partition)?;
        match &self.options.start {
            Start::Earliest => Ok(first),
            Start::Latest => Ok(end),
            Start::Timestamp(_) => Ok(by_time.unwrap_or(end)),
            Start::Offsets(offsets) => match offsets.get(&partition) {
                None => Ok(first),
                Some(offset) if (first..=end).contains(offset) => Ok(*offset),
                Some(offset) => Err(Error::InvalidOption {
                    option: "start".to_owned(),
                    reason: format!("partition {partition} has offsets {first} to {end}, not {offset}"),
                }),
            },
        }
    }
}

impl Source for KafkaSource {
    fn resolve_start(&self) -> Result<Positions> {
        let asking = Asking::new(&self.options.connection)?;
        let partitions = asking.partitions()?;
        if let Start::Offsets(offsets) = &self.options.start
            && let Some(unknown) = offsets.keys().find(|partition| !partitions.contains(partition))
        {
            let reason = format!(
                "topic \"{}\" has partitions 0 to {}, not {unknown}",
                self.options.connection.topic,
                partitions.len() - 1
            );
            return Err(Error::InvalidOption { option: "start".to_owned(), reason });
        }
        let by_time = match self.options.start {
            Start::Timestamp(timestamp_ms) => asking.at_time(&partitions, timestamp_ms)?,
            _ => Default::default(),
        };
        let start = |partition| self.start(&asking, partition, by_time.get(&partition).copied().flatten());
        partitions.into_iter().map(|partition| Ok((partition, start(partition)?))).collect()
    }

    fn end_positions(&self) -> Result<Positions> {
        let asking = Asking::new(&self.options.connection)?;
        asking.partitions()?.into_iter().map(|partition| Ok((partition, asking.watermarks(partition)?.1))).collect()
    }

    fn run(&self, from: &Positions, until: Option<&Positions>, output: BatchSender) -> Result<Box<dyn RunningSource>> {
        // Partitions that nobody has named yet are found by the watching thread, so that a broker that is away delays nothing here.
        let known: Vec<PartitionId> =
            until.map_or_else(|| from.keys().copied().collect(), |until| until.keys().copied().collect());
        let threads = match until {
            Some(until) => self.options.decode_threads.min(until.len()),
            None => self.options.decode_threads,
        };
        let running = Arc::new(Running {
            stop: AtomicBool::new(false),
            skipped: AtomicU64::new(0),
            partitions: AtomicI32::new(known.iter().max().map_or(0, |last| last + 1)),
            active: AtomicUsize::new(threads),
            caught_up: Mutex::new(Positions::new()),
        });
        let mut contexts = Vec::new();
        let mut consumers = Vec::new();
        let fetched = fetched_kib(output.queued_bytes(), threads);
        let properties = [PROPERTIES, &[("queued.max.messages.kbytes", fetched.as_str())]].concat();
        for thread in 0..threads {
            let context = Context::default();
            let consumer: BaseConsumer<Context> = config(&self.options.connection, &properties)?
                .create_with_context(context.clone())
                .map_err(|error| failed("create a consumer", error))?;
            let consumer = Arc::new(consumer);
            contexts.push(context);
            consumers.push(Arc::clone(&consumer));
            let mine = |partition: &&PartitionId| **partition as usize % threads == thread;
            let share = Share {
                thread,
                threads,
                partitions: known.iter().filter(mine).copied().collect(),
                from: from.clone(),
                until: until.cloned(),
            };
            let worker =
                ConsumerThread::new(consumer, &self.spec, &self.options, share, Arc::clone(&running), output.clone())?;
            spawn(format!("kafka {} {thread}", self.options.connection.topic), move || worker.work())?;
        }
        drop(output);
        if until.is_none() {
            let watcher = Watcher {
                consumer: Arc::clone(&consumers[0]),
                topic: self.options.connection.topic.clone(),
                every: self.options.partition_refresh,
                running: Arc::clone(&running),
            };
            spawn(format!("kafka {} watch", self.options.connection.topic), move || watcher.work())?;
        }
        Ok(Box::new(RunningKafka { running, contexts, bounded: until.is_some() }))
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = std::thread::Builder::new().name(name).spawn(work);
    spawned.map(|_| ()).map_err(|error| Error::Io { path: "consumer thread".into(), error })
}

/// What the threads of a running source share.
pub(crate) struct Running {
    pub(crate) stop: AtomicBool,
    pub(crate) skipped: AtomicU64,
    /// Partitions 0 .. this are known to exist; only grows.
    pub(crate) partitions: AtomicI32,
    /// Threads that have not ended.
    pub(crate) active: AtomicUsize,
    /// The next offsets of partitions that have been read to their end. A topic with transactions ends in markers that are never
    /// delivered: without this its lag would not come to zero.
    pub(crate) caught_up: Mutex<Positions>,
}

/// How long a watching thread may overlook that it shall end.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// Looks for partitions that were added.
struct Watcher {
    consumer: Arc<BaseConsumer<Context>>,
    topic: String,
    every: Duration,
    running: Arc<Running>,
}

impl Watcher {
    fn work(self) {
        while !self.running.stop.load(Ordering::Relaxed) {
            if let Ok(metadata) = self.consumer.fetch_metadata(Some(&self.topic), ASK_TIMEOUT)
                && let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == self.topic)
            {
                if topic.error().is_none() {
                    let count = topic.partitions().iter().map(|partition| partition.id() + 1).max().unwrap_or(0);
                    self.running.partitions.fetch_max(count, Ordering::SeqCst);
                } else {
                    self.consumer
                        .context()
                        .heard
                        .retrying(format!("topic \"{}\" can't be read: does it still exist?", self.topic));
                }
            }
            let began = Instant::now();
            while began.elapsed() < self.every && !self.running.stop.load(Ordering::Relaxed) {
                std::thread::sleep(STOP_CHECK.min(self.every));
            }
        }
    }
}

struct RunningKafka {
    running: Arc<Running>,
    contexts: Vec<Context>,
    bounded: bool,
}

impl RunningSource for RunningKafka {
    fn status(&self) -> SourceStatus {
        let mut health = Health::Running;
        let mut end_offsets = Positions::new();
        for context in &self.contexts {
            let heard = context.heard.health.lock().clone();
            health = match (health, heard) {
                (failed @ Health::Failed(_), _) | (_, failed @ Health::Failed(_)) => failed,
                (retrying @ Health::Retrying(_), _) => retrying,
                (Health::Running, heard) => heard,
            };
            end_offsets.extend(context.heard.ends.lock().iter());
        }
        for (partition, next) in self.running.caught_up.lock().iter() {
            end_offsets.insert(*partition, *next);
        }
        SourceStatus {
            finished: self.bounded && health == Health::Running && self.running.active.load(Ordering::SeqCst) == 0,
            health,
            end_offsets,
            skipped: self.running.skipped.load(Ordering::Relaxed),
        }
    }
}

impl Drop for RunningKafka {
    fn drop(&mut self) {
        self.running.stop.store(true, Ordering::SeqCst);
    }
}
