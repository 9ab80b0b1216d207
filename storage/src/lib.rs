//! The ordered store under views and operator state: typed keys, atomic commits of whole epochs, snapshots.
//!
//! It stands below the engine and dataflow and is the only crate that knows RocksDB. It never imports
//! DataFusion or tokio, and its contract ([`Store`]) is small enough to be simulated with faults ([`fault`]).
//!
//! One ordered key space holds everything, so that one commit is one atomic write:
//! `[state id: u32 BE][virtual node: u8][key bytes]`. State 0 is [`meta`]: catalog, offsets, watermarks.
//!
//! Reading order: [`key`], [`change_set`], [`store`] (the contract), [`rocks`] and [`memory`] (the two
//! stores), [`fault`] (a store that fails on purpose), [`meta`].

pub mod change_set;
mod checksum;
pub mod error;
pub mod fault;
pub mod key;
pub mod memory;
pub mod meta;
pub mod rocks;
pub mod store;

pub use change_set::{Change, ChangeSet};
pub use checksum::checksum;
pub use error::{Error, Result};
pub use key::{StateId, state_key, state_prefix, state_range, vnode_prefix};
pub use memory::MemoryStore;
pub use rocks::{BackupInfo, RocksOptions, RocksStore, backups, keep_backups, restore_backup};
pub use store::{Durability, Snapshot, Store, StoreStats, Visit};
