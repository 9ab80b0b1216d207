//! Many subscribers of one view: how long a change takes until the last of them has it, and what that costs.

use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use engine::Settings;
use futures::StreamExt;
use hdrhistogram::Histogram;
use tokio::sync::mpsc;

use crate::sql::{self, execute, rows};
use crate::{Error, Result, process};

/// Rows of the view, of which each write changes one.
const KEYS: u64 = 1_000;
/// Written to show that all subscribers follow, before anything is counted.
const FIRST: i64 = 0;
/// How long the slowest subscriber may take.
const LAST: Duration = Duration::from_secs(30);

/// `millrace bench subscribers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many subscribers, one run for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 1_000])]
    subscribers: Vec<usize>,
    /// Writes, one after the other.
    #[arg(long, default_value_t = 200)]
    writes: i64,
    /// Writes a second, at most.
    #[arg(long, default_value_t = 50)]
    rate: u64,
}

/// Runs once for each number of subscribers and prints a line for each.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Error::io("no async runtime"))?;
    println!(
        "{:>12}{:>9}{:>14}{:>10}{:>14}{:>10}{:>16}{:>14}",
        "subscribers", "writes", "each p50 ms", "p99", "last p50 ms", "p99", "us CPU a change", "KiB each"
    );
    for subscribers in &options.subscribers {
        runtime.block_on(measure(options, *subscribers))?;
    }
    Ok(())
}

async fn measure(options: &Options, subscribers: usize) -> Result<()> {
    let directory = sql::data_directory(None)?;
    let settings = Settings { data_dir: Some(directory.path().to_owned()), ..Settings::default() };
    let (engine, mut session) = sql::open(settings)?;
    let tables = format!(
        "CREATE TABLE written (n BIGINT PRIMARY KEY);
         CREATE MATERIALIZED VIEW seen AS SELECT n % {KEYS} AS key, count(*) AS writes, max(n) AS n FROM written GROUP BY 1"
    );
    execute(&mut session, &tables).await?;
    let memory = process::memory()?;
    let (told, mut heard) = mpsc::unbounded_channel();
    let mut tasks = Vec::with_capacity(subscribers);
    for _ in 0..subscribers {
        let mut session = sql::session(&engine)?;
        let mut changes = rows(&mut session, "SUBSCRIBE TO seen").await?;
        let told = told.clone();
        tasks.push(tokio::spawn(async move {
            // The session lives as long as it follows.
            let _session = session;
            while let Some(Ok(batch)) = changes.next().await {
                let n = batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>();
                let Some(n) = arrow::compute::max(n) else { continue };
                if told.send((n, Instant::now())).is_err() {
                    break;
                }
            }
        }));
    }
    write(&mut session, FIRST).await?;
    wait_for_all(&mut heard, FIRST, subscribers).await?;
    let each_kib = (process::memory()?.saturating_sub(memory)) as f64 / 1024.0 / subscribers.max(1) as f64;

    let histogram =
        || Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("three digits within a minute can be kept");
    let (mut each, mut last) = (histogram(), histogram());
    let cpu = process::cpu_time()?;
    for n in 1..=options.writes {
        let began = Instant::now();
        write(&mut session, n).await?;
        let arrived = wait_for_all(&mut heard, n, subscribers).await?;
        let us = |at: &Instant| at.saturating_duration_since(began).as_micros().max(1) as u64;
        arrived.iter().for_each(|at| each.saturating_record(us(at)));
        last.saturating_record(arrived.iter().map(us).max().unwrap_or(1));
        tokio::time::sleep((Duration::from_secs(1) / options.rate.max(1) as u32).saturating_sub(began.elapsed())).await;
    }
    let cpu = (process::cpu_time()? - cpu).as_secs_f64();
    let ms = |histogram: &Histogram<u64>, quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "{subscribers:>12}{:>9}{:>14.2}{:>10.2}{:>14.2}{:>10.2}{:>16.1}{each_kib:>14.1}",
        options.writes,
        ms(&each, 0.5),
        ms(&each, 0.99),
        ms(&last, 0.5),
        ms(&last, 0.99),
        cpu * 1e6 / options.writes.max(1) as f64 / subscribers.max(1) as f64,
    );
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    engine.shutdown().await.map_err(Error::engine("the engine can't be stopped"))
}

async fn write(session: &mut engine::Session, n: i64) -> Result<()> {
    execute(session, &format!("INSERT INTO written VALUES ({n})")).await
}

/// When each subscriber was shown the row that says `n`.
async fn wait_for_all(
    heard: &mut mpsc::UnboundedReceiver<(i64, Instant)>,
    n: i64,
    subscribers: usize,
) -> Result<Vec<Instant>> {
    let mut arrived = Vec::with_capacity(subscribers);
    while arrived.len() < subscribers {
        match tokio::time::timeout(LAST, heard.recv()).await {
            Ok(Some((seen, at))) if seen == n => arrived.push(at),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => {
                return Err(Error::Usage(format!("{} of {subscribers} subscribers were shown row {n}", arrived.len())));
            }
        }
    }
    Ok(arrived)
}
