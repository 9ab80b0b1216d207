//! What readers get while rows arrive.

use std::time::Duration;

use crate::support::changes::{Contents, follow};
use crate::support::database::Database;

fn arriving(db: &mut Database, events: u64, rate: u64) {
    db.run(&format!(
        "CREATE SOURCE numbers (n bigint, id bigint)
           WITH (connector = 'generator', kind = 'sequence', events = {events}, rate = {rate}, keys = 40)"
    ));
}

pub fn an_index_made_while_rows_arrive_has_them_all() {
    let mut db = Database::durable();
    arriving(&mut db, 60_000, 40_000);
    db.run("CREATE TABLE t (id int PRIMARY KEY, k int)");
    db.run("CREATE MATERIALIZED VIEW rows AS SELECT n, id FROM numbers");
    db.run("CREATE MATERIALIZED VIEW sums AS SELECT id, count(*) AS n, id % 4 AS r FROM numbers GROUP BY id");
    for round in 0..4 {
        db.run(&format!(
            "INSERT INTO t SELECT i, i % 5 FROM generate_series({}, {}) AS g(i)",
            round * 100,
            round * 100 + 99
        ));
        db.run(&format!("CREATE INDEX of_rows_{round} ON rows (id)"));
        db.run(&format!("CREATE INDEX of_sums_{round} ON sums (r)"));
        db.run(&format!("CREATE INDEX of_t_{round} ON t (k)"));
        std::thread::sleep(Duration::from_millis(150));
        if round == 1 {
            db.run("DROP INDEX of_rows_0");
            db.run("DROP INDEX of_t_0");
        }
    }
    db.wait_for("SELECT sum(n) FROM sums", &["60000"]);
    for _ in 0..2 {
        for id in [0, 7, 39] {
            let (by_index, by_scan) = (format!("WHERE id = {id}"), format!("WHERE id + 0 = {id}"));
            assert_eq!(
                db.lines(&format!("SELECT n, id FROM rows {by_index}")),
                db.lines(&format!("SELECT n, id FROM rows {by_scan}"))
            );
        }
        for r in 0..4 {
            assert_eq!(
                db.lines(&format!("SELECT id, n FROM sums WHERE r = {r}")),
                db.lines(&format!("SELECT id, n FROM sums WHERE r + 0 = {r}"))
            );
            assert_eq!(
                db.lines(&format!("SELECT id FROM t WHERE k = {r}")),
                db.lines(&format!("SELECT id FROM t WHERE k + 0 = {r}"))
            );
        }
        db.reopen();
    }
}

const SUMS: &str = "SELECT id, count(*) AS n, sum(n) AS total FROM numbers GROUP BY id";

pub fn a_subscription_adds_up_to_the_view() {
    let mut db = Database::durable();
    arriving(&mut db, 40_000, 20_000);
    db.run(&format!("CREATE MATERIALIZED VIEW sums AS {SUMS}"));
    let mut followed = Vec::new();
    for _ in 0..5 {
        followed.push(db.session());
        std::thread::sleep(Duration::from_millis(200));
    }
    // They begin at different moments in the middle of the stream, and end when the view is complete.
    let readers: Vec<_> = followed
        .into_iter()
        .enumerate()
        .map(|(i, mut session)| {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(37 * i as u64));
                // Every second one follows the query itself, which is built beside what runs.
                let sql = ["SUBSCRIBE TO sums", &format!("{SUMS} EMIT CHANGES")][i % 2].to_owned();
                followed_to(&mut session, &sql, 40_000)
            })
        })
        .collect();
    let added_up: Vec<Vec<String>> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    db.wait_for("SELECT sum(n) FROM sums", &["40000"]);
    let view = db.lines("SELECT * FROM sums");
    for rows in added_up {
        assert_eq!(rows, view);
    }
    db.wait_for("SELECT name FROM mr_catalog.views", &["sums"]);
}

/// What snapshot and changes add up to when the second column's sum is `total`; every row is there once.
fn followed_to(session: &mut engine::Session, sql: &str, total: i64) -> Vec<String> {
    let complete =
        |contents: &Contents| contents.keys().map(|row| row[1].parse::<i64>().unwrap()).sum::<i64>() == total;
    let once = |_, contents: &Contents| assert!(contents.values().all(|weight| *weight == 1), "{contents:?}");
    let contents = follow(session, sql, once, complete);
    let mut lines: Vec<String> = contents.into_keys().map(|row| row.join("|")).collect();
    lines.sort();
    lines
}
