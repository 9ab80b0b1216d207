//! CREATE VIEW and CREATE MATERIALIZED VIEW.

use std::collections::BTreeMap;

use catalog::{MaterializedView, ObjectKind, QualifiedName, View};
use sql::Statement;
use sql::statement::{CreateMaterializedView, CreateView, Emit};

use super::object::{self, Name};
use super::plan::{CreatePlan, Plan};
use super::view_options::ViewOptions;
use super::{alter, place};
use crate::error::ErrorKind;
use crate::incremental::OnError;
use crate::lower::lower;
use crate::query::provider::name_span;
use crate::query::{plan_query, stored_time_zone};
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
    match replaces {
        Some(old) => alter::replace::plain(&old, plan, name_span(&create.name), context),
        None => Ok(Plan::Create(Box::new(plan))),
    }
}

pub(super) fn plan_materialized(
    create: &CreateMaterializedView,
    statement: &Statement,
    context: &PlanContext<'_>,
) -> Result<Plan> {
    let tag = "CREATE MATERIALIZED VIEW";
    let replaced = match create.or_replace {
        true => context.catalog.find(&object::new_name(&create.name, context)?).cloned(),
        false => None,
    };
    if let Some(old) = replaced.filter(|_| !create.if_not_exists) {
        let span = name_span(&create.name);
        if !matches!(old.kind, ObjectKind::MaterializedView(_)) {
            let message = format!("\"{}\" is not a materialized view", old.name.name);
            return Err(Error::new(ErrorKind::WrongObjectType, message).at(span));
        }
        let with = ViewOptions::read(&create.options)?;
        let definition = definition_of(create, old.name.clone(), &with, &statement.text, tag, context)?;
        return alter::replace::materialized(&old, definition, span, context);
    }
    let name = match object::free_name(&create.name, create.if_not_exists, tag, context)? {
        Name::Free(name) => name,
        Name::Taken(plan) => return Ok(plan),
    };
    let with = ViewOptions::read(&create.options)?;
    Ok(Plan::Create(Box::new(definition_of(create, name, &with, &statement.text, tag, context)?)))
}

/// A materialized view as a statement defines it.
pub(super) fn definition_of(
    create: &CreateMaterializedView,
    name: QualifiedName,
    with: &ViewOptions,
    text: &str,
    tag: &'static str,
    context: &PlanContext<'_>,
) -> Result<CreatePlan> {
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
    let mut columns = object::view_columns(&planned.schema, &create.columns)?;
    if with.on_error == OnError::Null {
        // Whatever the query says: where an expression fails there is a NULL.
        columns.iter_mut().for_each(|column| column.nullable = true);
    }
    let retention = with.retention(columns.iter().map(|column| column.name.as_str()))?;
    let query = object::stored_query(&create.query, &name, context)?;
    let is_printed = query != create.query.text;
    let kind = ObjectKind::MaterializedView(MaterializedView {
        query,
        key: Vec::new(),
        append_only: false,
        emit_on_close: emit_on_window_close,
        null_on_error: with.on_error == OnError::Null,
        retention,
        state_ttl_us: with.state_ttl_us,
        time_zone: stored_time_zone(context),
        takes_place_of: None,
        times: Vec::new(),
        growth: None,
        state_id: 0,
        operator_states: BTreeMap::new(),
    });
    let mut plan = object::create(name, text, columns, kind, tag);
    plan.object.depends_on = object::named_objects(&create.query.query, context);
    let options = with.lowering(emit_on_window_close, retention);
    let view = lower(&planned.logical, &plan.object.schema(), options, context.catalog);
    let mut view = view.map_err(|error| with.located(place::located(error, &create.query.query)))?;
    if is_printed {
        // Under other names a plan may have its columns in another order: it is to be the one of the next start.
        view = super::plan_stored_view(&plan.object, context)?;
    }
    with.check(&view)?;
    if let ObjectKind::MaterializedView(definition) = &mut plan.object.kind {
        definition.key.clone_from(&view.key);
        definition.append_only = view.append_only;
        definition.times.clone_from(&view.times);
        definition.growth.clone_from(&view.growth);
    }
    plan.notices = super::explain::notices(&view, context);
    plan.view = Some(view);
    Ok(plan)
}
