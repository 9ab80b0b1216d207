//! What calls take their rows in order of: values of any type, as a query's ORDER BY has them.

use arrow::datatypes::DataType;
use catalog::SqlType;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Sort, WindowFunctionParams};
use datafusion::logical_expr::{AggregateUDF, ExprSchemable, WindowFrameBound, WindowFrameUnits};

use super::keys;
use crate::Error;
use crate::error::{DataError, ErrorKind};
use crate::functions::{OwnFunctions, length_us};
use crate::query::operator::sql_type_of;

/// Digits of an interval's length in microseconds.
const LENGTH_DIGITS: u8 = 38;

/// Whether an aggregate's ORDER BY says in which order it takes its rows, and nothing else.
pub(super) fn takes_rows_in_order(func: &AggregateUDF) -> bool {
    matches!(func.name(), "array_agg" | "string_agg" | "first_value" | "last_value" | "nth_value")
}

/// The keys by which a call sorts its rows.
pub(super) fn sort_keys(keys: Vec<Sort>, schema: &DFSchema, own: &OwnFunctions) -> Result<Vec<Sort>> {
    let keys = keys.into_iter().map(|mut key| {
        if let Some(expr) = keys::order(&key.expr, schema, own)? {
            key.expr = expr;
        }
        Ok(key)
    });
    keys.collect()
}

/// As [`sort_keys`], of a window; with a frame that can be had over keys of any type.
pub(super) fn of_window(params: &mut WindowFunctionParams, schema: &DFSchema, own: &OwnFunctions) -> Result<()> {
    let frame = &mut params.window_frame;
    let is_offset = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) => !offset.is_null(),
        WindowFrameBound::CurrentRow => false,
    };
    let is_range = frame.units == WindowFrameUnits::Range;
    let has_offset = is_range && (is_offset(&frame.start_bound) || is_offset(&frame.end_bound));
    let keys = sort_keys(params.order_by.clone(), schema, own)?;
    if let ([key], true) = (params.order_by.as_slice(), has_offset)
        && sql_type_of(&key.expr, schema)? == SqlType::Interval
    {
        for bound in [&mut frame.start_bound, &mut frame.end_bound] {
            *bound = by_length(std::mem::replace(bound, WindowFrameBound::CurrentRow))?;
        }
    } else if has_offset && keys != params.order_by {
        let key = params.order_by.iter().zip(&keys).find(|(key, sorted)| key != sorted).map(|(key, _)| &key.expr);
        let name = key.map(|key| sql_type_of(key, schema)).transpose()?.map_or_else(String::new, |key| key.to_string());
        return Err(Error::unsupported(format!("RANGE with an offset over values of the type {name}")).into());
    }
    params.order_by = keys;
    let Some(first) = params.order_by.first() else { return Ok(()) };
    // DataFusion has RANGE over some types only. Without an offset it is GROUPS: the rows up to those that are equal.
    let first = first.expr.get_type(schema)?;
    if is_range && !has_offset && (first.is_binary() || matches!(first, DataType::Time64(_) | DataType::Interval(_))) {
        frame.units = WindowFrameUnits::Groups;
    }
    Ok(())
}

/// A bound of a frame over intervals, which are sorted by their lengths.
fn by_length(bound: WindowFrameBound) -> Result<WindowFrameBound> {
    // The offset is still a text.
    let length = |offset: ScalarValue| -> Result<ScalarValue> {
        if offset.is_null() {
            return Ok(offset);
        }
        let length = match offset.cast_to(&SqlType::Interval.data_type())? {
            ScalarValue::IntervalMonthDayNano(Some(offset)) => length_us(offset),
            _ => return Ok(offset),
        };
        if length < 0 {
            let message = "invalid preceding or following size in window function";
            return Err(Error::new(ErrorKind::Data(DataError::FrameOffset), message).into());
        }
        Ok(ScalarValue::Decimal128(Some(length), LENGTH_DIGITS, 0))
    };
    Ok(match bound {
        WindowFrameBound::Preceding(offset) => WindowFrameBound::Preceding(length(offset)?),
        WindowFrameBound::Following(offset) => WindowFrameBound::Following(length(offset)?),
        WindowFrameBound::CurrentRow => WindowFrameBound::CurrentRow,
    })
}
