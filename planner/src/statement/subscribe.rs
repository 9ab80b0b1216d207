//! SUBSCRIBE, and SELECT … EMIT CHANGES.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use catalog::{ObjectKind, SqlType};
use sql::Span;
use sql::ast::ObjectName;
use sql::statement::{Emit, Query, Subscribe, SubscribeTarget as Target};

use super::place;
use super::plan::{Plan, SubscribePlan, SubscribeTarget};
use crate::error::ErrorKind;
use crate::lower::{LowerOptions, lower};
use crate::query::plan_query;
use crate::query::provider::{name_span, resolve_object};
use crate::{Error, PlanContext, Result};

/// The columns before the relation's: in which epoch, and how often a row was added (or, below zero, taken away).
pub(super) const EPOCH: &str = "mr_epoch";
/// See [`EPOCH`].
pub(super) const WEIGHT: &str = "mr_weight";

pub(super) fn plan(subscribe: &Subscribe, context: &PlanContext<'_>) -> Result<Plan> {
    let mut options = subscribe.options.clone();
    let snapshot = match options.take("snapshot") {
        None => true,
        Some(option) => match option.value.to_lowercase().as_str() {
            "true" | "on" => true,
            "false" | "off" => false,
            other => {
                let error =
                    Error::new(ErrorKind::InvalidOption, format!("invalid value for option \"snapshot\": \"{other}\""));
                return Err(error.with_hint("It is true or false.").at(option.value_span));
            }
        },
    };
    if let Some(option) = options.0.first() {
        let error =
            Error::new(ErrorKind::UnknownOption, format!("unrecognized option \"{}\" of SUBSCRIBE", option.key));
        return Err(error.with_hint("There is one option, \"snapshot\".").at(option.span));
    }
    match &subscribe.target {
        Target::Name(name) => relation(name, snapshot, context),
        Target::Query(query) => follow(query, snapshot, context),
    }
}

pub(super) fn plan_emit(query: &Query, context: &PlanContext<'_>) -> Result<Plan> {
    follow(query, true, context)
}

fn relation(name: &ObjectName, snapshot: bool, context: &PlanContext<'_>) -> Result<Plan> {
    let object = resolve_object(context, name)?;
    match &object.kind {
        ObjectKind::Source(_) | ObjectKind::Table(_) | ObjectKind::MaterializedView(_) | ObjectKind::Stream(_) => {
            let schema = answer_schema(&object.schema());
            let target = SubscribeTarget::Relation(object.id);
            Ok(Plan::Subscribe(Box::new(SubscribePlan { target, snapshot, schema })))
        }
        ObjectKind::View(_) => {
            let text = format!("SELECT * FROM {name}");
            match sql::parse_one(&text)?.kind {
                sql::StatementKind::Query(query) => follow(&query, snapshot, context).map_err(Error::nowhere),
                _ => Err(Error::internal("a SELECT is a query")),
            }
        }
        ObjectKind::Sink(_) | ObjectKind::Index(_) => {
            let message = format!("cannot subscribe to {} \"{}\"", object.noun(), object.name.name);
            Err(Error::new(ErrorKind::WrongObjectType, message).at(name_span(name)))
        }
    }
}

/// Keeps a query up to date for one listener.
fn follow(query: &Query, snapshot: bool, context: &PlanContext<'_>) -> Result<Plan> {
    let planned = plan_query(&query.query, context).map_err(|error| place::located(error, &query.query))?;
    if !planned.parameters.is_empty() {
        return Err(Error::unsupported("parameters in a subscription"));
    }
    let emit_on_window_close = matches!(query.emit, Some((Emit::OnWindowClose, _)));
    let at = query.emit.map(|(_, span): (Emit, Span)| span);
    let options = LowerOptions { emit_on_window_close, ..LowerOptions::default() };
    let view = lower(&planned.logical, &planned.schema, options, context.catalog);
    let view = view.map_err(|error| place::located(error, &query.query).at(at))?;
    let schema = answer_schema(&planned.schema);
    let emit = if emit_on_window_close { " EMIT ON WINDOW CLOSE" } else { "" };
    let text = format!("{}{emit}", query.text);
    let target = SubscribeTarget::Query { view: Box::new(view), query: Box::new(planned), text };
    Ok(Plan::Subscribe(Box::new(SubscribePlan { target, snapshot, schema })))
}

fn answer_schema(relation: &Schema) -> SchemaRef {
    let own = [SqlType::BigInt.field(EPOCH, false), SqlType::BigInt.field(WEIGHT, false)];
    let fields = own.into_iter().map(Arc::new).chain(relation.fields().iter().cloned());
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}
