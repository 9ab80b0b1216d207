//! A store in memory: the model that tests compare with, and the base of the simulated one.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;
use parking_lot::Mutex;

use crate::store::{Durability, Snapshot, Store, StoreStats, Visit};
use crate::{BackupInfo, Change, ChangeSet, Result, RocksOptions, RocksStore, StateId, state_range};

/// The contents of a [`MemoryStore`] at one commit. A clone shares everything.
pub(crate) type Contents = OrdMap<Bytes, Bytes>;

/// An ordered map that is gone with the process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    contents: Contents,
    stats: StoreStats,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store with these contents.
    pub(crate) fn with_contents(contents: Contents) -> Self {
        Self { state: Mutex::new(State { contents, ..State::default() }) }
    }

    /// What the last commit left.
    pub(crate) fn contents(&self) -> Contents {
        self.state.lock().contents.clone()
    }
}

impl Store for MemoryStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(Arc::new(MemorySnapshot(self.contents())))
    }

    fn commit(&self, changes: ChangeSet, _durability: Durability) -> Result<()> {
        let mut state = self.state.lock();
        state.stats.commits += 1;
        state.stats.committed_bytes += changes.byte_size() as u64;
        apply(&mut state.contents, &changes);
        Ok(())
    }

    fn stats(&self) -> StoreStats {
        let state = self.state.lock();
        let entries = state.contents.iter().map(|(key, value)| (key.len() + value.len()) as u64);
        StoreStats { memory_bytes: entries.sum(), ..state.stats }
    }

    /// The copy is of a [`RocksStore`], as every backup; it is made beside it.
    fn backup(&self, directory: &Path) -> Result<BackupInfo> {
        let mut changes = ChangeSet::new();
        for (key, value) in &self.contents() {
            changes.put(key, value);
        }
        let beside = directory.join("copy");
        let store = RocksStore::open(&beside, &RocksOptions::default())?;
        store.commit(changes, Durability::Disk)?;
        let made = store.backup(directory);
        drop(store);
        std::fs::remove_dir_all(&beside).map_err(|e| crate::Error::io(&beside, e))?;
        made
    }
}

fn apply(contents: &mut Contents, changes: &ChangeSet) {
    for state in changes.cleared() {
        clear(contents, *state);
    }
    for (change, key, value) in changes.iter() {
        match change {
            Change::Put => {
                contents.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            }
            Change::Delete => {
                contents.remove(key);
            }
            Change::Append => {
                let whole = contents.get(key).map_or_else(|| value.to_vec(), |old| [old, value].concat());
                contents.insert(Bytes::copy_from_slice(key), whole.into());
            }
        }
    }
}

fn clear(contents: &mut Contents, state: StateId) {
    let (start, end) = state_range(state);
    let keys: Vec<Bytes> = range(contents, &start, &end).map(|(key, _)| key.clone()).collect();
    for key in keys {
        contents.remove(&key);
    }
}

fn range<'a>(
    contents: &'a Contents,
    start: &[u8],
    end: &[u8],
) -> impl DoubleEndedIterator<Item = (&'a Bytes, &'a Bytes)> {
    // An empty range may not be asked of a map.
    let end = if start < end { Bound::Excluded(end) } else { Bound::Excluded(start) };
    contents.range::<_, [u8]>((Bound::Included(start), end))
}

struct MemorySnapshot(Contents);

impl Snapshot for MemorySnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.0.get(key).cloned())
    }

    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        Ok(keys.iter().map(|key| self.0.get(*key).cloned()).collect())
    }

    fn scan(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        for (key, value) in range(&self.0, start, end) {
            if visit(key, value) == Visit::Stop {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        for (key, value) in range(&self.0, start, end).rev() {
            if visit(key, value) == Visit::Stop {
                break;
            }
        }
        Ok(())
    }
}
