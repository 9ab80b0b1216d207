//! The HTTP door.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::Running;

/// Status and body.
fn request(server: &Running, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.http_addr).unwrap();
    let text = format!("{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn get(server: &Running, path: &str) -> (u16, String) {
    request(server, &format!("GET {path} HTTP/1.1\r\nHost: localhost"), "")
}

fn sql(server: &Running, query: &str) -> (u16, serde_json::Value) {
    let body = serde_json::json!({ "query": query }).to_string();
    let (status, answer) =
        request(server, "POST /api/sql HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json", &body);
    (status, serde_json::from_str(&answer).unwrap())
}

#[test]
fn health_and_metrics() {
    let server = Running::start();
    assert_eq!(get(&server, "/health/live"), (200, "live\n".into()));
    assert_eq!(get(&server, "/health/ready"), (200, "ready\n".into()));
    server.connect().query("select 1");
    let (status, text) = get(&server, "/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("# TYPE millrace_epoch gauge"), "{text}");
    assert!(text.contains("millrace_sql_statement_seconds_bucket"), "{text}");
    assert_eq!(get(&server, "/nosuch").0, 404);
}

#[test]
fn statements_are_answered_in_json() {
    let server = Running::start();
    let (status, answer) = sql(
        &server,
        "select 1 as a, 1.50::numeric(4,2) as b, null::text as c, array[1,2] as d, true as e, '{\"k\": [1]}'::jsonb as f",
    );
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["columns"][1], serde_json::json!({ "name": "b", "type": "numeric(4,2)" }));
    assert_eq!(answer["rows"], serde_json::json!([[1, "1.50", null, [1, 2], true, { "k": [1] }]]));
    assert_eq!(answer["tag"], "SELECT 1");
    assert_eq!(sql(&server, "create table t (a int primary key)").1["tag"], "CREATE TABLE");
    assert_eq!(sql(&server, "insert into t values (1)").1["tag"], "INSERT 0 1");

    let (status, answer) = sql(&server, "select nosuch from t");
    assert_eq!((status, &answer["error"]["code"], &answer["error"]["position"]), (400, &"42703".into(), &8.into()));
    assert_eq!(sql(&server, "select * from nosuch").0, 404);
    assert_eq!(sql(&server, "select 1; select 2").0, 400);
    assert_eq!(sql(&server, "subscribe to t").0, 501);
}

#[test]
fn web_pages_are_kept_out() {
    let server = Running::start();
    let post =
        |headers: &str| request(&server, &format!("POST /api/sql HTTP/1.1\r\n{headers}"), "{\"query\":\"select 1\"}").0;
    assert_eq!(post("Host: localhost\r\nContent-Type: application/json"), 200);
    assert_eq!(post("Host: localhost\r\nContent-Type: text/plain"), 415);
    assert_eq!(post("Host: localhost\r\nContent-Type: application/json\r\nOrigin: http://evil.example"), 403);
    assert_eq!(post("Host: evil.example\r\nContent-Type: application/json"), 403);
    assert_ne!(get(&server, "/api/sql").0, 200);
}
