//! Keeps a relation's stored rows: an epoch's changes go into the overlay, a checkpoint comes out.
//!
//! - Rule: contents += changes. A retraction removes the row's entry, or lowers its count.
//! - State: the entries themselves (see [`crate::view`]); in memory only what the last committed checkpoint doesn't have.
//!
//! Rows are placed by the hash of their key, so shards work in parallel.

use std::convert::Infallible;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};
use delta::{Delta, Part, SHARDS, consolidate, vnode_of};
use storage::{ChangeSet, Snapshot, StateId};

use super::log::Log;
use super::overlay::Overlay;
use super::reader::{Body, PublishedView, Readers};
use super::run::{Rule, Run, number};
use super::{Head, ViewForm, ViewLayout, full_key};
use crate::exchange::{checkpoint_shards, exchange, for_shards, is_parallel, rows_of};
use crate::operator::StepContext;
use crate::state::KeyEncoder;
use crate::state::keys::hash_keys;
use crate::{Error, Result};

/// The rows of one relation.
pub struct Materialize {
    layout: Arc<ViewLayout>,
    readers: Arc<Readers>,
    /// Changes come so that, taken one after the other, each takes away the row that is there under its key before another is added.
    in_order: bool,
    body: Contents,
    indexes: Vec<Overlay>,
    /// Change of the row count since the last checkpoint, and by a checkpoint that isn't committed.
    rows: i64,
    flushing_rows: i64,
    /// What readers get; made anew when something changed.
    published: Option<PublishedView>,
}

enum Contents {
    Keyed(Vec<Overlay>),
    Bag(Vec<Overlay>),
    Log(Log),
}

/// What a shard makes of an epoch.
struct ShardRuns {
    shard: usize,
    rows: Run,
    indexes: Vec<Run>,
}

impl Materialize {
    /// An empty relation, or one whose rows are in the store already.
    ///
    /// `in_order` says that changes of one key come in an order in which they can be applied one by one; otherwise they are
    /// added up first.
    pub fn new(schema: SchemaRef, layout: ViewLayout, in_order: bool) -> Result<Self> {
        let rule = if layout.form == ViewForm::Bag { Rule::Add } else { Rule::Replace };
        let shards = || (0..SHARDS).map(|_| Overlay::new(rule)).collect();
        let body = match layout.form {
            ViewForm::Keyed { .. } => Contents::Keyed(shards()),
            ViewForm::Bag => Contents::Bag(shards()),
            ViewForm::Log => Contents::Log(Log::default()),
        };
        let indexes = layout.indexes.iter().map(|_| Overlay::new(rule)).collect();
        let readers = Arc::new(Readers::new(schema, &layout)?);
        Ok(Self {
            layout: Arc::new(layout),
            readers,
            in_order,
            body,
            indexes,
            rows: 0,
            flushing_rows: 0,
            published: None,
        })
    }

    /// How it is stored.
    pub fn layout(&self) -> &ViewLayout {
        &self.layout
    }

    /// Takes an epoch's changes in.
    pub fn apply(&mut self, context: &StepContext<'_>, deltas: &[Delta]) -> Result<()> {
        let change: i64 = deltas.iter().map(total).sum();
        if deltas.iter().all(Delta::is_empty) {
            return Ok(());
        }
        match &mut self.body {
            Contents::Log(log) => {
                for delta in deltas.iter().filter(|d| !d.is_empty()) {
                    log.pending.push_back(repeated(delta)?);
                }
            }
            Contents::Keyed(_) | Contents::Bag(_) => self.apply_by_key(context, deltas)?,
        }
        self.rows += change;
        self.published = None;
        Ok(())
    }

    fn apply_by_key(&mut self, context: &StepContext<'_>, deltas: &[Delta]) -> Result<()> {
        let readers = &self.readers;
        let parts = exchange(context.workers, deltas, |delta| {
            let mut hashes = Vec::new();
            hash_keys(&readers.key_columns(delta.batch()), delta.num_rows(), &mut hashes);
            Ok((delta.clone(), hashes))
        })?;
        let parallel = is_parallel(context.workers, rows_of(&parts));
        let in_order = self.in_order;
        let (overlays, keyed) = match &mut self.body {
            Contents::Keyed(overlays) => (overlays, true),
            Contents::Bag(overlays) => (overlays, false),
            Contents::Log(_) => return Ok(()),
        };
        let indexes = &self.layout.indexes;
        let work = |overlay: &mut Overlay, parts: Vec<Part>| -> Result<ShardRuns> {
            let shard = parts[0].shard;
            let parts = if keyed && !in_order { added_up(parts)? } else { parts };
            let rows = parts.iter().map(|p| p.delta.num_rows()).sum();
            let mut runs = ShardRuns {
                shard,
                rows: Run::with_capacity(rows),
                indexes: indexes.iter().map(|_| Run::with_capacity(rows)).collect(),
            };
            for part in &parts {
                if keyed { readers.put_keyed(part, &mut runs)? } else { readers.put_bag(part, &mut runs)? }
            }
            overlay.push(std::mem::take(&mut runs.rows));
            Ok(runs)
        };
        let shards = for_shards(context.workers, parallel, overlays, parts, |p| !p.is_empty(), work)?;
        debug_assert!(shards.is_sorted_by_key(|runs| runs.shard));
        let rule = if keyed { Rule::Replace } else { Rule::Add };
        for (index, overlay) in self.indexes.iter_mut().enumerate() {
            let mut all = Run::default();
            for runs in &shards {
                all.absorb(&runs.indexes[index], rule);
            }
            overlay.push(all);
        }
        Ok(())
    }

    /// Adds what changed since the last call. `store` must contain the checkpoint before this one.
    pub fn checkpoint(
        &mut self,
        workers: &rayon::ThreadPool,
        store: &dyn Snapshot,
        changes: &mut ChangeSet,
    ) -> Result<()> {
        let state = self.layout.state;
        let mut head = Head::read(state, store)?;
        let nothing = match &mut self.body {
            Contents::Keyed(overlays) | Contents::Bag(overlays) => {
                let changed: usize = overlays.iter().map(Overlay::unflushed).sum();
                checkpoint_shards(workers, overlays, changed, changes, |overlay, changes| {
                    write(state, overlay, store, changes)
                })?;
                changed == 0
            }
            Contents::Log(log) => log.checkpoint(workers, &self.layout, &self.readers, &mut head, changes)?,
        };
        for (overlay, index) in self.indexes.iter_mut().zip(&self.layout.indexes) {
            write(index.state, overlay, store, changes)?;
        }
        if !nothing {
            head.rows += self.rows;
            head.write(state, changes);
            self.published = None;
        }
        self.flushing_rows = std::mem::take(&mut self.rows);
        Ok(())
    }

    /// The last checkpoint is in the store: readers find there what it wrote. Returns whether it wrote anything.
    pub fn committed(&mut self) -> bool {
        let mut written = match &mut self.body {
            Contents::Keyed(overlays) | Contents::Bag(overlays) => committed(overlays),
            Contents::Log(log) => !std::mem::take(&mut log.flushing).is_empty(),
        };
        written |= committed(&mut self.indexes);
        if written {
            self.flushing_rows = 0;
            self.published = None;
        }
        written
    }

    /// The relation as of the last step, to be read with the snapshot of the last committed checkpoint.
    pub fn published(&mut self) -> PublishedView {
        let view = self.published.take().unwrap_or_else(|| {
            let body = match &self.body {
                Contents::Keyed(overlays) => Body::Keyed(overlays.clone()),
                Contents::Bag(overlays) => Body::Bag(overlays.clone()),
                Contents::Log(log) => {
                    let mut batches = log.flushing.clone();
                    batches.append(log.pending.clone());
                    Body::Log(batches)
                }
            };
            let rows = self.rows + self.flushing_rows;
            PublishedView::new(self.layout.clone(), self.readers.clone(), body, self.indexes.clone(), rows)
        });
        self.published = Some(view.clone());
        view
    }

    /// Begins to keep an index. The relation must have no unwritten change: the caller fills the index's state table from
    /// the store ([`PublishedView::index_entries`]) in the same commit that makes the index known.
    ///
    /// # Errors
    /// If there are unwritten changes, or a column has no order.
    pub fn add_index(&mut self, index: super::IndexLayout) -> Result<()> {
        if !self.is_clean() {
            return Err(Error::Broken("an index is added between a committed checkpoint and the next step".to_owned()));
        }
        let mut layout = ViewLayout::clone(&self.layout);
        layout.indexes.push(index);
        self.readers = Arc::new(Readers::new(self.readers.schema.clone(), &layout)?);
        let rule = if layout.form == ViewForm::Bag { Rule::Add } else { Rule::Replace };
        self.indexes.push(Overlay::new(rule));
        self.layout = Arc::new(layout);
        self.published = None;
        Ok(())
    }

    /// Stops keeping an index; its state table is the caller's to clear.
    pub fn drop_index(&mut self, state: StateId) -> Result<()> {
        let mut layout = ViewLayout::clone(&self.layout);
        let Some(position) = layout.indexes.iter().position(|index| index.state == state) else { return Ok(()) };
        layout.indexes.remove(position);
        self.indexes.remove(position);
        self.readers = Arc::new(Readers::new(self.readers.schema.clone(), &layout)?);
        self.layout = Arc::new(layout);
        self.published = None;
        Ok(())
    }

    /// Whether the store holds everything.
    pub fn is_clean(&self) -> bool {
        let body = match &self.body {
            Contents::Keyed(overlays) | Contents::Bag(overlays) => overlays.iter().all(Overlay::is_empty),
            Contents::Log(log) => log.pending.is_empty() && log.flushing.is_empty(),
        };
        body && self.indexes.iter().all(Overlay::is_empty)
    }

    /// Memory held by changes that the next checkpoint writes, in bytes.
    pub fn unwritten_bytes(&self) -> usize {
        let body: usize = match &self.body {
            Contents::Keyed(overlays) | Contents::Bag(overlays) => overlays.iter().map(Overlay::unflushed_bytes).sum(),
            Contents::Log(log) => log.pending.iter().map(batch_bytes).sum(),
        };
        body + self.indexes.iter().map(Overlay::unflushed_bytes).sum::<usize>()
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        let body: usize = match &self.body {
            Contents::Keyed(overlays) | Contents::Bag(overlays) => overlays.iter().map(Overlay::byte_size).sum(),
            Contents::Log(log) => log.pending.iter().chain(&log.flushing).map(batch_bytes).sum(),
        };
        body + self.indexes.iter().map(Overlay::byte_size).sum::<usize>()
    }
}

/// Lets go what is in the store now; whether there was any.
fn committed(overlays: &mut [Overlay]) -> bool {
    overlays.iter_mut().fold(false, |written, overlay| overlay.committed() | written)
}

/// An estimate of the bytes of a batch's rows: slices of one buffer don't count the whole of it.
fn batch_bytes(batch: &RecordBatch) -> usize {
    let width = |field: &arrow::datatypes::FieldRef| field.data_type().primitive_width().unwrap_or(24);
    batch.num_rows() * batch.schema_ref().fields().iter().map(width).sum::<usize>()
}

/// By how much a delta changes the number of rows.
fn total(delta: &Delta) -> i64 {
    match delta.weights() {
        None => delta.num_rows() as i64,
        Some(weights) => weights.values().iter().sum(),
    }
}

/// The rows of a delta as often as they are added.
fn repeated(delta: &Delta) -> Result<RecordBatch> {
    let Some(weights) = delta.weights() else { return Ok(delta.batch().clone()) };
    if weights.values().iter().any(|w| *w < 0) {
        return Err(Error::Broken("a row was taken away from a relation that only grows".to_owned()));
    }
    let copies = |(row, weight): (usize, &i64)| std::iter::repeat_n(row as u32, *weight as usize);
    let rows: UInt32Array = weights.values().iter().enumerate().flat_map(copies).collect::<Vec<_>>().into();
    Ok(Delta::inserts(delta.batch().clone()).take(&rows)?.batch().clone())
}

/// One part in which each row is there once, and what is taken away stands before what is added.
fn added_up(parts: Vec<Part>) -> Result<Vec<Part>> {
    if parts.iter().all(|part| part.delta.weights().is_none()) {
        return Ok(parts);
    }
    let shard = parts[0].shard;
    let deltas: Vec<Delta> = parts.into_iter().map(|part| part.delta).collect();
    let sum = consolidate(&Delta::concat(&deltas[0].schema(), &deltas)?)?;
    let (mut order, mut added) = (Vec::with_capacity(sum.num_rows()), Vec::new());
    for row in 0..sum.num_rows() as u32 {
        if sum.weight(row as usize) < 0 { order.push(row) } else { added.push(row) }
    }
    order.append(&mut added);
    let delta = sum.take(&UInt32Array::from(order))?;
    // Hashes are made anew where they are needed: the rows have moved.
    Ok(vec![Part { shard, delta, hashes: vec![].into() }])
}

impl Readers {
    /// The columns by which rows are placed.
    pub(crate) fn key_columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        self.key.iter().map(|c| batch.column(*c).clone()).collect()
    }

    fn put_keyed(&self, part: &Part, runs: &mut ShardRuns) -> Result<()> {
        let batch = part.delta.batch();
        let (keys, hashes) = self.keys_of(part)?;
        let added = part.delta.weights().map(added_rows);
        let rows = match &added {
            None => self.rows.encode(batch.columns(), batch.num_rows())?,
            Some(added) => {
                let added = part.delta.take(added)?;
                self.rows.encode(added.batch().columns(), added.num_rows())?
            }
        };
        let mut key = Vec::new();
        let mut next = 0;
        for (row, hash) in hashes.iter().enumerate() {
            key.clear();
            key.push(vnode_of(*hash));
            key.extend_from_slice(keys.key(row));
            if part.delta.weight(row) > 0 {
                runs.rows.set(&key, Some(rows.row(next)));
                next += 1;
            } else {
                runs.rows.set(&key, None);
            }
        }
        for (index, run) in self.indexes.iter().zip(&mut runs.indexes) {
            let (prefix, prefix_hashes) = index.keys_of(batch)?;
            let mut entry = Vec::new();
            for (row, hash) in prefix_hashes.iter().enumerate() {
                entry.clear();
                entry.push(vnode_of(*hash));
                entry.extend_from_slice(prefix.key(row));
                entry.extend_from_slice(keys.key(row));
                key.clear();
                key.push(vnode_of(hashes[row]));
                key.extend_from_slice(keys.key(row));
                run.set(&entry, (part.delta.weight(row) > 0).then_some(&key[..]));
            }
        }
        Ok(())
    }

    fn put_bag(&self, part: &Part, runs: &mut ShardRuns) -> Result<()> {
        let batch = part.delta.batch();
        let (keys, hashes) = self.keys_of(part)?;
        let mut key = Vec::new();
        for (row, hash) in hashes.iter().enumerate() {
            key.clear();
            key.push(vnode_of(*hash));
            key.extend_from_slice(keys.key(row));
            runs.rows.add(&key, part.delta.weight(row));
        }
        for (index, run) in self.indexes.iter().zip(&mut runs.indexes) {
            let (prefix, prefix_hashes) = index.keys_of(batch)?;
            for (row, hash) in prefix_hashes.iter().enumerate() {
                key.clear();
                key.push(vnode_of(*hash));
                key.extend_from_slice(prefix.key(row));
                key.extend_from_slice(keys.key(row));
                run.add(&key, part.delta.weight(row));
            }
        }
        Ok(())
    }

    fn keys_of(&self, part: &Part) -> Result<(crate::state::keys::EncodedKeys, Vec<u64>)> {
        let batch = part.delta.batch();
        let columns = self.key_columns(batch);
        let keys = self.key_encoder.encode(&columns, batch.num_rows())?;
        let mut hashes = part.hashes.to_vec();
        if hashes.len() != batch.num_rows() {
            hash_keys(&columns, batch.num_rows(), &mut hashes);
        }
        Ok((keys, hashes))
    }
}

/// Positions of rows with a positive weight.
fn added_rows(weights: &Int64Array) -> UInt32Array {
    let added = weights.values().iter().enumerate().filter(|(_, w)| **w > 0).map(|(row, _)| row as u32);
    added.collect::<Vec<_>>().into()
}

/// Writes what an overlay has over the store.
fn write(state: StateId, overlay: &mut Overlay, store: &dyn Snapshot, changes: &mut ChangeSet) -> Result<()> {
    match overlay.rule() {
        Rule::Replace => {
            write_replaced(state, overlay, changes);
            Ok(())
        }
        Rule::Add => write_added(state, overlay, store, changes),
    }
}

fn write_replaced(state: StateId, overlay: &mut Overlay, changes: &mut ChangeSet) {
    let state = state.0.to_be_bytes();
    let Ok(()) = overlay.flush(|key, value| -> Result<(), Infallible> {
        match value {
            Some(value) => changes.put_parts(&[&state, key], value),
            None => changes.delete_parts(&[&state, key]),
        }
        Ok(())
    });
}

/// Counts that grew are appended without a look; ones that shrank are read, so that a row that is gone leaves nothing behind.
fn write_added(state: StateId, overlay: &mut Overlay, store: &dyn Snapshot, changes: &mut ChangeSet) -> Result<()> {
    let prefix = state.0.to_be_bytes();
    let mut shrunk: Vec<(Vec<u8>, i64)> = Vec::new();
    let Ok(()) = overlay.flush(|key, value| -> Result<(), Infallible> {
        match value.map_or(0, number) {
            0 => {}
            change if change > 0 => changes.append_parts(&[&prefix, key], &change.to_le_bytes()),
            change => shrunk.push((full_key(state, key), change)),
        }
        Ok(())
    });
    shrunk.sort_unstable();
    let keys: Vec<&[u8]> = shrunk.iter().map(|(key, _)| key.as_slice()).collect();
    for ((key, change), stored) in shrunk.iter().zip(store.multi_get(&keys)?) {
        let count = stored.map_or(0, |value| stored_count(&value)) + change;
        match count {
            0 => changes.delete(key),
            count if count > 0 => changes.put(key, &count.to_le_bytes()),
            _ => return Err(Error::Broken("a row was taken away that isn't there".to_owned())),
        }
    }
    Ok(())
}

/// The count that a bag's stored value stands for.
pub(crate) fn stored_count(value: &[u8]) -> i64 {
    value.chunks_exact(8).map(number).sum()
}

/// Encodes the columns of an index.
#[derive(Debug)]
pub(crate) struct IndexKeys {
    pub(crate) columns: Vec<usize>,
    encoder: KeyEncoder,
}

impl IndexKeys {
    pub(crate) fn new(schema: &SchemaRef, columns: &[usize]) -> Result<Self> {
        if columns.is_empty() {
            return Err(Error::Broken("an index has at least one column".to_owned()));
        }
        Ok(Self { columns: columns.to_vec(), encoder: KeyEncoder::of_columns(schema, columns)? })
    }

    /// Keys of rows, and the hashes that place them.
    fn keys_of(&self, batch: &RecordBatch) -> Result<(crate::state::keys::EncodedKeys, Vec<u64>)> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|c| batch.column(*c).clone()).collect();
        let mut hashes = Vec::new();
        hash_keys(&columns[..1], batch.num_rows(), &mut hashes);
        Ok((self.encoder.encode(&columns, batch.num_rows())?, hashes))
    }

    pub(crate) fn types(&self) -> &[DataType] {
        self.encoder.types()
    }

    /// The entries of rows that are in the store; of a log they are a block: its number, and how many of its rows have entries already.
    pub(crate) fn entries_of(
        &self,
        batch: &RecordBatch,
        state: StateId,
        readers: &Readers,
        form: &ViewForm,
        (block, skipped): (u64, usize),
        changes: &mut ChangeSet,
    ) -> Result<()> {
        let (prefix, hashes) = self.keys_of(batch)?;
        let state = state.0.to_be_bytes();
        let columns = readers.key_columns(batch);
        let mut key_hashes = Vec::new();
        hash_keys(&columns, batch.num_rows(), &mut key_hashes);
        let keys = readers.key_encoder.encode(&columns, batch.num_rows())?;
        for row in skipped..batch.num_rows() {
            let entry: [&[u8]; 3] = [&state, &[vnode_of(hashes[row])], prefix.key(row)];
            match form {
                ViewForm::Keyed { .. } => {
                    let value = [&[vnode_of(key_hashes[row])], keys.key(row)].concat();
                    changes.put_parts(&[entry[0], entry[1], entry[2], keys.key(row)], &value);
                }
                ViewForm::Bag => {
                    changes.append_parts(&[entry[0], entry[1], entry[2], keys.key(row)], &1_i64.to_le_bytes());
                }
                ViewForm::Log => {
                    let place = ((block as u128) << 32 | row as u128).to_be_bytes();
                    changes.put_parts(&[entry[0], entry[1], entry[2], &place[4..]], &[]);
                }
            }
        }
        Ok(())
    }
}
