//! Views that get another query, beside readers that go on.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::time::Duration;

use engine::{Response, Session};
use futures::StreamExt;
use storage::fault::{Fault, FaultPlan, FaultStore, Loss};

use crate::support::database::{Database, settings};
use crate::support::machine::Machine;
use crate::support::wait;

/// The changes that a subscription tells, epoch by epoch, until one has the row `last`; a row reads `weight|column|…`. `begun` hears of the first.
fn told(session: &mut Session, sql: &str, last: &str, begun: &Sender<()>) -> Vec<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let statement = session.parse(sql).unwrap().remove(0);
        let Response::Rows(mut rows) = session.run(&statement).await.unwrap() else { panic!("{sql} returns rows") };
        let text = server::text::Text::of(|name| session.setting(name));
        let mut epochs: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        loop {
            let batch = tokio::time::timeout(Duration::from_secs(60), rows.batches.next()).await;
            let batch = batch.unwrap_or_else(|_| panic!("{sql}: changes go on")).expect("it has no end").unwrap();
            if batch.num_rows() > 0 && epochs.is_empty() {
                begun.send(()).unwrap();
            }
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
    let (begun, begins) = std::sync::mpsc::channel();
    let (begun_too, begun_as_well) = (begun.clone(), begun.clone());
    let followers = [
        std::thread::spawn(move || told(&mut first, "SUBSCRIBE TO revenue", "1|zoe|1", &begun)),
        std::thread::spawn(move || told(&mut second, "SUBSCRIBE TO all_of_it", "1|31|3", &begun_too)),
        std::thread::spawn(move || {
            let query = "SELECT customer FROM revenue WHERE total > 6 EMIT CHANGES";
            told(&mut third, query, "-1|cid", &begun_as_well)
        }),
    ];
    for _ in 0..followers.len() {
        begins.recv().unwrap();
    }
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

/// The part that both have goes on with its state.
const OLD_JOIN: &str =
    "SELECT a.k, count(b.v) AS n, sum(a.v) AS total FROM t a JOIN t b ON a.id = b.id * 2 GROUP BY a.k";
const NEW_JOIN: &str = "SELECT a.k, count(a.v) AS n, sum(b.v) AS total FROM t a JOIN t b ON a.id = b.id * 2 GROUP BY a.k HAVING sum(b.v) > 2500";

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
fn alter_with(from: &str, to: &str, plan: FaultPlan) -> (u64, u64) {
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
    machine.insist(&format!("CREATE MATERIALIZED VIEW IF NOT EXISTS v AS {from}"), loss);
    machine.insist("CREATE INDEX IF NOT EXISTS by_n ON v (n)", loss);
    for (name, query) in READERS {
        machine.insist(
            &format!("CREATE MATERIALIZED VIEW IF NOT EXISTS {name} AS {}", query.replace("({}) AS v", "v")),
            loss,
        );
    }
    assert_eq!(stored(&mut machine), whole(&mut machine, from), "{what}");
    let first = machine.store.tried();
    loop {
        let done = machine.try_run(&format!("ALTER MATERIALIZED VIEW v AS {to}"));
        if done.is_ok() && !machine.store.is_stopped() {
            break;
        }
        machine.restart(loss);
        // Whatever the client was told: it is one or the other, for all who read it.
        let (old, new) = (whole(&mut machine, from), whole(&mut machine, to));
        let found = stored(&mut machine);
        assert!(found == old || found == new, "{what}: {found:?}");
        assert!(done.is_err() || found == new, "{what}: what is answered has happened");
        assert!(machine.lines("SELECT name FROM mr_catalog.views WHERE schema_name = 'mr_temp'", loss).is_empty());
    }
    let last = machine.store.tried();
    machine.insist("UPDATE t SET v = v + 1, k = (k + 1) % 20 WHERE id % 3 = 0", loss);
    machine.insist("DELETE FROM t WHERE id % 5 = 0", loss);
    for _ in 0..2 {
        assert_eq!(stored(&mut machine), whole(&mut machine, to), "{what}");
        assert_eq!(
            machine.lines("SELECT k FROM v WHERE n = 54", loss),
            machine.lines("SELECT k FROM v WHERE n + 0 = 54", loss)
        );
        machine.restart(loss);
    }
    (first, last)
}

pub fn a_crash_leaves_the_old_view_or_the_new_one() {
    for (from, to) in [(OLD, NEW), (OLD_JOIN, NEW_JOIN)] {
        let (first, last) = alter_with(from, to, FaultPlan::quiet(7));
        assert!(last - first >= 3, "a change is several commits: {first} to {last}");
        for commit in first..last {
            for fault in [Fault::CrashBefore, Fault::CrashAfter] {
                alter_with(from, to, FaultPlan::quiet(7).with(commit, fault));
            }
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

/// Changes of a view; how many rows are read of tables for them, and how many off the state of the part that both have.
const KEPT: [(&str, &str, f64, f64); 12] = [
    // A join.
    (
        "SELECT c.region, max(o.amount) AS n FROM orders o JOIN customers c ON c.id = o.customer GROUP BY c.region",
        "SELECT c.region, sum(o.amount) AS n FROM orders o JOIN customers c ON c.id = o.customer GROUP BY c.region",
        0.0,
        600.0,
    ),
    (
        "SELECT o.id, c.region FROM orders o LEFT JOIN customers c ON c.id = o.id",
        "SELECT count(*) AS n, c.region FROM orders o LEFT JOIN customers c ON c.id = o.id GROUP BY c.region",
        0.0,
        600.0,
    ),
    (
        "SELECT count(*) AS n FROM orders o FULL JOIN customers c ON c.id = o.id AND o.amount > 20",
        "SELECT count(o.id) AS n, count(c.id) AS m FROM orders o FULL JOIN customers c ON c.id = o.id AND o.amount > 20",
        0.0,
        f64::NAN,
    ),
    (
        "SELECT max(amount) AS n FROM orders o WHERE o.customer IN (SELECT id FROM customers WHERE region = 'north')",
        "SELECT sum(amount) AS n FROM orders o WHERE o.customer IN (SELECT id FROM customers WHERE region = 'north')",
        0.0,
        f64::NAN,
    ),
    (
        "SELECT min(a.id) AS n, max(b.id) AS m FROM orders a JOIN orders b ON a.customer = b.customer AND a.amount < b.amount",
        "SELECT max(a.id) AS n, min(b.id) AS m FROM orders a JOIN orders b ON a.customer = b.customer AND a.amount < b.amount",
        0.0,
        f64::NAN,
    ),
    // An aggregate.
    (
        "SELECT customer, total - least AS total FROM (SELECT customer, sum(amount) AS total, min(amount) AS least FROM orders GROUP BY customer) x WHERE total > 300",
        "SELECT customer, least + 1 AS least FROM (SELECT customer, sum(amount) AS total, min(amount) AS least FROM orders GROUP BY customer) x WHERE total > 200",
        0.0,
        60.0,
    ),
    (
        "SELECT n + m AS n FROM (SELECT count(*) AS n, count(DISTINCT amount) AS m FROM orders WHERE amount < 30) x",
        "SELECT n + 2 AS n, m FROM (SELECT count(*) AS n, count(DISTINCT amount) AS m FROM orders WHERE amount < 30) x",
        0.0,
        1.0,
    ),
    // One of two parts is another.
    (
        "SELECT x.customer, x.n, y.m FROM (SELECT customer, count(*) AS n FROM orders GROUP BY customer) x
           JOIN (SELECT region, count(*) AS m FROM customers GROUP BY region) y ON y.m = x.n",
        "SELECT x.customer, x.n, y.m FROM (SELECT customer, count(*) AS n FROM orders GROUP BY customer) x
           LEFT JOIN (SELECT region, count(*) + 1 AS m FROM customers WHERE id > 3 GROUP BY region) y ON y.m = x.n",
        70.0,
        60.0,
    ),
    // Sets.
    (
        "SELECT count(*) AS n FROM (SELECT DISTINCT customer, amount FROM orders) x",
        "SELECT sum(amount) AS n FROM (SELECT DISTINCT customer, amount FROM orders) x",
        0.0,
        f64::NAN,
    ),
    (
        "SELECT count(*) AS n FROM (SELECT customer FROM orders EXCEPT ALL SELECT id FROM customers) x",
        "SELECT sum(customer) AS n FROM (SELECT customer FROM orders EXCEPT ALL SELECT id FROM customers) x",
        0.0,
        f64::NAN,
    ),
    // A recursion.
    (
        "WITH RECURSIVE r(a, b) AS (SELECT id, customer FROM orders UNION SELECT r.a, o.customer FROM r JOIN orders o ON o.id = r.b)
           SELECT count(*) AS n FROM r",
        "WITH RECURSIVE r(a, b) AS (SELECT id, customer FROM orders UNION SELECT r.a, o.customer FROM r JOIN orders o ON o.id = r.b)
           SELECT a, count(*) AS n FROM r GROUP BY a",
        0.0,
        f64::NAN,
    ),
    // What is above can't be read off its state, what is below can.
    (
        "SELECT customer, total, rank() OVER (ORDER BY total) AS r
           FROM (SELECT customer, sum(amount) AS total FROM orders GROUP BY customer) x",
        "SELECT customer, total, rank() OVER (ORDER BY total) + 1 AS r
           FROM (SELECT customer, sum(amount) AS total FROM orders GROUP BY customer) x WHERE total > 100",
        0.0,
        60.0,
    ),
];

pub fn an_operator_inside_of_a_plan_keeps_its_state() {
    let mut db = Database::durable();
    db.run("CREATE TABLE orders (id int PRIMARY KEY, customer int, amount int)");
    db.run("CREATE TABLE customers (id int PRIMARY KEY, region text)");
    db.run("INSERT INTO orders SELECT i, i % 60 + 1, i * 7 % 41 FROM generate_series(1, 600) AS g(i)");
    db.run("INSERT INTO customers SELECT i, CASE WHEN i % 3 = 0 THEN 'north' ELSE 'south' END FROM generate_series(1, 70) AS g(i)");
    for (index, (old, ..)) in KEPT.iter().enumerate() {
        db.run(&format!("CREATE MATERIALIZED VIEW v{index} AS {old}"));
        // Built before the engine stops: what it reads for that doesn't count below.
        assert_eq!(db.lines(&format!("SELECT * FROM v{index}")), db.lines(old), "{old}");
    }
    db.reopen();
    let rows = |db: &Database| ["inputs", "state"].map(|from| db.metric("millrace_build_rows_total", from));
    for (index, (_, new, inputs, state)) in KEPT.iter().enumerate() {
        let before = rows(&db);
        let alter = format!("ALTER MATERIALIZED VIEW v{index} AS {new}");
        let explained = db.rows(&format!("EXPLAIN {alter}")).concat().join("\n");
        assert!(explained.contains(&format!("kept: read off its state in v{index}")), "{explained}");
        // What is being changed meanwhile counts once.
        db.run(&format!("UPDATE orders SET amount = amount + 1 WHERE id % 60 = {index}"));
        db.run(&alter);
        crate::support::wait::until("the figures", || {
            let read = [rows(&db)[0] - before[0], rows(&db)[1] - before[1]];
            (read[1] > 0.0).then(|| {
                assert_eq!(read[0], *inputs, "{new}");
                assert!(state.is_nan() || read[1] == *state, "{new}: {} of {state}", read[1]);
            })
        });
        assert_eq!(db.lines(&format!("SELECT * FROM v{index}")), db.lines(new), "{new}");
    }
    let equal = |db: &mut Database, when: &str| {
        for (index, (_, new, ..)) in KEPT.iter().enumerate() {
            assert_eq!(db.lines(&format!("SELECT * FROM v{index}")), db.lines(new), "{when}: {new}");
        }
    };
    db.run("DELETE FROM orders WHERE id % 7 = 0");
    equal(&mut db, "after rows went");
    db.reopen();
    equal(&mut db, "after a restart");
    db.run("INSERT INTO orders SELECT i, i % 80, i % 11 FROM generate_series(601, 900) AS g(i)");
    db.run("UPDATE customers SET region = 'east' WHERE id % 4 = 0");
    db.run("DELETE FROM customers WHERE id % 5 = 0");
    equal(&mut db, "after other rows");
    // And back, from what was taken over.
    for (index, (old, ..)) in KEPT.iter().enumerate() {
        if index != 1 && index != 10 {
            db.run(&format!("CREATE OR REPLACE MATERIALIZED VIEW v{index} AS {old}"));
            assert_eq!(db.lines(&format!("SELECT * FROM v{index}")), db.lines(old), "{old}");
        }
    }
    db.run("DELETE FROM orders WHERE id % 2 = 0");
    db.reopen();
    for (index, (old, ..)) in KEPT.iter().enumerate().filter(|(index, _)| ![1, 10].contains(index)) {
        assert_eq!(db.lines(&format!("SELECT * FROM v{index}")), db.lines(old), "{old}");
    }
}

pub fn an_operator_is_taken_over_while_rows_arrive() {
    let mut db = Database::durable();
    db.run(
        "CREATE SOURCE numbers (n bigint, id bigint)
           WITH (connector = 'generator', kind = 'sequence', events = 3000000, keys = 5000)",
    );
    db.run("CREATE MATERIALIZED VIEW v AS SELECT sum(n) AS n, max(m) AS s FROM (SELECT id, count(*) AS n, max(n) AS m FROM numbers GROUP BY id) x");
    wait::until("a past", || (db.lines("SELECT coalesce(n, 0) >= 5000 FROM v") == ["t"]).then_some(()));
    let inner = "SELECT id, count(*) AS n, max(n) AS m FROM numbers GROUP BY id";
    for least in [1, 2, 3] {
        db.run(&format!("ALTER MATERIALIZED VIEW v AS SELECT sum(n) AS n, sum(m) AS s, {least} AS k FROM ({inner}) x WHERE n > {least}"));
    }
    assert_eq!(db.metric("millrace_build_rows_total", "inputs"), 0.0);
    db.wait_for("SELECT n FROM v", &["3000000"]);
    db.run(&format!("CREATE MATERIALIZED VIEW all_of_it AS {inner}"));
    assert_eq!(db.lines("SELECT * FROM v"), db.lines("SELECT sum(n), sum(m), 3 FROM all_of_it"));
    db.reopen();
    assert_eq!(db.lines("SELECT * FROM v"), db.lines("SELECT sum(n), sum(m), 3 FROM all_of_it"));
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
