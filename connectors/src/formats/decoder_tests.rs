#![allow(clippy::unwrap_used)]

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};

use super::*;

fn included(name: &str, sql_type: SqlType, kind: IncludeKind) -> Declared {
    Declared {
        name: name.to_owned(),
        sql_type,
        nullable: true,
        default: None,
        generated: Some(Generated::Include(kind)),
    }
}

fn options() -> DecodeOptions {
    DecodeOptions { format: Format::Json, on_error: OnError::DeadLetter }
}

#[test]
fn metadata_fills_its_columns() {
    let columns = [
        Declared { name: "v".to_owned(), sql_type: SqlType::BigInt, nullable: true, default: None, generated: None },
        included("key", SqlType::Text, IncludeKind::Key),
        included("partition", SqlType::Integer, IncludeKind::Partition),
        included("offset", SqlType::BigInt, IncludeKind::Offset),
        included("timestamp", SqlType::Timestamptz, IncludeKind::Timestamp),
        included("headers", SqlType::Jsonb, IncludeKind::Headers),
    ];
    let mut decoder = Decoder::new(&columns, None, &options()).unwrap();
    assert!(decoder.wants_headers());
    let headers =
        [("b".to_owned(), Some(b"\xff".to_vec())), ("a".to_owned(), None), ("b".to_owned(), Some(b"x\"y".to_vec()))];
    let meta = RecordMeta {
        partition: 3,
        offset: 9,
        key: Some(b"k"),
        timestamp_ms: Some(1_704_067_200_000),
        headers: &headers,
    };
    decoder.push(Some(br#"{"v":1,"key":"not this one"}"#), &meta).unwrap();
    decoder.push(Some(br#"{"v":2}"#), &RecordMeta { key: Some(b"\xff"), ..meta }).unwrap();
    decoder.push(Some(br#"{"v":3}"#), &RecordMeta { key: None, timestamp_ms: None, headers: &[], ..meta }).unwrap();
    let decoded = decoder.finish().unwrap();
    let batch = decoded.delta.batch();
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[1, 3]);
    assert_eq!(batch.column(1).as_string_view().iter().collect::<Vec<_>>(), [Some("k"), None]);
    assert_eq!(batch.column(2).as_primitive::<Int32Type>().values(), &[3, 3]);
    assert_eq!(batch.column(3).as_primitive::<Int64Type>().values(), &[9, 9]);
    assert_eq!(
        batch.column(4).as_primitive::<TimestampMicrosecondType>().iter().collect::<Vec<_>>(),
        [Some(1_704_067_200_000_000), None]
    );
    assert_eq!(
        batch.column(5).as_string_view().iter().collect::<Vec<_>>(),
        [Some(r#"{"a": null, "b": "x\"y"}"#), Some("{}")]
    );
    assert_eq!(decoded.dead_letters.len(), 1);
    assert_eq!(decoded.dead_letters[0].reason, "column \"key\": expected text, found a key that is not UTF-8");
    assert_eq!(decoded.dead_letters[0].key.as_deref(), Some(&b"\xff"[..]));
}

#[test]
fn metadata_has_its_types() {
    let wrong = Decoder::new(&[included("o", SqlType::Text, IncludeKind::Offset)], None, &options());
    assert!(matches!(wrong.err(), Some(Error::Column { .. })));
}

#[test]
fn a_record_without_a_value_is_a_dead_letter_of_a_source() {
    let columns =
        [Declared { name: "v".to_owned(), sql_type: SqlType::BigInt, nullable: true, default: None, generated: None }];
    let mut decoder = Decoder::new(&columns, None, &options()).unwrap();
    decoder.push(None, &RecordMeta { key: Some(b"k"), ..RecordMeta::default() }).unwrap();
    let decoded = decoder.finish().unwrap();
    assert_eq!(decoded.dead_letters[0].reason, "the record has no value");
    assert_eq!((decoded.bytes, decoded.delta.num_rows()), (1, 0));
}

/// Columns of every kind that a format fills.
fn every_type() -> Vec<Declared> {
    use SqlType::*;
    let types = vec![
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
        Bytea,
        Date,
        Time,
        Timestamp,
        Timestamptz,
        Interval,
        Uuid,
        Jsonb,
        Array(Box::new(Integer)),
        Array(Box::new(Text)),
    ];
    let column = |(number, sql_type): (usize, SqlType)| Declared {
        name: format!("c{number}"),
        sql_type,
        nullable: true,
        default: None,
        generated: None,
    };
    types.into_iter().enumerate().map(column).collect()
}

/// Records that are nearly right: pieces of what a format knows, and bytes of all sorts.
fn records() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    let pieces: Vec<&'static [u8]> = vec![
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"\"",
        b"\\",
        b"\\u00e9",
        b"\\ud800",
        b"\\u",
        b"\"c0\"",
        b"\"c1\":",
        b"\"c6\":1.5",
        b"\"c13\":\"2024-01-01 00:00:00\"",
        b"\"c18\":[1,null]",
        b"null",
        b"true",
        b"-",
        b"1",
        b"0.1",
        b"1e400",
        b"99999999999999999999999999999999999999999",
        b" ",
        b"\t",
        b"\n",
        b"\xff",
        b"\0",
        b"''",
        b";",
        b"\"\"",
        b"2024-02-30",
        b"24:00:00",
        b"P1D",
        b"\xc3",
        "\u{1f600}".as_bytes(),
    ];
    let any_byte = any::<u8>().prop_map(|byte| vec![byte]);
    let piece = proptest::sample::select(pieces).prop_map(<[u8]>::to_vec);
    let inside =
        proptest::collection::vec(prop_oneof![8 => piece, 1 => any_byte], 0..20).prop_map(|pieces| pieces.concat());
    (inside, any::<bool>())
        .prop_map(|(inside, braces)| if braces { [b"{", &inside[..], b"}"].concat() } else { inside })
}

proptest::proptest! {
    /// Whatever is in a topic is a row or a dead letter, of each record one; a batch is always whole.
    #[test]
    fn whatever_bytes_a_record_has_it_is_a_row_or_a_dead_letter(
        records in proptest::collection::vec((records(), records()), 1..12),
        is_json in proptest::bool::ANY,
        on_error in proptest::sample::select(vec![OnError::DeadLetter, OnError::Skip, OnError::Null]),
    ) {
        let format = if is_json { Format::Json } else { Format::Csv(crate::options::Csv { delimiter: b',', header: false }) };
        let mut decoder = Decoder::new(&every_type(), None, &DecodeOptions { format, on_error }).unwrap();
        for (offset, (key, value)) in records.iter().enumerate() {
            let meta = RecordMeta { partition: 0, offset: offset as i64, key: Some(key), timestamp_ms: None, headers: &[] };
            decoder.push(Some(value), &meta).unwrap();
        }
        let decoded = decoder.finish().unwrap();
        let found = decoded.delta.num_rows() + decoded.dead_letters.len();
        proptest::prop_assert!(found == records.len() || on_error == OnError::Skip, "{} of {}", found, records.len());
    }
}
