#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{
    BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int32Array, Int64Array,
    Int64Builder, IntervalMonthDayNanoArray, ListBuilder, RecordBatch, StringArray, StringViewArray, StringViewBuilder,
};
use arrow::datatypes::{Field, IntervalMonthDayNano, Schema};

use super::*;

/// A column of every kind of type, nulls in each; all nulls in the last row.
fn batch() -> RecordBatch {
    let mut numbers = ListBuilder::new(Int64Builder::new());
    numbers.append_value([Some(1), None]);
    numbers.append_value([]);
    numbers.append_null();
    let mut texts = ListBuilder::new(StringViewBuilder::new());
    texts.append_value([Some("a"), Some("more than twelve bytes, surely")]);
    texts.append_null();
    texts.append_null();
    let months = |months| IntervalMonthDayNano { months, days: -1, nanoseconds: 7 };
    let long = "a text that does not fit into a view";
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int16Array::from(vec![Some(-1), Some(2), None])),
        Arc::new(StringViewArray::from(vec![Some(long), Some(""), None])),
        Arc::new(Int64Array::from(vec![Some(i64::MIN), None, None])),
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        Arc::new(
            Decimal128Array::from(vec![Some(-12345), Some(i128::MAX / 10), None])
                .with_precision_and_scale(38, 4)
                .unwrap(),
        ),
        Arc::new(Float64Array::from(vec![Some(-0.0), Some(f64::NAN), None])),
        Arc::new(BinaryViewArray::from(vec![Some(&b"\0\xff"[..]), None, None])),
        Arc::new(Date32Array::from(vec![Some(1), Some(2), None])),
        Arc::new(IntervalMonthDayNanoArray::from(vec![Some(months(3)), None, None])),
        Arc::new(numbers.finish()),
        Arc::new(texts.finish()),
        Arc::new(StringArray::from(vec![Some("plain"), Some(long), None])),
        Arc::new(Int32Array::from(vec![Some(5), Some(6), None])),
        new_null_array(&DataType::Null, 3),
    ];
    let fields = columns.iter().enumerate().map(|(i, c)| Field::new(format!("c{i}"), c.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns).unwrap()
}

fn rows(encoded: &EncodedRows) -> Vec<&[u8]> {
    (0..encoded.len()).map(|row| encoded.row(row)).collect()
}

#[test]
fn rows_of_every_type_come_back() {
    let batch = batch();
    let codec = RowCodec::new(batch.schema()).unwrap();
    let encoded = codec.encode(batch.columns(), 3).unwrap();
    assert_eq!(codec.decode(&rows(&encoded)).unwrap(), batch);
    for (row, bytes) in rows(&encoded).into_iter().enumerate() {
        assert_eq!(codec.row_len(&[bytes, &[1, 2, 3]].concat()), bytes.len());
        assert_eq!(codec.decode(&[bytes]).unwrap(), batch.slice(row, 1));
    }
    // A slice is encoded as what it shows.
    let slice = batch.slice(1, 2);
    let sliced = codec.encode(slice.columns(), 2).unwrap();
    assert_eq!(rows(&sliced), rows(&encoded)[1..]);
}

#[test]
fn what_stands_under_a_null_does_not_count() {
    let column =
        |under: i64| -> ArrayRef { Arc::new(Int64Array::new(vec![under].into(), Some(NullBuffer::new_null(1)))) };
    let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
    let codec = RowCodec::new(schema).unwrap();
    let (one, two) = (codec.encode(&[column(1)], 1).unwrap(), codec.encode(&[column(2)], 1).unwrap());
    assert_eq!(one.row(0), two.row(0));
}

#[test]
fn short_bytes_are_no_row() {
    let batch = batch();
    let codec = RowCodec::new(batch.schema()).unwrap();
    let encoded = codec.encode(batch.columns(), 3).unwrap();
    for len in 0..encoded.row(0).len() {
        assert_eq!(codec.checked_row_len(&encoded.row(0)[..len]), None);
    }
    assert_eq!(codec.checked_row_len(encoded.row(0)), Some(encoded.row(0).len()));
}
