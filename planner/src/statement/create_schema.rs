//! CREATE SCHEMA.

use sql::Span;
use sql::statement::CreateSchema;

use super::plan::Plan;
use crate::error::ErrorKind;
use crate::query::name::folded;
use crate::{Error, PlanContext, Result};

pub(super) fn plan(create: &CreateSchema, context: &PlanContext<'_>) -> Result<Plan> {
    let name = folded(&create.name);
    if name.starts_with("pg_") {
        let error = Error::new(ErrorKind::NotAllowed, format!("unacceptable schema name \"{name}\""));
        return Err(error
            .with_detail("The prefix \"pg_\" is reserved for system schemas.")
            .at(Span::of_parser(create.name.span)));
    }
    if !context.catalog.has_schema(&name) {
        return Ok(Plan::CreateSchema { name });
    }
    if create.if_not_exists {
        let notice = format!("schema \"{name}\" already exists, skipping");
        return Ok(Plan::Nothing { tag: "CREATE SCHEMA", notice: Some(notice) });
    }
    Err(Error::new(ErrorKind::DuplicateSchema, format!("schema \"{name}\" already exists"))
        .at(Span::of_parser(create.name.span)))
}
