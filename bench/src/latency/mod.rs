//! How long a record takes from the moment when it was due to be produced: until a subscriber to a view is shown it, and until a
//! consumer of a sink topic that sees only what is committed has read it.
//!
//! All records go through an aggregation; one in so many is a probe, which goes through a view and a sink of its own. A record is
//! late by its producer's delay too: what counts is when it was due, so a system that falls behind can't hide it.
//!
//! The rate is given, or as a part of the most that this machine reaches with producer, broker and engine in the same cores. Beside it the engine may
//! [do other things](beside).

mod beside;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use connectors::kafka::mock::MockKafka;
use connectors::kafka::produce::{Producer, Record, ensure_topic};
use connectors::kafka::read::Reader;
use engine::{Engine, Session, Settings};
use futures::StreamExt;
use hdrhistogram::Histogram;
use tempfile::TempDir;

use self::beside::Beside;
use crate::sql::{self, execute, one_number, rows};
use crate::{Error, Result, process};

/// Probes a second, at most.
const PROBES: u64 = 500;
/// What comes before this is not counted: threads, caches and connections are new.
const WARM_UP: Duration = Duration::from_secs(2);
/// The producer works off its rate in steps of this length.
const STEP: Duration = Duration::from_millis(1);
/// How long the last probes may take.
const LAST: Duration = Duration::from_secs(10);
/// More than any machine produces: the producer is never ahead.
const FASTEST: u64 = 100_000_000;
/// Records that are produced and not read yet while the most is looked for.
const WAITING: u64 = 40_000;
/// The metric that counts records read.
const READ: &str = "millrace_source_records_total";
/// Keys of the aggregation.
const BUCKETS: u64 = 10_000;
const PARTITIONS: i32 = 4;

/// `millrace bench latency`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Records a second, one run for each.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 10_000])]
    rates: Vec<u64>,
    /// Parts of the most that can be produced and seen, which is measured first: 0.5,0.9. One run for each.
    #[arg(long, value_delimiter = ',')]
    loads: Vec<f64>,
    /// What the engine does meanwhile, one run for each.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Beside::Nothing])]
    beside: Vec<Beside>,
    /// Length of a run.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// The brokers; without them, a mock broker in this process.
    #[arg(long)]
    brokers: Option<String>,
}

/// Runs once for each rate and prints a line for each way.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Error::io("no async runtime"))?;
    let mock = match options.brokers {
        Some(_) => None,
        None => Some(MockKafka::start().map_err(Error::outside("the mock broker"))?),
    };
    let brokers = match (&options.brokers, &mock) {
        (Some(brokers), _) => brokers.as_str(),
        (None, Some(mock)) => mock.brokers(),
        (None, None) => return Err(Error::Usage("there is no broker".to_owned())),
    };
    println!(
        "{:<10}{:<12}{:<20}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "records/s", "beside", "ms until", "probes", "p50", "p90", "p99", "p99.9", "most", "cores"
    );
    let broker = Broker { brokers, mock: mock.as_ref() };
    let mut rates = options.rates.clone();
    if !options.loads.is_empty() {
        let most = runtime.block_on(most(options, &broker))?;
        println!("{most:.0} records/s are the most");
        rates.extend(options.loads.iter().map(|load| (most * load) as u64));
    }
    for beside in &options.beside {
        for rate in &rates {
            runtime.block_on(measure(options, &broker, *rate, *beside))?;
        }
    }
    Ok(())
}

/// Where records are produced.
struct Broker<'a> {
    brokers: &'a str,
    mock: Option<&'a MockKafka>,
}

/// Topics of one run, and an engine that reads the first and writes the second.
struct Run {
    topic: String,
    out: String,
    /// One of so many records is a probe.
    every: u64,
    engine: Engine,
    session: Session,
    _directory: TempDir,
}

impl Run {
    async fn begin(broker: &Broker<'_>, rate: u64, beside: Beside) -> Result<Self> {
        let topic = format!("latency-{}-{rate}-{}", std::process::id(), beside.name());
        let out = format!("{topic}-out");
        for (topic, partitions) in [(&topic, PARTITIONS), (&out, 1)] {
            match broker.mock {
                Some(mock) => mock.create_topic(topic, partitions),
                None => ensure_topic(broker.brokers, topic, partitions),
            }
            .map_err(Error::outside(topic.as_str()))?;
        }
        let directory = sql::data_directory(None)?;
        let settings = Settings { data_dir: Some(directory.path().to_owned()), ..Settings::default() };
        let (engine, mut session) = sql::open(settings)?;
        beside.prepare(&mut session).await?;
        let every = rate.div_ceil(PROBES).max(1);
        execute(&mut session, &definitions(broker.brokers, &topic, &out, every, broker.mock.is_some())).await?;
        Ok(Self { topic, out, every, engine, session, _directory: directory })
    }

    /// How many records the view has.
    async fn counted(&mut self) -> Result<i64> {
        one_number(&mut self.session, "SELECT sum(records)::bigint FROM totals").await
    }

    async fn end(self) -> Result<()> {
        self.engine.shutdown().await.map_err(Error::engine("the engine can't be stopped"))
    }
}

/// The most records a second that are produced and seen in the view, for some seconds. Few wait at any time: the mock broker keeps only so many.
async fn most(options: &Options, broker: &Broker<'_>) -> Result<f64> {
    let mut run = Run::begin(broker, FASTEST, Beside::Nothing).await?;
    let start = Instant::now();
    let producer = Producer::new(broker.brokers).map_err(Error::outside("no producer"))?;
    let (topic, engine) = (run.topic.clone(), run.engine.clone());
    let length = Duration::from_secs(options.seconds.min(8));
    let produced = tokio::task::spawn_blocking(move || {
        let read =
            || engine.metrics().iter().find(|sample| sample.name == READ).map_or(0, |sample| sample.value as u64);
        let mut records = Records::new(&producer, &topic, FASTEST);
        while start.elapsed() < length {
            records.send(records.next + WAITING / 2)?;
            while start.elapsed() < length && read() + WAITING < records.next {
                std::thread::sleep(STEP / 4);
            }
        }
        records.finish()
    });
    let produced = produced.await.map_err(|error| Error::Usage(format!("the producer broke down: {error}")))??;
    while run.counted().await? < produced as i64 {
        if start.elapsed() > length + LAST {
            return Err(Error::Usage("the view doesn't get all records".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let most = produced as f64 / start.elapsed().as_secs_f64();
    run.end().await?;
    Ok(most)
}

/// Microseconds, and how many probes are missing.
struct Latency {
    histogram: Histogram<u64>,
    start: Instant,
}

impl Latency {
    fn new(start: Instant) -> Self {
        let histogram = Histogram::new_with_bounds(1, 60_000_000, 3).expect("three digits within a minute can be kept");
        Self { histogram, start }
    }

    /// A probe that was due so many microseconds after the start is there now.
    fn record(&mut self, due_us: i64) {
        let now_us = self.start.elapsed().as_micros() as i64;
        if due_us >= WARM_UP.as_micros() as i64 {
            self.histogram.saturating_record((now_us - due_us).max(1) as u64);
        }
    }

    fn print(&self, rate: u64, beside: Beside, until: &str, cores: f64) {
        let beside = beside.name();
        let ms = |quantile: f64| self.histogram.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "{rate:<10}{beside:<12}{until:<20}{:>9}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{cores:>9.2}",
            self.histogram.len(),
            ms(0.5),
            ms(0.9),
            ms(0.99),
            ms(0.999),
            self.histogram.max() as f64 / 1e3,
        );
    }
}

async fn measure(options: &Options, broker: &Broker<'_>, rate: u64, beside: Beside) -> Result<()> {
    let mut run = Run::begin(broker, rate, beside).await?;
    let others = beside.start(&run.engine)?;
    let start = Instant::now();
    let cpu = process::cpu_time()?;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = tokio::spawn(watch(run.engine.clone(), start, rate * options.seconds / run.every));
    let read = std::thread::spawn({
        let (brokers, out, stop) = (broker.brokers.to_owned(), run.out.clone(), stop.clone());
        move || read(&brokers, &out, start, &stop)
    });
    let producer = Producer::new(broker.brokers).map_err(Error::outside("no producer"))?;
    let (topic, length) = (run.topic.clone(), Duration::from_secs(options.seconds));
    let produced = tokio::task::spawn_blocking(move || produce(&producer, &topic, start, rate, length)).await;
    let produced = produced.map_err(|error| Error::Usage(format!("the producer broke down: {error}")))??;
    let cores = (process::cpu_time()? - cpu).as_secs_f64() / start.elapsed().as_secs_f64();

    let seen = tokio::time::timeout(LAST, seen).await;
    let lost = || Error::Usage(format!("{produced} records were produced, and the view hasn't got all of them"));
    let seen = seen.map_err(|_| lost())?.map_err(|error| Error::Usage(error.to_string()))??;
    // The sink gets the last probes within its commit interval.
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let read = read.join().map_err(|_| Error::Usage("the reader of the sink topic broke down".to_owned()))??;
    let others = others.end().await?;
    let counted = run.counted().await?;
    if counted != produced as i64 {
        return Err(Error::Usage(format!("{produced} records were produced, the view counts {counted}")));
    }
    seen.print(rate, beside, "seen in the view", cores);
    read.print(rate, beside, "read from the sink", cores);
    if others > 0 {
        println!("{:<10}{:<12}done {others} times meanwhile", "", beside.name());
    }
    run.end().await
}

fn definitions(brokers: &str, topic: &str, out: &str, every: u64, mock: bool) -> String {
    // The mock broker answers a fetch that waits when its time is over, and not when a record comes.
    let wait = if mock { ", 'kafka.fetch.wait.max.ms' = '10'" } else { "" };
    format!(
        "CREATE SOURCE pulses (id BIGINT, due_us BIGINT, bucket BIGINT, padding TEXT)
         WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', format = 'json'{wait});
         CREATE MATERIALIZED VIEW totals AS
         SELECT bucket, count(*) AS records, max(due_us) AS last_us FROM pulses GROUP BY bucket;
         CREATE MATERIALIZED VIEW probes AS SELECT id, due_us FROM pulses WHERE id % {every} = 0;
         CREATE SINK probes_out FROM probes
         WITH (connector = 'kafka', brokers = '{brokers}', topic = '{out}', format = 'json')"
    )
}

/// Follows the probes until all of them have been seen.
async fn watch(engine: Engine, start: Instant, probes: u64) -> Result<Latency> {
    let mut session = sql::session(&engine)?;
    let mut latency = Latency::new(start);
    let mut batches = rows(&mut session, "SUBSCRIBE TO probes").await?;
    let mut seen = 0;
    while seen < probes {
        let Some(batch) = batches.next().await else { break };
        let batch = batch.map_err(Error::engine("SUBSCRIBE TO probes"))?;
        let Some(due) = batch.column_by_name("due_us") else {
            return Err(Error::Usage("the changes of the view lack a column".to_owned()));
        };
        due.as_primitive::<Int64Type>().values().iter().for_each(|due| latency.record(*due));
        seen += batch.num_rows() as u64;
    }
    Ok(latency)
}

/// Follows the sink topic until it shall stop.
fn read(brokers: &str, topic: &str, start: Instant, stop: &AtomicBool) -> Result<Latency> {
    #[derive(serde::Deserialize)]
    struct Probe {
        due_us: i64,
    }
    let reader = Reader::new(brokers, topic, |_| true).map_err(Error::outside(topic))?;
    let mut latency = Latency::new(start);
    while !stop.load(Ordering::Relaxed) {
        let mut malformed = None;
        let polled = reader.poll(Duration::from_millis(20), |value| {
            match serde_json::from_slice::<Probe>(value.unwrap_or_default()) {
                Ok(probe) => latency.record(probe.due_us),
                Err(error) => malformed = Some(error),
            }
        });
        polled.map_err(Error::outside(topic))?;
        if let Some(error) = malformed {
            return Err(Error::Usage(format!("a record of the sink topic: {error}")));
        }
    }
    Ok(latency)
}

/// Produces at a rate; returns how many records.
fn produce(producer: &Producer, topic: &str, start: Instant, rate: u64, length: Duration) -> Result<u64> {
    let all = rate * length.as_secs();
    let mut records = Records::new(producer, topic, rate);
    while records.next < all {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        records.send(due.min(all))?;
        std::thread::sleep(STEP);
    }
    records.finish()
}

/// The records of a topic, one after the other.
struct Records<'a> {
    producer: &'a Producer,
    topic: &'a str,
    rate: u64,
    value: String,
    /// The id of the next one.
    next: u64,
}

impl<'a> Records<'a> {
    fn new(producer: &'a Producer, topic: &'a str, rate: u64) -> Self {
        Self { producer, topic, rate, value: String::new(), next: 0 }
    }

    /// Sends those before `end`.
    fn send(&mut self, end: u64) -> Result<()> {
        use std::fmt::Write;
        for id in self.next..end {
            self.value.clear();
            let due_us = id * 1_000_000 / self.rate;
            let bucket = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) % BUCKETS;
            let written = write!(
                self.value,
                r#"{{"id":{id},"due_us":{due_us},"bucket":{bucket},"padding":"a record has some more that nobody looks at here"}}"#
            );
            written.map_err(|error| Error::Usage(error.to_string()))?;
            let partition = Some((id % PARTITIONS as u64) as i32);
            let record = Record { value: Some(self.value.as_bytes()), partition, ..Record::default() };
            self.producer.send(self.topic, record).map_err(Error::outside(self.topic))?;
        }
        self.next = self.next.max(end);
        self.producer.poll();
        Ok(())
    }

    /// How many there were, when all of them are with the broker.
    fn finish(self) -> Result<u64> {
        self.producer.flush(LAST).map_err(Error::outside(self.topic))?;
        Ok(self.next)
    }
}
