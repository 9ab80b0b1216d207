//! Kafka: topics as sources, and sinks that write each epoch exactly once.
//!
//! Positions come from the engine and no group commits anything. A source has one librdkafka client per decoding thread, each with
//! a share of the partitions; a sink has one transactional producer and writes its progress in the transactions that it describes.
//!
//! Reading order: `client` (connecting, what a topic is), `source`, `consumer` (the reading threads), `sink`, `progress`,
//! [`produce`] and [`read`] (plain records, for the demo, benchmarks and tests), [`mock`] (a broker inside the process, for the demo and tests).

mod client;
mod consumer;
pub mod mock;
pub mod produce;
mod progress;
pub mod read;
mod sink;
mod source;
mod topic;

pub use sink::KafkaSink;
pub use source::KafkaSource;
