//! Stored relations against a model: lookups, index lookups and scans, over every mix of overlay and store.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use delta::{Delta, Epoch};
use proptest::prelude::*;
use storage::{Durability, MemoryStore, StateId, Store};

use super::*;
use crate::operator::{GOES_ON, StepContext};
use crate::operators::testing::{Bag, Kind, Row, TextRow, batch, schema_of, shown, text, text_rows};

const KINDS: [Kind; 3] = [Kind::Int, Kind::Text, Kind::Int];
const INDEXES: [(StateId, &[usize]); 2] = [(StateId(11), &[1]), (StateId(12), &[2, 1])];

#[derive(Clone, Debug)]
enum Action {
    /// Rows set or removed: key, text, number.
    Epoch(Vec<(i64, i64, Option<i64>, bool)>),
    Checkpoint,
    Commit,
    AddIndex,
    Read,
}

fn action() -> impl Strategy<Value = Action> {
    let row = (0..5_i64, 0..3_i64, prop::option::of(0..3_i64), any::<bool>());
    prop_oneof![
        5 => prop::collection::vec(row, 1..8).prop_map(Action::Epoch),
        2 => Just(Action::Checkpoint),
        2 => Just(Action::Commit),
        1 => Just(Action::AddIndex),
        2 => Just(Action::Read),
    ]
}

struct Relation {
    view: Materialize,
    store: MemoryStore,
    snapshot: Arc<dyn storage::Snapshot>,
    rows: Bag<Row>,
    pending: Option<storage::ChangeSet>,
    workers: rayon::ThreadPool,
}

impl Relation {
    fn new(form: ViewForm, in_order: bool, indexes: usize) -> Self {
        let layout = |(state, columns): &(StateId, &[usize])| IndexLayout { state: *state, columns: columns.to_vec() };
        let indexes = INDEXES[..indexes].iter().map(layout).collect();
        let layout = ViewLayout { state: StateId(9), form, indexes };
        let store = MemoryStore::new();
        Self {
            view: Materialize::new(schema_of(&KINDS), layout, in_order).unwrap(),
            snapshot: store.snapshot().unwrap(),
            store,
            rows: Bag::new(),
            pending: None,
            workers: rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap(),
        }
    }

    fn apply(&mut self, changes: &[(Row, i64)]) {
        for (row, weight) in changes {
            crate::operators::testing::add(&mut self.rows, row.clone(), *weight);
        }
        let (rows, weights): (Vec<Row>, Vec<i64>) = changes.iter().cloned().unzip();
        let plain = weights.iter().all(|weight| *weight == 1);
        let delta = Delta::new(batch(&KINDS, &rows), (!plain).then(|| weights.into()));
        let none = HashMap::new();
        let context = StepContext {
            epoch: Epoch(1),
            timestamp_us: 0,
            watermarks_before: &none,
            watermarks: &none,
            snapshot: &self.snapshot,
            workers: &self.workers,
            recursion_bytes: usize::MAX,
            stopped: &GOES_ON,
        };
        self.view.apply(&context, &[delta]).unwrap();
    }

    fn checkpoint(&mut self) {
        if self.pending.is_none() {
            let mut changes = storage::ChangeSet::new();
            self.view.checkpoint(&self.workers, self.snapshot.as_ref(), &mut changes).unwrap();
            self.pending = Some(changes);
        }
    }

    fn commit(&mut self) {
        self.checkpoint();
        self.store.commit(self.pending.take().unwrap(), Durability::Process).unwrap();
        self.snapshot = self.store.snapshot().unwrap();
        self.view.committed();
    }

    fn add_index(&mut self) {
        let Some((state, columns)) = INDEXES.get(self.view.layout().indexes.len()) else { return };
        self.commit();
        if !self.view.is_clean() {
            self.commit();
        }
        let index = IndexLayout { state: *state, columns: columns.to_vec() };
        let view = self.view.published();
        self.view.add_index(index.clone()).unwrap();
        let snapshot = self.snapshot.clone();
        view.index_entries(&snapshot, &index, &mut |changes| Ok(self.store.commit(changes, Durability::Process)?))
            .unwrap();
        self.snapshot = self.store.snapshot().unwrap();
    }

    fn shown(&self) -> Vec<TextRow> {
        let rows = self.rows.iter().flat_map(|(row, count)| std::iter::repeat_n(row, usize::try_from(*count).unwrap()));
        let mut rows: Vec<TextRow> =
            rows.map(|row| KINDS.iter().zip(row).map(|(kind, value)| shown(*kind, *value)).collect()).collect();
        rows.sort();
        rows
    }

    fn read(&mut self) {
        let view = self.view.published();
        let rows = self.shown();
        let sorted = |mut rows: Vec<TextRow>| {
            rows.sort();
            rows
        };
        let scan = |projection: Option<&[usize]>| {
            let batches = view.scan(self.snapshot.clone(), projection).unwrap();
            batches.flat_map(|batch| text_rows(&batch.unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(sorted(scan(None)), rows);
        let projected = rows.iter().map(|row| vec![row[2].clone(), row[0].clone()]).collect();
        assert_eq!(sorted(scan(Some(&[2, 0]))), sorted(projected));
        assert_eq!(view.row_count(self.snapshot.as_ref()).unwrap(), rows.len());

        for (position, index) in view.layout().indexes.iter().enumerate() {
            for value in 0..4_i64 {
                let (column, wanted): (ArrayRef, String) = match position {
                    0 => (Arc::new(StringViewArray::from(vec![text(value)])), text(value)),
                    // A prefix of the index's columns; 3 stands for NULL.
                    _ => {
                        let value = Some(value).filter(|value| *value < 3);
                        (Arc::new(Int64Array::from(vec![value])), shown(Kind::Int, value))
                    }
                };
                let found = view.index_lookup(self.snapshot.as_ref(), index.state, &[column]).unwrap();
                let want = rows.iter().filter(|row| row[index.columns[0]] == wanted).cloned().collect();
                assert_eq!(sorted(text_rows(&found)), sorted(want));
            }
        }
        if let ViewForm::Keyed { .. } = view.layout().form {
            let keys: ArrayRef = Arc::new(Int64Array::from_iter_values((0..6).rev()));
            let found = view.get(self.snapshot.as_ref(), &[keys]).unwrap();
            let want: Vec<TextRow> = rows.iter().rev().cloned().collect();
            assert_eq!(text_rows(&found), want);
        }
    }
}

/// Runs actions on a relation; `changes` makes of wishes what may happen.
fn run(mut relation: Relation, actions: Vec<Action>, changes: impl Fn(&Bag<Row>, Vec<(Row, bool)>) -> Vec<(Row, i64)>) {
    for action in actions {
        match action {
            Action::Epoch(wishes) => {
                let wishes =
                    wishes.into_iter().map(|(key, text, number, set)| (vec![Some(key), Some(text), number], set));
                let changes = changes(&relation.rows, wishes.collect());
                if !changes.is_empty() {
                    relation.apply(&changes);
                }
            }
            Action::Checkpoint => relation.checkpoint(),
            Action::Commit => relation.commit(),
            Action::AddIndex => relation.add_index(),
            Action::Read => relation.read(),
        }
    }
    relation.read();
    relation.commit();
    relation.read();
}

/// Rows set and deleted by key, as true changes in order.
fn by_key(rows: &Bag<Row>, wishes: Vec<(Row, bool)>) -> Vec<(Row, i64)> {
    let mut now: BTreeMap<Option<i64>, Row> = rows.keys().map(|row| (row[0], row.clone())).collect();
    let mut changes = Vec::new();
    for (row, set) in wishes {
        changes.extend(now.remove(&row[0]).map(|old| (old, -1)));
        if set {
            now.insert(row[0], row.clone());
            changes.push((row, 1));
        }
    }
    changes
}

fn added_and_removed(rows: &Bag<Row>, wishes: Vec<(Row, bool)>) -> Vec<(Row, i64)> {
    let mut now = rows.clone();
    let mut changes = Vec::new();
    for (row, added) in wishes {
        let weight = if added { 1 } else { -now.get(&row).copied().unwrap_or(0).min(1) };
        if weight != 0 {
            crate::operators::testing::add(&mut now, row.clone(), weight);
            changes.push((row, weight));
        }
    }
    changes
}

proptest! {
    #[test]
    fn keyed_rows_are_found(actions in prop::collection::vec(action(), 1..30), indexes in 0..3_usize) {
        run(Relation::new(ViewForm::Keyed { key: vec![0] }, true, indexes), actions, by_key);
    }

    #[test]
    fn keyed_rows_that_come_in_any_order_are_found(actions in prop::collection::vec(action(), 1..30), indexes in 0..3_usize) {
        run(Relation::new(ViewForm::Keyed { key: vec![0] }, false, indexes), actions, |rows, wishes| {
            let mut changes = by_key(rows, wishes);
            changes.reverse();
            changes
        });
    }

    #[test]
    fn rows_without_a_key_are_counted(actions in prop::collection::vec(action(), 1..30), indexes in 0..3_usize) {
        run(Relation::new(ViewForm::Bag, true, indexes), actions, added_and_removed);
    }

    #[test]
    fn rows_that_stay_are_logged(actions in prop::collection::vec(action(), 1..30), indexes in 0..3_usize) {
        run(Relation::new(ViewForm::Log, true, indexes), actions, |_, wishes| {
            wishes.into_iter().map(|(row, once)| (row, if once { 1 } else { 2 })).collect()
        });
    }
}

#[test]
fn a_log_refuses_to_lose_a_row() {
    let mut relation = Relation::new(ViewForm::Log, true, 0);
    let row = vec![Some(1), Some(1), None];
    relation.apply(&[(row.clone(), 1)]);
    let delta = Delta::new(batch(&KINDS, &[row]), Some(vec![-1].into()));
    let none = HashMap::new();
    let context = StepContext {
        epoch: Epoch(2),
        timestamp_us: 0,
        watermarks_before: &none,
        watermarks: &none,
        snapshot: &relation.snapshot,
        workers: &relation.workers,
        recursion_bytes: usize::MAX,
        stopped: &GOES_ON,
    };
    assert!(matches!(relation.view.apply(&context, &[delta]), Err(crate::Error::Broken(_))));
}

#[test]
fn an_idle_log_fills_its_blocks() {
    let mut relation = Relation::new(ViewForm::Log, true, 1);
    for i in 0..100 {
        relation.apply(&[(vec![Some(i), Some(i % 3), None], 1)]);
        relation.commit();
    }
    let head = Head::read(StateId(9), relation.snapshot.as_ref()).unwrap();
    assert_eq!(head, Head { rows: 100, next_block: 1 });
    relation.read();
}

#[test]
fn large_relations_come_in_batches() {
    for form in [ViewForm::Keyed { key: vec![0] }, ViewForm::Bag, ViewForm::Log] {
        let mut relation = Relation::new(form, true, 1);
        let rows =
            |range: std::ops::Range<i64>| range.map(|i| (vec![Some(i), Some(i % 7), Some(i)], 1)).collect::<Vec<_>>();
        relation.apply(&rows(0..20_000));
        relation.commit();
        relation.apply(&rows(20_000..30_000));
        relation.checkpoint();
        relation.apply(&rows(30_000..40_000));
        let view = relation.view.published();
        let batches: Vec<_> = view.scan(relation.snapshot.clone(), Some(&[0])).unwrap().map(Result::unwrap).collect();
        assert!(batches.iter().all(|batch| batch.num_rows() <= 10_000));
        let mut found: Vec<TextRow> = batches.iter().flat_map(text_rows).collect();
        found.sort();
        assert_eq!(found, relation.shown().into_iter().map(|row| vec![row[0].clone()]).collect::<Vec<_>>());
        let sevenths: ArrayRef = Arc::new(StringViewArray::from(vec![text(3)]));
        let found = view.index_lookup(relation.snapshot.as_ref(), INDEXES[0].0, &[sevenths]).unwrap();
        assert_eq!(found.num_rows(), (0..40_000).filter(|i| i % 7 == 3).count());
    }
}
