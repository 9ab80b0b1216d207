//! PostgreSQL's aggregates that DataFusion hasn't, written as expressions over those that it has: so they have DISTINCT, FILTER, ORDER BY, OVER and
//! a place in views as these do.

use sql::Span;
use sql::ast::{
    self, BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    Ident, ObjectName, OrderByExpr, Value,
};

use super::rewrite::{call, cast};
use crate::error::ErrorKind;
use crate::{Error, Result};

/// What to compute instead of a call of this name; `None`: it is none of them.
pub(super) fn expanded(name: &str, function: &Function, span: Option<Span>) -> Result<Option<Expr>> {
    if let Some(place) = super::hypothetical::expanded(name, function) {
        return place.map(Some).map_err(|error| error.at(span));
    }
    if let ("percentile_cont" | "percentile_disc", Some(fractions)) = (name, fractions(function)) {
        let each = fractions.into_iter().map(|fraction| {
            let one = within(function, name, vec![fraction], function.within_group.clone());
            match &one {
                Expr::Function(function) if name == "percentile_disc" => {
                    Ok(expanded(name, function, span)?.unwrap_or_else(|| one.clone()))
                }
                _ => Ok(one),
            }
        });
        return Ok(Some(call("make_array", each.collect::<Result<_>>()?)));
    }
    let expansion: fn(&str, &Function) -> Option<Result<Expr>> = match name {
        "json_agg" | "jsonb_agg" => array,
        "json_object_agg" | "jsonb_object_agg" => object,
        "percentile_disc" => percentile_disc,
        "mode" if !function.within_group.is_empty() => mode,
        _ => return Ok(None),
    };
    match expansion(name, function) {
        Some(expanded) => expanded.map(Some).map_err(|error| error.at(span)),
        None => {
            let message = format!("function {name} is called with the wrong arguments");
            Err(Error::new(ErrorKind::UndefinedFunction, message).with_hint(usage(name)).at(span))
        }
    }
}

fn usage(name: &str) -> &'static str {
    match name {
        "json_agg" | "jsonb_agg" => "It takes one value: json_agg(value ORDER BY …).",
        "json_object_agg" | "jsonb_object_agg" => "It takes a key and a value: json_object_agg(key, value).",
        "percentile_disc" => "It takes a fraction: percentile_disc(0.5) WITHIN GROUP (ORDER BY value).",
        _ => "It takes no argument: mode() WITHIN GROUP (ORDER BY value).",
    }
}

/// The elements as text, put together between brackets.
fn array(name: &str, function: &Function) -> Option<Result<Expr>> {
    let [value] = arguments(function)?;
    let element = call("coalesce", vec![cast(call("to_json", vec![value]), "text"), text("null")]);
    Some(Ok(document(name, function, ["[", "]"], element)))
}

/// The fields as text, put together between braces. A field is what an object of one has between its braces.
fn object(name: &str, function: &Function) -> Option<Result<Expr>> {
    let [key, value] = arguments(function)?;
    let one = || cast(call("json_build_object", vec![key.clone(), value.clone()]), "text");
    let length = binary(call("char_length", vec![one()]), BinaryOperator::Minus, number(2));
    let field = call("substr", vec![one(), number(2), length]);
    Some(Ok(document(name, function, ["{ ", " }"], field)))
}

fn document(name: &str, function: &Function, [open, close]: [&str; 2], part: Expr) -> Expr {
    let parts = over(function, "string_agg", vec![part, text(", ")]);
    let opened = binary(text(open), BinaryOperator::StringConcat, parts);
    let closed = binary(opened, BinaryOperator::StringConcat, text(close));
    cast(Expr::Nested(Box::new(closed)), if name.starts_with("jsonb") { "jsonb" } else { "json" })
}

/// The fractions of `percentile_cont(ARRAY[0.25, 0.5])`, whose value is an array.
fn fractions(function: &Function) -> Option<Vec<Expr>> {
    let [Expr::Function(array)] = arguments(function)? else { return None };
    let is_array = array.name.to_string() == "make_array";
    is_array.then(|| arguments_of(&array)).flatten().filter(|fractions| !fractions.is_empty())
}

/// The value at the place that the fraction says, among those that are not NULL.
fn percentile_disc(_name: &str, function: &Function) -> Option<Result<Expr>> {
    let [fraction] = arguments(function)?;
    let [order] = function.within_group.as_slice() else { return None };
    if let Some(outside) = literal(&fraction).filter(|value| !(0.0..=1.0).contains(value)) {
        let message = format!("percentile value {outside} is not between 0 and 1");
        return Some(Err(Error::new(ErrorKind::OutOfRange, message)));
    }
    let value = order.expr.clone();
    let mut values = over(function, "array_agg", vec![value.clone()]);
    if let Expr::Function(Function { args: FunctionArguments::List(list), filter, .. }) = &mut values {
        list.clauses.push(FunctionArgumentClause::OrderBy(vec![order.clone()]));
        let known = Expr::IsNotNull(Box::new(value.clone()));
        *filter = Some(Box::new(match filter.take() {
            Some(before) => binary(Expr::Nested(before), BinaryOperator::And, known),
            None => known,
        }));
    }
    let share =
        binary(Expr::Nested(Box::new(fraction)), BinaryOperator::Multiply, over(function, "count", vec![value]));
    let place = call("greatest", vec![call("ceil", vec![share]), number(1)]);
    Some(Ok(call("array_element", vec![values, cast(place, "int8")])))
}

/// The most frequent value, of several the first in the order.
fn mode(_name: &str, function: &Function) -> Option<Result<Expr>> {
    let [] = arguments(function)?;
    let [OrderByExpr { expr, options, .. }] = function.within_group.as_slice() else { return None };
    let name = if options.asc == Some(false) { "mode_of_last" } else { "mode" };
    Some(Ok(over(function, name, vec![expr.clone()])))
}

/// A call of another aggregate over the same rows.
fn over(function: &Function, name: &str, args: Vec<Expr>) -> Expr {
    within(function, name, args, Vec::new())
}

/// As [`over`], in the order of WITHIN GROUP.
fn within(function: &Function, name: &str, args: Vec<Expr>, within_group: Vec<OrderByExpr>) -> Expr {
    let mut other = function.clone();
    other.name = ObjectName::from(vec![Ident::new(name)]);
    other.within_group = within_group;
    if let FunctionArguments::List(list) = &mut other.args {
        list.args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    }
    Expr::Function(other)
}

fn arguments<const N: usize>(function: &Function) -> Option<[Expr; N]> {
    arguments_of(function)?.try_into().ok()
}

/// The arguments of a call, if all are plain expressions.
pub(super) fn arguments_of(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    plain.collect()
}

fn literal(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::UnaryOp { op: ast::UnaryOperator::Minus, expr } => literal(expr).map(|value| -value),
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn text(value: &str) -> Expr {
    Expr::value(Value::SingleQuotedString(value.to_owned()))
}

pub(super) fn number(value: i64) -> Expr {
    Expr::value(Value::Number(value.to_string(), false))
}
