//! What each statement does: one file per statement, [`Plan`] is their sum.

mod alter;
mod comment;
mod copy;
mod create_index;
mod create_schema;
mod create_sink;
mod create_source;
mod create_stream;
mod create_table;
mod create_view;
mod delete;
mod describe;
mod drop;
mod explain;
mod insert;
mod object;
mod place;
pub mod plan;
pub(crate) mod rows;
mod scopes;
mod session;
mod show;
mod subscribe;
mod table;
mod truncate;
mod update;
mod view_options;

use catalog::{Object, ObjectKind};
use sql::{Statement, StatementKind};

use crate::error::ErrorKind;
use crate::incremental::OnError;
use crate::lower::{LowerOptions, lower};
use crate::query::place_of_error::first_parameter;
use crate::query::plan_query;
use crate::{Error, PlanContext, Result, ViewPlan};

pub use plan::Plan;

/// Plans a statement: a function of the statement and the context, nothing else.
///
/// # Errors
/// Whatever PostgreSQL would say, with the place in the text that was parsed where it is known.
pub fn plan(statement: &Statement, context: &PlanContext<'_>) -> Result<Plan> {
    match &statement.kind {
        StatementKind::Query(query) => match query.emit {
            Some(_) => subscribe::plan_emit(query, context),
            None => Ok(Plan::Query(Box::new(plan_query(&query.query, context)?))),
        },
        StatementKind::Insert(insert) => insert::plan(insert, context),
        StatementKind::Update(update) => update::plan(update, context),
        StatementKind::Delete(delete) => delete::plan(delete, context),
        StatementKind::Truncate(truncate) => truncate::plan(truncate, context),
        StatementKind::Copy(copy) => copy::plan(copy, context),
        StatementKind::CreateSchema(create) => create_schema::plan(create, context),
        StatementKind::CreateSource(create) => create_source::plan(create, statement, context),
        StatementKind::CreateStream(create) => create_stream::plan(create, statement, context),
        StatementKind::CreateTable(create) => create_table::plan(create, statement, context),
        StatementKind::CreateView(create) => create_view::plan(create, statement, context),
        StatementKind::CreateMaterializedView(create) => create_view::plan_materialized(create, statement, context),
        StatementKind::CreateSink(create) => create_sink::plan(create, statement, context),
        StatementKind::CreateIndex(create) => create_index::plan(create, statement, context),
        StatementKind::Drop(drop) => drop::plan(drop, context),
        StatementKind::Alter(alter) => alter::plan(alter, context),
        StatementKind::Comment(comment) => comment::plan(comment, context),
        StatementKind::Show(show) => show::plan(show, context),
        StatementKind::Describe(describe) => describe::plan(&describe.name, context),
        StatementKind::Subscribe(subscribe) => subscribe::plan(subscribe, context),
        StatementKind::Explain(explain) => explain::plan(explain, context),
        StatementKind::Set(_)
        | StatementKind::Reset(_)
        | StatementKind::Transaction(_)
        | StatementKind::Prepare(_)
        | StatementKind::Execute(_)
        | StatementKind::Deallocate(_)
        | StatementKind::Discard(_)
        | StatementKind::Declare(_)
        | StatementKind::Fetch(_)
        | StatementKind::Close(_) => session::plan(&statement.kind, context),
    }
}

/// The error that a statement has parameters, where no values for them can be given.
pub fn unbound_parameter(statement: &Statement) -> Error {
    let first = match &statement.kind {
        StatementKind::Query(query) => first_parameter(&*query.query),
        StatementKind::Insert(insert) => first_parameter(&**insert),
        StatementKind::Update(update) => first_parameter(&**update),
        StatementKind::Delete(delete) => first_parameter(&**delete),
        _ => None,
    };
    let (name, span) = first.unwrap_or_else(|| ("$1".to_owned(), None));
    Error::new(ErrorKind::UndefinedParameter, format!("there is no parameter {name}")).at(span)
}

/// How a view or stream of the catalog is kept up to date: planned again from its definition.
pub fn plan_stored_view(object: &Object, context: &PlanContext<'_>) -> Result<ViewPlan> {
    let (query, options) = match &object.kind {
        ObjectKind::MaterializedView(view) => {
            let on_error = if view.null_on_error { OnError::Null } else { OnError::Report };
            let options = LowerOptions {
                emit_on_window_close: view.emit_on_close,
                on_error,
                retention: view.retention,
                state_ttl_us: view.state_ttl_us,
            };
            (&view.query, options)
        }
        ObjectKind::Stream(stream) => (&stream.query, LowerOptions::default()),
        _ => return Err(Error::internal(format!("\"{}\" is no view that is kept up to date", object.name))),
    };
    let plan = crate::query::plan_stored(query, object, context)?;
    lower(&plan.logical, &object.schema(), options, context.catalog)
}

#[cfg(test)]
mod tests;
