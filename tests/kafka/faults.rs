//! SIGKILL at random moments, under load, on a real broker; then every view must be what its query says about the topics,
//! and the sink topics must be what the view says, row by row.
//!
//! The moments come from a seed, which is printed; MILLRACE_TEST_SEED repeats a run as far as the machine's timing allows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::broker::{Broker, shared};
use super::client::{Sender, create_topic, read_all, unique};
use super::sinks::{added_up, folded};
use crate::support::random::Random;
use crate::support::server::{Client, ServerProcess};
use crate::support::wait;

/// How often the server is killed.
const KILLS: usize = 25;
const CUSTOMERS: u64 = 40;

/// The topics of a run.
pub struct Topics {
    orders: String,
    payments: String,
    upsert: String,
    append: String,
}

impl Topics {
    pub fn new() -> Self {
        Self {
            orders: unique("orders"),
            payments: unique("payments"),
            upsert: unique("revenue"),
            append: unique("revenue-changes"),
        }
    }

    /// Each with how many partitions it has.
    pub fn all(&self) -> [(&str, i32); 4] {
        [(&self.orders, 4), (&self.payments, 2), (&self.upsert, 2), (&self.append, 1)]
    }
}

pub fn sigkill_loses_nothing_and_repeats_nothing() {
    let seed = Random::seed(20_240_229);
    eprintln!("kafka::faults runs with seed {seed}");
    let mut random = Random::new(seed);
    let topics = Arc::new(Topics::new());
    topics.all().into_iter().for_each(|(topic, partitions)| create_topic(shared(), topic, partitions));

    let directory = tempfile::tempdir().unwrap();
    // A budget and a checkpoint interval that make evictions and commits part of every round.
    let arguments = ["--memory-budget", "8MiB", "--workers", "2", "--checkpoint-interval", "100ms"];
    let mut server = ServerProcess::start(directory.path(), &arguments);
    set_up(&server.connect(), &topics, &shared().bootstrap);

    let stop = Arc::new(AtomicBool::new(false));
    let producer = std::thread::spawn({
        let (stop, topics) = (stop.clone(), topics.clone());
        move || produce(&stop, shared(), &topics, seed)
    });
    let mut acknowledged = 0_u64;
    for kill in 0..KILLS {
        // From before it has recovered to well after it works again.
        let alive = Duration::from_millis(random.below(900));
        let client = Client::connect(&server.sql_addr);
        let start = std::time::Instant::now();
        if let Ok(client) = client {
            while start.elapsed() < alive {
                if client.query(&format!("INSERT INTO ledger VALUES ({acknowledged}, {kill})")).is_ok() {
                    acknowledged += 1;
                }
            }
        }
        std::thread::sleep(alive.saturating_sub(start.elapsed()));
        server.kill();
        if random.one_in(4) {
            // Killed again while it recovers: no wait for `ready`.
            let mut recovering = crate::support::server::command(directory.path());
            recovering.args(arguments).stdout(std::process::Stdio::null());
            let mut recovering = recovering.spawn().unwrap();
            std::thread::sleep(Duration::from_millis(random.below(250)));
            recovering.kill().unwrap();
            recovering.wait().unwrap();
        }
        server = ServerProcess::start(directory.path(), &arguments);
    }
    stop.store(true, Ordering::Relaxed);
    producer.join().unwrap();

    check(&server.connect(), shared(), &topics, acknowledged);
}

/// Everything is there, once.
pub fn check(client: &Client, broker: &Broker, topics: &Topics, acknowledged: u64) {
    assert_eq!(
        client.rows("SELECT count(*), coalesce(max(id), -1) FROM ledger"),
        [[acknowledged.to_string(), (acknowledged as i64 - 1).to_string()]],
        "every acknowledged INSERT is there, once"
    );
    let expected = Expected::from_topics(broker, topics);
    assert!(expected.orders > 1_000, "the load was real: {} orders", expected.orders);
    wait::until_equal("all orders", &vec![vec![expected.orders.to_string()]], || {
        client.rows("SELECT sum(n) FROM revenue")
    });
    wait::until_equal("all payments", &vec![vec![expected.paid_rows.to_string()]], || {
        client.rows("SELECT count(*) FROM paid")
    });
    // They may be the last ones of a partition.
    wait::until_equal("all dead letters", &vec![vec![expected.dead_letters.to_string()]], || {
        client.rows("SELECT count(*) FROM mr_catalog.dead_letters")
    });
    assert_eq!(lines(client, "SELECT customer, n, total FROM revenue"), expected.revenue);
    assert_eq!(lines(client, "SELECT window_start, customer, n, total FROM per_second"), expected.per_second);
    assert_eq!(lines(client, "SELECT order_id, customer, amount, paid FROM paid"), expected.paid);

    let view = rows_as_json(client);
    wait::until_equal("the upsert sink", &view, || {
        let rows = folded(&read_all(broker, &topics.upsert, "read_committed"));
        rows.values().map(|row| (row["customer"].as_str().unwrap().to_owned(), row.clone())).collect()
    });
    let once: BTreeMap<String, i64> = view.values().map(|row| (row.to_string(), 1)).collect();
    wait::until_equal("the append sink", &once, || added_up(&read_all(broker, &topics.append, "read_committed")));
}

pub fn set_up(client: &Client, topics: &Topics, brokers: &str) {
    let with =
        |topic: &str| format!("WITH (connector = 'kafka', brokers = '{brokers}', topic = '{topic}', format = 'json')");
    let statements = [
        format!(
            "CREATE SOURCE orders (order_id bigint, customer text, amount numeric(12,2), ordered_at timestamp,
             WATERMARK FOR ordered_at AS ordered_at - INTERVAL '5 seconds') {}",
            with(&topics.orders)
        ),
        format!("CREATE SOURCE payments (order_id bigint, paid numeric(12,2)) {}", with(&topics.payments)),
        "CREATE TABLE ledger (id bigint PRIMARY KEY, round int)".to_owned(),
        "CREATE MATERIALIZED VIEW revenue AS
           SELECT customer, count(*) AS n, sum(amount) AS total FROM orders GROUP BY customer"
            .to_owned(),
        "CREATE MATERIALIZED VIEW per_second AS
           SELECT window_start, customer, count(*) AS n, sum(amount) AS total
           FROM TUMBLE(orders, ordered_at, INTERVAL '10 seconds') GROUP BY window_start, customer"
            .to_owned(),
        "CREATE MATERIALIZED VIEW paid AS
           SELECT o.order_id, o.customer, o.amount, p.paid FROM orders o JOIN payments p ON p.order_id = o.order_id"
            .to_owned(),
        format!("CREATE SINK upserts FROM revenue {}", with(&topics.upsert)),
        format!("CREATE SINK changes FROM revenue {}", with(&topics.append).replace(')', ", mode = 'append')")),
    ];
    for statement in statements {
        client.rows(&statement);
    }
}

/// Orders and payments, some of them broken, as fast as one core shares until told to stop.
pub fn produce(stop: &AtomicBool, broker: &Broker, topics: &Topics, seed: u64) {
    let mut random = Random::new(seed ^ 1);
    let (orders, payments) = (Sender::new(broker, &topics.orders), Sender::new(broker, &topics.payments));
    let mut id = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..20 {
            let cents = random.below(100_000);
            let (second, customer) = (id / 500, random.below(CUSTOMERS));
            let at = format!("2024-01-01 {:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
            let order = format!(
                r#"{{"order_id":{id},"customer":"c{customer:02}","amount":{}.{:02},"ordered_at":"{at}"}}"#,
                cents / 100,
                cents % 100
            );
            let order = if random.one_in(200) { format!("{order}?") } else { order };
            orders.send(random.below(4) as i32, Some(&format!("c{customer:02}")), Some(&order));
            if !random.one_in(3) {
                let payment = format!(r#"{{"order_id":{id},"paid":{}.{:02}}}"#, cents / 100, cents % 100);
                payments.send(random.below(2) as i32, None, Some(&payment));
            }
            id += 1;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    orders.flush();
    payments.flush();
}

/// What the views must hold, worked out from the topics without any of Millrace's code.
#[derive(Default)]
struct Expected {
    orders: u64,
    dead_letters: u64,
    paid_rows: usize,
    revenue: Vec<String>,
    per_second: Vec<String>,
    paid: Vec<String>,
}

impl Expected {
    fn from_topics(broker: &Broker, topics: &Topics) -> Self {
        let mut expected = Self::default();
        let mut by_id = BTreeMap::new();
        let mut revenue: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        let mut windows: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
        for record in read_all(broker, &topics.orders, "read_committed") {
            let Ok(order) = serde_json::from_str::<Value>(record.value.as_ref().unwrap()) else {
                expected.dead_letters += 1;
                continue;
            };
            expected.orders += 1;
            let customer = order["customer"].as_str().unwrap().to_owned();
            let cents = cents(&order["amount"]);
            let at = order["ordered_at"].as_str().unwrap();
            let window = format!("{}0", &at[..at.len() - 1]);
            for (n, total) in
                [revenue.entry(customer.clone()).or_default(), windows.entry((window, customer.clone())).or_default()]
            {
                *n += 1;
                *total += cents;
            }
            by_id.insert(order["order_id"].as_u64().unwrap(), (customer, cents));
        }
        for record in read_all(broker, &topics.payments, "read_committed") {
            let payment: Value = serde_json::from_str(record.value.as_ref().unwrap()).unwrap();
            let id = payment["order_id"].as_u64().unwrap();
            if let Some((customer, cents)) = by_id.get(&id) {
                let paid = self::cents(&payment["paid"]);
                expected.paid.push(format!("{id}|{customer}|{}|{}", money(*cents), money(paid)));
            }
        }
        expected.paid_rows = expected.paid.len();
        expected.paid.sort();
        expected.revenue = revenue.iter().map(|(c, (n, total))| format!("{c}|{n}|{}", money(*total))).collect();
        expected.per_second =
            windows.iter().map(|((w, c), (n, total))| format!("{w}|{c}|{n}|{}", money(*total))).collect();
        expected
    }
}

/// A JSON number with two digits behind the point, exactly.
fn cents(value: &Value) -> u64 {
    (value.as_f64().unwrap() * 100.0).round() as u64
}

fn money(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn lines(client: &Client, sql: &str) -> Vec<String> {
    let mut lines: Vec<_> = client.rows(sql).into_iter().map(|row| row.join("|")).collect();
    lines.sort();
    lines
}

/// The view `revenue` as the sinks write its rows.
fn rows_as_json(client: &Client) -> BTreeMap<String, Value> {
    let rows = client.rows("SELECT customer, n, total FROM revenue");
    let json = |row: &[String]| format!(r#"{{"customer":"{}","n":{},"total":{}}}"#, row[0], row[1], row[2]);
    rows.iter().map(|row| (row[0].clone(), serde_json::from_str(&json(row)).unwrap())).collect()
}
