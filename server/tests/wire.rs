//! The protocol as clients see it; expected answers are PostgreSQL 15's.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use support::{
    Client, Running, any, bind, brief, close_statement, describe_statement, execute, flush, parse, query, sync,
};

#[test]
fn encryption_is_declined_politely() {
    let server = Running::start();
    let mut client = Client::raw(server.sql_addr);
    client.send_raw(&[0, 0, 0, 8, 4, 210, 22, 47]);
    assert_eq!(client.read_raw(1), b"N");
    client.send_raw(&[0, 0, 0, 8, 4, 210, 22, 48]);
    assert_eq!(client.read_raw(1), b"N");
    client.startup(196_608, &[]);
    assert_eq!(client.until('Z').last().unwrap().brief(), "Z I");
}

#[test]
fn settings_are_reported_at_the_start_and_when_they_change() {
    let server = Running::start();
    let mut client =
        Client::connect(server.sql_addr, &[("application_name", "tester"), ("options", "-c TimeZone=Europe/Berlin")]);
    let parameter = |client: &Client, name: &str| {
        client.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    assert!(parameter(&client, "server_version").unwrap().starts_with("15."));
    for (name, value) in [
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", "Europe/Berlin"),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("application_name", "tester"),
        ("is_superuser", "on"),
        ("session_authorization", "postgres"),
    ] {
        assert_eq!(parameter(&client, name).as_deref(), Some(value), "{name}");
    }
    let messages = client.messages("set timezone = 'Asia/Kolkata'");
    let changed = messages.iter().find(|message| message.kind == 'S').unwrap();
    assert_eq!(changed.body, b"TimeZone\0Asia/Kolkata\0");
    assert_eq!(client.query("select timestamptz '2024-01-01 00:00:00Z'")[1], "D 2024-01-01 05:30:00+05:30");
}

#[test]
fn newer_protocols_are_negotiated_and_have_long_keys() {
    let server = Running::start();
    let mut client = Client::raw(server.sql_addr);
    client.startup(196_608 + 9999, &[]);
    let messages = client.until('Z');
    assert_eq!(messages[0].kind, 'v');
    assert_eq!(messages[0].body[..4], 196_610_i32.to_be_bytes());
    let key = messages.iter().find(|message| message.kind == 'K').unwrap();
    assert_eq!(key.body.len(), 4 + 32);
}

#[test]
fn what_is_no_session_is_refused() {
    let server = Running::start();
    let refusal = |version: i32, settings: &[(&str, &str)]| {
        let mut client = Client::raw(server.sql_addr);
        client.startup(version, settings);
        client.receive().brief()
    };
    assert_eq!(refusal(2 << 16, &[]), "E 0A000");
    assert_eq!(refusal(196_608, &[("replication", "database")]), "E 0A000");
    assert_eq!(refusal(196_608, &[("timezone", "Nowhere/Land")]), "E 22023");
    let mut client = Client::raw(server.sql_addr);
    client.send_raw(b"GET / HTTP/1.1\r\n\r\n");
    assert!(client.is_closed());
}

#[test]
fn results_before_an_error_are_sent_and_the_rest_is_not_run() {
    let server = Running::start();
    let mut client = server.connect();
    assert_eq!(client.query("select 1; select nosuch; select 2"), ["T", "D 1", "C SELECT 1", "E 42703 P18", "Z I"]);
    assert_eq!(client.query(""), ["I", "Z I"]);
    assert_eq!(client.query("select 'é', nosuch"), ["E 42703 P13", "Z I"]);
    assert_eq!(client.query("selec 1"), ["E 42601 P1", "Z I"]);
}

#[test]
fn several_statements_of_one_query_are_one_transaction() {
    let server = Running::start();
    let mut client = server.connect();
    assert_eq!(client.query("create table t (a int primary key)"), ["C CREATE TABLE", "Z I"]);
    assert_eq!(
        client.query("insert into t values (1); insert into t values (2), (3)"),
        ["C INSERT 0 1", "C INSERT 0 2", "Z I"]
    );
    assert_eq!(client.query("insert into t values (4); select 1/0"), ["C INSERT 0 1", "T", "E 22012", "Z I"]);
    assert_eq!(client.query("select count(*) from t")[1], "D 3");
}

#[test]
fn a_failed_transaction_takes_its_end_alone() {
    let server = Running::start();
    let mut client = server.connect();
    assert_eq!(client.query("begin"), ["C BEGIN", "Z T"]);
    assert_eq!(client.query("select nosuch"), ["E 42703 P8", "Z E"]);
    assert_eq!(client.query("select 1"), ["E 25P02", "Z E"]);
    assert_eq!(client.query("commit"), ["C ROLLBACK", "Z I"]);
}

#[test]
fn statements_are_prepared_described_and_run() {
    let server = Running::start();
    let mut client = server.connect();
    let run = |client: &mut Client, text: &str, types: &[u32], parameters: &[Option<&str>]| {
        client.pipeline(&[
            parse("", text, types),
            describe_statement(""),
            bind("", "", parameters, 0),
            execute("", 0),
            sync(),
        ])
    };
    assert_eq!(run(&mut client, "select $1", &[], &[Some("x")]), ["1", "t 25", "T", "2", "D x", "C SELECT 1", "Z I"]);
    assert_eq!(
        run(&mut client, "select $1+1", &[23], &[Some("5")]),
        ["1", "t 23", "T", "2", "D 6", "C SELECT 1", "Z I"]
    );
    assert_eq!(
        run(&mut client, "select 1 limit $1", &[], &[Some("1")]),
        ["1", "t 20", "T", "2", "D 1", "C SELECT 1", "Z I"]
    );
    assert_eq!(
        run(&mut client, "show search_path", &[], &[]),
        ["1", "t ", "T", "2", "D \"$user\", public", "C SHOW", "Z I"]
    );
    assert_eq!(run(&mut client, "create table z (a int)", &[], &[]), ["1", "t ", "n", "2", "C CREATE TABLE", "Z I"]);
    assert_eq!(
        run(&mut client, "insert into z values ($1)", &[], &[Some("7")]),
        ["1", "t 23", "n", "2", "C INSERT 0 1", "Z I"]
    );
    assert_eq!(
        run(&mut client, "select a from z where a = $1", &[], &[Some("7")]),
        ["1", "t 23", "T", "2", "D 7", "C SELECT 1", "Z I"]
    );
    assert_eq!(run(&mut client, "begin", &[], &[]), ["1", "t ", "n", "2", "C BEGIN", "Z T"]);
    assert_eq!(
        run(&mut client, "select $1::int", &[], &[None]),
        ["1", "t 23", "T", "2", "D NULL", "C SELECT 1", "Z T"]
    );
    assert_eq!(run(&mut client, "select $1::int", &[], &[Some("x")]), ["1", "t 23", "T", "E 22P02", "Z E"]);
}

#[test]
fn binary_results_are_postgresqls() {
    let server = Running::start();
    let mut client = server.connect();
    client.send_raw(
        &[
            parse("", "select 7, 1.5::numeric(4,1), timestamp '2000-01-01 00:00:01'", &[]),
            bind("", "", &[], 1),
            execute("", 0),
            sync(),
        ]
        .concat(),
    );
    let messages = client.until('Z');
    let row = messages.iter().find(|message| message.kind == 'D').unwrap();
    let expected = [
        &[0, 3, 0, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 12, 0, 2, 0, 0, 0, 0, 0, 1, 0, 1, 0x13, 0x88, 0, 0, 0, 8][..],
        &1_000_000_i64.to_be_bytes(),
    ]
    .concat();
    assert_eq!(row.body, expected);
}

#[test]
fn portals_hand_out_rows_in_parts_within_a_transaction() {
    let server = Running::start();
    let mut client = server.connect();
    client.query("begin");
    let first = client.pipeline(&[
        parse("", "select * from generate_series(1, 25)", &[]),
        bind("p", "", &[], 0),
        execute("p", 10),
        sync(),
    ]);
    assert_eq!(first.len(), 14);
    assert_eq!(
        (first[2].as_str(), first[11].as_str(), first[12].as_str(), first[13].as_str()),
        ("D 1", "D 10", "s", "Z T")
    );
    let second = client.pipeline(&[execute("p", 10), sync()]);
    assert_eq!((second[0].as_str(), second[10].as_str()), ("D 11", "s"));
    let third = client.pipeline(&[execute("p", 10), sync()]);
    assert_eq!((third[4].as_str(), third[5].as_str()), ("D 25", "C SELECT 5"));
    assert_eq!(client.query("commit"), ["C COMMIT", "Z I"]);
    assert_eq!(client.pipeline(&[execute("p", 10), sync()]), ["E 34000", "Z I"]);
}

#[test]
fn names_that_exist_or_do_not_are_errors() {
    let server = Running::start();
    let mut client = server.connect();
    assert_eq!(
        client.pipeline(&[parse("s", "select 1", &[]), parse("s", "select 2", &[]), sync()]),
        ["1", "E 42P05", "Z I"]
    );
    assert_eq!(client.pipeline(&[bind("", "nosuch", &[], 0), sync()]), ["E 26000", "Z I"]);
    assert_eq!(client.pipeline(&[execute("nosuch", 0), sync()]), ["E 34000", "Z I"]);
    assert_eq!(client.pipeline(&[bind("p", "s", &[], 0), bind("p", "s", &[], 0), sync()]), ["2", "E 42P03", "Z I"]);
    assert_eq!(
        client.pipeline(&[close_statement("s"), close_statement("s"), bind("", "s", &[], 0), sync()]),
        ["3", "3", "E 26000", "Z I"]
    );
    assert_eq!(client.pipeline(&[parse("", "select 1; select 2", &[]), sync()]), ["E 42601", "Z I"]);
    assert_eq!(client.pipeline(&[parse("", "select $1", &[]), bind("", "", &[], 0), sync()]), ["1", "E 08P01", "Z I"]);
    assert_eq!(
        client.pipeline(&[parse("", "", &[]), describe_statement(""), bind("", "", &[], 0), execute("", 0), sync()]),
        ["1", "t ", "n", "2", "I", "Z I"]
    );
}

#[test]
fn a_pipeline_is_one_transaction_that_an_error_undoes() {
    let server = Running::start();
    let mut client = server.connect();
    client.query("create table t (a int primary key)");
    let insert = |value: &str| {
        [parse("", "insert into t values ($1::int)", &[25]), bind("", "", &[Some(value)], 0), execute("", 0)].concat()
    };
    let answer = client.pipeline(&[insert("1"), insert("x"), insert("2"), sync()]);
    assert_eq!(answer, ["1", "2", "C INSERT 0 1", "1", "2", "E 22P02", "Z I"]);
    assert_eq!(client.query("select count(*) from t")[1], "D 0");
    assert_eq!(client.pipeline(&[insert("1"), insert("2"), sync()]).last().unwrap(), "Z I");
    assert_eq!(client.query("select count(*) from t")[1], "D 2");
}

#[test]
fn several_syncs_may_be_in_flight() {
    let server = Running::start();
    let mut client = server.connect();
    let one = [parse("", "select 1", &[]), bind("", "", &[], 0), execute("", 0), sync()].concat();
    client.send_raw(&one.repeat(3));
    for _ in 0..3 {
        assert_eq!(brief(&client.until('Z')), ["1", "2", "D 1", "C SELECT 1", "Z I"]);
    }
    client.send_raw(&[parse("", "select 1", &[]), flush()].concat());
    assert_eq!(client.receive().brief(), "1");
    assert_eq!(client.pipeline(&[sync()]), ["Z I"]);
}

#[test]
fn messages_that_make_no_sense_are_answered() {
    let server = Running::with(|settings| settings.max_message_bytes = 1 << 20);
    let mut client = server.connect();
    client.send_raw(&any(b'F', &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
    assert_eq!(brief(&client.until('Z')), ["E 42883", "Z I"]);
    client.send_raw(&any(b'Q', b"select \xff\0"));
    assert_eq!(brief(&client.until('Z')), ["E 22021", "Z I"]);
    client.send_raw(&[any(b'B', b"\0"), sync()].concat());
    assert_eq!(brief(&client.until('Z')), ["E 08P01", "Z I"]);
    client.send_raw(&query(&format!("select '{}'", "x".repeat(2 << 20))));
    assert_eq!(brief(&client.until('Z')), ["E 54000", "Z I"]);
    assert_eq!(client.query("select 1")[1], "D 1");
    client.send_raw(&any(b'?', b""));
    assert_eq!(client.receive().brief(), "E 08P01");
    assert!(client.is_closed());
}

/// Takes minutes to run.
const LONG: &str = "select count(*) from generate_series(1, 100000) a, generate_series(1, 1000000) b";

#[test]
fn a_cancel_request_ends_the_statement_and_not_the_session() {
    let server = Running::start();
    let mut client = server.connect();
    let begun = Instant::now();
    client.send_raw(&query(LONG));
    std::thread::sleep(Duration::from_millis(300));
    let mut other = Client::raw(server.sql_addr);
    let wrong: Vec<u8> = client.key.iter().map(|byte| !byte).collect();
    for key in [wrong, client.key.clone()] {
        let length = (12 + key.len()) as i32;
        other.send_raw(
            &[&length.to_be_bytes()[..], &80_877_102_i32.to_be_bytes(), &client.process.to_be_bytes(), &key].concat(),
        );
        assert!(other.is_closed());
        other = Client::raw(server.sql_addr);
    }
    let answer = brief(&client.until('Z'));
    assert_eq!(answer[answer.len() - 2..], ["E 57014", "Z I"]);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(client.query("select 1")[1], "D 1");
}

/// Queries that compute for minutes: joins that make rows all the time, or none, one in a statement that writes; recursions without an end.
const LONG_ONES: [&str; 6] = [
    LONG,
    "select count(*) from generate_series(1, 300000) a(x), generate_series(1, 300000) b(y) where a.x * b.y = -1",
    "select a.x from generate_series(1, 300000) a(x) join generate_series(1, 300000) b(y) on a.x % 2 = b.y % 2 where a.x + b.y < 0",
    "insert into t select a.x from generate_series(1, 300000) a(x), generate_series(1, 300000) b(y) where a.x * b.y = -1",
    "with recursive r(n) as (select 1 union all select n from r) select count(*) from r",
    "with recursive r(n) as (select 1::bigint union select n + 1 from r) select count(*) from r",
];

#[test]
fn a_query_that_is_ended_leaves_its_threads_to_others() {
    // There are two threads for queries: if one that was ended went on computing, the third of a round would find none.
    let server = Running::start();
    let mut client = server.connect();
    client.query("create table t (a int primary key)");
    client.query("set statement_timeout = '100ms'");
    for _ in 0..3 {
        for long in LONG_ONES {
            let begun = Instant::now();
            assert_eq!(client.query(long).last().unwrap(), "Z I", "{long}");
            assert!(begun.elapsed() < Duration::from_secs(5), "{long}: {:?}", begun.elapsed());
        }
    }
    client.query("set statement_timeout = '10s'");
    let begun = Instant::now();
    assert_eq!(client.query("select count(*) from generate_series(1, 10)")[1], "D 10");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// What computes takes minutes; the others share two cores with it and with other tests, but none waits for its end.
#[test]
fn a_query_that_computes_holds_up_nobody_else() {
    let server = Running::start();
    let mut busy: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for client in &mut busy {
        client.send_raw(&query(LONG));
    }
    let mut other = server.connect();
    other.query("create table t (a int primary key)");
    for a in 0..20 {
        let begun = Instant::now();
        assert_eq!(other.query(&format!("insert into t values ({a})"))[0], "C INSERT 0 1");
        assert_eq!(other.query(&format!("select a from t where a = {a}"))[1], format!("D {a}"));
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_statement_has_a_timeout() {
    let server = Running::start();
    let mut client = server.connect();
    client.query("set statement_timeout = '200ms'");
    let messages = client.messages(LONG);
    let error = messages.iter().find(|message| message.kind == 'E').unwrap();
    assert_eq!(error.field('M').as_deref(), Some("canceling statement due to statement timeout"));
}

#[test]
fn a_subscription_sends_changes_as_they_commit_and_ends_with_its_client() {
    let server = Running::start();
    let mut writer = server.connect();
    writer.query("create table t (a int primary key, b text)");
    writer.query("insert into t values (1, 'x')");
    let mut reader = server.connect();
    reader.send_raw(&query("subscribe to t"));
    assert_eq!(reader.receive().kind, 'T');
    assert!(reader.receive().brief().contains("1|x"));
    writer.query("insert into t values (2, 'y')");
    assert!(reader.receive().brief().contains("2|y"));
    drop(reader);
    // Its session goes away too.
    let begun = Instant::now();
    while writer.query("select count(*) from pg_stat_activity")[1] != "D 1" {
        assert!(begun.elapsed() < Duration::from_secs(10), "the subscription is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn shutdown_says_goodbye() {
    let mut server = Running::start();
    let mut idle = server.connect();
    let mut busy = server.connect();
    busy.query("create table t (a int primary key)");
    busy.send_raw(&query("subscribe to t"));
    assert_eq!(busy.receive().kind, 'T');
    server.stop();
    assert_eq!(idle.receive().brief(), "E 57P01");
    assert!(idle.is_closed());
    assert_eq!(busy.receive().brief(), "E 57P01");
}

#[test]
fn addresses_that_others_can_reach_need_insecure() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = engine::Engine::open(engine::Settings { workers: 1, ..engine::Settings::default() }).unwrap();
    let settings =
        server::ServerSettings { sql_addr: "0.0.0.0:0".parse().unwrap(), ..server::ServerSettings::default() };
    let refused = runtime.block_on(server::Server::start(engine.clone(), settings)).err().unwrap();
    assert!(refused.to_string().contains("--insecure"), "{refused}");
    runtime.block_on(engine.shutdown()).unwrap();
}

#[test]
fn psql_sees_changes_as_they_come_because_they_are_lines_of_a_copy() {
    let server = Running::start();
    let mut writer = server.connect();
    writer.query("create table t (id int primary key, s text)");
    writer.query("insert into t values (1, E'a\\tb'), (2, null)");
    let mut psql = Client::connect(server.sql_addr, &[("application_name", "psql")]);
    psql.send_raw(&query("subscribe to t"));
    let begun = psql.until('H');
    assert_eq!(begun.last().unwrap().body, [0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut line = || String::from_utf8(psql.until('d').pop().unwrap().body).unwrap();
    assert_eq!(line(), "mr_epoch\tmr_weight\tid\ts\n");
    let mut there = [line(), line()].map(|line| line.split_once('\t').unwrap().1.to_owned());
    there.sort();
    assert_eq!(there, ["1\t1\ta\\tb\n", "1\t2\t\\N\n"]);
    writer.query("delete from t where id = 1");
    assert!(line().ends_with("\t-1\t1\ta\\tb\n"));
}

#[test]
fn point_queries_that_differ_in_literals_answer_as_any_text() {
    let server = Running::start();
    let mut client = server.connect();
    client.query("create table t (id int primary key, name text, k bigint)");
    client.query("create index on t (k)");
    client.query("create table n (name text primary key, a smallint, v numeric)");
    client.query("insert into t select i, 'n' || i, i / 100 from generate_series(1, 1000) as g(i)");
    client.query("insert into n values ('a', 1, 1.5), ('it''s', 2, 2), ('5', 3, 3)");
    let texts = [
        "select name from t where id = 7",
        "select name from t where id = 99999999999",
        "select name from t where id = 'x'",
        "select name from t where id = '7'",
        "select name from t where id = -7",
        "select name from t where id = 7.0",
        "select name from t where id = 7 limit 0",
        "select name as \"a 1\", id from t where id = 8;",
        "select id from t where k = 5",
        "select id from t where k = 5000",
        "select id, 1 from t where id = 9",
        "select v from n where name = 'a'",
        "select v from n where name = 'it''s'",
        "select v from n where name = 5",
        "select v from n where name = 'none'",
        "select v from n where name = 'a' and a = 1",
        "select v from n where name = 'a' and a = 100000",
    ];
    for _ in 0..4 {
        for text in texts {
            let mut fresh = server.connect();
            assert_eq!(client.query(text), fresh.query(text), "{text}");
            assert_eq!(client.messages(text), fresh.messages(text), "{text}");
        }
    }
    // A transaction sees what it wrote, and takes nothing after an error.
    client.query("begin");
    client.query("update t set name = 'mine' where id = 7");
    assert_eq!(client.query("select name from t where id = 7"), ["T", "D mine", "C SELECT 1", "Z T"]);
    assert_eq!(client.query("select name from t where id = 8"), ["T", "D n8", "C SELECT 1", "Z T"]);
    client.query("select nosuch");
    assert_eq!(client.query("select name from t where id = 8"), ["E 25P02", "Z E"]);
    client.query("rollback");
    assert_eq!(client.query("select name from t where id = 7"), ["T", "D n7", "C SELECT 1", "Z I"]);
    // Another table of that name.
    client.query("drop table t");
    assert_eq!(client.query("select name from t where id = 7")[0][..7], *"E 42P01");
    client.query("create table t (id text primary key, name text)");
    client.query("insert into t values ('7', 'seven')");
    for _ in 0..3 {
        assert_eq!(client.query("select name from t where id = '7'"), ["T", "D seven", "C SELECT 1", "Z I"]);
        assert_eq!(client.query("select name from t where id = 7")[0][..7], *"E 42883");
    }
}

#[test]
fn prepared_point_queries_stop_at_row_limits_and_see_what_was_written() {
    let server = Running::start();
    let mut client = server.connect();
    client.query("create table t (id int primary key, k int)");
    client.query("create index on t (k)");
    client.query("insert into t select i, i / 100 from generate_series(1, 1000) as g(i)");
    let rows = |messages: &[String]| messages.iter().filter(|message| message.starts_with('D')).count();
    let by_k = |portal, k| bind(portal, "by_k", &[Some(k)], 0);
    let by_id = |id| bind("", "by_id", &[id], 0);
    client.pipeline(&[
        parse("by_k", "select id from t where k = $1", &[23]),
        parse("by_id", "select k from t where id = $1", &[23]),
        sync(),
    ]);
    // More rows than are sent at once, whole and in parts.
    assert_eq!(rows(&client.pipeline(&[by_k("", "5"), execute("", 0), sync()])), 100);
    let in_parts = [by_k("p", "5"), execute("p", 30), execute("p", 30), execute("p", 0), execute("p", 0), sync()];
    let messages = client.pipeline(&in_parts);
    assert_eq!(rows(&messages), 100);
    let ends: Vec<&String> = messages.iter().filter(|message| message.starts_with(['s', 'C'])).collect();
    assert_eq!(ends, ["s", "s", "C SELECT 40", "C SELECT 0"]);
    // In a pipeline the second reads what the first wrote.
    let messages = client.pipeline(&[
        parse("", "update t set k = 77 where id = 3", &[]),
        bind("", "", &[], 0),
        execute("", 0),
        by_id(Some("3")),
        execute("", 0),
        by_id(Some("x")),
        execute("", 0),
        sync(),
    ]);
    assert_eq!(messages, ["1", "2", "C UPDATE 1", "2", "D 77", "C SELECT 1", "E 22P02", "Z I"]);
    let messages = client.pipeline(&[by_id(Some("3")), execute("", 0), sync()]);
    assert_eq!(messages, ["2", "D 0", "C SELECT 1", "Z I"], "the pipeline failed as a whole");
    assert_eq!(client.pipeline(&[by_id(None), execute("", 0), sync()]), ["2", "C SELECT 0", "Z I"]);
}
