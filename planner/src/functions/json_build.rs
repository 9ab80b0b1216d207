//! JSON out of values: `to_json`, `json_build_object`, `json_build_array` and their `jsonb` forms.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::datatypes::{DataType, FieldRef};
use catalog::SqlType;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, TypeSignature, Volatility};

use super::definition::{Definition, arrays, columnar, invalid};
use super::json::normalised;
use super::text::texts;
use crate::Error;

pub(super) fn functions() -> Vec<Definition> {
    let some = || Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], Volatility::Immutable);
    let one = || Signature::any(1, Volatility::Immutable);
    vec![
        Definition::new("to_json", one(), |_| Ok(SqlType::Json), |args| built(args, false, single)),
        Definition::new("to_jsonb", one(), |_| Ok(SqlType::Jsonb), |args| built(args, true, single)),
        Definition::new("json_build_object", some(), |_| Ok(SqlType::Json), |args| built(args, false, object)),
        Definition::new("jsonb_build_object", some(), |_| Ok(SqlType::Jsonb), |args| built(args, true, object)),
        // A row, whose fields have names.
        Definition::new("json_row", some(), |_| Ok(SqlType::Json), |args| built(args, false, compact_object)),
        Definition::new("json_build_array", some(), |_| Ok(SqlType::Json), |args| built(args, false, elements)),
        Definition::new("jsonb_build_array", some(), |_| Ok(SqlType::Jsonb), |args| built(args, true, elements)),
    ]
}

/// Writes what one row's arguments make; false for NULL.
type Build = fn(&[Values], usize, &mut String) -> Result<bool>;

fn built(args: &ScalarFunctionArgs, jsonb: bool, build: Build) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let values = columns.iter().zip(&args.arg_fields).map(|(column, field)| Values::of(column, field));
    let values = values.collect::<Result<Vec<_>>>()?;
    let rows = columns.first().map_or(args.number_rows, |column| column.len());
    let mut builder = StringViewBuilder::with_capacity(rows);
    let mut text = String::new();
    for row in 0..rows {
        text.clear();
        match build(&values, row, &mut text)? {
            false => builder.append_null(),
            true if jsonb => builder.append_value(normalised(&text, true).ok_or_else(broken)?),
            true => builder.append_value(&text),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

fn broken() -> DataFusionError {
    Error::internal("a value was written as JSON that can't be read").into()
}

fn single(values: &[Values], row: usize, out: &mut String) -> Result<bool> {
    if values[0].is_null(row) {
        return Ok(false);
    }
    values[0].write(row, out)?;
    Ok(true)
}

fn elements(values: &[Values], row: usize, out: &mut String) -> Result<bool> {
    out.push('[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        value.write(row, out)?;
    }
    out.push(']');
    Ok(true)
}

fn object(values: &[Values], row: usize, out: &mut String) -> Result<bool> {
    members(values, row, ", ", " : ", out)
}

fn compact_object(values: &[Values], row: usize, out: &mut String) -> Result<bool> {
    members(values, row, ",", ":", out)
}

fn members(values: &[Values], row: usize, comma: &str, colon: &str, out: &mut String) -> Result<bool> {
    if values.len() % 2 == 1 {
        return invalid("argument list must have even number of elements".to_owned());
    }
    out.push('{');
    for (index, member) in values.chunks_exact(2).enumerate() {
        if index > 0 {
            out.push_str(comma);
        }
        if member[0].is_null(row) {
            return invalid(format!("argument {} cannot be null", 2 * index + 1));
        }
        quote(member[0].text(row), out)?;
        out.push_str(colon);
        member[1].write(row, out)?;
    }
    out.push('}');
    Ok(true)
}

/// A column whose values are written as JSON.
enum Values {
    /// As the text stands: numbers, booleans, json.
    Verbatim(StringViewArray),
    /// Numbers but for NaN and infinity, which JSON has only as texts.
    Float(StringViewArray),
    Text(StringViewArray),
    /// `2024-01-01 10:00:00+00` is `2024-01-01T10:00:00+00:00`.
    Timestamp(StringViewArray),
    List(arrow::array::ListArray, Box<Values>),
    Null,
}

impl Values {
    fn of(column: &ArrayRef, field: &FieldRef) -> Result<Self> {
        let is_json = matches!(SqlType::of_field(field), Some(SqlType::Json | SqlType::Jsonb));
        Ok(match column.data_type() {
            DataType::Null => Self::Null,
            DataType::List(element) => {
                let list = column.as_list::<i32>().clone();
                let elements = Self::of(list.values(), element)?;
                Self::List(list, Box::new(elements))
            }
            DataType::Timestamp(..) => Self::Timestamp(texts(column)?),
            data_type if data_type.is_floating() => Self::Float(texts(column)?),
            data_type if is_json || data_type.is_numeric() || *data_type == DataType::Boolean => {
                Self::Verbatim(texts(column)?)
            }
            _ => Self::Text(texts(column)?),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Verbatim(texts) | Self::Float(texts) | Self::Text(texts) | Self::Timestamp(texts) => {
                texts.is_null(row)
            }
            Self::List(list, _) => list.is_null(row),
            Self::Null => true,
        }
    }

    /// The text of a value that is no list.
    fn text(&self, row: usize) -> &str {
        match self {
            Self::Verbatim(texts) | Self::Float(texts) | Self::Text(texts) | Self::Timestamp(texts) => texts.value(row),
            Self::List(..) | Self::Null => "",
        }
    }

    fn write(&self, row: usize, out: &mut String) -> Result<()> {
        if self.is_null(row) {
            out.push_str("null");
            return Ok(());
        }
        match self {
            Self::Verbatim(texts) => out.push_str(texts.value(row)),
            Self::Float(texts) => match texts.value(row) {
                text @ ("NaN" | "Infinity" | "-Infinity") => quote(text, out)?,
                text => out.push_str(text),
            },
            Self::Text(texts) => quote(texts.value(row), out)?,
            Self::Timestamp(texts) => {
                let text = texts.value(row);
                let with_zone = text.get(19..).is_some_and(|rest| rest.contains(['+', '-']));
                let minutes = if with_zone && text.as_bytes()[text.len() - 3] != b':' { ":00" } else { "" };
                quote(&format!("{}{minutes}", text.replacen(' ', "T", 1)), out)?;
            }
            Self::List(list, elements) => {
                let (first, after) = (list.value_offsets()[row], list.value_offsets()[row + 1]);
                out.push('[');
                for index in first..after {
                    if index > first {
                        out.push(',');
                    }
                    elements.write(index as usize, out)?;
                }
                out.push(']');
            }
            Self::Null => {}
        }
        Ok(())
    }
}

fn quote(text: &str, out: &mut String) -> Result<()> {
    out.push_str(&serde_json::to_string(text).map_err(|_| broken())?);
    Ok(())
}
