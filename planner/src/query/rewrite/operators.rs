//! Operators whose operands the parser groups otherwise than PostgreSQL, and those that are called by another name.

use sql::Span;
use sql::ast::{BinaryOperator, Expr, UnaryOperator, Value};

use super::string_literal;
use crate::error::ErrorKind;
use crate::query::written_cast;
use crate::{Error, Result};

/// `a IS DISTINCT FROM b AND c`: sqlparser takes `b AND c` for what `a` is compared with.
pub(super) fn is_distinct(expr: &mut Expr) {
    let (Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right)) = &mut *expr else { return };
    let Expr::BinaryOp { left: inner, op: BinaryOperator::And | BinaryOperator::Or, .. } = &mut **right else { return };
    // The comparison goes to where its right side ends, and what was around that is around the comparison.
    let compared = std::mem::replace(&mut **inner, Expr::value(Value::Null));
    let mut whole = std::mem::replace(&mut **right, compared);
    let mut comparison = std::mem::replace(expr, Expr::value(Value::Null));
    is_distinct(&mut comparison);
    if let Expr::BinaryOp { left, .. } = &mut whole {
        **left = comparison;
    }
    *expr = whole;
}

/// `a IS DISTINCT FROM 'text'`: `(a = 'text') IS NOT TRUE`, in which the text becomes what `a` is.
pub(super) fn distinct_from_text(expr: &mut Expr) {
    let (Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right)) = &*expr else { return };
    if string_literal(left).is_some() == string_literal(right).is_some() {
        return;
    }
    let equal = Expr::BinaryOp { left: left.clone(), op: BinaryOperator::Eq, right: right.clone() };
    let equal = Box::new(Expr::Nested(Box::new(equal)));
    *expr = match expr {
        Expr::IsDistinctFrom(..) => Expr::IsNotTrue(equal),
        _ => Expr::IsTrue(equal),
    };
}

/// An AND or NOT that has, without parentheses, an operand that binds more loosely: it came there by [`is_distinct`].
pub(super) fn loosened(expr: &mut Expr) {
    let operand = match expr {
        Expr::BinaryOp { right, .. } => right,
        Expr::UnaryOp { expr, .. } => expr,
        _ => return,
    };
    let is_and = matches!(**operand, Expr::BinaryOp { op: BinaryOperator::And, .. });
    let is_or = matches!(**operand, Expr::BinaryOp { op: BinaryOperator::Or, .. });
    let looser = is_or || is_and && matches!(expr, Expr::UnaryOp { .. });
    if !looser {
        return;
    }
    let (Expr::BinaryOp { right: operand, .. } | Expr::UnaryOp { expr: operand, .. }) = &mut *expr else { return };
    let mut whole = std::mem::replace(&mut **operand, Expr::value(Value::Null));
    if let Expr::BinaryOp { left, .. } = &mut whole {
        std::mem::swap(&mut **left, &mut **operand);
        let mut inner = std::mem::replace(expr, Expr::value(Value::Null));
        loosened(&mut inner);
        **left = inner;
    }
    *expr = whole;
}

/// `BETWEEN SYMMETRIC low AND high` is parsed as `BETWEEN !! low AND high`: takes the mark off, wherever it has come to stand.
pub(super) fn take_symmetric_mark(low: &mut Expr) -> bool {
    match low {
        Expr::UnaryOp { op: UnaryOperator::PGPrefixFactorial, expr } => {
            *low = std::mem::replace(&mut **expr, Expr::value(Value::Null));
            true
        }
        Expr::BinaryOp { left, .. } => take_symmetric_mark(left),
        Expr::Cast { expr, .. } => take_symmetric_mark(expr),
        other => written_cast::written_value(other).is_some_and(take_symmetric_mark),
    }
}

/// The bounds in either order.
pub(super) fn between_symmetric(expr: &Expr) -> Expr {
    let Expr::Between { expr: value, negated, low, high } = expr else { return expr.clone() };
    let between = |low: &Expr, high: &Expr| {
        Box::new(Expr::Between {
            expr: value.clone(),
            negated: false,
            low: Box::new(low.clone()),
            high: Box::new(high.clone()),
        })
    };
    let either = Expr::Nested(Box::new(Expr::BinaryOp {
        left: between(low, high),
        op: BinaryOperator::Or,
        right: between(high, low),
    }));
    if *negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(either) } } else { either }
}

/// The function that an operator between a text and a regular expression calls.
pub(super) fn regex_function(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::PGRegexMatch => "textregexeq",
        BinaryOperator::PGRegexIMatch => "texticregexeq",
        BinaryOperator::PGRegexNotMatch => "textregexne",
        BinaryOperator::PGRegexNotIMatch => "texticregexne",
        _ => return None,
    })
}

/// `OPERATOR(pg_catalog.~)`.
pub(super) fn named_operator(parts: &[String], span: Option<Span>) -> Result<BinaryOperator> {
    Ok(match parts.last().map(String::as_str) {
        Some("+") => BinaryOperator::Plus,
        Some("-") => BinaryOperator::Minus,
        Some("*") => BinaryOperator::Multiply,
        Some("/") => BinaryOperator::Divide,
        Some("%") => BinaryOperator::Modulo,
        Some("=") => BinaryOperator::Eq,
        Some("<>" | "!=") => BinaryOperator::NotEq,
        Some("<") => BinaryOperator::Lt,
        Some("<=") => BinaryOperator::LtEq,
        Some(">") => BinaryOperator::Gt,
        Some(">=") => BinaryOperator::GtEq,
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("~~") => BinaryOperator::PGLikeMatch,
        Some("||") => BinaryOperator::StringConcat,
        _ => {
            let message = format!("operator does not exist: {}", parts.join("."));
            return Err(Error::new(ErrorKind::UndefinedFunction, message).at(span));
        }
    })
}

/// Gives the sign before a power to its base, of several powers to the first: they are taken from left to right.
pub(super) fn signed_base(power: &mut Expr, sign: UnaryOperator) {
    match power {
        Expr::BinaryOp { left, op: BinaryOperator::PGExp, .. } => signed_base(left, sign),
        base => {
            let value = std::mem::replace(base, Expr::value(Value::Null));
            *base = Expr::UnaryOp { op: sign, expr: Box::new(value) };
        }
    }
}
