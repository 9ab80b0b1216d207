//! Keys in the store of entries per group and value: `[state][virtual node][group key][value]`.

use storage::{ChangeSet, Snapshot, StateId, Visit, state_prefix};

use super::GroupKeys;
use super::value::Value;
use crate::Result;

/// Many keys, one behind the other.
#[derive(Debug, Default)]
pub(super) struct KeyList {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl KeyList {
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.capacity() + 8 * self.ends.capacity()
    }

    /// Adds the key of a value of a group.
    pub(super) fn push<V: Value>(&mut self, state: StateId, keys: &dyn GroupKeys, group: u32, value: V::Ref<'_>) {
        write_prefix(state, keys, group, &mut self.bytes);
        V::write_key(value, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Adds the keys of all values of a group that the store holds.
    pub(super) fn push_group(
        &mut self,
        state: StateId,
        keys: &dyn GroupKeys,
        group: u32,
        store: &dyn Snapshot,
    ) -> Result<()> {
        let (start, end) = group_range(state, keys, group);
        store.scan(&start, &end, &mut |key, _| {
            self.bytes.extend_from_slice(key);
            self.ends.push(self.bytes.len());
            Visit::Continue
        })?;
        Ok(())
    }

    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[start..self.ends[index]]
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Removes all keys from the store, and from the list.
    pub(super) fn delete_all(&mut self, changes: &mut ChangeSet) {
        for index in 0..self.len() {
            changes.delete(self.get(index));
        }
        *self = Self::default();
    }

    /// The values of the keys, with one multi-get in the order that the store likes; `each` is called with the position of a key that the store has.
    pub(super) fn multi_get(
        &self,
        store: &dyn Snapshot,
        mut each: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_unstable_by(|a, b| self.get(*a).cmp(self.get(*b)));
        let keys: Vec<&[u8]> = order.iter().map(|index| self.get(*index)).collect();
        for (index, value) in order.iter().zip(store.multi_get(&keys)?) {
            if let Some(value) = value {
                each(*index, &value)?;
            }
        }
        Ok(())
    }
}

fn write_prefix(state: StateId, keys: &dyn GroupKeys, group: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&state_prefix(state));
    keys.append_key(group, out);
}

/// Where the values of a group lie: from its key to the next key that doesn't begin with it.
pub(super) fn group_range(state: StateId, keys: &dyn GroupKeys, group: u32) -> (Vec<u8>, Vec<u8>) {
    let mut start = Vec::new();
    write_prefix(state, keys, group, &mut start);
    let mut end = start.clone();
    while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
    let last = end.last_mut().expect("the number of a state is below its largest");
    *last += 1;
    (start, end)
}

/// Groups of which the store may hold entries that memory doesn't.
#[derive(Debug, Default)]
pub(super) struct Partial {
    groups: Vec<bool>,
    count: usize,
}

impl Partial {
    pub(super) fn resize(&mut self, groups: usize) {
        self.groups.resize(groups, false);
    }

    pub(super) fn any(&self) -> bool {
        self.count > 0
    }

    pub(super) fn is(&self, group: u32) -> bool {
        self.groups[group as usize]
    }

    pub(super) fn set(&mut self, group: u32) {
        self.count += usize::from(!self.groups[group as usize]);
        self.groups[group as usize] = true;
    }

    /// Whether the group was partial; it is no longer.
    pub(super) fn take(&mut self, group: u32) -> bool {
        let was = std::mem::take(&mut self.groups[group as usize]);
        self.count -= usize::from(was);
        was
    }

    pub(super) fn bytes(&self) -> usize {
        self.groups.capacity()
    }
}
