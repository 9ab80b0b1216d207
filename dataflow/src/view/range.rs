//! Rows by a range of a key: of the primary key or of an index, in its order or in whatever order is cheapest.
//!
//! An order is cut into virtual nodes by the hash of its first column, so a range of the first column is a range in each of them, and rows in order
//! come from a merge of them all. Where the first columns are given by equality, one virtual node has all of it. Everything is read
//! lazily, some entries at a time: the first rows of an order cost a few entries of each virtual node.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::{Bound, Range};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use delta::{shard_of, vnode_of};
use storage::{Snapshot, StateId, Visit};

use super::full_key;
use super::materialize::stored_count;
use super::overlay::Overlay;
use super::reader::{Body, PublishedView, repeat, typed};
use super::run::{Run, number};
use crate::state::KeyEncoder;
use crate::state::keys::hash_keys;
use crate::{Error, Result};

/// Entries that a virtual node's first read of the store brings, and how many at most a later one does.
const FIRST_CHUNK: usize = 4;
const LARGEST_CHUNK: usize = 1024;

/// What the first byte of an encoded column is: nothing is NULL, small for a value, and this is behind all values.
const NULL: u8 = 0;
const VALUE: u8 = 1;
const BEHIND: u8 = 3;

/// Which rows.
#[derive(Clone, Debug)]
pub struct KeyRange {
    /// The state table of an index; `None`: the primary key's order.
    pub index: Option<StateId>,
    /// Values of leading columns, of their types, none of them NULL.
    pub equal: Vec<ScalarValue>,
    /// From where on in the next column. With a bound, rows that have NULL there are left out.
    pub lower: Bound<ScalarValue>,
    /// Up to where.
    pub upper: Bound<ScalarValue>,
}

/// In which order rows come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// From the greatest to the least.
    pub descending: bool,
    /// Where rows stand that have NULL.
    pub nulls_first: bool,
}

/// One entry of an order.
#[derive(Debug)]
struct Entry {
    /// Behind the state's number.
    key: Vec<u8>,
    value: Vec<u8>,
    /// How often the row is there.
    count: i64,
}

/// Rows in a range, as they are read.
pub struct RangeScan {
    view: PublishedView,
    source: Source,
    /// The index, by its place in the layout.
    index: Option<usize>,
    /// Types of the order's columns.
    types: Vec<DataType>,
    /// Columns that are given.
    equal: usize,
    /// Their bytes behind the virtual node.
    prefix_len: usize,
    direction: Option<Direction>,
    /// Parts of the range that come one after the other: byte ranges behind the virtual node.
    sections: VecDeque<(Vec<u8>, Vec<u8>)>,
    vnodes: Vec<u8>,
    cursors: Vec<Cursor>,
    heap: BinaryHeap<Head>,
    /// An entry that was read and belongs to the next batch.
    put_back: Option<Entry>,
    /// Batches of a log that have come out.
    pending: usize,
}

impl PublishedView {
    /// The rows of a range. Without a direction they come in no particular order.
    ///
    /// # Errors
    /// If there is no such order, or an order is wanted of rows that are kept in blocks.
    pub fn range(&self, store: Arc<dyn Snapshot>, range: &KeyRange, direction: Option<Direction>) -> Result<RangeScan> {
        let inner = &*self.inner;
        let position = match range.index {
            None => None,
            Some(state) => {
                let position = inner.layout.indexes.iter().position(|layout| layout.state == state);
                Some(position.ok_or_else(|| Error::Broken(format!("no index in state {}", state.0)))?)
            }
        };
        match (&inner.body, position, direction) {
            (Body::Keyed(_), _, _) | (Body::Bag(_), Some(_), _) | (Body::Log(_), Some(_), None) => {}
            _ => return Err(Error::Broken("these rows have no such order".to_owned())),
        }
        let types = match position {
            None => inner.readers.key_encoder.types().to_vec(),
            Some(position) => inner.readers.indexes[position].types().to_vec(),
        };
        let columns: Vec<ArrayRef> =
            range.equal.iter().map(|value| value.to_array_of_size(1)).collect::<Result<_, _>>()?;
        let prefix = encoded(&types, &columns)?;
        // Rows are placed by the whole primary key, index entries by the first column.
        let placed_by = if position.is_some() { 1 } else { types.len() };
        let vnodes = if columns.len() < placed_by {
            if !columns.is_empty() {
                return Err(Error::Broken("a part of a primary key says nothing of where rows are".to_owned()));
            }
            (0..=u8::MAX).collect()
        } else {
            let mut hashes = Vec::new();
            hash_keys(&columns[..placed_by], 1, &mut hashes);
            vec![vnode_of(hashes[0])]
        };
        let next_type = types.get(columns.len());
        let bound = |value: &ScalarValue| -> Result<Vec<u8>> {
            let mut all = columns.clone();
            all.push(value.to_array_of_size(1)?);
            encoded(&types, &all)
        };
        let mut sections = VecDeque::new();
        let with = |byte: u8| [&prefix[..], &[byte]].concat();
        if next_type.is_none() {
            sections.push_back((prefix.clone(), with(0xff)));
        } else {
            let start = match &range.lower {
                Bound::Unbounded => with(VALUE),
                Bound::Included(value) => bound(value)?,
                Bound::Excluded(value) => behind(bound(value)?),
            };
            let end = match &range.upper {
                Bound::Unbounded => with(BEHIND),
                Bound::Included(value) => behind(bound(value)?),
                Bound::Excluded(value) => bound(value)?,
            };
            sections.push_back((start, end));
            if matches!((&range.lower, &range.upper), (Bound::Unbounded, Bound::Unbounded)) {
                let nulls = (with(NULL), with(VALUE));
                match direction {
                    Some(Direction { nulls_first: true, .. }) => sections.push_front(nulls),
                    _ => sections.push_back(nulls),
                }
            }
        }
        let source = Source {
            store,
            state: range.index.unwrap_or(inner.layout.state),
            descending: direction.is_some_and(|direction| direction.descending),
            counts: matches!(inner.body, Body::Bag(_)),
        };
        Ok(RangeScan {
            view: self.clone(),
            source,
            index: position,
            types,
            equal: columns.len(),
            prefix_len: prefix.len(),
            direction,
            sections,
            vnodes,
            cursors: vec![],
            heap: BinaryHeap::new(),
            put_back: None,
            pending: 0,
        })
    }
}

/// The bytes of leading columns.
fn encoded(types: &[DataType], columns: &[ArrayRef]) -> Result<Vec<u8>> {
    if columns.is_empty() {
        return Ok(vec![]);
    }
    let types = types.get(..columns.len()).ok_or_else(|| Error::Broken("too many values for a key".to_owned()))?;
    Ok(KeyEncoder::new(types.to_vec())?.encode(columns, 1)?.key(0).to_vec())
}

/// The first key behind all those that begin with this one.
fn behind(mut key: Vec<u8>) -> Vec<u8> {
    while key.last() == Some(&0xff) {
        key.pop();
    }
    if let Some(last) = key.last_mut() {
        *last += 1;
    }
    key
}

impl RangeScan {
    /// Up to `most` rows more; with `ties` also all that have the same as the last one in the order's next column. `None` at the end.
    ///
    /// In order, all rows of a batch come before those of the next. Of rows that are kept in blocks, those come too that
    /// aren't in the range but not yet in the index.
    pub fn next_batch(&mut self, most: usize, ties: bool) -> Result<Option<RecordBatch>> {
        let mut entries = Vec::new();
        while entries.len() < most
            && let Some(entry) = self.next_entry()?
        {
            entries.push(entry);
        }
        if entries.is_empty() {
            return self.next_pending();
        }
        let rows = self.rows(&entries)?;
        if !ties || entries.len() < most || rows.num_rows() == 0 {
            return Ok(Some(rows));
        }
        let last = rows.column(self.next_column()?).slice(rows.num_rows() - 1, 1);
        let last = encoded(&self.types[self.equal..], &[last])?;
        let mut tied = Vec::new();
        while let Some(entry) = self.next_entry()? {
            if !entry.key[1 + self.prefix_len..].starts_with(&last) {
                self.put_back = Some(entry);
                break;
            }
            tied.push(entry);
        }
        if tied.is_empty() {
            return Ok(Some(rows));
        }
        Ok(Some(concat_batches(rows.schema_ref(), &[rows.clone(), self.rows(&tied)?])?))
    }

    /// How many entries there are, as far as that is at most `most`; rows in no block yet aren't counted.
    pub fn count_up_to(&mut self, most: usize) -> Result<usize> {
        let mut count = 0;
        while count < most && self.next_entry()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// The column of the relation by which rows are ordered.
    fn next_column(&self) -> Result<usize> {
        let inner = &*self.view.inner;
        let columns = match self.index {
            None => &inner.readers.key,
            Some(position) => &inner.readers.indexes[position].columns,
        };
        columns.get(self.equal).copied().ok_or_else(|| Error::Broken("an order has no further column".to_owned()))
    }

    fn next_entry(&mut self) -> Result<Option<Entry>> {
        if let Some(entry) = self.put_back.take() {
            return Ok(Some(entry));
        }
        loop {
            if let Some(Head { entry, cursor, .. }) = self.heap.pop() {
                self.push_head(cursor)?;
                return Ok(Some(entry));
            }
            if self.direction.is_none() {
                while let Some(cursor) = self.cursors.last_mut() {
                    if let Some(entry) = cursor.next(&self.source)? {
                        return Ok(Some(entry));
                    }
                    self.cursors.pop();
                }
            }
            match self.sections.pop_front() {
                Some((start, end)) => self.open(&start, &end)?,
                None => return Ok(None),
            }
        }
    }

    /// Begins with a part of the range.
    fn open(&mut self, start: &[u8], end: &[u8]) -> Result<()> {
        let inner = &*self.view.inner;
        let chunk = if self.direction.is_some() { FIRST_CHUNK } else { LARGEST_CHUNK };
        self.cursors.clear();
        for vnode in &self.vnodes {
            let (start, end) = ([&[*vnode], start].concat(), [&[*vnode], end].concat());
            let overlay = match (&inner.body, self.index) {
                (Body::Log(_), _) => None,
                (_, Some(position)) => inner.indexes.get(position),
                (Body::Keyed(overlays) | Body::Bag(overlays), None) => overlays.get(shard_of(*vnode)),
            };
            let layers = overlay.into_iter().flat_map(Overlay::layers).map(|run| Layer::new(run, &start, &end));
            let layers = layers.filter(|layer| !layer.entries.is_empty()).collect();
            self.cursors.push(Cursor { start, end, done: false, chunk, stored: VecDeque::new(), layers });
        }
        if self.direction.is_some() {
            (0..self.cursors.len()).try_for_each(|cursor| self.push_head(cursor))?;
        }
        Ok(())
    }

    fn push_head(&mut self, cursor: usize) -> Result<()> {
        if let Some(entry) = self.cursors[cursor].next(&self.source)? {
            self.heap.push(Head { entry, cursor, descending: self.source.descending });
        }
        Ok(())
    }

    /// The rows that entries stand for, in their order but for those in blocks.
    fn rows(&self, entries: &[Entry]) -> Result<RecordBatch> {
        let (view, store) = (&self.view, &*self.source.store);
        let readers = &view.inner.readers;
        match (&view.inner.body, self.index) {
            (Body::Keyed(_), None) => {
                readers.rows.decode(&entries.iter().map(|entry| entry.value.as_slice()).collect::<Vec<_>>())
            }
            (Body::Keyed(_), Some(_)) => {
                let keys: Vec<_> =
                    entries.iter().map(|entry| full_key(view.inner.layout.state, &entry.value)).collect();
                view.decode(view.rows_at(store, &keys)?)
            }
            (Body::Bag(_), _) => {
                let indexed = self.types.iter().take(if self.index.is_some() { usize::MAX } else { 0 });
                let types: Vec<_> = indexed.chain(readers.key_encoder.types()).cloned().collect();
                let skipped = types.len() - readers.key_encoder.types().len();
                let keys: Vec<&[u8]> = entries.iter().map(|entry| &entry.key[1..]).collect();
                let columns = KeyEncoder::new(types)?.decode(&keys)?.split_off(skipped);
                let counts: Vec<i64> = entries.iter().map(|entry| entry.count).collect();
                repeat(RecordBatch::try_new(readers.schema.clone(), typed(columns, &readers.schema)?)?, &counts)
            }
            (Body::Log(_), _) => view.rows_in_blocks(store, entries.iter().map(|entry| entry.key.as_slice())),
        }
    }

    /// Rows that are in no block yet.
    fn next_pending(&mut self) -> Result<Option<RecordBatch>> {
        let Body::Log(pending) = &self.view.inner.body else { return Ok(None) };
        let batch = pending.get(self.pending).cloned();
        self.pending += 1;
        Ok(batch)
    }
}

/// Where entries come from.
struct Source {
    store: Arc<dyn Snapshot>,
    state: StateId,
    descending: bool,
    /// What the overlay has are changes of counts.
    counts: bool,
}

/// A part of the range in one virtual node.
struct Cursor {
    /// What has not been read yet.
    start: Vec<u8>,
    end: Vec<u8>,
    done: bool,
    /// Entries that the next read brings at most.
    chunk: usize,
    stored: VecDeque<(Vec<u8>, Vec<u8>)>,
    /// Newest first.
    layers: Vec<Layer>,
}

/// The part of one of the overlay's runs.
struct Layer {
    run: Arc<Run>,
    /// In the order of the keys.
    entries: Range<usize>,
}

impl Layer {
    fn new(run: &Arc<Run>, start: &[u8], end: &[u8]) -> Self {
        Self { run: run.clone(), entries: run.in_range(start, end) }
    }

    fn peek(&self, descending: bool) -> Option<(&[u8], Option<&[u8]>)> {
        let next = if descending { self.entries.end.checked_sub(1)? } else { self.entries.start };
        self.entries.contains(&next).then(|| self.run.in_order(next))
    }

    fn advance(&mut self, descending: bool) {
        if descending {
            self.entries.end -= 1;
        } else {
            self.entries.start += 1;
        }
    }
}

impl Cursor {
    fn next(&mut self, source: &Source) -> Result<Option<Entry>> {
        let descending = source.descending;
        loop {
            if self.stored.is_empty() && !self.done {
                self.read(source)?;
            }
            let heads = self.layers.iter().filter_map(|layer| Some(layer.peek(descending)?.0));
            let heads = heads.chain(self.stored.front().map(|(key, _)| key.as_slice()));
            let Some(key) = (if descending { heads.max() } else { heads.min() }) else { return Ok(None) };
            let key = key.to_vec();
            let is_stored = self.stored.front().is_some_and(|(stored, _)| *stored == key);
            let stored = if is_stored { self.stored.pop_front() } else { None };
            let stored = stored.map(|(_, value)| value);
            let (mut newest, mut change) = (None, 0);
            for layer in &mut self.layers {
                if let Some((_, value)) = layer.peek(descending).filter(|(other, _)| *other == key) {
                    if source.counts {
                        change += value.map_or(0, number);
                    } else if newest.is_none() {
                        newest = Some(value.map(<[u8]>::to_vec));
                    }
                    layer.advance(descending);
                }
            }
            if source.counts {
                let count = stored.as_deref().map_or(0, stored_count) + change;
                if count > 0 {
                    return Ok(Some(Entry { key, value: vec![], count }));
                }
            } else if let Some(value) = newest.unwrap_or(stored) {
                return Ok(Some(Entry { key, value, count: 1 }));
            }
        }
    }

    /// Brings more of what the store has.
    fn read(&mut self, source: &Source) -> Result<()> {
        let (start, end) = (full_key(source.state, &self.start), full_key(source.state, &self.end));
        let (stored, chunk) = (&mut self.stored, self.chunk);
        let mut visit = |key: &[u8], value: &[u8]| {
            stored.push_back((key[4..].to_vec(), value.to_vec()));
            if stored.len() < chunk { Visit::Continue } else { Visit::Stop }
        };
        if source.descending {
            source.store.scan_back(&start, &end, &mut visit)?;
        } else {
            source.store.scan(&start, &end, &mut visit)?;
        }
        self.done = self.stored.len() < self.chunk;
        if let Some((last, _)) = self.stored.back() {
            if source.descending {
                self.end.clone_from(last);
            } else {
                self.start = [last, &[0][..]].concat();
            }
        }
        self.chunk = (self.chunk * 4).min(LARGEST_CHUNK);
        Ok(())
    }
}

/// The next entry of a cursor, in a heap whose greatest is what comes first.
struct Head {
    entry: Entry,
    cursor: usize,
    descending: bool,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        let keys = self.entry.key[1..].cmp(&other.entry.key[1..]);
        let keys = if self.descending { keys } else { keys.reverse() };
        keys.then(other.cursor.cmp(&self.cursor))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}
