//! The arrays of set-returning functions, which UNNEST makes rows of: see [`crate::query::set_returning`].

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Builder, ListBuilder, StringViewArray, StringViewBuilder};
use arrow::datatypes::DataType;
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, TypeSignature, Volatility};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::definition::{Definition, Invoke, Returns, arrays, columnar, invalid, one_of, unexpected};
use super::text::as_views;

pub(super) fn functions() -> Vec<Definition> {
    let text = DataType::Utf8View;
    let strings = |most: usize| {
        let lists: Vec<Vec<DataType>> = (2..=most).map(|count| vec![text.clone(); count]).collect();
        one_of(&lists.iter().map(Vec::as_slice).collect::<Vec<_>>(), Volatility::Immutable)
    };
    let json = |name, returns: Returns, invoke: Invoke| {
        Definition::new(name, one_of(&[&[DataType::Utf8View]], Volatility::Immutable), returns, invoke)
    };
    let (texts, jsons, jsonbs): (Returns, Returns, Returns) =
        (|_| Ok(array_of(SqlType::Text)), |_| Ok(array_of(SqlType::Json)), |_| Ok(array_of(SqlType::Jsonb)));
    vec![
        json("json_array_elements", jsons, |args| {
            lists(args, SqlType::Json, |json, out| elements(json, "json_array_elements", out, json_of))
        }),
        json("jsonb_array_elements", jsonbs, |args| {
            lists(args, SqlType::Jsonb, |json, out| elements(json, "jsonb_array_elements", out, json_of))
        }),
        json("json_array_elements_text", texts, |args| {
            lists(args, SqlType::Text, |json, out| elements(json, "json_array_elements_text", out, text_of))
        }),
        json("jsonb_array_elements_text", texts, |args| {
            lists(args, SqlType::Text, |json, out| elements(json, "jsonb_array_elements_text", out, text_of))
        }),
        json("json_object_keys", texts, |args| {
            lists(args, SqlType::Text, |json, out| members(json, "json_object_keys", out, key_of))
        }),
        json("jsonb_object_keys", texts, |args| {
            lists(args, SqlType::Text, |json, out| members(json, "jsonb_object_keys", out, key_of))
        }),
        json("json_each_keys", texts, |args| {
            lists(args, SqlType::Text, |json, out| members(json, "json_each", out, key_of))
        }),
        json("json_each_values", jsons, |args| {
            lists(args, SqlType::Json, |json, out| members(json, "json_each", out, value_of))
        }),
        json("json_each_texts", texts, |args| {
            lists(args, SqlType::Text, |json, out| members(json, "json_each", out, text_value_of))
        }),
        json("jsonb_each_keys", texts, |args| {
            lists(args, SqlType::Text, |json, out| members(json, "jsonb_each", out, key_of))
        }),
        json("jsonb_each_values", jsonbs, |args| {
            lists(args, SqlType::Jsonb, |json, out| members(json, "jsonb_each", out, value_of))
        }),
        json("jsonb_each_text_keys", texts, |args| {
            lists(args, SqlType::Text, |json, out| members(json, "jsonb_each_text", out, key_of))
        }),
        json("jsonb_each_texts", texts, |args| {
            lists(args, SqlType::Text, |json, out| members(json, "jsonb_each_text", out, text_value_of))
        }),
        Definition::new("string_to_table", strings(3), texts, string_to_table),
        // What WITH ORDINALITY goes through: 1, 2, … as far as the longest of some arrays.
        Definition::new(
            "array_numbers",
            Signature::new(TypeSignature::VariadicAny, Volatility::Immutable),
            |_| Ok(array_of(SqlType::BigInt)),
            array_numbers,
        ),
    ]
}

fn array_of(element: SqlType) -> SqlType {
    SqlType::Array(Box::new(element))
}

fn list_builder(element: &SqlType) -> ListBuilder<StringViewBuilder> {
    ListBuilder::new(StringViewBuilder::new()).with_field(element.field("item", true))
}

/// A list per text, NULL to NULL.
fn lists(
    args: &ScalarFunctionArgs,
    element: SqlType,
    fill: impl Fn(&str, &mut StringViewBuilder) -> Result<()>,
) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let mut builder = list_builder(&element);
    for value in &as_views(&columns[0])? {
        if let Some(text) = value {
            fill(text, builder.values())?;
        }
        builder.append(value.is_some());
    }
    columnar(args, Arc::new(builder.finish()))
}

/// What a text of JSON is, by its first letter.
fn is_object(json: &str) -> bool {
    json.trim_start().starts_with('{')
}

fn is_array(json: &str) -> bool {
    json.trim_start().starts_with('[')
}

fn elements(
    json: &str,
    function: &str,
    out: &mut StringViewBuilder,
    append: fn(&RawValue, &mut StringViewBuilder),
) -> Result<()> {
    if let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(json) {
        elements.into_iter().for_each(|element| append(element, out));
        return Ok(());
    }
    invalid(match (function.starts_with("jsonb"), is_object(json)) {
        (true, true) => "cannot extract elements from an object".to_owned(),
        (true, false) => "cannot extract elements from a scalar".to_owned(),
        (false, true) => format!("cannot call {function} on a non-array"),
        (false, false) => format!("cannot call {function} on a scalar"),
    })
}

fn json_of(value: &RawValue, out: &mut StringViewBuilder) {
    out.append_value(value.get());
}

/// A string without its quotes; null is NULL.
fn text_of(value: &RawValue, out: &mut StringViewBuilder) {
    match serde_json::from_str::<String>(value.get()) {
        Ok(text) => out.append_value(text),
        Err(_) if value.get() == "null" => out.append_null(),
        Err(_) => out.append_value(value.get()),
    }
}

fn members(
    json: &str,
    function: &str,
    out: &mut StringViewBuilder,
    append: fn(&str, &RawValue, &mut StringViewBuilder),
) -> Result<()> {
    if let Ok(Members(members)) = serde_json::from_str(json) {
        members.iter().for_each(|(key, value)| append(key, value, out));
        return Ok(());
    }
    let kind = if is_array(json) { "an array" } else { "a scalar" };
    invalid(match function {
        "json_each" if is_array(json) => "cannot deconstruct an array as an object".to_owned(),
        "json_each" => "cannot deconstruct a scalar".to_owned(),
        "jsonb_each" | "jsonb_each_text" => format!("cannot call {function} on a non-object"),
        _ => format!("cannot call {function} on {kind}"),
    })
}

fn key_of(key: &str, _value: &RawValue, out: &mut StringViewBuilder) {
    out.append_value(key);
}

fn value_of(_key: &str, value: &RawValue, out: &mut StringViewBuilder) {
    json_of(value, out);
}

fn text_value_of(_key: &str, value: &RawValue, out: &mut StringViewBuilder) {
    text_of(value, out);
}

/// The members of an object, as they stand there; `None` if the text is none.
pub(super) fn members_of(json: &str) -> Option<Vec<(String, &RawValue)>> {
    serde_json::from_str(json).ok().map(|Members(members)| members)
}

/// The members of an object, as they stand there.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = entries.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The texts of one row, by argument: `None` past the last.
fn texts_at<'a>(views: &'a [StringViewArray], row: usize) -> impl Fn(usize) -> Option<&'a str> + 'a {
    move |column| views.get(column).filter(|view| view.is_valid(row)).map(|view| view.value(row))
}

/// The parts of a text between separators: its characters where the separator is NULL, the whole text where it is empty. A part equal to
/// the third argument is NULL.
fn string_to_table(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let views = columns.iter().map(as_views).collect::<Result<Vec<_>>>()?;
    let mut builder = list_builder(&SqlType::Text);
    for row in 0..columns[0].len() {
        let text_at = texts_at(&views, row);
        let Some(text) = text_at(0) else {
            builder.append(false);
            continue;
        };
        let parts: Vec<&str> = match text_at(1) {
            _ if text.is_empty() => vec![],
            None => text.char_indices().map(|(at, character)| &text[at..at + character.len_utf8()]).collect(),
            Some("") => vec![text],
            Some(separator) => text.split(separator).collect(),
        };
        let null = text_at(2);
        parts.into_iter().for_each(|part| builder.values().append_option((Some(part) != null).then_some(part)));
        builder.append(true);
    }
    columnar(args, Arc::new(builder.finish()))
}

fn array_numbers(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let lists = columns.iter().map(|column| column.as_list_opt::<i32>()).collect::<Option<Vec<_>>>();
    let Some(lists) = lists else { return unexpected("WITH ORDINALITY") };
    let mut builder = ListBuilder::new(Int64Builder::new());
    for row in 0..columns.first().map_or(0, |column| column.len()) {
        let lengths = lists.iter().filter(|list| list.is_valid(row)).map(|list| list.value_length(row));
        (1..=i64::from(lengths.max().unwrap_or(0))).for_each(|number| builder.values().append_value(number));
        builder.append(true);
    }
    columnar(args, Arc::new(builder.finish()))
}
