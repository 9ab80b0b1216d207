//! How fast a topic is read: `cargo run --release -p connectors --example consume BROKERS [ROWS] [DECODE_THREADS] [PROPERTY=VALUE]…`
//!
//! Produces generated bids as JSON to a new topic of four partitions, then reads them back through the source, one column batch after the
//! other, and prints rows per second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use catalog::{Column, SqlType};
use connectors::formats::json::write::JsonWriter;
use connectors::kafka::produce::{Producer, Record, ensure_topic};
use connectors::{Positions, SourceSpec, batch_channel, open_source};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: i32 = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let brokers = arguments.first().ok_or("expected the brokers' addresses")?;
    let rows: u64 = arguments.get(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let threads = arguments.get(2).map_or("2", String::as_str);
    let topic = format!("consume-{}", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis());
    ensure_topic(brokers, &topic, PARTITIONS)?;
    let began = Instant::now();
    produce(brokers, &topic, rows)?;
    println!("produced {:.2} M rows/s", rows as f64 / began.elapsed().as_secs_f64() / 1e6);

    let mut options =
        list(&[("connector", "kafka"), ("brokers", brokers), ("topic", &topic), ("decode_threads", threads)]);
    for property in arguments.iter().skip(3) {
        let (name, value) = property.split_once('=').ok_or("expected PROPERTY=VALUE")?;
        options.insert(format!("kafka.{name}"), value.to_owned());
    }
    let spec = SourceSpec { name: topic.clone(), columns: bid(), options, upsert: None };
    for _ in 0..3 {
        let (sender, receiver) = batch_channel(Arc::new(|| {}));
        let began = Instant::now();
        let _running =
            open_source(&spec)?.run(&(0..PARTITIONS).map(|partition| (partition, 0)).collect(), None, sender)?;
        let (mut count, mut batches) = (0, 0);
        while count < rows {
            count += receiver.recv_timeout(Duration::from_secs(60))?.delta.num_rows() as u64;
            batches += 1;
        }
        println!("read {:.2} M rows/s in {batches} batches", rows as f64 / began.elapsed().as_secs_f64() / 1e6);
    }
    Ok(())
}

fn list(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn bid() -> Vec<Column> {
    let columns = [
        ("auction", SqlType::BigInt),
        ("bidder", SqlType::BigInt),
        ("price", SqlType::BigInt),
        ("channel", SqlType::Text),
        ("url", SqlType::Text),
        ("dateTime", SqlType::Timestamp),
        ("extra", SqlType::Text),
    ];
    let column = |(name, sql_type): (&str, SqlType)| Column {
        name: name.to_owned(),
        sql_type,
        nullable: true,
        default: None,
        generated: None,
    };
    columns.into_iter().map(column).collect()
}

fn produce(brokers: &str, topic: &str, rows: u64) -> Result<(), Box<dyn std::error::Error>> {
    let options = list(&[
        ("connector", "generator"),
        ("kind", "nexmark"),
        ("table", "bid"),
        ("events", &(rows * 50 / 46 + 50).to_string()),
    ]);
    let source = open_source(&SourceSpec { name: "bid".to_owned(), columns: bid(), options, upsert: None })?;
    let (sender, receiver) = batch_channel(Arc::new(|| {}));
    let _running = source.run(&Positions::new(), None, sender)?;
    let producer = Producer::new(brokers)?;
    let (mut sent, mut value) = (0, Vec::new());
    for batch in receiver {
        let batch = batch.delta.batch();
        let writer = JsonWriter::new(batch.schema_ref(), (0..batch.num_columns()).collect())?;
        let bound = writer.bind(batch);
        for row in 0..batch.num_rows() {
            if sent == rows {
                producer.flush(Duration::from_secs(120))?;
                return Ok(());
            }
            value.clear();
            bound.object(row, &mut value);
            let partition = Some((sent % PARTITIONS as u64) as i32);
            producer.send(topic, Record { value: Some(&value), partition, ..Record::default() })?;
            sent += 1;
        }
        producer.poll();
    }
    Ok(())
}
