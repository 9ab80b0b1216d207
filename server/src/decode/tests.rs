//! Parameters as PostgreSQL 15 reads them.
#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use engine::SqlType;

use super::{numeric, parameter};
use crate::encode::style::Zone;
use crate::encode::{Column, Format, Style, binary, column, text};
use crate::error::WireError;

fn decode(bytes: &[u8], format: Format, sql_type: &SqlType) -> Result<engine::Parameter, WireError> {
    parameter(Some(bytes), format, sql_type, Zone::of_name("Europe/Berlin"), 1)
}

/// The parameter as the server would print it, or the error's code and message.
fn read_as(value: &str, sql_type: SqlType) -> String {
    match decode(value.as_bytes(), Format::Text, &sql_type) {
        Ok(parameter) => print(&parameter, &sql_type),
        Err(error) => format!("{}: {}", error.code, error.message),
    }
}

fn print(parameter: &engine::Parameter, sql_type: &SqlType) -> String {
    let array = column::carried(&parameter.to_array().unwrap(), sql_type).unwrap();
    let column = Column::new(&array, sql_type).unwrap();
    if column.is_null(0) {
        return "NULL".into();
    }
    let mut out = BytesMut::new();
    text::write(&column, 0, &Style::default(), &mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

fn text_array(element: SqlType) -> SqlType {
    SqlType::Array(Box::new(element))
}

#[test]
fn numbers() {
    assert_eq!(read_as(" 42 ", SqlType::Integer), "42");
    assert_eq!(read_as("x", SqlType::Integer), "22P02: invalid input syntax for type integer: \"x\"");
    assert_eq!(read_as("3000000000", SqlType::Integer), "22003: value \"3000000000\" is out of range for type integer");
    assert_eq!(read_as("-1", SqlType::Oid), "22P02: invalid input syntax for type oid: \"-1\"");
    assert_eq!(read_as("1e3", SqlType::Double), "1000");
    assert_eq!(read_as("-Infinity", SqlType::Double), "-Infinity");
    assert_eq!(read_as("1e400", SqlType::Double), "22003: value \"1e400\" is out of range for type double precision");
    assert_eq!(read_as("1e40", SqlType::Real), "22003: value \"1e40\" is out of range for type real");
}

#[test]
fn numerics_are_rounded_to_their_scale() {
    let two = SqlType::Numeric(Some((5, 2)));
    assert_eq!(read_as("1.005", two.clone()), "1.01");
    assert_eq!(read_as("-1.005", two.clone()), "-1.01");
    assert_eq!(read_as("0.004", two.clone()), "0.00");
    assert_eq!(read_as("999.99", two.clone()), "999.99");
    assert_eq!(read_as("999.995", two.clone()), "22003: numeric field overflow");
    assert_eq!(read_as("1e2", two.clone()), "100.00");
    assert_eq!(read_as("125e-2", two.clone()), "1.25");
    assert_eq!(read_as("1e-9", two.clone()), "0.00");
    assert_eq!(read_as(".5", two.clone()), "0.50");
    assert_eq!(read_as("0000000000000000000000000000000000000000000012.5", two.clone()), "12.50");
    assert_eq!(read_as("", two.clone()), "22P02: invalid input syntax for type numeric: \"\"");
    assert_eq!(read_as("1.2.3", two), "22P02: invalid input syntax for type numeric: \"1.2.3\"");
    assert_eq!(read_as("1.10", SqlType::Numeric(None)), "1.1");
}

#[test]
fn numerics_read_back_what_their_binary_form_says() {
    for (unscaled, scale) in
        [(0, 2), (1, 0), (-9_999_999_999, 2), (12_345_678, 3), (100_000, 3), (1, 10), (10_i128.pow(37), 0)]
    {
        let array = arrow::array::Decimal128Array::from(vec![unscaled]).with_precision_and_scale(38, scale).unwrap();
        let sql_type = SqlType::Numeric(Some((38, scale)));
        let array: arrow::array::ArrayRef = std::sync::Arc::new(array);
        let mut out = BytesMut::new();
        binary::write(&Column::new(&array, &sql_type).unwrap(), 0, &mut out).unwrap();
        let Ok(read) = numeric::of_binary(&out, Some((38, scale)), &sql_type) else { panic!("{unscaled} {scale}") };
        assert_eq!(read, engine::Parameter::Decimal128(Some(unscaled), 38, scale));
    }
}

#[test]
fn booleans() {
    for word in ["t", "TRUE", "yes", "y", "on", "1"] {
        assert_eq!(read_as(word, SqlType::Boolean), "t", "{word}");
    }
    for word in ["f", "fal", "no", "off", "of", "0"] {
        assert_eq!(read_as(word, SqlType::Boolean), "f", "{word}");
    }
    assert_eq!(read_as("o", SqlType::Boolean), "22P02: invalid input syntax for type boolean: \"o\"");
}

#[test]
fn dates_and_times() {
    assert_eq!(read_as("2024-02-29", SqlType::Date), "2024-02-29");
    assert_eq!(read_as("20240229", SqlType::Date), "2024-02-29");
    assert_eq!(read_as("0044-03-15 BC", SqlType::Date), "0044-03-15 BC");
    assert_eq!(read_as("2023-02-29", SqlType::Date), "22007: invalid input syntax for type date: \"2023-02-29\"");
    assert_eq!(read_as("infinity", SqlType::Date), "infinity");
    assert_eq!(read_as("10:00", SqlType::Time), "10:00:00");
    assert_eq!(read_as("24:00:00", SqlType::Time), "24:00:00");
    assert_eq!(read_as("2024-01-02T03:04:05.1234567", SqlType::Timestamp), "2024-01-02 03:04:05.123457");
    assert_eq!(read_as("2024-01-02 03:04+05", SqlType::Timestamp), "2024-01-02 03:04:00");
    assert_eq!(read_as("2024-01-02", SqlType::Timestamp), "2024-01-02 00:00:00");
    assert_eq!(read_as("2024-01-02 03:04", SqlType::Timestamptz), "2024-01-02 02:04:00+00");
    assert_eq!(read_as("2024-01-02 03:04:05Z", SqlType::Timestamptz), "2024-01-02 03:04:05+00");
    assert_eq!(read_as("2024-01-02 03:04:05+05:30", SqlType::Timestamptz), "2024-01-01 21:34:05+00");
    assert_eq!(read_as("2024-01-02 03:04:05 America/New_York", SqlType::Timestamptz), "2024-01-02 08:04:05+00");
    assert_eq!(
        read_as("soon", SqlType::Timestamptz),
        "22007: invalid input syntax for type timestamp with time zone: \"soon\""
    );
}

#[test]
fn intervals() {
    let pairs = [
        ("1.5 days", "1 day 12:00:00"),
        ("1.5 months", "1 mon 15 days"),
        ("1.1 years", "1 year 1 mon"),
        ("2 weeks", "14 days"),
        ("1 02:03:04", "1 day 02:03:04"),
        ("1-2", "1 year 2 mons"),
        ("-1-2", "-1 years -2 mons"),
        ("1 day ago", "-1 days"),
        ("90", "00:01:30"),
        ("1:30", "01:30:00"),
        ("P1Y2M3DT4H5M6.5S", "1 year 2 mons 3 days 04:05:06.5"),
        ("0.1 month", "3 days"),
        ("@ 1 hour ago", "-01:00:00"),
        ("2days", "2 days"),
        ("1.5 weeks", "10 days 12:00:00"),
        ("1 year 2 mons 3 days 04:05:06.789", "1 year 2 mons 3 days 04:05:06.789"),
        ("soon", "22007: invalid input syntax for type interval: \"soon\""),
        ("1 fortnight", "22007: invalid input syntax for type interval: \"1 fortnight\""),
    ];
    for (text, expected) in pairs {
        assert_eq!(read_as(text, SqlType::Interval), expected, "{text}");
    }
}

#[test]
fn texts_uuids_json_and_bytes() {
    assert_eq!(read_as(" a ", SqlType::Text), " a ");
    let canonical = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    for form in [
        "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
        "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
        "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
    ] {
        assert_eq!(read_as(form, SqlType::Uuid), canonical);
    }
    assert_eq!(read_as("a0eebc99", SqlType::Uuid), "22P02: invalid input syntax for type uuid: \"a0eebc99\"");
    assert_eq!(read_as("{\"b\":1, \"a\":2}", SqlType::Json), "{\"b\":1, \"a\":2}");
    assert_eq!(
        read_as(r#"{"b":1,"a": [1,2 ,{"zz":null}], "aa":"x\u00e9", "b":2.50}"#, SqlType::Jsonb),
        r#"{"a": [1, 2, {"zz": null}], "b": 2.50, "aa": "xé"}"#
    );
    assert_eq!(read_as("{", SqlType::Jsonb), "22P02: invalid input syntax for type jsonb");
    assert_eq!(read_as("\\xDEADbeef", SqlType::Bytea), "\\xdeadbeef");
    assert_eq!(read_as("a\\\\b\\001", SqlType::Bytea), "\\x615c6201");
    assert_eq!(read_as("\\xabc", SqlType::Bytea), "22P02: invalid input syntax for type bytea: \"\\xabc\"");
    assert_eq!(decode(b"\xff", Format::Text, &SqlType::Text).unwrap_err().code, "22021");
    assert_eq!(decode(b"a\0", Format::Binary, &SqlType::Text).unwrap_err().code, "22021");
}

#[test]
fn arrays() {
    let texts = text_array(SqlType::Text);
    let literal = r#"{a,"b c","","NULL",NULL,"x\"y","z\\w","k,l","{}"}"#;
    assert_eq!(read_as(literal, texts.clone()), literal);
    assert_eq!(read_as("{ }", texts.clone()), "{}");
    assert_eq!(read_as("{ a , b }", texts.clone()), "{a,b}");
    assert_eq!(read_as("{{1,2},{3,4}}", text_array(text_array(SqlType::Integer))), "{{1,2},{3,4}}");
    for bad in ["a", "{a", "{a}x", "{a,}", "{\"a}"] {
        assert!(read_as(bad, texts.clone()).starts_with("22P02: malformed array literal"), "{bad}");
    }
    assert_eq!(read_as("{1,x}", text_array(SqlType::Integer)), "22P02: invalid input syntax for type integer: \"x\"");
}

#[test]
fn every_type_reads_its_own_binary_form() {
    let samples = [
        (SqlType::Boolean, "t"),
        (SqlType::SmallInt, "-2"),
        (SqlType::Integer, "7"),
        (SqlType::BigInt, "-9000000000"),
        (SqlType::Oid, "4000000000"),
        (SqlType::Real, "1.5"),
        (SqlType::Double, "-2.25"),
        (SqlType::Numeric(Some((12, 2))), "-1234.50"),
        (SqlType::Numeric(None), "0.5"),
        (SqlType::Text, "é"),
        (SqlType::Varchar(Some(5)), "ab"),
        (SqlType::Name, "ab"),
        (SqlType::Bytea, "\\x00ff"),
        (SqlType::Date, "1999-12-31"),
        (SqlType::Date, "-infinity"),
        (SqlType::Time, "23:59:59.5"),
        (SqlType::Timestamp, "1999-12-31 23:59:59.999999"),
        (SqlType::Timestamptz, "2024-07-01 00:00:00+00"),
        (SqlType::Timestamptz, "infinity"),
        (SqlType::Interval, "-1 years +2 days -03:04:05"),
        (SqlType::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        (SqlType::Json, "{\"a\":1}"),
        (SqlType::Jsonb, "{\"a\": 1}"),
        (text_array(SqlType::Integer), "{1,NULL,3}"),
        (text_array(SqlType::Uuid), "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"),
        (text_array(SqlType::Timestamptz), "{}"),
        (text_array(text_array(SqlType::BigInt)), "{{1,2},{3,4}}"),
    ];
    for (sql_type, value) in samples {
        let parameter = decode(value.as_bytes(), Format::Text, &sql_type).unwrap();
        assert_eq!(print(&parameter, &sql_type), value, "{sql_type}");
        let array = parameter.to_array().unwrap();
        let mut out = BytesMut::new();
        binary::write(&Column::new(&array, &sql_type).unwrap(), 0, &mut out).unwrap();
        let read = decode(&out, Format::Binary, &sql_type).unwrap();
        assert_eq!(print(&read, &sql_type), value, "{sql_type}");
        assert_eq!(array.data_type(), &sql_type.data_type(), "{sql_type}");
    }
}

#[test]
fn nulls_and_broken_binary() {
    for sql_type in [SqlType::Text, SqlType::Timestamptz, SqlType::Numeric(None), text_array(SqlType::Jsonb)] {
        let null = parameter(None, Format::Text, &sql_type, Zone::Utc, 1).unwrap();
        assert!(null.is_null());
        assert_eq!(null.data_type(), sql_type.data_type());
    }
    for (bytes, sql_type) in [
        (&b"abc"[..], SqlType::Integer),
        (b"", SqlType::Boolean),
        (b"\0\0\0\x01\0\0\0\0\0\0\0\x17\x7f\xff\xff\xff\0\0\0\x01", text_array(SqlType::Integer)),
        (b"\0\x02\0\0\0\0\0\0\0\x01", SqlType::Numeric(None)),
        (b"x{}", SqlType::Jsonb),
    ] {
        let error = decode(bytes, Format::Binary, &sql_type).unwrap_err();
        assert_eq!(error.code, "22P03", "{sql_type}");
    }
}

/// All types that a parameter can have.
fn types() -> Vec<SqlType> {
    use SqlType::*;
    let simple = vec![
        Boolean,
        SmallInt,
        Integer,
        BigInt,
        Real,
        Double,
        Numeric(None),
        Numeric(Some((12, 2))),
        Text,
        Varchar(Some(3)),
        Char(4),
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
    ];
    let arrays = simple.clone().into_iter().map(|element| Array(Box::new(element)));
    simple.iter().cloned().chain(arrays).collect()
}

/// Bytes that look like values now and then: digits, separators, names of months and units, lengths.
fn bytes_of_values() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let pieces: Vec<&'static [u8]> = vec![
        b"1",
        b"9",
        b"00",
        b"-",
        b"+",
        b".",
        b"e",
        b":",
        b"/",
        b" ",
        b",",
        b"{",
        b"}",
        b"\"",
        b"\\",
        b"[",
        b"]",
        b"NULL",
        b"NaN",
        b"inf",
        b"infinity",
        b"2024-01-01",
        b"12:34:56",
        b"Jan",
        b"BC",
        b"P1Y",
        b"T",
        b"Z",
        b"days",
        b"mon",
        b"epoch",
        b"\\x",
        b"true",
        b"null",
        b"\0",
        b"\xff",
        b"\0\0\0\x04",
        b"\0\0\0\x01",
        b"\0\0\0\x17",
        b"\x7f\xff\xff\xff",
        b"\x80\0\0\0",
        b"\xff\xff\xff\xff",
        "\u{e9}".as_bytes(),
        b"999999999999999999999999",
        b"294277",
        b"4714",
    ];
    let any_byte = any::<u8>().prop_map(|byte| vec![byte]);
    let piece = proptest::sample::select(pieces).prop_map(<[u8]>::to_vec);
    proptest::collection::vec(prop_oneof![5 => piece, 1 => any_byte], 0..14).prop_map(|pieces| pieces.concat())
}

proptest::proptest! {
    /// Whatever a client binds is a value or an error with a code, in both formats; and a value can be printed.
    #[test]
    fn whatever_bytes_are_bound_they_are_a_value_or_an_error(
        sql_type in proptest::sample::select(types()),
        bytes in bytes_of_values(),
        is_binary in proptest::bool::ANY,
    ) {
        let format = if is_binary { Format::Binary } else { Format::Text };
        match decode(&bytes, format, &sql_type) {
            Ok(parameter) => drop(print(&parameter, &sql_type)),
            Err(error) => proptest::prop_assert_eq!(error.code.len(), 5),
        }
    }
}
