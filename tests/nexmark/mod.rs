//! All 23 queries of the auction benchmark as views, equal to their answers: over tables whose bids, auctions and people come, change and go; and
//! over sources with watermarks, whose rows only come.

use std::path::Path;

use libtest_mimic::Trial;

use crate::support::database::{Database, settings};
use crate::support::random::Random;
use crate::support::trial;

const TABLES: [&str; 3] = [
    "CREATE TABLE person (id bigint PRIMARY KEY, name text, \"emailAddress\" text, \"creditCard\" text, city text, state text,
       \"dateTime\" timestamp, extra text)",
    "CREATE TABLE auction (id bigint PRIMARY KEY, \"itemName\" text, description text, \"initialBid\" bigint, reserve bigint,
       \"dateTime\" timestamp, expires timestamp, seller bigint, category bigint, extra text)",
    "CREATE TABLE bid (auction bigint, bidder bigint, price bigint, channel text, url text, \"dateTime\" timestamp, extra text)",
];

const STATES: [&str; 4] = ["OR", "ID", "CA", "WA"];
const CHANNELS: [&str; 5] = ["Google", "Facebook", "Baidu", "Apple", "channel-77"];
const PEOPLE: u64 = 40;
const AUCTIONS: u64 = 80;
const BIDS: u64 = 600;
const REFRESHES: usize = 5;
/// Events of the sources; of 50 one is a person, three are auctions.
const EVENTS: u64 = 20_000;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("nexmark::views_equal_their_queries_after_each_refresh", || refreshed(256 << 20, 1, 1)),
        trial("nexmark::views_equal_their_queries_with_little_memory", || refreshed(64 << 10, 3, 2)),
        trial("nexmark::views_over_sources_equal_their_queries", || over_sources(256 << 20, 1)),
        trial("nexmark::views_over_sources_equal_their_queries_with_little_memory", || over_sources(1 << 20, 3)),
    ]
}

/// The queries, as the benchmark has them, by name.
fn queries() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/queries");
    let text = |name: &str| std::fs::read_to_string(folder.join(format!("{name}.sql"))).unwrap();
    (0..=22).map(|number| format!("q{number}")).map(|name| (name.clone(), text(&name))).collect()
}

fn database(memory_budget_bytes: usize, workers: usize, directory: &Path) -> Database {
    let mut settings = settings(Some(directory.join("data")));
    (settings.memory_budget_bytes, settings.workers) = (memory_budget_bytes, workers);
    let mut db = Database::open(settings);
    db.run("CREATE TABLE side_input (key bigint PRIMARY KEY, value text)");
    let rows: Vec<String> = (0..400).map(|key| format!("({}, 'value {key}')", key * 7)).collect();
    db.run(&format!("INSERT INTO side_input VALUES {}", rows.join(", ")));
    db
}

fn create(db: &mut Database, (name, query): &(String, String)) {
    db.run(&format!("CREATE MATERIALIZED VIEW {name} AS {query}"));
}

/// Every view against its query; the names of those that have no rows.
fn compare(db: &mut Database, queries: &[(String, String)], when: &str) -> Vec<String> {
    let mut empty = Vec::new();
    for (name, query) in queries {
        let (view, answer) = (db.lines(&format!("SELECT * FROM {name}")), db.lines(&with_ties(name, query)));
        assert_eq!(view, answer, "{name} {when}");
        if answer.is_empty() {
            empty.push(name.clone());
        }
    }
    empty
}

/// The query with what a view does where its order leaves bids equal: it takes them by their columns. A query that is asked at once may do anything.
fn with_ties(name: &str, query: &str) -> String {
    let order = match name {
        "q18" => "ORDER BY \"dateTime\" DESC",
        "q19" => "ORDER BY price DESC",
        _ => return query.to_owned(),
    };
    query.replace(order, &format!("{order}, auction, bidder, price, channel, url, \"dateTime\", extra"))
}

fn refreshed(memory_budget_bytes: usize, workers: usize, seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut db = database(memory_budget_bytes, workers, directory.path());
    let mut data = Data { random: Random::new(Random::seed(seed)), people: 0, auctions: 0, bids: 0 };
    TABLES.iter().for_each(|table| drop(db.run(table)));
    let queries = queries();
    // Half of the views are there before any row, the others are built from what there is.
    queries.iter().step_by(2).for_each(|query| create(&mut db, query));
    data.people(&mut db, PEOPLE);
    data.auctions(&mut db, AUCTIONS);
    data.bids(&mut db, BIDS);
    queries.iter().skip(1).step_by(2).for_each(|query| create(&mut db, query));
    let empty = compare(&mut db, &queries, "at first");
    assert!(empty.is_empty(), "these have no rows and compare nothing: {empty:?}");
    for refresh in 0..REFRESHES {
        data.people(&mut db, 3);
        data.auctions(&mut db, 8);
        data.bids(&mut db, 60);
        data.some_go(&mut db);
        data.some_change(&mut db);
        if refresh == 2 {
            db.reopen();
        }
        compare(&mut db, &queries, &format!("after refresh {refresh}"));
    }
    db.run("DELETE FROM bid");
    compare(&mut db, &queries, "without bids");
}

fn over_sources(memory_budget_bytes: usize, workers: usize) {
    let directory = tempfile::tempdir().unwrap();
    let mut db = database(memory_budget_bytes, workers, directory.path());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/queries");
    let mut definitions = std::fs::read_to_string(folder.join("tables.sql")).unwrap();
    for table in ["person", "auction", "bid"] {
        let options =
            format!("connector = 'generator', kind = 'nexmark', table = '{table}', events = {EVENTS}, delay_us = 2000");
        definitions = definitions.replace(&format!("@{table}@"), &options);
    }
    db.run(&definitions);
    for table in ["person", "auction", "bid"] {
        db.run(&format!("CREATE MATERIALIZED VIEW all_of_{table} AS SELECT count(*) AS n FROM {table}"));
    }
    let queries = queries();
    queries.iter().for_each(|query| create(&mut db, query));
    for (table, in_fifty) in [("person", 1), ("auction", 3), ("bid", 46)] {
        db.wait_for(&format!("SELECT n FROM all_of_{table}"), &[&(EVENTS / 50 * in_fifty).to_string()]);
    }
    let empty = compare(&mut db, &queries, "over sources");
    assert!(empty.is_empty(), "these have no rows and compare nothing: {empty:?}");
    db.reopen();
    compare(&mut db, &queries, "after a restart");
}

/// What is in the tables; ids begin at 0.
struct Data {
    random: Random,
    people: u64,
    auctions: u64,
    bids: u64,
}

/// Seconds after the beginning, as a timestamp.
fn at(milliseconds: u64) -> String {
    format!("TIMESTAMP '2024-01-01 07:59:00' + INTERVAL '{milliseconds} milliseconds'")
}

impl Data {
    fn people(&mut self, db: &mut Database, count: u64) {
        let rows: Vec<String> = (0..count)
            .map(|_| {
                let id = self.people;
                self.people += 1;
                let state = self.random.pick(&STATES);
                format!("({id}, 'name {}', 'mail', 'card', 'city', '{state}', {}, '')", id % 9, at(id * 400))
            })
            .collect();
        db.run(&format!("INSERT INTO person VALUES {}", rows.join(", ")));
    }

    fn auctions(&mut self, db: &mut Database, count: u64) {
        let rows: Vec<String> = (0..count)
            .map(|_| {
                let id = self.auctions;
                self.auctions += 1;
                let (seller, category) = (self.random.below(self.people), 10 + self.random.below(3));
                let open = 5_000 + self.random.below(60_000);
                let (begin, end) = (at(id * 250), at(id * 250 + open));
                format!(
                    "({id}, 'item {id}', 'of {seller}', {id}, {}, {begin}, {end}, {seller}, {category}, '')",
                    id + 50
                )
            })
            .collect();
        db.run(&format!("INSERT INTO auction VALUES {}", rows.join(", ")));
    }

    fn bids(&mut self, db: &mut Database, count: u64) {
        let rows: Vec<String> = (0..count)
            .map(|_| {
                let number = self.bids;
                self.bids += 1;
                let (auction, bidder) = (self.random.below(self.auctions), self.random.below(self.people));
                let scale = 10_u64.pow(3 + self.random.below(5) as u32);
                let price = self.random.below(scale);
                let channel = self.random.pick(&CHANNELS);
                let url = format!("https://a.b/{}/x/item?q=1&channel_id={}", number % 7, number % 5);
                format!("({auction}, {bidder}, {price}, '{channel}', '{url}', {}, 'cc{number}')", at(number * 53))
            })
            .collect();
        db.run(&format!("INSERT INTO bid VALUES {}", rows.join(", ")));
    }

    fn some_go(&mut self, db: &mut Database) {
        let (auction, person, rest) =
            (self.random.below(self.auctions), self.random.below(self.people), self.random.below(12));
        // The bids of an auction, all of them; an auction and a person, of whom others still speak; bids here and there.
        db.run(&format!("DELETE FROM bid WHERE auction = {auction}"));
        db.run(&format!("DELETE FROM auction WHERE id = {}", self.random.below(self.auctions)));
        db.run(&format!("DELETE FROM person WHERE id = {person}"));
        db.run(&format!("DELETE FROM bid WHERE price % 12 = {rest}"));
        db.run(&format!("DELETE FROM side_input WHERE key = {}", 7 * self.random.below(60)));
    }

    /// The highest bids become lower, an auction another category's, a person moves.
    fn some_change(&mut self, db: &mut Database) {
        let (auction, person) = (self.random.below(self.auctions), self.random.below(self.people));
        db.run("UPDATE bid SET price = price / 3 WHERE price = (SELECT max(price) FROM bid)");
        db.run(&format!("UPDATE bid SET \"dateTime\" = \"dateTime\" + INTERVAL '7 seconds' WHERE bidder = {person}"));
        db.run(&format!(
            "UPDATE auction SET category = 10, expires = expires + INTERVAL '20 seconds' WHERE id = {auction}"
        ));
        db.run(&format!("UPDATE person SET state = 'OR' WHERE id = {person}"));
        db.run("UPDATE side_input SET value = value || '!' WHERE key % 21 = 0");
    }
}
