//! The contract of a store.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::{BackupInfo, ChangeSet, Result};

/// What must hold when a commit returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Visible to new snapshots, and survives the death of the process; may be lost with the machine.
    /// What is lost is always a suffix of whole commits.
    Process,
    /// As `Process`, and on stable storage (fsync): survives power loss.
    Disk,
}

/// Whether a scan goes on after a visited entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Visit the next entry.
    Continue,
    /// The scan ends here.
    Stop,
}

/// An ordered key-value store with atomic commits and snapshots.
pub trait Store: Send + Sync + 'static {
    /// The state after the last commit; later commits don't change it.
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>>;

    /// Applies all of `changes`, or (on error, or a crash) none. The set need not be sorted; of two changes to one
    /// key the later wins, merges add up.
    ///
    /// # Errors
    /// [`crate::Error::Full`] when the disk is full: nothing was applied, and the same commit may be tried again.
    /// [`crate::Error::Uncertain`] when a write failed halfway: opening the store again tells whether all of the commit
    /// was applied or nothing, and until then every commit fails with [`crate::Error::Stopped`].
    fn commit(&self, changes: ChangeSet, durability: Durability) -> Result<()>;

    /// Sizes and counters for metrics.
    fn stats(&self) -> StoreStats;

    /// Adds a consistent copy of the last commit to a directory of backups, which is made if it isn't there. Commits go on meanwhile.
    fn backup(&self, directory: &Path) -> Result<BackupInfo>;
}

/// A consistent, immutable view of the store.
pub trait Snapshot: Send + Sync {
    /// The value of one key.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// The values of many keys, in the order given. Sorted keys are read fastest.
    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>>;

    /// Visits the entries of `start <= key < end` in key order, without allocating per entry.
    fn scan(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()>;

    /// As [`Snapshot::scan`], from the last entry to the first.
    fn scan_back(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()>;
}

/// Sizes and counters of a store; bytes unless the name says otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreStats {
    /// Live data on disk.
    pub disk_bytes: u64,
    /// Block cache and memtables.
    pub memory_bytes: u64,
    /// Logical bytes (keys and values) committed since the store was opened.
    pub committed_bytes: u64,
    /// Commits since the store was opened.
    pub commits: u64,
    /// Sorted files added whole instead of key by key.
    pub ingested_files: u64,
    /// Room left on the disk; `None` if there is none behind it.
    pub free_bytes: Option<u64>,
}
