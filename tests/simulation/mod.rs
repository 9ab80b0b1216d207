//! Engines over a store that fails: commits that fail before or after they happened, full disks, deaths at every commit, power cuts that
//! take what wasn't durable.
//!
//! A run writes to a table while a source is read, and is killed and started again whenever the store has stopped, and sometimes
//! in between. What was acknowledged must be there, what failed must be there whole or not at all, and in the end every
//! view must hold what a run without faults holds. The faults come from a seed; MILLRACE_TEST_SEED tries others.

use std::collections::BTreeMap;
use std::time::Duration;

use libtest_mimic::Trial;
use storage::fault::{FaultPlan, FaultStore, Loss};

use crate::support::database::settings;
use crate::support::machine::Machine;
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
    let mut machine = start(FaultStore::new(FaultPlan::seeded(seed, FAULTS_PER_MILLE)));
    let mut known = Ledger::new();
    define(&mut machine);
    for _ in 0..STATEMENTS {
        if random.one_in(15) {
            machine.restart(Loss::Drawn);
        }
        let (statement, after) = change(&mut random, &known);
        match machine.try_run(&statement) {
            Ok(_) => known = after,
            // There was no room on the disk: nothing happened.
            Err(failure) if failure.state() == "53100" && !machine.store.is_stopped() => {}
            Err(failure) => {
                // It may have happened: whole, or not at all.
                assert!(machine.store.is_stopped(), "seed {seed}: {failure}\n{statement}");
                machine.restart(Loss::Drawn);
                let found = ledger(&mut machine);
                assert!(
                    found == known || found == after,
                    "seed {seed}: {statement}\nfound {found:?}\nbefore {known:?}"
                );
                known = found;
            }
        }
        if random.one_in(5) {
            assert_eq!(ledger(&mut machine), known, "seed {seed}: what was acknowledged is there");
            let by_k = machine.lines("SELECT * FROM by_k", Loss::Drawn);
            assert_eq!(by_k, totals(&known), "seed {seed}: a write is read back");
        }
    }
    machine.restart(Loss::Drawn);
    assert_eq!(ledger(&mut machine), known, "seed {seed}");
    let found = views_at_the_end(&mut machine);
    assert_eq!(found, fault_free(&known), "seed {seed}: as without faults");
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
    let mut machine = start(FaultStore::new(FaultPlan::quiet(0)));
    define(&mut machine);
    for (id, (k, v)) in ledger {
        machine.try_run(&format!("INSERT INTO ledger VALUES ({id}, {k}, {v})")).unwrap();
    }
    views_at_the_end(&mut machine)
}

/// The settings of a run: small epochs, so that there are many commits.
fn start(store: FaultStore) -> Machine {
    let mut settings = settings(None);
    settings.epoch_rows = 700;
    settings.checkpoint_interval = Duration::from_millis(5);
    settings.workers = 2;
    Machine::start(store, settings)
}

/// Makes what is missing.
fn define(machine: &mut Machine) {
    for definition in DEFINITIONS {
        machine.insist(definition, Loss::Drawn);
    }
}

fn ledger(machine: &mut Machine) -> Ledger {
    let rows = machine.lines("SELECT id, k, v FROM ledger", Loss::Drawn);
    let number = |text: &str| text.parse().unwrap();
    rows.iter()
        .map(|line| {
            let fields: Vec<i64> = line.split('|').map(number).collect();
            (fields[0], (fields[1], fields[2]))
        })
        .collect()
}

/// All views, once the source has been read to its end. A restart meanwhile takes back what wasn't durable, and some of the source is read again.
fn views_at_the_end(machine: &mut Machine) -> BTreeMap<&'static str, Vec<String>> {
    let all = [format!("{EVENTS}|{}", EVENTS * (EVENTS - 1) / 2)];
    loop {
        wait::until_equal("the source's end", &all.to_vec(), || {
            machine.lines("SELECT coalesce(sum(n), 0), coalesce(sum(total), 0) FROM by_id", Loss::Drawn)
        });
        let store = machine.store.clone();
        let views = VIEWS
            .into_iter()
            .map(|view| (view, machine.lines(&format!("SELECT * FROM {view}"), Loss::Drawn)))
            .collect();
        if std::sync::Arc::ptr_eq(&store, &machine.store) {
            return views;
        }
    }
}
