//! Changes of objects that exist: everything that a statement changes appears in one epoch.
//!
//! What has operators or rows changes while everything that was computed is in the store, so that operators can be made anew over
//! the state that they had: as at a restart, but only for the views that a change concerns. A view whose query changes has been built beside the
//! old one, under a number of its own; here its state takes the place of the old one's, and the difference of their rows is fed to readers in an epoch
//! of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Field, Schema, SchemaRef};
use catalog::{Catalog, Object, ObjectId, ObjectKind};
use dataflow::{IndexLayout, ViewLayout};
use datafusion::common::ScalarValue;
use delta::{Delta, consolidate};
use planner::statement::plan::{AlterPlan, Attach, Attached, ColumnOrigin, TableRewrite};
use storage::StateId;

use super::ddl::{NamedStates, catalog_error, is_planned_otherwise, layout, operator_states, view_layout};
use super::epoch::{dataflow_error, delta_error};
use super::{Coordinator, ddl::Installed};
use crate::command::{DdlDone, Write};
use crate::ddl::{Alteration, BuiltBeside, DdlChange};
use crate::planted::{Bug, is_planted};
use crate::{Error, ErrorKind, Result, recovery};

/// Whose state operators go on with: by the names that it has from now on.
type States = BTreeMap<String, u32>;

impl Coordinator {
    /// Gives objects other definitions.
    pub(super) fn alter(&mut self, alteration: Alteration) -> Result<DdlDone> {
        self.check_settled(&alteration)?;
        let Alteration { mut plan, built, values } = alteration;
        // What can fail comes first.
        let differences = self.differences(&plan, &built)?;
        let rows = plan.rewrite.as_ref().map(|rewrite| self.rewritten(rewrite, &plan, &values)).transpose()?;
        let notices = std::mem::take(&mut plan.notices);
        match self.carry_out(plan, &built, differences, rows) {
            Ok(()) => Ok(DdlDone { notices }),
            Err(error) => {
                // Some operators are gone and others not yet there: only what is in the store is whole.
                self.fail(error.clone());
                Err(error)
            }
        }
    }

    fn carry_out(
        &mut self,
        mut plan: AlterPlan,
        built: &HashMap<ObjectId, BuiltBeside>,
        differences: HashMap<ObjectId, Vec<Delta>>,
        rows: Option<(ObjectId, Vec<Delta>)>,
    ) -> Result<()> {
        for id in std::mem::take(&mut plan.drops) {
            self.drop_object(id)?;
        }
        let before = self.concerned(&plan, built);
        let next = self.with_states(&mut plan, built)?;
        self.detach_all(&plan, built);
        self.redefine(next, &plan, built)?;
        let (ready, beside): (Vec<&Attach>, Vec<&Attach>) =
            plan.attach.iter().partition(|attach| matches!(attach.how, Attached::Kept(_)));
        if let Some((table, rows)) = rows {
            self.refill(table, rows)?;
        }
        for attach in &beside {
            let object = self.object(attach.relation)?;
            self.graph.register_input(object.id, &object.schema(), None, false).map_err(dataflow_error)?;
        }
        for attach in &ready {
            self.attach_again(attach)?;
        }
        if !differences.is_empty() && !is_planted(Bug::DifferenceNotTold) {
            let inputs = self.only(differences)?;
            self.step(inputs, None)?;
        }
        for attach in &beside {
            self.graph.detach(attach.relation);
        }
        for attach in &beside {
            self.attach_again(attach)?;
            self.index_again(attach.relation)?;
        }
        // Until now operators that go on could stay as they are, with all that they hold in memory.
        for built in built.values() {
            self.conceal(built.hidden);
        }
        self.clear_unused(&before);
        self.stop_unread_sources()
    }

    /// Makes all changes of a transaction, and takes its rows into an epoch that shows them together.
    pub(super) fn batch(&mut self, changes: Vec<DdlChange>, mut write: Write) -> Result<DdlDone> {
        // What can fail comes first: nothing of it is to stay if something of it can't be.
        for change in &changes {
            if let DdlChange::Alter(alteration) = change {
                self.check_settled(alteration)?;
                if let Some(rewrite) = &alteration.plan.rewrite {
                    self.rewritten(rewrite, &alteration.plan, &alteration.values)?;
                }
            }
        }
        let known = write.deltas.iter().filter(|(id, _)| self.catalog.get(*id).is_some()).cloned().collect();
        self.check(&Write { deltas: known, ..write.clone() }, &std::collections::HashSet::new())?;
        let done = changes.into_iter().try_for_each(|change| self.change(change).map(drop));
        let done = done.and_then(|()| {
            self.catalog_version += 1;
            if write.deltas.is_empty() || is_planted(Bug::TransactionWithoutRows) {
                return Ok(());
            }
            write.planned_against = self.catalog_version;
            // What was there before has no number that a table of this transaction has.
            let (reply, refused) = tokio::sync::oneshot::channel();
            self.writes.push_front((write, reply));
            self.run_epoch()?;
            match { refused }.try_recv() {
                Ok(Err(error)) => Err(error),
                _ => Ok(()),
            }
        });
        match done {
            Ok(()) => Ok(DdlDone::default()),
            Err(error) => {
                self.fail(error.clone());
                Err(error)
            }
        }
    }

    /// Whether everything that changes, and all that reads it, is built.
    fn check_settled(&self, alteration: &Alteration) -> Result<()> {
        if !alteration.moves_state() {
            return Ok(());
        }
        let again = |message: String| Err(Error::new(ErrorKind::SerializationFailure, message));
        let ids = alteration.plan.objects.iter().map(|object| object.id);
        let hidden = alteration.built.values().map(|built| built.hidden);
        for id in self.catalog.with_dependents(ids.chain(hidden)) {
            if self.hydrating.contains_key(&id) {
                return again(format!("view {} is still being built", id.0));
            }
        }
        for built in alteration.built.values() {
            if !self.relations.contains_key(&built.hidden) {
                return again("what was built has gone".to_owned());
            }
            if built.reused.iter().any(|id| self.errors.contains_key(id)) {
                return again("what was reused has rows that fail".to_owned());
            }
        }
        Ok(())
    }

    fn object(&self, id: ObjectId) -> Result<Arc<Object>> {
        let object = self.catalog.get(id).cloned();
        object.ok_or_else(|| Error::internal(format!("object {} is in the catalog", id.0)))
    }

    /// New rows less old rows, of each view that gets others.
    fn differences(
        &self,
        plan: &AlterPlan,
        built: &HashMap<ObjectId, BuiltBeside>,
    ) -> Result<HashMap<ObjectId, Vec<Delta>>> {
        let mut differences = HashMap::new();
        for new in plan.objects.iter().filter(|object| built.contains_key(&object.id)) {
            let (old, hidden) = (self.object(new.id)?, built[&new.id].hidden);
            let schema = numbered(&new.schema());
            let place = |column: &catalog::Column| {
                old.column_index(&column.name).filter(|place| old.columns[*place].sql_type == column.sql_type)
            };
            let places: Vec<Option<usize>> = new.columns.iter().map(place).collect();
            let mut changes = Vec::new();
            for batch in self.contents(old.id)? {
                changes.push(Delta::inserts(reshaped(&batch, &places, &schema)?).negate().map_err(delta_error)?);
            }
            let all: Vec<Option<usize>> = (0..new.columns.len()).map(Some).collect();
            for batch in self.contents(hidden)? {
                changes.push(Delta::inserts(reshaped(&batch, &all, &schema)?));
            }
            let total = Delta::concat(&schema, &changes).map_err(delta_error)?;
            let difference = consolidate(&total).map_err(delta_error)?;
            differences.insert(new.id, if difference.is_empty() { Vec::new() } else { vec![difference] });
        }
        Ok(differences)
    }

    fn contents(&self, relation: ObjectId) -> Result<Vec<RecordBatch>> {
        let Some(view) = self.relations.get(&relation) else { return Ok(Vec::new()) };
        let scan = view.scan(self.snapshot.clone(), None).map_err(dataflow_error)?;
        scan.map(|batch| batch.map_err(dataflow_error)).collect()
    }

    /// The rows of a table with its new columns.
    fn rewritten(
        &self,
        rewrite: &TableRewrite,
        plan: &AlterPlan,
        values: &[ScalarValue],
    ) -> Result<(ObjectId, Vec<Delta>)> {
        let new = plan.objects.iter().find(|object| object.id == rewrite.table);
        let new = new.ok_or_else(|| Error::internal("a table that is written anew changes"))?;
        let schema = numbered(&new.schema());
        let mut rows = Vec::new();
        for batch in self.contents(rewrite.table)? {
            let mut values = values.iter();
            let mut columns: Vec<ArrayRef> = Vec::with_capacity(rewrite.columns.len());
            for origin in &rewrite.columns {
                columns.push(match origin {
                    ColumnOrigin::Old(place) => batch.column(*place).clone(),
                    ColumnOrigin::New(_) => {
                        let value = values.next().ok_or_else(|| Error::internal("each new column has a value"))?;
                        let made = value.to_array_of_size(batch.num_rows());
                        made.map_err(|e| Error::internal(format!("a default is a value: {e}")))?
                    }
                });
            }
            for (column, array) in new.columns.iter().zip(&columns) {
                if !column.nullable && array.null_count() > 0 {
                    let message =
                        format!("column \"{}\" of relation \"{}\" contains null values", column.name, new.name.name);
                    return Err(Error::new(ErrorKind::NotNullViolation, message));
                }
            }
            rows.push(Delta::inserts(batch_of(columns, batch.num_rows(), &schema)?));
        }
        Ok((rewrite.table, rows))
    }

    /// The state tables of all that changes.
    fn concerned(&self, plan: &AlterPlan, built: &HashMap<ObjectId, BuiltBeside>) -> BTreeSet<u32> {
        let hidden = built.values().map(|built| built.hidden);
        let objects = plan.objects.iter().map(|object| object.id);
        let views = plan.attach.iter().map(|attach| attach.relation);
        let filled = built.keys().copied().chain(plan.rewrite.iter().map(|rewrite| rewrite.table));
        let indexes = filled.flat_map(|id| self.catalog.indexes(id)).map(|(index, _)| index.id);
        let all: BTreeSet<ObjectId> = hidden.chain(objects).chain(views).chain(indexes).collect();
        all.iter().filter_map(|id| self.catalog.get(*id)).flat_map(|object| states_of(object)).collect()
    }

    /// Gives the new definitions the state tables that they go on with; the catalog has counted on for those that are new.
    fn with_states(&self, plan: &mut AlterPlan, built: &HashMap<ObjectId, BuiltBeside>) -> Result<Catalog> {
        let mut next = (*self.catalog).clone();
        let mut of_views: HashMap<ObjectId, (States, Option<u32>)> = HashMap::new();
        for attach in &plan.attach {
            let id = attach.relation;
            let states = match (&attach.how, built.get(&id)) {
                (Attached::Kept(names), _) => {
                    let own: Vec<_> = names.iter().map(|(old, new)| (id, old.clone(), new.clone())).collect();
                    (self.named_states(id, id, &own)?, None)
                }
                (Attached::Built, Some(built)) => {
                    let hidden = self.object(built.hidden)?;
                    let ObjectKind::MaterializedView(view) = &hidden.kind else {
                        return Err(Error::internal("what is built is a view"));
                    };
                    (self.named_states(id, built.hidden, &built.states)?, Some(view.state_id))
                }
                (Attached::Built, None) => return Err(Error::internal("a view that changes has been built")),
            };
            of_views.insert(id, states);
        }
        let concerned: BTreeSet<ObjectId> = built.keys().copied().chain(plan.rewrite.iter().map(|r| r.table)).collect();
        // Their indexes are filled anew.
        for id in &concerned {
            for (index, _) in self.catalog.indexes(*id) {
                if !plan.objects.iter().any(|object| object.id == index.id) {
                    plan.objects.push(index.as_ref().clone());
                }
            }
        }
        for object in &mut plan.objects {
            let id = object.id;
            match &mut object.kind {
                ObjectKind::MaterializedView(view) => {
                    if let Some((states, rows)) = of_views.remove(&id) {
                        view.operator_states = states;
                        view.state_id = rows.unwrap_or(view.state_id);
                    }
                }
                ObjectKind::Stream(stream) => {
                    if let Some((states, _)) = of_views.remove(&id) {
                        stream.operator_states = states;
                    }
                }
                ObjectKind::Table(table) if concerned.contains(&id) => {
                    (next, table.state_id) = next.take_states(1);
                }
                ObjectKind::Index(index) if concerned.contains(&index.on) => {
                    (next, index.state_id) = next.take_states(1);
                }
                _ => {}
            }
        }
        Ok(next)
    }

    /// The state tables of a view's operators under their new names; those of its errors are the ones of `errors_of`.
    fn named_states(&self, id: ObjectId, errors_of: ObjectId, names: &[(ObjectId, String, String)]) -> Result<States> {
        let mut states = States::new();
        for (owner, old, new) in names {
            let owner = self.object(*owner)?;
            let Some(owned) = operator_states(&owner.kind) else { continue };
            let prefix = format!("{old}/");
            for (name, state) in owned.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix)) {
                states.insert(format!("{new}/{}", &name[prefix.len()..]), *state);
            }
        }
        let owner = self.object(errors_of)?;
        let errors = operator_states(&owner.kind).and_then(|states| states.get(&dataflow::errors_state(errors_of)));
        let errors = errors.ok_or_else(|| Error::internal("a view has a table for its errors"))?;
        states.insert(dataflow::errors_state(id), *errors);
        Ok(states)
    }

    fn detach_all(&mut self, plan: &AlterPlan, built: &HashMap<ObjectId, BuiltBeside>) {
        let rewritten = plan.rewrite.as_ref().map(|rewrite| rewrite.table);
        let has_others = |new: &&Object| {
            let old = self.catalog.get(new.id);
            rewritten == Some(new.id) || old.is_some_and(|old| numbered(&old.schema()) != numbered(&new.schema()))
        };
        let other_columns: BTreeSet<ObjectId> = plan.objects.iter().filter(has_others).map(|new| new.id).collect();
        let followed: Vec<ObjectId> = self
            .followed_inputs
            .iter()
            .filter(|(_, inputs)| inputs.iter().any(|id| other_columns.contains(id)))
            .map(|(id, _)| *id)
            .collect();
        for id in followed {
            let error = Error::new(ErrorKind::SerializationFailure, "the columns of what the query reads were changed");
            for subscriber in self.subscribers.remove(&id).unwrap_or_default() {
                subscriber.end(error.clone().with_hint("subscribe again"));
            }
            self.followed_inputs.remove(&id);
            for state in self.graph.detach(id) {
                self.pending.changes.clear_state(state);
            }
        }
        if plan.attach.is_empty() && plan.rewrite.is_none() {
            return;
        }
        // Those who have to know all columns, and know other ones, are told that they end.
        for id in other_columns {
            let kept = |old: &Object, new: &Object| {
                old.columns.iter().zip(&new.columns).all(|(a, b)| a.name == b.name && a.sql_type == b.sql_type)
                    && old.columns.len() <= new.columns.len()
            };
            let new = plan.objects.iter().find(|object| object.id == id);
            if let (Some(old), Some(new)) = (self.catalog.get(id), new)
                && !kept(old, new)
            {
                let error =
                    Error::new(ErrorKind::SerializationFailure, format!("the columns of {} were changed", old.name));
                for subscriber in self.subscribers.remove(&id).unwrap_or_default() {
                    subscriber.end(error.clone().with_hint("subscribe again"));
                }
            }
        }
        for attach in plan.attach.iter().rev() {
            self.graph.detach(attach.relation);
        }
        for built in built.values() {
            self.graph.detach(built.hidden);
        }
        if let Some(rewrite) = &plan.rewrite {
            self.graph.detach(rewrite.table);
        }
    }

    /// The new definitions become what exists; hidden views are no more.
    fn redefine(&mut self, mut next: Catalog, plan: &AlterPlan, built: &HashMap<ObjectId, BuiltBeside>) -> Result<()> {
        let hidden: Vec<ObjectId> = next.with_dependents(built.values().map(|built| built.hidden));
        for id in hidden {
            if built.values().any(|built| built.hidden == id) {
                next = next.drop_object(id).map_err(catalog_error)?;
                recovery::delete_object(id, &mut self.pending.changes);
                self.relations.remove(&id);
                self.errors.remove(&id);
                self.first_reads.remove(&id);
            }
        }
        let mut next = next.alter(plan.objects.clone()).map_err(catalog_error)?;
        if let Some(rewrite) = &plan.rewrite {
            next = with_moved_comments(next, rewrite)?;
        }
        for object in &plan.objects {
            if !is_planted(Bug::AlterationNotStored) {
                recovery::put_object(object, &mut self.pending.changes)?;
            }
            if let Some(input) = self.inputs.get_mut(&object.id) {
                input.name = object.name.to_string();
            }
        }
        self.set_catalog(next)
    }

    /// Puts a table's rows into its new columns: nobody is told, as nothing has changed that anybody sees.
    fn refill(&mut self, table: ObjectId, rows: Vec<Delta>) -> Result<()> {
        let object = self.object(table)?;
        let ObjectKind::Table(definition) = &object.kind else { return Err(Error::internal("it is a table")) };
        let indexes = self.catalog.indexes(table);
        let indexes = indexes.map(|(_, i)| IndexLayout { state: StateId(i.state_id), columns: i.columns.clone() });
        let layout =
            ViewLayout { indexes: indexes.collect(), ..layout(definition.state_id, &definition.primary_key, false) };
        self.graph.register_input(table, &object.schema(), Some(layout), false).map_err(dataflow_error)?;
        let inputs = self.only(HashMap::from([(table, rows)]))?;
        self.step(inputs, Some(table))?;
        self.table_changed.insert(table, self.epoch);
        self.show(table);
        Ok(())
    }

    /// Makes the operators of a view anew, over the state that the catalog says.
    fn attach_again(&mut self, attach: &Attach) -> Result<()> {
        let object = self.object(attach.relation)?;
        let states = operator_states(&object.kind).ok_or_else(|| Error::internal("a view has operators"))?;
        let mut states = NamedStates(states.clone());
        let attached = self.graph.attach(object.id, &attach.view.root, view_layout(&object), &mut states);
        attached.map_err(dataflow_error)?;
        if is_planned_otherwise(&self.graph, object.id) {
            return Err(Error::internal(format!("{} is planned otherwise than when its state was given", object.name)));
        }
        if matches!(attach.how, Attached::Kept(_)) {
            let indexes: Vec<_> = self.catalog.indexes(object.id).map(|(_, index)| index.clone()).collect();
            for index in indexes {
                self.install_index(&index, Installed::Recovered)?;
            }
        }
        self.show_errors(object.id)?;
        if object.is_stored() {
            self.show(object.id);
        }
        self.ensure_running_for(&attach.view.inputs)?;
        self.wants_step = true;
        Ok(())
    }

    /// Fills the indexes of a view that has got other rows.
    fn index_again(&mut self, relation: ObjectId) -> Result<()> {
        let indexes: Vec<_> = self.catalog.indexes(relation).map(|(_, index)| index.clone()).collect();
        for index in indexes {
            self.install_index(&index, Installed::New)?;
            self.show(relation);
        }
        Ok(())
    }

    /// Clears those of these tables that nothing in the catalog has any more.
    fn clear_unused(&mut self, before: &BTreeSet<u32>) {
        let used: BTreeSet<u32> = self.catalog.objects().flat_map(|object| states_of(object)).collect();
        for state in before.difference(&used) {
            self.pending.changes.clear_state(StateId(*state));
        }
    }
}

/// Comments on columns stand by the columns' places.
fn with_moved_comments(catalog: Catalog, rewrite: &TableRewrite) -> Result<Catalog> {
    let comments: Vec<_> = catalog.counters().comments.iter().filter(|c| c.object == rewrite.table).cloned().collect();
    let comments: Vec<_> = comments.into_iter().filter_map(|c| c.column.map(|column| (column, c.text))).collect();
    let mut next = catalog;
    for (column, _) in &comments {
        next = next.set_comment(rewrite.table, Some(*column), None).map_err(catalog_error)?;
    }
    for (column, text) in comments {
        let is_it = |origin: &ColumnOrigin| matches!(origin, ColumnOrigin::Old(old) if *old == column);
        if let Some(place) = rewrite.columns.iter().position(is_it) {
            next = next.set_comment(rewrite.table, Some(place), Some(text)).map_err(catalog_error)?;
        }
    }
    Ok(next)
}

/// The state tables that an object has.
pub(super) fn states_of(object: &Object) -> impl Iterator<Item = u32> + use<> {
    let own = match &object.kind {
        ObjectKind::Table(table) => Some(table.state_id),
        ObjectKind::MaterializedView(view) => Some(view.state_id),
        ObjectKind::Stream(stream) => Some(stream.state_id),
        ObjectKind::Sink(sink) => Some(sink.state_id),
        ObjectKind::Index(index) => Some(index.state_id),
        ObjectKind::Source(_) | ObjectKind::View(_) => None,
    };
    let operators: Vec<u32> =
        operator_states(&object.kind).into_iter().flat_map(|states| states.values().copied()).collect();
    own.into_iter().chain(operators)
}

/// A relation's types, without names.
fn numbered(schema: &SchemaRef) -> SchemaRef {
    let field = |(place, field): (usize, &Arc<Field>)| Field::new(format!("c{place}"), field.data_type().clone(), true);
    Arc::new(Schema::new(schema.fields().iter().enumerate().map(field).collect::<Vec<_>>()))
}

/// A batch's columns in other places; NULL where there is none.
fn reshaped(batch: &RecordBatch, places: &[Option<usize>], schema: &SchemaRef) -> Result<RecordBatch> {
    let column = |(place, field): (&Option<usize>, &Arc<Field>)| match place {
        Some(place) => batch.column(*place).clone(),
        None => new_null_array(field.data_type(), batch.num_rows()),
    };
    batch_of(places.iter().zip(schema.fields()).map(column).collect(), batch.num_rows(), schema)
}

fn batch_of(columns: Vec<ArrayRef>, rows: usize, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|e| Error::internal(format!("rows have the types of their relation: {e}")))
}
