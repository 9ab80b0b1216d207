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
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 100_000, 1_000_000])]
    rows: Vec<u64>,
    /// Single rows that are added in a run.
    #[arg(long, default_value_t = 100)]
    changes: u64,
    /// Only views whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

/// Where rows are added.
#[derive(Clone, Copy)]
enum Place {
    Between,
    Behind,
}

/// A view over `items (id, place, at, value)`, of which `place` is even and `at` so many seconds later.
struct View {
    name: &'static str,
    query: &'static str,
    place: Place,
}

const VIEWS: [View; 12] = [
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
    View {
        name: "RANGE 1 hour, behind",
        query: "SELECT id, sum(value) OVER (ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW) AS s FROM items",
        place: Place::Behind,
    },
    View {
        name: "RANGE 1 hour, between",
        query: "SELECT id, sum(value) OVER (ORDER BY at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW) AS s FROM items",
        place: Place::Between,
    },
    View {
        name: "RANGE 100 both sides, between",
        query: "SELECT id, max(value) OVER (ORDER BY place RANGE BETWEEN 100 PRECEDING AND 100 FOLLOWING) AS m FROM items",
        place: Place::Between,
    },
    View {
        name: "GROUPS 2 PRECEDING, between",
        query: "SELECT id, sum(value) OVER (ORDER BY place GROUPS 2 PRECEDING) AS s FROM items",
        place: Place::Between,
    },
    View {
        name: "5 rows without the row, between",
        query: "SELECT id, sum(value) OVER (ORDER BY place ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING EXCLUDE CURRENT ROW) AS s FROM items",
        place: Place::Between,
    },
    View {
        name: "ntile(4), between",
        query: "SELECT id, ntile(4) OVER (ORDER BY place) AS quarter FROM items",
        place: Place::Between,
    },
    View {
        name: "percent_rank: all change",
        query: "SELECT id, percent_rank() OVER (ORDER BY place) AS r FROM items",
        place: Place::Between,
    },
];

/// Prints a line for each number of rows and each view.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(Error::io("no async runtime"))?;
    println!("{:<34}{:>10}{:>9}{:>12}{:>12}{:>14}", "view", "rows", "changes", "ms/change", "CPU ms", "build CPU s");
    let wanted = |view: &&View| options.only.as_ref().is_none_or(|only| view.name.contains(only.as_str()));
    for view in VIEWS.iter().filter(wanted) {
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
    execute(&mut session, "CREATE TABLE items (id bigint PRIMARY KEY, place bigint, at timestamp, value bigint)")
        .await?;
    let fill = format!(
        "INSERT INTO items SELECT n, 2 * n, {}, n::bigint * 7919 % 1000 FROM generate_series(1, {rows}) AS s(n)",
        at("2 * n")
    );
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
        execute(
            &mut session,
            &format!("INSERT INTO items VALUES ({id}, {place}, {}, {})", at(&place.to_string()), change % 1000),
        )
        .await?;
    }
    let each = |seconds: f64| 1000.0 * seconds / changes.max(1) as f64;
    println!(
        "{:<34}{:>10}{:>9}{:>12.3}{:>12.3}{:>14.2}",
        view.name,
        rows,
        changes,
        each(started.elapsed().as_secs_f64()),
        each((process::cpu_time()? - cpu).as_secs_f64()),
        build.as_secs_f64(),
    );
    engine.shutdown().await.map_err(Error::engine("the engine can't be stopped"))
}

/// The time of a place.
fn at(place: &str) -> String {
    format!("TIMESTAMP '2024-01-01' + ({place}) * INTERVAL '1 second'")
}
