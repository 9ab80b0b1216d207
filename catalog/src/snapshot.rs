//! A catalog as a value: cloned at the cost of a reference count, never changed in place.
//!
//! The engine keeps the current one; a statement is planned against it, and what the statement does gives the next one. It is stored
//! object by object ([`Catalog::objects`], [`Catalog::counters`]) and put together again with [`Catalog::restore`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Column, Error, Object, ObjectId, ObjectKind, QualifiedName, Result};

/// The schema that always exists.
pub const PUBLIC: &str = "public";

/// Names of schemas that belong to the system.
pub const SYSTEM_SCHEMAS: [&str; 3] = ["pg_catalog", "information_schema", "mr_catalog"];

/// The first number that a state table may have: 0 is the store's own.
pub const FIRST_STATE_ID: u32 = 1;

/// An immutable catalog.
#[derive(Clone, Debug, PartialEq)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    objects: BTreeMap<ObjectId, Arc<Object>>,
    by_name: BTreeMap<QualifiedName, ObjectId>,
    dependents: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
    counters: Counters,
}

/// What a catalog knows besides its objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// The number of the next object.
    pub next_object: u32,
    /// The number of the next state table.
    pub next_state: u32,
    /// The schemas, without the system's.
    pub schemas: BTreeSet<String>,
    /// Comments, by object and column.
    #[serde(default)]
    pub comments: Vec<Comment>,
}

/// What COMMENT ON has said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Comment {
    /// What it is about.
    pub object: ObjectId,
    /// The column that it is about; `None`: the whole object.
    pub column: Option<usize>,
    /// What it says.
    pub text: String,
}

impl Default for Catalog {
    fn default() -> Self {
        Self::restore(Counters::default(), []).expect("no object contradicts another where there is none")
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            next_object: 1,
            next_state: FIRST_STATE_ID,
            schemas: BTreeSet::from([PUBLIC.to_owned()]),
            comments: Vec::new(),
        }
    }
}

impl Catalog {
    /// The catalog of a new server: the schema `public`, empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a stored catalog together.
    pub fn restore(counters: Counters, objects: impl IntoIterator<Item = Object>) -> Result<Self> {
        let mut objects: Vec<_> = objects.into_iter().collect();
        objects.sort_by_key(|object| object.id);
        let mut inner =
            Inner { objects: BTreeMap::new(), by_name: BTreeMap::new(), dependents: BTreeMap::new(), counters };
        inner.add_all(objects).map_err(|error| Error::Damaged(error.to_string()))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// All objects, in an order in which what an object reads comes before it; else in that in which they were made.
    pub fn in_order_of_reading(&self) -> Vec<&Arc<Object>> {
        let all = self.with_dependents(self.inner.objects.keys().copied());
        all.iter().rev().filter_map(|id| self.get(*id)).collect()
    }

    /// All objects, in the order in which they were made. (One that was altered may read a younger one.)
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.inner.objects.values()
    }

    /// The objects of a schema, by name.
    pub fn objects_in<'a>(&'a self, schema: &'a str) -> impl Iterator<Item = &'a Arc<Object>> {
        self.inner.by_name.iter().filter(move |(name, _)| name.schema == schema).map(|(_, id)| &self.inner.objects[id])
    }

    /// The counters, schemas and comments, to be stored beside the objects.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// The object of this number.
    pub fn get(&self, id: ObjectId) -> Option<&Arc<Object>> {
        self.inner.objects.get(&id)
    }

    /// The object of this name.
    pub fn find(&self, name: &QualifiedName) -> Option<&Arc<Object>> {
        self.inner.by_name.get(name).map(|id| &self.inner.objects[id])
    }

    /// The object of this bare name in the first of these schemas that has one.
    pub fn find_in_path(&self, path: &[String], name: &str) -> Option<&Arc<Object>> {
        path.iter().find_map(|schema| self.find(&QualifiedName { schema: schema.clone(), name: name.to_owned() }))
    }

    /// The schemas, without the system's.
    pub fn schemas(&self) -> impl Iterator<Item = &str> {
        self.inner.counters.schemas.iter().map(String::as_str)
    }

    /// Whether there is such a schema, the system's included.
    pub fn has_schema(&self, name: &str) -> bool {
        self.inner.counters.schemas.contains(name) || SYSTEM_SCHEMAS.contains(&name)
    }

    /// The objects that read this one directly, oldest first.
    pub fn dependents(&self, id: ObjectId) -> impl Iterator<Item = &Arc<Object>> {
        self.inner.dependents.get(&id).into_iter().flatten().map(|id| &self.inner.objects[id])
    }

    /// These objects and all that read them, directly or not: whoever reads comes before what it reads.
    pub fn with_dependents(&self, ids: impl IntoIterator<Item = ObjectId>) -> Vec<ObjectId> {
        let mut found = BTreeSet::new();
        let mut open: Vec<_> = ids.into_iter().collect();
        while let Some(id) = open.pop() {
            if self.get(id).is_some() && found.insert(id) {
                open.extend(self.inner.dependents.get(&id).into_iter().flatten());
            }
        }
        // Most objects are younger than what they read; those that were altered need not be.
        let mut ordered: Vec<ObjectId> = Vec::with_capacity(found.len());
        let mut placed = BTreeSet::new();
        while ordered.len() < found.len() {
            let before = ordered.len();
            for id in &found {
                let waits = |read: &ObjectId| found.contains(read) && !placed.contains(read) && read != id;
                let ready = !placed.contains(id) && !self.inner.objects[id].depends_on.iter().any(waits);
                if ready {
                    placed.insert(*id);
                    ordered.push(*id);
                }
            }
            assert!(ordered.len() > before, "no object reads itself, directly or not");
        }
        ordered.reverse();
        ordered
    }

    /// The indexes on a relation, oldest first.
    pub fn indexes(&self, relation: ObjectId) -> impl Iterator<Item = (&Arc<Object>, &crate::Index)> {
        self.dependents(relation).filter_map(move |object| match &object.kind {
            ObjectKind::Index(index) if index.on == relation => Some((object, index)),
            _ => None,
        })
    }

    /// The comment on an object or on one of its columns.
    pub fn comment(&self, object: ObjectId, column: Option<usize>) -> Option<&str> {
        let comments = &self.inner.counters.comments;
        comments
            .iter()
            .find(|comment| comment.object == object && comment.column == column)
            .map(|found| found.text.as_str())
    }

    /// Gives a new object its number and the numbers of its own state tables (a view's operators get theirs from
    /// [`Catalog::take_states`]). The catalog that it returns has only counted on.
    #[must_use]
    pub fn assign(&self, mut object: Object) -> (Self, Object) {
        let mut next = (*self.inner).clone();
        object.id = ObjectId(next.counters.next_object);
        next.counters.next_object += 1;
        let state = match &mut object.kind {
            ObjectKind::Table(table) => Some(&mut table.state_id),
            ObjectKind::MaterializedView(view) => Some(&mut view.state_id),
            ObjectKind::Sink(sink) => Some(&mut sink.state_id),
            ObjectKind::Index(index) => Some(&mut index.state_id),
            ObjectKind::Stream(stream) => Some(&mut stream.state_id),
            ObjectKind::Source(_) | ObjectKind::View(_) => None,
        };
        if let Some(state) = state {
            *state = next.counters.next_state;
            next.counters.next_state += 1;
        }
        (Self { inner: Arc::new(next) }, object)
    }

    /// Takes `count` numbers for state tables: the first of them.
    #[must_use]
    pub fn take_states(&self, count: u32) -> (Self, u32) {
        let mut next = (*self.inner).clone();
        let first = next.counters.next_state;
        next.counters.next_state += count;
        (Self { inner: Arc::new(next) }, first)
    }

    /// With a new object, whose number has been assigned.
    pub fn create(&self, object: Object) -> Result<Self> {
        let mut next = (*self.inner).clone();
        next.add(object)?;
        Ok(Self { inner: Arc::new(next) })
    }

    /// With another definition of an object that exists: same number, same name.
    pub fn update(&self, object: Object) -> Result<Self> {
        let mut next = (*self.inner).clone();
        match next.objects.get(&object.id) {
            Some(old) if old.name == object.name => {}
            Some(_) | None => return Err(Error::NoObject(object.id)),
        }
        next.remove(object.id)?;
        next.add(object)?;
        Ok(Self { inner: Arc::new(next) })
    }

    /// With other definitions, perhaps under other names, of objects that exist: all of them at once, so that two may exchange their names.
    pub fn alter(&self, objects: Vec<Object>) -> Result<Self> {
        let mut next = (*self.inner).clone();
        for object in &objects {
            next.remove(object.id)?;
        }
        next.add_all(objects)?;
        Ok(Self { inner: Arc::new(next) })
    }

    /// Without an object, on which nothing may depend.
    pub fn drop_object(&self, id: ObjectId) -> Result<Self> {
        let name = self.get(id).ok_or(Error::NoObject(id))?.name.clone();
        let dependents: Vec<_> = self.dependents(id).map(|object| object.id).collect();
        if !dependents.is_empty() {
            return Err(Error::HasDependents { name, dependents });
        }
        let mut next = (*self.inner).clone();
        next.remove(id)?;
        next.counters.comments.retain(|comment| comment.object != id);
        Ok(Self { inner: Arc::new(next) })
    }

    /// With a new schema.
    pub fn create_schema(&self, name: &str) -> Result<Self> {
        if self.has_schema(name) {
            return Err(Error::SchemaTaken(name.to_owned()));
        }
        let mut next = (*self.inner).clone();
        next.counters.schemas.insert(name.to_owned());
        Ok(Self { inner: Arc::new(next) })
    }

    /// Without a schema, which must be empty.
    pub fn drop_schema(&self, name: &str) -> Result<Self> {
        if !self.inner.counters.schemas.contains(name) {
            return Err(Error::NoSchema(name.to_owned()));
        }
        if self.objects_in(name).next().is_some() {
            return Err(Error::SchemaNotEmpty(name.to_owned()));
        }
        let mut next = (*self.inner).clone();
        next.counters.schemas.remove(name);
        Ok(Self { inner: Arc::new(next) })
    }

    /// With another comment; `None` takes it away.
    pub fn set_comment(&self, object: ObjectId, column: Option<usize>, text: Option<String>) -> Result<Self> {
        if self.get(object).is_none() {
            return Err(Error::NoObject(object));
        }
        let mut next = (*self.inner).clone();
        next.counters.comments.retain(|comment| (comment.object, comment.column) != (object, column));
        next.counters.comments.extend(text.map(|text| Comment { object, column, text }));
        next.counters.comments.sort();
        Ok(Self { inner: Arc::new(next) })
    }

    /// The name of a relation that looks like this one: first in the schemas of the path, then anywhere.
    pub fn near_miss(&self, path: &[String], name: &str) -> Option<QualifiedName> {
        let relations = || self.objects().filter(|object| !object.is_index()).map(|object| &object.name);
        let in_path = relations().filter(|candidate| path.contains(&candidate.schema));
        if let Some(found) = nearest(name, in_path, |candidate| &candidate.name) {
            return Some(found.clone());
        }
        nearest(name, relations(), |candidate| &candidate.name).cloned()
    }
}

impl Inner {
    /// Adds objects that may read each other.
    fn add_all(&mut self, objects: Vec<Object>) -> Result<()> {
        let (ids, reads): (BTreeSet<ObjectId>, Vec<_>) =
            (objects.iter().map(|object| object.id).collect(), objects.iter().map(|o| o.depends_on.clone()).collect());
        let missing = |id: &&ObjectId| !ids.contains(*id) && !self.objects.contains_key(*id);
        if let Some(missing) = reads.iter().flatten().find(missing) {
            return Err(Error::NoObject(*missing));
        }
        objects.into_iter().try_for_each(|object| self.add_reading_any(object))
    }

    fn add(&mut self, object: Object) -> Result<()> {
        match object.depends_on.iter().find(|input| !self.objects.contains_key(input)) {
            Some(missing) => Err(Error::NoObject(*missing)),
            None => self.add_reading_any(object),
        }
    }

    fn add_reading_any(&mut self, object: Object) -> Result<()> {
        if self.objects.contains_key(&object.id) {
            return Err(Error::IdTaken(object.id));
        }
        if self.by_name.contains_key(&object.name) {
            return Err(Error::NameTaken(object.name));
        }
        if !self.counters.schemas.contains(&object.name.schema) {
            return Err(Error::NoSchema(object.name.schema));
        }
        for input in &object.depends_on {
            self.dependents.entry(*input).or_default().insert(object.id);
        }
        self.by_name.insert(object.name.clone(), object.id);
        self.objects.insert(object.id, Arc::new(object));
        Ok(())
    }

    fn remove(&mut self, id: ObjectId) -> Result<()> {
        let object = self.objects.remove(&id).ok_or(Error::NoObject(id))?;
        self.by_name.remove(&object.name);
        for input in &object.depends_on {
            if let Some(dependents) = self.dependents.get_mut(input) {
                dependents.remove(&id);
                if dependents.is_empty() {
                    self.dependents.remove(input);
                }
            }
        }
        Ok(())
    }
}

impl Object {
    /// Whether it is an index: it has a name, but no rows of its own.
    pub fn is_index(&self) -> bool {
        matches!(self.kind, ObjectKind::Index(_))
    }

    /// The position of a column.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The column's name that looks like this one.
    pub fn near_miss_column(&self, name: &str) -> Option<&str> {
        nearest(name, self.columns.iter(), |column: &&Column| &column.name).map(|column| column.name.as_str())
    }

    /// Its columns as an Arrow schema, fields as [`crate::SqlType::field`] makes them.
    pub fn schema(&self) -> arrow::datatypes::SchemaRef {
        let field = |column: &Column| column.sql_type.field(&column.name, column.nullable);
        Arc::new(arrow::datatypes::Schema::new(self.columns.iter().map(field).collect::<Vec<_>>()))
    }

    /// Whether its rows are stored: a table or a materialized view.
    pub fn is_stored(&self) -> bool {
        matches!(self.kind, ObjectKind::Table(_) | ObjectKind::MaterializedView(_))
    }

    /// Positions of the columns that identify a row, if any are known.
    pub fn key(&self) -> Option<&[usize]> {
        let key = match &self.kind {
            ObjectKind::Table(table) => &table.primary_key,
            ObjectKind::MaterializedView(view) => &view.key,
            _ => return None,
        };
        Some(key.as_slice()).filter(|key| !key.is_empty())
    }

    /// Whether it is a view that is built to take another's place.
    pub fn is_hidden(&self) -> bool {
        matches!(&self.kind, ObjectKind::MaterializedView(view) if view.takes_place_of.is_some())
    }

    /// What it is, as messages and SHOW call it.
    pub fn noun(&self) -> &'static str {
        match &self.kind {
            ObjectKind::Source(source) if source.declared_as_stream => "stream",
            ObjectKind::Source(_) => "source",
            ObjectKind::Table(_) => "table",
            ObjectKind::Stream(_) => "stream",
            ObjectKind::View(_) => "view",
            ObjectKind::MaterializedView(_) => "materialized view",
            ObjectKind::Sink(_) => "sink",
            ObjectKind::Index(_) => "index",
        }
    }
}

/// The candidate whose name is most like `wanted`, if one is like enough to be meant: at most a third of the characters differ.
pub fn nearest<T>(wanted: &str, candidates: impl Iterator<Item = T>, name: impl Fn(&T) -> &str) -> Option<T> {
    let wanted = wanted.to_lowercase();
    let bound = (wanted.chars().count() / 3).max(1);
    let mut best: Option<(usize, T)> = None;
    for candidate in candidates {
        let other = name(&candidate).to_lowercase();
        let mut distance = strsim::osa_distance(&wanted, &other);
        if distance > bound
            && wanted.len() >= 3
            && (other.starts_with(&wanted) || other.strip_suffix('s') == Some(&wanted))
        {
            distance = bound;
        }
        if distance <= bound && best.as_ref().is_none_or(|(least, _)| distance < *least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests;
