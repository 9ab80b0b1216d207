//! CREATE SOURCE, and CREATE STREAM with columns, which is the same under another name.

use catalog::{ObjectKind, Source};
use sql::Statement;
use sql::ast::ObjectName;
use sql::statement::{CreateSource, Elements, IncludeClause, Options};

use super::object::{self, Name};
use super::plan::Plan;
use crate::error::ErrorKind;
use crate::query::provider::name_span;
use crate::{Error, PlanContext, Result};

pub(super) fn plan(create: &CreateSource, statement: &Statement, context: &PlanContext<'_>) -> Result<Plan> {
    declare(
        &create.name,
        create.if_not_exists,
        &create.elements,
        &create.includes,
        &create.options,
        false,
        statement,
        context,
    )
}

#[allow(clippy::too_many_arguments)]
pub(super) fn declare(
    name: &ObjectName,
    if_not_exists: bool,
    elements: &Elements,
    includes: &[IncludeClause],
    options: &Options,
    declared_as_stream: bool,
    statement: &Statement,
    context: &PlanContext<'_>,
) -> Result<Plan> {
    let (noun, tag) = if declared_as_stream { ("stream", "CREATE STREAM") } else { ("source", "CREATE SOURCE") };
    let qualified = match object::free_name(name, if_not_exists, tag, context)? {
        Name::Free(qualified) => qualified,
        Name::Taken(plan) => return Ok(plan),
    };
    object::refuse_constraints(elements)?;
    let keyed = elements.columns.iter().find(|column| column.primary_key).map(|column| column.type_span);
    if let Some(span) = elements.primary_key.as_ref().map(|(_, span)| *span).or(keyed) {
        let error = Error::unsupported(format!("PRIMARY KEY of a {noun}"));
        return Err(error
            .with_hint(format!("A {noun} is append-only; CREATE TABLE keeps the latest row of each key."))
            .at(span));
    }
    if let Some(column) = elements.columns.iter().find(|column| column.default.is_some()) {
        return Err(Error::unsupported(format!("DEFAULT in a {noun}")).at(column.type_span));
    }
    let columns = object::columns(elements, includes, context)?;
    if columns.is_empty() {
        let error = Error::new(ErrorKind::InvalidTableDefinition, format!("a {noun} must have at least one column"));
        return Err(error.at(name_span(name)));
    }
    let watermark = object::watermark(elements.watermark.as_ref(), &columns)?;
    let mut options = options.clone();
    let late = object::late_policy(&mut options)?;
    let connector = object::required_connector(&options, noun, name_span(name))?;
    let kind = ObjectKind::Source(Source { connector, watermark, late, declared_as_stream });
    Ok(Plan::Create(Box::new(object::create(qualified, &statement.text, columns, kind, tag))))
}
