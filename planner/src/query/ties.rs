//! `FETCH FIRST n ROWS WITH TIES`: the rows whose rank is at most n, which is a condition on a window function.

use sql::Span;
use sql::ast::{
    BinaryOperator, Distinct, Expr, Function, OrderByKind, Query, Select, SelectItem, SetExpr, Spanned, Value,
    WindowSpec, WindowType,
};

use super::rewrite::call;
use crate::error::ErrorKind;
use crate::{Error, Result};

/// Adds the condition to the query's SELECT. Rows that an OFFSET skips are among the n: `quantity` has them counted in.
pub(super) fn restrict(query: &mut Query, quantity: Expr) -> Result<()> {
    let span = Span::of_parser(query.span());
    let unsupported = |what: &str| Err(Error::unsupported(format!("WITH TIES {what}")).at(span));
    let Some(OrderByKind::Expressions(order)) = query.order_by.as_ref().map(|order| order.kind.clone()) else {
        let error = Error::new(ErrorKind::Syntax, "WITH TIES cannot be specified without ORDER BY clause");
        return Err(error.at(span));
    };
    let SetExpr::Select(select) = &mut *query.body else {
        return unsupported("of UNION, INTERSECT, EXCEPT or VALUES");
    };
    if matches!(select.distinct, Some(Distinct::Distinct | Distinct::On(_))) {
        return unsupported("of SELECT DISTINCT");
    }
    let mut keys = order;
    for key in &mut keys {
        key.expr = meant(&key.expr, select)?;
    }
    let mut rank = call("rank", Vec::new());
    if let Expr::Function(Function { over, .. }) = &mut rank {
        let order_by = keys;
        *over = Some(WindowType::WindowSpec(WindowSpec {
            window_name: None,
            partition_by: Vec::new(),
            order_by,
            window_frame: None,
        }));
    }
    let first = Expr::BinaryOp { left: Box::new(rank), op: BinaryOperator::LtEq, right: Box::new(quantity) };
    select.qualify = Some(match select.qualify.take() {
        Some(_) => return unsupported("beside QUALIFY"),
        None => first,
    });
    Ok(())
}

/// What a key of ORDER BY stands for: a position or a name of the SELECT list, else itself.
fn meant(key: &Expr, select: &Select) -> Result<Expr> {
    match key {
        Expr::Value(value) => {
            let Value::Number(digits, _) = &value.value else { return Ok(key.clone()) };
            let item = digits.parse::<usize>().ok().and_then(|place| select.projection.get(place.checked_sub(1)?));
            match item {
                Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => Ok(expr.clone()),
                _ => Err(Error::unsupported("a position in ORDER BY beside WITH TIES")),
            }
        }
        Expr::Identifier(name) => {
            let named = |item: &SelectItem| match item {
                SelectItem::ExprWithAlias { expr, alias } if alias.value == name.value => Some(expr.clone()),
                _ => None,
            };
            Ok(select.projection.iter().find_map(named).unwrap_or_else(|| key.clone()))
        }
        _ => Ok(key.clone()),
    }
}
