//! The same recorded inputs, replayed with other numbers of workers, give the same store, byte by byte.
//!
//! What is recorded of an epoch is what DESIGN calls its inputs: offset ranges by source, changes of tables, the timestamp. The rows are read
//! again from the sources by offset.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int32Array, Int64Array, RecordBatch, StringViewArray};
use connectors::{Positions, batch_channel, open_source};
use crossbeam_channel::Receiver;
use dataflow::EpochInputs;
use delta::Delta;
use parking_lot::Mutex;
use planner::context::{PlanContext, PlanSettings};
use planner::statement::plan::Plan;
use storage::{MemoryStore, Snapshot, Store, Visit};

use super::{Coordinator, Parts};
use crate::Settings;
use crate::command::{Command, Doorbell, command_channel};
use crate::commit::Committer;
use crate::ddl::DdlChange;
use crate::inputs::{SavedInput, spec, watermark_tracker};
use crate::published::{Published, PublishedCell};
use crate::query::Queries;
use crate::recovery::{self, SavedEpoch};
use crate::watermark::WatermarkTracker;

const DEFINITIONS: [&str; 15] = [
    "CREATE SOURCE orders (order_id bigint, customer text, quantity int, amount numeric(12,2), ordered_at timestamptz,
       WATERMARK FOR ordered_at AS ordered_at - INTERVAL '1 second')
       WITH (connector = 'generator', kind = 'orders', table = 'orders', partitions = 3, keys = 500)",
    "CREATE SOURCE payments (payment_id bigint, order_id bigint, amount numeric(12,2))
       WITH (connector = 'generator', kind = 'orders', table = 'payments', partitions = 2, keys = 500)",
    "CREATE TABLE regions (id bigint PRIMARY KEY, name text, rank int)",
    "CREATE MATERIALIZED VIEW by_customer AS
       SELECT customer, count(*) AS n, sum(amount) AS total, min(amount) AS least, avg(quantity) AS mean,
         count(DISTINCT quantity) AS quantities, sum(quantity::double precision / 3) AS float_total
       FROM orders GROUP BY customer",
    "CREATE MATERIALIZED VIEW paid AS
       SELECT o.order_id, o.customer, o.amount, p.amount AS paid, r.name FROM orders o
       JOIN payments p ON p.order_id = o.order_id LEFT JOIN regions r ON r.id = o.order_id % 50",
    "CREATE MATERIALIZED VIEW windows AS
       SELECT window_start, quantity, count(*) AS n, max(amount) AS most
       FROM TUMBLE(orders, ordered_at, INTERVAL '10 seconds') GROUP BY window_start, quantity",
    "CREATE MATERIALIZED VIEW closed AS
       SELECT window_start, count(*) AS n FROM HOP(orders, ordered_at, INTERVAL '5 seconds', INTERVAL '10 seconds')
       GROUP BY window_start EMIT ON WINDOW CLOSE",
    "CREATE MATERIALIZED VIEW names AS SELECT DISTINCT customer, quantity FROM orders WHERE quantity > 2",
    "CREATE MATERIALIZED VIEW log AS SELECT order_id, amount FROM orders
       UNION ALL SELECT order_id, amount FROM payments",
    "CREATE MATERIALIZED VIEW chains AS WITH RECURSIVE up (id, rank) AS (SELECT id, rank FROM regions WHERE rank < 20
       UNION SELECT r.id, r.rank FROM up u JOIN regions r ON r.rank BETWEEN u.rank AND u.rank + 3) SELECT id, rank FROM up",
    "CREATE MATERIALIZED VIEW present AS SELECT id, rank FROM regions
       WHERE now() BETWEEN TIMESTAMPTZ '2023-11-14 22:13:20+00' + rank * INTERVAL '1 millisecond'
         AND TIMESTAMPTZ '2023-11-14 22:13:20.01+00' + rank * INTERVAL '1 millisecond'",
    "CREATE MATERIALIZED VIEW visits AS SELECT customer, window_start, window_end, count(*) AS n
       FROM SESSION(orders, ordered_at, INTERVAL '200 milliseconds', customer) GROUP BY customer, window_start, window_end",
    "CREATE MATERIALIZED VIEW met AS SELECT o.order_id, o.customer, r.name FROM orders o
       LEFT JOIN regions FOR SYSTEM_TIME AS OF PROCTIME() AS r ON r.id = o.order_id % 50",
    "CREATE MATERIALIZED VIEW nearest AS SELECT p.payment_id, o.order_id, o.amount FROM payments p
       ASOF LEFT JOIN orders o ON o.quantity = p.payment_id % 5 AND o.amount >= p.amount",
    "CREATE MATERIALIZED VIEW between_ranks AS SELECT a.id, b.id AS other FROM regions a
       JOIN regions b ON b.rank BETWEEN a.rank - 1 AND a.rank + 2 AND a.id <> b.id",
];

/// Made in the middle: built beside the others, from what is stored.
const LATER: [&str; 2] = [
    "CREATE MATERIALIZED VIEW by_region AS
       SELECT r.name, count(*) AS n, sum(p.paid) AS paid FROM paid p FULL JOIN regions r ON r.name = p.name GROUP BY r.name",
    "CREATE INDEX ON by_customer (n)",
];

const EPOCHS: u64 = 60;

/// What is recorded of an epoch.
struct Recorded {
    timestamp_us: i64,
    /// By source: up to where it was read.
    offsets: BTreeMap<&'static str, Positions>,
    /// Rows of `regions` taken away and added.
    regions: Vec<(i64, String, i32, i64)>,
}

/// A seeded recording.
fn recording() -> Vec<Recorded> {
    let mut state = 11_u64;
    let mut draw = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut orders = Positions::from([(0, 0), (1, 0), (2, 0)]);
    let mut payments = Positions::from([(0, 0), (1, 0)]);
    let mut contents: BTreeMap<i64, (String, i32)> = BTreeMap::new();
    let mut epochs = Vec::new();
    for epoch in 0..EPOCHS {
        for end in orders.values_mut().chain(payments.values_mut()) {
            // Some partitions have nothing in an epoch, some a lot.
            *end += if draw(4) == 0 { 0 } else { draw(300) as i64 };
        }
        let mut regions = Vec::new();
        for _ in 0..draw(20) {
            let id = draw(50) as i64;
            if let Some((name, rank)) = contents.remove(&id) {
                regions.push((id, name, rank, -1));
            }
            if draw(3) > 0 {
                let row = (format!("region {}", draw(8)), draw(100) as i32);
                regions.push((id, row.0.clone(), row.1, 1));
                contents.insert(id, row);
            }
        }
        let offsets = BTreeMap::from([("orders", orders.clone()), ("payments", payments.clone())]);
        epochs.push(Recorded { timestamp_us: 1_700_000_000_000_000 + epoch as i64 * 1_000, offsets, regions });
    }
    epochs
}

/// An engine without its thread: epochs run when the test says so.
struct Replayed {
    coordinator: Coordinator,
    commands: Receiver<Command>,
    store: Arc<MemoryStore>,
    queries: Queries,
    read: BTreeMap<&'static str, (Positions, Option<WatermarkTracker>)>,
}

impl Replayed {
    fn new(workers: usize, memory_budget_bytes: usize) -> Self {
        // Sources are read by offset here, and not by the engine's own threads.
        let settings = Settings { workers, memory_budget_bytes, offline: true, ..Settings::default() };
        let store = Arc::new(MemoryStore::default());
        let snapshot = store.snapshot().expect("memory");
        let (sender, commands) = command_channel();
        let (bell, _) = Doorbell::new();
        let saved = SavedEpoch::default();
        let catalog = Arc::new(recovery::catalog(&snapshot).expect("it is empty"));
        let first = Published::recovered(saved.epoch, saved.timestamp_us, catalog.clone(), snapshot.clone());
        let parts = Parts {
            settings: settings.clone(),
            store: store.clone(),
            snapshot,
            saved,
            catalog,
            server_id: "replay".to_owned(),
            outside: crate::outside::System::shared(),
            committer: Committer::start(store.clone(), sender.clone()).expect("a thread"),
            published: Arc::new(PublishedCell::new(first)),
            runtime: Arc::new(Mutex::default()),
            commands: sender,
            bell,
        };
        let coordinator = Coordinator::new(parts).expect("an empty engine");
        let queries = Queries::new(&settings).expect("functions");
        Self { coordinator, commands, store, queries, read: BTreeMap::new() }
    }

    fn define(&mut self, sql: &str) {
        let statement = sql::parse(sql).expect(sql).remove(0);
        let settings = PlanSettings { search_path: vec!["public".to_owned()], ..PlanSettings::default() };
        let system = crate::system::Relations;
        let catalog = self.coordinator.catalog.clone();
        let context = PlanContext {
            catalog: &catalog,
            settings: &settings,
            system: &system,
            functions: &self.queries.functions,
            parameter_types: &[],
        };
        let Plan::Create(create) = planner::plan(&statement, &context).expect(sql) else { panic!("{sql} creates") };
        let (reply, mut answer) = tokio::sync::oneshot::channel();
        self.coordinator.ddl(
            self.coordinator.catalog_version,
            DdlChange::Create { create, past: HashMap::new() },
            reply,
        );
        loop {
            self.commit();
            if let Ok(done) = answer.try_recv() {
                done.expect(sql);
                break;
            }
        }
        while !self.coordinator.hydrating.is_empty() {
            self.wait_for_a_command();
            self.commit();
        }
    }

    fn wait_for_a_command(&mut self) {
        let command = self.commands.recv_timeout(Duration::from_secs(60)).expect("something goes on");
        self.coordinator.handle(command);
    }

    /// A checkpoint, and all that follows from it.
    fn commit(&mut self) {
        if self.coordinator.wants_step {
            let timestamp_us = self.coordinator.timestamp_us + 1;
            self.step(timestamp_us, HashMap::new());
        }
        self.coordinator.checkpoint().expect("memory");
        while self.coordinator.in_flight.is_some() {
            self.wait_for_a_command();
        }
    }

    fn step(&mut self, timestamp_us: i64, deltas: HashMap<catalog::ObjectId, Vec<Delta>>) {
        let watermarks_before = self.coordinator.watermarks.clone();
        for (name, (_, tracker)) in &mut self.read {
            let id = named(&self.coordinator, name).id;
            if let Some(watermark) = tracker.as_mut().and_then(|tracker| tracker.advance(Instant::now())) {
                self.coordinator.watermarks.insert(id, watermark);
            }
        }
        let inputs = EpochInputs {
            epoch: self.coordinator.epoch.next(),
            timestamp_us,
            watermarks_before,
            watermarks: self.coordinator.watermarks.clone(),
            deltas,
        };
        self.coordinator.compute(inputs).expect("an epoch");
    }

    fn replay(&mut self, recorded: &Recorded) {
        let mut deltas = HashMap::new();
        for (name, until) in &recorded.offsets {
            let object = named(&self.coordinator, name);
            let (from, tracker) = self.read.entry(*name).or_insert_with(|| {
                let saved = SavedInput { positions: until.keys().map(|p| (*p, 0)).collect(), ..SavedInput::default() };
                let tracker = watermark_tracker(&object, &saved, Instant::now()).expect("options were checked");
                (saved.positions, tracker)
            });
            let (spec, _) = spec(&object).expect("it is a source");
            let (sender, batches) = batch_channel(Arc::new(|| ()));
            let _running =
                open_source(&spec).and_then(|source| source.run(from, Some(until), sender)).expect("a generator");
            let mut read: Vec<_> = batches.iter().collect();
            read.sort_by_key(|batch| (batch.partition, batch.first_offset));
            read.iter().for_each(|batch| tracker.iter_mut().for_each(|t| t.observe(batch, Instant::now())));
            deltas.insert(object.id, read.into_iter().map(|batch| batch.delta).filter(|d| !d.is_empty()).collect());
            from.clone_from(until);
        }
        deltas.insert(named(&self.coordinator, "regions").id, vec![self.regions(&recorded.regions)]);
        self.step(recorded.timestamp_us, deltas);
    }

    fn regions(&self, rows: &[(i64, String, i32, i64)]) -> Delta {
        let schema = named(&self.coordinator, "regions").schema();
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0))),
            Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| &row.1))),
            Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.2))),
        ];
        let batch = RecordBatch::try_new(schema, columns).expect("rows of the table");
        Delta::new(batch, Some(Int64Array::from_iter_values(rows.iter().map(|row| row.3))))
    }

    fn contents(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        entries(&*self.store.snapshot().expect("memory"))
    }
}

fn named(coordinator: &Coordinator, name: &str) -> Arc<catalog::Object> {
    let found = coordinator.catalog.find_in_path(&["public".to_owned()], name);
    found.unwrap_or_else(|| panic!("{name} was defined")).clone()
}

fn entries(snapshot: &dyn Snapshot) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut entries = BTreeMap::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        entries.insert(key.to_vec(), value.to_vec());
        Visit::Continue
    };
    snapshot.scan(&[], &[0xFF; 8], &mut visit).expect("memory");
    entries
}

/// All epochs, with a checkpoint every few; the contents of the store after each of them.
fn run(recording: &[Recorded], workers: usize, memory_budget_bytes: usize) -> Vec<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut engine = Replayed::new(workers, memory_budget_bytes);
    DEFINITIONS.iter().for_each(|sql| engine.define(sql));
    let mut contents = Vec::new();
    for (number, recorded) in recording.iter().enumerate() {
        if number == recording.len() / 2 {
            LATER.iter().for_each(|sql| engine.define(sql));
        }
        engine.replay(recorded);
        if number % 4 == 3 {
            engine.commit();
            contents.push(engine.contents());
        }
    }
    contents
}

/// Asserts that two replays left the same after each checkpoint; of the entries for which `counts` holds.
fn assert_same(
    found: &[BTreeMap<Vec<u8>, Vec<u8>>],
    expected: &[BTreeMap<Vec<u8>, Vec<u8>>],
    counts: impl Fn(&[u8]) -> bool,
) {
    for (checkpoint, (found, expected)) in found.iter().zip(expected).enumerate() {
        let keys = found.keys().chain(expected.keys()).filter(|key| counts(key));
        let different: Vec<_> = keys.filter(|key| found.get(*key) != expected.get(*key)).take(3).collect();
        assert!(different.is_empty(), "checkpoint {checkpoint}: {different:?}");
    }
}

#[test]
fn the_store_is_the_same_byte_by_byte_with_1_2_and_5_workers() {
    let recording = recording();
    let reference = run(&recording, 1, 1 << 30);
    let last = reference.last().expect("there are checkpoints");
    assert!(last.len() > 5_000, "there is something to compare: {} entries", last.len());
    for workers in [2, 5] {
        assert_same(&run(&recording, workers, 1 << 30), &reference, |_| true);
    }
}

/// Operators may write the same state in another form when it has left memory in between; views may not.
#[test]
fn views_are_the_same_when_state_leaves_memory_all_the_time() {
    let recording = recording();
    let mut engine = Replayed::new(1, 1 << 30);
    DEFINITIONS.iter().chain(&LATER).for_each(|sql| engine.define(sql));
    let stored: Vec<[u8; 4]> = engine
        .coordinator
        .catalog
        .objects()
        .filter_map(|object| match &object.kind {
            catalog::ObjectKind::MaterializedView(view) => Some(view.state_id.to_be_bytes()),
            catalog::ObjectKind::Table(table) => Some(table.state_id.to_be_bytes()),
            _ => None,
        })
        .collect();
    assert_eq!(stored.len(), 14, "thirteen views and a table");
    let of_view = |key: &[u8]| stored.iter().any(|state| key.starts_with(state));
    let (found, expected) = (run(&recording, 2, 1 << 20), run(&recording, 1, 1 << 30));
    assert!(expected.last().is_some_and(|last| last.keys().any(|key| of_view(key))), "there are views");
    assert_same(&found, &expected, of_view);
}
