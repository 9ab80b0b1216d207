//! PostgreSQL's catalog as clients see it: `pg_catalog` and `information_schema`, computed from what exists now, and the functions that read it.
//!
//! Every relation of PostgreSQL 15 is here with all its columns in order (`relations.txt`), so that `SELECT x.*` and joins work; those about
//! what Millrace doesn't have are empty, and stay true that way. Nothing is stored: rows are made from the catalog snapshot that the query sees.
//!
//! How objects appear: a table is a table (`relkind` r), a view and a stream over a query are views (v), a materialized view is one (m), an
//! index an index (i). A source, and a stream declared over a topic, is a foreign table (f): its server is the connector. `\d` lists all of
//! these; `\dt` the tables alone. A primary key has an index and a constraint; the key that the planner found for a materialized view is a unique
//! index `name_key`. A sink holds no rows and is not a relation here.
//!
//! Reading order: [`type_numbers`] (types as numbers), [`layout`] (columns of every relation), [`types`] (built-in types), [`objects`] (what
//! exists, with OIDs), [`mod@rows`] (the contents), [`mod@functions`].

mod functions;
mod layout;
mod objects;
mod rows;
pub mod type_numbers;
mod types;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use catalog::QualifiedName;

pub(crate) use functions::{FunctionContext, functions};

use crate::session::SessionRelations;
use crate::{Error, ErrorKind, Result};

/// The columns of a relation of `pg_catalog` or `information_schema`.
pub(crate) fn relation(name: &QualifiedName) -> Option<SchemaRef> {
    layout::find(name).map(|layout| layout.schema.clone())
}

/// The names of all of them.
pub(crate) fn names() -> impl Iterator<Item = QualifiedName> {
    layout::all().map(|layout| layout.name.clone())
}

/// The rows of one of them as a session sees them.
pub(crate) fn rows(name: &QualifiedName, session: &SessionRelations) -> Result<RecordBatch> {
    let layout = layout::find(name)
        .ok_or_else(|| Error::new(ErrorKind::UndefinedTable, format!("relation \"{name}\" does not exist")))?;
    rows::contents(layout, session)
}

/// Whether a relation of PostgreSQL's catalog never has rows here.
pub(crate) fn is_always_empty(name: &QualifiedName) -> bool {
    layout::find(name).is_some() && rows::writer(name).is_none()
}
