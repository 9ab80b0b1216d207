//! Rows as JSON objects, for sinks: everything of a batch goes into one buffer, nothing is allocated per row or value.
//!
//! Numbers are numbers (numeric exactly, with its scale), NaN and infinities strings; timestamps are ISO 8601, in UTC with `Z` for
//! timestamptz; dates, times, intervals and uuids are strings in PostgreSQL's form, bytea in hex (`\x…`); json and jsonb stand as they are;
//! arrays are arrays.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, RecordBatch, StringViewArray,
    Time64MicrosecondArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, IntervalUnit, Schema, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
    UInt32Type,
};
use catalog::SqlType;

use super::jsonb::write_string;
use crate::error::{Error, Result};
use crate::formats::{datetime, decimal, interval};

/// Writes some columns of batches of one schema.
pub struct JsonWriter {
    columns: Vec<usize>,
    /// `"name":`, from the second on with a comma before it.
    names: Vec<Vec<u8>>,
}

impl JsonWriter {
    /// A writer of the columns at these positions, in that order.
    pub fn new(schema: &Schema, columns: Vec<usize>) -> Result<Self> {
        for &column in &columns {
            check(schema.field(column), schema.field(column).name())?;
        }
        let names = columns.iter().enumerate().map(|(index, &column)| {
            let mut name = if index > 0 { vec![b','] } else { Vec::new() };
            write_string(schema.field(column).name().as_bytes(), &mut name);
            name.push(b':');
            name
        });
        Ok(Self { names: names.collect(), columns })
    }

    /// Binds a batch of the schema.
    pub fn bind<'a>(&'a self, batch: &'a RecordBatch) -> BoundWriter<'a> {
        let schema = batch.schema_ref();
        let cells = self.columns.iter().map(|&column| Cells::new(batch.column(column), schema.field(column))).collect();
        BoundWriter { names: &self.names, cells }
    }
}

/// Writes rows of one batch.
pub struct BoundWriter<'a> {
    names: &'a [Vec<u8>],
    cells: Vec<Cells<'a>>,
}

impl BoundWriter<'_> {
    /// Appends row `row` as an object.
    pub fn object(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        self.members(row, out);
        out.push(b'}');
    }

    /// Appends the members of row `row` without the braces.
    pub fn members(&self, row: usize, out: &mut Vec<u8>) {
        for (name, cells) in self.names.iter().zip(&self.cells) {
            out.extend_from_slice(name);
            cells.write(row, out);
        }
    }
}

fn check(field: &Field, column: &str) -> Result<()> {
    match field.data_type() {
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt32
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Utf8View
        | DataType::BinaryView
        | DataType::Date32
        | DataType::Null
        | DataType::Time64(TimeUnit::Microsecond)
        | DataType::Timestamp(TimeUnit::Microsecond, _)
        | DataType::Interval(IntervalUnit::MonthDayNano) => Ok(()),
        DataType::List(element) => check(element, column),
        other => {
            Err(Error::Column { column: column.to_owned(), reason: format!("type {other} can't be written as JSON") })
        }
    }
}

/// A column's values, its type known.
enum Cells<'a> {
    Null,
    Boolean(&'a BooleanArray),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    UInt32(&'a UInt32Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Decimal { values: &'a Decimal128Array, scale: i8, trim: bool },
    Text(&'a StringViewArray),
    Document(&'a StringViewArray),
    Binary(&'a BinaryViewArray),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Timestamp { values: &'a TimestampMicrosecondArray, zone: &'static [u8] },
    Interval(&'a IntervalMonthDayNanoArray),
    List { list: &'a ListArray, element: Box<Cells<'a>> },
}

impl<'a> Cells<'a> {
    fn new(array: &'a ArrayRef, field: &Field) -> Self {
        let sql_type = SqlType::of_field(field);
        match field.data_type() {
            DataType::Boolean => Self::Boolean(array.as_boolean()),
            DataType::Int16 => Self::Int16(array.as_primitive::<Int16Type>()),
            DataType::Int32 => Self::Int32(array.as_primitive::<Int32Type>()),
            DataType::Int64 => Self::Int64(array.as_primitive::<Int64Type>()),
            DataType::UInt32 => Self::UInt32(array.as_primitive::<UInt32Type>()),
            DataType::Float32 => Self::Float32(array.as_primitive::<Float32Type>()),
            DataType::Float64 => Self::Float64(array.as_primitive::<Float64Type>()),
            DataType::Decimal128(_, scale) => Self::Decimal {
                values: array.as_primitive::<Decimal128Type>(),
                scale: *scale,
                trim: sql_type == Some(SqlType::Numeric(None)),
            },
            DataType::Utf8View if matches!(sql_type, Some(SqlType::Json | SqlType::Jsonb)) => {
                Self::Document(array.as_string_view())
            }
            DataType::Utf8View => Self::Text(array.as_string_view()),
            DataType::BinaryView => Self::Binary(array.as_binary_view()),
            DataType::Date32 => Self::Date(array.as_primitive::<Date32Type>()),
            DataType::Time64(_) => Self::Time(array.as_primitive::<Time64MicrosecondType>()),
            DataType::Timestamp(_, zone) => Self::Timestamp {
                values: array.as_primitive::<TimestampMicrosecondType>(),
                zone: if zone.is_some() { b"Z" } else { b"" },
            },
            DataType::Interval(_) => Self::Interval(array.as_primitive::<IntervalMonthDayNanoType>()),
            DataType::List(element) => {
                let list = array.as_list::<i32>();
                Self::List { list, element: Box::new(Self::new(list.values(), element)) }
            }
            _ => Self::Null,
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Boolean(values) => values.is_null(row),
            Self::Int16(values) => values.is_null(row),
            Self::Int32(values) => values.is_null(row),
            Self::Int64(values) => values.is_null(row),
            Self::UInt32(values) => values.is_null(row),
            Self::Float32(values) => values.is_null(row),
            Self::Float64(values) => values.is_null(row),
            Self::Decimal { values, .. } => values.is_null(row),
            Self::Text(values) | Self::Document(values) => values.is_null(row),
            Self::Binary(values) => values.is_null(row),
            Self::Date(values) => values.is_null(row),
            Self::Time(values) => values.is_null(row),
            Self::Timestamp { values, .. } => values.is_null(row),
            Self::Interval(values) => values.is_null(row),
            Self::List { list, .. } => list.is_null(row),
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match self {
            Self::Null => {}
            Self::Boolean(values) => out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
            Self::Int16(values) => out.extend_from_slice(itoa::Buffer::new().format(values.value(row)).as_bytes()),
            Self::Int32(values) => out.extend_from_slice(itoa::Buffer::new().format(values.value(row)).as_bytes()),
            Self::Int64(values) => out.extend_from_slice(itoa::Buffer::new().format(values.value(row)).as_bytes()),
            Self::UInt32(values) => out.extend_from_slice(itoa::Buffer::new().format(values.value(row)).as_bytes()),
            Self::Float32(values) => write_float(values.value(row), out),
            Self::Float64(values) => write_float(values.value(row), out),
            Self::Decimal { values, scale, trim } => decimal::write(out, values.value(row), *scale, *trim),
            Self::Text(values) => write_string(values.value(row).as_bytes(), out),
            Self::Document(values) => out.extend_from_slice(values.value(row).as_bytes()),
            Self::Binary(values) => {
                out.extend_from_slice(b"\"\\");
                write_hex(values.value(row), out);
                out.push(b'"');
            }
            Self::Date(values) => quote(out, |out| datetime::write_date(out, i64::from(values.value(row)))),
            Self::Time(values) => quote(out, |out| datetime::write_time(out, values.value(row))),
            Self::Timestamp { values, zone } => {
                quote(out, |out| datetime::write_timestamp(out, values.value(row), zone))
            }
            Self::Interval(values) => quote(out, |out| interval::write(out, values.value(row))),
            Self::List { list, element } => {
                let offsets = list.value_offsets();
                out.push(b'[');
                for index in offsets[row]..offsets[row + 1] {
                    if index > offsets[row] {
                        out.push(b',');
                    }
                    element.write(index as usize, out);
                }
                out.push(b']');
            }
        }
    }
}

fn quote(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

/// The shortest text that reads back as the same number; what JSON numbers can't say is a string.
fn write_float<F: ryu::Float + Into<f64> + Copy>(value: F, out: &mut Vec<u8>) {
    let wide: f64 = value.into();
    if wide.is_finite() {
        let mut buffer = ryu::Buffer::new();
        let text = buffer.format_finite(value);
        out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
    } else if wide.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else {
        out.extend_from_slice(if wide > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
    }
}

/// `\x` and two hex digits a byte.
pub(crate) fn hex(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + 2 * bytes.len());
    write_hex(bytes, &mut out);
    out
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use catalog::Column;

    use super::*;
    use crate::formats::{Decoder, OnError, RecordMeta};
    use crate::options::{DecodeOptions, Format};

    /// Decodes each document and writes it again.
    fn round_trip(columns: &[(&str, SqlType)], documents: &[&str]) -> Vec<String> {
        let declared: Vec<Column> = columns
            .iter()
            .map(|(name, sql_type)| Column {
                name: (*name).to_owned(),
                sql_type: sql_type.clone(),
                nullable: true,
                default: None,
                generated: None,
            })
            .collect();
        let mut decoder =
            Decoder::new(&declared, None, &DecodeOptions { format: Format::Json, on_error: OnError::DeadLetter })
                .unwrap();
        for document in documents {
            decoder.push(Some(document.as_bytes()), &RecordMeta::default()).unwrap();
        }
        let decoded = decoder.finish().unwrap();
        assert_eq!(decoded.dead_letters, []);
        let batch = decoded.delta.batch();
        let writer = JsonWriter::new(batch.schema_ref(), (0..columns.len()).collect()).unwrap();
        let bound = writer.bind(batch);
        (0..batch.num_rows())
            .map(|row| {
                let mut out = Vec::new();
                bound.object(row, &mut out);
                String::from_utf8(out).unwrap()
            })
            .collect()
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        use SqlType::*;
        let columns = [
            ("b", Boolean),
            ("i", BigInt),
            ("s", SmallInt),
            ("f", Double),
            ("r", Real),
            ("n", Numeric(Some((12, 2)))),
            ("m", Numeric(None)),
            ("t", Text),
            ("x", Bytea),
            ("d", Date),
            ("c", Time),
            ("p", Timestamp),
            ("z", Timestamptz),
            ("v", Interval),
            ("u", Uuid),
            ("j", Jsonb),
            ("l", Array(Box::new(Array(Box::new(Text))))),
        ];
        let full = r#"{"b":true,"i":-9223372036854775808,"s":1,"f":0.1,"r":1.5,"n":12.50,"m":0.5,"t":"a\"\\\n\u0001ä","x":"\\x00ff","d":"2024-02-29","c":"01:02:03.5","p":"2024-01-02T03:04:05.678","z":"1969-12-31T23:59:59.999999Z","v":"1 mon 2 days 00:00:01","u":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","j":{"a": [1, 2]},"l":[["a",null],[],null]}"#;
        let empty = r#"{"b":null,"i":null,"s":null,"f":null,"r":null,"n":null,"m":null,"t":null,"x":null,"d":null,"c":null,"p":null,"z":null,"v":null,"u":null,"j":null,"l":null}"#;
        assert_eq!(round_trip(&columns, &[full, empty]), [full, empty]);
        for line in round_trip(&columns, &[full]) {
            serde_json::from_str::<serde_json::Value>(&line).unwrap();
        }
    }

    #[test]
    fn floats_are_short_and_never_invalid() {
        let columns = [("f", SqlType::Double)];
        let written =
            round_trip(&columns, &["{\"f\":1e300}", "{\"f\":100}", "{\"f\":\"NaN\"}", "{\"f\":\"-Infinity\"}"]);
        assert_eq!(written, ["{\"f\":1e300}", "{\"f\":100}", "{\"f\":\"NaN\"}", "{\"f\":\"-Infinity\"}"]);
    }
}
