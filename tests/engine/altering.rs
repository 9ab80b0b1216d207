//! Views that get another query, beside readers that go on.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{Response, Session};
use futures::StreamExt;
use storage::fault::{Fault, FaultPlan, FaultStore, Loss};

use crate::support::database::{Database, settings};
use crate::support::machine::Machine;
use crate::support::wait;

/// The changes that a subscription tells, epoch by epoch, until one has the row `last`; a row reads `weight|column|…`.
fn told(session: &mut Session, sql: &str, last: &str) -> Vec<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let statement = session.parse(sql).unwrap().remove(0);
        let Response::Rows(mut rows) = session.run(&statement).await.unwrap() else { panic!("{sql} returns rows") };
        let text = server::text::Text::of(|name| session.setting(name));
        let mut epochs: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        loop {
            let batch = tokio::time::timeout(Duration::from_secs(60), rows.batches.next()).await;
            let batch = batch.unwrap_or_else(|_| panic!("{sql}: changes go on")).expect("it has no end").unwrap();
            let mut ends = false;
            for row in text.rows(&rows.columns, &batch).unwrap() {
                let row: Vec<String> = row.into_iter().map(|value| value.unwrap_or("NULL".to_owned())).collect();
                let line = row[1..].join("|");
                ends |= line == last;
                epochs.entry(row[0].parse().unwrap()).or_default().push(line);
            }
            if ends {
                return epochs
                    .into_values()
                    .map(|mut lines| {
                        lines.sort();
                        lines
                    })
                    .collect();
            }
        }
    })
}

fn orders(db: &mut Database) {
    db.run("CREATE TABLE orders (id int PRIMARY KEY, customer text, amount int)");
    db.run("INSERT INTO orders VALUES (1, 'ann', 10), (2, 'bob', 20), (3, 'bob', 5), (4, 'cid', 7)");
    db.run("CREATE MATERIALIZED VIEW revenue AS SELECT customer, sum(amount) AS total FROM orders GROUP BY customer");
    db.run("CREATE MATERIALIZED VIEW all_of_it AS SELECT sum(total) AS total, count(*) AS n FROM revenue");
    db.run("CREATE INDEX ON revenue (total)");
}

pub fn subscribers_and_readers_get_the_difference() {
    let mut db = Database::durable();
    orders(&mut db);
    let (mut first, mut second, mut third) = (db.session(), db.session(), db.session());
    let followers = [
        std::thread::spawn(move || told(&mut first, "SUBSCRIBE TO revenue", "1|zoe|1")),
        std::thread::spawn(move || told(&mut second, "SUBSCRIBE TO all_of_it", "1|31|3")),
        std::thread::spawn(move || {
            told(&mut third, "SELECT customer FROM revenue WHERE total > 6 EMIT CHANGES", "-1|cid")
        }),
    ];
    std::thread::sleep(Duration::from_millis(500));
    // Ann stays, bob is another, cid goes.
    db.run(
        "ALTER MATERIALIZED VIEW revenue AS
           SELECT customer, sum(amount) AS total FROM orders WHERE amount > 9 GROUP BY customer",
    );
    assert_eq!(db.lines("SELECT * FROM revenue"), ["ann|10", "bob|20"]);
    assert_eq!(db.lines("SELECT * FROM all_of_it"), ["30|2"]);
    assert_eq!(db.lines("SELECT customer FROM revenue WHERE total = 20"), ["bob"]);
    assert!(db.lines("SELECT customer FROM revenue WHERE total = 7").is_empty());
    // With another column at the end: who has begun without it sees the changes of what it knows.
    db.run(
        "CREATE OR REPLACE MATERIALIZED VIEW revenue AS
           SELECT customer, sum(amount) AS total, count(*) AS n FROM orders WHERE amount > 9 OR customer = 'zoe' GROUP BY customer",
    );
    db.run("INSERT INTO orders VALUES (5, 'zoe', 1), (6, 'bob', 1)");
    db.run("INSERT INTO orders VALUES (7, 'end', 100)");
    let found: Vec<_> = followers.into_iter().map(|follower| follower.join().unwrap()).collect();
    assert_eq!(
        found[0],
        [vec!["1|ann|10", "1|bob|25", "1|cid|7"], vec!["-1|bob|25", "-1|cid|7", "1|bob|20"], vec!["1|zoe|1"]]
    );
    assert_eq!(found[1], [vec!["1|42|3"], vec!["-1|42|3", "1|30|2"], vec!["-1|30|2", "1|31|3"]]);
    assert_eq!(found[2], [vec!["1|ann", "1|bob", "1|cid"], vec!["-1|cid"]]);
    for _ in 0..2 {
        assert_eq!(db.lines("SELECT * FROM revenue"), ["ann|10|1", "bob|20|1", "end|100|1", "zoe|1|1"]);
        assert_eq!(db.lines("SELECT * FROM all_of_it"), ["131|4"]);
        assert!(db.lines("SELECT name FROM mr_catalog.views WHERE schema_name = 'mr_temp'").is_empty());
        db.reopen();
    }
    db.run("DELETE FROM orders WHERE id = 7");
    assert_eq!(db.lines("SELECT * FROM all_of_it"), ["31|3"]);
}

const OLD: &str = "SELECT k, count(*) AS n, sum(v) AS total FROM t GROUP BY k";
const NEW: &str = "SELECT k, count(*) AS n, sum(v) AS total FROM t WHERE v % 3 > 0 GROUP BY k";
const READERS: [(&str, &str); 3] = [
    ("totals", "SELECT count(*) AS k, sum(n) AS n, sum(total) AS total FROM ({}) AS v"),
    ("top", "SELECT k, total FROM ({}) AS v ORDER BY total DESC, k LIMIT 3"),
    ("joined", "SELECT t.id, v.n FROM t JOIN ({}) AS v ON v.k = t.k"),
];

/// What everything must be if `v` is this query.
fn whole(machine: &mut Machine, query: &str) -> Vec<Vec<String>> {
    let queries = READERS.iter().map(|(_, reader)| reader.replace("{}", query));
    std::iter::once(query.to_owned()).chain(queries).map(|sql| machine.lines(&sql, Loss::Nothing)).collect()
}

fn stored(machine: &mut Machine) -> Vec<Vec<String>> {
    let names = std::iter::once("v").chain(READERS.iter().map(|(name, _)| *name));
    names.map(|name| machine.lines(&format!("SELECT * FROM {name}"), Loss::Nothing)).collect()
}

/// Changes a view while the store fails at that commit; the numbers of the commits from the change on.
fn alter_with(plan: FaultPlan) -> (u64, u64) {
    let mut settings = settings(None);
    settings.checkpoint_interval = Duration::from_secs(3600);
    let what = format!("{plan:?}");
    let mut machine = Machine::start(FaultStore::new(plan), settings);
    let loss = Loss::Nothing;
    machine.insist("CREATE TABLE IF NOT EXISTS t (id int PRIMARY KEY, k int, v int)", loss);
    machine.insist(
        "INSERT INTO t SELECT i, i % 20, i * 7 % 100 FROM generate_series(1, 2000) AS g(i) ON CONFLICT DO NOTHING",
        loss,
    );
    machine.insist(&format!("CREATE MATERIALIZED VIEW IF NOT EXISTS v AS {OLD}"), loss);
    machine.insist("CREATE INDEX IF NOT EXISTS by_n ON v (n)", loss);
    for (name, query) in READERS {
        machine.insist(
            &format!("CREATE MATERIALIZED VIEW IF NOT EXISTS {name} AS {}", query.replace("({}) AS v", "v")),
            loss,
        );
    }
    assert_eq!(stored(&mut machine), whole(&mut machine, OLD), "{what}");
    let first = machine.store.tried();
    loop {
        let done = machine.try_run(&format!("ALTER MATERIALIZED VIEW v AS {NEW}"));
        if done.is_ok() && !machine.store.is_stopped() {
            break;
        }
        machine.restart(loss);
        // Whatever the client was told: it is one or the other, for all who read it.
        let (old, new) = (whole(&mut machine, OLD), whole(&mut machine, NEW));
        let found = stored(&mut machine);
        assert!(found == old || found == new, "{what}: {found:?}");
        assert!(done.is_err() || found == new, "{what}: what is answered has happened");
        assert!(machine.lines("SELECT name FROM mr_catalog.views WHERE schema_name = 'mr_temp'", loss).is_empty());
    }
    let last = machine.store.tried();
    machine.insist("UPDATE t SET v = v + 1, k = (k + 1) % 20 WHERE id % 3 = 0", loss);
    machine.insist("DELETE FROM t WHERE id % 5 = 0", loss);
    for _ in 0..2 {
        assert_eq!(stored(&mut machine), whole(&mut machine, NEW), "{what}");
        assert_eq!(
            machine.lines("SELECT k FROM v WHERE n = 54", loss),
            machine.lines("SELECT k FROM v WHERE n + 0 = 54", loss)
        );
        machine.restart(loss);
    }
    (first, last)
}

pub fn a_crash_leaves_the_old_view_or_the_new_one() {
    let (first, last) = alter_with(FaultPlan::quiet(7));
    assert!(last - first >= 3, "a change is several commits: {first} to {last}");
    for commit in first..last {
        for fault in [Fault::CrashBefore, Fault::CrashAfter] {
            alter_with(FaultPlan::quiet(7).with(commit, fault));
        }
    }
}

pub fn what_is_cancelled_or_cannot_be_built_leaves_nothing() {
    let mut db = Database::durable();
    db.run(
        "CREATE SOURCE numbers (n bigint, id bigint)
           WITH (connector = 'generator', kind = 'sequence', events = 20000000, keys = 40)",
    );
    db.run("CREATE MATERIALIZED VIEW v AS SELECT id, count(*) AS n FROM numbers GROUP BY id");
    wait::until("a past", || (db.lines("SELECT coalesce(sum(n), 0) >= 1000000 FROM v") == ["t"]).then_some(()));
    let mut session = db.session();
    let cancel = session.cancel_handle();
    let altering = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let text = "ALTER MATERIALIZED VIEW v AS SELECT id, count(*) AS n FROM numbers WHERE n % 2 = 0 GROUP BY id";
        let statement = session.parse(text).unwrap().remove(0);
        runtime.block_on(session.run(&statement)).map(drop)
    });
    let hidden = "SELECT count(*) FROM mr_catalog.views WHERE schema_name = 'mr_temp'";
    db.wait_for(hidden, &["1"]);
    cancel.cancel();
    assert!(altering.join().unwrap().is_err());
    db.wait_for(hidden, &["0"]);
    assert_eq!(db.lines("SELECT (SELECT sum(n) FROM v) > 1000000"), ["t"]);
    assert_eq!(db.lines("SHOW CREATE v")[0].matches("% 2").count(), 0);
}

pub fn an_equal_part_keeps_its_state() {
    let mut db = Database::durable();
    db.run("CREATE TABLE t (id int PRIMARY KEY, k int, v int)");
    db.run("INSERT INTO t SELECT i, i % 20, i FROM generate_series(1, 1000) AS g(i)");
    db.run("CREATE MATERIALIZED VIEW sums AS SELECT k, sum(v) AS total FROM t GROUP BY k");
    db.run("CREATE MATERIALIZED VIEW v AS SELECT k, max(v) AS most FROM t GROUP BY k");
    let change = "ALTER MATERIALIZED VIEW v AS
        SELECT s.k, CAST(s.total % 7 AS int) AS most FROM (SELECT k, sum(v) AS total FROM t GROUP BY k) s WHERE s.total > 24900";
    let explained = db.rows(&format!("EXPLAIN {change}")).concat().join("\n");
    assert!(explained.contains("kept: the rows of sums"), "{explained}");
    db.run(change);
    let query = "SELECT k, CAST(sum(v) % 7 AS int) FROM t GROUP BY k HAVING sum(v) > 24900";
    for round in 0..3 {
        assert_eq!(db.lines("SELECT * FROM v"), db.lines(query), "{round}");
        db.run(&format!("UPDATE t SET v = v + {round} WHERE id % 3 = {round}"));
        assert_eq!(db.lines("SELECT * FROM v"), db.lines(query), "{round}");
        if round == 1 {
            // The other view goes, the part that both have stays.
            db.run("DROP MATERIALIZED VIEW sums");
        }
        db.reopen();
    }
}

pub fn readers_that_rely_on_rows_that_stay_are_built_anew() {
    let mut db = Database::durable();
    db.run(
        "CREATE SOURCE numbers (n bigint, id bigint)
           WITH (connector = 'generator', kind = 'sequence', events = 5000, keys = 40)",
    );
    db.run("CREATE MATERIALIZED VIEW chosen AS SELECT n, id FROM numbers WHERE n % 2 = 0");
    db.run("CREATE MATERIALIZED VIEW least AS SELECT id, min(n) AS least, count(*) AS n FROM chosen GROUP BY id");
    db.run("CREATE VIEW named AS SELECT id, least FROM least WHERE least > 3");
    db.run("CREATE MATERIALIZED VIEW over_named AS SELECT count(*) AS n, max(least) AS most FROM named");
    db.wait_for("SELECT sum(n) FROM least", &["2500"]);
    db.run("ALTER MATERIALIZED VIEW chosen AS SELECT n, id FROM numbers WHERE n % 3 = 1");
    let chosen = "(SELECT n, id FROM chosen)";
    for _ in 0..2 {
        assert_eq!(db.lines("SELECT count(*), min(n), max(n) FROM chosen"), ["1667|1|4999"]);
        assert_eq!(
            db.lines("SELECT * FROM least"),
            db.lines(&format!("SELECT id, min(n), count(*) FROM {chosen} c GROUP BY id"))
        );
        assert_eq!(
            db.lines("SELECT * FROM over_named"),
            db.lines(
                "SELECT count(*), max(least) FROM (SELECT min(n) AS least FROM chosen GROUP BY id) x WHERE least > 3"
            )
        );
        db.reopen();
    }
    // A view that is only a name: those who keep its rows are built anew.
    db.run("CREATE OR REPLACE VIEW named AS SELECT id, least FROM least WHERE least > 20");
    for _ in 0..2 {
        assert_eq!(
            db.lines("SELECT * FROM over_named"),
            db.lines(
                "SELECT count(*), max(least) FROM (SELECT min(n) AS least FROM chosen GROUP BY id) x WHERE least > 20"
            )
        );
        db.reopen();
    }
}

pub fn what_a_transaction_makes_appears_together() {
    let mut db = Database::durable();
    db.run("CREATE TABLE orders (id int PRIMARY KEY, amount int)");
    db.run("INSERT INTO orders VALUES (1, 10), (2, 20)");
    db.run("CREATE MATERIALIZED VIEW total AS SELECT sum(amount) AS total FROM orders");
    let mut writer = db.session();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut write = |sql: &str| runtime.block_on(crate::support::database::run(&mut writer, sql)).unwrap();
    write("BEGIN");
    write("ALTER MATERIALIZED VIEW total AS SELECT sum(amount) AS total, count(*) AS n FROM orders WHERE amount < 100");
    write("CREATE TABLE refunds (id int PRIMARY KEY, amount int)");
    write("CREATE MATERIALIZED VIEW net AS SELECT coalesce(sum(amount), 0) AS back FROM refunds");
    write("INSERT INTO refunds VALUES (1, 5)");
    write("INSERT INTO orders VALUES (3, 30), (4, 400)");
    // Another session, meanwhile: none of it is there; and what it does itself doesn't disturb.
    assert_eq!(db.lines("SELECT * FROM total"), ["30"]);
    assert_eq!(db.error("SELECT * FROM refunds").state(), "42P01");
    db.run("CREATE TABLE another (id int)");
    write("COMMIT");
    drop(writer);
    for _ in 0..2 {
        assert_eq!(db.lines("SELECT * FROM total"), ["60|3"]);
        assert_eq!(db.lines("SELECT * FROM net"), ["5"]);
        assert_eq!(db.lines("SELECT count(*) FROM another"), ["0"]);
        db.reopen();
    }
    // A name that somebody else took first.
    let mut other = db.session();
    let mut write = |sql: &str| runtime.block_on(crate::support::database::run(&mut other, sql));
    write("BEGIN").unwrap();
    write("CREATE TABLE late (id int)").unwrap();
    write("INSERT INTO refunds VALUES (2, 5)").unwrap();
    db.run("CREATE TABLE late (name text)");
    assert_eq!(write("COMMIT").unwrap_err().state(), "42P07");
    assert_eq!(db.lines("SELECT * FROM net"), ["5"]);
}
