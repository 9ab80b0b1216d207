//! Making topics.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};

use super::client::{ASK_TIMEOUT, Asking, Context, config, failed};
use crate::error::{Error, Result};
use crate::options::KafkaConnection;

/// How a topic is made if it isn't there.
pub(crate) struct Shape<'a> {
    pub(crate) partitions: i32,
    pub(crate) replication_factor: i32,
    /// Properties of the topic.
    pub(crate) properties: &'a [(&'a str, &'a str)],
}

/// Makes sure that the topic of `connection` exists.
pub(crate) fn ensure(connection: &KafkaConnection, shape: &Shape<'_>) -> Result<()> {
    let asking = Asking::new(connection)?;
    if asking.find_topic()?.is_some() {
        return Ok(());
    }
    if asking.is_mock() {
        // librdkafka's mock broker makes topics when someone wants to write, and only then.
        touch(connection)?;
    } else {
        create(connection, shape)
            .map_err(|code| failed(&format!("create topic \"{}\"", connection.topic), KafkaError::AdminOp(code)))?;
    }
    let began = Instant::now();
    while asking.find_topic()?.is_none() {
        if began.elapsed() > ASK_TIMEOUT {
            return Err(Error::UnknownTopic {
                topic: connection.topic.clone(),
                brokers: connection.brokers.clone(),
                near: Vec::new(),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn create(connection: &KafkaConnection, shape: &Shape<'_>) -> Result<(), RDKafkaErrorCode> {
    let code = |error: KafkaError| match error {
        KafkaError::AdminOp(code) => code,
        other => other.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
    };
    let config = config(connection, &[]).map_err(|_| RDKafkaErrorCode::InvalidArgument)?;
    let admin: AdminClient<Context> = config.create_with_context(Context::default()).map_err(code)?;
    let mut topic =
        NewTopic::new(&connection.topic, shape.partitions, TopicReplication::Fixed(shape.replication_factor));
    for (name, value) in shape.properties {
        topic = topic.set(name, value);
    }
    let options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT)).operation_timeout(Some(ASK_TIMEOUT));
    let results = block_on(admin.create_topics([&topic], &options)).map_err(code)?;
    match results.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) | Some(Ok(_)) | None => Ok(()),
        Some(Err((_, code))) => Err(code),
    }
}

/// Asks for the topic as a producer does, which lets a broker that makes topics make it.
fn touch(connection: &KafkaConnection) -> Result<()> {
    let producer: BaseProducer<Context> = config(connection, &[])?
        .create_with_context(Context::default())
        .map_err(|error| failed("create a producer", error))?;
    let metadata = producer.client().fetch_metadata(Some(&connection.topic), ASK_TIMEOUT);
    metadata.map(|_| ()).map_err(|error| failed("create the topic", error))
}
