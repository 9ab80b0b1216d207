//! Measures the two ways of a commit: write batch and sorted file. `docs/decisions` records what it printed.
//!
//! ```text
//! cargo run --release -p storage --example put_paths [DIRECTORY]
//! ```

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::path::Path;
use std::time::Instant;

use storage::{ChangeSet, Durability, RocksOptions, RocksStore, StateId, Store, state_key};

const WAYS: [(&str, usize); 2] = [("batch", usize::MAX), ("sorted file", 0)];

fn main() {
    let base = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    println!("keys of 17 bytes, values of 40 bytes\n");

    println!("1,000,000 sorted entries in one commit to an empty store");
    for (way, large) in WAYS {
        let directory = tempfile::tempdir_in(&base).unwrap();
        let store = open(directory.path(), large);
        let mut changes = Entries(0).next(1_000_000, u64::MAX);
        changes.sort();
        let start = Instant::now();
        store.commit(changes, Durability::Process).unwrap();
        println!("{way:>12}: {:.2} M entries/s", 1.0 / start.elapsed().as_secs_f64());
    }

    println!("\n8,000,000 random updates of 2,000,000 keys, in commits of n; then all is flushed and compacted");
    println!("{:>9} {:>12} {:>12} {:>16} {:>20}", "n", "way", "M entries/s", "CPU s/M entries", "bytes written/entry");
    for entries in [1_000, 4_000, 16_000, 64_000, 128_000, 256_000, 512_000] {
        for (way, large) in WAYS {
            let directory = tempfile::tempdir_in(&base).unwrap();
            let cost = updates(&open(directory.path(), large), 8_000_000, entries);
            let Cost { wall, cpu, written } = cost;
            println!("{entries:>9} {way:>12} {:>12.2} {:>16.2} {:>20.0}", 1.0 / wall, cpu, written / 1e6);
        }
    }
}

/// For a million entries: seconds of waiting for commits, seconds of work of all threads until settled, bytes to disk.
struct Cost {
    wall: f64,
    cpu: f64,
    written: f64,
}

fn updates(store: &RocksStore, total: usize, entries: usize) -> Cost {
    let mut random = Entries(1);
    let mut cost = Cost { wall: 0.0, cpu: 0.0, written: 0.0 };
    let written = bytes_written();
    for _ in 0..total / entries {
        let changes = random.next(entries, 2_000_000);
        let (start, cpu) = (Instant::now(), cpu_seconds());
        store.commit(changes, Durability::Process).unwrap();
        cost.wall += start.elapsed().as_secs_f64();
        cost.cpu += cpu_seconds() - cpu;
    }
    let cpu = cpu_seconds();
    store.settle().unwrap();
    cost.cpu += cpu_seconds() - cpu;
    cost.written = bytes_written() - written;
    let millions = total as f64 / 1e6;
    Cost { wall: cost.wall / millions, cpu: cost.cpu / millions, written: cost.written / millions }
}

fn open(path: &Path, large_commit_entries: usize) -> RocksStore {
    let options = RocksOptions { large_commit_entries, large_commit_bytes: usize::MAX, ..RocksOptions::default() };
    RocksStore::open(path, &options).unwrap()
}

/// A sequence of entries that look random, whose keys are spread over the key space like hashes.
struct Entries(u64);

impl Entries {
    fn next(&mut self, entries: usize, keys: u64) -> ChangeSet {
        let mut changes = ChangeSet::new();
        for i in 0..entries as u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = (self.0 >> 20) % keys;
            let hash = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let key = [&hash.to_be_bytes()[..], &(id as u32).to_be_bytes()].concat();
            let value = [self.0, i, hash, id, 7].map(u64::to_le_bytes).concat();
            changes.put(&state_key(StateId(1), (hash >> 48) as u8, &key), &value);
        }
        changes
    }
}

/// Seconds of work of all threads of this process so far.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Bytes that this process has sent to the disk so far.
fn bytes_written() -> f64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap().parse().unwrap()
}
