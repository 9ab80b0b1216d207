//! Topics as a reader sees them who only sees what is committed: for the demo, the benchmarks, and tools that check what went through.
//! Sources don't use it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::client::{ASK_TIMEOUT, Context, config, failed};
use crate::error::Result;
use crate::options::KafkaConnection;

/// A record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRecord {
    /// Where it stands.
    pub partition: i32,
    /// Where it stands.
    pub offset: i64,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Everything that a topic holds now and that is committed, by partition and offset.
///
/// # Errors
/// If the brokers don't answer, or if the end isn't reached within `timeout`.
pub fn read_committed(brokers: &str, topic: &str, timeout: Duration) -> Result<Vec<TopicRecord>> {
    let failed = |error| failed(&format!("read topic \"{topic}\""), error);
    let (consumer, mut open) = consumer(brokers, topic, |_| true)?;
    let start = Instant::now();
    let mut records = Vec::new();
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => records.push(TopicRecord {
                partition: message.partition(),
                offset: message.offset(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
            }),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => return Err(failed(error)),
            None if start.elapsed() > timeout => {
                return Err(failed(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)));
            }
            None => {}
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(records)
}

/// Reads some partitions of a topic from their beginnings, record by record, as they come.
pub struct Reader {
    consumer: BaseConsumer<Context>,
    topic: String,
    /// Partitions whose ends haven't been reached.
    open: RefCell<BTreeSet<i32>>,
}

impl Reader {
    /// A reader of the partitions that are `wanted`; it sees what is committed only.
    ///
    /// # Errors
    /// If the brokers don't answer.
    pub fn new(brokers: &str, topic: &str, wanted: impl Fn(i32) -> bool) -> Result<Self> {
        let (consumer, open) = consumer(brokers, topic, wanted)?;
        Ok(Self { consumer, topic: topic.to_owned(), open: RefCell::new(open) })
    }

    /// Shows the value of the next record, if there is one within `wait`; `false` if there is none.
    pub fn poll(&self, wait: Duration, visit: impl FnOnce(Option<&[u8]>)) -> Result<bool> {
        match self.consumer.poll(wait) {
            Some(Ok(message)) => {
                visit(message.payload());
                Ok(true)
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.open.borrow_mut().remove(&partition);
                Ok(false)
            }
            Some(Err(error)) => Err(failed(&format!("read topic \"{}\"", self.topic), error)),
            None => Ok(false),
        }
    }

    /// Whether every partition has been read to what was its end at that moment.
    pub fn is_at_end(&self) -> bool {
        self.open.borrow().is_empty()
    }
}

/// A consumer at the beginning of those partitions of a topic that are `wanted`, and which they are.
fn consumer(
    brokers: &str,
    topic: &str,
    wanted: impl Fn(i32) -> bool,
) -> Result<(BaseConsumer<Context>, BTreeSet<i32>)> {
    let connection =
        KafkaConnection { brokers: brokers.to_owned(), topic: topic.to_owned(), properties: BTreeMap::new() };
    let ours = [
        ("group.id", "millrace-reader"),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
        ("isolation.level", "read_committed"),
        ("fetch.wait.max.ms", "10"),
        ("fetch.queue.backoff.ms", "1"),
    ];
    let failed = |error| failed(&format!("read topic \"{topic}\""), error);
    let consumer: BaseConsumer<Context> =
        config(&connection, &ours)?.create_with_context(Context::default()).map_err(failed)?;
    let metadata = consumer.fetch_metadata(Some(topic), ASK_TIMEOUT).map_err(failed)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let open: BTreeSet<i32> = partitions.map(|partition| partition.id()).filter(|id| wanted(*id)).collect();
    let mut assignment = TopicPartitionList::new();
    for partition in &open {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning).map_err(failed)?;
    }
    consumer.assign(&assignment).map_err(failed)?;
    Ok((consumer, open))
}
