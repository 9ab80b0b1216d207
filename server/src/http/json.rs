//! Values as JSON: numbers where JSON's are exact enough for every reader, text otherwise.

use bytes::BytesMut;

use crate::encode::column::{Column, Values};
use crate::encode::{Style, text};

/// Appends a value. Booleans, integers and floats are JSON's own (`NaN` and the infinities are strings), numeric is a string with all
/// its digits, json and jsonb are themselves, arrays are arrays; everything else is PostgreSQL's text in a string.
pub(crate) fn write(column: &Column<'_>, row: usize, style: &Style, out: &mut String) {
    if column.is_null(row) {
        return out.push_str("null");
    }
    match &column.values {
        Values::Boolean(array) => out.push_str(if array.value(row) { "true" } else { "false" }),
        Values::SmallInt(_) | Values::Integer(_) | Values::BigInt(_) | Values::Oid(_) => {
            out.push_str(&plain(column, row, style));
        }
        Values::Real(array) => number_or_string(column, row, style, array.value(row).is_finite(), out),
        Values::Double(array) => number_or_string(column, row, style, array.value(row).is_finite(), out),
        Values::Json(array) | Values::Jsonb(array) => out.push_str(array.value(row)),
        Values::Array { array, element, .. } => {
            let offsets = array.value_offsets();
            let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
            out.push('[');
            for index in start..end {
                if index > start {
                    out.push(',');
                }
                write(element, index, style, out);
            }
            out.push(']');
        }
        _ => string(&plain(column, row, style), out),
    }
}

/// Appends a JSON string.
pub(crate) fn string(text: &str, out: &mut String) {
    out.push_str(&serde_json::to_string(text).expect("a string can always be written"));
}

fn number_or_string(column: &Column<'_>, row: usize, style: &Style, finite: bool, out: &mut String) {
    let text = plain(column, row, style);
    if finite { out.push_str(&text) } else { string(&text, out) }
}

fn plain(column: &Column<'_>, row: usize, style: &Style) -> String {
    let mut buffer = BytesMut::new();
    text::write(column, row, style, &mut buffer);
    String::from_utf8_lossy(&buffer).into_owned()
}
