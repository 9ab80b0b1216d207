//! Which parts of other plans a view that exists can stand for: its rows are what they give, and its state is theirs.

use std::sync::Arc;

use catalog::Object;

use crate::incremental::{Input, Map, Node};
use crate::lower::{column, column_index};

/// The parts of a view's plan whose rows can be read off the view, each with the plan over the view that gives them: the whole of it, and what is below a projection that
/// keeps all columns. Parts without state are none: there is nothing to keep.
///
/// A view that has rows on which an expression fails does without them: it can't stand for anything.
pub fn parts(view: &Object, root: &Arc<Node>) -> Vec<(Arc<Node>, Arc<Node>)> {
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
