//! All 22 TPC-H queries as views over tables of our own making, kept up to date while orders come, change and go: after each refresh every view holds
//! what its query answers, and what a PostgreSQL with the same tables answers where MILLRACE_TEST_POSTGRES names one.

use libtest_mimic::Trial;

use crate::oracle::{Postgres, canonical_rows};
use crate::support::database::{Database, settings};
use crate::support::random::Random;
use crate::support::trial;

const QUERIES: &str = include_str!("queries.sql");

const TABLES: [&str; 8] = [
    "CREATE TABLE region (r_regionkey int PRIMARY KEY, r_name text, r_comment text)",
    "CREATE TABLE nation (n_nationkey int PRIMARY KEY, n_name text, n_regionkey int, n_comment text)",
    "CREATE TABLE supplier (s_suppkey int PRIMARY KEY, s_name text, s_address text, s_nationkey int, s_phone text, s_acctbal numeric(12,2),
       s_comment text)",
    "CREATE TABLE customer (c_custkey int PRIMARY KEY, c_name text, c_address text, c_nationkey int, c_phone text, c_acctbal numeric(12,2),
       c_mktsegment text, c_comment text)",
    "CREATE TABLE part (p_partkey int PRIMARY KEY, p_name text, p_mfgr text, p_brand text, p_type text, p_size int, p_container text,
       p_retailprice numeric(12,2), p_comment text)",
    "CREATE TABLE partsupp (ps_partkey int, ps_suppkey int, ps_availqty int, ps_supplycost numeric(12,2), ps_comment text,
       PRIMARY KEY (ps_partkey, ps_suppkey))",
    "CREATE TABLE orders (o_orderkey bigint PRIMARY KEY, o_custkey int, o_orderstatus text, o_totalprice numeric(12,2), o_orderdate date,
       o_orderpriority text, o_clerk text, o_shippriority int, o_comment text)",
    "CREATE TABLE lineitem (l_orderkey bigint, l_partkey int, l_suppkey int, l_linenumber int, l_quantity numeric(12,2),
       l_extendedprice numeric(12,2), l_discount numeric(12,2), l_tax numeric(12,2), l_returnflag text, l_linestatus text, l_shipdate date,
       l_commitdate date, l_receiptdate date, l_shipinstruct text, l_shipmode text, l_comment text, PRIMARY KEY (l_orderkey, l_linenumber))",
];

const REGIONS: [&str; 5] = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];
const NATIONS: [(&str, usize); 10] = [
    ("BRAZIL", 1),
    ("CANADA", 1),
    ("CHINA", 2),
    ("EGYPT", 4),
    ("FRANCE", 3),
    ("GERMANY", 3),
    ("INDIA", 2),
    ("JAPAN", 2),
    ("KENYA", 0),
    ("PERU", 1),
];
const SEGMENTS: [&str; 3] = ["AUTOMOBILE", "BUILDING", "MACHINERY"];
const PRIORITIES: [&str; 4] = ["1-URGENT", "2-HIGH", "3-MEDIUM", "5-LOW"];
const TYPES: [&str; 6] = [
    "PROMO BURNISHED STEEL",
    "STANDARD PLATED BRASS",
    "MEDIUM POLISHED TIN",
    "ECONOMY ANODIZED STEEL",
    "PROMO BRUSHED BRASS",
    "LARGE COPPER",
];
const BRANDS: [&str; 4] = ["Brand#12", "Brand#23", "Brand#34", "Brand#45"];
const CONTAINERS: [&str; 6] = ["SM CASE", "SM BOX", "MED BAG", "MED BOX", "LG CASE", "LG PKG"];
const COLORS: [&str; 4] = ["forest green", "forest", "dark green lace", "antique"];
const MODES: [&str; 4] = ["MAIL", "SHIP", "AIR", "REG AIR"];
const INSTRUCTIONS: [&str; 2] = ["DELIVER IN PERSON", "NONE"];
const COMMENTS: [&str; 4] = ["quick", "special packages, requests", "Customer sent Complaints", "slow"];

const SUPPLIERS: u64 = 20;
const CUSTOMERS: u64 = 60;
const PARTS: u64 = 50;
const ORDERS: u64 = 250;
const REFRESHES: usize = 4;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("tpch::views_equal_their_queries_after_each_refresh", || refreshed(256 << 20, 1, 1)),
        trial("tpch::views_equal_their_queries_with_little_memory", || refreshed(64 << 10, 3, 2)),
    ]
}

fn queries() -> Vec<(String, String)> {
    let split = QUERIES.split("-- q").skip(1).map(|part| part.split_once('\n').expect("a query follows its name"));
    split.map(|(number, query)| (format!("q{number}"), query.trim().to_owned())).collect()
}

fn refreshed(memory_budget_bytes: usize, workers: usize, seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = settings(Some(directory.path().join("data")));
    (settings.memory_budget_bytes, settings.workers) = (memory_budget_bytes, workers);
    let mut db = Both { db: Database::open(settings), postgres: Postgres::connect() };
    let mut data = Data { random: Random::new(Random::seed(seed)), next_order: 1, live: Vec::new() };
    TABLES.iter().for_each(|table| db.run(table));
    let queries = queries();
    assert_eq!(queries.len(), 22);
    // Half of the views are there before any row, the others are built from what there is.
    let create = |db: &mut Both, (name, query): &(String, String)| {
        drop(db.db.run(&format!("CREATE MATERIALIZED VIEW {name} AS {query}")))
    };
    queries.iter().step_by(2).for_each(|query| create(&mut db, query));
    data.fixed(&mut db);
    data.new_orders(&mut db, ORDERS);
    queries.iter().skip(1).step_by(2).for_each(|query| create(&mut db, query));
    compare(&mut db, &queries, "at first");
    for refresh in 0..REFRESHES {
        data.new_orders(&mut db, 25);
        data.old_orders_go(&mut db, 25);
        data.others_change(&mut db);
        if refresh == 2 {
            db.db.reopen();
        }
        compare(&mut db, &queries, &format!("after refresh {refresh}"));
    }
}

fn compare(db: &mut Both, queries: &[(String, String)], when: &str) {
    let mut empty = 0;
    for (name, query) in queries {
        let sorted = |mut rows: Vec<String>| {
            rows.sort();
            rows
        };
        let (view, answer) = (sorted(db.db.lines(&format!("SELECT * FROM {name}"))), sorted(db.db.lines(query)));
        assert_eq!(view, answer, "{name} {when}");
        if let Some(postgres) = &db.postgres {
            let theirs = postgres.rows(query).unwrap_or_else(|error| panic!("{name}: {error}"));
            let ours = db.db.rows(&format!("SELECT * FROM {name}"));
            assert_eq!(canonical_rows(ours), canonical_rows(theirs), "{name} {when}: PostgreSQL");
        }
        empty += usize::from(answer.iter().all(|row| row.split('|').all(|value| value == "NULL")));
    }
    assert!(empty <= 6, "{when} {empty} of the queries have no rows: they compare nothing");
}

/// The engine, and a PostgreSQL that has the same tables, where there is one.
struct Both {
    db: Database,
    postgres: Option<Postgres>,
}

impl Both {
    fn run(&mut self, sql: &str) {
        self.db.run(sql);
        if let Some(postgres) = &self.postgres {
            postgres.run(sql).unwrap_or_else(|error| panic!("PostgreSQL: {error}\n{sql}"));
        }
    }
}

struct Data {
    random: Random,
    next_order: u64,
    /// Orders that are there.
    live: Vec<u64>,
}

impl Data {
    fn insert(&self, db: &mut Both, table: &str, rows: &[String]) {
        db.run(&format!("INSERT INTO {table} VALUES {}", rows.join(", ")));
    }

    fn cents(&mut self, below: u64) -> String {
        let cents = self.random.below(below * 100);
        format!("{}.{:02}", cents / 100, cents % 100)
    }

    fn date(&mut self, from_day: u64, days: u64) -> String {
        format!("DATE '1993-01-01' + {}", from_day + self.random.below(days))
    }

    /// What refreshes leave alone, or nearly.
    fn fixed(&mut self, db: &mut Both) {
        let regions = REGIONS.iter().enumerate().map(|(key, name)| format!("({key}, '{name}', '')"));
        self.insert(db, "region", &regions.collect::<Vec<_>>());
        let nations =
            NATIONS.iter().enumerate().map(|(key, (name, region))| format!("({key}, '{name}', {region}, '')"));
        self.insert(db, "nation", &nations.collect::<Vec<_>>());
        let mut rows = Vec::new();
        for key in 1..=SUPPLIERS {
            let (nation, balance) = (self.random.below(10), self.cents(9000));
            let comment = self.random.pick(&COMMENTS);
            rows.push(format!(
                "({key}, 'Supplier#{key}', 'a{key}', {nation}, '{}-1', {balance}, '{comment}')",
                10 + nation
            ));
        }
        self.insert(db, "supplier", &rows);
        rows.clear();
        for key in 1..=CUSTOMERS {
            let (nation, balance, segment) = (self.random.below(10), self.cents(9000), self.random.pick(&SEGMENTS));
            let code = self.random.pick(&["13", "31", "23", "99"]);
            rows.push(format!(
                "({key}, 'Customer#{key}', 'a{key}', {nation}, '{code}-555', {balance}, '{segment}', '')"
            ));
        }
        self.insert(db, "customer", &rows);
        rows.clear();
        let mut offers = Vec::new();
        for key in 1..=PARTS {
            let (color, brand) = (self.random.pick(&COLORS), self.random.pick(&BRANDS));
            let (kind, container) = (self.random.pick(&TYPES), self.random.pick(&CONTAINERS));
            let size = self.random.pick(&[3, 9, 14, 15, 23, 36, 45, 49]);
            rows.push(format!("({key}, '{color}', 'Maker', '{brand}', '{kind}', {size}, '{container}', {key}.50, '')"));
            for step in 0..4 {
                let supplier = (key + step * 5) % SUPPLIERS + 1;
                let (available, cost) = (1 + self.random.below(300), self.cents(500));
                offers.push(format!("({key}, {supplier}, {available}, {cost}, '')"));
            }
        }
        self.insert(db, "part", &rows);
        self.insert(db, "partsupp", &offers);
    }

    fn new_orders(&mut self, db: &mut Both, count: u64) {
        let (mut orders, mut lines) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let order = self.next_order;
            self.next_order += 1;
            self.live.push(order);
            let day = self.random.below(1400);
            // A third of the customers order nothing.
            let customer = 1 + self.random.below(CUSTOMERS / 3 * 2);
            let (total, status) = (self.cents(300_000), self.random.pick(&["F", "O", "P"]));
            let (priority, comment) = (self.random.pick(&PRIORITIES), self.random.pick(&COMMENTS));
            orders.push(format!(
                "({order}, {customer}, '{status}', {total}, DATE '1993-01-01' + {day}, '{priority}', 'clerk', 0, '{comment}')"
            ));
            for line in 1..=1 + self.random.below(6) {
                let part = 1 + self.random.below(PARTS);
                let supplier = (part + self.random.below(4) * 5) % SUPPLIERS + 1;
                let (quantity, price) = (1 + self.random.below(50), self.cents(50_000));
                let (discount, tax) = (self.random.below(11), self.random.below(9));
                let (flag, status) = (self.random.pick(&["R", "A", "N"]), self.random.pick(&["O", "F"]));
                let (shipped, committed, received) =
                    (self.date(day + 1, 120), self.date(day + 30, 60), self.date(day + 20, 150));
                let (instruction, mode) = (self.random.pick(&INSTRUCTIONS), self.random.pick(&MODES));
                lines.push(format!(
                    "({order}, {part}, {supplier}, {line}, {quantity}, {price}, 0.{discount:02}, 0.0{tax}, '{flag}', '{status}', {shipped},
                     {committed}, {received}, '{instruction}', '{mode}', '')"
                ));
            }
        }
        self.insert(db, "orders", &orders);
        self.insert(db, "lineitem", &lines);
    }

    fn old_orders_go(&mut self, db: &mut Both, count: usize) {
        for _ in 0..count {
            let at = self.random.below(self.live.len() as u64) as usize;
            let order = self.live.swap_remove(at);
            db.run(&format!("DELETE FROM lineitem WHERE l_orderkey = {order}"));
            db.run(&format!("DELETE FROM orders WHERE o_orderkey = {order}"));
        }
    }

    /// Not in the benchmark: rows that change in place.
    fn others_change(&mut self, db: &mut Both) {
        let (supplier, customer, part) =
            (1 + self.random.below(SUPPLIERS), 1 + self.random.below(CUSTOMERS), 1 + self.random.below(PARTS));
        let (balance, kind, nation) = (self.cents(9000), self.random.pick(&TYPES), self.random.below(10));
        db.run(&format!(
            "UPDATE supplier SET s_nationkey = {nation}, s_acctbal = {balance} WHERE s_suppkey = {supplier}"
        ));
        db.run(&format!(
            "UPDATE customer SET c_acctbal = c_acctbal / 2, c_mktsegment = 'BUILDING' WHERE c_custkey = {customer}"
        ));
        db.run(&format!("UPDATE part SET p_type = '{kind}' WHERE p_partkey = {part}"));
        db.run(&format!("UPDATE partsupp SET ps_supplycost = ps_supplycost + 1 WHERE ps_partkey = {part}"));
    }
}
