//! Subqueries in expressions of which DataFusion makes no join: those that take arrays of the outer row apart (`WHERE EXISTS (SELECT 1 FROM
//! unnest(t.tags) AS tag WHERE …)`), aggregates of rows that are picked by anything but equalities (`(SELECT max(v) FROM u WHERE u.at < t.at)`), and
//! conditions over the first rows for each outer row.
//!
//! They are aggregates for each outer row, so they become a lateral join of one row, whose column stands in their place.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprSchemable, FetchType, Filter, Limit, LogicalPlan, Operator, Subquery,
    SubqueryAlias, lit,
};

use super::attach::{has_unnest, is_set_operation};
use super::{columns, is_datafusions, of_join, outer_references, project, referred};
use crate::query::scalar_subquery::{is_aggregate, one_row};

/// The node without such subqueries in its expressions, if it has any.
pub(super) fn joined(node: &LogicalPlan, number: &mut usize) -> Result<Option<LogicalPlan>> {
    let (LogicalPlan::Filter(_) | LogicalPlan::Projection(_)) = node else { return Ok(None) };
    let mut found = false;
    node.apply_expressions(|expr| {
        found |= expr.exists(|expr| Ok(is_subquery(expr)))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !found {
        return Ok(None);
    }
    let mut input = node.inputs()[0].clone();
    let visible: Vec<Expr> = columns(input.schema()).collect();
    let before = *number;
    let mut replaced = Vec::new();
    let preserver = NamePreserver::new(node);
    for expr in node.expressions() {
        let name = preserver.save(&expr);
        let is_condition = matches!(node, LogicalPlan::Filter(_));
        let expr = match is_condition {
            true => replace_condition(expr, &mut input, number)?,
            false => replace_within(expr, &mut input, number)?,
        };
        replaced.push(name.restore(expr));
    }
    if *number == before {
        return Ok(None);
    }
    match (node, replaced.pop()) {
        (LogicalPlan::Filter(_), Some(predicate)) => {
            let filter = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?);
            project(filter, visible).map(Some)
        }
        (_, last) => project(input, replaced.into_iter().chain(last).collect()).map(Some),
    }
}

/// The plan of a subquery in an expression.
pub(super) fn plan_of(expr: &Expr) -> Option<&LogicalPlan> {
    match expr {
        Expr::ScalarSubquery(subquery) => Some(&subquery.subquery),
        Expr::Exists(exists) => Some(&exists.subquery.subquery),
        Expr::InSubquery(membership) => Some(&membership.subquery.subquery),
        Expr::SetComparison(comparison) => Some(&comparison.subquery.subquery),
        _ => None,
    }
}

/// Whether an expression is a subquery.
pub(super) fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_))
}

/// In a condition: what AND and OR connect may as well be false as NULL.
fn replace_condition(expr: Expr, input: &mut LogicalPlan, number: &mut usize) -> Result<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let left = replace_condition(*left, input, number)?;
            let right = replace_condition(*right, input, number)?;
            Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        Expr::InSubquery(_) => Ok(replace(expr, input, number, true)?.data),
        other => replace_within(other, input, number),
    }
}

fn replace_within(expr: Expr, input: &mut LogicalPlan, number: &mut usize) -> Result<Expr> {
    Ok(expr.transform_up(|expr| replace(expr, input, number, false))?.data)
}

fn replace(expr: Expr, input: &mut LogicalPlan, number: &mut usize, is_condition: bool) -> Result<Transformed<Expr>> {
    let replaced = match &expr {
        Expr::ScalarSubquery(subquery) if is_referring(subquery, input)? => {
            let one = one_row(subquery.clone())?.data;
            let schema = input.schema().clone();
            let is_join = |subquery: &Subquery| -> Result<bool> {
                let plan = &subquery.subquery;
                Ok(!has_unnest(plan)
                    && !nests(plan, &schema)?
                    && is_datafusions(plan, &schema, |condition| !condition.contains_outer())?)
            };
            let one = one.transform_up(|expr| match &expr {
                Expr::ScalarSubquery(subquery) if is_aggregate(&subquery.subquery) && !is_join(subquery)? => {
                    let column = join(subquery.subquery.as_ref().clone(), input, number)?;
                    Ok(column.map_or(Transformed::no(expr), Transformed::yes))
                }
                _ => Ok(Transformed::no(expr)),
            })?;
            one.transformed.then_some(one.data)
        }
        Expr::Exists(Exists { subquery, negated }) if is_wanted(subquery, input, true)? => {
            let rows = number_of_rows(subquery.subquery.as_ref().clone())?;
            let number = join(rows, input, number)?;
            number.map(|number| if *negated { number.eq(lit(0_i64)) } else { number.gt(lit(0_i64)) })
        }
        // Where NULL and false are the same.
        Expr::InSubquery(InSubquery { expr: value, subquery, negated: false })
            if is_condition && is_wanted(subquery, input, false)? =>
        {
            let plan = subquery.subquery.as_ref().clone();
            let [element] = plan
                .schema()
                .columns()
                .try_into()
                .map_err(|_| crate::Error::new(crate::error::ErrorKind::Syntax, "subquery has too many columns"))?;
            let value = outward(value.as_ref().clone(), input)?;
            let equal = LogicalPlan::Filter(Filter::try_new(value.eq(Expr::Column(element)), Arc::new(plan))?);
            join(number_of_rows(equal)?, input, number)?.map(|number| number.gt(lit(0_i64)))
        }
        _ => None,
    };
    Ok(replaced.map_or(Transformed::no(expr), Transformed::yes))
}

/// Whether a subquery refers to columns of the input.
fn is_referring(subquery: &Subquery, input: &LogicalPlan) -> Result<bool> {
    Ok(!referred(&subquery.subquery, input.schema())?.is_empty())
}

/// Whether it also takes arrays apart, or some of the rows, or looks at several of them; an aggregate has a row of no rows, too;
/// or combines the rows of queries that refer to those columns, or joins aggregates that do, or has such subqueries of its own.
fn is_wanted(subquery: &Subquery, input: &LogicalPlan, exists: bool) -> Result<bool> {
    let plan = &subquery.subquery;
    let own = has_unnest(plan)
        || takes_some(plan, exists)
        || is_aggregate(plan)
        || combines(plan)?
        || reaches_out(plan, input.schema())?;
    Ok(own && is_referring(subquery, input)?)
}

/// Whether what refers to columns of the schema is two levels below them, or was.
pub(super) fn reaches_out(plan: &LogicalPlan, schema: &DFSchema) -> Result<bool> {
    Ok(joins_aggregates(plan, schema, false)? || nests(plan, schema)?)
}

/// Whether a subquery in an expression within refers to columns of the schema.
fn nests(plan: &LogicalPlan, schema: &DFSchema) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Some(plan) = plan_of(expr) {
                    found |= !referred(plan, schema)?.is_empty();
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Whether an aggregate on a side of a join refers to columns of the schema: DataFusion takes no condition out of it. A subquery two levels below those columns
/// became such a side.
fn joins_aggregates(plan: &LogicalPlan, schema: &DFSchema, is_side: bool) -> Result<bool> {
    if is_side && matches!(plan, LogicalPlan::Aggregate(_)) {
        return Ok(!referred(plan, schema)?.is_empty());
    }
    let is_side = is_side || matches!(plan, LogicalPlan::Join(_));
    plan.inputs().into_iter().try_fold(false, |found, input| Ok(found || joins_aggregates(input, schema, is_side)?))
}

/// Whether there is a row at all doesn't depend on how many are taken.
pub(in crate::query) fn takes_some(plan: &LogicalPlan, exists: bool) -> bool {
    let takes = match plan {
        LogicalPlan::Limit(limit) => !exists || limit.skip.is_some() || !lets_rows_through(limit),
        LogicalPlan::Window(_) | LogicalPlan::Distinct(Distinct::On(_)) => true,
        _ => false,
    };
    // Below a condition it matters which rows are taken.
    let same = matches!(plan, LogicalPlan::Projection(_) | LogicalPlan::Sort(_) | LogicalPlan::SubqueryAlias(_));
    takes || plan.inputs().into_iter().any(|input| takes_some(input, exists && same))
}

fn lets_rows_through(limit: &Limit) -> bool {
    matches!(limit.get_fetch_type(), Ok(FetchType::Literal(None | Some(1..))))
}

/// Whether UNION, INTERSECT or EXCEPT stand in it, of queries that refer to an outer row.
pub(super) fn combines(plan: &LogicalPlan) -> Result<bool> {
    let here = match plan {
        LogicalPlan::Union(_) => true,
        LogicalPlan::Join(join) => is_set_operation(join),
        _ => false,
    };
    if here && !outer_references(plan)?.is_empty() {
        return Ok(true);
    }
    plan.inputs().into_iter().try_fold(false, |found, input| Ok(found || combines(input)?))
}

fn number_of_rows(plan: LogicalPlan) -> Result<LogicalPlan> {
    let calls = vec![count(lit(1_i64)).alias("rows")];
    Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(plan), vec![], calls)?))
}

/// Joins the one row of a plan to the input; the plan's column, if that can be done.
fn join(plan: LogicalPlan, input: &mut LogicalPlan, number: &mut usize) -> Result<Option<Expr>> {
    let [column] = plan
        .schema()
        .columns()
        .try_into()
        .map_err(|_| crate::Error::new(crate::error::ErrorKind::Syntax, "subquery must return only one column"))?;
    let next = *number + 1;
    let alias = format!("subquery{next}");
    let plan = project(plan, vec![Expr::Column(column).alias("value")])?;
    let outer_ref_columns = plan.all_out_ref_exprs();
    let subquery = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Default::default() };
    let right = SubqueryAlias::try_new(Arc::new(LogicalPlan::Subquery(subquery)), alias.as_str())?;
    let right = LogicalPlan::SubqueryAlias(right);
    let LogicalPlan::Join(lateral) = super::join_on(input.clone(), right, None, JoinType::Inner)? else {
        return Ok(None);
    };
    let Some(joined) = of_join(&lateral, next)? else { return Ok(None) };
    // Only what was joined counts: a node without a join is done.
    *number = next;
    *input = joined;
    Ok(Some(Expr::Column(Column::new(Some(alias), "value"))))
}

/// An expression over the input as the subquery sees it.
pub(super) fn outward(expr: Expr, input: &LogicalPlan) -> Result<Expr> {
    let outward = expr.transform_up(|expr| match &expr {
        Expr::Column(column) => {
            let (_, field) = Expr::Column(column.clone()).to_field(input.schema())?;
            Ok(Transformed::yes(Expr::OuterReferenceColumn(field, column.clone())))
        }
        _ => Ok(Transformed::no(expr)),
    })?;
    Ok(outward.data)
}
