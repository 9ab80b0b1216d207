//! Rows per second and core through the accumulators alone, on batches like Nexmark's q15 and q17.
//!
//! `cargo run --release -p dataflow --example accumulators`

#![allow(clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, BooleanArray, Int64Array};
use arrow::datatypes::{DataType, Field, Schema};
use catalog::ObjectId;
use dataflow::aggregate::{Accumulators, Aggregation, GroupKeys};
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_aggregate::variance::var_samp_udaf;
use datafusion::logical_expr::{AggregateUDF, Expr, cast, col};
use planner::incremental::{Aggregate, AggregateCall, Input, Node, OnError};
use storage::{ChangeSet, MemoryStore, StateId, Store};

const ROWS: usize = 8_000_000;
const BATCH: usize = 8192;

/// Columns of the input: price, bidder, auction, then the filters of the three ranks, then a price as double.
const COLUMNS: [DataType; 7] = [
    DataType::Int64,
    DataType::Int64,
    DataType::Int64,
    DataType::Boolean,
    DataType::Boolean,
    DataType::Boolean,
    DataType::Float64,
];

struct Keys;

impl GroupKeys for Keys {
    fn append_key(&self, group: u32, out: &mut Vec<u8>) {
        out.push(group as u8);
        out.extend_from_slice(&group.to_be_bytes());
    }
}

fn call(function: Arc<AggregateUDF>, args: Vec<Expr>, data_type: DataType) -> (AggregateCall, DataType) {
    (AggregateCall { function, args, distinct: false, filter: None }, data_type)
}

fn filtered(mut call: (AggregateCall, DataType), distinct: bool, filter: Option<&str>) -> (AggregateCall, DataType) {
    call.0.distinct = distinct;
    call.0.filter = filter.map(col);
    call
}

fn aggregation(calls: Vec<(AggregateCall, DataType)>, append_only: bool) -> Aggregation {
    let schema = |types: &[DataType]| {
        let fields = types.iter().enumerate().map(|(i, t)| Field::new(format!("c{i}"), t.clone(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    };
    let (calls, types): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
    let input = Node::Input(Input { relation: ObjectId(1), schema: schema(&COLUMNS), append_only });
    let node = Aggregate {
        input: Arc::new(input),
        keys: vec![],
        calls,
        window: None,
        on_error: OnError::Report,
        schema: schema(&types),
    };
    Aggregation::new(&node).expect("these calls have an incremental form")
}

/// A cheap generator of numbers; the same in every run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Batches as Nexmark's bids: half of them on hot auctions and by hot bidders, all of which grow with time.
fn batches() -> Vec<Vec<ArrayRef>> {
    let mut seed = 42;
    let mut batches = Vec::new();
    for start in (0..ROWS).step_by(BATCH) {
        let rows = start..(start + BATCH).min(ROWS);
        let mut columns: [Vec<i64>; 3] = Default::default();
        for row in rows {
            let (auctions, bidders) = (row as u64 * 3 / 46 + 100, row as u64 / 46 + 100);
            let hot = random(&mut seed) % 4;
            let auction = if hot < 2 { auctions / 100 * 100 } else { auctions - random(&mut seed) % 100 };
            let bidder = if hot != 0 { bidders / 100 * 100 } else { bidders - random(&mut seed) % 1000.min(bidders) };
            let price = 10_f64.powf((random(&mut seed) % 1000) as f64 / 1000.0 * 6.0 + 2.0) as i64;
            columns[0].push(price);
            columns[1].push(bidder as i64);
            columns[2].push(auction as i64);
        }
        let price = &columns[0];
        let rank = |range: std::ops::Range<i64>| -> ArrayRef {
            Arc::new(price.iter().map(|price| Some(range.contains(price))).collect::<BooleanArray>())
        };
        let doubles: ArrayRef =
            Arc::new(price.iter().map(|price| Some(*price as f64 / 100.0)).collect::<arrow::array::Float64Array>());
        let ranks = [rank(0..10_000), rank(10_000..1_000_000), rank(1_000_000..i64::MAX)];
        let numbers = columns.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef);
        batches.push(numbers.into_iter().chain(ranks).chain([doubles]).collect());
    }
    batches
}

fn run(name: &str, aggregation: &Aggregation, batches: &[Vec<ArrayRef>], group: impl Fn(&[ArrayRef]) -> Vec<u32>) {
    let states: Vec<_> = (0..aggregation.value_states().len() as u32).map(StateId).collect();
    let mut accumulators: Accumulators = aggregation.accumulators(&states).expect("a state for each table");
    let store = MemoryStore::new().snapshot().expect("memory does not fail");
    let positions: Vec<usize> = aggregation
        .arguments()
        .iter()
        .map(|argument| argument.to_string()[1..].parse().expect("the arguments are plain columns here"))
        .collect();
    let groups: Vec<Vec<u32>> = batches.iter().map(|batch| group(batch)).collect();
    let slots = groups.iter().flatten().max().map_or(0, |group| *group as usize + 1);
    let started = Instant::now();
    let mut written = 0;
    let mut growing = 0;
    for (index, (batch, groups)) in batches.iter().zip(&groups).enumerate() {
        growing = groups.iter().map(|group| *group as usize + 1).max().unwrap_or(0).max(growing);
        accumulators.resize(growing);
        let arguments: Vec<ArrayRef> = positions.iter().map(|position| batch[*position].clone()).collect();
        accumulators.update(&arguments, groups, None, &Keys, &*store).expect("nothing overflows");
        if index % 100 == 99 {
            let mut changes = ChangeSet::new();
            accumulators.checkpoint(&Keys, &mut changes).expect("memory does not fail");
            written += changes.byte_size();
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = ROWS as f64 / seconds / 1e6;
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    println!(
        "{name:32} {rate:6.2} M rows/s  {slots:8} groups  {:7.1} MB held  {:7.1} MB written per value",
        megabytes(accumulators.bytes()),
        megabytes(written)
    );
}

fn main() {
    use DataType::{Decimal128, Float64, Int64};
    let batches = batches();
    let ranks = [None, Some("c3"), Some("c4"), Some("c5")];
    let count = |distinct: bool, column: Option<&str>| {
        ranks.map(|rank| filtered(call(count_udaf(), column.map(col).into_iter().collect(), Int64), distinct, rank))
    };
    let q15 = |append_only| {
        let calls = count(false, None).into_iter().chain(count(true, Some("c1"))).chain(count(true, Some("c2")));
        aggregation(calls.collect(), append_only)
    };
    let one_group = |batch: &[ArrayRef]| vec![0; batch[0].len()];
    run("q15, append-only", &q15(true), &batches, one_group);
    run("q15, with retractions", &q15(false), &batches, one_group);

    let price = || cast(col("c0"), Decimal128(20, 0));
    let q17 = |append_only| {
        let mut calls = count(false, None).to_vec();
        calls.push(call(min_udaf(), vec![col("c0")], Int64));
        calls.push(call(max_udaf(), vec![col("c0")], Int64));
        calls.push(call(avg_udaf(), vec![price()], Decimal128(38, 16)));
        calls.push(call(sum_udaf(), vec![price()], Decimal128(38, 0)));
        aggregation(calls, append_only)
    };
    let by_auction = |batch: &[ArrayRef]| -> Vec<u32> {
        let auctions: &Int64Array = batch[2].as_any().downcast_ref().expect("auctions are bigint");
        auctions.values().iter().map(|auction| *auction as u32).collect()
    };
    run("q17, append-only", &q17(true), &batches, by_auction);
    run("q17, with retractions", &q17(false), &batches, by_auction);

    let spread = aggregation(
        vec![
            call(sum_udaf(), vec![col("c6")], Float64),
            call(avg_udaf(), vec![col("c6")], Float64),
            call(var_samp_udaf(), vec![col("c6")], Float64),
        ],
        true,
    );
    run("sum, avg, variance of doubles", &spread, &batches, by_auction);
}
