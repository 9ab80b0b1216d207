//! What exists: ids, names, columns, types, definitions and dependencies, as immutable snapshots.
//!
//! A [`Catalog`] is a value: a statement is planned against one snapshot, and a change makes a new one. It stands below
//! planner, dataflow and connectors. It knows neither SQL text nor I/O; definitions keep their SQL as opaque text.
//!
//! Reading order: [`sql_type`], [`catalog_type`], [`object`], [`snapshot`].

pub mod catalog_type;
pub mod error;
pub mod object;
pub mod snapshot;
pub mod sql_type;

pub use catalog_type::CatalogType;
pub use error::{Error, Result};
pub use object::{
    Column, Connector, Generated, Growth, Include, IncludeKind, Index, LatePolicy, MaterializedView, Object, ObjectId,
    ObjectKind, QualifiedName, Retention, Sink, Source, Stream, Table, TimeBound, TimeKind, View, Watermark,
};
pub use snapshot::{Catalog, Comment, Counters, nearest};
pub use sql_type::SqlType;
