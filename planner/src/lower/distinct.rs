//! `DISTINCT`, and `GROUP BY` without aggregates.

use std::collections::BTreeSet;

use datafusion::logical_expr::LogicalPlan;

use super::aggregate::group_window;
use super::expression::{column, numbered_schema};
use super::lowered::Lowered;
use super::{Lowering, shared};
use crate::Result;
use crate::incremental::{Aggregate, Distinct, Node, OnError};

impl Lowering<'_> {
    pub(super) fn distinct(&mut self, input: &LogicalPlan) -> Result<Lowered> {
        let input = self.node(input)?;
        distinct(input)
    }
}

/// Each row once. Where a column is a window's end, it is an aggregate without calls, whose state goes with the window.
pub(super) fn distinct(input: Lowered) -> Result<Lowered> {
    let mut output = input.clone();
    let mut keys = output.keys.clone();
    keys.push(output.columns.iter().map(|column| column.class).collect::<BTreeSet<_>>());
    output.set_keys(keys);
    output.node = match group_window(&input.columns) {
        None => shared(Node::Distinct(Distinct { input: input.node })),
        window => shared(Node::Aggregate(Aggregate {
            schema: numbered_schema(input.node.schema().fields().iter().map(|field| field.data_type())),
            keys: (0..input.columns.len()).map(column).collect(),
            calls: Vec::new(),
            window,
            on_error: OnError::default(),
            input: input.node,
        })),
    };
    Ok(output)
}
