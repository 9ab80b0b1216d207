//! Filter and projection in one pass.
//!
//! - Rule: `Δout = π(σ(Δin))`; it is linear, so changes go through one by one, weights and all.
//! - State: none.
//! - A retraction is a row like any other.
//! - A row on which the condition or an expression fails is left out, and is an error.

use arrow::array::{ArrayRef, BooleanArray, Int64Array};
use arrow::compute::filter;
use arrow::datatypes::{DataType, SchemaRef};
use delta::Delta;
use planner::explain::column_labels;
use planner::incremental::Map as Node;

use crate::Result;
use crate::exchange::{is_parallel, map_each};
use crate::expression::{Condition, Expressions, batch_of, nullable};
use crate::failures::{Failures, Report};
use crate::operator::{Operator, StepContext, StepOutput};

/// See [the module](self).
#[derive(Debug)]
pub struct Map {
    condition: Option<Condition>,
    expressions: Expressions,
    report: Report,
    schema: SchemaRef,
}

/// What becomes of a batch.
#[derive(Default)]
struct Mapped {
    rows: Option<Delta>,
    errors: Vec<Delta>,
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
            report: Report::new(node.on_error, column_labels(&node.input)),
            schema: nullable(&node.schema),
        })
    }

    fn map(&self, delta: &Delta) -> Result<Mapped> {
        let mut mapped = Mapped::default();
        let mut keep = None;
        if let Some(condition) = &self.condition {
            let (is_true, failures) = condition.evaluate(delta.batch())?;
            mapped.errors.extend(self.errors(delta, &failures)?);
            keep = Some(is_true);
        }
        let kept = keep.as_ref().map_or(delta.num_rows(), BooleanArray::true_count);
        if kept == 0 {
            return Ok(mapped);
        }
        let Some(keep) = keep.filter(|_| kept < delta.num_rows()) else {
            let evaluated = self.expressions.evaluate(delta.batch())?;
            mapped.rows = self.rows(delta.weights().cloned(), evaluated.columns, &evaluated.failures, kept)?;
            mapped.errors.extend(self.errors(delta, &evaluated.failures)?);
            return Ok(mapped);
        };
        let evaluated = self.expressions.evaluate_filtered(delta.batch(), &keep)?;
        let weights = match delta.weights() {
            None => None,
            Some(weights) => Some(Int64Array::from(filter(weights, &keep)?.to_data())),
        };
        mapped.rows = self.rows(weights, evaluated.columns, &evaluated.failures, kept)?;
        if !evaluated.failures.is_empty() {
            mapped.errors.extend(self.errors(&delta.filter(&keep)?, &evaluated.failures)?);
        }
        Ok(mapped)
    }

    /// What comes out: all rows, but those that are errors.
    fn rows(
        &self,
        weights: Option<Int64Array>,
        columns: Vec<ArrayRef>,
        failures: &Failures,
        rows: usize,
    ) -> Result<Option<Delta>> {
        let delta = Delta::new(batch_of(&self.schema, columns, rows)?, weights);
        if !self.report.wants(failures) {
            return Ok(Some(delta));
        }
        let good = delta.filter(&failures.others(rows))?;
        Ok((!good.is_empty()).then_some(good))
    }

    fn errors(&self, delta: &Delta, failures: &Failures) -> Result<Option<Delta>> {
        if !self.report.wants(failures) {
            return Ok(None);
        }
        self.report.errors(delta.batch().columns(), failures, |row| delta.weight(row)).map(Some)
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
            input.iter().map(|delta| self.map(delta)).collect::<Result<Vec<_>>>()?
        };
        let mut output = StepOutput::default();
        for Mapped { rows, errors } in mapped {
            output.deltas.extend(rows);
            output.errors.extend(errors);
        }
        Ok(output)
    }
}

/// A delta in slices of bounded size.
fn slices(delta: &Delta) -> impl Iterator<Item = Delta> {
    let rows = delta.num_rows();
    (0..rows).step_by(SLICE_ROWS).map(move |start| delta.slice(start, SLICE_ROWS.min(rows - start)))
}
