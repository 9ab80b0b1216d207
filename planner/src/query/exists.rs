//! EXISTS in a SELECT list, which DataFusion plans in conditions only: whether the count of its rows is above 0.

use std::ops::ControlFlow;

use sql::ast::{
    BinaryOperator, Expr, GroupByExpr, Ident, LimitClause, Query, Select, SelectItem, SetExpr, Value, Visitor,
    VisitorMut,
};
use sql::walk;

use super::name::folded;
use super::rewrite::call;
use crate::functions::FunctionRegistry;
use crate::{Error, Result};

/// Rewrites a SELECT's list.
pub(super) fn in_list(select: &mut Select, functions: &FunctionRegistry) -> Result<()> {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item
            && let ControlFlow::Break(error) = walk::change(expr, &mut ExistsToCount { depth: 0, functions })
        {
            return Err(*error);
        }
    }
    Ok(())
}

struct ExistsToCount<'a> {
    /// Queries around: the conditions of a subquery are left as they are.
    depth: usize,
    functions: &'a FunctionRegistry,
}

impl VisitorMut for ExistsToCount<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Box<Error>> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Box<Error>> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Box<Error>> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let Expr::Exists { subquery, negated } = expr else { return ControlFlow::Continue(()) };
        let op = if *negated { BinaryOperator::Eq } else { BinaryOperator::Gt };
        let count = match count_of(subquery, self.functions) {
            Ok(count) => count,
            Err(error) => return ControlFlow::Break(Box::new(error)),
        };
        let count = Box::new(Expr::Subquery(Box::new(count)));
        *expr = Expr::Nested(Box::new(Expr::BinaryOp { left: count, op, right: Box::new(number("0")) }));
        ControlFlow::Continue(())
    }
}

/// A query for the number of rows of another: the same with another list if that will do, else one over it.
fn count_of(query: &Query, functions: &FunctionRegistry) -> Result<Query> {
    if let Some(counted) = with_list_of_count(query, functions) {
        return Ok(counted);
    }
    let counted = format!("SELECT count(1) AS \"count\" FROM ({query}) AS \"counted\"");
    match sql::parse_one(&counted)?.kind {
        sql::StatementKind::Query(counted) => Ok(*counted.query),
        _ => Err(Error::internal("a SELECT is a query")),
    }
}

/// Only a plain SELECT has as many rows whatever its list is.
fn with_list_of_count(query: &Query, functions: &FunctionRegistry) -> Option<Query> {
    let mut query = query.clone();
    // Any LIMIT that lets a row through lets EXISTS be true.
    match &query.limit_clause {
        None => {}
        Some(LimitClause::LimitOffset { limit: Some(Expr::Value(limit)), offset: None, limit_by })
            if limit_by.is_empty() && matches!(&limit.value, Value::Number(n, _) if n != "0") => {}
        Some(_) => return None,
    }
    query.limit_clause = None;
    query.order_by = None;
    let SetExpr::Select(select) = &mut *query.body else { return None };
    let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(expressions, _) if expressions.is_empty());
    if !ungrouped || select.having.is_some() || query.fetch.is_some() {
        return None;
    }
    // An aggregate has a row whatever it is over.
    let aggregates = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            walk::read(expr, &mut FindAggregate(functions)).is_break()
        }
        _ => false,
    };
    if select.projection.iter().any(aggregates) {
        return None;
    }
    select.distinct = None;
    select.projection = vec![SelectItem::ExprWithAlias {
        expr: call("count", vec![number("1")]),
        alias: Ident::with_quote('"', "count"),
    }];
    Some(query)
}

struct FindAggregate<'a>(&'a FunctionRegistry);

impl Visitor for FindAggregate<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let name = function.name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
        match self.0.find_aggregate(&name) {
            Some(_) if function.over.is_none() => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn number(text: &str) -> Expr {
    Expr::value(Value::Number(text.to_owned(), false))
}
