//! Many clients, slow ones, large statements and rows: short versions of what a day brings. `MILLRACE_TEST_LOAD=10` makes them ten times as long.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use libtest_mimic::Trial;

use crate::support::server::{ServerProcess, describe};
use crate::support::{trial, wait};

pub fn trials() -> Vec<Trial> {
    let tests: &[(&str, fn())] = &[
        ("connections_come_and_go", connections_come_and_go),
        ("hundreds_work_at_once", hundreds_work_at_once),
        ("thousands_are_connected", thousands_are_connected),
        ("more_than_allowed_are_told_so", more_than_allowed_are_told_so),
        ("slow_readers_hold_nobody_back", slow_readers_hold_nobody_back),
        ("large_statements_and_rows_have_limits", large_statements_and_rows_have_limits),
    ];
    tests.iter().map(|(name, test)| trial(&format!("load::{name}"), *test)).collect()
}

fn times() -> u64 {
    std::env::var("MILLRACE_TEST_LOAD").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn connect(address: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (host, port) = address.rsplit_once(':').unwrap();
    let config = format!("host={host} port={port} user=tests dbname=millrace connect_timeout=30");
    let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Bytes of memory that a process has.
pub(crate) fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

pub(crate) fn open_files(process: u32) -> usize {
    std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().count()
}

/// Each connects, asks once, and goes, some without a goodbye. Nothing of them stays.
fn connections_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &[]);
    server.connect().rows("CREATE TABLE t (id int PRIMARY KEY)");
    server.connect().rows("INSERT INTO t VALUES (7)");
    let connections = 600 * times();
    let round = || {
        runtime().block_on(async {
            let address = server.sql_addr.as_str();
            let all = futures::stream::iter(0..connections).for_each_concurrent(64, |n| async move {
                let client = connect(address).await.unwrap_or_else(|error| panic!("{}", describe(&error)));
                let row = client.query_one("SELECT id FROM t WHERE id = $1", &[&7_i32]).await.unwrap();
                assert_eq!(row.get::<_, i32>(0), 7);
                if n % 5 == 0 {
                    // It hangs up while its query runs.
                    let query = client.query("SELECT count(*) FROM generate_series(1, 100000000)", &[]);
                    drop(tokio::time::timeout(Duration::from_millis(1), query).await);
                }
            });
            all.await;
        });
        wait::until("the connections to be gone", || {
            let (_, metrics) = server.http("GET", "/metrics", "");
            metrics.lines().any(|line| line == "millrace_sql_connections 0").then_some(())
        });
        (resident(server.process()), open_files(server.process()))
    };
    round();
    // The allocator keeps what the first ones needed at once; from then on nothing comes to it.
    let (memory, files) = round();
    let (memory_after, files_after) = round();
    assert!(files_after <= files + 20, "{files} files, then {files_after}");
    assert!(memory_after < memory + (512 << 20), "{memory} bytes, then {memory_after}");
}

/// Writers of one table and readers of a view, all connected at once; one more than allowed is told so.
fn hundreds_work_at_once() {
    const CLIENTS: u64 = 300;
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--max-connections", &(CLIENTS + 1).to_string()]);
    let client = server.connect();
    client.rows("CREATE TABLE t (id bigint PRIMARY KEY, k bigint)");
    client.rows("CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM t GROUP BY k");
    let written = Arc::new(AtomicU64::new(0));
    runtime().block_on(async {
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            clients.push(connect(&server.sql_addr).await.unwrap());
        }
        let refused = match connect(&server.sql_addr).await {
            Err(error) => error,
            Ok(_) => panic!("there are enough"),
        };
        assert_eq!(describe(&refused), "53300: sorry, too many clients already");
        let until = Instant::now() + Duration::from_secs(5 * times());
        let work = clients.iter().enumerate().map(|(number, client)| {
            let written = written.clone();
            async move {
                let mut turn = 0_i64;
                while Instant::now() < until {
                    let id = number as i64 * 1_000_000 + turn;
                    if number % 3 == 0 {
                        let inserted = client.execute("INSERT INTO t VALUES ($1, $2)", &[&id, &(id % 11)]).await;
                        match inserted {
                            Ok(_) => {}
                            // So many write at once that it is told to try again.
                            Err(error) if describe(&error).starts_with("40001") => continue,
                            Err(error) => panic!("{}", describe(&error)),
                        }
                        written.fetch_add(1, Ordering::Relaxed);
                    } else {
                        let rows = client.query("SELECT n FROM v WHERE k = $1", &[&(turn % 11)]).await;
                        assert!(rows.unwrap_or_else(|error| panic!("{}", describe(&error))).len() <= 1);
                    }
                    turn += 1;
                }
            }
        });
        futures::future::join_all(work).await;
    });
    let written = written.load(Ordering::Relaxed);
    assert!(written > 20, "only {written} rows were written");
    assert_eq!(client.rows("SELECT sum(n) FROM v"), [[written.to_string()]]);
}

/// How many files a process may have open.
fn most_files() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(u64::MAX)
}

/// A connection that has said hello and has been told that it may go on; or the message that refuses it.
fn hello(address: &str) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut body = 196_608_i32.to_be_bytes().to_vec();
    body.extend_from_slice(b"user\0tests\0database\0millrace\0\0");
    stream.write_all(&(body.len() as i32 + 4).to_be_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        match head[0] {
            b'Z' => return Ok(stream),
            b'E' => return Err(String::from_utf8_lossy(&body).into_owned()),
            _ => {}
        }
    }
}

/// Ten thousand are connected and do nothing: others don't notice, each costs little, and all of it comes back.
fn thousands_are_connected() {
    // The server has some files open beside them.
    let connections = most_files().saturating_sub(1_000).min(10_000);
    if connections < 10_000 {
        eprintln!("load: only {connections} connections, as no more than {} files may be open", most_files());
    }
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--max-connections", &(connections + 1).to_string()]);
    let client = server.connect();
    client.rows("CREATE TABLE t (id int PRIMARY KEY)");
    client.rows("INSERT INTO t VALUES (7)");
    let (bytes, files) = (resident(server.process()), open_files(server.process()));
    let began = Instant::now();
    let idle: Vec<TcpStream> = (0..connections).map(|_| hello(&server.sql_addr).unwrap()).collect();
    let took = began.elapsed();
    let each = resident(server.process()).saturating_sub(bytes) / connections;
    eprintln!("load: {connections} idle connections, {each} bytes of memory each, made in {took:.1?}");
    assert!(each < 64 << 10, "a connection that does nothing takes {each} bytes");
    let refused = hello(&server.sql_addr).unwrap_err();
    assert!(refused.contains("53300"), "{refused}");
    let began = Instant::now();
    for _ in 0..50 {
        assert_eq!(client.rows("SELECT id FROM t WHERE id = 7"), [["7"]]);
    }
    client.rows("INSERT INTO t VALUES (8)");
    assert!(began.elapsed() < Duration::from_secs(20), "those who work took {:?}", began.elapsed());
    drop(idle);
    wait::until("the connections to be gone", || (open_files(server.process()) <= files + 20).then_some(()));
    assert!(hello(&server.sql_addr).is_ok(), "there is room again");
}

/// Far more come at once than may: so many as may are connected, the others are told, nobody hangs.
fn more_than_allowed_are_told_so() {
    const ALLOWED: usize = 600;
    const COME: usize = 900;
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &["--max-connections", &ALLOWED.to_string()]);
    runtime().block_on(async {
        for round in 0..2 {
            let all = futures::future::join_all((0..COME).map(|_| connect(&server.sql_addr))).await;
            let (mut connected, mut refused) = (Vec::new(), 0);
            for answer in all {
                match answer {
                    Ok(client) => connected.push(client),
                    Err(error) => {
                        assert_eq!(describe(&error), "53300: sorry, too many clients already");
                        refused += 1;
                    }
                }
            }
            assert_eq!((connected.len(), refused), (ALLOWED, COME - ALLOWED), "round {round}");
            let answers =
                futures::future::join_all(connected.iter().map(|client| client.simple_query("SELECT 1"))).await;
            assert!(answers.iter().all(Result::is_ok), "all that are connected are served");
            drop(connected);
            wait::until("the connections to be gone", || {
                let (_, metrics) = server.http("GET", "/metrics", "");
                metrics.lines().any(|line| line == "millrace_sql_connections 0").then_some(())
            });
        }
    });
}

/// Clients that ask for much and read none of it: others are answered at once, and the server's memory doesn't grow with what isn't read.
fn slow_readers_hold_nobody_back() {
    const READERS: u64 = 10;
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &[]);
    let client = server.connect();
    client.rows("CREATE TABLE t (id int PRIMARY KEY, n int)");
    client.rows("INSERT INTO t SELECT n, n FROM generate_series(1, 1000) AS g (n)");
    let before = resident(server.process());
    runtime().block_on(async {
        let mut slow = Vec::new();
        for _ in 0..READERS {
            let client = connect(&server.sql_addr).await.unwrap();
            let nothing: [&(dyn tokio_postgres::types::ToSql + Sync); 0] = [];
            let rows =
                client.query_raw("SELECT n, repeat('x', 1000) FROM generate_series(1, 300000) AS g (n)", nothing);
            let mut rows = Box::pin(rows.await.unwrap());
            rows.next().await.unwrap().unwrap();
            slow.push((client, rows));
        }
        let client = connect(&server.sql_addr).await.unwrap();
        let mut slowest = Duration::ZERO;
        for n in 0..60_i32 {
            let start = Instant::now();
            let row = client.query_one("SELECT n FROM t WHERE id = $1", &[&(n + 1)]).await.unwrap();
            assert_eq!(row.get::<_, i32>(0), n + 1);
            if n % 20 == 0 {
                client.execute("UPDATE t SET n = n WHERE id = $1", &[&n]).await.unwrap();
                let row = client.query_one("SELECT count(*), sum(n % 7) FROM t", &[]).await.unwrap();
                assert_eq!(row.get::<_, i64>(0), 1000);
            }
            slowest = slowest.max(start.elapsed());
        }
        assert!(slowest < Duration::from_secs(20), "the slowest statement took {slowest:?}");
        let grown = resident(server.process()).saturating_sub(before);
        assert!(grown < 800 << 20, "{} MiB more for slow readers of 300 MB each", grown >> 20);
    });
    assert_eq!(client.rows("SELECT count(*) FROM t"), [["1000"]]);
}

/// The longest message is a setting; one that is longer is refused with both numbers, and the session goes on. A row may be far longer.
fn large_statements_and_rows_have_limits() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path(), &[]);
    let client = server.connect();
    let statement = |bytes: usize| format!("SELECT length('{}')", "x".repeat(bytes));
    assert_eq!(client.rows(&statement(50_000_000)), [["50000000"]]);
    let refused = describe(&client.query(&statement(100_000_000)).unwrap_err());
    assert!(refused.starts_with("54000"), "{refused}");
    assert!(refused.contains("67108864") || refused.contains("64"), "it says what is allowed: {refused}");
    assert_eq!(client.rows("SELECT 1"), [["1"]], "the session goes on");
    let rows = client.rows("SELECT repeat('x', 100000000)");
    assert_eq!(rows[0][0].len(), 100_000_000);
    client.rows("CREATE TABLE t (id int PRIMARY KEY, wide text)");
    client.rows(&format!("INSERT INTO t VALUES (1, '{}')", "y".repeat(20_000_000)));
    assert_eq!(client.rows("SELECT length(wide) FROM t"), [["20000000"]]);
    drop(server);
    let small = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(small.path(), &["--max-message", "1MiB"]);
    let refused = describe(&server.connect().query(&statement(2_000_000)).unwrap_err());
    assert!(refused.starts_with("54000"), "{refused}");
}
