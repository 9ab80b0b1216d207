#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use storage::{Durability, MemoryStore, Store};

use super::*;
use crate::state::KeyEncoder;
use crate::state::keys::integer_column;

struct Map {
    map: Multimap,
    store: MemoryStore,
    encoder: KeyEncoder,
}

impl Map {
    fn new(columns: usize) -> Self {
        let fields = (0..columns).map(|i| Field::new(format!("c{i}"), DataType::Utf8View, true));
        let codec = RowCodec::new(Arc::new(Schema::new(fields.collect::<Vec<_>>()))).unwrap();
        Self {
            map: Multimap::new(StateId(3), 0, Arc::new(codec)),
            store: MemoryStore::new(),
            encoder: KeyEncoder::new(vec![DataType::Int64]).unwrap(),
        }
    }

    fn keys(&self, keys: &[i64]) -> (Vec<u64>, EncodedKeys) {
        let column = integer_column(keys.iter().map(|key| Some(*key)).collect());
        // All in virtual node 0.
        (keys.iter().map(|key| *key as u64).collect(), self.encoder.encode(&[column], keys.len()).unwrap())
    }

    fn add(&mut self, rows: &[(i64, i64, i64)]) {
        let (hashes, keys) = self.keys(&rows.iter().map(|(key, _, _)| *key).collect::<Vec<_>>());
        let values: ArrayRef = Arc::new(rows.iter().map(|(_, row, _)| Some(text(*row))).collect::<StringViewArray>());
        let columns = vec![values; self.map.codec().schema().fields().len()];
        let encoded = self.map.codec().encode(&columns, rows.len()).unwrap();
        let weights: Vec<i64> = rows.iter().map(|(_, _, weight)| *weight).collect();
        let plain = weights.iter().all(|weight| *weight == 1);
        self.map.begin_step();
        let store = self.store.snapshot().unwrap();
        self.map.add(&hashes, &keys, &encoded, (!plain).then_some(&weights), store.as_ref()).unwrap();
    }

    fn get(&mut self, key: i64) -> BTreeMap<String, i64> {
        let (hashes, keys) = self.keys(&[key]);
        let mut slots = Vec::new();
        self.map.probe(&hashes, &keys, self.store.snapshot().unwrap().as_ref(), &mut slots).unwrap();
        let mut found = BTreeMap::new();
        let mut total = 0;
        for (row, weight) in self.map.rows(slots[0]) {
            let batch = self.map.codec().decode(&[row]).unwrap();
            let row = if batch.num_columns() == 0 {
                String::new()
            } else {
                crate::operators::testing::text_rows(&batch)[0][0].clone()
            };
            *found.entry(row).or_default() += weight;
            total += weight;
        }
        assert_eq!(self.map.total(slots[0]), total);
        found
    }

    fn checkpoint(&mut self) -> ChangeSet {
        let mut changes = ChangeSet::new();
        self.map.checkpoint(&mut changes);
        changes
    }

    fn commit(&mut self, changes: ChangeSet, budget_bytes: usize) {
        self.store.commit(changes, Durability::Process).unwrap();
        self.map.committed(budget_bytes);
    }

    fn restart(&mut self) {
        self.map = Multimap::new(StateId(3), 0, self.map.codec().clone());
    }
}

fn text(row: i64) -> String {
    format!("row {row} {}", "x".repeat(row as usize % 40))
}

#[derive(Clone, Debug)]
enum Action {
    Add(Vec<(i64, i64, i64)>),
    Get(i64),
    Checkpoint,
    Commit(bool),
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    let rows =
        prop::collection::vec((0..4_i64, 0..4_i64, prop_oneof![3 => Just(1), 2 => Just(-1), 1 => Just(2)]), 1..8);
    prop_oneof![
        4 => rows.prop_map(Action::Add),
        2 => (0..4_i64).prop_map(Action::Get),
        2 => Just(Action::Checkpoint),
        3 => any::<bool>().prop_map(Action::Commit),
        1 => Just(Action::Restart),
    ]
}

proptest! {
    #[test]
    fn it_holds_what_was_added(actions in prop::collection::vec(action(), 1..60), columns in 0..2_usize) {
        let mut map = Map::new(columns);
        let mut model: BTreeMap<i64, BTreeMap<String, i64>> = BTreeMap::new();
        let mut pending: Option<ChangeSet> = None;
        for action in actions {
            match action {
                Action::Add(mut rows) => {
                    // Nothing is taken away that isn't there.
                    rows.retain(|(key, row, weight)| {
                        let row = if columns == 0 { String::new() } else { text(*row) };
                        let count = model.entry(*key).or_default().entry(row).or_default();
                        let fine = *count + weight >= 0;
                        *count += if fine { *weight } else { 0 };
                        fine
                    });
                    if !rows.is_empty() {
                        map.add(&rows);
                    }
                }
                Action::Get(key) => {
                    let mut want = model.get(&key).cloned().unwrap_or_default();
                    want.retain(|_, count| *count != 0);
                    prop_assert_eq!(map.get(key), want);
                }
                Action::Checkpoint => if pending.is_none() {
                    pending = Some(map.checkpoint());
                }
                Action::Commit(evict) => {
                    let changes = pending.take().unwrap_or_else(|| map.checkpoint());
                    map.commit(changes, if evict { 0 } else { usize::MAX });
                }
                Action::Restart => {
                    if let Some(changes) = pending.take() {
                        map.commit(changes, usize::MAX);
                    }
                    let changes = map.checkpoint();
                    map.commit(changes, usize::MAX);
                    map.restart();
                }
            }
        }
        for key in 0..4 {
            let mut want = model.remove(&key).unwrap_or_default();
            want.retain(|_, count| *count != 0);
            prop_assert_eq!(map.get(key), want);
        }
    }
}

#[test]
fn adding_to_an_evicted_key_reads_nothing_and_appends() {
    let mut map = Map::new(1);
    map.add(&[(1, 10, 1), (1, 11, 1)]);
    let changes = map.checkpoint();
    map.commit(changes, 0);
    map.add(&[(1, 12, 1)]);
    assert_eq!(map.map.len(), 1);
    let changes = map.checkpoint();
    assert!(changes.iter().all(|(change, _, _)| change == storage::Change::Append));
    map.commit(changes, usize::MAX);
    assert_eq!(map.get(1).len(), 3);
}

#[test]
fn a_row_that_comes_and_goes_between_checkpoints_is_never_written() {
    let mut map = Map::new(1);
    map.add(&[(1, 10, 1)]);
    map.add(&[(1, 10, -1)]);
    assert!(map.checkpoint().is_empty());
}

#[test]
fn dead_rows_give_their_memory_back() {
    let mut map = Map::new(1);
    for round in 0..200 {
        map.add(&(0..100).map(|row| (1, round * 100 + row, 1)).collect::<Vec<_>>());
        if round > 0 {
            map.add(&(0..100).map(|row| (1, (round - 1) * 100 + row, -1)).collect::<Vec<_>>());
        }
        let changes = map.checkpoint();
        map.commit(changes, usize::MAX);
    }
    assert_eq!(map.map.len(), 100);
    assert!(map.map.bytes() < 1 << 20, "{} bytes", map.map.bytes());
    // And so does the store: garbage doesn't pile up under the key.
    let (hashes, keys) = map.keys(&[1]);
    let key = [&vnode_prefix(StateId(3), delta::vnode_of(hashes[0]))[..], keys.key(0)].concat();
    let stored = map.store.snapshot().unwrap().get(&key).unwrap().unwrap();
    assert!(stored.len() < 100_000, "{} bytes", stored.len());
}
