//! Keys with many rows, of which some are taken away: a hash over the rows finds them, where walking would compare each.
//!
//! Only a key that rows are taken from is indexed. A row that is taken away stays in its chain with weight 0, a hole; when holes outnumber
//! the rows, the chain is walked once and they are unlinked.

use std::cmp::Reverse;
use std::collections::HashMap;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{INDEXED, Multimap, NO_ROW};

/// Chains of so many rows are walked: that is faster than hashing. Tests have few rows.
const LONG: u32 = if cfg!(test) { 1 } else { 32 };

/// The rows of long chains.
#[derive(Debug, Default)]
pub(super) struct LongChains {
    rows: HashTable<Place>,
    /// By key: holes in its chain.
    holes: HashMap<u32, u32>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u64,
    slot: u32,
    row: u32,
}

fn hash_of(slot: u32, row: &[u8]) -> u64 {
    xxh3_64_with_seed(row, u64::from(slot))
}

impl LongChains {
    fn insert(&mut self, slot: u32, row: u32, bytes: &[u8]) {
        let hash = hash_of(slot, bytes);
        self.rows.insert_unique(hash, Place { hash, slot, row }, |place| place.hash);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The keys whose chains are indexed.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.holes.keys().copied()
    }

    pub(super) fn bytes(&self) -> usize {
        self.rows.allocation_size() + self.holes.capacity() * 9
    }
}

impl Multimap {
    /// Whether rows of a key are to be found by the index; it is made if the chain is long.
    pub(super) fn is_indexed(&mut self, slot: u32) -> bool {
        let chain = self.chains[slot as usize];
        if chain.flags & INDEXED != 0 || chain.rows <= LONG {
            return chain.flags & INDEXED != 0;
        }
        self.chains[slot as usize].flags |= INDEXED;
        self.long.holes.insert(slot, 0);
        let mut id = chain.head;
        while id != NO_ROW {
            let hash = hash_of(slot, self.row_bytes(id));
            self.long.rows.insert_unique(hash, Place { hash, slot, row: id }, |place| place.hash);
            id = self.rows[id as usize].next();
        }
        true
    }

    /// A row has come into the chain of a key.
    #[inline]
    pub(super) fn index_row(&mut self, slot: u32, id: u32, row: &[u8]) {
        if self.chains[slot as usize].flags & INDEXED != 0 {
            self.long.insert(slot, id, row);
        }
    }

    /// As [`Multimap::cancel`], in an indexed chain.
    pub(super) fn cancel_indexed(&mut self, slot: u32, row: &[u8], mut weight: i64) -> i64 {
        let hash = hash_of(slot, row);
        let equal = self.long.rows.iter_hash(hash).filter(|place| place.hash == hash && place.slot == slot);
        let mut ids: Vec<u32> = equal.map(|place| place.row).filter(|id| self.row_bytes(*id) == row).collect();
        // One that was never written leaves no trace when it goes.
        ids.sort_unstable_by_key(|id| (self.rows[*id as usize].is_stored(), Reverse(*id)));
        for id in ids {
            let has = self.weight(id);
            if weight == 0 || (has < 0) == (weight < 0) {
                continue;
            }
            let change = if has.abs() < weight.abs() { -has } else { weight };
            weight -= change;
            if self.rows[id as usize].is_stored() {
                self.adjusted.push((slot, id, change));
            }
            self.set_weight(id, has + change);
            if has + change == 0 {
                let is_it = |place: &Place| place.row == id && place.slot == slot;
                if let Ok(entry) = self.long.rows.find_entry(hash, is_it) {
                    entry.remove();
                }
                self.chains[slot as usize].rows -= 1;
                self.dead += 1;
                *self.long.holes.entry(slot).or_default() += 1;
            }
        }
        self.fill_holes(slot);
        weight
    }

    /// Unlinks holes if they outnumber the rows.
    fn fill_holes(&mut self, slot: u32) {
        let holes = self.long.holes.get(&slot).copied().unwrap_or(0);
        if holes <= LONG || holes <= self.chains[slot as usize].rows {
            return;
        }
        self.unlink_holes(slot);
        self.long.holes.insert(slot, 0);
    }

    fn unlink_holes(&mut self, slot: u32) {
        let mut previous = NO_ROW;
        let mut id = self.chains[slot as usize].head;
        while id != NO_ROW {
            let next = self.rows[id as usize].next();
            if self.weight(id) == 0 {
                self.link(slot, previous, next);
            } else {
                previous = id;
            }
            id = next;
        }
    }

    /// Gives an index up: the chain is about to be changed in ways that it doesn't follow. Holes are gone then.
    pub(super) fn unindex(&mut self, slot: u32) {
        if self.chains[slot as usize].flags & INDEXED == 0 {
            return;
        }
        self.chains[slot as usize].flags &= !INDEXED;
        self.long.holes.remove(&slot);
        let mut id = self.chains[slot as usize].head;
        while id != NO_ROW {
            let hash = hash_of(slot, self.row_bytes(id));
            let is_it = |place: &Place| place.row == id && place.slot == slot;
            if let Ok(entry) = self.long.rows.find_entry(hash, is_it) {
                entry.remove();
            }
            id = self.rows[id as usize].next();
        }
        self.unlink_holes(slot);
    }
}
