//! DESCRIBE and SHOW COLUMNS.

use sql::ast::ObjectName;

use catalog::SqlType;

use super::plan::Plan;
use super::rows::text_rows;
use crate::query::provider::{Relation, resolve_name};
use crate::{PlanContext, Result};

pub(super) fn plan(name: &ObjectName, context: &PlanContext<'_>) -> Result<Plan> {
    let header = ["column", "type", "nullable", "key", "default", "comment"];
    let yes = |yes: bool| Some(if yes { "yes" } else { "no" }.to_owned());
    let rows = match resolve_name(context, name)? {
        Relation::Object(object) => {
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
            object.columns.iter().enumerate().map(row).collect()
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
