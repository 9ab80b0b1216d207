//! The algebra of changes: a [`Delta`] is a Z-set, an Arrow batch whose rows carry integer weights.
//!
//! First crate of the pipeline; every other crate that touches data stands on it. It knows rows, weights,
//! epochs and virtual nodes. It never imports tokio, storage or SQL, starts no thread and reads no clock.
//!
//! Reading order: [`epoch`], [`weighted`] (the type), [`mod@consolidate`] (its one law), [`vnode`] (how rows
//! are placed), [`mod@partition`] (how a delta is cut into shards).

pub mod consolidate;
pub mod epoch;
pub mod error;
pub mod partition;
pub mod vnode;
pub mod weighted;

pub use consolidate::consolidate;
pub use epoch::Epoch;
pub use error::{Error, Result};
pub use partition::{Part, partition};
pub use vnode::{EMPTY_KEY_HASH, SHARDS, VNODES, VNODES_PER_SHARD, Vnode, hash_rows, shard_of, vnode_of, vnodes_of};
pub use weighted::{Delta, Weight};
