//! What becomes of those who read an object that changes: nothing, another text, other names for their state, or they are built anew beside what they
//! are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalog::{Object, ObjectId, ObjectKind};

use super::super::drop::described;
use super::super::plan::{AlterPlan, Attach, Attached};
use super::super::plan_stored_view;
use super::altered;
use super::definition::{self, Reference, query_of};
use super::same::{Moved, same_work};
use crate::error::ErrorKind;
use crate::query::plan_stored;
use crate::{Error, Node, PlanContext, Result, ViewPlan};

/// A change, and all that follows from it.
pub(super) struct Follow<'a> {
    /// How things were.
    context: PlanContext<'a>,
    changed: BTreeMap<ObjectId, Object>,
    attach: Vec<Attach>,
    /// Relations that get other rows: whoever reads them gets the difference.
    switched: BTreeSet<ObjectId>,
    /// Relations that have other columns.
    moved: Moved,
    /// Only columns change, no rows: a view that becomes another one by it needs what goes.
    columns_only: bool,
    /// The rows of those relations are written anew: who reads them must not take that for a change.
    rewrites: bool,
    /// Who needs a column that goes.
    needing: Vec<ObjectId>,
}

impl<'a> Follow<'a> {
    pub(super) fn new(context: &PlanContext<'a>) -> Self {
        Self {
            context: *context,
            changed: BTreeMap::new(),
            attach: Vec::new(),
            switched: BTreeSet::new(),
            moved: Moved::new(),
            columns_only: false,
            rewrites: false,
            needing: Vec::new(),
        }
    }

    /// For a change of nothing but columns, for which rows may have to be written anew.
    pub(super) fn of_columns(context: &PlanContext<'a>, rewrites: bool) -> Self {
        Self { columns_only: true, rewrites, ..Self::new(context) }
    }

    /// An object gets another definition; `places` says where each of the columns that it had is now.
    pub(super) fn change(&mut self, old: &Object, new: Object, places: Vec<Option<usize>>) {
        let names =
            |object: &Object| object.columns.iter().map(|c| (c.name.clone(), c.sql_type.clone())).collect::<Vec<_>>();
        let stay = places.iter().enumerate().all(|(column, place)| *place == Some(column));
        if !stay || names(old) != names(&new) {
            self.moved.insert(new.id, (new.schema(), places));
        }
        self.changed.insert(new.id, new);
    }

    /// It gets other rows, which its new operators give.
    pub(super) fn switch(&mut self, id: ObjectId, view: ViewPlan) {
        self.switched.insert(id);
        self.attach.push(Attach { relation: id, view, how: Attached::Built });
    }

    /// Those who need a column that goes.
    pub(super) fn needing(&self) -> &[ObjectId] {
        &self.needing
    }

    /// Goes through all that read what has changed.
    pub(super) fn follow(&mut self) -> Result<()> {
        let roots: BTreeSet<ObjectId> = self.changed.keys().copied().collect();
        let mut readers = self.context.catalog.with_dependents(roots.iter().copied());
        readers.reverse();
        for id in readers.into_iter().filter(|id| !roots.contains(id)) {
            let Some(object) = self.context.catalog.get(id).filter(|object| !object.is_hidden()).cloned() else {
                continue;
            };
            if object.depends_on.iter().any(|read| self.needing.contains(read)) {
                self.needing.push(id);
                continue;
            }
            match &object.kind {
                ObjectKind::Index(index) if self.moved.contains_key(&index.on) => self.index(&object, index)?,
                ObjectKind::Sink(sink) if self.moved.contains_key(&sink.from) => {
                    let message = format!("cannot change the columns of what {} emits", described(&object));
                    return Err(Error::new(ErrorKind::DependentObjects, message)
                        .with_hint("A topic keeps its columns: drop the sink, and create it again."));
                }
                ObjectKind::Sink(sink) => self.sink(&object, sink)?,
                ObjectKind::View(_) | ObjectKind::MaterializedView(_) | ObjectKind::Stream(_) => self.view(&object)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A topic's records are found by the key of what is emitted.
    fn sink(&self, object: &Object, sink: &catalog::Sink) -> Result<()> {
        let (Some(old), Some(new)) = (self.context.catalog.get(sink.from), self.changed.get(&sink.from)) else {
            return Ok(());
        };
        if old.key() == new.key() {
            return Ok(());
        }
        let message = format!("cannot change the key of what {} emits", described(object));
        Err(Error::new(ErrorKind::DependentObjects, message)
            .with_hint("A topic keeps the key of its records: drop the sink, and create it again."))
    }

    /// What is to be done.
    pub(super) fn finish(self, notices: Vec<String>, tag: &'static str) -> AlterPlan {
        AlterPlan {
            objects: self.changed.into_values().collect(),
            attach: self.attach,
            drops: Vec::new(),
            rewrite: None,
            notices,
            tag,
        }
    }

    fn index(&mut self, object: &Object, index: &catalog::Index) -> Result<()> {
        let (_, places) = &self.moved[&index.on];
        let columns: Option<Vec<usize>> = index.columns.iter().map(|column| places[*column]).collect();
        let Some(columns) = columns else {
            self.needing.push(object.id);
            return Ok(());
        };
        let on = self.changed.get(&index.on).ok_or_else(|| Error::internal("what moved has changed"))?;
        let mut next = object.clone();
        next.kind = ObjectKind::Index(catalog::Index { columns, ..index.clone() });
        next.sql = definition::index_text(&next, on);
        self.changed.insert(next.id, next);
        Ok(())
    }

    /// How things will be, with one more changed object.
    fn after(&self, next: &Object) -> Result<catalog::Catalog> {
        let mut changed = self.changed.clone();
        changed.insert(next.id, next.clone());
        altered(&changed, &self.context)
    }

    fn view(&mut self, object: &Arc<Object>) -> Result<()> {
        let mut next = object.as_ref().clone();
        if object.depends_on.iter().any(|read| self.moved.contains_key(read)) && !self.reads_the_same(object)? {
            let moved = &self.moved;
            let changed = &self.changed;
            let reference = |read: &Object| {
                let (_, places) = moved.get(&read.id)?;
                let now = &changed.get(&read.id)?.columns;
                let columns = read.columns.iter().zip(places);
                let columns =
                    columns.filter_map(|(then, place)| Some((now[(*place)?].name.clone(), then.name.clone())));
                Some(Reference { name: read.name.clone(), columns: Some(columns.collect()) })
            };
            definition::rewrite(&mut next, &object.name.schema, &self.context, &reference)?;
        }
        let is_new = next != **object;
        match &object.kind {
            ObjectKind::View(_) => self.plain_view(object, next, is_new),
            _ => self.running_view(object, next, is_new),
        }
    }

    /// Whether the text of a view, as it is, means what it meant.
    fn reads_the_same(&self, object: &Object) -> Result<bool> {
        let Some(query) = query_of(object) else { return Ok(true) };
        let catalog = self.after(object)?;
        let after = PlanContext { catalog: &catalog, ..self.context };
        let before = plan_stored(query, object, &self.context)?;
        Ok(plan_stored(query, object, &after)
            .is_ok_and(|now| now.logical.display_indent().to_string() == before.logical.display_indent().to_string()))
    }

    fn plain_view(&mut self, object: &Object, next: Object, is_new: bool) -> Result<()> {
        let catalog = self.after(&next)?;
        let after = PlanContext { catalog: &catalog, ..self.context };
        let Some(query) = query_of(&next) else { return Ok(()) };
        let planned = match plan_stored(query, &next, &after) {
            Ok(planned) => planned,
            Err(error) => return self.needs(object, error),
        };
        let types = |schema: &arrow::datatypes::Schema| {
            schema.fields().iter().map(|field| field.data_type().clone()).collect::<Vec<_>>()
        };
        if types(&planned.schema) != types(&object.schema()) {
            return self.needs(object, Error::internal("its columns have other types"));
        }
        if is_new {
            self.changed.insert(next.id, next);
        }
        Ok(())
    }

    fn running_view(&mut self, object: &Object, mut next: Object, is_new: bool) -> Result<()> {
        let catalog = self.after(&next)?;
        let after = PlanContext { catalog: &catalog, ..self.context };
        let old = plan_stored_view(object, &self.context)?;
        let new = match plan_stored_view(&next, &after) {
            Ok(new) => new,
            Err(error) => return self.needs(object, error),
        };
        // An operator that relies on rows never going can't be given a difference.
        let mut relies = false;
        let rewritten = self.rewrites && new.inputs.iter().any(|input| self.moved.contains_key(input));
        new.root.visit(&mut |node| {
            relies |=
                matches!(node, Node::Input(input) if input.append_only && self.switched.contains(&input.relation));
        });
        let same_outside = old.key == new.key && old.append_only == new.append_only && old.times == new.times;
        if same_outside && !relies {
            if !rewritten && old.root.fingerprint() == new.root.fingerprint() {
                if is_new {
                    self.changed.insert(next.id, next);
                }
                return Ok(());
            }
            if let Some(names) = same_work(&old.root, &new.root, &self.moved)? {
                self.attach.push(Attach { relation: next.id, view: new, how: Attached::Kept(names) });
                self.changed.insert(next.id, next);
                return Ok(());
            }
        }
        let ObjectKind::MaterializedView(view) = &mut next.kind else {
            let message = format!("{} would have to begin anew, which it can't", described(object));
            return Err(Error::new(ErrorKind::DependentObjects, message)
                .with_hint("What a stream has emitted can't be taken back: drop the stream, and create it again."));
        };
        if self.columns_only {
            return self.needs(object, Error::internal("it is another view"));
        }
        view.key.clone_from(&new.key);
        view.append_only = new.append_only;
        view.times.clone_from(&new.times);
        self.changed.insert(next.id, next);
        self.switch(object.id, new);
        Ok(())
    }

    /// A view can't be without what goes.
    fn needs(&mut self, object: &Object, error: Error) -> Result<()> {
        let loses = self.moved.values().any(|(_, places)| places.contains(&None));
        if !loses {
            return Err(error.nowhere().with_detail(format!("It would happen in {}.", described(object))));
        }
        self.needing.push(object.id);
        Ok(())
    }
}
