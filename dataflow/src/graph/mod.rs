//! All relations as one graph of operators: who shares what, and one synchronous step of it per epoch.
//!
//! A relation that takes part is *attached* (a view, by its plan) or *registered* (a table or source, fed from outside). Equal nodes
//! of different views are one operator. An input names a relation, and is looked up at each step: so a view may be built in
//! a graph of its own, fed from outside, and later be [absorbed](Graph::absorb) by the running graph, where the relations that
//! it reads are.
//!
//! The life of an epoch: [`Graph::step`], once per epoch; at times [`Graph::checkpoint`], whose changes the engine commits, and then
//! [`Graph::committed`] with a snapshot that contains them. Steps may go on in between, but there is one checkpoint at a time.

mod contents;
mod epoch;
mod step;
mod workers;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use catalog::ObjectId;
use planner::incremental::{Node, PartitionRule, Retention};
use storage::{ChangeSet, Snapshot, StateId};

use crate::expression::nullable;
use crate::failures::ERROR_SCHEMA;
use crate::operator::Operator;
use crate::operators::{States, build};
use crate::view::{IndexLayout, Materialize, PublishedView, ViewForm, ViewLayout};
use crate::{Error, Result};

pub use contents::read_output;
pub use epoch::{EpochInputs, EpochOutputs, GraphSettings, LateRows, OperatorStats, StateAllocator};
pub use workers::Workers;

/// The name of the state table of a relation's errors, among those of its operators.
pub fn errors_state(relation: ObjectId) -> String {
    format!("errors of {}", relation.0)
}

/// The operators of all relations.
pub struct Graph {
    settings: GraphSettings,
    workers: Workers,
    /// Free places are `None`.
    vertices: Vec<Option<Vertex>>,
    /// Operators that are shared, by their nodes.
    shared: HashMap<Arc<Node>, usize>,
    relations: BTreeMap<ObjectId, Relation>,
    /// Vertices of which none reads another of the same level; made anew when the graph changed.
    levels: Option<Vec<Vec<usize>>>,
    snapshot: Arc<dyn Snapshot>,
    stopped: Arc<AtomicBool>,
}

struct Vertex {
    node: Arc<Node>,
    /// Out only while it is being stepped.
    operator: Option<Box<dyn Operator>>,
    inputs: Vec<Origin>,
    /// How many operators and relations read it.
    users: usize,
    states: BTreeMap<String, StateId>,
    rows_in: u64,
    rows_out: u64,
    busy: Duration,
}

/// Where changes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Vertex(usize),
    /// The relation's changes; of one that the graph doesn't know: what it is fed.
    Relation(ObjectId),
}

struct Relation {
    /// `None`: fed from outside.
    root: Option<Origin>,
    /// Where what is stored comes from, if that isn't the root: a view whose rows go silently.
    kept: Option<Origin>,
    stored: Option<Materialize>,
    /// What the expressions of its plan fail on; `None`: it has no plan.
    errors: Option<Materialize>,
    /// What is fed are rows to set and keys to delete, not changes.
    upsert: bool,
}

impl Relation {
    /// What it uses.
    fn origins(&self) -> Vec<Origin> {
        self.root.into_iter().chain(self.kept).collect()
    }
}

impl Graph {
    /// A graph without relations over the state in the store, with threads of its own.
    ///
    /// # Errors
    /// If threads can't be started.
    pub fn new(settings: GraphSettings, snapshot: Arc<dyn Snapshot>) -> Result<Self> {
        let workers = Workers::start(settings.workers)?;
        Ok(Self::on(workers, settings, snapshot))
    }

    /// As [`Graph::new`], on threads that other graphs may use too.
    pub fn on(workers: Workers, settings: GraphSettings, snapshot: Arc<dyn Snapshot>) -> Self {
        Self {
            settings,
            workers,
            vertices: vec![],
            shared: HashMap::new(),
            relations: BTreeMap::new(),
            levels: None,
            snapshot,
            stopped: Arc::default(),
        }
    }

    /// What ends a step that is under way, if somebody sets it: a recursion looks at it as it goes on. The graph is of no use afterwards.
    pub fn stopper(&self) -> Arc<AtomicBool> {
        self.stopped.clone()
    }

    /// Adds a relation that is fed from outside: a source, whose rows pass through, or a table, which is stored.
    ///
    /// With `upsert` (the layout must be keyed) what is fed are not changes: a row of positive weight sets the row with its key, one of
    /// negative weight deletes the row with its key (other columns don't matter); the last one of a key counts.
    pub fn register_input(
        &mut self,
        relation: ObjectId,
        schema: &SchemaRef,
        layout: Option<ViewLayout>,
        upsert: bool,
    ) -> Result<()> {
        if upsert && !layout.as_ref().is_some_and(|layout| matches!(layout.form, ViewForm::Keyed { .. })) {
            return Err(Error::Broken("rows are set by key in a relation that has none".to_owned()));
        }
        let stored = layout.map(|layout| Materialize::new(nullable(schema), layout, upsert)).transpose()?;
        self.insert(relation, Relation { root: None, kept: None, stored, errors: None, upsert })
    }

    /// Adds a relation by its plan, stored if there is a layout. Operators that the graph has already are shared.
    ///
    /// Rows that need no input (constants, an aggregate without keys) come out of the next step; see [`Graph::is_pending`].
    ///
    /// # Errors
    /// If an operator can't be built. Then the graph is as it was.
    pub fn attach(
        &mut self,
        relation: ObjectId,
        root: &Arc<Node>,
        layout: Option<ViewLayout>,
        states: &mut dyn StateAllocator,
    ) -> Result<()> {
        let store = |layout: ViewLayout| {
            let in_order = match &layout.form {
                ViewForm::Keyed { key } => self.is_in_order(root, key),
                ViewForm::Bag | ViewForm::Log => true,
            };
            Materialize::new(nullable(root.schema()), layout, in_order)
        };
        let stored = layout.map(store).transpose()?;
        let layout = ViewLayout { state: states.state(&errors_state(relation)), form: ViewForm::Bag, indexes: vec![] };
        let errors = Some(Materialize::new(ERROR_SCHEMA.clone(), layout, true)?);
        let origin = self.build(root, states)?;
        let (root, kept) = match (root.as_ref(), origin) {
            (Node::Retention(Retention { silent: true, .. }), Origin::Vertex(index)) => {
                (self.vertex(index).inputs[0], Some(origin))
            }
            _ => (origin, None),
        };
        self.insert(relation, Relation { root: Some(root), kept, stored, errors, upsert: false })
    }

    fn insert(&mut self, id: ObjectId, relation: Relation) -> Result<()> {
        self.levels = None;
        relation.origins().into_iter().for_each(|origin| self.hold(origin));
        match self.relations.insert(id, relation) {
            None => Ok(()),
            Some(_) => Err(Error::Broken(format!("relation {} is in the graph already", id.0))),
        }
    }

    /// Whether changes of rows that are equal in the columns `key` come in an order in which they can be applied one by one: what
    /// takes a row away before what adds another.
    fn is_in_order(&self, node: &Node, key: &[usize]) -> bool {
        let all = |columns: &[usize]| columns.iter().all(|column| key.contains(column));
        let first = |count: usize| (0..count).all(|column| key.contains(&column));
        match node {
            Node::Input(input) => match self.relations.get(&input.relation) {
                Some(Relation { upsert: true, stored: Some(stored), .. }) => match &stored.layout().form {
                    ViewForm::Keyed { key } => all(key),
                    ViewForm::Bag | ViewForm::Log => false,
                },
                // A view, or a relation of another graph.
                _ => false,
            },
            Node::Map(node) => {
                let of_input = |column: &usize| crate::expression::plain_column(node.expressions.get(*column)?);
                self.is_in_order(&node.input, &key.iter().filter_map(of_input).collect::<Vec<_>>())
            }
            Node::Unnest(node) => {
                let input =
                    key.iter().map(|column| node.columns[*column]).filter(|column| !node.lists.contains(column));
                self.is_in_order(&node.input, &input.collect::<Vec<_>>())
            }
            Node::Window(node) => {
                let width = node.input.schema().fields().len();
                self.is_in_order(&node.input, &key.iter().copied().filter(|column| *column < width).collect::<Vec<_>>())
            }
            // What goes as time passes comes before what changes.
            Node::TemporalFilter(node) => self.is_in_order(&node.input, key),
            Node::Retention(node) => self.is_in_order(&node.input, key),
            // What is forgotten isn't what comes.
            Node::Forgetful(node) => self.is_in_order(&node.of, key),
            // Changes of one group stand together; those of different groups are in any order.
            Node::Aggregate(node) => first(node.keys.len()),
            Node::Distinct(node) => first(node.input.schema().fields().len()),
            // A partition's changes stand together, what goes first.
            Node::Partition(node) => match &node.rule {
                PartitionRule::Aggregates(_) => first(node.keys.len()),
                PartitionRule::Windows(_) | PartitionRule::Top(_) => node.keys.iter().all(|expression| {
                    crate::expression::plain_column(expression).is_some_and(|column| key.contains(&column))
                }),
            },
            // The change of a row is one.
            Node::Recursive(node) => !node.all && first(node.schema.fields().len()),
            Node::WindowClose(_) | Node::Constant(_) | Node::Idle(_) => true,
            Node::Join(_) | Node::AsOf(_) | Node::TemporalJoin(_) | Node::Union(_) => false,
            Node::SetOperation(_) | Node::Session(_) | Node::Hole(_) => false,
        }
    }

    fn build(&mut self, node: &Arc<Node>, states: &mut dyn StateAllocator) -> Result<Origin> {
        if let Node::Input(input) = node.as_ref() {
            return Ok(Origin::Relation(input.relation));
        }
        if let Some(vertex) = self.shared.get(node)
            && self.has_given_states(*vertex, states)
        {
            return Ok(Origin::Vertex(*vertex));
        }
        let mut named = Named { fingerprint: None, node, states, made: BTreeMap::new() };
        let operator = build(node, &mut named)?;
        let made = named.made;
        let mut inputs = Vec::new();
        for input in node.inputs() {
            match self.build(input, states) {
                Ok(origin) => {
                    self.hold(origin);
                    inputs.push(origin);
                }
                Err(error) => {
                    inputs.into_iter().for_each(|origin| drop(self.release(origin)));
                    return Err(error);
                }
            }
        }
        let vertex = self.place(Vertex {
            node: node.clone(),
            operator: Some(operator),
            inputs,
            users: 0,
            states: made,
            rows_in: 0,
            rows_out: 0,
            busy: Duration::ZERO,
        });
        self.shared.entry(node.clone()).or_insert(vertex);
        Ok(Origin::Vertex(vertex))
    }

    /// Whether an operator, and those that it reads, have the state tables that were given to a relation before. Two views that were
    /// built at different times keep tables of their own, also where their plans are equal.
    fn has_given_states(&self, vertex: usize, states: &dyn StateAllocator) -> bool {
        let vertex = self.vertex(vertex);
        let own = vertex.states.iter().all(|(name, state)| states.given(name).is_none_or(|given| given == *state));
        own && vertex.inputs.iter().all(|input| match input {
            Origin::Vertex(input) => self.has_given_states(*input, states),
            Origin::Relation(_) => true,
        })
    }

    /// Whether a plan would share an operator whose rows without input (a constant, a count over nothing) have come out already: a
    /// relation that is attached now would not get them.
    pub fn has_begun(&self, root: &Arc<Node>) -> bool {
        let begins = match root.as_ref() {
            Node::Constant(_) => true,
            Node::Aggregate(node) => node.keys.is_empty(),
            Node::Partition(node) => node.has_row_of_nothing(),
            Node::Recursive(node) => node.rounds,
            _ => false,
        };
        let begun = begins && self.shared.contains_key(root);
        begun || root.inputs().into_iter().any(|input| self.has_begun(input))
    }

    fn place(&mut self, vertex: Vertex) -> usize {
        self.levels = None;
        match self.vertices.iter().position(Option::is_none) {
            Some(free) => {
                self.vertices[free] = Some(vertex);
                free
            }
            None => {
                self.vertices.push(Some(vertex));
                self.vertices.len() - 1
            }
        }
    }

    fn vertex(&self, index: usize) -> &Vertex {
        self.vertices[index].as_ref().expect("what is referred to is there")
    }

    fn vertex_mut(&mut self, index: usize) -> &mut Vertex {
        self.vertices[index].as_mut().expect("what is referred to is there")
    }

    fn hold(&mut self, origin: Origin) {
        if let Origin::Vertex(index) = origin {
            self.vertex_mut(index).users += 1;
        }
    }

    /// Gives up one use; returns the states of operators that nobody uses any more.
    fn release(&mut self, origin: Origin) -> Vec<StateId> {
        let Origin::Vertex(index) = origin else { return vec![] };
        let vertex = self.vertex_mut(index);
        vertex.users -= 1;
        if vertex.users > 0 {
            return vec![];
        }
        self.levels = None;
        let vertex = self.vertices[index].take().expect("it was there");
        if self.shared.get(&vertex.node) == Some(&index) {
            self.shared.remove(&vertex.node);
        }
        let mut states: Vec<StateId> = vertex.states.into_values().collect();
        for input in vertex.inputs {
            states.extend(self.release(input));
        }
        states
    }

    /// Removes a relation and the operators that only it uses. Relations that read it must have been removed before.
    ///
    /// Returns the state tables that nobody uses any more, to be cleared.
    pub fn detach(&mut self, relation: ObjectId) -> Vec<StateId> {
        let Some(removed) = self.relations.remove(&relation) else { return vec![] };
        self.levels = None;
        let mut states = Vec::new();
        if let Some(stored) = &removed.stored {
            states.push(stored.layout().state);
            states.extend(stored.layout().indexes.iter().map(|index| index.state));
        }
        states.extend(removed.errors.iter().map(|errors| errors.layout().state));
        for origin in removed.origins() {
            states.extend(self.release(origin));
        }
        states
    }

    /// Takes over all relations and operators of another graph that has come to the same epoch, and whose last checkpoint is
    /// committed in a snapshot that this graph has been given.
    ///
    /// With `share`, where both graphs have an operator for equal nodes, this graph's stays: sound only if both have seen the same
    /// input from its beginning. Otherwise both stay, and this graph's is the one that later views share.
    ///
    /// Returns the state tables of operators that were dropped, to be cleared.
    pub fn absorb(&mut self, other: Graph, share: bool) -> Result<Vec<StateId>> {
        self.levels = None;
        let mut dropped = Vec::new();
        let mut moved: HashMap<usize, usize> = HashMap::new();
        let mut other = other;
        let order = other.order();
        for index in order {
            let mut vertex = other.vertices[index].take().expect("it is in the order");
            for input in &mut vertex.inputs {
                if let Origin::Vertex(from) = input {
                    *from = moved[from];
                }
            }
            let twin = self.shared.get(&vertex.node).copied();
            if let Some(twin) = twin.filter(|_| share) {
                moved.insert(index, twin);
                dropped.extend(vertex.states.into_values());
                continue;
            }
            vertex.users = 0;
            vertex.inputs.clone().into_iter().for_each(|input| self.hold(input));
            let node = vertex.node.clone();
            let place = self.place(vertex);
            self.shared.entry(node).or_insert(place);
            moved.insert(index, place);
        }
        for (id, mut relation) in other.relations {
            if relation.root.is_none() && self.relations.contains_key(&id) {
                // What was fed from outside there is part of this graph.
                continue;
            }
            for origin in relation.root.iter_mut().chain(&mut relation.kept) {
                if let Origin::Vertex(index) = origin {
                    *index = moved[index];
                }
            }
            self.insert(id, relation)?;
        }
        Ok(dropped)
    }

    /// Vertices, each behind those that it reads.
    fn order(&self) -> Vec<usize> {
        if let Some(levels) = &self.levels {
            return levels.concat();
        }
        let mut depths: Vec<(usize, usize)> = Vec::new();
        let mut known = HashMap::new();
        for index in (0..self.vertices.len()).filter(|index| self.vertices[*index].is_some()) {
            depths.push((self.depth(Origin::Vertex(index), &mut known), index));
        }
        depths.sort_unstable();
        depths.into_iter().map(|(_, index)| index).collect()
    }

    fn depth(&self, origin: Origin, known: &mut HashMap<usize, usize>) -> usize {
        match origin {
            Origin::Relation(id) => match self.relations.get(&id).and_then(|relation| relation.root) {
                Some(root) => self.depth(root, known),
                None => 0,
            },
            Origin::Vertex(index) => {
                if let Some(depth) = known.get(&index) {
                    return *depth;
                }
                let inputs = self.vertex(index).inputs.iter();
                let depth = 1 + inputs.map(|input| self.depth(*input, known)).max().unwrap_or(0);
                known.insert(index, depth);
                depth
            }
        }
    }

    /// Vertices by depth.
    fn levels(&mut self) -> Vec<Vec<usize>> {
        if let Some(levels) = &self.levels {
            return levels.clone();
        }
        let mut known = HashMap::new();
        let mut levels: Vec<Vec<usize>> = Vec::new();
        for index in self.order() {
            let depth = self.depth(Origin::Vertex(index), &mut known);
            levels.resize(levels.len().max(depth), vec![]);
            levels[depth - 1].push(index);
        }
        self.levels = Some(levels.clone());
        levels
    }

    /// Whether an operator has output that needs no input: an epoch is due.
    pub fn is_pending(&self) -> bool {
        self.vertices.iter().flatten().any(|vertex| vertex.operator.as_ref().is_some_and(|op| op.is_pending()))
    }

    /// The earliest epoch's timestamp at which an operator has something to do though nothing comes in.
    pub fn due(&self) -> Option<i64> {
        self.vertices.iter().flatten().filter_map(|vertex| vertex.operator.as_ref()?.due()).min()
    }

    /// Everything that changed since the last call, to be committed as a whole.
    pub fn checkpoint(&mut self) -> Result<ChangeSet> {
        let mut changes = ChangeSet::new();
        for vertex in self.vertices.iter_mut().flatten() {
            if let Some(operator) = &mut vertex.operator {
                operator.checkpoint(self.workers.pool(), &mut changes)?;
            }
        }
        for relation in self.relations.values_mut() {
            if let Some(stored) = relation.stored.as_mut().filter(|stored| !stored.is_clean()) {
                stored.checkpoint(self.workers.pool(), self.snapshot.as_ref(), &mut changes)?;
            }
            if let Some(errors) = relation.errors.as_mut().filter(|errors| !errors.is_clean()) {
                errors.checkpoint(self.workers.pool(), self.snapshot.as_ref(), &mut changes)?;
            }
        }
        Ok(changes)
    }

    /// The last checkpoint is committed; `snapshot` contains it. What it wrote may leave memory, as far as the budget wants it.
    ///
    /// Returns the stored relations that it wrote rows of: readers of the new snapshot need them [anew](Graph::published).
    pub fn committed(&mut self, snapshot: Arc<dyn Snapshot>) -> Result<Vec<ObjectId>> {
        self.snapshot = snapshot;
        let used = self.state_bytes();
        let budget = self.settings.memory_budget_bytes;
        for operator in self.vertices.iter_mut().flatten().filter_map(|vertex| vertex.operator.as_mut()) {
            let share = match used > budget {
                true => (operator.state_bytes() as f64 / used as f64 * budget as f64) as usize,
                false => usize::MAX,
            };
            operator.committed(share)?;
        }
        let mut written = Vec::new();
        for (id, relation) in &mut self.relations {
            if let Some(errors) = &mut relation.errors {
                errors.committed();
            }
            if relation.stored.as_mut().is_some_and(Materialize::committed) {
                written.push(*id);
            }
        }
        Ok(written)
    }

    /// The snapshot that the graph reads evicted state from.
    pub fn snapshot(&self) -> &Arc<dyn Snapshot> {
        &self.snapshot
    }

    /// Memory held by operators' state, in bytes.
    pub fn state_bytes(&self) -> usize {
        self.vertices.iter().flatten().filter_map(|v| v.operator.as_ref()).map(|op| op.state_bytes()).sum()
    }

    /// About how many bytes the next checkpoint writes: what tells the engine that one is due.
    pub fn unwritten_bytes(&self) -> usize {
        let operators = self.vertices.iter().flatten().filter_map(|v| v.operator.as_ref());
        let views = self.relations.values().flat_map(|relation| relation.stored.iter().chain(&relation.errors));
        operators.map(|op| op.unwritten_bytes()).sum::<usize>() + views.map(Materialize::unwritten_bytes).sum::<usize>()
    }

    /// A stored relation as of the last step, to be read with [`Graph::snapshot`].
    pub fn published(&mut self, relation: ObjectId) -> Option<PublishedView> {
        Some(self.relations.get_mut(&relation)?.stored.as_mut()?.published())
    }

    /// What the expressions of a relation's plan fail on as of the last step, to be read with [`Graph::snapshot`]: rows of
    /// [`ERROR_SCHEMA`]. `None`: nothing.
    pub fn errors(&mut self, relation: ObjectId) -> Result<Option<PublishedView>> {
        let snapshot = self.snapshot.clone();
        let errors = self.relations.get_mut(&relation).and_then(|relation| relation.errors.as_mut());
        let Some(errors) = errors.map(Materialize::published) else { return Ok(None) };
        Ok((errors.row_count(snapshot.as_ref())? > 0).then_some(errors))
    }

    /// The relations in the graph.
    pub fn relations(&self) -> impl Iterator<Item = ObjectId> + '_ {
        self.relations.keys().copied()
    }

    /// Adds an index to a stored relation. Everything must have been checkpointed and committed. `emit` is given what must
    /// be committed together with the index's own existence, in sets of bounded size.
    pub fn add_index(
        &mut self,
        relation: ObjectId,
        index: IndexLayout,
        emit: &mut dyn FnMut(ChangeSet) -> Result<()>,
    ) -> Result<()> {
        let snapshot = self.snapshot.clone();
        let stored = self.relations.get_mut(&relation).and_then(|relation| relation.stored.as_mut());
        let stored = stored.ok_or_else(|| Error::Broken(format!("relation {} is not stored", relation.0)))?;
        let view = stored.published();
        stored.add_index(index.clone())?;
        view.index_entries(&snapshot, &index, emit)
    }

    /// As [`Graph::add_index`], for an index whose entries are in the store already.
    pub fn restore_index(&mut self, relation: ObjectId, index: IndexLayout) -> Result<()> {
        let stored = self.relations.get_mut(&relation).and_then(|relation| relation.stored.as_mut());
        stored.ok_or_else(|| Error::Broken(format!("relation {} is not stored", relation.0)))?.add_index(index)
    }

    /// Drops an index; its state table is to be cleared.
    pub fn drop_index(&mut self, relation: ObjectId, index: StateId) -> Result<()> {
        match self.relations.get_mut(&relation).and_then(|relation| relation.stored.as_mut()) {
            Some(stored) => stored.drop_index(index),
            None => Ok(()),
        }
    }

    /// The state tables of a relation's errors and of all operators that its plan needs, by name; those of relations that it reads not
    /// counted.
    ///
    /// Names are only unique within a relation.
    pub fn states(&self, relation: ObjectId) -> BTreeMap<String, StateId> {
        let vertices = self.vertices_of(relation);
        let errors = self.relations.get(&relation).and_then(|relation| relation.errors.as_ref());
        let errors = errors.map(|errors| (errors_state(relation), errors.layout().state));
        vertices.into_iter().flat_map(|index| self.vertex(index).states.clone()).chain(errors).collect()
    }

    fn vertices_of(&self, relation: ObjectId) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open: Vec<Origin> = self.relations.get(&relation).map(Relation::origins).unwrap_or_default();
        while let Some(origin) = open.pop() {
            if let Origin::Vertex(index) = origin
                && found.insert(index)
            {
                open.extend(&self.vertex(index).inputs);
            }
        }
        found
    }

    /// What each operator has done and holds.
    pub fn operators(&self) -> Vec<OperatorStats> {
        let mut users: HashMap<usize, Vec<ObjectId>> = HashMap::new();
        for relation in self.relations.keys() {
            for index in self.vertices_of(*relation) {
                users.entry(index).or_default().push(*relation);
            }
        }
        let mut stats = Vec::new();
        for index in self.order() {
            let vertex = self.vertex(index);
            let operator = vertex.operator.as_ref();
            stats.push(OperatorStats {
                node: vertex.node.clone(),
                relations: users.remove(&index).unwrap_or_default(),
                rows_in: vertex.rows_in,
                rows_out: vertex.rows_out,
                busy: vertex.busy,
                state_bytes: operator.map_or(0, |op| op.state_bytes()),
                state_rows: operator.map_or(0, |op| op.state_rows()),
                states: vertex.states.clone(),
            });
        }
        stats
    }
}

/// Gives the tables of one node their names.
struct Named<'a> {
    fingerprint: Option<String>,
    node: &'a Node,
    states: &'a mut dyn StateAllocator,
    made: BTreeMap<String, StateId>,
}

impl States for Named<'_> {
    fn state(&mut self, role: &str) -> StateId {
        let fingerprint = self.fingerprint.get_or_insert_with(|| self.node.fingerprint());
        let name = format!("{fingerprint}/{role}");
        let state = self.states.state(&name);
        self.made.insert(name, state);
        state
    }

    fn given(&self, role: &str) -> Option<StateId> {
        self.states.given(&format!("{}/{role}", self.node.fingerprint()))
    }
}

#[cfg(test)]
mod tests;
