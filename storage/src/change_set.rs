//! What one commit changes.

use std::sync::Arc;

use crate::StateId;

/// One change to one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The value is replaced.
    Put,
    /// The bytes are appended to the value (an absent value is empty). Operands keep commit order.
    Append,
    /// The key is removed.
    Delete,
}

/// Changes to be committed together. Keys and values lie in large chunks: adding an entry doesn't allocate, and neither growing nor
/// merging moves bytes.
///
/// Shards fill sets of their own in parallel, which are then [merged](ChangeSet::merge).
#[derive(Clone, Debug, Default)]
pub struct ChangeSet {
    /// Shared with clones: a commit that is tried again copies no bytes.
    chunks: Vec<Arc<Vec<u8>>>,
    /// Bytes in all chunks.
    byte_size: usize,
    entries: Vec<Entry>,
    /// States whose every key is removed before the entries are applied.
    cleared: Vec<StateId>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    change: Change,
    /// In which chunk, and where, the key begins; the value stands behind it.
    chunk: u32,
    start: u32,
    key_len: u32,
    value_len: u32,
}

/// Bytes of a chunk, unless one entry needs more: large enough that there are few, small enough that the last one wastes little.
const CHUNK_BYTES: usize = 256 * 1024;

impl ChangeSet {
    /// No change.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the value of a full key (see [`crate::state_key`]).
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.push(Change::Put, &[key], value);
    }

    /// As [`ChangeSet::put`], the key given in parts.
    pub fn put_parts(&mut self, key: &[&[u8]], value: &[u8]) {
        self.push(Change::Put, key, value);
    }

    /// Appends to the value of a key given in parts.
    pub fn append_parts(&mut self, key: &[&[u8]], operand: &[u8]) {
        self.push(Change::Append, key, operand);
    }

    /// As [`ChangeSet::put`], key and value one behind the other in a buffer of their own, which becomes part of the set.
    pub fn put_joined(&mut self, entry: Vec<u8>, key_len: usize) {
        if entry.len() < CHUNK_BYTES / 2 {
            let (key, value) = entry.split_at(key_len);
            return self.put(key, value);
        }
        self.byte_size += entry.len();
        let value_len = entry.len() - key_len;
        self.chunks.push(Arc::new(entry));
        self.add_entry(Change::Put, 0, key_len, value_len);
    }

    /// Removes a key.
    pub fn delete(&mut self, key: &[u8]) {
        self.push(Change::Delete, &[key], &[]);
    }

    /// Removes a key given in parts.
    pub fn delete_parts(&mut self, key: &[&[u8]]) {
        self.push(Change::Delete, key, &[]);
    }

    /// Removes everything that a state held before this commit.
    pub fn clear_state(&mut self, state: StateId) {
        self.cleared.push(state);
    }

    /// As [`ChangeSet::clear_state`], and what this set adds to the state so far is left out, too.
    pub fn forget_state(&mut self, state: StateId) {
        let prefix = crate::state_prefix(state);
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|entry| !self.read(entry).1.starts_with(&prefix));
        self.entries = entries;
        self.cleared.push(state);
    }

    fn push(&mut self, change: Change, key: &[&[u8]], value: &[u8]) {
        let length = key.iter().map(|part| part.len()).sum::<usize>() + value.len();
        let chunk = self.chunk_for(length);
        let start = chunk.len();
        for part in key {
            chunk.extend_from_slice(part);
        }
        let key_len = chunk.len() - start;
        chunk.extend_from_slice(value);
        self.byte_size += length;
        self.add_entry(change, start, key_len, value.len());
    }

    /// Notes an entry of the last chunk.
    fn add_entry(&mut self, change: Change, start: usize, key_len: usize, value_len: usize) {
        self.entries.push(Entry {
            change,
            chunk: u32::try_from(self.chunks.len() - 1).expect("memory ends before the numbers of chunks do"),
            start: u32::try_from(start).expect("a chunk begins no entry behind its usual size"),
            key_len: u32::try_from(key_len).expect("a key is far below 4 GiB"),
            value_len: u32::try_from(value_len).expect("a value is far below 4 GiB"),
        });
    }

    /// The last chunk, if so many more bytes fit and no clone has it too, or a new one.
    fn chunk_for(&mut self, length: usize) -> &mut Vec<u8> {
        let last = self.chunks.last_mut().and_then(Arc::get_mut);
        if last.is_none_or(|last| last.len() + length > CHUNK_BYTES) {
            // The first one grows as it is needed: most sets are small.
            let capacity = if self.chunks.is_empty() { length } else { length.max(CHUNK_BYTES) };
            self.chunks.push(Arc::new(Vec::with_capacity(capacity)));
        }
        self.chunks.last_mut().and_then(Arc::get_mut).expect("the last one is there, and not shared")
    }

    /// Adds all changes of `other` behind these.
    pub fn merge(&mut self, other: ChangeSet) {
        if self.entries.is_empty() {
            let cleared = std::mem::take(&mut self.cleared);
            *self = other;
            self.cleared.splice(0..0, cleared);
            return;
        }
        let chunks = self.chunks.len() as u32;
        self.chunks.extend(other.chunks);
        self.byte_size += other.byte_size;
        self.entries.extend(other.entries.iter().map(|e| Entry { chunk: e.chunk + chunks, ..*e }));
        self.cleared.extend(other.cleared);
    }

    /// The changes in the order in which they were added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Change, &[u8], &[u8])> {
        self.entries.iter().map(|e| self.read(e))
    }

    fn read(&self, entry: &Entry) -> (Change, &[u8], &[u8]) {
        let bytes = &self.chunks[entry.chunk as usize][entry.start as usize..];
        let (key, rest) = bytes.split_at(entry.key_len as usize);
        (entry.change, key, &rest[..entry.value_len as usize])
    }

    /// States to be cleared first.
    pub fn cleared(&self) -> &[StateId] {
        &self.cleared
    }

    /// Entries, cleared states not counted.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.cleared.is_empty()
    }

    /// Bytes of keys and values.
    pub fn byte_size(&self) -> usize {
        self.byte_size
    }

    /// Sorts by key; changes to one key keep their order.
    pub fn sort(&mut self) {
        let key = |e: &Entry| self.read(e).1;
        if self.entries.is_sorted_by(|a, b| key(a) <= key(b)) {
            return;
        }
        let mut order: Vec<(u128, Entry)> = self.entries.iter().map(|e| (bytes_at(key(e), 0), *e)).collect();
        self.sort_run(&mut order, 0);
        self.entries.clear();
        self.entries.extend(order.into_iter().map(|(_, entry)| entry));
    }

    /// Sorts entries whose keys are equal before `depth`, given with the 16 bytes that follow. Those stand beside the entry in the cache; only of
    /// keys that are equal in them more bytes are fetched, once for each 16, not for each comparison.
    fn sort_run(&self, run: &mut [(u128, Entry)], depth: usize) {
        // An entry stands behind those that were added before it.
        let place = |e: &Entry| (e.chunk, e.start);
        run.sort_unstable_by(|(a_bytes, a), (b_bytes, b)| (a_bytes, place(a)).cmp(&(b_bytes, place(b))));
        let next = depth + 16;
        for equal in run.chunk_by_mut(|(a, _), (b, _)| a == b).filter(|equal| equal.len() > 1) {
            if equal.iter().all(|(_, e)| e.key_len as usize <= next) {
                // They differ at most in how many zeros they end with.
                equal.sort_unstable_by_key(|(_, e)| (e.key_len, place(e)));
                continue;
            }
            for (bytes, e) in equal.iter_mut() {
                *bytes = bytes_at(self.read(e).1, next);
            }
            self.sort_run(equal, next);
        }
    }

    /// Visits each key of a [sorted](ChangeSet::sort) set once, with the one change that has the effect of all its
    /// changes.
    ///
    /// # Errors
    /// The first error of `visit`, at which the visit ends.
    pub(crate) fn for_each_key<E>(
        &self,
        mut visit: impl FnMut(Change, &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut value = Vec::new();
        for changes in self.entries.chunk_by(|a, b| self.read(a).1 == self.read(b).1) {
            // What stands before the last replacement or removal has no effect.
            let last = changes.iter().rposition(|e| e.change != Change::Append);
            let (first, appended) = changes[last.unwrap_or(0)..].split_first().expect("a chunk is never empty");
            let (change, key, bytes) = self.read(first);
            if appended.is_empty() {
                visit(change, key, bytes)?;
                continue;
            }
            value.clear();
            value.extend_from_slice(bytes);
            appended.iter().for_each(|e| value.extend_from_slice(self.read(e).2));
            let change = if change == Change::Append { Change::Append } else { Change::Put };
            visit(change, key, &value)?;
        }
        Ok(())
    }
}

/// The 16 bytes of a key from `start` on, in an integer of the same order; a shorter key is filled up with zeros.
fn bytes_at(key: &[u8], start: usize) -> u128 {
    let mut bytes = [0; 16];
    let rest = key.get(start..).unwrap_or_default();
    let length = rest.len().min(16);
    bytes[..length].copy_from_slice(&rest[..length]);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collapsed(changes: &ChangeSet) -> Vec<String> {
        let mut out = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let visited: Result<(), ()> = changes.for_each_key(|change, key, value| {
            out.push(format!("{change:?} {} {}", text(key), text(value)));
            Ok(())
        });
        assert_eq!(visited, Ok(()));
        out
    }

    #[test]
    fn many_changes_to_a_key_become_one() {
        let mut changes = ChangeSet::new();
        changes.append_parts(&[b"a"], b"1");
        changes.append_parts(&[b"a"], b"2");
        changes.put(b"b", b"old");
        changes.append_parts(&[b"b"], b"!");
        changes.put(b"b", b"new");
        changes.append_parts(&[b"b"], b"!");
        changes.put(b"c", b"1");
        changes.delete(b"c");
        changes.append_parts(&[b"d"], b"lost");
        changes.delete(b"d");
        changes.append_parts(&[b"d"], b"kept");
        assert_eq!(collapsed(&changes), ["Append a 12", "Put b new!", "Delete c ", "Put d kept"]);
    }

    #[test]
    fn a_forgotten_state_gets_nothing_that_was_added_before() {
        let mut changes = ChangeSet::new();
        changes.put(&crate::state_key(StateId(1), 0, b"a"), b"1");
        changes.put(&crate::state_key(StateId(2), 0, b"a"), b"2");
        changes.forget_state(StateId(1));
        changes.put(&crate::state_key(StateId(1), 0, b"b"), b"3");
        let left: Vec<&[u8]> = changes.iter().map(|(_, _, value)| value).collect();
        assert_eq!((left, changes.cleared()), (vec![&b"2"[..], b"3"], &[StateId(1)][..]));
    }

    #[test]
    fn a_clone_stays_as_it_was() {
        let mut changes = ChangeSet::new();
        changes.put(b"a", b"1");
        changes.put_joined([&b"b"[..], &[7; CHUNK_BYTES]].concat(), 1);
        let clone = changes.clone();
        changes.put(b"c", b"3");
        changes.put_joined(b"d4".to_vec(), 1);
        assert_eq!(clone.iter().map(|(_, key, _)| key).collect::<Vec<_>>(), [b"a", b"b"]);
        let all: Vec<_> = changes.iter().map(|(_, key, value)| (key, value.len())).collect();
        assert_eq!(all, [(&b"a"[..], 1), (&b"b"[..], CHUNK_BYTES), (&b"c"[..], 1), (&b"d"[..], 1)]);
        assert_eq!(changes.byte_size(), 7 + CHUNK_BYTES);
    }

    #[test]
    fn keys_that_begin_alike_are_sorted_by_what_follows() {
        let keys: [&[u8]; 6] = [b"", b"\0", b"a", b"a\0", b"sixteen bytes...1", b"sixteen bytes...2"];
        let mut changes = ChangeSet::new();
        keys.iter().rev().for_each(|key| changes.put(key, b""));
        changes.sort();
        assert_eq!(changes.iter().map(|(_, key, _)| key.to_vec()).collect::<Vec<_>>(), keys);
    }

    #[test]
    fn keys_of_any_length_are_sorted_as_bytes_are() {
        // Few different bytes, so that keys share long beginnings, and zeros, which must not be taken for the end of a key.
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let mut changes = ChangeSet::new();
        for _ in 0..2000 {
            let same = vec![random(2) as u8; random(40) as usize];
            let rest: Vec<u8> = (0..random(20)).map(|_| random(2) as u8).collect();
            keys.push([same, rest].concat());
            changes.put(&keys[keys.len() - 1], &(keys.len() as u32).to_be_bytes());
        }
        changes.sort();
        let sorted: Vec<(Vec<u8>, Vec<u8>)> = changes.iter().map(|(_, k, v)| (k.to_vec(), v.to_vec())).collect();
        // Values count up, so that equal keys show whether they kept their order.
        assert!(sorted.is_sorted());
        keys.sort();
        assert_eq!(sorted.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), keys);
    }

    #[test]
    fn sorting_keeps_the_order_of_changes_to_one_key() {
        let mut first = ChangeSet::new();
        first.append_parts(&[b"k"], b"1");
        first.put(b"z", b"");
        first.clear_state(StateId(1));
        let mut second = ChangeSet::new();
        second.put(b"a", b"");
        second.append_parts(&[b"k"], b"2");
        second.clear_state(StateId(2));
        first.merge(second);
        first.sort();
        assert_eq!(collapsed(&first), ["Put a ", "Append k 12", "Put z "]);
        assert_eq!(first.cleared(), [StateId(1), StateId(2)]);
    }
}
