//! One epoch: the changes of the inputs go through all operators, level by level, and into the stored relations.

use std::collections::HashMap;
use std::time::Duration;

use catalog::ObjectId;
use delta::Delta;
use planner::explain::{column_labels, session_by, window_by};
use planner::incremental::Node;
use rayon::prelude::*;

use super::{EpochInputs, EpochOutputs, Graph, LateRows, Origin};
use crate::Result;
use crate::operator::{Operator, StepContext, StepOutput};
use crate::operators::upsert;

/// An operator that has something to do.
struct Task {
    vertex: usize,
    operator: Box<dyn Operator>,
    inputs: Vec<Vec<Delta>>,
}

/// What came of it.
struct Done {
    vertex: usize,
    operator: Box<dyn Operator>,
    rows_in: usize,
    result: Result<StepOutput>,
    busy: Duration,
}

/// The changes of one epoch, as far as they are known.
struct Changes {
    fed: HashMap<ObjectId, Vec<Delta>>,
    vertices: Vec<Vec<Delta>>,
    /// By vertex: what its expressions fail on. Most of the time there is nothing.
    errors: HashMap<usize, Vec<Delta>>,
}

impl Graph {
    /// Computes an epoch: the changes of every relation, given those that come from outside.
    ///
    /// The stored relations have them afterwards ([`Graph::published`]); nothing is durable before the next checkpoint.
    ///
    /// # Errors
    /// If an operator fails, or has been [stopped](Graph::stopper). Then the graph is of no use any more: some operators have taken the epoch in, others have not.
    pub fn step(&mut self, inputs: EpochInputs) -> Result<EpochOutputs> {
        let moved = inputs.watermarks != inputs.watermarks_before;
        let levels = self.levels();
        let snapshot = self.snapshot.clone();
        let clock = self.settings.clock;
        let stopped = self.stopped.clone();
        let mut outputs = EpochOutputs::default();
        let vertices = (0..self.vertices.len()).map(|_| vec![]).collect();
        let mut changes = Changes { fed: HashMap::new(), vertices, errors: HashMap::new() };
        changes.fed = self.feed(&inputs)?;

        for level in levels {
            let tasks = self.tasks(&level, &changes, moved, inputs.timestamp_us);
            let context = StepContext {
                epoch: inputs.epoch,
                timestamp_us: inputs.timestamp_us,
                watermarks_before: &inputs.watermarks_before,
                watermarks: &inputs.watermarks,
                snapshot: &snapshot,
                workers: self.workers.pool(),
                recursion_bytes: self.settings.recursion_bytes,
                stopped: &stopped,
            };
            let work = |mut task: Task| {
                let start = clock();
                let result = task.operator.step(&context, &task.inputs);
                let rows_in = task.inputs.iter().flatten().map(Delta::num_rows).sum();
                let busy = clock().saturating_sub(start);
                Done { vertex: task.vertex, operator: task.operator, rows_in, result, busy }
            };
            let done: Vec<Done> = if tasks.len() > 1 && self.workers.pool().current_num_threads() > 1 {
                self.workers.pool().install(|| tasks.into_par_iter().with_max_len(1).map(work).collect())
            } else {
                tasks.into_iter().map(work).collect()
            };
            for done in done {
                self.finish(done, &mut changes, &mut outputs)?;
            }
        }
        self.store(&inputs, changes, &mut outputs)?;
        Ok(outputs)
    }

    /// What comes from outside, as true changes.
    fn feed(&mut self, inputs: &EpochInputs) -> Result<HashMap<ObjectId, Vec<Delta>>> {
        let mut fed = HashMap::with_capacity(inputs.deltas.len());
        for (id, deltas) in &inputs.deltas {
            let relation = self.relations.get_mut(id);
            let deltas = match relation.filter(|relation| relation.upsert).and_then(|r| r.stored.as_mut()) {
                Some(stored) => upsert::to_changes(&stored.published(), self.snapshot.as_ref(), deltas)?,
                None => deltas.iter().filter(|delta| !delta.is_empty()).cloned().collect(),
            };
            fed.insert(*id, deltas);
        }
        Ok(fed)
    }

    /// Takes the operators of a level that have something to do.
    fn tasks(&mut self, level: &[usize], changes: &Changes, moved: bool, now: i64) -> Vec<Task> {
        let mut tasks = Vec::new();
        for index in level {
            let vertex = self.vertex(*index);
            let mut inputs = vertex.inputs.iter().map(|origin| self.changes_of(*origin, changes));
            let wanted = inputs.any(|deltas| !deltas.is_empty())
                || vertex.operator.as_ref().is_some_and(|op| {
                    op.is_pending() || moved && op.wants_time() || op.due().is_some_and(|due| due <= now)
                });
            if wanted {
                let inputs = vertex.inputs.iter().map(|origin| self.changes_of(*origin, changes).to_vec()).collect();
                let operator = self.vertex_mut(*index).operator.take().expect("an operator is stepped once per epoch");
                tasks.push(Task { vertex: *index, operator, inputs });
            }
        }
        tasks
    }

    fn changes_of<'a>(&self, origin: Origin, changes: &'a Changes) -> &'a [Delta] {
        match origin {
            Origin::Vertex(index) => &changes.vertices[index],
            Origin::Relation(id) => match self.relations.get(&id).and_then(|relation| relation.root) {
                Some(root) => self.changes_of(root, changes),
                None => changes.fed.get(&id).map_or(&[], Vec::as_slice),
            },
        }
    }

    fn finish(&mut self, done: Done, changes: &mut Changes, outputs: &mut EpochOutputs) -> Result<()> {
        let vertex = self.vertex_mut(done.vertex);
        vertex.operator = Some(done.operator);
        vertex.busy += done.busy;
        vertex.rows_in += done.rows_in as u64;
        let mut output = done.result?;
        output.deltas.retain(|delta| !delta.is_empty());
        vertex.rows_out += output.deltas.iter().map(|delta| delta.num_rows() as u64).sum::<u64>();
        let windows = match vertex.node.as_ref() {
            _ if output.late.is_empty() => None,
            Node::Window(node) => {
                let labels = column_labels(&node.input);
                let window = window_by(node.kind, &labels[node.time]);
                Some((&node.watermark_of, node.late, labels, window))
            }
            Node::Session(node) => {
                let labels = column_labels(&node.input);
                let window = session_by(node, &labels);
                Some((&node.watermark_of, node.late, labels, window))
            }
            _ => None,
        };
        if let Some((sources, policy, labels, window)) = windows {
            outputs.late.push(LateRows { sources: sources.clone(), policy, window, labels, rows: output.late });
        }
        changes.vertices[done.vertex] = output.deltas;
        if !output.errors.is_empty() {
            changes.errors.insert(done.vertex, output.errors);
        }
        Ok(())
    }

    /// Puts the changes of all relations into their stored rows and into the outputs.
    fn store(&mut self, inputs: &EpochInputs, changes: Changes, outputs: &mut EpochOutputs) -> Result<()> {
        let ids: Vec<ObjectId> = self.relations.keys().copied().collect();
        for id in ids {
            let deltas = self.changes_of(Origin::Relation(id), &changes);
            if !deltas.is_empty() {
                outputs.changes.insert(id, deltas.to_vec());
            }
            if let Some(kept) = self.relations.get(&id).and_then(|relation| relation.kept) {
                outputs.kept.insert(id, self.changes_of(kept, &changes).to_vec());
            }
        }
        if !changes.errors.is_empty() {
            for id in self.relations.keys() {
                let vertices = self.vertices_of(*id).into_iter();
                let errors: Vec<Delta> =
                    vertices.filter_map(|vertex| changes.errors.get(&vertex)).flatten().cloned().collect();
                if !errors.is_empty() {
                    outputs.errors.insert(*id, errors);
                }
            }
        }
        drop(changes);
        let context = StepContext {
            epoch: inputs.epoch,
            timestamp_us: inputs.timestamp_us,
            watermarks_before: &inputs.watermarks_before,
            watermarks: &inputs.watermarks,
            snapshot: &self.snapshot,
            workers: self.workers.pool(),
            recursion_bytes: self.settings.recursion_bytes,
            stopped: &self.stopped,
        };
        let mut work = Vec::new();
        for (id, relation) in &mut self.relations {
            let changes = if relation.kept.is_some() { &outputs.kept } else { &outputs.changes };
            work.extend(relation.stored.as_mut().zip(changes.get(id).filter(|deltas| !deltas.is_empty())));
            work.extend(relation.errors.as_mut().zip(outputs.errors.get(id)));
        }
        if work.len() > 1 && self.workers.pool().current_num_threads() > 1 {
            let apply = || work.into_par_iter().with_max_len(1).try_for_each(|(s, deltas)| s.apply(&context, deltas));
            self.workers.pool().install(apply)
        } else {
            work.into_iter().try_for_each(|(stored, deltas)| stored.apply(&context, deltas))
        }
    }
}
