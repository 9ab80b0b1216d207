//! How far a sink has come: one record per transaction in a topic of its own, written by the transaction that it describes. So the last
//! committed record always tells what readers of the sink's topic have seen.

use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use delta::Epoch;

use super::client::{ASK_TIMEOUT, Asking, Context, config, failed};
use super::topic::{Shape, ensure};
use crate::error::{Error, Result};
use crate::options::KafkaConnection;

/// The partition that holds the records.
pub(crate) const PARTITION: i32 = 0;

/// Records looked at first, from the end; more only if all of them were aborted.
const TAIL: i64 = 64;

/// A progress record's value.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The sink's name when it was written, for people.
    pub(crate) sink: String,
    /// The last epoch that was emitted.
    pub(crate) epoch: Epoch,
    /// How far the engine's sources had been read by then, in its own words.
    #[serde(default)]
    pub(crate) inputs: Option<String>,
}

/// The progress topic of a sink.
pub(crate) fn topic(identity: &str) -> String {
    format!("__millrace_progress_{identity}")
}

/// Makes sure that the topic exists.
pub(crate) fn ensure_topic(connection: &KafkaConnection, replication_factor: i32) -> Result<()> {
    ensure(connection, &Shape { partitions: 1, replication_factor, properties: &[("cleanup.policy", "compact")] })
}

/// The last committed record of `identity`.
pub(crate) fn read(connection: &KafkaConnection, identity: &str) -> Result<Option<Progress>> {
    let (first, end) = Asking::new(connection)?.watermarks(PARTITION)?;
    let mut tail = TAIL;
    loop {
        let from = first.max(end.saturating_sub(tail));
        if from >= end {
            return Ok(None);
        }
        if let Some(found) = last_between(connection, identity, from, end)? {
            return Ok(Some(found));
        }
        if from == first {
            return Ok(None);
        }
        tail *= 16;
    }
}

fn last_between(connection: &KafkaConnection, identity: &str, from: i64, end: i64) -> Result<Option<Progress>> {
    let operation = "read the sink's progress";
    let ours = [
        ("group.id", "millrace"),
        ("enable.auto.commit", "false"),
        ("isolation.level", "read_committed"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "earliest"),
        ("fetch.wait.max.ms", "10"),
    ];
    let consumer: BaseConsumer<Context> =
        config(connection, &ours)?.create_with_context(Context::default()).map_err(|error| failed(operation, error))?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&connection.topic, PARTITION, Offset::Offset(from))
        .map_err(|error| failed(operation, error))?;
    consumer.assign(&list).map_err(|error| failed(operation, error))?;
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < ASK_TIMEOUT {
        match consumer.poll(ASK_TIMEOUT.saturating_sub(began.elapsed())) {
            Some(Ok(message)) => {
                if message.key() == Some(identity.as_bytes()) {
                    let value = message.payload().unwrap_or_default();
                    let progress = serde_json::from_slice(value).map_err(|error| Error::Kafka {
                        operation: operation.to_owned(),
                        reason: format!("topic {} has a record that is no progress: {error}", connection.topic),
                    })?;
                    last = Some(progress);
                }
                if message.offset() + 1 >= end {
                    return Ok(last);
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(last),
            Some(Err(_)) | None => {}
        }
    }
    Err(Error::Unreachable {
        what: format!("Kafka at {}", connection.brokers),
        reason: format!("timed out to {operation}"),
    })
}
