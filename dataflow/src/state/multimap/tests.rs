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
fn a_key_that_is_cleared_and_filled_again_has_what_came_last() {
    let mut map = Map::new(1);
    map.add(&[(1, 1, 1), (1, 2, 1)]);
    let changes = map.checkpoint();
    map.commit(changes, usize::MAX);
    let (hashes, keys) = map.keys(&[1]);
    let slot = map.map.slot(hashes[0], keys.key(0));
    map.map.clear(slot);
    map.add(&[(1, 3, 1)]);
    let changes = map.checkpoint();
    map.commit(changes, 0);
    map.restart();
    assert_eq!(map.get(1), BTreeMap::from([(text(3), 1)]));
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

/// Rows of one number, which is their time.
struct Timed {
    map: Multimap,
    store: MemoryStore,
    encoder: KeyEncoder,
}

impl Timed {
    fn new() -> Self {
        let encoder = KeyEncoder::new(vec![DataType::Int64]).unwrap();
        Self { map: Self::empty(), store: MemoryStore::new(), encoder }
    }

    fn empty() -> Multimap {
        let schema = Schema::new(vec![Field::new("c0", DataType::Int64, true)]);
        Multimap::expiring(StateId(3), 0, Arc::new(RowCodec::new(Arc::new(schema)).unwrap()), 0)
    }

    /// Keys that are in the shard that the map is of.
    fn keys(&self, count: usize) -> (Vec<u64>, EncodedKeys) {
        let mut keys: Vec<i64> = Vec::new();
        let mut hashes = Vec::new();
        for key in 0.. {
            let mut hash = Vec::new();
            crate::state::keys::hash_keys(&[integer_column(vec![Some(key)])], 1, &mut hash);
            if delta::shard_of(delta::vnode_of(hash[0])) == 0 {
                keys.push(key);
                hashes.push(hash[0]);
            }
            if keys.len() == count {
                break;
            }
        }
        let column = integer_column(keys.into_iter().map(Some).collect());
        (hashes, self.encoder.encode(&[column], count).unwrap())
    }

    /// A row of each of these times, each under a key of its own.
    fn add(&mut self, times: &[Option<i64>]) {
        let (hashes, keys) = self.keys(times.len());
        let rows = self.map.codec().encode(&[integer_column(times.to_vec())], times.len()).unwrap();
        let store = self.store.snapshot().unwrap();
        self.map.begin_step();
        self.map.add(&hashes, &keys, &rows, None, store.as_ref()).unwrap();
    }

    fn expire(&mut self, to: i64) {
        let store = self.store.snapshot().unwrap();
        self.map.expire(to, &self.encoder, store.as_ref()).unwrap();
    }

    fn commit(&mut self, budget_bytes: usize) -> usize {
        let mut changes = ChangeSet::new();
        self.map.checkpoint(&mut changes);
        let written = changes.len();
        self.store.commit(changes, Durability::Process).unwrap();
        self.map.committed(budget_bytes);
        written
    }

    fn stored(&self) -> usize {
        crate::operators::testing::contents(&self.store).len()
    }
}

#[test]
fn rows_that_are_over_before_a_checkpoint_are_never_written() {
    let mut map = Timed::new();
    map.add(&(0..100).map(Some).collect::<Vec<_>>());
    map.expire(49);
    assert_eq!(map.map.len(), 50);
    // Late ones aren't kept.
    map.add(&[Some(3), None, Some(200)]);
    assert_eq!(map.map.len(), 52);
    map.commit(usize::MAX);
    // The null and the last one came under keys that had other rows before.
    assert_eq!(map.stored(), 52);
    map.expire(1000);
    map.commit(usize::MAX);
    assert_eq!((map.map.len(), map.stored()), (1, 1));
}

#[test]
fn rows_that_are_over_leave_the_store_though_they_are_not_in_memory() {
    for restart in [false, true] {
        let mut map = Timed::new();
        map.add(&(0..100).map(Some).collect::<Vec<_>>());
        map.commit(0);
        if restart {
            map.map = Timed::empty();
        }
        assert_eq!((map.map.len(), map.stored()), (0, 100));
        map.expire(49);
        map.commit(0);
        assert_eq!(map.stored(), 50);
        // The store isn't looked through again before all that it had may be over.
        map.expire(97);
        assert_eq!(map.commit(0), 0);
        map.expire(99);
        map.commit(0);
        assert_eq!(map.stored(), 0);
    }
}
