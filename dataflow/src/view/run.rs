//! Changes of one or several epochs to the entries of a state table, by key: immutable once published.

use std::ops::Range;
use std::sync::OnceLock;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;
use xxhash_rust::xxh3::xxh3_64;

/// What a newer change of an entry does to an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// It takes its place.
    Replace,
    /// Both are eight-byte numbers, and add up.
    Add,
}

/// Changes by key. A key begins with its virtual node; it is what stands behind the state's number in the store.
#[derive(Debug, Default)]
pub(crate) struct Run {
    table: HashTable<u32>,
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    /// Positions of `entries` in key order, once somebody asked for a range.
    sorted: OnceLock<Vec<u32>>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    key: u32,
    key_len: u32,
    value: u32,
    /// [`GONE`]: the key is removed.
    value_len: u32,
}

const GONE: u32 = u32::MAX;

impl Entry {
    fn key(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.key as usize..][..self.key_len as usize]
    }

    fn value(self, bytes: &[u8]) -> Option<&[u8]> {
        (self.value_len != GONE).then(|| &bytes[self.value as usize..][..self.value_len as usize])
    }
}

/// The hash by which runs find a key.
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

impl Run {
    pub(crate) fn with_capacity(entries: usize) -> Self {
        Self { table: HashTable::with_capacity(entries), entries: Vec::with_capacity(entries), ..Self::default() }
    }

    /// Sets or (`None`) removes a key.
    pub(crate) fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.set_hashed(key_hash(key), key, value);
    }

    fn set_hashed(&mut self, hash: u64, key: &[u8], value: Option<&[u8]>) {
        let entry = self.entry(hash, key);
        match value {
            None => self.entries[entry].value_len = GONE,
            Some(value) => {
                let old = self.entries[entry];
                let at = if old.value_len as usize == value.len() {
                    old.value as usize
                } else {
                    self.bytes.resize(self.bytes.len() + value.len(), 0);
                    self.bytes.len() - value.len()
                };
                self.bytes[at..at + value.len()].copy_from_slice(value);
                let entry = &mut self.entries[entry];
                (entry.value, entry.value_len) = (small(at), small(value.len()));
            }
        }
    }

    /// Adds to the number of a key.
    pub(crate) fn add(&mut self, key: &[u8], change: i64) {
        self.add_hashed(key_hash(key), key, change);
    }

    fn add_hashed(&mut self, hash: u64, key: &[u8], change: i64) {
        let entry = self.entry(hash, key);
        let before = self.entries[entry].value(&self.bytes).map_or(0, number);
        let after = (before + change).to_le_bytes();
        let entry = &mut self.entries[entry];
        if entry.value_len == GONE {
            (entry.value, entry.value_len) = (small(self.bytes.len()), 8);
            self.bytes.extend_from_slice(&after);
        } else {
            self.bytes[entry.value as usize..][..8].copy_from_slice(&after);
        }
    }

    /// The position of a key's entry, made if need be.
    fn entry(&mut self, hash: u64, key: &[u8]) -> usize {
        let (entries, bytes) = (&mut self.entries, &mut self.bytes);
        let equals = |at: &u32| {
            let entry = entries[*at as usize];
            entry.hash == hash && entry.key(bytes) == key
        };
        match self.table.entry(hash, equals, |at| entries[*at as usize].hash) {
            TableEntry::Occupied(at) => *at.get() as usize,
            TableEntry::Vacant(place) => {
                place.insert(small(entries.len()));
                let start = small(bytes.len());
                bytes.extend_from_slice(key);
                entries.push(Entry { hash, key: start, key_len: small(key.len()), value: 0, value_len: GONE });
                entries.len() - 1
            }
        }
    }

    /// What this run says of a key: nothing, that it is gone, or its value.
    pub(crate) fn get(&self, hash: u64, key: &[u8]) -> Option<Option<&[u8]>> {
        let equals = |at: &u32| {
            let entry = self.entries[*at as usize];
            entry.hash == hash && entry.key(&self.bytes) == key
        };
        let at = self.table.find(hash, equals)?;
        Some(self.entries[*at as usize].value(&self.bytes))
    }

    /// The entry at a position, `0 .. len`: hash, key, value.
    pub(crate) fn at(&self, position: usize) -> (u64, &[u8], Option<&[u8]>) {
        let entry = self.entries[position];
        (entry.hash, entry.key(&self.bytes), entry.value(&self.bytes))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &[u8], Option<&[u8]>)> {
        (0..self.len()).map(|position| self.at(position))
    }

    /// Entries whose key begins with `prefix`, in key order.
    pub(crate) fn with_prefix<'a>(
        &'a self,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (u64, &'a [u8], Option<&'a [u8]>)> {
        let sorted = self.sorted();
        let start = sorted.partition_point(|at| self.key(*at) < prefix);
        let entries = sorted[start..].iter().map(|at| self.at(*at as usize));
        entries.take_while(move |(_, key, _)| key.starts_with(prefix))
    }

    /// The places in key order of the entries `start <= key < end`.
    pub(crate) fn in_range(&self, start: &[u8], end: &[u8]) -> Range<usize> {
        let sorted = self.sorted();
        let first = sorted.partition_point(|at| self.key(*at) < start);
        first..first + sorted[first..].partition_point(|at| self.key(*at) < end)
    }

    /// The entry at a place in key order.
    pub(crate) fn in_order(&self, place: usize) -> (&[u8], Option<&[u8]>) {
        let (_, key, value) = self.at(self.sorted()[place] as usize);
        (key, value)
    }

    fn key(&self, at: u32) -> &[u8] {
        self.entries[at as usize].key(&self.bytes)
    }

    fn sorted(&self) -> &[u32] {
        self.sorted.get_or_init(|| {
            let mut positions: Vec<u32> = (0..small(self.len())).collect();
            positions.sort_unstable_by(|a, b| self.key(*a).cmp(self.key(*b)));
            positions
        })
    }

    /// Puts the changes of a newer run over these.
    pub(crate) fn absorb(&mut self, newer: &Self, rule: Rule) {
        self.sorted = OnceLock::new();
        for (hash, key, value) in newer.iter() {
            match (rule, value) {
                (Rule::Add, Some(value)) => self.add_hashed(hash, key, number(value)),
                _ => self.set_hashed(hash, key, value),
            }
        }
    }

    /// These changes and the newer ones over them.
    pub(crate) fn merged(&self, newer: &Self, rule: Rule) -> Self {
        let mut run = Self::with_capacity(self.len() + newer.len());
        run.bytes.reserve(self.bytes.len() + newer.bytes.len());
        run.absorb(self, rule);
        run.absorb(newer, rule);
        run
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory held.
    pub(crate) fn byte_size(&self) -> usize {
        self.bytes.len() + self.entries.len() * (size_of::<Entry>() + 5)
    }
}

/// The number that a value is (see [`Rule::Add`]).
pub(crate) fn number(value: &[u8]) -> i64 {
    value.try_into().map_or(0, i64::from_le_bytes)
}

fn small(value: usize) -> u32 {
    u32::try_from(value).expect("the changes between two checkpoints are far below 4 GiB")
}
