//! CREATE VIEW and CREATE MATERIALIZED VIEW.

use std::collections::BTreeMap;

use catalog::{MaterializedView, ObjectKind, View};
use sql::Statement;
use sql::statement::{CreateMaterializedView, CreateView, Emit};

use super::object::{self, Name};
use super::place;
use super::plan::Plan;
use super::view_options::ViewOptions;
use crate::error::ErrorKind;
use crate::incremental::OnError;
use crate::lower::{LowerOptions, lower};
use crate::query::plan_query;
use crate::query::provider::name_span;
use crate::{Error, PlanContext, Result};

pub(super) fn plan(create: &CreateView, statement: &Statement, context: &PlanContext<'_>) -> Result<Plan> {
    let tag = "CREATE VIEW";
    let name = object::new_name(&create.name, context)?;
    let mut replaces = None;
    if let Some(old) = context.catalog.find(&name) {
        if create.if_not_exists {
            let notice = format!("relation \"{}\" already exists, skipping", name.name);
            return Ok(Plan::Nothing { tag, notice: Some(notice) });
        }
        if !create.or_replace {
            return Err(object::taken(&name).at(name_span(&create.name)));
        }
        if !matches!(old.kind, ObjectKind::View(_)) {
            let message = format!("\"{}\" is not a view", name.name);
            return Err(Error::new(ErrorKind::WrongObjectType, message).at(name_span(&create.name)));
        }
        replaces = Some(old.clone());
    }
    if let Some((_, span)) = create.query.emit {
        return Err(Error::unsupported("EMIT in CREATE VIEW").with_hint("Only a materialized view emits.").at(span));
    }
    let planned = plan_query(&create.query.query, context)?;
    object::refuse_parameters(&planned)?;
    let columns = object::view_columns(&planned.schema, &create.columns)?;
    let kind = ObjectKind::View(View { query: object::stored_query(&create.query, &name, context)? });
    let mut plan = object::create(name, &statement.text, columns, kind, tag);
    plan.object.depends_on = object::named_objects(&create.query.query, context);
    if let Some(old) = replaces {
        if plan.object.depends_on.contains(&old.id) {
            let message = format!("infinite recursion detected: view \"{}\" would read itself", old.name.name);
            return Err(Error::new(ErrorKind::InvalidTableDefinition, message).at(name_span(&create.name)));
        }
        if let Some(dependent) = context.catalog.dependents(old.id).next() {
            let error = Error::new(
                ErrorKind::DependentObjects,
                format!("cannot replace view {} because other objects depend on it", old.name),
            );
            return Err(error
                .with_detail(format!("{} {} depends on it.", dependent.noun(), dependent.name))
                .at(name_span(&create.name)));
        }
        plan.replaces = Some(old.id);
    }
    Ok(Plan::Create(Box::new(plan)))
}

pub(super) fn plan_materialized(
    create: &CreateMaterializedView,
    statement: &Statement,
    context: &PlanContext<'_>,
) -> Result<Plan> {
    let tag = "CREATE MATERIALIZED VIEW";
    let name = match object::free_name(&create.name, create.if_not_exists, tag, context)? {
        Name::Free(name) => name,
        Name::Taken(plan) => return Ok(plan),
    };
    let with = ViewOptions::read(&create.options)?;
    let on_error = with.on_error;
    let emit_on_window_close = match create.query.emit {
        None => false,
        Some((Emit::OnWindowClose, _)) => true,
        Some((Emit::Changes, span)) => {
            let hint = "A materialized view is always up to date; subscribe to it for its changes.";
            return Err(Error::unsupported("EMIT CHANGES in CREATE MATERIALIZED VIEW").with_hint(hint).at(span));
        }
    };
    let planned = plan_query(&create.query.query, context);
    let planned = planned.map_err(|error| place::located(error, &create.query.query))?;
    object::refuse_parameters(&planned)?;
    let columns = object::view_columns(&planned.schema, &create.columns)?;
    let retention = with.retention(columns.iter().map(|column| column.name.as_str()))?;
    let kind = ObjectKind::MaterializedView(MaterializedView {
        query: object::stored_query(&create.query, &name, context)?,
        key: Vec::new(),
        append_only: false,
        emit_on_close: emit_on_window_close,
        null_on_error: on_error == OnError::Null,
        retention,
        state_ttl_us: with.state_ttl_us,
        times: Vec::new(),
        state_id: 0,
        operator_states: BTreeMap::new(),
    });
    let mut plan = object::create(name, &statement.text, columns, kind, tag);
    plan.object.depends_on = object::named_objects(&create.query.query, context);
    let options = LowerOptions { emit_on_window_close, on_error, retention, state_ttl_us: with.state_ttl_us };
    let view = lower(&planned.logical, &plan.object.schema(), options, context.catalog);
    let view = view.map_err(|error| with.located(place::located(error, &create.query.query)))?;
    if let ObjectKind::MaterializedView(definition) = &mut plan.object.kind {
        definition.key.clone_from(&view.key);
        definition.append_only = view.append_only;
        definition.times.clone_from(&view.times);
    }
    plan.notices = super::explain::notices(&view, context);
    plan.view = Some(view);
    Ok(Plan::Create(Box::new(plan)))
}
