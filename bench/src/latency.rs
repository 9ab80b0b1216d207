//! How long a record takes from the moment when it was due to be produced: until a subscriber to a view is shown it, and until a
//! consumer of a sink topic that sees only what is committed has read it.
//!
//! All records go through an aggregation; one in so many is a probe, which goes through a view and a sink of its own. A record is
//! late by its producer's delay too: what counts is when it was due, so a system that falls behind can't hide it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use connectors::kafka::mock::MockKafka;
use connectors::kafka::produce::{Producer, Record, ensure_topic};
use connectors::kafka::read::Reader;
use engine::{Engine, Settings};
use futures::StreamExt;
use hdrhistogram::Histogram;

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
/// Keys of the aggregation.
const BUCKETS: u64 = 10_000;
const PARTITIONS: i32 = 4;

/// `millrace bench latency`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Records a second, one run for each.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 10_000])]
    rates: Vec<u64>,
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
        "{:<10}{:<20}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "records/s", "ms until", "probes", "p50", "p90", "p99", "p99.9", "most", "cores"
    );
    for rate in &options.rates {
        runtime.block_on(measure(options, brokers, mock.as_ref(), *rate))?;
    }
    Ok(())
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

    fn print(&self, rate: u64, until: &str, cores: f64) {
        let ms = |quantile: f64| self.histogram.value_at_quantile(quantile) as f64 / 1e3;
        println!(
            "{rate:<10}{until:<20}{:>9}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{:>9.2}{cores:>9.2}",
            self.histogram.len(),
            ms(0.5),
            ms(0.9),
            ms(0.99),
            ms(0.999),
            self.histogram.max() as f64 / 1e3,
        );
    }
}

async fn measure(options: &Options, brokers: &str, mock: Option<&MockKafka>, rate: u64) -> Result<()> {
    let name = format!("latency-{}-{rate}", std::process::id());
    let out = format!("{name}-out");
    for (topic, partitions) in [(&name, PARTITIONS), (&out, 1)] {
        match mock {
            Some(mock) => mock.create_topic(topic, partitions),
            None => ensure_topic(brokers, topic, partitions),
        }
        .map_err(Error::outside(topic.as_str()))?;
    }
    let directory = sql::data_directory(None)?;
    let settings = Settings { data_dir: Some(directory.path().to_owned()), ..Settings::default() };
    let (engine, mut session) = sql::open(settings)?;
    let every = rate.div_ceil(PROBES).max(1);
    execute(&mut session, &definitions(brokers, &name, &out, every, mock.is_some())).await?;

    let start = Instant::now();
    let cpu = process::cpu_time()?;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = tokio::spawn(watch(engine.clone(), start, rate * options.seconds / every));
    let read = std::thread::spawn({
        let (brokers, stop) = (brokers.to_owned(), stop.clone());
        move || read(&brokers, &out, start, &stop)
    });
    let producer = Producer::new(brokers).map_err(Error::outside("no producer"))?;
    let seconds = Duration::from_secs(options.seconds);
    let produced = tokio::task::spawn_blocking(move || produce(&producer, &name, start, rate, seconds)).await;
    let produced = produced.map_err(|error| Error::Usage(format!("the producer broke down: {error}")))??;
    let cores = (process::cpu_time()? - cpu).as_secs_f64() / start.elapsed().as_secs_f64();

    let seen = tokio::time::timeout(LAST, seen).await;
    let lost = || Error::Usage(format!("{produced} records were produced, and the view hasn't got all of them"));
    let seen = seen.map_err(|_| lost())?.map_err(|error| Error::Usage(error.to_string()))??;
    // The sink gets the last probes within its commit interval.
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let read = read.join().map_err(|_| Error::Usage("the reader of the sink topic broke down".to_owned()))??;
    let counted = one_number(&mut session, "SELECT sum(records)::bigint FROM totals").await?;
    if counted != produced as i64 {
        return Err(Error::Usage(format!("{produced} records were produced, the view counts {counted}")));
    }
    seen.print(rate, "seen in the view", cores);
    read.print(rate, "read from the sink", cores);
    engine.shutdown().await.map_err(Error::engine("the engine can't be stopped"))
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
    let records = rate * length.as_secs();
    let mut value = String::new();
    let mut id = 0;
    while id < records {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        while id < due.min(records) {
            use std::fmt::Write;
            value.clear();
            let due_us = id * 1_000_000 / rate;
            let bucket = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) % BUCKETS;
            let written = write!(
                value,
                r#"{{"id":{id},"due_us":{due_us},"bucket":{bucket},"padding":"a record has some more that nobody looks at here"}}"#
            );
            written.map_err(|error| Error::Usage(error.to_string()))?;
            let partition = Some((id % PARTITIONS as u64) as i32);
            let record = Record { value: Some(value.as_bytes()), partition, ..Record::default() };
            producer.send(topic, record).map_err(Error::outside(topic))?;
            id += 1;
        }
        producer.poll();
        std::thread::sleep(STEP);
    }
    producer.flush(LAST).map_err(Error::outside(topic))?;
    Ok(records)
}
