//! Changes of a recursion's inputs that wait while it has no end.

use std::sync::Arc;

use delta::Delta;
use planner::incremental::Node;
use storage::{ChangeSet, Snapshot};

use super::super::States;
use super::super::row_bag::RowBag;
use crate::Result;
use crate::operator::StepContext;

pub(super) struct Waiting {
    /// By input.
    inputs: Vec<RowBag>,
    /// Whether there are any; `None`: nobody has looked since the start.
    any: Option<bool>,
}

impl Waiting {
    pub(super) fn new<'a>(inputs: impl Iterator<Item = &'a Arc<Node>>, states: &mut dyn States) -> Result<Self> {
        let bag = |(number, node): (usize, &Arc<Node>)| {
            RowBag::new(node.schema(), states.state(&format!("waiting {number}")))
        };
        Ok(Self { inputs: inputs.enumerate().map(bag).collect::<Result<_>>()?, any: None })
    }

    /// Whether any wait.
    pub(super) fn is_any(&mut self, store: &dyn Snapshot) -> Result<bool> {
        if let Some(any) = self.any {
            return Ok(any);
        }
        let mut any = false;
        for bag in &mut self.inputs {
            any |= !bag.rows(store)?.is_empty();
        }
        self.any = Some(any);
        Ok(any)
    }

    pub(super) fn add(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<()> {
        self.any = Some(true);
        self.inputs.iter_mut().zip(inputs).try_for_each(|(bag, deltas)| bag.add(context, deltas))
    }

    /// All that wait, by input.
    pub(super) fn all(&mut self, store: &dyn Snapshot) -> Result<Vec<Vec<Delta>>> {
        self.inputs.iter_mut().map(|bag| Ok(vec![bag.rows(store)?])).collect()
    }

    /// None wait any more.
    pub(super) fn clear(&mut self) {
        self.any = Some(false);
        self.inputs.iter_mut().for_each(RowBag::clear);
    }

    pub(super) fn checkpoint(&mut self, changes: &mut ChangeSet) {
        self.inputs.iter_mut().for_each(|bag| bag.checkpoint(changes));
    }

    pub(super) fn committed(&mut self, budget_bytes: usize, total: usize) {
        self.inputs.iter_mut().for_each(|bag| bag.committed(budget_bytes, total));
    }

    pub(super) fn changed(&self) -> usize {
        self.inputs.iter().map(RowBag::changed).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.inputs.iter().map(RowBag::bytes).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.inputs.iter().map(RowBag::len).sum()
    }
}
