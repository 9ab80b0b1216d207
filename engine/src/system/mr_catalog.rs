//! `mr_catalog`: what runs, and how it is.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Int32Array, Int64Array, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use catalog::{Object, ObjectId, ObjectKind};
use connectors::Health;

use crate::session::SessionRelations;
use crate::{Error, Result, SqlType};

/// Dead letters that one query reads at most.
const DEAD_LETTERS: usize = 1_000_000;

/// Errors of views that one query reads at most.
const VIEW_ERRORS: usize = 1_000_000;

/// A relation of `mr_catalog`.
pub(super) struct Relation {
    pub(super) name: &'static str,
    columns: &'static [(&'static str, SqlType)],
    pub(super) rows: fn(&SessionRelations) -> Result<RecordBatch>,
}

impl Relation {
    pub(super) fn schema(&self) -> SchemaRef {
        let fields: Vec<_> = self.columns.iter().map(|(name, sql_type)| sql_type.field(name, true)).collect();
        Arc::new(Schema::new(fields))
    }
}

const TEXT: SqlType = SqlType::Text;
const BIGINT: SqlType = SqlType::BigInt;
const INTEGER: SqlType = SqlType::Integer;
const BOOLEAN: SqlType = SqlType::Boolean;
const TIMESTAMPTZ: SqlType = SqlType::Timestamptz;
const DOUBLE: SqlType = SqlType::Double;

const SOURCES: Relation = Relation {
    name: "sources",
    columns: &[
        ("schema_name", TEXT),
        ("name", TEXT),
        ("connector", TEXT),
        ("status", TEXT),
        ("error", TEXT),
        ("rows", BIGINT),
        ("bytes", BIGINT),
        ("dead_letters", BIGINT),
        ("late_rows", BIGINT),
        ("skipped", BIGINT),
        ("lag", BIGINT),
        ("watermark", TIMESTAMPTZ),
    ],
    rows: sources,
};

const SOURCE_PARTITIONS: Relation = Relation {
    name: "source_partitions",
    columns: &[
        ("schema_name", TEXT),
        ("source", TEXT),
        ("partition", INTEGER),
        ("next_offset", BIGINT),
        ("end_offset", BIGINT),
        ("lag", BIGINT),
    ],
    rows: source_partitions,
};

const VIEWS: Relation = Relation {
    name: "views",
    columns: &[
        ("schema_name", TEXT),
        ("name", TEXT),
        ("kind", TEXT),
        ("epoch", BIGINT),
        ("rows", BIGINT),
        ("hydrated", BOOLEAN),
        ("hydration_rows", BIGINT),
        ("error", TEXT),
    ],
    rows: views,
};

const ERRORS: Relation = Relation {
    name: "view_errors",
    columns: &[("schema_name", TEXT), ("name", TEXT), ("error", TEXT), ("row_values", TEXT), ("count", BIGINT)],
    rows: view_errors,
};

const SINKS: Relation = Relation {
    name: "sinks",
    columns: &[
        ("schema_name", TEXT),
        ("name", TEXT),
        ("connector", TEXT),
        ("status", TEXT),
        ("error", TEXT),
        ("delivered_epoch", BIGINT),
        ("rows", BIGINT),
        ("errors", BIGINT),
        ("outbox_bytes", BIGINT),
    ],
    rows: sinks,
};

const OPERATORS: Relation = Relation {
    name: "operators",
    columns: &[
        ("id", BIGINT),
        ("used_by", TEXT),
        ("operator", TEXT),
        ("rows_in", BIGINT),
        ("rows_out", BIGINT),
        ("seconds", DOUBLE),
        ("state_rows", BIGINT),
        ("state_bytes", BIGINT),
    ],
    rows: operators,
};

const DEAD: Relation = Relation {
    name: "dead_letters",
    columns: &[
        ("source", TEXT),
        ("topic", TEXT),
        ("partition", INTEGER),
        ("offset", BIGINT),
        ("record_time", TIMESTAMPTZ),
        ("key", SqlType::Bytea),
        ("payload", SqlType::Bytea),
        ("reason", TEXT),
    ],
    rows: dead_letters,
};

const EPOCHS: Relation = Relation {
    name: "epochs",
    columns: &[
        ("epoch", BIGINT),
        ("epoch_time", TIMESTAMPTZ),
        ("state_bytes", BIGINT),
        ("store_disk_bytes", BIGINT),
        ("store_memory_bytes", BIGINT),
        ("commits", BIGINT),
        ("committed_bytes", BIGINT),
        ("status", TEXT),
    ],
    rows: epochs,
};

const SETTINGS: Relation = Relation {
    name: "settings",
    columns: &[("name", TEXT), ("setting", TEXT), ("scope", TEXT), ("description", TEXT)],
    rows: settings,
};

/// All of them.
pub(super) const RELATIONS: [Relation; 9] =
    [SOURCES, SOURCE_PARTITIONS, VIEWS, ERRORS, SINKS, OPERATORS, DEAD, EPOCHS, SETTINGS];

fn batch(relation: &Relation, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    RecordBatch::try_new(relation.schema(), columns).map_err(|e| Error::internal(e.to_string()))
}

fn text<T>(rows: &[T], value: impl Fn(&T) -> Option<String>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<StringViewArray>())
}

fn bigint<T>(rows: &[T], value: impl Fn(&T) -> Option<i64>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<Int64Array>())
}

fn integer<T>(rows: &[T], value: impl Fn(&T) -> Option<i32>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<Int32Array>())
}

fn timestamptz<T>(rows: &[T], value: impl Fn(&T) -> Option<i64>) -> ArrayRef {
    Arc::new(rows.iter().map(value).collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

fn signed(value: u64) -> Option<i64> {
    i64::try_from(value).ok()
}

fn objects(session: &SessionRelations, wanted: impl Fn(&Object) -> bool) -> Vec<Arc<Object>> {
    session.published.catalog.objects().filter(|object| wanted(object)).cloned().collect()
}

fn status_text(health: &Health, finished: bool) -> (&'static str, Option<String>) {
    match health {
        Health::Running if finished => ("finished", None),
        Health::Running => ("running", None),
        Health::Retrying(why) => ("retrying", Some(why.clone())),
        Health::Failed(why) => ("failed", Some(why.clone())),
    }
}

fn reads_outside(object: &Object) -> bool {
    match &object.kind {
        ObjectKind::Source(_) => true,
        ObjectKind::Table(table) => table.connector.is_some(),
        _ => false,
    }
}

fn connector_name(object: &Object) -> Option<String> {
    match &object.kind {
        ObjectKind::Source(source) => Some(source.connector.name.clone()),
        ObjectKind::Table(table) => table.connector.as_ref().map(|connector| connector.name.clone()),
        ObjectKind::Stream(stream) => stream.connector.as_ref().map(|connector| connector.name.clone()),
        ObjectKind::Sink(sink) => Some(sink.connector.name.clone()),
        _ => None,
    }
}

fn sources(session: &SessionRelations) -> Result<RecordBatch> {
    let runtime = session.shared.runtime.lock().clone();
    let rows = objects(session, reads_outside);
    let input = |object: &Arc<Object>| runtime.inputs.get(&object.id);
    let status = |object: &Arc<Object>| match input(object) {
        Some(input) => status_text(&input.status.health, input.finished),
        None => ("idle", None),
    };
    let counters = |object: &Arc<Object>| input(object).map(|input| input.read.counters);
    batch(
        &SOURCES,
        vec![
            text(&rows, |o| Some(o.name.schema.clone())),
            text(&rows, |o| Some(o.name.name.clone())),
            text(&rows, |o| connector_name(o)),
            text(&rows, |o| Some(status(o).0.to_owned())),
            text(&rows, |o| status(o).1),
            bigint(&rows, |o| signed(counters(o)?.rows)),
            bigint(&rows, |o| signed(counters(o)?.bytes)),
            bigint(&rows, |o| signed(counters(o)?.dead_letters)),
            bigint(&rows, |o| signed(counters(o)?.late)),
            bigint(&rows, |o| signed(input(o)?.status.skipped)),
            bigint(&rows, |o| Some(lag(input(o)?))),
            timestamptz(&rows, |o| session.published.watermarks.get(&o.id).copied()),
        ],
    )
}

/// Records (or bytes, where offsets count bytes) that wait in all partitions.
pub(crate) fn lag(input: &crate::runtime::InputView) -> i64 {
    let read = &input.read.positions;
    input.status.end_offsets.iter().map(|(p, end)| (end - read.get(p).copied().unwrap_or(0)).max(0)).sum()
}

fn source_partitions(session: &SessionRelations) -> Result<RecordBatch> {
    let runtime = session.shared.runtime.lock().clone();
    let mut rows: Vec<(Arc<Object>, i32, i64, Option<i64>)> = Vec::new();
    for object in objects(session, reads_outside) {
        let Some(input) = runtime.inputs.get(&object.id) else { continue };
        for (partition, next) in &input.read.positions {
            rows.push((object.clone(), *partition, *next, input.status.end_offsets.get(partition).copied()));
        }
    }
    batch(
        &SOURCE_PARTITIONS,
        vec![
            text(&rows, |r| Some(r.0.name.schema.clone())),
            text(&rows, |r| Some(r.0.name.name.clone())),
            integer(&rows, |r| Some(r.1)),
            bigint(&rows, |r| Some(r.2)),
            bigint(&rows, |r| r.3),
            bigint(&rows, |r| r.3.map(|end| (end - r.2).max(0))),
        ],
    )
}

fn views(session: &SessionRelations) -> Result<RecordBatch> {
    let published = &session.published;
    let rows = objects(session, Object::is_stored);
    let hydrating = |o: &Arc<Object>| published.hydrating.get(&o.id);
    batch(
        &VIEWS,
        vec![
            text(&rows, |o| Some(o.name.schema.clone())),
            text(&rows, |o| Some(o.name.name.clone())),
            text(&rows, |o| Some(o.noun().to_owned())),
            bigint(&rows, |_| signed(published.epoch.0)),
            bigint(&rows, |o| {
                let rows = published.relations.get(&o.id)?.row_count(&*published.snapshot).ok()?;
                i64::try_from(rows).ok()
            }),
            Arc::new(rows.iter().map(|o| Some(hydrating(o).is_none())).collect::<BooleanArray>()),
            bigint(&rows, |o| signed(hydrating(o)?.rows)),
            text(&rows, |o| hydrating(o)?.error.clone()),
        ],
    )
}

fn view_errors(session: &SessionRelations) -> Result<RecordBatch> {
    let rows = crate::row_errors::of_all(&session.published, VIEW_ERRORS)?;
    let object = |id: ObjectId| session.published.catalog.get(id);
    batch(
        &ERRORS,
        vec![
            text(&rows, |r| Some(object(r.0)?.name.schema.clone())),
            text(&rows, |r| Some(object(r.0)?.name.name.clone())),
            text(&rows, |r| Some(r.1.message.clone())),
            text(&rows, |r| Some(r.1.row.clone())),
            bigint(&rows, |r| Some(r.2)),
        ],
    )
}

fn sinks(session: &SessionRelations) -> Result<RecordBatch> {
    let runtime = session.shared.runtime.lock().clone();
    let is_sink = |object: &Object| match &object.kind {
        ObjectKind::Sink(_) => true,
        ObjectKind::Stream(stream) => stream.connector.is_some(),
        _ => false,
    };
    let rows = objects(session, is_sink);
    let sink = |o: &Arc<Object>| runtime.sinks.get(&o.id);
    let status = |o: &Arc<Object>| sink(o).map(|sink| status_text(&sink.status.health, false));
    batch(
        &SINKS,
        vec![
            text(&rows, |o| Some(o.name.schema.clone())),
            text(&rows, |o| Some(o.name.name.clone())),
            text(&rows, |o| connector_name(o)),
            text(&rows, |o| Some(status(o)?.0.to_owned())),
            text(&rows, |o| status(o)?.1),
            bigint(&rows, |o| signed(sink(o)?.status.delivered.0)),
            bigint(&rows, |o| signed(sink(o)?.status.rows)),
            bigint(&rows, |o| signed(sink(o)?.status.errors)),
            bigint(&rows, |o| i64::try_from(sink(o)?.outbox_bytes).ok()),
        ],
    )
}

fn operators(session: &SessionRelations) -> Result<RecordBatch> {
    let rows = session.shared.runtime.lock().operators.clone();
    let name =
        |id: ObjectId| session.published.catalog.get(id).map_or_else(|| format!("#{}", id.0), |o| o.name.to_string());
    batch(
        &OPERATORS,
        vec![
            bigint(&(0i64..).take(rows.len()).collect::<Vec<_>>(), |id| Some(*id)),
            text(&rows, |o| Some(o.relations.iter().copied().map(name).collect::<Vec<_>>().join(", "))),
            text(&rows, |o| Some(planner::explain::operator(&o.node, &name))),
            bigint(&rows, |o| signed(o.rows_in)),
            bigint(&rows, |o| signed(o.rows_out)),
            Arc::new(rows.iter().map(|o| Some(o.busy.as_secs_f64())).collect::<arrow::array::Float64Array>()),
            bigint(&rows, |o| i64::try_from(o.state_rows).ok()),
            bigint(&rows, |o| i64::try_from(o.state_bytes).ok()),
        ],
    )
}

fn dead_letters(session: &SessionRelations) -> Result<RecordBatch> {
    let rows = crate::dead_letters::read(&session.published.snapshot, DEAD_LETTERS)?;
    let object = |id: &ObjectId| session.published.catalog.get(*id);
    let topic = |object: &Object| {
        let connector = match &object.kind {
            ObjectKind::Source(source) => &source.connector,
            ObjectKind::Table(table) => table.connector.as_ref()?,
            _ => return None,
        };
        connector.options.get("topic").cloned()
    };
    batch(
        &DEAD,
        vec![
            text(&rows, |r| Some(object(&r.0)?.name.to_string())),
            text(&rows, |r| topic(object(&r.0)?)),
            integer(&rows, |r| Some(r.1.partition).filter(|p| *p >= 0)),
            bigint(&rows, |r| Some(r.1.offset).filter(|offset| *offset >= 0)),
            timestamptz(&rows, |r| r.1.timestamp_ms.map(|ms| ms.saturating_mul(1000))),
            Arc::new(rows.iter().map(|r| r.1.key.as_ref()).collect::<BinaryViewArray>()),
            Arc::new(rows.iter().map(|r| r.1.payload.as_ref()).collect::<BinaryViewArray>()),
            text(&rows, |r| Some(r.1.reason.clone())),
        ],
    )
}

fn epochs(session: &SessionRelations) -> Result<RecordBatch> {
    let runtime = session.shared.runtime.lock().clone();
    let published = &session.published;
    let status = runtime.status();
    let rows = [()];
    batch(
        &EPOCHS,
        vec![
            bigint(&rows, |()| signed(published.epoch.0)),
            timestamptz(&rows, |()| Some(published.timestamp_us)),
            bigint(&rows, |()| i64::try_from(runtime.state_bytes).ok()),
            bigint(&rows, |()| signed(runtime.store.disk_bytes)),
            bigint(&rows, |()| signed(runtime.store.memory_bytes)),
            bigint(&rows, |()| signed(runtime.store.commits)),
            bigint(&rows, |()| signed(runtime.store.committed_bytes)),
            text(&rows, |()| Some(status.clone())),
        ],
    )
}

fn settings(session: &SessionRelations) -> Result<RecordBatch> {
    let server = &session.shared.settings;
    let mut rows: Vec<[String; 4]> = vec![
        row("memory_budget", &server.memory_budget_bytes.to_string(), "server", "bytes for state and caches"),
        row("workers", &server.workers.to_string(), "server", "threads that step operators"),
        row("checkpoint_interval", &format!("{:?}", server.checkpoint_interval), "server", "time between checkpoints"),
        row("checkpoint_bytes", &server.checkpoint_bytes.to_string(), "server", "changes that make a checkpoint due"),
        row("epoch_rows", &server.epoch_rows.to_string(), "server", "rows taken into one epoch at most"),
        row("epoch_bytes", &server.epoch_bytes.to_string(), "server", "bytes taken into one epoch at most"),
        row("concurrent_builds", &server.concurrent_builds.to_string(), "server", "views built at the same time"),
        row("query_memory", &server.query_memory_bytes.to_string(), "server", "bytes for ad-hoc queries"),
    ];
    for variable in &crate::session::variables::VARIABLES {
        let value = session.variables.get(variable.name).unwrap_or_default();
        rows.push(row(variable.name, &value, "session", variable.description));
    }
    let column = |i: usize| text(&rows, |r| Some(r[i].clone()));
    batch(&SETTINGS, (0..4).map(column).collect())
}

fn row(name: &str, value: &str, scope: &str, description: &str) -> [String; 4] {
    [name, value, scope, description].map(str::to_owned)
}
