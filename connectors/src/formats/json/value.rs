//! One JSON value into the column that it belongs to: the forms that occur in every record first, everything else behind them.

use super::super::column::{Column, TextKind, Values};
use super::super::text::{Reason, quoted};
use super::super::{datetime, decimal};
use super::jsonb;
use super::scan::{self, Malformed};

/// Why a value can't be taken.
pub(crate) enum Bad {
    /// The record is no JSON.
    Malformed(Malformed),
    /// It is, but this isn't what the column holds.
    Value(Reason),
}

impl From<Malformed> for Box<Bad> {
    #[cold]
    fn from(malformed: Malformed) -> Self {
        Box::new(Bad::Malformed(malformed))
    }
}

#[cold]
fn bad<T>(reason: Reason) -> Result<T, Box<Bad>> {
    Err(Box::new(Bad::Value(reason)))
}

/// The value at `at` in words, for a message.
pub(crate) fn describe(record: &[u8], at: usize) -> String {
    let raw = scan::value(record, at).map_or(&record[at..], |end| &record[at..end]);
    match raw.first() {
        Some(b'"') => format!("string {}", quoted(&raw[1..raw.len() - 1])),
        Some(b'{') => "an object".to_owned(),
        Some(b'[') => "an array".to_owned(),
        Some(b't' | b'f' | b'n') => String::from_utf8_lossy(raw).into_owned(),
        _ => format!("number {}", quoted(raw).trim_matches('"')),
    }
}

/// Appends the value at `at`, which isn't null, and says where it ends. On an error nothing was appended.
#[inline]
pub(crate) fn value(column: &mut Column, record: &[u8], at: usize, scratch: &mut Vec<u8>) -> Result<usize, Box<Bad>> {
    match &mut column.values {
        Values::Int64(values) => {
            if let Some((value, end)) = integer(record, at) {
                values.push(value);
                return Ok(end);
            }
        }
        Values::Text { views, kind: TextKind::Plain } if record.get(at) == Some(&b'"') => {
            let span = scan::string(record, at + 1)?;
            if !span.escaped {
                views.push_span(record, at + 1, span.end);
                return Ok(span.end + 1);
            }
        }
        Values::Timestamp { values, utc } if record.get(at) == Some(&b'"') => {
            let span = scan::string(record, at + 1)?;
            let zone = if *utc { datetime::Zone::Apply } else { datetime::Zone::Ignore };
            if let Some(us) = datetime::timestamp(&record[at + 1..span.end], zone) {
                values.push(us);
                return Ok(span.end + 1);
            }
        }
        Values::Int32(values) => {
            if let Some((value, end)) = integer(record, at)
                && let Ok(value) = i32::try_from(value)
            {
                values.push(value);
                return Ok(end);
            }
        }
        Values::Decimal { values, precision, scale, exact } if matches!(record.get(at), Some(b'-' | b'0'..=b'9')) => {
            let end = scan::number(record, at)?.end;
            if let Ok(value) = decimal::of_column(&record[at..end], *precision, *scale, *exact) {
                values.push(value);
                return Ok(end);
            }
        }
        _ => {}
    }
    any_value(column, record, at, scratch)
}

/// A plain integer of up to 18 digits: eight at a time. `None`: whatever it is, it is not that.
#[inline]
fn integer(record: &[u8], start: usize) -> Option<(i64, usize)> {
    let negative = *record.get(start)? == b'-';
    let first = start + usize::from(negative);
    let mut at = first;
    let mut value = 0u64;
    while let Some(chunk) = record.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let digits = word ^ 0x3030_3030_3030_3030;
        let stops = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
        let count = (stops.trailing_zeros() / 8) as usize;
        if count > 0 {
            // Beyond 18 digits this wraps, and the end refuses it.
            value = value.wrapping_mul(POWERS[count]).wrapping_add(eight_digits(digits << (64 - 8 * count)));
            at += count;
        }
        if count < 8 || at - first > 16 {
            return finish_integer(record, first, at, value, negative);
        }
    }
    while let Some(digit) = record.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        if at - first == 18 {
            return None;
        }
        value = value * 10 + u64::from(digit);
        at += 1;
    }
    finish_integer(record, first, at, value, negative)
}

const POWERS: [u64; 9] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The number whose digits are the word's bytes, the first digit lowest.
#[inline]
fn eight_digits(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    low.wrapping_add(high) >> 32
}

#[inline]
fn finish_integer(record: &[u8], first: usize, at: usize, value: u64, negative: bool) -> Option<(i64, usize)> {
    let plain = match record.get(at) {
        Some(b'.' | b'e' | b'E' | b'0'..=b'9') => false,
        _ => at > first && at - first <= 18 && (record[first] != b'0' || at == first + 1),
    };
    plain.then_some((if negative { -(value as i64) } else { value as i64 }, at))
}

/// As [`value`], for every type and form.
#[cold]
#[inline(never)]
fn any_value(column: &mut Column, record: &[u8], at: usize, scratch: &mut Vec<u8>) -> Result<usize, Box<Bad>> {
    if let Values::Text { kind: kind @ (TextKind::Json | TextKind::Jsonb), views } = &mut column.values {
        let end = scan::value(record, at)?;
        if *kind == TextKind::Json {
            views.push(&record[at..end]);
        } else {
            scratch.clear();
            if let Err(error) = jsonb::normalize(&record[at..end], scratch) {
                return bad(format!("expected jsonb, found {}", error.what).into());
            }
            views.push(scratch);
        }
        return Ok(end);
    }
    match record.get(at) {
        Some(b'"') => text_value(column, record, at, scratch),
        Some(b'-' | b'0'..=b'9') => number_value(column, record, at),
        Some(b't' | b'f') => {
            let truth = record[at] == b't';
            let end = scan::literal(record, at, if truth { "true" } else { "false" })?;
            match &mut column.values {
                Values::Boolean(values) => values.push(truth),
                _ => return bad(column.expected(if truth { "true" } else { "false" })),
            }
            Ok(end)
        }
        Some(b'[') if matches!(column.values, Values::List { .. }) => array_value(column, record, at, scratch),
        Some(b'[' | b'{') => {
            scan::value(record, at)?;
            bad(column.expected(&describe(record, at)))
        }
        Some(_) | None => {
            Err(scan::value(record, at).map_or_else(Into::into, |_| Malformed { what: "no value", at }.into()))
        }
    }
}

/// A string, for a column whose values are written as strings.
fn text_value(column: &mut Column, record: &[u8], at: usize, scratch: &mut Vec<u8>) -> Result<usize, Box<Bad>> {
    let span = scan::string(record, at + 1)?;
    let inside = &record[at + 1..span.end];
    let text = if span.escaped {
        scratch.clear();
        scan::unescape(inside, scratch)?;
        scratch.as_slice()
    } else {
        inside
    };
    if span.escaped && text.contains(&0) {
        return bad("\\u0000 can't stand in a text".into());
    }
    let takes_strings = match &column.values {
        Values::Boolean(_)
        | Values::Int16(_)
        | Values::Int32(_)
        | Values::Int64(_)
        | Values::UInt32(_)
        | Values::List { .. } => false,
        // What JSON numbers can't say.
        Values::Float32(_) | Values::Float64(_) => matches!(text, b"NaN" | b"Infinity" | b"-Infinity"),
        _ => true,
    };
    if !takes_strings {
        return bad(column.expected(&format!("string {}", quoted(text))));
    }
    column.push_text(text).or_else(bad)?;
    Ok(span.end + 1)
}

fn number_value(column: &mut Column, record: &[u8], at: usize) -> Result<usize, Box<Bad>> {
    let number = scan::number(record, at)?;
    let raw = &record[at..number.end];
    let text = std::str::from_utf8(raw).expect("a number is ASCII");
    let out_of_range = |column: &Column| bad(format!("{text} is out of range for {}", column.sql_type).into());
    match &mut column.values {
        Values::Int16(_) | Values::Int32(_) | Values::Int64(_) | Values::UInt32(_) | Values::Timestamp { .. } => {
            let Some(value) = whole_number(raw, number.integral) else {
                return bad(column.expected(&format!("number {text}")));
            };
            let pushed = match &mut column.values {
                Values::Int16(values) => i16::try_from(value).map(|value| values.push(value)).is_ok(),
                Values::Int32(values) => i32::try_from(value).map(|value| values.push(value)).is_ok(),
                Values::Int64(values) => i64::try_from(value).map(|value| values.push(value)).is_ok(),
                Values::UInt32(values) => u32::try_from(value).map(|value| values.push(value)).is_ok(),
                // Milliseconds since 1970.
                Values::Timestamp { values, .. } => {
                    value.checked_mul(1000).and_then(|us| i64::try_from(us).ok()).map(|us| values.push(us)).is_some()
                }
                _ => false,
            };
            if !pushed {
                return out_of_range(column);
            }
        }
        Values::Float32(values) => match text.parse::<f32>() {
            Ok(value) if value.is_finite() => values.push(value),
            _ => return out_of_range(column),
        },
        Values::Float64(values) => match text.parse::<f64>() {
            Ok(value) if value.is_finite() => values.push(value),
            _ => return out_of_range(column),
        },
        Values::Decimal { values, precision, scale, exact } => {
            match decimal::of_column(raw, *precision, *scale, *exact) {
                Ok(value) => values.push(value),
                Err(decimal::Trouble::TooManyDigits) => return bad(column.too_many_digits(raw)),
                Err(_) => return out_of_range(column),
            }
        }
        _ => return bad(column.expected(&format!("number {text}"))),
    }
    Ok(number.end)
}

/// The integer that a number is, however it is written (`1e3`, `2.0`, `100e-2`); `None` if it is none. One that is too large for any type
/// is the largest there is.
fn whole_number(raw: &[u8], integral: bool) -> Option<i128> {
    if !integral {
        let (mantissa, exponent) = match raw.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(e) => (&raw[..e], std::str::from_utf8(&raw[e + 1..]).ok()?.parse::<i64>().unwrap_or(i64::MIN)),
            None => (raw, 0),
        };
        let fraction = mantissa.iter().position(|byte| *byte == b'.').map_or(0, |point| mantissa.len() - point - 1);
        let digits = || mantissa.iter().rev().filter(|byte| byte.is_ascii_digit());
        let zeros = digits().take_while(|digit| **digit == b'0').count();
        if zeros == digits().count() {
            return Some(0);
        }
        if exponent.saturating_add(zeros as i64) < fraction as i64 {
            return None;
        }
    }
    Some(decimal::parse(raw, 38, 0).unwrap_or(i128::MAX))
}

/// `[…]` into one more row of a list.
fn array_value(column: &mut Column, record: &[u8], start: usize, scratch: &mut Vec<u8>) -> Result<usize, Box<Bad>> {
    let row = column.len();
    let result = array_items(column, record, start, scratch, 0);
    if result.is_err() {
        column.truncate(row);
    }
    result
}

fn array_items(
    column: &mut Column,
    record: &[u8],
    start: usize,
    scratch: &mut Vec<u8>,
    depth: usize,
) -> Result<usize, Box<Bad>> {
    let Values::List { offsets, element, .. } = &mut column.values else {
        return bad(column.expected("an array"));
    };
    if depth > scan::DEPTH {
        return Err(Malformed { what: "values nested too deep", at: start }.into());
    }
    let mut at = scan::space(record, start + 1);
    if record.get(at) != Some(&b']') {
        loop {
            at = match record.get(at) {
                Some(b'n') => {
                    let end = scan::literal(record, at, "null")?;
                    element.push_null();
                    end
                }
                Some(b'[') if matches!(element.values, Values::List { .. }) => {
                    array_items(element, record, at, scratch, depth + 1)?
                }
                _ => value(element, record, at, scratch)?,
            };
            at = scan::space(record, at);
            match record.get(at) {
                Some(b',') => at = scan::space(record, at + 1),
                Some(b']') => break,
                _ => return Err(Malformed { what: "no comma and no end of an array", at }.into()),
            }
        }
    }
    offsets.push(element.len() as i32);
    Ok(at + 1)
}
