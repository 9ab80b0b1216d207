//! A broker inside the process: librdkafka's mock cluster, reachable over TCP by any client on this machine.
//!
//! It is not Kafka. It keeps at most 5 MiB or 100,000 record batches of a partition and drops the oldest; answers a waiting fetch only when its time
//! is up; takes every step of a transaction but delivers the records of aborted ones all the same; makes a topic with four
//! partitions when a producer asks for one that isn't there, and can't be asked to make one over the network. Enough for a demo
//! and for tests of everything that needs no aborted transaction.

use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, Producer};

use super::client::{Context, failed};
use crate::error::{Error, Result};

/// A running mock broker; dropping it stops it.
pub struct MockKafka {
    owner: BaseProducer<Context>,
    brokers: String,
}

impl MockKafka {
    /// Starts a broker on a free port of the loopback interface.
    pub fn start() -> Result<Self> {
        let owner: BaseProducer<Context> = ClientConfig::new()
            .set("test.mock.num.brokers", "1")
            .create_with_context(Context::default())
            .map_err(|error| failed("start the mock broker", error))?;
        let brokers = cluster(&owner)?.bootstrap_servers();
        Ok(Self { owner, brokers })
    }

    /// What the option `brokers` has to be.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Makes a topic.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        cluster(&self.owner)?.create_topic(topic, partitions, 1).map_err(|error| failed("create a topic", error))
    }

    /// Disconnects everyone and refuses connections until [`MockKafka::bring_up`]; records stay.
    pub fn take_down(&self) -> Result<()> {
        cluster(&self.owner)?.broker_down(-1).map_err(|error| failed("stop the mock broker", error))
    }

    /// Takes connections again.
    pub fn bring_up(&self) -> Result<()> {
        cluster(&self.owner)?.broker_up(-1).map_err(|error| failed("start the mock broker", error))
    }
}

fn cluster(owner: &BaseProducer<Context>) -> Result<MockCluster<'_, Context>> {
    owner
        .client()
        .mock_cluster()
        .ok_or_else(|| Error::Unsupported("this build of librdkafka has no mock broker".to_owned()))
}
