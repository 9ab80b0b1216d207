//! What every Kafka client here shares: how it is configured, how it hears of trouble, what it asks about topics.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::options::{KafkaConnection, is_secret};
use crate::source::{Health, PartitionId, Positions};

/// How long a question to the broker may take before it counts as away.
pub(crate) const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Events looked at for the cause of a failure.
const EVENTS: usize = 50;

/// Topics named in an error, at most.
const NEAR_TOPICS: usize = 3;

/// The configuration of a client: ours, then the user's properties over it. Checked as far as that goes without a broker.
pub(crate) fn config(connection: &KafkaConnection, ours: &[(&str, &str)]) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set("client.id", "millrace");
    config.set("reconnect.backoff.ms", "100").set("reconnect.backoff.max.ms", "5000");
    for (name, value) in ours {
        config.set(*name, *value);
    }
    for (name, value) in &connection.properties {
        config.set(name, value);
    }
    config.set("bootstrap.servers", &connection.brokers);
    match config.create_native_config() {
        Ok(_) => Ok(config),
        Err(KafkaError::ClientConfig(_, description, name, value)) => {
            // librdkafka quotes the value in its description.
            let reason = if is_secret(&name) || (!value.is_empty() && is_secret(&description)) {
                "librdkafka refuses it".to_owned()
            } else {
                description
            };
            Err(Error::InvalidOption { option: format!("kafka.{name}"), reason })
        }
        Err(error) => Err(failed("configure a client", error)),
    }
}

/// A failed operation; a broker that is away is told apart.
pub(crate) fn failed(operation: &str, error: KafkaError) -> Error {
    Error::Kafka { operation: operation.to_owned(), reason: error.to_string() }
}

/// As [`failed`], for questions to `brokers`.
fn unanswered(brokers: &str, operation: &str, error: KafkaError) -> Error {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::BrokerNotAvailable,
        ) => Error::Unreachable { what: format!("Kafka at {brokers}"), reason: error.to_string() },
        _ => failed(operation, error),
    }
}

/// What a client has heard: errors, and with statistics the ends of partitions.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) health: Mutex<Health>,
    pub(crate) ends: Mutex<Positions>,
    /// The last error's own words, for whoever waits for an answer.
    last_error: Mutex<Option<String>>,
}

impl Heard {
    /// It doesn't work for now; a failure for good stays.
    pub(crate) fn retrying(&self, reason: String) {
        let mut health = self.health.lock();
        if !matches!(*health, Health::Failed(_)) {
            *health = Health::Retrying(reason);
        }
    }

    /// It works again.
    pub(crate) fn works(&self) {
        let mut health = self.health.lock();
        if matches!(*health, Health::Retrying(_)) {
            *health = Health::Running;
        }
    }

    /// It has stopped for good.
    pub(crate) fn failed(&self, reason: String) {
        *self.health.lock() = Health::Failed(reason);
    }
}

/// The callbacks of a client.
#[derive(Clone, Default)]
pub(crate) struct Context {
    pub(crate) heard: Arc<Heard>,
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    /// A record that can't be delivered makes its transaction fail; plain producers have their flush.
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            *self.heard.last_error.lock() = Some(error.to_string());
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // librdkafka calls a broker that is away an error at each attempt; health says it once.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::warn!(target: "librdkafka", facility, message);
            }
            _ => tracing::debug!(target: "librdkafka", facility, message),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::PartitionEOF)) {
            return;
        }
        *self.heard.last_error.lock() = Some(reason.to_owned());
        self.heard.retrying(reason.to_owned());
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let Ok(statistics) = serde_json::from_slice::<Statistics>(statistics) else {
            tracing::warn!("librdkafka's statistics can't be read");
            return;
        };
        let mut ends = self.heard.ends.lock();
        for topic in statistics.topics.values() {
            for partition in topic.partitions.values() {
                if partition.partition >= 0 && partition.ls_offset.max(partition.hi_offset) >= 0 {
                    // The last stable offset, where the broker knows transactions.
                    let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
                    ends.insert(partition.partition, end);
                }
            }
        }
        drop(ends);
        if statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP") {
            self.heard.works();
        }
    }
}

/// The few of librdkafka's statistics that are used.
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    brokers: HashMap<String, BrokerStatistics>,
    #[serde(default)]
    topics: HashMap<String, TopicStatistics>,
}

#[derive(Deserialize)]
struct BrokerStatistics {
    nodeid: i64,
    state: String,
}

#[derive(Deserialize)]
struct TopicStatistics {
    partitions: HashMap<String, PartitionStatistics>,
}

#[derive(Deserialize)]
struct PartitionStatistics {
    partition: PartitionId,
    hi_offset: i64,
    ls_offset: i64,
}

/// A client that only asks.
pub(crate) struct Asking<'a> {
    connection: &'a KafkaConnection,
    consumer: BaseConsumer<Context>,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(connection: &'a KafkaConnection) -> Result<Self> {
        let config = config(connection, &[("isolation.level", "read_committed"), ("enable.auto.commit", "false")])?;
        let mut config = config;
        config.remove("group.id");
        let consumer =
            config.create_with_context(Context::default()).map_err(|error| failed("create a client", error))?;
        Ok(Self { connection, consumer })
    }

    fn unanswered(&self, operation: &str, error: KafkaError) -> Error {
        let mut error = unanswered(&self.connection.brokers, operation, error);
        if let Error::Unreachable { reason, .. } = &mut error {
            // What the client heard waits in its queue, and says more than "timed out".
            let heard = &self.consumer.context().heard;
            for _ in 0..EVENTS {
                let _served = self.consumer.poll(Duration::from_millis(10));
                if let Some(heard) = heard.last_error.lock().take() {
                    *reason = heard;
                    break;
                }
            }
        }
        error
    }

    /// The topic's partitions; an error that names similar topics if there is no such topic.
    pub(crate) fn partitions(&self) -> Result<Vec<PartitionId>> {
        match self.find_topic()? {
            Some(partitions) => Ok(partitions),
            None => Err(self.unknown_topic()?),
        }
    }

    /// The topic's partitions, if it exists.
    pub(crate) fn find_topic(&self) -> Result<Option<Vec<PartitionId>>> {
        let topic = &self.connection.topic;
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), ASK_TIMEOUT)
            .map_err(|error| self.unanswered("read the topic's metadata", error))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
        match found.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => return Ok(None),
            Some(RDKafkaErrorCode::LeaderNotAvailable) if !found.partitions().is_empty() => {}
            Some(code) => return Err(failed("read the topic's metadata", KafkaError::MetadataFetch(code))),
        }
        let mut partitions: Vec<PartitionId> = found.partitions().iter().map(|partition| partition.id()).collect();
        partitions.sort_unstable();
        Ok((!partitions.is_empty()).then_some(partitions))
    }

    fn unknown_topic(&self) -> Result<Error> {
        let topic = &self.connection.topic;
        let metadata =
            self.consumer.fetch_metadata(None, ASK_TIMEOUT).map_err(|error| self.unanswered("list topics", error))?;
        let distance = |name: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &topic.to_lowercase());
        let mut near: Vec<(usize, String)> = metadata
            .topics()
            .iter()
            .map(|found| found.name())
            .filter(|name| !name.starts_with("__"))
            .map(|name| (distance(name), name.to_owned()))
            .filter(|(distance, name)| {
                *distance <= 2 + topic.len() / 4 || name.contains(topic.as_str()) || topic.contains(name.as_str())
            })
            .collect();
        near.sort();
        Ok(Error::UnknownTopic {
            topic: topic.clone(),
            brokers: self.connection.brokers.clone(),
            near: near.into_iter().take(NEAR_TOPICS).map(|(_, name)| name).collect(),
        })
    }

    /// Whether this is librdkafka's mock broker.
    pub(crate) fn is_mock(&self) -> bool {
        self.consumer.client().fetch_cluster_id(ASK_TIMEOUT).is_some_and(|id| id.starts_with("mockCluster"))
    }

    /// The first and the end offset of a partition: records of transactions that are open don't count.
    pub(crate) fn watermarks(&self, partition: PartitionId) -> Result<(i64, i64)> {
        self.consumer
            .fetch_watermarks(&self.connection.topic, partition, ASK_TIMEOUT)
            .map_err(|error| self.unanswered("read the ends of a partition", error))
    }

    /// For each partition the first offset at or after a time; `None` if there is none.
    pub(crate) fn at_time(
        &self,
        partitions: &[PartitionId],
        timestamp_ms: i64,
    ) -> Result<HashMap<PartitionId, Option<i64>>> {
        let mut times = rdkafka::TopicPartitionList::new();
        for partition in partitions {
            times
                .add_partition_offset(&self.connection.topic, *partition, rdkafka::Offset::Offset(timestamp_ms))
                .map_err(|error| failed("ask for offsets by time", error))?;
        }
        let found = self
            .consumer
            .offsets_for_times(times, ASK_TIMEOUT)
            .map_err(|error| self.unanswered("ask for offsets by time", error))?;
        let mut offsets = HashMap::new();
        for element in found.elements() {
            element.error().map_err(|error| failed("ask for offsets by time", error))?;
            let offset = match element.offset() {
                rdkafka::Offset::Offset(offset) if offset >= 0 => Some(offset),
                _ => None,
            };
            offsets.insert(element.partition(), offset);
        }
        Ok(offsets)
    }
}
