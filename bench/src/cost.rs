//! What one change costs a view, whatever was there before: CPU time per changed row over tables of 0.1 M rows, 1 M rows, and so on. A cost that
//! grows with the view's history shows in the last column, the ratio of the largest size to the smallest.
//!
//! A change is an upsert of a random row that is there, so that each is a row taken away and a row added. One statement of one row shows what an epoch
//! costs by itself; statements of many rows show the cost of a row. The table alone, without a view, stands first: its cost is in all others.

use std::path::Path;
use std::time::{Duration, Instant};

use engine::{Session, Settings};

use crate::sql::{self, execute, one_number};
use crate::{Error, Result, process};

/// Rows of a group: small ones have this many, whatever the size; of large ones there are [`LARGE_GROUPS`].
const SMALL_GROUP: u64 = 10;
const LARGE_GROUPS: u64 = 10;
/// Statements that change one row, and statements that change many.
const SINGLES: u64 = 100;
const BATCHES: u64 = 10;
/// Rows of a statement of many.
const BATCH: u64 = 100;
/// More than this from the smallest size to the largest is growth: caches alone make some.
const GROWTH: f64 = 2.5;
/// Rows of one INSERT that fills a table.
const FILL: u64 = 250_000;
/// The file of the source, beside the data.
const ARRIVALS: &str = "arrivals.jsonl";

/// `millrace bench cost`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rows of the table, one run for each size.
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
    rows: Vec<u64>,
    /// Only views whose names contain one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Worker threads.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Memory for state, in MiB.
    #[arg(long, default_value_t = 2048)]
    memory_mib: usize,
}

/// What is measured: a name, a view's query, and what its cost is known to grow with.
struct Kind {
    name: &'static str,
    query: &'static str,
    /// `WITH (…)`, or nothing.
    with: &'static str,
    grows_with: Option<&'static str>,
}

const fn kind(name: &'static str, query: &'static str) -> Kind {
    Kind { name, query, with: "", grows_with: None }
}

const fn growing(name: &'static str, query: &'static str, grows_with: &'static str) -> Kind {
    Kind { name, query, with: "", grows_with: Some(grows_with) }
}

const fn with(name: &'static str, with: &'static str, query: &'static str) -> Kind {
    Kind { name, query, with, grows_with: None }
}

/// One view of each kind of operator. `k` makes small groups, `g` large ones, `u` is the other side of joins, `prices` has two versions for each row of `u`,
/// and of `arrivals`, a source, there are few rows.
const KINDS: &[Kind] = &[
    kind("projection, filter", "SELECT id, v + 1 AS w FROM t WHERE v % 2 = 0"),
    kind("rows without a key", "SELECT k, v FROM t"),
    kind("count, sum, avg in all", "SELECT count(*) AS n, sum(v) AS s, avg(v) AS a FROM t"),
    kind("count, sum, avg", "SELECT k, count(*) AS n, sum(v) AS s, avg(v) AS a FROM t GROUP BY k"),
    kind("min, max in small groups", "SELECT k, min(v) AS a, max(v) AS b FROM t GROUP BY k"),
    kind("min, max in large groups", "SELECT g, min(v) AS a, max(v) AS b FROM t GROUP BY g"),
    kind("count distinct, large groups", "SELECT g, count(DISTINCT v) AS n FROM t GROUP BY g"),
    kind(
        "FILTER, bool_and, bit_or",
        "SELECT k, count(*) FILTER (WHERE v > 5) AS n, bool_and(v > 0) AS a, bit_or(v) AS b FROM t GROUP BY k",
    ),
    kind("bool_or, bit_xor, large groups", "SELECT g, bool_or(v > 0) AS a, bit_xor(v) AS b FROM t GROUP BY g"),
    kind("variance, large groups", "SELECT g, stddev(v) AS s, var_pop(v) AS p FROM t GROUP BY g"),
    kind("corr, regr_slope, large groups", "SELECT g, corr(v, k) AS c, regr_slope(v, k) AS r FROM t GROUP BY g"),
    kind("string_agg, small groups", "SELECT k, string_agg(v::text, ',' ORDER BY id) AS s FROM t GROUP BY k"),
    kind("json_agg, small groups", "SELECT k, json_agg(v) AS a, jsonb_object_agg(id, v) AS o FROM t GROUP BY k"),
    kind(
        "first_value, small groups",
        "SELECT k, first_value(v ORDER BY id) AS a, last_value(v ORDER BY id) AS b FROM t GROUP BY k",
    ),
    kind("approx_distinct, small groups", "SELECT k, approx_distinct(v) AS n FROM t GROUP BY k"),
    kind("rank in a group, small groups", "SELECT k, rank(50) WITHIN GROUP (ORDER BY v) AS r FROM t GROUP BY k"),
    kind("GROUPING SETS", "SELECT g, k, count(*) AS n FROM t GROUP BY GROUPING SETS ((g), (k), ())"),
    kind("ROLLUP", "SELECT g, k, count(*) AS n FROM t GROUP BY ROLLUP (g, k)"),
    kind("array_agg in small groups", "SELECT k, array_agg(v ORDER BY id) AS vs FROM t GROUP BY k"),
    growing("array_agg in large groups", "SELECT g, array_agg(v ORDER BY id) AS vs FROM t GROUP BY g", "its result"),
    kind("percentile, small groups", "SELECT k, percentile_cont(0.5) WITHIN GROUP (ORDER BY v) AS p FROM t GROUP BY k"),
    growing(
        "percentile, large groups",
        "SELECT g, percentile_cont(0.5) WITHIN GROUP (ORDER BY v) AS p FROM t GROUP BY g",
        "the rows of its group",
    ),
    growing(
        "mode, large groups",
        "SELECT g, mode() WITHIN GROUP (ORDER BY v % 1000) AS m FROM t GROUP BY g",
        "the rows of its group",
    ),
    kind("HAVING", "SELECT k, count(*) AS n FROM t GROUP BY k HAVING count(*) > 9"),
    kind("DISTINCT", "SELECT DISTINCT k, v % 7 AS r FROM t"),
    kind("DISTINCT ON", "SELECT DISTINCT ON (k) k, v, id FROM t ORDER BY k, v, id"),
    kind("top 10", "SELECT id, v FROM t ORDER BY v, id LIMIT 10"),
    kind(
        "top 10 of large groups",
        "SELECT id, g, v, place FROM (SELECT id, g, v, row_number() OVER (PARTITION BY g ORDER BY v, id) AS place FROM t) p WHERE place <= 10",
    ),
    kind(
        "row_number = 1, small groups",
        "SELECT id, k, v FROM (SELECT id, k, v, row_number() OVER (PARTITION BY k ORDER BY v DESC, id) AS place FROM t) p WHERE place = 1",
    ),
    kind(
        "window functions, small",
        "SELECT id, sum(v) OVER (PARTITION BY k ORDER BY id) AS s, lag(v) OVER (PARTITION BY k ORDER BY id) AS p FROM t",
    ),
    kind("LIMIT WITH TIES, OFFSET", "SELECT id, v FROM t ORDER BY v OFFSET 5 FETCH FIRST 10 ROWS WITH TIES"),
    kind(
        "lag, lead in large partitions",
        "SELECT id, lag(v) OVER w AS p, lead(v) OVER w AS n FROM t WINDOW w AS (PARTITION BY g ORDER BY at, id)",
    ),
    kind(
        "RANGE frame, large partitions",
        "SELECT id, sum(v) OVER (PARTITION BY g ORDER BY id RANGE BETWEEN 100 PRECEDING AND CURRENT ROW) AS s FROM t",
    ),
    kind("ntile, large partitions", "SELECT id, ntile(4) OVER (PARTITION BY g ORDER BY id) AS n FROM t"),
    growing(
        "percent_rank, large partitions",
        "SELECT id, percent_rank() OVER (PARTITION BY g ORDER BY id) AS r FROM t",
        "its result: rows leave a partition for another",
    ),
    kind("join", "SELECT t.id, u.v FROM t JOIN u ON u.id = t.k"),
    kind("left join", "SELECT t.id, u.v FROM t LEFT JOIN u ON u.id = t.k AND u.v > t.v"),
    kind("full join", "SELECT t.id, u.id AS other FROM t FULL JOIN u ON u.id = t.id"),
    kind("right join", "SELECT t.id, u.id AS other FROM t RIGHT JOIN u ON u.id = t.k"),
    kind("join of NULL-safe keys", "SELECT t.id, u.v FROM t JOIN u ON u.id IS NOT DISTINCT FROM t.k"),
    kind(
        "interval join",
        "SELECT a.id, b.id AS other FROM t a JOIN t b ON a.k = b.k AND a.at BETWEEN b.at - INTERVAL '1 hour' AND b.at",
    ),
    kind(
        "range join, large sides",
        "SELECT t.id, u.id AS other FROM t JOIN u ON t.id BETWEEN u.id * 10 AND u.id * 10 + 9",
    ),
    kind("cross join, small side", "SELECT t.id, s.name FROM t CROSS JOIN steps s WHERE s.low < 300"),
    kind("ASOF join", "SELECT a.id, b.id AS other FROM t a ASOF LEFT JOIN t b ON a.k = b.k AND a.at > b.at"),
    kind(
        "temporal join at a time",
        "SELECT t.id, p.v FROM t LEFT JOIN prices FOR SYSTEM_TIME AS OF t.at AS p ON p.id = t.k",
    ),
    kind(
        "temporal join, its right side",
        "SELECT s.id, t.v FROM arrivals s JOIN t FOR SYSTEM_TIME AS OF PROCTIME() AS t ON t.id = s.id",
    ),
    kind("semi join", "SELECT id FROM t WHERE k IN (SELECT id FROM u WHERE v % 2 = 0)"),
    kind("anti join", "SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.id = t.v)"),
    kind("NOT IN", "SELECT id FROM t WHERE v NOT IN (SELECT v FROM u WHERE id % 2 = 0)"),
    kind("self join in small groups", "SELECT a.id, b.id AS other FROM t a JOIN t b ON a.k = b.k AND a.v < b.v"),
    kind(
        "5-way join",
        "SELECT t.id, u.v, w.v AS w, x.v AS x, count(*) AS n FROM t JOIN u ON u.id = t.k JOIN u w ON w.id = u.v JOIN u x ON x.id = w.v JOIN t y ON y.id = x.id GROUP BY t.id, u.v, w.v, x.v",
    ),
    kind(
        "join without equality, small side",
        "SELECT t.id, s.name FROM t JOIN steps s ON t.v BETWEEN s.low AND s.high",
    ),
    kind(
        "LATERAL top 2",
        "SELECT u.id, x.v FROM u, LATERAL (SELECT t.v FROM t WHERE t.k = u.id ORDER BY t.v DESC, t.id LIMIT 2) x",
    ),
    kind("= ANY (subquery)", "SELECT id FROM t WHERE v = ANY (SELECT v FROM u)"),
    kind("scalar subquery per row", "SELECT u.id, (SELECT max(t.v) FROM t WHERE t.k = u.id) AS most FROM u"),
    kind("UNION", "SELECT k, v FROM t UNION SELECT id, v FROM u"),
    kind("UNION ALL", "SELECT k, v FROM t UNION ALL SELECT id, v FROM u"),
    kind("INTERSECT ALL", "SELECT v FROM t INTERSECT ALL SELECT v FROM u"),
    kind("INTERSECT", "SELECT v FROM t INTERSECT SELECT v FROM u"),
    kind("EXCEPT", "SELECT v FROM t EXCEPT SELECT v FROM u"),
    kind("EXCEPT ALL", "SELECT v FROM t EXCEPT ALL SELECT v FROM u"),
    kind("unnest", "SELECT id, e FROM t, unnest(ARRAY[k, v]) AS e"),
    kind("generate_series per row", "SELECT id, e FROM t, generate_series(1, v % 4) AS e"),
    kind("regexp_split_to_table", "SELECT id, e FROM t, regexp_split_to_table(v::text, '[37]') AS e"),
    kind("temporal filter", "SELECT id, v FROM t WHERE at > now() - INTERVAL '36500 days'"),
    with("retention", "WITH (retention = '36500 days')", "SELECT id, at, v FROM t"),
    kind(
        "HOP",
        "SELECT window_start, k, count(*) AS n FROM HOP(t, at, INTERVAL '1 minute', INTERVAL '3 minutes') GROUP BY window_start, k",
    ),
    kind(
        "CUMULATE",
        "SELECT window_end, g, count(*) AS n FROM CUMULATE(t, at, INTERVAL '1 hour', INTERVAL '6 hours') GROUP BY window_end, g",
    ),
    kind(
        "SESSION",
        "SELECT window_start, window_end, k, count(*) AS n FROM SESSION(t, at, INTERVAL '1 hour', k) GROUP BY window_start, window_end, k",
    ),
    kind(
        "TUMBLE",
        "SELECT window_start, k, count(*) AS n FROM TUMBLE(t, at, INTERVAL '1 minute') GROUP BY window_start, k",
    ),
    kind(
        "view over views",
        "SELECT n, count(*) AS groups, max(s) AS most FROM (SELECT k, count(*) AS n, sum(v) AS s FROM t GROUP BY k) x GROUP BY n",
    ),
    kind(
        "recursion: closure of chains",
        "WITH RECURSIVE r (a, b) AS (SELECT id, next FROM t WHERE next IS NOT NULL UNION SELECT r.a, t.next FROM r JOIN t ON t.id = r.b WHERE t.next IS NOT NULL) SELECT a, b FROM r",
    ),
    kind(
        "recursion: closure of rings",
        "WITH RECURSIVE r (a, b) AS (SELECT id, ring FROM t UNION SELECT r.a, t.ring FROM r JOIN t ON t.id = r.b) SELECT a, b FROM r",
    ),
];

/// CPU per changed row in microseconds: statements of one row, statements of many.
#[derive(Clone, Copy, Debug)]
struct Cost {
    single_us: f64,
    batch_us: f64,
}

/// Measures all kinds at all sizes, and prints a line for each kind.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(Error::io("no async runtime"))?;
    let table = kind("the table alone", "");
    let wanted =
        |kind: &&Kind| options.only.is_empty() || options.only.iter().any(|only| kind.name.contains(only.as_str()));
    let kinds: Vec<&Kind> = std::iter::once(&table).chain(KINDS.iter().filter(wanted)).collect();
    let mut sizes = Vec::new();
    for rows in &options.rows {
        eprintln!("over {rows} rows");
        sizes.push(runtime.block_on(measure_all(options, *rows, &kinds))?);
    }
    print_head(&options.rows);
    for (index, kind) in kinds.iter().enumerate() {
        let costs: Vec<Cost> = sizes.iter().map(|costs| costs[index]).collect();
        print(kind, &costs);
    }
    Ok(())
}

/// All kinds over tables of one size.
async fn measure_all(options: &Options, rows: u64, kinds: &[&Kind]) -> Result<Vec<Cost>> {
    let directory = sql::data_directory(None)?;
    let settings = Settings {
        data_dir: Some(directory.path().to_owned()),
        workers: options.workers,
        memory_budget_bytes: options.memory_mib << 20,
        ..Settings::default()
    };
    let (engine, mut session) = sql::open(settings)?;
    fill(&mut session, rows, &directory.path().join(ARRIVALS)).await?;
    let mut draws = Draws(rows);
    let mut costs = Vec::new();
    for kind in kinds {
        if !kind.query.is_empty() {
            execute(&mut session, &format!("CREATE MATERIALIZED VIEW measured {} AS {}", kind.with, kind.query))
                .await?;
            one_number(&mut session, "SELECT count(*) FROM measured").await?;
        }
        settle()?;
        // What is not in a cache yet, or is made at the first change, is no cost of a change.
        let warm = draws.statement(rows, BATCH);
        execute(&mut session, &warm).await?;
        let cost = Cost {
            single_us: changes(&mut session, &mut draws, rows, SINGLES, 1).await?,
            batch_us: changes(&mut session, &mut draws, rows, BATCHES, BATCH).await?,
        };
        eprintln!("  {:<36}{:>10.0}{:>10.1}", kind.name, cost.single_us, cost.batch_us);
        costs.push(cost);
        if !kind.query.is_empty() {
            execute(&mut session, "DROP MATERIALIZED VIEW measured").await?;
        }
    }
    engine.shutdown().await.map_err(Error::engine("the engine can't be stopped"))?;
    Ok(costs)
}

/// The tables: `t` with so many rows, `u` with a row for each small group and `prices` with two, a few `steps`, and `arrivals` from a file that is made here.
async fn fill(session: &mut Session, rows: u64, arrivals: &Path) -> Result<()> {
    std::fs::write(arrivals, "{\"id\":1}\n{\"id\":2}\n").map_err(Error::io("the file of arrivals can't be written"))?;
    execute(
        session,
        "CREATE TABLE t (id bigint PRIMARY KEY, k bigint, g bigint, v bigint NOT NULL, at timestamp, next bigint, ring bigint);
         CREATE TABLE u (id bigint PRIMARY KEY, v bigint NOT NULL);
         CREATE TABLE steps (low bigint, high bigint, name text);
         INSERT INTO steps SELECT n * 100, n * 100 + 99, 'step ' || n FROM generate_series(0, 9) AS n",
    )
    .await?;
    let columns = row("n", "(CAST(n AS bigint) * 7919)", rows);
    for first in (0..rows).step_by(FILL as usize) {
        let last = (first + FILL).min(rows) - 1;
        execute(session, &format!("INSERT INTO t SELECT {columns} FROM generate_series({first}, {last}) AS n")).await?;
    }
    let groups = rows / SMALL_GROUP;
    let other = format!("INSERT INTO u SELECT n, n * 31 % {groups} FROM generate_series(0, {}) AS n", groups - 1);
    execute(session, &other).await?;
    let versions = format!(
        "CREATE TABLE prices (id bigint, at timestamp, v bigint NOT NULL, PRIMARY KEY (id, at));
         INSERT INTO prices SELECT n % {groups}, TIMESTAMP '2024-01-01' + (n / {groups}) * INTERVAL '12 hours', n FROM generate_series(0, {}) AS n;
         CREATE SOURCE arrivals (id bigint) WITH (connector = 'file', path = '{}', format = 'json')",
        2 * groups - 1,
        arrivals.display()
    );
    execute(session, &versions).await
}

/// The columns of a row of `t` from its id and a number that is its own. Chains and rings are of ten rows each, and stay so.
fn row(id: &str, number: &str, rows: u64) -> String {
    let (groups, last) = (rows / SMALL_GROUP, SMALL_GROUP - 1);
    format!(
        "{id}, {number} % {groups}, {number} % {LARGE_GROUPS}, {number} % {rows}, TIMESTAMP '2024-01-01' + ({number} % 86400) * INTERVAL '1 second', \
         CASE WHEN {id} % {SMALL_GROUP} < {last} AND {number} % 5 <> 0 THEN {id} + 1 END, \
         CASE WHEN {number} % 5 = 0 THEN {id} WHEN {id} % {SMALL_GROUP} < {last} THEN {id} + 1 ELSE {id} - {last} END"
    )
}

/// CPU microseconds per changed row.
async fn changes(session: &mut Session, draws: &mut Draws, rows: u64, statements: u64, count: u64) -> Result<f64> {
    let statements: Vec<String> = (0..statements).map(|_| draws.statement(rows, count)).collect();
    let before = process::thread_time()?;
    for statement in &statements {
        execute(session, statement).await?;
    }
    let spent = process::thread_time()?.saturating_sub(before);
    Ok(spent.as_secs_f64() * 1e6 / (statements.len() as u64 * count) as f64)
}

/// Waits until checkpoints and compactions are done.
fn settle() -> Result<()> {
    let patience = Instant::now() + Duration::from_secs(60);
    while Instant::now() < patience {
        let before = process::thread_time()?;
        std::thread::sleep(Duration::from_millis(500));
        if process::thread_time()?.saturating_sub(before) < Duration::from_millis(15) {
            break;
        }
    }
    Ok(())
}

/// A fixed sequence of numbers, so that each run changes the same rows.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    /// An upsert of so many different rows.
    fn statement(&mut self, rows: u64, count: u64) -> String {
        let mut ids: Vec<u64> = (0..count).map(|_| self.below(rows)).collect();
        ids.sort_unstable();
        ids.dedup();
        let values: Vec<_> = ids.iter().map(|id| format!("({})", self.values(*id, rows))).collect();
        format!(
            "INSERT INTO t VALUES {} ON CONFLICT (id) DO UPDATE SET k = excluded.k, g = excluded.g, v = excluded.v, at = excluded.at, \
             next = excluded.next, ring = excluded.ring",
            values.join(", ")
        )
    }

    fn values(&mut self, id: u64, rows: u64) -> String {
        let number = self.below(1 << 30);
        let last = id % SMALL_GROUP == SMALL_GROUP - 1;
        let next = if last || number.is_multiple_of(5) { "NULL".to_owned() } else { (id + 1).to_string() };
        // A ring is broken here and there: a row that points at itself.
        let ring = if number.is_multiple_of(5) {
            id
        } else if last {
            id + 1 - SMALL_GROUP
        } else {
            id + 1
        };
        let (hour, minute, second) = (number / 3600 % 24, number / 60 % 60, number % 60);
        format!(
            "{id}, {}, {}, {}, TIMESTAMP '2024-01-01 {hour:02}:{minute:02}:{second:02}', {next}, {ring}",
            number % (rows / SMALL_GROUP),
            number % LARGE_GROUPS,
            number % rows,
        )
    }
}

fn print_head(rows: &[u64]) {
    let sizes =
        |what: &str| rows.iter().map(|rows| format!("{:>12}", format!("{what} {}k", rows / 1000))).collect::<String>();
    println!("CPU µs per changed row, by statements of 1 and of {BATCH} rows\n");
    println!("{:<36}{}{:>8}{}{:>8}", "view", sizes("1 of"), "ratio", sizes(&format!("{BATCH} of")), "ratio");
}

fn print(kind: &Kind, costs: &[Cost]) {
    let part = |get: fn(&Cost) -> f64| {
        let values: Vec<f64> = costs.iter().map(get).collect();
        let ratio = values.last().copied().unwrap_or(0.0) / values.first().copied().unwrap_or(1.0).max(0.1);
        (values.iter().map(|value| format!("{value:>12.1}")).collect::<String>(), ratio)
    };
    let ((singles, single), (batches, batch)) = (part(|cost| cost.single_us), part(|cost| cost.batch_us));
    let verdict = match (single.max(batch) > GROWTH, kind.grows_with) {
        (true, Some(with)) => format!("  grows with {with}"),
        (true, None) => "  GROWS".to_owned(),
        (false, _) => String::new(),
    };
    println!("{:<36}{singles}{single:>8.1}{batches}{batch:>8.1}{verdict}", kind.name);
}
