//! Recursions that want more than they get.

use std::time::{Duration, Instant};

use crate::support::database::{Database, settings};
use crate::support::machine::threads;
use crate::support::wait;

/// Rows of `width` bytes, a thousand for each start: followed row by row, and in rounds.
const TERMS: [(&str, &str); 2] = [
    ("followed", "SELECT n, i + 1, pad FROM r WHERE i < 999"),
    (
        "in_rounds",
        "SELECT n, i + 1, pad FROM (SELECT r.*, row_number() OVER (PARTITION BY n ORDER BY i) AS k FROM r) AS s WHERE i < 999 AND k = 1",
    ),
];

pub fn a_recursion_keeps_to_its_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(Some(folder.path().to_owned()));
    settings.memory_budget_bytes = 64 << 20;
    let mut db = Database::open(settings);
    db.run("CREATE TABLE starts (n int PRIMARY KEY, width int)");
    db.run("CREATE MATERIALIZED VIEW other AS SELECT count(*) AS n FROM starts");
    db.run("INSERT INTO starts VALUES (1, 100)");
    for (name, term) in TERMS {
        db.run(&format!(
            "CREATE MATERIALIZED VIEW {name} AS WITH RECURSIVE r(n, i, pad) AS
               (SELECT n, 0, repeat('x', width) FROM starts UNION ALL {term}) SELECT n, i, length(pad) AS width FROM r"
        ));
        assert_eq!(db.lines(&format!("SELECT count(*), sum(width) FROM {name}")), ["1000|100000"], "{name}");
    }
    db.run("INSERT INTO starts VALUES (2, 100000)");
    for more in ["INSERT INTO starts VALUES (3, 10)", ""] {
        for (name, _) in TERMS {
            let failure = db.error(&format!("SELECT count(*) FROM {name}"));
            assert_eq!(failure.state(), "53200", "{name}: {failure}");
        }
        match more {
            "" => db.reopen(),
            more => drop(db.run(more)),
        }
    }
    assert_eq!(db.lines("SELECT n FROM other"), ["3"], "nobody else is held up");
    for (name, _) in TERMS {
        assert_eq!(db.error(&format!("SELECT count(*) FROM {name}")).state(), "53200", "{name} after a restart");
    }
    db.run("DELETE FROM starts WHERE n = 2");
    for (name, _) in TERMS {
        assert_eq!(db.lines(&format!("SELECT count(*), sum(width) FROM {name}")), ["2000|110000"], "{name}");
    }
    assert_eq!(db.lines("SELECT count(*) FROM mr_catalog.view_errors"), ["0"]);
}

pub fn dropping_ends_a_recursion() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(Some(folder.path().to_owned()));
    settings.memory_budget_bytes = 4 << 30;
    let mut db = Database::open(settings);
    db.run("CREATE TABLE t (n int PRIMARY KEY)");
    db.run("CREATE MATERIALIZED VIEW other AS SELECT count(*) AS n FROM t");
    db.run(
        "CREATE MATERIALIZED VIEW far AS WITH RECURSIVE r(k, i) AS
           (SELECT k, 0 FROM generate_series(1, 1500) AS g(k) UNION ALL SELECT k, i + 1 FROM r WHERE i < 9000)
         SELECT count(*) AS n FROM r",
    );
    wait::until("the thread", || (threads("hydrate far") > 0).then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    db.run("INSERT INTO t VALUES (1)");
    assert_eq!(db.lines("SELECT n FROM other"), ["1"]);
    assert_eq!(db.lines("SELECT hydrated FROM mr_catalog.views WHERE name = 'far'"), ["f"], "others don't wait for it");
    let start = Instant::now();
    db.run("DROP MATERIALIZED VIEW far");
    wait::until("its end", || (threads("hydrate far") == 0).then_some(()));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    db.stop();
}
