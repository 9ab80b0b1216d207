//! What is kept, and what happens when it can't be.

use std::time::{Duration, Instant};

use storage::fault::{Fault, FaultPlan, FaultStore, Loss};
use storage::{ChangeSet, Durability, RocksOptions, RocksStore, Store, meta};

use crate::support::database::{Database, run, settings};
use crate::support::machine::Machine;
use crate::support::wait;

pub fn bad_records_count_once_however_often_they_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, "{\"id\":1}\nnot json\n{\"id\":2}\n{\"id\":\"x\"}\n").unwrap();
    let mut db = Database::durable();
    db.run(&format!(
        "CREATE SOURCE rows (id int) WITH (connector = 'file', path = '{}', format = 'json')",
        path.display()
    ));
    let letters = "SELECT count(*), count(DISTINCT payload) FROM mr_catalog.dead_letters";
    for _ in 0..2 {
        db.run("CREATE MATERIALIZED VIEW v AS SELECT id FROM rows");
        db.wait_for("SELECT id FROM v", &["1", "2"]);
        db.wait_for(letters, &["2|2"]);
        db.wait_for("SELECT rows, dead_letters FROM mr_catalog.sources", &["2|2"]);
        // A second view reads the past for itself.
        db.run("CREATE MATERIALIZED VIEW again AS SELECT id + 1 AS next FROM rows");
        assert_eq!(db.lines("SELECT next FROM again"), ["2", "3"]);
        db.reopen();
        assert_eq!(db.lines(letters), ["2|2"]);
        db.run("DROP MATERIALIZED VIEW v");
        db.run("DROP MATERIALIZED VIEW again");
    }
    db.run("DROP SOURCE rows");
    assert_eq!(db.lines(letters), ["0|0"]);
}

pub fn a_full_disk_refuses_writes_and_recovers() {
    let mut settings = settings(None);
    settings.checkpoint_interval = Duration::from_secs(3600);
    let mut machine = Machine::start(FaultStore::new(FaultPlan::quiet(1)), settings);
    machine.insist("CREATE TABLE t (id int PRIMARY KEY)", Loss::Nothing);
    let (mut other, store) = (machine.session(), machine.store.clone());
    store.fill(u32::MAX);
    let refused = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        until_full(&runtime, &mut other);
        let answers = runtime.block_on(async {
            let write = run(&mut other, "INSERT INTO t VALUES (2)").await;
            let ddl = run(&mut other, "CREATE TABLE u (id int PRIMARY KEY)").await;
            let read = run(&mut other, "SELECT count(*) FROM t").await;
            (write.unwrap_err(), ddl.unwrap_err(), read.unwrap().rows)
        });
        store.fill(0);
        answers
    });
    // It waits until there is room.
    // The write that finds the disk full waits for room.
    machine.try_run("INSERT INTO t VALUES (1)").unwrap();
    let (write, ddl, read) = refused.join().unwrap();
    assert_eq!((write.state(), ddl.state()), ("53100", "53100"), "{write} {ddl}");
    assert_eq!(read, [["1"]], "readers go on");
    machine.try_run("INSERT INTO t VALUES (2)").unwrap();
    machine.restart(Loss::Nothing);
    assert_eq!(machine.lines("SELECT id FROM t", Loss::Nothing), ["1", "2"]);
}

pub fn a_full_disk_does_not_keep_the_engine_from_stopping() {
    let mut settings = settings(None);
    settings.checkpoint_interval = Duration::from_millis(10);
    let store = std::sync::Arc::new(FaultStore::new(FaultPlan::quiet(1).with(3, Fault::Full(1_000_000))));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = engine::Engine::open_on(settings, store).unwrap();
    let mut session = engine.session(crate::support::database::parameters()).unwrap();
    runtime.block_on(async {
        let source = "CREATE SOURCE numbers (n bigint) WITH (connector = 'generator', kind = 'sequence', rate = 1000)";
        let made = [source, "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM numbers"];
        for sql in made {
            // The second one may be the one that finds the disk full.
            drop(tokio::time::timeout(Duration::from_secs(2), run(&mut session, sql)).await);
        }
    });
    until_full(&runtime, &mut session);
    drop(session);
    let start = Instant::now();
    let stopped = runtime.block_on(engine.shutdown());
    assert!(stopped.is_err(), "what could not be written is not claimed to be");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

/// A start never goes on with state that was kept for another plan: it names the views, and what to do.
pub fn views_that_another_version_planned_otherwise_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let mut db = Database::open(settings(Some(path.clone())));
    db.run("CREATE TABLE t (id int PRIMARY KEY, k int, v int)");
    db.run("CREATE MATERIALIZED VIEW same AS SELECT k, max(v) AS v FROM t GROUP BY k");
    db.run("CREATE MATERIALIZED VIEW sums AS SELECT k, sum(v) AS v FROM t GROUP BY k");
    db.run("CREATE MATERIALIZED VIEW above AS SELECT count(*) AS n FROM sums");
    db.run("INSERT INTO t VALUES (1, 1, 7), (2, 1, 8)");
    db.stop();
    let rename = |from: &str, to: &str| {
        let store = RocksStore::open(&path, &RocksOptions::default()).unwrap();
        let mut changes = ChangeSet::new();
        let objects = meta::list::<serde_json::Value>(&*store.snapshot().unwrap(), "catalog/object/").unwrap();
        for (key, mut object) in objects {
            let Some(states) = object.pointer_mut("/kind/MaterializedView/operator_states") else { continue };
            let renamed = states.as_object().unwrap().iter().map(|(name, id)| (name.replace(from, to), id.clone()));
            *states = renamed.collect::<serde_json::Map<_, _>>().into();
            if object["name"]["name"] == "sums" {
                meta::put(&mut changes, &key, &object).unwrap();
            }
        }
        assert!(!changes.is_empty());
        store.commit(changes, Durability::Disk).unwrap();
    };
    rename("/", "/of another version/");
    {
        let _entered = db.runtime.enter();
        let error = engine::Engine::open(settings(Some(path.clone()))).err().expect("it doesn't start");
        assert_eq!(server::sqlstate::sqlstate(error.kind), "XX001", "{error}");
        let text = error.to_string();
        assert!(text.contains("sums") && !text.contains("same") && !text.contains("above"), "{text}");
        assert!(text.contains("docs/operations/upgrade.md"), "{text}");
    }
    // The version that wrote it still can.
    rename("/of another version/", "/");
    db.start();
    db.run("INSERT INTO t VALUES (3, 2, 9)");
    assert_eq!(db.lines("SELECT k, v FROM sums"), ["1|15", "2|9"]);
    assert_eq!(db.lines("SELECT n FROM above"), ["2"]);
}

/// Until a commit has found no room.
fn until_full(runtime: &tokio::runtime::Runtime, session: &mut engine::Session) {
    wait::until("the disk to be full", || {
        let status = runtime.block_on(run(session, "SELECT status FROM mr_catalog.epochs")).unwrap();
        status.rows[0][0].contains("full").then_some(())
    });
}
