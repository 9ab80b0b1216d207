//! Where the parts meet: sessions, epochs, DDL, queries, subscriptions, recovery, system views.
//!
//! It stands behind every other crate of the pipeline and before `server`. It owns the one thread that runs epochs and the
//! threads beside it (sources, commits, sinks, hydration); sessions are async and talk to that thread by [`command`]s. It knows no wire
//! protocol: a server, a test or a tool opens an [`Engine`] in its own process and runs statements through a [`Session`].
//!
//! Reading order: [`settings`], [`Engine`], [`session`] (what a client can do), [`command`] (what the epoch thread is asked),
//! `coordinator/epoch.rs` (`run_epoch`), [`published`] (what readers see), then the files named after what they do.

mod advisory;
mod backup;
mod command;
mod commit;
mod coordinator;
mod ddl;
mod dead_letters;
mod engine;
pub mod error;
mod hydration;
mod inputs;
mod late;
pub mod metrics;
mod outbox;
mod outside;
mod panics;
mod pg_catalog;
mod planted;
mod published;
mod query;
mod recovery;
mod row_errors;
mod runtime;
pub mod session;
pub mod settings;
mod sinks;
mod subscription;
mod system;
mod watermark;

pub use backup::{backup, backups, restore};
pub use catalog::{CatalogType, SqlType};
pub use engine::Engine;
pub use error::{DataError, Error, ErrorKind, Result};
pub use pg_catalog::type_numbers;
pub use planner::time_zone::PosixZone;
pub use session::{
    Cancel, Notice, Parameter, Prepared, Response, ResultColumn, Rows, Session, SessionParameters, TransactionStatus,
};
pub use settings::Settings;
pub use sql::Statement;
pub use storage::BackupInfo;
