//! What comes out of a topic: types, dead letters, metadata, keys, positions.

use super::broker::{Broker, shared};
use super::client::{Sender, add_partitions, create_topic, unique};
use crate::support::database::Database;

/// `WITH (…)` of a JSON topic, with `more` behind it.
fn json(broker: &Broker, topic: &str, more: &str) -> String {
    format!("WITH (connector = 'kafka', brokers = '{}', topic = '{topic}', format = 'json'{more})", broker.bootstrap)
}

fn topic_with(partitions: i32, values: &[&str]) -> (String, Sender) {
    let topic = unique("source");
    create_topic(shared(), &topic, partitions);
    let sender = Sender::new(shared(), &topic);
    for (i, value) in values.iter().enumerate() {
        sender.send(i as i32 % partitions, None, Some(value));
    }
    sender.flush();
    (topic, sender)
}

pub fn json_becomes_typed_columns() {
    let (topic, _) = topic_with(
        1,
        &[
            r#"{"flag":true,"small":-7,"big":9007199254740993,"wide":0.1,"price":"12.30","name":"é \"q\" \u00fc","day":"2024-02-29","moment":"2024-02-29 12:34:56.789","instant":"2024-02-29T12:34:56Z","ident":"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11","doc":{"k":[1,2]},"tags":["a",null,"c"],"extra":1}"#,
            r#"{"big":1,"price":12.3}"#,
            r#"{"big":2,"name":null,"tags":[]}"#,
        ],
    );
    let mut db = Database::durable();
    db.run(&format!(
        "CREATE SOURCE typed (flag boolean, small smallint, big bigint, wide double precision, price numeric(10,2), name text,
         day date, moment timestamp, instant timestamptz, ident uuid, doc jsonb, tags text[]) {}",
        json(shared(), &topic, "")
    ));
    db.run("CREATE MATERIALIZED VIEW v AS SELECT * FROM typed");
    db.wait_for("SELECT count(*) FROM v", &["3"]);
    assert_eq!(
        db.lines("SELECT flag, small, big, wide, price, name, day, moment, instant, ident, tags FROM v"),
        [
            "NULL|NULL|1|NULL|12.30|NULL|NULL|NULL|NULL|NULL|NULL",
            "NULL|NULL|2|NULL|NULL|NULL|NULL|NULL|NULL|NULL|{}",
            "t|-7|9007199254740993|0.1|12.30|é \"q\" ü|2024-02-29|2024-02-29 12:34:56.789|2024-02-29 12:34:56+00|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|{a,NULL,c}",
        ]
    );
    assert_eq!(db.lines("SELECT doc FROM v WHERE flag"), [r#"{"k": [1, 2]}"#]);
}

pub fn bad_records_become_dead_letters() {
    let (topic, _) = topic_with(
        1,
        &[r#"{"id":1,"n":1}"#, r#"{"id":"x","n":2}"#, "not json", r#"{"id":3,"n":3}"#, r#"{"id":4,"n":1.5}"#],
    );
    let mut db = Database::durable();
    db.run(&format!("CREATE SOURCE s (id int, n int) {}", json(shared(), &topic, "")));
    db.run("CREATE MATERIALIZED VIEW v AS SELECT id, n FROM s");
    db.wait_for("SELECT id FROM v", &["1", "3"]);
    let letters = "SELECT source, partition, \"offset\", payload FROM mr_catalog.dead_letters";
    let expected = [
        r"s|0|1|\x7b226964223a2278222c226e223a327d",
        r"s|0|2|\x6e6f74206a736f6e",
        r"s|0|4|\x7b226964223a342c226e223a312e357d",
    ];
    db.wait_for(letters, &expected);
    let reasons = db.lines("SELECT reason FROM mr_catalog.dead_letters WHERE \"offset\" = 1");
    assert!(reasons[0].contains("id"), "the reason names the column: {reasons:?}");
    db.reopen();
    db.wait_for(letters, &expected);
    assert_eq!(db.lines("SELECT id FROM v"), ["1", "3"]);
}

pub fn skip_and_null_policies() {
    let values = [r#"{"id":1,"n":1}"#, r#"{"id":2,"n":"bad"}"#, r#"{"id":3,"n":3}"#];
    let (topic, _) = topic_with(1, &values);
    let mut db = Database::durable();
    db.run(&format!("CREATE SOURCE skipping (id int, n int) {}", json(shared(), &topic, ", on_error = 'skip'")));
    db.run(&format!("CREATE SOURCE nulling (id int, n int) {}", json(shared(), &topic, ", on_error = 'null'")));
    db.run("CREATE MATERIALIZED VIEW skipped AS SELECT id, n FROM skipping");
    db.run("CREATE MATERIALIZED VIEW nulled AS SELECT id, n FROM nulling");
    db.wait_for("SELECT * FROM skipped", &["1|1", "3|3"]);
    db.wait_for("SELECT * FROM nulled", &["1|1", "2|NULL", "3|3"]);
    assert_eq!(db.lines("SELECT count(*) FROM mr_catalog.dead_letters"), ["0"]);
}

pub fn metadata_is_included() {
    let topic = unique("source");
    create_topic(shared(), &topic, 2);
    let sender = Sender::new(shared(), &topic);
    sender.send_at(0, Some("k0"), Some(r#"{"id":1}"#), Some(1_700_000_000_000));
    sender.send_at(1, None, Some(r#"{"id":2}"#), Some(1_700_000_000_500));
    sender.flush();
    let mut db = Database::durable();
    db.run(&format!(
        "CREATE SOURCE s (id int) INCLUDE KEY AS k INCLUDE PARTITION AS p INCLUDE OFFSET AS o INCLUDE TIMESTAMP AS t {}",
        json(shared(), &topic, "")
    ));
    db.run("CREATE MATERIALIZED VIEW v AS SELECT id, k, p, o, t FROM s");
    db.wait_for("SELECT * FROM v", &["1|k0|0|0|2023-11-14 22:13:20+00", "2|NULL|1|0|2023-11-14 22:13:20.5+00"]);
}

pub fn upsert_table_follows_keys_and_tombstones() {
    let topic = unique("source");
    create_topic(shared(), &topic, 1);
    let sender = Sender::new(shared(), &topic);
    let city = |id: &str, city: &str| format!(r#"{{"user_id":{id},"city":"{city}"}}"#);
    for (key, value) in [("1", "Oslo"), ("2", "Rome"), ("1", "Bonn"), ("3", "Bern")] {
        sender.send(0, Some(key), Some(&city(key, value)));
    }
    sender.send(0, Some("2"), None);
    sender.flush();
    let mut db = Database::durable();
    db.run(&format!("CREATE TABLE profiles (user_id bigint PRIMARY KEY, city text) {}", json(shared(), &topic, "")));
    db.run("CREATE MATERIALIZED VIEW cities AS SELECT city, count(*) AS n FROM profiles GROUP BY city");
    db.wait_for("SELECT * FROM profiles", &["1|Bonn", "3|Bern"]);
    db.wait_for("SELECT * FROM cities", &["Bern|1", "Bonn|1"]);
    db.reopen();
    sender.send(0, Some("3"), Some(&city("3", "Bonn")));
    sender.send(0, Some("4"), None);
    sender.flush();
    db.wait_for("SELECT * FROM cities", &["Bonn|2"]);
    assert_eq!(db.error("INSERT INTO profiles VALUES (9, 'Lyon')").state(), "42809", "a topic's table takes no DML");
}

pub fn start_latest_skips_what_was_there() {
    let (topic, sender) = topic_with(1, &[r#"{"id":1}"#, r#"{"id":2}"#]);
    let mut db = Database::durable();
    db.run(&format!("CREATE SOURCE s (id int) {}", json(shared(), &topic, ", start = 'latest'")));
    db.run("CREATE MATERIALIZED VIEW v AS SELECT id FROM s");
    sender.send(0, None, Some(r#"{"id":3}"#));
    sender.flush();
    db.wait_for("SELECT * FROM v", &["3"]);
}

pub fn start_offsets_are_exact() {
    let (topic, _) = topic_with(2, &[r#"{"id":10}"#, r#"{"id":20}"#, r#"{"id":11}"#, r#"{"id":21}"#, r#"{"id":12}"#]);
    let mut db = Database::durable();
    db.run(&format!("CREATE SOURCE s (id int) {}", json(shared(), &topic, ", start = 'offsets:0=2,1=1'")));
    db.run("CREATE MATERIALIZED VIEW v AS SELECT id FROM s");
    db.wait_for("SELECT * FROM v", &["12", "21"]);
}

pub fn start_timestamp_finds_the_first_record_since() {
    let topic = unique("source");
    create_topic(shared(), &topic, 1);
    let sender = Sender::new(shared(), &topic);
    for (id, ms) in [(1, 1_700_000_000_000), (2, 1_700_000_060_000), (3, 1_700_000_120_000)] {
        sender.send_at(0, None, Some(&format!(r#"{{"id":{id}}}"#)), Some(ms));
        sender.flush();
    }
    let mut db = Database::durable();
    db.run(&format!(
        "CREATE SOURCE s (id int) {}",
        json(shared(), &topic, ", start = 'timestamp:2023-11-14T22:14:20Z'")
    ));
    db.run("CREATE MATERIALIZED VIEW v AS SELECT id FROM s");
    db.wait_for("SELECT * FROM v", &["2", "3"]);
}

pub fn new_partitions_are_found() {
    let (topic, sender) = topic_with(1, &[r#"{"id":1}"#]);
    let mut db = Database::durable();
    let more = ", 'kafka.topic.metadata.refresh.interval.ms' = '500'";
    db.run(&format!("CREATE SOURCE s (id int) {}", json(shared(), &topic, more)));
    db.run("CREATE MATERIALIZED VIEW v AS SELECT id FROM s");
    db.wait_for("SELECT * FROM v", &["1"]);
    add_partitions(shared(), &topic, 3);
    // The sender's own client learns of the partition by asking again.
    let late = crate::support::wait::until("the producer to see the partition", || {
        let fresh = Sender::new(shared(), &topic);
        fresh.send(1, None, Some(r#"{"id":20}"#));
        fresh.send(2, None, Some(r#"{"id":2}"#));
        Some(fresh)
    });
    late.flush();
    sender.send(0, None, Some(r#"{"id":3}"#));
    sender.flush();
    db.wait_for("SELECT * FROM v", &["1", "2", "20", "3"]);
    db.wait_for("SELECT partition FROM mr_catalog.source_partitions WHERE source = 's'", &["0", "1", "2"]);
}

pub fn missing_topic_is_an_error_at_create() {
    let mut db = Database::durable();
    let error = db.error(&format!("CREATE SOURCE s (id int) {}", json(shared(), "no-such-topic", "")));
    assert!(error.to_string().contains("no-such-topic"), "{error}");
    assert_eq!(db.error("SELECT * FROM s").state(), "42P01", "nothing was made");
    let nobody =
        "CREATE SOURCE s (id int) WITH (connector = 'kafka', brokers = '127.0.0.1:1', topic = 't', format = 'json')";
    assert!(db.error(nobody).to_string().contains("127.0.0.1:1"));
}

pub fn a_restart_goes_on_where_it_was() {
    let (topic, sender) = topic_with(2, &[r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#]);
    let mut db = Database::durable();
    db.run(&format!("CREATE SOURCE s (id int) {}", json(shared(), &topic, "")));
    db.run(
        "CREATE MATERIALIZED VIEW v AS SELECT id % 2 AS odd, count(*) AS n, sum(id) AS total FROM s GROUP BY id % 2",
    );
    db.wait_for("SELECT * FROM v", &["0|1|2", "1|2|4"]);
    for _ in 0..3 {
        db.reopen();
        assert_eq!(db.lines("SELECT count(*) FROM v"), ["2"]);
    }
    sender.send(1, None, Some(r#"{"id":4}"#));
    sender.flush();
    db.wait_for("SELECT * FROM v", &["0|2|6", "1|2|4"]);
}

pub fn late_view_reads_the_past() {
    let values: Vec<String> = (0..5_000).map(|i| format!(r#"{{"id":{i},"k":{}}}"#, i % 7)).collect();
    let (topic, sender) = topic_with(4, &values.iter().map(String::as_str).collect::<Vec<_>>());
    let mut db = Database::durable();
    db.run(&format!("CREATE SOURCE s (id int, k int) {}", json(shared(), &topic, "")));
    db.run("CREATE MATERIALIZED VIEW early AS SELECT k, count(*) AS n, sum(id) AS total FROM s GROUP BY k");
    db.wait_for("SELECT sum(n) FROM early", &["5000"]);
    db.run("CREATE MATERIALIZED VIEW late AS SELECT k, count(*) AS n, sum(id) AS total FROM s GROUP BY k");
    // A query on a view waits until the view has caught up.
    assert_eq!(db.lines("SELECT * FROM late"), db.lines("SELECT * FROM early"));
    sender.send(0, None, Some(r#"{"id":5000,"k":0}"#));
    sender.flush();
    db.wait_for("SELECT sum(n) FROM late", &["5001"]);
    assert_eq!(db.lines("SELECT * FROM late"), db.lines("SELECT * FROM early"));
}

pub fn the_first_query_waits_for_the_topic() {
    let topic = unique("source");
    create_topic(shared(), &topic, 3);
    let sender = Sender::new(shared(), &topic);
    for i in 0..30_000 {
        sender.send(i % 3, Some(&(i % 10_000).to_string()), Some(&format!(r#"{{"id":{},"n":1}}"#, i % 10_000)));
    }
    sender.flush();
    let mut db = Database::durable();
    db.run(&format!("CREATE SOURCE s (id int, n int) {}", json(shared(), &topic, "")));
    db.run("CREATE MATERIALIZED VIEW v AS SELECT id, sum(n) AS n FROM s GROUP BY id");
    db.run("CREATE MATERIALIZED VIEW over_it AS SELECT count(*) AS ids, sum(n) AS n FROM v");
    db.run(&format!("CREATE TABLE t (id int PRIMARY KEY, n int) {}", json(shared(), &topic, "")));
    assert_eq!(db.lines("SELECT * FROM over_it"), ["10000|30000"]);
    assert_eq!(db.lines("SELECT count(*) FROM v"), ["10000"]);
    assert_eq!(db.lines("SELECT count(*) FROM t"), ["10000"]);
}

pub fn windows_close_with_the_watermark() {
    let row = |id: u32, at: &str| format!(r#"{{"id":{id},"at":"2024-01-01 {at}"}}"#);
    let (topic, sender) = topic_with(1, &[&row(1, "10:00:10"), &row(2, "10:00:50"), &row(3, "10:01:30")]);
    let mut db = Database::durable();
    db.run(&format!(
        "CREATE SOURCE s (id int, at timestamp, WATERMARK FOR at AS at - INTERVAL '5 seconds') {}",
        json(shared(), &topic, "")
    ));
    db.run(
        "CREATE MATERIALIZED VIEW closed AS SELECT window_start, count(*) AS n
         FROM TUMBLE(s, at, INTERVAL '1 minute') GROUP BY window_start EMIT ON WINDOW CLOSE",
    );
    db.wait_for("SELECT * FROM closed", &["2024-01-01 10:00:00|2"]);
    // A row of the closed window is late and changes nothing; the next window closes when its end has passed.
    sender.send(0, None, Some(&row(4, "10:00:30")));
    sender.send(0, None, Some(&row(5, "10:02:06")));
    sender.flush();
    db.wait_for("SELECT * FROM closed", &["2024-01-01 10:00:00|2", "2024-01-01 10:01:00|1"]);
}
