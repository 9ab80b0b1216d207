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
//! Reading order: this file (open, commit), `options`, `sorted_file`, `snapshot`.

mod options;
mod snapshot;
mod sorted_file;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    ColumnFamilyDescriptor, DB, DEFAULT_COLUMN_FAMILY_NAME, WaitForCompactOptions, WriteBatch, WriteOptions,
};

pub use options::RocksOptions;
use snapshot::RocksSnapshot;

use crate::store::{Durability, Snapshot, Store, StoreStats};
use crate::{Change, ChangeSet, Error, Result, state_range};

/// Where the layout is written down: behind all states.
const LAYOUT_KEY: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0];

/// The layout of keys and the hash behind virtual nodes; raised when either changes.
const LAYOUT: &[u8] = b"2";

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
        let db_options = options.database();
        let family = ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, options.database());
        let db = DB::open_cf_descriptors(&db_options, path, [family]).map_err(|e| open_error(path, e))?;
        check_layout(&db, path)?;
        // Only now is it certain that no one else writes there.
        remove_files(&sorted_files)?;
        Ok(Self {
            db: Arc::new(db),
            path: path.to_owned(),
            options: options.clone(),
            file_options: options.sorted_file(),
            commits: Mutex::default(),
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
        Ok(())
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
                Ok(())
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
        }
        Ok(())
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
        }
    }

    fn backup(&self, directory: &Path) -> Result<()> {
        // RocksDB wants to make the directory itself. Only an empty one can be removed.
        match fs::remove_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io(directory, error)),
            _ => {}
        }
        Ok(Checkpoint::new(&self.db)?.create_checkpoint(directory)?)
    }
}

fn open_error(path: &Path, error: rocksdb::Error) -> Error {
    let text = error.as_ref();
    if text.contains("While lock file") || text.contains("lock hold by current process") {
        return Error::Locked { path: path.to_owned() };
    }
    error.into()
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
    let found = found.map_or_else(|| "unknown".to_owned(), |found| text(&found));
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
