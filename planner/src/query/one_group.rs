//! A SELECT whose rows are one group though nothing says by what: `GROUP BY ()`, or HAVING without GROUP BY. DataFusion takes only an aggregate for a sign
//! of it.

use sql::ast::{BinaryOperator, Expr, GroupByExpr, Select, Value};

use super::placement;
use super::rewrite::call;
use crate::functions::FunctionRegistry;

/// Gives such a SELECT a condition on an aggregate, which always holds.
pub(super) fn in_select(select: &mut Select, functions: &FunctionRegistry) {
    let GroupByExpr::Expressions(keys, _) = &mut select.group_by else { return };
    let is_grouped = !keys.is_empty();
    keys.retain(|key| !matches!(key, Expr::Tuple(fields) if fields.is_empty()));
    let is_one = keys.is_empty() && (is_grouped || select.having.is_some());
    if !is_one || placement::aggregate_of(select, functions).is_some() {
        return;
    }
    let number = |text: &str| Expr::value(Value::Number(text.to_owned(), false));
    let rows = Expr::BinaryOp {
        left: Box::new(call("count", vec![number("1")])),
        op: BinaryOperator::GtEq,
        right: Box::new(number("0")),
    };
    select.having = Some(match select.having.take() {
        Some(condition) => Expr::BinaryOp {
            left: Box::new(Expr::Nested(Box::new(condition))),
            op: BinaryOperator::And,
            right: Box::new(rows),
        },
        None => rows,
    });
}
