//! Ordered keys against a plain map, through checkpoints, evictions and restarts.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use storage::{Durability, MemoryStore, Store};

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Add(u8, i64),
    /// Takes away all of a range.
    Clear(u8, u8),
    /// A range by its two ends, and a limit.
    Look(u8, u8, usize),
    Checkpoint,
    /// The checkpoint before is committed, with that budget.
    Commit(usize),
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..20_u8, -1..3_i64).prop_map(|(key, weight)| Op::Add(key, weight)),
        4 => (0..20_u8, 0..21_u8, 1..5_usize).prop_map(|(from, to, limit)| Op::Look(from, to, limit)),
        1 => (0..20_u8, 0..21_u8).prop_map(|(from, to)| Op::Clear(from, to)),
        2 => Just(Op::Checkpoint),
        2 => prop_oneof![Just(0), Just(usize::MAX)].prop_map(Op::Commit),
        1 => Just(Op::Restart),
    ];
    prop::collection::vec(op, 0..60)
}

/// A key of the first virtual node.
fn key(number: u8) -> Vec<u8> {
    vec![0, number]
}

proptest! {
    #[test]
    fn ranges_and_neighbours_are_those_of_a_plain_map(ops in ops()) {
        let store = MemoryStore::new();
        let mut snapshot = store.snapshot().unwrap();
        let mut ordered = Ordered::new(StateId(7), 0);
        let mut model: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        let mut pending: Option<ChangeSet> = None;
        for op in ops {
            match op {
                Op::Add(number, weight) => {
                    ordered.add(&key(number), weight, snapshot.as_ref()).unwrap();
                    *model.entry(key(number)).or_default() += weight;
                    model.retain(|_, weight| *weight != 0);
                }
                Op::Look(from, to, limit) => {
                    let (from, to) = (key(from), key(to));
                    let there: Vec<_> = match from < to {
                        true => model.range(from.clone()..to.clone()).map(|(key, weight)| (key.clone(), [*weight, 0])).collect(),
                        false => vec![],
                    };
                    let found = ordered.range(&from, &to, limit, snapshot.as_ref()).unwrap();
                    prop_assert_eq!(found, there.iter().take(limit).cloned().collect::<Vec<_>>());
                    let last = ordered.last(&from, &to, snapshot.as_ref()).unwrap();
                    prop_assert_eq!(last, there.last().map(|(key, _)| key.clone()));
                }
                Op::Clear(from, to) => {
                    for (found, _) in ordered.range(&key(from), &key(to), usize::MAX, snapshot.as_ref()).unwrap() {
                        ordered.set(&found, [0; 2]);
                        model.remove(&found);
                    }
                }
                Op::Checkpoint if pending.is_none() => {
                    let mut changes = ChangeSet::new();
                    ordered.checkpoint(&mut changes);
                    pending = Some(changes);
                }
                Op::Commit(budget) => {
                    if let Some(changes) = pending.take() {
                        store.commit(changes, Durability::Process).unwrap();
                        snapshot = store.snapshot().unwrap();
                        ordered.committed(budget);
                    }
                }
                Op::Restart => {
                    let mut changes = pending.take().unwrap_or_default();
                    ordered.checkpoint(&mut changes);
                    store.commit(changes, Durability::Process).unwrap();
                    snapshot = store.snapshot().unwrap();
                    ordered = Ordered::new(StateId(7), 0);
                }
                Op::Checkpoint => {}
            }
        }
    }
}

#[test]
fn what_begins_alike_ends_at_the_next_prefix() {
    assert_eq!(behind(&[1, 2]), Some(vec![1, 3]));
    assert_eq!(behind(&[1, 255]), Some(vec![2]));
    assert_eq!(behind(&[255, 255]), None);
}
