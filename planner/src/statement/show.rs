//! SHOW: lists of objects, the statement that made one, settings.

use std::sync::Arc;

use catalog::{Object, ObjectKind};
use sql::Span;
use sql::statement::{Show, ShowList};

use super::plan::Plan;
use super::rows::text_rows;
use crate::error::ErrorKind;
use crate::query::name::folded;
use crate::query::provider::resolve_object;
use crate::{Error, PlanContext, Result};

pub(super) fn plan(show: &Show, context: &PlanContext<'_>) -> Result<Plan> {
    match show {
        Show::All => Ok(Plan::ShowAllSettings),
        Show::Setting(name) => Ok(Plan::ShowSetting { name: name.clone() }),
        Show::Columns(name) => super::describe::plan(name, context),
        Show::Create(name) => {
            let object = resolve_object(context, name)?;
            let row = vec![Some(object.name.to_string()), Some(format!("{};", object.sql))];
            text_rows(&["name", "create_statement"], vec![row], "SHOW")
        }
        Show::List { list: ShowList::Schemas, like, .. } => {
            let schemas = context.catalog.schemas().chain(catalog::snapshot::SYSTEM_SCHEMAS);
            let rows =
                schemas.filter(|schema| matches(schema, like.as_deref())).map(|schema| vec![Some(schema.to_owned())]);
            text_rows(&["name"], rows.collect(), "SHOW")
        }
        Show::List { list, schema, like } => {
            let schemas = match schema {
                Some(ident) => {
                    let schema = folded(ident);
                    if !context.catalog.has_schema(&schema) {
                        let error =
                            Error::new(ErrorKind::UndefinedSchema, format!("schema \"{schema}\" does not exist"));
                        return Err(error.at(Span::of_parser(ident.span)));
                    }
                    vec![schema]
                }
                None => context.settings.search_path.clone(),
            };
            let objects = schemas.iter().flat_map(|schema| context.catalog.objects_in(schema));
            let chosen: Vec<&Arc<Object>> = objects
                .filter(|object| is_listed(object, *list) && matches(&object.name.name, like.as_deref()))
                .collect();
            listed(*list, &chosen, context)
        }
    }
}

fn is_listed(object: &Object, list: ShowList) -> bool {
    match (&object.kind, list) {
        (ObjectKind::Source(source), ShowList::Sources) => !source.declared_as_stream,
        (ObjectKind::Source(source), ShowList::Streams) => source.declared_as_stream,
        (ObjectKind::Stream(_), ShowList::Streams)
        | (ObjectKind::Table(_), ShowList::Tables)
        | (ObjectKind::View(_), ShowList::Views)
        | (ObjectKind::MaterializedView(_), ShowList::Views | ShowList::MaterializedViews)
        | (ObjectKind::Sink(_), ShowList::Sinks)
        | (ObjectKind::Index(_), ShowList::Indexes) => true,
        _ => false,
    }
}

fn listed(list: ShowList, objects: &[&Arc<Object>], context: &PlanContext<'_>) -> Result<Plan> {
    let header: &[&str] = match list {
        ShowList::Sources | ShowList::Tables | ShowList::Streams => &["name", "schema", "connector", "topic"],
        ShowList::Views | ShowList::MaterializedViews => &["name", "schema", "kind"],
        ShowList::Sinks => &["name", "schema", "from", "connector", "topic"],
        ShowList::Indexes => &["name", "schema", "on", "columns"],
        ShowList::Schemas => &["name"],
    };
    let row = |object: &&Arc<Object>| {
        let mut row = vec![Some(object.name.name.clone()), Some(object.name.schema.clone())];
        let named = |id| context.catalog.get(id).map(|object| object.name.to_string());
        match (list, &object.kind) {
            (ShowList::Views | ShowList::MaterializedViews, _) => row.push(Some(object.noun().to_owned())),
            (_, ObjectKind::Index(index)) => {
                let on = context.catalog.get(index.on);
                let columns = index
                    .columns
                    .iter()
                    .filter_map(|column| on?.columns.get(*column))
                    .map(|column| column.name.as_str());
                row.extend([named(index.on), Some(columns.collect::<Vec<_>>().join(", "))]);
            }
            (_, kind) => {
                if let ObjectKind::Sink(sink) = kind {
                    row.push(named(sink.from));
                }
                let connector = match kind {
                    ObjectKind::Source(source) => Some(&source.connector),
                    ObjectKind::Table(table) => table.connector.as_ref(),
                    ObjectKind::Stream(stream) => stream.connector.as_ref(),
                    ObjectKind::Sink(sink) => Some(&sink.connector),
                    _ => None,
                };
                row.push(connector.map(|connector| connector.name.clone()));
                row.push(connector.and_then(|connector| connector.options.get("topic").cloned()));
            }
        }
        row
    };
    text_rows(header, objects.iter().map(row).collect(), "SHOW")
}

/// LIKE with `%` and `_`.
fn matches(name: &str, pattern: Option<&str>) -> bool {
    fn like(name: &[char], pattern: &[char]) -> bool {
        match (name, pattern) {
            (_, []) => name.is_empty(),
            (_, ['%', rest @ ..]) => (0..=name.len()).any(|skip| like(&name[skip..], rest)),
            ([_, name @ ..], ['_', rest @ ..]) => like(name, rest),
            ([first, name @ ..], [wanted, rest @ ..]) => first == wanted && like(name, rest),
            ([], _) => false,
        }
    }
    pattern.is_none_or(|pattern| like(&name.chars().collect::<Vec<_>>(), &pattern.chars().collect::<Vec<_>>()))
}
