//! A plain Kafka client for tests: topics, records, and everything that a topic holds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use super::broker::Broker;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A record as it stands in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<String>,
    pub value: Option<String>,
}

/// A topic's name that no other test and no earlier run has used.
pub fn unique(name: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

fn block_on<F: std::future::Future>(future: F) -> F::Output {
    futures::executor::block_on(future)
}

fn admin(broker: &Broker) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &broker.bootstrap).create().unwrap()
}

/// Makes a topic and waits until it has leaders.
pub fn create_topic(broker: &Broker, name: &str, partitions: i32) {
    create_topic_with(broker, name, partitions, &[]);
}

/// As [`create_topic`], with properties.
pub fn create_topic_with(broker: &Broker, name: &str, partitions: i32, properties: &[(&str, &str)]) {
    if broker.create_mock_topic(name, partitions) {
        return;
    }
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(broker.replication()));
    let topic = properties.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    for result in block_on(admin(broker).create_topics(&[topic], &AdminOptions::new())).unwrap() {
        result.unwrap();
    }
    let consumer = consumer(broker, "read_uncommitted");
    crate::support::wait::until("leaders of the new topic", || {
        let metadata = consumer.fetch_metadata(Some(name), TIMEOUT).ok()?;
        let topic = metadata.topics().first()?;
        let ready =
            topic.partitions().len() == partitions as usize && topic.partitions().iter().all(|p| p.leader() >= 0);
        ready.then_some(())
    });
}

/// Takes a topic away.
pub fn delete_topic(broker: &Broker, name: &str) {
    for result in block_on(admin(broker).delete_topics(&[name], &AdminOptions::new())).unwrap() {
        result.unwrap();
    }
}

/// Gives a topic more partitions.
pub fn add_partitions(broker: &Broker, name: &str, total: usize) {
    let more = NewPartitions::new(name, total);
    for result in block_on(admin(broker).create_partitions(&[more], &AdminOptions::new())).unwrap() {
        result.unwrap();
    }
}

fn consumer(broker: &Broker, isolation: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", &broker.bootstrap)
        .set("group.id", "tests")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", isolation)
        .create()
        .unwrap()
}

/// Sends records and can say when all have arrived.
pub struct Sender {
    producer: BaseProducer,
    topic: String,
}

impl Sender {
    pub fn new(broker: &Broker, topic: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &broker.bootstrap)
            .set("linger.ms", "2")
            .set("enable.idempotence", if broker.is_real() { "true" } else { "false" })
            .set("message.timeout.ms", "120000")
            .create()
            .unwrap();
        Self { producer, topic: topic.to_owned() }
    }

    /// Hands a record to the client, waiting while its queue is full.
    pub fn send(&self, partition: i32, key: Option<&str>, value: Option<&str>) {
        self.send_at(partition, key, value, None);
    }

    /// As [`Sender::send`], with a timestamp in milliseconds.
    pub fn send_at(&self, partition: i32, key: Option<&str>, value: Option<&str>, timestamp_ms: Option<i64>) {
        let mut record = BaseRecord::<str, str>::to(&self.topic).partition(partition);
        record.key = key;
        record.payload = value;
        record.timestamp = timestamp_ms;
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err((_, back)) => {
                    record = back;
                    self.producer.poll(Duration::from_millis(10));
                }
            }
        }
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until the broker has everything.
    pub fn flush(&self) {
        self.producer.flush(Duration::from_secs(120)).unwrap();
    }
}

/// Everything that a topic holds for a reader of that isolation level, in order of partition and offset.
pub fn read_all(broker: &Broker, topic: &str, isolation: &str) -> Vec<Record> {
    let consumer = consumer(broker, isolation);
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).unwrap();
    let partitions: Vec<i32> = metadata.topics()[0].partitions().iter().map(|p| p.id()).collect();
    let mut assignment = TopicPartitionList::new();
    for partition in &partitions {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut records: BTreeMap<(i32, i64), Record> = BTreeMap::new();
    let mut ended = std::collections::BTreeSet::new();
    let start = Instant::now();
    while ended.len() < partitions.len() {
        assert!(start.elapsed() < Duration::from_secs(120), "{topic} could not be read to its end");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let record = Record {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(text),
                    value: message.payload().map(text),
                };
                records.insert((record.partition, record.offset), record);
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(partition))) => {
                ended.insert(partition);
            }
            Some(Err(error)) => panic!("reading {topic}: {error}"),
            None => {}
        }
    }
    records.into_values().collect()
}
