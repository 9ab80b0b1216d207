#![allow(clippy::unwrap_used)]

use super::*;
use crate::Visit;

fn numbered(number: u64) -> ChangeSet {
    let mut changes = ChangeSet::new();
    changes.put(&number.to_be_bytes(), b"");
    // A commit is whole when its two keys are both there.
    changes.put(&(number + 1_000_000).to_be_bytes(), b"");
    changes
}

/// The numbers of the commits that the store holds, each checked to be whole.
fn held(store: &FaultStore) -> Vec<u64> {
    let snapshot = store.snapshot().unwrap();
    let mut numbers = Vec::new();
    let mut visit = |key: &[u8], _: &[u8]| {
        numbers.push(u64::from_be_bytes(key.try_into().unwrap()));
        Visit::Continue
    };
    snapshot.scan(&[], &[0xff], &mut visit).unwrap();
    let (first, second) = numbers.split_at(numbers.len() / 2);
    assert_eq!(second, first.iter().map(|n| n + 1_000_000).collect::<Vec<_>>());
    first.to_vec()
}

#[test]
fn a_power_cut_takes_a_suffix_of_what_was_not_durable() {
    let store = FaultStore::new(FaultPlan::quiet(1));
    for number in 0..10 {
        let durability = if number == 3 { Durability::Disk } else { Durability::Process };
        store.commit(numbered(number), durability).unwrap();
    }
    assert_eq!(store.undurable(), 6);
    assert_eq!(held(&store.restart(Loss::Nothing)).len(), 10);
    assert_eq!(held(&store.restart(Loss::Last(2))), (0..8).collect::<Vec<_>>());
    assert_eq!(held(&store.restart(Loss::Last(99))), [0, 1, 2, 3]);
}

#[test]
fn a_stopped_store_takes_nothing_more() {
    let store = FaultStore::new(FaultPlan::quiet(1));
    let next = store.restart(Loss::Nothing);
    assert!(matches!(store.commit(numbered(0), Durability::Disk), Err(Error::Stopped)));
    assert!(matches!(store.snapshot(), Err(Error::Stopped)));
    next.commit(numbered(0), Durability::Disk).unwrap();
}

#[test]
fn a_failed_commit_is_there_whole_or_not_at_all() {
    for (fault, there) in
        [(Fault::FailBefore, false), (Fault::FailAfter, true), (Fault::CrashBefore, false), (Fault::CrashAfter, true)]
    {
        let store = FaultStore::new(FaultPlan::quiet(1).with(1, fault));
        store.commit(numbered(0), Durability::Process).unwrap();
        let error = store.commit(numbered(1), Durability::Process).unwrap_err();
        let uncertain = matches!(fault, Fault::FailBefore | Fault::FailAfter);
        assert_eq!(matches!(error, Error::Uncertain { .. }), uncertain, "{fault:?}");
        assert!(store.is_stopped());
        let next = store.restart(Loss::Nothing);
        assert_eq!(held(&next).contains(&1), there, "{fault:?}");
        // The plan counts on over the restart, so the fault doesn't come again.
        next.commit(numbered(2), Durability::Process).unwrap();
    }
}

#[test]
fn a_full_disk_applies_nothing_and_recovers() {
    let store = FaultStore::new(FaultPlan::quiet(1).with(1, Fault::Full(2)));
    store.commit(numbered(0), Durability::Process).unwrap();
    for _ in 0..2 {
        assert!(matches!(store.commit(numbered(1), Durability::Process), Err(Error::Full { .. })));
        assert_eq!(held(&store), [0]);
    }
    store.commit(numbered(1), Durability::Process).unwrap();
    assert_eq!(held(&store), [0, 1]);
}

/// Runs 300 commits against a seed's faults, restarting whenever the store stops, and tells what happened.
fn run(seed: u64) -> Vec<String> {
    let mut log = Vec::new();
    let mut store = FaultStore::new(FaultPlan::seeded(seed, 100));
    let mut durable = None;
    for number in 0..300 {
        let durability = if number % 7 == 0 { Durability::Disk } else { Durability::Process };
        match store.commit(numbered(number), durability) {
            Ok(()) => durable = if durability == Durability::Disk { Some(number) } else { durable },
            Err(error) => log.push(format!("{number}: {error}")),
        }
        if store.is_stopped() {
            store = store.restart(Loss::Drawn);
            let held = held(&store);
            assert!(durable.is_none_or(|number| held.contains(&number)), "a durable commit is never lost");
            log.push(format!("holds {held:?}"));
        }
    }
    log
}

#[test]
fn a_seed_replays_the_run() {
    assert_eq!(run(42), run(42));
    assert_ne!(run(42), run(43));
    let kinds = |word: &str| run(42).iter().any(|line| line.contains(word));
    assert!(kinds("no space") && kinds("may or may not") && kinds("stopped") && kinds("holds"));
}
