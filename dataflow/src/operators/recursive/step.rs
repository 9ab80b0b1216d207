//! The recursive term: a graph of operators inside of one operator, which an epoch runs many times.

use std::sync::atomic::Ordering;

use delta::Delta;
use planner::incremental::Node;
use storage::{ChangeSet, StateId};

use super::super::shards::share;
use super::super::{States, build};
use super::limits::Spent;
use crate::operator::{Operator, StepContext};
use crate::{Error, Result};

/// Operators, each behind those that it reads.
pub(super) struct Step {
    operators: Vec<Part>,
    output: Origin,
}

struct Part {
    operator: Box<dyn Operator>,
    inputs: Vec<Origin>,
    /// It keeps the rows that it takes in.
    keeps: bool,
}

#[derive(Clone, Copy, Debug)]
enum Origin {
    /// A hole of that number.
    Hole(usize),
    Operator(usize),
}

impl Step {
    pub(super) fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let mut step = Self { operators: Vec::new(), output: Origin::Hole(0) };
        step.output = step.add(node, states)?;
        Ok(step)
    }

    fn add(&mut self, node: &Node, states: &mut dyn States) -> Result<Origin> {
        if let Node::Hole(hole) = node {
            return Ok(Origin::Hole(hole.index));
        }
        let inputs = node.inputs().into_iter().map(|input| self.add(input, states)).collect::<Result<Vec<_>>>()?;
        let number = self.operators.len();
        let operator = build(node, &mut Numbered { number, states })?;
        let keeps = !matches!(node, Node::Map(_) | Node::Union(_) | Node::Unnest(_) | Node::Window(_));
        self.operators.push(Part { operator, inputs, keeps });
        Ok(Origin::Operator(number))
    }

    /// A round, or a piece of one: `rows` is the change of the recursion's rows, `outers` are those of the other inputs. What expressions fail on is added to
    /// `errors`, what it takes to `spent`.
    ///
    /// # Errors
    /// If an operator fails, or whoever wanted the epoch doesn't any more.
    pub(super) fn run(
        &mut self,
        context: &StepContext<'_>,
        rows: &[Delta],
        outers: &[Vec<Delta>],
        errors: &mut Vec<Delta>,
        spent: &mut Spent,
    ) -> Result<Vec<Delta>> {
        let mut outputs: Vec<Vec<Delta>> = Vec::with_capacity(self.operators.len());
        let find = |origin: Origin, outputs: &[Vec<Delta>]| match origin {
            Origin::Hole(0) => rows.to_vec(),
            Origin::Hole(index) => outers.get(index - 1).cloned().unwrap_or_default(),
            Origin::Operator(index) => outputs[index].clone(),
        };
        let mut most = 0;
        for Part { operator, inputs, keeps } in &mut self.operators {
            if context.stopped.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let inputs: Vec<Vec<Delta>> = inputs.iter().map(|origin| find(*origin, &outputs)).collect();
            let mut deltas = Vec::new();
            if operator.is_pending() || inputs.iter().any(|deltas| !deltas.is_empty()) {
                spent.take_in(&inputs, *keeps);
                let output = operator.step(context, &inputs)?;
                errors.extend(output.errors);
                deltas = output.deltas;
                deltas.retain(|delta| !delta.is_empty());
                most = most.max(deltas.iter().map(Delta::num_rows).sum());
            }
            outputs.push(deltas);
        }
        spent.made_of_piece(most);
        Ok(find(self.output, &outputs))
    }

    pub(super) fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        self.operators.iter_mut().try_for_each(|part| part.operator.checkpoint(workers, changes))
    }

    /// `total` is what all of the recursion's state takes.
    pub(super) fn committed(&mut self, budget_bytes: usize, total: usize) -> Result<()> {
        self.operators.iter_mut().try_for_each(|Part { operator, .. }| {
            let bytes = operator.state_bytes();
            operator.committed(share(budget_bytes, bytes, total))
        })
    }

    /// The sum over all operators.
    pub(super) fn sum(&self, of: impl Fn(&dyn Operator) -> usize) -> usize {
        self.operators.iter().map(|part| of(part.operator.as_ref())).sum()
    }
}

/// The tables of an operator of the step, among those of the recursion.
struct Numbered<'a> {
    number: usize,
    states: &'a mut dyn States,
}

impl States for Numbered<'_> {
    fn state(&mut self, role: &str) -> StateId {
        self.states.state(&format!("step {} {role}", self.number))
    }

    fn given(&self, role: &str) -> Option<StateId> {
        self.states.given(&format!("step {} {role}", self.number))
    }
}
