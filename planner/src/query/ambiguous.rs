//! Names that fit two columns of a subquery.
//!
//! A subquery may have two columns of one name, as long as nobody calls them by it. DataFusion's planner, which can't have two, calls the second
//! `name:1`, and takes `name` for the first.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result as DataFusionResult};
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::Error;
use crate::error::ErrorKind;

/// Fails if an expression of a node names, as the statement has it, what stands for two columns of its input.
pub(super) fn check(plan: &LogicalPlan, input: &DFSchema) -> DataFusionResult<()> {
    // ORDER BY may name a column that stands twice in the SELECT list.
    if matches!(plan, LogicalPlan::Sort(_)) || !input.fields().iter().any(|field| field.name().contains(':')) {
        return Ok(());
    }
    plan.apply_expressions(|expr| {
        expr.apply(|expr| match expr {
            // What a wildcard stands for has no place in the text.
            Expr::Column(column) if column.spans.first().is_some() && has_twin(column, plan, input)? => {
                let message = format!("column reference \"{}\" is ambiguous", column.name);
                let span = column.spans.first().map(super::datafusion_error::of_plan_span);
                Err(Error::new(ErrorKind::AmbiguousColumn, message).at(span).into())
            }
            _ => Ok(TreeNodeRecursion::Continue),
        })
    })?;
    Ok(())
}

fn has_twin(column: &Column, plan: &LogicalPlan, input: &DFSchema) -> DataFusionResult<bool> {
    let twins = input.iter().filter(|(relation, field)| {
        original(field.name()) == Some(&column.name)
            && (column.relation.is_none() || column.relation.as_ref() == *relation)
    });
    for (_, twin) in twins {
        if !is_stored(twin.name(), plan)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `name` of `name:1`.
fn original(name: &str) -> Option<&str> {
    let (name, number) = name.rsplit_once(':')?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

/// Whether a relation has a column that is really called so.
fn is_stored(name: &str, plan: &LogicalPlan) -> DataFusionResult<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && scan.source.schema().column_with_name(name).is_some()
        {
            found = true;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// What the columns of a plan are called that DataFusion's planner calls otherwise, each with its name in the plan.
pub(super) fn renamed(plan: &LogicalPlan) -> DataFusionResult<Vec<(String, String)>> {
    let mut names = Vec::new();
    for field in plan.schema().fields() {
        let Some(name) = original(field.name()) else { continue };
        if plan.schema().has_column_with_unqualified_name(name) && !is_stored(field.name(), plan)? {
            names.push((field.name().clone(), name.to_owned()));
        }
    }
    Ok(names)
}
