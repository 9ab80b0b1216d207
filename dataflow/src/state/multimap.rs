//! Many rows per key: one side of a join, or the rows of partitions, of one shard, as a write-back cache.
//!
//! Rows are encoded ([`RowCodec`]) into an arena and chained per key, newest first; a row costs its bytes and eight more. In the store a
//! key's value is a list of operands, one per checkpoint that added or removed rows: `(weight, row)…`. A row that comes and
//! goes between two checkpoints is never written. Retractions of stored rows are appended with negative weights until they
//! outweigh what is left; then the key is written anew in full.
//!
//! A key's rows are either all in memory (*loaded*), or only those that were added since the key was last evicted: adding rows
//! to a key that isn't in memory reads nothing.

mod expiry;
mod long;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;

use self::expiry::Times;
use self::long::LongChains;
use storage::{ChangeSet, Snapshot, StateId, vnode_prefix};

use super::arena::{Address, Arena};
use super::keyed::{LAST_STEP, is_shard_empty};
use super::keys::{EncodedKeys, KeyTable, NO_SLOT};
use super::row::{EncodedRows, RowCodec};
use super::{read_signed, write_signed};
use crate::{Error, Result};

const NO_ROW: u32 = u32::MAX >> 1;
/// In [`RowRef::next`]: the row is in the store already, and so is every row behind it.
const STORED: u32 = 1 << 31;

/// Rows of one shard by key.
#[derive(Debug)]
pub struct Multimap {
    state: StateId,
    shard: usize,
    codec: Arc<RowCodec>,
    keys: KeyTable,
    chains: Vec<Chain>,
    rows: Vec<RowRef>,
    /// Weights of `rows`; empty while all are 1.
    weights: Vec<i64>,
    /// Rows with a negative weight; while there is none, an added row needs no search.
    negative: usize,
    arena: Arena,
    /// Keys that the next checkpoint writes.
    changed: Vec<u32>,
    /// How stored rows changed since the last checkpoint: the key, the row, the change of its weight.
    adjusted: Vec<(u32, u32, i64)>,
    /// Bytes of rows added since the last checkpoint.
    unwritten: usize,
    /// Keys that had no row at the last checkpoint.
    empty: Vec<u32>,
    /// Keys that weren't loaded at the last checkpoint, when rows of them were written.
    partial: Vec<u32>,
    /// Rows that no chain holds any more.
    dead: usize,
    step: u32,
    complete: Option<bool>,
    /// Set where rows are over at some time.
    times: Option<Times>,
    long: LongChains,
}

/// The rows of a key.
#[derive(Clone, Copy, Debug)]
struct Chain {
    /// The sum of the weights, of a loaded key.
    weight: i64,
    head: u32,
    /// Rows in the chain.
    rows: u32,
    /// Entries in the store beyond the rows that are left.
    garbage: u32,
    flags: u8,
}

const LOADED: u8 = 1;
const CHANGED: u8 = 2;
/// Its rows are found by [`LongChains`].
const INDEXED: u8 = 4;
/// What the store has of it is over: the next checkpoint writes all that there is.
const CLEARED: u8 = 8;

#[derive(Clone, Copy, Debug)]
struct RowRef {
    at: Address,
    /// The next older row, and whether this one is [`STORED`].
    next: u32,
}

impl RowRef {
    fn next(self) -> u32 {
        self.next & !STORED
    }

    fn is_stored(self) -> bool {
        self.next & STORED != 0
    }
}

impl Chain {
    const NEW: Self = Self { weight: 0, head: NO_ROW, rows: 0, garbage: 0, flags: 0 };
}

impl Multimap {
    /// As [`Multimap::new`], of rows that are [over](Multimap::expire) at some time after that in a column of theirs.
    pub fn expiring(state: StateId, shard: usize, codec: Arc<RowCodec>, column: usize) -> Self {
        Self { times: Some(Times::new(column)), ..Self::new(state, shard, codec) }
    }

    /// An empty cache over a shard of `state`.
    pub fn new(state: StateId, shard: usize, codec: Arc<RowCodec>) -> Self {
        Self {
            state,
            shard,
            codec,
            keys: KeyTable::default(),
            chains: vec![],
            rows: vec![],
            weights: vec![],
            negative: 0,
            arena: Arena::default(),
            changed: vec![],
            adjusted: vec![],
            unwritten: 0,
            empty: vec![],
            partial: vec![],
            dead: 0,
            step: 1,
            complete: None,
            times: None,
            long: LongChains::default(),
        }
    }

    /// Keys touched from now on count as touched by a new step.
    pub fn begin_step(&mut self) {
        if self.step >= LAST_STEP {
            // Which keys are the oldest is forgotten.
            let slots: Vec<u32> = self.keys.occupied().collect();
            for slot in slots {
                self.keys.set_stamp(slot, 1);
            }
            self.step = 1;
        }
        self.step += 1;
    }

    /// How rows are encoded.
    pub fn codec(&self) -> &Arc<RowCodec> {
        &self.codec
    }

    /// The state table.
    pub fn state(&self) -> StateId {
        self.state
    }

    /// The shard.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// The keys in memory.
    pub fn keys(&self) -> &KeyTable {
        &self.keys
    }

    /// Whether every key of the shard is in memory.
    pub fn is_complete(&mut self, store: &dyn Snapshot) -> Result<bool> {
        if self.complete.is_none() {
            self.complete = Some(is_shard_empty(self.state, self.shard, store)?);
        }
        Ok(self.complete == Some(true))
    }

    /// The slots of a batch's keys, all their rows loaded; [`NO_SLOT`] for keys that have none.
    pub fn probe(
        &mut self,
        hashes: &[u64],
        keys: &EncodedKeys,
        store: &dyn Snapshot,
        slots: &mut Vec<u32>,
    ) -> Result<()> {
        slots.clear();
        slots.reserve(hashes.len());
        if self.is_complete(store)? {
            for (row, hash) in hashes.iter().enumerate() {
                let slot = self.keys.find(*hash, keys.key(row)).unwrap_or(NO_SLOT);
                if slot != NO_SLOT {
                    self.keys.set_stamp(slot, self.step);
                }
                slots.push(slot);
            }
            return Ok(());
        }
        let mut missing = Vec::new();
        for (row, hash) in hashes.iter().enumerate() {
            let slot = self.slot(*hash, keys.key(row));
            if self.chains[slot as usize].flags & LOADED == 0 {
                missing.push(slot);
            }
            slots.push(slot);
        }
        self.load(missing, store)
    }

    /// The slot of a key, made if need be.
    pub fn slot(&mut self, hash: u64, key: &[u8]) -> u32 {
        let (slot, new) = self.keys.find_or_insert(hash, key);
        if new {
            let mut chain = Chain::NEW;
            if self.complete == Some(true) {
                chain.flags |= LOADED;
            }
            match self.chains.get_mut(slot as usize) {
                Some(old) => *old = chain,
                None => self.chains.push(chain),
            }
        }
        self.keys.set_stamp(slot, self.step);
        slot
    }

    fn give_back(&mut self) {
        if self.keys.shrink() {
            self.chains.truncate(self.keys.slots());
            self.chains.shrink_to_fit();
        }
    }

    /// Adds a batch: row `i` of `rows` under key `i`, with its weight (absent: 1). Returns the slots of the keys.
    pub fn add(
        &mut self,
        hashes: &[u64],
        keys: &EncodedKeys,
        rows: &EncodedRows,
        weights: Option<&[i64]>,
        store: &dyn Snapshot,
    ) -> Result<Vec<u32>> {
        self.is_complete(store)?;
        let slots: Vec<u32> = hashes.iter().enumerate().map(|(row, hash)| self.slot(*hash, keys.key(row))).collect();
        if let Some(weights) = weights {
            let unknown =
                |(slot, weight): &(&u32, &i64)| **weight < 0 && self.chains[**slot as usize].flags & LOADED == 0;
            let missing: Vec<u32> = slots.iter().zip(weights).filter(unknown).map(|(slot, _)| *slot).collect();
            self.load(missing, store)?;
        }
        for (row, slot) in slots.iter().enumerate() {
            let weight = weights.map_or(1, |w| w[row]);
            if weight != 0 {
                self.add_row(*slot, rows.row(row), weight);
            }
        }
        Ok(slots)
    }

    /// Adds a row, or takes it away: then the key must have come from [`Multimap::probe`].
    pub fn add_row(&mut self, slot: u32, row: &[u8], weight: i64) {
        self.mark_changed(slot);
        if self.is_over(row) {
            return;
        }
        self.chains[slot as usize].weight += weight;
        // A row without columns is only counted.
        let merge = row.is_empty();
        let rest =
            if weight < 0 || self.negative > 0 || merge { self.cancel(slot, row, weight, merge) } else { weight };
        if rest != 0 {
            self.push_row(slot, row, rest);
        }
    }

    fn push_row(&mut self, slot: u32, row: &[u8], weight: i64) {
        let id = self.rows.len() as u32;
        assert!(id < NO_ROW, "a shard has less than 2^31 rows");
        let at = self.arena.push(row);
        self.unwritten += row.len();
        self.note_time(slot, row);
        let chain = &mut self.chains[slot as usize];
        self.rows.push(RowRef { at, next: chain.head });
        chain.head = id;
        chain.rows += 1;
        if weight != 1 || !self.weights.is_empty() {
            self.weights.resize(id as usize, 1);
            self.weights.push(weight);
            self.negative += usize::from(weight < 0);
        }
        self.index_row(slot, id, row);
    }

    /// Sets `weight` off against equal rows of the other sign; returns what is left of it. With `merge`, also adds
    /// it to an equal row of its own sign.
    fn cancel(&mut self, slot: u32, row: &[u8], mut weight: i64, merge: bool) -> i64 {
        // Stored rows of a key that isn't loaded leave memory when they are committed: they must be as they are in the store.
        let loaded = self.chains[slot as usize].flags & LOADED != 0;
        let mut previous = NO_ROW;
        let mut id = self.chains[slot as usize].head;
        if self.is_indexed(slot) {
            return self.cancel_indexed(slot, row, weight);
        }
        while id != NO_ROW && weight != 0 {
            let entry = self.rows[id as usize];
            let has = self.weight(id);
            let opposite = (has < 0) != (weight < 0);
            if (opposite || merge && (loaded || !entry.is_stored())) && self.row_bytes(id) == row {
                let change = if opposite && has.abs() < weight.abs() { -has } else { weight };
                weight -= change;
                if entry.is_stored() {
                    self.adjusted.push((slot, id, change));
                }
                if has + change == 0 {
                    self.negative -= usize::from(has < 0);
                    self.unlink(slot, previous, id);
                    id = entry.next();
                    continue;
                }
                self.set_weight(id, has + change);
            }
            previous = id;
            id = entry.next();
        }
        weight
    }

    fn unlink(&mut self, slot: u32, previous: u32, id: u32) {
        self.link(slot, previous, self.rows[id as usize].next());
        self.chains[slot as usize].rows -= 1;
        self.dead += 1;
    }

    /// Makes `next` what follows `previous` in a key's chain, or its head.
    fn link(&mut self, slot: u32, previous: u32, next: u32) {
        if previous == NO_ROW {
            self.chains[slot as usize].head = next;
        } else {
            let link = &mut self.rows[previous as usize].next;
            *link = *link & STORED | next;
        }
    }

    /// Gives a key of the store a slot, without reading its rows: it is to be [cleared](Multimap::clear).
    pub fn know(&mut self, hash: u64, key: &[u8]) {
        self.slot(hash, key);
    }

    /// Takes all rows of keys away, without reading those in the store.
    pub fn forget(&mut self, hashes: &[u64], keys: &EncodedKeys, store: &dyn Snapshot) -> Result<()> {
        let complete = self.is_complete(store)?;
        for (row, hash) in hashes.iter().enumerate() {
            if complete && self.keys.find(*hash, keys.key(row)).is_none() {
                continue;
            }
            let slot = self.slot(*hash, keys.key(row));
            if !self.is_gone(slot) {
                self.clear(slot);
            }
        }
        Ok(())
    }

    /// Whether it is known that a key has no rows, in memory or in the store.
    pub fn is_gone(&self, slot: u32) -> bool {
        let chain = &self.chains[slot as usize];
        chain.flags & LOADED != 0 && chain.rows == 0
    }

    /// Takes all rows of a key away.
    pub fn clear(&mut self, slot: u32) {
        self.unindex(slot);
        let mut chain = self.chains[slot as usize];
        let mut id = chain.head;
        while id != NO_ROW {
            self.negative -= usize::from(self.weight(id) < 0);
            id = self.rows[id as usize].next();
        }
        self.dead += chain.rows as usize;
        if chain.flags & LOADED == 0 {
            // Rows that aren't in memory may be in the store.
            self.keys.set_stored(slot, true);
        }
        if chain.flags & CHANGED == 0 {
            self.changed.push(slot);
        }
        chain.flags |= LOADED | CHANGED | CLEARED;
        self.chains[slot as usize] = Chain { weight: 0, head: NO_ROW, rows: 0, garbage: 0, flags: chain.flags };
    }

    #[inline]
    fn weight(&self, id: u32) -> i64 {
        self.weights.get(id as usize).copied().unwrap_or(1)
    }

    fn set_weight(&mut self, id: u32, weight: i64) {
        let has = self.weight(id);
        if self.weights.len() < self.rows.len() {
            self.weights.resize(self.rows.len(), 1);
        }
        self.negative += usize::from(weight < 0);
        self.negative -= usize::from(has < 0);
        self.weights[id as usize] = weight;
    }

    #[inline]
    fn row_bytes(&self, id: u32) -> &[u8] {
        let bytes = self.arena.from(self.rows[id as usize].at);
        &bytes[..self.codec.row_len(bytes)]
    }

    /// The sum of the weights of a key's rows. The key must have come from [`Multimap::probe`].
    #[inline]
    pub fn total(&self, slot: u32) -> i64 {
        if slot == NO_SLOT { 0 } else { self.chains[slot as usize].weight }
    }

    /// A key's rows with their weights, newest first. The key must have come from [`Multimap::probe`].
    #[inline]
    pub fn rows(&self, slot: u32) -> impl Iterator<Item = (&[u8], i64)> {
        let mut id = if slot == NO_SLOT { NO_ROW } else { self.chains[slot as usize].head };
        std::iter::from_fn(move || {
            while id != NO_ROW {
                let this = id;
                id = self.rows[id as usize].next();
                let weight = self.weight(this);
                if weight != 0 {
                    return Some((self.row_bytes(this), weight));
                }
            }
            None
        })
    }

    /// Whether all rows have weight 1.
    pub fn is_plain(&self) -> bool {
        self.weights.is_empty()
    }

    /// Reads keys whose rows aren't in memory.
    fn load(&mut self, mut missing: Vec<u32>, store: &dyn Snapshot) -> Result<()> {
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort_unstable_by(|a, b| {
            let key = |slot: &u32| (self.keys.vnode(*slot), self.keys.key(*slot), *slot);
            key(a).cmp(&key(b))
        });
        missing.dedup();
        let mut bytes = Vec::new();
        let mut starts = vec![0];
        for slot in &missing {
            bytes.extend_from_slice(&vnode_prefix(self.state, self.keys.vnode(*slot)));
            bytes.extend_from_slice(self.keys.key(*slot));
            starts.push(bytes.len());
        }
        let keys: Vec<&[u8]> = starts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        for (slot, value) in missing.iter().zip(store.multi_get(&keys)?) {
            self.chains[*slot as usize].flags |= LOADED;
            if let Some(value) = value {
                self.keys.set_stored(*slot, true);
                self.load_key(*slot, &value)?;
            }
        }
        Ok(())
    }

    /// Puts the stored rows of a key behind those that were added since it was evicted.
    fn load_key(&mut self, slot: u32, value: &[u8]) -> Result<()> {
        let (rows, entries) = stored_rows(value, &self.codec)?;
        self.unindex(slot);
        let mut tail = NO_ROW;
        let mut id = self.chains[slot as usize].head;
        while id != NO_ROW {
            tail = id;
            id = self.rows[id as usize].next();
        }
        self.chains[slot as usize].garbage = entries;
        for (row, weight) in rows {
            if self.is_over(row) {
                self.mark_changed(slot);
                continue;
            }
            self.note_time(slot, row);
            let chain = &mut self.chains[slot as usize];
            chain.garbage -= 1;
            let id = self.rows.len() as u32;
            assert!(id < NO_ROW, "a shard has less than 2^31 rows");
            self.rows.push(RowRef { at: self.arena.push(row), next: NO_ROW | STORED });
            if weight != 1 || !self.weights.is_empty() {
                self.weights.resize(id as usize, 1);
                self.weights.push(weight);
                self.negative += usize::from(weight < 0);
            }
            if tail == NO_ROW {
                chain.head = id;
            } else {
                let link = &mut self.rows[tail as usize].next;
                *link = *link & STORED | id;
            }
            tail = id;
            chain.rows += 1;
            chain.weight += weight;
        }
        Ok(())
    }

    /// Adds what changed since the last call.
    pub fn checkpoint(&mut self, changes: &mut ChangeSet) {
        self.delete_doomed(changes);
        let changed = std::mem::take(&mut self.changed);
        let mut adjusted = std::mem::take(&mut self.adjusted);
        adjusted.sort_by_key(|(slot, _, _)| *slot);
        let mut value = Vec::new();
        for slot in &changed {
            // A key may be gone again, and another have its place.
            if !self.keys.is_occupied(*slot) || !self.is_changed(*slot) {
                continue;
            }
            let start = adjusted.partition_point(|(other, _, _)| other < slot);
            let end = start + adjusted[start..].partition_point(|(other, _, _)| other == slot);
            self.write_key(*slot, &adjusted[start..end], &mut value, changes);
        }
        self.changed = changed;
        self.changed.clear();
        adjusted.clear();
        self.adjusted = adjusted;
        self.unwritten = 0;
        self.step += 1;
    }

    fn write_key(&mut self, slot: u32, adjusted: &[(u32, u32, i64)], value: &mut Vec<u8>, changes: &mut ChangeSet) {
        value.clear();
        let prefix = vnode_prefix(self.state, self.keys.vnode(slot));
        let mut chain = self.chains[slot as usize];
        let cleared = chain.flags & CLEARED != 0;
        chain.flags &= !(CHANGED | CLEARED);
        let garbage = chain.garbage + 2 * adjusted.len() as u32;
        if chain.rows == 0 && chain.flags & LOADED != 0 {
            if self.keys.is_stored(slot) {
                changes.delete_parts(&[&prefix, self.keys.key(slot)]);
                self.keys.set_stored(slot, false);
            }
            chain.garbage = 0;
            self.empty.push(slot);
        } else if cleared || !adjusted.is_empty() && (chain.rows <= 4 || garbage > chain.rows) {
            self.write_chain(chain.head, true, value);
            changes.put_parts(&[&prefix, self.keys.key(slot)], value);
            self.keys.set_stored(slot, true);
            chain.garbage = 0;
        } else {
            self.write_chain(chain.head, false, value);
            for (_, id, weight) in adjusted {
                write_signed(*weight, value);
                value.extend_from_slice(self.row_bytes(*id));
            }
            if !value.is_empty() {
                // Of a key that is known not to be in the store, the first operand is all there is: RocksDB need not look for others.
                let key: [&[u8]; 2] = [&prefix, self.keys.key(slot)];
                let is_first = chain.flags & LOADED != 0 && !self.keys.is_stored(slot);
                if is_first {
                    changes.put_parts(&key, value)
                } else {
                    changes.append_parts(&key, value)
                }
                self.keys.set_stored(slot, true);
            }
            chain.garbage = garbage;
        }
        if chain.flags & LOADED == 0 {
            self.partial.push(slot);
        }
        self.chains[slot as usize] = chain;
    }

    /// Appends a chain's rows: all, or only those that aren't stored yet. They count as stored from now on.
    fn write_chain(&mut self, head: u32, all: bool, value: &mut Vec<u8>) {
        let mut id = head;
        while id != NO_ROW && (all || !self.rows[id as usize].is_stored()) {
            if self.weight(id) != 0 {
                write_signed(self.weight(id), value);
                value.extend_from_slice(self.row_bytes(id));
            }
            self.rows[id as usize].next |= STORED;
            id = self.rows[id as usize].next();
        }
    }

    /// The last checkpoint is in the store: frees keys without rows, then the ones longest untouched until the cache takes at
    /// most `budget_bytes`. Keys that changed since the checkpoint stay.
    ///
    /// Returns whether keys that the store has left memory.
    pub fn committed(&mut self, budget_bytes: usize) -> bool {
        let mut gone = std::mem::take(&mut self.empty);
        gone.retain(|slot| {
            self.keys.is_occupied(*slot) && self.chains[*slot as usize].rows == 0 && !self.is_changed(*slot)
        });
        gone.sort_unstable();
        gone.dedup();
        for slot in gone {
            self.unindex(slot);
            self.keys.remove(slot);
        }
        let mut evicted = self.forget_partial();
        let bytes = self.live_bytes();
        if bytes > budget_bytes {
            let fraction = 1.0 - 0.8 * budget_bytes as f64 / bytes as f64;
            if let Some(oldest) = self.keys.oldest(fraction, |slot| !self.is_changed(slot)) {
                let may_go = |slot: &u32| self.keys.stamp(*slot) <= oldest && !self.is_changed(*slot);
                let gone: Vec<u32> = self.keys.occupied().filter(may_go).collect();
                evicted |= !gone.is_empty();
                for slot in gone {
                    self.unindex(slot);
                    self.dead += self.chains[slot as usize].rows as usize;
                    self.keys.remove(slot);
                }
                self.complete = Some(false);
            }
        }
        self.compact_if_worth_it();
        self.give_back();
        evicted
    }

    fn compact_if_worth_it(&mut self) {
        // Fewer are not worth it. Tests have few.
        const FEW: usize = if cfg!(test) { 4 } else { 1024 };
        if self.dead > FEW && self.dead > self.rows.len() / 2 {
            self.compact();
        }
    }

    /// Drops rows that the store now has of keys that aren't loaded: loading will bring them. Returns whether there were any.
    fn forget_partial(&mut self) -> bool {
        let any = !self.partial.is_empty();
        for slot in std::mem::take(&mut self.partial) {
            let mut chain = self.chains[slot as usize];
            if chain.flags & LOADED != 0 {
                continue;
            }
            self.unindex(slot);
            chain = self.chains[slot as usize];
            let (mut last, mut id) = (NO_ROW, chain.head);
            while id != NO_ROW && !self.rows[id as usize].is_stored() {
                last = id;
                id = self.rows[id as usize].next();
            }
            match self.rows.get_mut(last as usize) {
                Some(last) => last.next = NO_ROW,
                None => chain.head = NO_ROW,
            }
            while id != NO_ROW {
                chain.rows -= 1;
                chain.weight -= self.weight(id);
                self.dead += 1;
                id = self.rows[id as usize].next();
            }
            self.chains[slot as usize] = chain;
            if chain.rows == 0 {
                self.keys.remove(slot);
            }
        }
        any
    }

    fn is_changed(&self, slot: u32) -> bool {
        self.chains[slot as usize].flags & CHANGED != 0
    }

    /// Moves the rows that chains hold together and drops the others.
    fn compact(&mut self) {
        for slot in self.long.slots().collect::<Vec<_>>() {
            self.chains[slot as usize].flags &= !INDEXED;
        }
        self.long.clear();
        let old_rows = std::mem::take(&mut self.rows);
        let old_arena = std::mem::take(&mut self.arena);
        let old_weights = std::mem::take(&mut self.weights);
        let weight = |id: u32| old_weights.get(id as usize).copied().unwrap_or(1);
        let mut moved: HashMap<u32, u32> = self.adjusted.iter().map(|(_, id, _)| (*id, NO_ROW)).collect();
        self.negative = 0;
        let copy = |map: &mut Self, id: u32| {
            let old = old_rows[id as usize];
            let bytes = old_arena.from(old.at);
            let new = map.rows.len() as u32;
            map.rows.push(RowRef {
                at: map.arena.push(&bytes[..map.codec.row_len(bytes)]),
                next: NO_ROW | old.next & STORED,
            });
            if weight(id) != 1 || !map.weights.is_empty() {
                map.weights.resize(new as usize, 1);
                map.weights.push(weight(id));
                map.negative += usize::from(weight(id) < 0);
            }
            new
        };
        for slot in self.keys.occupied().collect::<Vec<_>>() {
            let mut id = std::mem::replace(&mut self.chains[slot as usize].head, NO_ROW);
            let mut tail = NO_ROW;
            while id != NO_ROW {
                if weight(id) == 0 {
                    id = old_rows[id as usize].next();
                    continue;
                }
                let new = copy(self, id);
                if let Some(to) = moved.get_mut(&id) {
                    *to = new;
                }
                if tail == NO_ROW {
                    self.chains[slot as usize].head = new;
                } else {
                    let link = &mut self.rows[tail as usize].next;
                    *link = *link & STORED | new;
                }
                tail = new;
                id = old_rows[id as usize].next();
            }
        }
        self.dead = 0;
        // Rows that are gone but must still be written as gone.
        for index in 0..self.adjusted.len() {
            let id = self.adjusted[index].1;
            if moved[&id] == NO_ROW {
                let new = copy(self, id);
                moved.insert(id, new);
                self.dead += 1;
            }
            self.adjusted[index].1 = moved[&id];
        }
    }

    fn live_bytes(&self) -> usize {
        let keys = self.keys.len() * (48 + size_of::<Chain>());
        let rows = self.rows.len().max(1);
        keys + (self.row_memory() as f64 * (rows - self.dead.min(rows)) as f64 / rows as f64) as usize
    }

    fn row_memory(&self) -> usize {
        self.rows.len() * size_of::<RowRef>() + self.weights.len() * 8 + self.arena.bytes() + self.long.bytes()
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.keys.bytes() + self.chains.len() * size_of::<Chain>() + self.row_memory()
    }

    /// Rows held.
    pub fn len(&self) -> usize {
        self.rows.len() - self.dead
    }

    /// Whether no row is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// About how many bytes the next checkpoint writes.
    pub fn unwritten_bytes(&self) -> usize {
        self.unwritten + self.changed() * 24
    }

    /// Keys that the next checkpoint writes.
    pub fn changed(&self) -> usize {
        self.changed.len() + self.doomed()
    }
}

/// An encoded row and its weight.
type WeightedRow<'a> = (&'a [u8], i64);

/// The rows of keys as they are stored, and their weights.
pub(crate) fn decode_stored(values: &[super::entries::Entry], codec: &RowCodec) -> Result<(RecordBatch, Vec<i64>)> {
    let mut rows = Vec::new();
    let mut weights = Vec::new();
    for (_, value) in values {
        for (row, weight) in stored_rows(value, codec)?.0 {
            rows.push(row);
            weights.push(weight);
        }
    }
    Ok((codec.decode(&rows)?, weights))
}

/// The rows that a stored value stands for, equal ones added up where one is negative, and how many entries it has.
fn stored_rows<'a>(mut value: &'a [u8], codec: &RowCodec) -> Result<(Vec<WeightedRow<'a>>, u32)> {
    let corrupt = || Error::Corrupt("rows of a join".to_owned());
    let mut rows: Vec<WeightedRow<'_>> = Vec::new();
    let mut plain = true;
    while !value.is_empty() {
        let weight = read_signed(&mut value).ok_or_else(corrupt)?;
        let len = codec.checked_row_len(value).ok_or_else(corrupt)?;
        let (row, rest) = value.split_at(len);
        value = rest;
        plain &= weight > 0 && !row.is_empty();
        rows.push((row, weight));
    }
    let entries = rows.len() as u32;
    if !plain {
        let mut at: HashMap<&[u8], usize> = HashMap::with_capacity(rows.len());
        let mut sums: Vec<(&[u8], i64)> = Vec::with_capacity(rows.len());
        for (row, weight) in rows {
            let index = *at.entry(row).or_insert_with(|| {
                sums.push((row, 0));
                sums.len() - 1
            });
            sums[index].1 += weight;
        }
        sums.retain(|(_, weight)| *weight != 0);
        rows = sums;
    }
    Ok((rows, entries))
}

#[cfg(test)]
mod tests;
