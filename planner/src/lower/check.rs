//! What can't be kept up to date, found before the optimizer hides it.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Spans};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Subquery, Volatility};
use sql::{Position, Span};

use super::temporal;
use crate::{Error, Result};

/// Refuses a plan that contains what the operators can't do, naming it.
pub(super) fn supported(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node_supported(node)?;
        node.apply_expressions(|expression| {
            expression.apply(|expression| {
                expression_supported(expression)?;
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

fn node_supported(plan: &LogicalPlan) -> std::result::Result<(), DataFusionError> {
    let known = matches!(
        plan,
        LogicalPlan::Aggregate(_)
            | LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::EmptyRelation(_)
            | LogicalPlan::Subquery(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Values(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::RecursiveQuery(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::Distinct(_)
    );
    if known {
        return Ok(());
    }
    let span = plan.expressions().iter().find_map(span_of);
    Err(Error::unsupported(format!("{} in a materialized view", describe(plan))).at(span).into())
}

/// A node of the plan as the user knows it.
pub(super) fn describe(plan: &LogicalPlan) -> &'static str {
    match plan {
        LogicalPlan::Subquery(_) => "LATERAL",
        _ => "this statement",
    }
}

fn expression_supported(expression: &Expr) -> std::result::Result<(), DataFusionError> {
    match expression {
        // It may be in some places, which the walk over the plan knows.
        clock if temporal::is_clock(clock) => Ok(()),
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            let error = Error::unsupported(format!("the function {} in a materialized view", call.func.name()))
                .with_detail("Its result is not a function of the rows, so that the view could not be kept up to date.")
                .at(call.args.iter().find_map(span_of));
            Err(error.into())
        }
        Expr::ScalarSubquery(subquery) => subquery_supported(subquery, false),
        Expr::InSubquery(condition) => subquery_supported(&condition.subquery, false),
        Expr::Exists(condition) => subquery_supported(&condition.subquery, true),
        Expr::WindowFunction(call) if call.params.distinct => {
            let error = Error::unsupported("DISTINCT in a window function of a materialized view");
            Err(error.at(span_of(expression)).into())
        }
        Expr::Placeholder(parameter) => {
            Err(Error::unsupported(format!("the parameter {} in a materialized view", parameter.id)).into())
        }
        _ => Ok(()),
    }
}

/// The rows of a subquery that names columns of the outer query become those of a join: what takes some of them for each outer row, or
/// looks at all of them, would then be about the rows of all outer rows.
fn subquery_supported(subquery: &Subquery, exists: bool) -> std::result::Result<(), DataFusionError> {
    if subquery.outer_ref_columns.is_empty() {
        return Ok(());
    }
    subquery.subquery.apply(|plan| {
        let what = match plan {
            // Whether there is a row doesn't depend on how many are taken.
            LogicalPlan::Limit(limit) if exists && limit.skip.is_none() => return Ok(TreeNodeRecursion::Continue),
            LogicalPlan::Limit(_) => "LIMIT or OFFSET",
            LogicalPlan::Window(_) => "a window function",
            LogicalPlan::Distinct(Distinct::On(_)) => "DISTINCT ON",
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        let error = Error::unsupported(format!("{what} in a subquery for each outer row of a materialized view"));
        Err(error.at(subquery.outer_ref_columns.iter().find_map(span_of).or_else(|| span_in(plan))).into())
    })?;
    Ok(())
}

/// Where the first column that a plan names stands in the statement.
pub(super) fn span_in(plan: &LogicalPlan) -> Option<Span> {
    let mut found = None;
    let walk = plan.apply(|node| {
        found = node.expressions().iter().find_map(span_of);
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walk.ok().and(found)
}

/// Where the first column of an expression stands in the statement.
pub(crate) fn span_of(expression: &Expr) -> Option<Span> {
    let mut found = None;
    let walk = expression.apply(|expression| {
        let first = expression.spans().and_then(Spans::first);
        found = first.map(|span| Span { start: position(span.start), end: position(span.end) });
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walk.ok().and(found)
}

fn position(location: datafusion::common::Location) -> Position {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    Position { line: number(location.line), column: number(location.column) }
}
