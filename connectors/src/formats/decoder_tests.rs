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
