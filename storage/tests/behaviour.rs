//! What every store promises, run over each of them; and random commits compared with a plain map.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use storage::{
    ChangeSet, Durability, MemoryStore, RocksOptions, RocksStore, Snapshot, StateId, Store, Visit, state_key,
    state_range,
};
use tempfile::TempDir;

/// Small enough that a test is quick; and never refused for want of space on a developer's machine.
fn options(large_commit_entries: usize) -> RocksOptions {
    RocksOptions {
        block_cache_bytes: 4 << 20,
        memtable_bytes: 4 << 20,
        large_commit_entries,
        large_commit_bytes: usize::MAX,
        reserve_bytes: 0,
        ..RocksOptions::default()
    }
}

/// Each store with its directory: in memory, by write batches only, by sorted files only, by either.
fn stores() -> Vec<(&'static str, TempDir, Arc<dyn Store>)> {
    let mut stores: Vec<(_, _, Arc<dyn Store>)> =
        vec![("memory", TempDir::new().unwrap(), Arc::new(MemoryStore::new()))];
    for (name, entries) in [("batches", usize::MAX), ("files", 0), ("mixed", 3)] {
        let directory = TempDir::new().unwrap();
        let store = RocksStore::open(directory.path(), &options(entries)).unwrap();
        stores.push((name, directory, Arc::new(store)));
    }
    stores
}

fn key(state: u32, key: &str) -> Vec<u8> {
    state_key(StateId(state), 7, key.as_bytes())
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

fn scan(snapshot: &dyn Snapshot, start: &[u8], end: &[u8]) -> Entries {
    let mut entries = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        entries.push((key.to_vec(), value.to_vec()));
        Visit::Continue
    };
    snapshot.scan(start, end, &mut visit).unwrap();
    entries
}

fn all(snapshot: &dyn Snapshot) -> Entries {
    scan(snapshot, &[], &[0xf0])
}

fn changes(fill: impl FnOnce(&mut ChangeSet)) -> ChangeSet {
    let mut changes = ChangeSet::new();
    fill(&mut changes);
    changes
}

fn value(snapshot: &dyn Snapshot, key: &[u8]) -> Option<Vec<u8>> {
    snapshot.get(key).unwrap().map(|value| value.to_vec())
}

#[test]
fn a_commit_is_read_back_by_get_multi_get_and_scan() {
    for (name, _directory, store) in stores() {
        let fill = |c: &mut ChangeSet| {
            for i in 0..100 {
                c.put(&key(1, &format!("{i:03}")), format!("v{i}").as_bytes());
            }
            c.put(&key(2, "a"), b"");
        };
        store.commit(changes(fill), Durability::Process).unwrap();
        let snapshot = store.snapshot().unwrap();
        assert_eq!(value(&*snapshot, &key(1, "042")).unwrap(), b"v42", "{name}");
        assert_eq!(value(&*snapshot, &key(2, "a")).unwrap(), b"", "{name}: an empty value is a value");
        assert_eq!(value(&*snapshot, &key(1, "100")), None, "{name}");

        // In the order asked, with what is missing and what is asked twice.
        let keys = [key(1, "099"), key(1, "x"), key(1, "000"), key(2, "a"), key(1, "000")];
        let found = snapshot.multi_get(&keys.each_ref().map(Vec::as_slice)).unwrap();
        let found: Vec<_> = found.iter().map(|v| v.as_deref()).collect();
        assert_eq!(found, [Some(&b"v99"[..]), None, Some(b"v0"), Some(b""), Some(b"v0")], "{name}");
        assert!(snapshot.multi_get(&[]).unwrap().is_empty(), "{name}");

        let (start, end) = state_range(StateId(1));
        let entries = scan(&*snapshot, &start, &end);
        assert_eq!(entries.len(), 100, "{name}");
        assert!(entries.is_sorted(), "{name}");
        assert_eq!(scan(&*snapshot, &key(1, "010"), &key(1, "012")).len(), 2, "{name}: the end is not in the range");
        assert!(scan(&*snapshot, &end, &start).is_empty(), "{name}: a range that ends before it starts is empty");

        let mut visited = 0;
        let mut stop_at_three = |_: &[u8], _: &[u8]| {
            visited += 1;
            if visited == 3 { Visit::Stop } else { Visit::Continue }
        };
        snapshot.scan(&start, &end, &mut stop_at_three).unwrap();
        assert_eq!(visited, 3, "{name}");
    }
}

#[test]
fn a_snapshot_does_not_see_later_commits() {
    for (name, _directory, store) in stores() {
        store.commit(changes(|c| c.put(&key(1, "a"), b"1")), Durability::Process).unwrap();
        let before = store.snapshot().unwrap();
        let next = changes(|c| {
            c.put(&key(1, "a"), b"2");
            c.put(&key(1, "b"), b"2");
            c.append_parts(&[&key(1, "c")], b"2");
            c.clear_state(StateId(3));
        });
        store.commit(next, Durability::Process).unwrap();
        store.commit(changes(|c| c.clear_state(StateId(1))), Durability::Process).unwrap();
        assert_eq!(all(&*before), [(key(1, "a"), b"1".to_vec())], "{name}");
        assert!(all(&*store.snapshot().unwrap()).is_empty(), "{name}");
    }
}

#[test]
fn a_snapshot_outlives_its_store() {
    for (name, _directory, store) in stores() {
        store.commit(changes(|c| c.put(&key(1, "a"), b"1")), Durability::Process).unwrap();
        let snapshot = store.snapshot().unwrap();
        drop(store);
        assert_eq!(value(&*snapshot, &key(1, "a")).unwrap(), b"1", "{name}");
    }
}

#[test]
fn appends_keep_the_order_of_commits() {
    for (name, _directory, store) in stores() {
        let log = key(1, "log");
        let append = |bytes: &[u8]| changes(|c| c.append_parts(&[&log], bytes));
        for bytes in [b"a", b"b", b"c"] {
            store.commit(append(bytes), Durability::Process).unwrap();
        }
        let two = changes(|c| {
            c.append_parts(&[&log[..3], &log[3..]], b"d");
            c.append_parts(&[&log], b"e");
            c.put(&key(1, "x"), b"");
            c.put(&key(1, "y"), b"");
        });
        store.commit(two, Durability::Process).unwrap();
        store.commit(append(b"f"), Durability::Process).unwrap();
        let snapshot = store.snapshot().unwrap();
        assert_eq!(value(&*snapshot, &log).unwrap(), b"abcdef", "{name}");
        assert_eq!(snapshot.multi_get(&[&log]).unwrap()[0].as_deref().unwrap(), b"abcdef", "{name}");

        let restart = changes(|c| {
            c.delete(&log);
            c.append_parts(&[&log], b"z");
        });
        store.commit(restart, Durability::Process).unwrap();
        assert_eq!(value(&*store.snapshot().unwrap(), &log).unwrap(), b"z", "{name}");
    }
}

#[test]
fn clearing_a_state_comes_before_the_entries_of_the_same_commit() {
    for (name, _directory, store) in stores() {
        let fill = |c: &mut ChangeSet| {
            for state in 1..=3 {
                c.put(&key(state, "old"), b"1");
                c.put(&key(state, "both"), b"1");
            }
        };
        store.commit(changes(fill), Durability::Process).unwrap();
        let replace = changes(|c| {
            c.append_parts(&[&key(2, "both")], b"2");
            c.put(&key(2, "new"), b"2");
            c.clear_state(StateId(2));
        });
        store.commit(replace, Durability::Process).unwrap();
        let snapshot = store.snapshot().unwrap();
        let (start, end) = state_range(StateId(2));
        let want = [(key(2, "both"), b"2".to_vec()), (key(2, "new"), b"2".to_vec())];
        assert_eq!(scan(&*snapshot, &start, &end), want, "{name}");
        assert_eq!(all(&*snapshot).len(), 6, "{name}: other states are as they were");
    }
}

#[test]
fn an_empty_commit_changes_nothing() {
    for (name, _directory, store) in stores() {
        store.commit(ChangeSet::new(), Durability::Process).unwrap();
        store.commit(ChangeSet::new(), Durability::Disk).unwrap();
        assert!(all(&*store.snapshot().unwrap()).is_empty(), "{name}");
    }
}

#[test]
fn the_numbers_count_commits_and_bytes() {
    for (name, _directory, store) in stores() {
        for _ in 0..3 {
            store.commit(changes(|c| c.put(&key(1, "abc"), b"12")), Durability::Disk).unwrap();
        }
        let stats = store.stats();
        assert_eq!((stats.commits, stats.committed_bytes), (3, 30), "{name}");
        assert_eq!(stats.ingested_files, if name == "files" { 3 } else { 0 }, "{name}");
        assert!(stats.memory_bytes > 0, "{name}");
    }
}

#[test]
fn a_backup_opens_as_a_store_of_its_own() {
    for (name, directory, store) in stores() {
        store.commit(changes(|c| c.put(&key(1, "a"), b"1")), Durability::Process).unwrap();
        let backups = directory.path().join("backups");
        let first = store.backup(&backups).unwrap();
        store.commit(changes(|c| c.put(&key(1, "a"), b"2")), Durability::Process).unwrap();
        let second = store.backup(&backups).unwrap();
        assert_eq!(storage::backups(&backups).unwrap(), [first, second], "{name}");

        for (number, expected) in [(Some(first.number), b"1"), (None, b"2")] {
            let data = directory.path().join(format!("restored {expected:?}"));
            storage::restore_backup(&backups, number, &data).unwrap();
            let copy = RocksStore::open(&data, &options(0)).unwrap();
            assert_eq!(value(&*copy.snapshot().unwrap(), &key(1, "a")).unwrap(), &expected[..], "{name}");
        }
        storage::keep_backups(&backups, 1).unwrap();
        assert_eq!(storage::backups(&backups).unwrap(), [second], "{name}");
        let missing = storage::restore_backup(&backups, Some(77), &directory.path().join("no")).unwrap_err();
        assert!(missing.to_string().starts_with("there is no backup 77 in"), "{missing}");
        let no_backups = storage::backups(directory.path()).unwrap_err();
        assert!(no_backups.to_string().starts_with("there is no backup in"), "{no_backups}");
    }
}

#[test]
fn a_second_backup_copies_only_what_is_new() {
    let directory = tempfile::TempDir::new().unwrap();
    let store = RocksStore::open(&directory.path().join("data"), &options(0)).unwrap();
    let backups = directory.path().join("backups");
    let mut large = ChangeSet::new();
    (0..20_000_u32).for_each(|k| large.put(&key(1, &k.to_string()), &k.wrapping_mul(0x9e37_79b9).to_be_bytes()));
    store.commit(large, Durability::Disk).unwrap();
    store.backup(&backups).unwrap();
    let size = |path: &std::path::Path| {
        std::fs::read_dir(path).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum::<u64>()
    };
    let shared = backups.join("shared_checksum");
    let before = size(&shared);
    store.commit(changes(|c| c.put(&key(2, "a"), b"1")), Durability::Disk).unwrap();
    store.backup(&backups).unwrap();
    let added = size(&shared) - before;
    assert!(before > 100_000 && added < before / 10, "{before} bytes, then {added}");
}

#[test]
fn a_damaged_backup_is_refused_and_named() {
    let directory = tempfile::TempDir::new().unwrap();
    let store = RocksStore::open(&directory.path().join("data"), &options(0)).unwrap();
    let backups = directory.path().join("backups");
    store.commit(changes(|c| c.put(&key(1, "a"), &[7; 5_000])), Durability::Disk).unwrap();
    store.backup(&backups).unwrap();
    let mut files = std::fs::read_dir(backups.join("shared_checksum")).unwrap().map(|e| e.unwrap().path());
    let file = files.find(|file| std::fs::metadata(file).unwrap().len() > 0).unwrap();
    let whole = std::fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    for (number, bytes) in [damaged, whole[..whole.len() / 2].to_vec(), Vec::new()].iter().enumerate() {
        std::fs::write(&file, bytes).unwrap();
        let data = directory.path().join(format!("data {number}"));
        let error = storage::restore_backup(&backups, None, &data).unwrap_err();
        assert!(matches!(error, storage::Error::Corrupt { file: Some(_), .. }), "{error:?}");
    }
    std::fs::write(&file, &whole).unwrap();
    storage::restore_backup(&backups, None, &directory.path().join("sound")).unwrap();

    // The last backup is asked for, and one before it would be whole.
    let files = || std::fs::read_dir(backups.join("shared_checksum")).unwrap().map(|e| e.unwrap().path());
    let (first, elsewhere) = (files().collect::<Vec<_>>(), directory.path().join("elsewhere"));
    store.commit(changes(|c| c.put(&key(1, "b"), &[8; 5_000])), Durability::Disk).unwrap();
    store.backup(&backups).unwrap();
    let second = files().find(|file| !first.contains(file)).unwrap();
    std::fs::rename(&second, &elsewhere).unwrap();
    let error = storage::restore_backup(&backups, None, &directory.path().join("missing")).unwrap_err();
    assert!(matches!(&error, storage::Error::Corrupt { file: Some(file), .. } if *file == second), "{error:?}");
    storage::restore_backup(&backups, Some(1), &directory.path().join("the first")).unwrap();
    std::fs::rename(&elsewhere, &second).unwrap();
    let restored = storage::restore_backup(&backups, None, &directory.path().join("the second")).unwrap();
    assert_eq!(restored.number, 2);
}

/// One change of a random commit.
#[derive(Clone, Debug)]
enum Step {
    Put(u32, u8, Vec<u8>),
    Append(u32, u8, Vec<u8>),
    Delete(u32, u8),
    Clear(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..6);
    prop_oneof![
        4 => (0..3_u32, 0..12_u8, bytes()).prop_map(|(s, k, v)| Step::Put(s, k, v)),
        3 => (0..3_u32, 0..12_u8, bytes()).prop_map(|(s, k, v)| Step::Append(s, k, v)),
        2 => (0..3_u32, 0..12_u8).prop_map(|(s, k)| Step::Delete(s, k)),
        1 => (0..3_u32).prop_map(Step::Clear),
    ]
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a commit means, written as plainly as possible.
fn apply(model: &mut Model, steps: &[Step]) -> ChangeSet {
    let mut changes = ChangeSet::new();
    for step in steps {
        if let Step::Clear(state) = step {
            changes.clear_state(StateId(*state));
            model.retain(|key, _| key[..4] != state.to_be_bytes());
        }
    }
    for step in steps {
        let full = |state: &u32, k: &u8| state_key(StateId(*state), k % 4, &[*k]);
        match step {
            Step::Put(s, k, v) => {
                changes.put(&full(s, k), v);
                model.insert(full(s, k), v.clone());
            }
            Step::Append(s, k, v) => {
                changes.append_parts(&[&full(s, k)], v);
                model.entry(full(s, k)).or_default().extend(v);
            }
            Step::Delete(s, k) => {
                changes.delete(&full(s, k));
                model.remove(&full(s, k));
            }
            Step::Clear(_) => {}
        }
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Every store equals the map after every commit, and so do the snapshots taken on the way, and the store that is
    /// opened again.
    #[test]
    fn random_commits_equal_a_map(commits in prop::collection::vec(prop::collection::vec(step(), 0..12), 1..24)) {
        for (name, directory, store) in stores() {
            let mut model = Model::new();
            let mut seen = Vec::new();
            for (number, steps) in commits.iter().enumerate() {
                let durability = if number % 3 == 0 { Durability::Disk } else { Durability::Process };
                store.commit(apply(&mut model, steps), durability).unwrap();
                seen.push((store.snapshot().unwrap(), model.clone()));
            }
            for (number, (snapshot, model)) in seen.iter().enumerate() {
                let entries: Entries = model.clone().into_iter().collect();
                prop_assert_eq!(all(&**snapshot), entries, "{} after commit {}", name, number);
                let keys: Vec<_> = (0..12).map(|k| state_key(StateId(1), k % 4, &[k])).collect();
                let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                let values = snapshot.multi_get(&keys).unwrap();
                for (key, found) in keys.iter().zip(values) {
                    prop_assert_eq!(found.as_deref(), model.get(*key).map(Vec::as_slice));
                }
            }
            drop((seen, store));
            if name != "memory" {
                let store = RocksStore::open(directory.path(), &options(0)).unwrap();
                prop_assert_eq!(all(&*store.snapshot().unwrap()), model.into_iter().collect::<Entries>(), "{}", name);
            }
        }
    }
}
