#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{
    BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
    LargeStringArray, ListArray, NullArray, StringArray, StringViewArray, StructArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use proptest::prelude::*;

use super::*;

fn hashes(columns: Vec<ArrayRef>) -> Vec<u64> {
    let mut out = vec![7; 3];
    hash_rows(&columns, &mut out);
    out
}

fn one(array: impl Array + 'static) -> Vec<u64> {
    hashes(vec![Arc::new(array)])
}

const SHORT: &str = "twelve bytes";
const LONG: &str = "a string of more than twelve bytes";

/// These numbers are on disk: whoever has to change them breaks every data directory.
#[test]
fn golden_hashes() {
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), Some(vec![]), None]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("int", Arc::new(Int64Array::from(vec![Some(0), Some(1), Some(-1), None]))),
        ("float", Arc::new(Float64Array::from(vec![0.0, 1.5, f64::NAN, f64::INFINITY]))),
        ("bool", Arc::new(BooleanArray::from(vec![Some(false), Some(true), None]))),
        ("text", Arc::new(StringViewArray::from(vec![Some(""), Some("a"), Some(SHORT), Some(LONG), None]))),
        ("bytea", Arc::new(BinaryViewArray::from(vec![b"\0".as_slice(), b"\0\0"]))),
        (
            "numeric",
            Arc::new(
                Decimal128Array::from(vec![12345, -1, i128::MAX, i128::MIN]).with_precision_and_scale(38, 2).unwrap(),
            ),
        ),
        ("timestamp", Arc::new(TimestampMicrosecondArray::from(vec![1_700_000_000_000_000]))),
        ("time", Arc::new(Time64MicrosecondArray::from(vec![86_399_999_999]))),
        ("date", Arc::new(Date32Array::from(vec![19_000, -1]))),
        ("interval", Arc::new(IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, -2, 3)]))),
        ("list", Arc::new(list)),
    ];
    let mut text = String::new();
    for (name, column) in columns {
        text.push_str(name);
        for hash in hashes(vec![column]) {
            text.push_str(&format!(" {hash:016x}"));
        }
        text.push('\n');
    }
    let pair = hashes(vec![Arc::new(Int32Array::from(vec![1, 2])), Arc::new(StringViewArray::from(vec!["x", "y"]))]);
    text.push_str(&format!("pair {:016x} {:016x}\n", pair[0], pair[1]));
    assert_eq!(text, include_str!("golden.txt"), "\n{text}");
}

#[test]
fn equal_values_of_different_types_hash_equal() {
    let int8 = one(Int8Array::from(vec![Some(-5), None]));
    assert_eq!(int8, one(Int16Array::from(vec![Some(-5), None])));
    assert_eq!(int8, one(Int64Array::from(vec![Some(-5), None])));
    assert_eq!(int8, one(Decimal128Array::from(vec![Some(-5), None]).with_precision_and_scale(10, 0).unwrap()));
    assert_eq!(one(UInt32Array::from(vec![7])), one(Int32Array::from(vec![7])));
    assert_eq!(one(Float32Array::from(vec![1.5])), one(Float64Array::from(vec![1.5])));

    let texts = vec![Some(SHORT), None, Some(LONG), Some("")];
    let view = one(StringViewArray::from(texts.clone()));
    assert_eq!(view, one(StringArray::from(texts.clone())));
    assert_eq!(view, one(LargeStringArray::from(texts.clone())));
    assert_eq!(view, one(texts.iter().copied().collect::<DictionaryArray<Int32Type>>()));
    let bytes: Vec<_> = texts.iter().map(|t| t.map(str::as_bytes)).collect();
    assert_eq!(view, one(BinaryArray::from(bytes.clone())));
    assert_eq!(view, one(BinaryViewArray::from(bytes)));
    let fixed = FixedSizeBinaryArray::try_from_iter([LONG.as_bytes()].into_iter()).unwrap();
    assert_eq!(view[2], one(fixed)[0]);
}

#[test]
fn floats_that_are_equal_in_sql_hash_equal() {
    let negative_nan = f64::from_bits(f64::NAN.to_bits() | 1 << 63 | 1);
    let out = one(Float64Array::from(vec![0.0, -0.0, f64::NAN, negative_nan]));
    assert_eq!(out[0], out[1]);
    assert_eq!(out[2], out[3]);
    assert_ne!(out[0], out[2]);
}

#[test]
fn lists_and_structs_hash_by_their_contents() {
    let list = |rows: Vec<Option<Vec<Option<i32>>>>| one(ListArray::from_iter_primitive::<Int32Type, _, _>(rows));
    let out = list(vec![Some(vec![Some(1)]), Some(vec![Some(1), None]), Some(vec![]), None, Some(vec![Some(1)])]);
    assert_eq!(out[0], out[4]);
    assert_eq!(out.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    // Where a list lies in its buffers doesn't matter.
    let sliced = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(9)]), Some(vec![Some(1), None])]);
    assert_eq!(one(sliced.slice(1, 1))[0], out[1]);

    let field = |name: &str| Arc::new(Field::new(name, DataType::Int32, true));
    let structs = StructArray::from(vec![
        (field("a"), Arc::new(Int32Array::from(vec![1, 2, 1])) as ArrayRef),
        (field("b"), Arc::new(Int32Array::from(vec![2, 1, 2])) as ArrayRef),
    ]);
    let out = one(structs);
    assert_eq!(out[0], out[2]);
    assert_ne!(out[0], out[1]);
}

#[test]
fn what_stands_under_a_null_does_not_matter() {
    let nulls = Some(NullBuffer::from(vec![false]));
    let a = Int64Array::new(vec![1].into(), nulls.clone());
    let b = Int64Array::new(vec![2].into(), nulls);
    assert_eq!(one(a), one(b.clone()));
    assert_eq!(one(b), one(NullArray::new(1)));
}

#[test]
fn the_order_of_columns_matters_and_no_column_means_no_row() {
    let a: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let b: ArrayRef = Arc::new(Int32Array::from(vec![2]));
    assert_ne!(hashes(vec![a.clone(), b.clone()]), hashes(vec![b, a]));
    assert!(hashes(vec![]).is_empty());
}

#[test]
fn small_integers_spread_over_all_virtual_nodes() {
    let out = one(Int64Array::from_iter_values(0..25_600));
    let mut counts = [0; VNODES];
    out.iter().for_each(|h| counts[usize::from(vnode_of(*h))] += 1);
    assert!(counts.iter().all(|n| (50..150).contains(n)), "{counts:?}");
    assert!((0..SHARDS).all(|s| vnodes_of(s).all(|v| shard_of(v) == s)));
}

proptest! {
    /// Hashing is by row: a slice of a batch hashes as the batch does.
    #[test]
    fn a_slice_hashes_as_the_whole(
        rows in prop::collection::vec((any::<Option<i64>>(), any::<Option<String>>(), any::<Option<bool>>()), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>()),
            Arc::new(rows.iter().map(|r| r.1.clone()).collect::<StringViewArray>()),
            Arc::new(rows.iter().map(|r| r.2).collect::<BooleanArray>()),
        ];
        let cut = cut.index(rows.len());
        let tail = columns.iter().map(|c| c.slice(cut, rows.len() - cut)).collect();
        prop_assert_eq!(&hashes(columns)[cut..], &hashes(tail)[..]);
    }
}
