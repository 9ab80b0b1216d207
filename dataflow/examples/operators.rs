//! Rows per second through each operator with its state and its stored view, on batches like Nexmark's, checkpoints into RocksDB included.
//!
//! `cargo run --release -p dataflow --example operators [-- NAME [WORKERS]]`; profile it with `perf record --call-graph=lbr`.

#![allow(clippy::disallowed_methods)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use catalog::{LatePolicy, ObjectId};
use dataflow::{EpochInputs, Graph, GraphSettings, StateAllocator, ViewForm, ViewLayout};
use datafusion::common::ScalarValue;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::{AggregateUDF, Expr, col, lit};
use delta::{Delta, Epoch};
use planner::incremental::{
    Aggregate, AggregateCall, Distinct, Input, Join, JoinKind, Map, Node, OnError, Union, Window, WindowKind,
};
use storage::{Durability, RocksOptions, RocksStore, StateId, Store};

/// As the server's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BIDS: ObjectId = ObjectId(1);
const AUCTIONS: ObjectId = ObjectId(2);
const VIEW: ObjectId = ObjectId(3);

const BATCH_ROWS: u64 = 8192;
const EPOCH_BATCHES: u64 = 12;
const EPOCHS: u64 = 40;
const CHECKPOINT_EVERY: u64 = 10;

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn schema(types: &[DataType]) -> SchemaRef {
    let fields = types.iter().enumerate().map(|(i, t)| Field::new(format!("c{i}"), t.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Auction, bidder, price, time, extra.
fn bid_types() -> Vec<DataType> {
    vec![DataType::Int64, DataType::Int64, DataType::Int64, time(), DataType::Utf8View]
}

/// Id, category, time, expires, seller, name.
fn auction_types() -> Vec<DataType> {
    vec![DataType::Int64, DataType::Int64, time(), time(), DataType::Int64, DataType::Utf8View]
}

fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn integers(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(values.map(|v| v as i64).collect::<Int64Array>())
}

fn times(values: impl Iterator<Item = u64>) -> Result<ArrayRef, arrow::error::ArrowError> {
    cast(&integers(values), &time())
}

/// Bids on auctions that opened a while ago, half of them on a hot one. There is an auction to fifteen bids.
fn bids(first: u64) -> Result<RecordBatch, arrow::error::ArrowError> {
    let n = || first..first + BATCH_ROWS;
    let auction = |n: u64| {
        let last = n / 15;
        if mix(n).is_multiple_of(2) { last / 100 * 100 } else { last.saturating_sub(mix(n + 1) % 100) }
    };
    let extra = n().map(|n| Some(format!("{:0>80}", mix(n)))).collect::<StringViewArray>();
    let columns: Vec<ArrayRef> = vec![
        integers(n().map(auction)),
        integers(n().map(|n| mix(n + 2) % (1000 + n / 50))),
        integers(n().map(|n| 100 + mix(n + 3) % 1_000_000)),
        times(n().map(|n| n * 100))?,
        Arc::new(extra),
    ];
    RecordBatch::try_new(schema(&bid_types()), columns)
}

fn auctions(first: u64) -> Result<RecordBatch, arrow::error::ArrowError> {
    let n = || first / 15..(first + BATCH_ROWS) / 15;
    let name = n().map(|n| Some(format!("auction number {}", mix(n)))).collect::<StringViewArray>();
    let columns: Vec<ArrayRef> = vec![
        integers(n()),
        integers(n().map(|n| 10 + mix(n) % 5)),
        times(n().map(|n| n * 1500))?,
        times(n().map(|n| n * 1500 + 1_000_000))?,
        integers(n().map(|n| mix(n + 7) % 1000)),
        Arc::new(name),
    ];
    RecordBatch::try_new(schema(&auction_types()), columns)
}

fn input(relation: ObjectId, types: &[DataType]) -> Arc<Node> {
    Arc::new(Node::Input(Input { relation, schema: schema(types), append_only: true }))
}

fn bid_input() -> Arc<Node> {
    input(BIDS, &bid_types())
}

fn map(input: Arc<Node>, predicate: Option<Expr>, expressions: Vec<Expr>, types: &[DataType]) -> Arc<Node> {
    Arc::new(Node::Map(Map { input, predicate, expressions, on_error: OnError::Report, schema: schema(types) }))
}

fn call(function: Arc<AggregateUDF>, args: Vec<Expr>) -> AggregateCall {
    AggregateCall { function, args, distinct: false, filter: None }
}

fn aggregate(input: Arc<Node>, keys: Vec<Expr>, calls: Vec<AggregateCall>, types: &[DataType]) -> Arc<Node> {
    Arc::new(Node::Aggregate(Aggregate {
        input,
        keys,
        calls,
        window: None,
        on_error: OnError::Report,
        schema: schema(types),
    }))
}

/// Bids with the category of their auction: (category, price), while it was open.
fn open_bids(residual: bool) -> Arc<Node> {
    let bids =
        map(bid_input(), None, vec![col("c0"), col("c2"), col("c3")], &[DataType::Int64, DataType::Int64, time()]);
    let auctions = input(AUCTIONS, &auction_types());
    let auctions = map(
        auctions,
        None,
        vec![col("c0"), col("c1"), col("c2"), col("c3")],
        &[DataType::Int64, DataType::Int64, time(), time()],
    );
    let types = [DataType::Int64, DataType::Int64, time(), DataType::Int64, DataType::Int64, time(), time()];
    Arc::new(Node::Join(Join {
        left: bids,
        right: auctions,
        kind: JoinKind::Inner,
        on: vec![(col("c0"), col("c0"))],
        null_equal: false,
        residual: residual.then(|| col("c2").between(col("c5"), col("c6"))),
        left_expiry: None,
        right_expiry: None,
        on_error: OnError::Report,
        schema: schema(&types),
    }))
}

fn plans() -> Vec<(&'static str, Arc<Node>, ViewForm)> {
    let integer = || DataType::Int64;
    let bid_columns: Vec<Expr> = (0..5).map(|i| col(format!("c{i}"))).collect();
    let decimal = DataType::Decimal128(38, 16);
    let statistics = |key| {
        let calls = vec![
            call(count_udaf(), vec![]),
            call(min_udaf(), vec![col("c2")]),
            call(max_udaf(), vec![col("c2")]),
            call(avg_udaf(), vec![col("c2")]),
            call(sum_udaf(), vec![col("c2")]),
        ];
        let types = [integer(), integer(), integer(), integer(), decimal.clone(), DataType::Decimal128(38, 0)];
        aggregate(bid_input(), vec![col(key)], calls, &types)
    };
    let windowed = Arc::new(Node::Window(Window {
        input: map(bid_input(), None, vec![col("c0"), col("c3")], &[integer(), time()]),
        time: 1,
        kind: WindowKind::Hop { slide_us: 2_000_000, size_us: 10_000_000 },
        watermark_of: vec![],
        late: LatePolicy::Drop,
        schema: schema(&[integer(), time(), time(), time()]),
    }));
    let hot = aggregate(
        windowed,
        vec![col("c0"), col("c2")],
        vec![call(count_udaf(), vec![])],
        &[integer(), time(), integer()],
    );
    let best = aggregate(
        open_bids(true),
        vec![col("c3"), col("c4")],
        vec![call(max_udaf(), vec![col("c1")])],
        &[integer(), integer(), integer()],
    );
    let average =
        aggregate(best, vec![col("c1")], vec![call(avg_udaf(), vec![col("c2")])], &[integer(), decimal.clone()]);
    let category = map(
        input(AUCTIONS, &auction_types()),
        Some(col("c1").eq(lit(10_i64))),
        (0..6).map(|i| col(format!("c{i}"))).collect(),
        &auction_types(),
    );
    let wide: Vec<DataType> = bid_types().into_iter().chain(auction_types()).collect();
    let expanded = Arc::new(Node::Join(Join {
        left: bid_input(),
        right: category,
        kind: JoinKind::Inner,
        on: vec![(col("c0"), col("c0"))],
        null_equal: false,
        residual: None,
        left_expiry: None,
        right_expiry: None,
        on_error: OnError::Report,
        schema: schema(&wide),
    }));
    let pairs = || map(bid_input(), None, vec![col("c0"), col("c1")], &[integer(), integer()]);
    let keyed = |key: &[usize]| ViewForm::Keyed { key: key.to_vec() };
    vec![
        ("log (q0)", bid_input(), ViewForm::Log),
        (
            "map (q1)",
            map(
                bid_input(),
                None,
                [vec![col("c0") * lit(2_i64)], bid_columns].concat(),
                &[vec![integer()], bid_types()].concat(),
            ),
            ViewForm::Log,
        ),
        (
            "filter (q2)",
            map(
                bid_input(),
                Some((col("c0") % lit(123_i64)).eq(lit(0_i64))),
                vec![col("c0"), col("c2")],
                &[integer(), integer()],
            ),
            ViewForm::Log,
        ),
        (
            "count by bidder (q12)",
            aggregate(bid_input(), vec![col("c1")], vec![call(count_udaf(), vec![])], &[integer(), integer()]),
            keyed(&[0]),
        ),
        ("statistics by auction (q17)", statistics("c0"), keyed(&[0])),
        ("hop and count (q5)", hot, keyed(&[0, 1])),
        ("join, max, average (q4)", average, keyed(&[0])),
        ("join (q20)", expanded, ViewForm::Log),
        ("distinct pairs", Arc::new(Node::Distinct(Distinct { input: pairs() })), keyed(&[0, 1])),
        (
            "union, bag",
            Arc::new(Node::Union(Union { inputs: vec![pairs(), pairs()], schema: schema(&[integer(), integer()]) })),
            ViewForm::Bag,
        ),
    ]
}

struct Numbers(HashMap<String, StateId>);

impl StateAllocator for Numbers {
    fn state(&mut self, name: &str) -> StateId {
        let next = StateId(10 + self.0.len() as u32);
        *self.0.entry(name.to_owned()).or_insert(next)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().unwrap_or_default();
    let workers = arguments.next().map_or(Ok(1), |workers| workers.parse())?;
    println!(
        "{:<28} {:>9} {:>10} {:>8} {:>10} {:>9} {:>9} {:>9} {:>9}",
        "", "krows/s", "step ms", "check", "commit ms", "written", "rows out", "state", "lookup ns"
    );
    let mut generated = Vec::new();
    for epoch in 0..EPOCHS {
        let first = |batch| (epoch * EPOCH_BATCHES + batch) * BATCH_ROWS;
        let of = |make: fn(u64) -> Result<RecordBatch, _>| -> Result<Vec<Delta>, arrow::error::ArrowError> {
            (0..EPOCH_BATCHES).map(|batch| Ok(Delta::inserts(make(first(batch))?))).collect()
        };
        generated.push((of(bids)?, of(auctions)?));
    }
    for (name, plan, form) in plans().into_iter().filter(|(name, _, _)| name.contains(&wanted)) {
        let directory = std::env::temp_dir().join(format!("millrace-operators-{}", std::process::id()));
        let store = RocksStore::open(&directory, &RocksOptions::default())?;
        let settings = GraphSettings { workers, ..GraphSettings::default() };
        let mut graph = Graph::new(settings, store.snapshot()?)?;
        graph.register_input(BIDS, &schema(&bid_types()), None, false)?;
        graph.register_input(AUCTIONS, &schema(&auction_types()), None, false)?;
        let layout = ViewLayout { state: StateId(1), form, indexes: vec![] };
        graph.attach(VIEW, &plan, Some(layout), &mut Numbers(HashMap::new()))?;

        let (mut stepping, mut checking, mut committing) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let (mut written, mut rows_in, mut rows_out) = (0, 0, 0);
        for (epoch, (bids, auctions)) in generated.iter().enumerate() {
            let deltas = HashMap::from([(BIDS, bids.clone()), (AUCTIONS, auctions.clone())]);
            // Those that the plan reads.
            let read = plan_inputs(&plan);
            rows_in += deltas
                .iter()
                .filter(|(id, _)| read.contains(id))
                .flat_map(|(_, d)| d)
                .map(Delta::num_rows)
                .sum::<usize>();
            let start = Instant::now();
            let outputs =
                graph.step(EpochInputs { epoch: Epoch(epoch as u64 + 1), deltas, ..EpochInputs::default() })?;
            stepping += start.elapsed();
            rows_out += outputs.changes.get(&VIEW).into_iter().flatten().map(Delta::num_rows).sum::<usize>();
            if (epoch as u64 + 1).is_multiple_of(CHECKPOINT_EVERY) {
                let start = Instant::now();
                let changes = graph.checkpoint()?;
                checking += start.elapsed();
                written += changes.byte_size();
                let start = Instant::now();
                store.commit(changes, Durability::Process)?;
                graph.committed(store.snapshot()?)?;
                committing += start.elapsed();
            }
        }
        let total = stepping + checking + committing;
        println!(
            "{name:<28} {:>9.0} {:>10} {:>8} {:>10} {:>8}M {:>8}k {:>8}M {:>9}",
            rows_in as f64 / total.as_secs_f64() / 1e3,
            stepping.as_millis(),
            checking.as_millis(),
            committing.as_millis(),
            written >> 20,
            rows_out / 1000,
            graph.state_bytes() >> 20,
            lookup(&mut graph)?.map_or(String::new(), |time| time.as_nanos().to_string()),
        );
        drop(graph);
        drop(store);
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(())
}

/// What finding a row by a bigint key takes.
fn lookup(graph: &mut Graph) -> Result<Option<Duration>, Box<dyn std::error::Error>> {
    const LOOKUPS: u32 = 20_000;
    let view = graph.published(VIEW).ok_or("the view is stored")?;
    match &view.layout().form {
        ViewForm::Keyed { key } if key.len() == 1 => {}
        _ => return Ok(None),
    }
    let start = Instant::now();
    for n in 0..LOOKUPS {
        view.get_one(graph.snapshot().as_ref(), &[ScalarValue::Int64(Some((mix(u64::from(n)) % 100_000) as i64))])?;
    }
    Ok(Some(start.elapsed() / LOOKUPS))
}

fn plan_inputs(plan: &Node) -> Vec<ObjectId> {
    match plan {
        Node::Input(input) => vec![input.relation],
        node => node.inputs().into_iter().flat_map(|input| plan_inputs(input)).collect(),
    }
}
