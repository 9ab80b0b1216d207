//! Views that are made when there is a past to read.

use std::time::Duration;

use storage::fault::{Fault, FaultPlan, FaultStore, Loss};
use storage::{Store, Visit};

use crate::support::database::{Database, settings};
use crate::support::machine::{Machine, threads};
use crate::support::wait;

/// A source of that many numbers, as fast as they can be made.
fn numbers(events: u64) -> String {
    format!(
        "CREATE SOURCE numbers (n bigint, id bigint)
           WITH (connector = 'generator', kind = 'sequence', events = {events}, keys = 40)"
    )
}

pub fn a_view_waits_for_the_view_it_reads() {
    const EVENTS: u64 = 1_500_000;
    let mut db = Database::durable();
    db.run(&numbers(EVENTS));
    db.run("CREATE MATERIALIZED VIEW first AS SELECT id, count(*) AS n FROM numbers GROUP BY id");
    db.wait_for("SELECT sum(n) FROM first", &[&EVENTS.to_string()]);
    // Each of these is made before the one that it reads has its past.
    db.run("CREATE MATERIALIZED VIEW second AS SELECT id % 10 AS k, count(*) AS n, sum(n) AS total FROM numbers GROUP BY id % 10");
    db.run("CREATE MATERIALIZED VIEW third AS SELECT k % 2 AS odd, sum(n) AS n, sum(total) AS total FROM second GROUP BY k % 2");
    db.run("CREATE MATERIALIZED VIEW fourth AS SELECT a.k, a.n, b.n AS of_all FROM second a JOIN third b ON b.odd = a.k % 2");
    assert_eq!(db.lines("SELECT count(*), sum(n), sum(of_all) FROM fourth"), [format!("10|{EVENTS}|{}", EVENTS * 5)]);
    let total = (EVENTS * (EVENTS - 1) / 2).to_string();
    assert_eq!(db.lines("SELECT sum(total) FROM third"), [total]);
    // So does an index.
    db.run(
        "CREATE MATERIALIZED VIEW fifth AS SELECT n % 1000 AS k, id, count(*) AS n FROM numbers GROUP BY n % 1000, id",
    );
    db.run("CREATE INDEX ON fifth (id)");
    let found = db.lines("SELECT k, n FROM fifth WHERE id = 7");
    assert!(!found.is_empty());
    assert_eq!(found, db.lines("SELECT k, n FROM fifth WHERE id + 0 = 7"));
    db.reopen();
    assert_eq!(db.lines("SELECT count(*), sum(n) FROM fourth"), [format!("10|{EVENTS}")]);
}

/// What is built, and what it must be: an aggregate, a log of rows, a bag, a join with a view that is built too.
const VIEWS: [(&str, &str); 4] = [
    ("sums", "SELECT k, count(*) AS n, sum(v) AS total, min(v) AS least FROM t GROUP BY k"),
    ("bag", "SELECT v % 3 AS r FROM t"),
    ("distinct_rests", "SELECT DISTINCT v % 7 AS r FROM t"),
    ("joined", "SELECT t.id, t.v, s.n, s.total FROM t JOIN sums s ON s.k = t.k"),
];

pub fn a_build_cut_short_by_a_crash_begins_again() {
    let (first, last) = build_with(FaultPlan::quiet(5));
    assert!(last - first >= 4, "a build is several commits: {first} to {last}");
    for commit in first..last {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            build_with(FaultPlan::quiet(5).with(commit, fault));
        }
    }
}

/// Makes the views over a table with rows, and compares them; the numbers of the commits from the first view on.
fn build_with(plan: FaultPlan) -> (u64, u64) {
    let mut settings = settings(None);
    settings.workers = 2;
    settings.checkpoint_interval = Duration::from_secs(3600);
    let what = format!("{plan:?}");
    let mut machine = Machine::start(FaultStore::new(plan), settings);
    let loss = Loss::Nothing;
    machine.insist("CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY, k int, v int)", loss);
    machine.insist(
        "INSERT INTO t SELECT i, i % 20, i * 7 % 100 FROM generate_series(1, 3000) AS g(i) ON CONFLICT DO NOTHING",
        loss,
    );
    let first = machine.store.tried();
    for (name, query) in VIEWS {
        machine.insist(&format!("CREATE MATERIALIZED VIEW IF NOT EXISTS {name} AS {query}"), loss);
    }
    for (name, query) in VIEWS {
        assert_eq!(
            machine.lines(&format!("SELECT * FROM {name}"), loss),
            machine.lines(query, loss),
            "{name} with {what}"
        );
    }
    // The join's own commit follows what readers see.
    let last = wait::until("the last commit", || {
        let tried = machine.store.tried();
        std::thread::sleep(Duration::from_millis(50));
        (machine.store.tried() == tried).then_some(tried)
    });
    machine.insist("UPDATE t SET v = v + 1, k = (k + 1) % 20 WHERE id % 3 = 0", loss);
    machine.insist("DELETE FROM t WHERE id % 5 = 0", loss);
    for _ in 0..2 {
        for (name, query) in VIEWS {
            assert_eq!(
                machine.lines(&format!("SELECT * FROM {name}"), loss),
                machine.lines(query, loss),
                "{name} with {what}"
            );
        }
        machine.restart(loss);
    }
    (first, last)
}

pub fn stopping_ends_the_threads_that_build() {
    let mut db = Database::durable();
    db.run(&numbers(12_000_000));
    db.run("CREATE MATERIALIZED VIEW first AS SELECT id, count(*) AS n FROM numbers GROUP BY id");
    wait::until("a past", || (db.lines("SELECT coalesce(sum(n), 0) >= 2000000 FROM first") == ["t"]).then_some(()));
    db.run("CREATE MATERIALIZED VIEW sloth AS SELECT n % 100000 AS k, count(*) AS n FROM numbers GROUP BY n % 100000");
    assert_eq!(db.lines("SELECT hydrated FROM mr_catalog.views WHERE name = 'sloth'"), ["f"], "it is being built");
    wait::until("the thread", || (threads("hydrate sloth") > 0).then_some(()));
    let start = std::time::Instant::now();
    db.stop();
    assert_eq!(threads("hydrate sloth"), 0);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    db.start();
    db.wait_for("SELECT hydrated FROM mr_catalog.views WHERE name = 'sloth'", &["t"]);
    // Both are at one epoch, however far the source has come.
    assert_eq!(db.lines("SELECT (SELECT sum(n) FROM first) = (SELECT sum(n) FROM sloth)"), ["t"]);
}

pub fn dropping_a_view_that_is_built_leaves_nothing() {
    let mut settings = settings(None);
    settings.checkpoint_interval = Duration::from_millis(20);
    let mut machine = Machine::start(FaultStore::new(FaultPlan::quiet(1)), settings);
    let loss = Loss::Nothing;
    machine.insist(&numbers(300_000), loss);
    machine.insist("CREATE MATERIALIZED VIEW first AS SELECT id, count(*) AS n FROM numbers GROUP BY id", loss);
    wait::until_equal("the source's end", &vec!["300000".to_owned()], || {
        machine.lines("SELECT sum(n) FROM first", loss)
    });
    for pause_ms in [0, 2, 10, 30, 100, 300] {
        let grouped =
            "CREATE MATERIALIZED VIEW gone AS SELECT n % 5000 AS k, count(*) AS n FROM numbers GROUP BY n % 5000";
        machine.insist(grouped, loss);
        machine.insist(
            "CREATE MATERIALIZED VIEW gone_too AS SELECT k % 7 AS r, sum(n) AS n FROM gone GROUP BY k % 7",
            loss,
        );
        std::thread::sleep(Duration::from_millis(pause_ms));
        machine.insist("DROP MATERIALIZED VIEW gone CASCADE", loss);
    }
    machine.insist("DROP SOURCE numbers CASCADE", loss);
    wait::until_equal("an empty store", &0, || stored_entries(&machine));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(stored_entries(&machine), 0, "nothing is written later");
    machine.restart(loss);
    assert_eq!(machine.lines("SELECT count(*) FROM mr_catalog.views", loss), ["0"]);
}

/// Entries outside of the store's own state.
fn stored_entries(machine: &Machine) -> usize {
    let mut entries = 0;
    let snapshot = machine.store.snapshot().unwrap();
    snapshot
        .scan(&1_u32.to_be_bytes(), &u32::MAX.to_be_bytes(), &mut |_, _| {
            entries += 1;
            Visit::Continue
        })
        .unwrap();
    entries
}

pub fn a_failed_build_says_so_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, away) = (folder.path().join("rows.jsonl"), folder.path().join("away"));
    let lines: String = (0..1000).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    std::fs::write(&path, lines).unwrap();
    let mut db = Database::durable();
    db.run(&format!(
        "CREATE SOURCE rows (id int) WITH (connector = 'file', path = '{}', format = 'json')",
        path.display()
    ));
    db.run("CREATE MATERIALIZED VIEW first AS SELECT count(*) AS n FROM rows");
    db.wait_for("SELECT n FROM first", &["1000"]);
    std::fs::rename(&path, &away).unwrap();
    db.run("CREATE MATERIALIZED VIEW second AS SELECT id % 10 AS k, count(*) AS n FROM rows GROUP BY id % 10");
    let error = wait::until("the failure to be seen", || {
        let rows =
            db.lines("SELECT error FROM mr_catalog.views WHERE name = 'second' AND NOT hydrated AND error IS NOT NULL");
        rows.into_iter().next()
    });
    assert!(error.contains("tried again"), "{error}");
    let failure = db.error("SELECT * FROM second");
    assert_eq!(failure.state(), "55000", "{failure}");
    std::fs::rename(&away, &path).unwrap();
    db.wait_for("SELECT hydrated, error FROM mr_catalog.views WHERE name = 'second'", &["t|NULL"]);
    assert_eq!(db.lines("SELECT count(*), sum(n) FROM second"), ["10|1000"]);
}

pub fn views_wait_for_their_turn_to_be_built() {
    const EVENTS: u64 = 400_000;
    const VIEWS: usize = 12;
    let mut settings = settings(None);
    settings.concurrent_builds = 1;
    let mut db = Database::open(settings);
    db.run(&numbers(EVENTS));
    db.run("CREATE MATERIALIZED VIEW first AS SELECT id, count(*) AS n FROM numbers GROUP BY id");
    db.wait_for("SELECT sum(n) FROM first", &[&EVENTS.to_string()]);
    for view in 0..VIEWS {
        db.run(&format!(
            "CREATE MATERIALIZED VIEW turn{view} AS SELECT n % 1000 AS k, count(*) AS n FROM numbers WHERE id <> {view} GROUP BY 1"
        ));
    }
    // One that is dropped while it waits, or is built, holds up nobody; nor does one that reads another that waits.
    db.run("CREATE MATERIALIZED VIEW turn_sum AS SELECT sum(n) AS n FROM turn11");
    db.run("DROP MATERIALIZED VIEW turn1");
    db.run("DROP MATERIALIZED VIEW turn5");
    let mut most = 0;
    wait::until("all of them", || {
        most = most.max(threads("hydrate turn"));
        (db.lines("SELECT count(*) FROM mr_catalog.views WHERE hydrated") == [(VIEWS + 2 - 2).to_string()])
            .then_some(())
    });
    // On a busy machine, threads that have ended may not be quite gone when others begin; without turns there would be ten.
    assert!(most < VIEWS / 2, "{most} at a time");
    for view in (0..VIEWS).filter(|view| ![1, 5].contains(view)) {
        let expected = db.lines(&format!("SELECT sum(n) FROM first WHERE id <> {view}"));
        assert_eq!(db.lines(&format!("SELECT sum(n) FROM turn{view}")), expected, "turn{view}");
    }
    assert_eq!(db.lines("SELECT n FROM turn_sum"), db.lines("SELECT sum(n) FROM first WHERE id <> 11"));
}

pub fn a_build_that_cannot_go_on_gives_its_place_away() {
    let mut settings = settings(None);
    settings.concurrent_builds = 1;
    let mut db = Database::open(settings);
    db.run("CREATE TABLE t (id int PRIMARY KEY)");
    db.run("INSERT INTO t SELECT i FROM generate_series(1, 1000) AS g(i)");
    let folder = tempfile::tempdir().unwrap();
    let (path, away) = (folder.path().join("rows.jsonl"), folder.path().join("away"));
    std::fs::write(&path, "{\"id\":1}\n").unwrap();
    db.run(&format!(
        "CREATE SOURCE rows (id int) WITH (connector = 'file', path = '{}', format = 'json')",
        path.display()
    ));
    db.run("CREATE MATERIALIZED VIEW seen AS SELECT count(*) AS n FROM rows");
    db.wait_for("SELECT n FROM seen", &["1"]);
    std::fs::rename(&path, &away).unwrap();
    db.run("CREATE MATERIALIZED VIEW stuck AS SELECT id, count(*) AS n FROM rows GROUP BY id");
    for view in 0..3 {
        db.run(&format!(
            "CREATE MATERIALIZED VIEW v{view} AS SELECT id % {} AS k, count(*) AS n FROM t GROUP BY 1",
            view + 2
        ));
    }
    db.wait_for(
        "SELECT name, hydrated FROM mr_catalog.views WHERE name LIKE 'v%' ORDER BY name",
        &["v0|t", "v1|t", "v2|t"],
    );
    assert_eq!(db.lines("SELECT hydrated FROM mr_catalog.views WHERE name = 'stuck'"), ["f"]);
    std::fs::rename(&away, &path).unwrap();
    db.wait_for("SELECT hydrated FROM mr_catalog.views WHERE name = 'stuck'", &["t"]);
}

pub fn equal_views_of_different_age_stay_apart() {
    let mut db = Database::durable();
    let query = "SELECT k, count(*) AS n, sum(v) AS total FROM t GROUP BY k";
    db.run("CREATE TABLE t (id int PRIMARY KEY, k int, v int)");
    db.run(&format!("CREATE MATERIALIZED VIEW old AS {query}"));
    db.run("INSERT INTO t SELECT i, i % 7, i FROM generate_series(1, 500) AS g(i)");
    db.run(&format!("CREATE MATERIALIZED VIEW young AS {query}"));
    let check = |db: &mut Database, views: &[&str]| {
        for view in views {
            assert_eq!(db.lines(&format!("SELECT * FROM {view}")), db.lines(query), "{view}");
        }
    };
    check(&mut db, &["old", "young"]);
    db.reopen();
    db.run("UPDATE t SET v = v * 2, k = k + 1 WHERE id % 2 = 0");
    check(&mut db, &["old", "young"]);
    db.run("DROP MATERIALIZED VIEW old");
    db.run("DELETE FROM t WHERE id % 3 = 0");
    check(&mut db, &["young"]);
    db.reopen();
    db.run("UPDATE t SET v = v + 1");
    check(&mut db, &["young"]);
}

pub fn a_second_count_over_nothing_is_a_row_too() {
    let mut db = Database::durable();
    db.run("CREATE TABLE t (id int PRIMARY KEY)");
    for view in ["a", "b", "c"] {
        db.run(&format!("CREATE MATERIALIZED VIEW {view} AS SELECT count(*) AS n FROM t"));
        assert_eq!(db.lines(&format!("SELECT n FROM {view}")), ["0"], "{view}");
    }
    db.run("CREATE MATERIALIZED VIEW d AS SELECT n + 1 AS m FROM a");
    db.run("INSERT INTO t VALUES (1), (2)");
    for _ in 0..2 {
        assert_eq!(db.lines("SELECT a.n, b.n, c.n, d.m FROM a, b, c, d"), ["2|2|2|3"]);
        db.reopen();
    }
}

pub fn a_source_is_read_whole_after_its_only_reader_is_gone() {
    let mut db = Database::durable();
    db.run(&numbers(50_000));
    for round in 0..3 {
        db.run("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, sum(n) AS total FROM numbers");
        db.wait_for("SELECT n FROM v", &["50000"]);
        if round == 1 {
            db.reopen();
            assert_eq!(db.lines("SELECT n FROM v"), ["50000"]);
        }
        db.run("DROP MATERIALIZED VIEW v");
    }
    db.reopen();
    db.run("CREATE MATERIALIZED VIEW w AS SELECT count(*) AS n FROM numbers");
    db.wait_for("SELECT n FROM w", &["50000"]);
}
