//! A thread that reads its share of a topic's partitions and decodes them.
//!
//! Back-pressure: the queue to the engine is full, so the thread waits for room and takes nothing from librdkafka, which stops fetching when
//! its own bounded queue is full. If that lasts, the partitions are paused and the thread goes on polling for errors and
//! statistics, so that the source's state stays true while the engine stands still.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::SendTimeoutError;
use kafka_batch::{Record, Records};
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::client::{ASK_TIMEOUT, Context, failed};
use super::source::Running;
use crate::error::Result;
use crate::formats::{Decoder, RecordMeta};
use crate::options::{KafkaSourceOptions, OffsetReset};
use crate::source::{BatchSender, PartitionId, Positions, SourceBatch, SourceSpec};

/// Rows of a batch, at most.
const BATCH_ROWS: usize = 8192;
/// Bytes of keys and values in a batch; the record that passes it is the last one. Records of some 250 bytes fill a batch's rows.
const BATCH_BYTES: u64 = 2 << 20;
/// Dead letters of a batch, at most.
const BATCH_DEAD_LETTERS: usize = 1024;
/// How long the first record of a batch waits for company when there is nothing more to read.
const LINGER: Duration = Duration::from_millis(2);
/// How long it waits while there is more to read: a batch of a few hundred rows costs as much as one of thousands.
const BUSY_LINGER: Duration = Duration::from_millis(10);
/// Fewer records at once say that there is nothing more to read for now.
const FEW: usize = 64;
/// How long a poll waits when there is nothing to do.
const IDLE_POLL: Duration = Duration::from_millis(50);
/// How long the queue to the engine may be full before partitions are paused.
const STALL: Duration = Duration::from_millis(500);

/// What one thread reads.
pub(crate) struct Share {
    pub(crate) thread: usize,
    pub(crate) threads: usize,
    pub(crate) partitions: Vec<PartitionId>,
    pub(crate) from: Positions,
    pub(crate) until: Option<Positions>,
}

/// A partition that is being read.
struct Partition {
    id: PartitionId,
    decoder: Decoder,
    /// The first offset that the next batch covers.
    first: i64,
    /// The offset behind the last record taken.
    next: i64,
    until: Option<i64>,
    created_ms: Option<i64>,
    /// Records taken since the last batch.
    records: usize,
    caught_up: bool,
    done: bool,
}

/// Reads and decodes; see [`ConsumerThread::work`].
pub(crate) struct ConsumerThread {
    consumer: Arc<BaseConsumer<Context>>,
    /// Those of the partitions; the consumer's own queue has events.
    records: Arc<Records<Context>>,
    /// Whether a partition was assigned anew, so that its records may have lost their way.
    reassigned: bool,
    spec: SourceSpec,
    options: KafkaSourceOptions,
    share: Share,
    running: Arc<Running>,
    output: BatchSender,
    partitions: Vec<Partition>,
    /// Partition numbers to positions in `partitions`.
    index: Vec<Option<usize>>,
    /// Partitions that have records waiting, oldest first, with the time of the first.
    pending: VecDeque<(usize, Instant)>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    wants_headers: bool,
}

/// Why the thread ends early.
enum Ended {
    /// It shall stop, or nobody listens.
    Stopped,
    /// For good, with the reason.
    Failed(String),
}

impl ConsumerThread {
    pub(crate) fn new(
        consumer: Arc<BaseConsumer<Context>>,
        spec: &SourceSpec,
        options: &KafkaSourceOptions,
        share: Share,
        running: Arc<Running>,
        output: BatchSender,
    ) -> Result<Self> {
        let mut thread = Self {
            records: Arc::new(Records::new(Arc::clone(&consumer))),
            reassigned: false,
            consumer,
            spec: spec.clone(),
            options: options.clone(),
            partitions: Vec::new(),
            index: Vec::new(),
            pending: VecDeque::new(),
            headers: Vec::new(),
            wants_headers: Decoder::new(&spec.columns, spec.upsert.as_ref(), &options.decode)?.wants_headers(),
            share,
            running,
            output,
        };
        let known = thread.share.partitions.clone();
        thread.assign(&known)?;
        Ok(thread)
    }

    /// Starts to read these partitions.
    fn assign(&mut self, partitions: &[PartitionId]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for &id in partitions {
            let start = self.share.from.get(&id).copied();
            let until = self.share.until.as_ref().and_then(|until| until.get(&id).copied());
            let first = start.unwrap_or(0);
            let done = until.is_some_and(|until| until <= first);
            if !done {
                let offset = start.map_or(Offset::Beginning, Offset::Offset);
                self.forward(id)?;
                list.add_partition_offset(&self.options.connection.topic, id, offset)
                    .map_err(|error| failed("assign partitions", error))?;
            }
            self.index.resize(self.index.len().max(id as usize + 1), None);
            self.index[id as usize] = Some(self.partitions.len());
            self.partitions.push(Partition {
                id,
                decoder: Decoder::new(&self.spec.columns, self.spec.upsert.as_ref(), &self.options.decode)?,
                first,
                next: first,
                until,
                created_ms: None,
                records: 0,
                caught_up: false,
                done,
            });
        }
        if list.count() > 0 {
            self.consumer.incremental_assign(&list).map_err(|error| failed("assign partitions", error))?;
        }
        Ok(())
    }

    /// Sends a partition's records to the queue that they are taken from.
    fn forward(&self, id: PartitionId) -> Result<()> {
        match self.records.forward(&self.options.connection.topic, id) {
            true => Ok(()),
            false => Err(failed("read a partition", KafkaError::Subscription(format!("there is no partition {id}")))),
        }
    }

    /// Reads until it shall stop, everything until the given offsets is read, or a failure.
    pub(crate) fn work(mut self) {
        if let Err(Ended::Failed(reason)) = self.read() {
            tracing::error!(source = self.spec.name, reason, "kafka source stopped");
            self.consumer.context().heard.failed(reason);
            self.running.stop.store(true, Ordering::SeqCst);
        }
        self.running.active.fetch_sub(1, Ordering::SeqCst);
    }

    fn read(&mut self) -> Result<(), Ended> {
        let (consumer, records) = (Arc::clone(&self.consumer), Arc::clone(&self.records));
        while !self.running.stop.load(Ordering::Relaxed) {
            if self.share.until.is_some() && self.partitions.iter().all(|partition| partition.done) {
                return Ok(());
            }
            self.find_partitions()?;
            let now_due = self.pending.front().map(|(_, since)| LINGER.saturating_sub(since.elapsed()));
            // Polls count in milliseconds.
            let wait =
                now_due.map_or(IDLE_POLL, |due| if due < Duration::from_millis(1) { Duration::ZERO } else { due });
            // What is there already is taken without a look at the clock for each record.
            let batch = records.poll(wait);
            let linger = if batch.len() < FEW { LINGER } else { BUSY_LINGER };
            self.find_astray(batch.len())?;
            for record in batch {
                match record.error() {
                    None => self.take(&record)?,
                    Some(RDKafkaErrorCode::PartitionEOF) => self.reached_end(record.partition())?,
                    Some(code) => {
                        let error = KafkaError::MessageConsumption(code);
                        consumer.context().error(error.clone(), &record.reason());
                        self.hear(error)?;
                    }
                }
            }
            match consumer.poll(Duration::ZERO) {
                Some(Ok(message)) => self.read_again(&message)?,
                Some(Err(error)) => self.hear(error)?,
                None => {}
            }
            self.flush_due(linger)?;
        }
        Err(Ended::Stopped)
    }

    /// Assigns partitions that were found since.
    fn find_partitions(&mut self) -> Result<(), Ended> {
        if self.share.until.is_some() {
            return Ok(());
        }
        let count = self.running.partitions.load(Ordering::Relaxed);
        if (count as usize) <= self.index.len() {
            return Ok(());
        }
        let mine = |id: &PartitionId| *id as usize % self.share.threads == self.share.thread;
        let found: Vec<PartitionId> =
            (0..count).filter(mine).filter(|id| self.index.get(*id as usize).copied().flatten().is_none()).collect();
        self.index.resize(count as usize, None);
        self.assign(&found).map_err(|error| Ended::Failed(error.to_string()))
    }

    /// Nothing has come, and a partition was assigned anew: the client may have forgotten where its records are to go.
    fn find_astray(&self, records: usize) -> Result<(), Ended> {
        if records > 0 || !self.reassigned {
            return Ok(());
        }
        let mut open = self.partitions.iter().filter(|partition| !partition.done);
        let forwarded = open.try_for_each(|partition| self.forward(partition.id));
        forwarded.map_err(|error| Ended::Failed(error.to_string()))
    }

    /// Decodes one record.
    fn take(&mut self, record: &Record<'_>) -> Result<(), Ended> {
        let Some(index) = self.index.get(record.partition() as usize).copied().flatten() else { return Ok(()) };
        let partition = &mut self.partitions[index];
        let offset = record.offset();
        if partition.done || offset < partition.next {
            return Ok(());
        }
        if partition.until.is_some_and(|until| offset >= until) {
            return self.end_partition(index);
        }
        let timestamp_ms = record.timestamp_ms();
        if self.wants_headers {
            self.headers = record.headers();
        }
        let meta =
            RecordMeta { partition: partition.id, offset, key: record.key(), timestamp_ms, headers: &self.headers };
        if let Err(reason) = partition.decoder.push(record.payload(), &meta) {
            // What came before the record is delivered; the record is not covered, so that a repaired source reads it again.
            self.flush(index)?;
            return Err(Ended::Failed(reason));
        }
        if partition.records == 0 {
            partition.created_ms = timestamp_ms;
            self.pending.push_back((index, Instant::now()));
        }
        if partition.caught_up {
            partition.caught_up = false;
            self.running.caught_up.lock().remove(&partition.id);
        }
        partition.records += 1;
        partition.next = offset + 1;
        if partition.until == Some(partition.next) {
            return self.end_partition(index);
        }
        if partition.decoder.rows() >= BATCH_ROWS
            || partition.decoder.bytes() >= BATCH_BYTES
            || partition.decoder.dead_letters() >= BATCH_DEAD_LETTERS
        {
            self.flush(index)?;
        }
        Ok(())
    }

    /// Sends batches whose first record has waited for `linger`.
    fn flush_due(&mut self, linger: Duration) -> Result<(), Ended> {
        while let Some((index, since)) = self.pending.front().copied() {
            // A wait below a millisecond is none: polls can't be that short.
            if since.elapsed() + Duration::from_millis(1) <= linger {
                break;
            }
            self.flush(index)?;
        }
        Ok(())
    }

    /// Sends what a partition has.
    fn flush(&mut self, index: usize) -> Result<(), Ended> {
        self.pending.retain(|(pending, _)| *pending != index);
        let partition = &mut self.partitions[index];
        if partition.next == partition.first {
            return Ok(());
        }
        let decoded = partition.decoder.finish().map_err(|error| Ended::Failed(error.to_string()))?;
        self.running.skipped.fetch_add(decoded.skipped, Ordering::Relaxed);
        let batch = SourceBatch {
            partition: partition.id,
            first_offset: partition.first,
            next_offset: partition.next,
            delta: decoded.delta,
            dead_letters: decoded.dead_letters,
            bytes: decoded.bytes,
            created_ms: partition.created_ms.take(),
            arrived: Instant::now(),
        };
        partition.first = partition.next;
        partition.records = 0;
        self.consumer.context().heard.works();
        self.send(batch)
    }

    /// Hands a batch over; see the module's words on back-pressure.
    fn send(&mut self, batch: SourceBatch) -> Result<(), Ended> {
        let mut batch = match self.output.send_timeout(batch, STALL) {
            Ok(()) => return Ok(()),
            Err(SendTimeoutError::Disconnected(_)) => return Err(Ended::Stopped),
            Err(SendTimeoutError::Timeout(batch)) => batch,
        };
        let assigned = self.consumer.assignment().map_err(|error| Ended::Failed(error.to_string()))?;
        self.consumer.pause(&assigned).map_err(|error| Ended::Failed(error.to_string()))?;
        tracing::debug!(source = self.spec.name, "partitions paused: the engine is behind");
        let consumer = Arc::clone(&self.consumer);
        loop {
            if self.running.stop.load(Ordering::Relaxed) {
                return Err(Ended::Stopped);
            }
            match consumer.poll(Duration::ZERO) {
                Some(Ok(message)) => self.read_again(&message)?,
                Some(Err(error)) => self.hear(error)?,
                None => {}
            }
            match self.output.send_timeout(batch, IDLE_POLL) {
                Ok(()) => break,
                Err(SendTimeoutError::Disconnected(_)) => return Err(Ended::Stopped),
                Err(SendTimeoutError::Timeout(back)) => batch = back,
            }
        }
        self.consumer.resume(&assigned).map_err(|error| Ended::Failed(error.to_string()))
    }

    /// A record that comes among the events, where none should be, is not taken out of turn: its partition goes back to where it was read to.
    fn read_again(&mut self, message: &BorrowedMessage<'_>) -> Result<(), Ended> {
        let Some(index) = self.index.get(message.partition() as usize).copied().flatten() else { return Ok(()) };
        let partition = &self.partitions[index];
        if partition.done || message.offset() < partition.next {
            return Ok(());
        }
        self.reassign(partition.id, Offset::Offset(partition.next))
    }

    /// Sends the last rows of a partition that is read up to `until`.
    fn end_partition(&mut self, index: usize) -> Result<(), Ended> {
        let partition = &mut self.partitions[index];
        if let Some(until) = partition.until {
            partition.next = partition.next.max(until);
        }
        partition.done = true;
        let id = partition.id;
        self.flush(index)?;
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.options.connection.topic, id);
        self.consumer.incremental_unassign(&list).map_err(|error| Ended::Failed(error.to_string()))
    }

    /// Everything that a poll says besides records.
    fn hear(&mut self, error: KafkaError) -> Result<(), Ended> {
        match error {
            KafkaError::PartitionEOF(id) => self.reached_end(id),
            KafkaError::MessageConsumptionFatal(code) => Err(Ended::Failed(code.to_string())),
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => {
                self.offsets_gone()
            }
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic,
            ) => {
                let topic = &self.options.connection.topic;
                self.consumer
                    .context()
                    .heard
                    .retrying(format!("topic \"{topic}\" can't be read: does it still exist?"));
                Ok(())
            }
            // The context has heard it too, with more words.
            other => {
                tracing::debug!(source = self.spec.name, error = %other, "kafka");
                Ok(())
            }
        }
    }

    /// There is nothing more in a partition for now.
    fn reached_end(&mut self, id: PartitionId) -> Result<(), Ended> {
        self.consumer.context().heard.works();
        let Some(index) = self.index.get(id as usize).copied().flatten() else { return Ok(()) };
        let partition = &mut self.partitions[index];
        partition.caught_up = true;
        self.running.caught_up.lock().insert(id, partition.next);
        let Some(until) = partition.until else { return Ok(()) };
        if partition.done {
            return Ok(());
        }
        // The last offsets before `until` may hold no records: compacted, or markers of transactions.
        match self.consumer.fetch_watermarks(&self.options.connection.topic, id, ASK_TIMEOUT) {
            Ok((_, end)) if end >= until => self.end_partition(index),
            _ => Ok(()),
        }
    }

    /// A partition's position is outside of what the topic has.
    fn offsets_gone(&mut self) -> Result<(), Ended> {
        for index in 0..self.partitions.len() {
            let partition = &self.partitions[index];
            if partition.done {
                continue;
            }
            let (id, next) = (partition.id, partition.next);
            let Ok((first, end)) = self.consumer.fetch_watermarks(&self.options.connection.topic, id, ASK_TIMEOUT)
            else {
                continue;
            };
            if (first..=end).contains(&next) {
                continue;
            }
            let what = format!(
                "offset {next} of partition {id} is not in topic \"{}\", which has {first} to {end}",
                self.options.connection.topic
            );
            match self.options.offset_reset {
                OffsetReset::Fail => {
                    return Err(Ended::Failed(format!(
                        "{what}; with offset_reset = 'earliest' the source goes on without the lost records"
                    )));
                }
                OffsetReset::Earliest => {
                    tracing::warn!(source = self.spec.name, what, "reading goes on with the earliest record");
                    self.flush(index)?;
                    self.partitions[index].next = first;
                    self.partitions[index].first = first;
                    self.reassign(id, Offset::Offset(first))?;
                }
            }
        }
        Ok(())
    }

    fn reassign(&mut self, id: PartitionId, offset: Offset) -> Result<(), Ended> {
        self.reassigned = true;
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.options.connection.topic, id);
        let mut again = TopicPartitionList::new();
        let result = again
            .add_partition_offset(&self.options.connection.topic, id, offset)
            .and_then(|()| self.consumer.incremental_unassign(&list))
            .and_then(|()| self.consumer.incremental_assign(&again));
        result.map_err(|error| Ended::Failed(error.to_string()))
    }
}
