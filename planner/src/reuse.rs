//! What a changed view can keep: parts of its new plan that are parts of running views.
//!
//! A part that is the whole of a view is read off the view's rows. An operator inside of a plan has its output nowhere; but for many its state tells it
//! ([`Node::unreadable`]): what it has put out is read off that, once, and what it puts out from then on is followed. In both ways the new view goes on
//! with the state of the part when it takes the old one's place.

use std::collections::HashMap;
use std::sync::Arc;

use catalog::{Object, ObjectId};

use crate::incremental::{Input, Map, Node};
use crate::lower::{column, column_index};

/// The running views, as far as something can be kept of them.
#[derive(Debug, Default)]
pub struct Running {
    /// By fingerprint.
    rows: HashMap<String, (ObjectId, Arc<Node>)>,
    operators: HashMap<String, (ObjectId, Arc<Node>)>,
}

/// How a part of a plan is kept.
#[derive(Clone, Debug)]
pub enum Kept {
    /// A view has its rows.
    Rows {
        /// The view.
        view: ObjectId,
        /// The part.
        part: Arc<Node>,
        /// What gives the part's rows, over the view's.
        instead: Arc<Node>,
    },
    /// An operator of a view puts them out.
    Output {
        /// The view.
        view: ObjectId,
        /// The operator.
        operator: Arc<Node>,
    },
}

/// A part of a plan in whose place another can be put.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// What is read.
    Input(&'a Input),
    /// What is kept.
    Kept(&'a Kept),
}

impl Running {
    /// Adds a view, by its plan.
    pub fn add(&mut self, view: &Object, root: &Arc<Node>) {
        for (part, instead) in parts(view, root) {
            self.rows.entry(part.fingerprint()).or_insert((view.id, instead));
        }
        self.add_operators(view.id, root);
    }

    fn add_operators(&mut self, view: ObjectId, node: &Arc<Node>) {
        if node.keeps_own_state() {
            self.operators.entry(node.fingerprint()).or_insert_with(|| (view, node.clone()));
        }
        node.inputs().into_iter().for_each(|input| self.add_operators(view, input));
    }

    /// How a part of a plan is kept, if it is.
    fn kept(&self, node: &Arc<Node>, above: Above) -> Option<Kept> {
        let fingerprint = node.fingerprint();
        if let Some((view, instead)) = self.rows.get(&fingerprint) {
            return Some(Kept::Rows { view: *view, part: node.clone(), instead: instead.clone() });
        }
        if above == Above::FollowsTime || node.unreadable().is_some() {
            return None;
        }
        let (view, operator) = self.operators.get(&fingerprint)?;
        Some(Kept::Output { view: *view, operator: operator.clone() })
    }

    /// The parts of a plan that are kept, from the top down, none within another. What reads a relation that `changes` isn't what it
    /// was.
    pub fn kept_parts(&self, root: &Arc<Node>, changes: &dyn Fn(ObjectId) -> bool) -> Vec<Kept> {
        let mut found = Vec::new();
        self.replaced(root, Above::Timeless, changes, &mut |part| {
            if let Part::Kept(kept) = part {
                found.push(kept.clone());
            }
            None
        });
        found
    }

    /// The plan with others in the place of its inputs, and of the [parts that are kept](Kept), as far as `instead` gives them: from the top down, none
    /// within another. What reads a relation that `changes` isn't what it was.
    pub fn replace(
        &self,
        root: &Arc<Node>,
        changes: &dyn Fn(ObjectId) -> bool,
        instead: &mut dyn FnMut(Part<'_>) -> Option<Arc<Node>>,
    ) -> Arc<Node> {
        self.replaced(root, Above::Timeless, changes, instead)
    }

    fn replaced(
        &self,
        node: &Arc<Node>,
        above: Above,
        changes: &dyn Fn(ObjectId) -> bool,
        instead: &mut dyn FnMut(Part<'_>) -> Option<Arc<Node>>,
    ) -> Arc<Node> {
        if let Node::Input(input) = node.as_ref() {
            return instead(Part::Input(input)).unwrap_or_else(|| node.clone());
        }
        if !node.relations().into_iter().any(changes)
            && let Some(kept) = self.kept(node, above)
        {
            return instead(Part::Kept(&kept)).unwrap_or_else(|| node.clone());
        }
        let above = if node.follows_time() { Above::FollowsTime } else { above };
        let inputs = node.inputs();
        let replaced: Vec<_> = inputs.iter().map(|input| self.replaced(input, above, changes, instead)).collect();
        match replaced.iter().zip(inputs).all(|(new, old)| Arc::ptr_eq(new, old)) {
            true => node.clone(),
            false => Arc::new(node.with_inputs(replaced)),
        }
    }

    /// Why an operator that a running view has too isn't kept; `None` if none has it.
    pub fn why_not(&self, node: &Node) -> Option<&'static str> {
        self.operators.contains_key(&node.fingerprint()).then(|| node.unreadable().unwrap_or(LATE))
    }
}

/// Why a part isn't kept whose output could be read.
const LATE: &str = "what is above it follows time";

/// What stands above a part of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Above {
    /// Operators for which only the sum of what comes in counts.
    Timeless,
    /// An operator for which it counts when rows come in.
    FollowsTime,
}

/// The parts of a view's plan whose rows can be read off the view, each with the plan over the view that gives them: the whole of it, and what is below a projection that
/// keeps all columns. Parts without state are none: there is nothing to keep.
///
/// A view that has rows on which an expression fails does without them: it can't stand for anything.
fn parts(view: &Object, root: &Arc<Node>) -> Vec<(Arc<Node>, Arc<Node>)> {
    let reads = Node::Input(Input { relation: view.id, schema: view.schema(), append_only: root.append_only() });
    let mut parts = Vec::new();
    if root.keeps_state() {
        parts.push((root.clone(), Arc::new(reads.clone())));
    }
    if let Node::Map(map) = root.as_ref()
        && map.predicate.is_none()
        && map.input.keeps_state()
        && let Some(places) = places(map)
    {
        let below = Map {
            input: Arc::new(reads),
            predicate: None,
            expressions: places.into_iter().map(column).collect(),
            on_error: map.on_error,
            schema: map.input.schema().clone(),
        };
        parts.push((map.input.clone(), Arc::new(Node::Map(below))));
    }
    parts
}

/// Where each column of a map's input is among its output, if all are.
fn places(map: &Map) -> Option<Vec<usize>> {
    let place = |wanted: usize| map.expressions.iter().position(|e| column_index(e) == Some(wanted));
    (0..map.input.schema().fields().len()).map(place).collect()
}
