//! All rows of a relation in batches: those of the store that the overlay says nothing of, then those of the overlay.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use delta::{SHARDS, shard_of};
use imbl::Vector;
use storage::{Snapshot, Visit};

use super::materialize::stored_count;
use super::overlay::Overlay;
use super::reader::{Body, PublishedView, repeat, typed};
use super::{HEAD_KEY, full_key};
use crate::Result;

/// Rows of a batch that a scan yields.
const SCAN_ROWS: usize = 8192;
/// Bytes of rows after which a batch ends early: rows may be large.
const SCAN_BYTES: usize = 8 << 20;

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
    Store {
        next: Vec<u8>,
    },
    /// In the overlay.
    Overlay {
        shard: usize,
        layer: usize,
        position: usize,
    },
    /// In a log's batches that aren't written yet.
    Pending {
        position: usize,
    },
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
    pub(super) fn new(view: PublishedView, store: Arc<dyn Snapshot>, columns: Vec<usize>, schema: SchemaRef) -> Self {
        let next = view.inner.layout.state.0.to_be_bytes().to_vec();
        Self { view, store, columns, schema, place: Place::Store { next } }
    }

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
