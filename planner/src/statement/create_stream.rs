//! CREATE STREAM: events declared over a topic, or a continuous query that is not stored.

use catalog::{ObjectKind, Stream};
use sql::Statement;
use sql::statement::{CreateStream, Query};

use super::object::{self, Name};
use super::plan::Plan;
use crate::lower::{LowerOptions, lower};
use crate::query::{plan_query, stored_time_zone};
use crate::{Error, PlanContext, Result};

pub(super) fn plan(create: &CreateStream, statement: &Statement, context: &PlanContext<'_>) -> Result<Plan> {
    match (&create.elements, &create.query) {
        (Some(elements), _) => super::create_source::declare(
            &create.name,
            create.if_not_exists,
            elements,
            &create.includes,
            &create.options,
            true,
            statement,
            context,
        ),
        (None, Some(query)) => over_query(create, query, statement, context),
        (None, None) => Err(Error::internal("a stream has columns or a query")),
    }
}

fn over_query(create: &CreateStream, query: &Query, statement: &Statement, context: &PlanContext<'_>) -> Result<Plan> {
    let tag = "CREATE STREAM";
    let name = match object::free_name(&create.name, create.if_not_exists, tag, context)? {
        Name::Free(name) => name,
        Name::Taken(plan) => return Ok(plan),
    };
    if let Some((_, span)) = query.emit {
        return Err(Error::unsupported("EMIT in CREATE STREAM")
            .with_hint("A stream emits each change as it happens.")
            .at(span));
    }
    let planned = plan_query(&query.query, context)?;
    object::refuse_parameters(&planned)?;
    let columns = object::view_columns(&planned.schema, &[])?;
    let connector = object::connector(&create.options)?;
    let stored = object::stored_query(query, &name, context)?;
    let is_printed = stored != query.text;
    let kind = ObjectKind::Stream(Stream {
        query: stored,
        connector,
        time_zone: stored_time_zone(context),
        state_id: 0,
        operator_states: std::collections::BTreeMap::new(),
    });
    let mut plan = object::create(name, &statement.text, columns, kind, tag);
    plan.object.depends_on = object::named_objects(&query.query, context);
    let mut view = lower(&planned.logical, &plan.object.schema(), LowerOptions::default(), context.catalog)?;
    if is_printed {
        view = super::plan_stored_view(&plan.object, context)?;
    }
    plan.notices = super::explain::notices(&view, context);
    plan.view = Some(view);
    Ok(Plan::Create(Box::new(plan)))
}
