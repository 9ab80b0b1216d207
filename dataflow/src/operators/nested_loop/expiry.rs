//! Rows that find no match any more leave the state.
//!
//! How many rows are over by when is counted, by second. When it is half of them, the shard's rows are looked through, block by block, and those that
//! are over go: a row is looked at about twice, whatever the order that rows lie in.

use std::collections::BTreeMap;

use storage::Snapshot;

use super::BLOCK;
use crate::Result;
use crate::state::Ordered;

/// Rows of one second are counted together; in tests, whose times are small numbers, each has its own.
const BUCKET_US: i64 = if cfg!(test) { 1 } else { 1_000_000 };
/// So few rows aren't looked through before all are over.
const FEW: i64 = if cfg!(test) { 2 } else { 1024 };

/// What a shard knows of the times of one side's rows.
#[derive(Debug, Default)]
pub(super) struct Over {
    /// By number of the bucket; `None`: not counted since the start.
    buckets: Option<BTreeMap<i64, i64>>,
    /// Rows without a time.
    timeless: i64,
    /// Rows with a time up to this one have gone.
    over_to: Option<i64>,
}

impl Over {
    /// A row has come, or gone.
    pub(super) fn note(&mut self, time: Option<i64>, weight: i64) {
        match (time, &mut self.buckets) {
            (Some(time), Some(buckets)) => *buckets.entry(time.div_euclid(BUCKET_US)).or_default() += weight.signum(),
            (None, Some(_)) => self.timeless += weight.signum(),
            (_, None) => {}
        }
    }

    /// Whether such a row has gone.
    pub(super) fn is_over(&self, time: i64) -> bool {
        self.over_to.is_some_and(|to| time <= to)
    }

    /// Takes out rows with times up to `to`, if it is worth it. `time` is that of the row at a place.
    pub(super) fn expire(
        &mut self,
        rows: &mut Ordered,
        to: i64,
        time: &impl Fn(&[u8]) -> Option<i64>,
        store: &dyn Snapshot,
    ) -> Result<()> {
        if self.is_over(to) {
            return Ok(());
        }
        if let Some(buckets) = &self.buckets {
            let next = to.saturating_add(1).div_euclid(BUCKET_US);
            let over: i64 = buckets.range(..next).map(|(_, rows)| rows.max(&0)).sum();
            let others: i64 = buckets.range(next..).map(|(_, rows)| rows.max(&0)).sum::<i64>() + self.timeless.max(0);
            let worth_it = over > 0 && (over >= others || others < FEW);
            if !worth_it {
                return Ok(());
            }
        }
        self.over_to = Some(to);
        let (mut buckets, mut timeless) = (BTreeMap::new(), 0);
        let (start, end) = rows.limits();
        let mut from = start;
        loop {
            let block = rows.range(&from, &end, BLOCK, store)?;
            let Some((last, _)) = block.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            for (place, _) in &block {
                match time(place) {
                    Some(time) if time <= to => rows.set(place, [0; 2]),
                    Some(time) => *buckets.entry(time.div_euclid(BUCKET_US)).or_default() += 1,
                    None => timeless += 1,
                }
            }
            if block.len() < BLOCK {
                break;
            }
        }
        (self.buckets, self.timeless) = (Some(buckets), timeless);
        Ok(())
    }
}
