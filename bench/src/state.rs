//! State larger than memory: what events cost, how much memory the process takes, and how long a restart takes, while a view's
//! state grows far beyond the memory budget.
//!
//! Keys are drawn uniformly (the worst that caches can meet) or by Zipf's law (what most data looks like). A line every few seconds shows
//! the rate since the last one, so that a collapse shows where it begins. What counts as memory is the whole process, which
//! here includes the generator.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use engine::{Engine, Session, Settings};

use crate::sql::{self, execute, one_number};
use crate::{Error, Result, process};

const MIB: f64 = (1 << 20) as f64;
/// How often the end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is kept for each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// Running values for each key, and a view of them.
    Aggregate,
    /// The rows of two sides by key.
    Join,
}

/// `millrace bench state`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Memory for state and caches, in MiB.
    #[arg(long, default_value_t = 256)]
    memory_mib: usize,
    /// Distinct keys.
    #[arg(long, default_value_t = 50_000_000)]
    keys: u64,
    /// Events in all.
    #[arg(long, default_value_t = 100_000_000)]
    events: u64,
    /// The exponents of the keys' Zipf distributions, one run for each; 0 is uniform.
    #[arg(long, value_delimiter = ',', default_values_t = [0.0, 1.0])]
    skew: Vec<f64>,
    /// What is kept for each key, one run for each.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Shape::Aggregate, Shape::Join])]
    shape: Vec<Shape>,
    /// Threads that step operators.
    #[arg(long)]
    workers: Option<usize>,
    /// Seconds between two lines.
    #[arg(long, default_value_t = 10)]
    every: u64,
    /// Where the data directory is made; it is removed at the end.
    #[arg(long)]
    data_dir: Option<std::path::PathBuf>,
}

/// Runs once for each shape and distribution.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(Error::io("no async runtime"))?;
    for shape in &options.shape {
        for skew in &options.skew {
            runtime.block_on(measure(options, *shape, *skew))?;
        }
    }
    Ok(())
}

async fn measure(options: &Options, shape: Shape, skew: f64) -> Result<()> {
    let directory = sql::data_directory(options.data_dir.as_deref())?;
    let name = shape.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    println!(
        "{name}, {} keys, Zipf {skew}, a budget of {} MiB; {:.0} MiB before anything is opened",
        options.keys,
        options.memory_mib,
        process::memory()? as f64 / MIB,
    );
    let (engine, mut session) = sql::open(settings(options, directory.path()))?;
    execute(&mut session, &definitions(options, shape, skew)).await?;
    process::reset_peak()?;
    let (began, cpu) = (Instant::now(), process::cpu_time()?);
    watch(&engine, Duration::from_secs(options.every.max(1))).await?;
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), (process::cpu_time()? - cpu).as_secs_f64());
    let events = sample(&engine, "millrace_source_records_total");
    println!(
        "all: {:.0} k events/s, {:.2} CPU s/M, {:.0} MiB at most, {:.0} MiB on disk, {:.0} MiB committed",
        events / seconds / 1e3,
        cpu / events * 1e6,
        process::peak_memory()? as f64 / MIB,
        sample(&engine, "millrace_store_bytes") / MIB,
        sample(&engine, "millrace_committed_bytes_total") / MIB,
    );
    let before = contents(&mut session).await?;
    let stopping = Instant::now();
    engine.shutdown().await.map_err(Error::engine("the engine can't be stopped"))?;
    drop((engine, session));
    let stopped = stopping.elapsed();

    let opening = Instant::now();
    let (engine, mut session) = sql::open(settings(options, directory.path()))?;
    let after = contents(&mut session).await?;
    println!(
        "restart: stopped in {:.2} s, serving after {:.2} s, {:.0} MiB then",
        stopped.as_secs_f64(),
        opening.elapsed().as_secs_f64(),
        process::memory()? as f64 / MIB,
    );
    if before != after {
        return Err(Error::Usage(format!("the view had {before:?} before the restart and {after:?} after it")));
    }
    engine.shutdown().await.map_err(Error::engine("the engine can't be stopped"))
}

fn settings(options: &Options, directory: &Path) -> Settings {
    Settings {
        data_dir: Some(directory.to_owned()),
        memory_budget_bytes: options.memory_mib << 20,
        workers: options.workers.unwrap_or(Settings::default().workers),
        ..Settings::default()
    }
}

fn definitions(options: &Options, shape: Shape, skew: f64) -> String {
    let source = |name: &str, seed: u64, events: u64, skew: f64| {
        format!(
            "CREATE SOURCE {name} (n BIGINT, id BIGINT) WITH (connector = 'generator', kind = 'sequence', keys = {}, skew = {skew}, \
             events = {events}, seed = {seed});",
            options.keys
        )
    };
    match shape {
        Shape::Aggregate => format!(
            "{} CREATE MATERIALIZED VIEW kept AS SELECT id, count(*) AS many, sum(n) AS total, max(n) AS last FROM a GROUP BY id",
            source("a", 1, options.events, skew)
        ),
        // One side is even: the pairs of two skewed ones grow with the square. Of the pairs only their number is kept: the state is the sides'.
        Shape::Join => format!(
            "{} {} CREATE MATERIALIZED VIEW kept AS SELECT 0::bigint AS id, count(*) AS many, sum(a.n + b.n) AS total FROM a JOIN b ON a.id = b.id",
            source("a", 1, options.events / 2, skew),
            source("b", 2, options.events / 2, 0.0)
        ),
    }
}

/// What is compared before and after a restart: the number of rows, and one of them.
async fn contents(session: &mut Session) -> Result<(i64, i64)> {
    let row = one_number(session, "SELECT many FROM kept WHERE id = 0").await?;
    let rows = one_number(session, "SELECT sum(rows)::bigint FROM mr_catalog.views").await?;
    Ok((row, rows))
}

/// Prints a line now and then until all events are in the view.
async fn watch(engine: &Engine, every: Duration) -> Result<()> {
    println!(
        "{:>7}{:>14}{:>13}{:>8}{:>10}{:>10}{:>10}{:>10}{:>12}",
        "s", "events", "k events/s", "cores", "now MiB", "peak MiB", "state", "caches", "disk MiB"
    );
    let began = Instant::now();
    let drained = engine.drained();
    tokio::pin!(drained);
    let (mut last, mut at, mut cpu) = (0.0, began, process::cpu_time()?);
    let mut done = false;
    while !done {
        done = tokio::time::timeout(every.saturating_sub(at.elapsed()), &mut drained).await.is_ok();
        // What is published is counted a moment later.
        tokio::time::sleep(if done { LOOK_EVERY } else { Duration::ZERO }).await;
        let events = sample(engine, "millrace_source_records_total");
        let (seconds, cpu_now) = (at.elapsed().as_secs_f64(), process::cpu_time()?);
        println!(
            "{:>7.0}{:>14.0}{:>13.0}{:>8.2}{:>10.0}{:>10.0}{:>10.0}{:>10.0}{:>12.0}",
            began.elapsed().as_secs_f64(),
            events,
            (events - last) / seconds / 1e3,
            (cpu_now - cpu).as_secs_f64() / seconds,
            process::memory()? as f64 / MIB,
            process::peak_memory()? as f64 / MIB,
            sample(engine, "millrace_state_bytes") / MIB,
            sample(engine, "millrace_cache_bytes") / MIB,
            sample(engine, "millrace_store_bytes") / MIB,
        );
        (last, at, cpu) = (events, Instant::now(), cpu_now);
    }
    Ok(())
}

/// The sum of what a metric has for all its labels.
fn sample(engine: &Engine, name: &str) -> f64 {
    engine.metrics().into_iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
}
