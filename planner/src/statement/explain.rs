//! EXPLAIN: the logical plan of a query, the operators of a view.

use catalog::{Growth, ObjectId, ObjectKind};
use sql::statement::{Explain, ExplainKind, ExplainTarget};
use sql::{Statement, StatementKind};

use super::plan::{Plan, SubscribeTarget};
use super::rows::text_lines;
use crate::error::ErrorKind;
use crate::lower::{LowerOptions, lower};
use crate::query::provider::{name_span, resolve_object};
use crate::query::{QueryPlan, plan_query};
use crate::{Error, PlanContext, Result, ViewPlan};

pub(super) fn plan(explain: &Explain, context: &PlanContext<'_>) -> Result<Plan> {
    match &explain.target {
        ExplainTarget::Name(name) => {
            let object = resolve_object(context, name)?;
            if !matches!(object.kind, ObjectKind::MaterializedView(_) | ObjectKind::Stream(_)) {
                let error = Error::new(
                    ErrorKind::WrongObjectType,
                    format!("\"{}\" is a {}, which has no operators", object.name.name, object.noun()),
                );
                return Err(error
                    .with_hint("EXPLAIN takes a query, a materialized view or a stream.")
                    .at(name_span(name)));
            }
            let view = super::plan_stored_view(&object, context)?;
            if explain.analyze {
                return Ok(Plan::ExplainAnalyzeView { relation: object.id, view: Box::new(view) });
            }
            operators(&view, context)
        }
        ExplainTarget::Statement(statement) => of_statement(explain, statement, context),
    }
}

fn of_statement(explain: &Explain, statement: &Statement, context: &PlanContext<'_>) -> Result<Plan> {
    if let (StatementKind::Query(query), None) =
        (&statement.kind, explain.kind.filter(|kind| *kind == ExplainKind::Incremental))
        && query.emit.is_none()
    {
        return of_query(explain, plan_query(&query.query, context)?);
    }
    if explain.analyze {
        return Err(Error::unsupported(format!("EXPLAIN ANALYZE {}", statement.kind)).at(statement.span));
    }
    if let StatementKind::Query(query) = &statement.kind {
        let emit_on_window_close = matches!(query.emit, Some((sql::statement::Emit::OnWindowClose, _)));
        let planned = plan_query(&query.query, context)?;
        let options = LowerOptions { emit_on_window_close, ..LowerOptions::default() };
        let view = lower(&planned.logical, &planned.schema, options, context.catalog)?;
        return operators(&view, context);
    }
    let logical_only = explain.kind == Some(ExplainKind::Logical);
    match super::plan(statement, context)? {
        Plan::Create(create) => match (&create.view, &statement.kind) {
            (Some(view), _) if !logical_only => operators(view, context),
            (_, StatementKind::CreateView(view)) => logical(&plan_query(&view.query.query, context)?),
            (_, StatementKind::CreateMaterializedView(view)) => logical(&plan_query(&view.query.query, context)?),
            _ => Err(Error::unsupported(format!("EXPLAIN {}", statement.kind)).at(statement.span)),
        },
        Plan::Alter(alter) => text_lines("QUERY PLAN", &super::alter::explain::text(&alter, context)?, "EXPLAIN"),
        Plan::Subscribe(subscribe) => match &subscribe.target {
            SubscribeTarget::Query { view, .. } => operators(view, context),
            SubscribeTarget::Relation(id) => {
                let name = relation_name(*id, context);
                text_lines("QUERY PLAN", &format!("Subscribe to {name}"), "EXPLAIN")
            }
        },
        Plan::Insert(insert) => {
            let title = format!("Insert on {}", relation_name(insert.table, context));
            under(&title, &crate::explain::logical(&insert.source))
        }
        Plan::Update(update) => {
            let title = format!("Update on {}", relation_name(update.table, context));
            under(&title, &crate::explain::logical(&update.source))
        }
        Plan::Delete(delete) => {
            let title = format!("Delete on {}", relation_name(delete.table, context));
            under(&title, &crate::explain::logical(&delete.source))
        }
        _ => Err(Error::unsupported(format!("EXPLAIN {}", statement.kind)).at(statement.span)),
    }
}

fn of_query(explain: &Explain, query: QueryPlan) -> Result<Plan> {
    match (explain.analyze, explain.kind) {
        (true, _) => Ok(Plan::ExplainAnalyzeQuery(Box::new(query))),
        (false, Some(ExplainKind::Physical)) => Ok(Plan::ExplainPhysical(Box::new(query))),
        (false, _) => logical(&query),
    }
}

/// The logical plan, and whether it is needed at all.
fn logical(query: &QueryPlan) -> Result<Plan> {
    let plan = crate::explain::logical(&query.logical);
    match &query.point_lookup {
        Some(lookup) => {
            let key: Vec<String> = lookup.key.iter().map(crate::explain::sql).collect();
            let path = match lookup.path {
                crate::query::LookupPath::Primary => "primary key",
                crate::query::LookupPath::Index(_) => "index",
            };
            under(&format!("Lookup by {path}: ({})", key.join(", ")), &plan)
        }
        None => text_lines("QUERY PLAN", &plan, "EXPLAIN"),
    }
}

fn under(title: &str, plan: &str) -> Result<Plan> {
    let indented: Vec<String> = plan.lines().map(|line| format!("  {line}")).collect();
    text_lines("QUERY PLAN", &format!("{title}\n{}", indented.join("\n")), "EXPLAIN")
}

fn operators(view: &ViewPlan, context: &PlanContext<'_>) -> Result<Plan> {
    let name = |id| relation_name(id, context);
    let mut text = crate::explain::incremental(view, &name);
    let growth = crate::explain::growth(view, &name, &|id| growth_of(id, context));
    if !growth.is_empty() {
        text.push_str("Grows for as long as rows come\n");
        growth.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text_lines("QUERY PLAN", &text, "EXPLAIN")
}

/// What is said when a view is made.
pub(super) fn notices(view: &ViewPlan, context: &PlanContext<'_>) -> Vec<String> {
    let growth = crate::explain::growth(view, &|id| relation_name(id, context), &|id| growth_of(id, context));
    view.notices.iter().cloned().chain(crate::explain::growth_notice(&growth)).collect()
}

fn growth_of(id: ObjectId, context: &PlanContext<'_>) -> Option<Growth> {
    match &context.catalog.get(id)?.kind {
        ObjectKind::MaterializedView(view) => view.growth.clone(),
        _ => None,
    }
}

fn relation_name(id: ObjectId, context: &PlanContext<'_>) -> String {
    context.catalog.get(id).map_or_else(|| format!("#{}", id.0), |object| object.name.to_string())
}
