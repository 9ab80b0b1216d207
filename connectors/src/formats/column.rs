//! One column of a batch that is being decoded: plain vectors, so that a row can be taken back when its record turns out bad.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array,
    Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, StringViewArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{FieldRef, IntervalMonthDayNano};
use catalog::SqlType;
use catalog::sql_type::NUMERIC_DEFAULT;

use crate::Result;

/// The longest string that a view holds itself.
const INLINE: usize = 12;

/// A column under construction.
pub(crate) struct Column {
    pub(crate) sql_type: SqlType,
    pub(crate) values: Values,
    /// Rows that are null, ascending: nulls are the exception.
    nulls: Vec<u32>,
}

/// The values, by the Arrow type that carries them. A null row has a zero.
pub(crate) enum Values {
    Boolean(Vec<bool>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    UInt32(Vec<u32>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    /// `exact`: no scale was declared to which a value could be rounded.
    Decimal {
        values: Vec<i128>,
        precision: u8,
        scale: i8,
        exact: bool,
    },
    Text {
        views: Views,
        kind: TextKind,
    },
    Binary(Views),
    Date(Vec<i32>),
    Time(Vec<i64>),
    Timestamp {
        values: Vec<i64>,
        utc: bool,
    },
    Interval(Vec<IntervalMonthDayNano>),
    List {
        offsets: Vec<i32>,
        element: Box<Column>,
        field: FieldRef,
    },
}

/// What else a text must obey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextKind {
    Plain,
    /// At most so many characters.
    AtMost(u32),
    /// At most so many characters, trailing blanks don't count and aren't kept.
    Padded(u32),
    Uuid,
    Json,
    Jsonb,
}

/// Strings as Arrow's views: 16 bytes a row, and one shared block for those over twelve bytes.
#[derive(Default)]
pub(crate) struct Views {
    views: Vec<u128>,
    block: Vec<u8>,
}

impl Views {
    /// Appends `record[start..end]`; a short one is cut out of the record by one load and a mask.
    #[inline]
    pub(crate) fn push_span(&mut self, record: &[u8], start: usize, end: usize) {
        let length = end - start;
        if length <= INLINE
            && let Some(chunk) = record.get(start..start + 16)
        {
            let raw = u128::from_le_bytes(chunk.try_into().expect("16 bytes"));
            let mask = (1u128 << (8 * length)) - 1;
            self.views.push(((raw & mask) << 32) | length as u128);
            return;
        }
        self.push(&record[start..end]);
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let length = bytes.len();
        if length <= INLINE {
            let mut inline = [0u8; 16];
            inline[..4].copy_from_slice(&(length as u32).to_le_bytes());
            inline[4..4 + length].copy_from_slice(bytes);
            self.views.push(u128::from_le_bytes(inline));
            return;
        }
        let prefix = u32::from_le_bytes(*bytes.first_chunk().expect("longer than twelve bytes"));
        let offset = u32::try_from(self.block.len()).expect("a batch ends long before 4 GiB of text");
        self.block.extend_from_slice(bytes);
        self.views.push((length as u32 as u128) | (u128::from(prefix) << 32) | (u128::from(offset) << 96));
    }

    fn truncate(&mut self, rows: usize) {
        for view in self.views.drain(rows.min(self.views.len())..) {
            if view as u32 as usize > INLINE {
                self.block.truncate((view >> 96) as usize);
                break;
            }
        }
        self.views.truncate(rows);
    }

    /// The finished parts; what follows starts with room for as much again.
    fn finish(&mut self) -> (ScalarBuffer<u128>, Vec<Buffer>) {
        let views = std::mem::replace(&mut self.views, Vec::with_capacity(0));
        self.views = Vec::with_capacity(room(views.len()));
        let block = std::mem::take(&mut self.block);
        self.block = Vec::with_capacity(room(block.len()));
        (ScalarBuffer::from(views), if block.is_empty() { Vec::new() } else { vec![Buffer::from_vec(block)] })
    }
}

/// Capacity for the next batch: as the last one, and an eighth.
fn room(last: usize) -> usize {
    last + last / 8
}

/// Takes the values out, and leaves room for as many.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    let capacity = room(values.len());
    std::mem::replace(values, Vec::with_capacity(capacity))
}

impl Column {
    pub(crate) fn new(sql_type: &SqlType) -> Self {
        let text = |kind| Values::Text { views: Views::default(), kind };
        let values = match sql_type {
            SqlType::Boolean => Values::Boolean(Vec::new()),
            SqlType::SmallInt => Values::Int16(Vec::new()),
            SqlType::Integer => Values::Int32(Vec::new()),
            SqlType::BigInt => Values::Int64(Vec::new()),
            SqlType::Oid => Values::UInt32(Vec::new()),
            SqlType::Real => Values::Float32(Vec::new()),
            SqlType::Double => Values::Float64(Vec::new()),
            SqlType::Numeric(typmod) => {
                let (precision, scale) = typmod.unwrap_or(NUMERIC_DEFAULT);
                Values::Decimal { values: Vec::new(), precision, scale, exact: typmod.is_none() }
            }
            SqlType::Text | SqlType::Name | SqlType::Varchar(None) => text(TextKind::Plain),
            SqlType::Varchar(Some(length)) => text(TextKind::AtMost(*length)),
            SqlType::Char(length) => text(TextKind::Padded(*length)),
            SqlType::Uuid => text(TextKind::Uuid),
            SqlType::Json => text(TextKind::Json),
            SqlType::Jsonb => text(TextKind::Jsonb),
            SqlType::Bytea => Values::Binary(Views::default()),
            SqlType::Date => Values::Date(Vec::new()),
            SqlType::Time => Values::Time(Vec::new()),
            SqlType::Timestamp => Values::Timestamp { values: Vec::new(), utc: false },
            SqlType::Timestamptz => Values::Timestamp { values: Vec::new(), utc: true },
            SqlType::Interval => Values::Interval(Vec::new()),
            SqlType::Array(element) => Values::List {
                offsets: vec![0],
                element: Box::new(Self::new(element)),
                field: FieldRef::new(element.field("item", true)),
            },
            SqlType::Catalog(catalog_type) => Self::new(&catalog_type.carrier()).values,
        };
        Self { sql_type: sql_type.clone(), values, nulls: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        match &self.values {
            Values::Boolean(values) => values.len(),
            Values::Int16(values) => values.len(),
            Values::Int32(values) | Values::Date(values) => values.len(),
            Values::Int64(values) | Values::Time(values) | Values::Timestamp { values, .. } => values.len(),
            Values::UInt32(values) => values.len(),
            Values::Float32(values) => values.len(),
            Values::Float64(values) => values.len(),
            Values::Decimal { values, .. } => values.len(),
            Values::Text { views, .. } | Values::Binary(views) => views.views.len(),
            Values::Interval(values) => values.len(),
            Values::List { offsets, .. } => offsets.len() - 1,
        }
    }

    /// Appends a null.
    pub(crate) fn push_null(&mut self) {
        self.nulls.push(self.len() as u32);
        self.push_zero();
    }

    /// Appends the type's zero: what stands in a NOT NULL column of a row that only names its key.
    pub(crate) fn push_zero(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.push(false),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) | Values::Date(values) => values.push(0),
            Values::Int64(values) | Values::Time(values) | Values::Timestamp { values, .. } => values.push(0),
            Values::UInt32(values) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(0),
            Values::Text { views, .. } | Values::Binary(views) => views.views.push(0),
            Values::Interval(values) => values.push(IntervalMonthDayNano::ZERO),
            Values::List { offsets, element, .. } => offsets.push(element.len() as i32),
        }
    }

    /// Takes back every row from `rows` on.
    pub(crate) fn truncate(&mut self, rows: usize) {
        while self.nulls.last().is_some_and(|row| *row as usize >= rows) {
            self.nulls.pop();
        }
        match &mut self.values {
            Values::Boolean(values) => values.truncate(rows),
            Values::Int16(values) => values.truncate(rows),
            Values::Int32(values) | Values::Date(values) => values.truncate(rows),
            Values::Int64(values) | Values::Time(values) | Values::Timestamp { values, .. } => values.truncate(rows),
            Values::UInt32(values) => values.truncate(rows),
            Values::Float32(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Decimal { values, .. } => values.truncate(rows),
            Values::Text { views, .. } | Values::Binary(views) => views.truncate(rows),
            Values::Interval(values) => values.truncate(rows),
            Values::List { offsets, element, .. } => {
                offsets.truncate(rows + 1);
                element.truncate(offsets.last().map_or(0, |end| *end as usize));
            }
        }
    }

    /// The rows as an array; the column is empty again.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef> {
        let nulls = self.take_nulls();
        Ok(match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(BooleanBuffer::from(take(values)), nulls)),
            Values::Int16(values) => Arc::new(Int16Array::try_new(take(values).into(), nulls)?),
            Values::Int32(values) => Arc::new(Int32Array::try_new(take(values).into(), nulls)?),
            Values::Int64(values) => Arc::new(Int64Array::try_new(take(values).into(), nulls)?),
            Values::UInt32(values) => Arc::new(UInt32Array::try_new(take(values).into(), nulls)?),
            Values::Float32(values) => Arc::new(Float32Array::try_new(take(values).into(), nulls)?),
            Values::Float64(values) => Arc::new(Float64Array::try_new(take(values).into(), nulls)?),
            Values::Decimal { values, precision, scale, .. } => Arc::new(
                Decimal128Array::try_new(take(values).into(), nulls)?.with_precision_and_scale(*precision, *scale)?,
            ),
            Values::Text { views, .. } => {
                let (views, blocks) = views.finish();
                Arc::new(StringViewArray::try_new(views, blocks, nulls)?)
            }
            Values::Binary(views) => {
                let (views, blocks) = views.finish();
                Arc::new(BinaryViewArray::try_new(views, blocks, nulls)?)
            }
            Values::Date(values) => Arc::new(Date32Array::try_new(take(values).into(), nulls)?),
            Values::Time(values) => Arc::new(Time64MicrosecondArray::try_new(take(values).into(), nulls)?),
            Values::Timestamp { values, utc } => {
                let array = TimestampMicrosecondArray::try_new(take(values).into(), nulls)?;
                Arc::new(if *utc { array.with_timezone("UTC") } else { array })
            }
            Values::Interval(values) => Arc::new(IntervalMonthDayNanoArray::try_new(take(values).into(), nulls)?),
            Values::List { offsets, element, field } => {
                let offsets = std::mem::replace(offsets, vec![0]);
                let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
                Arc::new(ListArray::try_new(Arc::clone(field), offsets, element.finish()?, nulls)?)
            }
        })
    }

    fn take_nulls(&mut self) -> Option<NullBuffer> {
        if self.nulls.is_empty() {
            return None;
        }
        let mut valid = vec![true; self.len()];
        for row in self.nulls.drain(..) {
            valid[row as usize] = false;
        }
        Some(NullBuffer::from(valid))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{Array, AsArray};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_can_be_taken_back() {
        let mut column = Column::new(&SqlType::Text);
        let push = |column: &mut Column, text: &str| match &mut column.values {
            Values::Text { views, .. } => views.push(text.as_bytes()),
            _ => unreachable!(),
        };
        push(&mut column, "short");
        push(&mut column, "a text over twelve bytes");
        column.push_null();
        push(&mut column, "another text over twelve bytes");
        column.truncate(1);
        column.push_null();
        push(&mut column, "the third text of that kind");
        let array = column.finish().unwrap();
        let array = array.as_string_view();
        assert_eq!(array.iter().collect::<Vec<_>>(), [Some("short"), None, Some("the third text of that kind")]);
        assert_eq!(column.len(), 0);
    }

    #[test]
    fn every_type_makes_the_array_of_its_field() {
        use SqlType::*;
        let types = [
            Boolean,
            SmallInt,
            Integer,
            BigInt,
            Real,
            Double,
            Numeric(Some((12, 2))),
            Numeric(None),
            Text,
            Varchar(Some(3)),
            Char(3),
            Name,
            Bytea,
            Date,
            Time,
            Timestamp,
            Timestamptz,
            Interval,
            Uuid,
            Json,
            Jsonb,
            Oid,
            Array(Box::new(Array(Box::new(Text)))),
        ];
        for sql_type in types {
            let mut column = Column::new(&sql_type);
            column.push_zero();
            column.push_null();
            column.push_null();
            column.truncate(2);
            let array = column.finish().unwrap();
            assert_eq!(array.data_type(), &sql_type.data_type());
            assert_eq!((array.len(), array.null_count(), array.is_null(1)), (2, 1, true), "{sql_type}");
        }
    }

    proptest! {
        #[test]
        fn views_hold_what_was_pushed(texts in proptest::collection::vec("\\PC{0,20}", 0..50)) {
            let (mut copied, mut cut) = (Views::default(), Views::default());
            for text in &texts {
                copied.push(text.as_bytes());
                let record = format!("\"{text}\"…");
                cut.push_span(record.as_bytes(), 1, 1 + text.len());
            }
            for mut views in [copied, cut] {
                let (views, blocks) = views.finish();
                let array = StringViewArray::try_new(views, blocks, None).unwrap();
                prop_assert_eq!(array.iter().map(Option::unwrap).collect::<Vec<_>>(), texts.iter().map(String::as_str).collect::<Vec<_>>());
            }
        }
    }
}
