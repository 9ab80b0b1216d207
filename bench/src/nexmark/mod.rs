//! The auction benchmark: each query as a materialized view over sources that end, from the first row until all is visible.

mod contents;
mod queries;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use connectors::{SourceSpec, open_source};
use engine::{Session, Settings};

use self::queries::Query;
use crate::report::Measured;
use crate::sql::{self, execute, one_number};
use crate::{Error, Result, process, report};

/// Where the events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SourceKind {
    /// The built-in generator, in the same process.
    Generator,
    /// Files as the public generators write them: DIR/{bid,auction,person}/*.jsonl.
    JsonFile,
    /// Topics bid, auction and person, as `bench topics` fills them.
    Kafka,
}

/// `millrace bench nexmark`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which queries, separated by commas.
    #[arg(long, value_delimiter = ',')]
    queries: Vec<String>,
    /// Events over all three tables, from the generator.
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,
    /// Where the events come from.
    #[arg(long, value_enum, default_value_t = SourceKind::Generator)]
    source: SourceKind,
    /// The folder of the files.
    #[arg(long)]
    path: Option<PathBuf>,
    /// The brokers.
    #[arg(long, default_value = "127.0.0.1:9092")]
    brokers: String,
    /// Threads that step operators.
    #[arg(long)]
    workers: Option<usize>,
    /// Lanes of the generator per table.
    #[arg(long, default_value_t = 1)]
    lanes: u32,
    /// Runs of each query; the median counts.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Memory for state and caches, in MiB.
    #[arg(long, default_value_t = 8192)]
    memory_mib: usize,
    /// Where to keep the data directory while a query runs; it is removed afterwards.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Prints a number for each view's contents, whatever the order of its rows: equal contents have equal numbers.
    #[arg(long)]
    checksum: bool,
    /// Writes each view's contents to a file of this folder, as CSV.
    #[arg(long)]
    export: Option<PathBuf>,
    /// Writes the results to a file as well.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs the queries one after the other and prints a line for each.
pub(crate) fn run(options: &Options, allocations: Option<fn() -> u64>) -> Result<()> {
    let wanted = queries::named(&options.queries)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(Error::io("no async runtime"))?;
    report::print_head(options.checksum, allocations.is_some());
    let mut all = Vec::new();
    for query in wanted {
        let mut runs = Vec::with_capacity(options.runs);
        for _ in 0..options.runs.max(1) {
            runs.push(runtime.block_on(measure(options, query, allocations))?);
        }
        runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let median = runs.swap_remove(runs.len() / 2);
        report::print(&median);
        all.push(median);
    }
    match &options.json {
        Some(path) => report::write_json(path, &all),
        None => Ok(()),
    }
}

async fn measure(options: &Options, query: Query, allocations: Option<fn() -> u64>) -> Result<Measured> {
    let Query { name, sql: text, tables, setup } = query;
    let directory = sql::data_directory(options.data_dir.as_deref())?;
    let settings = Settings {
        data_dir: Some(directory.path().to_owned()),
        memory_budget_bytes: options.memory_mib << 20,
        workers: options.workers.unwrap_or(Settings::default().workers),
        ..Settings::default()
    };
    let (engine, mut session) = sql::open(settings)?;
    execute(&mut session, &declarations(options, tables)?).await?;
    if let Some(setup) = setup {
        execute(&mut session, setup).await?;
    }
    let expected = match options.source {
        SourceKind::Kafka => Some(records(options, tables)?),
        SourceKind::Generator | SourceKind::JsonFile => None,
    };

    process::reset_peak()?;
    let (started, cpu) = (Instant::now(), process::cpu_time()?);
    let committing = process::cpu_time_of_threads(COMMITTING)?;
    let allocated = allocations.map(|count| count());
    execute(&mut session, &format!("CREATE MATERIALIZED VIEW {name} AS\n{text}")).await?;
    match expected {
        Some(records) => read_up_to(&mut session, records).await?,
        None => engine.drained().await,
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu = (process::cpu_time()? - cpu).as_secs_f64();
    let committing = process::cpu_time_of_threads(COMMITTING)?.saturating_sub(committing).as_secs_f64();
    let allocated = allocations.zip(allocated).map(|(count, before)| count() - before);
    let peak_memory_bytes = process::peak_memory()?;

    let view_rows = one_number(&mut session, &format!("SELECT count(*) FROM {name}")).await?;
    let events = one_number(&mut session, "SELECT sum(rows)::bigint FROM mr_catalog.sources").await?;
    let checksum = match options.checksum {
        true => Some(format!("{:016x}", contents::checksum(&mut session, name).await?)),
        false => None,
    };
    if let Some(folder) = &options.export {
        contents::export(&mut session, name, folder).await?;
    }
    engine.shutdown().await.map_err(Error::engine("the engine can't be stopped"))?;
    let committed = engine.metrics().into_iter().find(|sample| sample.name == "millrace_committed_bytes_total");
    let events = u64::try_from(events).unwrap_or(0);
    Ok(Measured {
        query: name.to_owned(),
        source: options.source.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()),
        events,
        seconds,
        events_per_second: events as f64 / seconds,
        cpu_seconds_per_million: cpu / (events as f64 / 1e6),
        commit_cpu_share: if cpu > 0.0 { committing / cpu } else { 0.0 },
        peak_memory_bytes,
        committed_bytes: committed.map_or(0, |sample| sample.value as u64),
        view_rows,
        allocations_per_million: allocated.map(|count| count as f64 / (events as f64 / 1e6)),
        checksum,
    })
}

/// The threads that bring changes to the disk: the engine's own, and RocksDB's, which flush and compact.
const COMMITTING: &[&str] = &["commit", "rocksdb"];

/// How often a topic's progress is looked at: what a run of some seconds can be too long by.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until that many records have been taken from topics, which never end.
async fn read_up_to(session: &mut Session, records: i64) -> Result<()> {
    let read = "SELECT sum(next_offset)::bigint FROM mr_catalog.source_partitions";
    while one_number(session, read).await? < records {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Records in the topics of these tables, now.
fn records(options: &Options, tables: &[&str]) -> Result<i64> {
    let mut records = 0;
    for table in tables {
        let list =
            [("connector", "kafka"), ("brokers", options.brokers.as_str()), ("topic", *table), ("format", "json")];
        let list = list.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let spec = SourceSpec { name: (*table).to_owned(), columns: vec![], options: list.into(), upsert: None };
        let ends = open_source(&spec).and_then(|source| source.end_positions()).map_err(Error::outside(*table))?;
        records += ends.values().sum::<i64>();
    }
    Ok(records)
}

/// The CREATE SOURCE statements of these tables.
fn declarations(options: &Options, tables: &[&str]) -> Result<String> {
    let mut sql = String::new();
    for statement in queries::TABLES.split_inclusive(';') {
        let Some(table) = tables.iter().find(|table| statement.contains(&format!("@{table}@"))) else { continue };
        let with = match options.source {
            SourceKind::Generator => format!(
                "connector = 'generator', kind = 'nexmark', table = '{table}', events = {}, partitions = {}",
                options.events, options.lanes
            ),
            SourceKind::JsonFile => {
                let path = options
                    .path
                    .as_deref()
                    .ok_or_else(|| Error::Usage("--source json-file needs --path DIR".to_owned()))?;
                format!("connector = 'file', path = '{}', format = 'json'", table_glob(path, table))
            }
            SourceKind::Kafka => {
                format!("connector = 'kafka', brokers = '{}', topic = '{table}', format = 'json'", options.brokers)
            }
        };
        sql.push_str(&statement.replace(&format!("@{table}@"), &with));
    }
    Ok(sql)
}

fn table_glob(directory: &Path, table: &str) -> String {
    directory.join(table).join("*.jsonl").display().to_string().replace('\'', "''")
}
