//! Functions and operators that are other ones under another name, or with arguments that may be left out.

use sql::Span;
use sql::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, TimezoneInfo,
    UnaryOperator, Value,
};

use super::cast::is_utc;
use super::name::folded;
use super::rewrite::{call, cast, plain_arguments};
use super::written_cast;
use crate::error::ErrorKind;
use crate::{Error, PlanContext, Result};

/// What takes the place of a call.
pub(super) fn replaced(name: &str, function: &Function, context: &PlanContext<'_>) -> Result<Option<Expr>> {
    let zone = &context.settings.time_zone;
    let here = || Expr::value(Value::SingleQuotedString(zone.clone()));
    let local = || call("timezone", vec![here(), call("now", Vec::new())]);
    let plain = matches!(&function.args, FunctionArguments::None)
        || matches!(&function.args, FunctionArguments::List(list) if list.args.is_empty());
    Ok(match name {
        "ceiling" => plain_arguments(function).map(|[value]| call("ceil", vec![value.clone()])),
        "localtime" if plain => {
            Some(cast(if is_utc(zone) { call("localtimestamp", Vec::new()) } else { local() }, "time"))
        }
        "localtimestamp" if plain && !is_utc(zone) => Some(local()),
        "current_date" if plain && !is_utc(zone) => Some(cast(local(), "date")),
        // Rounded to so many digits of a second.
        "current_timestamp" | "localtimestamp" | "localtime" | "current_time" if !plain => {
            let base = call(name, Vec::new());
            let scale = if name.ends_with("timestamp") { "timestamp_scale" } else { "time_scale" };
            match plain_arguments(function) {
                Some([digits @ Expr::Value(_)]) => {
                    let base = match replaced_call(&base, context)? {
                        Some(replaced) => replaced,
                        None => base,
                    };
                    Some(call(scale, vec![base, digits.clone()]))
                }
                _ => None,
            }
        }
        // There is no time with a zone: the local time is its nearest.
        "current_time" if plain => {
            Some(cast(if is_utc(zone) { call("localtimestamp", Vec::new()) } else { local() }, "time"))
        }
        "normalize" => match &function.args {
            FunctionArguments::List(list) => match list.args.as_slice() {
                [FunctionArg::Unnamed(FunctionArgExpr::Expr(text))] => Some(call(
                    "normalize",
                    vec![text.clone(), Expr::value(Value::SingleQuotedString("NFC".to_owned()))],
                )),
                [
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(text)),
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(form))),
                ] => {
                    let form = Expr::value(Value::SingleQuotedString(form.value.clone()));
                    Some(call("normalize", vec![text.clone(), form]))
                }
                _ => None,
            },
            _ => None,
        },
        "to_json" | "row_to_json" | "to_jsonb" => plain_arguments(function).and_then(|[row]| {
            let fields = super::row_value::fields(row)?;
            let named = fields
                .into_iter()
                .enumerate()
                .flat_map(|(at, field)| [Expr::value(Value::SingleQuotedString(format!("f{}", at + 1))), field]);
            Some(call(if name == "to_jsonb" { "jsonb_build_object" } else { "json_row" }, named.collect()))
        }),
        "array_to_json" => plain_arguments(function).map(|[array]| call("to_json", vec![array.clone()])),
        // To the beginning of a day in a zone, say: the local time is cut.
        "date_trunc" => plain_arguments(function).map(|[unit, time, zone]| {
            let point = written_cast::call(time.clone(), DataType::Timestamp(None, TimezoneInfo::Tz));
            let local = call("timezone", vec![zone.clone(), point]);
            call("timezone", vec![zone.clone(), call("date_trunc", vec![unit.clone(), local])])
        }),
        "make_timestamptz" => plain_arguments::<6>(function).map(|parts| {
            let parts = parts.into_iter().cloned().chain(std::iter::once(here()));
            call("make_timestamptz", parts.collect())
        }),
        "make_interval" => make_interval(function)?,
        "convert" => plain_arguments(function).map(|[bytes, source, destination]| {
            let text = call("convert_from", vec![bytes.clone(), source.clone()]);
            call("convert_to", vec![text, destination.clone()])
        }),
        // PostgreSQL's functions that casts are made of.
        "int2" => plain_arguments(function).map(|[value]| to(value, DataType::SmallInt(None))),
        "int4" => plain_arguments(function).map(|[value]| to(value, DataType::Integer(None))),
        "int8" => plain_arguments(function).map(|[value]| to(value, DataType::BigInt(None))),
        "float4" => plain_arguments(function).map(|[value]| to(value, DataType::Real)),
        "float8" => plain_arguments(function).map(|[value]| to(value, DataType::DoublePrecision)),
        "bool" => plain_arguments(function).map(|[value]| to(value, DataType::Boolean)),
        "text" => plain_arguments(function).map(|[value]| to(value, DataType::Text)),
        "date" => plain_arguments(function).map(|[value]| to(value, DataType::Date)),
        "timestamptz" => {
            plain_arguments(function).map(|[value]| to(value, DataType::Timestamp(None, TimezoneInfo::Tz)))
        }
        _ => None,
    })
}

fn to(value: &Expr, data_type: DataType) -> Expr {
    written_cast::call(value.clone(), data_type)
}

/// What takes the place of a call that is not written.
fn replaced_call(base: &Expr, context: &PlanContext<'_>) -> Result<Option<Expr>> {
    match base {
        Expr::Function(function) => {
            let name = function.name.to_string();
            replaced(&name, function, context)
        }
        _ => Ok(None),
    }
}

/// `make_interval(days => 10)`: what is not given is 0.
fn make_interval(function: &Function) -> Result<Option<Expr>> {
    const PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];
    let FunctionArguments::List(list) = &function.args else { return Ok(None) };
    let zero = || Expr::value(Value::Number("0".to_owned(), false));
    let mut parts: Vec<Expr> = std::iter::repeat_with(zero).take(PARTS.len()).collect();
    let part_of = |name: &Ident| -> Result<usize> {
        PARTS.iter().position(|part| *part == folded(name)).ok_or_else(|| {
            let message = format!("function make_interval({} => …) does not exist", name.value);
            let hint = format!("Its arguments are {}.", PARTS.join(", "));
            Error::new(ErrorKind::UndefinedFunction, message).with_hint(hint).at(Span::of_parser(name.span))
        })
    };
    for (position, argument) in list.args.iter().enumerate() {
        let (at, value) = match argument {
            // `days := 10`
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::BinaryOp {
                left,
                op: BinaryOperator::Assignment,
                right,
            })) => match &**left {
                Expr::Identifier(name) => (part_of(name)?, &**right),
                _ => return Ok(None),
            },
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) if position < PARTS.len() => (position, value),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. }
            | FunctionArg::ExprNamed { name: Expr::Identifier(name), arg: FunctionArgExpr::Expr(value), .. } => {
                (part_of(name)?, value)
            }
            _ => return Ok(None),
        };
        parts[at] = value.clone();
    }
    let is_assignment = |argument: &FunctionArg| {
        matches!(
            argument,
            FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::BinaryOp { op: BinaryOperator::Assignment, .. }))
        )
    };
    let all_unnamed =
        list.args.iter().all(|argument| matches!(argument, FunctionArg::Unnamed(_)) && !is_assignment(argument));
    if list.args.len() == PARTS.len() && all_unnamed {
        return Ok(None);
    }
    Ok(Some(call("make_interval", parts)))
}

/// Whether an expression is written with an operator in front.
fn begins_with_operator(expr: &Expr) -> bool {
    match expr {
        Expr::UnaryOp { .. } => true,
        Expr::BinaryOp { left, .. } => begins_with_operator(left),
        _ => false,
    }
}

/// What takes the place of an operator with one operand. Two operators in a row are refused further on: sqlparser writes `@ -5`, which a view
/// may be stored with, as `@-5`, and reads it as one operator.
pub(super) fn unary(op: &UnaryOperator, operand: &Expr) -> Option<Expr> {
    if begins_with_operator(operand) {
        return None;
    }
    let name = match op {
        // Of a literal DataFusion negates the first part only.
        UnaryOperator::Minus if matches!(operand, Expr::Interval(_)) => "interval_um",
        // Of double precision alone.
        UnaryOperator::PGSquareRoot => return Some(call("sqrt", vec![cast(operand.clone(), "float8")])),
        UnaryOperator::PGCubeRoot => "cbrt",
        UnaryOperator::PGAbs => "abs",
        UnaryOperator::BitwiseNot => {
            return Some(Expr::Nested(Box::new(Expr::BinaryOp {
                left: Box::new(Expr::Nested(Box::new(operand.clone()))),
                op: BinaryOperator::PGBitwiseXor,
                right: Box::new(Expr::UnaryOp {
                    op: UnaryOperator::Minus,
                    expr: Box::new(Expr::value(Value::Number("1".to_owned(), false))),
                }),
            })));
        }
        _ => return None,
    };
    Some(call(name, vec![operand.clone()]))
}
