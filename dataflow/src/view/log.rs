//! Rows that are never taken away, in [blocks](super::block) of some thousand.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use imbl::Vector;
use storage::ChangeSet;

use super::block::BLOCK_ROWS;
use super::reader::Readers;
use super::{Head, ViewLayout, full_key};
use crate::Result;
use crate::exchange::map_each;

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
        let first_block = head.next_block - u64::from(tail.is_some());
        head.next_block = first_block + batches.len() as u64;
        let numbered: Vec<(u64, RecordBatch)> = (first_block..).zip(batches).collect();
        let key = |number: u64| full_key(layout.state, &block_key(number));
        let blocks = map_each(workers, rows, &numbered, |(number, batch)| codec.encode(&key(*number), batch))?;
        let key_len = key(first_block).len();
        self.tail = match (numbered.last(), blocks.last()) {
            (Some((_, last)), Some(block)) if last.num_rows() < BLOCK_ROWS / 2 => {
                Some(codec.decode(&block[key_len..], None)?)
            }
            _ => None,
        };
        for ((number, batch), block) in numbered.iter().zip(blocks) {
            let number = *number;
            changes.put_joined(block, key_len);
            let skipped = if number == first_block { written } else { 0 };
            for (keys, index) in readers.indexes.iter().zip(&layout.indexes) {
                keys.entries_of(batch, index.state, readers, &layout.form, (number, skipped), changes)?;
            }
        }
        Ok(false)
    }
}
