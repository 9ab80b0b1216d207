//! Rows as values: `(a, b) = (c, d)`, `ROW(a, b) < ROW(c, d)`, `(a, b) IN (…)`, `row IS NULL`, OVERLAPS. What compares rows is written out in their fields;
//! a row that is shown becomes the text of a record.

use sql::Span;
use sql::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, OrderByExpr,
    OrderByKind, Query, Select, UnaryOperator, Value,
};

use super::rewrite::call;
use crate::error::ErrorKind;
use crate::{Error, Result};

/// The fields of a row that is written out.
pub(super) fn fields(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(fields) => Some(fields.clone()),
        Expr::Nested(inner) => fields_of_row_only(inner),
        other => fields_of_row_only(other),
    }
}

fn fields_of_row_only(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(fields) => Some(fields.clone()),
        Expr::Function(Function { name, args: FunctionArguments::List(list), over: None, .. })
            if matches!(name.to_string().to_lowercase().as_str(), "row") =>
        {
            let plain = list.args.iter().map(|arg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                _ => None,
            });
            plain.collect()
        }
        _ => None,
    }
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(nested(expr)) }
}

/// All of them, or any of them; without any, the neutral one.
fn joined(parts: impl IntoIterator<Item = Expr>, op: &BinaryOperator) -> Expr {
    let joined = parts.into_iter().reduce(|left, right| binary(left, op.clone(), right));
    nested(joined.unwrap_or_else(|| Expr::value(Value::Boolean(*op == BinaryOperator::And))))
}

fn equal(left: &[Expr], right: &[Expr]) -> Expr {
    let pairs = left.iter().zip(right).map(|(left, right)| binary(left.clone(), BinaryOperator::Eq, right.clone()));
    joined(pairs, &BinaryOperator::And)
}

/// The first fields that differ decide.
fn ordered(left: &[Expr], right: &[Expr], strict: &BinaryOperator, last: &BinaryOperator) -> Expr {
    match (left, right) {
        ([left], [right]) => nested(binary(left.clone(), last.clone(), right.clone())),
        ([left, left_rest @ ..], [right, right_rest @ ..]) => {
            let here = binary(left.clone(), strict.clone(), right.clone());
            let same = binary(left.clone(), BinaryOperator::Eq, right.clone());
            let behind = binary(same, BinaryOperator::And, ordered(left_rest, right_rest, strict, last));
            nested(binary(here, BinaryOperator::Or, nested(behind)))
        }
        _ => Expr::value(Value::Boolean(*strict != *last)),
    }
}

fn same_length(left: &[Expr], right: &[Expr], span: Option<Span>) -> Result<()> {
    match left.len() == right.len() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Syntax, "unequal number of entries in row expressions").at(span)),
    }
}

/// What takes the place of an expression on rows; `None` if there are none in it.
pub(super) fn rewritten(expr: &Expr, span: Option<Span>) -> Result<Option<Expr>> {
    Ok(Some(match expr {
        Expr::BinaryOp { left, op: BinaryOperator::Overlaps, right } => match (fields(left), fields(right)) {
            (Some(left), Some(right)) => overlaps(&left, &right, span)?,
            _ => return Ok(None),
        },
        Expr::BinaryOp { left, op, right } => {
            let (Some(left), Some(right)) = (fields(left), fields(right)) else { return Ok(None) };
            let strict = match &op {
                BinaryOperator::Lt | BinaryOperator::LtEq => BinaryOperator::Lt,
                BinaryOperator::Gt | BinaryOperator::GtEq => BinaryOperator::Gt,
                BinaryOperator::Eq | BinaryOperator::NotEq => BinaryOperator::Eq,
                _ => return Ok(None),
            };
            same_length(&left, &right, span)?;
            match op {
                BinaryOperator::Eq => equal(&left, &right),
                BinaryOperator::NotEq => {
                    let pairs =
                        left.iter().zip(&right).map(|(left, right)| binary(left.clone(), op.clone(), right.clone()));
                    joined(pairs, &BinaryOperator::Or)
                }
                _ => ordered(&left, &right, &strict, op),
            }
        }
        Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
            let (Some(left), Some(right)) = (fields(left), fields(right)) else { return Ok(None) };
            same_length(&left, &right, span)?;
            let distinct = matches!(expr, Expr::IsDistinctFrom(..));
            let pairs = left.into_iter().zip(right).map(|(left, right)| {
                let (left, right) = (Box::new(left), Box::new(right));
                if distinct { Expr::IsDistinctFrom(left, right) } else { Expr::IsNotDistinctFrom(left, right) }
            });
            joined(pairs, if distinct { &BinaryOperator::Or } else { &BinaryOperator::And })
        }
        Expr::IsNull(row) | Expr::IsNotNull(row) => {
            let Some(fields) = fields(row) else { return Ok(None) };
            let is_null = matches!(expr, Expr::IsNull(_));
            let each = fields.into_iter().map(|field| {
                let field = Box::new(field);
                if is_null { Expr::IsNull(field) } else { Expr::IsNotNull(field) }
            });
            joined(each, &BinaryOperator::And)
        }
        Expr::InList { expr: row, list, negated } => {
            let Some(left) = fields(row) else { return Ok(None) };
            let mut alternatives = Vec::with_capacity(list.len());
            for item in list {
                let Some(right) = fields(item) else { return Ok(None) };
                same_length(&left, &right, span)?;
                alternatives.push(equal(&left, &right));
            }
            let any = joined(alternatives, &BinaryOperator::Or);
            if *negated { not(any) } else { any }
        }
        Expr::InSubquery { expr: row, .. } if fields(row).is_some() => {
            let hint = "Write the row without the word ROW, or use EXISTS with an equality for each column.";
            return Err(Error::unsupported("this form of a row compared with a subquery").with_hint(hint).at(span));
        }
        _ => return Ok(None),
    }))
}

/// `(start, end) OVERLAPS (start, end)`: an end may be a length, and either may come first.
fn overlaps(left: &[Expr], right: &[Expr], span: Option<Span>) -> Result<Expr> {
    let ([left_start, left_end], [right_start, right_end]) = (left, right) else {
        let message = "wrong number of parameters on one side of OVERLAPS expression";
        return Err(Error::new(ErrorKind::Syntax, message).at(span));
    };
    let operands = [left_start, left_end, right_start, right_end];
    Ok(call("overlaps", operands.into_iter().cloned().collect()))
}

/// `GROUP BY (a, b)` groups by both.
pub(super) fn in_group_by(select: &mut Select) {
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        let expanded = keys.drain(..).flat_map(|key| match key {
            Expr::Tuple(fields) => fields,
            other => vec![other],
        });
        *keys = expanded.collect();
    }
}

/// `ORDER BY (a, b) DESC` is `ORDER BY a DESC, b DESC`.
pub(super) fn in_order_by(query: &mut Query) {
    let Some(OrderByKind::Expressions(keys)) = query.order_by.as_mut().map(|order| &mut order.kind) else { return };
    let expanded = keys.drain(..).flat_map(|key| match fields(&key.expr) {
        Some(fields) => fields.into_iter().map(|expr| OrderByExpr { expr, ..key.clone() }).collect(),
        None => vec![key],
    });
    *keys = expanded.collect();
}
