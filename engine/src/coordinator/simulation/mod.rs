//! A whole engine in one thread, in a world that a seed decides: time, input, clients, sinks that fail, a store that fails, deaths.
//!
//! Everything that has a thread in a running server (commits, sinks' couriers, views being built, sources) takes its turn here when the
//! seed says so, so that a run is repeated to the byte. Beside the engine a [`model`] keeps account of every epoch from the topic and the
//! clients' writes alone. After each epoch, after each death and at the end it is compared with what the engine shows and what it
//! has stored. Each check says in its message which of DESIGN's invariants it is about.
//!
//! Reading order: this file (the run), [`model`] (what must be true), [`world`] (what happens around the engine), [`life`] (the engine),
//! [`clients`] (its sessions), [`topic`] and [`broker`] (its two sides), [`restored`] (what is true of a server that continues a backup), [`tests`]
//! (how long it runs, which bugs it must find). [`transfers`] is a smaller run, of views that must agree with each other.

mod broker;
mod check;
mod clients;
mod life;
mod model;
mod random;
mod restored;
mod rows;
mod tests;
mod topic;
mod transfers;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use delta::{Delta, Epoch};
use storage::fault::{FaultPlan, FaultStore, Injected, Loss};
use tokio::sync::oneshot;

use self::clients::{Client, Errand, Sentence};
use self::life::{Life, Tools, Waiting};
use self::model::{DEFINITIONS, LedgerRow, Moment, PASSING};
use self::random::Random;
use self::restored::{Backup, Continued};
use self::topic::{KEYS, PARTITIONS, Topic};
use self::world::{Happened, World};
use crate::command::{Command, Reply, Write};
use crate::ddl::DdlChange;
use crate::published::Published;
use crate::subscription::Later;
use crate::{ErrorKind, Result, Settings};

/// Turns of a run, before it is let come to rest.
const TURNS: u64 = 1_200;
/// Of 1,000 commits, so many meet a fault.
const FAULTS_PER_MILLE: u32 = 25;
/// Of 1,000,000 reads, so many fail in some runs.
const FAILING_READS: u32 = 1_000;
/// Reads of outboxes, of which there are few, fail so many times as often.
const OUTBOX_READS: u32 = 60;
/// How far the wall clock may be off, at most.
const CLOCK_OFF: Duration = Duration::from_secs(10);
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
    /// What clients' sessions have done.
    errands: u64,
    /// A hash of everything that happened and of what was stored at each death and at the end.
    digest: u64,
}

struct Simulation<'a> {
    seed: u64,
    turn: u64,
    random: Random,
    settings: Settings,
    tools: &'a Tools,
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
    clients: Vec<Client>,
    /// What is known of the catalog.
    facts: BTreeMap<String, Option<i64>>,
    backup: Option<Backup>,
    /// Of sinks that had sent more than a backup knew when it was restored: what they go on from.
    continued: BTreeMap<String, Continued>,
    /// Reads that had failed when this life began.
    failed_reads: u64,
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
    /// `None`: its session is told by others.
    answer: Option<oneshot::Receiver<Result<Epoch>>>,
    /// The session that waits for it.
    session: Option<Reply<Epoch>>,
    /// What it was said to do, if that was SQL.
    says: Vec<Sentence>,
    /// It comes with the making, or the end, of `block`.
    block: Option<bool>,
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
fn run(seed: u64, tools: &Tools) -> Report {
    let mut simulation = Simulation::new(seed, tools);
    // Now and then only the process dies, and the disk works.
    let per_mille = if simulation.random.one_in(4) { 0 } else { FAULTS_PER_MILLE };
    let failing_reads = if simulation.random.one_in(4) { FAILING_READS } else { 0 };
    simulation.live();
    // One in eight has to be defined while everything fails.
    if !simulation.random.one_in(8) {
        simulation.set_up();
    }
    let faulty = simulation.store.restart_with(Loss::Nothing, per_mille, failing_reads);
    simulation.bury(faulty);
    for turn in 0..TURNS {
        simulation.turn = turn;
        simulation.take_a_turn();
    }
    simulation.come_to_rest();
    simulation.end()
}

impl<'a> Simulation<'a> {
    /// The world of a seed, before the engine's first life.
    fn new(seed: u64, tools: &'a Tools) -> Self {
        let mut random = Random::new(seed);
        let settings = Settings {
            workers: 1,
            concurrent_builds: 2,
            // Sometimes everything spills.
            memory_budget_bytes: if random.one_in(3) { 1 << 18 } else { 64 << 20 },
            checkpoint_interval: Duration::from_millis(5),
            sink_commit_interval: Duration::from_millis(2),
            epoch_rows: if random.one_in(2) { 8 } else { 100 },
            checkpoint_bytes: if random.one_in(4) { 4_000 } else { 1 << 20 },
            subscriber_bytes: if random.one_in(2) { 2_000 } else { 64 << 20 },
            ..Settings::default()
        };
        Self {
            seed,
            turn: 0,
            random,
            settings,
            tools,
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
            clients: Vec::new(),
            facts: BTreeMap::new(),
            backup: None,
            continued: BTreeMap::new(),
            failed_reads: 0,
            held: None,
            follower: None,
            report: Report::default(),
            trace: Vec::new(),
        }
    }
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
            let failed_reads = self.store.injected().failed_reads;
            self.store.let_reads_fail(1);
            let started = Life::start(&self.settings, self.store.clone(), &self.world, self.tools);
            self.store.let_reads_fail(0);
            self.failed_reads = self.store.injected().failed_reads;
            match started {
                Ok(life) => {
                    self.life = Some(life);
                    break;
                }
                Err(error) => {
                    let fails = self.store.is_stopped() || self.failed_reads > failed_reads;
                    assert!(fails, "a store that works can be opened: {error}");
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
        self.clients.clear();
        self.life = None;
        self.follower = None;
        self.held = None;
        self.world.end_life();
        self.store = Arc::new(next);
        // What was waited for may have happened, or not: of that nothing is known.
        self.writes.clear();
        self.statements.clear();
        let stored = self.stored_hash();
        self.note(|| format!("death, {stored:x} is stored"));
        self.live();
    }

    fn take_a_turn(&mut self) {
        if self.store.is_stopped() || self.life().coordinator.failure.is_some() {
            let fails = self.store.is_stopped() || self.store.injected().failed_reads > self.failed_reads;
            assert!(fails, "only a store that fails stops the engine: {:?}", self.failure());
            self.die(Loss::Drawn);
            return;
        }
        match self.random.below(1_000) {
            // Views that let late rows go have all of the topic if they are there before it.
            0..100 if self.is_defined() => {
                let (partition, records) = (self.random.below(PARTITIONS as u64), self.random.below(6));
                self.world.produce(partition as i32, records as i64);
            }
            100..250 => {
                let (partition, records) = (self.random.below(PARTITIONS as u64), 1 + self.random.below(6));
                let fed = self.world.feed(partition as i32, records as i64);
                self.note(|| format!("fed {fed} of {partition}"));
            }
            250..450 => self.epoch(),
            450..580 => self.commit(),
            580..680 => self.courier(),
            680..760 => self.build(),
            760..815 => {
                let time = Duration::from_micros(self.random.below(5_000));
                self.world.pass(time);
            }
            815..825 => self.world.pass(Duration::from_secs(1)),
            825..870 => self.write(),
            870..890 => self.define(),
            890..920 => self.send_client(),
            920..930 => {
                let (source, broker) = (self.random.one_in(3), self.random.one_in(3));
                self.world.set_away(source, broker);
            }
            930..945 => self.read(),
            945..955 => self.hold(),
            955..970 => self.follow(),
            970..974 => {
                let writes = self.random.one_in(4);
                self.world.fence(writes);
            }
            974..978 => self.back_up(),
            978..980 => self.restore(),
            980..990 => {
                let loss = if self.random.one_in(2) { Loss::Nothing } else { Loss::Drawn };
                self.die(loss);
            }
            990..994 => self.set_clock(),
            _ => {}
        }
        self.hear();
    }

    /// Everything that there must always be is there, and has been acknowledged.
    fn is_defined(&self) -> bool {
        DEFINITIONS.iter().all(|(name, _)| self.facts.get(*name) == Some(&Some(1)))
    }

    fn failure(&mut self) -> Option<String> {
        self.life().coordinator.failure.as_ref().map(ToString::to_string)
    }

    /// Lets the engine do something, while reads may fail, and keeps account of the epochs that come of it.
    fn engine<T>(&mut self, act: impl FnOnce(&mut Life) -> T) -> T {
        let life = self.life.as_mut().expect("it lives between deaths");
        let before = life.coordinator.epoch.0;
        self.store.let_reads_fail(1);
        let done = act(life);
        self.store.let_reads_fail(0);
        self.account_for_epochs(before);
        done
    }

    /// What was sent is heard, and answers are looked at. Who catches up on a backup hears later.
    fn hear(&mut self) {
        self.listen();
        self.check_answers();
        self.serve_clients();
        self.listen();
    }

    fn listen(&mut self) {
        while !self.life().is_catching_up()
            && let Some(command) = self.life().sent()
        {
            let command = self.overhear(command);
            self.engine(|life| life.handle(command));
        }
    }

    /// Clients hear what they wait for, and go on.
    fn serve_clients(&mut self) {
        self.store.let_reads_fail(1);
        let tools = self.tools;
        let runtime = tools.queries.threads.enter();
        let answers: Vec<_> = self.clients.iter_mut().map(Client::poll).collect();
        drop(runtime);
        self.store.let_reads_fail(0);
        let clients = std::mem::take(&mut self.clients);
        for (client, answer) in clients.into_iter().zip(answers) {
            match answer {
                None => self.clients.push(client),
                Some(answer) => self.check_client(&client, answer),
            }
        }
    }

    /// What sessions ask of the epoch thread that changes rows.
    fn overhear(&mut self, command: Command) -> Command {
        match command {
            Command::Write { write, reply } => {
                let (own, answer) = oneshot::channel();
                let says = self.clients.iter().find(|client| client.errand.facts.is_empty());
                let says = says.map_or_else(Vec::new, |client| client.errand.says.clone());
                self.writes.push(ClientWrite {
                    read_at: write.read_at.0,
                    changes: changes_of(&write),
                    taken: None,
                    refused: false,
                    answer: Some(answer),
                    session: Some(reply),
                    says,
                    block: None,
                });
                Command::Write { write, reply: own }
            }
            Command::Ddl { planned_against, change, reply } => {
                if let DdlChange::Batch { write, .. } = &*change
                    && let Some(client) = self.clients.iter().find(|client| client.errand.block.is_some())
                {
                    // What was refused is tried again.
                    self.writes.retain(|write| write.block.is_none() || write.taken.is_some());
                    self.writes.push(ClientWrite {
                        read_at: write.read_at.0,
                        changes: changes_of(write),
                        taken: None,
                        refused: false,
                        answer: None,
                        session: None,
                        says: client.errand.says.clone(),
                        block: client.errand.block,
                    });
                }
                Command::Ddl { planned_against, change, reply }
            }
            other => other,
        }
    }

    fn epoch(&mut self) {
        if self.life().is_catching_up() {
            self.catch_up();
        } else {
            self.engine(Life::work);
        }
    }

    fn commit(&mut self) {
        self.engine(Life::commit);
        let epoch = self.life().coordinator.epoch.0;
        self.note(|| format!("commit at {epoch}"));
    }

    fn courier(&mut self) {
        let couriers = self.world.couriers();
        if couriers > 0 {
            let number = self.random.below(couriers as u64) as usize;
            self.store.let_reads_fail(OUTBOX_READS);
            let delivered = self.world.courier_step(number);
            self.store.let_reads_fail(0);
            self.note(|| format!("courier {number} delivered: {delivered}"));
        }
    }

    fn build(&mut self) {
        let builds = self.world.builds();
        // What it asks isn't heard by who catches up.
        if builds > 0 && !self.life().is_catching_up() {
            let number = self.random.below(builds as u64) as usize;
            self.store.let_reads_fail(1);
            self.world.build_step(number);
            self.store.let_reads_fail(0);
            self.report.builds += 1;
            self.note(|| format!("build {number}"));
        }
    }

    /// Somebody sets the clock, or sets it right again.
    fn set_clock(&mut self) {
        let most = CLOCK_OFF.as_micros() as u64;
        let off_us = if self.random.one_in(2) { 0 } else { self.random.below(2 * most) as i64 - most as i64 };
        self.world.set_clock(off_us);
        self.note(|| format!("the clock is {off_us} us off"));
    }

    /// A client changes the table, from what an epoch showed.
    fn write(&mut self) {
        if self.life().is_catching_up() {
            return;
        }
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
        self.writes.push(ClientWrite {
            read_at,
            changes: changes.into_iter().collect(),
            taken: None,
            refused: false,
            answer: Some(answer),
            session: None,
            says: Vec::new(),
            block: None,
        });
        self.engine(|life| life.handle(Command::Write { write, reply }));
    }

    /// A client with a session comes: to change rows, or to change what there is. Now and then one goes before it has its answer.
    fn send_client(&mut self) {
        if self.life().is_catching_up() || !self.is_defined() {
            return;
        }
        if self.random.one_in(10) && !self.clients.is_empty() {
            let number = self.random.below(self.clients.len() as u64) as usize;
            let client = self.clients.remove(number);
            self.note(|| format!("gone: {}", client.errand.sql));
            return;
        }
        let changes_rows = self.random.one_in(2);
        if self.clients.iter().any(|client| client.errand.facts.is_empty() == changes_rows) {
            return;
        }
        // What a client that has gone has asked for is done first.
        let coordinator = &self.life().coordinator;
        if !coordinator.deferred.is_empty() || !coordinator.after_build.is_empty() {
            return;
        }
        let catalog = coordinator.catalog.clone();
        let errand = match changes_rows {
            true => Errand::rows(&mut self.random),
            false => Errand::definitions(&catalog, &mut self.random),
        };
        self.note(|| errand.sql.clone());
        for (what, _) in &errand.facts {
            self.facts.remove(*what);
        }
        let session = self.life().session();
        let failed_reads = self.store.injected().failed_reads;
        self.clients.push(Client::new(session, errand, &catalog, failed_reads));
    }

    /// A client makes or drops something; first of all what there must always be.
    fn define(&mut self) {
        if !self.statements.is_empty() || self.life().is_catching_up() {
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
        let tools = self.tools;
        if let Some(answer) = self.engine(|life| life.define(&sql, &tools.queries)) {
            self.note(|| sql);
            self.statements.push(Statement { object: name.to_owned(), makes, answer });
            self.facts.remove(name);
        }
    }

    /// No more faults: everything is read, computed, committed and sent.
    fn come_to_rest(&mut self) {
        self.turn = TURNS;
        let quiet = self.store.restart_with(Loss::Drawn, 0, 0);
        self.bury(quiet);
        self.world.calm();
        self.settle();
        // Time alone goes on, at first until the clock has come to where it may have been set before.
        self.world.pass(CLOCK_OFF);
        for _ in 0..8 {
            self.world.pass(Duration::from_millis(400));
            self.epoch();
        }
        self.settle();
    }

    fn settle(&mut self) {
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
                if !self.life().is_catching_up() {
                    self.world.build_step(number);
                }
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
        self.clients.clear();
        self.life = None;
        self.world.end_life();
        if std::thread::panicking() {
            eprintln!("simulation of seed {}, turn {}", self.seed, self.turn);
            self.trace.iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// The rows that a write changes, as they are afterwards.
fn changes_of(write: &Write) -> Vec<(i64, Option<LedgerRow>)> {
    let mut weights: BTreeMap<(i64, LedgerRow), i64> = BTreeMap::new();
    for (_, delta) in &write.deltas {
        let column = |place: usize| delta.batch().column(place).as_primitive::<Int64Type>();
        for row in 0..delta.num_rows() {
            let (id, k, v) = (column(0).value(row), column(1).value(row), column(2).value(row));
            *weights.entry((id, (k, v))).or_default() += delta.weight(row);
        }
    }
    let mut changes: BTreeMap<i64, Option<LedgerRow>> = BTreeMap::new();
    for ((id, row), weight) in weights {
        match weight {
            0 => {}
            1.. => drop(changes.insert(id, Some(row))),
            _ => drop(changes.entry(id).or_insert(None)),
        }
    }
    changes.into_iter().collect()
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether a statement was refused because of what is passing: nothing has happened, and it may be tried again.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::DiskFull | ErrorKind::SerializationFailure)
}
