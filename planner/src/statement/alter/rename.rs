//! RENAME TO, SET SCHEMA, SWAP WITH: the object stays what it is, and everybody who reads it reads it under its new name.

use std::collections::BTreeMap;

use catalog::{Object, ObjectId, ObjectKind, QualifiedName};
use sql::Span;
use sql::ast::{Ident, ObjectName};

use super::super::object::own_schema;
use super::super::plan::{AlterPlan, Plan};
use super::super::{object, plan_stored_view};
use super::altered;
use super::definition::{self, Reference};
use crate::error::ErrorKind;
use crate::query::name::folded;
use crate::query::plan_stored;
use crate::query::provider::name_span;
use crate::{Error, PlanContext, Result};

/// Who gets which name.
type Names = BTreeMap<ObjectId, QualifiedName>;

pub(super) fn rename(object: &Object, name: &Ident, tag: &'static str, context: &PlanContext<'_>) -> Result<Plan> {
    let new = QualifiedName { schema: object.name.schema.clone(), name: folded(name) };
    if context.catalog.find(&new).is_some() {
        return Err(object::taken(&new).at(Span::of_parser(name.span)));
    }
    finish(Names::from([(object.id, new)]), tag, context)
}

pub(super) fn set_schema(
    object: &Object,
    schema: &Ident,
    tag: &'static str,
    context: &PlanContext<'_>,
) -> Result<Plan> {
    let span = Span::of_parser(schema.span);
    if object.is_index() {
        let hint = "An index is where its relation is: move that.";
        return Err(Error::unsupported("ALTER INDEX … SET SCHEMA").with_hint(hint).at(span));
    }
    let schema = folded(schema);
    own_schema(&schema, context).map_err(|error| error.at(span))?;
    if schema == object.name.schema {
        return Ok(Plan::Nothing { tag, notice: None });
    }
    let mut names = Names::new();
    let indexes = context.catalog.indexes(object.id).map(|(index, _)| index.as_ref());
    for moved in std::iter::once(object).chain(indexes) {
        let new = QualifiedName { schema: schema.clone(), name: moved.name.name.clone() };
        if context.catalog.find(&new).is_some() {
            let message = format!("relation \"{}\" already exists in schema \"{schema}\"", new.name);
            return Err(Error::new(ErrorKind::DuplicateTable, message).at(span));
        }
        names.insert(moved.id, new);
    }
    finish(names, tag, context)
}

pub(super) fn swap(
    object: &Object,
    other: &Object,
    written: &ObjectName,
    tag: &'static str,
    context: &PlanContext<'_>,
) -> Result<Plan> {
    if object.id == other.id {
        let message = format!("cannot swap \"{}\" with itself", object.name.name);
        return Err(Error::new(ErrorKind::InvalidTableDefinition, message).at(name_span(written)));
    }
    let mut names = Names::from([(object.id, other.name.clone()), (other.id, object.name.clone())]);
    // Indexes are where their relations are.
    if object.name.schema != other.name.schema {
        for (relation, schema) in [(object, &other.name.schema), (other, &object.name.schema)] {
            for (index, _) in context.catalog.indexes(relation.id) {
                names.insert(index.id, QualifiedName { schema: schema.clone(), name: index.name.name.clone() });
            }
        }
    }
    finish(names, tag, context)
}

/// The new definitions of the renamed objects and of all that name them.
fn finish(names: Names, tag: &'static str, context: &PlanContext<'_>) -> Result<Plan> {
    let mut changed: BTreeMap<ObjectId, Object> = BTreeMap::new();
    let readers = names.keys().flat_map(|id| context.catalog.dependents(*id));
    let readers = readers.filter(|object| !object.is_hidden()).map(|object| object.id);
    let affected: Vec<ObjectId> = names.keys().copied().chain(readers).collect();
    for id in affected {
        let Some(object) = context.catalog.get(id).filter(|_| !changed.contains_key(&id)) else { continue };
        changed.insert(id, renamed(object, &names, context)?);
    }
    for object in changed.values_mut().filter(|object| object.is_index()) {
        let ObjectKind::Index(index) = &object.kind else { continue };
        let on = context.catalog.get(index.on).ok_or_else(|| Error::internal("an index is on what exists"))?;
        let mut on = on.as_ref().clone();
        if let Some(name) = names.get(&on.id) {
            on.name = name.clone();
        }
        object.sql = definition::index_text(object, &on);
    }
    check(&changed, context)?;
    let objects = changed.into_values().collect();
    let alter = AlterPlan { objects, attach: Vec::new(), drops: Vec::new(), rewrite: None, notices: Vec::new(), tag };
    Ok(Plan::Alter(Box::new(alter)))
}

/// One object under its new name, if it has one, and with the new names of what it reads.
fn renamed(object: &Object, names: &Names, context: &PlanContext<'_>) -> Result<Object> {
    let mut next = object.clone();
    let name = names.get(&object.id).unwrap_or(&object.name);
    let moved = name.schema != object.name.schema;
    let reference = |read: &Object| match names.get(&read.id) {
        Some(name) => Some(Reference { name: name.clone(), columns: None }),
        // Bare names are looked for where the view is: in another schema they might mean something else.
        None if moved => Some(Reference { name: read.name.clone(), columns: None }),
        None => None,
    };
    definition::rewrite(&mut next, &name.schema, context, &reference)?;
    if let ObjectKind::Sink(sink) = &object.kind
        && let Some(from) = names.get(&sink.from)
    {
        definition::set_from(&mut next, from)?;
    }
    if *name != object.name {
        definition::set_name(&mut next, name.clone())?;
    }
    Ok(next)
}

/// Every view must mean what it meant: its operators are the same.
fn check(changed: &BTreeMap<ObjectId, Object>, context: &PlanContext<'_>) -> Result<()> {
    let catalog = altered(changed, context)?;
    let after = PlanContext { catalog: &catalog, ..*context };
    for object in changed.values() {
        let Some(before) = context.catalog.get(object.id) else { continue };
        let same = match &object.kind {
            ObjectKind::MaterializedView(_) | ObjectKind::Stream(_) => {
                let (old, new) = (plan_stored_view(before, context)?, plan_stored_view(object, &after)?);
                old.root.fingerprint() == new.root.fingerprint()
            }
            ObjectKind::View(view) => {
                plan_stored(&view.query, object, &after)?.schema.fields().len() == object.columns.len()
            }
            _ => true,
        };
        if !same {
            return Err(Error::internal(format!("the definition of {} could not be written anew", object.name)));
        }
    }
    Ok(())
}
