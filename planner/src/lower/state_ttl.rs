//! `WITH (state_ttl = …)`: operators forget keys that nothing has come for.
//!
//! Forgotten is only what nothing else bounds, and only what can be forgotten without a trace: an operator over rows that are only ever added never
//! gets a retraction of a row that it no longer knows. Of a table's rows nothing is forgotten, they are as many as the table has.

use std::sync::Arc;

use datafusion::logical_expr::Expr;

use super::expression::{column, numbered_schema, types_over};
use super::shared;
use crate::Result;
use crate::incremental::{Forgetful, Forgotten, Idle, Join, JoinKind, Map, Node, OnError, Partition, Union};

/// The plan with operators that forget.
pub(super) fn forgetful(node: &Arc<Node>, ttl_us: i64) -> Result<Arc<Node>> {
    let mut failure = None;
    let node = node.map_inputs(|input| match forgetful(input, ttl_us) {
        Ok(input) => input,
        Err(error) => {
            failure.get_or_insert(error);
            input.clone()
        }
    });
    match failure {
        Some(error) => Err(error),
        None => forgets(Arc::new(node), ttl_us),
    }
}

fn forgets(node: Arc<Node>, ttl_us: i64) -> Result<Arc<Node>> {
    let (keys, forgotten) = match node.as_ref() {
        Node::Aggregate(aggregate)
            if aggregate.window.is_none() && !aggregate.keys.is_empty() && aggregate.input.append_only() =>
        {
            (keys_of(&aggregate.input, &aggregate.keys)?, Forgotten::WithOutput)
        }
        Node::Distinct(distinct) if distinct.input.append_only() => (distinct.input.clone(), Forgotten::WithOutput),
        Node::Partition(partition) if is_open(partition) => {
            (keys_of(&partition.input, &partition.keys)?, Forgotten::WithOutput)
        }
        Node::Join(join) if !join.on.is_empty() => match forgotten_of(join) {
            Some(forgotten) => (keys_of_join(join, forgotten)?, forgotten),
            None => return Ok(node),
        },
        _ => return Ok(node),
    };
    let idle = shared(Node::Idle(Idle { input: keys, ttl_us }));
    Ok(shared(Node::Forgetful(Forgetful { of: node, idle, forgotten })))
}

fn is_open(partition: &Partition) -> bool {
    partition.window.is_none() && !partition.keys.is_empty() && partition.input.append_only()
}

/// The sides of a join whose rows may go: where nobody takes them away, and where no row of the other side comes out because they are
/// missing; or both at once.
fn forgotten_of(join: &Join) -> Option<Forgotten> {
    use JoinKind::{Inner, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
    let left = join.left.append_only() && join.left_expiry.is_none();
    let right = join.right.append_only() && join.right_expiry.is_none();
    match (left, right) {
        (true, true) => Some(Forgotten::Both),
        (true, false) if matches!(join.kind, Inner | Left | LeftSemi | LeftAnti) => Some(Forgotten::Left),
        (false, true) if matches!(join.kind, Inner | Right | RightSemi | RightAnti) => Some(Forgotten::Right),
        _ => None,
    }
}

fn keys_of_join(join: &Join, forgotten: Forgotten) -> Result<Arc<Node>> {
    let (left, right): (Vec<Expr>, Vec<Expr>) = join.on.iter().cloned().unzip();
    let (left, right) = (|| keys_of(&join.left, &left), || keys_of(&join.right, &right));
    Ok(match forgotten {
        Forgotten::Left => left()?,
        Forgotten::Right => right()?,
        Forgotten::Both | Forgotten::WithOutput => {
            let (left, right) = (left()?, right()?);
            let schema = left.schema().clone();
            shared(Node::Union(Union { inputs: vec![left, right], schema }))
        }
    })
}

/// The keys alone. One that fails on a row is NULL here: the operator itself reports it.
fn keys_of(input: &Arc<Node>, keys: &[Expr]) -> Result<Arc<Node>> {
    let types = types_over(input, keys)?;
    let is_all = keys.len() == input.schema().fields().len()
        && keys.iter().enumerate().all(|(index, key)| *key == column(index));
    if is_all {
        return Ok(input.clone());
    }
    Ok(shared(Node::Map(Map {
        input: input.clone(),
        predicate: None,
        expressions: keys.to_vec(),
        on_error: OnError::Null,
        schema: numbered_schema(&types),
    })))
}
