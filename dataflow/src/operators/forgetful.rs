//! Operators that forget idle keys: those there are, with an input more, which brings the keys.

use planner::incremental::{Forgetful, Node};

use super::{Aggregate, Distinct, Join, Partition, States};
use crate::operator::Operator;
use crate::{Error, Result};

/// The operator of a node.
pub(super) fn build(node: &Forgetful, states: &mut dyn States) -> Result<Box<dyn Operator>> {
    Ok(match node.of.as_ref() {
        Node::Aggregate(of) => Box::new(Aggregate::new(of, states)?),
        Node::Distinct(of) => Box::new(Distinct::new(of, states)?),
        Node::Partition(of) => Box::new(Partition::forgetting(of, states)?),
        Node::Join(of) if !of.on.is_empty() => Box::new(Join::new(of, states)?.forgetting(node.forgotten)),
        _ => return Err(Error::Broken("an operator without keys can't forget any".to_owned())),
    })
}
