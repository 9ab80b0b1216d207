//! Filter and projection in one pass.
//!
//! - Rule: `Δout = π(σ(Δin))`; it is linear, so changes go through one by one, weights and all.
//! - State: none.
//! - A retraction is a row like any other.

use arrow::array::BooleanArray;
use arrow::datatypes::{DataType, SchemaRef};
use delta::Delta;
use planner::incremental::Map as Node;
use storage::ChangeSet;

use crate::Result;
use crate::exchange::{is_parallel, map_each};
use crate::expression::{Condition, Expressions, batch_of, nullable};
use crate::operator::{Operator, StepContext, StepOutput};

/// See [the module](self).
#[derive(Debug)]
pub struct Map {
    condition: Option<Condition>,
    expressions: Expressions,
    schema: SchemaRef,
}

/// A batch that is cut for several workers: slices of so many rows.
const SLICE_ROWS: usize = 8192;

impl Map {
    /// The operator of a node.
    pub fn new(node: &Node) -> Result<Self> {
        let input = node.input.schema();
        let types: Vec<DataType> = node.schema.fields().iter().map(|f| f.data_type().clone()).collect();
        Ok(Self {
            condition: node.predicate.as_ref().map(|predicate| Condition::new(input, predicate)).transpose()?,
            expressions: Expressions::new(input, &node.expressions, Some(&types))?,
            schema: nullable(&node.schema),
        })
    }

    fn map(&self, delta: &Delta) -> Result<Option<Delta>> {
        let keep = self.condition.as_ref().map(|condition| condition.evaluate(delta.batch())).transpose()?;
        let kept = keep.as_ref().map_or(delta.num_rows(), BooleanArray::true_count);
        if kept == 0 {
            return Ok(None);
        }
        let Some(keep) = keep.filter(|_| kept < delta.num_rows()) else {
            let columns = self.expressions.evaluate(delta.batch())?;
            return Ok(Some(delta.with_batch(batch_of(&self.schema, columns, kept)?)));
        };
        let columns = self.expressions.evaluate_filtered(delta.batch(), &keep)?;
        let weights = match delta.weights() {
            None => None,
            Some(weights) => Some(arrow::array::Int64Array::from(arrow::compute::filter(weights, &keep)?.to_data())),
        };
        Ok(Some(Delta::new(batch_of(&self.schema, columns, kept)?, weights)))
    }
}

impl Operator for Map {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let input = &inputs[0];
        let rows = input.iter().map(Delta::num_rows).sum();
        let mapped = if is_parallel(context.workers, rows) {
            let slices: Vec<Delta> = input.iter().flat_map(slices).collect();
            map_each(context.workers, rows, &slices, |delta| self.map(delta))?
        } else {
            input.iter().map(|delta| self.map(delta)).collect::<Result<_>>()?
        };
        Ok(StepOutput { deltas: mapped.into_iter().flatten().collect(), late: vec![] })
    }

    fn checkpoint(&mut self, _workers: &rayon::ThreadPool, _changes: &mut ChangeSet) -> Result<()> {
        Ok(())
    }

    fn committed(&mut self, _budget_bytes: usize) -> Result<()> {
        Ok(())
    }

    fn unwritten_bytes(&self) -> usize {
        0
    }

    fn state_bytes(&self) -> usize {
        0
    }

    fn state_rows(&self) -> usize {
        0
    }
}

/// A delta in slices of bounded size.
fn slices(delta: &Delta) -> impl Iterator<Item = Delta> {
    let rows = delta.num_rows();
    (0..rows).step_by(SLICE_ROWS).map(move |start| delta.slice(start, SLICE_ROWS.min(rows - start)))
}
