//! Text forms, as `typoutput` writes them.

use bytes::{BufMut, BytesMut};

use super::column::{Column, Values};
use super::style::{ByteaStyle, Style};
use super::{datetime, float, interval, numeric};

/// Appends the text of a value that is not NULL.
pub(crate) fn write(column: &Column<'_>, row: usize, style: &Style, out: &mut BytesMut) {
    match &column.values {
        Values::Boolean(array) => out.put_u8(if array.value(row) { b't' } else { b'f' }),
        Values::SmallInt(array) => put_integer(array.value(row), out),
        Values::Integer(array) => put_integer(array.value(row), out),
        Values::BigInt(array) => put_integer(array.value(row), out),
        Values::Oid(array) => put_integer(array.value(row), out),
        Values::Real(array) => float::write_real(array.value(row), style.extra_float_digits, out),
        Values::Double(array) => float::write_double(array.value(row), style.extra_float_digits, out),
        Values::Numeric { array, scale, trim } => numeric::write_text(array.value(row), *scale, *trim, out),
        Values::Text(array)
        | Values::Uuid(array)
        | Values::Json(array)
        | Values::Jsonb(array)
        | Values::Named { array, .. } => {
            out.put_slice(array.value(row).as_bytes());
        }
        Values::Padded { array, length } => put_padded(array.value(row), *length, out),
        Values::Bytea(array) => put_bytea(array.value(row), style.bytea, out),
        Values::Date(array) => datetime::write_date(array.value(row), out),
        Values::Time(array) => datetime::write_time(array.value(row), out),
        Values::Timestamp(array) => datetime::write_timestamp(array.value(row), out),
        Values::Timestamptz(array) => datetime::write_timestamptz(array.value(row), style.zone, out),
        Values::Interval(array) => interval::write(array.value(row), style.interval, out),
        Values::Array { array, element, .. } => {
            let offsets = array.value_offsets();
            put_array(element, offsets[row] as usize..offsets[row + 1] as usize, style, out);
        }
        Values::Vector { array, element, .. } => {
            let offsets = array.value_offsets();
            for (place, index) in (offsets[row] as usize..offsets[row + 1] as usize).enumerate() {
                if place > 0 {
                    out.put_u8(b' ');
                }
                write(element, index, style, out);
            }
        }
    }
}

fn put_integer(value: impl itoa::Integer, out: &mut BytesMut) {
    out.put_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// `char(n)` is as long as it says.
pub(crate) fn put_padded(value: &str, length: u32, out: &mut BytesMut) {
    out.put_slice(value.as_bytes());
    let length = length as usize;
    // No more characters than bytes: a value with enough bytes is counted, a shorter one is padded either way.
    let characters = value.chars().count();
    out.put_bytes(b' ', length.saturating_sub(characters));
}

fn put_bytea(value: &[u8], style: ByteaStyle, out: &mut BytesMut) {
    match style {
        ByteaStyle::Hex => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.put_slice(b"\\x");
            out.reserve(value.len() * 2);
            for byte in value {
                out.put_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
        ByteaStyle::Escape => {
            for byte in value {
                match byte {
                    b'\\' => out.put_slice(b"\\\\"),
                    0x20..=0x7e => out.put_u8(*byte),
                    _ => out.put_slice(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]),
                }
            }
        }
    }
}

fn put_array(element: &Column<'_>, range: std::ops::Range<usize>, style: &Style, out: &mut BytesMut) {
    out.put_u8(b'{');
    let nested = matches!(element.values, Values::Array { .. });
    for index in range.clone() {
        if index > range.start {
            out.put_u8(b',');
        }
        if element.is_null(index) {
            out.put_slice(b"NULL");
            continue;
        }
        let start = out.len();
        write(element, index, style, out);
        if !nested && needs_quotes(&out[start..]) {
            let value = out.split_off(start);
            put_quoted(&value, out);
        }
    }
    out.put_u8(b'}');
}

fn needs_quotes(value: &[u8]) -> bool {
    value.is_empty()
        || value.eq_ignore_ascii_case(b"null")
        || value
            .iter()
            .any(|byte| matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c))
}

fn put_quoted(value: &[u8], out: &mut BytesMut) {
    out.put_u8(b'"');
    for byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}
