//! Adding up the weights of equal rows.
//!
//! A delta stands for a function from rows to integers. Many deltas stand for the same function; consolidation
//! picks one of them: each row once, no weight zero, no weight column when all weights are one, rows in the order in
//! which they first came. Its laws, with `~` for "stands for the same function":
//!
//! - `consolidate(a) ~ a`, and `consolidate(consolidate(a)) = consolidate(a)`;
//! - `consolidate(a + b) = consolidate(consolidate(a) + consolidate(b))`, up to the order of rows;
//! - `consolidate(a + (-a))` is empty.
//!
//! ```
//! use std::sync::Arc;
//! use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
//! use delta::{Delta, consolidate};
//!
//! let names: ArrayRef = Arc::new(StringViewArray::from(vec![Some("ann"), None, Some("ann"), Some("bob"), None]));
//! let batch = RecordBatch::try_from_iter_with_nullable([("name", names, true)])?;
//! let a = Delta::new(batch, Some(Int64Array::from(vec![1, 1, 2, 0, 1])));
//! assert_eq!(consolidate(&a)?.to_string(), "+3 ann\n+2 NULL\n");
//!
//! let nothing = Delta::concat(&a.schema(), &[a.clone(), a.negate()?])?;
//! assert!(consolidate(&nothing)?.is_empty());
//! # Ok::<(), delta::Error>(())
//! ```

use arrow::array::{
    ArrayRef, DynComparator, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array, make_comparator,
};
use arrow::compute::SortOptions;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::{Delta, Result, Weight, hash_rows};

/// Adds up the weights of equal rows and drops rows whose weights cancel; see the module for the laws.
///
/// NULL equals NULL. Floats are compared bit by bit (`-0.0` is not `0.0`), so that what was added as one value can only
/// be taken away as the same value. Sums wrap around, which keeps the laws for all weights.
///
/// Rows are compared in place, column by column, and only when their hashes agree: a delta whose rows are all
/// different costs a hash and a table probe per row, and comes back as it is.
///
/// # Errors
/// If a column's type has no comparison; no SQL type is stored as one.
pub fn consolidate(delta: &Delta) -> Result<Delta> {
    let rows = delta.num_rows();
    if delta.batch().num_columns() == 0 {
        return without_columns(delta);
    }
    if rows == 1 && delta.weight(0) == 1 || rows == 0 {
        return Ok(Delta::inserts(delta.batch().clone()));
    }
    let (firsts, sums) = sum_weights(delta)?;

    let zeros = sums.iter().filter(|sum| **sum == 0).count();
    let weights = |sums: Vec<Weight>| {
        let all_one = sums.iter().all(|sum| *sum == 1);
        if all_one { None } else { Some(Int64Array::from(sums)) }
    };
    if zeros == 0 && firsts.len() == rows {
        return Ok(Delta::new(delta.batch().clone(), weights(sums)));
    }
    let (firsts, sums): (Vec<u32>, Vec<Weight>) = match zeros {
        0 => (firsts, sums),
        _ => firsts.into_iter().zip(sums).filter(|(_, sum)| *sum != 0).unzip(),
    };
    let kept = Delta::inserts(delta.batch().clone()).take(&UInt32Array::from(firsts))?;
    Ok(Delta::new(kept.batch().clone(), weights(sums)))
}

/// The position of each different row's first copy, in order, and the sum of its weights.
fn sum_weights(delta: &Delta) -> Result<(Vec<u32>, Vec<Weight>)> {
    let rows = delta.num_rows();
    let mut hashes = Vec::new();
    hash_rows(delta.batch().columns(), &mut hashes);
    let same = comparators(delta.batch())?;

    let mut firsts: Vec<u32> = Vec::with_capacity(rows);
    let mut sums: Vec<Weight> = Vec::with_capacity(rows);
    // Holds positions in `firsts`.
    let mut table: HashTable<u32> = HashTable::with_capacity(rows);
    for row in 0..rows {
        let hash = hashes[row];
        let equals = |group: &u32| {
            let first = firsts[*group as usize] as usize;
            hashes[first] == hash && same.iter().all(|compare| compare(first, row).is_eq())
        };
        match table.entry(hash, equals, |group| hashes[firsts[*group as usize] as usize]) {
            Entry::Occupied(group) => {
                let sum = &mut sums[*group.get() as usize];
                *sum = sum.wrapping_add(delta.weight(row));
            }
            Entry::Vacant(slot) => {
                slot.insert(firsts.len() as u32);
                firsts.push(u32::try_from(row).expect("a batch has less than 2^32 rows"));
                sums.push(delta.weight(row));
            }
        }
    }
    Ok((firsts, sums))
}

/// Rows of no columns are all equal: one row, or none.
fn without_columns(delta: &Delta) -> Result<Delta> {
    let sum = (0..delta.num_rows()).fold(0, |sum: Weight, row| sum.wrapping_add(delta.weight(row)));
    let options = RecordBatchOptions::new().with_row_count(Some(usize::from(sum != 0)));
    let batch = RecordBatch::try_new_with_options(delta.schema(), vec![], &options)?;
    let weights = (sum != 0 && sum != 1).then(|| Int64Array::from(vec![sum]));
    Ok(Delta::new(batch, weights))
}

fn comparators(batch: &RecordBatch) -> Result<Vec<DynComparator>> {
    let compare = |column: &ArrayRef| Ok(make_comparator(column, column, SortOptions::default())?);
    batch.columns().iter().map(compare).collect()
}

#[cfg(test)]
mod tests;
