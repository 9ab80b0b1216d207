//! Expressions of the logical plan, which name columns, as expressions of the incremental plan, which number them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DataFusionError, ToDFSchema};
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::temporal;
use crate::incremental::{Node, column_name};
use crate::{Error, Result};

/// Column `index` of an operator's input.
pub(crate) fn column(index: usize) -> Expr {
    Expr::Column(Column::new_unqualified(column_name(index)))
}

/// The position that a numbered column expression refers to; `None` for any other expression.
pub(crate) fn column_index(expression: &Expr) -> Option<usize> {
    match expression {
        Expr::Column(Column { relation: None, name, .. }) => name.strip_prefix('c')?.parse().ok(),
        _ => None,
    }
}

/// The expression over positions instead of names: columns of `schema` become numbers, aliases go.
pub(super) fn positional(expression: &Expr, schema: &DFSchema) -> Result<Expr> {
    let numbered = expression.clone().transform_up(|expression| match expression {
        Expr::Column(name) => Ok(Transformed::yes(column(schema.index_of_column(&name)?))),
        Expr::Alias(alias) => Ok(Transformed::yes(*alias.expr)),
        Expr::OuterReferenceColumn(..)
        | Expr::Exists(_)
        | Expr::InSubquery(_)
        | Expr::ScalarSubquery(_)
        | Expr::SetComparison(_) => {
            let error = Error::unsupported("this form of subquery in a materialized view")
                .with_hint("Write it as a join, or as a condition of WHERE that stands alone.");
            Err(DataFusionError::from(error))
        }
        clock if temporal::is_clock(&clock) => Err(temporal::refused(&clock).into()),
        Expr::Placeholder(parameter) => {
            Err(Error::unsupported(format!("the parameter {} in a materialized view", parameter.id)).into())
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(numbered.data)
}

/// The expression with each numbered column replaced by what `replacement` says.
pub(crate) fn substitute(expression: &Expr, replacement: &dyn Fn(usize) -> Expr) -> Result<Expr> {
    let replaced = expression.clone().transform_up(|expression| match column_index(&expression) {
        Some(index) => Ok(Transformed::yes(replacement(index))),
        None => Ok(Transformed::no(expression)),
    })?;
    Ok(replaced.data)
}

/// How often each of `width` numbered columns stands in an expression, added to `counts`.
pub(crate) fn count_columns(expression: &Expr, counts: &mut [usize]) -> Result<()> {
    expression.apply(|expression| {
        if let Some(index) = column_index(expression) {
            counts[index] += 1;
        }
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The types of an operator's output as a schema of numbered columns. Nullability and names say nothing, so that they don't
/// keep equal work from being shared.
pub(super) fn numbered_schema<'a>(types: impl IntoIterator<Item = &'a DataType>) -> SchemaRef {
    let field = |(index, data_type): (usize, &DataType)| Field::new(column_name(index), data_type.clone(), true);
    Arc::new(Schema::new(types.into_iter().enumerate().map(field).collect::<Vec<_>>()))
}

/// The types of a node's columns under their numbers.
pub(super) fn numbered_columns(node: &Node) -> Result<DFSchema> {
    let schema = numbered_schema(node.schema().fields().iter().map(|field| field.data_type()));
    Ok(schema.to_dfschema()?)
}

/// The types of expressions over a node's columns.
pub(crate) fn types_over(node: &Node, expressions: &[Expr]) -> Result<Vec<DataType>> {
    let schema = numbered_columns(node)?;
    expressions.iter().map(|expression| Ok(expression.get_type(&schema)?)).collect()
}
