//! The store on disk: RocksDB, one column family.
//!
//! A commit is sorted, the changes to each key become one, and then it takes one of two ways, both atomic:
//!
//! - **Small**: a write batch. It goes to the write-ahead log and the memtable, one insert into a skip list per key;
//!   the memtable gathers many commits before it becomes a file.
//! - **Large**: one sorted file beside the database, which is linked into it. No entry passes the log or the memtable,
//!   so that it is written once and not twice. Such a commit is always on stable storage when it returns.
//!
//! What a power cut takes is a suffix of whole commits: the log is synced before a file is linked in, so a
//! large commit never survives a small one before it.
//!
//! Every file carries checksums that are checked when it is read: blocks, log and manifest by RocksDB; and that the log still has everything
//! that was on stable storage, by `synced`. A damaged file is [`Error::Corrupt`], never other rows.
//!
//! Reading order: this file (open, commit), `options`, `sorted_file`, `synced`, `snapshot`, `backup`.

mod backup;
mod options;
mod snapshot;
mod sorted_file;
mod synced;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rocksdb::{
    ColumnFamilyDescriptor, DB, DEFAULT_COLUMN_FAMILY_NAME, Options, WaitForCompactOptions, WriteBatch, WriteOptions,
};

pub use backup::{BackupInfo, backups, keep_backups, restore_backup};
pub use options::RocksOptions;
use snapshot::RocksSnapshot;
use synced::Synced;

use crate::store::{Durability, Snapshot, Store, StoreStats};
use crate::{Change, ChangeSet, Error, Result, state_range};

/// How many times, and how long between two, a database that this process is closing is waited for.
const CLOSING_TRIES: usize = 200;
const CLOSING_PAUSE: Duration = Duration::from_millis(5);

/// What RocksDB says of a database that is open in this process.
const HELD_HERE: &str = "lock hold by current process";

/// Where the layout is written down: behind all states.
const LAYOUT_KEY: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0];

/// The layout of keys and the hash behind virtual nodes; raised when either changes.
const LAYOUT: &[u8] = b"4";

/// Sorted files are made here, inside the data directory: linking needs the same filesystem.
const SORTED_FILES: &str = "ingest";

/// Files of level 0 from which on large commits go through the log too. Each file is one more that every read looks
/// into. RocksDB slows down writers until compaction has caught up, but not those who link in files; and the memtable
/// makes one file of several commits.
const MAX_LEVEL_0_FILES: u64 = 24;

/// A store in a directory.
pub struct RocksStore {
    db: Arc<DB>,
    path: PathBuf,
    options: RocksOptions,
    /// What sorted files are written with.
    file_options: rocksdb::Options,
    commits: Mutex<Commits>,
    synced: Mutex<Synced>,
    committed_bytes: AtomicU64,
    committed: AtomicU64,
    ingested_files: AtomicU64,
}

/// Commits happen one after the other.
#[derive(Default)]
struct Commits {
    /// Whether the log holds commits that aren't on stable storage yet.
    unsynced: bool,
    /// Whether a failure has left open what was written.
    stopped: bool,
    /// Names the next sorted file.
    next_file: u64,
}

impl RocksStore {
    /// Opens the store in `path`, or makes an empty one there.
    ///
    /// # Errors
    /// [`Error::Locked`] when someone else has it open, [`Error::Layout`] when a version with another layout wrote
    /// it, [`Error::Corrupt`] when its files are damaged.
    pub fn open(path: &Path, options: &RocksOptions) -> Result<Self> {
        let sorted_files = path.join(SORTED_FILES);
        fs::create_dir_all(&sorted_files).map_err(|e| Error::io(&sorted_files, e))?;
        check_complete(path)?;
        let db_options = options.database();
        let db = open_database(path, &db_options)?;
        let (mut synced, noted) = Synced::open(path)?;
        check_log(&db, path, noted)?;
        check_layout(&db, path)?;
        synced.note(db.latest_sequence_number().max(noted.unwrap_or(0)))?;
        // Only now is it certain that no one else writes there.
        remove_files(&sorted_files)?;
        Ok(Self {
            db: Arc::new(db),
            path: path.to_owned(),
            options: options.clone(),
            file_options: options.sorted_file(),
            commits: Mutex::default(),
            synced: Mutex::new(synced),
            committed_bytes: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            ingested_files: AtomicU64::new(0),
        })
    }

    /// The data directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what is in memory to sorted files and waits until compaction has nothing left to do.
    ///
    /// # Errors
    /// If a flush or a compaction fails.
    pub fn settle(&self) -> Result<()> {
        let mut options = WaitForCompactOptions::default();
        options.set_flush(true);
        Ok(self.db.wait_for_compact(&options)?)
    }

    /// Commits through the log and the memtable.
    fn write(&self, commits: &mut Commits, changes: &ChangeSet, durability: Durability) -> Result<()> {
        let mut batch = WriteBatch::default();
        for state in changes.cleared() {
            let (start, end) = state_range(*state);
            batch.delete_range(start, end);
        }
        let filled: Result<(), std::convert::Infallible> = changes.for_each_key(|change, key, value| {
            match change {
                Change::Put => batch.put(key, value),
                Change::Append => batch.merge(key, value),
                Change::Delete => batch.delete(key),
            }
            Ok(())
        });
        let Ok(()) = filled;
        let sync = durability == Durability::Disk;
        let mut write_options = WriteOptions::default();
        write_options.set_sync(sync);
        self.db.write_opt(batch, &write_options).map_err(|e| self.stop_if_uncertain(commits, e))?;
        commits.unsynced = !sync;
        if sync { self.note_synced() } else { Ok(()) }
    }

    /// Commits through a sorted file.
    fn link(&self, commits: &mut Commits, changes: &ChangeSet) -> Result<()> {
        let file = self.path.join(SORTED_FILES).join(format!("{}.sst", commits.next_file));
        commits.next_file += 1;
        let linked = sorted_file::write(&self.file_options, &file, changes)
            .and_then(|()| self.sync_log(commits))
            .and_then(|()| sorted_file::link(&self.db, &file).map_err(|e| self.stop_if_uncertain(commits, e)));
        match linked {
            Ok(()) => {
                self.ingested_files.fetch_add(1, Ordering::Relaxed);
                self.note_synced()
            }
            Err(error) => {
                // It may never have been made; and the error that matters is the one at hand.
                let _ = fs::remove_file(&file);
                Err(error)
            }
        }
    }

    /// Brings earlier small commits to stable storage.
    fn sync_log(&self, commits: &mut Commits) -> Result<()> {
        if commits.unsynced {
            self.db.flush_wal(true).map_err(|e| self.stop_if_uncertain(commits, e))?;
            commits.unsynced = false;
            self.note_synced()?;
        }
        Ok(())
    }

    /// Everything committed so far is on stable storage. That this can't be written down makes no commit fail: a start asks for less then.
    fn note_synced(&self) -> Result<()> {
        match self.synced.lock().note(self.db.latest_sequence_number()) {
            Err(Error::Full { .. }) => Ok(()),
            noted => noted,
        }
    }

    /// After a failed write to the log or the manifest, what is on disk is only known by reading it again. A full
    /// disk is the exception: RocksDB starts a new file by itself when there is room, and forgets the failed write.
    fn stop_if_uncertain(&self, commits: &mut Commits, error: rocksdb::Error) -> Error {
        match Error::from(error) {
            Error::Rocks(error) if error.kind() == rocksdb::ErrorKind::IOError => {
                commits.stopped = true;
                Error::Uncertain { detail: error.into_string() }
            }
            other => other,
        }
    }

    fn is_large(&self, changes: &ChangeSet) -> bool {
        changes.len() >= self.options.large_commit_entries || changes.byte_size() >= self.options.large_commit_bytes
    }

    /// Refuses a commit while there is still room for RocksDB to flush, compact and write its manifest.
    fn check_room(&self, bytes: usize) -> Result<()> {
        let disk = rustix::fs::statvfs(&self.path).map_err(|e| Error::io(&self.path, e.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free < self.options.reserve_bytes.saturating_add(bytes as u64) {
            let reserve = self.options.reserve_bytes;
            let detail = format!("{}: {free} bytes free, of which {reserve} are reserved", self.path.display());
            return Err(Error::Full { detail });
        }
        Ok(())
    }

    /// A number that RocksDB keeps; 0 when it doesn't.
    fn number(&self, property: &str) -> u64 {
        self.db.property_int_value(property).ok().flatten().unwrap_or(0)
    }
}

impl Store for RocksStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(Arc::new(RocksSnapshot::take(self.db.clone())))
    }

    fn commit(&self, mut changes: ChangeSet, durability: Durability) -> Result<()> {
        let mut commits = self.commits.lock();
        if commits.stopped {
            return Err(Error::Stopped);
        }
        if changes.is_empty() {
            return if durability == Durability::Disk { self.sync_log(&mut commits) } else { Ok(()) };
        }
        self.check_room(changes.byte_size())?;
        // A sorted file must be sorted; and neighbours are inserted into the memtable twice as fast as strangers.
        changes.sort();
        if self.is_large(&changes) && self.number("rocksdb.num-files-at-level0") < MAX_LEVEL_0_FILES {
            self.link(&mut commits, &changes)?;
        } else {
            self.write(&mut commits, &changes, durability)?;
        }
        self.committed.fetch_add(1, Ordering::Relaxed);
        self.committed_bytes.fetch_add(changes.byte_size() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn stats(&self) -> StoreStats {
        StoreStats {
            disk_bytes: self.number("rocksdb.live-sst-files-size") + self.number("rocksdb.live-blob-file-size"),
            memory_bytes: self.number("rocksdb.block-cache-usage") + self.number("rocksdb.size-all-mem-tables"),
            committed_bytes: self.committed_bytes.load(Ordering::Relaxed),
            commits: self.committed.load(Ordering::Relaxed),
            ingested_files: self.ingested_files.load(Ordering::Relaxed),
            free_bytes: rustix::fs::statvfs(&self.path).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)),
        }
    }

    fn backup(&self, directory: &Path) -> Result<BackupInfo> {
        backup::create(&self.db, directory)
    }
}

/// Without its file `CURRENT`, RocksDB takes a directory for an empty one, and would make a new database over the old one's files.
fn check_complete(path: &Path) -> Result<()> {
    let current = path.join("CURRENT");
    let is_database = |name: &str| name.starts_with("MANIFEST-") || name.ends_with(".sst") || name == synced::FILE;
    if current.exists() {
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|e| Error::io(path, e))?.filter_map(std::result::Result::ok);
    if entries.filter_map(|entry| entry.file_name().into_string().ok()).any(|name| is_database(&name)) {
        return Err(Error::Corrupt {
            file: Some(current),
            detail: "it is missing beside the files of a database".to_owned(),
        });
    }
    Ok(())
}

/// Whether the log gave back all that was on stable storage.
fn check_log(db: &DB, path: &Path, noted: Option<u64>) -> Result<()> {
    let found = db.latest_sequence_number();
    match noted {
        Some(noted) if noted > found => {
            // Without its layout even the oldest files are missing: then it is the manifest that doesn't name them.
            let damaged = if db.get(LAYOUT_KEY)?.is_none() { manifest(path) } else { last_log(path) };
            let detail = format!(
                "it gives back changes up to number {found}, but those up to {noted} were on stable storage: it is damaged or cut short"
            );
            Err(Error::Corrupt { file: damaged.or_else(|| Some(path.to_owned())), detail })
        }
        _ => Ok(()),
    }
}

/// The manifest that is used.
fn manifest(path: &Path) -> Option<PathBuf> {
    let name = fs::read_to_string(path.join("CURRENT")).ok()?;
    Some(path.join(name.trim()))
}

/// The newest file of the log that isn't empty.
fn last_log(path: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(path).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let logs = files.filter(|file| file.extension().is_some_and(|extension| extension == "log"));
    logs.filter(|file| file.metadata().is_ok_and(|metadata| metadata.len() > 0)).max()
}

/// Opens the database. One that this process is only just closing, as its last reader ends, is waited for.
fn open_database(path: &Path, options: &Options) -> Result<DB> {
    let open = || {
        let family = ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, options.clone());
        DB::open_cf_descriptors(options, path, [family])
    };
    for _ in 0..CLOSING_TRIES {
        match open() {
            Err(error) if error.as_ref().contains(HELD_HERE) => std::thread::sleep(CLOSING_PAUSE),
            opened => return opened.map_err(|error| open_error(path, error)),
        }
    }
    open().map_err(|error| open_error(path, error))
}

fn open_error(path: &Path, error: rocksdb::Error) -> Error {
    let text = error.as_ref();
    if text.contains("While lock file") || text.contains(HELD_HERE) {
        return Error::Locked { path: path.to_owned() };
    }
    // A file that the manifest names and that isn't there, or is shorter than the manifest says.
    let is_missing = text.contains("No such file") || text.contains("Sst file size mismatch");
    match Error::from(error) {
        Error::Rocks(error) if is_missing || error.kind() == rocksdb::ErrorKind::InvalidArgument => {
            let detail = error.into_string();
            Error::Corrupt { file: crate::error::file_in(&detail), detail }
        }
        other => other.in_directory(path),
    }
}

fn check_layout(db: &DB, path: &Path) -> Result<()> {
    let found = db.get(LAYOUT_KEY)?;
    if found.as_deref() == Some(LAYOUT) {
        return Ok(());
    }
    if found.is_none() && db.latest_sequence_number() == 0 {
        let mut write_options = WriteOptions::default();
        write_options.set_sync(true);
        return Ok(db.put_opt(LAYOUT_KEY, LAYOUT, &write_options)?);
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let Some(found) = found.map(|found| text(&found)) else {
        let detail = "it doesn't name the files that hold the layout".to_owned();
        return Err(Error::Corrupt { file: manifest(path), detail });
    };
    Err(Error::Layout { path: path.to_owned(), found, expected: text(LAYOUT) })
}

/// Removes what commits that never finished left behind.
fn remove_files(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).map_err(|e| Error::io(directory, e))? {
        let file = entry.map_err(|e| Error::io(directory, e))?.path();
        fs::remove_file(&file).map_err(|e| Error::io(&file, e))?;
    }
    Ok(())
}
