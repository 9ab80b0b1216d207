//! The columns of a UNION: what has no type of its own takes that of what stands above or below it, and the types must go together.

use std::sync::Arc;

use catalog::SqlType;
use datafusion::common::Result as DataFusionResult;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, LogicalPlanBuilder, Projection};

use super::operator::{Class, class_of, comparable, is_unknown, resolve, type_name};
use crate::Error;
use crate::error::ErrorKind;

/// The inputs of a UNION, their literals typed.
pub(super) fn resolved(mut inputs: Vec<Arc<LogicalPlan>>) -> DataFusionResult<Vec<Arc<LogicalPlan>>> {
    let width = inputs.iter().map(|input| input.schema().fields().len()).min().unwrap_or(0);
    for column in 0..width {
        let untyped: Vec<bool> = inputs.iter().map(|input| is_untyped(input, column)).collect();
        let typed = inputs.iter().zip(&untyped).filter(|(_, untyped)| !**untyped);
        let types: Vec<SqlType> =
            typed.filter_map(|(input, _)| SqlType::of_field(input.schema().field(column))).collect();
        let Some(first) = types.first() else { continue };
        for other in &types[1..] {
            go_together(first, other)?;
        }
        for (input, _) in inputs.iter_mut().zip(&untyped).filter(|(_, untyped)| **untyped) {
            *input = Arc::new(typed_as(input.as_ref().clone(), column, first)?);
        }
    }
    Ok(inputs)
}

fn go_together(first: &SqlType, other: &SqlType) -> DataFusionResult<()> {
    let (left, right) = (class_of(&first.data_type()), class_of(&other.data_type()));
    if left == Class::Other || right == Class::Other || comparable(left, right) {
        return Ok(());
    }
    let message = format!("UNION types {} and {} cannot be matched", type_name(first), type_name(other));
    Err(Error::new(ErrorKind::DatatypeMismatch, message).into())
}

/// Whether a column is a literal or a parameter that nothing has given a type.
fn is_untyped(plan: &LogicalPlan, column: usize) -> bool {
    match plan {
        LogicalPlan::Projection(projection) => is_unknown(&projection.expr[column].clone().unalias()),
        LogicalPlan::Values(values) => values.values.iter().all(|row| is_unknown(&row[column])),
        LogicalPlan::SubqueryAlias(alias) => is_untyped(&alias.input, column),
        LogicalPlan::Sort(sort) => is_untyped(&sort.input, column),
        LogicalPlan::Limit(limit) => is_untyped(&limit.input, column),
        LogicalPlan::Distinct(Distinct::All(input)) => is_untyped(input, column),
        _ => false,
    }
}

fn typed_as(plan: LogicalPlan, column: usize, sql_type: &SqlType) -> DataFusionResult<LogicalPlan> {
    match plan {
        LogicalPlan::Projection(Projection { mut expr, input, .. }) => {
            let untyped = std::mem::take(&mut expr[column]);
            let (relation, name) = untyped.qualified_name();
            expr[column] = resolve(untyped.unalias(), sql_type)?.alias_qualified(relation, name);
            Ok(LogicalPlan::Projection(Projection::try_new(expr, input)?))
        }
        LogicalPlan::Values(values) => {
            let typed = |mut row: Vec<Expr>| -> DataFusionResult<Vec<Expr>> {
                row[column] = resolve(std::mem::take(&mut row[column]), sql_type)?;
                Ok(row)
            };
            LogicalPlanBuilder::values(values.values.into_iter().map(typed).collect::<DataFusionResult<_>>()?)?.build()
        }
        plan => {
            let typed = plan.map_children(|child| Ok(Transformed::yes(typed_as(child, column, sql_type)?)))?;
            typed.data.recompute_schema()
        }
    }
}
