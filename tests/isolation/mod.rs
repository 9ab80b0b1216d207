//! Nobody is stopped by another's failure: greedy queries, readers that don't read, strangers that send garbage, panics, disks that fill up.

mod backups;
mod panics;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use storage::{ChangeSet, Durability, RocksOptions, RocksStore, Store as _};

use crate::support::random::Random;
use crate::support::server::{ServerProcess, describe};
use crate::support::{trial, wait};

/// Where a data directory says which layout it has.
const LAYOUT_KEY: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0];

pub fn trials() -> Vec<Trial> {
    let tests: &[(&str, fn())] = &[
        ("a_greedy_query_is_stopped_and_others_go_on", a_greedy_query_is_stopped_and_others_go_on),
        ("a_subscriber_that_does_not_read_is_shed", a_subscriber_that_does_not_read_is_shed),
        ("strangers_that_send_garbage_bother_nobody", strangers_that_send_garbage_bother_nobody),
        ("a_damaged_directory_says_what_to_do", a_damaged_directory_says_what_to_do),
        ("a_directory_of_another_version_says_what_to_do", a_directory_of_another_version_says_what_to_do),
        ("the_runbooks_say_what_exists", the_runbooks_say_what_exists),
        ("panics::a_panic_ends_the_engine_and_not_its_readers", panics::a_panic_ends_the_engine_and_not_its_readers),
        ("backups::a_running_server_is_backed_up_and_restored", backups::a_running_server_is_backed_up_and_restored),
        ("backups::a_backup_without_a_server_is_the_same", backups::a_backup_without_a_server_is_the_same),
    ];
    tests.iter().map(|(name, test)| trial(&format!("isolation::{name}"), *test)).collect()
}

fn a_greedy_query_is_stopped_and_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--query-memory", "16MiB"]);
    let client = server.connect();
    client.rows("CREATE TABLE t (id int PRIMARY KEY, n int)");
    client.rows("INSERT INTO t SELECT n, n % 7 FROM generate_series(1, 1000) AS g (n)");
    let greedy =
        "SELECT count(*) FROM generate_series(1, 3000000) a (n) JOIN generate_series(1, 3000000) b (n) ON a.n = b.n";
    std::thread::scope(|scope| {
        let refused = scope.spawn(|| describe(&server.connect().query(greedy).unwrap_err()));
        while !refused.is_finished() {
            assert_eq!(client.rows("SELECT n FROM t WHERE id = 500"), [["3"]]);
            assert_eq!(client.rows("SELECT count(*) FROM t WHERE n = 3"), [["143"]]);
        }
        let refused = refused.join().unwrap();
        assert!(refused.starts_with("53200"), "{refused}");
    });
    client.rows("INSERT INTO t VALUES (0, 0)");
    assert_eq!(client.rows("SELECT count(*) FROM t"), [["1001"]]);
}

/// Its changes pile up to a bound, then it is told so and forgotten. The view goes on all the while.
fn a_subscriber_that_does_not_read_is_shed() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &[]);
    let client = server.connect();
    client.rows("CREATE TABLE t (id int PRIMARY KEY, wide text)");
    client.rows("CREATE MATERIALIZED VIEW v AS SELECT id, wide FROM t");
    let mut idle = startup(&server);
    send(&mut idle, b'Q', b"SUBSCRIBE TO v\0");
    // Some 200 MB of changes, far above what waits for one subscriber.
    for round in 0..40 {
        client.rows(&format!(
            "INSERT INTO t SELECT n, repeat('x', 1000) || n FROM generate_series({0}, {0} + 4999) AS g (n)",
            round * 5_000
        ));
    }
    assert_eq!(client.rows("SELECT count(*) FROM v"), [["200000"]], "the view has gone on");
    // What was on its way is read, then comes the error.
    let mut answer = Vec::new();
    idle.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let text = |answer: &[u8]| String::from_utf8_lossy(&answer[answer.len().saturating_sub(2_000)..]).into_owned();
    let mut buffer = vec![0; 1 << 20];
    while !text(&answer).contains("reads too slowly") {
        let read = idle.read(&mut buffer).expect("it is told why");
        assert!(read > 0, "it is told why: {}", text(&answer));
        answer.extend_from_slice(&buffer[..read]);
    }
    assert!(answer.len() < 190_000_000, "it was shed before it had everything");
    assert!(text(&answer).contains("54000"), "{}", text(&answer));
}

/// A connection that has said hello.
fn startup(server: &ServerProcess) -> TcpStream {
    let mut stream = TcpStream::connect(&server.sql_addr).unwrap();
    let mut body = 196_608_i32.to_be_bytes().to_vec();
    body.extend_from_slice(b"user\0tests\0database\0millrace\0\0");
    stream.write_all(&(body.len() as i32 + 4).to_be_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0; 1];
    // ReadyForQuery, idle.
    while !answer.ends_with(b"Z\0\0\0\x05I") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    stream
}

fn send(stream: &mut TcpStream, kind: u8, body: &[u8]) {
    let mut message = vec![kind];
    message.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    message.extend_from_slice(body);
    stream.write_all(&message).unwrap();
}

/// Bytes of all sorts instead of a start, and in the place of messages of a session, over both doors.
fn strangers_that_send_garbage_bother_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &[]);
    let client = server.connect();
    client.rows("CREATE TABLE t (id int PRIMARY KEY)");
    client.rows("INSERT INTO t VALUES (1)");
    let seed = Random::seed(11);
    eprintln!("isolation::garbage runs with seed {seed}");
    let mut random = Random::new(seed);
    for round in 0..300_u64 {
        let length = random.below(200) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        let mut stream = match round % 4 {
            0 => TcpStream::connect(&server.sql_addr).unwrap(),
            1 => TcpStream::connect(&server.http_addr).unwrap(),
            _ => {
                // Messages with a proper head, and whatever in them; or none at all.
                if round % 4 == 2 {
                    let kind = *random.pick(b"QPBDECHSXFdcfp?");
                    let stated = if random.one_in(3) { random.next() as i32 } else { bytes.len() as i32 + 4 };
                    let head = [&[kind][..], &stated.to_be_bytes()].concat();
                    bytes.splice(0..0, head);
                }
                startup(&server)
            }
        };
        // The server may hang up in the middle of it.
        drop(stream.write_all(&bytes));
        if random.one_in(2) {
            stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
            drop(stream.read(&mut [0; 512]));
        }
        if round % 50 == 0 {
            assert_eq!(client.rows("SELECT id FROM t"), [["1"]]);
        }
    }
    assert_eq!(server.connect().rows("SELECT id FROM t"), [["1"]]);
    assert_eq!(server.http("GET", "/health/ready", "").0, 200);
    let start = Instant::now();
    wait::until("the strangers to be forgotten", || {
        let (_, metrics) = server.http("GET", "/metrics", "");
        let line = metrics.lines().find(|line| line.starts_with("millrace_sql_connections "))?;
        let connections: f64 = line.rsplit(' ').next()?.parse().ok()?;
        (connections <= 3.0).then_some(())
    });
    assert!(start.elapsed() < wait::PATIENCE);
}

/// Statements of docs/operations run, alerts ask for metrics that there are, and name pages that there are.
fn the_runbooks_say_what_exists() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &[]);
    let client = server.connect();
    let mut statements = 0;
    for entry in std::fs::read_dir(root.join("docs/operations")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for statement in text.split('`').filter(|part| part.starts_with("SELECT ") && !part.contains('…')) {
            client.rows(statement);
            statements += 1;
        }
    }
    assert!(statements > 8, "{statements} statements");

    let alerts = std::fs::read_to_string(root.join("deploy/prometheus/alerts.yml")).unwrap();
    let known = std::fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let names =
        alerts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("millrace_"));
    for name in names {
        let name = name.strip_suffix("_bucket").unwrap_or(name);
        assert!(known.contains(&format!("`{name}`")), "alerts.yml asks for {name}, which docs/metrics.md doesn't have");
    }
    for name in ["millrace_failed", "millrace_disk_free_bytes", "millrace_memory_budget_bytes", "millrace_commit_waits"]
    {
        wait::until(name, || {
            let (_, metrics) = server.http("GET", "/metrics", "");
            metrics.lines().any(|line| line.starts_with(&format!("{name} "))).then_some(())
        });
    }
    for page in alerts.lines().filter_map(|line| line.trim().strip_prefix("runbook: ")) {
        assert!(root.join(page).is_file(), "{page}");
    }
}

/// A server doesn't start on damaged data, and its message names the file and the ways out.
fn a_damaged_directory_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = ServerProcess::start(&data, &[]);
    server.connect().rows("CREATE TABLE t (id int PRIMARY KEY)");
    assert_eq!(server.terminate().code(), Some(0));
    let current = data.join("CURRENT");
    std::fs::write(&current, "MANIFEST-999999\n").unwrap();
    let output = crate::support::server::command(&data).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    for part in ["MANIFEST-999999", "damaged", "restore a backup", "docs/operations/damaged.md"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

/// A server doesn't start on data that another version wrote in another layout, and leaves them as they are.
fn a_directory_of_another_version_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = ServerProcess::start(&data, &[]);
    server.connect().rows("CREATE TABLE t (id int PRIMARY KEY)");
    server.connect().rows("INSERT INTO t VALUES (1)");
    assert_eq!(server.terminate().code(), Some(0));
    let set_layout = |layout: &[u8]| {
        let store = RocksStore::open(&data, &RocksOptions::default()).unwrap();
        let mut changes = ChangeSet::new();
        let before = store.snapshot().unwrap().get(&LAYOUT_KEY).unwrap().unwrap();
        changes.put(&LAYOUT_KEY, layout);
        store.commit(changes, Durability::Disk).unwrap();
        before
    };
    let this = set_layout(b"1");
    let output = crate::support::server::command(&data).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    let layouts = format!("has layout 1, this version reads layout {}", String::from_utf8_lossy(&this));
    for part in [layouts.as_str(), "start the version that wrote it", "docs/operations/upgrade.md"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}
