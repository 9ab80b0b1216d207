//! `UNION ALL`; `UNION` arrives as a DISTINCT over it.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, ExprSchemable, Union as LogicalUnion};

use super::expression::{column, numbered_columns, numbered_schema};
use super::lowered::{ColumnInfo, Lowered, both_bounds};
use super::map::project;
use super::{Lowering, shared};
use crate::Result;
use crate::incremental::{Node, Union};

impl Lowering<'_> {
    pub(super) fn union(&mut self, union: &LogicalUnion) -> Result<Lowered> {
        let inputs = union.inputs.iter().map(|input| cast_to(self.node(input)?, &union.schema));
        united(inputs.collect::<Result<Vec<_>>>()?, &union.schema)
    }
}

/// All rows of the inputs, whose columns have the types of the schema.
pub(super) fn united(inputs: Vec<Lowered>, schema: &DFSchema) -> Result<Lowered> {
    let types: Vec<_> = schema.fields().iter().map(|field| field.data_type()).collect();
    let column_info = |index: usize| {
        let of = |input: &Lowered| input.columns[index].clone();
        let unknown = ColumnInfo::unknown(index);
        let common = |a: ColumnInfo, b: ColumnInfo| ColumnInfo {
            class: index,
            not_null: a.not_null && b.not_null,
            time: both_bounds(a.time.as_ref(), b.time.as_ref()),
        };
        ColumnInfo { class: index, ..inputs.iter().map(of).reduce(common).unwrap_or(unknown) }
    };
    Ok(Lowered {
        columns: (0..types.len()).map(column_info).collect(),
        keys: Vec::new(),
        node: shared(Node::Union(Union { schema: numbered_schema(types), inputs: flatten(&inputs) })),
    })
}

/// A union of unions is one union.
fn flatten(inputs: &[Lowered]) -> Vec<Arc<Node>> {
    let nodes = inputs.iter().flat_map(|input| match &*input.node {
        Node::Union(inner) => inner.inputs.clone(),
        _ => vec![input.node.clone()],
    });
    nodes.collect()
}

/// The input with the types that the union has; the analyzer has put casts where they differ, this is for what the optimizer did since.
pub(super) fn cast_to(input: Lowered, schema: &DFSchema) -> Result<Lowered> {
    let own = numbered_columns(&input.node)?;
    let types = || own.fields().iter().zip(schema.fields());
    if types().all(|(a, b)| a.data_type() == b.data_type()) {
        return Ok(input);
    }
    let cast = |(index, (_, wanted)): (usize, (_, &arrow::datatypes::FieldRef))| -> Result<Expr> {
        Ok(column(index).cast_to(wanted.data_type(), &own)?)
    };
    let expressions = types().enumerate().map(cast).collect::<Result<Vec<_>>>()?;
    project(input, expressions)
}
