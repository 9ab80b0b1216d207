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
    pub(super) plan: plan::Top,
    pub(super) order: Order,
}

impl Top {
    pub(super) fn new(plan: &plan::Top, input: &SchemaRef) -> Result<Self> {
        Ok(Self { order: Order::new(input, &plan.order)?, plan: plan.clone() })
    }

    /// Whether the rows that come out stand in front, and a partition can be cut by the order.
    pub(super) fn is_local(&self) -> bool {
        // Without an order all rows are peers.
        let ordered = !self.plan.order.is_empty();
        let alone = !self.plan.ties && matches!(self.plan.place, None | Some(Place::Row));
        self.plan.last_place().is_some() && (ordered || alone)
    }

    /// Whether places are counted by what is equal in the order, not by rows.
    pub(super) fn is_dense(&self) -> bool {
        self.plan.place == Some(Place::DenseRank)
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
                Some(Place::DenseRank) => {
                    let mut rank = 1;
                    for at in range.start..end {
                        if at > range.start && !sorted.are_peers(sorted.positions[at - 1], sorted.positions[at]) {
                            rank += 1;
                        }
                        places.extend((at >= start).then_some(rank));
                    }
                }
            }
        }
        let rows = take_rows(&partitions.batch, &UInt32Array::from(positions))?;
        let places = self.plan.place.map(|_| Arc::new(UInt64Array::from(places)) as ArrayRef);
        Ok((rows, places))
    }

    /// Behind the last of a partition's places that come out.
    fn end(&self, sorted: &Sorted, range: &Range<usize>) -> usize {
        let positions = &sorted.positions;
        self.end_of(range, |a, b| sorted.are_peers(positions[a], positions[b]))
    }

    /// As [`Top::end`], of places whose rows are peers as `are_peers` says.
    pub(super) fn end_of(&self, range: &Range<usize>, are_peers: impl Fn(usize, usize) -> bool) -> usize {
        let Some(last) = self.plan.last_place() else { return range.end };
        if self.is_dense() {
            let mut ranks = 0;
            let begins = |at: &usize| *at == range.start || !are_peers(at - 1, *at);
            let behind = range.clone().filter(begins).find(|_| {
                ranks += 1;
                ranks > last
            });
            return behind.unwrap_or(range.end);
        }
        let mut end = range.start.saturating_add(last).min(range.end);
        // Nothing ties with the last of no rows.
        if self.plan.ties && self.plan.fetch != Some(0) && end > range.start {
            while end < range.end && are_peers(end - 1, end) {
                end += 1;
            }
        }
        end
    }
}
