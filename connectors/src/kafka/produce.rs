//! Plain records to topics: what the demo, the benchmarks and the tests feed sources with. Sinks don't use it.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::client::{Context, config, failed};
use super::topic::{Shape, ensure};
use crate::error::Result;
use crate::options::KafkaConnection;

/// A producer without transactions.
pub struct Producer {
    inner: BaseProducer<Context>,
}

/// A record to send.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// Its key; it decides the partition, if that isn't given.
    pub key: Option<&'a [u8]>,
    /// Its value; none is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its partition.
    pub partition: Option<i32>,
    /// Its timestamp in milliseconds since 1970; none: now.
    pub timestamp_ms: Option<i64>,
}

fn connection(brokers: &str, topic: &str) -> KafkaConnection {
    KafkaConnection { brokers: brokers.to_owned(), topic: topic.to_owned(), properties: BTreeMap::new() }
}

/// Makes a topic with so many partitions, unless it exists.
pub fn ensure_topic(brokers: &str, topic: &str, partitions: i32) -> Result<()> {
    ensure(&connection(brokers, topic), &Shape { partitions, replication_factor: 1, properties: &[] })
}

impl Producer {
    /// A producer to these brokers.
    pub fn new(brokers: &str) -> Result<Self> {
        let ours = [("linger.ms", "2"), ("queue.buffering.max.messages", "200000"), ("partitioner", "murmur2_random")];
        let inner = config(&connection(brokers, ""), &ours)?
            .create_with_context(Context::default())
            .map_err(|error| failed("create a producer", error))?;
        Ok(Self { inner })
    }

    /// Queues a record; waits while the queue is full.
    pub fn send(&self, topic: &str, record: Record<'_>) -> Result<()> {
        let mut base: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic);
        base.key = record.key;
        base.payload = record.value;
        base.partition = record.partition;
        base.timestamp = record.timestamp_ms;
        loop {
            base = match self.inner.send(base) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => back,
                Err((error, _)) => return Err(failed("send a record", error)),
            };
            self.inner.poll(Duration::from_millis(5));
        }
    }

    /// Serves what the broker has confirmed; to be called now and then by those who send for long.
    pub fn poll(&self) {
        self.inner.poll(Duration::ZERO);
    }

    /// Waits until the broker has confirmed everything.
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        self.inner.flush(timeout).map_err(|error| failed("send records", error))
    }
}
