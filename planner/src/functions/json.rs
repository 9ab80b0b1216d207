//! json and jsonb: text inside, read as far as a question needs it. Numbers are never read as floating point, so that they keep their digits.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Builder, StringViewBuilder};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, Volatility};
use serde_json::value::RawValue;

use super::definition::{Definition, arrays, columnar, invalid, invalid_text, one_of, unexpected};
use super::jsonb::value::Json;
use super::text::{as_views, map_text, texts};

pub(super) fn functions() -> Vec<Definition> {
    let any = |count| Signature::any(count, Volatility::Immutable);
    let text = || one_of(&[&[DataType::Utf8View]], Volatility::Immutable);
    let path = || Signature::variadic_any(Volatility::Immutable);
    vec![
        Definition::new("json_get", any(2), |fields| Ok(json_type(fields)), |args| by_step(args, Answer::Json)),
        Definition::new("json_get_text", any(2), |_| Ok(SqlType::Text), |args| by_step(args, Answer::Text)),
        Definition::new("json_get_path", any(2), |fields| Ok(json_type(fields)), |args| by_path(args, Answer::Json)),
        Definition::new("json_get_path_text", any(2), |_| Ok(SqlType::Text), |args| by_path(args, Answer::Text)),
        Definition::new("json_extract_path", path(), |_| Ok(SqlType::Json), |args| by_steps(args, Answer::Json)),
        Definition::new("jsonb_extract_path", path(), |_| Ok(SqlType::Jsonb), |args| by_steps(args, Answer::Json)),
        Definition::new("json_extract_path_text", path(), |_| Ok(SqlType::Text), |args| by_steps(args, Answer::Text))
            .with_alias("jsonb_extract_path_text"),
        Definition::new("json_typeof", text(), |_| Ok(SqlType::Text), |args| map_text(args, type_of))
            .with_alias("jsonb_typeof"),
        Definition::new("json_array_length", text(), |_| Ok(SqlType::Integer), array_length)
            .with_alias("jsonb_array_length"),
        Definition::new(
            "text_to_json",
            text(),
            |_| Ok(SqlType::Json),
            |args| map_text(args, |text| normalise(text, false)),
        ),
        Definition::new(
            "text_to_jsonb",
            text(),
            |_| Ok(SqlType::Jsonb),
            |args| map_text(args, |text| normalise(text, true)),
        ),
    ]
}

/// What comes out of json is json, what comes out of jsonb is jsonb.
fn json_type(fields: &[arrow::datatypes::FieldRef]) -> SqlType {
    match fields.first().and_then(|field| SqlType::of_field(field)) {
        Some(SqlType::Json) => SqlType::Json,
        _ => SqlType::Jsonb,
    }
}

#[derive(Clone, Copy)]
enum Answer {
    Json,
    Text,
}

/// One step into a value: the member of an object, or the element of an array.
#[derive(Clone, Copy)]
enum Step<'a> {
    Member(&'a str),
    Element(i64),
}

/// The value at a step, if there is one.
fn step<'a>(json: &'a str, step: Step<'_>) -> Option<&'a str> {
    match step {
        Step::Member(name) => {
            let members: BTreeMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(json).ok()?;
            members.get(name).map(|value| value.get())
        }
        Step::Element(index) => {
            let elements: Vec<&'a RawValue> = serde_json::from_str(json).ok()?;
            let index = if index < 0 { index + elements.len() as i64 } else { index };
            elements.get(usize::try_from(index).ok()?).map(|value| value.get())
        }
    }
}

/// A step of a path: a number picks an element of an array.
fn path_step<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    if json.trim_start().starts_with('[') {
        step(json, Step::Element(name.parse().ok()?))
    } else {
        step(json, Step::Member(name))
    }
}

fn answer(value: Option<&str>, answer: Answer, builder: &mut StringViewBuilder) {
    match (value, answer) {
        (None, _) => builder.append_null(),
        (Some(json), Answer::Json) => builder.append_value(json),
        (Some("null"), Answer::Text) => builder.append_null(),
        (Some(json), Answer::Text) if json.starts_with('"') => match serde_json::from_str::<Cow<'_, str>>(json) {
            Ok(text) => builder.append_value(text),
            Err(_) => builder.append_null(),
        },
        (Some(json), Answer::Text) => builder.append_value(json),
    }
}

/// `json -> key`, `json -> index`.
fn by_step(args: &ScalarFunctionArgs, wanted: Answer) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let json = as_views(&columns[0])?;
    let mut builder = StringViewBuilder::with_capacity(json.len());
    let keys = Keys::of(&columns[1])?;
    for row in 0..json.len() {
        let value = match (json.is_valid(row), keys.step(row)) {
            (true, Some(key)) => step(json.value(row), key),
            _ => None,
        };
        answer(value, wanted, &mut builder);
    }
    columnar(args, Arc::new(builder.finish()))
}

enum Keys {
    Names(arrow::array::StringViewArray),
    Indexes(arrow::array::Int64Array),
}

impl Keys {
    fn of(column: &ArrayRef) -> Result<Self> {
        if column.data_type().is_integer() {
            let indexes = arrow::compute::cast(column, &DataType::Int64)?;
            return Ok(Self::Indexes(indexes.as_primitive::<Int64Type>().clone()));
        }
        Ok(Self::Names(as_views(column)?))
    }

    fn step(&self, row: usize) -> Option<Step<'_>> {
        match self {
            Self::Names(names) => names.is_valid(row).then(|| Step::Member(names.value(row))),
            Self::Indexes(indexes) => indexes.is_valid(row).then(|| Step::Element(indexes.value(row))),
        }
    }
}

/// `json #> path`: the path as an array of texts, or as the text of one.
fn by_path(args: &ScalarFunctionArgs, wanted: Answer) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let json = as_views(&columns[0])?;
    let mut builder = StringViewBuilder::with_capacity(json.len());
    for row in 0..json.len() {
        let value = if json.is_null(row) || columns[1].is_null(row) {
            None
        } else {
            let path = path_of(&columns[1], row)?;
            path.iter().try_fold(json.value(row), |json, name| path_step(json, name))
        };
        answer(value, wanted, &mut builder);
    }
    columnar(args, Arc::new(builder.finish()))
}

fn path_of(column: &ArrayRef, row: usize) -> Result<Vec<String>> {
    let list = match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().value(row),
        data_type if data_type.is_string() => {
            let text = as_views(column)?;
            let array =
                crate::query::literal::parse(text.value(row), &SqlType::Array(Box::new(SqlType::Text)))?.to_array()?;
            array.as_list::<i32>().value(0)
        }
        _ => return unexpected("a path into json"),
    };
    Ok(texts(&list)?.iter().map(|name| name.unwrap_or_default().to_owned()).collect())
}

/// `json_extract_path(json, name, …)`.
fn by_steps(args: &ScalarFunctionArgs, wanted: Answer) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let json = as_views(&columns[0])?;
    let names = columns[1..].iter().map(as_views).collect::<Result<Vec<_>>>()?;
    let mut builder = StringViewBuilder::with_capacity(json.len());
    for row in 0..json.len() {
        let present = json.is_valid(row) && names.iter().all(|names| names.is_valid(row));
        let value = if present {
            names.iter().try_fold(json.value(row), |json, names| path_step(json, names.value(row)))
        } else {
            None
        };
        answer(value, wanted, &mut builder);
    }
    columnar(args, Arc::new(builder.finish()))
}

fn type_of(json: &str) -> Result<String> {
    let name = match json.trim_start().bytes().next() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b't' | b'f') => "boolean",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') => "number",
        _ => return invalid_text("json", json),
    };
    Ok(name.to_owned())
}

fn array_length(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let mut builder = Int32Builder::new();
    for value in &as_views(&columns[0])? {
        match value {
            None => builder.append_null(),
            Some(json) => match serde_json::from_str::<Vec<&RawValue>>(json) {
                Ok(elements) => {
                    builder.append_value(elements.len() as <Int32Type as arrow::datatypes::ArrowPrimitiveType>::Native)
                }
                Err(_) => return invalid("cannot get array length of a non-array".to_owned()),
            },
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

fn normalise(text: &str, jsonb: bool) -> Result<String> {
    match normalised(text, jsonb) {
        Some(text) => Ok(text),
        None => invalid_text(if jsonb { "jsonb" } else { "json" }, text),
    }
}

/// The text that is kept: json as written; jsonb with its members in PostgreSQL's order, the last of equal names, and its spacing. `None` if the
/// text is not JSON.
pub(crate) fn normalised(text: &str, jsonb: bool) -> Option<String> {
    let value: &RawValue = serde_json::from_str(text).ok()?;
    if !jsonb {
        return Some(text.to_owned());
    }
    let value = Json::parse(value.get()).ok()?;
    let mut out = String::with_capacity(text.len());
    value.write(&mut out);
    // A text can't have it, though JSON can write it.
    (!out.contains("\\u0000")).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jsonb_is_normalised_as_postgresql_does() {
        let text = r#" {"bb": [1.10,  {"x":null}], "a":"\u0041", "bb": 2} "#;
        assert_eq!(normalised(text, true).as_deref(), Some(r#"{"a": "A", "bb": 2}"#));
        assert_eq!(normalised("[1.10, 2 ]", true).as_deref(), Some("[1.10, 2]"));
        assert_eq!(normalised("[1,", true), None);
        assert_eq!(normalised("[1,  2]", false).as_deref(), Some("[1,  2]"));
    }

    #[test]
    fn steps_lead_into_objects_and_arrays() {
        let json = r#"{"a": [10, {"b": "x"}]}"#;
        assert_eq!(step(json, Step::Member("a")).and_then(|json| step(json, Step::Element(-1))), Some(r#"{"b": "x"}"#));
        assert_eq!(step(json, Step::Element(0)), None);
        let path = ["a", "1", "b"].iter().try_fold(json, |json, name| path_step(json, name));
        assert_eq!(path, Some("\"x\""));
    }
}
