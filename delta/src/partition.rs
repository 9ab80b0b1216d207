//! Cutting a delta into the shards that work on it in parallel.

use arrow::array::UInt32Array;
use arrow::buffer::ScalarBuffer;

use crate::{Delta, Result, SHARDS, shard_of, vnode_of};

/// The rows of a delta that belong to one shard, in their old order.
#[derive(Clone, Debug)]
pub struct Part {
    /// The shard, `0 .. SHARDS`.
    pub shard: usize,
    /// Its rows; never none.
    pub delta: Delta,
    /// The hash of each row's key, as it was given.
    pub hashes: ScalarBuffer<u64>,
}

/// Cuts a delta by the hashes of its rows' keys (see [`crate::hash_rows`]). Shards without rows have no part; parts
/// come in the order of shards.
///
/// One pass counts, one sorts positions, then all columns are gathered once: the parts are slices of one batch.
/// Rows that all belong to one shard aren't moved.
///
/// # Errors
/// If Arrow can't gather a column.
///
/// # Panics
/// If there are not as many hashes as rows.
pub fn partition(delta: &Delta, hashes: &[u64]) -> Result<Vec<Part>> {
    assert_eq!(delta.num_rows(), hashes.len(), "one hash per row");
    let shard = |hash: &u64| shard_of(vnode_of(*hash));
    let Some(first) = hashes.first().map(shard) else { return Ok(vec![]) };
    if hashes.iter().all(|hash| shard(hash) == first) {
        let hashes = ScalarBuffer::from(hashes.to_vec());
        return Ok(vec![Part { shard: first, delta: delta.clone(), hashes }]);
    }

    let mut ends = [0; SHARDS];
    for hash in hashes {
        ends[shard(hash)] += 1;
    }
    let mut next = 0;
    let mut starts = [0; SHARDS];
    for (start, end) in starts.iter_mut().zip(&mut ends) {
        *start = next;
        next += *end;
        *end = next;
    }
    let mut positions = vec![0_u32; hashes.len()];
    let mut sorted = vec![0_u64; hashes.len()];
    let mut free = starts;
    for (row, hash) in hashes.iter().enumerate() {
        let slot = &mut free[shard(hash)];
        positions[*slot] = row as u32;
        sorted[*slot] = *hash;
        *slot += 1;
    }

    let gathered = delta.take(&UInt32Array::from(positions))?;
    let sorted = ScalarBuffer::from(sorted);
    let parts = (0..SHARDS).filter(|shard| starts[*shard] < ends[*shard]).map(|shard| {
        let (start, length) = (starts[shard], ends[shard] - starts[shard]);
        Part { shard, delta: gathered.slice(start, length), hashes: sorted.slice(start, length) }
    });
    Ok(parts.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;
    use crate::hash_rows;

    fn numbers(values: &[i64]) -> Delta {
        let column: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        Delta::new(batch, Some(values.to_vec().into()))
    }

    fn hashed(delta: &Delta) -> Vec<u64> {
        let mut hashes = Vec::new();
        hash_rows(delta.batch().columns(), &mut hashes);
        hashes
    }

    proptest! {
        #[test]
        fn each_row_is_in_its_shard_once_and_in_order(values in prop::collection::vec(0..50_i64, 0..200)) {
            let delta = numbers(&values);
            let hashes = hashed(&delta);
            let parts = partition(&delta, &hashes).unwrap();
            for part in &parts {
                let of_shard = |row: &usize| shard_of(vnode_of(hashes[*row])) == part.shard;
                let rows: Vec<usize> = (0..values.len()).filter(of_shard).collect();
                let want: Vec<i64> = rows.iter().map(|row| values[*row]).collect();
                prop_assert_eq!(&part.delta.column(0).as_primitive::<Int64Type>().values()[..], &want[..]);
                prop_assert_eq!(&part.delta.weights().unwrap().values()[..], &want[..]);
                prop_assert_eq!(&part.hashes[..], &rows.iter().map(|row| hashes[*row]).collect::<Vec<_>>()[..]);
            }
            prop_assert!(parts.is_sorted_by_key(|p| p.shard));
            prop_assert_eq!(parts.iter().map(|p| p.delta.num_rows()).sum::<usize>(), values.len());
        }
    }

    #[test]
    fn rows_of_one_shard_are_not_moved() {
        let delta = numbers(&[4, 4, 4]);
        let [part] = partition(&delta, &hashed(&delta)).unwrap().try_into().unwrap();
        assert!(Arc::ptr_eq(part.delta.column(0), delta.column(0)));
    }
}
