//! ADD COLUMN, DROP COLUMN and RENAME COLUMN. Views over the table keep the columns that they have.

use std::sync::Arc;

use catalog::{Column, Object, ObjectKind};
use datafusion::logical_expr::Expr;
use sql::Span;
use sql::ast::Ident;
use sql::statement::{ColumnChange, ColumnDefinition};

use super::super::drop::described;
use super::super::object::stored_type;
use super::super::plan::{ColumnOrigin, Plan, TableRewrite};
use super::super::table::{Writable, check_default};
use super::definition;
use super::follow::Follow;
use crate::error::ErrorKind;
use crate::query::name::folded;
use crate::{Error, PlanContext, Result};

/// RENAME COLUMN.
pub(super) fn rename(
    object: &Object,
    from: &Ident,
    to: &Ident,
    tag: &'static str,
    context: &PlanContext<'_>,
) -> Result<Plan> {
    let place = column(object, from)?;
    let (new_name, span) = (folded(to), Span::of_parser(to.span));
    match &object.kind {
        ObjectKind::Table(table) if table.connector.is_none() => {}
        ObjectKind::View(_) | ObjectKind::MaterializedView(_) => {}
        _ => {
            return Err(Error::unsupported(format!("RENAME COLUMN of a {}", of_topic(object)))
                .with_hint("Its columns are named as its records name them; give them other names in a view.")
                .at(Span::of_parser(from.span)));
        }
    }
    if object.column_index(&new_name).is_some() {
        return Err(exists(object, &new_name).at(span));
    }
    let mut new = object.clone();
    new.columns[place].name = new_name;
    definition::write_anew(&mut new);
    let mut follow = Follow::of_columns(context, false);
    follow.change(object, new, (0..object.columns.len()).map(Some).collect());
    follow.follow()?;
    Ok(Plan::Alter(Box::new(follow.finish(Vec::new(), tag))))
}

/// ADD and DROP COLUMN, one or more.
pub(super) fn change(
    object: &Object,
    changes: &[ColumnChange],
    span: Option<Span>,
    tag: &'static str,
    context: &PlanContext<'_>,
) -> Result<Plan> {
    let ObjectKind::Table(table) = &object.kind else {
        return Err(Error::internal(format!("\"{}\" is no table", object.name)));
    };
    if table.connector.is_some() {
        return Err(Error::unsupported("ADD or DROP COLUMN of a table that follows a topic")
            .with_hint("Drop the table, and create it with the columns that its records have.")
            .at(span));
    }
    let mut next =
        Next { columns: object.columns.clone(), origins: (0..object.columns.len()).map(ColumnOrigin::Old).collect() };
    let mut notices = Vec::new();
    let (mut cascade, mut dropped) = (false, Vec::new());
    for change in changes {
        match change {
            ColumnChange::Add { if_not_exists, definition, unsupported } => {
                let name = folded(&definition.name);
                if next.columns.iter().any(|column| column.name == name) {
                    let error = exists(object, &name);
                    if !if_not_exists {
                        return Err(error.at(Span::of_parser(definition.name.span)));
                    }
                    notices.push(format!("{}, skipping", error.message));
                    continue;
                }
                if let Some(constraint) = unsupported.first() {
                    return Err(Error::unsupported(format!("{} constraint", constraint.name)).at(constraint.span));
                }
                let (column, value) = added(definition, object, context)?;
                next.columns.push(column);
                next.origins.push(ColumnOrigin::New(value));
            }
            ColumnChange::Drop { if_exists, name, cascade: with_readers } => {
                let Some(place) = next.columns.iter().position(|column| column.name == folded(name)) else {
                    let error = missing(object, name);
                    if !if_exists {
                        return Err(error);
                    }
                    notices.push(format!("{}, skipping", error.message));
                    continue;
                };
                if let ColumnOrigin::Old(old) = next.origins[place]
                    && table.primary_key.contains(&old)
                {
                    let column = &object.columns[old].name;
                    return Err(Error::unsupported(format!(
                        "DROP COLUMN of \"{column}\", which is in the primary key,"
                    ))
                    .with_hint("Make another table, fill it, and use ALTER TABLE ... SWAP WITH.")
                    .at(Span::of_parser(name.span)));
                }
                cascade |= *with_readers;
                dropped.push(next.columns.remove(place).name);
                next.origins.remove(place);
            }
        }
    }
    if next.columns.is_empty() {
        return Err(Error::unsupported("a table without columns").at(span));
    }
    if next.columns == object.columns {
        return Ok(Plan::Nothing { tag, notice: notices.into_iter().next() });
    }
    let places = next.places(object.columns.len());
    let mut new = Object { columns: next.columns, ..object.clone() };
    if let ObjectKind::Table(table) = &mut new.kind {
        table.primary_key = table.primary_key.iter().filter_map(|column| places[*column]).collect();
    }
    definition::write_anew(&mut new);
    let mut follow = Follow::of_columns(context, true);
    follow.change(object, new, places);
    follow.follow()?;
    let needing = context.catalog.with_dependents(follow.needing().iter().copied());
    let others: Vec<&Arc<Object>> =
        needing.iter().rev().filter_map(|id| context.catalog.get(*id)).filter(|other| !other.is_index()).collect();
    if !others.is_empty() {
        if !cascade {
            return Err(needed(object, &dropped, &others).at(span));
        }
        notices.push(match others.as_slice() {
            [one] => format!("drop cascades to {}", described(one)),
            many => {
                let list: Vec<String> = many.iter().map(|one| format!("drop cascades to {}", described(one))).collect();
                format!("drop cascades to {} other objects\nDETAIL:  {}", many.len(), list.join("\n"))
            }
        });
    }
    let mut alter = follow.finish(notices, tag);
    alter.objects.retain(|changed| !needing.contains(&changed.id));
    alter.attach.retain(|attach| !needing.contains(&attach.relation));
    alter.drops = needing;
    alter.rewrite = Some(TableRewrite { table: object.id, columns: next.origins });
    Ok(Plan::Alter(Box::new(alter)))
}

/// The columns of a table as they will be.
struct Next {
    columns: Vec<Column>,
    origins: Vec<ColumnOrigin>,
}

impl Next {
    /// Where each of the old columns will be.
    fn places(&self, old: usize) -> Vec<Option<usize>> {
        let place = |column: usize| {
            self.origins.iter().position(|origin| matches!(origin, ColumnOrigin::Old(from) if *from == column))
        };
        (0..old).map(place).collect()
    }
}

/// A new column, and the value that the rows that are there get.
fn added(definition: &ColumnDefinition, object: &Object, context: &PlanContext<'_>) -> Result<(Column, Expr)> {
    let span = Span::of_parser(definition.name.span);
    if definition.primary_key {
        return Err(Error::unsupported("ADD COLUMN … PRIMARY KEY").at(span));
    }
    let sql_type = stored_type(&definition.data_type).map_err(|error| error.at(definition.type_span))?;
    if let Some((default, _)) = &definition.default {
        check_default(default, &sql_type, context)?;
    }
    let column = Column {
        name: folded(&definition.name),
        sql_type,
        nullable: !definition.not_null,
        default: definition.default.as_ref().map(|(_, text)| text.clone()),
        generated: None,
    };
    let one = Object { columns: vec![column.clone()], ..object.clone() };
    let value = Writable { object: Arc::new(one) }.default(0, context)?;
    if value.is_volatile() {
        return Err(Error::unsupported("ADD COLUMN with a DEFAULT that is another one for each row")
            .with_hint("Add the column without it, and fill it with UPDATE.")
            .at(span));
    }
    Ok((column, value))
}

fn column(object: &Object, name: &Ident) -> Result<usize> {
    let found = object.column_index(&folded(name));
    found.ok_or_else(|| Error {
        message: format!("column \"{}\" does not exist", folded(name)),
        ..missing(object, name)
    })
}

fn missing(object: &Object, ident: &Ident) -> Error {
    let name = folded(ident);
    let hint = object.near_miss_column(&name).map(|near| format!("Did you mean \"{near}\"?"));
    let message = format!("column \"{name}\" of relation \"{}\" does not exist", object.name.name);
    Error::new(ErrorKind::UndefinedColumn, message).with_hint_if(hint).at(Span::of_parser(ident.span))
}

fn exists(object: &Object, name: &str) -> Error {
    let message = format!("column \"{name}\" of relation \"{}\" already exists", object.name.name);
    Error::new(ErrorKind::DuplicateColumn, message)
}

/// What a relation is whose columns are not its own.
fn of_topic(object: &Object) -> String {
    match &object.kind {
        ObjectKind::Table(_) => "table that follows a topic".to_owned(),
        _ => object.noun().to_owned(),
    }
}

fn needed(object: &Object, dropped: &[String], others: &[&Arc<Object>]) -> Error {
    let columns = dropped.join(", ");
    let message = format!("cannot drop column {columns} of {} because other objects depend on it", described(object));
    let lines: Vec<String> = others
        .iter()
        .map(|other| match other.depends_on.contains(&object.id) {
            true => format!("{} depends on column {columns} of {}", described(other), described(object)),
            false => format!("{} depends on what does", described(other)),
        })
        .collect();
    Error::new(ErrorKind::DependentObjects, message)
        .with_detail(lines.join("\n"))
        .with_hint("Use DROP ... CASCADE to drop the dependent objects too.")
}
