//! `min` and `max` over rows that may be taken away: how often each value came, in order.
//!
//! When the last row with the extreme value goes, the next value takes its place. A group's least and greatest value are also part of
//! its own entry in the store, so that its result is known without its values.
//!
//! **State**: an entry per group and value, key `[group key][value]`, value the count. In memory is an ordered map per group,
//! a write-back cache: a checkpoint writes the counts that changed. A group is in memory whole or not at all (*partial*): the first row that touches it
//! brings all its values by one scan, so a group whose values don't fit into memory can't be changed.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use storage::{ChangeSet, Snapshot, StateId, Visit, state_prefix};

use super::GroupKeys;
use super::extreme::{End, read_optional, write_optional};
use super::rows::GroupRows;
use super::store_keys::{KeyList, Partial, group_range};
use super::value::{
    ByteColumn, Column, Form, Value, array_of_bytes, array_of_codes64, array_of_codes128, codes64, codes128, corrupt,
    form,
};
use crate::Result;
use crate::state::{read_signed, write_signed};

/// The values of one argument in the groups of one shard, in order.
pub(super) struct Ordered {
    data_type: DataType,
    values: Forms,
}

enum Forms {
    Code64(Multisets<i64>),
    Code128(Multisets<i128>),
    Bytes(Multisets<Box<[u8]>>),
}

macro_rules! each_form {
    ($ordered:expr, $values:ident => $body:expr) => {
        match $ordered {
            Forms::Code64($values) => $body,
            Forms::Code128($values) => $body,
            Forms::Bytes($values) => $body,
        }
    };
}

impl Ordered {
    pub(super) fn new(state: StateId, data_type: DataType) -> Self {
        let values = match form(&data_type) {
            Form::Code64 => Forms::Code64(Multisets::new(state)),
            Form::Code128 => Forms::Code128(Multisets::new(state)),
            Form::Bytes => Forms::Bytes(Multisets::new(state)),
        };
        Self { data_type, values }
    }

    pub(super) fn resize(&mut self, groups: usize) {
        each_form!(&mut self.values, values => values.resize(groups));
    }

    pub(super) fn update(
        &mut self,
        argument: &ArrayRef,
        rows: GroupRows<'_>,
        keys: &dyn GroupKeys,
        store: &dyn Snapshot,
    ) -> Result<()> {
        match &mut self.values {
            Forms::Code64(values) => values.update(&codes64(argument), rows, keys, store),
            Forms::Code128(values) => values.update(&codes128(argument), rows, keys, store),
            Forms::Bytes(values) => values.update(&ByteColumn::new(argument)?, rows, keys, store),
        }
    }

    pub(super) fn evaluate(&self, end: End, groups: &[u32]) -> Result<ArrayRef> {
        let groups = groups.iter().copied();
        match &self.values {
            Forms::Code64(values) => {
                let codes: arrow::array::Int64Array = groups.map(|group| values.extreme(end, group).copied()).collect();
                let (_, codes, nulls) = codes.into_parts();
                array_of_codes64(&self.data_type, &codes, nulls)
            }
            Forms::Code128(values) => {
                let codes: arrow::array::Decimal128Array =
                    groups.map(|group| values.extreme(end, group).copied()).collect();
                let (_, codes, nulls) = codes.into_parts();
                Ok(array_of_codes128(&self.data_type, &codes, nulls))
            }
            Forms::Bytes(values) => {
                array_of_bytes(&self.data_type, groups.map(|group| values.extreme(end, group).map(|value| &**value)))
            }
        }
    }

    pub(super) fn encode(&self, group: u32, out: &mut Vec<u8>) {
        each_form!(&self.values, values => values.encode(group, out));
    }

    pub(super) fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Result<()> {
        each_form!(&mut self.values, values => values.decode(group, bytes))
    }

    pub(super) fn checkpoint(&mut self, keys: &dyn GroupKeys, changes: &mut ChangeSet) {
        each_form!(&mut self.values, values => values.checkpoint(keys, changes));
    }

    pub(super) fn forget(&mut self, groups: &[u32]) {
        each_form!(&mut self.values, values => values.forget(groups));
    }

    pub(super) fn close(&mut self, groups: &[u32], keys: &dyn GroupKeys, store: &dyn Snapshot) -> Result<()> {
        each_form!(&mut self.values, values => values.close(groups, keys, store))
    }

    pub(super) fn evict(&mut self, budget_bytes: usize) {
        each_form!(&mut self.values, values => values.evict(budget_bytes));
    }

    pub(super) fn bytes(&self) -> usize {
        each_form!(&self.values, values => values.bytes())
    }
}

/// How often a value came; never 0.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// May be negative while a batch takes away what a later row adds.
    count: i64,
    /// Changed since the last checkpoint.
    dirty: bool,
    /// The store has an entry.
    stored: bool,
}

/// The least and the greatest value of a group.
#[derive(Clone, Debug)]
struct Ends<V> {
    least: Option<V>,
    greatest: Option<V>,
}

struct Multisets<V> {
    state: StateId,
    /// By group.
    values: Vec<BTreeMap<V, Count>>,
    /// The ends of partial groups.
    ends: BTreeMap<u32, Ends<V>>,
    partial: Partial,
    /// Values whose count changed since the last checkpoint.
    dirty: Vec<(u32, V)>,
    /// Values that the store has and memory no longer.
    removed: BTreeSet<(u32, V)>,
    /// Keys of closed groups.
    doomed: KeyList,
    count: usize,
    heap_bytes: usize,
}

impl<V: Value> Multisets<V> {
    fn new(state: StateId) -> Self {
        Self {
            state,
            values: Vec::new(),
            ends: BTreeMap::new(),
            partial: Partial::default(),
            dirty: Vec::new(),
            removed: BTreeSet::new(),
            doomed: KeyList::default(),
            count: 0,
            heap_bytes: 0,
        }
    }

    fn resize(&mut self, groups: usize) {
        self.values.resize_with(groups, BTreeMap::new);
        self.partial.resize(groups);
    }

    fn update(
        &mut self,
        column: &impl Column<V>,
        rows: GroupRows<'_>,
        keys: &dyn GroupKeys,
        store: &dyn Snapshot,
    ) -> Result<()> {
        if self.partial.any() {
            let mut touched = Vec::new();
            rows.for_each(|_, group, _| {
                if self.partial.take(group as u32) {
                    touched.push(group as u32);
                }
            });
            touched.into_iter().try_for_each(|group| self.load(group, keys, store))?;
        }
        rows.for_each(|row, group, weight| {
            if weight != 0 {
                self.add(group as u32, column.get(row), weight);
            }
        });
        Ok(())
    }

    fn add(&mut self, group: u32, value: V::Ref<'_>, weight: i64) {
        let values = &mut self.values[group as usize];
        let Some(held) = values.get_mut(value.borrow()) else {
            let owned = V::own(value);
            let stored = !self.removed.is_empty() && self.removed.remove(&(group, owned.clone()));
            self.count += 1;
            self.heap_bytes += owned.heap_bytes();
            self.dirty.push((group, owned.clone()));
            values.insert(owned, Count { count: weight, dirty: true, stored });
            return;
        };
        held.count += weight;
        if held.count == 0 {
            let stored = held.stored;
            let (owned, _) = values.remove_entry(value.borrow()).expect("it was found above");
            self.count -= 1;
            self.heap_bytes -= owned.heap_bytes();
            if stored {
                self.removed.insert((group, owned));
            }
        } else if !held.dirty {
            held.dirty = true;
            self.dirty.push((group, V::own(value)));
        }
    }

    fn load(&mut self, group: u32, keys: &dyn GroupKeys, store: &dyn Snapshot) -> Result<()> {
        self.ends.remove(&group);
        let (start, end) = group_range(self.state, keys, group);
        let mut failed = Ok(());
        let values = &mut self.values[group as usize];
        store.scan(&start, &end, &mut |key, mut bytes| {
            let count = read_signed(&mut bytes).ok_or_else(|| corrupt("a count"));
            match count.and_then(|count| Ok((V::read_key(&key[start.len()..])?, count))) {
                Ok((value, count)) => {
                    self.count += 1;
                    self.heap_bytes += value.heap_bytes();
                    values.insert(value, Count { count, dirty: false, stored: true });
                    Visit::Continue
                }
                Err(error) => {
                    failed = Err(error);
                    Visit::Stop
                }
            }
        })?;
        failed
    }

    fn extreme(&self, end: End, group: u32) -> Option<&V> {
        if self.partial.is(group) {
            let ends = self.ends.get(&group)?;
            return match end {
                End::Least => ends.least.as_ref(),
                End::Greatest => ends.greatest.as_ref(),
            };
        }
        let mut values = self.values[group as usize].iter().filter(|(_, held)| held.count > 0);
        let found = match end {
            End::Least => values.next(),
            End::Greatest => values.next_back(),
        };
        found.map(|(value, _)| value)
    }

    fn ends(&self, group: u32) -> Ends<V> {
        let extreme = |end| self.extreme(end, group).cloned();
        Ends { least: extreme(End::Least), greatest: extreme(End::Greatest) }
    }

    fn encode(&self, group: u32, out: &mut Vec<u8>) {
        for end in [End::Least, End::Greatest] {
            let key = self.extreme(end, group).map(|value| {
                let mut key = Vec::new();
                V::write_key(value.to_ref(), &mut key);
                key
            });
            write_optional(key.as_ref(), out);
        }
    }

    fn decode(&mut self, group: u32, bytes: &mut &[u8]) -> Result<()> {
        let mut end = || read_optional(bytes)?.map(V::read_key).transpose();
        let ends = Ends { least: end()?, greatest: end()? };
        self.partial.set(group);
        self.ends.insert(group, ends);
        Ok(())
    }

    fn checkpoint(&mut self, keys: &dyn GroupKeys, changes: &mut ChangeSet) {
        self.doomed.delete_all(changes);
        let mut key = Vec::new();
        let mut write_key = |group: u32, value: &V| {
            key.clear();
            key.extend_from_slice(&state_prefix(self.state));
            keys.append_key(group, &mut key);
            V::write_key(value.to_ref(), &mut key);
            key.clone()
        };
        let mut bytes = Vec::new();
        for (group, value) in std::mem::take(&mut self.dirty) {
            let held = self.values[group as usize].get_mut(Borrow::<V::Key>::borrow(&value));
            let Some(held) = held.filter(|held| held.dirty) else { continue };
            (held.dirty, held.stored) = (false, true);
            bytes.clear();
            write_signed(held.count, &mut bytes);
            changes.put(&write_key(group, &value), &bytes);
        }
        for (group, value) in std::mem::take(&mut self.removed) {
            changes.delete(&write_key(group, &value));
        }
    }

    /// Drops a group's values from memory.
    fn drop_values(&mut self, group: u32) -> BTreeMap<V, Count> {
        let values = std::mem::take(&mut self.values[group as usize]);
        self.count -= values.len();
        self.heap_bytes -= values.keys().map(Value::heap_bytes).sum::<usize>();
        values
    }

    fn forget(&mut self, groups: &[u32]) {
        for group in groups {
            self.drop_values(*group);
            self.partial.take(*group);
            self.ends.remove(group);
        }
    }

    fn close(&mut self, groups: &[u32], keys: &dyn GroupKeys, store: &dyn Snapshot) -> Result<()> {
        for group in groups {
            for (value, held) in self.drop_values(*group) {
                if held.stored {
                    self.doomed.push::<V>(self.state, keys, *group, value.to_ref());
                }
            }
            if self.partial.take(*group) {
                self.ends.remove(group);
                self.doomed.push_group(self.state, keys, *group, store)?;
            }
        }
        let closed: BTreeSet<u32> = groups.iter().copied().collect();
        let removed = std::mem::take(&mut self.removed).into_iter();
        let (gone, kept) = removed.partition::<BTreeSet<_>, _>(|(group, _)| closed.contains(group));
        self.removed = kept;
        gone.iter().for_each(|(group, value)| self.doomed.push::<V>(self.state, keys, *group, value.to_ref()));
        Ok(())
    }

    /// Drops groups that have not changed since the last checkpoint, in order of their numbers.
    fn evict(&mut self, budget_bytes: usize) {
        if self.bytes() <= budget_bytes {
            return;
        }
        let changed: BTreeSet<u32> = self.dirty.iter().chain(&self.removed).map(|(group, _)| *group).collect();
        for group in 0..self.values.len() as u32 {
            if self.bytes() <= budget_bytes {
                return;
            }
            if !self.values[group as usize].is_empty() && !changed.contains(&group) {
                let ends = self.ends(group);
                self.drop_values(group);
                self.partial.set(group);
                self.ends.insert(group, ends);
            }
        }
    }

    /// The nodes of maps are estimated at their usual two thirds full.
    fn bytes(&self) -> usize {
        let entry = size_of::<V>() + size_of::<Count>();
        let maps = self.count * entry * 3 / 2 + self.heap_bytes;
        let groups = self.values.capacity() * size_of::<BTreeMap<V, Count>>() + self.partial.bytes();
        let lists = (self.dirty.capacity() + self.removed.len() + 2 * self.ends.len()) * (size_of::<V>() + 8);
        maps + groups + lists + self.doomed.bytes()
    }
}
