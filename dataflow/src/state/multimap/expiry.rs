//! Rows that find no match any more leave the state.
//!
//! Rows are noted by their time, in buckets of a second; when time has passed a bucket, its rows are taken out. One that was never
//! written leaves no trace; one that was is retracted by the next checkpoint. Of keys that aren't in memory the store is looked through, once
//! in about the time that a row stays.

use std::collections::BTreeMap;

use delta::{VNODES_PER_SHARD, vnodes_of};
use storage::{ChangeSet, Snapshot, Visit, vnode_prefix};

use super::{CHANGED, Chain, LOADED, Multimap, NO_ROW, stored_rows};
use crate::Result;
use crate::state::KeyEncoder;
use crate::state::keyed::vnode_end;
use crate::state::keys::hash_keys;

/// Rows of the same bucket go together: of a second, or of a few microseconds in tests, whose times are small numbers.
const BUCKET_US: i64 = if cfg!(test) { 2 } else { 1_000_000 };

/// When rows are over.
#[derive(Debug)]
pub(super) struct Times {
    /// The column of the rows that says so: microseconds.
    column: usize,
    /// By number of the bucket: the keys that have rows in it.
    buckets: BTreeMap<i64, Vec<u32>>,
    /// No row with a time up to this one is in the state.
    over_to: i64,
    /// When time has passed this, rows that are only in the store may be over.
    look_at: i64,
    /// Keys in the store of which all rows are over.
    doomed: Vec<Vec<u8>>,
}

impl Times {
    pub(super) fn new(column: usize) -> Self {
        Self { column, buckets: BTreeMap::new(), over_to: i64::MIN, look_at: i64::MIN, doomed: vec![] }
    }

    fn note(&mut self, slot: u32, time: i64) {
        let slots = self.buckets.entry(time.div_euclid(BUCKET_US)).or_default();
        if slots.last() != Some(&slot) {
            slots.push(slot);
        }
    }
}

impl Multimap {
    /// The time of a row, if rows have one and it isn't null.
    #[inline]
    fn time(&self, row: &[u8]) -> Option<i64> {
        self.codec.integer(self.times.as_ref()?.column, row)
    }

    /// Whether a row is over: it isn't kept.
    #[inline]
    pub(super) fn is_over(&self, row: &[u8]) -> bool {
        self.times
            .as_ref()
            .is_some_and(|times| self.codec.integer(times.column, row).is_some_and(|t| t <= times.over_to))
    }

    /// A row has come into a key's chain.
    #[inline]
    pub(super) fn note_time(&mut self, slot: u32, row: &[u8]) {
        if let Some(times) = &mut self.times
            && let Some(time) = self.codec.integer(times.column, row)
        {
            times.note(slot, time);
        }
    }

    /// Takes out rows with times up to `to`, as far as whole buckets go. `encoder` is that of the keys.
    pub fn expire(&mut self, to: i64, encoder: &KeyEncoder, store: &dyn Snapshot) -> Result<()> {
        let Some(times) = &mut self.times else { return Ok(()) };
        let next = to.saturating_add(1).div_euclid(BUCKET_US);
        let over_to = next.saturating_mul(BUCKET_US).saturating_sub(1);
        if over_to <= times.over_to {
            return Ok(());
        }
        times.over_to = over_to;
        let later = times.buckets.split_off(&next);
        let over = std::mem::replace(&mut times.buckets, later);
        for mut slots in over.into_values() {
            slots.sort_unstable();
            slots.dedup();
            slots.into_iter().for_each(|slot| self.expire_key(slot, over_to));
        }
        self.compact_if_worth_it();
        let must_look = self.times.as_ref().is_some_and(|times| times.look_at <= over_to);
        if must_look && !self.is_complete(store)? {
            self.look_through_store(over_to, encoder, store)?;
        }
        Ok(())
    }

    fn expire_key(&mut self, slot: u32, over_to: i64) {
        // The slot may have been given to another key since: of that one, too, only rows go that are over.
        if !self.keys.is_occupied(slot) {
            return;
        }
        self.unindex(slot);
        let loaded = self.chains[slot as usize].flags & LOADED != 0;
        let mut previous = NO_ROW;
        let mut id = self.chains[slot as usize].head;
        while id != NO_ROW {
            let entry = self.rows[id as usize];
            let over = self.time(self.row_bytes(id)).is_some_and(|time| time <= over_to);
            // Written rows of a key that isn't loaded leave memory by themselves.
            if over && (loaded || !entry.is_stored()) {
                let weight = self.weight(id);
                self.chains[slot as usize].weight -= weight;
                self.negative -= usize::from(weight < 0);
                if entry.is_stored() {
                    self.adjusted.push((slot, id, -weight));
                } else {
                    self.unwritten = self.unwritten.saturating_sub(self.row_bytes(id).len());
                }
                self.mark_changed(slot);
                self.unlink(slot, previous, id);
            } else {
                previous = id;
            }
            id = entry.next();
        }
        let chain = self.chains[slot as usize];
        if chain.rows == 0 && chain.flags & LOADED != 0 && !self.keys.is_stored(slot) {
            // No checkpoint knows of the key.
            self.chains[slot as usize] = Chain { flags: LOADED, ..Chain::NEW };
            self.keys.remove(slot);
        }
    }

    pub(super) fn mark_changed(&mut self, slot: u32) {
        let chain = &mut self.chains[slot as usize];
        if chain.flags & CHANGED == 0 {
            chain.flags |= CHANGED;
            self.changed.push(slot);
        }
    }

    /// Finds keys that are only in the store and of which all rows are over.
    fn look_through_store(&mut self, over_to: i64, encoder: &KeyEncoder, store: &dyn Snapshot) -> Result<()> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        // When all rows that are there now will be over.
        let mut last = over_to.saturating_add(BUCKET_US);
        for vnode in vnodes_of(self.shard).take(VNODES_PER_SHARD) {
            let mut failure = None;
            store.scan(&vnode_prefix(self.state, vnode), &vnode_end(self.state, vnode), &mut |key, value| {
                match self.last_time(value) {
                    Ok(Some(time)) if time <= over_to => keys.push(key[5..].to_vec()),
                    Ok(Some(time)) => last = last.max(time),
                    Ok(None) => {}
                    Err(error) => {
                        failure = Some(error);
                        return Visit::Stop;
                    }
                }
                Visit::Continue
            })?;
            if let Some(error) = failure {
                return Err(error);
            }
        }
        let borrowed: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let mut hashes = Vec::new();
        if !keys.is_empty() {
            hash_keys(&encoder.decode(&borrowed)?, keys.len(), &mut hashes);
        }
        let gone = keys.iter().zip(&hashes).filter(|(key, hash)| self.keys.find(**hash, key).is_none());
        let full = |(key, hash): (&Vec<u8>, &u64)| {
            [&vnode_prefix(self.state, delta::vnode_of(*hash))[..], key.as_slice()].concat()
        };
        let doomed: Vec<Vec<u8>> = gone.map(full).collect();
        if let Some(times) = &mut self.times {
            times.doomed.extend(doomed);
            times.look_at = last;
        }
        Ok(())
    }

    /// The latest time of the rows that a stored value stands for; `None` if one of them has none, or there is no row.
    fn last_time(&self, value: &[u8]) -> Result<Option<i64>> {
        let (rows, _) = stored_rows(value, &self.codec)?;
        let times: Option<Vec<i64>> = rows.iter().map(|(row, _)| self.time(row)).collect();
        Ok(times.and_then(|times| times.into_iter().max()))
    }

    /// Removes what was found in the store; to be called before anything else is written.
    pub(super) fn delete_doomed(&mut self, changes: &mut ChangeSet) {
        if let Some(times) = &mut self.times {
            times.doomed.drain(..).for_each(|key| changes.delete(&key));
        }
    }

    /// About how many keys the next checkpoint removes.
    pub(super) fn doomed(&self) -> usize {
        self.times.as_ref().map_or(0, |times| times.doomed.len())
    }
}
