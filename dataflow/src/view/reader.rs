//! Looking rows up: the overlay over a snapshot of the store.
//!
//! A [`PublishedView`] and the snapshot that it is read with belong together: the view as [`crate::Graph::published`] gave it, the
//! snapshot that [`crate::Graph::committed`] was given last before. Together they are one epoch, whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar, UInt32Array};
use arrow::compute::kernels::boolean::and;
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use delta::{Delta, shard_of, vnode_of};
use imbl::Vector;
use storage::{ChangeSet, Snapshot, StateId, Visit};

use super::block::BlockCodec;
use super::log::block_key;
use super::materialize::{IndexKeys, stored_count};
use super::overlay::Overlay;
use super::scan::Scan;
use super::{Head, IndexLayout, ViewForm, ViewLayout, full_key};
use crate::state::keys::hash_keys;
use crate::state::{KeyEncoder, RowCodec};
use crate::{Error, Result};

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
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) layout: Arc<ViewLayout>,
    pub(super) readers: Arc<Readers>,
    pub(super) body: Body,
    pub(super) indexes: Vec<Overlay>,
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

    /// As [`PublishedView::get`], only these columns; and how many rows there are.
    pub fn get_columns(
        &self,
        store: &dyn Snapshot,
        keys: &[ArrayRef],
        columns: &[usize],
    ) -> Result<(Vec<ArrayRef>, usize)> {
        if keys.len() != self.inner.readers.key.len() {
            return Err(Error::Broken("a lookup by key gives a value for each key column".to_owned()));
        }
        let rows = self.stored_rows(store, keys, keys.first().map_or(1, |column| column.len()))?;
        let rows: Vec<&[u8]> = rows.iter().filter_map(|row| row.as_deref()).collect();
        let codec = &self.inner.readers.rows;
        let columns = columns.iter().map(|column| codec.decode_column(*column, &rows)).collect::<Result<_>>()?;
        Ok((columns, rows.len()))
    }

    /// As [`PublishedView::get`], for one key.
    pub fn get_one(&self, store: &dyn Snapshot, key: &[ScalarValue]) -> Result<RecordBatch> {
        let columns: Result<Vec<_>, _> = key.iter().map(|value| value.to_array_of_size(1)).collect();
        self.get(store, &columns?)
    }

    pub(super) fn decode(&self, rows: Vec<Option<Bytes>>) -> Result<RecordBatch> {
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
    pub(crate) fn stored_rows(
        &self,
        store: &dyn Snapshot,
        keys: &[ArrayRef],
        rows: usize,
    ) -> Result<Vec<Option<Bytes>>> {
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
    pub(super) fn rows_at(&self, store: &dyn Snapshot, keys: &[Vec<u8>]) -> Result<Vec<Option<Bytes>>> {
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
        let types =
            keys.types().get(..values.len()).ok_or_else(|| Error::Broken("too many index values".to_owned()))?;
        let mut hashes = Vec::new();
        hash_keys(&values[..1], 1, &mut hashes);
        let encoded = KeyEncoder::new(types.to_vec())?.encode(values, 1)?;
        let prefix = [&[vnode_of(hashes[0])], encoded.key(0)].concat();
        let overlay = &inner.indexes[position];
        match &inner.body {
            Body::Keyed(_) => self.keyed_by_index(store, index, &prefix, overlay),
            Body::Bag(_) => self.bag_by_index(store, index, &prefix, overlay, keys),
            Body::Log(batches) => {
                self.log_by_index(store, index, &prefix, batches, &keys.columns[..values.len()], values)
            }
        }
    }

    fn keyed_by_index(
        &self,
        store: &dyn Snapshot,
        index: StateId,
        prefix: &[u8],
        overlay: &Overlay,
    ) -> Result<RecordBatch> {
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
        let mut places: Vec<Vec<u8>> = Vec::new();
        visit_prefix(store, index, prefix, |key, _| places.push(key.to_vec()))?;
        let mut found = vec![self.rows_in_blocks(store, places.iter().map(Vec::as_slice))?];
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

    /// The rows of a log to which index entries with these keys point, block by block.
    pub(super) fn rows_in_blocks<'a>(
        &self,
        store: &dyn Snapshot,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Result<RecordBatch> {
        let mut places: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for (_, place) in keys.filter_map(<[u8]>::split_last_chunk::<12>) {
            let mut wide = [0; 16];
            wide[4..].copy_from_slice(place);
            let place = u128::from_be_bytes(wide);
            places.entry((place >> 32) as u64).or_default().push(place as u32);
        }
        let codec = self.inner.readers.blocks()?;
        let mut found = Vec::with_capacity(places.len());
        for (block, rows) in places {
            let key = full_key(self.inner.layout.state, &block_key(block));
            let bytes = store.get(&key)?.ok_or_else(|| Error::Corrupt(format!("block {block} is missing")))?;
            found.push(codec.decode_rows(&bytes, &UInt32Array::from(rows))?);
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
        Ok(Scan::new(self.clone(), store, columns, schema))
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
            keys.entries_of(&batch, index.state, &inner.readers, &inner.layout.form, (block, 0), &mut changes)?;
            block += 1;
            emit(changes)?;
        }
        Ok(())
    }
}

/// Visits the entries of a state whose key (behind the state's number) begins with `prefix`.
fn visit_prefix(
    store: &dyn Snapshot,
    state: StateId,
    prefix: &[u8],
    mut visit: impl FnMut(&[u8], &[u8]),
) -> Result<()> {
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
pub(super) fn typed(columns: Vec<ArrayRef>, schema: &SchemaRef) -> Result<Vec<ArrayRef>> {
    let cast = |(column, field): (ArrayRef, &Arc<arrow::datatypes::Field>)| {
        if column.data_type() == field.data_type() {
            return Ok(column);
        }
        Ok(arrow::compute::cast(&column, field.data_type())?)
    };
    columns.into_iter().zip(schema.fields()).map(cast).collect()
}

/// Each row as often as its count says.
pub(super) fn repeat(batch: RecordBatch, counts: &[i64]) -> Result<RecordBatch> {
    if counts.iter().all(|count| *count == 1) {
        return Ok(batch);
    }
    let copies = |(row, count): (usize, &i64)| std::iter::repeat_n(row as u32, usize::try_from(*count).unwrap_or(0));
    let rows: UInt32Array = counts.iter().enumerate().flat_map(copies).collect::<Vec<_>>().into();
    Ok(Delta::inserts(batch).take(&rows)?.batch().clone())
}
