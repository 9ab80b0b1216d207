//! Checks a plan against recomputation, epoch by epoch, through everything that may happen to its state.
//!
//! A plan is run as a graph over random inserts and removals: with checkpoints that are committed at once or one epoch later,
//! restarts, a budget so small that everything is evicted, and several numbers of workers. At every epoch the sum of its changes and the
//! stored view must be what the oracle computes from the inputs; at every checkpoint the store must be the same to the byte
//! for all numbers of workers.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use catalog::ObjectId;
use datafusion::common::Column;
use datafusion::logical_expr::Expr;
use delta::{Delta, Epoch};
use planner::incremental::{Input, Node};
use proptest::prelude::*;
use storage::{Durability, MemoryStore, StateId, Store, Visit};

use crate::graph::{EpochInputs, Graph, GraphSettings, StateAllocator, read_output};
use crate::view::{ViewForm, ViewLayout};

/// A row of an input: each column is made of a number.
pub(crate) type Row = Vec<Option<i64>>;

/// Rows and how often they are there.
pub(crate) type Bag<R> = BTreeMap<R, i64>;

/// A row of the output, as text.
pub(crate) type TextRow = Vec<String>;

/// What a column of an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Text,
    Time,
}

/// Something that happens to an input.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Insert {
        input: usize,
        row: Row,
    },
    /// Removes the nth of the rows that are there.
    Remove {
        input: usize,
        nth: usize,
    },
}

/// What happens after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Nothing,
    Checkpoint,
    /// A checkpoint that is committed after the next epoch.
    Delayed,
    /// A checkpoint, then everything in memory is lost.
    Restart,
}

/// One epoch.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) ops: Vec<Op>,
    /// By how much the watermark moves on.
    pub(crate) advance: i64,
    pub(crate) after: After,
}

/// Random epochs: rows of `widths[i]` columns go to input `i`.
pub(crate) fn steps(widths: Vec<usize>, values: i64, removals: bool) -> impl Strategy<Value = Vec<Step>> {
    let inputs = widths.len();
    let value = prop_oneof![9 => (0..values).prop_map(Some), 1 => Just(None)];
    let widest = widths.iter().copied().max().unwrap();
    let insert = (0..inputs, prop::collection::vec(value, widest)).prop_map(move |(input, mut row)| {
        row.truncate(widths[input]);
        Op::Insert { input, row }
    });
    let remove = (0..inputs, any::<prop::sample::Index>())
        .prop_map(|(input, nth)| Op::Remove { input, nth: nth.index(1 << 20) });
    let op = if removals { prop_oneof![3 => insert, 2 => remove].boxed() } else { insert.boxed() };
    let after = prop_oneof![
        2 => Just(After::Nothing),
        2 => Just(After::Checkpoint),
        2 => Just(After::Delayed),
        1 => Just(After::Restart),
    ];
    let step = (prop::collection::vec(op, 0..12), prop_oneof![Just(0), 0..3_i64], after)
        .prop_map(|(ops, advance, after)| Step { ops, advance, after });
    prop::collection::vec(step, 1..10)
}

/// The text that stands for a number in a text column.
pub(crate) fn text(value: i64) -> String {
    if value % 2 == 0 { format!("t{value}") } else { format!("a text of more than twelve bytes: {value}") }
}

/// How a value of an input is printed in an output.
pub(crate) fn shown(kind: Kind, value: Option<i64>) -> String {
    match (kind, value) {
        (_, None) => "NULL".to_owned(),
        (Kind::Text, Some(value)) => text(value),
        (_, Some(value)) => value.to_string(),
    }
}

/// How a row of an input is printed in an output.
pub(crate) fn shown_row(kinds: &[Kind], row: &Row) -> TextRow {
    kinds.iter().zip(row).map(|(kind, value)| shown(*kind, *value)).collect()
}

pub(crate) fn data_type(kind: Kind) -> DataType {
    match kind {
        Kind::Int => DataType::Int64,
        Kind::Text => DataType::Utf8View,
        Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

pub(crate) fn schema_of(kinds: &[Kind]) -> SchemaRef {
    schema(kinds.iter().map(|kind| data_type(*kind)))
}

pub(crate) fn schema(types: impl IntoIterator<Item = DataType>) -> SchemaRef {
    let fields = types.into_iter().enumerate().map(|(i, t)| Field::new(format!("c{i}"), t, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The id of the nth input.
pub(crate) fn input_id(input: usize) -> ObjectId {
    ObjectId(100 + input as u32)
}

/// The view's id.
pub(crate) const VIEW: ObjectId = ObjectId(1);

pub(crate) fn input(input: usize, kinds: &[Kind], append_only: bool) -> Arc<Node> {
    Arc::new(Node::Input(Input { relation: input_id(input), schema: schema_of(kinds), append_only }))
}

pub(crate) fn column(index: usize) -> Expr {
    Expr::Column(Column::new_unqualified(format!("c{index}")))
}

pub(crate) fn batch(kinds: &[Kind], rows: &[Row]) -> RecordBatch {
    let schema = schema_of(kinds);
    let column = |(index, kind): (usize, &Kind)| -> ArrayRef {
        let values = rows.iter().map(|row| row[index]);
        match kind {
            Kind::Int => Arc::new(Int64Array::from_iter(values)),
            Kind::Time => cast(&Int64Array::from_iter(values), &data_type(*kind)).unwrap(),
            Kind::Text => Arc::new(values.map(|v| v.map(text)).collect::<StringViewArray>()),
        }
    };
    crate::expression::batch_of(&schema, kinds.iter().enumerate().map(column).collect(), rows.len()).unwrap()
}

/// The rows of a batch as text, times as numbers.
pub(crate) fn text_rows(batch: &RecordBatch) -> Vec<TextRow> {
    let options = FormatOptions::new().with_null("NULL");
    let plain = |column: &ArrayRef| match column.data_type() {
        DataType::Timestamp(..) => cast(column, &DataType::Int64).unwrap(),
        _ => column.clone(),
    };
    let columns: Vec<ArrayRef> = batch.columns().iter().map(plain).collect();
    let columns: Vec<_> = columns.iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column.value(row).to_string()).collect()).collect()
}

pub(crate) fn add<R: Ord>(bag: &mut Bag<R>, row: R, weight: i64) {
    let count = bag.entry(row).or_default();
    *count += weight;
    if *count == 0 {
        bag.retain(|_, count| *count != 0);
    }
}

fn add_delta(bag: &mut Bag<TextRow>, delta: &Delta) {
    for (index, row) in text_rows(delta.batch()).into_iter().enumerate() {
        add(bag, row, delta.weight(index));
    }
}

/// Gives numbers that last over restarts.
#[derive(Default)]
pub(crate) struct Numbers(HashMap<String, StateId>);

impl StateAllocator for Numbers {
    fn state(&mut self, name: &str) -> StateId {
        let next = StateId(10 + self.0.len() as u32);
        *self.0.entry(name.to_owned()).or_insert(next)
    }
}

/// What an operator has put out, read off its state.
fn read_back(node: &Node, numbers: &Numbers, graph: &Graph) -> Bag<TextRow> {
    let states: BTreeMap<String, StateId> = numbers.0.clone().into_iter().collect();
    let mut read = Bag::new();
    let mut take = |delta: Delta| {
        add_delta(&mut read, &delta);
        Ok(())
    };
    read_output(node, &states, graph.snapshot(), graph.workers(), &mut take).unwrap();
    read
}

/// Everything in a store.
pub(crate) fn contents(store: &MemoryStore) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        entries.push((key.to_vec(), value.to_vec()));
        Visit::Continue
    };
    store.snapshot().unwrap().scan(&[], &[0xff; 5], &mut visit).unwrap();
    entries
}

/// What the oracle sees: the rows of each input, what came in this epoch, and the watermarks.
pub(crate) struct World<'a> {
    pub(crate) inputs: &'a [Bag<Row>],
    pub(crate) came: &'a [Vec<(Row, i64)>],
    pub(crate) watermark_before: Option<i64>,
    pub(crate) watermark: Option<i64>,
}

/// A plan to be checked.
pub(crate) struct Case {
    pub(crate) root: Arc<Node>,
    pub(crate) kinds: Vec<Vec<Kind>>,
    pub(crate) form: ViewForm,
}

/// As [`check`], for a view whose rows go silently: what is stored is what the oracle says, what is told are the inputs' rows.
pub(crate) fn check_silent<F>(case: &Case, steps: &[Step], oracle: impl Fn() -> F)
where
    F: FnMut(&World<'_>) -> Bag<TextRow>,
{
    check_told(case, steps, oracle, true);
}

/// Runs a case; `oracle` is made anew for each run and asked at each epoch what the output is.
pub(crate) fn check<F>(case: &Case, steps: &[Step], oracle: impl Fn() -> F)
where
    F: FnMut(&World<'_>) -> Bag<TextRow>,
{
    check_told(case, steps, oracle, false);
}

fn check_told<F>(case: &Case, steps: &[Step], oracle: impl Fn() -> F, silent: bool)
where
    F: FnMut(&World<'_>) -> Bag<TextRow>,
{
    let mut first: Option<Vec<_>> = None;
    for (workers, budget) in [(1, 0), (2, 0), (5, 0), (1, usize::MAX)] {
        let stores = run(case, steps, workers, budget, oracle(), silent);
        if budget == 0 {
            let first = first.get_or_insert_with(|| stores.clone());
            assert!(*first == stores, "{workers} workers leave another state than one");
        }
    }
}

/// The rows that a case's operators hold after all steps, none evicted.
pub(crate) fn state_rows(case: &Case, steps: &[Step]) -> usize {
    let store = MemoryStore::new();
    let mut graph = Graph::new(GraphSettings::default(), store.snapshot().unwrap()).unwrap();
    for (index, kinds) in case.kinds.iter().enumerate() {
        graph.register_input(input_id(index), &schema_of(kinds), None, false).unwrap();
    }
    graph.attach(VIEW, &case.root, None, &mut Numbers::default()).unwrap();
    let mut now = 0;
    for (epoch, step) in steps.iter().enumerate() {
        now += step.advance;
        let rows_of = |index: usize| {
            let rows = step.ops.iter().filter_map(|op| match op {
                Op::Insert { input, row } if *input == index => Some(row.clone()),
                _ => None,
            });
            rows.collect::<Vec<Row>>()
        };
        let delta = |index: usize| (input_id(index), vec![Delta::inserts(batch(&case.kinds[index], &rows_of(index)))]);
        graph
            .step(EpochInputs {
                epoch: Epoch(epoch as u64 + 1),
                timestamp_us: now,
                watermarks_before: HashMap::new(),
                watermarks: HashMap::new(),
                deltas: (0..case.kinds.len()).map(delta).collect(),
            })
            .unwrap();
        if step.after == After::Checkpoint {
            store.commit(graph.checkpoint().unwrap(), Durability::Process).unwrap();
            graph.committed(store.snapshot().unwrap()).unwrap();
        }
    }
    graph.operators().iter().map(|operator| operator.state_rows).sum()
}

/// What happens at a time: rows come and go at inputs.
pub(crate) type At = (i64, Vec<(usize, Row, i64)>);

/// The rows and bytes that a case's operators say they hold after each step; the watermark of the first input is where the clock is.
pub(crate) fn figures(case: &Case, steps: &[At]) -> Vec<(usize, usize)> {
    let store = MemoryStore::new();
    let mut graph = Graph::new(GraphSettings::default(), store.snapshot().unwrap()).unwrap();
    for (index, kinds) in case.kinds.iter().enumerate() {
        graph.register_input(input_id(index), &schema_of(kinds), None, false).unwrap();
    }
    graph.attach(VIEW, &case.root, None, &mut Numbers::default()).unwrap();
    let mut before = HashMap::new();
    let mut figures = Vec::new();
    for (epoch, (now, rows)) in (1..).zip(steps) {
        let delta = |index: usize, kinds: &Vec<Kind>| {
            let own = rows.iter().filter(|(input, ..)| *input == index);
            let (rows, weights): (Vec<Row>, Vec<i64>) = own.map(|(_, row, weight)| (row.clone(), *weight)).unzip();
            let plain = weights.iter().all(|weight| *weight == 1);
            (input_id(index), vec![Delta::new(batch(kinds, &rows), (!plain).then(|| weights.into()))])
        };
        let watermarks = HashMap::from([(input_id(0), *now)]);
        let inputs = EpochInputs {
            epoch: Epoch(epoch),
            timestamp_us: *now,
            watermarks_before: std::mem::replace(&mut before, watermarks.clone()),
            watermarks,
            deltas: case.kinds.iter().enumerate().map(|(index, kinds)| delta(index, kinds)).collect(),
        };
        graph.step(inputs).unwrap();
        store.commit(graph.checkpoint().unwrap(), Durability::Process).unwrap();
        graph.committed(store.snapshot().unwrap()).unwrap();
        let operators = graph.operators();
        let sum = |of: fn(&crate::graph::OperatorStats) -> usize| operators.iter().map(of).sum();
        figures.push((sum(|operator| operator.state_rows), sum(|operator| operator.state_bytes)));
    }
    figures
}

fn run(
    case: &Case,
    steps: &[Step],
    workers: usize,
    budget: usize,
    mut oracle: impl FnMut(&World<'_>) -> Bag<TextRow>,
    silent: bool,
) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let store = MemoryStore::new();
    let mut numbers = Numbers::default();
    let settings = GraphSettings { workers, memory_budget_bytes: budget, ..GraphSettings::default() };
    let layout = ViewLayout { state: StateId(2), form: case.form.clone(), indexes: vec![] };
    let open = |numbers: &mut Numbers| {
        let mut graph = Graph::new(settings.clone(), store.snapshot().unwrap()).unwrap();
        for (index, kinds) in case.kinds.iter().enumerate() {
            graph.register_input(input_id(index), &schema_of(kinds), None, false).unwrap();
        }
        graph.attach(VIEW, &case.root, Some(layout.clone()), numbers).unwrap();
        graph
    };
    let mut graph = open(&mut numbers);
    let mut inputs: Vec<Bag<Row>> = vec![Bag::new(); case.kinds.len()];
    let mut output = Bag::new();
    let mut stores = Vec::new();
    let mut delayed = None;
    let (mut before, mut after): (Option<i64>, Option<i64>) = (None, None);

    for (epoch, step) in steps.iter().enumerate() {
        let mut came: Vec<Vec<(Row, i64)>> = vec![vec![]; case.kinds.len()];
        for op in &step.ops {
            let (input, row, weight) = match op {
                Op::Insert { input, row } => (*input, row.clone(), 1),
                Op::Remove { input, nth } => {
                    let count = inputs[*input].len();
                    let Some(row) = (count > 0).then(|| inputs[*input].keys().nth(nth % count).unwrap().clone()) else {
                        continue;
                    };
                    (*input, row, -1)
                }
            };
            add(&mut inputs[input], row.clone(), weight);
            came[input].push((row, weight));
        }
        if step.advance > 0 {
            after = Some(after.unwrap_or(0) + step.advance);
        }
        let marks = |mark: Option<i64>| mark.map(|mark| (input_id(0), mark)).into_iter().collect::<HashMap<_, _>>();
        let deltas = came.iter().enumerate().filter(|(_, rows)| !rows.is_empty()).map(|(index, rows)| {
            // Two batches, the second with weights only if it must.
            let halves = rows.split_at(rows.len() / 2);
            let delta = |rows: &[(Row, i64)]| {
                let (rows, weights): (Vec<Row>, Vec<i64>) = rows.iter().cloned().unzip();
                let plain = weights.iter().all(|w| *w == 1);
                Delta::new(batch(&case.kinds[index], &rows), (!plain).then(|| weights.into()))
            };
            (input_id(index), vec![delta(halves.0), delta(halves.1)])
        });
        let outputs = graph
            .step(EpochInputs {
                epoch: Epoch(epoch as u64 + 1),
                // The clock stands where the watermark does.
                timestamp_us: after.unwrap_or(0),
                watermarks_before: marks(before),
                watermarks: marks(after),
                deltas: deltas.collect(),
            })
            .unwrap();
        for delta in outputs.changes.get(&VIEW).into_iter().flatten() {
            add_delta(&mut output, delta);
        }
        let world = World { inputs: &inputs, came: &came, watermark_before: before, watermark: after };
        let expected = oracle(&world);
        let told = match silent {
            true => inputs[0].iter().map(|(row, weight)| (shown_row(&case.kinds[0], row), *weight)).collect(),
            false => expected.clone(),
        };
        assert_eq!(output, told, "changes up to epoch {}", epoch + 1);
        before = after;

        if let Some(changes) = delayed.take() {
            store.commit(changes, Durability::Process).unwrap();
            graph.committed(store.snapshot().unwrap()).unwrap();
        }
        match step.after {
            After::Nothing => {}
            After::Delayed => delayed = Some(graph.checkpoint().unwrap()),
            After::Checkpoint | After::Restart => {
                store.commit(graph.checkpoint().unwrap(), Durability::Process).unwrap();
                graph.committed(store.snapshot().unwrap()).unwrap();
                stores.push(contents(&store));
                if case.root.unreadable().is_none() {
                    let read = read_back(&case.root, &numbers, &graph);
                    assert_eq!(read, expected, "the state after epoch {}", epoch + 1);
                }
            }
        }
        if step.after == After::Restart {
            graph = open(&mut numbers);
        }
        let view = graph.published(VIEW).unwrap();
        let mut stored = Bag::new();
        for batch in view.scan(graph.snapshot().clone(), None).unwrap() {
            add_delta(&mut stored, &Delta::inserts(batch.unwrap()));
        }
        assert_eq!(stored, expected, "the view after epoch {}", epoch + 1);
        let rows: i64 = expected.values().sum();
        assert_eq!(view.row_count(graph.snapshot().as_ref()).unwrap() as i64, rows);
    }
    stores
}
