//! Damaged data directories: a flipped byte or a file that is cut short is an error that names the file, or it changes nothing. It never
//! changes what is read.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use storage::{ChangeSet, Durability, Error, RocksOptions, RocksStore, StateId, Store, Visit, state_key, state_range};
use tempfile::TempDir;

/// Places in each file that are damaged, one after the other.
const PLACES: u64 = 24;

fn options() -> RocksOptions {
    RocksOptions {
        block_cache_bytes: 1 << 20,
        memtable_bytes: 1 << 20,
        large_commit_entries: 2048,
        reserve_bytes: 0,
        ..RocksOptions::default()
    }
}

/// Numbers that look random.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

/// A directory with all kinds of files: sorted files from commits and from flushes, values that are kept apart, a log with several commits.
fn fill(path: &Path) {
    let mut number = numbers(1);
    let mut bytes = |length: usize| (0..length).map(|_| number() as u8).collect::<Vec<u8>>();
    let store = RocksStore::open(path, &options()).unwrap();
    let mut large = ChangeSet::new();
    for key in 0..5_000_u32 {
        large.put(&state_key(StateId(1), 0, &key.to_be_bytes()), &bytes(20));
    }
    store.commit(large, Durability::Process).unwrap();
    let mut apart = ChangeSet::new();
    for key in 0..8_u32 {
        apart.put(&state_key(StateId(2), 0, &key.to_be_bytes()), &bytes(100_000));
    }
    store.commit(apart, Durability::Process).unwrap();
    store.settle().unwrap();
    for commit in 0..40_u32 {
        let mut small = ChangeSet::new();
        for key in 0..20_u32 {
            small.put(&state_key(StateId(3), 0, &(commit * 7 + key).to_be_bytes()), &bytes(30));
        }
        store.commit(small, if commit % 4 == 0 { Durability::Disk } else { Durability::Process }).unwrap();
    }
    store.commit(ChangeSet::new(), Durability::Disk).unwrap();
}

type Contents = BTreeMap<Vec<u8>, Vec<u8>>;

fn read(path: &Path) -> Result<Contents, Error> {
    let store = RocksStore::open(path, &options())?;
    let snapshot = store.snapshot()?;
    let mut contents = Contents::new();
    for state in 1..=3 {
        let (start, end) = state_range(StateId(state));
        snapshot.scan(&start, &end, &mut |key, value| {
            contents.insert(key.to_vec(), value.to_vec());
            Visit::Continue
        })?;
    }
    Ok(contents)
}

/// A copy without hard links: damage to it damages nothing else.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// The files whose bytes count; the others (RocksDB's own journal, its lock, its identity, what it was set up with) are never read for an
/// answer, and are damaged too.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.is_file() && fs::metadata(file).unwrap().len() > 0);
    files.sort();
    files
}

fn kind(file: &Path) -> String {
    let name = file.file_name().unwrap().to_str().unwrap();
    match name.rsplit_once('.') {
        Some((_, extension)) => extension.to_owned(),
        None => name.split('-').next().unwrap().to_owned(),
    }
}

/// Whether the damage was noticed. What is read in spite of it must be what was written.
fn survives(path: &Path, file: &Path, how: &str, expected: &Contents) -> bool {
    match read(path) {
        Ok(found) => {
            assert!(found == *expected, "{how} {}: {} other entries", file.display(), found.len());
            false
        }
        Err(Error::Corrupt { file: named, detail }) => {
            assert!(named.is_some() || detail.contains(&*path.to_string_lossy()), "{how} {}: {detail}", file.display());
            true
        }
        Err(error) => panic!("{how} {}: it is damage, and must be called so: {error:?}", file.display()),
    }
}

#[test]
fn flipped_bytes_are_noticed_or_change_nothing() {
    let directory = TempDir::new().unwrap();
    let whole = directory.path().join("whole");
    fill(&whole);
    let expected = {
        let again = directory.path().join("again");
        copy(&whole, &again);
        read(&again).unwrap()
    };
    assert_eq!(expected.len(), 5_000 + 8 + 39 * 7 + 20);
    let mut noticed: BTreeMap<String, u64> = BTreeMap::new();
    let mut number = numbers(2);
    for file in files(&whole) {
        let length = fs::metadata(&file).unwrap().len();
        for place in 0..PLACES {
            let damaged = directory.path().join("damaged");
            copy(&whole, &damaged);
            let target = damaged.join(file.file_name().unwrap());
            let mut bytes = fs::read(&target).unwrap();
            // Spread over the file, its first and last byte among them.
            let at =
                if place == 0 { length - 1 } else { (length * (place - 1) / PLACES + number() % 97).min(length - 1) };
            bytes[at as usize] ^= 1 << (number() % 8);
            fs::write(&target, bytes).unwrap();
            let count = noticed.entry(kind(&file)).or_default();
            *count += u64::from(survives(&damaged, &file, &format!("byte {at} flipped in"), &expected));
            fs::remove_dir_all(&damaged).unwrap();
        }
    }
    for kind in ["sst", "blob", "log", "MANIFEST", "CURRENT"] {
        assert!(noticed.get(kind).is_some_and(|count| *count > 0), "{kind}: {noticed:?}");
    }
}

#[test]
fn files_that_are_cut_short_or_gone_are_noticed() {
    let directory = TempDir::new().unwrap();
    let whole = directory.path().join("whole");
    fill(&whole);
    let expected = {
        let again = directory.path().join("again");
        copy(&whole, &again);
        read(&again).unwrap()
    };
    let mut noticed: BTreeMap<String, u64> = BTreeMap::new();
    for file in files(&whole) {
        let length = fs::metadata(&file).unwrap().len();
        for left in [None, Some(0), Some(1), Some(length / 3), Some(length * 2 / 3), Some(length - 1)] {
            let damaged = directory.path().join("damaged");
            copy(&whole, &damaged);
            let target = damaged.join(file.file_name().unwrap());
            let how = match left {
                None => {
                    // A directory without CURRENT is an empty one: that it held something, only the other files say.
                    fs::remove_file(&target).unwrap();
                    "gone:".to_owned()
                }
                Some(left) => {
                    fs::OpenOptions::new().write(true).open(&target).unwrap().set_len(left).unwrap();
                    format!("{left} bytes left of")
                }
            };
            let count = noticed.entry(kind(&file)).or_default();
            *count += u64::from(survives(&damaged, &file, &how, &expected));
            fs::remove_dir_all(&damaged).unwrap();
        }
    }
    for kind in ["sst", "blob", "log", "MANIFEST", "CURRENT"] {
        assert!(noticed.get(kind).is_some_and(|count| *count >= 4), "{kind}: {noticed:?}");
    }
}

/// What the user of a damaged directory can do without a backup: take what the log still has. It is an earlier state, whole.
#[test]
fn without_its_note_a_shortened_log_is_an_earlier_state() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    fill(&data);
    let log = files(&data).into_iter().rfind(|file| kind(file) == "log").unwrap();
    let length = fs::metadata(&log).unwrap().len();
    fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(length / 2).unwrap();
    let error = read(&data).unwrap_err();
    assert!(matches!(&error, Error::Corrupt { file: Some(_), .. }), "{error:?}");
    let again = read(&data).unwrap_err();
    assert!(matches!(&again, Error::Corrupt { .. }), "a second start notices it too: {again:?}");
    fs::remove_file(data.join("SYNCED")).unwrap();
    let found = read(&data).unwrap();
    assert!(found.len() > 5_008 && found.len() < 5_008 + 39 * 7 + 20, "{}", found.len());
}
