//! Formats: records to rows, and the algebra of changes.

use std::fmt::Write;
use std::rc::Rc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use catalog::Column;
use connectors::formats::{Decoder, OnError, RecordMeta};
use connectors::options::{Csv, DecodeOptions, Format};
use delta::{Delta, consolidate};

use super::world::World;
use super::{Piece, Work};
use crate::{Error, Result};

/// A piece for each format, and for consolidation.
pub(super) fn pieces(world: &Rc<World>) -> Vec<Piece> {
    let all = &["auction", "bidder", "price", "channel", "url", "dateTime", "extra"][..];
    let csv = Format::Csv(Csv { delimiter: b',', header: false });
    let decoding = |name: &str, format: Format, columns: &'static [&'static str], record: Record| {
        let world = world.clone();
        Piece { name: format!("codec.{name}"), make: Box::new(move || decode(&world, format, columns, record)) }
    };
    let for_algebra = world.clone();
    vec![
        decoding("json", Format::Json, all, json_record),
        decoding("json_two_columns", Format::Json, &["auction", "price"], json_record),
        decoding("csv", csv, all, csv_record),
        Piece { name: "codec.consolidate".to_owned(), make: Box::new(move || consolidation(&for_algebra)) },
    ]
}

/// Writes a row.
type Record = fn(&RecordBatch, usize) -> String;

fn decode(world: &World, format: Format, wanted: &[&str], record: Record) -> Result<Work> {
    let rows = |bids: &RecordBatch| (0..bids.num_rows()).map(|row| record(bids, row)).collect::<Vec<_>>();
    let records: Vec<String> = world.deltas("bid")?.iter().flat_map(|bids| rows(bids.batch())).collect();
    let columns = &world.object("bid")?.columns;
    let columns: Vec<Column> = columns.iter().filter(|c| wanted.contains(&c.name.as_str())).cloned().collect();
    let options = DecodeOptions { format, on_error: OnError::Fail };
    let mut decoder = Decoder::new(&columns, None, &options).map_err(Error::outside("no decoder"))?;
    Ok(Box::new(move |_| {
        for record in &records {
            decoder.push(Some(record.as_bytes()), &RecordMeta::default()).map_err(Error::Usage)?;
        }
        let decoded = decoder.finish().map_err(Error::outside("bids can't be decoded"))?;
        std::hint::black_box(&decoded);
        Ok(records.len() as u64)
    }))
}

/// A bid as the public generators write it.
fn json_record(bids: &RecordBatch, row: usize) -> String {
    let mut text = String::from("{");
    for (index, field) in bids.schema_ref().fields().iter().enumerate() {
        let separator = if index == 0 { "" } else { "," };
        let quote = if bids.column(index).as_primitive_opt::<Int64Type>().is_some() { "" } else { "\"" };
        let value = value(bids, index, row);
        let _infallible = write!(text, "{separator}\"{}\":{quote}{value}{quote}", field.name());
    }
    text + "}"
}

fn csv_record(bids: &RecordBatch, row: usize) -> String {
    (0..bids.num_columns()).map(|column| value(bids, column, row)).collect::<Vec<_>>().join(",")
}

fn value(rows: &RecordBatch, column: usize, row: usize) -> String {
    array_value_to_string(rows.column(column), row).unwrap_or_default()
}

/// Changes of which most cancel each other.
fn consolidation(world: &World) -> Result<Work> {
    let broken = |e: delta::Error| Error::Usage(e.to_string());
    let items = world.deltas("item")?;
    let schema = items.first().map(Delta::schema).ok_or_else(|| Error::Usage("there are no items".to_owned()))?;
    let all = Delta::concat(&schema, items).map_err(broken)?;
    Ok(Box::new(move |_| {
        std::hint::black_box(&consolidate(&all).map_err(broken)?);
        Ok(all.num_rows() as u64)
    }))
}
