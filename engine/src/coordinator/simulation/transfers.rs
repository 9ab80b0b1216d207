//! Money that is moved is neither made nor lost: transactions over two tables, aggregates, an outer join and views over views, compared with one
//! another in every epoch that readers could see. No model says what is in them; that they agree is all.

use std::sync::Arc;
use std::time::Duration;

use storage::fault::{FaultPlan, FaultStore, Loss};
use tokio::sync::oneshot::error::TryRecvError;

use super::clients::{Client, Errand};
use super::life::{Life, Tools, contents};
use super::random::Random;
use super::rows::Bag;
use super::world::World;
use crate::Settings;
use crate::published::Published;

const DEFINITIONS: [&str; 8] = [
    "CREATE TABLE debits (id bigint PRIMARY KEY, account bigint, amount bigint)",
    "CREATE TABLE credits (id bigint PRIMARY KEY, account bigint, amount bigint)",
    "CREATE MATERIALIZED VIEW paid AS SELECT account, sum(amount)::bigint AS amount FROM debits GROUP BY account",
    "CREATE MATERIALIZED VIEW received AS SELECT account, sum(amount)::bigint AS amount FROM credits GROUP BY account",
    "CREATE MATERIALIZED VIEW balances AS
       SELECT coalesce(r.account, p.account) AS account, coalesce(r.amount, 0) AS credit, coalesce(p.amount, 0) AS debit
       FROM received r FULL JOIN paid p ON p.account = r.account",
    "CREATE MATERIALIZED VIEW total AS SELECT sum(credit - debit)::bigint AS total, sum(credit)::bigint AS moved FROM balances",
    "CREATE MATERIALIZED VIEW alone AS SELECT d.id FROM debits d LEFT JOIN credits c ON c.id = d.id WHERE c.id IS NULL",
    "CREATE MATERIALIZED VIEW most AS SELECT max(credit) AS most, count(*) AS n FROM balances",
];

/// Transactions of a run.
const TRANSACTIONS: u64 = 60;
/// Between whom money moves.
const ACCOUNTS: u64 = 6;
/// Turns after which a statement must have been answered.
const PATIENCE: usize = 2_000;

struct Story<'a> {
    random: Random,
    settings: Settings,
    world: Arc<World>,
    store: Arc<FaultStore>,
    tools: &'a Tools,
    life: Option<Life>,
    /// All views are there.
    is_defined: bool,
    /// Transfers that are there.
    ids: Vec<i64>,
    next: i64,
}

/// Runs one seed; panics when views disagree.
pub(super) fn run(seed: u64, tools: &Tools) {
    let mut story = Story::new(seed, tools);
    story.live();
    DEFINITIONS.iter().for_each(|sql| story.define(sql));
    story.is_defined = true;
    for number in 0..TRANSACTIONS {
        if number == TRANSACTIONS / 2 {
            story.die();
        }
        let sql = story.transaction();
        story.execute(sql);
    }
}

impl<'a> Story<'a> {
    fn new(seed: u64, tools: &'a Tools) -> Self {
        let settings = Settings {
            workers: 1,
            memory_budget_bytes: if seed.is_multiple_of(3) { 1 << 18 } else { 64 << 20 },
            checkpoint_interval: Duration::from_millis(5),
            ..Settings::default()
        };
        Self {
            random: Random::new(seed),
            settings,
            world: World::new(seed),
            store: Arc::new(FaultStore::new(FaultPlan::quiet(seed))),
            tools,
            life: None,
            is_defined: false,
            ids: Vec::new(),
            next: 0,
        }
    }

    fn live(&mut self) {
        let life = Life::start(&self.settings, self.store.clone(), &self.world, self.tools);
        self.life = Some(life.expect("a store that works can be opened"));
    }

    /// A power cut; nobody waits for anything.
    fn die(&mut self) {
        self.life = None;
        self.world.end_life();
        self.store = Arc::new(self.store.restart(Loss::Drawn));
        self.live();
    }

    fn life(&mut self) -> &mut Life {
        self.life.as_mut().expect("it lives between deaths")
    }

    /// Whatever is to be done, once.
    fn turn(&mut self) {
        while let Some(command) = self.life().sent() {
            self.life().handle(command);
        }
        self.life().work();
        if let Some(error) = &self.life().coordinator.failure {
            panic!("nothing fails: {error}");
        }
        if self.is_defined {
            agree(&self.life().published());
        }
        self.life().commit();
        (0..self.world.builds()).for_each(|number| self.world.build_step(number));
        self.world.pass(Duration::from_millis(5));
    }

    fn define(&mut self, sql: &str) {
        let tools = self.tools;
        let mut answer = self.life().define(sql, &tools.queries).expect("what it reads is there");
        for _ in 0..PATIENCE {
            self.turn();
            match answer.try_recv() {
                Ok(done) => return drop(done.expect("it can be made")),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Closed) => panic!("{sql} is not answered"),
            }
        }
        panic!("{sql} is not answered");
    }

    fn execute(&mut self, sql: String) {
        let errand = Errand { sql: sql.clone(), says: Vec::new(), facts: Vec::new(), block: None };
        let catalog = self.life().coordinator.catalog.clone();
        let mut client = Client::new(self.life().session(), errand, &catalog, 0);
        for _ in 0..PATIENCE {
            let polled = {
                let _runtime = self.tools.queries.threads.enter();
                client.poll()
            };
            match polled {
                Some(done) => return done.expect("nobody else writes"),
                None => self.turn(),
            }
        }
        panic!("{sql} is not answered");
    }

    /// Money moves, or it moved otherwise, or it didn't: on both sides, or it was made or lost.
    fn transaction(&mut self) -> String {
        let known = self.ids.len() as u64;
        let amount = 1 + self.random.below(50);
        match self.random.below(5) {
            3 if known > 0 => {
                let id = self.ids.swap_remove(self.random.below(known) as usize);
                format!("BEGIN; DELETE FROM debits WHERE id = {id}; DELETE FROM credits WHERE id = {id}; COMMIT")
            }
            4 if known > 0 => {
                let id = self.ids[self.random.below(known) as usize];
                let set = |table: &str| format!("UPDATE {table} SET amount = {amount} WHERE id = {id}");
                format!("BEGIN; {}; {}; COMMIT", set("credits"), set("debits"))
            }
            _ => {
                let (from, to) = (self.random.below(ACCOUNTS), self.random.below(ACCOUNTS));
                self.next += 1;
                let id = self.next;
                self.ids.push(id);
                format!(
                    "BEGIN; INSERT INTO debits VALUES ({id}, {from}, {amount}); INSERT INTO credits VALUES ({id}, {to}, {amount}); COMMIT"
                )
            }
        }
    }
}

impl Drop for Story<'_> {
    /// Also after a panic: threads that build views would wait for ever.
    fn drop(&mut self) {
        self.life = None;
        self.world.end_life();
    }
}

/// What all tables and views say of the money that has moved, and what they say of each other.
fn agree(published: &Published) {
    let rows = |name: &str| -> Bag {
        let found = contents(published, name).expect("it can be read");
        found.unwrap_or_else(|| panic!("{name} isn't there"))
    };
    let moved = sum(&rows("debits"), 2);
    let balances = rows("balances");
    let said = [
        sum(&rows("credits"), 2),
        sum(&rows("paid"), 1),
        sum(&rows("received"), 1),
        sum(&balances, 1),
        sum(&balances, 2),
    ];
    let epoch = published.epoch.0;
    assert!(said.iter().all(|sum| *sum == moved), "1: in epoch {epoch} {moved} has moved, or one of {said:?}");
    let (total, most) = match balances.keys().map(|row| number(row, 1)).max() {
        None => ("NULL|NULL".to_owned(), "NULL|0".to_owned()),
        Some(most) => (format!("0|{moved}"), format!("{most}|{}", balances.len())),
    };
    assert_eq!(rows("total"), Bag::from([(total, 1)]), "1: total in epoch {epoch}");
    assert_eq!(rows("most"), Bag::from([(most, 1)]), "1: most in epoch {epoch}");
    assert_eq!(rows("alone"), Bag::new(), "1: debits without a credit in epoch {epoch}");
}

/// A column of numbers, summed over the rows.
fn sum(bag: &Bag, column: usize) -> i64 {
    bag.iter().map(|(row, weight)| weight * number(row, column)).sum()
}

fn number(row: &str, column: usize) -> i64 {
    row.split('|').nth(column).and_then(|value| value.parse().ok()).expect("a number")
}
