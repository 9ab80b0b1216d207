#![allow(clippy::unwrap_used)]

use datafusion::functions_aggregate::count;
use datafusion::logical_expr::{col, lit};
use delta::{Delta, Epoch};
use planner::incremental::{Aggregate, AggregateCall, Map, OnError};
use storage::{Durability, MemoryStore, Store};

use super::*;
use crate::operators::testing::{
    Kind, Numbers, Row, TextRow, batch, column, data_type, input, input_id, schema, schema_of, text_rows,
};

const KINDS: [Kind; 2] = [Kind::Int, Kind::Int];

fn count_by(input: Arc<Node>) -> Arc<Node> {
    let call = AggregateCall { function: count::count_udaf(), args: vec![], distinct: false, filter: None };
    Arc::new(Node::Aggregate(Aggregate {
        input,
        keys: vec![column(0)],
        calls: vec![call],
        window: None,
        on_error: OnError::Report,
        schema: schema([data_type(Kind::Int), data_type(Kind::Int)]),
    }))
}

fn more_than(input: Arc<Node>, n: i64) -> Arc<Node> {
    let schema = input.schema().clone();
    let predicate = Some(col("c1").gt(lit(n)));
    Arc::new(Node::Map(Map {
        input,
        predicate,
        expressions: vec![column(0), column(1)],
        on_error: OnError::Report,
        schema,
    }))
}

fn relation(id: u32, plan: &Arc<Node>) -> Arc<Node> {
    Arc::new(Node::Input(planner::incremental::Input {
        relation: ObjectId(id),
        schema: plan.schema().clone(),
        append_only: false,
    }))
}

fn keyed(state: u32) -> Option<ViewLayout> {
    Some(ViewLayout { state: StateId(state), form: ViewForm::Keyed { key: vec![0] }, indexes: vec![] })
}

struct World {
    store: MemoryStore,
    graph: Graph,
    numbers: Numbers,
    epoch: u64,
}

impl World {
    fn new() -> Self {
        let store = MemoryStore::new();
        let mut graph = Graph::new(GraphSettings::default(), store.snapshot().unwrap()).unwrap();
        graph.register_input(input_id(0), &schema_of(&KINDS), None, false).unwrap();
        Self { store, graph, numbers: Numbers::default(), epoch: 0 }
    }

    fn attach(&mut self, id: u32, plan: &Arc<Node>) {
        self.graph.attach(ObjectId(id), plan, keyed(1000 + id), &mut self.numbers).unwrap();
    }

    fn step(&mut self, rows: &[(i64, i64)]) -> EpochOutputs {
        self.epoch += 1;
        let inputs = inputs(self.epoch, &[(input_id(0), rows)]);
        self.graph.step(inputs).unwrap()
    }

    fn commit(&mut self) {
        self.store.commit(self.graph.checkpoint().unwrap(), Durability::Process).unwrap();
        self.graph.committed(self.store.snapshot().unwrap()).unwrap();
    }

    fn read(&mut self, id: u32) -> Vec<TextRow> {
        read(&mut self.graph, id)
    }

    fn operator_states(&self, id: u32) -> BTreeMap<String, StateId> {
        let mut states = self.graph.states(ObjectId(id));
        states.remove(&errors_state(ObjectId(id))).unwrap();
        states
    }

    /// The rows with errors, sorted.
    fn errors(&mut self, id: u32) -> Vec<String> {
        let Some(view) = self.graph.errors(ObjectId(id)).unwrap() else { return vec![] };
        let batches = view.scan(self.graph.snapshot().clone(), None).unwrap();
        let errors = batches.flat_map(|batch| crate::RowError::read(&batch.unwrap()).unwrap());
        let mut lines: Vec<_> = errors.map(|error| format!("{}: {}", error.message, error.row)).collect();
        lines.sort();
        lines
    }
}

fn read(graph: &mut Graph, id: u32) -> Vec<TextRow> {
    let view = graph.published(ObjectId(id)).unwrap();
    let batches = view.scan(graph.snapshot().clone(), None).unwrap();
    let mut rows: Vec<TextRow> = batches.flat_map(|batch| text_rows(&batch.unwrap())).collect();
    rows.sort();
    rows
}

fn inputs(epoch: u64, fed: &[(ObjectId, &[(i64, i64)])]) -> EpochInputs {
    let delta = |rows: &[(i64, i64)]| {
        let rows: Vec<Row> = rows.iter().map(|(a, b)| vec![Some(*a), Some(*b)]).collect();
        vec![Delta::inserts(batch(&KINDS, &rows))]
    };
    let deltas = fed.iter().map(|(id, rows)| (*id, delta(rows))).collect();
    EpochInputs { epoch: Epoch(epoch), deltas, ..EpochInputs::default() }
}

fn rows(rows: &[(i64, i64)]) -> Vec<TextRow> {
    rows.iter().map(|(a, b)| vec![a.to_string(), b.to_string()]).collect()
}

#[test]
fn equal_plans_are_one_operator() {
    let mut world = World::new();
    let counts = count_by(input(0, &KINDS, false));
    world.attach(1, &counts);
    world.attach(2, &more_than(counts.clone(), 1));
    assert_eq!(world.graph.operators().len(), 2);
    world.step(&[(7, 0), (7, 0), (8, 0)]);
    assert_eq!(world.read(1), rows(&[(7, 2), (8, 1)]));
    assert_eq!(world.read(2), rows(&[(7, 2)]));
    let counted = &world.graph.operators()[0];
    assert_eq!((counted.rows_in, counted.rows_out), (3, 2));
    assert_eq!(counted.relations, [ObjectId(1), ObjectId(2)]);
    assert_eq!(world.operator_states(1), world.operator_states(2));

    // What the other view uses stays.
    let errors = world.numbers.state(&errors_state(ObjectId(1)));
    assert_eq!(world.graph.detach(ObjectId(1)), [StateId(1001), errors]);
    world.step(&[(8, 0)]);
    assert_eq!(world.read(2), rows(&[(7, 2), (8, 2)]));
    let states = world.graph.detach(ObjectId(2));
    assert_eq!(states.len(), 3);
    assert!(world.graph.operators().is_empty());
}

#[test]
fn a_view_over_a_view_changes_in_the_same_epoch() {
    let mut world = World::new();
    let counts = count_by(input(0, &KINDS, false));
    world.attach(1, &counts);
    world.attach(2, &more_than(relation(1, &counts), 1));
    world.attach(3, &relation(2, &counts));
    let outputs = world.step(&[(7, 0), (7, 0), (8, 0)]);
    assert_eq!(outputs.changes.len(), 4);
    assert_eq!(world.read(3), rows(&[(7, 2)]));
}

#[test]
fn a_graph_that_was_built_beside_is_absorbed() {
    for share in [false, true] {
        let mut world = World::new();
        let counts = count_by(input(0, &KINDS, false));
        world.attach(1, &counts);
        world.step(&[(7, 0)]);
        world.commit();

        // A view over the view, and one with an equal plan, catch up on their own.
        let snapshot = world.graph.snapshot().clone();
        let mut beside = Graph::new(GraphSettings::default(), snapshot).unwrap();
        let mut numbers = OtherNumbers(Numbers::default());
        let over = more_than(relation(1, &counts), 1);
        beside.register_input(input_id(0), &schema_of(&KINDS), None, false).unwrap();
        beside.attach(ObjectId(2), &over, keyed(1002), &mut numbers).unwrap();
        beside.attach(ObjectId(3), &counts, keyed(1003), &mut numbers).unwrap();
        beside.step(inputs(1, &[(ObjectId(1), &[(7, 1)]), (input_id(0), &[(7, 0)])])).unwrap();
        world.store.commit(beside.checkpoint().unwrap(), Durability::Process).unwrap();
        world.graph.committed(world.store.snapshot().unwrap()).unwrap();

        let dropped = world.graph.absorb(beside, share).unwrap();
        assert_eq!(dropped.len(), usize::from(share));
        assert_eq!(world.graph.operators().len(), if share { 2 } else { 3 });
        world.step(&[(7, 0), (8, 0)]);
        assert_eq!(world.read(2), rows(&[(7, 2)]));
        assert_eq!(world.read(3), rows(&[(7, 2), (8, 1)]));
        world.commit();
        world.step(&[(8, 0)]);
        assert_eq!(world.read(2), rows(&[(7, 2), (8, 2)]));
        assert_eq!(world.read(3), rows(&[(7, 2), (8, 2)]));
        // Later views share the operator that was there first.
        world.attach(4, &counts);
        assert_eq!(world.operator_states(4), world.operator_states(1));
    }
}

/// `SELECT c0, 12 / c1 FROM input`.
fn quotients(on_error: OnError) -> Arc<Node> {
    let (input, schema) = (input(0, &KINDS, false), schema_of(&KINDS));
    let expressions = vec![column(0), lit(12_i64) / col("c1")];
    Arc::new(Node::Map(Map { input, predicate: None, expressions, on_error, schema }))
}

#[test]
fn errors_are_those_of_the_rows_that_are_there() {
    let mut world = World::new();
    let layout = |state| Some(ViewLayout { state: StateId(state), form: ViewForm::Bag, indexes: vec![] });
    let numbers = &mut world.numbers;
    world.graph.attach(ObjectId(1), &quotients(OnError::Report), layout(1001), numbers).unwrap();
    world.graph.attach(ObjectId(2), &quotients(OnError::Null), layout(1002), numbers).unwrap();
    world
        .graph
        .attach(ObjectId(3), &more_than(relation(1, &quotients(OnError::Report)), 3), layout(1003), numbers)
        .unwrap();
    let change = |world: &mut World, rows: &[(i64, i64)], weights: Vec<i64>| {
        world.epoch += 1;
        let rows: Vec<Row> = rows.iter().map(|(a, b)| vec![Some(*a), Some(*b)]).collect();
        let deltas = HashMap::from([(input_id(0), vec![Delta::new(batch(&KINDS, &rows), Some(weights.into()))])]);
        world.graph.step(EpochInputs { epoch: Epoch(world.epoch), deltas, ..EpochInputs::default() }).unwrap()
    };
    // Good rows around bad ones, one of them twice.
    change(&mut world, &[(1, 3), (2, 0), (3, 4), (4, 0), (5, 2)], vec![1, 2, 1, 1, 1]);
    assert_eq!(world.read(1), rows(&[(1, 4), (3, 3), (5, 6)]));
    assert_eq!(world.read(3), rows(&[(1, 4), (5, 6)]));
    let of = |a: i64| format!("division by zero: c0={a}, c1=0");
    assert_eq!(world.errors(1), [of(2), of(2), of(4)]);
    assert_eq!(world.read(2).iter().filter(|row| row[1] == "NULL").count(), 3);
    assert_eq!((world.errors(2).len(), world.errors(3).len()), (0, 0));

    // They are there after a checkpoint, and go with their rows, one by one.
    world.commit();
    change(&mut world, &[(2, 0), (6, 0)], vec![-1, 1]);
    assert_eq!(world.errors(1), [of(2), of(4), of(6)]);
    world.commit();
    assert_eq!(world.errors(1), [of(2), of(4), of(6)]);
    change(&mut world, &[(2, 0), (4, 0), (6, 0)], vec![-1, -1, -1]);
    assert_eq!(world.errors(1), Vec::<String>::new());
    assert_eq!(world.read(1), rows(&[(1, 4), (3, 3), (5, 6)]));
    assert_eq!(world.read(2), rows(&[(1, 4), (3, 3), (5, 6)]));
}

/// Numbers that don't meet those of the running graph.
struct OtherNumbers(Numbers);

impl StateAllocator for OtherNumbers {
    fn state(&mut self, name: &str) -> StateId {
        StateId(self.0.state(name).0 + 500)
    }
}

#[test]
fn rows_are_set_and_deleted_by_key() {
    let store = MemoryStore::new();
    let mut graph = Graph::new(GraphSettings::default(), store.snapshot().unwrap()).unwrap();
    let table = ObjectId(1);
    graph.register_input(table, &schema_of(&KINDS), keyed(1001), true).unwrap();
    let counts = count_by(Arc::new(Node::Map(Map {
        input: Arc::new(Node::Input(planner::incremental::Input {
            relation: table,
            schema: schema_of(&KINDS),
            append_only: false,
        })),
        predicate: None,
        expressions: vec![column(1)],
        on_error: OnError::Report,
        schema: schema([data_type(Kind::Int)]),
    })));
    graph.attach(ObjectId(2), &counts, keyed(1002), &mut Numbers::default()).unwrap();
    let delta = |rows: &[(i64, Option<i64>, i64)]| {
        let (rows, weights): (Vec<Row>, Vec<i64>) = rows.iter().map(|(key, v, w)| (vec![Some(*key), *v], *w)).unzip();
        Delta::new(batch(&KINDS, &rows), Some(weights.into()))
    };
    let feed = |graph: &mut Graph, rows: &[(i64, Option<i64>, i64)], epoch| {
        let deltas = HashMap::from([(table, vec![delta(rows)])]);
        graph.step(EpochInputs { epoch: Epoch(epoch), deltas, ..EpochInputs::default() }).unwrap()
    };
    // The last of a key counts.
    feed(&mut graph, &[(1, Some(10), 1), (2, Some(20), 1), (1, Some(20), 1)], 1);
    assert_eq!(read(&mut graph, 1), rows(&[(1, 20), (2, 20)]));
    assert_eq!(read(&mut graph, 2), rows(&[(20, 2)]));
    store.commit(graph.checkpoint().unwrap(), Durability::Process).unwrap();
    graph.committed(store.snapshot().unwrap()).unwrap();
    // Setting what is there changes nothing; a deletion only needs the key; deleting what isn't there is nothing.
    let outputs =
        feed(&mut graph, &[(1, Some(20), 1), (2, None, -1), (3, None, -1), (4, Some(5), 1), (4, None, -1)], 2);
    assert_eq!(outputs.changes[&table].iter().map(Delta::num_rows).sum::<usize>(), 1);
    assert_eq!(read(&mut graph, 1), rows(&[(1, 20)]));
    assert_eq!(read(&mut graph, 2), rows(&[(20, 1)]));
    let outputs = feed(&mut graph, &[(1, Some(20), 1)], 3);
    assert!(outputs.changes.is_empty());
}

#[test]
fn an_aggregate_without_keys_needs_no_input_for_its_first_row() {
    let mut world = World::new();
    let mut counts = count_by(input(0, &KINDS, false));
    if let Node::Aggregate(node) = Arc::make_mut(&mut counts) {
        node.keys.clear();
        node.schema = schema([data_type(Kind::Int)]);
    }
    let layout = ViewLayout { state: StateId(1001), form: ViewForm::Keyed { key: vec![] }, indexes: vec![] };
    world.graph.attach(ObjectId(1), &counts, Some(layout), &mut world.numbers).unwrap();
    assert!(world.graph.is_pending());
    world.graph.step(EpochInputs::default()).unwrap();
    assert!(!world.graph.is_pending());
    assert_eq!(world.read(1), [["0"]]);
    let view = world.graph.published(ObjectId(1)).unwrap();
    assert_eq!(view.get(world.graph.snapshot().as_ref(), &[]).unwrap().num_rows(), 1);
}
