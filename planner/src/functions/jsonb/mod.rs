//! jsonb: values made of others ([`edit`]), their order ([`order`]), SQL/JSON paths ([`path`]), casts to plain types.

mod edit;
pub(crate) mod order;
pub(crate) mod path;
mod pathed;
pub(crate) mod value;

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Decimal128Builder, Float64Builder, StringViewArray, StringViewBuilder,
};
use arrow::datatypes::{DataType, Int64Type};
use catalog::SqlType;
use catalog::sql_type::NUMERIC_DEFAULT;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, TypeSignature, Volatility};

use super::definition::{Definition, arrays, columnar, invalid, unexpected};
use super::text::{as_views, texts};
use crate::error::{DataError, ErrorKind};
use value::Json;

pub(super) fn functions() -> Vec<Definition> {
    let any = |count| Signature::any(count, Volatility::Immutable);
    let between = |least: usize, most: usize| {
        Signature::one_of((least..=most).map(TypeSignature::Any).collect(), Volatility::Immutable)
    };
    let mut all = vec![
        Definition::new("jsonb_concat", any(2), |_| Ok(SqlType::Jsonb), concat),
        Definition::new("jsonb_delete", any(2), |_| Ok(SqlType::Jsonb), delete),
        Definition::new("jsonb_delete_path", any(2), |_| Ok(SqlType::Jsonb), delete_path),
        Definition::new("jsonb_set", between(3, 4), |_| Ok(SqlType::Jsonb), |args| placed(args, edit::set, true)),
        Definition::new(
            "jsonb_insert",
            between(3, 4),
            |_| Ok(SqlType::Jsonb),
            |args| placed(args, edit::insert, false),
        ),
        Definition::new("jsonb_set_lax", between(3, 5), |_| Ok(SqlType::Jsonb), set_lax),
        Definition::new(
            "jsonb_strip_nulls",
            any(1),
            |_| Ok(SqlType::Jsonb),
            |args| mapped(args, |json| Ok(edit::stripped(json))),
        ),
        Definition::new("json_strip_nulls", any(1), |_| Ok(SqlType::Json), json_strip_nulls),
        Definition::new(
            "jsonb_pretty",
            any(1),
            |_| Ok(SqlType::Text),
            |args| {
                shown(args, |json| {
                    let mut out = String::new();
                    edit::pretty(&json, 0, &mut out);
                    Ok(Some(out))
                })
            },
        ),
        Definition::new("jsonb_object", between(1, 2), |_| Ok(SqlType::Jsonb), |args| object(args, true)),
        Definition::new("json_object", between(1, 2), |_| Ok(SqlType::Json), |args| object(args, false)),
        Definition::new("jsonb_to_numeric", any(1), |_| Ok(SqlType::Numeric(None)), to_numeric),
        Definition::new("jsonb_to_double", any(1), |_| Ok(SqlType::Double), to_double),
        Definition::new("jsonb_to_boolean", any(1), |_| Ok(SqlType::Boolean), to_boolean),
    ];
    all.extend(order::functions());
    all.extend(pathed::functions());
    all
}

/// A jsonb column, read row by row.
pub(super) fn row_of(column: &StringViewArray, row: usize) -> Result<Json> {
    Json::parse(column.value(row))
}

fn mapped(args: &ScalarFunctionArgs, function: impl Fn(Json) -> Result<Json>) -> Result<ColumnarValue> {
    shown(args, |json| Ok(Some(function(json)?.text())))
}

fn shown(args: &ScalarFunctionArgs, function: impl Fn(Json) -> Result<Option<String>>) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let mut builder = StringViewBuilder::new();
    for json in &as_views(&columns[0])? {
        builder.append_option(match json {
            Some(json) => function(Json::parse(json)?)?,
            None => None,
        });
    }
    columnar(args, Arc::new(builder.finish()))
}

/// A result per row in which no argument is NULL.
fn by_rows(
    args: &ScalarFunctionArgs,
    columns: &[ArrayRef],
    function: impl Fn(usize) -> Result<String>,
) -> Result<ColumnarValue> {
    let rows = columns.first().map_or(0, |column| column.len());
    let mut builder = StringViewBuilder::with_capacity(rows);
    for row in 0..rows {
        let is_null = |column: &ArrayRef| column.is_null(row) || *column.data_type() == DataType::Null;
        if columns.iter().any(is_null) {
            builder.append_null();
        } else {
            builder.append_value(function(row)?);
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

fn concat(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (left, right) = (as_views(&columns[0])?, as_views(&columns[1])?);
    by_rows(args, &columns, |row| Ok(edit::concatenated(row_of(&left, row)?, row_of(&right, row)?).text()))
}

/// `jsonb - text`, `- integer`, `- text[]`.
fn delete(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let json = as_views(&columns[0])?;
    match columns[1].data_type() {
        data_type if data_type.is_integer() => {
            let indexes = arrow::compute::cast(&columns[1], &DataType::Int64)?;
            let indexes = indexes.as_primitive::<Int64Type>();
            by_rows(args, &columns, |row| Ok(edit::without_element(row_of(&json, row)?, indexes.value(row))?.text()))
        }
        DataType::List(_) => by_rows(args, &columns, |row| {
            let names = path_of(&columns[1], row)?;
            let names: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
            Ok(edit::without_names(row_of(&json, row)?, &names)?.text())
        }),
        data_type if data_type.is_string() => {
            let names = as_views(&columns[1])?;
            by_rows(args, &columns, |row| Ok(edit::without_names(row_of(&json, row)?, &[names.value(row)])?.text()))
        }
        _ => unexpected("jsonb -"),
    }
}

fn delete_path(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let json = as_views(&columns[0])?;
    by_rows(args, &columns, |row| {
        let mut json = row_of(&json, row)?;
        edit::without_path(&mut json, &path_of(&columns[1], row)?)?;
        Ok(json.text())
    })
}

/// The names of a path: an array of texts.
fn path_of(column: &ArrayRef, row: usize) -> Result<Vec<Option<String>>> {
    let DataType::List(_) = column.data_type() else { return unexpected("a path into jsonb") };
    let names = texts(&column.as_list::<i32>().value(row))?;
    Ok(names.iter().map(|name| name.map(ToOwned::to_owned)).collect())
}

type Edit = fn(&mut Json, &[Option<String>], &Json, bool) -> Result<()>;

fn placed(args: &ScalarFunctionArgs, edit: Edit, otherwise: bool) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (json, new) = (as_views(&columns[0])?, as_views(&columns[2])?);
    by_rows(args, &columns, |row| {
        let flag = columns.get(3).map_or(otherwise, |column| column.as_boolean().value(row));
        let mut json = row_of(&json, row)?;
        edit(&mut json, &path_of(&columns[1], row)?, &row_of(&new, row)?, flag)?;
        Ok(json.text())
    })
}

/// `jsonb_set_lax(json, path, new, create, what to do about NULL)`.
fn set_lax(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (json, new) = (as_views(&columns[0])?, as_views(&columns[2])?);
    let treatments = columns.get(4).map(as_views).transpose()?;
    let mut builder = StringViewBuilder::new();
    for row in 0..json.len() {
        let flags_missing = columns.get(3).is_some_and(|column| column.is_null(row));
        if json.is_null(row) || columns[1].is_null(row) || flags_missing {
            builder.append_null();
            continue;
        }
        let create = columns.get(3).is_none_or(|column| column.as_boolean().value(row));
        let (mut json, path) = (row_of(&json, row)?, path_of(&columns[1], row)?);
        let treatment = match &treatments {
            None => "use_json_null",
            Some(column) if column.is_null(row) => "",
            Some(column) => column.value(row),
        };
        match (new.is_valid(row), treatment) {
            (true, _) => edit::set(&mut json, &path, &row_of(&new, row)?, create)?,
            (false, "use_json_null") => edit::set(&mut json, &path, &Json::Null, create)?,
            (false, "delete_key") => edit::without_path(&mut json, &path)?,
            (false, "return_target") => {}
            (false, "raise_exception") => {
                let kind = ErrorKind::Data(DataError::NullValue);
                let error = crate::Error::new(kind, "JSON value must not be null");
                return Err(error
                    .with_detail("Exception was raised because null_value_treatment is \"raise_exception\".")
                    .into());
            }
            _ => {
                let names = "\"delete_key\", \"return_target\", \"use_json_null\", or \"raise_exception\"";
                return invalid(format!("null_value_treatment must be {names}"));
            }
        }
        builder.append_value(json.text());
    }
    columnar(args, Arc::new(builder.finish()))
}

/// As `jsonb_strip_nulls`, but members stay in the order in which they are written.
fn json_strip_nulls(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    super::text::map_text(args, |text| {
        let mut out = String::with_capacity(text.len());
        match strip_text(text.trim(), &mut out) {
            Some(()) => Ok(out),
            None => super::definition::invalid_text("json", text),
        }
    })
}

fn strip_text(json: &str, out: &mut String) -> Option<()> {
    use serde_json::value::RawValue;
    match json.bytes().next()? {
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                strip_text(element.get(), out)?;
            }
            out.push(']');
        }
        b'{' => {
            let members = super::rows::members_of(json)?;
            out.push('{');
            for (index, (name, value)) in members.iter().filter(|(_, value)| value.get() != "null").enumerate() {
                if index > 0 {
                    out.push(',');
                }
                value::write_string(name, out);
                out.push(':');
                strip_text(value.get(), out)?;
            }
            out.push('}');
        }
        _ => out.push_str(json),
    }
    Some(())
}

/// `jsonb_object('{name, value, …}')`, `jsonb_object(names, values)`.
fn object(args: &ScalarFunctionArgs, jsonb: bool) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    by_rows(args, &columns, |row| {
        let (names, values): (Vec<_>, Vec<_>) = match columns.get(1) {
            Some(values) => {
                let (names, values) = (flat(&columns[0], row)?, flat(values, row)?);
                if names.len() != values.len() {
                    return subscript("mismatched array dimensions");
                }
                (names, values)
            }
            None => {
                let all = flat(&columns[0], row)?;
                if all.len() % 2 == 1 {
                    return subscript("array must have even number of elements");
                }
                let (names, values): (Vec<_>, Vec<_>) = all.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
                (
                    names.into_iter().map(|(_, name)| name).collect(),
                    values.into_iter().map(|(_, value)| value).collect(),
                )
            }
        };
        let mut members = Vec::with_capacity(names.len());
        for (name, value) in names.into_iter().zip(values) {
            let Some(name) = name else {
                let kind = ErrorKind::Data(DataError::NullValue);
                return Err(crate::Error::new(kind, "null value not allowed for object key").into());
            };
            members.push((name, value.map_or(Json::Null, Json::String)));
        }
        if jsonb {
            return Ok(Json::object(members).text());
        }
        let written = members.iter().map(|(name, value)| {
            let mut out = String::new();
            value::write_string(name, &mut out);
            out.push_str(" : ");
            value.write(&mut out);
            out
        });
        Ok(format!("{{{}}}", written.collect::<Vec<_>>().join(", ")))
    })
}

fn subscript<T>(message: &str) -> Result<T> {
    Err(crate::Error::new(ErrorKind::InvalidSubscript, message).into())
}

/// The texts of an array, of one of two dimensions row by row.
fn flat(column: &ArrayRef, row: usize) -> Result<Vec<Option<String>>> {
    let DataType::List(_) = column.data_type() else { return unexpected("json_object") };
    let mut items = column.as_list::<i32>().value(row);
    while let DataType::List(_) = items.data_type() {
        items = items.as_list::<i32>().values().clone();
    }
    Ok(texts(&items)?.iter().map(|text| text.map(ToOwned::to_owned)).collect())
}

/// `Err` that a value of this kind is not what it is cast to.
fn no_cast<T>(json: &Json, target: &str) -> Result<T> {
    let kind = match json.kind() {
        "number" => "numeric",
        kind => kind,
    };
    invalid(format!("cannot cast jsonb {kind} to type {target}"))
}

/// A number as a plain numeric, rounded to the digits that it has.
fn to_numeric(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let mut builder = Decimal128Builder::new().with_data_type(SqlType::Numeric(None).data_type());
    for json in &as_views(&columns[0])? {
        let Some(text) = json else {
            builder.append_null();
            continue;
        };
        let json = Json::parse(text)?;
        let Some(number) = json.number() else { return no_cast(&json, "numeric") };
        let rounded = number.with_scale_round(i64::from(NUMERIC_DEFAULT.1), bigdecimal::RoundingMode::HalfUp);
        let overflow = || crate::Error::new(ErrorKind::OutOfRange, "numeric field overflow");
        let (digits, _) = rounded.into_bigint_and_exponent();
        let value: i128 = digits.to_string().parse().map_err(|_| overflow())?;
        if value.unsigned_abs() >= 10_u128.pow(u32::from(NUMERIC_DEFAULT.0)) {
            return Err(overflow().into());
        }
        builder.append_value(value);
    }
    columnar(args, Arc::new(builder.finish()))
}

fn to_double(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let mut builder = Float64Builder::new();
    for json in &as_views(&columns[0])? {
        let Some(text) = json else {
            builder.append_null();
            continue;
        };
        match Json::parse(text)? {
            Json::Number(digits) => match digits.parse::<f64>() {
                Ok(value) if value.is_finite() => builder.append_value(value),
                _ => {
                    let message = format!("\"{digits}\" is out of range for type double precision");
                    return Err(crate::Error::new(ErrorKind::OutOfRange, message).into());
                }
            },
            other => return no_cast(&other, "double precision"),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

fn to_boolean(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let mut builder = BooleanBuilder::new();
    for json in &as_views(&columns[0])? {
        match json.map(Json::parse).transpose()? {
            None => builder.append_null(),
            Some(Json::Bool(value)) => builder.append_value(value),
            Some(other) => return no_cast(&other, "boolean"),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}
