//! Rows that are set and deleted by key (an upsert topic, DML on a keyed table), as true changes.
//!
//! - Rule: `Δout = -(the row under the key) + (the new row)`, for the last change of each key in the epoch; nothing if they are equal.
//! - State: the table's own stored rows.
//! - What stands for a retraction is a row of negative weight: it deletes its key, whatever is in the other columns.

use arrow::array::{ArrayRef, Int64Array, UInt32Array};
use arrow::compute::concat_batches;
use delta::Delta;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use storage::Snapshot;

use crate::Result;
use crate::state::keys::hash_keys;
use crate::view::PublishedView;

/// The changes that come of setting and deleting these rows, in this order: what is taken away stands first.
pub(crate) fn to_changes(table: &PublishedView, store: &dyn Snapshot, deltas: &[Delta]) -> Result<Vec<Delta>> {
    let schema = table.schema().clone();
    let deltas: Vec<Delta> = deltas
        .iter()
        .filter(|delta| !delta.is_empty())
        .map(|delta| crate::expression::with_schema(delta, &schema))
        .collect::<Result<_>>()?;
    if deltas.is_empty() {
        return Ok(vec![]);
    }
    let all = Delta::concat(&schema, &deltas)?;
    let last = last_of_each_key(table, &all)?;
    let last = all.take(&UInt32Array::from(last))?;

    let keys: Vec<ArrayRef> = table.key_columns(last.batch());
    let olds = table.stored_rows(store, &keys, last.num_rows())?;
    let codec = table.row_codec();
    let news = codec.encode(last.batch().columns(), last.num_rows())?;
    let (mut taken, mut added): (Vec<&[u8]>, Vec<u32>) = (vec![], vec![]);
    for (row, old) in olds.iter().enumerate() {
        let new = (last.weight(row) > 0).then(|| news.row(row));
        if old.as_deref() != new {
            taken.extend(old.as_deref());
            added.extend(new.map(|_| row as u32));
        }
    }
    let mut weights = vec![-1; taken.len()];
    weights.resize(taken.len() + added.len(), 1);
    let added = last.take(&UInt32Array::from(added))?;
    if taken.is_empty() {
        return Ok(if added.is_empty() { vec![] } else { vec![Delta::inserts(added.batch().clone())] });
    }
    let batch = concat_batches(&schema, [&codec.decode(&taken)?, added.batch()])?;
    Ok(vec![Delta::new(batch, Some(Int64Array::from(weights)))])
}

/// The position of the last row of each key, in the order in which keys first came.
fn last_of_each_key(table: &PublishedView, all: &Delta) -> Result<Vec<u32>> {
    let columns = table.key_columns(all.batch());
    let keys = table.encode_keys(&columns, all.num_rows())?;
    let mut hashes = Vec::new();
    hash_keys(&columns, all.num_rows(), &mut hashes);
    let mut last: Vec<u32> = Vec::with_capacity(all.num_rows());
    let mut table: HashTable<u32> = HashTable::with_capacity(all.num_rows());
    for (row, hash) in hashes.iter().enumerate() {
        let equals = |at: &u32| keys.key(last[*at as usize] as usize) == keys.key(row);
        match table.entry(*hash, equals, |at| hashes[last[*at as usize] as usize]) {
            Entry::Occupied(at) => last[*at.get() as usize] = row as u32,
            Entry::Vacant(place) => {
                place.insert(last.len() as u32);
                last.push(row as u32);
            }
        }
    }
    Ok(last)
}
