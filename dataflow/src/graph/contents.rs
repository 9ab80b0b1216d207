//! An operator inside of a plan as a relation of its own: what it puts out can be followed, and what it has put out be read off its state.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use catalog::ObjectId;
use delta::{Delta, Epoch};
use planner::incremental::Node;
use storage::{Snapshot, StateId};

use super::{Graph, Named, Origin, Relation, StateAllocator, Workers};
use crate::operator::{GOES_ON, StepContext};
use crate::operators;
use crate::{Error, Result};

impl Graph {
    /// Lets others read what an operator of a relation's plan puts out, under a number that nothing else has, until it is
    /// [detached](Graph::detach). Returns the operator's state tables.
    ///
    /// # Errors
    /// If the relation has no such operator.
    pub fn expose(&mut self, number: ObjectId, of: ObjectId, node: &Node) -> Result<BTreeMap<String, StateId>> {
        let found = self.vertices_of(of).into_iter().find(|index| self.vertex(*index).node.as_ref() == node);
        let vertex = found.ok_or_else(|| Error::Broken(format!("relation {} has no such operator", of.0)))?;
        let states = self.vertex(vertex).states.clone();
        let root = Some(Origin::Vertex(vertex));
        self.insert(number, Relation { root, kept: None, stored: None, errors: None, upsert: false })?;
        Ok(states)
    }

    /// The threads that work on its epochs.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }
}

/// Reads the rows that an operator [has put out](Node::unreadable) and not taken back, as far as they are in a snapshot with its state. They come in
/// pieces, whose sum they are.
///
/// # Errors
/// If the operator's state doesn't tell them, the store can't be read, or `emit` fails.
pub fn read_output(
    node: &Node,
    states: &BTreeMap<String, StateId>,
    snapshot: &Arc<dyn Snapshot>,
    workers: &Workers,
    emit: &mut dyn FnMut(Delta) -> Result<()>,
) -> Result<()> {
    let nothing = HashMap::new();
    let context = StepContext {
        epoch: Epoch(0),
        timestamp_us: 0,
        watermarks_before: &nothing,
        watermarks: &nothing,
        snapshot,
        workers: workers.pool(),
        recursion_bytes: usize::MAX,
        stopped: &GOES_ON,
    };
    let mut known = Known { states, missing: None };
    let mut named = Named { fingerprint: None, node, states: &mut known, made: BTreeMap::new() };
    operators::contents(node, &mut named, &context, emit)?;
    match known.missing {
        None => Ok(()),
        Some(name) => Err(Error::Broken(format!("an operator has no table {name}"))),
    }
}

/// State tables that are there.
struct Known<'a> {
    states: &'a BTreeMap<String, StateId>,
    missing: Option<String>,
}

impl StateAllocator for Known<'_> {
    fn state(&mut self, name: &str) -> StateId {
        match self.states.get(name) {
            Some(state) => *state,
            None => {
                self.missing = Some(name.to_owned());
                StateId(u32::MAX - 1)
            }
        }
    }
}
