//! What a directory goes through: opened twice, killed, filled up, damaged.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use storage::{
    ChangeSet, Durability, Error, RocksOptions, RocksStore, Snapshot, StateId, Store, Visit, state_key, state_range,
};
use tempfile::TempDir;

fn options() -> RocksOptions {
    RocksOptions {
        block_cache_bytes: 4 << 20,
        memtable_bytes: 4 << 20,
        large_commit_entries: 4096,
        reserve_bytes: 0,
        ..RocksOptions::default()
    }
}

fn open(path: &Path) -> Result<RocksStore, Error> {
    RocksStore::open(path, &options())
}

/// A commit that leaves `entries` entries that all carry its number.
fn numbered(number: u32, entries: u32) -> ChangeSet {
    let mut changes = ChangeSet::new();
    changes.clear_state(StateId(1));
    for entry in 0..entries {
        changes.put(&state_key(StateId(1), 0, &entry.to_be_bytes()), &number.to_be_bytes());
    }
    changes
}

/// The number that all entries carry; `None` when there are none.
fn number(snapshot: &dyn Snapshot) -> Option<u32> {
    let (start, end) = state_range(StateId(1));
    let mut numbers = Vec::new();
    let mut visit = |_: &[u8], value: &[u8]| {
        numbers.push(u32::from_be_bytes(value.try_into().unwrap()));
        Visit::Continue
    };
    snapshot.scan(&start, &end, &mut visit).unwrap();
    numbers.dedup();
    assert!(numbers.len() <= 1, "a commit was torn: {numbers:?}");
    numbers.first().copied()
}

#[test]
fn a_second_server_is_refused_by_name_and_let_in_afterwards() {
    let directory = TempDir::new().unwrap();
    let first = open(directory.path()).unwrap();
    let error = open(directory.path()).err().unwrap();
    assert!(matches!(&error, Error::Locked { path } if path == directory.path()), "{error}");
    assert!(error.to_string().contains("another server uses"));
    drop(first);
    open(directory.path()).unwrap();
}

#[test]
fn both_kinds_of_commits_are_there_after_a_restart() {
    let directory = TempDir::new().unwrap();
    for (number_of_commit, entries) in [(1, 10), (2, 10_000), (3, 10_000), (4, 10_000)] {
        let store = open(directory.path()).unwrap();
        store.commit(numbered(number_of_commit, entries), Durability::Process).unwrap();
        drop(store);
        let store = open(directory.path()).unwrap();
        assert_eq!(number(&*store.snapshot().unwrap()), Some(number_of_commit));
    }
}

#[test]
fn sorted_files_of_commits_that_never_finished_are_removed() {
    let directory = TempDir::new().unwrap();
    drop(open(directory.path()).unwrap());
    let left_over = directory.path().join("ingest/17.sst");
    fs::write(&left_over, "half a file").unwrap();
    let store = open(directory.path()).unwrap();
    assert!(!left_over.exists());
    store.commit(numbered(1, 10_000), Durability::Process).unwrap();
    assert_eq!(fs::read_dir(directory.path().join("ingest")).unwrap().count(), 0);
}

#[test]
fn a_directory_of_another_layout_is_refused() {
    let directory = TempDir::new().unwrap();
    drop(open(directory.path()).unwrap());
    let mut changes = ChangeSet::new();
    changes.put(&[0xff, 0xff, 0xff, 0xff, 0], b"999");
    open(directory.path()).unwrap().commit(changes, Durability::Disk).unwrap();
    let error = open(directory.path()).err().unwrap();
    assert!(matches!(&error, Error::Layout { found, .. } if found == "999"), "{error}");
}

#[test]
fn a_damaged_file_is_an_error_that_names_it() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path()).unwrap();
    store.commit(numbered(1, 50_000), Durability::Disk).unwrap();
    drop(store);
    let file = sorted_files(directory.path()).pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[1000..1100].fill(0xaa);
    fs::write(&file, bytes).unwrap();

    let store = open(directory.path()).unwrap();
    let (start, end) = state_range(StateId(1));
    let error = store.snapshot().unwrap().scan(&start, &end, &mut |_, _| Visit::Continue).unwrap_err();
    assert!(
        matches!(&error, Error::Corrupt { file: Some(found), .. } if found.file_name() == file.file_name()),
        "{error}"
    );
}

fn sorted_files(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|e| e == "sst")).collect()
}

#[test]
fn too_little_free_space_refuses_a_commit_whole() {
    let directory = TempDir::new().unwrap();
    let greedy = RocksOptions { reserve_bytes: u64::MAX, ..options() };
    let store = RocksStore::open(directory.path(), &greedy).unwrap();
    for entries in [10, 10_000] {
        let error = store.commit(numbered(1, entries), Durability::Process).unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{error}");
        assert_eq!(number(&*store.snapshot().unwrap()), None);
    }
}

/// Fills a small disk of its own until commits fail, makes room, and goes on.
#[test]
fn a_full_disk_loses_nothing_and_recovers() {
    let directory = TempDir::new().unwrap();
    let Some(_disk) = SmallDisk::mount(directory.path()) else {
        eprintln!("SKIPPED: a_full_disk_loses_nothing_and_recovers needs the right to mount a tmpfs");
        return;
    };
    let data = directory.path().join("data");
    let ballast = directory.path().join("ballast");
    let mut last = 0;
    let mut refused = 0;
    let mut store = open(&data).unwrap();
    // Sizes on both sides of the limit between write batches and sorted files.
    for (round, entries) in [2_000, 40_000, 2_000, 40_000].into_iter().enumerate() {
        let free = free_bytes(directory.path());
        // Room for a few commits, or for not even one.
        let left = if round < 2 { 300_000 } else { 20_000 };
        fs::write(&ballast, vec![1; free.saturating_sub(left)]).unwrap();
        for _ in 0..40 {
            match store.commit(numbered(last + 1, entries), Durability::Process) {
                Ok(()) => last += 1,
                Err(Error::Full { .. }) => {
                    refused += 1;
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        if last > 0 {
            assert_eq!(number(&*store.snapshot().unwrap()), Some(last), "a refused commit isn't seen");
        }
        fs::remove_file(&ballast).unwrap();
        // RocksDB looks for room every few seconds.
        let mut patience = 0..300;
        while let Err(error) = store.commit(numbered(last + 1, entries), Durability::Disk) {
            assert!(matches!(error, Error::Full { .. }), "{error}");
            assert!(patience.next().is_some(), "there is room again, but: {error}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        last += 1;
        drop(store);
        store = open(&data).unwrap();
        assert_eq!(number(&*store.snapshot().unwrap()), Some(last));
    }
    assert!(refused >= 3, "the disk was full only {refused} times");
}

/// A filesystem of 48 MiB, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(path).stderr(Stdio::null());
        mount.status().ok()?.success().then(|| Self(path.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn free_bytes(path: &Path) -> usize {
    let disk = rustix::fs::statvfs(path).unwrap();
    (disk.f_bavail * disk.f_frsize) as usize
}

/// Where the process finds its files that is to be killed: this test run once more, which commits instead of testing.
const KILLED: &str = "STORE_DIRECTORY";

/// Kills a process that commits as fast as it can, again and again, and looks at what it left.
#[test]
fn a_killed_process_leaves_whole_commits_and_all_that_returned() {
    if let Some(directory) = std::env::var_os(KILLED) {
        commit_until_killed(Path::new(&directory));
    }
    let directory = TempDir::new().unwrap();
    let mut before = 0;
    for round in 0..8_u64 {
        let mut child = committer(directory.path());
        // The child writes the number of each commit that returned into a file of its own.
        let acknowledged = directory.path().join("acknowledged");
        std::thread::sleep(std::time::Duration::from_millis(150 + 37 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let text = fs::read_to_string(&acknowledged).unwrap_or_default();
        let returned = text.lines().last().map_or(before, |line| line.parse().unwrap());
        let store = open(&directory.path().join("data")).unwrap();
        let found = number(&*store.snapshot().unwrap()).unwrap_or(0);
        assert!(found == returned || found == returned + 1, "{returned} returned, {found} found");
        before = found;
        fs::write(&acknowledged, format!("{found}\n")).unwrap();
    }
    assert!(before > 20, "only {before} commits in all");
}

fn committer(directory: &Path) -> Child {
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "a_killed_process_leaves_whole_commits_and_all_that_returned"]).env(KILLED, directory);
    test.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// What the process does that is killed.
fn commit_until_killed(directory: &Path) -> ! {
    use std::io::Write;
    let store = open(&directory.join("data")).unwrap();
    let mut acknowledged =
        fs::OpenOptions::new().append(true).create(true).open(directory.join("acknowledged")).unwrap();
    let mut commit = number(&*store.snapshot().unwrap()).unwrap_or(0);
    loop {
        commit += 1;
        // Small and large ones mixed.
        let entries = if commit.is_multiple_of(3) { 10_000 } else { 10 };
        store.commit(numbered(commit, entries), Durability::Process).unwrap();
        writeln!(acknowledged, "{commit}").unwrap();
    }
}
