//! `percent_rank`, `cume_dist` and `ntile`: what follows from a row's place and the number of rows, without seeing them.
//!
//! One row more or less may change the result of every other row of the partition, and of `ntile` those at the edges of its buckets.

use std::iter::repeat_n;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, UInt64Array};
use planner::incremental::Ranked;

/// Where rows stand in their partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// How many rows stand before them.
    pub(super) before: usize,
    /// How many rows the partition has.
    pub(super) total: usize,
}

/// The results of rows that stand one after the other; `peers` are ranges of them.
pub(super) fn column(ranked: Ranked, standing: Standing, rows: usize, peers: &[Range<usize>]) -> ArrayRef {
    let Standing { before, total } = standing;
    let of_peers = |value: &dyn Fn(&Range<usize>) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(peers.iter().flat_map(|peers| repeat_n(value(peers), peers.len()))))
    };
    match ranked {
        Ranked::PercentRank => of_peers(&|peers| (before + peers.start) as f64 / (total as f64 - 1.0).max(1.0)),
        Ranked::CumeDist => of_peers(&|peers| (before + peers.end) as f64 / total as f64),
        Ranked::Ntile(buckets) => {
            let places = before..before + rows;
            Arc::new(UInt64Array::from_iter_values(places.map(|place| bucket(buckets, total, place))))
        }
    }
}

/// Whether so many rows have the results that they had.
pub(super) fn stays(ranked: Ranked, was: Standing, is: Standing, rows: usize) -> bool {
    if was == is || rows == 0 {
        return true;
    }
    match ranked {
        Ranked::PercentRank | Ranked::CumeDist => false,
        Ranked::Ntile(buckets) => {
            let first = bucket(buckets, was.total, was.before);
            let all = [(was, rows - 1), (is, 0), (is, rows - 1)];
            all.iter().all(|(standing, row)| bucket(buckets, standing.total, standing.before + row) == first)
        }
    }
}

/// The bucket of a place (from 0) among `total` rows: the first ones have a row more if they can't be of one size.
fn bucket(buckets: u64, total: usize, place: usize) -> u64 {
    let (total, place) = (total as u64, place as u64);
    let (size, larger) = (total / buckets, total % buckets);
    let in_larger = larger * (size + 1);
    match place.checked_sub(in_larger) {
        Some(place) => larger + place / size.max(1) + 1,
        None => place / (size + 1) + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_of_one_size_or_one_more() {
        let of = |buckets, total| (0..total).map(|place| bucket(buckets, total, place)).collect::<Vec<_>>();
        assert_eq!(of(4, 10), [1, 1, 1, 2, 2, 2, 3, 3, 4, 4]);
        assert_eq!(of(3, 2), [1, 2]);
        assert_eq!(of(1, 3), [1, 1, 1]);
    }

    #[test]
    fn rows_within_a_bucket_stay() {
        let (was, is) = (Standing { before: 10, total: 100 }, Standing { before: 11, total: 101 });
        assert!(stays(Ranked::Ntile(2), was, is, 20));
        assert!(!stays(Ranked::Ntile(2), was, is, 60));
        assert!(!stays(Ranked::CumeDist, was, is, 1));
        assert!(stays(Ranked::CumeDist, was, was, 1));
    }
}
