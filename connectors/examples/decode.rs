//! How fast the input side is, one thread: JSON bids decoded into columns, beside arrow-json on the same bytes, and rows generated.
//!
//! `cargo run --release -p connectors --example decode [FILE.jsonl]`; without a file, two million generated bids.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use catalog::{Column, SqlType};
use connectors::formats::json::write::JsonWriter;
use connectors::formats::{Decoder, OnError, RecordMeta};
use connectors::options::{DecodeOptions, Format};
use connectors::{Positions, SourceSpec, batch_channel, open_source};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 3;
const BATCH: usize = 8192;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let data = match std::env::args().nth(1) {
        Some(path) => std::fs::read(path)?,
        None => generated_bids(2_000_000)?,
    };
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    println!("{} bids, {} bytes each on average", lines.len(), data.len() / lines.len());
    timed("decoder, 7 columns", lines.len(), || decode(&columns(7), &lines));
    timed("decoder, 3 of 7 columns", lines.len(), || decode(&columns(3), &lines));
    timed("arrow-json, 7 columns", lines.len(), || arrow_json(&data));
    for table in ["bid", "auction", "person"] {
        let rows = generated_rows(table);
        timed(&format!("generator, {table}"), rows, || generated_rows(table));
    }
    Ok(())
}

/// Runs `work` some times and prints the best: rows per second of processor time of this thread and of the whole process.
fn timed(name: &str, rows: usize, mut work: impl FnMut() -> usize) {
    let mut best = f64::MAX;
    let mut processor = f64::MAX;
    for _ in 0..ROUNDS {
        let (began, used) = (Instant::now(), processor_seconds());
        assert_eq!(work(), rows, "{name}");
        best = best.min(began.elapsed().as_secs_f64());
        processor = processor.min(processor_seconds() - used);
    }
    let millions = rows as f64 / 1e6;
    println!(
        "{name:28} {:7.2} M rows/s of wall time, {:7.2} M rows per processor second",
        millions / best,
        millions / processor
    );
}

/// Processor time of the process so far, threads that have ended included, to a hundredth of a second.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        behind_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}

fn columns(count: usize) -> Vec<Column> {
    let all = [
        ("auction", SqlType::BigInt),
        ("price", SqlType::BigInt),
        ("dateTime", SqlType::Timestamp),
        ("bidder", SqlType::BigInt),
        ("channel", SqlType::Text),
        ("url", SqlType::Text),
        ("extra", SqlType::Text),
    ];
    all.into_iter().take(count).map(|(name, sql_type)| column(name, sql_type)).collect()
}

fn column(name: &str, sql_type: SqlType) -> Column {
    Column { name: name.to_owned(), sql_type, nullable: true, default: None, generated: None }
}

fn decode(columns: &[Column], lines: &[&[u8]]) -> usize {
    let options = DecodeOptions { format: Format::Json, on_error: OnError::DeadLetter };
    let mut decoder = Decoder::new(columns, None, &options).expect("the columns are valid");
    let mut rows = 0;
    for (offset, line) in lines.iter().enumerate() {
        let meta = RecordMeta { offset: offset as i64, ..RecordMeta::default() };
        decoder.push(Some(line), &meta).expect("dead letters don't stop");
        if decoder.rows() == BATCH {
            rows += decoder.finish().expect("a batch").delta.num_rows();
        }
    }
    rows + decoder.finish().expect("a batch").delta.num_rows()
}

fn arrow_json(data: &[u8]) -> usize {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let schema = Arc::new(Schema::new(vec![
        field("auction", DataType::Int64),
        field("price", DataType::Int64),
        field("dateTime", DataType::Timestamp(TimeUnit::Microsecond, None)),
        field("bidder", DataType::Int64),
        field("channel", DataType::Utf8View),
        field("url", DataType::Utf8View),
        field("extra", DataType::Utf8View),
    ]));
    let mut decoder =
        arrow::json::ReaderBuilder::new(schema).with_batch_size(BATCH).build_decoder().expect("the schema is valid");
    let (mut at, mut rows) = (0, 0);
    loop {
        let end = (at + (1 << 20)).min(data.len());
        let used = decoder.decode(&data[at..end]).expect("valid JSON");
        at += used;
        if used == 0 || at == data.len() {
            match decoder.flush().expect("a batch") {
                Some(batch) => rows += batch.num_rows(),
                None if at == data.len() => return rows,
                None => {}
            }
        }
    }
}

fn nexmark(table: &str, events: u64) -> (SourceSpec, usize) {
    let columns = match table {
        "bid" => columns(7),
        "auction" => ["id", "initialBid", "reserve", "seller", "category"]
            .map(|name| column(name, SqlType::BigInt))
            .into_iter()
            .chain(["itemName", "description", "extra"].map(|name| column(name, SqlType::Text)))
            .chain(["dateTime", "expires"].map(|name| column(name, SqlType::Timestamp)))
            .collect(),
        _ => ["name", "emailAddress", "creditCard", "city", "state", "extra"]
            .map(|name| column(name, SqlType::Text))
            .into_iter()
            .chain([column("id", SqlType::BigInt), column("dateTime", SqlType::Timestamp)])
            .collect(),
    };
    let options = [("connector", "generator"), ("kind", "nexmark"), ("table", table), ("events", &events.to_string())];
    let options: BTreeMap<String, String> =
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let spec = SourceSpec { name: table.to_owned(), columns, options, upsert: None };
    (spec, events as usize)
}

/// Reads all rows of a table; so many events that each table has a few million rows.
fn generated_rows(table: &str) -> usize {
    let events = match table {
        "bid" => 10_000_000,
        "auction" => 50_000_000,
        _ => 100_000_000,
    };
    let (spec, _) = nexmark(table, events);
    let source = open_source(&spec).expect("the options are valid");
    let (sender, receiver) = batch_channel(Arc::new(|| {}));
    let running = source.run(&Positions::new(), None, sender).expect("it starts");
    let rows = receiver.iter().map(|batch| batch.delta.num_rows()).sum();
    drop(running);
    rows
}

fn generated_bids(rows: usize) -> connectors::Result<Vec<u8>> {
    let (spec, _) = nexmark("bid", rows as u64 * 50 / 46);
    let source = open_source(&spec)?;
    let (sender, receiver) = batch_channel(Arc::new(|| {}));
    let _running = source.run(&Positions::new(), None, sender)?;
    let mut out = Vec::new();
    for batch in receiver {
        let batch = batch.delta.batch();
        let writer = JsonWriter::new(batch.schema_ref(), (0..batch.num_columns()).collect())?;
        let bound = writer.bind(batch);
        for row in 0..batch.num_rows() {
            bound.object(row, &mut out);
            out.push(b'\n');
        }
    }
    Ok(out)
}
