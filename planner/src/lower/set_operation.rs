//! `INTERSECT ALL` and `EXCEPT ALL`.

use super::lowered::Lowered;
use super::{Lowering, shared};
use crate::Result;
use crate::incremental::{Node, SetOperation};
use crate::query::set_operation::SetOperation as LogicalSetOperation;

impl Lowering<'_> {
    /// The left side's rows, some of them; a row may change its number late, so time doesn't go on by its columns.
    pub(super) fn set_operation(&mut self, operation: &LogicalSetOperation) -> Result<Lowered> {
        let mut output = self.node(&operation.left)?;
        let right = self.node(&operation.right)?.node;
        output.columns.iter_mut().for_each(|column| column.time = None);
        let left = output.node;
        output.node = shared(Node::SetOperation(SetOperation { left, right, kind: operation.kind }));
        Ok(output)
    }
}
