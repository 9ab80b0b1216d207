//! Many views at once: what one more costs when there are hundreds. How long CREATE takes, when all are built, what an idle engine
//! uses, and what events cost when each goes through all views of its source.

use std::time::{Duration, Instant};

use engine::{Session, Settings};

use crate::sql::{self, execute, one_number};
use crate::{Error, Result, process};

/// CREATEs at the end, when there are most views, of which the median is shown.
const LAST: usize = 20;

/// `millrace bench views`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many views, one run for each number.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    views: Vec<usize>,
    /// Sources over which the views are spread.
    #[arg(long, default_value_t = 1)]
    sources: usize,
    /// Events of each source before the views are made.
    #[arg(long, default_value_t = 100_000)]
    events: u64,
    /// How long the idle engine is watched, in seconds.
    #[arg(long, default_value_t = 5)]
    idle_seconds: u64,
    /// Events a second of each source, which then never ends: what is called idle is this load.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Memory for state and caches, in MiB.
    #[arg(long, default_value_t = 4096)]
    memory_mib: usize,
    /// All views are created before any of them is waited for; otherwise each is built before the next is made.
    #[arg(long)]
    together: bool,
}

/// Runs once for each number of views and prints a line for each.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(Error::io("no async runtime"))?;
    println!(
        "{:>7}{:>9}{:>12}{:>12}{:>12}{:>10}{:>12}{:>11}{:>11}{:>12}",
        "views",
        "sources",
        "create p50",
        "p99",
        "last 20",
        "built s",
        "built CPU s",
        "idle cores",
        "now MiB",
        "peak MiB"
    );
    for views in &options.views {
        runtime.block_on(measure(options, *views))?;
    }
    Ok(())
}

async fn measure(options: &Options, views: usize) -> Result<()> {
    let directory = sql::data_directory(None)?;
    let settings = Settings {
        data_dir: Some(directory.path().to_owned()),
        memory_budget_bytes: options.memory_mib << 20,
        ..Settings::default()
    };
    let (engine, mut session) = sql::open(settings)?;
    let sources = options.sources.max(1);
    for source in 0..sources {
        execute(&mut session, &source_text(source, options)).await?;
    }

    process::reset_peak()?;
    let (began, cpu) = (Instant::now(), process::cpu_time()?);
    let mut created = Vec::with_capacity(views);
    for view in 0..views {
        let before = Instant::now();
        execute(&mut session, &view_text(view, sources)).await?;
        created.push(before.elapsed());
        if !options.together {
            wait_for(&mut session, view).await?;
        }
    }
    if options.rate == 0 {
        engine.drained().await;
    } else {
        for view in 0..views {
            wait_for(&mut session, view).await?;
        }
    }
    let built_seconds = began.elapsed().as_secs_f64();
    let built_cpu = (process::cpu_time()? - cpu).as_secs_f64();
    let rows = one_number(&mut session, "SELECT sum(rows)::bigint FROM mr_catalog.views").await?;

    // What follows a build (compaction, freeing memory) is not idle yet.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let cpu = process::cpu_time()?;
    tokio::time::sleep(Duration::from_secs(options.idle_seconds)).await;
    let idle = (process::cpu_time()? - cpu).as_secs_f64() / options.idle_seconds.max(1) as f64;

    let last = created[created.len().saturating_sub(LAST)..].to_vec();
    println!(
        "{views:>7}{sources:>9}{:>9.1} ms{:>9.1} ms{:>9.1} ms{built_seconds:>10.2}{built_cpu:>12.2}{idle:>11.3}{:>11.0}{:>12.0}   {rows} rows",
        quantile(&mut created, 0.5),
        quantile(&mut created.clone(), 0.99),
        quantile(&mut last.clone(), 0.5),
        process::memory()? as f64 / f64::from(1 << 20),
        process::peak_memory()? as f64 / f64::from(1 << 20),
    );
    engine.shutdown().await.map_err(Error::engine("the engine can't be stopped"))
}

/// Waits until a view is built: a query on it does.
async fn wait_for(session: &mut Session, view: usize) -> Result<()> {
    one_number(session, &format!("SELECT bids FROM v{view} LIMIT 1")).await.map(drop)
}

fn source_text(source: usize, options: &Options) -> String {
    let rate =
        if options.rate > 0 { format!(", rate = {}", options.rate) } else { format!(", events = {}", options.events) };
    format!(
        "CREATE SOURCE bid_{source} (auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, \"dateTime\" TIMESTAMP, \
         extra TEXT) WITH (connector = 'generator', kind = 'nexmark', table = 'bid', seed = {source}{rate})"
    )
}

/// Views that are alike but not equal, as a dashboard's for each customer are: each has operators of its own.
fn view_text(view: usize, sources: usize) -> String {
    format!(
        "CREATE MATERIALIZED VIEW v{view} AS SELECT auction % 100 AS auction, count(*) AS bids, sum(price) AS total, max(price) AS most \
         FROM bid_{} WHERE bidder % 1000 <> {view} GROUP BY 1",
        view % sources
    )
}

/// Milliseconds.
fn quantile(times: &mut [Duration], quantile: f64) -> f64 {
    times.sort_unstable();
    let index = ((times.len() as f64 * quantile) as usize).min(times.len().saturating_sub(1));
    times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
