//! Text forms of parameters.

use engine::{Parameter, SqlType};

use super::{array, datetime, interval, invalid_datetime, invalid_text, json, numeric, out_of_range};
use crate::encode::style::Zone;
use crate::error::WireError;

/// A value from its text.
pub(super) fn value(text: &str, sql_type: &SqlType, zone: Zone) -> Result<Parameter, WireError> {
    let trimmed = text.trim_matches(|character: char| character.is_ascii_whitespace());
    let integer_error = |error: std::num::ParseIntError| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => out_of_range(sql_type, text),
        _ => invalid_text(sql_type, text),
    };
    Ok(match sql_type {
        SqlType::Boolean => Parameter::Boolean(Some(boolean(trimmed).ok_or_else(|| invalid_text(sql_type, text))?)),
        SqlType::SmallInt => Parameter::Int16(Some(trimmed.parse().map_err(integer_error)?)),
        SqlType::Integer => Parameter::Int32(Some(trimmed.parse().map_err(integer_error)?)),
        SqlType::BigInt => Parameter::Int64(Some(trimmed.parse().map_err(integer_error)?)),
        SqlType::Oid => Parameter::UInt32(Some(trimmed.parse().map_err(integer_error)?)),
        SqlType::Real => {
            let value = float(trimmed).ok_or_else(|| invalid_text(sql_type, text))?;
            let narrow = trimmed.parse::<f32>().unwrap_or(value as f32);
            if value.is_finite() && narrow.is_infinite() {
                return Err(out_of_range(sql_type, text));
            }
            Parameter::Float32(Some(narrow))
        }
        SqlType::Double => {
            let value = float(trimmed).ok_or_else(|| invalid_text(sql_type, text))?;
            if value.is_infinite() && trimmed.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
                return Err(out_of_range(sql_type, text));
            }
            Parameter::Float64(Some(value))
        }
        SqlType::Numeric(typmod) => numeric::of_text(trimmed, *typmod, sql_type)?,
        SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name => {
            Parameter::Utf8View(Some(text.to_owned()))
        }
        SqlType::Bytea => Parameter::BinaryView(Some(bytea(text).ok_or_else(|| invalid_text(sql_type, text))?)),
        SqlType::Uuid => Parameter::Utf8View(Some(uuid(trimmed).ok_or_else(|| invalid_text(sql_type, text))?)),
        SqlType::Json => {
            json::check(text, sql_type)?;
            Parameter::Utf8View(Some(text.to_owned()))
        }
        SqlType::Jsonb => Parameter::Utf8View(Some(json::normalise(text, sql_type)?)),
        SqlType::Date => {
            Parameter::Date32(Some(datetime::date(trimmed).ok_or_else(|| invalid_datetime(sql_type, text))?))
        }
        SqlType::Time => {
            Parameter::Time64Microsecond(Some(datetime::time(trimmed).ok_or_else(|| invalid_datetime(sql_type, text))?))
        }
        SqlType::Timestamp => Parameter::TimestampMicrosecond(
            Some(datetime::timestamp(trimmed).ok_or_else(|| invalid_datetime(sql_type, text))?),
            None,
        ),
        SqlType::Timestamptz => Parameter::TimestampMicrosecond(
            Some(datetime::timestamptz(trimmed, zone).ok_or_else(|| invalid_datetime(sql_type, text))?),
            Some("UTC".into()),
        ),
        SqlType::Interval => Parameter::IntervalMonthDayNano(Some(
            interval::of_text(trimmed).ok_or_else(|| invalid_datetime(sql_type, text))?,
        )),
        SqlType::Array(element) => array::of_text(text, element, zone)?,
        SqlType::Catalog(catalog_type) => return value(text, &catalog_type.carrier(), zone),
    })
}

/// Any unambiguous beginning of true, false, yes, no, on, off, or 1, 0.
fn boolean(text: &str) -> Option<bool> {
    let lower = text.to_ascii_lowercase();
    let begins = |word: &str, least: usize| lower.len() >= least && word.starts_with(&lower);
    if begins("true", 1) || begins("yes", 1) || lower == "on" || lower == "1" {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || lower == "0" {
        Some(false)
    } else {
        None
    }
}

fn float(text: &str) -> Option<f64> {
    // Rust reads the same words in any case: inf, infinity, nan, with a sign.
    text.parse().ok()
}

/// `\x…` in hexadecimal digits, else the escape form.
fn bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let mut bytes = Vec::with_capacity(digits.len() / 2);
        let mut high = None;
        for character in digits.chars().filter(|character| !character.is_ascii_whitespace()) {
            let nibble = character.to_digit(16)? as u8;
            match high.take() {
                None => high = Some(nibble),
                Some(high) => bytes.push(high << 4 | nibble),
            }
        }
        return high.is_none().then_some(bytes);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => {
                bytes.push(b'\\');
                tail
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                tail
            }
            (b'\\', _) => return None,
            (byte, tail) => {
                bytes.push(*byte);
                tail
            }
        };
    }
    Some(bytes)
}

/// 32 hexadecimal digits, with or without braces and hyphens between groups of four, in canonical form.
fn uuid(text: &str) -> Option<String> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut canonical = String::with_capacity(36);
    let mut digits = 0;
    let mut after_hyphen = true;
    for character in inner.chars() {
        if character == '-' {
            if after_hyphen || digits % 4 != 0 || digits == 32 {
                return None;
            }
            after_hyphen = true;
            continue;
        }
        if !character.is_ascii_hexdigit() || digits == 32 {
            return None;
        }
        if matches!(digits, 8 | 12 | 16 | 20) {
            canonical.push('-');
        }
        canonical.push(character.to_ascii_lowercase());
        digits += 1;
        after_hyphen = false;
    }
    (digits == 32).then_some(canonical)
}
