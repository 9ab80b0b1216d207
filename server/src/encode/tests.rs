//! What PostgreSQL 15 printed for the same values.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int32Array,
    Int64Array, IntervalMonthDayNanoArray, ListArray, StringArray, StringViewArray, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano};
use bytes::BytesMut;
use engine::{ResultColumn, SqlType};

use super::style::{ByteaStyle, IntervalStyle, Zone};
use super::{Column, Format, RowEncoder, Style, binary, column, text};

fn texts_in(array: ArrayRef, sql_type: SqlType, style: &Style) -> Vec<String> {
    let array = column::carried(&array, &sql_type).unwrap();
    let column = Column::new(&array, &sql_type).unwrap();
    (0..array.len())
        .map(|row| {
            let mut out = BytesMut::new();
            text::write(&column, row, style, &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        })
        .collect()
}

fn texts(array: impl arrow::array::Array + 'static, sql_type: SqlType) -> Vec<String> {
    texts_in(Arc::new(array), sql_type, &Style::default())
}

fn hexes(array: impl arrow::array::Array + 'static, sql_type: SqlType) -> Vec<String> {
    let array: ArrayRef = Arc::new(array);
    let array = column::carried(&array, &sql_type).unwrap();
    let column = Column::new(&array, &sql_type).unwrap();
    (0..array.len())
        .map(|row| {
            let mut out = BytesMut::new();
            binary::write(&column, row, &mut out).unwrap();
            out.iter().map(|byte| format!("{byte:02x}")).collect()
        })
        .collect()
}

fn decimals(values: &[i128], precision: u8, scale: i8) -> Decimal128Array {
    Decimal128Array::from(values.to_vec()).with_precision_and_scale(precision, scale).unwrap()
}

#[test]
fn doubles_print_shortest() {
    let values = vec![
        1e15,
        999_999_999_999_999.0,
        0.0001,
        0.00001,
        123_456_789_012_345_678.0,
        0.1 + 0.2,
        -0.0,
        5e-324,
        1e100,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        100.0,
        -2.5,
    ];
    let expected = [
        "1e+15",
        "999999999999999",
        "0.0001",
        "1e-05",
        "1.2345678901234568e+17",
        "0.30000000000000004",
        "-0",
        "5e-324",
        "1e+100",
        "NaN",
        "Infinity",
        "-Infinity",
        "0",
        "100",
        "-2.5",
    ];
    assert_eq!(texts(Float64Array::from(values), SqlType::Double), expected);
}

#[test]
fn reals_print_shortest() {
    let values = vec![1e6_f32, 100_000.0, 123_456.7, 1_234_567.8, 1e-5, 3.402_823_5e38, 1.5];
    let expected = ["1e+06", "100000", "123456.7", "1.2345678e+06", "1e-05", "3.4028235e+38", "1.5"];
    assert_eq!(texts(Float32Array::from(values), SqlType::Real), expected);
}

#[test]
fn extra_float_digits_below_one_rounds() {
    let style = Style { extra_float_digits: 0, ..Style::default() };
    let doubles = Arc::new(Float64Array::from(vec![1e15, 0.1 + 0.2, 1e14, 1.0 / 3.0]));
    assert_eq!(texts_in(doubles, SqlType::Double, &style), ["1e+15", "0.3", "100000000000000", "0.333333333333333"]);
    let reals = Arc::new(Float32Array::from(vec![123_456.78, 100_000.0, 1e6]));
    assert_eq!(texts_in(reals, SqlType::Real, &style), ["123457", "100000", "1e+06"]);
    let style = Style { extra_float_digits: -3, ..Style::default() };
    let doubles = Arc::new(Float64Array::from(vec![1.0 / 3.0, 1e13, 1e11]));
    assert_eq!(texts_in(doubles, SqlType::Double, &style), ["0.333333333333", "1e+13", "100000000000"]);
}

#[test]
fn numerics_show_their_scale() {
    let with_scale = decimals(&[0, 110, -5, 123_456, 7], 12, 2);
    assert_eq!(texts(with_scale, SqlType::Numeric(Some((12, 2)))), ["0.00", "1.10", "-0.05", "1234.56", "0.07"]);
    let average = decimals(&[505_000_000_000_000_000], 38, 16);
    assert_eq!(texts(average, SqlType::Numeric(None)), ["50.5000000000000000"]);
}

#[test]
fn plain_numerics_show_no_zeros_that_were_not_asked_for() {
    let values = decimals(&[0, 10_000_000_000, 11_000_000_000, -1, 123_000, 10_000_000_001, 100_000_000_000], 38, 10);
    let expected = ["0", "1", "1.1", "-0.0000000001", "0.0000123", "1.0000000001", "10"];
    assert_eq!(texts(values, SqlType::Numeric(None)), expected);
}

#[test]
fn numerics_in_binary_are_base_ten_thousand() {
    let whole = decimals(&[0, 1, -1, 10_000, 1_000_000, 99_999_999_999_999_999_999_999_999_999_999_999_999], 38, 0);
    assert_eq!(
        hexes(whole, SqlType::Numeric(Some((38, 0)))),
        [
            "0000000000000000",
            "00010000000000000001",
            "00010000400000000001",
            "00010001000000000001",
            "00010001000000000064",
            "000a0009000000000063270f270f270f270f270f270f270f270f270f",
        ]
    );
    let scale_2 = decimals(&[-9_999_999_999, 110, 0], 12, 2);
    assert_eq!(
        hexes(scale_2, SqlType::Numeric(Some((12, 2)))),
        ["0003000140000002270f270f26ac", "0002000000000002000103e8", "0000000000000002"]
    );
    let scale_3 = decimals(&[12_345_678, 100_000], 12, 3);
    assert_eq!(
        hexes(scale_3, SqlType::Numeric(Some((12, 3)))),
        ["0003000100000003000109291a7c", "00010000000000030064"]
    );
    let plain = decimals(&[1_000_000, 1_234_500], 38, 10);
    assert_eq!(hexes(plain, SqlType::Numeric(None)), ["0001ffff000000040001", "0002ffff0000000800010929"]);
}

#[test]
fn dates_and_times_are_iso() {
    let date = |year, month, day| super::datetime::days_of_civil(year, month, day) as i32;
    let dates = vec![0, date(2024, 2, 29), date(-43, 3, 15), date(12_345, 1, 2), i32::MAX, i32::MIN];
    assert_eq!(
        texts(Date32Array::from(dates), SqlType::Date),
        ["1970-01-01", "2024-02-29", "0044-03-15 BC", "12345-01-02", "infinity", "-infinity"]
    );
    let us = |days: i32, seconds: i64, fraction: i64| i64::from(days) * 86_400_000_000 + seconds * 1_000_000 + fraction;
    let timestamps =
        vec![us(date(2026, 11, 23), 7383, 739_411), us(date(-43, 3, 15), 3723, 0), us(0, -1, 500_000), i64::MIN];
    assert_eq!(
        texts(TimestampMicrosecondArray::from(timestamps), SqlType::Timestamp),
        ["2026-11-23 02:03:03.739411", "0044-03-15 01:02:03 BC", "1969-12-31 23:59:59.5", "-infinity"]
    );
    let times = vec![us(0, 36_000, 0), us(0, 86_399, 1)];
    assert_eq!(texts(Time64MicrosecondArray::from(times), SqlType::Time), ["10:00:00", "23:59:59.000001"]);
}

#[test]
fn timestamptz_is_shown_in_the_sessions_zone() {
    let instants: ArrayRef = Arc::new(
        TimestampMicrosecondArray::from(vec![1_704_067_200_120_000, -5_364_662_400_000_000, 1_719_792_000_000_000])
            .with_timezone("UTC"),
    );
    let shown = |name| {
        let style = Style { zone: Zone::of_name(name), ..Style::default() };
        texts_in(Arc::clone(&instants), SqlType::Timestamptz, &style)
    };
    assert_eq!(shown("UTC")[0], "2024-01-01 00:00:00.12+00");
    assert_eq!(shown("Asia/Kolkata")[0], "2024-01-01 05:30:00.12+05:30");
    assert_eq!(shown("Europe/Berlin")[1..], ["1800-01-01 00:53:28+00:53:28", "2024-07-01 02:00:00+02"]);
}

#[test]
fn local_times_that_spring_and_autumn_make_odd_are_postgresqls() {
    let berlin = Zone::of_name("Europe/Berlin");
    let shown = |local: &str| {
        let local: chrono::NaiveDateTime = local.parse().unwrap();
        let instant = berlin.instant_of_local(local.and_utc().timestamp_micros());
        let mut out = BytesMut::new();
        super::datetime::write_timestamptz(instant, berlin, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    };
    assert_eq!(shown("2024-03-31T02:30:00"), "2024-03-31 03:30:00+02");
    assert_eq!(shown("2024-10-27T02:30:00"), "2024-10-27 02:30:00+01");
}

#[test]
fn intervals_have_four_styles() {
    let hour = 3_600_000_000_000_i64;
    let second = 1_000_000_000_i64;
    let time = 4 * hour + 5 * 60 * second + 6_500_000_000;
    let of = |months, days, nanoseconds| IntervalMonthDayNano { months, days, nanoseconds };
    let array: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![
        of(14, 3, time),
        of(-12, 2, -(3 * hour + 4 * 60 * second + 5 * second)),
        of(0, 0, 0),
        of(0, -1, hour),
        of(0, 0, 100 * hour),
        of(0, 0, second),
        of(0, 0, -1_500_000_000),
    ]));
    let shown = |interval| texts_in(Arc::clone(&array), SqlType::Interval, &Style { interval, ..Style::default() });
    assert_eq!(
        shown(IntervalStyle::Postgres)[..5],
        ["1 year 2 mons 3 days 04:05:06.5", "-1 years +2 days -03:04:05", "00:00:00", "-1 days +01:00:00", "100:00:00",]
    );
    assert_eq!(
        shown(IntervalStyle::PostgresVerbose),
        [
            "@ 1 year 2 mons 3 days 4 hours 5 mins 6.5 secs",
            "@ 1 year -2 days 3 hours 4 mins 5 secs ago",
            "@ 0",
            "@ 1 day -1 hours ago",
            "@ 100 hours",
            "@ 1 sec",
            "@ 1.5 secs ago",
        ]
    );
    assert_eq!(
        shown(IntervalStyle::SqlStandard),
        ["+1-2 +3 +4:05:06.5", "-1-0 +2 -3:04:05", "0", "+0-0 -1 +1:00:00", "100:00:00", "0:00:01", "-0:00:01.5"]
    );
    assert_eq!(
        shown(IntervalStyle::Iso8601),
        ["P1Y2M3DT4H5M6.5S", "P-1Y2DT-3H-4M-5S", "PT0S", "P-1DT1H", "PT100H", "PT1S", "PT-1.5S"]
    );
}

#[test]
fn texts_bytes_and_booleans() {
    assert_eq!(texts(BooleanArray::from(vec![true, false]), SqlType::Boolean), ["t", "f"]);
    assert_eq!(texts(StringViewArray::from(vec!["é", ""]), SqlType::Text), ["é", ""]);
    assert_eq!(texts(StringViewArray::from(vec!["éb", "abcd"]), SqlType::Char(4)), ["éb  ", "abcd"]);
    let bytes: ArrayRef = Arc::new(BinaryViewArray::from(vec![&b"\x00A\\\xff~"[..]]));
    assert_eq!(texts_in(Arc::clone(&bytes), SqlType::Bytea, &Style::default()), ["\\x00415cff7e"]);
    let escape = Style { bytea: ByteaStyle::Escape, ..Style::default() };
    assert_eq!(texts_in(bytes, SqlType::Bytea, &escape), ["\\000A\\\\\\377~"]);
}

#[test]
fn cousins_of_the_expected_type_are_cast() {
    assert_eq!(texts(StringArray::from(vec!["a"]), SqlType::Text), ["a"]);
    assert_eq!(texts(Int64Array::from(vec![7]), SqlType::Integer), ["7"]);
}

#[test]
fn arrays_quote_what_must_be_quoted() {
    let elements: ArrayRef = Arc::new(StringViewArray::from(vec![
        Some("a"),
        Some("b c"),
        Some(""),
        Some("NULL"),
        None,
        Some("x\"y"),
        Some("z\\w"),
        Some("k,l"),
        Some("{}"),
    ]));
    let field = Arc::new(Field::new("item", DataType::Utf8View, true));
    let array = ListArray::new(field, OffsetBuffer::from_lengths([9, 0]), elements, None);
    assert_eq!(
        texts(array, SqlType::Array(Box::new(SqlType::Text))),
        [r#"{a,"b c","","NULL",NULL,"x\"y","z\\w","k,l","{}"}"#, "{}"]
    );
}

fn nested(inner: Vec<Option<Vec<Option<i32>>>>) -> ListArray {
    let inner: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(inner));
    let length = inner.len();
    let field = Arc::new(Field::new("item", inner.data_type().clone(), true));
    ListArray::new(field, OffsetBuffer::from_lengths([length]), inner, None)
}

#[test]
fn arrays_in_binary() {
    let integers = SqlType::Array(Box::new(SqlType::Integer));
    let flat = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(3)])]);
    assert_eq!(
        hexes(flat, integers.clone()),
        ["00000001000000010000001700000003000000010000000400000001ffffffff0000000400000003"]
    );
    let empty = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(Vec::<Option<i32>>::new())]);
    assert_eq!(hexes(empty, integers.clone()), ["000000000000000000000017"]);
    let square = nested(vec![Some(vec![Some(1), Some(2)]), Some(vec![Some(3), Some(4)])]);
    let nested_type = SqlType::Array(Box::new(integers));
    assert_eq!(texts(square.clone(), nested_type.clone()), ["{{1,2},{3,4}}"]);
    assert_eq!(
        hexes(square, nested_type.clone()),
        [concat!(
            "000000020000000000000017000000020000000100000002000000010000000400000001",
            "000000040000000200000004000000030000000400000004"
        )]
    );
    let ragged: ArrayRef = Arc::new(nested(vec![Some(vec![Some(1)]), Some(vec![Some(3), Some(4)])]));
    let column = Column::new(&ragged, &nested_type).unwrap();
    assert!(binary::write(&column, 0, &mut BytesMut::new()).is_err());
}

#[test]
fn times_in_binary_count_from_2000() {
    let day = super::datetime::days_of_civil(2024, 1, 2);
    let timestamp = TimestampMicrosecondArray::from(vec![day * 86_400_000_000 + 11_045_600_000]);
    assert_eq!(hexes(timestamp, SqlType::Timestamp), ["0002b0ec851f1b00"]);
    assert_eq!(hexes(Date32Array::from(vec![day as i32]), SqlType::Date), ["0000223f"]);
    assert_eq!(hexes(Time64MicrosecondArray::from(vec![36_000_000_000]), SqlType::Time), ["0000000861c46800"]);
    let interval = IntervalMonthDayNano { months: 14, days: 3, nanoseconds: 14_706_500_000_000 };
    assert_eq!(
        hexes(IntervalMonthDayNanoArray::from(vec![interval]), SqlType::Interval),
        ["000000036c9361a0000000030000000e"]
    );
}

#[test]
fn jsonb_and_uuid_in_binary() {
    assert_eq!(hexes(StringViewArray::from(vec![r#"{"a":1}"#]), SqlType::Jsonb), ["017b2261223a317d"]);
    let uuid = "123e4567-e89b-12d3-a456-426614174000";
    assert_eq!(hexes(StringViewArray::from(vec![uuid]), SqlType::Uuid), ["123e4567e89b12d3a456426614174000"]);
    assert_eq!(hexes(StringViewArray::from(vec!["ab"]), SqlType::Char(4)), ["61622020"]);
}

#[test]
fn a_row_is_a_message() {
    let columns = [
        ResultColumn { name: "a".into(), sql_type: SqlType::Integer, origin: None },
        ResultColumn { name: "b".into(), sql_type: SqlType::Integer, origin: None },
        ResultColumn { name: "c".into(), sql_type: SqlType::Text, origin: None },
    ];
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![7])),
        Arc::new(Int32Array::from(vec![7])),
        Arc::new(StringViewArray::from(vec![None::<&str>])),
    ];
    let style = Style::default();
    let encoder = RowEncoder::new(&arrays, &columns, &[Format::Text, Format::Binary, Format::Text], &style).unwrap();
    let mut out = BytesMut::new();
    encoder.encode(0, &mut out).unwrap();
    let expected = [
        &b"D"[..],
        &23_i32.to_be_bytes(),
        &3_i16.to_be_bytes(),
        &1_i32.to_be_bytes(),
        b"7",
        &4_i32.to_be_bytes(),
        &7_i32.to_be_bytes(),
        &(-1_i32).to_be_bytes(),
    ]
    .concat();
    assert_eq!(out.to_vec(), expected);
}
