//! CREATE TABLE: filled by DML, or by an upsert topic.

use catalog::{ObjectKind, Table};
use sql::Statement;
use sql::statement::CreateTable;

use super::object::{self, Name};
use super::plan::Plan;
use crate::error::ErrorKind;
use crate::query::provider::name_span;
use crate::{Error, PlanContext, Result};

pub(super) fn plan(create: &CreateTable, statement: &Statement, context: &PlanContext<'_>) -> Result<Plan> {
    let tag = "CREATE TABLE";
    let name = match object::free_name(&create.name, create.if_not_exists, tag, context)? {
        Name::Free(name) => name,
        Name::Taken(plan) => return Ok(plan),
    };
    object::refuse_constraints(&create.elements)?;
    if let Some(watermark) = &create.elements.watermark {
        let hint = "A watermark belongs to a source of events.";
        return Err(Error::unsupported("WATERMARK of a table").with_hint(hint).at(watermark.span));
    }
    let mut columns = object::columns(&create.elements, &create.includes, context)?;
    if columns.is_empty() {
        return Err(Error::unsupported("a table without columns").at(name_span(&create.name)));
    }
    let primary_key = object::primary_key(&create.elements, &mut columns)?;
    let connector = object::connector(&create.options)?;
    match (&connector, create.includes.first()) {
        (None, Some(include)) => {
            let error = Error::new(ErrorKind::InvalidTableDefinition, "INCLUDE needs a connector");
            return Err(error
                .with_hint("A table that is filled by INSERT has no record to include parts of.")
                .at(include.span));
        }
        (Some(_), _) if primary_key.is_empty() => {
            let error = Error::new(ErrorKind::InvalidTableDefinition, "a table over a topic needs a PRIMARY KEY");
            let hint = "A record sets the row of its key. For events without a key use CREATE SOURCE.";
            return Err(error.with_hint(hint).at(name_span(&create.name)));
        }
        _ => {}
    }
    let kind = ObjectKind::Table(Table { primary_key, connector, state_id: 0 });
    Ok(Plan::Create(Box::new(object::create(name, &statement.text, columns, kind, tag))))
}
