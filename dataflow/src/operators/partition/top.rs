//! The first rows of each partition in an order.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::SchemaRef;
use planner::incremental as plan;
use planner::incremental::Place;

use super::order::{Order, Partitions, Sorted, take_rows};
use crate::Result;

/// See [`plan::Top`].
pub(super) struct Top {
    plan: plan::Top,
    order: Order,
}

impl Top {
    pub(super) fn new(plan: &plan::Top, input: &SchemaRef) -> Result<Self> {
        Ok(Self { order: Order::new(input, &plan.order)?, plan: plan.clone() })
    }

    /// The rows that come out.
    pub(super) fn evaluate(&self, partitions: &Partitions) -> Result<(RecordBatch, Option<ArrayRef>)> {
        let sorted = self.order.sort(partitions)?;
        let mut positions = Vec::new();
        let mut places: Vec<u64> = Vec::new();
        for range in &partitions.ranges {
            let end = self.end(&sorted, range);
            let start = range.start.saturating_add(self.plan.offset).min(end);
            positions.extend_from_slice(&sorted.positions[start..end]);
            match self.plan.place {
                None => {}
                Some(Place::Row) => places.extend((start..end).map(|at| (at - range.start) as u64 + 1)),
                Some(Place::Rank) => {
                    let mut first = range.start;
                    for at in range.start..end {
                        if !sorted.are_peers(sorted.positions[first], sorted.positions[at]) {
                            first = at;
                        }
                        places.extend((at >= start).then_some((first - range.start) as u64 + 1));
                    }
                }
            }
        }
        let rows = take_rows(&partitions.batch, &UInt32Array::from(positions))?;
        let places = self.plan.place.map(|_| Arc::new(UInt64Array::from(places)) as ArrayRef);
        Ok((rows, places))
    }

    /// By position: whether a row may come out, now or when rows above it go; where none ever goes, the others can be forgotten.
    pub(super) fn kept(&self, partitions: &Partitions) -> Result<Vec<bool>> {
        let sorted = self.order.sort(partitions)?;
        let mut kept = vec![false; partitions.batch.num_rows()];
        for range in &partitions.ranges {
            for position in &sorted.positions[range.start..self.end(&sorted, range)] {
                kept[*position as usize] = true;
            }
        }
        Ok(kept)
    }

    /// Behind the last of a partition's places that come out.
    fn end(&self, sorted: &Sorted, range: &Range<usize>) -> usize {
        let Some(last) = self.plan.last_place() else { return range.end };
        let mut end = range.start.saturating_add(last).min(range.end);
        // Nothing ties with the last of no rows.
        if self.plan.ties && self.plan.fetch != Some(0) && end > range.start {
            let positions = &sorted.positions;
            while end < range.end && sorted.are_peers(positions[end - 1], positions[end]) {
                end += 1;
            }
        }
        end
    }
}
