//! A broker that goes away and comes back.

use super::broker::Broker;
use super::client::{Sender, create_topic, read_all, unique};
use super::sinks::folded;
use crate::support::database::Database;
use crate::support::wait;

pub fn broker_goes_away_and_comes_back() {
    let broker = Broker::start_apache();
    let (topic, out) = (unique("outage"), unique("outage-out"));
    create_topic(&broker, &topic, 2);
    create_topic(&broker, &out, 1);
    let with = |topic: &str| {
        format!("WITH (connector = 'kafka', brokers = '{}', topic = '{topic}', format = 'json')", broker.bootstrap)
    };
    let send = |from: i64, to: i64| {
        let sender = Sender::new(&broker, &topic);
        for id in from..to {
            sender.send((id % 2) as i32, None, Some(&format!(r#"{{"id":{id},"k":{}}}"#, id % 3)));
        }
        sender.flush();
    };
    let mut db = Database::durable();
    db.run(&format!("CREATE SOURCE s (id bigint, k int) {}", with(&topic)));
    db.run("CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM s GROUP BY k");
    db.run(&format!("CREATE SINK o FROM v {}", with(&out)));
    db.run("CREATE TABLE t (id int PRIMARY KEY)");
    send(0, 300);
    db.wait_for("SELECT * FROM v", &["0|100", "1|100", "2|100"]);

    broker.stop();
    // The views answer, writes go on, and the system view says what is wrong.
    assert_eq!(db.lines("SELECT * FROM v"), ["0|100", "1|100", "2|100"]);
    db.run("INSERT INTO t VALUES (1)");
    wait::until("the source to report its broker", || {
        let health = db.lines("SELECT status, error FROM mr_catalog.sources WHERE name = 's'");
        (health[0].starts_with("retrying|") && !health[0].ends_with("NULL")).then_some(())
    });

    broker.start();
    send(300, 600);
    db.wait_for("SELECT * FROM v", &["0|200", "1|200", "2|200"]);
    wait::until("the sink to catch up", || {
        let rows = folded(&read_all(&broker, &out, "read_committed"));
        let total: i64 = rows.values().map(|row| row["n"].as_i64().unwrap()).sum();
        (total == 600).then_some(())
    });
    db.wait_for("SELECT status FROM mr_catalog.sources WHERE name = 's'", &["running"]);
}
