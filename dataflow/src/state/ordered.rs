//! Keys in their order: what is looked for by a range, or as the nearest to a place, of one shard, as a write-back cache.
//!
//! A key has two numbers, [`Value`]: how often it is there, and one that its user gives a meaning. Keys begin with their virtual node, as they do in the
//! store, so that a range within one is a range of bytes.
//!
//! What has changed since the last checkpoint is in memory, whatever the budget; everything is until that is exceeded, or a restart finds more in
//! the store than [`FEW`]. From then on a range is read from the store each time, through RocksDB's own cache, and what memory knows better is put over
//! it: a range costs its rows, and memory no more than a block of them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;

use storage::{ChangeSet, Snapshot, StateId, Visit, state_prefix, vnode_prefix};

use super::keyed::vnode_end;
use super::{read_signed, write_signed};
use crate::{Error, Result};

/// A shard with so many keys in the store is read whole when it is first looked at.
const FEW: usize = if cfg!(test) { 3 } else { 8192 };
/// What an entry of the map takes beside the bytes of its key: the key's own pointer and length, the numbers, the map's share.
const ENTRY_BYTES: usize = 80;
/// Bytes of a state's number, which stand before each key in the store.
const PREFIX: usize = 4;

/// How often a key is there, and a number of its user's. A key with two zeros isn't there.
pub type Value = [i64; 2];

/// A key and what it has.
pub type Row = (Vec<u8>, Value);

/// See [the module](self).
#[derive(Debug)]
pub struct Ordered {
    state: StateId,
    shard: usize,
    entries: BTreeMap<Vec<u8>, Entry>,
    /// Keys that the next checkpoint writes.
    changed: Vec<Vec<u8>>,
    /// Keys that the last checkpoint wrote, until it is committed.
    written: Vec<Vec<u8>>,
    /// Every key that isn't in memory is absent; `None` until the first look into the store.
    complete: Option<bool>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    value: Value,
    /// The store has the key, or will once the last checkpoint is committed.
    stored: bool,
    mark: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// As in the store.
    Clean,
    /// To be written.
    Changed,
    /// In a checkpoint that isn't committed yet.
    Written,
}

impl Entry {
    fn is_there(&self) -> bool {
        self.value[0] != 0
    }
}

impl Ordered {
    /// An empty cache over a shard of `state`.
    pub fn new(state: StateId, shard: usize) -> Self {
        Self { state, shard, entries: BTreeMap::new(), changed: vec![], written: vec![], complete: None, bytes: 0 }
    }

    /// Whether every key of the shard is in memory.
    fn is_complete(&mut self, store: &dyn Snapshot) -> Result<bool> {
        if let Some(complete) = self.complete {
            return Ok(complete);
        }
        let vnodes = delta::vnodes_of(self.shard);
        let (start, end) = (vnode_prefix(self.state, *vnodes.start()), vnode_end(self.state, *vnodes.end()));
        let (mut first, mut failure) = (Vec::new(), None);
        store.scan(&start, &end, &mut |key, value| match decode(value) {
            Ok(_) if first.len() == FEW => {
                first.clear();
                failure = Some(None);
                Visit::Stop
            }
            Ok(value) => {
                first.push((key[PREFIX..].to_vec(), value));
                Visit::Continue
            }
            Err(error) => {
                failure = Some(Some(error));
                Visit::Stop
            }
        })?;
        let complete = match failure {
            Some(Some(error)) => return Err(error),
            Some(None) => false,
            None => true,
        };
        for (key, value) in first {
            self.bytes += key.len() + ENTRY_BYTES;
            self.entries.entry(key).or_insert(Entry { value, stored: true, mark: Mark::Clean });
        }
        self.complete = Some(complete);
        Ok(complete)
    }

    /// Where all keys of the shard lie: from the first on, before the second.
    pub fn limits(&self) -> (Vec<u8>, Vec<u8>) {
        let vnodes = delta::vnodes_of(self.shard);
        let end = match vnodes.end().checked_add(1) {
            Some(next) => vec![next],
            None => vec![u8::MAX; 16],
        };
        (vec![*vnodes.start()], end)
    }

    /// Changes what a key has; returns what `change` does.
    pub fn update<T>(&mut self, key: &[u8], store: &dyn Snapshot, change: impl FnOnce(&mut Value) -> T) -> Result<T> {
        let complete = self.is_complete(store)?;
        let entry = match self.entries.entry(key.to_vec()) {
            Place::Occupied(entry) => entry.into_mut(),
            Place::Vacant(place) => {
                let stored = match complete {
                    true => None,
                    false => store.get(&[&state_prefix(self.state), key].concat())?,
                };
                let value = stored.as_deref().map(decode).transpose()?;
                self.bytes += key.len() + ENTRY_BYTES;
                place.insert(Entry { value: value.unwrap_or_default(), stored: value.is_some(), mark: Mark::Clean })
            }
        };
        if entry.mark != Mark::Changed {
            entry.mark = Mark::Changed;
            self.changed.push(key.to_vec());
        }
        Ok(change(&mut entry.value))
    }

    /// Sets what a key has that [`Ordered::range`] has just found: where it isn't in memory, it is in the store.
    pub fn set(&mut self, key: &[u8], value: Value) {
        let entry = match self.entries.entry(key.to_vec()) {
            Place::Occupied(entry) => entry.into_mut(),
            Place::Vacant(place) => {
                self.bytes += key.len() + ENTRY_BYTES;
                place.insert(Entry { value, stored: true, mark: Mark::Clean })
            }
        };
        entry.value = value;
        if entry.mark != Mark::Changed {
            entry.mark = Mark::Changed;
            self.changed.push(key.to_vec());
        }
    }

    /// Adds to how often a key is there.
    pub fn add(&mut self, key: &[u8], weight: i64, store: &dyn Snapshot) -> Result<()> {
        self.update(key, store, |value| value[0] += weight)
    }

    /// Up to `limit` keys that are there, from `from` on and before `to`, in order.
    pub fn range(&mut self, from: &[u8], to: &[u8], limit: usize, store: &dyn Snapshot) -> Result<Vec<Row>> {
        let mut found = Vec::new();
        if from >= to || limit == 0 {
            return Ok(found);
        }
        let complete = self.is_complete(store)?;
        let mut known = self.entries.range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)));
        let mut next = known.next();
        if !complete {
            let mut failure = None;
            let prefix = state_prefix(self.state);
            store.scan(&[&prefix, from].concat(), &[&prefix, to].concat(), &mut |key, value| {
                let key = &key[PREFIX..];
                while let Some((before, entry)) = next.filter(|(before, _)| before.as_slice() < key) {
                    if entry.is_there() {
                        found.push((before.clone(), entry.value));
                    }
                    next = known.next();
                }
                match next.filter(|(same, _)| same.as_slice() == key) {
                    Some((_, entry)) => {
                        if entry.is_there() {
                            found.push((key.to_vec(), entry.value));
                        }
                        next = known.next();
                    }
                    None => match decode(value) {
                        Ok(value) => found.push((key.to_vec(), value)),
                        Err(error) => {
                            failure = Some(error);
                            return Visit::Stop;
                        }
                    },
                }
                if found.len() < limit { Visit::Continue } else { Visit::Stop }
            })?;
            if let Some(error) = failure {
                return Err(error);
            }
        }
        while let Some((key, entry)) = next.filter(|_| found.len() < limit) {
            if entry.is_there() {
                found.push((key.clone(), entry.value));
            }
            next = known.next();
        }
        // Several from memory may have stood before one from the store.
        found.truncate(limit);
        Ok(found)
    }

    /// The first key that is there from `from` on and before `to`.
    pub fn first(&mut self, from: &[u8], to: &[u8], store: &dyn Snapshot) -> Result<Option<Vec<u8>>> {
        Ok(self.range(from, to, 1, store)?.pop().map(|(key, _)| key))
    }

    /// The last key that is there from `from` on and before `to`.
    pub fn last(&mut self, from: &[u8], to: &[u8], store: &dyn Snapshot) -> Result<Option<Vec<u8>>> {
        if from >= to {
            return Ok(None);
        }
        let complete = self.is_complete(store)?;
        let range = (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to));
        let mut known = self.entries.range::<[u8], _>(range).rev();
        let known = known.find(|(_, entry)| entry.is_there()).map(|(key, _)| key);
        if complete {
            return Ok(known.cloned());
        }
        let prefix = state_prefix(self.state);
        // What stands before that is of no interest.
        let from = known.map_or(from, Vec::as_slice);
        let mut stored = None;
        store.scan_back(&[&prefix, from].concat(), &[&prefix, to].concat(), &mut |key, _| {
            let key = &key[PREFIX..];
            match self.entries.get(key) {
                Some(entry) if !entry.is_there() => Visit::Continue,
                _ => {
                    stored = Some(key.to_vec());
                    Visit::Stop
                }
            }
        })?;
        Ok(stored.or_else(|| known.cloned()))
    }

    /// Adds what changed since the last call.
    pub fn checkpoint(&mut self, changes: &mut ChangeSet) {
        let prefix = state_prefix(self.state);
        let mut bytes = Vec::new();
        for key in self.changed.drain(..) {
            let entry = self.entries.get_mut(&key).expect("what has changed is in memory");
            if entry.value != [0; 2] {
                bytes.clear();
                entry.value.iter().for_each(|number| write_signed(*number, &mut bytes));
                changes.put_parts(&[&prefix, &key], &bytes);
                entry.stored = true;
            } else if std::mem::take(&mut entry.stored) {
                changes.delete_parts(&[&prefix, &key]);
            }
            entry.mark = Mark::Written;
            self.written.push(key);
        }
    }

    /// The last checkpoint is in the store: forgets keys that aren't there, and beyond `budget_bytes` all that haven't changed since.
    pub fn committed(&mut self, budget_bytes: usize) {
        for key in self.written.drain(..) {
            let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.mark == Mark::Written) else { continue };
            entry.mark = Mark::Clean;
            if entry.value == [0; 2] {
                self.entries.remove(&key);
                self.bytes -= key.len() + ENTRY_BYTES;
            }
        }
        if self.bytes > budget_bytes {
            self.entries.retain(|_, entry| entry.mark != Mark::Clean);
            self.bytes = self.entries.keys().map(|key| key.len() + ENTRY_BYTES).sum();
            self.complete = Some(false);
        }
    }

    /// Keys that the next checkpoint will write.
    pub fn changed(&self) -> usize {
        self.changed.len()
    }

    /// About how many bytes the next checkpoint writes.
    pub fn unwritten_bytes(&self) -> usize {
        self.changed.iter().map(|key| key.len() + PREFIX + 2).sum()
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keys in memory.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key is in memory.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn decode(mut bytes: &[u8]) -> Result<Value> {
    let mut number = || read_signed(&mut bytes).ok_or_else(|| Error::Corrupt("a row in an order".to_owned()));
    Ok([number()?, number()?])
}

/// Where the keys that begin with `prefix` end: the first key behind them all. `None`: nothing is behind them.
pub fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

#[cfg(test)]
mod tests;
