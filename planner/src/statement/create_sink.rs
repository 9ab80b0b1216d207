//! CREATE SINK … FROM relation.

use catalog::{ObjectKind, Sink};
use sql::Statement;
use sql::statement::CreateSink;

use super::object::{self, Name};
use super::plan::Plan;
use crate::error::ErrorKind;
use crate::query::provider::{name_span, resolve_object};
use crate::{Error, PlanContext, Result};

pub(super) fn plan(create: &CreateSink, statement: &Statement, context: &PlanContext<'_>) -> Result<Plan> {
    let tag = "CREATE SINK";
    let name = match object::free_name(&create.name, create.if_not_exists, tag, context)? {
        Name::Free(name) => name,
        Name::Taken(plan) => return Ok(plan),
    };
    let from = resolve_object(context, &create.from)?;
    match &from.kind {
        ObjectKind::Source(_) | ObjectKind::Table(_) | ObjectKind::Stream(_) | ObjectKind::MaterializedView(_) => {}
        ObjectKind::View(_) | ObjectKind::Sink(_) | ObjectKind::Index(_) => {
            let error = Error::new(
                ErrorKind::WrongObjectType,
                format!("\"{}\" is a {}, which has no changes to emit", from.name.name, from.noun()),
            );
            return Err(error
                .with_hint("Make a materialized view or a stream, and the sink FROM it.")
                .at(name_span(&create.from)));
        }
    }
    let connector = object::required_connector(&create.options, "sink", name_span(&create.name))?;
    let kind = ObjectKind::Sink(Sink { from: from.id, connector, state_id: 0 });
    let mut plan = object::create(name, &statement.text, Vec::new(), kind, tag);
    plan.object.depends_on = vec![from.id];
    Ok(Plan::Create(Box::new(plan)))
}
