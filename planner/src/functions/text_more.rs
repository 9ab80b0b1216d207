//! More functions on text: Unicode forms, identifiers taken apart, and what text and bytea share.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BinaryViewBuilder, Int32Builder, ListBuilder, StringViewBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, TypeSignature, Volatility};
use unicode_normalization::UnicodeNormalization;

use super::definition::{Definition, arrays, columnar, invalid, one_of, undefined};
use super::text::{as_views, map_text};
use crate::Error;
use crate::error::{DataError, ErrorKind};

pub(super) fn functions() -> Vec<Definition> {
    let text = || one_of(&[&[DataType::Utf8View]], Volatility::Immutable);
    let texts = |count: usize| one_of(&[&vec![DataType::Utf8View; count]], Volatility::Immutable);
    let between = |least: usize, most: usize| {
        Signature::one_of((least..=most).map(TypeSignature::Any).collect(), Volatility::Immutable)
    };
    vec![
        Definition::new("unistr", text(), |_| Ok(SqlType::Text), |args| map_text(args, unistr)),
        Definition::new("normalize", texts(2), |_| Ok(SqlType::Text), normalize),
        Definition::new("is_normalized", texts(2), |_| Ok(SqlType::Boolean), is_normalized),
        Definition::new(
            "parse_ident",
            one_of(&[&[DataType::Utf8View], &[DataType::Utf8View, DataType::Boolean]], Volatility::Immutable),
            |_| Ok(SqlType::Array(Box::new(SqlType::Text))),
            parse_ident,
        ),
        Definition::new(
            "split_part",
            one_of(&[&[DataType::Utf8View, DataType::Utf8View, DataType::Int64]], Volatility::Immutable),
            |_| Ok(SqlType::Text),
            split_part,
        ),
        Definition::new("overlay", between(3, 4), overlay_type, overlay),
        // `substring(text FROM pattern FOR escape)`.
        Definition::new("substring_similar", texts(3), |_| Ok(SqlType::Text), substring_similar),
        Definition::new("bytea_substr", between(2, 3), |_| Ok(SqlType::Bytea), bytea_substr),
        Definition::new("bytea_overlay", between(3, 4), |_| Ok(SqlType::Bytea), bytea_overlay),
        Definition::new("bytea_position", between(2, 2), |_| Ok(SqlType::Integer), bytea_position),
        Definition::new("bytea_btrim", between(2, 2), |_| Ok(SqlType::Bytea), |args| bytea_trim(args, true, true)),
        Definition::new("bytea_ltrim", between(2, 2), |_| Ok(SqlType::Bytea), |args| bytea_trim(args, true, false)),
        Definition::new("bytea_rtrim", between(2, 2), |_| Ok(SqlType::Bytea), |args| bytea_trim(args, false, true)),
    ]
}

/// `\0041` and `\+000041` are characters by their numbers.
fn unistr(text: &str) -> Result<String> {
    let wrong = || -> Result<String> {
        let error = Error::new(ErrorKind::Syntax, "invalid Unicode escape");
        Err(error.with_hint("Unicode escapes must be \\XXXX, \\+XXXXXX, \\uXXXX, or \\UXXXXXXXX.").into())
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut high: Option<u32> = None;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        if at > 0 && high.is_some() {
            return wrong();
        }
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('\\') {
            out.push('\\');
            rest = tail;
            continue;
        }
        let (skipped, length) = match rest.chars().next() {
            Some('+') => (1, 6),
            Some('u') => (1, 4),
            Some('U') => (1, 8),
            _ => (0, 4),
        };
        let Some(code) = rest.get(skipped..skipped + length).and_then(|digits| u32::from_str_radix(digits, 16).ok())
        else {
            return wrong();
        };
        rest = &rest[skipped + length..];
        let code = match (high.take(), code) {
            (None, 0xd800..=0xdbff) => {
                high = Some(code);
                continue;
            }
            (Some(high), 0xdc00..=0xdfff) => 0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00),
            (Some(_), _) => return wrong(),
            (None, code) => code,
        };
        match char::from_u32(code).filter(|character| *character != '\0') {
            Some(character) => out.push(character),
            None => return wrong(),
        }
    }
    if high.is_some() {
        return wrong();
    }
    out.push_str(rest);
    Ok(out)
}

fn normal_form(text: &str, form: &str) -> Result<String> {
    Ok(match form.to_ascii_uppercase().as_str() {
        "NFC" => text.nfc().collect(),
        "NFD" => text.nfd().collect(),
        "NFKC" => text.nfkc().collect(),
        "NFKD" => text.nfkd().collect(),
        _ => return invalid(format!("invalid normalization form: {form}")),
    })
}

fn normalize(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (texts, forms) = (as_views(&columns[0])?, as_views(&columns[1])?);
    let mut builder = StringViewBuilder::with_capacity(texts.len());
    for (text, form) in texts.iter().zip(&forms) {
        match (text, form) {
            (Some(text), Some(form)) => builder.append_value(normal_form(text, form)?),
            _ => builder.append_null(),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

fn is_normalized(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (texts, forms) = (as_views(&columns[0])?, as_views(&columns[1])?);
    let mut builder = arrow::array::BooleanBuilder::new();
    for (text, form) in texts.iter().zip(&forms) {
        match (text, form) {
            (Some(text), Some(form)) => builder.append_value(normal_form(text, form)? == text),
            _ => builder.append_null(),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

/// `"A b".c` into its parts, folded where they are not in quotes.
fn parse_ident(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let texts = as_views(&columns[0])?;
    let field = Field::new("item", DataType::Utf8View, true);
    let mut builder = ListBuilder::new(StringViewBuilder::new()).with_field(field);
    for row in 0..texts.len() {
        if columns.iter().any(|column| column.is_null(row)) {
            builder.append(false);
            continue;
        }
        let strict = columns.get(1).is_none_or(|strict| strict.as_boolean().value(row));
        for part in identifiers(texts.value(row), strict)? {
            builder.values().append_value(part);
        }
        builder.append(true);
    }
    columnar(args, Arc::new(builder.finish()))
}

fn identifiers(text: &str, strict: bool) -> Result<Vec<String>> {
    let wrong = |detail: &str| {
        let error =
            Error::new(ErrorKind::InvalidParameterValue, format!("string is not a valid identifier: \"{text}\""));
        Err(if detail.is_empty() { error } else { error.with_detail(detail) }.into())
    };
    let mut parts = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut part = String::new();
            let mut characters = quoted.char_indices().peekable();
            let end = loop {
                match characters.next() {
                    None => return wrong("String has unclosed double quotes."),
                    Some((_, '"')) if characters.peek().is_some_and(|(_, next)| *next == '"') => {
                        characters.next();
                        part.push('"');
                    }
                    Some((at, '"')) => break at,
                    Some((_, character)) => part.push(character),
                }
            };
            if part.is_empty() {
                return wrong("Quoted identifier must not be empty.");
            }
            parts.push(part);
            rest = &quoted[end + 1..];
        } else {
            let is_part = |(at, next): (usize, char)| {
                next.is_alphabetic() || next == '_' || at > 0 && (next.is_ascii_digit() || next == '$')
            };
            let end = rest.char_indices().find(|next| !is_part(*next)).map_or(rest.len(), |(at, _)| at);
            if end == 0 {
                return wrong(if parts.is_empty() { "" } else { "No valid identifier after \".\"." });
            }
            parts.push(rest[..end].to_lowercase());
            rest = &rest[end..];
        }
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(tail) => rest = tail.trim_start(),
            None if rest.is_empty() || !strict => return Ok(parts),
            None => return wrong(""),
        }
    }
}

/// The part between the two `#"` of a pattern of SIMILAR TO, whose escape character is `#`.
fn substring_similar(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?.iter().map(as_views).collect::<Result<Vec<_>>>()?;
    let mut compiled = super::pattern::Compiled::default();
    let mut builder = StringViewBuilder::new();
    for row in 0..columns[0].len() {
        if columns.iter().any(|column| column.is_null(row)) {
            builder.append_null();
            continue;
        }
        let (text, pattern, escape) = (columns[0].value(row), columns[1].value(row), columns[2].value(row));
        let marker = format!("{escape}\"");
        let parts: Vec<&str> = if escape.is_empty() { vec![pattern] } else { pattern.split(marker.as_str()).collect() };
        let part = |part: &str| super::text::similar_part(part, escape.chars().next());
        let (expression, group) = match parts.as_slice() {
            [whole] => (format!("^(?:{})$", part(whole)), 0),
            [before, wanted, behind] => (format!("^(?:{})({})(?:{})$", part(before), part(wanted), part(behind)), 1),
            _ => {
                let kind = ErrorKind::InvalidParameterValue;
                return Err(Error::new(
                    kind,
                    "SQL regular expression may not contain more than two escape-double-quote separators",
                )
                .into());
            }
        };
        let found = compiled.get(&expression, "")?.captures(text)?;
        builder.append_option(found.and_then(|found| found.get(group)).map(|found| found.as_str()));
    }
    columnar(args, Arc::new(builder.finish()))
}

/// The part of that number between separators, counted from the end where it is below zero.
fn split_part(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (texts, separators) = (as_views(&columns[0])?, as_views(&columns[1])?);
    let places = columns[2].as_primitive::<Int64Type>();
    let mut builder = StringViewBuilder::with_capacity(texts.len());
    for row in 0..texts.len() {
        if columns.iter().any(|column| column.is_null(row)) {
            builder.append_null();
            continue;
        }
        let (text, separator, place) = (texts.value(row), separators.value(row), places.value(row));
        let Some(skipped) = place.unsigned_abs().checked_sub(1) else {
            return invalid("field position must not be zero".to_owned());
        };
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        let part = match (text.is_empty() || separator.is_empty(), place > 0) {
            // It is one part.
            (true, _) => (skipped == 0).then_some(text),
            (false, true) => text.split(separator).nth(skipped),
            (false, false) => text.rsplit(separator).nth(skipped),
        };
        builder.append_value(part.unwrap_or_default());
    }
    columnar(args, Arc::new(builder.finish()))
}

fn overlay_type(fields: &[arrow::datatypes::FieldRef]) -> Result<SqlType> {
    match fields[0].data_type() {
        DataType::Null => Ok(SqlType::Text),
        data_type if data_type.is_string() => Ok(SqlType::Text),
        DataType::Binary | DataType::BinaryView => Ok(SqlType::Bytea),
        _ => undefined("overlay", fields),
    }
}

/// A text with its characters from one on, and so many, replaced: as many as the new text has where that isn't said.
fn overlay(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (texts, news, starts) = (as_views(&columns[0])?, as_views(&columns[1])?, numbers(&columns[2])?);
    let counts = columns.get(3).map(numbers).transpose()?;
    let mut builder = StringViewBuilder::with_capacity(texts.len());
    let mut whole = String::new();
    for row in 0..texts.len() {
        if columns.iter().any(|column| column.is_null(row)) {
            builder.append_null();
            continue;
        }
        let (text, new, start) = (texts.value(row), news.value(row), starts.value(row));
        if start <= 0 {
            return negative_length();
        }
        let count = counts.as_ref().map_or_else(|| new.chars().count() as i64, |counts| counts.value(row));
        // The byte at which the character of a number, counted from 1, begins.
        let byte = |number: i64| match usize::try_from(number - 1) {
            Ok(number) => text.char_indices().nth(number).map_or(text.len(), |(at, _)| at),
            Err(_) => 0,
        };
        whole.clear();
        whole.push_str(&text[..byte(start)]);
        whole.push_str(new);
        whole.push_str(&text[byte(start.saturating_add(count).max(1))..]);
        builder.append_value(&whole);
    }
    columnar(args, Arc::new(builder.finish()))
}

fn negative_length<T>() -> Result<T> {
    let kind = ErrorKind::Data(DataError::Substring);
    Err(Error::new(kind, "negative substring length not allowed").into())
}

fn bytes(column: &ArrayRef) -> Result<BinaryViewArray> {
    Ok(cast(column, &DataType::BinaryView)?.as_binary_view().clone())
}

fn numbers(column: &ArrayRef) -> Result<arrow::array::Int64Array> {
    Ok(cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// The bytes from one on, counted from 1, and so many.
fn range(length: usize, start: i64, count: Option<i64>) -> Result<std::ops::Range<usize>> {
    if count.is_some_and(|count| count < 0) {
        return negative_length();
    }
    let length = length as i64;
    let end = count.map_or(length, |count| (start.saturating_add(count) - 1).clamp(0, length));
    let start = (start - 1).clamp(0, length);
    Ok(start as usize..end.max(start) as usize)
}

fn bytea_substr(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (data, starts) = (bytes(&columns[0])?, numbers(&columns[1])?);
    let counts = columns.get(2).map(numbers).transpose()?;
    let mut builder = BinaryViewBuilder::new();
    for row in 0..data.len() {
        if columns.iter().any(|column| column.is_null(row)) {
            builder.append_null();
            continue;
        }
        let data = data.value(row);
        let count = counts.as_ref().map(|counts| counts.value(row));
        builder.append_value(&data[range(data.len(), starts.value(row), count)?]);
    }
    columnar(args, Arc::new(builder.finish()))
}

fn bytea_overlay(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (data, new, starts) = (bytes(&columns[0])?, bytes(&columns[1])?, numbers(&columns[2])?);
    let counts = columns.get(3).map(numbers).transpose()?;
    let mut builder = BinaryViewBuilder::new();
    for row in 0..data.len() {
        if columns.iter().any(|column| column.is_null(row)) {
            builder.append_null();
            continue;
        }
        let (data, new, start) = (data.value(row), new.value(row), starts.value(row));
        if start <= 0 {
            return negative_length();
        }
        let count = counts.as_ref().map_or(new.len() as i64, |counts| counts.value(row));
        let before = range(data.len(), 1, Some(start - 1))?;
        let behind = range(data.len(), start.saturating_add(count), None)?;
        builder.append_value([&data[before], new, &data[behind]].concat());
    }
    columnar(args, Arc::new(builder.finish()))
}

fn bytea_position(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (data, sought) = (bytes(&columns[0])?, bytes(&columns[1])?);
    let mut builder = Int32Builder::new();
    for (data, sought) in data.iter().zip(&sought) {
        builder.append_option(match (data, sought) {
            (Some(_), Some([])) => Some(1),
            (Some(data), Some(sought)) => {
                let found = data.windows(sought.len()).position(|window| window == sought);
                Some(found.map_or(0, |at| at as i32 + 1))
            }
            _ => None,
        });
    }
    columnar(args, Arc::new(builder.finish()))
}

fn bytea_trim(args: &ScalarFunctionArgs, left: bool, right: bool) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (data, cut) = (bytes(&columns[0])?, bytes(&columns[1])?);
    let mut builder = BinaryViewBuilder::new();
    for (data, cut) in data.iter().zip(&cut) {
        let (Some(data), Some(cut)) = (data, cut) else {
            builder.append_null();
            continue;
        };
        let kept = |byte: &u8| !cut.contains(byte);
        let first = if left { data.iter().position(kept).unwrap_or(data.len()) } else { 0 };
        let after = if right { data.iter().rposition(kept).map_or(first, |at| at + 1) } else { data.len() };
        builder.append_value(&data[first..after.max(first)]);
    }
    columnar(args, Arc::new(builder.finish()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn unicode_escapes_are_characters() {
        assert_eq!(unistr(r"d\0061t\+000061 \\ \U0001F600 \d83d\de00").unwrap(), "data \\ 😀 😀");
        assert!(unistr(r"\00").is_err());
        assert!(unistr(r"\d83dx").is_err());
    }

    #[test]
    fn identifiers_are_taken_apart() {
        assert_eq!(identifiers("\"A b\".C .d1", true).unwrap(), ["A b", "c", "d1"]);
        assert!(identifiers("a.", true).is_err());
        assert!(identifiers("a b", true).is_err());
        assert_eq!(identifiers("a b", false).unwrap(), ["a"]);
    }

    #[test]
    fn a_range_may_begin_before_the_first_byte() {
        assert_eq!(range(3, -1, Some(3)).unwrap(), 0..1);
        assert_eq!(range(3, 2, None).unwrap(), 1..3);
        assert!(range(3, 1, Some(-1)).is_err());
    }
}
