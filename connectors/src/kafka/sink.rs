//! A topic as a sink: JSON, one transaction per delivery, exactly once.
//!
//! Upsert: for each key that an epoch changed one record, keyed by the key's columns as a JSON object; its value is the row as it is
//! after the epoch, or null if there is none any more. Append: each change as the row with `__weight` and `__epoch`.

use std::time::Duration;

use delta::{Delta, Epoch};
use hashbrown::HashMap;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::client::{Context, config, failed};
use super::progress::{self, Progress};
use super::topic::{Shape, ensure};
use crate::error::{Error, Result};
use crate::formats::json::write::JsonWriter;
use crate::options::{KafkaConnection, KafkaSinkOptions, SinkMode};
use crate::sink::{Sink, SinkRow, SinkSpec};
use crate::source::Health;

/// How long fencing, a commit or an abort may take.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Records between two looks at what the broker has confirmed.
const POLL_EVERY: usize = 1000;
/// How long to wait for room in the producer's queue at a time.
const QUEUE_FULL_POLL: Duration = Duration::from_millis(5);
/// Members that append mode adds.
const ADDED_MEMBERS: [&str; 2] = ["__weight", "__epoch"];

/// The sink of `connector = 'kafka'`.
pub struct KafkaSink {
    name: String,
    identity: String,
    options: KafkaSinkOptions,
    mode: SinkMode,
    rows: JsonWriter,
    key: Option<JsonWriter>,
    columns: usize,
    progress: KafkaConnection,
    /// There after [`Sink::recover`], until something goes wrong.
    producer: Option<BaseProducer<Context>>,
    /// How far sources had been read, as the last progress record says.
    read_up_to: Option<String>,
    health: Health,
}

impl KafkaSink {
    /// Checks the options, and that the topic exists or can be made.
    pub fn open(spec: &SinkSpec) -> Result<Self> {
        let sink = Self::check(spec)?;
        let shape = Shape {
            partitions: sink.options.partitions,
            replication_factor: sink.options.replication_factor,
            properties: &[],
        };
        ensure(&sink.options.connection, &shape)?;
        progress::ensure_topic(&sink.progress, sink.options.replication_factor)?;
        Ok(sink)
    }

    /// Checks the options, without a broker.
    pub fn check(spec: &SinkSpec) -> Result<Self> {
        let options = KafkaSinkOptions::parse(&spec.options)?;
        let mode = options.mode.unwrap_or(if spec.key.is_empty() { SinkMode::Append } else { SinkMode::Upsert });
        if mode == SinkMode::Upsert && spec.key.is_empty() {
            return Err(Error::Unsupported(
                "mode 'upsert' needs rows with a key, and these have none; mode 'append' does not".to_owned(),
            ));
        }
        if mode == SinkMode::Append
            && let Some(field) =
                spec.schema.fields().iter().find(|field| ADDED_MEMBERS.contains(&field.name().as_str()))
        {
            let reason = "mode 'append' writes a member of that name; rename the column".to_owned();
            return Err(Error::Column { column: field.name().clone(), reason });
        }
        let columns = spec.schema.fields().len();
        let identity = topic_part(&spec.identity);
        let sink = Self {
            name: spec.name.clone(),
            mode,
            rows: JsonWriter::new(&spec.schema, (0..columns).collect())?,
            key: (!spec.key.is_empty()).then(|| JsonWriter::new(&spec.schema, spec.key.clone())).transpose()?,
            columns,
            progress: KafkaConnection { topic: progress::topic(&identity), ..options.connection.clone() },
            identity,
            producer: None,
            read_up_to: None,
            health: Health::Running,
            options,
        };
        sink.config()?;
        Ok(sink)
    }

    fn config(&self) -> Result<rdkafka::ClientConfig> {
        let transactional_id = format!("millrace-{}", self.identity);
        config(
            &self.options.connection,
            &[
                ("transactional.id", &transactional_id),
                ("enable.idempotence", "true"),
                // As Java's clients place keys, so that others can join topics by partition.
                ("partitioner", "murmur2_random"),
                ("linger.ms", "5"),
                ("queue.buffering.max.messages", "200000"),
                ("queue.buffering.max.kbytes", "65536"),
            ],
        )
    }

    /// One transaction: the changes and the progress record.
    fn transact(&self, producer: &BaseProducer<Context>, epochs: &[SinkRow], last: Epoch) -> Result<(), KafkaError> {
        producer.begin_transaction()?;
        let mut records = Records { producer, topic: &self.options.connection.topic, sent: 0 };
        for epoch in epochs {
            match self.mode {
                SinkMode::Upsert => self.upsert(&epoch.delta, &mut records)?,
                SinkMode::Append => self.append(epoch, &mut records)?,
            }
        }
        let inputs = epochs.last().map(|epoch| epoch.inputs.to_string());
        let progress = Progress { sink: self.name.clone(), epoch: last, inputs };
        let progress = serde_json::to_vec(&progress).expect("it is plain data");
        let record = BaseRecord::to(&self.progress.topic)
            .key(self.identity.as_bytes())
            .payload(&progress)
            .partition(progress::PARTITION);
        records.send(record)?;
        producer.commit_transaction(TRANSACTION_TIMEOUT)
    }

    /// For each key of the delta its row, or a tombstone, in the order in which the keys first occur.
    fn upsert(&self, delta: &Delta, records: &mut Records<'_>) -> Result<(), KafkaError> {
        let key = self.key.as_ref().expect("upsert was refused without a key").bind(delta.batch());
        let mut keys = Vec::new();
        let mut ends = Vec::with_capacity(delta.num_rows());
        for row in 0..delta.num_rows() {
            key.object(row, &mut keys);
            ends.push(keys.len());
        }
        // The row that stands for each key: the last one that adds.
        let mut order: Vec<(&[u8], Option<usize>)> = Vec::new();
        let mut places: HashMap<&[u8], usize> = HashMap::with_capacity(delta.num_rows());
        for (row, &end) in ends.iter().enumerate() {
            if delta.weight(row) == 0 {
                continue;
            }
            let start = if row == 0 { 0 } else { ends[row - 1] };
            let place = *places.entry(&keys[start..end]).or_insert_with(|| {
                order.push((&keys[start..end], None));
                order.len() - 1
            });
            if delta.weight(row) > 0 {
                order[place].1 = Some(row);
            }
        }
        let rows = self.rows.bind(delta.batch());
        let mut value = Vec::new();
        for (key, row) in order {
            let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(records.topic).key(key);
            match row {
                None => records.send(record)?,
                Some(row) => {
                    value.clear();
                    rows.object(row, &mut value);
                    records.send(record.payload(&value))?;
                }
            }
        }
        Ok(())
    }

    /// Each row with its weight and epoch.
    fn append(&self, epoch: &SinkRow, records: &mut Records<'_>) -> Result<(), KafkaError> {
        let rows = self.rows.bind(epoch.delta.batch());
        let keys = self.key.as_ref().map(|key| key.bind(epoch.delta.batch()));
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let mut number = itoa::Buffer::new();
        for row in 0..epoch.delta.num_rows() {
            value.clear();
            value.push(b'{');
            rows.members(row, &mut value);
            value.extend_from_slice(if self.columns > 0 { b",\"__weight\":" } else { b"\"__weight\":" });
            value.extend_from_slice(number.format(epoch.delta.weight(row)).as_bytes());
            value.extend_from_slice(b",\"__epoch\":");
            value.extend_from_slice(number.format(epoch.epoch.0).as_bytes());
            value.push(b'}');
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(records.topic).payload(&value);
            if let Some(keys) = &keys {
                key.clear();
                keys.object(row, &mut key);
                record = record.key(&key);
            }
            records.send(record)?;
        }
        Ok(())
    }

    /// What an error of a transaction means; the producer is given up, so that the caller has to recover.
    fn give_up(&mut self, error: KafkaError) -> Error {
        let producer = self.producer.take();
        let fenced = matches!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch)
        );
        if let Some(producer) = producer
            && !fenced
            && let KafkaError::Transaction(transaction) = &error
            && transaction.txn_requires_abort()
        {
            // If this fails too, the next instance's fencing aborts it.
            if let Err(error) = producer.abort_transaction(TRANSACTION_TIMEOUT) {
                tracing::debug!(sink = self.name, %error, "the transaction could not be aborted");
            }
        }
        if fenced {
            self.health = Health::Failed("another instance of this sink has taken over".to_owned());
            return Error::Fenced { sink: self.name.clone() };
        }
        self.health = Health::Retrying(error.to_string());
        failed(&format!("write to topic \"{}\"", self.options.connection.topic), error)
    }

    fn start_producer(&self) -> Result<BaseProducer<Context>> {
        let producer: BaseProducer<Context> = self
            .config()?
            .create_with_context(Context::default())
            .map_err(|error| failed("create a producer", error))?;
        producer.init_transactions(TRANSACTION_TIMEOUT).map_err(|error| failed("start transactions", error))?;
        Ok(producer)
    }
}

impl Sink for KafkaSink {
    fn recover(&mut self) -> Result<Option<Epoch>> {
        // The old producer goes first: its purge must not meet the new one's transactions.
        self.producer = None;
        let recovered =
            self.start_producer().and_then(|producer| Ok((producer, progress::read(&self.progress, &self.identity)?)));
        match recovered {
            Ok((producer, progress)) => {
                self.producer = Some(producer);
                self.health = Health::Running;
                let (epoch, inputs) = progress.map(|progress| (progress.epoch, progress.inputs)).unzip();
                self.read_up_to = inputs.flatten();
                Ok(epoch)
            }
            Err(error) => {
                self.health = Health::Retrying(error.to_string());
                Err(error)
            }
        }
    }

    fn read_up_to(&self) -> Option<&str> {
        self.read_up_to.as_deref()
    }

    fn deliver(&mut self, epochs: &[SinkRow]) -> Result<()> {
        let Some(last) = epochs.last().map(|epoch| epoch.epoch) else { return Ok(()) };
        let Some(producer) = &self.producer else {
            return Err(Error::Kafka {
                operation: format!("write to topic \"{}\"", self.options.connection.topic),
                reason: "the sink has to recover first".to_owned(),
            });
        };
        match self.transact(producer, epochs, last) {
            Ok(()) => {
                self.health = Health::Running;
                Ok(())
            }
            Err(error) => Err(self.give_up(error)),
        }
    }

    fn health(&self) -> Health {
        self.health.clone()
    }
}

/// Records on their way into a transaction.
struct Records<'a> {
    producer: &'a BaseProducer<Context>,
    topic: &'a str,
    sent: usize,
}

impl Records<'_> {
    /// Queues a record; waits while the queue is full.
    fn send<K, P>(&mut self, record: BaseRecord<'_, K, P>) -> Result<(), KafkaError>
    where
        K: rdkafka::message::ToBytes + ?Sized,
        P: rdkafka::message::ToBytes + ?Sized,
    {
        let mut record = record;
        loop {
            record = match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => back,
                Err((error, _)) => return Err(error),
            };
            self.producer.poll(QUEUE_FULL_POLL);
        }
        self.sent += 1;
        if self.sent.is_multiple_of(POLL_EVERY) {
            self.producer.poll(Duration::ZERO);
        }
        Ok(())
    }
}

/// An identity as part of a topic's name: characters that can't stand in one become `-`, and a hash of the whole keeps it unique.
fn topic_part(identity: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if identity.chars().all(allowed) && identity.len() <= 200 {
        return identity.to_owned();
    }
    let hash = identity
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    let kept: String = identity.chars().take(150).map(|c| if allowed(c) { c } else { '-' }).collect();
    format!("{kept}-{hash:016x}")
}
