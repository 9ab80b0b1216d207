//! What a reader of a sink topic sees, with `isolation.level=read_committed`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::broker::shared;
use super::client::{Record, create_topic, read_all, unique};
use crate::support::database::Database;
use crate::support::wait;

/// The last value of each key, as a compacted topic would keep it; a tombstone leaves nothing.
pub fn folded(records: &[Record]) -> BTreeMap<String, Value> {
    let mut rows = BTreeMap::new();
    for record in records {
        let key = record.key.clone().expect("an upsert record has a key");
        match &record.value {
            Some(value) => rows.insert(key, serde_json::from_str(value).unwrap()),
            None => rows.remove(&key),
        };
    }
    rows
}

/// The sum of each row's weights in an append topic, without rows that add up to nothing.
pub fn added_up(records: &[Record]) -> BTreeMap<String, i64> {
    let mut rows = BTreeMap::new();
    for record in records {
        let mut row: Value = serde_json::from_str(record.value.as_ref().unwrap()).unwrap();
        let fields = row.as_object_mut().unwrap();
        let weight = fields.remove("__weight").unwrap().as_i64().unwrap();
        fields.remove("__epoch").unwrap();
        *rows.entry(row.to_string()).or_insert(0) += weight;
    }
    rows.retain(|_, weight| *weight != 0);
    rows
}

fn database(mode: &str) -> (Database, String) {
    let topic = unique("sink");
    create_topic(shared(), &topic, 2);
    let mut db = Database::durable();
    db.run("CREATE TABLE t (id int PRIMARY KEY, k text, n int)");
    db.run("CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS c, sum(n) AS total FROM t GROUP BY k");
    db.run(&format!(
        "CREATE SINK out FROM v WITH (connector = 'kafka', brokers = '{}', topic = '{topic}', format = 'json', mode = '{mode}')",
        shared().bootstrap
    ));
    (db, topic)
}

fn changes(db: &mut Database) {
    db.run("INSERT INTO t VALUES (1, 'a', 10), (2, 'a', 20), (3, 'b', 5), (4, 'c', 1)");
    db.run("UPDATE t SET n = 11 WHERE id = 1");
    db.run("DELETE FROM t WHERE k = 'b'");
    db.run("UPDATE t SET k = 'd' WHERE id = 4");
}

fn expected() -> BTreeMap<String, Value> {
    let row = |k: &str, c: i64, total: i64| (k.to_owned(), serde_json::json!({"k": k, "c": c, "total": total}));
    BTreeMap::from([row("a", 2, 31), row("d", 1, 1)])
}

fn by_key(rows: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    rows.values().map(|row| (row["k"].as_str().unwrap().to_owned(), row.clone())).collect()
}

pub fn upsert_sink_holds_the_view() {
    let (mut db, topic) = database("upsert");
    changes(&mut db);
    wait::until_equal("the sink topic", &expected(), || by_key(&folded(&read_all(shared(), &topic, "read_committed"))));
    let records = read_all(shared(), &topic, "read_committed");
    assert!(records.iter().any(|record| record.value.is_none()), "a group that went away left a tombstone");
    let mut partition_of = BTreeMap::new();
    for record in records {
        let partition = *partition_of.entry(record.key.clone()).or_insert(record.partition);
        assert_eq!(partition, record.partition, "a key stays in its partition: {record:?}");
    }
}

pub fn append_sink_adds_up_to_the_view() {
    let (mut db, topic) = database("append");
    changes(&mut db);
    let expected: BTreeMap<_, _> = expected().values().map(|row| (row.to_string(), 1)).collect();
    wait::until_equal("the sink topic", &expected, || added_up(&read_all(shared(), &topic, "read_committed")));
}

pub fn a_restart_repeats_nothing() {
    let (mut db, topic) = database("append");
    changes(&mut db);
    let expected: BTreeMap<_, _> = expected().values().map(|row| (row.to_string(), 1)).collect();
    wait::until_equal("the sink topic", &expected, || added_up(&read_all(shared(), &topic, "read_committed")));
    let before = read_all(shared(), &topic, "read_committed");
    db.reopen();
    db.run("INSERT INTO t VALUES (9, 'z', 9)");
    wait::until("the change after the restart", || {
        let after = read_all(shared(), &topic, "read_committed");
        (after.len() > before.len()).then_some(())
    });
    let after = read_all(shared(), &topic, "read_committed");
    assert_eq!(after.len(), before.len() + 1, "one change, one record: {after:?}");
}

pub fn a_view_that_is_altered_emits_the_difference() {
    for mode in ["append", "upsert"] {
        let (mut db, topic) = database(mode);
        db.run("INSERT INTO t VALUES (1, 'a', 10), (2, 'a', 20), (3, 'b', 5), (4, 'c', 1)");
        let read = || read_all(shared(), &topic, "read_committed");
        wait::until_equal(&format!("what was there, {mode}"), &3, || read().len());
        // `a` changes, `b` stays, `c` goes.
        db.run("ALTER MATERIALIZED VIEW v AS SELECT k, count(*) AS c, sum(n) AS total FROM t WHERE n BETWEEN 2 AND 15 GROUP BY k");
        let (changes, there) = if mode == "append" { (3, 2) } else { (2, 2) };
        wait::until("the difference", || (read().len() >= 3 + changes).then_some(()));
        db.run("INSERT INTO t VALUES (5, 'd', 7)");
        wait::until("what comes then", || (rows_of(&topic, mode) == there + 1).then_some(()));
        assert_eq!(read().len(), 3 + changes + 1, "{mode}: {:?}", read());
        db.reopen();
        db.run("DELETE FROM t WHERE id = 5");
        wait::until("what comes after a restart", || (rows_of(&topic, mode) == there).then_some(()));
        assert_eq!(read().len(), 3 + changes + 2, "{mode}: {:?}", read());
        let refused = db
            .error("ALTER MATERIALIZED VIEW v AS SELECT k, count(*) AS c, sum(n) AS total, 1 AS one FROM t GROUP BY k");
        assert_eq!(refused.state(), "2BP01");
    }
}

fn rows_of(topic: &str, mode: &str) -> i64 {
    let records = read_all(shared(), topic, "read_committed");
    if mode == "append" { added_up(&records).values().sum() } else { folded(&records).len() as i64 }
}

pub fn a_sink_begins_with_what_is_there() {
    let mut db = Database::durable();
    db.run("CREATE TABLE t (id int PRIMARY KEY, k text)");
    db.run("CREATE MATERIALIZED VIEW v AS SELECT id, k FROM t");
    // Sinks are made right after a write, when its epoch is just being made durable, or is already.
    for round in 0..6 {
        for id in 0..50 {
            db.run(&format!("INSERT INTO t VALUES ({}, 'x')", round * 50 + id));
            if id % 20 == 7 {
                for mode in ["upsert", "append"] {
                    let topic = unique("beginning");
                    create_topic(shared(), &topic, 1);
                    let name = topic.replace('-', "_");
                    db.run(&format!(
                        "CREATE SINK {name} FROM v WITH (connector = 'kafka', brokers = '{}', topic = '{topic}', format = 'json', mode = '{mode}')",
                        shared().bootstrap
                    ));
                    let there = i64::from(round * 50 + id + 1);
                    wait::until_equal("what was there", &there, || rows_of(&topic, mode));
                    db.run(&format!("DROP SINK {name}"));
                }
            }
        }
    }
}

pub fn a_sink_of_a_view_being_built_has_all_of_it() {
    let topic = unique("built");
    create_topic(shared(), &topic, 1);
    let mut db = Database::durable();
    db.run("CREATE SOURCE numbers (n bigint, id bigint) WITH (connector = 'generator', kind = 'sequence', events = 1000000, keys = 40)");
    db.run("CREATE MATERIALIZED VIEW first AS SELECT count(*) AS n FROM numbers");
    db.wait_for("SELECT n FROM first", &["1000000"]);
    db.run("CREATE MATERIALIZED VIEW second AS SELECT id, count(*) AS n FROM numbers GROUP BY id");
    db.run(&format!(
        "CREATE SINK out FROM second WITH (connector = 'kafka', brokers = '{}', topic = '{topic}', format = 'json', mode = 'append')",
        shared().bootstrap
    ));
    wait::until_equal("the whole view", &40, || rows_of(&topic, "append"));
    db.reopen();
    assert_eq!(rows_of(&topic, "append"), 40);
}

pub fn a_sink_starts_the_source_it_reads() {
    let topic = unique("from-source");
    create_topic(shared(), &topic, 1);
    let mut db = Database::durable();
    db.run("CREATE SOURCE numbers (n bigint) WITH (connector = 'generator', kind = 'sequence', events = 1000)");
    db.run(&format!(
        "CREATE SINK out FROM numbers WITH (connector = 'kafka', brokers = '{}', topic = '{topic}', format = 'json')",
        shared().bootstrap
    ));
    wait::until_equal("every row", &1000, || rows_of(&topic, "append"));
    db.reopen();
    db.run("DROP SINK out");
    assert_eq!(rows_of(&topic, "append"), 1000);
}
