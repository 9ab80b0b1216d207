//! Formats: records to rows, and the algebra of changes.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use catalog::{Column, Object};
use connectors::formats::{Decoder, OnError, RecordMeta};
use connectors::options::{Csv, DecodeOptions, Format};
use delta::{Delta, consolidate};

use super::world::World;
use super::{Piece, Work};
use crate::{Error, Result};

/// A piece for each format, and for consolidation.
pub(super) fn pieces() -> Vec<Piece> {
    let json = || decode(Format::Json, json_records);
    let few = || decode_columns(Format::Json, &["auction", "price"], json_records);
    let csv = || decode(Format::Csv(Csv { delimiter: b',', header: false }), csv_records);
    vec![
        Piece { name: "codec.json".to_owned(), make: Box::new(json) },
        Piece { name: "codec.json_two_columns".to_owned(), make: Box::new(few) },
        Piece { name: "codec.csv".to_owned(), make: Box::new(csv) },
        Piece { name: "codec.consolidate".to_owned(), make: Box::new(consolidation) },
    ]
}

fn decode(format: Format, records: fn(&Object, &RecordBatch) -> Vec<String>) -> Result<Work> {
    decode_columns(format, &["auction", "bidder", "price", "channel", "url", "dateTime", "extra"], records)
}

fn decode_columns(
    format: Format,
    wanted: &[&str],
    records: fn(&Object, &RecordBatch) -> Vec<String>,
) -> Result<Work> {
    let world = World::new()?;
    let bid: Arc<Object> = world.object("bid")?.clone();
    let records: Vec<String> = world.deltas("bid")?.iter().flat_map(|bids| records(&bid, bids.batch())).collect();
    let columns: Vec<Column> = bid.columns.iter().filter(|c| wanted.contains(&c.name.as_str())).cloned().collect();
    let options = DecodeOptions { format, on_error: OnError::Fail };
    let mut decoder = Decoder::new(&columns, None, &options).map_err(Error::outside("no decoder"))?;
    Ok(Box::new(move || {
        for record in &records {
            decoder.push(Some(record.as_bytes()), &RecordMeta::default()).map_err(Error::Usage)?;
        }
        let decoded = decoder.finish().map_err(Error::outside("bids can't be decoded"))?;
        std::hint::black_box(&decoded);
        Ok(())
    }))
}

/// Bids as the public generators write them.
fn json_records(_: &Object, bids: &RecordBatch) -> Vec<String> {
    let record = |row: usize| {
        let mut text = String::from("{");
        for (index, field) in bids.schema().fields().iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let value = value(bids, index, row);
            let quoted = bids.column(index).as_primitive_opt::<Int64Type>().is_none();
            let quote = if quoted { "\"" } else { "" };
            let _infallible = write!(text, "{separator}\"{}\":{quote}{value}{quote}", field.name());
        }
        text + "}"
    };
    (0..bids.num_rows()).map(record).collect()
}

fn csv_records(_: &Object, bids: &RecordBatch) -> Vec<String> {
    let record = |row| (0..bids.num_columns()).map(|column| value(bids, column, row)).collect::<Vec<_>>().join(",");
    (0..bids.num_rows()).map(record).collect()
}

fn value(rows: &RecordBatch, column: usize, row: usize) -> String {
    let column = rows.column(column);
    if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        return numbers.value(row).to_string();
    }
    if let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        let us = times.value(row);
        let (seconds, ms) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000) / 1_000);
        let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        let (year, month, day) = civil(day);
        return format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{ms:03}");
    }
    column.as_string_view_opt().map_or_else(String::new, |texts| texts.value(row).to_owned())
}

/// Year, month and day of a day since 1970.
fn civil(day: i64) -> (i64, i64, i64) {
    let (mut year, mut left) = (1970, day);
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    while left >= 365 + i64::from(leap(year)) {
        left -= 365 + i64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    (year, month as i64 + 1, left + 1)
}

/// Changes of which most cancel each other.
fn consolidation() -> Result<Work> {
    let world = World::new()?;
    let broken = |e: delta::Error| Error::Usage(e.to_string());
    let items = world.deltas("item")?;
    let schema = items.first().map(Delta::schema).ok_or_else(|| Error::Usage("there are no items".to_owned()))?;
    let all = Delta::concat(&schema, items).map_err(broken)?;
    Ok(Box::new(move || {
        std::hint::black_box(&consolidate(&all).map_err(broken)?);
        Ok(())
    }))
}
