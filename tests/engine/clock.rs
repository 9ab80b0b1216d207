//! Views whose rows come and go as time passes, without anything being written.

use crate::support::database::Database;

/// Rows that are there for a second or two, in the past, now, and soon.
const ROWS: &str = "INSERT INTO visits VALUES (1, now() - INTERVAL '1 hour', now() - INTERVAL '59 minutes'),
    (2, now() - INTERVAL '1 hour', now() + INTERVAL '4 seconds'), (3, now() + INTERVAL '4 seconds', now() + INTERVAL '1 day'),
    (4, now() + INTERVAL '3 seconds', now() + INTERVAL '4 seconds'), (5, now() + INTERVAL '1 day', now() + INTERVAL '2 days')";

fn define(db: &mut Database) {
    db.run("CREATE TABLE visits (id int PRIMARY KEY, came timestamptz, left_at timestamptz)");
}

fn view(db: &mut Database, name: &str) {
    db.run(&format!(
        "CREATE MATERIALIZED VIEW {name} AS SELECT id FROM visits WHERE came <= now() AND left_at > now()"
    ));
}

pub fn rows_come_and_go_without_input() {
    let mut db = Database::durable();
    define(&mut db);
    view(&mut db, "present");
    db.run("CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n, min(id) AS first FROM present");
    db.run(ROWS);
    assert_eq!(db.lines("SELECT id FROM present ORDER BY id"), ["2"]);
    view(&mut db, "late");
    assert_eq!(db.lines("SELECT id FROM late ORDER BY id")[..1], ["2"]);
    for view in ["present", "late"] {
        db.wait_for(&format!("SELECT id FROM {view} ORDER BY id"), &["3"]);
    }
    db.wait_for("SELECT n, first FROM counted", &["1|3"]);
    // What waits for the day after tomorrow, and what waits to go.
    let operators = "SELECT sum(state_rows) FROM mr_catalog.operators WHERE operator LIKE 'TemporalFilter%'";
    db.wait_for(operators, &["4"]);
}

pub fn time_goes_on_while_the_engine_is_stopped() {
    let mut db = Database::durable();
    define(&mut db);
    view(&mut db, "present");
    db.run(ROWS);
    assert_eq!(db.lines("SELECT id FROM present ORDER BY id"), ["2"]);
    db.stop();
    std::thread::sleep(std::time::Duration::from_millis(4500));
    db.start();
    db.wait_for("SELECT id FROM present ORDER BY id", &["3"]);
    db.run("DELETE FROM visits");
    assert_eq!(db.lines("SELECT count(*) FROM present"), ["0"]);
}

pub fn rows_go_by_the_clock_without_a_watermark() {
    let mut db = Database::durable();
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
    db.wait_for("SELECT id FROM recent ORDER BY id", &["3", "4", "5"]);
    assert_eq!(db.lines("SELECT n FROM counted"), ["3"]);
    // A row that has gone comes back with a new time, and not with an old one.
    db.run("UPDATE visits SET came = now() WHERE id = 1");
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
    let mut db = Database::durable();
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
    for view in ["sums", "ids"] {
        db.wait_for(&format!("SELECT count(*) FROM {view}"), &["0"]);
    }
    let kept =
        "SELECT sum(state_rows) FROM mr_catalog.operators WHERE operator LIKE '%forgets%' OR operator LIKE 'Idle%'";
    db.wait_for(kept, &["0"]);
    assert_eq!(db.lines("SELECT count(*), count(DISTINCT n) FROM pairs"), ["500|500"]);
}
