//! Accumulators against recomputation: random inserts and retractions, with checkpoints, evictions and restarts in between.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, StringViewArray,
};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Decimal128Type, Field, Schema};
use catalog::ObjectId;
use datafusion::functions_aggregate::bool_and_or::{bool_and_udaf, bool_or_udaf};
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::functions_aggregate::stddev::{stddev_pop_udaf, stddev_udaf};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_aggregate::variance::{var_pop_udaf, var_samp_udaf};
use datafusion::logical_expr::{AggregateUDF, Expr, cast, col, lit};
use planner::functions::average as avg_udaf;
use planner::incremental::{Aggregate, AggregateCall, Input, Node, OnError};
use proptest::prelude::*;
use storage::{ChangeSet, Durability, MemoryStore, Snapshot, StateId, Store, Visit, state_range};

use super::*;
use crate::{Error, Result};

const GROUPS_STATE: StateId = StateId(9);

/// A row: group, bigint, double, text, boolean, numeric(10,2), integer.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    group: i64,
    bigint: Option<i64>,
    double: Option<f64>,
    text: Option<&'static str>,
    boolean: Option<bool>,
    numeric: Option<i128>,
    integer: Option<i32>,
}

/// The columns behind the group's, as an operator's input has them.
fn columns(rows: &[Row]) -> Vec<ArrayRef> {
    let numeric: Decimal128Array = rows.iter().map(|row| row.numeric).collect();
    vec![
        Arc::new(rows.iter().map(|row| row.bigint).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|row| row.double).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.text).collect::<StringViewArray>()),
        Arc::new(rows.iter().map(|row| row.boolean).collect::<BooleanArray>()),
        Arc::new(numeric.with_precision_and_scale(10, 2).unwrap()),
        Arc::new(rows.iter().map(|row| row.integer).collect::<Int32Array>()),
    ]
}

fn input_types() -> Vec<DataType> {
    columns(&[]).iter().map(|column| column.data_type().clone()).collect()
}

/// A call with its result type, and the reference: from the group's values of the argument's column to the result.
struct Case {
    call: AggregateCall,
    data_type: DataType,
}

fn call(function: Arc<AggregateUDF>, args: Vec<Expr>, data_type: DataType) -> Case {
    Case { call: AggregateCall { function, args, distinct: false, filter: None }, data_type }
}

impl Case {
    fn distinct(mut self) -> Self {
        self.call.distinct = true;
        self
    }

    fn filter(mut self, filter: Expr) -> Self {
        self.call.filter = Some(filter);
        self
    }
}

fn aggregation(cases: &[Case], append_only: bool) -> Result<Aggregation> {
    let field = |(index, data_type): (usize, &DataType)| Field::new(format!("c{index}"), data_type.clone(), true);
    let input = Input {
        relation: ObjectId(1),
        schema: Arc::new(Schema::new(input_types().iter().enumerate().map(field).collect::<Vec<_>>())),
        append_only,
    };
    let types: Vec<_> = cases.iter().map(|case| case.data_type.clone()).collect();
    Aggregation::new(&Aggregate {
        input: Arc::new(Node::Input(input)),
        keys: Vec::new(),
        calls: cases.iter().map(|case| case.call.clone()).collect(),
        window: None,
        on_error: OnError::Report,
        schema: Arc::new(Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>())),
    })
}

/// A group operator in small: slots for keys, entries in a store.
struct Shard {
    aggregation: Aggregation,
    states: Vec<StateId>,
    accumulators: Accumulators,
    keys: Slots,
    dirty: BTreeSet<u32>,
    store: MemoryStore,
    snapshot: Arc<dyn Snapshot>,
}

#[derive(Default)]
struct Slots {
    keys: Vec<i64>,
    by_key: BTreeMap<i64, u32>,
    free: Vec<u32>,
}

impl GroupKeys for Slots {
    fn append_key(&self, group: u32, out: &mut Vec<u8>) {
        let key = self.keys[group as usize];
        out.push(key as u8);
        out.extend_from_slice(&key.to_be_bytes());
    }
}

impl Slots {
    fn store_key(&self, group: u32) -> Vec<u8> {
        let mut key = storage::state_prefix(GROUPS_STATE).to_vec();
        self.append_key(group, &mut key);
        key
    }
}

impl Shard {
    fn new(cases: &[Case], append_only: bool) -> Self {
        let aggregation = aggregation(cases, append_only).unwrap();
        let states: Vec<_> = (0..aggregation.value_states().len()).map(|index| StateId(10 + index as u32)).collect();
        let store = MemoryStore::new();
        Self {
            accumulators: aggregation.accumulators(&states).unwrap(),
            snapshot: store.snapshot().unwrap(),
            aggregation,
            states,
            keys: Slots::default(),
            dirty: BTreeSet::new(),
            store,
        }
    }

    fn slot(&mut self, key: i64) -> u32 {
        if let Some(slot) = self.keys.by_key.get(&key) {
            return *slot;
        }
        let slot = self.keys.free.pop().unwrap_or_else(|| {
            self.keys.keys.push(0);
            self.keys.keys.len() as u32 - 1
        });
        self.keys.keys[slot as usize] = key;
        self.keys.by_key.insert(key, slot);
        self.accumulators.resize(self.keys.keys.len());
        if let Some(bytes) = self.snapshot.get(&self.keys.store_key(slot)).unwrap() {
            self.accumulators.decode(slot, &bytes).unwrap();
        }
        slot
    }

    fn step(&mut self, rows: &[Row], weights: Option<Vec<i64>>) -> Result<()> {
        let groups: Vec<u32> = rows.iter().map(|row| self.slot(row.group)).collect();
        let batch = columns(rows);
        let fields = input_types().into_iter().enumerate();
        let fields: Vec<_> = fields.map(|(i, data_type)| Field::new(format!("c{i}"), data_type, true)).collect();
        let arguments = crate::expression::Expressions::new(&Schema::new(fields), self.aggregation.arguments(), None)?;
        let schema = Arc::new(Schema::new(
            input_types()
                .into_iter()
                .enumerate()
                .map(|(i, t)| Field::new(format!("c{i}"), t, true))
                .collect::<Vec<_>>(),
        ));
        let batch = arrow::array::RecordBatch::try_new(schema, batch).unwrap();
        let arguments = arguments.evaluate(&batch)?.columns;
        self.dirty.extend(groups.iter());
        let weights = weights.map(Int64Array::from);
        self.accumulators.update(&arguments, &groups, weights.as_ref(), &self.keys, &*self.snapshot)
    }

    fn checkpoint(&mut self) {
        let mut changes = ChangeSet::new();
        for group in std::mem::take(&mut self.dirty) {
            let key = self.keys.store_key(group);
            if self.accumulators.rows(group) == 0 {
                changes.delete(&key);
            } else {
                let mut value = Vec::new();
                self.accumulators.encode(group, &mut value);
                changes.put(&key, &value);
            }
        }
        self.accumulators.checkpoint(&self.keys, &mut changes).unwrap();
        self.store.commit(changes, Durability::Process).unwrap();
        self.snapshot = self.store.snapshot().unwrap();
    }

    /// After a checkpoint: all that may go goes.
    fn forget_all(&mut self) {
        let slots: Vec<u32> = self.keys.by_key.values().copied().collect();
        self.accumulators.forget(&slots);
        self.keys.by_key.clear();
        self.keys.free.extend(slots);
    }

    fn restart(&mut self) {
        self.accumulators = self.aggregation.accumulators(&self.states).unwrap();
        self.keys = Slots::default();
    }

    fn results(&mut self, key: i64) -> Option<Vec<ArrayRef>> {
        let slot = self.slot(key);
        let (results, failures) = self.accumulators.evaluate(&[slot]).unwrap();
        assert!(failures.is_empty(), "{failures:?}");
        (self.accumulators.rows(slot) != 0).then_some(results)
    }

    fn stored_values(&self) -> usize {
        let mut entries = 0;
        for state in &self.states {
            let (start, end) = state_range(*state);
            self.snapshot
                .scan(&start, &end, &mut |_, _| {
                    entries += 1;
                    Visit::Continue
                })
                .unwrap();
        }
        entries
    }
}

fn all_cases() -> Vec<Case> {
    use DataType::{Boolean, Decimal128, Float64, Int32, Int64, Utf8View};
    let (bigint, double, text, boolean, numeric, integer) =
        (|| col("c0"), || col("c1"), || col("c2"), || col("c3"), || col("c4"), || col("c5"));
    let big = || col("c0").gt(lit(2_i64));
    let as_numeric = || cast(col("c0"), Decimal128(20, 0));
    vec![
        call(count_udaf(), vec![], Int64),
        call(count_udaf(), vec![], Int64).filter(big()),
        call(count_udaf(), vec![bigint()], Int64),
        call(count_udaf(), vec![bigint(), text()], Int64),
        call(count_udaf(), vec![bigint()], Int64).distinct(),
        call(count_udaf(), vec![bigint()], Int64).distinct().filter(boolean()),
        call(count_udaf(), vec![text()], Int64).distinct().filter(big()),
        call(count_udaf(), vec![double()], Int64).distinct(),
        call(count_udaf(), vec![numeric()], Int64).distinct(),
        call(count_udaf(), vec![boolean()], Int64).distinct(),
        call(sum_udaf(), vec![bigint()], Int64),
        call(sum_udaf(), vec![as_numeric()], Decimal128(38, 0)),
        call(sum_udaf(), vec![integer()], Int64).filter(big()),
        call(sum_udaf(), vec![numeric()], Decimal128(20, 2)),
        call(sum_udaf(), vec![bigint()], Int64).distinct(),
        call(sum_udaf(), vec![numeric()], Decimal128(20, 2)).distinct().filter(big()),
        call(avg_udaf(), vec![numeric()], Decimal128(14, 6)),
        call(avg_udaf(), vec![as_numeric()], Decimal128(38, 16)),
        call(avg_udaf(), vec![cast(numeric(), Decimal128(38, 12))], Decimal128(38, 16)),
        call(sum_udaf(), vec![double()], Float64),
        call(avg_udaf(), vec![double()], Float64).distinct(),
        call(min_udaf(), vec![bigint()], Int64),
        call(max_udaf(), vec![integer()], Int32),
        call(min_udaf(), vec![double()], Float64).filter(big()),
        call(max_udaf(), vec![text()], Utf8View),
        call(min_udaf(), vec![text()], Utf8View).filter(boolean()),
        call(max_udaf(), vec![numeric()], Decimal128(10, 2)),
        call(min_udaf(), vec![boolean()], Boolean),
        call(bool_and_udaf(), vec![boolean()], Boolean),
        call(bool_or_udaf(), vec![boolean()], Boolean).filter(big()),
        call(stddev_udaf(), vec![double()], Float64),
        call(stddev_pop_udaf(), vec![double()], Float64),
        call(var_samp_udaf(), vec![double()], Float64).distinct(),
        call(var_pop_udaf(), vec![double()], Float64).filter(boolean()),
    ]
}

/// A result as text; floating point numbers rounded so that the order of additions doesn't show.
fn text(array: &ArrayRef) -> String {
    if array.is_null(0) {
        return "NULL".to_owned();
    }
    match array.data_type() {
        DataType::Float64 => {
            let value = array.as_primitive::<arrow::datatypes::Float64Type>().value(0);
            format!("{:.6}", if value.abs() < 5e-7 { 0.0 } else { value })
        }
        _ => arrow::util::display::array_value_to_string(array, 0).unwrap(),
    }
}

/// What a call yields for rows, computed from scratch.
fn expected(case: &Case, rows: &[Row]) -> String {
    let call = &case.call;
    let passes = |row: &&Row| match &call.filter {
        None => true,
        Some(filter) if *filter == col("c3") => row.boolean == Some(true),
        Some(_) => row.bigint.is_some_and(|value| value > 2),
    };
    let rows: Vec<&Row> = rows.iter().filter(passes).collect();
    let Some(argument) = call.args.first() else { return rows.len().to_string() };
    if call.args.len() == 2 {
        return rows.iter().filter(|row| row.bigint.is_some() && row.text.is_some()).count().to_string();
    }
    let name = argument.to_string();
    let unique = |values: &mut Vec<String>| {
        values.sort();
        values.dedup();
    };
    if call.function.name() == "count" {
        let value = |row: &&Row| match name.as_str() {
            "c0" => row.bigint.map(|v| v.to_string()),
            "c1" => row.double.map(|v| v.to_string()),
            "c2" => row.text.map(str::to_owned),
            "c3" => row.boolean.map(|v| v.to_string()),
            _ => row.numeric.map(|v| v.to_string()),
        };
        let mut values: Vec<_> = rows.iter().filter_map(value).collect();
        if call.distinct {
            unique(&mut values);
        }
        return values.len().to_string();
    }
    match name.as_str() {
        "c1" => expected_double(case, rows.iter().filter_map(|row| row.double).collect()),
        "c2" => {
            let values = rows.iter().filter_map(|row| row.text);
            let best = if call.function.name() == "min" { values.min() } else { values.max() };
            best.unwrap_or("NULL").to_owned()
        }
        "c3" => {
            let values = rows.iter().filter_map(|row| row.boolean);
            let best = match call.function.name() {
                "min" | "bool_and" => values.reduce(|a, b| a && b),
                _ => values.reduce(|a, b| a || b),
            };
            best.map_or("NULL".to_owned(), |value| value.to_string())
        }
        _ => {
            let value = |row: &&Row| match name.as_str() {
                name if name.contains("c4") => row.numeric,
                "c5" => row.integer.map(i128::from),
                _ => row.bigint.map(i128::from),
            };
            expected_integer(case, rows.iter().filter_map(value).collect(), if name.contains("c4") { 2 } else { 0 })
        }
    }
}

fn expected_integer(case: &Case, mut values: Vec<i128>, scale: i8) -> String {
    if case.call.distinct {
        values.sort_unstable();
        values.dedup();
    }
    if values.is_empty() {
        return "NULL".to_owned();
    }
    let sum: i128 = values.iter().sum();
    let (value, scale) = match (case.call.function.name(), &case.data_type) {
        ("min", _) => (*values.iter().min().unwrap(), scale),
        ("max", _) => (*values.iter().max().unwrap(), scale),
        ("sum", _) => (sum, scale),
        (_, DataType::Decimal128(_, to)) => {
            // Half away from zero: one digit more, then five of its last.
            let finer = sum * 10_i128.pow((to - scale) as u32 + 1) / values.len() as i128;
            ((finer + 5 * finer.signum()) / 10, *to)
        }
        _ => unreachable!(),
    };
    match &case.data_type {
        DataType::Decimal128(precision, _) => text(
            &(Arc::new(Decimal128Array::from(vec![value]).with_precision_and_scale(*precision, scale).unwrap())
                as ArrayRef),
        ),
        _ => value.to_string(),
    }
}

fn expected_double(case: &Case, mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    if case.call.distinct {
        values.dedup();
    }
    let n = values.len() as f64;
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| (value - sum / n).powi(2)).sum();
    let result = match case.call.function.name() {
        _ if values.is_empty() => None,
        "sum" => Some(sum),
        "avg" => Some(sum / n),
        "min" => values.first().copied(),
        "stddev_pop" => Some((squares / n).sqrt()),
        "var_pop" => Some(squares / n),
        _ if values.len() == 1 => None,
        "stddev" => Some((squares / (n - 1.0)).sqrt()),
        _ => Some(squares / (n - 1.0)),
    };
    let array: ArrayRef = Arc::new(Float64Array::from(vec![result]));
    text(&array)
}

fn row() -> impl Strategy<Value = Row> {
    let texts = prop_oneof![Just(""), Just("a"), Just("ab"), Just("a text of more than twelve bytes")];
    (
        0..4_i64,
        prop::option::weighted(0.8, -2..8_i64),
        prop::option::weighted(0.8, (-8..8_i32).prop_map(|v| f64::from(v) / 4.0)),
        prop::option::weighted(0.8, texts),
        prop::option::weighted(0.8, any::<bool>()),
        prop::option::weighted(0.8, -300..300_i128),
        prop::option::weighted(0.8, -5..5_i32),
    )
        .prop_map(|(group, bigint, double, text, boolean, numeric, integer)| Row {
            group,
            bigint,
            double,
            text,
            boolean,
            numeric,
            integer,
        })
}

/// What happens between the steps.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    Checkpoint,
    EvictValues,
    ForgetAll,
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Nothing),
        Just(Event::Checkpoint),
        Just(Event::EvictValues),
        Just(Event::ForgetAll),
        Just(Event::Restart)
    ]
}

/// A step: rows that come, and which of the rows that are there go (by position modulo their number).
type Step = (Vec<Row>, Vec<usize>, Event);

fn check(steps: Vec<Step>, append_only: bool) {
    let cases = all_cases();
    let mut shard = Shard::new(&cases, append_only);
    let mut present: Vec<Row> = Vec::new();
    for (coming, going, event) in steps {
        let mut rows = Vec::new();
        let mut weights = Vec::new();
        if !append_only {
            for index in going {
                if !present.is_empty() {
                    rows.push(present.swap_remove(index % present.len()));
                    weights.push(-1);
                }
            }
        }
        weights.extend(coming.iter().map(|_| 1));
        present.extend(coming.iter().cloned());
        rows.extend(coming);
        shard.step(&rows, (!append_only).then_some(weights)).unwrap();

        match event {
            Event::Nothing => {}
            Event::Checkpoint => shard.checkpoint(),
            Event::EvictValues => {
                shard.checkpoint();
                shard.accumulators.evict(0);
            }
            Event::ForgetAll => {
                shard.checkpoint();
                shard.forget_all();
            }
            Event::Restart => {
                shard.checkpoint();
                shard.restart();
            }
        }
        for group in 0..4 {
            let rows: Vec<Row> = present.iter().filter(|row| row.group == group).cloned().collect();
            let results = shard.results(group);
            assert_eq!(results.is_some(), !rows.is_empty());
            let Some(results) = results else { continue };
            for (case, result) in cases.iter().zip(&results) {
                assert_eq!(result.data_type(), &case.data_type);
                assert_eq!(text(result), expected(case, &rows), "{:?}", case.call);
            }
        }
    }

    // What is left when all rows have gone is nothing.
    if !append_only {
        let weights = vec![-1; present.len()];
        shard.step(&present, Some(weights)).unwrap();
        shard.checkpoint();
        assert_eq!(shard.stored_values(), 0);
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (prop::collection::vec(row(), 0..12), prop::collection::vec(any::<usize>(), 0..10), event());
    prop::collection::vec(step, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn results_are_those_of_the_rows_that_are_there(steps in steps()) {
        check(steps, false);
    }

    #[test]
    fn results_of_rows_that_only_come_are_right(steps in steps()) {
        check(steps, true);
    }
}

fn double_row(value: f64) -> Row {
    Row { group: 0, bigint: None, double: Some(value), text: None, boolean: None, numeric: None, integer: None }
}

#[test]
fn a_large_number_that_goes_leaves_no_trace() {
    let cases = [
        call(sum_udaf(), vec![col("c1")], DataType::Float64),
        call(var_pop_udaf(), vec![col("c1")], DataType::Float64),
    ];
    let mut shard = Shard::new(&cases, false);
    let before = [double_row(0.1), double_row(0.2), double_row(0.7)];
    shard.step(&before, None).unwrap();
    let sums = shard.results(0).unwrap();
    let strange = [1e20, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, 5e-324].map(double_row);
    shard.step(&strange, None).unwrap();
    assert!(shard.results(0).unwrap()[0].as_primitive::<arrow::datatypes::Float64Type>().value(0).is_nan());
    shard.checkpoint();
    shard.restart();
    shard.step(&strange, Some(vec![-1; strange.len()])).unwrap();
    assert_eq!(&shard.results(0).unwrap(), &sums);
}

#[test]
fn a_closed_group_leaves_nothing_in_the_store() {
    let cases = [
        call(count_udaf(), vec![col("c0")], DataType::Int64).distinct(),
        call(max_udaf(), vec![col("c0")], DataType::Int64),
    ];
    let row = |group, value| Row { group, bigint: Some(value), ..double_row(0.0) };
    let mut shard = Shard::new(&cases, false);
    for round in 0..3 {
        shard.step(&[row(0, round), row(1, 10 + round), row(1, 20 + round)], None).unwrap();
        match round {
            0 => shard.checkpoint(),
            1 => {
                shard.checkpoint();
                shard.accumulators.evict(0);
            }
            _ => {}
        }
    }
    let slot = shard.slot(1);
    shard.accumulators.close(&[slot], &shard.keys, &*shard.snapshot).unwrap();
    shard.checkpoint();
    // Three values of group 0, in each of the two tables.
    assert_eq!(shard.stored_values(), 6);
    let results = shard.results(0).unwrap();
    assert_eq!(text(&concat(&[&results[0]]).unwrap()), "3");
    assert_eq!(text(&results[1]), "2");
}

#[test]
fn calls_share_what_they_can() {
    let price = || cast(col("c0"), DataType::Decimal128(20, 0));
    let cases = [
        call(sum_udaf(), vec![price()], DataType::Decimal128(38, 0)),
        call(avg_udaf(), vec![price()], DataType::Decimal128(38, 16)),
        call(count_udaf(), vec![], DataType::Int64),
        call(count_udaf(), vec![col("c5")], DataType::Int64).distinct(),
        call(count_udaf(), vec![col("c5")], DataType::Int64).distinct().filter(col("c3")),
        call(count_udaf(), vec![], DataType::Int64).filter(col("c3")),
    ];
    let aggregation = aggregation(&cases, true).unwrap();
    assert_eq!(aggregation.arguments(), [col("c5"), col("c3"), col("c0")]);
    assert_eq!(aggregation.value_states(), ["distinct 0"]);
}

#[test]
fn a_sum_beyond_its_type_is_an_error() {
    let mut shard = Shard::new(&[call(sum_udaf(), vec![col("c0")], DataType::Int64)], true);
    let row = Row { bigint: Some(i64::MAX), ..double_row(0.0) };
    shard.step(&[row.clone(), row], None).unwrap();
    let (results, failures) = shard.accumulators.evaluate(&[0]).unwrap();
    assert!(results[0].is_null(0) && failures.contains(0), "{failures:?}");
}

#[test]
fn a_sum_beyond_128_bits_comes_back() {
    let numeric = DataType::Decimal128(38, 0);
    let mut sum = super::sum::Sum::default();
    sum.resize(1);
    let huge = Decimal128Array::from(vec![10_i128.pow(38) - 1]).with_precision_and_scale(38, 0).unwrap();
    let huge: ArrayRef = Arc::new(huge);
    let mut add = |weight: i64| {
        let rows = super::rows::GroupRows { groups: &[0], weights: Some(&[weight]), selection: None };
        sum.update(&huge, rows).unwrap();
        // What is stored is all that is known.
        let mut bytes = Vec::new();
        sum.encode(0, &mut bytes);
        sum.clear(0);
        sum.decode(0, &mut &bytes[..]).unwrap();
        sum.sums(&[0], 0, &numeric).ok().map(|sums| sums.as_primitive::<Decimal128Type>().value(0))
    };
    assert_eq!(add(1), Some(10_i128.pow(38) - 1));
    assert_eq!(add(1), None);
    assert_eq!(add(i64::MAX / 4), None);
    assert_eq!(add(5), None);
    assert_eq!(add(-(i64::MAX / 4)), None);
    assert_eq!(add(-6), Some(10_i128.pow(38) - 1));
    assert_eq!(add(-2), Some(1 - 10_i128.pow(38)));
}

#[test]
fn an_append_only_input_that_takes_away_is_a_broken_promise() {
    let mut shard = Shard::new(&[call(max_udaf(), vec![col("c0")], DataType::Int64)], true);
    let error = shard.step(&[double_row(0.0)], Some(vec![-1])).unwrap_err();
    assert!(matches!(error, Error::Broken(_)), "{error}");
}
