//! Aggregates over a subquery that has an order: `array_agg(x) FROM (SELECT … ORDER BY y) AS s` takes the values in that order, as PostgreSQL's do. The order becomes
//! the aggregate's own; a view's rows have none, and an ad-hoc query's come as they are read.
//!
//! DataFusion's planner drops the order of a subquery that has no LIMIT. So [`kept`] gives it an OFFSET of nothing, which [`aggregates`] takes away again.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Sort as Key};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Aggregate, Expr, FetchType, Filter, Limit, LogicalPlan, Projection, SkipType, SubqueryAlias,
};
use sql::ast::{
    self, FunctionArguments, LimitClause, Offset, OffsetRows, Query, TableFactor, Value, Visitor, VisitorMut,
};
use sql::walk;

use super::name::folded;

/// What depends on the order of its rows.
const ORDERED: [&str; 2] = ["array_agg", "string_agg"];

/// What becomes such an aggregate.
const WRITTEN: [&str; 6] = ["array_agg", "string_agg", "json_agg", "jsonb_agg", "json_object_agg", "jsonb_object_agg"];

/// Keeps the orders of subqueries in FROM and in WITH, if a query has such aggregates.
pub(super) fn kept(query: &mut Query) {
    if walk::read(query, &mut Finder).is_break() {
        let _never_breaks = walk::change(query, &mut Keep);
    }
}

struct Finder;

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        let ast::Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let name = function.name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
        let unordered = match &function.args {
            FunctionArguments::List(list) => list.clauses.is_empty() && list.duplicate_treatment.is_none(),
            _ => false,
        };
        match unordered && function.over.is_none() && WRITTEN.contains(&name.as_str()) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

struct Keep;

impl VisitorMut for Keep {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let with = query.with.as_mut().filter(|with| !with.recursive);
        with.into_iter().flat_map(|with| &mut with.cte_tables).for_each(|table| keep(&mut table.query));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived { subquery, .. } = factor {
            keep(subquery);
        }
        ControlFlow::Continue(())
    }
}

/// Keeps the order of one of them.
pub(super) fn keep(query: &mut Query) {
    if query.order_by.is_some() && query.limit_clause.is_none() && query.fetch.is_none() {
        let value = ast::Expr::value(Value::Number("0".to_owned(), false));
        let offset = Some(Offset { value, rows: OffsetRows::None });
        query.limit_clause = Some(LimitClause::LimitOffset { limit: None, offset, limit_by: Vec::new() });
    }
}

/// Whether all rows pass.
fn is_all(limit: &Limit) -> bool {
    matches!(limit.get_skip_type(), Ok(SkipType::Literal(0)))
        && matches!(limit.get_fetch_type(), Ok(FetchType::Literal(None)))
}

/// A subquery without an order that nothing has taken.
fn without_order(plan: LogicalPlan) -> Result<LogicalPlan> {
    let bare = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::SubqueryAlias(alias) = &node else { return Ok(Transformed::no(node)) };
        let LogicalPlan::Limit(limit) = &*alias.input else { return Ok(Transformed::no(node)) };
        if !is_all(limit) {
            return Ok(Transformed::no(node));
        }
        let input = match &*limit.input {
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => &sort.input,
            _ => &limit.input,
        };
        let alias = SubqueryAlias::try_new(input.clone(), alias.alias.clone())?;
        Ok(Transformed::yes(LogicalPlan::SubqueryAlias(alias)))
    })?;
    Ok(bare.data)
}

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
    without_order(ordered.data)
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
        LogicalPlan::Limit(limit) if is_all(limit) => ordered(&limit.input, some),
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
