//! The topic that the simulated source reads: what stands at an offset is a function of the seed.
//!
//! Some offsets hold nothing (a transaction's marker, a record that compaction took), some a record that can't be decoded.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use connectors::{DeadLetter, PartitionId, SourceBatch};
use delta::Delta;

use super::random;

/// Partitions of the topic.
pub(super) const PARTITIONS: PartitionId = 3;

/// Different values of `k`.
pub(super) const KEYS: u64 = 9;

/// The event time of the first records, microseconds since 1970.
const FIRST_US: i64 = 1_700_000_000_000_000;

/// A row of the topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) k: i64,
    pub(super) v: i64,
    pub(super) at_us: i64,
}

/// What stands at an offset.
pub(super) enum Record {
    Row(Row),
    Bad,
    Nothing,
}

/// The contents of all partitions, without an end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Topic {
    pub(super) seed: u64,
}

impl Topic {
    pub(super) fn record(self, partition: PartitionId, offset: i64) -> Record {
        let drawn = random::at(self.seed, &[partition as u64, offset as u64]);
        match drawn % 20 {
            0 => Record::Bad,
            1 | 2 => Record::Nothing,
            _ => {
                // Time goes on by 400 ms a record, and some records are up to 12 seconds late.
                let behind = if drawn >> 8 & 7 == 0 { (drawn >> 16) % 12_000_000 } else { (drawn >> 16) % 1_500_000 };
                Record::Row(Row {
                    k: ((drawn >> 40) % KEYS) as i64,
                    v: ((drawn >> 48) % 100) as i64,
                    at_us: FIRST_US + offset * 400_000 - behind as i64,
                })
            }
        }
    }

    /// The rows of `from..to` in a partition.
    pub(super) fn rows(self, partition: PartitionId, from: i64, to: i64) -> impl Iterator<Item = Row> {
        (from..to).filter_map(move |offset| match self.record(partition, offset) {
            Record::Row(row) => Some(row),
            Record::Bad | Record::Nothing => None,
        })
    }

    /// The offsets in `from..to` of records that can't be decoded.
    pub(super) fn bad(self, partition: PartitionId, from: i64, to: i64) -> impl Iterator<Item = i64> {
        (from..to).filter(move |offset| matches!(self.record(partition, *offset), Record::Bad))
    }

    /// As a source hands it over.
    pub(super) fn batch(
        self,
        schema: &SchemaRef,
        partition: PartitionId,
        from: i64,
        to: i64,
        now: std::time::Instant,
    ) -> SourceBatch {
        let rows: Vec<Row> = self.rows(partition, from, to).collect();
        let times = rows.iter().map(|row| row.at_us);
        let batch = RecordBatch::try_new(
            schema.clone(),
            vec![
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.k))),
                Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.v))),
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone_opt(zone(schema))),
            ],
        );
        let letter = |offset| DeadLetter {
            partition,
            offset,
            key: None,
            payload: Some(Bytes::from_static(b"{")),
            reason: "it is no JSON".to_owned(),
            timestamp_ms: None,
        };
        SourceBatch {
            partition,
            first_offset: from,
            next_offset: to,
            delta: Delta::inserts(batch.expect("rows of the source")),
            dead_letters: self.bad(partition, from, to).map(letter).collect(),
            bytes: (to - from) as u64,
            created_ms: None,
            arrived: now,
        }
    }
}

fn zone(schema: &SchemaRef) -> Option<Arc<str>> {
    match schema.field(2).data_type() {
        arrow::datatypes::DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    }
}
