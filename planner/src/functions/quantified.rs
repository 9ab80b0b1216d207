//! `x op ANY (array)` and `x op ALL (array)`: an operator between a value and each element, with SQL's three truths.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, UInt32Array};
use arrow::compute::kernels::{cmp, comparison};
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, Volatility};

use super::definition::{Definition, arrays, columnar, constant_text, unexpected};
use super::pattern::Compiled;
use super::text::as_views;
use crate::Error;

pub(super) fn functions() -> Vec<Definition> {
    // The operator, the value, the array.
    let three = || Signature::any(3, Volatility::Immutable);
    vec![
        Definition::new("any_of", three(), |_| Ok(SqlType::Boolean), |args| quantified(args, true)),
        Definition::new("all_of", three(), |_| Ok(SqlType::Boolean), |args| quantified(args, false)),
    ]
}

/// Whether an operator can stand before ANY and ALL.
pub(crate) fn is_known(op: &str) -> bool {
    matches!(op, "=" | "<>" | "<" | "<=" | ">" | ">=" | "~" | "~*" | "!~" | "!~*" | "~~" | "~~*" | "!~~" | "!~~*")
}

fn quantified(args: &ScalarFunctionArgs, any: bool) -> Result<ColumnarValue> {
    let Some(op) = constant_text(&args.args[0]) else { return unexpected("ANY") };
    let columns = arrays(args)?;
    let Some(lists) = columns[2].as_list_opt::<i32>() else { return unexpected("ANY") };
    if matches!(lists.value_type(), DataType::List(_)) {
        return Err(Error::unsupported("ANY and ALL over an array of several dimensions").into());
    }
    // Each element beside the value of its row.
    let (mut rows, mut elements) = (Vec::new(), Vec::new());
    for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
        let (first, after) = (lists.value_offsets()[row] as u32, lists.value_offsets()[row + 1] as u32);
        rows.extend(std::iter::repeat_n(row as u32, (after - first) as usize));
        elements.extend(first..after);
    }
    let values = take(&columns[1], &UInt32Array::from(rows), None)?;
    let elements = take(lists.values(), &UInt32Array::from(elements), None)?;
    let truths = compared(op, &values, &elements)?;
    let mut builder = BooleanBuilder::with_capacity(lists.len());
    let mut at = 0;
    for row in 0..lists.len() {
        if lists.is_null(row) {
            builder.append_null();
            continue;
        }
        let length = lists.value_length(row) as usize;
        let (mut decided, mut unknown) = (false, false);
        for element in at..at + length {
            if truths.is_null(element) {
                unknown = true;
            } else if truths.value(element) == any {
                decided = true;
            }
        }
        at += length;
        builder.append_option(match (decided, unknown) {
            (true, _) => Some(any),
            (false, true) => None,
            (false, false) => Some(!any),
        });
    }
    columnar(args, Arc::new(builder.finish()))
}

fn compared(op: &str, left: &ArrayRef, right: &ArrayRef) -> Result<BooleanArray> {
    if op.contains('~') {
        let (left, right) = (as_views(left)?, as_views(right)?);
        return Ok(match op {
            "~~" => comparison::like(&left, &right)?,
            "~~*" => comparison::ilike(&left, &right)?,
            "!~~" => comparison::nlike(&left, &right)?,
            "!~~*" => comparison::nilike(&left, &right)?,
            _ => {
                let options = if op.ends_with('*') { "i" } else { "" };
                let mut compiled = Compiled::default();
                let mut builder = BooleanBuilder::with_capacity(left.len());
                for (text, pattern) in left.iter().zip(&right) {
                    match (text, pattern) {
                        (Some(text), Some(pattern)) => {
                            let matches = compiled.get(pattern, options)?.is_match(text)?;
                            builder.append_value(matches != op.starts_with('!'));
                        }
                        _ => builder.append_null(),
                    }
                }
                builder.finish()
            }
        });
    }
    let left = if left.data_type() == right.data_type() { left.clone() } else { cast(left, right.data_type())? };
    Ok(match op {
        "=" => cmp::eq(&left, right)?,
        "<>" => cmp::neq(&left, right)?,
        "<" => cmp::lt(&left, right)?,
        "<=" => cmp::lt_eq(&left, right)?,
        ">" => cmp::gt(&left, right)?,
        ">=" => cmp::gt_eq(&left, right)?,
        _ => return unexpected("ANY"),
    })
}
