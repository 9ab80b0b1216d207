#![allow(clippy::unwrap_used)]

use arrow::datatypes::DataType;
use storage::{Durability, MemoryStore, Store};

use super::*;
use crate::state::KeyEncoder;
use crate::state::keys::{hash_keys, integer_column};

/// Adds to the numbers of some keys that all lie in one shard.
fn add(map: &mut Keyed<Weights>, store: &MemoryStore, changes: &[(i64, i64)]) -> Vec<i64> {
    let column = integer_column(changes.iter().map(|(key, _)| Some(*key)).collect());
    let keys =
        KeyEncoder::new(vec![DataType::Int64]).unwrap().encode(std::slice::from_ref(&column), changes.len()).unwrap();
    let (mut hashes, mut slots) = (Vec::new(), Vec::new());
    hash_keys(&[column], changes.len(), &mut hashes);
    map.begin_step();
    map.locate(&hashes, &keys, store.snapshot().unwrap().as_ref(), &mut slots, &mut vec![]).unwrap();
    slots.iter().zip(changes).for_each(|(slot, (_, change))| map.values.0[*slot as usize] += change);
    slots.iter().map(|slot| map.values.0[*slot as usize]).collect()
}

/// Numbers whose keys all lie in the first shard.
fn numbers() -> impl Iterator<Item = i64> {
    (0..).filter(|number| {
        let mut hashes = Vec::new();
        hash_keys(&[integer_column(vec![Some(*number)])], 1, &mut hashes);
        delta::shard_of(delta::vnode_of(hashes[0])) == 0
    })
}

fn checkpoint(map: &mut Keyed<Weights>, store: &MemoryStore, budget_bytes: usize) -> usize {
    let mut changes = ChangeSet::new();
    map.checkpoint(&mut changes);
    let written = changes.len();
    store.commit(changes, Durability::Process).unwrap();
    map.committed(budget_bytes);
    written
}

#[test]
fn evicted_keys_come_back() {
    let store = MemoryStore::new();
    let mut map = Keyed::new(StateId(7), 0, Weights::default());
    let keys: Vec<i64> = numbers().take(50).collect();
    let all: Vec<(i64, i64)> = keys.iter().map(|key| (*key, key + 1)).collect();
    add(&mut map, &store, &all);
    assert_eq!(checkpoint(&mut map, &store, 0), 50);
    assert_eq!(map.keys.len(), 0);
    assert_eq!(add(&mut map, &store, &[(keys[3], 0), (keys[4], 1)]), [keys[3] + 1, keys[4] + 2]);
    assert_eq!(map.keys.len(), 2);
}

#[test]
fn what_was_not_touched_is_not_written() {
    let store = MemoryStore::new();
    let mut map = Keyed::new(StateId(7), 0, Weights::default());
    let keys: Vec<i64> = numbers().take(3).collect();
    add(&mut map, &store, &[(keys[0], 1), (keys[1], 1)]);
    assert_eq!(checkpoint(&mut map, &store, usize::MAX), 2);
    add(&mut map, &store, &[(keys[1], 1)]);
    assert_eq!(checkpoint(&mut map, &store, usize::MAX), 1);
    assert_eq!(checkpoint(&mut map, &store, usize::MAX), 0);
}

#[test]
fn a_key_that_comes_and_goes_between_checkpoints_is_never_written() {
    let store = MemoryStore::new();
    let mut map = Keyed::new(StateId(7), 0, Weights::default());
    let key = numbers().next().unwrap();
    add(&mut map, &store, &[(key, 1)]);
    add(&mut map, &store, &[(key, -1)]);
    assert_eq!(checkpoint(&mut map, &store, usize::MAX), 0);
    assert_eq!(map.keys.len(), 0);
}

#[test]
fn a_deleted_key_is_known_to_be_gone_while_its_checkpoint_is_under_way() {
    let store = MemoryStore::new();
    let mut map = Keyed::new(StateId(7), 0, Weights::default());
    let key = numbers().next().unwrap();
    add(&mut map, &store, &[(key, 5)]);
    checkpoint(&mut map, &store, 0);
    add(&mut map, &store, &[(key, -5)]);
    let mut changes = ChangeSet::new();
    map.checkpoint(&mut changes);
    // The store still says 5.
    assert_eq!(add(&mut map, &store, &[(key, 1)]), [1]);
    store.commit(changes, Durability::Process).unwrap();
    map.committed(0);
    assert_eq!(add(&mut map, &store, &[(key, 1)]), [2]);
}

#[test]
fn steps_are_numbered_anew_before_they_run_out() {
    let store = MemoryStore::new();
    let mut map = Keyed::new(StateId(7), 0, Weights::default());
    let keys: Vec<i64> = numbers().take(3).collect();
    add(&mut map, &store, &[(keys[0], 1), (keys[1], 1)]);
    assert_eq!(checkpoint(&mut map, &store, usize::MAX), 2);
    map.step = LAST_STEP - 1;
    add(&mut map, &store, &[(keys[1], 1), (keys[2], 1)]);
    add(&mut map, &store, &[(keys[2], 1)]);
    assert!(map.step < 10);
    assert_eq!(checkpoint(&mut map, &store, usize::MAX), 2);
    assert_eq!(add(&mut map, &store, &[(keys[0], 0), (keys[1], 0), (keys[2], 0)]), [1, 2, 2]);
}
