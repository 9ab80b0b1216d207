//! Fills the topics that `bench nexmark --source kafka` reads, from files as the public generators write them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use connectors::kafka::produce::{Producer, Record, ensure_topic};

use crate::{Error, Result};

/// The tables, each a topic.
const TABLES: [&str; 3] = ["person", "auction", "bid"];

/// Records between two looks at what the broker has confirmed.
const POLL_EVERY: u64 = 1024;

/// How long the broker may take to confirm the rest.
const FLUSH: Duration = Duration::from_secs(120);

/// `millrace bench topics`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder of the files: DIR/{person,auction,bid}/*.jsonl
    #[arg(long)]
    path: PathBuf,
    /// The brokers.
    #[arg(long, default_value = "127.0.0.1:9092")]
    brokers: String,
    /// Partitions of each topic.
    #[arg(long, default_value_t = 4)]
    partitions: i32,
}

/// Sends every line as a record. Files of a table are read in turn, a line of each, and dealt over the partitions, so that each partition
/// is in the order of event time if the files are.
pub(crate) fn run(options: &Options) -> Result<()> {
    let producer = Producer::new(&options.brokers).map_err(Error::outside("no producer"))?;
    for table in TABLES {
        ensure_topic(&options.brokers, table, options.partitions).map_err(Error::outside(table))?;
        let began = Instant::now();
        let sent = send(&producer, table, &files(&options.path.join(table))?, options.partitions)?;
        producer.flush(FLUSH).map_err(Error::outside(table))?;
        let rate = sent as f64 / began.elapsed().as_secs_f64() / 1e3;
        println!("{table:<8}{sent:>12} records, {rate:.0} k/s");
    }
    Ok(())
}

/// The files of a table, by name.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let name = folder.display().to_string();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(name.as_str()))? {
        let path = entry.map_err(Error::io(name.as_str()))?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn send(producer: &Producer, topic: &str, files: &[PathBuf], partitions: i32) -> Result<u64> {
    let open = |path: &PathBuf| File::open(path).map(|file| BufReader::with_capacity(1 << 20, file));
    let readers: Result<Vec<_>, _> = files.iter().map(open).collect();
    let mut readers = readers.map_err(Error::io(topic))?;
    let (mut sent, mut line) = (0_u64, Vec::new());
    while !readers.is_empty() {
        let mut ended = Vec::new();
        for (index, reader) in readers.iter_mut().enumerate() {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(Error::io(topic))? == 0 {
                ended.push(index);
                continue;
            }
            let value = line.strip_suffix(b"\n").unwrap_or(&line);
            let partition = Some((sent % partitions as u64) as i32);
            let record = Record { value: Some(value), partition, ..Record::default() };
            producer.send(topic, record).map_err(Error::outside(topic))?;
            sent += 1;
            if sent % POLL_EVERY == 0 {
                producer.poll();
            }
        }
        for index in ended.into_iter().rev() {
            drop(readers.remove(index));
        }
    }
    Ok(sent)
}
