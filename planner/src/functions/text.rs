//! Values as text in PostgreSQL's forms, and functions on text that DataFusion lacks.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use catalog::SqlType;
use catalog::sql_type::NUMERIC_DEFAULT;
use chrono::{DateTime, Datelike, NaiveDateTime, NaiveTime, Timelike};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, TypeSignature, Volatility};

use super::definition::{Definition, arrays, columnar, one_of, undefined, unexpected};
use crate::Error;
use crate::error::{DataError, ErrorKind};

pub(super) fn functions() -> Vec<Definition> {
    let text = || one_of(&[&[DataType::Utf8View]], Volatility::Immutable);
    vec![
        Definition::new("to_text", Signature::any(1, Volatility::Immutable), |_| Ok(SqlType::Text), to_text),
        Definition::new(
            "check_length",
            one_of(&[&[DataType::Utf8View, DataType::Int64]], Volatility::Immutable),
            |_| Ok(SqlType::Text),
            check_length,
        ),
        Definition::new(
            "quote_ident",
            text(),
            |_| Ok(SqlType::Text),
            |args| map_text(args, |text| Ok(quote_ident(text))),
        ),
        Definition::new(
            "quote_literal",
            text(),
            |_| Ok(SqlType::Text),
            |args| map_text(args, |text| Ok(quote_literal(text))),
        ),
        Definition::new(
            "like_escape",
            one_of(&[&[DataType::Utf8View, DataType::Utf8View]], Volatility::Immutable),
            |_| Ok(SqlType::Text),
            |args| escaped(args, like_pattern),
        ),
        Definition::new(
            "similar_to_escape",
            one_of(&[&[DataType::Utf8View], &[DataType::Utf8View, DataType::Utf8View]], Volatility::Immutable),
            |_| Ok(SqlType::Text),
            |args| escaped(args, regular_expression),
        ),
        Definition::new("quote_nullable", text(), |_| Ok(SqlType::Text), quote_nullable),
        Definition::new(
            "format",
            Signature::one_of(vec![TypeSignature::VariadicAny], Volatility::Immutable),
            |_| Ok(SqlType::Text),
            format_text,
        ),
        Definition::new("format_array", Signature::any(2, Volatility::Immutable), |_| Ok(SqlType::Text), format_array),
        Definition::new("text_to_bytea", text(), |_| Ok(SqlType::Bytea), text_to_bytea),
    ]
}

/// A function from text to text, NULL to NULL.
pub(super) fn map_text(args: &ScalarFunctionArgs, function: impl Fn(&str) -> Result<String>) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let column = as_views(&columns[0])?;
    let mut builder = StringViewBuilder::with_capacity(column.len());
    for value in &column {
        match value {
            Some(text) => builder.append_value(function(text)?),
            None => builder.append_null(),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

/// Any text column as views.
pub(super) fn as_views(column: &ArrayRef) -> Result<StringViewArray> {
    let views =
        if *column.data_type() == DataType::Utf8View { column.clone() } else { cast(column, &DataType::Utf8View)? };
    Ok(views.as_string_view().clone())
}

fn to_text(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    columnar(args, Arc::new(texts(&columns[0])?))
}

/// Each value in PostgreSQL's text form.
pub(crate) fn texts(column: &ArrayRef) -> Result<StringViewArray> {
    if *column.data_type() == DataType::Null {
        return Ok(StringViewArray::new_null(column.len()));
    }
    let mut builder = StringViewBuilder::with_capacity(column.len());
    let mut text = String::new();
    let writer = Writer::of(column)?;
    for row in 0..column.len() {
        if column.is_null(row) {
            builder.append_null();
        } else {
            text.clear();
            writer.write(row, &mut text)?;
            builder.append_value(&text);
        }
    }
    Ok(builder.finish())
}

/// A column, ready to have its values written.
enum Writer<'a> {
    Text(StringViewArray),
    Boolean(&'a arrow::array::BooleanArray),
    Float32(&'a arrow::array::Float32Array),
    Float64(&'a arrow::array::Float64Array),
    Decimal(&'a arrow::array::Decimal128Array, bool),
    Date(&'a arrow::array::Date32Array),
    Time(&'a arrow::array::Time64MicrosecondArray),
    Timestamp(&'a arrow::array::TimestampMicrosecondArray, bool),
    Interval(&'a arrow::array::IntervalMonthDayNanoArray),
    Bytes(arrow::array::BinaryViewArray),
    List(&'a arrow::array::ListArray),
}

impl<'a> Writer<'a> {
    fn of(column: &'a ArrayRef) -> Result<Self> {
        Ok(match column.data_type() {
            DataType::Boolean => Self::Boolean(column.as_boolean()),
            DataType::Float32 => Self::Float32(column.as_primitive::<Float32Type>()),
            DataType::Float64 => Self::Float64(column.as_primitive::<Float64Type>()),
            DataType::Decimal128(precision, scale) => {
                Self::Decimal(column.as_primitive::<Decimal128Type>(), (*precision, *scale) == NUMERIC_DEFAULT)
            }
            DataType::Date32 => Self::Date(column.as_primitive::<Date32Type>()),
            DataType::Time64(TimeUnit::Microsecond) => Self::Time(column.as_primitive::<Time64MicrosecondType>()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                Self::Timestamp(column.as_primitive::<TimestampMicrosecondType>(), zone.is_some())
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Self::Interval(column.as_primitive::<IntervalMonthDayNanoType>())
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                let views = cast(column, &DataType::BinaryView)?;
                Self::Bytes(views.as_binary_view().clone())
            }
            DataType::List(_) => Self::List(column.as_list()),
            _ => Self::Text(as_views(column)?),
        })
    }

    fn write(&self, row: usize, out: &mut String) -> Result<()> {
        match self {
            Self::Text(column) => out.push_str(column.value(row)),
            Self::Boolean(column) => out.push_str(if column.value(row) { "true" } else { "false" }),
            Self::Float32(column) => write_float(f64::from(column.value(row)), &column.value(row).to_string(), out),
            Self::Float64(column) => write_float(column.value(row), &column.value(row).to_string(), out),
            Self::Decimal(column, plain) => {
                let text = column.value_as_string(row);
                let trimmed =
                    if *plain && text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
                out.push_str(trimmed);
            }
            Self::Date(column) => {
                let date = column.value_as_date(row).ok_or_else(out_of_range)?;
                write_date(date.year(), date.month(), date.day(), out);
            }
            Self::Time(column) => {
                let time = column.value_as_time(row).ok_or_else(out_of_range)?;
                write_time(time, out);
            }
            Self::Timestamp(column, zoned) => {
                let timestamp =
                    DateTime::from_timestamp_micros(column.value(row)).ok_or_else(out_of_range)?.naive_utc();
                write_timestamp(timestamp, out);
                if *zoned {
                    out.push_str("+00");
                }
            }
            Self::Interval(column) => write_interval(column.value(row), out),
            Self::Bytes(column) => {
                out.push_str("\\x");
                for byte in column.value(row) {
                    push(out, format_args!("{byte:02x}"));
                }
            }
            Self::List(column) => write_list(&column.value(row), out)?,
        }
        Ok(())
    }
}

fn out_of_range() -> datafusion::common::DataFusionError {
    Error::new(ErrorKind::InvalidDatetime, "date/time field value out of range").into()
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes any text");
}

/// The shortest digits that give the value back; scientific where PostgreSQL changes to it.
fn write_float(value: f64, shortest: &str, out: &mut String) {
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else if value == 0.0 {
        out.push_str(if value.is_sign_negative() { "-0" } else { "0" });
    } else {
        let scientific = format_scientific(shortest);
        let (mantissa, exponent) = scientific;
        if (-4..15).contains(&exponent) {
            out.push_str(shortest);
        } else {
            let sign = if exponent < 0 { '-' } else { '+' };
            push(out, format_args!("{mantissa}e{sign}{:02}", exponent.abs()));
        }
    }
}

/// Mantissa and exponent of a number in plain digits.
fn format_scientific(plain: &str) -> (String, i32) {
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let first = all.find(|character| character != '0').unwrap_or(0);
    let exponent = whole.len() as i32 - 1 - first as i32;
    let significant = all[first..].trim_end_matches('0');
    let (head, tail) = significant.split_at(1.min(significant.len()));
    let mantissa = if tail.is_empty() { format!("{sign}{head}") } else { format!("{sign}{head}.{tail}") };
    (mantissa, exponent)
}

fn write_date(year: i32, month: u32, day: u32, out: &mut String) {
    if year > 0 {
        push(out, format_args!("{year:04}-{month:02}-{day:02}"));
    } else {
        push(out, format_args!("{:04}-{month:02}-{day:02} BC", 1 - year));
    }
}

fn write_time(time: NaiveTime, out: &mut String) {
    push(out, format_args!("{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second()));
    write_fraction(i64::from(time.nanosecond() / 1000), out);
}

pub(super) fn write_timestamp(timestamp: NaiveDateTime, out: &mut String) {
    write_date(timestamp.year(), timestamp.month(), timestamp.day(), out);
    out.push(' ');
    write_time(timestamp.time(), out);
}

/// `.25` for 250,000 microseconds, nothing for none.
fn write_fraction(micros: i64, out: &mut String) {
    if micros != 0 {
        let digits = format!("{micros:06}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}

/// `1 year 2 mons 3 days 04:05:06.7`; what is above zero behind what is below it has a sign, `-1 days +02:00:00`.
pub(super) fn write_interval(value: IntervalMonthDayNano, out: &mut String) {
    let start = out.len();
    let mut below_zero = false;
    let mut part = |number: i32, unit: &str, out: &mut String| {
        if number != 0 {
            if out.len() > start {
                out.push(' ');
            }
            let sign = if below_zero && number > 0 { "+" } else { "" };
            push(out, format_args!("{sign}{number} {unit}{}", if number == 1 { "" } else { "s" }));
            below_zero = number < 0;
        }
    };
    part(value.months / 12, "year", out);
    part(value.months % 12, "mon", out);
    part(value.days, "day", out);
    let micros = value.nanoseconds / 1000;
    if micros != 0 || out.len() == start {
        if out.len() > start {
            out.push(' ');
        }
        if micros < 0 {
            out.push('-');
        } else if below_zero {
            out.push('+');
        }
        let micros = micros.abs();
        let seconds = micros / 1_000_000;
        push(out, format_args!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
        write_fraction(micros % 1_000_000, out);
    }
}

/// `{a,"b c",NULL}`.
fn write_list(items: &ArrayRef, out: &mut String) -> Result<()> {
    let nested = matches!(items.data_type(), DataType::List(_));
    let texts = texts(items)?;
    out.push('{');
    for (index, item) in texts.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match item {
            None => out.push_str("NULL"),
            Some(text) if nested || !needs_quotes(text) => out.push_str(if text == "true" && is_boolean(items) {
                "t"
            } else if text == "false" && is_boolean(items) {
                "f"
            } else {
                text
            }),
            Some(text) => {
                out.push('"');
                for character in text.chars() {
                    if matches!(character, '"' | '\\') {
                        out.push('\\');
                    }
                    out.push(character);
                }
                out.push('"');
            }
        }
    }
    out.push('}');
    Ok(())
}

fn is_boolean(items: &ArrayRef) -> bool {
    *items.data_type() == DataType::Boolean
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case("null")
        || text.chars().any(|character| matches!(character, ',' | '{' | '}' | '"' | '\\') || character.is_whitespace())
}

fn check_length(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (column, lengths) = (as_views(&columns[0])?, columns[1].as_primitive::<Int64Type>());
    let mut builder = StringViewBuilder::with_capacity(column.len());
    for (row, value) in column.iter().enumerate() {
        let Some(text) = value else {
            builder.append_null();
            continue;
        };
        let length = usize::try_from(lengths.value(row)).unwrap_or(usize::MAX);
        match text.char_indices().nth(length) {
            None => builder.append_value(text),
            Some((at, _)) if text[at..].bytes().all(|byte| byte == b' ') => builder.append_value(&text[..at]),
            Some(_) => {
                let message = format!("value too long for type character varying({length})");
                return Err(Error::new(ErrorKind::StringTooLong, message).into());
            }
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

/// A pattern in other words; the second argument is its escape character, empty for none.
fn escaped(args: &ScalarFunctionArgs, words: fn(&str, Option<char>) -> String) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let patterns = as_views(&columns[0])?;
    let escapes = columns.get(1).map(as_views).transpose()?;
    let mut builder = StringViewBuilder::with_capacity(patterns.len());
    for (row, pattern) in patterns.iter().enumerate() {
        let escape = match &escapes {
            None => Some("\\"),
            Some(escapes) if escapes.is_null(row) => None,
            Some(escapes) => Some(escapes.value(row)),
        };
        match (pattern, escape) {
            (Some(pattern), Some(escape)) => {
                let mut characters = escape.chars();
                let character = characters.next();
                if characters.next().is_some() {
                    return invalid_escape();
                }
                builder.append_value(words(pattern, character));
            }
            _ => builder.append_null(),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

fn invalid_escape<T>() -> Result<T> {
    let error = Error::new(ErrorKind::InvalidEscape, "invalid escape string");
    Err(error.with_hint("Escape string must be empty or one character.").into())
}

/// The pattern of LIKE with a backslash as its escape character.
fn like_pattern(pattern: &str, escape: Option<char>) -> String {
    let mut written = String::with_capacity(pattern.len() + 2);
    let mut characters = pattern.chars();
    while let Some(next) = characters.next() {
        if Some(next) == escape {
            written.push('\\');
            written.extend(characters.next());
        } else if next == '\\' {
            written.push_str("\\\\");
        } else {
            written.push(next);
        }
    }
    written
}

/// The regular expression for a pattern of SIMILAR TO: `%` and `_` are any text and any character; what isn't SQL's is a plain character; the
/// whole text must match.
fn regular_expression(pattern: &str, escape: Option<char>) -> String {
    format!("^(?:{})$", similar_part(pattern, escape))
}

/// A part of such an expression, without the ends that bind it to the whole text.
pub(super) fn similar_part(pattern: &str, escape: Option<char>) -> String {
    let mut expression = String::with_capacity(pattern.len() + 4);
    let mut characters = pattern.chars();
    let mut in_class = false;
    while let Some(next) = characters.next() {
        match next {
            _ if Some(next) == escape => {
                if let Some(plain) = characters.next() {
                    push_plain(&mut expression, plain);
                }
            }
            ']' if in_class => {
                in_class = false;
                expression.push(']');
            }
            '\\' => expression.push_str("\\\\"),
            _ if in_class => expression.push(next),
            '[' => {
                in_class = true;
                expression.push('[');
            }
            '%' => expression.push_str(".*"),
            '_' => expression.push('.'),
            '.' | '^' | '$' => push_plain(&mut expression, next),
            _ => expression.push(next),
        }
    }
    expression
}

fn push_plain(expression: &mut String, character: char) {
    if character.is_ascii_punctuation() {
        expression.push('\\');
    }
    expression.push(character);
}

/// An identifier as it must be written to be read back: in quotes unless it is a plain word.
pub fn quote_ident(text: &str) -> String {
    let plain = text.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && text
            .chars()
            .all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_')
        && !RESERVED.contains(&text);
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

/// Words that PostgreSQL reserves.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "current_catalog",
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "initially",
    "intersect",
    "into",
    "lateral",
    "leading",
    "limit",
    "localtime",
    "localtimestamp",
    "not",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "placing",
    "primary",
    "references",
    "returning",
    "select",
    "session_user",
    "some",
    "symmetric",
    "table",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "when",
    "where",
    "window",
    "with",
];

fn quote_literal(text: &str) -> String {
    let quoted = format!("'{}'", text.replace('\'', "''").replace('\\', "\\\\"));
    if text.contains('\\') { format!("E{quoted}") } else { quoted }
}

fn quote_nullable(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let quoted = as_views(&columns[0])?
        .iter()
        .map(|value| Some(value.map_or_else(|| "NULL".to_owned(), quote_literal)))
        .collect::<Vec<_>>();
    columnar(args, Arc::new(StringViewArray::from_iter(quoted)))
}

fn text_to_bytea(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let mut builder = arrow::array::BinaryViewBuilder::new();
    for value in &as_views(&columns[0])? {
        match value {
            None => builder.append_null(),
            Some(text) => match crate::query::literal::parse(text, &SqlType::Bytea)? {
                datafusion::common::ScalarValue::BinaryView(Some(bytes)) => builder.append_value(bytes),
                _ => return unexpected("text_to_bytea"),
            },
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

/// `format('%s %I %L %%', …)`.
fn format_text(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let Some((formats, values)) = columns.split_first() else { return exec_err!("format needs a text") };
    let formats = as_views(formats)?;
    let is_boolean: Vec<bool> = values.iter().map(|column| *column.data_type() == DataType::Boolean).collect();
    let values = values.iter().map(texts).collect::<Result<Vec<_>>>()?;
    let mut builder = StringViewBuilder::with_capacity(formats.len());
    for (row, format) in formats.iter().enumerate() {
        match format {
            Some(format) => {
                // A boolean is one letter.
                let value = |index: usize| {
                    let column: &StringViewArray = values.get(index)?;
                    let end = if is_boolean[index] { 1 } else { usize::MAX };
                    let shown = |text: &'_ str| text.char_indices().nth(end).map_or(text.len(), |(at, _)| at);
                    Some(column.is_valid(row).then(|| &column.value(row)[..shown(column.value(row))]))
                };
                builder.append_value(formatted(format, value)?);
            }
            None => builder.append_null(),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

/// `format('%s %I', VARIADIC array)`: the elements are the values; NULL is an array without any.
fn format_array(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let formats = as_views(&columns[0])?;
    let DataType::List(element) = columns[1].data_type() else { return undefined("format", &args.arg_fields) };
    let (lists, is_boolean) = (columns[1].as_list::<i32>(), *element.data_type() == DataType::Boolean);
    let mut builder = StringViewBuilder::with_capacity(formats.len());
    for (row, format) in formats.iter().enumerate() {
        let Some(format) = format else {
            builder.append_null();
            continue;
        };
        let elements = if lists.is_valid(row) { Some(texts(&lists.value(row))?) } else { None };
        let value = |index: usize| {
            let elements = elements.as_ref().filter(|elements| index < elements.len())?;
            let text = elements.is_valid(index).then(|| elements.value(index));
            Some(text.map(|text| if is_boolean { &text[..1] } else { text }))
        };
        builder.append_value(formatted(format, value)?);
    }
    columnar(args, Arc::new(builder.finish()))
}

/// The largest width of a piece that PostgreSQL reads.
const MAX_WIDTH: u64 = i32::MAX as u64;

/// Bytes of the longest text that `format` makes.
const MAX_FORMATTED: usize = 0x3fff_ffff;

fn out_of_numbers<T>() -> Result<T> {
    Err(Error::new(ErrorKind::OutOfRange, "number is out of range").into())
}

fn formatted<'a>(format: &str, value: impl Fn(usize) -> Option<Option<&'a str>>) -> Result<String> {
    let mut out = String::with_capacity(format.len());
    let mut next = 0;
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('%') {
            out.push('%');
            rest = tail;
            continue;
        }
        // `%2$s` picks an argument, `%*s` takes the width from one.
        let position = |text: &'_ str| -> Result<Option<(usize, usize)>> {
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || text.as_bytes().get(digits) != Some(&b'$') {
                return Ok(None);
            }
            match text[..digits].parse::<usize>() {
                Ok(0) => {
                    let message = "format specifies argument 0, but arguments are numbered from 1";
                    super::definition::invalid(message.to_owned())
                }
                Ok(position) => Ok(Some((position - 1, digits + 1))),
                Err(_) => out_of_numbers(),
            }
        };
        let mut picked = None;
        if let Some((place, length)) = position(rest)? {
            picked = Some(place);
            rest = &rest[length..];
        }
        let picks = picked.is_some();
        let (mut left, tail) = rest.strip_prefix('-').map_or((false, rest), |tail| (true, tail));
        let (width, tail) = if let Some(tail) = tail.strip_prefix('*') {
            let (at, tail) = match position(tail)? {
                // What follows takes the argument behind it.
                Some((at, length)) => {
                    if !picks {
                        next = at + 1;
                    }
                    (at, &tail[length..])
                }
                None => {
                    next += 1;
                    (next - 1, tail)
                }
            };
            let Some(width) = value(at) else {
                return super::definition::invalid("too few arguments for format()".to_owned());
            };
            let width: i64 = match width.map(str::parse).transpose() {
                Ok(width) => width.unwrap_or(0),
                Err(_) => {
                    let text = width.unwrap_or_default();
                    return super::definition::invalid_text("integer", text);
                }
            };
            left |= width < 0;
            if width.unsigned_abs() > MAX_WIDTH {
                return out_of_numbers();
            }
            (width.unsigned_abs() as usize, tail)
        } else {
            let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
            let width = if digits == 0 { 0 } else { tail[..digits].parse::<u64>().unwrap_or(u64::MAX) };
            if width > MAX_WIDTH {
                return out_of_numbers();
            }
            (width as usize, &tail[digits..])
        };
        let mut characters = tail.chars();
        let Some(kind) = characters.next() else {
            return super::definition::invalid("unterminated format() type specifier".to_owned());
        };
        rest = characters.as_str();
        if !matches!(kind, 's' | 'I' | 'L') {
            return super::definition::invalid(format!("unrecognized format() type specifier \"{kind}\""));
        }
        let at = picked.unwrap_or(next);
        let Some(value) = value(at) else {
            return super::definition::invalid("too few arguments for format()".to_owned());
        };
        next = at + 1;
        let text = match (kind, value) {
            ('s', value) => value.unwrap_or_default().to_owned(),
            ('I', Some(value)) => quote_ident(value),
            ('I', None) => {
                let kind = ErrorKind::Data(DataError::NullValue);
                return Err(Error::new(kind, "null values cannot be formatted as an SQL identifier").into());
            }
            (_, value) => value.map_or_else(|| "NULL".to_owned(), quote_literal),
        };
        if out.len() + width > MAX_FORMATTED {
            return Err(Error::new(ErrorKind::LimitExceeded, "requested length too large").into());
        }
        let padding = " ".repeat(width.saturating_sub(text.chars().count()));
        if left {
            out.push_str(&text);
            out.push_str(&padding);
        } else {
            out.push_str(&padding);
            out.push_str(&text);
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn floats_have_postgresqls_text() {
        let text = |value: f64| {
            let mut out = String::new();
            write_float(value, &value.to_string(), &mut out);
            out
        };
        let golden = [
            (1e20, "1e+20"),
            (1.5, "1.5"),
            (1e-5, "1e-05"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e15, "1e+15"),
            (-0.25, "-0.25"),
        ];
        for (value, expected) in golden {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn intervals_have_postgresqls_text() {
        let text = |months, days, nanos| {
            let mut out = String::new();
            write_interval(IntervalMonthDayNano::new(months, days, nanos), &mut out);
            out
        };
        assert_eq!(text(1, 2, 11_045_000_000_000), "1 mon 2 days 03:04:05");
        assert_eq!(text(0, 0, 0), "00:00:00");
        assert_eq!(text(14, 0, -1_500_000_000), "1 year 2 mons -00:00:01.5");
    }

    #[test]
    fn format_quotes_and_picks() {
        let value = |index: usize| [Some("a b"), None].get(index).copied();
        assert_eq!(formatted("%I is %1$L, %%%2$s|%1$-5s|", value).unwrap(), "\"a b\" is 'a b', %|a b  |");
        assert!(formatted("%s %s %s", value).is_err());
    }
}
