//! The auction benchmark: each query as a materialized view over sources that end, from the first row until all is visible.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use clap::ValueEnum;
use engine::{Engine, Response, Session, SessionParameters, Settings};
use futures::TryStreamExt;

use crate::report::Measured;
use crate::{Error, Result, process, report};

const TABLES: &str = include_str!("../queries/tables.sql");

/// Every query with the tables that it reads.
const QUERIES: [(&str, &str, &[&str]); 14] = [
    ("q0", include_str!("../queries/q0.sql"), &["bid"]),
    ("q1", include_str!("../queries/q1.sql"), &["bid"]),
    ("q2", include_str!("../queries/q2.sql"), &["bid"]),
    ("q3", include_str!("../queries/q3.sql"), &["auction", "person"]),
    ("q4", include_str!("../queries/q4.sql"), &["auction", "bid"]),
    ("q5", include_str!("../queries/q5.sql"), &["bid"]),
    ("q7", include_str!("../queries/q7.sql"), &["bid"]),
    ("q8", include_str!("../queries/q8.sql"), &["auction", "person"]),
    ("q12", include_str!("../queries/q12.sql"), &["bid"]),
    ("q15", include_str!("../queries/q15.sql"), &["bid"]),
    ("q16", include_str!("../queries/q16.sql"), &["bid"]),
    ("q17", include_str!("../queries/q17.sql"), &["bid"]),
    ("q20", include_str!("../queries/q20.sql"), &["auction", "bid"]),
    ("q22", include_str!("../queries/q22.sql"), &["bid"]),
];

/// Where the events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SourceKind {
    /// The built-in generator, in the same process.
    Generator,
    /// Files as the public generators write them: DIR/{bid,auction,person}/*.jsonl.
    JsonFile,
    /// Topics bid, auction and person.
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
    /// Writes the results to a file as well.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs the queries one after the other and prints a line for each.
pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted = wanted(&options.queries)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(Error::io("no async runtime"))?;
    report::print_head();
    let mut all = Vec::new();
    for (name, query, tables) in wanted {
        let mut runs = Vec::with_capacity(options.runs);
        for _ in 0..options.runs.max(1) {
            runs.push(runtime.block_on(measure(options, name, query, tables))?);
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

type Query = (&'static str, &'static str, &'static [&'static str]);

fn wanted(names: &[String]) -> Result<Vec<Query>> {
    if names.is_empty() {
        return Ok(QUERIES.to_vec());
    }
    let find = |name: &String| {
        let found = QUERIES.iter().find(|(known, ..)| known == name).copied();
        let known = || QUERIES.map(|(name, ..)| name).join(", ");
        found.ok_or_else(|| Error::UnknownQuery { name: name.clone(), known: known() })
    };
    names.iter().map(find).collect()
}

async fn measure(options: &Options, name: &str, query: &str, tables: &[&str]) -> Result<Measured> {
    let parent = options.data_dir.clone().unwrap_or_else(std::env::temp_dir);
    let directory = tempfile::Builder::new().prefix("millrace-bench-").tempdir_in(parent);
    let directory = directory.map_err(Error::io("no data directory"))?;
    let settings = Settings {
        data_dir: Some(directory.path().to_owned()),
        memory_budget_bytes: options.memory_mib << 20,
        workers: options.workers.unwrap_or(Settings::default().workers),
        ..Settings::default()
    };
    let engine = Engine::open(settings).map_err(Error::engine("the engine can't be opened"))?;
    let user = "bench".to_owned();
    let parameters = SessionParameters { user: user.clone(), database: user, settings: BTreeMap::new() };
    let mut session = engine.session(parameters).map_err(Error::engine("no session"))?;
    execute(&mut session, &declarations(options, tables)?).await?;

    process::reset_peak()?;
    let (started, cpu) = (Instant::now(), process::cpu_time()?);
    execute(&mut session, &format!("CREATE MATERIALIZED VIEW {name} AS\n{query}")).await?;
    engine.drained().await;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = (process::cpu_time()? - cpu).as_secs_f64();
    let peak_memory_bytes = process::peak_memory()?;

    let view_rows = one_number(&mut session, &format!("SELECT count(*) FROM {name}")).await?;
    let events = one_number(&mut session, "SELECT sum(rows)::bigint FROM mr_catalog.sources").await?;
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
        peak_memory_bytes,
        committed_bytes: committed.map_or(0, |sample| sample.value as u64),
        view_rows,
    })
}

/// The CREATE SOURCE statements of these tables.
fn declarations(options: &Options, tables: &[&str]) -> Result<String> {
    let mut sql = String::new();
    for statement in TABLES.split_inclusive(';') {
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

async fn execute(session: &mut Session, sql: &str) -> Result<()> {
    for statement in session.parse(sql).map_err(Error::engine(sql))? {
        if let Response::Rows(rows) = session.run(&statement).await.map_err(Error::engine(sql))? {
            rows.batches.try_for_each(|_| async { Ok(()) }).await.map_err(Error::engine(sql))?;
        }
    }
    Ok(())
}

async fn one_number(session: &mut Session, sql: &str) -> Result<i64> {
    let statements = session.parse(sql).map_err(Error::engine(sql))?;
    let mut number = 0;
    for statement in statements {
        if let Response::Rows(rows) = session.run(&statement).await.map_err(Error::engine(sql))? {
            let batches: Vec<_> = rows.batches.try_collect().await.map_err(Error::engine(sql))?;
            for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
                number = batch.column(0).as_primitive::<Int64Type>().value(0);
            }
        }
    }
    Ok(number)
}
