//! Measures the two ways of a commit: write batch and sorted file. `docs/decisions` records what it printed.
//!
//! ```text
//! cargo run --release -p storage --example put_paths [DIRECTORY]
//! ```

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Instant;

use storage::{ChangeSet, Durability, RocksOptions, RocksStore, StateId, Store, state_key};

const BATCHES: usize = usize::MAX;
const FILES: usize = 0;

fn main() {
    let base = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    println!(
        "one commit of n entries, keys of 17 bytes, values of 40 bytes; the store holds 1,000,000 of them already"
    );
    println!("{:>9} {:>8} {:>14} {:>14}", "entries", "order", "batch", "sorted file");
    for entries in [16, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_000_000] {
        for sorted in [true, false] {
            let batch = measure(&base, BATCHES, entries, sorted);
            let file = measure(&base, FILES, entries, sorted);
            let order = if sorted { "sorted" } else { "random" };
            println!("{entries:>9} {order:>8} {:>14} {:>14}", shown(entries, batch), shown(entries, file));
        }
    }
    println!("\n100 commits of 10,000 random entries each, and the time until compaction has caught up");
    for (name, large) in [("batch", BATCHES), ("sorted file", FILES)] {
        let (seconds, settled) = sustained(&base, large);
        println!("{name:>12}: {:.2} M entries/s, {settled:.2} s until settled", 1.0 / seconds);
    }
}

/// Seconds of the quickest of some commits.
fn measure(base: &Path, large_commit_entries: usize, entries: usize, sorted: bool) -> f64 {
    let directory = tempfile::tempdir_in(base).unwrap();
    let store = open(directory.path(), large_commit_entries);
    store.commit(changes(1_000_000, 0, true), Durability::Disk).unwrap();
    let runs = (200_000 / entries).clamp(3, 20);
    let commits = (0..runs).map(|run| {
        let changes = changes(entries, run as u64 + 1, sorted);
        let start = Instant::now();
        store.commit(changes, Durability::Process).unwrap();
        start.elapsed().as_secs_f64()
    });
    commits.fold(f64::INFINITY, f64::min)
}

fn sustained(base: &Path, large_commit_entries: usize) -> (f64, f64) {
    let directory = tempfile::tempdir_in(base).unwrap();
    let store = open(directory.path(), large_commit_entries);
    let all: Vec<ChangeSet> = (0..100).map(|run| changes(10_000, run, false)).collect();
    let start = Instant::now();
    for changes in all {
        store.commit(changes, Durability::Process).unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(store);
    (seconds, start.elapsed().as_secs_f64())
}

fn open(path: &Path, large_commit_entries: usize) -> RocksStore {
    let options = RocksOptions { large_commit_entries, large_commit_bytes: usize::MAX, ..RocksOptions::default() };
    RocksStore::open(path, &options).unwrap()
}

/// Entries whose keys are spread over the key space like hashes; the value says which run wrote it.
fn changes(entries: usize, run: u64, sorted: bool) -> ChangeSet {
    let mut changes = ChangeSet::new();
    for i in 0..entries as u64 {
        let hash = (i + run * 7919).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut key = [0; 12];
        key[..8].copy_from_slice(&hash.to_be_bytes());
        key[8..].copy_from_slice(&(i as u32).to_be_bytes());
        let value = [run.to_le_bytes(), hash.to_le_bytes(), i.to_le_bytes(), [7; 8], hash.to_le_bytes()].concat();
        changes.put(&state_key(StateId(1), (hash >> 48) as u8, &key), &value);
    }
    if sorted {
        changes.sort();
    }
    changes
}

fn shown(entries: usize, seconds: f64) -> String {
    format!("{:.2} ms {:.2} M/s", seconds * 1e3, entries as f64 / seconds / 1e6)
}
