//! Which keys of a state table are complete, because the watermark has passed their window's end.
//!
//! The window's end is the first column of such keys, so that in the store the keys of closed windows of a virtual node stand together.

use catalog::ObjectId;
use delta::{VNODES_PER_SHARD, vnodes_of};
use storage::{Snapshot, StateId, Visit, vnode_prefix};

use crate::Result;
use crate::operator::StepContext;
use crate::state::keyed::{Touched, vnode_end};
use crate::state::keys::hash_keys;
use crate::state::{KeyEncoder, Keyed, Multimap, SlotValues};

/// When windows close.
#[derive(Clone, Debug)]
pub(super) struct Closing {
    /// Added to a key's first column (microseconds) it is the window's end.
    pub(super) offset_us: i64,
    /// The sources whose least watermark closes windows.
    pub(super) watermark_of: Vec<ObjectId>,
}

impl Closing {
    /// Keys up to this one in their first column were closed before the epoch.
    pub(super) fn closed_before(&self, context: &StepContext<'_>) -> Option<i64> {
        Some(context.watermark_before(&self.watermark_of)?.saturating_sub(self.offset_us))
    }

    /// Keys up to this one in their first column are closed after the epoch.
    pub(super) fn closed_after(&self, context: &StepContext<'_>) -> Option<i64> {
        Some(context.watermark(&self.watermark_of)?.saturating_sub(self.offset_us))
    }
}

/// What a shard knows of its earliest windows, so that it needn't look when nothing can close.
#[derive(Clone, Copy, Debug)]
pub(super) struct Earliest {
    /// No key in memory has a smaller first column.
    in_memory: i64,
    /// No key that is only in the store has a smaller one.
    stored: i64,
}

impl Earliest {
    pub(super) fn new() -> Self {
        Self { in_memory: i64::MAX, stored: i64::MIN }
    }

    /// Keys have come.
    pub(super) fn note<V: SlotValues>(&mut self, keyed: &Keyed<V>, touched: &[Touched]) {
        let ends = touched.iter().filter_map(|touched| first_column(keyed.keys.key(touched.slot)));
        self.in_memory = ends.fold(self.in_memory, i64::min);
    }

    /// As [`Earliest::note`], for keys of many rows.
    pub(super) fn note_rows(&mut self, rows: &Multimap, touched: &[u32]) {
        let ends = touched.iter().filter_map(|slot| first_column(rows.keys().key(*slot)));
        self.in_memory = ends.fold(self.in_memory, i64::min);
    }

    /// Keys have left memory.
    pub(super) fn evicted(&mut self) {
        self.stored = i64::MIN;
    }

    /// The slots of all keys with a value whose first column is at most `closed_to`; those in the store are brought into memory.
    pub(super) fn closed<V: SlotValues>(
        &mut self,
        keyed: &mut Keyed<V>,
        encoder: &KeyEncoder,
        closed_to: i64,
        store: &dyn Snapshot,
    ) -> Result<Vec<u32>> {
        if self.stored <= closed_to && !keyed.is_complete(store)? {
            let (keys, next) = stored_keys(keyed.state(), keyed.shard(), closed_to, store)?;
            self.stored = next;
            load(keyed, encoder, &keys, store)?;
            self.in_memory = i64::MIN;
        }
        if self.in_memory > closed_to {
            return Ok(vec![]);
        }
        let mut closed = Vec::new();
        self.in_memory = i64::MAX;
        for slot in keyed.keys.occupied() {
            let Some(end) = first_column(keyed.keys.key(slot)) else { continue };
            if end > closed_to {
                self.in_memory = self.in_memory.min(end);
            } else if !keyed.values.is_empty(slot) {
                closed.push(slot);
            }
        }
        Ok(closed)
    }

    /// The slots of all keys whose first column is at most `closed_to`; those in the store get one without reading their rows.
    pub(super) fn closed_rows(
        &mut self,
        rows: &mut Multimap,
        encoder: &KeyEncoder,
        closed_to: i64,
        store: &dyn Snapshot,
    ) -> Result<Vec<u32>> {
        if self.stored <= closed_to && !rows.is_complete(store)? {
            let (keys, next) = stored_keys(rows.state(), rows.shard(), closed_to, store)?;
            self.stored = next;
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let mut hashes = Vec::new();
            hash_keys(&encoder.decode(&keys)?, keys.len(), &mut hashes);
            hashes.iter().zip(&keys).for_each(|(hash, key)| rows.know(*hash, key));
            self.in_memory = i64::MIN;
        }
        if self.in_memory > closed_to {
            return Ok(vec![]);
        }
        let mut closed = Vec::new();
        self.in_memory = i64::MAX;
        for slot in rows.keys().occupied() {
            let Some(end) = first_column(rows.keys().key(slot)) else { continue };
            if end > closed_to {
                self.in_memory = self.in_memory.min(end);
            } else if !rows.is_gone(slot) {
                closed.push(slot);
            }
        }
        Ok(closed)
    }
}

/// The keys of a shard in the store whose first column is at most `to`, and the least first column of the others.
pub(super) fn stored_keys(state: StateId, shard: usize, to: i64, store: &dyn Snapshot) -> Result<(Vec<Vec<u8>>, i64)> {
    let mut keys = Vec::new();
    let mut next = i64::MAX;
    for vnode in vnodes_of(shard).take(VNODES_PER_SHARD) {
        // NULL stands before all values, and never closes.
        let mut start = vnode_prefix(state, vnode).to_vec();
        start.push(1);
        store.scan(&start, &vnode_end(state, vnode), &mut |key, _| match first_column(&key[5..]) {
            Some(end) if end <= to => {
                keys.push(key[5..].to_vec());
                Visit::Continue
            }
            end => {
                next = next.min(end.unwrap_or(i64::MIN));
                Visit::Stop
            }
        })?;
    }
    Ok((keys, next))
}

/// Brings keys into memory that aren't there, and returns them.
pub(super) fn load<V: SlotValues>(
    keyed: &mut Keyed<V>,
    encoder: &KeyEncoder,
    keys: &[Vec<u8>],
    store: &dyn Snapshot,
) -> Result<Vec<Touched>> {
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let mut hashes = Vec::new();
    hash_keys(&encoder.decode(&keys)?, keys.len(), &mut hashes);
    let missing: Vec<usize> = (0..keys.len()).filter(|i| keyed.keys.find(hashes[*i], keys[*i]).is_none()).collect();
    let columns = encoder.decode(&missing.iter().map(|i| keys[*i]).collect::<Vec<_>>())?;
    let hashes: Vec<u64> = missing.iter().map(|i| hashes[*i]).collect();
    let encoded = encoder.encode(&columns, missing.len())?;
    let mut touched = Vec::new();
    keyed.locate(&hashes, &encoded, store, &mut vec![], &mut touched)?;
    Ok(touched)
}

/// The first column of a key, microseconds.
pub(super) fn first_column(key: &[u8]) -> Option<i64> {
    let (1, rest) = (*key.first()?, key.get(1..9)?) else { return None };
    Some((u64::from_be_bytes(rest.try_into().ok()?) ^ (1 << 63)) as i64)
}
