//! Changes of the catalog, made between two epochs and answered when they are durable.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use catalog::{Catalog, Object, ObjectId, ObjectKind};
use dataflow::{Graph, IndexLayout, StateAllocator, ViewForm, ViewLayout, Workers};
use planner::ViewPlan;
use planner::statement::plan::{CommentPlan, CreatePlan, DropPlan};
use storage::StateId;

use super::first_read::FirstRead;
use super::{Coordinator, dataflow_error};
use crate::command::{DdlDone, Reply};
use crate::ddl::DdlChange;
use crate::inputs::{Input, SavedInput};
use crate::{Error, ErrorKind, Result, recovery};

/// The first number of relations that live only as long as somebody follows them.
const FIRST_FOLLOWED: u32 = 0xF000_0000;

/// The part of the operators' memory that all views being built may have beside them.
const BUILD_SHARE: usize = 2;

impl Coordinator {
    /// Carries out one change.
    pub(super) fn ddl(&mut self, planned_against: u64, change: DdlChange, reply: Reply<DdlDone>) {
        let lasting = !matches!(change, DdlChange::Follow { .. } | DdlChange::Unfollow(_) | DdlChange::Abandon(_));
        // An index of a view is made when the view is.
        if let DdlChange::Create { create, .. } = &change
            && let ObjectKind::Index(index) = &create.object.kind
            && self.hydrating.contains_key(&index.on)
        {
            self.after_build.push((index.on, planned_against, change, reply));
            return;
        }
        // It goes on from what is in the store: everything must be there first.
        if change.is_from_store() && (self.in_flight.is_some() || self.pending.dirty) && self.failure.is_none() {
            self.deferred.push((planned_against, change, reply));
            self.pending.dirty = true;
            self.waiting.push(Box::new(|_| ()));
            return;
        }
        let done = if let Some(failure) = &self.failure {
            Err(failure.clone())
        } else if let Some(error) = self.no_room().filter(|_| lasting) {
            Err(error)
        } else if lasting && planned_against != self.catalog_version {
            Err(Error::new(ErrorKind::SerializationFailure, "the catalog was changed by another session")
                .with_hint("run the statement again"))
        } else {
            self.change(change)
        };
        match done {
            Ok(done) if lasting => {
                self.catalog_version += 1;
                self.pending.dirty = true;
                self.show_soon();
                self.publish();
                self.waiting.push(Box::new(move |result| answer(reply, result.map(|()| done))));
            }
            done => {
                // What the store can't give has left the change half made: only what is in the store is whole.
                if let Err(error) = &done
                    && error.kind == ErrorKind::Storage
                {
                    self.fail(error.clone());
                }
                answer(reply, done);
            }
        }
    }

    pub(super) fn change(&mut self, change: DdlChange) -> Result<DdlDone> {
        match change {
            DdlChange::Create { create, past } => self.create(*create, past),
            DdlChange::CreateBeside { create, past, exposed } => self.create_beside(*create, past, exposed),
            DdlChange::CreateSchema(name) => {
                self.set_catalog(self.catalog.create_schema(&name).map_err(catalog_error)?)?;
                Ok(DdlDone::default())
            }
            DdlChange::Drop(drop) => self.drop_objects(drop),
            DdlChange::Alter(alter) => self.alter(*alter),
            DdlChange::Batch { changes, write } => self.batch(changes, write),
            DdlChange::Comment(CommentPlan { object, column, comment }) => {
                self.set_catalog(self.catalog.set_comment(object, column, comment).map_err(catalog_error)?)?;
                Ok(DdlDone::default())
            }
            DdlChange::Follow { plan, relation } => {
                let id = ObjectId(FIRST_FOLLOWED + self.followed);
                self.followed += 1;
                let mut states = NewStates { next: 0x8000_0000 | (id.0 << 8), names: BTreeMap::new() };
                self.graph.attach(id, &plan.root, None, &mut states).map_err(dataflow_error)?;
                self.followed_inputs.insert(id, plan.inputs.clone());
                self.ensure_running_for(&plan.inputs)?;
                *relation.lock() = Some(id);
                Ok(DdlDone::default())
            }
            DdlChange::Abandon(name) => match self.catalog.find(&name).map(|object| object.id) {
                Some(id) => self.change(DdlChange::Unfollow(id)),
                None => Ok(DdlDone::default()),
            },
            DdlChange::Unfollow(id) if self.catalog.get(id).is_some() => {
                self.drop_object(id)?;
                self.catalog_version += 1;
                self.pending.dirty = true;
                self.stop_unread_sources()?;
                self.publish();
                Ok(DdlDone::default())
            }
            DdlChange::Unfollow(id) => {
                for state in self.graph.detach(id) {
                    self.pending.changes.clear_state(state);
                }
                self.followed_inputs.remove(&id);
                self.stop_unread_sources()?;
                Ok(DdlDone::default())
            }
        }
    }

    pub(super) fn create(&mut self, create: CreatePlan, mut past: FirstRead) -> Result<DdlDone> {
        let own = if create.view.is_none() { past.remove(&create.object.id) } else { None };
        let (catalog, mut object) = self.catalog.assign(create.object);
        past.extend(own.map(|ends| (object.id, ends)));
        self.catalog = Arc::new(catalog);
        if let (ObjectKind::MaterializedView(view), Some(plan)) = (&mut object.kind, &create.view) {
            view.key = plan.key.clone();
            view.append_only = plan.append_only;
            view.times = plan.times.clone();
            view.growth = plan.growth.clone();
        }
        let built = match &create.view {
            Some(plan) => Some(self.build_view(&mut object, plan)?),
            None => None,
        };
        let object = Arc::new(object);
        if let Err(error) = self.begin(&object, built, create.view.as_ref()) {
            // A statement that fails leaves nothing behind.
            self.drop_object(object.id)?;
            return Err(error);
        }
        if object.is_stored() {
            self.begin_first_read(object.id, create.view.as_ref(), past);
        }
        Ok(DdlDone { notices: create.notices })
    }

    fn begin(&mut self, object: &Arc<Object>, built: Option<Built>, view: Option<&ViewPlan>) -> Result<()> {
        let next = self.catalog.create(object.as_ref().clone()).map_err(catalog_error)?;
        recovery::put_object(object, &mut self.pending.changes)?;
        self.set_catalog(next)?;
        match (built, view) {
            (Some(built), Some(plan)) => self.begin_view(object, plan, built, Installed::New),
            _ => self.install(object, None, Installed::New),
        }
    }

    /// Makes the operators of a new view: in the running graph if there is no past to read, else in a graph of its own.
    fn build_view(&mut self, object: &mut Object, plan: &ViewPlan) -> Result<Built> {
        let layout = view_layout(object);
        // A stream goes on from now; a view has all of the past.
        let begins = layout.is_none() || self.is_fresh(plan);
        let mut states = CatalogStates { catalog: (*self.catalog).clone(), names: BTreeMap::new() };
        let built = if begins {
            let attached = self.graph.attach(object.id, &plan.root, layout, &mut states);
            attached.map_err(dataflow_error)?;
            Built::Running
        } else {
            let mut graph = self.graph_beside(plan)?;
            graph.attach(object.id, &plan.root, layout, &mut states).map_err(dataflow_error)?;
            Built::Beside(Box::new(graph))
        };
        self.catalog = Arc::new(states.catalog);
        // Operators that other views have made already keep their tables.
        let graph = if let Built::Beside(graph) = &built { graph } else { &self.graph };
        let names = graph.states(object.id).into_iter().map(|(name, state)| (name, state.0)).collect();
        match &mut object.kind {
            ObjectKind::MaterializedView(view) => view.operator_states = names,
            ObjectKind::Stream(stream) => stream.operator_states = names,
            _ => return Err(Error::internal("only views have operators")),
        }
        Ok(built)
    }

    /// Whether there is no past to read, and nothing else to compute first: no input has had any row, and what comes without input hasn't come yet.
    fn is_fresh(&self, plan: &ViewPlan) -> bool {
        let untouched = |id: &ObjectId| match self.relations.get(id) {
            Some(view) => view.row_count(&*self.snapshot).is_ok_and(|rows| rows == 0),
            None => !self.hydrating.contains_key(id) && self.inputs.get(id).is_none_or(Input::is_untouched),
        };
        // A recursion may take long, whatever it begins with.
        let mut recurs = false;
        plan.root.visit(&mut |node| recurs |= matches!(node, planner::Node::Recursive(_)));
        if recurs {
            return false;
        }
        // What goes on from operators has their past.
        let begins = !plan.inputs.iter().any(|id| self.exposed.contains_key(id));
        begins && plan.inputs.iter().all(untouched) && !self.graph.has_begun(&plan.root)
    }

    /// Puts an object of the catalog to work; at a restart with what the store has of it.
    pub(crate) fn install(&mut self, object: &Arc<Object>, plan: Option<&ViewPlan>, how: Installed) -> Result<()> {
        match &object.kind {
            ObjectKind::Source(_) => {
                let registered = self.graph.register_input(object.id, &object.schema(), None, false);
                registered.map_err(dataflow_error)?;
            }
            ObjectKind::Table(table) => {
                let layout = layout(table.state_id, &table.primary_key, false);
                let upsert = table.connector.is_some();
                let registered = self.graph.register_input(object.id, &object.schema(), Some(layout), upsert);
                registered.map_err(dataflow_error)?;
                self.show(object.id);
                if table.connector.is_some() && how != Installed::Offline {
                    self.start_input(object)?;
                }
            }
            ObjectKind::View(_) => {}
            ObjectKind::Stream(_) | ObjectKind::MaterializedView(_) => {
                let plan = plan.ok_or_else(|| Error::internal(format!("{} has no plan", object.name)))?;
                self.install_view(object, plan, how)?;
            }
            ObjectKind::Sink(sink) => {
                let from = self.catalog.get(sink.from).cloned();
                let from = from.ok_or_else(|| Error::internal("a sink reads what exists"))?;
                self.start_sink(object, &sink.connector, &from, StateId(sink.state_id), how)?;
                self.ensure_running_for(&[sink.from])?;
            }
            ObjectKind::Index(index) => {
                self.install_index(index, how)?;
                self.show(index.on);
            }
        }
        Ok(())
    }

    pub(super) fn install_index(&mut self, index: &catalog::Index, how: Installed) -> Result<()> {
        let layout = IndexLayout { state: StateId(index.state_id), columns: index.columns.clone() };
        if how != Installed::New {
            // The store has the entries already.
            return self.graph.restore_index(index.on, layout).map_err(dataflow_error);
        }
        let pending = &mut self.pending.changes;
        let mut emit = |changes| {
            pending.merge(changes);
            Ok(())
        };
        self.graph.add_index(index.on, layout, &mut emit).map_err(dataflow_error)
    }

    /// A view of a catalog that was stored.
    fn install_view(&mut self, object: &Arc<Object>, plan: &ViewPlan, how: Installed) -> Result<()> {
        let built = if how == Installed::Unfinished {
            Built::Beside(Box::new(self.attached_beside(object, plan)?))
        } else {
            let names = operator_states(&object.kind).ok_or_else(|| Error::internal("a view has operators"))?;
            let attached =
                self.graph.attach(object.id, &plan.root, view_layout(object), &mut NamedStates(names.clone()));
            attached.map_err(dataflow_error)?;
            Built::Running
        };
        self.begin_view(object, plan, built, how)
    }

    /// A graph beside the running one with the operators of a view of the catalog.
    pub(super) fn attached_beside(&mut self, object: &Object, plan: &ViewPlan) -> Result<Graph> {
        let names = operator_states(&object.kind).ok_or_else(|| Error::internal("a view has operators"))?;
        let mut graph = self.graph_beside(plan)?;
        let attached = graph.attach(object.id, &plan.root, view_layout(object), &mut NamedStates(names.clone()));
        attached.map_err(dataflow_error)?;
        if is_planned_otherwise(&graph, object.id) {
            return Err(planned_otherwise(&[object.name.to_string()]));
        }
        Ok(graph)
    }

    /// A graph in which a view is built beside the running one.
    fn graph_beside(&mut self, plan: &ViewPlan) -> Result<Graph> {
        let settings = self.graph_settings();
        let memory_budget_bytes = settings.memory_budget_bytes / BUILD_SHARE / self.settings.concurrent_builds.max(1);
        let settings = dataflow::GraphSettings { memory_budget_bytes, ..settings };
        let workers = match &self.build_workers {
            Some(workers) => workers.clone(),
            None => self.build_workers.insert(Workers::start(settings.workers).map_err(dataflow_error)?).clone(),
        };
        let mut graph = Graph::on(workers, settings, self.snapshot.clone());
        for id in &plan.inputs {
            let schema = match (self.catalog.get(*id), self.exposed.get(id)) {
                (Some(input), _) => input.schema(),
                (None, Some(operator)) => operator.kept.operator.schema().clone(),
                (None, None) => continue,
            };
            graph.register_input(*id, &schema, None, false).map_err(dataflow_error)?;
        }
        Ok(graph)
    }

    /// Lets a view that is built run, or begins to build it.
    fn begin_view(&mut self, object: &Arc<Object>, plan: &ViewPlan, built: Built, how: Installed) -> Result<()> {
        match built {
            Built::Running => {
                self.show_errors(object.id)?;
                if object.is_stored() {
                    self.show(object.id);
                    recovery::put_hydrated(object.id, &mut self.pending.changes)?;
                }
                self.ensure_running_for(&plan.inputs)?;
                // A constant, or a count over nothing, is a row without any input.
                self.wants_step |= how == Installed::New;
            }
            Built::Beside(graph) => self.hydrate(object, plan, *graph)?,
        }
        if let ObjectKind::Stream(stream) = &object.kind
            && let Some(connector) = &stream.connector
        {
            self.start_sink(object, connector, object, StateId(stream.state_id), how)?;
        }
        Ok(())
    }

    /// Readers see what the graph has of a stored relation.
    pub(super) fn show(&mut self, relation: ObjectId) {
        if let Some(view) = self.graph.published(relation) {
            self.relations.insert(relation, view);
        }
    }

    /// Readers see what the expressions of a view fail on, if they do.
    pub(super) fn show_errors(&mut self, relation: ObjectId) -> Result<()> {
        match self.graph.errors(relation).map_err(dataflow_error)? {
            Some(errors) => drop(self.errors.insert(relation, errors)),
            None => drop(self.errors.remove(&relation)),
        }
        Ok(())
    }

    /// Starts the sources behind these relations, as far as they don't run.
    pub(crate) fn ensure_running_for(&mut self, relations: &[ObjectId]) -> Result<()> {
        for id in relations {
            let Some(object) = self.catalog.get(*id).cloned() else { continue };
            if matches!(object.kind, ObjectKind::Source(_)) && !self.inputs.contains_key(id) {
                self.start_input(&object)?;
            }
        }
        Ok(())
    }

    fn start_input(&mut self, object: &Arc<Object>) -> Result<()> {
        if self.settings.offline {
            return Ok(());
        }
        // A source that had stopped begins again at its start.
        let saved: Option<SavedInput> =
            if self.recovering { recovery::input(object.id, &self.snapshot)? } else { None };
        let queued_bytes = self.outside.queued_bytes(self.settings.input_bounds().queued_bytes);
        let mut input = Input::start(object, saved, queued_bytes, &self.bell, &*self.outside)?;
        if let Some(watermark) = input.watermark.as_mut().and_then(|w| w.current()) {
            self.watermarks.insert(object.id, watermark);
        }
        self.pending.dirty = true;
        self.inputs.insert(object.id, input);
        Ok(())
    }

    fn drop_objects(&mut self, drop: DropPlan) -> Result<DdlDone> {
        for id in drop.objects {
            self.drop_object(id)?;
        }
        for schema in &drop.schemas {
            self.set_catalog(self.catalog.drop_schema(schema).map_err(catalog_error)?)?;
        }
        self.stop_unread_sources()?;
        self.make_indexes();
        self.start_builds();
        Ok(DdlDone { notices: drop.notices })
    }

    pub(super) fn drop_object(&mut self, id: ObjectId) -> Result<()> {
        let Some(object) = self.catalog.get(id).cloned() else { return Ok(()) };
        let next = self.catalog.drop_object(id).map_err(catalog_error)?;
        recovery::delete_object(id, &mut self.pending.changes);
        match &object.kind {
            ObjectKind::Source(_) => self.forget_source(id)?,
            ObjectKind::Table(table) => {
                if table.connector.is_some() {
                    self.forget_source(id)?;
                }
                self.pending.changes.clear_state(StateId(table.state_id));
            }
            ObjectKind::MaterializedView(view) => self.pending.changes.clear_state(StateId(view.state_id)),
            ObjectKind::Stream(stream) => {
                if stream.connector.is_some() {
                    self.drop_sink(id);
                    self.pending.changes.forget_state(StateId(stream.state_id));
                }
            }
            ObjectKind::Sink(sink) => {
                self.drop_sink(id);
                // Also of what the outbox got since the last checkpoint nothing stays.
                self.pending.changes.forget_state(StateId(sink.state_id));
            }
            ObjectKind::Index(index) => {
                self.graph.drop_index(index.on, StateId(index.state_id)).map_err(dataflow_error)?;
                self.pending.changes.clear_state(StateId(index.state_id));
                self.show(index.on);
            }
            ObjectKind::View(_) => {}
        }
        if !matches!(object.kind, ObjectKind::Index(_) | ObjectKind::Sink(_) | ObjectKind::View(_)) {
            for state in self.graph.detach(id) {
                self.pending.changes.clear_state(state);
            }
        }
        self.relations.remove(&id);
        self.errors.remove(&id);
        self.subscribers.remove(&id);
        self.forget_build(&object);
        self.conceal(id);
        self.first_reads.remove(&id);
        self.first_reads.values_mut().for_each(|ends| drop(ends.remove(&id)));
        self.table_changed.remove(&id);
        self.set_catalog(next)
    }

    fn forget_source(&mut self, id: ObjectId) -> Result<()> {
        self.inputs.remove(&id);
        self.watermarks.remove(&id);
        recovery::delete_input(id, &mut self.pending.changes);
        self.dead_letters.forget(id, &self.snapshot, &mut self.pending.changes)
    }

    /// A source that nobody reads any more stops, and will begin again at its start: a view made later has all of its past.
    pub(super) fn stop_unread_sources(&mut self) -> Result<()> {
        let mut read: HashSet<ObjectId> = self.followed_inputs.values().flatten().copied().collect();
        read.extend(self.subscribers.keys());
        read.extend(self.catalog.objects().flat_map(|object| object.depends_on.iter().copied()));
        let unread: Vec<ObjectId> = self.inputs.keys().copied().filter(|id| !read.contains(id)).collect();
        for id in unread {
            let is_source = self.catalog.get(id).is_some_and(|o| matches!(o.kind, ObjectKind::Source(_)));
            if is_source {
                self.inputs.remove(&id);
                self.watermarks.remove(&id);
                recovery::delete_input(id, &mut self.pending.changes);
                self.dead_letters.forget_late(id, &self.snapshot, &mut self.pending.changes)?;
            }
        }
        Ok(())
    }

    pub(super) fn set_catalog(&mut self, next: Catalog) -> Result<()> {
        recovery::put_counters(next.counters(), &mut self.pending.changes)?;
        self.catalog = Arc::new(next);
        Ok(())
    }
}

/// How an object comes to be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    /// By its CREATE.
    New,
    /// By a restart, whole.
    Recovered,
    /// By a restart, while it was being built: it begins again.
    Unfinished,
    /// For a look at the catalog only.
    Offline,
}

/// How a stored relation's rows lie in the store.
pub(crate) fn layout(state_id: u32, key: &[usize], append_only: bool) -> ViewLayout {
    let state = StateId(state_id);
    let form = match (key, append_only) {
        ([], true) => ViewForm::Log,
        ([], false) => ViewForm::Bag,
        (key, _) => ViewForm::Keyed { key: key.to_vec() },
    };
    ViewLayout { state, form, indexes: vec![] }
}

/// Where the operators of a new view are.
enum Built {
    /// In the running graph.
    Running,
    /// In a graph of their own.
    Beside(Box<Graph>),
}

/// How a view's rows are stored; a stream's are not.
pub(super) fn view_layout(object: &Object) -> Option<ViewLayout> {
    match &object.kind {
        ObjectKind::MaterializedView(view) => {
            Some(layout(view.state_id, &view.key, view.append_only && view.retention.is_none()))
        }
        _ => None,
    }
}

pub(crate) fn operator_states(kind: &ObjectKind) -> Option<&BTreeMap<String, u32>> {
    match kind {
        ObjectKind::MaterializedView(view) => Some(&view.operator_states),
        ObjectKind::Stream(stream) => Some(&stream.operator_states),
        _ => None,
    }
}

/// State tables that the catalog has given before.
pub(super) struct NamedStates(pub(super) BTreeMap<String, u32>);

/// The table of an operator that the catalog doesn't know: another version has planned the view otherwise. Nothing is ever read or written there.
const NOBODYS: StateId = StateId(u32::MAX - 1);

/// Whether the plan of a relation has operators for which the catalog has no tables.
pub(super) fn is_planned_otherwise(graph: &Graph, relation: ObjectId) -> bool {
    graph.states(relation).iter().any(|(_, state)| *state == NOBODYS)
}

/// Views whose state fits another plan than the one that they have now.
pub(super) fn planned_otherwise(views: &[String]) -> Error {
    let message = "the views in the data directory were planned otherwise by the version that wrote it";
    Error::new(ErrorKind::Storage, message)
        .with_detail(format!("their operators' state can't be gone on with: {}", views.join(", ")))
        .with_hint(
            "start the version that wrote it; or drop these views with it, and create them again with this one: see docs/operations/upgrade.md",
        )
}

impl StateAllocator for NamedStates {
    fn state(&mut self, name: &str) -> StateId {
        self.0.get(name).copied().map_or(NOBODYS, StateId)
    }

    fn given(&self, name: &str) -> Option<StateId> {
        self.0.get(name).copied().map(StateId)
    }
}

/// State tables that the catalog gives now.
struct CatalogStates {
    catalog: Catalog,
    names: BTreeMap<String, StateId>,
}

impl StateAllocator for CatalogStates {
    fn state(&mut self, name: &str) -> StateId {
        if let Some(state) = self.names.get(name) {
            return *state;
        }
        let (catalog, state) = self.catalog.take_states(1);
        self.catalog = catalog;
        self.names.insert(name.to_owned(), StateId(state));
        StateId(state)
    }
}

/// State tables of a query that is followed: gone with it.
struct NewStates {
    next: u32,
    names: BTreeMap<String, StateId>,
}

impl StateAllocator for NewStates {
    fn state(&mut self, name: &str) -> StateId {
        *self.names.entry(name.to_owned()).or_insert_with(|| {
            self.next += 1;
            StateId(self.next)
        })
    }
}

pub(super) fn answer(reply: Reply<DdlDone>, done: Result<DdlDone>) {
    if reply.send(done).is_err() {
        tracing::debug!("the session has gone before its statement was done");
    }
}

pub(crate) fn catalog_error(error: catalog::Error) -> Error {
    Error::internal(format!("the catalog refuses: {error}"))
}
