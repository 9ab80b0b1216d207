//! What nothing can be faster than: bids decoded without an engine behind them, from files and from a topic; and a topic read
//! without being decoded.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use catalog::{Column, SqlType};
use connectors::formats::{Decoder, OnError, RecordMeta};
use connectors::kafka::read::Reader;
use connectors::options::{DecodeOptions, Format};
use memchr::memchr;

use crate::topics::files;
use crate::{Error, Result, process};

/// Rows of a batch, as in the sources.
const BATCH_ROWS: usize = 8192;
/// What is read of a file at once.
const CHUNK: usize = 1 << 20;
/// How long a topic may be silent before it counts as read.
const SILENCE: Duration = Duration::from_secs(5);

/// `millrace bench limits`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder of the files: DIR/bid/*.jsonl; each file gets a thread
    #[arg(long)]
    path: Option<PathBuf>,
    /// The brokers that have the topic `bid`
    #[arg(long)]
    brokers: Option<String>,
    /// Consumers of the topic, each a thread with a share of the partitions
    #[arg(long, default_value_t = 2)]
    threads: i32,
}

/// Measures what it is told to, and prints a line for each.
pub(crate) fn run(options: &Options) -> Result<()> {
    println!("{:<28}{:>12}{:>12}{:>12}", "limit", "events", "k events/s", "CPU s/M");
    if let Some(path) = &options.path {
        let files = files(&path.join("bid"))?;
        timed("JSON file, decoded", files.len(), |thread| decode_file(&files[thread]))?;
    }
    if let Some(brokers) = &options.brokers {
        let threads = usize::try_from(options.threads).unwrap_or(1).max(1);
        timed("topic, read", threads, |thread| read(brokers, threads, thread, false))?;
        timed("topic, read and decoded", threads, |thread| read(brokers, threads, thread, true))?;
    }
    Ok(())
}

/// Runs `work` on so many threads; it says how many events it has seen.
fn timed(name: &str, threads: usize, work: impl Fn(usize) -> Result<Seen> + Sync) -> Result<()> {
    let (began, cpu) = (Instant::now(), process::cpu_time()?);
    let seen: Result<Vec<Seen>> = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended.map(|result| result.unwrap_or_else(|_| Err(Error::Usage(format!("{name}: a thread panicked"))))).collect()
    });
    let seen = seen?;
    let events: u64 = seen.iter().map(|seen| seen.events).sum();
    let last = seen.iter().map(|seen| seen.last).max().unwrap_or(began);
    let cpu = (process::cpu_time()? - cpu).as_secs_f64();
    let rate = events as f64 / last.duration_since(began).as_secs_f64() / 1e3;
    println!("{name:<28}{events:>12}{rate:>12.0}{:>12.2}", cpu / (events as f64 / 1e6));
    Ok(())
}

/// What a thread has seen, and when the last of it.
struct Seen {
    events: u64,
    last: Instant,
}

/// Decodes records and drops the rows.
struct Decoding {
    decoder: Decoder,
    rows: u64,
}

impl Decoding {
    fn new() -> Result<Self> {
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
        let columns: Vec<Column> = columns.into_iter().map(column).collect();
        let options = DecodeOptions { format: Format::Json, on_error: OnError::Fail };
        let decoder = Decoder::new(&columns, None, &options).map_err(Error::outside("no decoder"))?;
        Ok(Self { decoder, rows: 0 })
    }

    fn push(&mut self, record: &[u8]) -> Result<()> {
        self.decoder.push(Some(record), &RecordMeta::default()).map_err(Error::Usage)?;
        if self.decoder.rows() >= BATCH_ROWS { self.finish() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<()> {
        self.rows += self.decoder.finish().map_err(Error::outside("bids can't be decoded"))?.delta.num_rows() as u64;
        Ok(())
    }
}

fn decode_file(path: &PathBuf) -> Result<Seen> {
    let name = path.display().to_string();
    let mut file = File::open(path).map_err(Error::io(name.as_str()))?;
    let mut decoding = Decoding::new()?;
    let mut buffer = vec![0; CHUNK];
    let mut held = 0;
    loop {
        let read = file.read(&mut buffer[held..]).map_err(Error::io(name.as_str()))?;
        if read == 0 {
            break;
        }
        let end = held + read;
        let mut at = 0;
        while let Some(length) = memchr(b'\n', &buffer[at..end]) {
            decoding.push(&buffer[at..at + length])?;
            at += length + 1;
        }
        buffer.copy_within(at..end, 0);
        held = end - at;
    }
    decoding.finish()?;
    Ok(Seen { events: decoding.rows, last: Instant::now() })
}

fn read(brokers: &str, threads: usize, thread: usize, decoded: bool) -> Result<Seen> {
    let mine = |partition: i32| partition as usize % threads == thread;
    let reader = Reader::new(brokers, "bid", mine).map_err(Error::outside("bid"))?;
    let mut decoding = Decoding::new()?;
    let mut seen = Seen { events: 0, last: Instant::now() };
    while !reader.is_at_end() {
        let mut result = Ok(());
        let there = reader.poll(Duration::from_millis(100), |value| {
            if decoded {
                result = decoding.push(value.unwrap_or_default());
            }
        });
        result?;
        if there.map_err(Error::outside("bid"))? {
            seen.events += 1;
        } else {
            if seen.events > 0 && seen.last.elapsed() > SILENCE {
                break;
            }
            continue;
        }
        if seen.events.is_multiple_of(BATCH_ROWS as u64) {
            seen.last = Instant::now();
        }
    }
    decoding.finish()?;
    seen.last = Instant::now();
    Ok(seen)
}
