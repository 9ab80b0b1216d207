//! What depends on the session's time zone, and on units of time: EXTRACT, `date_trunc`, `to_char`, text of points in time, sums by the calendar.

use arrow::datatypes::DataType;
use catalog::SqlType;
use datafusion::common::{DFSchema, Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Expr, Operator};

use super::cast::{self, Context, is_utc};
use super::operator::{is_unknown, sql_type_of};
use super::units;
use crate::PlanContext;

fn text(value: &str) -> Expr {
    Expr::Literal(ScalarValue::from(value), None)
}

/// The text of a literal.
fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(
            ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)) | ScalarValue::LargeUtf8(Some(text)),
            _,
        ) => Some(text),
        _ => None,
    }
}

/// An operator between a point in time and something that a zone makes one of, or moves it by.
pub(super) fn operator(
    op: Operator,
    left: &Expr,
    right: &Expr,
    schema: &DFSchema,
    context: &PlanContext<'_>,
) -> DataFusionResult<Option<Expr>> {
    let zone = context.settings.time_zone.as_str();
    if is_utc(zone) || is_unknown(left) || is_unknown(right) {
        return Ok(None);
    }
    let (Ok(left_type), Ok(right_type)) = (sql_type_of(left, schema), sql_type_of(right, schema)) else {
        return Ok(None);
    };
    let own = &context.functions.own;
    let sum = |time: &Expr, span: Expr| own.call("timestamptz_pl_interval", vec![time.clone(), span, text(zone)]);
    let pointed = |expr: &Expr| cast::cast(expr.clone(), &SqlType::Timestamptz, Context::Explicit, schema, own, zone);
    let compares = matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::Minus
    );
    Ok(match (&left_type, &right_type) {
        (SqlType::Timestamptz, SqlType::Interval) if op == Operator::Plus => Some(sum(left, right.clone())?),
        (SqlType::Timestamptz, SqlType::Interval) if op == Operator::Minus => {
            Some(sum(left, own.call("interval_um", vec![right.clone()])?)?)
        }
        (SqlType::Interval, SqlType::Timestamptz) if op == Operator::Plus => Some(sum(right, left.clone())?),
        (SqlType::Timestamptz, SqlType::Timestamp | SqlType::Date) if compares => {
            super::operator::binary(op, left.clone(), pointed(right)?, schema, own)?
        }
        (SqlType::Timestamp | SqlType::Date, SqlType::Timestamptz) if compares => {
            super::operator::binary(op, pointed(left)?, right.clone(), schema, own)?
        }
        _ => None,
    })
}

/// A call that means something by the zone or by a unit, planned; others as they are.
pub(super) fn function(
    mut function: ScalarFunction,
    schema: &DFSchema,
    context: &PlanContext<'_>,
) -> DataFusionResult<Result<Expr, ScalarFunction>> {
    let zone = context.settings.time_zone.as_str();
    let own = &context.functions.own;
    let type_of = |expr: &Expr| if is_unknown(expr) { Ok(SqlType::Text) } else { sql_type_of(expr, schema) };
    let local = |expr: Expr| own.call("timezone", vec![text(zone), expr]);
    let moved = !is_utc(zone);
    match (function.name(), function.args.as_slice()) {
        ("extract", [unit, value]) => {
            let Some(unit) = text_of(unit) else { return Ok(Err(function)) };
            let sql_type = type_of(value)?;
            let planned = units::extract(unit, value.clone(), &sql_type, moved.then_some(zone), own)?;
            return Ok(Ok(planned));
        }
        ("date_part", [unit, value]) => {
            let Some(unit) = text_of(unit) else {
                return Ok(Ok(super::operator::cast(Expr::ScalarFunction(function), DataType::Float64)));
            };
            let sql_type = type_of(value)?;
            // There is none of dates alone: they are taken for local times.
            let (value, sql_type) = match sql_type {
                SqlType::Date => (
                    cast::cast(value.clone(), &SqlType::Timestamp, Context::Explicit, schema, own, zone)?,
                    SqlType::Timestamp,
                ),
                other => (value.clone(), other),
            };
            let planned = units::extract(unit, value, &sql_type, moved.then_some(zone), own)?;
            return Ok(Ok(super::operator::cast(planned, DataType::Float64)));
        }
        ("date_trunc", [unit, value]) => {
            let sql_type = type_of(value)?;
            let Some(written) = text_of(unit) else {
                // A unit of each row: of what DataFusion cuts by a constant unit, and of intervals.
                let (unit, value) = (unit.clone(), value.clone());
                return Ok(Ok(match sql_type {
                    SqlType::Interval => own.call("interval_trunc", vec![unit, value])?,
                    SqlType::Timestamptz if moved => {
                        own.call("timezone", vec![text(zone), own.call("date_trunc", vec![unit, local(value)?])?])?
                    }
                    SqlType::Date => {
                        let point = cast::cast(value, &SqlType::Timestamp, Context::Explicit, schema, own, zone)?;
                        own.call("timezone", vec![text(zone), own.call("date_trunc", vec![unit, point])?])?
                    }
                    _ => return Ok(Err(function)),
                }));
            };
            let known = units::of_trunc(written, &sql_type)?;
            let long = ["decade", "century", "millennium"].contains(&known.as_str());
            let value = value.clone();
            return Ok(Ok(match sql_type {
                SqlType::Interval => own.call("interval_trunc", vec![text(&known), value])?,
                SqlType::Time => {
                    own.call("interval_trunc", vec![text(&known), own.call("time_to_interval", vec![value])?])?
                }
                SqlType::Date => {
                    let point = cast::cast(value, &SqlType::Timestamptz, Context::Explicit, schema, own, zone)?;
                    truncated(&known, point, true, context)?
                }
                SqlType::Timestamptz if moved || long => truncated(&known, value, true, context)?,
                SqlType::Timestamp if long => truncated(&known, value, false, context)?,
                SqlType::Timestamp | SqlType::Timestamptz => {
                    datafusion::functions::datetime::date_trunc().call(vec![text(&known), value])
                }
                _ => {
                    let local = cast::cast(value, &SqlType::Timestamp, Context::Explicit, schema, own, zone)?;
                    datafusion::functions::datetime::date_trunc().call(vec![text(&known), local])
                }
            }));
        }
        _ => {}
    }
    if !moved {
        return Ok(Err(function));
    }
    match function.name() {
        "to_char" | "to_timestamp" if function.args.len() == 2 => {
            if function.name() == "to_timestamp" || type_of(&function.args[0])? == SqlType::Timestamptz {
                function.args.push(text(zone));
            }
        }
        "age" => {
            for arg in &mut function.args {
                if type_of(arg)? == SqlType::Timestamptz {
                    *arg = local(std::mem::take(arg))?;
                }
            }
        }
        "to_text" | "concat" | "concat_ws" | "format" | "array_to_string" => {
            for arg in &mut function.args {
                if type_of(arg)? == SqlType::Timestamptz {
                    *arg = own.call("timestamptz_text", vec![std::mem::take(arg), text(zone)])?;
                }
            }
        }
        "to_json" | "to_jsonb" | "json_build_object" | "jsonb_build_object" | "json_build_array"
        | "jsonb_build_array" => {
            for arg in &mut function.args {
                if type_of(arg)? == SqlType::Timestamptz {
                    *arg = own.call("timestamptz_json", vec![std::mem::take(arg), text(zone)])?;
                }
            }
        }
        _ => {}
    }
    Ok(Err(function))
}

/// A time cut to a unit of the calendar: a point in time by the session's.
fn truncated(unit: &str, value: Expr, zoned: bool, context: &PlanContext<'_>) -> DataFusionResult<Expr> {
    let own = &context.functions.own;
    let zone = context.settings.time_zone.as_str();
    let local = if zoned { own.call("timezone", vec![text(zone), value])? } else { value };
    let cut = match unit {
        "decade" | "century" | "millennium" => own.call("timestamp_trunc", vec![text(unit), local])?,
        _ => datafusion::functions::datetime::date_trunc().call(vec![text(unit), local]),
    };
    if zoned { own.call("timezone", vec![text(zone), cut]) } else { Ok(cut) }
}
