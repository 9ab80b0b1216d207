//! A server that continues a backup, while its topics and its sinks have gone on.

use std::collections::BTreeMap;
use std::process::Command;

use super::broker::shared;
use super::client::{Sender, create_topic, read_all, unique};
use super::sinks::{added_up, folded};
use crate::support::server::{Client, ServerProcess, binary};
use crate::support::wait;

/// What was sent after the backup isn't sent again, and what comes then is sent once.
pub fn a_restored_server_sends_nothing_twice() {
    let (topic, append, upsert) = (unique("orders"), unique("changes"), unique("totals"));
    create_topic(shared(), &topic, 3);
    create_topic(shared(), &append, 1);
    create_topic(shared(), &upsert, 2);
    let with = |topic: &str, more: &str| {
        let brokers = &shared().bootstrap;
        format!("WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', format = 'json'{more})")
    };
    let sender = Sender::new(shared(), &topic);
    let send = |ids: std::ops::Range<i64>| {
        for id in ids {
            sender.send((id % 3) as i32, None, Some(&format!(r#"{{"id":{id},"k":{}}}"#, id * id % 17)));
        }
        sender.flush();
    };
    let directory = tempfile::tempdir().unwrap();
    let (data, backups, restored) =
        (directory.path().join("data"), directory.path().join("backups"), directory.path().join("restored"));
    // Small epochs, so that the two servers cut the topic differently.
    let mut server = ServerProcess::start(&data, &["--epoch-rows", "97", "--checkpoint-interval", "100ms"]);
    let client = server.connect();
    client.rows(&format!("CREATE SOURCE s (id bigint, k int) {}", with(&topic, "")));
    client.rows("CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n, sum(id)::bigint AS total FROM s GROUP BY k");
    client.rows(&format!("CREATE SINK changes FROM v {}", with(&append, ", mode = 'append'")));
    client.rows(&format!("CREATE SINK totals FROM v {}", with(&upsert, "")));
    let all_there = |client: &Client, rows: i64| {
        let all = vec![vec![rows.to_string()]];
        wait::until_equal("the view", &all, || client.rows("SELECT coalesce(sum(n), 0) FROM v"));
        let view: BTreeMap<String, i64> = client
            .rows("SELECT k, n, total FROM v")
            .iter()
            .map(|row| (format!(r#"{{"k":{},"n":{},"total":{}}}"#, row[0], row[1], row[2]), 1))
            .collect();
        wait::until_equal("the sink of changes", &view, || added_up(&read_all(shared(), &append, "read_committed")));
        wait::until_equal("the sink of totals", &view, || {
            let rows = folded(&read_all(shared(), &upsert, "read_committed"));
            rows.values().map(|row| (row.to_string(), 1)).collect()
        });
    };
    send(0..2_000);
    all_there(&client, 2_000);
    let run = |arguments: &[&str]| {
        let output = Command::new(binary()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["backup", backups.to_str().unwrap(), "--data-dir", data.to_str().unwrap()]);
    send(2_000..5_000);
    all_there(&client, 5_000);
    // The old server is lost; the topic goes on.
    server.kill();
    send(5_000..6_000);

    run(&["restore", backups.to_str().unwrap(), "--data-dir", restored.to_str().unwrap()]);
    let mut server = ServerProcess::start(&restored, &["--epoch-rows", "1013"]);
    all_there(&server.connect(), 6_000);
    // From then on it is a server like any other.
    server.kill();
    send(6_000..6_500);
    let server = ServerProcess::start(&restored, &[]);
    all_there(&server.connect(), 6_500);
}

/// A restored copy beside the original, against all advice: they don't take the sink from each other for ever.
pub fn of_two_servers_with_one_sink_one_stops() {
    let out = unique("two");
    create_topic(shared(), &out, 1);
    let directory = tempfile::tempdir().unwrap();
    let (data, backups, copy) =
        (directory.path().join("data"), directory.path().join("backups"), directory.path().join("copy"));
    let first = ServerProcess::start(&data, &[]);
    let client = first.connect();
    client.rows("CREATE TABLE t (id int PRIMARY KEY)");
    client.rows(&format!(
        "CREATE SINK s FROM t WITH (connector = 'kafka', brokers = '{}', topic = '{out}', format = 'json', mode = 'append')",
        shared().bootstrap
    ));
    client.rows("INSERT INTO t VALUES (1)");
    for arguments in [
        ["backup", backups.to_str().unwrap(), "--data-dir", data.to_str().unwrap()],
        ["restore", backups.to_str().unwrap(), "--data-dir", copy.to_str().unwrap()],
    ] {
        assert!(Command::new(binary()).args(arguments).status().unwrap().success());
    }
    let second = ServerProcess::start(&copy, &[]);
    let clients = [client, second.connect()];
    let mut id = 10;
    wait::until("one of them to stop", || {
        for client in &clients {
            id += 1;
            client.rows(&format!("INSERT INTO t VALUES ({id})"));
        }
        let states: Vec<String> =
            clients.iter().map(|client| client.rows("SELECT status FROM mr_catalog.sinks")[0][0].clone()).collect();
        states.iter().any(|state| state == "failed").then_some(())
    });
    let failed = clients.iter().filter(|client| client.rows("SELECT status FROM mr_catalog.sinks")[0][0] == "failed");
    for client in failed {
        let error = client.rows("SELECT error FROM mr_catalog.sinks")[0][0].clone();
        assert!(error.contains("another server writes to this sink"), "{error}");
    }
}
