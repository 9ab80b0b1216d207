//! Engines over a store that fails: commits that fail before or after they happened, full disks, deaths at every commit, power cuts that
//! take what wasn't durable.
//!
//! A run writes to a table while a source is read, and is killed and started again whenever the store has stopped, and sometimes
//! in between. What was acknowledged must be there, what failed must be there whole or not at all, and in the end every
//! view must hold what a run without faults holds. The faults come from a seed; MILLRACE_TEST_SEED tries others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, Session};
use libtest_mimic::Trial;
use storage::fault::{FaultPlan, FaultStore, Loss};

use crate::support::database::{Answer, Failure, parameters, run, settings};
use crate::support::random::Random;
use crate::support::{trial, wait};

/// Runs of the suite, each of another seed.
const RUNS: u64 = 6;
/// Statements of a run.
const STATEMENTS: usize = 60;
/// Of 1,000 commits, so many meet a fault.
const FAULTS_PER_MILLE: u32 = 40;
/// Rows of the source.
const EVENTS: u64 = 20_000;
/// A statement that takes longer hangs.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);

const DEFINITIONS: [&str; 5] = [
    "CREATE TABLE IF NOT EXISTS ledger (id bigint PRIMARY KEY, k bigint, v bigint)",
    "CREATE SOURCE IF NOT EXISTS numbers (n bigint, id bigint)
       WITH (connector = 'generator', kind = 'sequence', events = 20000, rate = 10000, keys = 40)",
    "CREATE MATERIALIZED VIEW IF NOT EXISTS by_id AS
       SELECT id, count(*) AS n, sum(n) AS total, min(n) AS first, max(n) AS last FROM numbers GROUP BY id",
    "CREATE MATERIALIZED VIEW IF NOT EXISTS by_k AS SELECT k, count(*) AS n, sum(v) AS total FROM ledger GROUP BY k",
    "CREATE MATERIALIZED VIEW IF NOT EXISTS joined AS
       SELECT l.id, l.v, b.n, b.total FROM ledger l JOIN by_id b ON b.id = l.k",
];

const VIEWS: [&str; 3] = ["by_id", "by_k", "joined"];

pub fn trials() -> Vec<Trial> {
    let first = Random::seed(7);
    let run = |number: u64| trial(&format!("simulation::faults_{number}"), move || simulate(first + number));
    (0..RUNS).map(run).collect()
}

/// What the table must hold.
type Ledger = BTreeMap<i64, (i64, i64)>;

fn simulate(seed: u64) {
    let mut random = Random::new(seed);
    let mut machine = Machine::start(FaultStore::new(FaultPlan::seeded(seed, FAULTS_PER_MILLE)));
    let mut ledger = Ledger::new();
    machine.define();
    for _ in 0..STATEMENTS {
        if random.one_in(15) {
            machine.restart();
        }
        let (statement, after) = change(&mut random, &ledger);
        match machine.try_run(&statement) {
            Ok(_) => ledger = after,
            Err(failure) => {
                // It may have happened: whole, or not at all.
                assert!(machine.store.is_stopped(), "seed {seed}: {failure}\n{statement}");
                machine.restart();
                let found = machine.ledger();
                assert!(
                    found == ledger || found == after,
                    "seed {seed}: {statement}\nfound {found:?}\nbefore {ledger:?}"
                );
                ledger = found;
            }
        }
        if random.one_in(5) {
            assert_eq!(machine.ledger(), ledger, "seed {seed}: what was acknowledged is there");
            assert_eq!(machine.lines("SELECT * FROM by_k"), totals(&ledger), "seed {seed}: a write is read back");
        }
    }
    machine.restart();
    assert_eq!(machine.ledger(), ledger, "seed {seed}");
    let found = machine.views_at_the_end();
    assert_eq!(found, fault_free(&ledger), "seed {seed}: as without faults");
}

/// A statement, and the table after it.
fn change(random: &mut Random, ledger: &Ledger) -> (String, Ledger) {
    let mut after = ledger.clone();
    let k = random.below(50) as i64;
    let statement = match random.below(5) {
        0 => {
            after.retain(|_, row| row.0 != k);
            format!("DELETE FROM ledger WHERE k = {k}")
        }
        1 => {
            after.values_mut().filter(|row| row.0 < k).for_each(|row| row.1 += 1);
            format!("UPDATE ledger SET v = v + 1 WHERE k < {k}")
        }
        _ => {
            let first = ledger.keys().next_back().map_or(0, |id| id + 1);
            let rows: Vec<_> = (first..=first + random.below(4) as i64).map(|id| (id, (k + id) % 50, id % 7)).collect();
            after.extend(rows.iter().map(|(id, k, v)| (*id, (*k, *v))));
            let values: Vec<_> = rows.iter().map(|(id, k, v)| format!("({id}, {k}, {v})")).collect();
            format!("INSERT INTO ledger VALUES {}", values.join(", "))
        }
    };
    (statement, after)
}

/// What `by_k` must hold.
fn totals(ledger: &Ledger) -> Vec<String> {
    let mut totals: BTreeMap<i64, (u64, i64)> = BTreeMap::new();
    for (k, v) in ledger.values() {
        let (n, total) = totals.entry(*k).or_default();
        *n += 1;
        *total += v;
    }
    let mut lines: Vec<_> = totals.iter().map(|(k, (n, total))| format!("{k}|{n}|{total}")).collect();
    lines.sort();
    lines
}

/// The views of an engine that nothing happens to.
fn fault_free(ledger: &Ledger) -> BTreeMap<&'static str, Vec<String>> {
    let mut machine = Machine::start(FaultStore::new(FaultPlan::quiet(0)));
    machine.define();
    for (id, (k, v)) in ledger {
        machine.try_run(&format!("INSERT INTO ledger VALUES ({id}, {k}, {v})")).unwrap();
    }
    machine.views_at_the_end()
}

/// An engine and its store, to be stopped and started.
struct Machine {
    runtime: tokio::runtime::Runtime,
    store: Arc<FaultStore>,
    running: Option<(Engine, Session)>,
}

impl Machine {
    fn start(store: FaultStore) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut machine = Self { runtime, store: Arc::new(store), running: None };
        machine.open();
        machine
    }

    /// Opens an engine on the store; a fault during recovery is one more death.
    fn open(&mut self) {
        let mut settings = settings(None);
        settings.epoch_rows = 700;
        settings.checkpoint_interval = Duration::from_millis(5);
        settings.workers = 2;
        loop {
            let _entered = self.runtime.enter();
            match Engine::open_on(settings.clone(), self.store.clone()) {
                Ok(engine) => {
                    let session = engine.session(parameters()).unwrap();
                    self.running = Some((engine, session));
                    return;
                }
                Err(error) => {
                    assert!(self.store.is_stopped(), "a store that works can be opened: {error}");
                    self.store = Arc::new(self.store.restart(Loss::Drawn));
                }
            }
        }
    }

    /// Dies, and starts again with what the store still has.
    fn restart(&mut self) {
        // First the store: whatever the old engine still does is lost.
        let next = Arc::new(self.store.restart(Loss::Drawn));
        if let Some((engine, session)) = self.running.take() {
            drop(session);
            // An engine whose store has gone away can't end in good order.
            drop(self.runtime.block_on(engine.shutdown()));
        }
        self.store = next;
        self.open();
    }

    fn try_run(&mut self, sql: &str) -> Result<Answer, Failure> {
        let session = &mut self.running.as_mut().expect("it runs between restarts").1;
        let limited = async { tokio::time::timeout(STATEMENT_LIMIT, run(session, sql)).await };
        self.runtime.block_on(limited).unwrap_or_else(|_| panic!("{sql} hangs"))
    }

    /// Makes what is missing, over as many deaths as it takes.
    fn define(&mut self) {
        for definition in DEFINITIONS {
            while let Err(failure) = self.try_run(definition) {
                assert!(self.store.is_stopped(), "{failure}\n{definition}");
                self.restart();
            }
        }
    }

    /// A query's rows as sorted lines; deaths meanwhile only delay it.
    fn lines(&mut self, sql: &str) -> Vec<String> {
        loop {
            match self.try_run(sql) {
                Ok(answer) => {
                    let mut lines: Vec<_> = answer.rows.into_iter().map(|row| row.join("|")).collect();
                    lines.sort();
                    return lines;
                }
                Err(failure) => {
                    assert!(self.store.is_stopped(), "{failure}\n{sql}");
                    self.restart();
                }
            }
        }
    }

    fn ledger(&mut self) -> Ledger {
        let rows = self.lines("SELECT id, k, v FROM ledger");
        let number = |text: &str| text.parse().unwrap();
        rows.iter()
            .map(|line| {
                let fields: Vec<i64> = line.split('|').map(number).collect();
                (fields[0], (fields[1], fields[2]))
            })
            .collect()
    }

    /// All views, once the source has been read to its end.
    fn views_at_the_end(&mut self) -> BTreeMap<&'static str, Vec<String>> {
        let all = [format!("{EVENTS}|{}", EVENTS * (EVENTS - 1) / 2)];
        wait::until_equal("the source's end", &all.to_vec(), || {
            self.lines("SELECT coalesce(sum(n), 0), coalesce(sum(total), 0) FROM by_id")
        });
        VIEWS.into_iter().map(|view| (view, self.lines(&format!("SELECT * FROM {view}")))).collect()
    }
}
