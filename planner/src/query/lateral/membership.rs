//! `x [NOT] IN (SELECT y …)` where NULL is not the same as false, which DataFusion's joins don't tell apart.
//!
//! - As a condition, and under AND and OR in one, `x IN` may be false as well as NULL, and is left to the joins. `x NOT IN` alone is too, if the subquery doesn't
//!   refer to the outer row; else it is that no `y` is equal or, by a NULL, may be.
//! - As a value it is true if there is an equal `y`, else NULL if there is one that may be equal, else false.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Expr, ExprSchemable, Filter, LogicalPlan, Operator, Subquery, lit, when,
};

use super::subquery::{combines, outward, reaches_out, takes_some};
use super::{columns, project, referred};
use crate::query::scalar_subquery::is_aggregate;

/// The node with such subqueries in another form.
pub(super) fn told_apart(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let (LogicalPlan::Filter(_) | LogicalPlan::Projection(_)) = node else { return Ok(Transformed::no(node)) };
    let input = node.inputs()[0].clone();
    let names = NamePreserver::new(&node);
    let is_filter = matches!(node, LogicalPlan::Filter(_));
    node.map_expressions(|expr| {
        let name = names.save(&expr);
        let told = match is_filter {
            true => condition(expr, &input, true)?,
            false => value(expr, &input, false)?,
        };
        Ok(told.update_data(|expr| name.restore(expr)))
    })
}

/// A condition, or a part of one that may be false as well as NULL. `alone`: AND alone stands above it.
fn condition(expr: Expr, input: &LogicalPlan, alone: bool) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let alone = alone && op == Operator::And;
            let (left, right) = (condition(*left, input, alone)?, condition(*right, input, alone)?);
            let changed = left.transformed || right.transformed;
            let expr = Expr::BinaryExpr(BinaryExpr::new(Box::new(left.data), op, Box::new(right.data)));
            Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
        }
        Expr::InSubquery(membership) if !membership.negated => apart(membership, input),
        Expr::InSubquery(membership) => {
            let by_join = (alone && !refers(&membership.subquery, input)?) || !may_be_null(&membership, input)?;
            match by_join && !is_of_each(&membership.subquery, input)? {
                true => apart(membership, input),
                false => {
                    let subquery = rows(&membership, input, Expr::is_not_false)?;
                    Ok(Transformed::yes(Expr::Exists(Exists { subquery, negated: true })))
                }
            }
        }
        other => value(other, input, true),
    }
}

/// The element under a name of its own where a cast would take that of the column, which the subquery's conditions need beside it.
fn apart(membership: InSubquery, input: &LogicalPlan) -> Result<Transformed<Expr>> {
    let plan = &membership.subquery.subquery;
    let [element] = plan.schema().fields().as_ref() else { return Ok(Transformed::no(Expr::InSubquery(membership))) };
    let same = *element.data_type() == membership.expr.get_type(input.schema())?;
    if same || membership.subquery.outer_ref_columns.is_empty() {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    }
    let named = columns(plan.schema()).map(|column| column.alias("in")).collect();
    let subquery = membership.subquery.with_plan(Arc::new(project(plan.as_ref().clone(), named)?));
    Ok(Transformed::yes(Expr::InSubquery(InSubquery { subquery, ..membership })))
}

/// A subquery in an expression as a value in a projection's list; a comparison with ANY or ALL has no such form yet.
pub(super) fn as_value(expr: &Expr, input: &LogicalPlan) -> Result<Option<Expr>> {
    Ok(match expr {
        Expr::ScalarSubquery(_) => Some(expr.clone()),
        Expr::Exists(Exists { subquery, negated }) => {
            let rows = number(subquery.clone())?;
            Some(if *negated { rows.eq(lit(0_i64)) } else { rows.gt(lit(0_i64)) })
        }
        // An expression over this input still, which the projection takes as it is.
        Expr::InSubquery(_) => Some(value(expr.clone(), input, false)?.data),
        _ => None,
    })
}

/// `exists`: DataFusion knows EXISTS here, else only the number of rows.
fn value(expr: Expr, input: &LogicalPlan, exists: bool) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::InSubquery(membership)
            if !exists || is_of_each(&membership.subquery, input)? || may_be_null(&membership, input)? =>
        {
            let negated = membership.negated;
            let there = |test: fn(Expr) -> Expr| -> Result<Expr> {
                let subquery = rows(&membership, input, test)?;
                match exists {
                    true => Ok(Expr::Exists(Exists { subquery, negated: false })),
                    false => Ok(number(subquery)?.gt(lit(0_i64))),
                }
            };
            let null = Expr::Literal(ScalarValue::Boolean(None), None);
            let value = when(there(|equal| equal)?, lit(!negated)).when(there(Expr::is_null)?, null);
            Ok(Transformed::yes({ value }.otherwise(lit(negated))?))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// The rows of the subquery whose comparison with the value passes a test.
fn rows(membership: &InSubquery, input: &LogicalPlan, test: fn(Expr) -> Expr) -> Result<Subquery> {
    let plan = &membership.subquery.subquery;
    let [element] = plan
        .schema()
        .columns()
        .try_into()
        .map_err(|_| crate::Error::new(crate::error::ErrorKind::Syntax, "subquery has too many columns"))?;
    let equal = outward(membership.expr.as_ref().clone(), input)?.eq(Expr::Column(element));
    let plan = Arc::new(LogicalPlan::Filter(Filter::try_new(test(equal), plan.clone())?));
    let outer_ref_columns = plan.all_out_ref_exprs();
    Ok(Subquery { subquery: plan, outer_ref_columns, spans: membership.subquery.spans.clone() })
}

fn number(subquery: Subquery) -> Result<Expr> {
    let calls = vec![count(lit(1_i64)).alias("rows")];
    let plan = Arc::new(LogicalPlan::Aggregate(Aggregate::try_new(subquery.subquery, vec![], calls)?));
    let outer_ref_columns = plan.all_out_ref_exprs();
    Ok(Expr::ScalarSubquery(Subquery { subquery: plan, outer_ref_columns, spans: subquery.spans }))
}

/// Whether the rows of each outer row are an aggregate, or some of several, or come of several queries, or refer two levels out, of which no plain join
/// is made.
fn is_of_each(subquery: &Subquery, input: &LogicalPlan) -> Result<bool> {
    let plan = &subquery.subquery;
    Ok(refers(subquery, input)?
        && (is_aggregate(plan) || takes_some(plan, false) || combines(plan)? || reaches_out(plan, input.schema())?))
}

/// Whether a subquery refers to the outer row, by itself or in one of its own.
fn refers(subquery: &Subquery, input: &LogicalPlan) -> Result<bool> {
    Ok(!subquery.outer_ref_columns.is_empty() || !referred(&subquery.subquery, input.schema())?.is_empty())
}

fn may_be_null(membership: &InSubquery, input: &LogicalPlan) -> Result<bool> {
    let plan = &membership.subquery.subquery;
    let elements = plan.schema().fields().iter().any(|field| field.is_nullable());
    Ok(elements || membership.expr.nullable(input.schema())?)
}
