//! Blocks come back as they were written, whatever the types, nulls and values.
#![allow(clippy::unwrap_used)]

use arrow::array::{
    Date32Array, Float64Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, NullArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Int64Type, IntervalMonthDayNano};
use proptest::prelude::*;

use super::*;

fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
    let fields = columns.iter().enumerate();
    let fields = fields.map(|(i, column)| Field::new(format!("c{i}"), column.data_type().clone(), true));
    let rows = columns.first().map_or(0, |column| column.len());
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns, &options).unwrap()
}

fn check(batch: &RecordBatch) -> Vec<u8> {
    let codec = BlockCodec::new(batch.schema()).unwrap();
    let bytes = codec.encode(b"key", batch).unwrap();
    assert!(bytes.starts_with(b"key"));
    assert_eq!(codec.decode(&bytes[3..], None).unwrap(), *batch);
    for column in 0..batch.num_columns() {
        let projected = codec.decode(&bytes[3..], Some(&[column])).unwrap();
        assert_eq!(projected, batch.project(&[column]).unwrap());
    }
    bytes
}

/// One column of each form, from the same numbers.
fn all_types(values: &[Option<i64>]) -> RecordBatch {
    let each = |f: fn(i64) -> i64| values.iter().map(|v| v.map(f)).collect::<Vec<Option<i64>>>();
    let lists = values.iter().map(|v| v.map(|v| vec![Some(v), None]));
    batch(vec![
        Arc::new(Int64Array::from(values.to_vec())),
        Arc::new(Int16Array::from_iter(each(|v| v % 1000).into_iter().map(|v| v.map(|v| v as i16)))),
        Arc::new(Int32Array::from_iter(values.iter().map(|v| v.map(|v| v as i32)))),
        Arc::new(UInt32Array::from_iter(values.iter().map(|v| v.map(|v| v as u32)))),
        Arc::new(Date32Array::from_iter(values.iter().map(|v| v.map(|v| v as i32)))),
        Arc::new(TimestampMicrosecondArray::from(values.to_vec()).with_timezone("UTC")),
        Arc::new(Float64Array::from_iter(values.iter().map(|v| v.map(|v| v as f64 / 3.0)))),
        Arc::new(BooleanArray::from_iter(values.iter().map(|v| v.map(|v| v % 3 == 0)))),
        Arc::new(Decimal128Array::from_iter(values.iter().map(|v| v.map(i128::from)))),
        Arc::new(Decimal128Array::from_iter(values.iter().map(|v| v.map(|v| i128::from(v) << 60)))),
        Arc::new(IntervalMonthDayNanoArray::from_iter(
            values.iter().map(|v| v.map(|v| IntervalMonthDayNano::new(v as i32, (v >> 8) as i32, v))),
        )),
        Arc::new(StringViewArray::from_iter(
            values.iter().map(|v| v.map(|v| "é".repeat((v % 20).unsigned_abs() as usize))),
        )),
        Arc::new(BinaryViewArray::from_iter(values.iter().map(|v| v.map(|v| v.to_be_bytes().repeat(3))))),
        Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
        Arc::new(NullArray::new(values.len())),
    ])
}

proptest! {
    #[test]
    fn every_type_comes_back(values in prop::collection::vec(prop::option::of(any::<i64>()), 0..40), shift in 0..64_u32) {
        let values: Vec<Option<i64>> = values.into_iter().map(|v| v.map(|v| v >> shift)).collect();
        let whole = all_types(&values);
        check(&whole);
        // A slice has an offset in its buffers.
        let (start, end) = (values.len() / 3, values.len());
        check(&whole.slice(start, end - start));
    }

    #[test]
    fn damage_is_an_error_and_no_panic(cut in 0..400_usize, flipped in 0..400_usize, value in any::<u8>()) {
        let whole = batch(vec![
            Arc::new(Int64Array::from(vec![Some(1), None, Some(1 << 40)])),
            Arc::new(StringViewArray::from(vec![Some("a text that is no short one"), None, Some("x")])),
            Arc::new(Decimal128Array::from(vec![Some(1), Some(i128::MAX), None])),
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ]);
        let codec = BlockCodec::new(whole.schema()).unwrap();
        let bytes = codec.encode(&[], &whole).unwrap();
        if cut < bytes.len() {
            prop_assert!(codec.decode(&bytes[..cut], None).is_err());
        }
        let mut damaged = bytes.clone();
        let at = flipped % bytes.len();
        damaged[at] = value;
        // Most damage can't be seen here: the store has checksums for that.
        let _ = codec.decode(&damaged, None);
    }
}

#[test]
fn small_numbers_take_few_bytes() {
    let numbers = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    let len = |column: ArrayRef| check(&batch(vec![column])).len();
    let empty = len(numbers(vec![]));
    assert_eq!(len(numbers(vec![7; 1000])), empty);
    assert_eq!(len(numbers((1_000_000..1_000_250).collect())), empty + 250);
    assert_eq!(len(numbers((0..1000).map(|n| n * 60).collect())), empty + 2000);
    assert_eq!(len(numbers(vec![i64::MIN, i64::MAX])), empty + 16);
}

#[test]
fn what_repeats_is_compressed_and_what_does_not_is_left_alone() {
    let texts =
        |text: fn(u64) -> String| -> ArrayRef { Arc::new(StringViewArray::from_iter_values((0..4000).map(text))) };
    let scrambled = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n.wrapping_mul(n).rotate_left(29);
    fn url(n: u64) -> String {
        format!("https://www.example.com/items/{n}")
    }
    assert!(check(&batch(vec![texts(url)])).len() < 4000 * 20);
    let random = (0..4000_u64).map(|n| scrambled(n).to_le_bytes().map(|byte| (b'!' + byte % 90) as char));
    let random: ArrayRef = Arc::new(StringViewArray::from_iter_values(random.map(String::from_iter)));
    let bytes = check(&batch(vec![random])).len();
    assert!((4000 * 8..4000 * 8 + 100).contains(&bytes), "{bytes}");
}

#[test]
fn a_block_without_columns_counts_its_rows() {
    let options = RecordBatchOptions::new().with_row_count(Some(5));
    check(&RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap());
}

proptest! {
    /// Whatever happens to a block's bytes, decoding ends with rows or an error.
    #[test]
    fn whatever_bytes_a_block_has_it_is_rows_or_an_error(
        values in prop::collection::vec(prop::option::of(any::<i64>()), 0..60),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let batch = all_types(&values);
        let codec = BlockCodec::new(batch.schema()).unwrap();
        let mut bytes = codec.encode(b"", &batch).unwrap();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        drop(codec.decode(&bytes, None));
        for column in 0..batch.num_columns() {
            drop(codec.decode(&bytes, Some(&[column])));
        }
        drop(codec.decode_rows(&bytes, &UInt32Array::from(vec![0, 1])));
    }
}
