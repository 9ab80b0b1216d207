//! The outside world as deltas and offsets: Kafka, files, generators; one folder or file per connector, `formats/` turns
//! bytes into Arrow without I/O.
//!
//! It stands below the engine, which starts sources, takes their batches from bounded queues and owns every position:
//! a connector keeps no progress of its own. It never imports planner, dataflow or storage, and no async runtime.
//!
//! Reading order: [`source`] (the contract of what comes in), [`sink`] (of what goes out), [`options`] (the WITH list),
//! [`formats`], [`kafka`], [`mod@file`], [`generator`].

pub mod error;
pub mod file;
pub mod formats;
pub mod generator;
pub mod kafka;
pub mod options;
pub mod sink;
pub mod source;

pub use error::{Error, Result};
pub use sink::{Sink, SinkRow, SinkSpec, check_sink, open_sink};
pub use source::{
    BatchSender, DeadLetter, Health, PartitionId, Positions, QUEUED_BYTES, RunningSource, Source, SourceBatch,
    SourceSpec, SourceStatus, UpsertKey, batch_channel, batch_channel_of, open_source,
};
