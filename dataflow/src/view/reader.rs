//! Reading a relation: the overlay over a snapshot of the store.
//!
//! A [`PublishedView`] and the snapshot that it is read with belong together: the view as [`crate::Graph::published`] gave it, the
//! snapshot that [`crate::Graph::committed`] was given last before. Together they are one epoch, whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, Scalar, UInt32Array};
use arrow::compute::kernels::boolean::and;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use delta::{Delta, SHARDS, shard_of, vnode_of};
use imbl::Vector;
use storage::{ChangeSet, Snapshot, StateId, Visit};

use super::log::BlockCodec;
use super::materialize::{IndexKeys, block_key, stored_count};
use super::overlay::Overlay;
use super::{HEAD_KEY, Head, IndexLayout, ViewForm, ViewLayout, full_key};
use crate::state::keys::hash_keys;
use crate::state::{KeyEncoder, RowCodec};
use crate::{Error, Result};

/// Rows of a batch that a scan yields.
const SCAN_ROWS: usize = 8192;
/// Bytes of rows after which a batch ends early: rows may be large.
const SCAN_BYTES: usize = 8 << 20;

/// How the entries of a relation are encoded.
#[derive(Debug)]
pub(crate) struct Readers {
    pub(crate) schema: SchemaRef,
    /// Columns by which a row is placed.
    pub(crate) key: Vec<usize>,
    pub(crate) key_encoder: KeyEncoder,
    pub(crate) rows: RowCodec,
    pub(crate) indexes: Vec<IndexKeys>,
    blocks: Option<BlockCodec>,
}

impl Readers {
    pub(crate) fn new(schema: SchemaRef, layout: &ViewLayout) -> Result<Self> {
        let (key, stored, blocks) = match &layout.form {
            ViewForm::Keyed { key } => (key.clone(), schema.clone(), None),
            ViewForm::Bag => ((0..schema.fields().len()).collect(), Arc::new(Schema::empty()), None),
            ViewForm::Log => (vec![], Arc::new(Schema::empty()), Some(BlockCodec::new(schema.clone())?)),
        };
        let indexes = layout.indexes.iter().map(|index| IndexKeys::new(&schema, &index.columns));
        Ok(Self {
            key_encoder: KeyEncoder::of_columns(&schema, &key)?,
            key,
            rows: RowCodec::new(stored)?,
            indexes: indexes.collect::<Result<_>>()?,
            blocks,
            schema,
        })
    }

    pub(crate) fn blocks(&self) -> Result<&BlockCodec> {
        self.blocks.as_ref().ok_or_else(|| Error::Broken("only a log has blocks".to_owned()))
    }
}

/// One epoch of a stored relation. A clone is cheap.
#[derive(Clone, Debug)]
pub struct PublishedView {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Arc<ViewLayout>,
    readers: Arc<Readers>,
    body: Body,
    indexes: Vec<Overlay>,
    /// Rows beyond those in the store.
    rows: i64,
}

#[derive(Debug)]
pub(crate) enum Body {
    Keyed(Vec<Overlay>),
    Bag(Vec<Overlay>),
    Log(Vector<RecordBatch>),
}

impl PublishedView {
    pub(crate) fn new(
        layout: Arc<ViewLayout>,
        readers: Arc<Readers>,
        body: Body,
        indexes: Vec<Overlay>,
        rows: i64,
    ) -> Self {
        Self { inner: Arc::new(Inner { layout, readers, body, indexes, rows }) }
    }

    /// The relation's columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.inner.readers.schema
    }

    /// How it is stored.
    pub fn layout(&self) -> &ViewLayout {
        &self.inner.layout
    }

    /// How many rows there are.
    pub fn row_count(&self, store: &dyn Snapshot) -> Result<usize> {
        let rows = Head::read(self.inner.layout.state, store)?.rows + self.inner.rows;
        Ok(usize::try_from(rows).unwrap_or(0))
    }

    /// The rows with these keys (columns in the order of the layout's key, of its types), in the order of the keys; keys without
    /// a row have none.
    ///
    /// # Errors
    /// If the relation isn't keyed.
    pub fn get(&self, store: &dyn Snapshot, keys: &[ArrayRef]) -> Result<RecordBatch> {
        if keys.len() != self.inner.readers.key.len() {
            return Err(Error::Broken("a lookup by key gives a value for each key column".to_owned()));
        }
        let rows = keys.first().map_or(1, |column| column.len());
        self.decode(self.stored_rows(store, keys, rows)?)
    }

    /// As [`PublishedView::get`], for one key.
    pub fn get_one(&self, store: &dyn Snapshot, key: &[ScalarValue]) -> Result<RecordBatch> {
        let columns: Result<Vec<_>, _> = key.iter().map(|value| value.to_array_of_size(1)).collect();
        self.get(store, &columns?)
    }

    fn decode(&self, rows: Vec<Option<Bytes>>) -> Result<RecordBatch> {
        let rows: Vec<&[u8]> = rows.iter().filter_map(|row| row.as_deref()).collect();
        self.inner.readers.rows.decode(&rows)
    }

    /// The key columns of a batch of rows.
    pub(crate) fn key_columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.inner.readers.key_columns(batch)
    }

    pub(crate) fn encode_keys(&self, columns: &[ArrayRef], rows: usize) -> Result<crate::state::keys::EncodedKeys> {
        self.inner.readers.key_encoder.encode(columns, rows)
    }

    pub(crate) fn row_codec(&self) -> &RowCodec {
        &self.inner.readers.rows
    }

    /// The encoded row under each key, if there is one.
    pub(crate) fn stored_rows(&self, store: &dyn Snapshot, keys: &[ArrayRef], rows: usize) -> Result<Vec<Option<Bytes>>> {
        let mut hashes = Vec::new();
        hash_keys(keys, rows, &mut hashes);
        let encoded = self.encode_keys(keys, rows)?;
        let full = |row: usize| {
            let state = self.inner.layout.state.0.to_be_bytes();
            [&state[..], &[vnode_of(hashes[row])], encoded.key(row)].concat()
        };
        self.rows_at(store, &(0..rows).map(full).collect::<Vec<_>>())
    }

    /// The encoded row at each of these full keys, if there is one.
    fn rows_at(&self, store: &dyn Snapshot, keys: &[Vec<u8>]) -> Result<Vec<Option<Bytes>>> {
        let Body::Keyed(overlays) = &self.inner.body else {
            return Err(Error::Unsupported("a lookup by key in a relation without one".to_owned()));
        };
        let mut rows: Vec<Option<Bytes>> = Vec::with_capacity(keys.len());
        let mut missing: Vec<(usize, &[u8])> = Vec::new();
        for (position, key) in keys.iter().enumerate() {
            match overlays[shard_of(key[4])].get(&key[4..]) {
                Some(row) => rows.push(row.map(Bytes::copy_from_slice)),
                None => {
                    missing.push((position, key));
                    rows.push(None);
                }
            }
        }
        if let [(position, key)] = missing.as_slice() {
            rows[*position] = store.get(key)?;
        } else if !missing.is_empty() {
            missing.sort_unstable_by_key(|(_, key)| *key);
            let keys: Vec<&[u8]> = missing.iter().map(|(_, key)| *key).collect();
            for ((position, _), row) in missing.iter().zip(store.multi_get(&keys)?) {
                rows[*position] = row;
            }
        }
        Ok(rows)
    }

    /// The rows whose first index columns have these values (columns of one row, of the index columns' types), in no
    /// particular order.
    ///
    /// # Errors
    /// If there is no such index.
    pub fn index_lookup(&self, store: &dyn Snapshot, index: StateId, values: &[ArrayRef]) -> Result<RecordBatch> {
        let inner = &*self.inner;
        let position = inner.layout.indexes.iter().position(|layout| layout.state == index);
        let Some(position) = position.filter(|_| !values.is_empty()) else {
            return Err(Error::Broken(format!("no index in state {}", index.0)));
        };
        let keys = &inner.readers.indexes[position];
        let types = keys.types().get(..values.len()).ok_or_else(|| Error::Broken("too many index values".to_owned()))?;
        let mut hashes = Vec::new();
        hash_keys(&values[..1], 1, &mut hashes);
        let encoded = KeyEncoder::new(types.to_vec())?.encode(values, 1)?;
        let prefix = [&[vnode_of(hashes[0])], encoded.key(0)].concat();
        let overlay = &inner.indexes[position];
        match &inner.body {
            Body::Keyed(_) => self.keyed_by_index(store, index, &prefix, overlay),
            Body::Bag(_) => self.bag_by_index(store, index, &prefix, overlay, keys),
            Body::Log(batches) => self.log_by_index(store, index, &prefix, batches, &keys.columns[..values.len()], values),
        }
    }

    fn keyed_by_index(&self, store: &dyn Snapshot, index: StateId, prefix: &[u8], overlay: &Overlay) -> Result<RecordBatch> {
        let state = self.inner.layout.state;
        let mut keys = Vec::new();
        visit_prefix(store, index, prefix, |key, row| {
            if overlay.get(key).is_none() {
                keys.push(full_key(state, row));
            }
        })?;
        overlay.visit_prefix(prefix, |_, row| keys.extend(row.map(|row| full_key(state, row))));
        self.decode(self.rows_at(store, &keys)?)
    }

    fn bag_by_index(
        &self,
        store: &dyn Snapshot,
        index: StateId,
        prefix: &[u8],
        overlay: &Overlay,
        keys: &IndexKeys,
    ) -> Result<RecordBatch> {
        let mut counts: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        visit_prefix(store, index, prefix, |key, value| {
            counts.insert(key.to_vec(), stored_count(value));
        })?;
        overlay.visit_prefix(prefix, |key, _| *counts.entry(key.to_vec()).or_default() += overlay.change(key));
        let schema = &self.inner.readers.schema;
        let types = keys.types().iter().chain(self.inner.readers.key_encoder.types());
        let decoder = KeyEncoder::new(types.cloned().collect())?;
        let entries: Vec<&[u8]> = counts.keys().map(|key| &key[1..]).collect();
        let columns = decoder.decode(&entries)?.split_off(keys.columns.len());
        let counts: Vec<i64> = counts.into_values().collect();
        repeat(RecordBatch::try_new(schema.clone(), typed(columns, schema)?)?, &counts)
    }

    fn log_by_index(
        &self,
        store: &dyn Snapshot,
        index: StateId,
        prefix: &[u8],
        pending: &Vector<RecordBatch>,
        columns: &[usize],
        values: &[ArrayRef],
    ) -> Result<RecordBatch> {
        let mut places: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        visit_prefix(store, index, prefix, |key, _| {
            if let Some((_, place)) = key.split_last_chunk::<12>() {
                let mut wide = [0; 16];
                wide[4..].copy_from_slice(place);
                let place = u128::from_be_bytes(wide);
                places.entry((place >> 32) as u64).or_default().push(place as u32);
            }
        })?;
        let codec = self.inner.readers.blocks()?;
        let mut found = Vec::new();
        for (block, rows) in places {
            let key = full_key(self.inner.layout.state, &block_key(block));
            let bytes = store.get(&key)?.ok_or_else(|| Error::Corrupt(format!("block {block} is missing")))?;
            found.push(codec.decode_rows(&bytes, &UInt32Array::from(rows))?);
        }
        for batch in pending {
            let mut keep: Option<BooleanArray> = None;
            for (column, value) in columns.iter().zip(values) {
                let equal = not_distinct(batch.column(*column), &Scalar::new(value.clone()))?;
                keep = Some(match keep {
                    Some(keep) => and(&keep, &equal)?,
                    None => equal,
                });
            }
            if let Some(keep) = keep.filter(|keep| keep.true_count() > 0) {
                found.push(filter_record_batch(batch, &keep)?);
            }
        }
        Ok(concat_batches(&self.inner.readers.schema, &found)?)
    }

    /// All rows in batches, only these columns (absent: all).
    pub fn scan(&self, store: Arc<dyn Snapshot>, projection: Option<&[usize]>) -> Result<Scan> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema().project(columns)?),
            None => self.schema().clone(),
        };
        let columns = projection.map_or_else(|| (0..self.schema().fields().len()).collect(), <[usize]>::to_vec);
        let next = self.inner.layout.state.0.to_be_bytes().to_vec();
        Ok(Scan { view: self.clone(), store, columns, schema, place: Place::Store { next } })
    }

    /// What a new index's state table must hold for the rows in the store, in sets of bounded size.
    pub fn index_entries(
        &self,
        store: &Arc<dyn Snapshot>,
        index: &IndexLayout,
        emit: &mut dyn FnMut(ChangeSet) -> Result<()>,
    ) -> Result<()> {
        let inner = &*self.inner;
        let keys = IndexKeys::new(&inner.readers.schema, &index.columns)?;
        let mut scan = self.scan(store.clone(), None)?;
        let mut block = 0;
        while let Some(batch) = scan.next_batch()? {
            let mut changes = ChangeSet::new();
            keys.entries_of(&batch, index.state, &inner.readers, &inner.layout.form, block, &mut changes)?;
            block += 1;
            emit(changes)?;
        }
        Ok(())
    }
}

/// Visits the entries of a state whose key (behind the state's number) begins with `prefix`.
fn visit_prefix(store: &dyn Snapshot, state: StateId, prefix: &[u8], mut visit: impl FnMut(&[u8], &[u8])) -> Result<()> {
    let start = full_key(state, prefix);
    let mut end = start.clone();
    // The next string that doesn't begin with the prefix.
    while end.last() == Some(&0xff) {
        end.pop();
    }
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    store.scan(&start, &end, &mut |key, value| {
        visit(&key[4..], value);
        Visit::Continue
    })?;
    Ok(())
}

/// Columns as the schema has them: what was encoded may come back as a plainer type.
fn typed(columns: Vec<ArrayRef>, schema: &SchemaRef) -> Result<Vec<ArrayRef>> {
    let cast = |(column, field): (ArrayRef, &Arc<arrow::datatypes::Field>)| {
        if column.data_type() == field.data_type() {
            return Ok(column);
        }
        Ok(arrow::compute::cast(&column, field.data_type())?)
    };
    columns.into_iter().zip(schema.fields()).map(cast).collect()
}

/// Each row as often as its count says.
fn repeat(batch: RecordBatch, counts: &[i64]) -> Result<RecordBatch> {
    if counts.iter().all(|count| *count == 1) {
        return Ok(batch);
    }
    let copies = |(row, count): (usize, &i64)| std::iter::repeat_n(row as u32, usize::try_from(*count).unwrap_or(0));
    let rows: UInt32Array = counts.iter().enumerate().flat_map(copies).collect::<Vec<_>>().into();
    Ok(Delta::inserts(batch).take(&rows)?.batch().clone())
}

/// A scan in progress: an iterator over batches.
#[derive(Clone)]
pub struct Scan {
    view: PublishedView,
    store: Arc<dyn Snapshot>,
    columns: Vec<usize>,
    schema: SchemaRef,
    place: Place,
}

#[derive(Clone)]
enum Place {
    /// In the store, from that full key on.
    Store { next: Vec<u8> },
    /// In the overlay.
    Overlay { shard: usize, layer: usize, position: usize },
    /// In a log's batches that aren't written yet.
    Pending { position: usize },
    End,
}

/// Rows gathered for a batch.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Of a bag.
    counts: Vec<i64>,
}

impl Gathered {
    fn push(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.ends.push(self.bytes.len());
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= SCAN_ROWS || self.bytes.len() >= SCAN_BYTES
    }

    fn rows(&self) -> Vec<&[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end]).collect()
    }
}

impl Scan {
    /// The schema of the batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The next batch; never an empty one.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let view = self.view.clone();
        match &view.inner.body {
            Body::Keyed(overlays) => self.next_keyed(overlays),
            Body::Bag(overlays) => self.next_bag(overlays),
            Body::Log(pending) => self.next_block(pending),
        }
    }

    fn next_keyed(&mut self, overlays: &[Overlay]) -> Result<Option<RecordBatch>> {
        let mut gathered = Gathered::default();
        self.visit_store(|key, row| {
            if overlays[shard_of(key[0])].get(key).is_none() {
                gathered.push(row);
            }
            !gathered.is_full()
        })?;
        self.visit_overlays(overlays, |_, row| {
            if let Some(row) = row {
                gathered.push(row);
            }
            !gathered.is_full()
        });
        let rows = gathered.rows();
        if rows.is_empty() {
            return Ok(None);
        }
        let codec = &self.view.inner.readers.rows;
        let columns: Result<Vec<_>> = self.columns.iter().map(|c| codec.decode_column(*c, &rows)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(Some(RecordBatch::try_new_with_options(self.schema.clone(), columns?, &options)?))
    }

    fn next_bag(&mut self, overlays: &[Overlay]) -> Result<Option<RecordBatch>> {
        let mut gathered = Gathered::default();
        // A row's count is what the store says and the change since. What grew is yielded apart from what is stored.
        self.visit_store(|key, value| {
            let count = stored_count(value) + overlays[shard_of(key[0])].change(key).min(0);
            if count > 0 {
                gathered.push(&key[1..]);
                gathered.counts.push(count);
            }
            !gathered.is_full()
        })?;
        self.visit_overlays(overlays, |key, _| {
            let count = overlays[shard_of(key[0])].change(key);
            if count > 0 {
                gathered.push(&key[1..]);
                gathered.counts.push(count);
            }
            !gathered.is_full()
        });
        if gathered.ends.is_empty() {
            return Ok(None);
        }
        let readers = &self.view.inner.readers;
        let columns = readers.key_encoder.decode(&gathered.rows())?;
        let options = RecordBatchOptions::new().with_row_count(Some(gathered.ends.len()));
        let columns = typed(columns, &readers.schema)?;
        let batch = RecordBatch::try_new_with_options(readers.schema.clone(), columns, &options)?;
        Ok(Some(repeat(batch.project(&self.columns)?, &gathered.counts)?))
    }

    /// Visits entries of the store until `visit` says that it is enough, and remembers where that was.
    fn visit_store(&mut self, mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        let Place::Store { next } = &self.place else { return Ok(()) };
        let end = full_key(self.view.inner.layout.state, &HEAD_KEY);
        let mut stopped: Option<Vec<u8>> = None;
        self.store.scan(next, &end, &mut |key, value| {
            if visit(&key[4..], value) {
                return Visit::Continue;
            }
            stopped = Some([key, &[0]].concat());
            Visit::Stop
        })?;
        self.place = match stopped {
            Some(next) => Place::Store { next },
            None => Place::Overlay { shard: 0, layer: 0, position: 0 },
        };
        Ok(())
    }

    /// As [`Scan::visit_store`], for the overlays.
    fn visit_overlays(&mut self, overlays: &[Overlay], mut visit: impl FnMut(&[u8], Option<&[u8]>) -> bool) {
        let Place::Overlay { mut shard, mut layer, mut position } = self.place else { return };
        while shard < SHARDS {
            let mut enough = false;
            let next = overlays[shard].visit_layer(layer, position, |key, value| {
                enough = !visit(key, value);
                !enough
            });
            match next {
                _ if enough => {
                    position = next.unwrap_or(usize::MAX);
                    self.place = Place::Overlay { shard, layer, position };
                    return;
                }
                Some(_) => (layer, position) = (layer + 1, 0),
                None => (shard, layer, position) = (shard + 1, 0, 0),
            }
        }
        self.place = Place::End;
    }

    fn next_block(&mut self, pending: &Vector<RecordBatch>) -> Result<Option<RecordBatch>> {
        if let Place::Store { .. } = self.place {
            let mut block: Option<Vec<u8>> = None;
            self.visit_store(|_, bytes| {
                block = Some(bytes.to_vec());
                false
            })?;
            match block {
                Some(bytes) => {
                    let codec = self.view.inner.readers.blocks()?;
                    return Ok(Some(codec.decode(&bytes, Some(&self.columns))?));
                }
                None => self.place = Place::Pending { position: 0 },
            }
        }
        let Place::Pending { position } = &mut self.place else { return Ok(None) };
        let batch = pending.get(*position);
        *position += 1;
        Ok(batch.map(|batch| batch.project(&self.columns)).transpose()?)
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.next_batch();
        if batch.is_err() {
            self.place = Place::End;
        }
        batch.transpose()
    }
}
