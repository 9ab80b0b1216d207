//! `UNNEST`, and the set-returning functions that are an UNNEST of an array.

use datafusion::common::NullHandling;
use datafusion::logical_expr::Unnest as LogicalUnnest;

use super::expression::numbered_schema;
use super::lowered::{ColumnInfo, Lowered};
use super::{Lowering, shared};
use crate::incremental::{Node, Unnest};
use crate::{Error, Result};

impl Lowering<'_> {
    /// Each row once per element; what identified a row no longer does.
    pub(super) fn unnest(&mut self, unnest: &LogicalUnnest) -> Result<Lowered> {
        let input = self.node(&unnest.input)?;
        let lists: Vec<usize> = unnest.list_type_columns.iter().map(|(index, _)| *index).collect();
        let deep = unnest.list_type_columns.iter().any(|(_, list)| list.depth != 1);
        let twice = (1..lists.len()).any(|index| lists[..index].contains(&lists[index]));
        if deep || twice || !unnest.struct_type_columns.is_empty() {
            return Err(Error::unsupported("UNNEST of nested values in a materialized view")
                .with_hint("Take them apart one level after the other, in subqueries."));
        }
        let keeps_empty = match unnest.options.null_handling {
            NullHandling::Drop => false,
            NullHandling::PreserveAndExpandEmpty => true,
            NullHandling::Preserve => return Err(Error::internal("an UNNEST that keeps NULL but not empty arrays")),
        };
        let types: Vec<_> = unnest.schema.fields().iter().map(|field| field.data_type().clone()).collect();
        let columns = unnest.dependency_indices.clone();
        let free = input.free_class();
        let column_info = |(position, index): (usize, &usize)| match lists.contains(index) {
            true => ColumnInfo::unknown(free + position),
            false => input.columns[*index].clone(),
        };
        Ok(Lowered {
            columns: columns.iter().enumerate().map(column_info).collect(),
            keys: Vec::new(),
            node: shared(Node::Unnest(Unnest {
                input: input.node,
                lists,
                columns,
                keeps_empty,
                schema: numbered_schema(&types),
            })),
        })
    }
}
