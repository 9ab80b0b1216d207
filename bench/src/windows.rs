//! What one changed row costs a window function over a large partition: the same at a million rows as at a hundred thousand, or more.
//!
//! All rows are one partition. Between them there is room for more, so that a change can be anywhere; each is a statement, durable when it returns.

use std::time::Instant;

use engine::Settings;

use crate::sql::{self, execute};
use crate::{Error, Result, process};

/// `millrace bench windows`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rows of the partition, one run for each.
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
    rows: Vec<u64>,
    /// Single rows that are added in a run.
    #[arg(long, default_value_t = 100)]
    changes: u64,
}

/// Where rows are added.
#[derive(Clone, Copy)]
enum Place {
    Between,
    Behind,
}

/// A view over `items (id, place, value)`, of which `place` is even.
struct View {
    name: &'static str,
    query: &'static str,
    place: Place,
}

const VIEWS: [View; 5] = [
    View {
        name: "first 10, between",
        query: "SELECT * FROM (SELECT id, value, row_number() OVER (ORDER BY place) AS n FROM items) AS r WHERE n <= 10",
        place: Place::Between,
    },
    View {
        name: "LIMIT 10, between",
        query: "SELECT id, value FROM items ORDER BY place DESC LIMIT 10",
        place: Place::Between,
    },
    View {
        name: "lag, lead, 5 rows, between",
        query: "SELECT id, lag(value) OVER w, lead(value) OVER w, \
                sum(value) OVER (w ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING) AS near FROM items WINDOW w AS (ORDER BY place)",
        place: Place::Between,
    },
    View {
        name: "running sum, number, behind",
        query: "SELECT id, sum(value) OVER w AS total, row_number() OVER w AS n FROM items WINDOW w AS (ORDER BY place)",
        place: Place::Behind,
    },
    View {
        name: "running greatest, between",
        query: "SELECT id, max(value) OVER (ORDER BY place) AS greatest FROM items",
        place: Place::Between,
    },
];

/// Prints a line for each number of rows and each view.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(Error::io("no async runtime"))?;
    println!("{:<30}{:>10}{:>9}{:>12}{:>12}{:>14}", "view", "rows", "changes", "ms/change", "CPU ms", "build CPU s");
    for view in &VIEWS {
        for rows in &options.rows {
            runtime.block_on(measure(view, *rows, options.changes))?;
        }
    }
    Ok(())
}

async fn measure(view: &View, rows: u64, changes: u64) -> Result<()> {
    let directory = sql::data_directory(None)?;
    let settings = Settings { data_dir: Some(directory.path().to_owned()), ..Settings::default() };
    let (engine, mut session) = sql::open(settings)?;
    execute(&mut session, "CREATE TABLE items (id bigint PRIMARY KEY, place bigint, value bigint)").await?;
    let fill =
        format!("INSERT INTO items SELECT n, 2 * n, n::bigint * 7919 % 1000 FROM generate_series(1, {rows}) AS s(n)");
    execute(&mut session, &fill).await?;
    let cpu = process::cpu_time()?;
    execute(&mut session, &format!("CREATE MATERIALIZED VIEW measured AS {}", view.query)).await?;
    execute(&mut session, "SELECT count(*) FROM measured").await?;
    let build = process::cpu_time()? - cpu;

    let (started, cpu) = (Instant::now(), process::cpu_time()?);
    for change in 0..changes {
        let place = match view.place {
            Place::Between => 2 * (rows / (changes + 1) * (change + 1)) + 1,
            Place::Behind => 2 * (rows + change) + 3,
        };
        let id = rows + 1 + change;
        execute(&mut session, &format!("INSERT INTO items VALUES ({id}, {place}, {})", change % 1000)).await?;
    }
    let each = |seconds: f64| 1000.0 * seconds / changes.max(1) as f64;
    println!(
        "{:<30}{:>10}{:>9}{:>12.3}{:>12.3}{:>14.2}",
        view.name,
        rows,
        changes,
        each(started.elapsed().as_secs_f64()),
        each((process::cpu_time()? - cpu).as_secs_f64()),
        build.as_secs_f64(),
    );
    engine.shutdown().await.map_err(Error::engine("the engine can't be stopped"))
}
