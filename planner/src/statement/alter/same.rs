//! Whether two plans are the same work: then the operators of the one can go on with the state of the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use catalog::ObjectId;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Expr;

use crate::Result;
use crate::incremental::{Input, Map, Node, OnError};
use crate::lower::{column, column_index, substitute};

/// Relations whose columns have changed: what they have now, and where each of the columns that they had is among them.
pub(super) type Moved = BTreeMap<ObjectId, (SchemaRef, Vec<Option<usize>>)>;

/// The fingerprints of the operators of `old` beside those of the same operators in `new`; `None` if they are not the same.
pub(super) fn same_work(old: &Arc<Node>, new: &Arc<Node>, moved: &Moved) -> Result<Option<Vec<(String, String)>>> {
    let over_new = normal(&over(old, moved))?;
    if over_new.fingerprint() != normal(new)?.fingerprint() {
        return Ok(None);
    }
    let (old, new) = (kept(old), kept(new));
    Ok((old.len() == new.len()).then(|| old.into_iter().zip(new).collect()))
}

/// The fingerprints of all operators that may keep state, a node before its inputs.
fn kept(node: &Node) -> Vec<String> {
    let mut found = Vec::new();
    node.visit(&mut |node| {
        if !matches!(node, Node::Input(_) | Node::Map(_)) {
            found.push(node.fingerprint());
        }
    });
    found
}

/// The old plan over what its inputs are now: each is read through a projection to the columns that it had. A column that is gone is NULL
/// there, which no plan has that used it.
fn over(node: &Arc<Node>, moved: &Moved) -> Arc<Node> {
    node.replacing(&|node| {
        let Node::Input(input) = node.as_ref() else { return None };
        let (schema, places) = moved.get(&input.relation)?;
        let expressions = places.iter().map(|place| match place {
            Some(place) => column(*place),
            None => Expr::Literal(ScalarValue::Null, None),
        });
        let reads = Node::Input(Input { schema: schema.clone(), ..input.clone() });
        Some(Arc::new(Node::Map(Map {
            input: Arc::new(reads),
            predicate: None,
            expressions: expressions.collect(),
            on_error: OnError::default(),
            schema: input.schema.clone(),
        })))
    })
}

/// Maps that only choose columns are put into the map above, those that choose all of them go; the others don't say what becomes of errors that
/// they can't have.
fn normal(node: &Arc<Node>) -> Result<Arc<Node>> {
    let inputs = node.inputs().into_iter().map(normal).collect::<Result<Vec<_>>>()?;
    let node = node.with_inputs(inputs);
    let Node::Map(mut map) = node else { return Ok(Arc::new(node)) };
    if let Node::Map(below) = map.input.as_ref()
        && chooses(below)
    {
        let replacement = |index: usize| below.expressions[index].clone();
        map.predicate = map.predicate.map(|predicate| substitute(&predicate, &replacement)).transpose()?;
        map.expressions = map.expressions.iter().map(|e| substitute(e, &replacement)).collect::<Result<_>>()?;
        map.input = below.input.clone();
    }
    if chooses(&map) {
        let all = map.expressions.len() == map.input.schema().fields().len()
            && map.expressions.iter().enumerate().all(|(place, e)| column_index(e) == Some(place));
        if all {
            return Ok(map.input);
        }
        map.on_error = OnError::default();
    }
    Ok(Arc::new(Node::Map(map)))
}

fn chooses(map: &Map) -> bool {
    let plain = |e: &Expr| column_index(e).is_some() || matches!(e, Expr::Literal(ScalarValue::Null, None));
    map.predicate.is_none() && map.expressions.iter().all(plain)
}
