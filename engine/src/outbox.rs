//! What a sink still has to emit, kept in the store from the epoch's own commit until the sink has confirmed it.
//!
//! Key: `[state][vnode 0][epoch: u64 BE][part: u32 BE]`; value: `[checksum of what follows: u32]`, then one Arrow IPC stream of the epoch's rows with their weights behind them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use connectors::SinkRow;
use delta::{Delta, Epoch};
use storage::{ChangeSet, Snapshot, StateId, Visit, checksum, vnode_prefix};

use crate::coordinator::storage_error;
use crate::planted::{Bug, is_planted};
use crate::{Error, Result};

/// The epoch thread's end of an outbox.
pub(crate) struct Outbox {
    state: StateId,
    /// Entries that are in the store or on their way: epoch, part, bytes.
    entries: VecDeque<(Epoch, u32, usize)>,
    bytes: usize,
    /// What is added is known to the sink already, and is left out.
    held: bool,
    /// Set by the sink's thread.
    delivered: Arc<AtomicU64>,
}

impl Outbox {
    /// The outbox of a sink with what the store has of it.
    pub(crate) fn open(state: StateId, snapshot: &Arc<dyn Snapshot>) -> Result<Self> {
        let mut outbox =
            Self { state, entries: VecDeque::new(), bytes: 0, held: false, delivered: Arc::new(AtomicU64::new(0)) };
        let (start, end) = range(state, Epoch(0));
        snapshot
            .scan(&start, &end, &mut |key, value| {
                if let Some((epoch, part)) = parse_key(key) {
                    outbox.entries.push_back((epoch, part, value.len()));
                    outbox.bytes += value.len();
                }
                Visit::Continue
            })
            .map_err(storage_error)?;
        Ok(outbox)
    }

    /// Where the sink's thread says up to which epoch it has delivered.
    pub(crate) fn delivered(&self) -> Arc<AtomicU64> {
        self.delivered.clone()
    }

    /// Leaves out what is added from now on, or no longer.
    pub(crate) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Whether it does.
    #[cfg(test)]
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Adds what an epoch changed; `inputs` says how far sources had been read by then.
    pub(crate) fn add(&mut self, epoch: Epoch, delta: &Delta, inputs: &str, changes: &mut ChangeSet) -> Result<()> {
        if self.held {
            return Ok(());
        }
        let part = match self.entries.back() {
            Some((last, part, _)) if *last == epoch => part + 1,
            _ => 0,
        };
        let value = encode(delta, inputs)?;
        changes.put(&key(self.state, epoch, part), &value);
        self.entries.push_back((epoch, part, value.len()));
        self.bytes += value.len();
        Ok(())
    }

    /// Deletes what the sink has confirmed.
    pub(crate) fn forget_delivered(&mut self, changes: &mut ChangeSet) {
        let delivered = Epoch(self.delivered.load(Ordering::Acquire));
        while let Some((epoch, part, bytes)) = self.entries.front().copied() {
            if epoch > delivered {
                break;
            }
            if !is_planted(Bug::OutboxNotDeleted) {
                changes.delete(&key(self.state, epoch, part));
            }
            self.bytes -= bytes;
            self.entries.pop_front();
        }
    }

    /// Whether the store still has what the sink has confirmed.
    pub(crate) fn has_delivered(&self) -> bool {
        let delivered = Epoch(self.delivered.load(Ordering::Acquire));
        self.entries.front().is_some_and(|(epoch, ..)| *epoch <= delivered)
    }

    /// Bytes that wait for the sink, compressed.
    pub(crate) fn bytes(&self) -> usize {
        let delivered = Epoch(self.delivered.load(Ordering::Acquire));
        let confirmed = self.entries.iter().take_while(|(epoch, ..)| *epoch <= delivered);
        self.bytes - confirmed.map(|(.., bytes)| bytes).sum::<usize>()
    }
}

/// Reads entries behind `after`, at most `up_to`, until `bytes` are reached: whole epochs only.
pub(crate) fn read(
    state: StateId,
    after: Epoch,
    up_to: Epoch,
    bytes: usize,
    snapshot: &Arc<dyn Snapshot>,
) -> Result<Vec<SinkRow>> {
    let (start, end) = range(state, after.next());
    let mut raw: Vec<(Epoch, Vec<u8>)> = Vec::new();
    let mut size = 0;
    snapshot
        .scan(&start, &end, &mut |key, value| {
            let Some((epoch, _)) = parse_key(key) else { return Visit::Continue };
            let begins = raw.last().is_none_or(|(last, _)| *last != epoch);
            if epoch > up_to || (begins && size >= bytes) {
                return Visit::Stop;
            }
            size += value.len();
            raw.push((epoch, value.to_vec()));
            Visit::Continue
        })
        .map_err(storage_error)?;
    let row = |(epoch, value): (Epoch, Vec<u8>)| {
        let (delta, inputs) = decode(&value)?;
        Ok(SinkRow { epoch, inputs: inputs.into(), delta })
    };
    raw.into_iter().map(row).collect()
}

fn key(state: StateId, epoch: Epoch, part: u32) -> Vec<u8> {
    let mut key = vnode_prefix(state, 0).to_vec();
    key.extend_from_slice(&epoch.0.to_be_bytes());
    key.extend_from_slice(&part.to_be_bytes());
    key
}

fn range(state: StateId, from: Epoch) -> (Vec<u8>, Vec<u8>) {
    (key(state, from, 0), vnode_prefix(state, 1).to_vec())
}

fn parse_key(key: &[u8]) -> Option<(Epoch, u32)> {
    let epoch = u64::from_be_bytes(key.get(5..13)?.try_into().ok()?);
    let part = u32::from_be_bytes(key.get(13..17)?.try_into().ok()?);
    Some((Epoch(epoch), part))
}

const WEIGHT: &str = "weight";

/// In the metadata of the schema: how far sources had been read.
const INPUTS: &str = "inputs";

/// Rows with their weights as a last column, as one Arrow IPC stream, compressed with LZ4.
pub(crate) fn encode(delta: &Delta, inputs: &str) -> Result<Vec<u8>> {
    let schema = with_weight(&delta.schema(), inputs);
    let mut columns = delta.batch().columns().to_vec();
    let weights: ArrayRef = match delta.weights() {
        Some(weights) => Arc::new(weights.clone()),
        None => Arc::new(Int64Array::from_value(1, delta.num_rows())),
    };
    columns.push(weights);
    let write = || -> Result<Vec<u8>, arrow::error::ArrowError> {
        let batch = RecordBatch::try_new(schema.clone(), columns)?;
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options)?;
        writer.write(&batch)?;
        writer.into_inner()
    };
    let stream = write().map_err(|e| Error::internal(format!("changes can't be written to an outbox: {e}")))?;
    Ok([&checksum(&stream).to_le_bytes()[..], &stream].concat())
}

fn with_weight(schema: &SchemaRef, inputs: &str) -> SchemaRef {
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(WEIGHT, DataType::Int64, false)));
    Arc::new(Schema::new_with_metadata(fields, HashMap::from([(INPUTS.to_owned(), inputs.to_owned())])))
}

/// The opposite of [`encode`].
pub(crate) fn decode(bytes: &[u8]) -> Result<(Delta, String)> {
    let damaged =
        |what: String| Error::new(crate::ErrorKind::Storage, format!("an outbox entry can't be read: {what}"));
    let (sum, stream) = bytes.split_first_chunk().ok_or_else(|| damaged("it is too short".to_owned()))?;
    // Arrow and its decompression trust what they are given.
    if checksum(stream) != u32::from_le_bytes(*sum) {
        return Err(damaged("its checksum is another".to_owned()));
    }
    let mut reader = StreamReader::try_new(stream, None).map_err(|e| damaged(e.to_string()))?;
    let batch = reader.next().ok_or_else(|| damaged("it is empty".to_owned()))?.map_err(|e| damaged(e.to_string()))?;
    let last = batch.num_columns().checked_sub(1).ok_or_else(|| damaged("it has no columns".to_owned()))?;
    let weights = batch.column(last).as_any().downcast_ref::<Int64Array>();
    let weights = weights.ok_or_else(|| damaged("it has no weights".to_owned()))?.clone();
    let rows = batch.project(&(0..last).collect::<Vec<_>>()).map_err(|e| damaged(e.to_string()))?;
    let inputs = batch.schema().metadata().get(INPUTS).cloned().unwrap_or_default();
    // Without the metadata, which belong to the entry and not to its rows.
    let schema = Arc::new(Schema::new(rows.schema().fields().clone()));
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(schema, rows.columns().to_vec(), &options);
    let rows = rows.map_err(|e| damaged(e.to_string()))?;
    Ok((Delta::new(rows, Some(weights)), inputs))
}

#[cfg(test)]
mod tests {
    use storage::{Durability, MemoryStore, Store};

    use super::*;

    fn delta(values: Vec<i64>, weights: Vec<i64>) -> Delta {
        let schema = Schema::new(vec![Field::new("x", DataType::Int64, true)]);
        let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(Int64Array::from(values))]);
        Delta::new(rows.expect("one column of one type"), Some(Int64Array::from(weights)))
    }

    #[test]
    fn whole_epochs_come_back_in_order_until_they_are_delivered() {
        let store = MemoryStore::default();
        let snapshot = store.snapshot().expect("memory");
        let mut outbox = Outbox::open(StateId(7), &snapshot).expect("empty");
        let mut changes = ChangeSet::new();
        outbox.add(Epoch(3), &delta(vec![1, 2], vec![1, -1]), "{}", &mut changes).expect("encodes");
        outbox.add(Epoch(3), &delta(vec![3], vec![2]), "{}", &mut changes).expect("encodes");
        outbox.add(Epoch(9), &delta(vec![4], vec![1]), "{}", &mut changes).expect("encodes");
        store.commit(changes, Durability::Disk).expect("memory");
        let snapshot = store.snapshot().expect("memory");
        let epochs = |after, up_to, bytes| -> Vec<(u64, usize)> {
            let read = read(StateId(7), Epoch(after), Epoch(up_to), bytes, &snapshot).expect("reads");
            read.iter().map(|row| (row.epoch.0, row.delta.num_rows())).collect()
        };
        assert_eq!(epochs(0, 100, usize::MAX), [(3, 2), (3, 1), (9, 1)]);
        assert_eq!(epochs(0, 100, 1), [(3, 2), (3, 1)], "an epoch is never taken apart");
        assert_eq!(epochs(3, 8, usize::MAX), []);
        let mut again = Outbox::open(StateId(7), &snapshot).expect("reads");
        assert_eq!(again.bytes(), outbox.bytes());
        again.delivered().store(3, Ordering::Release);
        assert!(
            again.has_delivered() && again.bytes() > 0 && again.bytes() < outbox.bytes(),
            "what is out doesn't wait"
        );
        let mut changes = ChangeSet::new();
        again.forget_delivered(&mut changes);
        assert_eq!(changes.len(), 2);
        assert!(!again.has_delivered());
    }

    proptest::proptest! {
        #[test]
        fn whatever_bytes_an_entry_has_it_is_changes_or_an_error(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            assert!(decode(&bytes).is_err());
            let _ = parse_key(&bytes);
        }
    }

    #[test]
    fn damaged_entries_are_no_changes() {
        let whole = encode(&delta(vec![1, 2, 3], vec![1, -1, 1]), "{}").expect("encodes");
        assert_eq!(decode(&whole).expect("reads").0.num_rows(), 3);
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert!(decode(&damaged).is_err() && decode(&whole[..at]).is_err(), "byte {at}");
        }
    }
}
