//! What casts of arrays do to elements, where Arrow's casts do something else: fractions are rounded, values are written as PostgreSQL writes them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, new_empty_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef, Float32Type, Float64Type};
use catalog::SqlType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, Volatility};

use super::definition::{Definition, arrays, columnar, unexpected};
use super::text::as_views;
use crate::query::literal;

pub(super) fn functions() -> Vec<Definition> {
    let one = || Signature::any(1, Volatility::Immutable);
    vec![
        Definition::new("array_round", one(), of_itself, |args| elements(args, round)),
        Definition::new("array_to_texts", one(), of_texts, |args| {
            elements(args, |values| Ok(Arc::new(super::text::texts(values)?)))
        }),
        // Of a text, and a NULL of the array's type.
        Definition::new("text_to_array", Signature::any(2, Volatility::Immutable), of_second, read),
    ]
}

fn of_second(fields: &[FieldRef]) -> Result<SqlType> {
    SqlType::of_field(&fields[1]).map_or_else(|| unexpected("a cast to an array"), Ok)
}

/// Arrays in the form `{1,2,NULL}`.
fn read(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let target = of_second(&args.arg_fields)?;
    let null = ScalarValue::try_from(args.return_field.data_type())?;
    let columns = arrays(args)?;
    let values = as_views(&columns[0])?;
    let read = |text: Option<&str>| match text {
        Some(text) => Ok(literal::parse(text, &target)?),
        None => Ok(null.clone()),
    };
    let values = values.iter().map(read).collect::<Result<Vec<_>>>()?;
    match values.is_empty() {
        true => columnar(args, new_empty_array(args.return_field.data_type())),
        false => columnar(args, cast(&ScalarValue::iter_to_array(values)?, args.return_field.data_type())?),
    }
}

fn of_itself(fields: &[FieldRef]) -> Result<SqlType> {
    SqlType::of_field(&fields[0]).map_or_else(|| unexpected("a cast of an array"), Ok)
}

/// The type with its innermost elements replaced by text.
fn of_texts(fields: &[FieldRef]) -> Result<SqlType> {
    fn texts(sql_type: SqlType) -> SqlType {
        match sql_type {
            SqlType::Array(element) => SqlType::Array(Box::new(texts(*element))),
            _ => SqlType::Text,
        }
    }
    of_itself(fields).map(texts)
}

/// Arrays with their innermost elements changed, all of them at once.
fn elements(args: &ScalarFunctionArgs, change: fn(&ArrayRef) -> Result<ArrayRef>) -> Result<ColumnarValue> {
    let column = &arrays(args)?[0];
    columnar(args, changed(column, change)?)
}

fn changed(column: &ArrayRef, change: fn(&ArrayRef) -> Result<ArrayRef>) -> Result<ArrayRef> {
    let Some(lists) = column.as_list_opt::<i32>() else { return change(column) };
    let values = changed(lists.values(), change)?;
    let field = Field::new("item", values.data_type().clone(), true);
    let lists = ListArray::try_new(field.into(), lists.offsets().clone(), values, lists.nulls().cloned())?;
    Ok(Arc::new(lists))
}

/// Numbers without what is behind the point: a half of a double goes to the even neighbour, one of a numeric away from zero.
fn round(values: &ArrayRef) -> Result<ArrayRef> {
    Ok(match values.data_type() {
        DataType::Float32 => {
            Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::round_ties_even))
        }
        DataType::Float64 => {
            Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round_ties_even))
        }
        // Arrow rounds a decimal that loses digits as PostgreSQL does.
        DataType::Decimal128(precision, scale) if *scale > 0 => {
            let whole = cast(values, &DataType::Decimal128(*precision, 0))?;
            let whole = whole.as_primitive::<Decimal128Type>();
            let unit = 10_i128.pow(u32::from(scale.unsigned_abs()));
            let digits = whole.try_unary::<_, Decimal128Type, _>(|value| {
                value
                    .checked_mul(unit)
                    .ok_or_else(|| arrow::error::ArrowError::ArithmeticOverflow("numeric field overflow".to_owned()))
            })?;
            Arc::new(digits.with_data_type(values.data_type().clone()))
        }
        _ => values.clone(),
    })
}
