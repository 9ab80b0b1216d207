//! Aggregates over a subquery that has an order: `array_agg(x) FROM (SELECT … ORDER BY y) AS s` takes the values in that order, as PostgreSQL's do. The order becomes
//! the aggregate's own; a view's rows have none, and an ad-hoc query's come as they are read.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Sort as Key};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Aggregate, Expr, Filter, Limit, LogicalPlan, Projection, SubqueryAlias};

/// What depends on the order of its rows.
const ORDERED: [&str; 4] = ["array_agg", "string_agg", "first_value", "last_value"];

/// Gives such aggregates of a bound plan the order of what they are over.
pub(super) fn aggregates(plan: LogicalPlan) -> Result<LogicalPlan> {
    let ordered = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(Transformed::no(node)) };
        if !aggregate.aggr_expr.iter().any(|call| call.exists(|part| Ok(lacks_order(part))).unwrap_or(false)) {
            return Ok(Transformed::no(node));
        }
        let Some((input, order)) = ordered(&aggregate.input, false)? else { return Ok(Transformed::no(node)) };
        let names = NamePreserver::new(&node);
        let calls = aggregate.aggr_expr.iter().map(|call| {
            let name = names.save(call);
            let ordered = call.clone().transform_up(|part| match part {
                Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
                    let call =
                        Expr::AggregateFunction(AggregateFunction { func: func.clone(), params: params.clone() });
                    if !lacks_order(&call) {
                        return Ok(Transformed::no(call));
                    }
                    params.order_by.clone_from(&order);
                    Ok(Transformed::yes(Expr::AggregateFunction(AggregateFunction { func, params })))
                }
                part => Ok(Transformed::no(part)),
            })?;
            Ok(name.restore(ordered.data))
        });
        let calls = calls.collect::<Result<Vec<_>>>()?;
        let groups = aggregate.group_expr.clone();
        Ok(Transformed::yes(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), groups, calls)?)))
    })?;
    Ok(ordered.data)
}

fn lacks_order(expr: &Expr) -> bool {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = expr else { return false };
    ORDERED.contains(&func.name()) && params.order_by.is_empty() && !params.distinct
}

/// A plan whose last clause is an order, without it, with the columns that the order needs behind its own; and the order over its columns. `some`: rows
/// are taken by the order, so that it stays.
fn ordered(plan: &LogicalPlan, some: bool) -> Result<Option<(LogicalPlan, Vec<Key>)>> {
    match plan {
        LogicalPlan::Sort(sort) => {
            let plan = if some || sort.fetch.is_some() { plan.clone() } else { sort.input.as_ref().clone() };
            Ok(Some((plan, sort.expr.clone())))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let Some((input, order)) = ordered(&alias.input, some)? else { return Ok(None) };
            let inner = input.schema().columns();
            let alias = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?);
            let outer = alias.schema().columns();
            let place = |column: &Column| inner.iter().position(|known| known == column).map(|at| outer[at].clone());
            Ok(renamed(order, place)?.map(|order| (alias, order)))
        }
        LogicalPlan::Projection(projection) => {
            let Some((input, order)) = ordered(&projection.input, some)? else { return Ok(None) };
            let names = projection.schema.columns();
            let mut expressions = projection.expr.clone();
            let mut added: Vec<(Column, Column)> = Vec::new();
            for column in order.iter().flat_map(|key| key.expr.column_refs()) {
                let is_it = |expr: &Expr| matches!(expr.clone().unalias(), Expr::Column(known) if known == *column);
                if added.iter().any(|(known, _)| known == column) {
                    continue;
                }
                let name = match projection.expr.iter().position(is_it) {
                    Some(place) => names[place].clone(),
                    None => {
                        let name = Column::new_unqualified(format!("ordered by {}", expressions.len()));
                        expressions.push(Expr::Column(column.clone()).alias(&name.name));
                        name
                    }
                };
                added.push((column.clone(), name));
            }
            let place = |column: &Column| added.iter().find(|(known, _)| known == column).map(|(_, name)| name.clone());
            let Some(order) = renamed(order, place)? else { return Ok(None) };
            let projection = Projection::try_new(expressions, Arc::new(input))?;
            Ok(Some((LogicalPlan::Projection(projection), order)))
        }
        LogicalPlan::Filter(filter) => {
            let Some((input, order)) = ordered(&filter.input, some)? else { return Ok(None) };
            Ok(Some((LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), Arc::new(input))?), order)))
        }
        LogicalPlan::Limit(limit) => {
            let Some((input, order)) = ordered(&limit.input, true)? else { return Ok(None) };
            Ok(Some((LogicalPlan::Limit(Limit { input: Arc::new(input), ..limit.clone() }), order)))
        }
        _ => Ok(None),
    }
}

/// An order with other columns; `None` if one of them isn't there, or a key is a subquery.
fn renamed(order: Vec<Key>, place: impl Fn(&Column) -> Option<Column>) -> Result<Option<Vec<Key>>> {
    let mut missing = false;
    let keys = order.into_iter().map(|key| {
        let renamed = key.expr.clone().transform_up(|part| match &part {
            Expr::Column(column) => match place(column) {
                Some(column) => Ok(Transformed::yes(Expr::Column(column))),
                None => {
                    missing = true;
                    Ok(Transformed::no(part))
                }
            },
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) => {
                missing = true;
                Ok(Transformed::no(part))
            }
            _ => Ok(Transformed::no(part)),
        })?;
        Ok(key.with_expr(renamed.data))
    });
    let keys = keys.collect::<Result<Vec<_>>>()?;
    Ok((!missing).then_some(keys))
}
