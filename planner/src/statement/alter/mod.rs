//! ALTER: other names, other columns, another query. What reads the object goes on: its definition follows ([`definition`]).

mod columns;
pub(super) mod definition;
pub(super) mod explain;
mod follow;
mod rename;
pub(super) mod replace;
mod same;

use std::collections::BTreeMap;
use std::sync::Arc;

use catalog::{Catalog, Object, ObjectId, ObjectKind};
use sql::ast::ObjectName;
use sql::statement::{Alter, AlterAction, DropKind};

use super::drop;
use super::plan::Plan;
use crate::error::ErrorKind;
use crate::query::provider::{Relation, name_parts, name_span, resolve};
use crate::{Error, PlanContext, Result};

pub(super) fn plan(alter: &Alter, context: &PlanContext<'_>) -> Result<Plan> {
    let tag = tag(alter.kind);
    let Some(object) = find(&alter.name, alter.kind, &alter.action, context)? else {
        if alter.if_exists {
            let notice = format!("relation \"{}\" does not exist, skipping", alter.name);
            return Ok(Plan::Nothing { tag, notice: Some(notice) });
        }
        return Err(missing(&alter.name, context));
    };
    match &alter.action {
        AlterAction::Rename(name) => rename::rename(&object, name, tag, context),
        AlterAction::SetSchema(schema) => rename::set_schema(&object, schema, tag, context),
        AlterAction::Swap(with) => {
            let other = find(with, alter.kind, &alter.action, context)?.ok_or_else(|| missing(with, context))?;
            rename::swap(&object, &other, with, tag, context)
        }
        AlterAction::RenameColumn { from, to } => columns::rename(&object, from, to, tag, context),
        AlterAction::Columns(changes) => columns::change(&object, changes, name_span(&alter.name), tag, context),
        AlterAction::As(query) => replace::alter_as(&object, query, name_span(&alter.name), context),
    }
}

/// The object of a name, if it exists; it must be of the kind. As in PostgreSQL, ALTER TABLE renames views and indexes too.
fn find(
    name: &ObjectName,
    kind: DropKind,
    action: &AlterAction,
    context: &PlanContext<'_>,
) -> Result<Option<Arc<Object>>> {
    let parts = name_parts(name)?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let object = match resolve(context, &parts) {
        Ok(Relation::Object(object)) => object,
        Ok(Relation::System(name, _)) => {
            let message = format!("permission denied: \"{}\" is a system catalog", name.name);
            return Err(Error::new(ErrorKind::NotAllowed, message));
        }
        Err(error) if error.kind == ErrorKind::UndefinedTable => return Ok(None),
        Err(error) => return Err(error.at(name_span(name))),
    };
    let names_it =
        matches!(action, AlterAction::Rename(_) | AlterAction::SetSchema(_) | AlterAction::RenameColumn { .. });
    let any_of_postgres = kind == DropKind::Table && names_it;
    let fits = drop::is_of_kind(&object, kind)
        || any_of_postgres
            && matches!(object.kind, ObjectKind::View(_) | ObjectKind::MaterializedView(_) | ObjectKind::Index(_));
    if fits {
        return Ok(Some(object));
    }
    let article = if kind == DropKind::Index { "an" } else { "a" };
    let message = format!("\"{}\" is not {article} {}", object.name.name, drop::noun(kind));
    let hint = format!("Use ALTER {}.", object.noun().to_uppercase());
    Err(Error::new(ErrorKind::WrongObjectType, message).with_hint(hint).at(name_span(name)))
}

fn missing(name: &ObjectName, context: &PlanContext<'_>) -> Error {
    let bare = name_parts(name).ok().and_then(|mut parts| parts.pop()).unwrap_or_default();
    let near = context.catalog.near_miss(&context.settings.search_path, &bare);
    Error::new(ErrorKind::UndefinedTable, format!("relation \"{name}\" does not exist"))
        .with_hint_if(near.map(|near| format!("Did you mean \"{near}\"?")))
        .at(name_span(name))
}

fn tag(kind: DropKind) -> &'static str {
    match kind {
        DropKind::Source => "ALTER SOURCE",
        DropKind::Stream => "ALTER STREAM",
        DropKind::Table => "ALTER TABLE",
        DropKind::View => "ALTER VIEW",
        DropKind::MaterializedView => "ALTER MATERIALIZED VIEW",
        DropKind::Sink => "ALTER SINK",
        DropKind::Index => "ALTER INDEX",
        DropKind::Schema => "ALTER SCHEMA",
    }
}

/// The catalog with changed objects.
fn altered(changed: &BTreeMap<ObjectId, Object>, context: &PlanContext<'_>) -> Result<Catalog> {
    let objects = changed.values().cloned().collect();
    context.catalog.alter(objects).map_err(|error| Error::internal(format!("the catalog refuses: {error}")))
}
