//! The server as a process: how it starts, refuses, drains and dies.

use std::process::Stdio;

use super::broker::shared;
use super::client::{Sender, create_topic, unique};
use crate::support::server::{ServerProcess, command, command_at};
use crate::support::wait;

pub fn sigterm_drains_and_exits_0() {
    let topic = unique("drain");
    create_topic(shared(), &topic, 2);
    let sender = Sender::new(shared(), &topic);
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path(), &[]);
    let client = server.connect();
    client.rows(&format!(
        "CREATE SOURCE s (id int) WITH (connector = 'kafka', brokers = '{}', topic = '{topic}', format = 'json')",
        shared().bootstrap
    ));
    client.rows("CREATE MATERIALIZED VIEW v AS SELECT id % 10 AS k, count(*) AS n FROM s GROUP BY id % 10");
    for id in 0..20_000 {
        sender.send(id % 2, None, Some(&format!(r#"{{"id":{id}}}"#)));
    }
    // Under load, with records still on their way.
    let status = server.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    sender.flush();
    let server = ServerProcess::start(directory.path(), &[]);
    let client = server.connect();
    let all = vec![vec!["20000".to_owned()]];
    wait::until_equal("every record once", &all, || client.rows("SELECT sum(n) FROM v"));
    assert_eq!(client.rows("SELECT min(n), max(n) FROM v"), [["2000", "2000"]]);
}

/// Ten sources and a sink, all of them connected, all with input.
pub fn sigterm_with_ten_sources_is_quick() {
    let topic = unique("ten");
    create_topic(shared(), &topic, 2);
    let sender = Sender::new(shared(), &topic);
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path(), &[]);
    let client = server.connect();
    let with =
        format!("WITH (connector = 'kafka', brokers = '{}', topic = '{topic}', format = 'json')", shared().bootstrap);
    for number in 0..10 {
        client.rows(&format!("CREATE SOURCE s{number} (id int) {with}"));
        client.rows(&format!("CREATE MATERIALIZED VIEW v{number} AS SELECT count(*) AS n FROM s{number}"));
    }
    for id in 0..5_000 {
        sender.send(id % 2, None, Some(&format!(r#"{{"id":{id}}}"#)));
    }
    sender.flush();
    for number in 0..10 {
        let all = vec![vec!["5000".to_owned()]];
        wait::until_equal("all records", &all, || client.rows(&format!("SELECT n FROM v{number}")));
    }
    let start = std::time::Instant::now();
    assert_eq!(server.terminate().code(), Some(0));
    let took = start.elapsed();
    assert!(took < std::time::Duration::from_secs(2), "it took {took:?}");
}

pub fn second_server_on_a_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &[]);
    let output = command(directory.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("another server"), "{message}");
    assert!(message.contains(&*directory.path().to_string_lossy()), "{message}");
    assert_eq!(server.connect().rows("SELECT 1"), [["1"]], "the first one goes on");
}

pub fn a_public_address_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let output =
        command_at("0.0.0.0:0", directory.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("--insecure"), "{message}");
}

pub fn http_tells_health_metrics_and_answers() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &[]);
    server.connect().rows("CREATE TABLE t (id int PRIMARY KEY)");
    assert_eq!(server.http("GET", "/health/live", "").0, 200);
    assert_eq!(server.http("GET", "/health/ready", "").0, 200);
    let (status, body) = server.http("POST", "/api/sql", r#"{"query": "SELECT 1 AS one, 'x' AS x"}"#);
    assert_eq!(status, 200, "{body}");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["rows"], serde_json::json!([[1, "x"]]), "{body}");
    let (status, body) = server.http("POST", "/api/sql", r#"{"query": "SELECT * FROM nosuch"}"#);
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!((400..500).contains(&status), "{status} {body}");
    assert_eq!(answer["error"]["code"], "42P01", "{body}");
    let (status, body) = server.http("GET", "/metrics", "");
    assert_eq!(status, 200);
    for metric in
        ["millrace_epoch ", "millrace_view_rows{view=\"t\"}", "millrace_epoch_seconds_bucket", "millrace_store_bytes "]
    {
        assert!(body.contains(metric), "{metric} is missing in\n{body}");
    }
}

pub fn acknowledged_writes_survive_sigkill() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path(), &[]);
    let client = server.connect();
    client.rows("CREATE TABLE ledger (id bigint PRIMARY KEY, amount int)");
    client.rows("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, sum(amount) AS amount FROM ledger");
    drop(client);
    let mut written = 0_i64;
    for round in 1..=5 {
        let client = server.connect();
        for _ in 0..20 * round {
            client.rows(&format!("INSERT INTO ledger VALUES ({written}, 2)"));
            written += 1;
            if written % 7 == 0 {
                assert_eq!(client.rows("SELECT n FROM total"), [[written.to_string()]], "a write is read back");
            }
        }
        server.kill();
        server = ServerProcess::start(directory.path(), &[]);
        let client = server.connect();
        let expected = [[written.to_string(), (written * 2).to_string()]];
        assert_eq!(client.rows("SELECT count(*), sum(amount) FROM ledger"), expected);
        assert_eq!(client.rows("SELECT n, amount FROM total"), expected);
    }
}
