//! Rows that are never taken away, in blocks of some thousand: Arrow IPC record batches, compressed with LZ4.
//!
//! A block is `[length of the message: u32][message][body]`; the schema isn't stored. Strings are stored with offsets, not as views:
//! a view holds on to the whole buffer that it points into.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::buffer::Buffer;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow::ipc::{CompressionType, MetadataVersion, root_as_message};
use delta::Delta;
use imbl::Vector;
use storage::ChangeSet;

use super::reader::Readers;
use super::{Head, ViewLayout, full_key};
use crate::exchange::map_each;
use crate::{Error, Result};

/// Rows of a full block: enough for compression and for vectors, few enough that one row costs little to read.
pub(crate) const BLOCK_ROWS: usize = 8192;

/// Encodes and decodes blocks of one schema.
#[derive(Debug)]
pub(crate) struct BlockCodec {
    schema: SchemaRef,
    stored: SchemaRef,
    options: IpcWriteOptions,
}

impl BlockCodec {
    pub(crate) fn new(schema: SchemaRef) -> Result<Self> {
        let fields: Vec<_> =
            schema.fields().iter().map(|f| f.as_ref().clone().with_data_type(stored_type(f.data_type()))).collect();
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        Ok(Self { schema, stored: Arc::new(Schema::new(fields)), options })
    }

    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let columns = batch.columns().iter().zip(self.stored.fields());
        let columns: Result<Vec<_>> = columns.map(|(column, field)| Ok(cast(column, field.data_type())?)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(self.stored.clone(), columns?, &options)?;
        let mut dictionaries = DictionaryTracker::new(false);
        let mut context = IpcWriteContext::default();
        let (_, block) = IpcDataGenerator::default().encode(&batch, &mut dictionaries, &self.options, &mut context)?;
        let mut bytes = Vec::with_capacity(4 + block.ipc_message.len() + block.arrow_data.len());
        bytes.extend_from_slice(&(block.ipc_message.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&block.ipc_message);
        bytes.extend_from_slice(&block.arrow_data);
        Ok(bytes)
    }

    /// Decodes a block, or only some of its columns.
    pub(crate) fn decode(&self, bytes: &[u8], projection: Option<&[usize]>) -> Result<RecordBatch> {
        let corrupt = |what: &str| Error::Corrupt(format!("a block of rows: {what}"));
        let (len, rest) = bytes.split_first_chunk().ok_or_else(|| corrupt("too short"))?;
        let (message, body) =
            rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(|| corrupt("too short"))?;
        let message = root_as_message(message).map_err(|error| corrupt(&error.to_string()))?;
        let header = message.header_as_record_batch().ok_or_else(|| corrupt("no record batch"))?;
        let batch = read_record_batch(
            &Buffer::from(body),
            header,
            self.stored.clone(),
            &HashMap::new(),
            projection,
            &MetadataVersion::V5,
        )?;
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let columns = batch.columns().iter().zip(schema.fields());
        let columns: Result<Vec<_>> = columns.map(|(column, field)| Ok(cast(column, field.data_type())?)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(schema, columns?, &options)?)
    }
}

fn stored_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(field) => {
            let element = field.as_ref().clone().with_data_type(stored_type(field.data_type()));
            DataType::List(FieldRef::new(element))
        }
        other => other.clone(),
    }
}

/// Batches of about a block's size with the same rows in the same order.
pub(crate) fn to_blocks<'a>(
    schema: &SchemaRef,
    batches: impl Iterator<Item = &'a RecordBatch>,
) -> Result<Vec<RecordBatch>> {
    let mut blocks = Vec::new();
    let mut small: Vec<&RecordBatch> = Vec::new();
    let mut rows = 0;
    for batch in batches {
        if batch.num_rows() >= BLOCK_ROWS / 2 {
            if rows > 0 {
                blocks.push(concat_batches(schema, small.drain(..))?);
                rows = 0;
            }
            let slice = |start: usize| batch.slice(start, BLOCK_ROWS.min(batch.num_rows() - start));
            blocks.extend((0..batch.num_rows()).step_by(BLOCK_ROWS).map(slice));
            continue;
        }
        small.push(batch);
        rows += batch.num_rows();
        if rows >= BLOCK_ROWS {
            blocks.push(concat_batches(schema, small.drain(..))?);
            rows = 0;
        }
    }
    if rows > 0 {
        blocks.push(concat_batches(schema, small)?);
    }
    Ok(blocks)
}

impl BlockCodec {
    /// Rows of a block at some positions.
    pub(crate) fn decode_rows(&self, bytes: &[u8], rows: &UInt32Array) -> Result<RecordBatch> {
        Ok(Delta::inserts(self.decode(bytes, None)?).take(rows)?.batch().clone())
    }
}

/// The key of a block of a log.
pub(crate) fn block_key(block: u64) -> [u8; 9] {
    let mut key = [0; 9];
    key[1..].copy_from_slice(&block.to_be_bytes());
    key
}

/// Rows that aren't in the store yet.
#[derive(Default)]
pub(super) struct Log {
    pub(super) pending: Vector<RecordBatch>,
    /// In a checkpoint that isn't known to be committed.
    pub(super) flushing: Vector<RecordBatch>,
    /// The last block that was written, while it is small: the next checkpoint makes it larger, so that an idle relation doesn't become
    /// a block per checkpoint. `None` at the start of a process.
    tail: Option<RecordBatch>,
}

impl Log {
    /// Writes what is pending as blocks; says whether there was nothing.
    pub(super) fn checkpoint(
        &mut self,
        workers: &rayon::ThreadPool,
        layout: &ViewLayout,
        readers: &Readers,
        head: &mut Head,
        changes: &mut ChangeSet,
    ) -> Result<bool> {
        self.flushing = std::mem::take(&mut self.pending);
        let Some(first) = self.flushing.front() else { return Ok(true) };
        // A large batch is a block of its own, in front of which a small block stays as it is.
        let tail = self.tail.take().filter(|_| first.num_rows() < BLOCK_ROWS / 2);
        let written = tail.as_ref().map_or(0, RecordBatch::num_rows);
        let batches = to_blocks(&readers.schema, tail.iter().chain(&self.flushing))?;
        let codec = readers.blocks()?;
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let blocks = map_each(workers, rows, &batches, |batch| codec.encode(batch))?;
        let first_block = head.next_block - u64::from(tail.is_some());
        head.next_block = first_block + batches.len() as u64;
        for (number, (batch, block)) in (first_block..).zip(batches.iter().zip(&blocks)) {
            changes.put(&full_key(layout.state, &block_key(number)), block);
            let skipped = if number == first_block { written } else { 0 };
            for (keys, index) in readers.indexes.iter().zip(&layout.indexes) {
                keys.entries_of(batch, index.state, readers, &layout.form, (number, skipped), changes)?;
            }
        }
        self.tail = match batches.last() {
            Some(last) if last.num_rows() < BLOCK_ROWS / 2 => Some(codec.decode(&blocks[blocks.len() - 1], None)?),
            _ => None,
        };
        Ok(false)
    }
}
