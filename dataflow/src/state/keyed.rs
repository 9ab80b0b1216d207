//! A value per key: a write-back cache of one shard over one state table.

use delta::{Part, vnodes_of};
use storage::{ChangeSet, Snapshot, StateId, Visit, vnode_prefix};

use super::keys::{EncodedKeys, KeyEncoder, KeyTable};
use crate::Result;

/// Values of slots, in whatever shape suits the operator (columns over slots).
pub trait SlotValues: Send {
    /// Makes room for slots `0 .. slots`; new ones are empty, and so are those beyond if there were more.
    fn resize(&mut self, slots: usize);

    /// Whether the slot stands for nothing: its key needs no entry.
    fn is_empty(&self, slot: u32) -> bool;

    /// Appends the value as it is stored.
    fn encode(&self, slot: u32, out: &mut Vec<u8>);

    /// Sets an empty slot to what [`SlotValues::encode`] wrote.
    fn decode(&mut self, slot: u32, bytes: &[u8]) -> Result<()>;

    /// Empties slots for reuse.
    fn clear(&mut self, slots: &[u32]);

    /// Memory held, in bytes.
    fn bytes(&self) -> usize;
}

/// The greatest number of a step. A recursion has many steps in an epoch: in some days they are more than an u32 counts.
pub(super) const LAST_STEP: u32 = u32::MAX - 2;

/// A slot that a step has touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The slot.
    pub slot: u32,
    /// The first row, of the batch at hand, that has its key.
    pub row: u32,
}

/// The keys and values of one shard of a state table.
///
/// A step begins with [`Keyed::begin_step`]; [`Keyed::locate`] brings keys into memory and counts them as changed.
#[derive(Debug)]
pub struct Keyed<V> {
    state: StateId,
    shard: usize,
    /// Keys and their slots.
    pub keys: KeyTable,
    /// What the slots hold.
    pub values: V,
    /// The number of the current step; a slot that was touched later than `written` is to be written.
    step: u32,
    written: u32,
    changed: Vec<u32>,
    /// Slots that were empty at the last checkpoint.
    empty: Vec<u32>,
    /// `None` until the first look into the store.
    complete: Option<bool>,
}

impl<V: SlotValues> Keyed<V> {
    /// An empty cache over a shard of `state`.
    pub fn new(state: StateId, shard: usize, values: V) -> Self {
        Self {
            state,
            shard,
            keys: KeyTable::default(),
            values,
            step: 1,
            written: 0,
            changed: vec![],
            empty: vec![],
            complete: None,
        }
    }

    /// Slots touched from now on count as touched by a new step.
    pub fn begin_step(&mut self) {
        if self.step >= LAST_STEP {
            self.number_anew();
        }
        self.step += 1;
    }

    /// Begins again with small numbers: what was written last is 1, what has changed since is 2.
    fn number_anew(&mut self) {
        let slots: Vec<u32> = self.keys.occupied().collect();
        for slot in slots {
            let stamp = if self.is_changed(slot) { 2 } else { 1 };
            self.keys.set_stamp(slot, stamp);
        }
        (self.written, self.step) = (1, 2);
    }

    /// Whether every key of the shard is in memory.
    pub fn is_complete(&mut self, store: &dyn Snapshot) -> Result<bool> {
        match self.complete {
            Some(complete) => Ok(complete),
            None => {
                let complete = is_shard_empty(self.state, self.shard, store)?;
                self.complete = Some(complete);
                Ok(complete)
            }
        }
    }

    /// The slots of a batch's keys, in `slots`. Those that this step touches for the first time are appended to `touched`, with the row
    /// that did. What isn't in memory is read with one multi-get.
    pub fn locate(
        &mut self,
        hashes: &[u64],
        keys: &EncodedKeys,
        store: &dyn Snapshot,
        slots: &mut Vec<u32>,
        touched: &mut Vec<Touched>,
    ) -> Result<()> {
        slots.clear();
        slots.reserve(hashes.len());
        let first_new = self.keys.slots();
        let mut missing = Vec::new();
        for (row, hash) in hashes.iter().enumerate() {
            let (slot, new) = self.keys.find_or_insert(*hash, keys.key(row));
            if new {
                missing.push(slot);
            }
            let stamp = self.keys.set_stamp(slot, self.step);
            if stamp != self.step {
                touched.push(Touched { slot, row: row as u32 });
                if new || stamp <= self.written {
                    self.changed.push(slot);
                }
            }
            slots.push(slot);
        }
        if self.keys.slots() > first_new {
            self.values.resize(self.keys.slots());
        }
        if !missing.is_empty() && !self.is_complete(store)? {
            self.load(missing, store)?;
        }
        Ok(())
    }

    fn load(&mut self, mut missing: Vec<u32>, store: &dyn Snapshot) -> Result<()> {
        missing.sort_unstable_by(|a, b| {
            let key = |slot: &u32| (self.keys.vnode(*slot), self.keys.key(*slot));
            key(a).cmp(&key(b))
        });
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(missing.len());
        for slot in &missing {
            bytes.extend_from_slice(&vnode_prefix(self.state, self.keys.vnode(*slot)));
            bytes.extend_from_slice(self.keys.key(*slot));
            ends.push(bytes.len());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let keys: Vec<&[u8]> = starts.zip(&ends).map(|(start, end)| &bytes[start..*end]).collect();
        for (slot, value) in missing.iter().zip(store.multi_get(&keys)?) {
            if let Some(value) = value {
                self.values.decode(*slot, &value)?;
                self.keys.set_stored(*slot, true);
            }
        }
        Ok(())
    }

    /// Brings every key of the shard into memory, without counting any as touched. `hashes` gives the hashes of keys, as
    /// [`Keyed::locate`] is given them.
    pub fn load_all(&mut self, store: &dyn Snapshot, hashes: impl Fn(&[&[u8]]) -> Result<Vec<u64>>) -> Result<()> {
        if self.is_complete(store)? {
            return Ok(());
        }
        for vnode in vnodes_of(self.shard) {
            let mut stored: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            let prefix = vnode_prefix(self.state, vnode);
            store.scan(&prefix, &vnode_end(self.state, vnode), &mut |key, value| {
                stored.push((key[prefix.len()..].to_vec(), value.to_vec()));
                Visit::Continue
            })?;
            if stored.is_empty() {
                continue;
            }
            let keys: Vec<&[u8]> = stored.iter().map(|(key, _)| key.as_slice()).collect();
            for (hash, (key, value)) in hashes(&keys)?.into_iter().zip(&stored) {
                let (slot, new) = self.keys.find_or_insert(hash, key);
                if new {
                    self.values.resize(self.keys.slots());
                    self.values.decode(slot, value)?;
                    self.keys.set_stored(slot, true);
                }
            }
        }
        self.complete = Some(true);
        Ok(())
    }

    /// Forgets all keys in memory, changed ones too: for who only reads.
    pub fn let_go(&mut self) {
        let slots: Vec<u32> = self.keys.occupied().collect();
        self.remove(&slots);
        self.changed.clear();
        self.empty.clear();
        self.complete = None;
    }

    /// Whether a slot has changed since the last checkpoint.
    fn is_changed(&self, slot: u32) -> bool {
        self.keys.stamp(slot) > self.written
    }

    /// Counts a slot as changed by this step.
    pub fn touch(&mut self, slot: u32) {
        let stamp = self.keys.set_stamp(slot, self.step);
        if stamp <= self.written {
            self.changed.push(slot);
        }
    }

    /// Adds what changed since the last call.
    pub fn checkpoint(&mut self, changes: &mut ChangeSet) {
        let mut value = Vec::new();
        let changed = std::mem::take(&mut self.changed);
        for slot in &changed {
            let prefix = vnode_prefix(self.state, self.keys.vnode(*slot));
            let key: [&[u8]; 2] = [&prefix, self.keys.key(*slot)];
            if self.values.is_empty(*slot) {
                if self.keys.is_stored(*slot) {
                    changes.delete_parts(&key);
                    self.keys.set_stored(*slot, false);
                }
                self.empty.push(*slot);
            } else {
                value.clear();
                self.values.encode(*slot, &mut value);
                changes.put_parts(&key, &value);
                self.keys.set_stored(*slot, true);
            }
        }
        self.written = self.step;
        // The next step's stamp must be greater, even if it doesn't begin with `begin_step`.
        self.step += 1;
        self.changed = changed;
        self.changed.clear();
    }

    /// The last checkpoint is in the store: frees slots without value, then the ones longest untouched until the cache
    /// takes at most `budget_bytes`. What changed since the checkpoint stays.
    ///
    /// Returns whether keys were evicted.
    pub fn committed(&mut self, budget_bytes: usize) -> bool {
        let mut gone: Vec<u32> = std::mem::take(&mut self.empty);
        gone.retain(|slot| !self.is_changed(*slot) && self.values.is_empty(*slot));
        // A slot may have been empty at two checkpoints in a row.
        gone.sort_unstable();
        gone.dedup();
        self.remove(&gone);
        self.give_back();

        let live = self.live_bytes();
        if live > budget_bytes {
            // A bit more than needed, so that not every checkpoint evicts.
            let fraction = 1.0 - 0.8 * budget_bytes as f64 / live as f64;
            if let Some(oldest) = self.keys.oldest(fraction, |slot| !self.is_changed(slot)) {
                let may_go = |slot: &u32| self.keys.stamp(*slot) <= oldest && !self.is_changed(*slot);
                let gone: Vec<u32> = self.keys.occupied().filter(may_go).collect();
                self.remove(&gone);
                self.give_back();
                self.complete = Some(false);
                return !gone.is_empty();
            }
        }
        false
    }

    fn remove(&mut self, slots: &[u32]) {
        self.values.clear(slots);
        for slot in slots {
            self.keys.remove(*slot);
        }
    }

    fn give_back(&mut self) {
        if self.keys.shrink() {
            self.values.resize(self.keys.slots());
        }
    }

    /// Memory of slots in use. Free slots are used again before memory grows.
    fn live_bytes(&self) -> usize {
        if self.keys.slots() == 0 {
            return 0;
        }
        (self.bytes() as f64 * self.keys.len() as f64 / self.keys.slots() as f64) as usize
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.keys.bytes() + self.values.bytes()
    }

    /// Slots that the next checkpoint will write.
    pub fn changed(&self) -> usize {
        self.changed.len()
    }

    /// The state table.
    pub fn state(&self) -> StateId {
        self.state
    }

    /// The shard.
    pub fn shard(&self) -> usize {
        self.shard
    }
}

impl Keyed<Weights> {
    /// Adds the weights of rows that are their own keys. Returns the keys that it touches.
    pub fn add_weights(&mut self, encoder: &KeyEncoder, parts: &[Part], store: &dyn Snapshot) -> Result<Vec<Touched>> {
        let (mut touched, mut slots): (Vec<Touched>, Vec<u32>) = (vec![], vec![]);
        for part in parts {
            let keys = encoder.encode(part.delta.batch().columns(), part.delta.num_rows())?;
            self.locate(&part.hashes, &keys, store, &mut slots, &mut touched)?;
            for (row, slot) in slots.iter().enumerate() {
                self.values.0[*slot as usize] += part.delta.weight(row);
            }
        }
        Ok(touched)
    }

    /// Takes the weights of keys away.
    pub fn take_weights(&mut self, slots: &[u32]) -> Vec<i64> {
        let mut take = |slot: &u32| {
            self.touch(*slot);
            std::mem::take(&mut self.values.0[*slot as usize])
        };
        slots.iter().map(&mut take).collect()
    }
}

/// Whether the store has no key of a shard.
pub(crate) fn is_shard_empty(state: StateId, shard: usize, store: &dyn Snapshot) -> Result<bool> {
    let vnodes = vnodes_of(shard);
    let start = vnode_prefix(state, *vnodes.start());
    let end = vnode_end(state, *vnodes.end());
    let mut empty = true;
    store.scan(&start, &end, &mut |_, _| {
        empty = false;
        Visit::Stop
    })?;
    Ok(empty)
}

/// The first key behind all keys of a virtual node.
pub(crate) fn vnode_end(state: StateId, vnode: delta::Vnode) -> Vec<u8> {
    match vnode.checked_add(1) {
        Some(next) => vnode_prefix(state, next).to_vec(),
        None => (state.0 + 1).to_be_bytes().to_vec(),
    }
}

/// So many values, and no more memory than for a few times as many.
pub(crate) fn fit<T: Clone>(values: &mut Vec<T>, slots: usize, empty: T) {
    let fewer = slots < values.len();
    values.resize(slots, empty);
    if fewer {
        values.shrink_to_fit();
    }
}

/// A number per key, such as how often a row is there; zero is nothing.
#[derive(Debug, Default)]
pub struct Weights(pub Vec<i64>);

impl SlotValues for Weights {
    fn resize(&mut self, slots: usize) {
        fit(&mut self.0, slots, 0);
    }

    fn is_empty(&self, slot: u32) -> bool {
        self.0[slot as usize] == 0
    }

    fn encode(&self, slot: u32, out: &mut Vec<u8>) {
        super::write_signed(self.0[slot as usize], out);
    }

    fn decode(&mut self, slot: u32, mut bytes: &[u8]) -> Result<()> {
        let weight = super::read_signed(&mut bytes).filter(|_| bytes.is_empty());
        self.0[slot as usize] = weight.ok_or_else(|| crate::Error::Corrupt("a weight".to_owned()))?;
        Ok(())
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.0[*slot as usize] = 0;
        }
    }

    fn bytes(&self) -> usize {
        self.0.len() * size_of::<i64>()
    }
}

/// Two numbers per key, such as how often a row is on each of two sides; two zeros are nothing.
#[derive(Debug, Default)]
pub struct WeightPairs(pub Vec<[i64; 2]>);

impl SlotValues for WeightPairs {
    fn resize(&mut self, slots: usize) {
        fit(&mut self.0, slots, [0; 2]);
    }

    fn is_empty(&self, slot: u32) -> bool {
        self.0[slot as usize] == [0; 2]
    }

    fn encode(&self, slot: u32, out: &mut Vec<u8>) {
        self.0[slot as usize].iter().for_each(|number| super::write_signed(*number, out));
    }

    fn decode(&mut self, slot: u32, mut bytes: &[u8]) -> Result<()> {
        let corrupt = || crate::Error::Corrupt("a pair of weights".to_owned());
        for number in &mut self.0[slot as usize] {
            *number = super::read_signed(&mut bytes).ok_or_else(corrupt)?;
        }
        if bytes.is_empty() { Ok(()) } else { Err(corrupt()) }
    }

    fn clear(&mut self, slots: &[u32]) {
        for slot in slots {
            self.0[*slot as usize] = [0; 2];
        }
    }

    fn bytes(&self) -> usize {
        self.0.len() * size_of::<[i64; 2]>()
    }
}

#[cfg(test)]
mod tests;
