//! Views whose rows come and go as time passes, without anything being written. Most of them have a clock that the test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::support::database::Database;

/// Noon of the first of January 2026, microseconds since 1970.
const NOON_US: i64 = 1_767_268_800_000_000;

/// Rows that are there for a minute or some seconds: in the past, at noon, and soon.
const ROWS: &str = "INSERT INTO visits VALUES (1, '2026-01-01 11:00Z', '2026-01-01 11:01Z'),
    (2, '2026-01-01 11:00Z', '2026-01-01 12:00:04Z'), (3, '2026-01-01 12:00:04Z', '2026-01-02 12:00Z'),
    (4, '2026-01-01 12:00:03Z', '2026-01-01 12:00:04Z'), (5, '2026-01-02 12:00Z', '2026-01-03 12:00Z')";

/// A clock that stands until it is set.
struct Clock(Arc<AtomicI64>);

impl Clock {
    fn at_noon() -> (Self, Database) {
        let clock = Arc::new(AtomicI64::new(NOON_US));
        let db = Database::durable_at(clock.clone());
        (Self(clock), db)
    }

    /// It is so many seconds past noon.
    fn set(&self, seconds: i64) {
        self.0.store(NOON_US + seconds * 1_000_000, Ordering::SeqCst);
    }
}

fn define(db: &mut Database) {
    db.run("CREATE TABLE visits (id int PRIMARY KEY, came timestamptz, left_at timestamptz)");
}

fn view(db: &mut Database, name: &str) {
    db.run(&format!(
        "CREATE MATERIALIZED VIEW {name} AS SELECT id FROM visits WHERE came <= now() AND left_at > now()"
    ));
}

/// By the machine's own clock.
pub fn time_passes_by_itself() {
    let mut db = Database::durable();
    define(&mut db);
    view(&mut db, "present");
    db.run(
        "INSERT INTO visits VALUES (1, now() - INTERVAL '1 hour', now() + INTERVAL '2 seconds'),
           (2, now() + INTERVAL '2 seconds', now() + INTERVAL '1 day')",
    );
    db.wait_for("SELECT id FROM present", &["2"]);
}

pub fn rows_come_and_go_without_input() {
    let (clock, mut db) = Clock::at_noon();
    define(&mut db);
    view(&mut db, "present");
    db.run("CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n, min(id) AS first FROM present");
    db.run(ROWS);
    assert_eq!(db.lines("SELECT id FROM present ORDER BY id"), ["2"]);
    view(&mut db, "late");
    assert_eq!(db.lines("SELECT id FROM late ORDER BY id"), ["2"]);
    clock.set(4);
    for view in ["present", "late"] {
        db.wait_for(&format!("SELECT id FROM {view} ORDER BY id"), &["3"]);
    }
    db.wait_for("SELECT n, first FROM counted", &["1|3"]);
    // What waits for the day after tomorrow, and what waits to go.
    let operators = "SELECT sum(state_rows) FROM mr_catalog.operators WHERE operator LIKE 'TemporalFilter%'";
    db.wait_for(operators, &["4"]);
}

pub fn time_goes_on_while_the_engine_is_stopped() {
    let (clock, mut db) = Clock::at_noon();
    define(&mut db);
    view(&mut db, "present");
    db.run(ROWS);
    assert_eq!(db.lines("SELECT id FROM present ORDER BY id"), ["2"]);
    db.stop();
    clock.set(5);
    db.start();
    db.wait_for("SELECT id FROM present ORDER BY id", &["3"]);
    db.run("DELETE FROM visits");
    assert_eq!(db.lines("SELECT count(*) FROM present"), ["0"]);
}

/// Ahead, back, and back over a restart: what has gone stays gone, writes go on, and when the clock has come to where it was, so does time.
pub fn a_clock_that_jumps_stops_nothing() {
    let (clock, mut db) = Clock::at_noon();
    define(&mut db);
    view(&mut db, "present");
    db.run(ROWS);
    assert_eq!(db.lines("SELECT id FROM present"), ["2"]);
    clock.set(3600);
    db.wait_for("SELECT id FROM present", &["3"]);

    clock.set(-3600);
    for (id, left_at) in [(6, "12:30"), (7, "14:00")] {
        db.run(&format!("INSERT INTO visits VALUES ({id}, '2026-01-01 12:00Z', '2026-01-01 {left_at}Z')"));
    }
    for _ in 0..2 {
        assert_eq!(db.lines("SELECT id FROM present"), ["3", "7"], "it stays one o'clock");
        assert_eq!(db.lines("SELECT epoch_time >= '2026-01-01 13:00Z' FROM mr_catalog.epochs"), ["t"]);
        let says = "status LIKE 'running; the clock was set back, and now() stands still for another 7200 s'";
        db.wait_for(&format!("SELECT {says} FROM mr_catalog.epochs"), &["t"]);
        db.reopen();
    }
    db.run("UPDATE visits SET left_at = '2026-01-01 13:30Z' WHERE id = 3");
    assert_eq!(db.lines("SELECT id FROM present"), ["3", "7"]);
    clock.set(5400);
    db.wait_for("SELECT id FROM present", &["7"]);
    db.wait_for("SELECT status FROM mr_catalog.epochs", &["running"]);
}

pub fn rows_go_by_the_clock_without_a_watermark() {
    let (clock, mut db) = Clock::at_noon();
    define(&mut db);
    let created = |db: &mut Database, column: &str| {
        let with = format!("retention = '1 hour 3 seconds'{column}");
        db.run(&format!("CREATE MATERIALIZED VIEW recent WITH ({with}) AS SELECT id, came, left_at FROM visits"));
    };
    assert_eq!(
        db.error("CREATE MATERIALIZED VIEW recent WITH (retention = '1 hour') AS SELECT * FROM visits").state(),
        "22023"
    );
    created(&mut db, ", retention_column = 'came'");
    db.run("CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM recent");
    db.run(ROWS);
    assert_eq!(db.lines("SELECT id FROM recent ORDER BY id"), ["1", "2", "3", "4", "5"]);
    clock.set(3);
    db.wait_for("SELECT id FROM recent ORDER BY id", &["3", "4", "5"]);
    assert_eq!(db.lines("SELECT n FROM counted"), ["3"]);
    // A row that has gone comes back with a new time, and not with an old one.
    db.run("UPDATE visits SET came = '2026-01-01 12:00:03Z' WHERE id = 1");
    db.run("UPDATE visits SET came = came - INTERVAL '1 minute' WHERE id = 2");
    assert_eq!(db.lines("SELECT id FROM recent ORDER BY id"), ["1", "3", "4", "5"]);
    // A view with another name for the column, and another query, keeps its rows as long.
    db.run("ALTER MATERIALIZED VIEW recent RENAME COLUMN came TO since");
    db.run("ALTER MATERIALIZED VIEW recent AS SELECT id, came AS since, left_at FROM visits WHERE id < 5");
    let statement = &db.lines("SHOW CREATE recent")[0];
    assert!(statement.contains("retention = '3603 seconds', retention_column = 'since'"), "{statement}");
    assert_eq!(db.lines("SELECT id FROM recent ORDER BY id"), ["1", "3", "4"]);
}

pub fn keys_are_forgotten_over_a_restart_too() {
    let (clock, mut db) = Clock::at_noon();
    db.run(
        "CREATE SOURCE numbers (n bigint, id bigint) WITH (connector = 'generator', kind = 'sequence', events = 500, keys = 10)",
    );
    let with = "WITH (state_ttl = '4 seconds')";
    db.run(&format!("CREATE MATERIALIZED VIEW sums {with} AS SELECT id, count(*) AS n FROM numbers GROUP BY id"));
    db.run(&format!("CREATE MATERIALIZED VIEW ids {with} AS SELECT DISTINCT id FROM numbers"));
    db.run(&format!(
        "CREATE MATERIALIZED VIEW pairs {with} AS SELECT a.n, b.id FROM numbers a JOIN numbers b ON a.n = b.n"
    ));
    db.wait_for("SELECT count(*), sum(n) FROM sums", &["10|500"]);
    db.wait_for("SELECT count(*) FROM ids", &["10"]);
    db.reopen();
    clock.set(5);
    for view in ["sums", "ids"] {
        db.wait_for(&format!("SELECT count(*) FROM {view}"), &["0"]);
    }
    let kept =
        "SELECT sum(state_rows) FROM mr_catalog.operators WHERE operator LIKE '%forgets%' OR operator LIKE 'Idle%'";
    db.wait_for(kept, &["0"]);
    assert_eq!(db.lines("SELECT count(*), count(DISTINCT n) FROM pairs"), ["500|500"]);
}
