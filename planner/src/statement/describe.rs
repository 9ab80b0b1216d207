//! DESCRIBE and SHOW COLUMNS.

use std::sync::Arc;

use catalog::{Object, ObjectId, ObjectKind, SqlType};
use sql::ast::ObjectName;

use super::plan::Plan;
use super::rows::text_rows;
use crate::query::provider::{Relation, resolve_name};
use crate::{Error, PlanContext, Result};

pub(super) fn plan(name: &ObjectName, context: &PlanContext<'_>) -> Result<Plan> {
    let header = ["column", "type", "nullable", "key", "default", "comment"];
    let yes = |yes: bool| Some(if yes { "yes" } else { "no" }.to_owned());
    let rows = match resolve_name(context, name)? {
        Relation::Object(object) => {
            // A sink has the columns of what it emits, an index some of those of what it is on.
            let (object, columns) = match &object.kind {
                ObjectKind::Sink(sink) => (described(sink.from, context)?, None),
                ObjectKind::Index(index) => (described(index.on, context)?, Some(index.columns.clone())),
                _ => (object, None),
            };
            let columns = columns.unwrap_or_else(|| (0..object.columns.len()).collect());
            let row = |(position, column): (usize, &catalog::Column)| {
                vec![
                    Some(column.name.clone()),
                    Some(column.sql_type.to_string()),
                    yes(column.nullable),
                    yes(object.key().is_some_and(|key| key.contains(&position))),
                    column.default.clone(),
                    context.catalog.comment(object.id, Some(position)).map(str::to_owned),
                ]
            };
            let columns = columns.into_iter().filter_map(|position| Some((position, object.columns.get(position)?)));
            columns.map(row).collect()
        }
        Relation::System(_, schema) => {
            let row = |field: &arrow::datatypes::FieldRef| {
                let sql_type = SqlType::of_field(field).unwrap_or(SqlType::Text);
                vec![
                    Some(field.name().clone()),
                    Some(sql_type.to_string()),
                    yes(field.is_nullable()),
                    yes(false),
                    None,
                    None,
                ]
            };
            schema.fields().iter().map(row).collect()
        }
    };
    text_rows(&header, rows, "DESCRIBE")
}

/// The relation that a sink or an index stands for.
fn described(id: ObjectId, context: &PlanContext<'_>) -> Result<Arc<Object>> {
    context.catalog.get(id).cloned().ok_or_else(|| Error::internal("a sink or an index is of nothing"))
}
