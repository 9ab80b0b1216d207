//! A whole engine in one thread, in a world that a seed decides: time, input, clients, sinks that fail, a store that fails, deaths.
//!
//! Everything that has a thread in a running server (commits, sinks' couriers, views being built, sources) takes its turn here when the
//! seed says so, so that a run is repeated to the byte. Beside the engine a [`model`] keeps account of every epoch from the topic and the
//! clients' writes alone. After each epoch, after each death and at the end it is compared with what the engine shows and what it
//! has stored. Each check says in its message which of DESIGN's invariants it is about.
//!
//! Reading order: this file (the run), [`model`] (what must be true), [`world`] (what happens around the engine), [`life`] (the engine),
//! [`topic`] and [`broker`] (its two sides), [`tests`] (how long it runs, which bugs it must find).

mod broker;
mod check;
mod life;
mod model;
mod random;
mod rows;
mod tests;
mod topic;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use delta::{Delta, Epoch};
use storage::fault::{FaultPlan, FaultStore, Injected, Loss};
use tokio::sync::oneshot;

use self::life::{Life, Waiting};
use self::model::{DEFINITIONS, LedgerRow, Moment, PASSING};
use self::random::Random;
use self::topic::{KEYS, PARTITIONS, Topic};
use self::world::{Happened, World};
use crate::command::{Command, Write};
use crate::published::Published;
use crate::query::Queries;
use crate::subscription::Later;
use crate::{ErrorKind, Result, Settings};

/// Turns of a run, before it is let come to rest.
const TURNS: u64 = 1_200;
/// Of 1,000 commits, so many meet a fault.
const FAULTS_PER_MILLE: u32 = 25;
/// Turns after which a run that nothing disturbs any more must have come to rest.
const REST: usize = 20_000;

/// What a run was like.
#[derive(Clone, Copy, Debug, Default)]
struct Report {
    injected: Injected,
    happened: Happened,
    epochs: u64,
    records: u64,
    writes: u64,
    conflicts: u64,
    builds: u64,
    /// A hash of everything that happened and of what was stored at each death and at the end.
    digest: u64,
}

struct Simulation<'a> {
    seed: u64,
    turn: u64,
    random: Random,
    settings: Settings,
    queries: &'a Queries,
    world: Arc<World>,
    topic: Topic,
    store: Arc<FaultStore>,
    life: Option<Life>,
    /// What was true at each epoch that may still be asked for.
    history: BTreeMap<u64, Moment>,
    /// The epoch with which this life began.
    born: u64,
    /// The last epoch in which a write changed the table in this life.
    changed: u64,
    writes: Vec<ClientWrite>,
    /// Of writes that were taken: the table as it must be, by epoch. Acknowledged ones must never be lost.
    acknowledged: u64,
    statements: Vec<Statement>,
    /// Objects of which it is known whether they are there.
    exists: BTreeMap<String, bool>,
    /// A reader that takes its time.
    held: Option<Arc<Published>>,
    follower: Option<Follower>,
    report: Report,
    trace: Vec<String>,
}

/// A write that a client waits for.
struct ClientWrite {
    read_at: u64,
    /// The table's rows afterwards, if it is taken.
    changes: Vec<(i64, Option<LedgerRow>)>,
    /// The epoch that must have taken it; `None` before any has, or if it must have been refused.
    taken: Option<u64>,
    refused: bool,
    answer: oneshot::Receiver<Result<Epoch>>,
}

/// A DDL statement that a client waits for.
struct Statement {
    object: String,
    /// Whether the object exists afterwards.
    makes: bool,
    answer: Waiting,
}

/// Somebody who follows `by_k`.
struct Follower {
    later: Later,
    contents: rows::Bag,
    epoch: u64,
}

/// Runs one seed; panics when something isn't as it must be.
fn run(seed: u64, queries: &Queries) -> Report {
    let mut random = Random::new(seed);
    let settings = Settings {
        workers: 1,
        concurrent_builds: 2,
        // Sometimes everything spills.
        memory_budget_bytes: if random.one_in(3) { 1 << 18 } else { 64 << 20 },
        checkpoint_interval: Duration::from_millis(5),
        sink_commit_interval: Duration::from_millis(2),
        epoch_rows: if random.one_in(2) { 8 } else { 100 },
        ..Settings::default()
    };
    // Now and then only the process dies, and the disk works.
    let per_mille = if random.one_in(4) { 0 } else { FAULTS_PER_MILLE };
    let mut simulation = Simulation {
        seed,
        turn: 0,
        random,
        settings,
        queries,
        world: World::new(seed),
        topic: Topic { seed },
        store: Arc::new(FaultStore::new(FaultPlan::quiet(seed))),
        life: None,
        history: BTreeMap::from([(0, Moment::new())]),
        born: 0,
        changed: 0,
        writes: Vec::new(),
        acknowledged: 0,
        statements: Vec::new(),
        exists: BTreeMap::new(),
        held: None,
        follower: None,
        report: Report::default(),
        trace: Vec::new(),
    };
    simulation.live();
    // One in eight has to be defined while everything fails.
    if !simulation.random.one_in(8) {
        simulation.set_up();
    }
    let faulty = simulation.store.restart_with(Loss::Nothing, per_mille);
    simulation.bury(faulty);
    for turn in 0..TURNS {
        simulation.turn = turn;
        simulation.take_a_turn();
    }
    simulation.come_to_rest();
    simulation.end()
}

impl Simulation<'_> {
    fn life(&mut self) -> &mut Life {
        self.life.as_mut().expect("it lives between deaths")
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        let what = what();
        self.report.digest = random::at(self.report.digest, &[hash(what.as_bytes())]);
        if std::env::var_os("MILLRACE_TRACE").is_some() {
            self.trace.push(format!("{:>5} {what}", self.turn));
        }
    }

    /// Starts the engine, as often as it takes.
    fn live(&mut self) {
        loop {
            match Life::start(&self.settings, self.store.clone(), &self.world, self.queries) {
                Ok(life) => {
                    self.life = Some(life);
                    break;
                }
                Err(error) => {
                    assert!(self.store.is_stopped(), "a store that works can be opened: {error}");
                    self.world.end_life();
                    self.store = Arc::new(self.store.restart(Loss::Drawn));
                }
            }
        }
        self.changed = 0;
        self.check_recovery();
        self.born = self.life().coordinator.epoch.0;
    }

    /// The process dies; with a power cut, what isn't on stable storage may be gone too.
    fn die(&mut self, loss: Loss) {
        let next = self.store.restart(loss);
        self.bury(next);
    }

    fn bury(&mut self, next: FaultStore) {
        self.life = None;
        self.follower = None;
        self.held = None;
        self.world.end_life();
        self.store = Arc::new(next);
        // What was waited for may have happened, or not.
        self.writes.clear();
        for statement in std::mem::take(&mut self.statements) {
            self.exists.remove(&statement.object);
        }
        let stored = self.stored_hash();
        self.note(|| format!("death, {stored:x} is stored"));
        self.live();
    }

    fn take_a_turn(&mut self) {
        if self.store.is_stopped() || self.life().coordinator.failure.is_some() {
            assert!(self.store.is_stopped(), "only a store that has stopped stops the engine: {:?}", self.failure());
            self.die(Loss::Drawn);
            return;
        }
        match self.random.below(100) {
            // Views that let late rows go have all of the topic if they are there before it.
            0..=9 if self.is_defined() => {
                let (partition, records) = (self.random.below(PARTITIONS as u64), self.random.below(6));
                self.world.produce(partition as i32, records as i64);
            }
            10..=24 => {
                let (partition, records) = (self.random.below(PARTITIONS as u64), 1 + self.random.below(6));
                let fed = self.world.feed(partition as i32, records as i64);
                self.note(|| format!("fed {fed} of {partition}"));
            }
            25..=44 => self.epoch(),
            45..=57 => self.commit(),
            58..=67 => self.courier(),
            68..=75 => self.build(),
            76..=81 => {
                let time = Duration::from_micros(self.random.below(5_000));
                self.world.pass(time);
            }
            82 => self.world.pass(Duration::from_secs(1)),
            83..=88 => self.write(),
            89..=91 => self.define(),
            92 => {
                let (source, broker) = (self.random.one_in(3), self.random.one_in(3));
                self.world.set_away(source, broker);
            }
            93..=94 => self.read(),
            95 => self.hold(),
            96..=97 => self.follow(),
            _ if self.random.one_in(3) => {
                let loss = if self.random.one_in(2) { Loss::Nothing } else { Loss::Drawn };
                self.die(loss);
            }
            _ => {}
        }
        self.hear();
    }

    /// Everything that there must always be is there, and has been acknowledged.
    fn is_defined(&self) -> bool {
        DEFINITIONS.iter().all(|(name, _)| self.exists.get(*name) == Some(&true))
    }

    fn failure(&mut self) -> Option<String> {
        self.life().coordinator.failure.as_ref().map(ToString::to_string)
    }

    /// What was sent is heard, and answers are looked at.
    fn hear(&mut self) {
        self.life().hear();
        self.check_answers();
    }

    fn epoch(&mut self) {
        let before = self.life().coordinator.epoch.0;
        if self.life().work() {
            self.account_for_epoch(before);
        }
    }

    fn commit(&mut self) {
        self.life().commit();
        let epoch = self.life().coordinator.epoch.0;
        self.note(|| format!("commit at {epoch}"));
    }

    fn courier(&mut self) {
        let couriers = self.world.couriers();
        if couriers > 0 {
            let number = self.random.below(couriers as u64) as usize;
            let delivered = self.world.courier_step(number);
            self.note(|| format!("courier {number} delivered: {delivered}"));
        }
    }

    fn build(&mut self) {
        let builds = self.world.builds();
        if builds > 0 {
            let number = self.random.below(builds as u64) as usize;
            self.world.build_step(number);
            self.report.builds += 1;
            self.note(|| format!("build {number}"));
        }
    }

    /// A client changes the table, from what an epoch showed.
    fn write(&mut self) {
        let Some(table) = self.life().find("ledger") else { return };
        let last = self.life().published().epoch.0;
        // A client that has read some epochs ago, now and then.
        // Nobody's session outlives the server.
        let stale = last.saturating_sub(self.random.below(4)).max(self.born);
        let read_at = if self.random.one_in(4) { stale } else { last };
        let Some(seen) = self.history.get(&read_at).map(|moment| moment.ledger.clone()) else { return };
        let mut changes: BTreeMap<i64, Option<LedgerRow>> = BTreeMap::new();
        for _ in 0..=self.random.below(3) {
            let id = self.random.below(24) as i64;
            let row = (self.random.below(KEYS) as i64, self.random.below(50) as i64);
            changes.insert(id, if self.random.one_in(3) { None } else { Some(row) });
        }
        let mut rows = Vec::new();
        for (id, after) in &changes {
            rows.extend(seen.get(id).map(|row| (*id, *row, -1)));
            rows.extend(after.map(|row| (*id, row, 1)));
        }
        if rows.is_empty() {
            return;
        }
        let schema = self.life().coordinator.catalog.get(table).expect("it was found").schema();
        let column = |value: fn(&(i64, LedgerRow, i64)) -> i64| {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(value))) as arrow::array::ArrayRef
        };
        let columns = vec![column(|row| row.0), column(|row| row.1.0), column(|row| row.1.1)];
        let batch = RecordBatch::try_new(schema, columns).expect("rows of the table");
        let weights = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
        let (reply, answer) = oneshot::channel();
        let write = Write {
            deltas: vec![(table, Delta::new(batch, Some(weights)))],
            read_at: Epoch(read_at),
            planned_against: self.life().coordinator.catalog_version,
        };
        self.note(|| format!("write of {changes:?}, read at {read_at}"));
        let changes = changes.into_iter().collect();
        self.writes.push(ClientWrite { read_at, changes, taken: None, refused: false, answer });
        self.life().handle(Command::Write { write, reply });
    }

    /// A client makes or drops something; first of all what there must always be.
    fn define(&mut self) {
        if !self.statements.is_empty() {
            return;
        }
        let missing =
            DEFINITIONS.iter().find(|(name, _)| self.life.as_ref().is_some_and(|life| life.find(name).is_none()));
        let (name, sql, makes) = match missing {
            Some((name, sql)) => (*name, (*sql).to_owned(), true),
            None => {
                let (name, sql) = PASSING[self.random.below(PASSING.len() as u64) as usize];
                match self.life().find(name) {
                    None => (name, sql.to_owned(), true),
                    Some(_) if name.ends_with("_out") => (name, format!("DROP SINK {name}"), false),
                    Some(_) => (name, format!("DROP MATERIALIZED VIEW {name}"), false),
                }
            }
        };
        let queries = self.queries;
        if let Some(answer) = self.life().define(&sql, queries) {
            self.note(|| sql);
            self.statements.push(Statement { object: name.to_owned(), makes, answer });
            self.exists.remove(name);
        }
    }

    /// No more faults: everything is read, computed, committed and sent.
    fn come_to_rest(&mut self) {
        self.turn = TURNS;
        let quiet = self.store.restart_with(Loss::Drawn, 0);
        self.bury(quiet);
        self.world.calm();
        for turn in 0..REST {
            self.turn = TURNS + turn as u64;
            self.define_what_is_missing();
            for partition in 0..PARTITIONS {
                self.world.feed(partition, 100);
            }
            self.epoch();
            self.commit();
            for number in 0..self.world.couriers() {
                self.world.courier_step(number);
            }
            for number in 0..self.world.builds() {
                self.world.build_step(number);
            }
            self.world.pass(Duration::from_millis(5));
            self.hear();
            assert!(!self.store.is_stopped() && self.failure().is_none(), "nothing fails any more");
            if turn % 4 == 3 && self.unrest().is_none() {
                return;
            }
        }
        panic!("7: it doesn't come to rest: {}", self.unrest().unwrap_or_default());
    }

    /// Defines everything before the faults begin.
    fn set_up(&mut self) {
        for _ in 0..REST {
            self.define_what_is_missing();
            self.epoch();
            self.commit();
            self.world.pass(Duration::from_millis(5));
            self.hear();
            if self.is_defined() {
                return;
            }
        }
        panic!("the definitions are not acknowledged");
    }

    fn define_what_is_missing(&mut self) {
        if DEFINITIONS.iter().any(|(name, _)| self.life.as_ref().is_some_and(|life| life.find(name).is_none())) {
            self.define();
        }
    }

    fn end(mut self) -> Report {
        self.check_the_end();
        let stored = self.stored_hash();
        self.note(|| format!("at the end {stored:x} is stored"));
        let (injected, happened) = (self.store.injected(), self.world.happened());
        self.life = None;
        self.world.end_life();
        if std::env::var_os("MILLRACE_TRACE").is_some() {
            self.trace.iter().for_each(|line| println!("{line}"));
        }
        Report { injected, happened, ..self.report }
    }
}

impl Drop for Simulation<'_> {
    /// Also after a panic: threads that build views would wait for ever.
    fn drop(&mut self) {
        drop(self.store.restart(Loss::Nothing));
        self.life = None;
        self.world.end_life();
        if std::thread::panicking() {
            eprintln!("simulation of seed {}, turn {}", self.seed, self.turn);
            self.trace.iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether a statement was refused because of what is passing: nothing has happened, and it may be tried again.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::DiskFull | ErrorKind::SerializationFailure)
}
