//! Text to a value of a type, as PostgreSQL reads the literals that a statement contains.

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::DataType;
use catalog::sql_type::NUMERIC_DEFAULT;
use catalog::{CatalogType, SqlType};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use datafusion::common::ScalarValue;

use super::{datetime, interval};
use crate::error::ErrorKind;
use crate::{Error, Result};

/// The value that a text stands for. A timestamptz without a zone is read as UTC; the planner only asks where that is right.
pub(crate) fn parse(text: &str, sql_type: &SqlType) -> Result<ScalarValue> {
    let trimmed = text.trim();
    let invalid = || {
        let kind = match sql_type {
            SqlType::Date | SqlType::Time | SqlType::Timestamp | SqlType::Timestamptz | SqlType::Interval => {
                ErrorKind::InvalidDatetime
            }
            _ => ErrorKind::InvalidText,
        };
        let name = match sql_type {
            SqlType::Numeric(_) => "numeric".to_owned(),
            SqlType::Timestamp => "timestamp".to_owned(),
            SqlType::Time => "time".to_owned(),
            other => other.to_string(),
        };
        Error::new(kind, format!("invalid input syntax for type {name}: \"{text}\""))
    };
    let out_of_range =
        || Error::new(ErrorKind::OutOfRange, format!("value \"{text}\" is out of range for type {sql_type}"));
    Ok(match sql_type {
        SqlType::Boolean => ScalarValue::Boolean(Some(boolean(trimmed).ok_or_else(invalid)?)),
        SqlType::SmallInt => {
            let value = integer(trimmed).ok_or_else(invalid)?;
            ScalarValue::Int16(Some(i16::try_from(value).map_err(|_| out_of_range())?))
        }
        SqlType::Integer => {
            let value = integer(trimmed).ok_or_else(invalid)?;
            ScalarValue::Int32(Some(i32::try_from(value).map_err(|_| out_of_range())?))
        }
        SqlType::BigInt => {
            let value = integer(trimmed).ok_or_else(invalid)?;
            ScalarValue::Int64(Some(i64::try_from(value).map_err(|_| out_of_range())?))
        }
        SqlType::Oid => {
            let value = integer(trimmed).ok_or_else(invalid)?;
            ScalarValue::UInt32(Some(u32::try_from(value).map_err(|_| out_of_range())?))
        }
        SqlType::Real => {
            let value = float(trimmed).ok_or_else(invalid)?;
            let real = value as f32;
            if real.is_infinite() && digits_in(trimmed) || real == 0.0 && nonzero(trimmed) {
                return Err(beyond(text, sql_type));
            }
            ScalarValue::Float32(Some(real))
        }
        SqlType::Double => {
            let value = float(trimmed).ok_or_else(invalid)?;
            if value.is_infinite() && digits_in(trimmed) || value == 0.0 && nonzero(trimmed) {
                return Err(beyond(text, sql_type));
            }
            ScalarValue::Float64(Some(value))
        }
        SqlType::Numeric(_) => {
            if !is_number(trimmed) {
                return Err(match float(trimmed) {
                    Some(_) if digits_in(trimmed) => Error::new(ErrorKind::OutOfRange, "numeric field overflow"),
                    Some(special) => no_such_numeric(special),
                    None => invalid(),
                });
            }
            if *sql_type == SqlType::Numeric(None) && fraction_digits(trimmed) > i64::from(NUMERIC_DEFAULT.1) {
                return Err(too_many_digits(trimmed));
            }
            // Arrow reads no exponent.
            let plain = trimmed.contains(['e', 'E']).then(|| without_exponent(trimmed)).flatten();
            return through_arrow(plain.as_deref().unwrap_or(trimmed), &sql_type.data_type()).map_err(|_| {
                Error::new(ErrorKind::OutOfRange, "numeric field overflow")
                    .with_detail(format!("{trimmed} does not fit into {sql_type}."))
            });
        }
        SqlType::Text | SqlType::Name => ScalarValue::Utf8View(Some(text.to_owned())),
        SqlType::Varchar(length) => ScalarValue::Utf8View(Some(truncated(text, *length))),
        SqlType::Char(length) => {
            let cut = truncated(text, Some(*length));
            let padding = (*length as usize).saturating_sub(cut.chars().count());
            ScalarValue::Utf8View(Some(cut + &" ".repeat(padding)))
        }
        SqlType::Bytea => ScalarValue::BinaryView(Some(match bytes(text) {
            Some(bytes) => bytes,
            None => return Err(hexadecimal(text).unwrap_or_else(invalid)),
        })),
        SqlType::Date => {
            let date = datetime::parse(trimmed).map_err(|problem| problem.error(text, "date"))?.0.date();
            ScalarValue::Date32(Some((date - NaiveDate::default()).num_days() as i32))
        }
        SqlType::Time => {
            let time = datetime::time(trimmed).map_err(|problem| problem.error(text, "time"))?;
            ScalarValue::Time64Microsecond(Some((time - NaiveTime::MIN).num_microseconds().ok_or_else(out_of_range)?))
        }
        SqlType::Timestamp => {
            let (local, _) = datetime::parse(trimmed).map_err(|problem| problem.error(text, "timestamp"))?;
            ScalarValue::TimestampMicrosecond(Some(local.and_utc().timestamp_micros()), None)
        }
        SqlType::Timestamptz => {
            let (local, offset) =
                datetime::parse(trimmed).map_err(|problem| problem.error(text, "timestamp with time zone"))?;
            let utc = local - TimeDelta::seconds(i64::from(offset.unwrap_or(0)));
            ScalarValue::TimestampMicrosecond(Some(utc.and_utc().timestamp_micros()), Some("UTC".into()))
        }
        SqlType::Interval => {
            let interval = interval::parse(trimmed).ok_or_else(|| interval::unreadable(text))?;
            ScalarValue::IntervalMonthDayNano(Some(interval))
        }
        SqlType::Uuid => ScalarValue::Utf8View(Some(uuid(trimmed).ok_or_else(invalid)?)),
        SqlType::Json | SqlType::Jsonb => {
            let normalised = crate::functions::json_text(text, *sql_type == SqlType::Jsonb).ok_or_else(|| {
                Error::new(ErrorKind::InvalidText, format!("invalid input syntax for type {sql_type}"))
                    .with_detail(format!("\"{text}\" is not JSON."))
            })?;
            ScalarValue::Utf8View(Some(normalised))
        }
        SqlType::Array(element) => return array(trimmed, element),
        SqlType::Catalog(CatalogType::Char) => ScalarValue::Utf8View(Some(truncated(text, Some(1)))),
        SqlType::Catalog(catalog_type) => match catalog_type.carrier() {
            SqlType::Array(element) => {
                let items = trimmed.split_ascii_whitespace().map(|item| parse(item, &element));
                list(&items.collect::<Result<Vec<_>>>()?, &element)?
            }
            carrier => return parse(text, &carrier),
        },
    })
}

/// The value of type `sql_type` that is nothing.
pub(crate) fn null(sql_type: &SqlType) -> Result<ScalarValue> {
    Ok(ScalarValue::try_from(&sql_type.data_type())?)
}

fn through_arrow(text: &str, data_type: &DataType) -> Result<ScalarValue> {
    let array = StringArray::from(vec![text]);
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let value = cast_with_options(&array, data_type, &options)
        .map_err(|error| Error::new(ErrorKind::InvalidText, error.to_string()))?;
    Ok(ScalarValue::try_from_array(&value, 0)?)
}

fn boolean(text: &str) -> Option<bool> {
    let text = text.to_lowercase();
    let is_prefix = |word: &str, least: usize| text.len() >= least && word.starts_with(&text);
    match text.as_str() {
        "1" => Some(true),
        "0" => Some(false),
        _ if is_prefix("true", 1) || is_prefix("yes", 1) || text == "on" => Some(true),
        _ if is_prefix("false", 1) || is_prefix("no", 1) || is_prefix("off", 2) => Some(false),
        _ => None,
    }
}

fn integer(text: &str) -> Option<i128> {
    text.parse().ok()
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite) && text.bytes().any(|byte| byte.is_ascii_digit())
}

/// A number's digits with the point where its exponent moves it; `None` if there are too many.
fn without_exponent(text: &str) -> Option<String> {
    let digits = super::number::plain_digits(text.trim_start_matches(['-', '+']))?;
    let sign = if text.starts_with('-') { "-" } else { "" };
    Some(format!("{sign}{}", digits.trim_end_matches('.')))
}

/// Digits behind the point that a number needs: without zeros at its end.
fn fraction_digits(text: &str) -> i64 {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let needed = digits.trim_end_matches('0');
    if !needed.bytes().any(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    let zeros = digits.len() - needed.len();
    let exponent = exponent.parse::<i64>().unwrap_or(i64::MAX);
    (fraction.len() as i64).saturating_sub(zeros as i64).saturating_sub(exponent)
}

/// There is no numeric for what double precision has beside numbers.
pub(crate) fn no_such_numeric(value: f64) -> Error {
    let what = match value {
        nan if nan.is_nan() => "NaN",
        negative if negative < 0.0 => "-Infinity",
        _ => "Infinity",
    };
    Error::unsupported(format!("the numeric {what}"))
        .with_detail("A numeric is a number of at most 38 digits here.")
        .with_hint("Use double precision, which has NaN and infinity, or NULL.")
}

/// A plain numeric can't hold all digits of a number.
pub(crate) fn too_many_digits(text: &str) -> Error {
    let digits = NUMERIC_DEFAULT.1;
    Error::new(ErrorKind::OutOfRange, "numeric field overflow")
        .with_detail(format!(
            "\"{text}\" has more than {digits} digits behind the point, which plain numeric holds here."
        ))
        .with_hint("A numeric(p, s) with a larger scale holds them, or rounds them to its own.")
}

fn float(text: &str) -> Option<f64> {
    match text.to_lowercase().as_str() {
        "nan" => Some(f64::NAN),
        "inf" | "infinity" | "+infinity" | "+inf" => Some(f64::INFINITY),
        "-inf" | "-infinity" => Some(f64::NEG_INFINITY),
        _ if digits_in(text) => text.parse().ok(),
        _ => None,
    }
}

fn digits_in(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether a number's digits are not all zero.
fn nonzero(text: &str) -> bool {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'))
}

/// A floating point number that is larger or nearer to zero than its type has them.
fn beyond(text: &str, sql_type: &SqlType) -> Error {
    Error::new(ErrorKind::OutOfRange, format!("\"{text}\" is out of range for type {sql_type}"))
}

fn truncated(text: &str, length: Option<u32>) -> String {
    match length {
        Some(length) => text.chars().take(length as usize).collect(),
        None => text.to_owned(),
    }
}

/// What is wrong with hexadecimal digits; `None` if a text has none.
fn hexadecimal(text: &str) -> Option<Error> {
    let digits = text.strip_prefix("\\x")?;
    let wrong = digits.chars().find(|digit| !digit.is_ascii_hexdigit() && !digit.is_ascii_whitespace());
    let message = match wrong {
        Some(digit) => format!("invalid hexadecimal digit: \"{digit}\""),
        None => "invalid hexadecimal data: odd number of digits".to_owned(),
    };
    Some(Error::new(ErrorKind::InvalidParameterValue, message))
}

/// `\x` and hexadecimal digits, else the text's own bytes with `\\` and `\nnn` escapes.
fn bytes(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        if !digits.len().is_multiple_of(2) {
            return None;
        }
        let nibble = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
        return digits.chunks_exact(2).map(|pair| Some(nibble(pair[0])? * 16 + nibble(pair[1])?)).collect();
    }
    escaped_bytes(text)
}

/// A text's own bytes, but for `\\` and `\nnn`.
pub(crate) fn escaped_bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                rest = tail;
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = tail;
            }
            (b'\\', _) => return None,
            (byte, tail) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    Some(bytes)
}

/// Date and time of day, with the offset in seconds if one is given.
pub(crate) fn date_time(text: &str) -> Option<(NaiveDateTime, Option<i32>)> {
    datetime::parse(text).ok()
}

/// A uuid in the form in which it is kept.
pub(crate) fn uuid(text: &str) -> Option<String> {
    let bare = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let digits: String = bare.chars().filter(|character| *character != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let digits = digits.to_lowercase();
    Some([&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-"))
}

/// `{a,"b c",NULL}`, nested where the element type is an array.
fn array(text: &str, element: &SqlType) -> Result<ScalarValue> {
    let malformed = || Error::new(ErrorKind::InvalidText, format!("malformed array literal: \"{text}\""));
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).ok_or_else(malformed)?;
    if !matches!(element, SqlType::Array(_)) && has_inner_braces(inner) {
        return several_dimensions(text, inner, element);
    }
    let mut values = Vec::new();
    for item in elements(inner).ok_or_else(malformed)? {
        values.push(match item {
            Some(item) => parse(&item, element)?,
            None => null(element)?,
        });
    }
    list(&values, element)
}

/// `{{1,2},{3,4}}`: arrays of one length in an array.
fn several_dimensions(text: &str, inner: &str, element: &SqlType) -> Result<ScalarValue> {
    let malformed = |detail: &str| {
        let error = Error::new(ErrorKind::InvalidText, format!("malformed array literal: \"{text}\""));
        Err(error.with_detail(detail))
    };
    let Some(items) = elements(inner) else { return malformed("Unexpected end of input.") };
    let mut parts = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Some(item) if item.starts_with('{') => parts.push(array(&item, element)?),
            _ => return malformed("Multidimensional arrays must have sub-arrays with matching dimensions."),
        }
    }
    let shape = |value: &ScalarValue| match value {
        ScalarValue::List(list) => (list.value_length(0), value.data_type()),
        other => (0, other.data_type()),
    };
    if parts.windows(2).any(|pair| shape(&pair[0]) != shape(&pair[1])) {
        return malformed("Multidimensional arrays must have sub-arrays with matching dimensions.");
    }
    let Some(first) = parts.first() else { return malformed("Unexpected end of input.") };
    let field = Arc::new(arrow::datatypes::Field::new("item", first.data_type(), true));
    let nested = ScalarValue::new_list(&parts, field.data_type(), true);
    Ok(ScalarValue::List(nested))
}

/// Whether an item is an array itself: a brace that is neither in quotes nor behind a backslash.
fn has_inner_braces(inner: &str) -> bool {
    let (mut in_quotes, mut escaped) = (false, false);
    inner.chars().any(|character| {
        let plain = !std::mem::replace(&mut escaped, false);
        escaped = plain && character == '\\';
        in_quotes ^= plain && character == '"';
        plain && !in_quotes && character == '{'
    })
}

/// An array of elements of one type.
fn list(values: &[ScalarValue], element: &SqlType) -> Result<ScalarValue> {
    let field = Arc::new(element.field("item", true));
    let list = ScalarValue::new_list(values, field.data_type(), true);
    // The list is rebuilt so that its field carries what the Arrow type can't say.
    let (_, offsets, items, nulls) = Arc::unwrap_or_clone(list).into_parts();
    let list = arrow::array::ListArray::try_new(field, offsets, items, nulls)
        .map_err(|error| Error::internal(format!("array literal: {error}")))?;
    Ok(ScalarValue::List(Arc::new(list)))
}

/// The items between an array's braces; `None` inside for NULL.
fn elements(inner: &str) -> Option<Vec<Option<String>>> {
    let mut items = Vec::new();
    if inner.trim().is_empty() {
        return Some(items);
    }
    let (mut item, mut quoted, mut in_quotes, mut depth) = (String::new(), false, false, 0_usize);
    let mut characters = inner.chars();
    let mut finish = |item: &mut String, quoted: &mut bool| {
        let text = std::mem::take(item);
        let was_quoted = std::mem::take(quoted);
        let text = if was_quoted { text } else { text.trim().to_owned() };
        items.push(if !was_quoted && text.eq_ignore_ascii_case("null") { None } else { Some(text) });
    };
    while let Some(character) = characters.next() {
        match character {
            '\\' if depth == 0 => item.push(characters.next()?),
            '"' if depth == 0 => {
                if !in_quotes && !quoted && item.trim().is_empty() {
                    // Blanks before quotes are no part of the element.
                    item.clear();
                }
                in_quotes = !in_quotes;
                quoted = true;
            }
            '{' if !in_quotes => {
                depth += 1;
                item.push(character);
            }
            '}' if !in_quotes => {
                depth = depth.checked_sub(1)?;
                item.push(character);
            }
            ',' if !in_quotes && depth == 0 && item.trim().is_empty() && !quoted => return None,
            ',' if !in_quotes && depth == 0 => finish(&mut item, &mut quoted),
            other => item.push(other),
        }
    }
    if in_quotes || depth > 0 || item.trim().is_empty() && !quoted {
        return None;
    }
    finish(&mut item, &mut quoted);
    Some(items)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(text: &str, sql_type: SqlType) -> String {
        parse(text, &sql_type).map_or_else(|error| error.message, |value| value.to_string())
    }

    #[test]
    fn literals_are_read_as_postgresql_reads_them() {
        let golden = [
            (" 12 ", SqlType::Integer, "12"),
            ("3000000000", SqlType::Integer, "value \"3000000000\" is out of range for type integer"),
            ("abc", SqlType::Integer, "invalid input syntax for type integer: \"abc\""),
            ("t", SqlType::Boolean, "true"),
            ("maybe", SqlType::Boolean, "invalid input syntax for type boolean: \"maybe\""),
            ("2024-01-01", SqlType::Date, "2024-01-01"),
            ("2024-13-01", SqlType::Date, "date/time field value out of range: \"2024-13-01\""),
            ("{1, 2,NULL}", SqlType::Array(Box::new(SqlType::Integer)), "[1, 2, ]"),
            ("{", SqlType::Array(Box::new(SqlType::Integer)), "malformed array literal: \"{\""),
            ("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", SqlType::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            ("1.5", SqlType::Numeric(Some((4, 2))), "1.50"),
            ("-1.5e-3", SqlType::Numeric(Some((8, 4))), "-0.0015"),
            ("1e3", SqlType::Numeric(Some((6, 0))), "1000"),
            ("1.12345678901", SqlType::Numeric(None), "numeric field overflow"),
            ("1e-11", SqlType::Numeric(None), "numeric field overflow"),
            ("x", SqlType::Numeric(None), "invalid input syntax for type numeric: \"x\""),
        ];
        for (text, sql_type, expected) in golden {
            assert_eq!(read(text, sql_type.clone()), expected, "{text} as {sql_type}");
        }
        assert_eq!(
            parse("2024-01-02 03:04:05.25+02", &SqlType::Timestamptz).unwrap(),
            ScalarValue::TimestampMicrosecond(Some(1_704_157_445_250_000), Some("UTC".into()))
        );
        assert_eq!(
            parse("\\xdeadBEEF", &SqlType::Bytea).unwrap(),
            ScalarValue::BinaryView(Some(vec![0xde, 0xad, 0xbe, 0xef]))
        );
    }
}
