//! The output of operators whose state is a number or two per row, read off that state.

use arrow::array::Int64Array;
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use delta::{Delta, SHARDS};
use storage::{Snapshot, StateId};

use super::Emit;
use crate::expression::batch_of;
use crate::state::entries::Entries;
use crate::state::{KeyEncoder, read_signed};
use crate::{Error, Result};

/// Reads all rows of a table whose keys are rows; `weight` says how often one with these numbers is there.
pub(super) fn contents<const N: usize>(
    state: StateId,
    schema: &SchemaRef,
    weight: impl Fn([i64; N]) -> i64,
    store: &dyn Snapshot,
    emit: &mut Emit<'_>,
) -> Result<()> {
    let encoder = KeyEncoder::of_columns(schema, &(0..schema.fields().len()).collect::<Vec<_>>())?;
    for shard in 0..SHARDS {
        let mut entries = Entries::of_shard(state, shard);
        loop {
            let piece = entries.next(store)?;
            if piece.is_empty() {
                break;
            }
            let (mut keys, mut weights): (Vec<&[u8]>, Vec<i64>) = (Vec::new(), Vec::new());
            for (key, value) in &piece {
                let weight = weight(numbers(value)?);
                if weight != 0 {
                    keys.push(key);
                    weights.push(weight);
                }
            }
            if keys.is_empty() {
                continue;
            }
            let decoded = encoder.decode(&keys)?.into_iter().zip(schema.fields());
            let columns = decoded.map(|(column, field)| match column.data_type() == field.data_type() {
                true => Ok(column),
                false => Ok(cast(&column, field.data_type())?),
            });
            let batch = batch_of(schema, columns.collect::<Result<_>>()?, keys.len())?;
            emit(Delta::new(batch, Some(Int64Array::from(weights))))?;
        }
    }
    Ok(())
}

fn numbers<const N: usize>(mut value: &[u8]) -> Result<[i64; N]> {
    let corrupt = || Error::Corrupt("the number of a row".to_owned());
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = read_signed(&mut value).ok_or_else(corrupt)?;
    }
    if value.is_empty() { Ok(numbers) } else { Err(corrupt()) }
}
