//! `ALTER MATERIALIZED VIEW … AS` and `CREATE OR REPLACE … VIEW`: another query under the same name, for the same readers.

use catalog::{Object, ObjectId, ObjectKind};
use sql::Span;
use sql::statement::{CreateMaterializedView, Emit, Options, Query};

use super::super::create_view::definition_of;
use super::super::drop::described;
use super::super::plan::{CreatePlan, Plan};
use super::super::plan_stored_view;
use super::super::view_options::ViewOptions;
use super::definition::written;
use super::follow::Follow;
use crate::error::ErrorKind;
use crate::{Error, PlanContext, Result};

/// `ALTER MATERIALIZED VIEW … AS query`: what else its statement said stays.
pub(super) fn alter_as(object: &Object, query: &Query, span: Option<Span>, context: &PlanContext<'_>) -> Result<Plan> {
    if !matches!(object.kind, ObjectKind::MaterializedView(_)) {
        return Err(Error::internal(format!("\"{}\" is no materialized view", object.name)));
    }
    let with = ViewOptions::of(object);
    let mut text = format!("CREATE MATERIALIZED VIEW {} ", written(&object.name));
    text.push_str(&with.text());
    text.push_str("AS ");
    text.push_str(&query.text);
    if matches!(query.emit, Some((Emit::OnWindowClose, _))) {
        text.push_str(" EMIT ON WINDOW CLOSE");
    }
    let create = CreateMaterializedView {
        name: sql::ast::ObjectName::from(vec![sql::ast::Ident::new(&object.name.name)]),
        or_replace: true,
        if_not_exists: false,
        columns: Vec::new(),
        options: Options::default(),
        query: query.clone(),
    };
    let definition = definition_of(&create, object.name.clone(), &with, &text, "ALTER MATERIALIZED VIEW", context)?;
    materialized(object, definition, span, context)
}

/// Another definition of a materialized view.
pub(in super::super) fn materialized(
    old: &Object,
    definition: CreatePlan,
    span: Option<Span>,
    context: &PlanContext<'_>,
) -> Result<Plan> {
    let view = definition.view.ok_or_else(|| Error::internal("a materialized view has operators"))?;
    let mut new = Object { id: old.id, name: old.name.clone(), ..definition.object };
    refuse_recursion(old, &new, span, context)?;
    let readers = readers(old, context);
    if !readers.is_empty() {
        check_columns(old, &new, &readers, span)?;
    }
    let before = plan_stored_view(old, context)?;
    let same =
        before.root.fingerprint() == view.root.fingerprint() && before.key == view.key && before.times == view.times;
    if let (ObjectKind::MaterializedView(new), ObjectKind::MaterializedView(old)) = (&mut new.kind, &old.kind) {
        new.state_id = old.state_id;
        new.operator_states.clone_from(&old.operator_states);
    }
    let places = places(old, &new);
    for (index, definition) in context.catalog.indexes(old.id) {
        let gone = definition.columns.iter().find(|column| places[**column].is_none());
        if let Some(column) = gone {
            let message =
                format!("cannot do without column \"{}\" of \"{}\"", old.columns[*column].name, old.name.name);
            return Err(Error::new(ErrorKind::DependentObjects, message)
                .with_detail(format!("{} is on it.", described(index)))
                .with_hint(format!("Drop {} first.", described(index)))
                .at(span));
        }
    }
    let mut follow = Follow::new(context);
    follow.change(old, new, places);
    if !same {
        follow.switch(old.id, view);
    }
    follow.follow()?;
    Ok(Plan::Alter(Box::new(follow.finish(definition.notices, definition.tag))))
}

/// Another definition of a view that is only a name for its query.
pub(in super::super) fn plain(
    old: &Object,
    definition: CreatePlan,
    span: Option<Span>,
    context: &PlanContext<'_>,
) -> Result<Plan> {
    let new = Object { id: old.id, name: old.name.clone(), ..definition.object };
    refuse_recursion(old, &new, span, context)?;
    check_columns(old, &new, &readers(old, context), span)?;
    let places = places(old, &new);
    let mut follow = Follow::new(context);
    follow.change(old, new, places);
    follow.follow()?;
    Ok(Plan::Alter(Box::new(follow.finish(definition.notices, definition.tag))))
}

/// Who reads it; an index is a part of it.
fn readers<'a>(old: &Object, context: &'a PlanContext<'_>) -> Vec<&'a std::sync::Arc<Object>> {
    context.catalog.dependents(old.id).filter(|object| !object.is_index()).collect()
}

fn refuse_recursion(old: &Object, new: &Object, span: Option<Span>, context: &PlanContext<'_>) -> Result<()> {
    let readers: Vec<ObjectId> = context.catalog.with_dependents([old.id]);
    let Some(reads) = new.depends_on.iter().find(|id| readers.contains(id)) else { return Ok(()) };
    let message = format!("infinite recursion detected: view \"{}\" would read itself", old.name.name);
    let mut error = Error::new(ErrorKind::InvalidTableDefinition, message).at(span);
    if *reads != old.id
        && let Some(between) = context.catalog.get(*reads)
    {
        error = error.with_detail(format!("{} reads it.", described(between)));
    }
    Err(error)
}

/// Where each old column is in the new definition: under the same name, with the same type.
fn places(old: &Object, new: &Object) -> Vec<Option<usize>> {
    let place = |column: &catalog::Column| {
        new.column_index(&column.name).filter(|place| new.columns[*place].sql_type == column.sql_type)
    };
    old.columns.iter().map(place).collect()
}

/// The columns that there are stay as they are; others may be added at the end.
fn check_columns(old: &Object, new: &Object, readers: &[&std::sync::Arc<Object>], span: Option<Span>) -> Result<()> {
    let noun = old.noun();
    let wrong = old.columns.iter().enumerate().find_map(|(place, column)| match new.columns.get(place) {
        None => Some(format!("cannot drop columns from {noun}")),
        Some(other) if other.name != column.name => {
            Some(format!("cannot change name of {noun} column \"{}\" to \"{}\"", column.name, other.name))
        }
        Some(other) if other.sql_type != column.sql_type => Some(format!(
            "cannot change data type of {noun} column \"{}\" from {} to {}",
            column.name, column.sql_type, other.sql_type
        )),
        Some(_) => None,
    });
    let Some(message) = wrong else { return Ok(()) };
    let error = Error::new(ErrorKind::InvalidTableDefinition, message).at(span);
    if readers.is_empty() {
        return Err(error.with_hint("Columns may be added at the end; else drop the view, and create it again."));
    }
    let lines: Vec<String> = readers.iter().map(|reader| format!("{} depends on it", described(reader))).collect();
    Err(error.with_detail(lines.join("\n")).with_hint(
        "Columns may be added at the end. Else drop what depends on it first, or make another view and use ALTER ... SWAP WITH.",
    ))
}
