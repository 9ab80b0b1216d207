//! The first view over a topic or a file, and a table that follows a topic, begin together with reading it: there is no past to build it from, only a present that has hardly begun.
//! A query on such a view waits until that has been read up to where it ended when the view was made, as it waits for a view that is
//! built. Sources that can't be read at the moment keep nobody waiting.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use catalog::ObjectId;
use connectors::{Health, Positions};
use planner::ViewPlan;

use super::Coordinator;
use crate::inputs::Input;

/// Where what a relation reads ended when it was made.
pub(crate) type FirstRead = HashMap<ObjectId, Positions>;

impl Coordinator {
    /// Queries on the relation wait for these ends, and for those that its inputs wait for.
    pub(super) fn begin_first_read(&mut self, relation: ObjectId, plan: Option<&ViewPlan>, mut ends: FirstRead) {
        let inputs = plan.iter().flat_map(|plan| &plan.inputs);
        for input in inputs.filter_map(|input| self.first_reads.get(input)) {
            ends.extend(input.iter().map(|(source, ends)| (*source, ends.clone())));
        }
        if !ends.is_empty() {
            self.first_reads.insert(relation, ends);
        }
    }

    /// The relations whose queries wait now. Forgets those whose sources have been read.
    pub(super) fn reading_first(&mut self) -> Arc<HashSet<ObjectId>> {
        let inputs = &self.inputs;
        self.first_reads.retain(|_, ends| {
            ends.retain(|source, ends| !inputs.get(source).is_some_and(|input| input.has_read(ends)));
            !ends.is_empty()
        });
        let works = |source| inputs.get(source).is_none_or(|input: &Input| input.status().health == Health::Running);
        let waits = self.first_reads.iter().filter(|(_, ends)| ends.keys().all(works));
        Arc::new(waits.map(|(view, _)| *view).collect())
    }

    /// Lets queries go on whose wait is over although no epoch came since.
    pub(super) fn end_first_reads(&mut self) {
        if !self.first_reads.is_empty() && self.reading_first() != self.published.load().reading_first {
            self.publish();
        }
    }
}
