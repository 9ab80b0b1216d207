//! `UNNEST`: a row per element of its arrays.
//!
//! - Rule: linear, each row by itself: `Δout` is the rows of `Δin`, repeated, with their weights. Several arrays are taken side by side, shorter
//!   ones filled up with NULL.
//! - State: none.
//! - A retraction takes the rows of its elements away.

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array, UInt64Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use delta::Delta;
use planner::incremental::Unnest as Node;

use crate::exchange::map_each;
use crate::expression::{batch_of, nullable};
use crate::operator::{Operator, StepContext, StepOutput};
use crate::{Error, Result};

/// Rows that are put together at once, so that an input of long arrays is many batches.
const BATCH_ROWS: usize = 16 * 1024;

/// See [the module](self).
#[derive(Debug)]
pub struct Unnest {
    /// The columns of the output: a column of the input, repeated or taken apart.
    columns: Vec<usize>,
    lists: Vec<usize>,
    /// Whether a row without an element comes out once, with NULL.
    keeps_empty: bool,
    schema: SchemaRef,
}

impl Unnest {
    /// The operator of a node.
    pub fn new(node: &Node) -> Self {
        Self {
            columns: node.columns.clone(),
            lists: node.lists.clone(),
            keeps_empty: node.keeps_empty,
            schema: nullable(&node.schema),
        }
    }

    fn unnest(&self, delta: &Delta) -> Result<Vec<Delta>> {
        let lists = self.lists.iter().map(|column| as_list(delta.column(*column))).collect::<Result<Vec<_>>>()?;
        let length =
            |list: &ListArray, row: usize| if list.is_valid(row) { list.value_length(row) as usize } else { 0 };
        let mut output = Vec::new();
        let (mut rows, mut places): (Vec<u32>, Vec<u32>) = (vec![], vec![]);
        for row in 0..delta.num_rows() {
            let longest = lists.iter().map(|list| length(list, row)).max().unwrap_or(0);
            for place in 0..longest.max(usize::from(self.keeps_empty)) {
                rows.push(row as u32);
                places.push(place as u32);
                if rows.len() == BATCH_ROWS {
                    output.push(self.batch(delta, &lists, std::mem::take(&mut rows), std::mem::take(&mut places))?);
                }
            }
        }
        if !rows.is_empty() {
            output.push(self.batch(delta, &lists, rows, places)?);
        }
        Ok(output)
    }

    /// The elements at these places of these rows.
    fn batch(&self, delta: &Delta, lists: &[ListArray], rows: Vec<u32>, places: Vec<u32>) -> Result<Delta> {
        let taken = UInt32Array::from(rows);
        let element = |list: &ListArray| -> Result<ArrayRef> {
            let offsets = list.value_offsets();
            let of = |(row, place): (&u32, &u32)| {
                let row = *row as usize;
                let at = offsets[row] as u64 + u64::from(*place);
                (list.is_valid(row) && at < offsets[row + 1] as u64).then_some(at)
            };
            Ok(take(list.values(), &UInt64Array::from_iter(taken.values().iter().zip(&places).map(of)), None)?)
        };
        let column = |column: &usize| match self.lists.iter().position(|list| list == column) {
            Some(list) => element(&lists[list]),
            None => Ok(take(delta.column(*column), &taken, None)?),
        };
        let columns = self.columns.iter().map(column).collect::<Result<Vec<_>>>()?;
        let typed = columns.into_iter().zip(self.schema.fields()).map(|(column, field)| {
            Ok(if column.data_type() == field.data_type() { column } else { cast(&column, field.data_type())? })
        });
        let batch = batch_of(&self.schema, typed.collect::<Result<_>>()?, taken.len())?;
        let weights = delta.weights().map(|weights| take(weights, &taken, None)).transpose()?;
        Ok(Delta::new(batch, weights.map(|weights| weights.as_primitive::<Int64Type>().clone())))
    }
}

fn as_list(column: &ArrayRef) -> Result<ListArray> {
    let element = match column.data_type() {
        DataType::List(_) => return Ok(column.as_list::<i32>().clone()),
        DataType::LargeList(element) | DataType::FixedSizeList(element, _) => element.clone(),
        DataType::ListView(element) | DataType::LargeListView(element) => element.clone(),
        other => return Err(Error::Broken(format!("an array that comes as {other}"))),
    };
    Ok(cast(column, &DataType::List(element))?.as_list::<i32>().clone())
}

impl Operator for Unnest {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let rows = inputs[0].iter().map(Delta::num_rows).sum();
        let unnested = map_each(context.workers, rows, &inputs[0], |delta| self.unnest(delta))?;
        Ok(StepOutput { deltas: unnested.into_iter().flatten().collect(), ..StepOutput::default() })
    }
}
