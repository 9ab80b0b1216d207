//! The recursive term: a graph of operators inside of one operator, which an epoch runs many times.

use delta::Delta;
use planner::incremental::Node;
use storage::{ChangeSet, StateId};

use super::super::shards::share;
use super::super::{States, build};
use crate::Result;
use crate::operator::{Operator, StepContext};

/// Operators, each behind those that it reads.
pub(super) struct Step {
    operators: Vec<(Box<dyn Operator>, Vec<Origin>)>,
    output: Origin,
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
        self.operators.push((operator, inputs));
        Ok(Origin::Operator(number))
    }

    /// One round: `rows` is the change of the recursion's rows, `outers` are those of the other inputs. What expressions fail on is added to
    /// `errors`.
    pub(super) fn run(
        &mut self,
        context: &StepContext<'_>,
        rows: &[Delta],
        outers: &[Vec<Delta>],
        errors: &mut Vec<Delta>,
    ) -> Result<Vec<Delta>> {
        let mut outputs: Vec<Vec<Delta>> = Vec::with_capacity(self.operators.len());
        let find = |origin: Origin, outputs: &[Vec<Delta>]| match origin {
            Origin::Hole(0) => rows.to_vec(),
            Origin::Hole(index) => outers.get(index - 1).cloned().unwrap_or_default(),
            Origin::Operator(index) => outputs[index].clone(),
        };
        for (operator, inputs) in &mut self.operators {
            let inputs: Vec<Vec<Delta>> = inputs.iter().map(|origin| find(*origin, &outputs)).collect();
            let mut deltas = Vec::new();
            if operator.is_pending() || inputs.iter().any(|deltas| !deltas.is_empty()) {
                let output = operator.step(context, &inputs)?;
                errors.extend(output.errors);
                deltas = output.deltas;
                deltas.retain(|delta| !delta.is_empty());
            }
            outputs.push(deltas);
        }
        Ok(find(self.output, &outputs))
    }

    pub(super) fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        self.operators.iter_mut().try_for_each(|(operator, _)| operator.checkpoint(workers, changes))
    }

    /// `total` is what all of the recursion's state takes.
    pub(super) fn committed(&mut self, budget_bytes: usize, total: usize) -> Result<()> {
        self.operators.iter_mut().try_for_each(|(operator, _)| {
            let bytes = operator.state_bytes();
            operator.committed(share(budget_bytes, bytes, total))
        })
    }

    /// The sum over all operators.
    pub(super) fn sum(&self, of: impl Fn(&dyn Operator) -> usize) -> usize {
        self.operators.iter().map(|(operator, _)| of(operator.as_ref())).sum()
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
}
