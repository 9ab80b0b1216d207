//! The watermark of a source: how far event time has come in all of its partitions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::compute::max;
use arrow::datatypes::TimestampMicrosecondType;
use catalog::Watermark;
use connectors::{PartitionId, SourceBatch};

use crate::planted::{Bug, is_planted};

/// Tracks the largest event time of each partition. The watermark is the least of them less the declared delay; a partition that has been
/// silent for the idle timeout doesn't hold it back. It never goes backwards.
#[derive(Debug)]
pub(crate) struct WatermarkTracker {
    watermark: Watermark,
    idle_timeout: Option<Duration>,
    partitions: BTreeMap<PartitionId, Partition>,
    current_us: Option<i64>,
}

#[derive(Debug)]
struct Partition {
    max_us: Option<i64>,
    heard: Instant,
}

impl WatermarkTracker {
    /// A tracker that goes on from committed values: the watermark and the largest event time of each partition.
    pub(crate) fn new(
        watermark: Watermark,
        idle_timeout: Option<Duration>,
        partitions: impl IntoIterator<Item = PartitionId>,
        saved: Option<&SavedWatermark>,
        now: Instant,
    ) -> Self {
        let mut tracker = Self {
            watermark,
            idle_timeout,
            partitions: partitions.into_iter().map(|id| (id, Partition { max_us: None, heard: now })).collect(),
            current_us: saved.and_then(|saved| saved.watermark_us),
        };
        for (&id, &max_us) in saved.iter().flat_map(|saved| &saved.max_us) {
            tracker.partitions.insert(id, Partition { max_us: Some(max_us), heard: now });
        }
        tracker
    }

    /// Takes the event times of a batch into account.
    pub(crate) fn observe(&mut self, batch: &SourceBatch, now: Instant) {
        let partition = self.partitions.entry(batch.partition).or_insert(Partition { max_us: None, heard: now });
        partition.heard = now;
        let column = batch.delta.column(self.watermark.column);
        if let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() {
            partition.max_us = partition.max_us.max(max(times));
        }
    }

    /// The watermark now, microseconds since 1970; `None` until each partition that counts has been heard.
    pub(crate) fn advance(&mut self, now: Instant) -> Option<i64> {
        self.current_us = self.current_us.max(self.candidate(now));
        self.current_us
    }

    /// The least event time of the partitions that count, less the delay; `None` while one has not been heard, or all are idle:
    /// then nothing says that time went on.
    fn candidate(&self, now: Instant) -> Option<i64> {
        let idle = |p: &Partition| self.idle_timeout.is_some_and(|timeout| now.duration_since(p.heard) >= timeout);
        let mut least: Option<i64> = None;
        for partition in self.partitions.values().filter(|p| !idle(p)) {
            let max_us = partition.max_us?;
            least = Some(least.map_or(max_us, |least| least.min(max_us)));
        }
        let ahead = i64::from(is_planted(Bug::WatermarkAhead));
        least.map(|least| least.saturating_sub(self.watermark.delay_us) + ahead)
    }

    /// Whether [`WatermarkTracker::advance`] would move it now, because a partition has become idle.
    pub(crate) fn would_advance(&self, now: Instant) -> bool {
        self.candidate(now).is_some_and(|candidate| self.current_us.is_none_or(|current| current < candidate))
    }

    /// When the watermark may move although nothing arrives: a partition becomes idle then.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let timeout = self.idle_timeout?;
        self.partitions.values().map(|p| p.heard + timeout).filter(|at| *at > now).min()
    }

    /// The watermark as last advanced.
    pub(crate) fn current(&self) -> Option<i64> {
        self.current_us
    }

    /// What a checkpoint keeps.
    pub(crate) fn saved(&self) -> SavedWatermark {
        SavedWatermark {
            watermark_us: self.current_us,
            max_us: self
                .partitions
                .iter()
                .filter(|_| !is_planted(Bug::WatermarkForgotten))
                .filter_map(|(id, p)| Some((*id, p.max_us?)))
                .collect(),
        }
    }
}

/// A watermark as a checkpoint keeps it; times in microseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SavedWatermark {
    /// The watermark.
    pub(crate) watermark_us: Option<i64>,
    /// The largest event time by partition.
    pub(crate) max_us: BTreeMap<PartitionId, i64>,
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{RecordBatch, TimestampMicrosecondArray};
    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use delta::Delta;

    use super::*;

    fn batch(partition: PartitionId, times: Vec<i64>) -> SourceBatch {
        let schema = Schema::new(vec![Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true)]);
        let rows = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(TimestampMicrosecondArray::from(times))]);
        SourceBatch {
            partition,
            first_offset: 0,
            next_offset: 1,
            delta: Delta::inserts(rows.expect("one column of one type")),
            dead_letters: vec![],
            bytes: 0,
            created_ms: None,
            arrived: Instant::now(),
        }
    }

    #[test]
    fn it_is_the_least_partition_less_the_delay_and_never_goes_back() {
        let now = Instant::now();
        let mut tracker = WatermarkTracker::new(Watermark { column: 0, delay_us: 5 }, None, [0, 1], None, now);
        tracker.observe(&batch(0, vec![100, 90]), now);
        assert_eq!(tracker.advance(now), None, "partition 1 has not been heard");
        tracker.observe(&batch(1, vec![50]), now);
        assert_eq!(tracker.advance(now), Some(45));
        tracker.observe(&batch(1, vec![40]), now);
        assert_eq!(tracker.advance(now), Some(45));
        let again =
            WatermarkTracker::new(Watermark { column: 0, delay_us: 5 }, None, [0, 1], Some(&tracker.saved()), now);
        assert_eq!(again.saved(), tracker.saved());
    }

    #[test]
    fn an_idle_partition_does_not_hold_it_back() {
        let now = Instant::now();
        let timeout = Duration::from_secs(10);
        let mut tracker = WatermarkTracker::new(Watermark { column: 0, delay_us: 0 }, Some(timeout), [0, 1], None, now);
        tracker.observe(&batch(0, vec![100]), now + timeout);
        assert_eq!(tracker.advance(now + timeout), Some(100));
        assert_eq!(tracker.next_deadline(now + timeout), Some(now + 2 * timeout));
        assert_eq!(tracker.advance(now + 3 * timeout), Some(100), "all idle: time stands still");
    }
}
