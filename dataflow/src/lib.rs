//! From an incremental plan to a running operator graph: one synchronous step of all operators per epoch.
//!
//! It stands between `planner` (whose plan it runs) and `engine` (which feeds epochs and commits what they change). It never
//! imports connectors, tokio or RocksDB, reads no clock, draws no random number; threads come from one worker pool.
//!
//! **Deterministic**: rows of stateful operators are hashed on their key into 256 virtual nodes, which lie in a fixed number of
//! shards; workers take shards, so neither results nor state bytes depend on how many workers there are.
//!
//! Reading order: [`graph`] (nodes, sharing, the step), [`operator`] (the contract), [`expression`], [`failures`], [`exchange`] (rows to
//! shards), [`state`] (write-back caches over the store), [`operators`] (one per file), [`nearest`] (ASOF joins of ad-hoc queries), [`aggregate`] (accumulators),
//! [`view`] (what readers see: stored rows under an overlay).

pub mod aggregate;
pub mod error;
pub mod exchange;
pub mod expression;
pub mod failures;
pub mod graph;
pub mod nearest;
pub mod operator;
pub mod operators;
pub mod state;
pub mod view;

pub use error::{Error, Result};
pub use failures::RowError;
pub use graph::{
    EpochInputs, EpochOutputs, Graph, GraphSettings, LateRows, OperatorStats, StateAllocator, Workers, errors_state,
    read_output,
};
pub use nearest::NearestRows;
pub use operator::{Operator, StepContext};
pub use operators::{assign_sessions, assign_windows};
pub use view::{Direction, IndexLayout, KeyRange, PublishedView, RangeScan, Scan, ViewForm, ViewLayout};
