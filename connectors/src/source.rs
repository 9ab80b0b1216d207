//! The contract of a source: batches of decoded rows, each with the offsets that it covers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use catalog::Column;
use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use delta::Delta;

use crate::Result;

/// A partition of a source: a Kafka partition, a file, a generator's lane.
pub type PartitionId = i32;

/// The next offset to read, by partition. What an offset counts is the connector's: records (Kafka, generator), bytes (file).
pub type Positions = BTreeMap<PartitionId, i64>;

/// What a source is asked to be: the declared columns and the options.
#[derive(Clone, Debug)]
pub struct SourceSpec {
    /// For messages and metrics.
    pub name: String,
    /// The declared columns in order; those with `generated` are filled from metadata. Batches have exactly these,
    /// as [`catalog::SqlType::field`] makes them.
    pub columns: Vec<Column>,
    /// The WITH list without those that the engine understood (`connector` is still in it).
    pub options: BTreeMap<String, String>,
    /// Set for a keyed table over an upsert topic.
    pub upsert: Option<UpsertKey>,
}

/// A keyed table over a topic: a record sets the row of its key, one with a null value deletes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpsertKey {
    /// Positions of the primary key's columns.
    pub columns: Vec<usize>,
}

/// Decoded rows of one partition, in offset order.
#[derive(Clone, Debug)]
pub struct SourceBatch {
    /// Where they come from.
    pub partition: PartitionId,
    /// The first offset covered, dead letters and skipped records included.
    pub first_offset: i64,
    /// The next offset to read after this batch.
    pub next_offset: i64,
    /// The rows. Append-only sources: no weights. Upsert: +1 sets the row of its key, -1 deletes it (other columns are
    /// null and to be ignored), applied in row order.
    pub delta: Delta,
    /// Records that could not be decoded.
    pub dead_letters: Vec<DeadLetter>,
    /// Bytes of keys and values read.
    pub bytes: u64,
    /// When the first record of the batch was created according to the source, in milliseconds since 1970
    /// (Kafka: the record's timestamp); for latency metrics.
    pub created_ms: Option<i64>,
    /// When the batch was handed over.
    pub arrived: Instant,
}

/// A record that could not become a row, kept whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it stood.
    pub partition: PartitionId,
    /// Where it stood.
    pub offset: i64,
    /// The record's key.
    pub key: Option<Bytes>,
    /// The record's value.
    pub payload: Option<Bytes>,
    /// Why, with the column and what was found.
    pub reason: String,
    /// The record's timestamp, milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
}

/// A kind of input; opening one checks the options but touches nothing outside.
pub trait Source: Send + Sync {
    /// Asks the outside (does the topic exist? which partitions, where do they start?) and turns `start = …` into
    /// positions. Called once, by CREATE; the answer is kept in the catalog. Blocks, with a bounded timeout.
    fn resolve_start(&self) -> Result<Positions>;

    /// The end of every partition now: the offset behind the last record. Blocks, with a bounded timeout.
    fn end_positions(&self) -> Result<Positions>;

    /// The end of what a first view should have read before anybody asks it: nothing of a source that makes its records as it goes. Blocks,
    /// with a bounded timeout.
    fn past_end(&self) -> Result<Positions> {
        self.end_positions()
    }

    /// Starts threads that send batches from `from` on. A partition that `from` doesn't name starts at its beginning.
    /// With `until`, each partition named there ends before that offset, partitions not named are not read,
    /// and the channel closes when all have ended: this is how a new view reads the past again.
    fn run(&self, from: &Positions, until: Option<&Positions>, output: BatchSender) -> Result<Box<dyn RunningSource>>;
}

/// Threads that read; dropping it stops them.
pub trait RunningSource: Send + Sync {
    /// What is known now. Cheap.
    fn status(&self) -> SourceStatus;
}

/// The state of a running source.
#[derive(Clone, Debug, Default)]
pub struct SourceStatus {
    /// Whether it works.
    pub health: Health,
    /// The offset behind the last record, by partition, as last heard.
    pub end_offsets: Positions,
    /// All input there will ever be has been sent (a file read once, a bounded generator).
    pub finished: bool,
    /// Records that were skipped by `on_error = 'skip'`.
    pub skipped: u64,
}

/// Whether a source or sink works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It works.
    #[default]
    Running,
    /// It tries again; why it has to.
    Retrying(String),
    /// It has stopped for good; why (`on_error = 'fail'`).
    Failed(String),
}

/// Decoded rows that wait between a source and the engine, at most, in bytes, unless told otherwise: that hides some tens of milliseconds of scheduling.
pub const QUEUED_BYTES: usize = 64 << 20;

/// What a batch takes at most, but for a single row that is larger: 8,192 rows, or so many bytes.
const BATCH_BYTES: usize = 2 << 20;

/// With fewer batches in the queue, source and engine would wait for each other at every one.
const LEAST_BATCHES: usize = 4;

/// How long a thread that waits for room in the queue may overlook that it shall stop.
pub const STOP_CHECK: Duration = Duration::from_millis(50);

/// The wall clock in milliseconds since 1970: when a batch was made, for latency metrics only.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// The sending end of a source's bounded queue. A full queue blocks the sender, which is what slows the source down.
#[derive(Clone)]
pub struct BatchSender {
    queue: Sender<SourceBatch>,
    queued_bytes: usize,
    doorbell: Arc<dyn Fn() + Send + Sync>,
}

/// A bounded queue; `doorbell` is rung after each batch, so that one engine can wait for many sources.
pub fn batch_channel(doorbell: Arc<dyn Fn() + Send + Sync>) -> (BatchSender, Receiver<SourceBatch>) {
    batch_channel_of(QUEUED_BYTES, doorbell)
}

/// As [`batch_channel`], for about so many bytes of rows.
pub fn batch_channel_of(
    queued_bytes: usize,
    doorbell: Arc<dyn Fn() + Send + Sync>,
) -> (BatchSender, Receiver<SourceBatch>) {
    let (queue, receiver) = bounded((queued_bytes / BATCH_BYTES).max(LEAST_BATCHES));
    (BatchSender { queue, queued_bytes, doorbell }, receiver)
}

impl BatchSender {
    /// About how many bytes of rows the queue holds: what a client library keeps before they are decoded is to be no more.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Hands a batch over, waiting while the queue is full; `false` when nobody listens any more: the reader stops.
    #[must_use]
    pub fn send(&self, batch: SourceBatch) -> bool {
        let sent = self.queue.send(batch).is_ok();
        (self.doorbell)();
        sent
    }

    /// As [`BatchSender::send`] for a thread that has to notice within [`STOP_CHECK`] that it shall stop: `false` then too.
    #[must_use]
    pub fn send_unless(&self, stop: &AtomicBool, batch: SourceBatch) -> bool {
        let mut batch = batch;
        while !stop.load(Ordering::Relaxed) {
            match self.queue.send_timeout(batch, STOP_CHECK) {
                Ok(()) => {
                    (self.doorbell)();
                    return true;
                }
                Err(SendTimeoutError::Timeout(back)) => batch = back,
                Err(SendTimeoutError::Disconnected(_)) => return false,
            }
        }
        false
    }

    /// As [`BatchSender::send`] for a limited time: gives the batch back when the queue is still full then, so that a
    /// Kafka consumer can pause its partitions and go on polling.
    #[allow(clippy::result_large_err)] // The batch itself, which is moved and not copied on.
    pub fn send_timeout(
        &self,
        batch: SourceBatch,
        timeout: Duration,
    ) -> std::result::Result<(), SendTimeoutError<SourceBatch>> {
        self.queue.send_timeout(batch, timeout)?;
        (self.doorbell)();
        Ok(())
    }
}

/// Makes the source that `spec` describes; checks every option.
pub fn open_source(spec: &SourceSpec) -> Result<Box<dyn Source>> {
    crate::options::source_connector(spec)
}
