//! DROP: RESTRICT names the dependents, CASCADE takes them along.

use std::collections::BTreeSet;

use catalog::{Object, ObjectId, ObjectKind, QualifiedName};
use sql::ast::ObjectName;
use sql::statement::{Drop, DropKind};

use super::plan::{DropPlan, Plan};
use crate::error::ErrorKind;
use crate::query::provider::{Relation, name_parts, name_span, resolve};
use crate::{Error, PlanContext, Result};

pub(super) fn plan(drop: &Drop, context: &PlanContext<'_>) -> Result<Plan> {
    if drop.kind == DropKind::Schema {
        return schemas(drop, context);
    }
    let mut notices = Vec::new();
    let mut roots = Vec::new();
    for name in &drop.names {
        match find(name, drop.kind, context)? {
            Some(object) => roots.push(object),
            None if drop.if_exists => notices.push(format!("{} \"{name}\" does not exist, skipping", noun(drop.kind))),
            None => return Err(missing(name, drop.kind, context)),
        }
    }
    let ids: Vec<ObjectId> = roots.iter().map(|object| object.id).collect();
    let objects = with_dependents(&ids, drop.cascade, &mut notices, context, |object| {
        format!("cannot drop {} because other objects depend on it", described(object))
    })?;
    Ok(Plan::Drop(DropPlan { objects, schemas: Vec::new(), notices, tag: tag(drop.kind) }))
}

/// All that goes with `roots`, in the order in which it goes.
fn with_dependents(
    roots: &[ObjectId],
    cascade: bool,
    notices: &mut Vec<String>,
    context: &PlanContext<'_>,
    refusal: impl Fn(&Object) -> String,
) -> Result<Vec<ObjectId>> {
    let all = context.catalog.with_dependents(roots.iter().copied());
    let rooted: BTreeSet<ObjectId> = roots.iter().copied().collect();
    // An index goes with its relation, as a part of it.
    let is_other = |object: &&std::sync::Arc<Object>| !rooted.contains(&object.id) && !object.is_index();
    let others: Vec<_> = all.iter().rev().filter_map(|id| context.catalog.get(*id)).filter(is_other).collect();
    if others.is_empty() {
        return Ok(all);
    }
    if cascade {
        notices.push(match others.as_slice() {
            [one] => format!("drop cascades to {}", described(one)),
            many => {
                let list: Vec<String> =
                    many.iter().map(|object| format!("drop cascades to {}", described(object))).collect();
                format!("drop cascades to {} other objects\nDETAIL:  {}", many.len(), list.join("\n"))
            }
        });
        return Ok(all);
    }
    let depends = others.iter().flat_map(|object| {
        let reads = object.depends_on.iter().filter(|id| all.contains(id)).filter_map(|id| context.catalog.get(*id));
        reads.map(|read| format!("{} depends on {}", described(object), described(read)))
    });
    let detail = depends.collect::<Vec<_>>().join("\n");
    let first =
        roots.iter().find_map(|id| context.catalog.get(*id)).ok_or_else(|| Error::internal("nothing to drop"))?;
    Err(Error::new(ErrorKind::DependentObjects, refusal(first))
        .with_detail(detail)
        .with_hint("Use DROP ... CASCADE to drop the dependent objects too."))
}

pub(super) fn described(object: &Object) -> String {
    format!("{} {}", object.noun(), object.name)
}

/// The object of a name, if it exists; it must be of the kind.
fn find(name: &ObjectName, kind: DropKind, context: &PlanContext<'_>) -> Result<Option<std::sync::Arc<Object>>> {
    let parts = name_parts(name)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let object = match resolve(context, &parts) {
        Ok(Relation::Object(object)) => object,
        Ok(Relation::System(name, _)) => {
            let message = format!("permission denied: \"{}\" is a system relation", name.name);
            return Err(Error::new(ErrorKind::NotAllowed, message));
        }
        Err(error) if error.kind == ErrorKind::UndefinedTable => return Ok(None),
        Err(error) => return Err(error.at(name_span(name))),
    };
    if is_of_kind(&object, kind) {
        return Ok(Some(object));
    }
    let article = if kind == DropKind::Index { "an" } else { "a" };
    let error =
        Error::new(ErrorKind::WrongObjectType, format!("\"{}\" is not {article} {}", object.name.name, noun(kind)));
    let hint = format!("Use DROP {} to remove a {}.", object.noun().to_uppercase(), object.noun());
    Err(error.with_hint(hint).at(name_span(name)))
}

/// Whether an object is what the statement says that it is.
pub(super) fn is_of_kind(object: &Object, kind: DropKind) -> bool {
    match (&object.kind, kind) {
        (ObjectKind::Source(source), DropKind::Source) => !source.declared_as_stream,
        (ObjectKind::Source(source), DropKind::Stream) => source.declared_as_stream,
        (ObjectKind::Stream(_), DropKind::Stream)
        | (ObjectKind::Table(_), DropKind::Table)
        | (ObjectKind::View(_), DropKind::View)
        | (ObjectKind::MaterializedView(_), DropKind::MaterializedView)
        | (ObjectKind::Sink(_), DropKind::Sink)
        | (ObjectKind::Index(_), DropKind::Index) => true,
        _ => false,
    }
}

fn missing(name: &ObjectName, kind: DropKind, context: &PlanContext<'_>) -> Error {
    let error_kind = if kind == DropKind::Index { ErrorKind::UndefinedObject } else { ErrorKind::UndefinedTable };
    let bare = name_parts(name).ok().and_then(|mut parts| parts.pop()).unwrap_or_default();
    let hint =
        context.catalog.near_miss(&context.settings.search_path, &bare).map(|near| format!("Did you mean \"{near}\"?"));
    Error::new(error_kind, format!("{} \"{name}\" does not exist", noun(kind))).with_hint_if(hint).at(name_span(name))
}

fn schemas(drop: &Drop, context: &PlanContext<'_>) -> Result<Plan> {
    let mut notices = Vec::new();
    let mut schemas = Vec::new();
    for name in &drop.names {
        let schema = name_parts(name)?.pop().unwrap_or_default();
        if catalog::snapshot::SYSTEM_SCHEMAS.contains(&schema.as_str()) {
            let message = format!("cannot drop schema {schema} because it is required by the database system");
            return Err(Error::new(ErrorKind::DependentObjects, message).at(name_span(name)));
        }
        if context.catalog.has_schema(&schema) {
            schemas.push(schema);
        } else if drop.if_exists {
            notices.push(format!("schema \"{schema}\" does not exist, skipping"));
        } else {
            return Err(Error::new(ErrorKind::UndefinedSchema, format!("schema \"{schema}\" does not exist"))
                .at(name_span(name)));
        }
    }
    let contents: Vec<&std::sync::Arc<Object>> =
        schemas.iter().flat_map(|schema| context.catalog.objects_in(schema)).collect();
    if let (Some(_), false) = (contents.first(), drop.cascade) {
        let lines: Vec<String> = contents
            .iter()
            .filter(|object| !object.is_index())
            .map(|object| format!("{} depends on schema {}", described(object), object.name.schema))
            .collect();
        let message = format!("cannot drop schema {} because other objects depend on it", schemas.join(", "));
        return Err(Error::new(ErrorKind::DependentObjects, message)
            .with_detail(lines.join("\n"))
            .with_hint("Use DROP ... CASCADE to drop the dependent objects too."));
    }
    let objects = context.catalog.with_dependents(contents.iter().map(|object| object.id));
    let names: Vec<&QualifiedName> =
        objects.iter().rev().filter_map(|id| context.catalog.get(*id)).map(|object| &object.name).collect();
    match names.as_slice() {
        [] => {}
        [one] => notices.push(format!("drop cascades to {one}")),
        many => notices.push(format!("drop cascades to {} other objects", many.len())),
    }
    Ok(Plan::Drop(DropPlan { objects, schemas, notices, tag: "DROP SCHEMA" }))
}

pub(super) fn noun(kind: DropKind) -> &'static str {
    match kind {
        DropKind::Source => "source",
        DropKind::Stream => "stream",
        DropKind::Table => "table",
        DropKind::View => "view",
        DropKind::MaterializedView => "materialized view",
        DropKind::Sink => "sink",
        DropKind::Index => "index",
        DropKind::Schema => "schema",
    }
}

fn tag(kind: DropKind) -> &'static str {
    match kind {
        DropKind::Source => "DROP SOURCE",
        DropKind::Stream => "DROP STREAM",
        DropKind::Table => "DROP TABLE",
        DropKind::View => "DROP VIEW",
        DropKind::MaterializedView => "DROP MATERIALIZED VIEW",
        DropKind::Sink => "DROP SINK",
        DropKind::Index => "DROP INDEX",
        DropKind::Schema => "DROP SCHEMA",
    }
}
