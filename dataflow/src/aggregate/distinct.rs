//! The values that a `DISTINCT` argument takes in each group, and how often, for all calls on that argument.
//!
//! A row looks its value up once, whatever the number of calls: an entry has a count per filter (`count(DISTINCT x) FILTER (…)`), or, where
//! no row is ever taken away, a bit. When a count begins or ceases to be positive, the value enters or leaves the set: a [`Transitions`]
//! that ordinary accumulators take as rows of weight 1 or -1. So `sum(DISTINCT x)` is a sum over transitions, and retracts as one.
//!
//! **State**: an entry per group and value, key `[group key][value]`, value the bits or the counts. In memory is a hash table
//! of entries, a write-back cache: a checkpoint writes the entries that changed; clean ones may be dropped, second chance first, and come
//! back with one multi-get per batch. A group is *partial* while the store may hold entries of it that memory doesn't.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;
use storage::{ChangeSet, Snapshot, StateId};

use super::GroupKeys;
use super::store_keys::{KeyList, Partial};
use super::value::{ByteColumn, Column, Form, Value, codes64, codes128, corrupt, form, with_group};
use crate::Result;
use crate::state::keyed::fit;
use crate::state::{read_signed, read_varint, write_signed, write_varint};

/// Filters on one argument: as many as bits in the mask of a row.
pub(super) const MAX_FILTERS: usize = 64;

/// Changed since the last checkpoint.
const DIRTY: u32 = 1 << 31;
/// The store has an entry.
const STORED: u32 = 1 << 30;
/// Used since the last sweep for room.
const RECENT: u32 = 1 << 29;
const FLAGS: u32 = DIRTY | STORED | RECENT;
/// Filters whose bits lie beside the flags.
const BITS: usize = 29;

/// Values that entered or left the set of one filter: rows of the batch that hold them, and +1 or -1.
#[derive(Debug, Default)]
pub(super) struct Transitions {
    pub(super) rows: Vec<u32>,
    pub(super) weights: Vec<i64>,
}

impl Transitions {
    fn push(&mut self, row: usize, weight: i64) {
        self.rows.push(row as u32);
        self.weights.push(weight);
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.weights.clear();
    }
}

/// The rows of a batch: their groups and weights, and for each the filters that it passes, one bit each.
#[derive(Clone, Copy)]
pub(super) struct MaskedRows<'a> {
    pub(super) groups: &'a [u32],
    pub(super) weights: Option<&'a [i64]>,
    pub(super) masks: &'a [u64],
}

/// The values of one argument in the groups of one shard.
pub(super) enum Distinct {
    Code64(Values<i64>),
    Code128(Values<i128>),
    Bytes(Values<Box<[u8]>>),
}

macro_rules! each_form {
    ($distinct:expr, $values:ident => $body:expr) => {
        match $distinct {
            Distinct::Code64($values) => $body,
            Distinct::Code128($values) => $body,
            Distinct::Bytes($values) => $body,
        }
    };
}

impl Distinct {
    /// `filters` counts per value; `append_only`: no row has a negative weight.
    pub(super) fn new(state: StateId, data_type: &DataType, filters: usize, append_only: bool) -> Self {
        match form(data_type) {
            Form::Code64 => Self::Code64(Values::new(state, filters, append_only)),
            Form::Code128 => Self::Code128(Values::new(state, filters, append_only)),
            Form::Bytes => Self::Bytes(Values::new(state, filters, append_only)),
        }
    }

    pub(super) fn resize(&mut self, groups: usize) {
        each_form!(self, values => values.resize(groups));
    }

    /// Adds rows; what enters or leaves the set of filter `f` is appended to `transitions[f]`.
    pub(super) fn update(
        &mut self,
        argument: &ArrayRef,
        rows: MaskedRows<'_>,
        keys: &dyn GroupKeys,
        store: &dyn Snapshot,
        transitions: &mut [Transitions],
    ) -> Result<()> {
        match self {
            Self::Code64(values) => values.update(&codes64(argument), rows, keys, store, transitions),
            Self::Code128(values) => values.update(&codes128(argument), rows, keys, store, transitions),
            Self::Bytes(values) => values.update(&ByteColumn::new(argument)?, rows, keys, store, transitions),
        }
    }

    /// The group has been read from the store: it may have values there.
    pub(super) fn set_partial(&mut self, group: u32) {
        each_form!(self, values => values.partial.set(group));
    }

    pub(super) fn checkpoint(&mut self, keys: &dyn GroupKeys, changes: &mut ChangeSet) {
        each_form!(self, values => values.checkpoint(keys, changes));
    }

    pub(super) fn committed(&mut self) {
        each_form!(self, values => values.committed());
    }

    pub(super) fn forget(&mut self, groups: &[u32]) {
        each_form!(self, values => values.forget(groups));
    }

    pub(super) fn close(&mut self, groups: &[u32], keys: &dyn GroupKeys, store: &dyn Snapshot) -> Result<()> {
        each_form!(self, values => values.close(groups, keys, store))
    }

    pub(super) fn evict(&mut self, budget_bytes: usize) {
        each_form!(self, values => values.evict(budget_bytes));
    }

    pub(super) fn bytes(&self) -> usize {
        each_form!(self, values => values.bytes())
    }
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    group: u32,
    /// Flags, and behind them the bits of the filters or the place of the counts.
    tally: u32,
}

impl<V: Value> Entry<V> {
    fn hash(&self) -> u64 {
        with_group(V::hash(self.value.to_ref()), self.group)
    }
}

/// The counts of entries, `stride` each; without them (`stride` 0) an entry has bits.
#[derive(Debug, Default)]
struct Counts {
    stride: usize,
    counts: Vec<i64>,
    free: Vec<u32>,
}

impl Counts {
    fn allocate(&mut self) -> u32 {
        if self.stride == 0 {
            return 0;
        }
        self.free.pop().unwrap_or_else(|| {
            let place = self.counts.len() / self.stride;
            self.counts.resize(self.counts.len() + self.stride, 0);
            let place = u32::try_from(place).ok().filter(|place| place & FLAGS == 0);
            place.expect("memory ends before the numbers of entries do")
        })
    }

    fn free(&mut self, tally: u32) {
        if self.stride != 0 {
            self.of(tally).fill(0);
            self.free.push(tally & !FLAGS);
        }
    }

    fn of(&mut self, tally: u32) -> &mut [i64] {
        let start = (tally & !FLAGS) as usize * self.stride;
        &mut self.counts[start..start + self.stride]
    }

    fn is_zero(&mut self, tally: u32) -> bool {
        if self.stride == 0 { tally & !FLAGS == 0 } else { self.of(tally).iter().all(|count| *count == 0) }
    }

    /// Appends the bits, or the counts without the zeros at their end.
    fn encode(&mut self, tally: u32, out: &mut Vec<u8>) {
        if self.stride == 0 {
            return write_varint(u64::from(tally & !FLAGS), out);
        }
        let counts = self.of(tally);
        let used = counts.len() - counts.iter().rev().take_while(|count| **count == 0).count();
        counts[..used].iter().for_each(|count| write_signed(*count, out));
    }

    fn decode(&mut self, tally: &mut u32, mut bytes: &[u8]) -> Option<()> {
        if self.stride == 0 {
            let bits = u32::try_from(read_varint(&mut bytes)?).ok().filter(|bits| bits & FLAGS == 0)?;
            *tally |= bits;
            return Some(());
        }
        for count in self.of(*tally) {
            *count = if bytes.is_empty() { 0 } else { read_signed(&mut bytes)? };
        }
        Some(())
    }
}

/// Entries by group and value.
#[derive(Debug)]
struct Table<V> {
    entries: HashTable<Entry<V>>,
    /// How many entries each group has here.
    of_group: Vec<u32>,
    heap_bytes: usize,
}

impl<V: Value> Table<V> {
    /// The tally of a value of a group, which is made if it isn't there.
    #[inline]
    fn find_or_insert(&mut self, counts: &mut Counts, hash: u64, group: u32, value: V::Ref<'_>) -> &mut u32 {
        let is_it = |entry: &Entry<V>| entry.group == group && entry.value.is(value);
        match self.entries.entry(hash, is_it, Entry::hash) {
            TableEntry::Occupied(entry) => &mut entry.into_mut().tally,
            TableEntry::Vacant(place) => {
                let value = V::own(value);
                self.of_group[group as usize] += 1;
                self.heap_bytes += value.heap_bytes();
                let tally = counts.allocate();
                &mut place.insert(Entry { value, group, tally }).into_mut().tally
            }
        }
    }

    /// Takes all entries out for which `goes` says so.
    fn drop_if(&mut self, counts: &mut Counts, mut goes: impl FnMut(&mut Entry<V>) -> bool) -> Vec<Entry<V>> {
        let gone: Vec<_> = self.entries.extract_if(|entry| goes(entry)).collect();
        gone.iter().for_each(|entry| self.dropped(counts, entry));
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2, Entry::hash);
        }
        if self.entries.is_empty() {
            *counts = Counts { stride: counts.stride, ..Counts::default() };
        }
        gone
    }

    /// An entry has been taken out.
    fn dropped(&mut self, counts: &mut Counts, entry: &Entry<V>) {
        self.of_group[entry.group as usize] -= 1;
        self.heap_bytes -= entry.value.heap_bytes();
        counts.free(entry.tally);
    }

    fn has_any(&self, groups: &[u32]) -> bool {
        groups.iter().any(|group| self.of_group[*group as usize] > 0)
    }

    fn chosen(&self, groups: &[u32]) -> Vec<bool> {
        let mut chosen = vec![false; self.of_group.len()];
        groups.iter().for_each(|group| chosen[*group as usize] = true);
        chosen
    }
}

/// See [`Distinct`].
pub(super) struct Values<V> {
    state: StateId,
    table: Table<V>,
    counts: Counts,
    /// Hashes of the entries that changed since the last checkpoint.
    dirty: Vec<u64>,
    /// Hashes of entries that were nothing at the last checkpoint: they stay until it is committed, since until then the store still
    /// has what they were.
    nothing: Vec<u64>,
    partial: Partial,
    /// Keys of closed groups.
    doomed: KeyList,
}

impl<V: Value> Values<V> {
    fn new(state: StateId, filters: usize, append_only: bool) -> Self {
        let stride = if append_only && filters <= BITS { 0 } else { filters };
        Self {
            state,
            table: Table { entries: HashTable::new(), of_group: Vec::new(), heap_bytes: 0 },
            counts: Counts { stride, ..Counts::default() },
            dirty: Vec::new(),
            nothing: Vec::new(),
            partial: Partial::default(),
            doomed: KeyList::default(),
        }
    }

    fn resize(&mut self, groups: usize) {
        fit(&mut self.table.of_group, groups, 0);
        self.partial.resize(groups);
    }

    fn update(
        &mut self,
        column: &impl Column<V>,
        rows: MaskedRows<'_>,
        keys: &dyn GroupKeys,
        store: &dyn Snapshot,
        transitions: &mut [Transitions],
    ) -> Result<()> {
        if self.partial.any() {
            self.load(column, rows, keys, store)?;
        }
        for (row, (mask, group)) in rows.masks.iter().zip(rows.groups).enumerate() {
            if *mask == 0 {
                continue;
            }
            let value = column.get(row);
            let hash = with_group(V::hash(value), *group);
            let tally = self.table.find_or_insert(&mut self.counts, hash, *group, value);
            if *tally & RECENT == 0 {
                *tally |= RECENT;
            }
            if self.counts.stride == 0 {
                let new = *mask as u32 & !*tally;
                if new == 0 {
                    continue;
                }
                *tally |= new;
                for_each_bit(u64::from(new), |filter| transitions[filter].push(row, 1));
            } else {
                let weight = rows.weights.map_or(1, |weights| weights[row]);
                count(self.counts.of(*tally), *mask, weight, row, transitions);
            }
            if *tally & DIRTY == 0 {
                *tally |= DIRTY;
                self.dirty.push(hash);
            }
        }
        Ok(())
    }

    /// Brings the values of a batch that aren't in memory from the store, if their group may have them there.
    fn load(
        &mut self,
        column: &impl Column<V>,
        rows: MaskedRows<'_>,
        keys: &dyn GroupKeys,
        store: &dyn Snapshot,
    ) -> Result<()> {
        let mut wanted = KeyList::default();
        let mut places = Vec::new();
        for (row, (mask, group)) in rows.masks.iter().zip(rows.groups).enumerate() {
            if *mask == 0 || !self.partial.is(*group) {
                continue;
            }
            let value = column.get(row);
            let hash = with_group(V::hash(value), *group);
            let known = self.table.entries.len();
            self.table.find_or_insert(&mut self.counts, hash, *group, value);
            if self.table.entries.len() > known {
                wanted.push::<V>(self.state, keys, *group, value);
                places.push((hash, row));
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        wanted.multi_get(store, |index, bytes| {
            let (hash, row) = places[index];
            let (group, value) = (rows.groups[row], column.get(row));
            let is_it = |entry: &Entry<V>| entry.group == group && entry.value.is(value);
            let entry = self.table.entries.find_mut(hash, is_it).expect("it was put there above");
            entry.tally |= STORED;
            self.counts.decode(&mut entry.tally, bytes).ok_or_else(|| corrupt("the counts of a value"))
        })
    }

    fn checkpoint(&mut self, keys: &dyn GroupKeys, changes: &mut ChangeSet) {
        self.doomed.delete_all(changes);
        let mut key = Vec::new();
        let mut value = Vec::new();
        for hash in std::mem::take(&mut self.dirty) {
            for entry in self.table.entries.iter_hash_mut(hash).filter(|entry| entry.tally & DIRTY != 0) {
                key.clear();
                key.extend_from_slice(&storage::state_prefix(self.state));
                keys.append_key(entry.group, &mut key);
                V::write_key(entry.value.to_ref(), &mut key);
                if !self.counts.is_zero(entry.tally) {
                    value.clear();
                    self.counts.encode(entry.tally, &mut value);
                    changes.put(&key, &value);
                    entry.tally |= STORED;
                } else {
                    if entry.tally & STORED != 0 {
                        changes.delete(&key);
                        entry.tally &= !STORED;
                    }
                    self.nothing.push(hash);
                }
                entry.tally &= !DIRTY;
            }
        }
    }

    /// Drops the entries that were nothing at the last checkpoint, which is committed.
    fn committed(&mut self) {
        for hash in std::mem::take(&mut self.nothing) {
            loop {
                let counts = &mut self.counts;
                let zero = |entry: &Entry<V>| entry.tally & DIRTY == 0 && counts.is_zero(entry.tally);
                let Ok(entry) = self.table.entries.find_entry(hash, zero) else { break };
                let (entry, _) = entry.remove();
                self.table.dropped(&mut self.counts, &entry);
            }
        }
    }

    fn forget(&mut self, groups: &[u32]) {
        if self.table.has_any(groups) {
            let chosen = self.table.chosen(groups);
            self.table.drop_if(&mut self.counts, |entry| chosen[entry.group as usize]);
        }
        groups.iter().for_each(|group| {
            self.partial.take(*group);
        });
    }

    fn close(&mut self, groups: &[u32], keys: &dyn GroupKeys, store: &dyn Snapshot) -> Result<()> {
        if self.table.has_any(groups) {
            let chosen = self.table.chosen(groups);
            for entry in self.table.drop_if(&mut self.counts, |entry| chosen[entry.group as usize]) {
                if entry.tally & STORED != 0 {
                    self.doomed.push::<V>(self.state, keys, entry.group, entry.value.to_ref());
                }
            }
        }
        for group in groups {
            if self.partial.take(*group) {
                self.doomed.push_group(self.state, keys, *group, store)?;
            }
        }
        Ok(())
    }

    fn evict(&mut self, budget_bytes: usize) {
        // The first sweep takes what wasn't used since the last one, the second all that may go.
        for _ in 0..2 {
            if self.bytes() <= budget_bytes {
                return;
            }
            let gone = self.table.drop_if(&mut self.counts, |entry| {
                let goes = entry.tally & (DIRTY | RECENT) == 0;
                entry.tally &= !RECENT;
                goes
            });
            gone.iter().for_each(|entry| self.partial.set(entry.group));
        }
    }

    fn bytes(&self) -> usize {
        let counts = 8 * self.counts.counts.capacity() + 4 * self.counts.free.capacity();
        let table = self.table.entries.allocation_size() + self.table.heap_bytes;
        let groups = 4 * self.table.of_group.capacity() + self.partial.bytes();
        table + counts + groups + 8 * self.dirty.capacity() + self.doomed.bytes()
    }
}

/// Adds a row's weight to the counts of the filters that it passes.
#[inline]
fn count(counts: &mut [i64], mask: u64, weight: i64, row: usize, transitions: &mut [Transitions]) {
    for_each_bit(mask, |filter| {
        let before = counts[filter];
        counts[filter] += weight;
        let (was, is) = (before > 0, counts[filter] > 0);
        if was != is {
            transitions[filter].push(row, if is { 1 } else { -1 });
        }
    });
}

#[inline]
fn for_each_bit(mut mask: u64, mut each: impl FnMut(usize)) {
    while mask != 0 {
        each(mask.trailing_zeros() as usize);
        mask &= mask - 1;
    }
}
