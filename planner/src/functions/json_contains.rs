//! What is in a jsonb value: `@>`, `<@`, `?`, `?|` and `?&`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder, StringViewArray};
use arrow::datatypes::DataType;
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, Volatility};
use serde_json::Value;

use super::definition::{Definition, arrays, columnar, invalid_text, unexpected};
use super::text::{as_views, texts};

pub(super) fn functions() -> Vec<Definition> {
    let two = || Signature::any(2, Volatility::Immutable);
    vec![
        Definition::new("jsonb_contains", two(), |_| Ok(SqlType::Boolean), jsonb_contains),
        Definition::new(
            "jsonb_exists",
            two(),
            |_| Ok(SqlType::Boolean),
            |args| exists(args, |found| found[..] == [true]),
        ),
        Definition::new(
            "jsonb_exists_any",
            two(),
            |_| Ok(SqlType::Boolean),
            |args| exists(args, |found| found.contains(&true)),
        ),
        Definition::new(
            "jsonb_exists_all",
            two(),
            |_| Ok(SqlType::Boolean),
            |args| exists(args, |found| !found.contains(&false)),
        ),
    ]
}

/// The function of an operator between jsonb and something, and whether its operands change places.
pub(crate) fn of_operator(op: &sql::ast::BinaryOperator) -> Option<(&'static str, bool)> {
    use sql::ast::BinaryOperator;
    Some(match op {
        BinaryOperator::AtArrow => ("jsonb_contains", false),
        BinaryOperator::ArrowAt => ("jsonb_contains", true),
        BinaryOperator::Question => ("jsonb_exists", false),
        BinaryOperator::QuestionPipe => ("jsonb_exists_any", false),
        BinaryOperator::QuestionAnd => ("jsonb_exists_all", false),
        BinaryOperator::HashMinus => ("jsonb_delete_path", false),
        BinaryOperator::AtQuestion => ("jsonb_path_exists_opr", false),
        BinaryOperator::AtAt => ("jsonb_path_match_opr", false),
        _ => return None,
    })
}

fn jsonb_contains(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (whole, part) = (as_views(&columns[0])?, as_views(&columns[1])?);
    let mut builder = BooleanBuilder::with_capacity(whole.len());
    for row in 0..whole.len() {
        if whole.is_null(row) || part.is_null(row) {
            builder.append_null();
            continue;
        }
        let (whole, part) = (parsed(whole.value(row))?, parsed(part.value(row))?);
        // An array contains a primitive value that is one of its elements.
        let among = matches!(&whole, Value::Array(elements) if elements.iter().any(|element| same(element, &part)));
        builder.append_value(among && !is_container(&part) || contains(&whole, &part));
    }
    columnar(args, Arc::new(builder.finish()))
}

fn parsed(json: &str) -> Result<Value> {
    match serde_json::from_str(json) {
        Ok(value) => Ok(value),
        Err(_) => invalid_text("json", json),
    }
}

fn is_container(value: &Value) -> bool {
    matches!(value, Value::Object(_) | Value::Array(_))
}

/// Whether every member and every element of `part` has its like in `whole`.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|of_whole| contains(of_whole, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|wanted| whole.iter().any(|element| contains(element, wanted)))
        }
        _ => same(whole, part),
    }
}

/// Equality of primitive values; numbers are equal by value.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        (Value::Object(_) | Value::Array(_), _) => false,
        _ => left == right,
    }
}

/// Whether names are members of an object, elements of an array, or the text itself.
fn exists(args: &ScalarFunctionArgs, holds: fn(&[bool]) -> bool) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let json = as_views(&columns[0])?;
    let mut builder = BooleanBuilder::with_capacity(json.len());
    for row in 0..json.len() {
        if json.is_null(row) || columns[1].is_null(row) {
            builder.append_null();
            continue;
        }
        let json = parsed(json.value(row))?;
        let names = names(&columns[1], row)?;
        let found: Vec<bool> = names.iter().flatten().map(|name| is_in(&json, name)).collect();
        builder.append_value(holds(&found));
    }
    columnar(args, Arc::new(builder.finish()))
}

fn is_in(json: &Value, name: &str) -> bool {
    match json {
        Value::Object(members) => members.contains_key(name),
        Value::Array(elements) => elements.iter().any(|element| element.as_str() == Some(name)),
        other => other.as_str() == Some(name),
    }
}

fn names(column: &ArrayRef, row: usize) -> Result<StringViewArray> {
    match column.data_type() {
        DataType::List(_) => texts(&column.as_list::<i32>().value(row)),
        data_type if data_type.is_string() => as_views(&column.slice(row, 1)),
        _ => unexpected("jsonb ?"),
    }
}
