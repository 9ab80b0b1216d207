//! Rows that need no input: `VALUES`, a SELECT without FROM.
//!
//! - Rule: `Δout` is the rows in the first epoch, nothing afterwards.
//! - State: one entry that says that they have been emitted.
//! - A row of which an expression fails is an error.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::concat;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use delta::Delta;
use planner::incremental::Constant as Node;
use storage::{ChangeSet, StateId, state_key};

use super::States;
use crate::Result;
use crate::expression::{Evaluated, Expressions, batch_of, nullable};
use crate::failures::Report;
use crate::operator::{Operator, StepContext, StepOutput};

/// See [the module](self).
#[derive(Debug)]
pub struct Constant {
    state: StateId,
    rows: Vec<Expressions>,
    report: Report,
    schema: SchemaRef,
    /// Whether this process has emitted the rows, or seen that an earlier one did.
    done: bool,
    /// Whether the store says so.
    written: bool,
}

impl Constant {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let types: Vec<DataType> = node.schema.fields().iter().map(|f| f.data_type().clone()).collect();
        let rows = node.rows.iter().map(|row| Expressions::new(&Schema::empty(), row, Some(&types)));
        Ok(Self {
            state: states.state("constant"),
            rows: rows.collect::<Result<_>>()?,
            report: Report::new(node.on_error, vec![]),
            schema: nullable(&node.schema),
            done: false,
            written: false,
        })
    }

    fn emit(&self) -> Result<StepOutput> {
        let no_columns = batch_of(&Arc::new(Schema::empty()), vec![], 1)?;
        let mut output = StepOutput::default();
        let mut rows: Vec<Vec<ArrayRef>> = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            let Evaluated { columns, failures } = row.evaluate(&no_columns)?;
            if self.report.wants(&failures) {
                output.errors.push(self.report.errors(&[], &failures, |_| 1)?);
            } else {
                rows.push(columns);
            }
        }
        if rows.is_empty() {
            return Ok(output);
        }
        let column = |index: usize| {
            let values: Vec<_> = rows.iter().map(|row| row[index].as_ref()).collect();
            concat(&values)
        };
        let columns = (0..self.schema.fields().len()).map(column).collect::<Result<Vec<_>, _>>()?;
        output.deltas.push(Delta::inserts(batch_of(&self.schema, columns, rows.len())?));
        Ok(output)
    }
}

impl Operator for Constant {
    fn step(&mut self, context: &StepContext<'_>, _inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        if self.done {
            return Ok(StepOutput::default());
        }
        self.done = true;
        self.written = context.snapshot.get(&state_key(self.state, 0, &[]))?.is_some();
        if self.written { Ok(StepOutput::default()) } else { self.emit() }
    }

    fn is_pending(&self) -> bool {
        !self.done
    }

    fn checkpoint(&mut self, _workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        if self.done && !self.written {
            changes.put(&state_key(self.state, 0, &[]), &[]);
            self.written = true;
        }
        Ok(())
    }

    fn committed(&mut self, _budget_bytes: usize) -> Result<()> {
        Ok(())
    }

    fn unwritten_bytes(&self) -> usize {
        usize::from(self.done && !self.written)
    }

    fn state_bytes(&self) -> usize {
        0
    }

    fn state_rows(&self) -> usize {
        0
    }
}
