//! Binary forms, as `typsend` writes them.

use bytes::{BufMut, BytesMut};
use engine::{Error, ErrorKind};

use super::column::{Column, Values};
use super::datetime::{POSTGRES_EPOCH_DAYS, POSTGRES_EPOCH_US};
use super::{numeric, patch_length, text};

/// Appends the binary form of a value that is not NULL.
pub(crate) fn write(column: &Column<'_>, row: usize, out: &mut BytesMut) -> engine::Result<()> {
    match &column.values {
        Values::Boolean(array) => out.put_u8(u8::from(array.value(row))),
        Values::SmallInt(array) => out.put_i16(array.value(row)),
        Values::Integer(array) => out.put_i32(array.value(row)),
        Values::BigInt(array) => out.put_i64(array.value(row)),
        Values::Oid(array) => out.put_u32(array.value(row)),
        Values::Real(array) => out.put_f32(array.value(row)),
        Values::Double(array) => out.put_f64(array.value(row)),
        Values::Numeric { array, scale, trim } => numeric::write_binary(array.value(row), *scale, *trim, out),
        Values::Text(array) | Values::Json(array) => out.put_slice(array.value(row).as_bytes()),
        Values::Padded { array, length } => text::put_padded(array.value(row), *length, out),
        Values::Uuid(array) => put_uuid(array.value(row), out)?,
        Values::Jsonb(array) => {
            // The version of the binary form.
            out.put_u8(1);
            out.put_slice(array.value(row).as_bytes());
        }
        Values::Bytea(array) => out.put_slice(array.value(row)),
        Values::Date(array) => match array.value(row) {
            infinity @ (i32::MAX | i32::MIN) => out.put_i32(infinity),
            days => out.put_i32(days - POSTGRES_EPOCH_DAYS),
        },
        Values::Time(array) => out.put_i64(array.value(row)),
        Values::Timestamp(array) | Values::Timestamptz(array) => match array.value(row) {
            infinity @ (i64::MAX | i64::MIN) => out.put_i64(infinity),
            us => out.put_i64(us.saturating_sub(POSTGRES_EPOCH_US)),
        },
        Values::Interval(array) => {
            let value = array.value(row);
            out.put_i64(value.nanoseconds / 1000);
            out.put_i32(value.days);
            out.put_i32(value.months);
        }
        Values::Array { array, element, element_oid } => {
            let offsets = array.value_offsets();
            put_array(element, offsets[row] as usize..offsets[row + 1] as usize, 1, *element_oid, out)?;
        }
        Values::Vector { array, element, element_oid } => {
            let offsets = array.value_offsets();
            put_array(element, offsets[row] as usize..offsets[row + 1] as usize, 0, *element_oid, out)?;
        }
        // Its number is not at hand here.
        Values::Named { named, .. } => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the binary form of type {named} is not supported"),
            )
            .with_hint("Ask for the text form of this column, or cast it to text or oid."));
        }
    }
    Ok(())
}

fn put_uuid(value: &str, out: &mut BytesMut) -> engine::Result<()> {
    let bytes = uuid_bytes(value).ok_or_else(|| Error::internal(format!("a uuid column holds {value:?}")))?;
    out.put_slice(&bytes);
    Ok(())
}

/// The 16 bytes of a uuid's canonical text.
pub(crate) fn uuid_bytes(value: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut nibbles = 0;
    for character in value.chars() {
        if character == '-' {
            continue;
        }
        let nibble = character.to_digit(16)? as u8;
        *bytes.get_mut(nibbles / 2)? |= if nibbles % 2 == 0 { nibble << 4 } else { nibble };
        nibbles += 1;
    }
    (nibbles == 32).then_some(bytes)
}

/// Dimensions, whether NULLs are among them, the element's type, then the elements, counted from `first_index`. Arrays within must be equally long, as
/// PostgreSQL's arrays are rectangles.
fn put_array(
    element: &Column<'_>,
    range: std::ops::Range<usize>,
    first_index: i32,
    element_oid: u32,
    out: &mut BytesMut,
) -> engine::Result<()> {
    let mut lengths = vec![range.len()];
    if range.is_empty() {
        out.put_i32(0);
        out.put_i32(0);
        out.put_u32(element_oid);
        return Ok(());
    }
    let mut innermost = element;
    let mut inner_range = range;
    while let Values::Array { array, element, .. } = &innermost.values {
        let offsets = array.value_offsets();
        let length = (offsets[inner_range.start + 1] - offsets[inner_range.start]) as usize;
        let rectangular = inner_range
            .clone()
            .all(|index| !innermost.is_null(index) && (offsets[index + 1] - offsets[index]) as usize == length);
        if !rectangular {
            return Err(Error::new(
                ErrorKind::DataException,
                "an array whose inner arrays differ in length has no binary form",
            )
            .with_hint("ask for the text form of this column"));
        }
        lengths.push(length);
        inner_range = offsets[inner_range.start] as usize..offsets[inner_range.end] as usize;
        innermost = element;
    }
    let has_nulls = inner_range.clone().any(|index| innermost.is_null(index));
    out.put_i32(lengths.len() as i32);
    out.put_i32(i32::from(has_nulls));
    out.put_u32(element_oid);
    for length in &lengths {
        out.put_i32(*length as i32);
        out.put_i32(first_index);
    }
    for index in inner_range {
        if innermost.is_null(index) {
            out.put_i32(-1);
            continue;
        }
        let length_at = out.len();
        out.put_i32(0);
        write(innermost, index, out)?;
        patch_length(out, length_at, out.len() - length_at - 4);
    }
    Ok(())
}
