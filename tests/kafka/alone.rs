//! What fails, fails alone: beside a source, a sink or a view that can't go on, all others do, at their pace.

use std::time::{Duration, Instant};

use super::broker::shared;
use super::client::{Sender, create_topic, create_topic_with, delete_topic, read_all, unique};
use super::sinks::folded;
use crate::support::server::{Client, ServerProcess, describe};
use crate::support::wait;

/// The longest that a statement of somebody who isn't concerned may take on a loaded machine; a few milliseconds are usual. Who waited for what fails would wait for
/// librdkafka's timeouts, a minute and more.
const SLOWEST: Duration = Duration::from_secs(20);

/// Those who are not concerned: a source with a view and a sink, and a table with a view.
struct Others<'a> {
    client: &'a Client,
    sender: Sender,
    sink: String,
    sent: i64,
    written: i64,
}

impl Others<'_> {
    /// Records come to the view and to the sink, and a write is read back.
    fn go_on(&mut self) {
        for _ in 0..30 {
            self.sender.send((self.sent % 2) as i32, None, Some(&format!(r#"{{"id":{},"k":1}}"#, self.sent)));
            self.sent += 1;
        }
        self.sender.flush();
        wait::until_equal("the view of others", &vec![vec![self.sent.to_string()]], || {
            self.client.rows("SELECT n FROM well")
        });
        wait::until_equal("the sink of others", &Some(self.sent), || {
            let rows = folded(&read_all(shared(), &self.sink, "read_committed"));
            rows.values().next().and_then(|row| row["n"].as_i64())
        });
        for _ in 0..5 {
            let began = Instant::now();
            self.client.rows(&format!("INSERT INTO t VALUES ({}, 1)", self.written));
            self.written += 1;
            assert_eq!(self.client.rows("SELECT n FROM of_t"), [[self.written.to_string()]]);
            assert!(began.elapsed() < SLOWEST, "a write and a query took {:?}", began.elapsed());
        }
    }
}

pub fn what_fails_fails_alone() {
    let (good, broken, gone) = (unique("good"), unique("broken"), unique("gone"));
    let (good_out, narrow_out) = (unique("good-out"), unique("narrow-out"));
    for topic in [&good, &broken, &gone, &good_out] {
        create_topic(shared(), topic, if *topic == good { 2 } else { 1 });
    }
    // No record is small enough for it.
    create_topic_with(shared(), &narrow_out, 1, &[("max.message.bytes", "20")]);
    let with = |topic: &str, more: &str| {
        let brokers = &shared().bootstrap;
        format!("WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', format = 'json'{more})")
    };
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path(), &[]);
    let client = server.connect();
    for statement in [
        format!("CREATE SOURCE good (id bigint, k int) {}", with(&good, "")),
        format!("CREATE SOURCE broken (id bigint, k int) {}", with(&broken, ", on_error = 'fail'")),
        format!("CREATE SOURCE gone (id bigint, k int) {}", with(&gone, "")),
        "CREATE TABLE t (id bigint PRIMARY KEY, parts int)".to_owned(),
        "CREATE MATERIALIZED VIEW well AS SELECT k, count(*) AS n FROM good GROUP BY k".to_owned(),
        "CREATE MATERIALIZED VIEW of_broken AS SELECT count(*) AS n FROM broken".to_owned(),
        "CREATE MATERIALIZED VIEW of_gone AS SELECT count(*) AS n FROM gone".to_owned(),
        "CREATE MATERIALIZED VIEW of_t AS SELECT count(*) AS n FROM t".to_owned(),
        "CREATE MATERIALIZED VIEW shares AS SELECT id, 100 / parts AS share FROM t".to_owned(),
        format!("CREATE SINK well_out FROM well {}", with(&good_out, "")),
    ] {
        client.rows(&statement);
    }
    let mut others =
        Others { client: &client, sender: Sender::new(shared(), &good), sink: good_out.clone(), sent: 0, written: 0 };
    others.go_on();

    // A record that its source doesn't forgive.
    let sender = Sender::new(shared(), &broken);
    sender.send(0, None, Some(r#"{"id":1,"k":1}"#));
    sender.send(0, None, Some("no JSON at all"));
    sender.flush();
    wait::until("the source to fail", || {
        let status = client.rows("SELECT status, error FROM mr_catalog.sources WHERE name = 'broken'");
        (status[0][0] == "failed" && status[0][1] != "NULL").then_some(())
    });
    others.go_on();

    // A topic that is deleted while it is read.
    let sender = Sender::new(shared(), &gone);
    sender.send(0, None, Some(r#"{"id":1,"k":1}"#));
    sender.flush();
    wait::until_equal("its record", &vec![vec!["1".to_owned()]], || client.rows("SELECT n FROM of_gone"));
    delete_topic(shared(), &gone);
    wait::until("the source to notice", || {
        let status = client.rows("SELECT status, error FROM mr_catalog.sources WHERE name = 'gone'");
        (status[0][0] != "running" && status[0][1] != "NULL").then_some(())
    });
    others.go_on();
    assert_eq!(client.rows("SELECT n FROM of_gone"), [["1"]], "what was read stays");

    // A topic that takes nothing of what it is sent.
    client.rows(&format!("CREATE SINK narrow_out FROM well {}", with(&narrow_out, "")));
    others.go_on();
    wait::until("the sink to notice", || {
        let status = client.rows("SELECT status, error FROM mr_catalog.sinks WHERE name = 'narrow_out'");
        (status[0][0] != "running" && status[0][1] != "NULL").then_some(())
    });
    others.go_on();

    // A row on which a view's expression fails.
    client.rows("INSERT INTO t VALUES (-1, 0)");
    others.written += 1;
    let refused = describe(&client.query("SELECT share FROM shares WHERE id = -1").unwrap_err());
    assert!(refused.starts_with("22012"), "{refused}");
    others.go_on();
    client.rows("UPDATE t SET parts = 4 WHERE id = -1");
    assert_eq!(client.rows("SELECT share FROM shares WHERE id = -1"), [["25"]]);

    // All of it outlives a restart, and can be dropped.
    server.kill();
    drop(server);
    let server = ServerProcess::start(directory.path(), &[]);
    let client = server.connect();
    let mut others = Others { client: &client, ..others };
    others.go_on();
    for statement in ["DROP SINK narrow_out", "DROP SOURCE gone CASCADE", "DROP SOURCE broken CASCADE"] {
        let began = Instant::now();
        client.rows(statement);
        assert!(began.elapsed() < SLOWEST, "{statement} took {:?}", began.elapsed());
    }
    others.go_on();
    assert_eq!(server.http("GET", "/health/ready", "").0, 200);
}
