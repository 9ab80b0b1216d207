//! The epoch thread's part of building a view: start it, tap the inputs, let it join.

use std::collections::HashMap;
use std::sync::Arc;

use catalog::{Object, ObjectId, ObjectKind};
use dataflow::Graph;
use delta::Delta;
use planner::ViewPlan;

use super::ddl::operator_states;
use super::{Coordinator, epoch::dataflow_error};
use crate::hydration::{EpochRecord, Hydration, HydrationCommand, Progress, Tap, TapStart};
use crate::{Result, recovery};

impl Coordinator {
    /// Begins to build a view in a graph beside the running one.
    pub(super) fn hydrate(&mut self, object: &Arc<Object>, plan: &ViewPlan, graph: Graph) {
        if let ObjectKind::MaterializedView(view) = &object.kind {
            self.pending.changes.clear_state(storage::StateId(view.state_id));
        }
        for id in operator_states(&object.kind).into_iter().flat_map(|states| states.values()) {
            self.pending.changes.clear_state(storage::StateId(*id));
        }
        self.hydrating.insert(object.id, Progress::default());
        let hydration = Hydration {
            view: object.clone(),
            graph,
            reads: plan.inputs.iter().copied().collect(),
            catalog: self.catalog.clone(),
            store: self.store.clone(),
            commands: self.commands.clone(),
        };
        // The states are cleared by the next checkpoint; the build must not write into them before that.
        self.waiting.push(Box::new(move |result| {
            if result.is_ok()
                && let Err(error) = hydration.start()
            {
                tracing::error!(%error, "a view can't be built");
            }
        }));
        self.pending.dirty = true;
    }

    /// A message from a building thread.
    pub(super) fn hydration(&mut self, command: HydrationCommand) {
        let told = match command {
            HydrationCommand::Positions { reply } => {
                reply.send(self.inputs.iter().map(|(id, input)| (*id, input.positions.clone())).collect()).is_ok()
            }
            HydrationCommand::Tap { view, relations, reply } => {
                if !self.hydrating.contains_key(&view) {
                    return;
                }
                let tap = Tap::new(relations);
                let start = TapStart { published: self.published.load(), records: tap.rest.clone() };
                self.taps.insert(view, tap);
                reply.send(start).is_ok()
            }
            HydrationCommand::Progress { view, progress } => {
                if let Some(known) = self.hydrating.get_mut(&view) {
                    *known = progress;
                    self.publish();
                }
                true
            }
            HydrationCommand::Ready { view, graph } => {
                if self.hydrating.contains_key(&view) {
                    self.ready.push((view, *graph));
                    // What its thread has committed must be in the snapshot that its operators will read.
                    if self.in_flight.is_none() {
                        match self.adopt_snapshot() {
                            Ok(()) => self.join_hydrated(),
                            Err(error) => self.fail(error),
                        }
                    }
                }
                true
            }
        };
        if !told {
            tracing::debug!("a building thread has ended before it was told");
        }
    }

    /// Lets views that are built join the running graph. Only while no checkpoint is under way: what it is about to confirm is not theirs.
    pub(super) fn join_hydrated(&mut self) {
        for (view, graph) in std::mem::take(&mut self.ready) {
            if let Err(error) = self.join(view, graph) {
                self.fail(error);
                return;
            }
        }
    }

    fn join(&mut self, view: ObjectId, mut graph: Graph) -> Result<()> {
        let Some(tap) = self.taps.remove(&view) else { return Ok(()) };
        while let Ok(record) = tap.rest.try_recv() {
            graph.step(record.into_inputs()).map_err(dataflow_error)?;
        }
        for state in self.graph.absorb(graph, false).map_err(dataflow_error)? {
            self.pending.changes.clear_state(state);
        }
        self.hydrating.remove(&view);
        recovery::put_hydrated(view, &mut self.pending.changes)?;
        self.pending.dirty = true;
        if let Some(published) = self.graph.published(view) {
            self.relations.insert(view, published);
        }
        let reads: Vec<ObjectId> = tap.relations.into_iter().collect();
        self.ensure_running_for(&reads)?;
        self.publish();
        Ok(())
    }

    /// Hands an epoch's inputs, and what it changed in stored relations, to the views being built.
    pub(super) fn feed_taps(&mut self, record: EpochRecord, outputs: &HashMap<ObjectId, Vec<Delta>>) {
        for tap in self.taps.values() {
            let mut deltas = HashMap::new();
            for id in &tap.relations {
                let stored = self.relations.contains_key(id);
                let changes = if stored { outputs.get(id) } else { record.deltas.get(id) };
                if let Some(changes) = changes {
                    deltas.insert(*id, changes.clone());
                }
            }
            let moved = record.watermarks != record.watermarks_before;
            if (!deltas.is_empty() || moved) && tap.records.send(EpochRecord { deltas, ..record.clone() }).is_err() {
                tracing::debug!("a building thread has ended");
            }
        }
    }
}
