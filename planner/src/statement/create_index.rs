//! CREATE INDEX.

use catalog::{Index, Object, ObjectKind, QualifiedName};
use sql::statement::CreateIndex;
use sql::{Span, Statement};

use super::object;
use super::plan::Plan;
use crate::error::ErrorKind;
use crate::query::name::folded;
use crate::query::provider::{name_parts, name_span, resolve_object};
use crate::{Error, PlanContext, Result};

pub(super) fn plan(create: &CreateIndex, statement: &Statement, context: &PlanContext<'_>) -> Result<Plan> {
    let tag = "CREATE INDEX";
    let on = resolve_object(context, &create.on)?;
    if !on.is_stored() {
        let error = Error::new(
            ErrorKind::WrongObjectType,
            format!("cannot create an index on {} \"{}\"", on.noun(), on.name.name),
        );
        return Err(error.with_hint("Only tables and materialized views are stored.").at(name_span(&create.on)));
    }
    let mut columns = Vec::new();
    for ident in &create.columns {
        let name = folded(ident);
        let Some(position) = on.column_index(&name) else {
            let hint = on.near_miss_column(&name).map(|near| format!("Did you mean \"{near}\"?"));
            let error = Error::new(ErrorKind::UndefinedColumn, format!("column \"{name}\" does not exist"));
            return Err(error.with_hint_if(hint).at(Span::of_parser(ident.span)));
        };
        columns.push(position);
    }
    let name = match &create.name {
        None => made_up_name(&on, &columns, context),
        Some(written) => {
            let mut parts = name_parts(written)?;
            let name = QualifiedName { schema: on.name.schema.clone(), name: parts.pop().unwrap_or_default() };
            if context.catalog.find(&name).is_some() {
                if create.if_not_exists {
                    let notice = format!("relation \"{}\" already exists, skipping", name.name);
                    return Ok(Plan::Nothing { tag, notice: Some(notice) });
                }
                return Err(object::taken(&name).at(name_span(written)));
            }
            name
        }
    };
    let kind = ObjectKind::Index(Index { on: on.id, columns, state_id: 0 });
    let mut plan = object::create(name, &statement.text, Vec::new(), kind, tag);
    plan.object.depends_on = vec![on.id];
    Ok(Plan::Create(Box::new(plan)))
}

/// `relation_column_idx`, with a number if that is taken.
fn made_up_name(on: &Object, columns: &[usize], context: &PlanContext<'_>) -> QualifiedName {
    let columns: Vec<&str> = columns.iter().map(|column| on.columns[*column].name.as_str()).collect();
    let base = format!("{}_{}_idx", on.name.name, columns.join("_"));
    let numbered = (1..).map(|number| format!("{base}{number}"));
    let mut candidates = std::iter::once(base.clone()).chain(numbered);
    let named = |name: String| QualifiedName { schema: on.name.schema.clone(), name };
    let free = candidates.find(|name| context.catalog.find(&named(name.clone())).is_none());
    named(free.expect("some number is free"))
}
