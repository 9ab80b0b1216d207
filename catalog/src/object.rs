//! The objects that a catalog holds.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::SqlType;

/// The number of an object; never reused, the same after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId(pub u32);

/// A schema and a name within it, folded as PostgreSQL folds identifiers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QualifiedName {
    /// The schema: `public` unless told otherwise.
    pub schema: String,
    /// The name within the schema.
    pub name: String,
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema != "public" {
            write!(f, "{}.", self.schema)?;
        }
        f.write_str(&self.name)
    }
}

/// One column of a relation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name, folded.
    pub name: String,
    /// Its type.
    pub sql_type: SqlType,
    /// Whether NULL may stand in it.
    pub nullable: bool,
    /// What an INSERT that leaves it out puts there: an expression in SQL.
    pub default: Option<String>,
    /// Set for a column that the source fills from a record's metadata instead of its value.
    pub generated: Option<Generated>,
}

/// Where a column that is not part of a record's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Generated {
    /// A record's metadata: `INCLUDE …`.
    Include(IncludeKind),
}

/// `INCLUDE KEY | PARTITION | OFFSET | TIMESTAMP | HEADERS [AS name]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Include {
    /// What is included.
    pub kind: IncludeKind,
    /// The column's name.
    pub name: String,
}

/// A part of a record's metadata, with the type of its column ([`IncludeKind::sql_type`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IncludeKind {
    /// The key's bytes as text (`text`; bytea if the key is not UTF-8 is refused as a dead letter).
    Key,
    /// `integer`.
    Partition,
    /// `bigint`.
    Offset,
    /// `timestamptz`.
    Timestamp,
    /// `jsonb`: an object of header names and values.
    Headers,
}

impl IncludeKind {
    /// The type of the column.
    pub fn sql_type(self) -> SqlType {
        match self {
            Self::Key => SqlType::Text,
            Self::Partition => SqlType::Integer,
            Self::Offset => SqlType::BigInt,
            Self::Timestamp => SqlType::Timestamptz,
            Self::Headers => SqlType::Jsonb,
        }
    }
}

/// `WATERMARK FOR column AS column - INTERVAL 'delay'`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// Position of the event time column, a timestamp or timestamptz.
    pub column: usize,
    /// How far the watermark stays behind the largest event time seen in a partition, in microseconds.
    pub delay_us: i64,
}

/// What happens to a row whose windows are all closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LatePolicy {
    /// Counted and left out.
    #[default]
    Drop,
    /// Counted, left out, and kept among the source's dead letters.
    DeadLetter,
}

/// A column of times that says when rows are complete.
///
/// For [`TimeKind::Event`]: a row whose time is behind the watermark is late. For [`TimeKind::Window`]: a row whose window's end has been
/// passed by the watermark never changes again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeBound {
    /// What the column is.
    pub kind: TimeKind,
    /// The sources whose least watermark counts, in order of their ids; never none.
    pub sources: Vec<ObjectId>,
    /// What those sources do with late rows.
    pub late: LatePolicy,
}

/// See [`TimeBound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TimeKind {
    /// A source's event time.
    Event,
    /// A window's end, or its start.
    Window {
        /// Added to the column's value (microseconds) it is the window's end: 0, or the window's length.
        offset_us: i64,
    },
}

/// The outside end of a source, a table over a topic, or a sink: the options as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connector {
    /// `kafka`, `file`, `generator`.
    pub name: String,
    /// Every other option of the WITH list, names in lower case; values as written. Secrets are among them: never log.
    pub options: BTreeMap<String, String>,
    /// Where reading starts, resolved when the object was made: next offset by partition (see connectors' positions).
    pub start: BTreeMap<i32, i64>,
}

/// Something that has a name in the catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// Its number.
    pub id: ObjectId,
    /// Its name.
    pub name: QualifiedName,
    /// The statement that made it, normalised: what SHOW CREATE prints and what a restart plans again.
    pub sql: String,
    /// The columns that a query sees, in order; empty for a sink and an index.
    pub columns: Vec<Column>,
    /// What it reads; DROP … RESTRICT looks here.
    pub depends_on: Vec<ObjectId>,
    /// What it is.
    pub kind: ObjectKind,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ObjectKind {
    /// Events from outside, append-only.
    Source(Source),
    /// Keyed, current state: DML, or an upsert topic.
    Table(Table),
    /// A continuous query that is not stored, or events declared over a topic (then it is a [`Source`]).
    Stream(Stream),
    /// A named query.
    View(View),
    /// A query kept up to date.
    MaterializedView(MaterializedView),
    /// Changes of a relation, emitted.
    Sink(Sink),
    /// A second order on a stored relation.
    Index(Index),
}

/// See [`ObjectKind::Source`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Where it reads.
    pub connector: Connector,
    /// Its watermark, if declared.
    pub watermark: Option<Watermark>,
    /// What happens to late rows.
    pub late: LatePolicy,
    /// Made by CREATE STREAM name (columns) rather than CREATE SOURCE: the same thing under the other name.
    pub declared_as_stream: bool,
}

/// See [`ObjectKind::Table`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Positions of the primary key columns; empty: rows may repeat.
    pub primary_key: Vec<usize>,
    /// The upsert topic that feeds it; `None`: DML.
    pub connector: Option<Connector>,
    /// The number of its state table.
    pub state_id: u32,
}

/// See [`ObjectKind::Stream`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// The query's text.
    pub query: String,
    /// Where it is emitted, if anywhere.
    pub connector: Option<Connector>,
    /// The number of its outbox's state table.
    #[serde(default)]
    pub state_id: u32,
    /// The time zone by which it reckons, as of a materialized view.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// State tables of its operators, as for a materialized view.
    #[serde(default)]
    pub operator_states: BTreeMap<String, u32>,
}

/// See [`ObjectKind::View`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The query's text.
    pub query: String,
}

/// See [`ObjectKind::MaterializedView`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MaterializedView {
    /// The query's text.
    pub query: String,
    /// Positions of the columns that identify a row, found by the planner; empty: none was found.
    pub key: Vec<usize>,
    /// No row is ever taken away.
    pub append_only: bool,
    /// `EMIT ON WINDOW CLOSE`: each window appears once, when the watermark passes its end.
    #[serde(default)]
    pub emit_on_close: bool,
    /// `WITH (on_error = 'null')`: an expression that fails on a row is NULL there, rather than an error of the view.
    #[serde(default)]
    pub null_on_error: bool,
    /// `WITH (retention = …)`: how long rows stay.
    #[serde(default)]
    pub retention: Option<Retention>,
    /// `WITH (state_ttl = …)`: for how long operators know keys that nothing comes for, in microseconds.
    #[serde(default)]
    pub state_ttl_us: Option<i64>,
    /// The time zone by which it reckons, that of the session that made it; `None`: UTC.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// The view whose place it will take: nobody knows of it until then.
    #[serde(default)]
    pub takes_place_of: Option<ObjectId>,
    /// Columns (by position) by which time goes on in views over this one, found by the planner.
    #[serde(default)]
    pub times: Vec<(usize, TimeBound)>,
    /// Set if there are ever more rows for as long as sources go on, found by the planner.
    #[serde(default)]
    pub growth: Option<Growth>,
    /// The number of the state table that holds its rows.
    pub state_id: u32,
    /// State tables of its operators by the fingerprint of their plan node: stable over restarts.
    pub operator_states: BTreeMap<String, u32>,
}

/// Why a materialized view has ever more rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Growth {
    /// The sources whose rows never end.
    pub sources: Vec<ObjectId>,
    /// Positions of the columns that have ever new values.
    pub columns: Vec<usize>,
}

/// How long the rows of a materialized view stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// A row goes so long after its time, in microseconds.
    pub us: i64,
    /// The column that has its time; `None`: the planner finds it.
    pub column: Option<usize>,
    /// Rows go from what is stored only: views, subscribers and sinks are not told.
    pub silent: bool,
}

/// See [`ObjectKind::Sink`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sink {
    /// The relation whose changes go out.
    pub from: ObjectId,
    /// Where to.
    pub connector: Connector,
    /// The number of its outbox's state table.
    pub state_id: u32,
}

/// See [`ObjectKind::Index`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// The relation it orders.
    pub on: ObjectId,
    /// Positions of its columns.
    pub columns: Vec<usize>,
    /// The number of its state table.
    pub state_id: u32,
}
