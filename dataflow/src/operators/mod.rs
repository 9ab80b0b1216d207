//! The operators, one per file, and how a plan's node becomes one.

mod agenda;
mod aggregate;
mod as_of;
mod closing;
mod constant;
mod counted;
mod distinct;
mod forgetful;
mod idle;
mod join;
mod map;
mod nested_loop;
mod partition;
mod recursive;
mod retention;
mod row_bag;
mod session;
mod set_operation;
mod shards;
mod temporal;
mod union;
mod unnest;
pub(crate) mod upsert;
mod window;
mod window_close;

use std::collections::BTreeMap;

use delta::Delta;
use planner::incremental::Node;
use storage::StateId;

use crate::operator::{Operator, StepContext};
use crate::{Error, Result};

pub use aggregate::Aggregate;
pub use as_of::AsOf;
pub use constant::Constant;
pub use distinct::Distinct;
pub use idle::Idle;
pub use join::{Join, JoinWithItself, TemporalJoin};
pub use map::Map;
pub use nested_loop::NestedLoop;
pub use partition::Partition;
pub use recursive::{Recursive, Rounds};
pub use retention::Retention;
pub use session::{Session, assign_sessions};
pub use set_operation::SetOperation;
pub use temporal::TemporalFilter;
pub use union::Union;
pub use unnest::Unnest;
pub use window::{Window, assign_windows};
pub use window_close::WindowClose;

/// The state tables of an operator: gives each role a number.
pub trait States {
    /// The number of the operator's table with that role.
    fn state(&mut self, role: &str) -> StateId;

    /// The number that it was given before a restart, if it was.
    fn given(&self, _role: &str) -> Option<StateId> {
        None
    }
}

impl States for BTreeMap<String, StateId> {
    fn state(&mut self, role: &str) -> StateId {
        let next = StateId(1 + self.len() as u32);
        *self.entry(role.to_owned()).or_insert(next)
    }
}

/// The operator that a node asks for.
///
/// # Errors
/// If an expression can't be built, or a type can't be a key.
pub fn build(node: &Node, states: &mut dyn States) -> Result<Box<dyn Operator>> {
    Ok(match node {
        Node::Input(_) | Node::Hole(_) => return Err(Error::Broken("an input is no operator".to_owned())),
        Node::Map(node) => Box::new(Map::new(node)?),
        Node::Window(node) => Box::new(Window::new(node)?),
        Node::Session(node) => Box::new(Session::new(node, states)?),
        Node::TemporalFilter(node) => Box::new(TemporalFilter::new(node, states)?),
        Node::Aggregate(node) => Box::new(Aggregate::new(node, states)?),
        Node::Join(node) if node.on.is_empty() => Box::new(NestedLoop::new(node, states)?),
        Node::Join(node) if node.is_with_itself() => Box::new(JoinWithItself::new(node, states)?),
        Node::Join(node) => Box::new(Join::new(node, states)?),
        Node::AsOf(node) => Box::new(AsOf::new(node, states)?),
        Node::TemporalJoin(node) => Box::new(TemporalJoin::new(node, states)?),
        Node::SetOperation(node) => Box::new(SetOperation::new(node, states)?),
        Node::Union(node) => Box::new(Union::new(node)),
        Node::Unnest(node) => Box::new(Unnest::new(node)),
        Node::Distinct(node) => Box::new(Distinct::new(node, states)?),
        Node::Partition(node) => Box::new(Partition::new(node, states)?),
        Node::Recursive(node) if node.rounds => Box::new(Rounds::new(node, states)?),
        Node::Recursive(node) => Box::new(Recursive::new(node, states)?),
        Node::WindowClose(node) => Box::new(WindowClose::new(node, states)?),
        Node::Retention(node) => Box::new(Retention::new(node, states)?),
        Node::Idle(node) => Box::new(Idle::new(node, states)?),
        Node::Forgetful(node) => forgetful::build(node, states)?,
        Node::Constant(node) => Box::new(Constant::new(node, states)?),
    })
}

/// Takes the rows of an output, piece by piece.
pub(crate) type Emit<'a> = dyn FnMut(Delta) -> Result<()> + 'a;

/// Reads the rows that an operator has put out off its state, as far as [that tells them](Node::unreadable).
pub(crate) fn contents(
    node: &Node,
    states: &mut dyn States,
    context: &StepContext<'_>,
    emit: &mut Emit<'_>,
) -> Result<()> {
    let store = context.snapshot.as_ref();
    match node {
        node if node.unreadable().is_some() => {
            Err(Error::Broken("the state of an operator doesn't tell what it has put out".to_owned()))
        }
        Node::Aggregate(node) => Aggregate::new(node, states)?.contents(store, emit),
        Node::Join(node) if node.is_with_itself() => JoinWithItself::contents(node, states, context, emit),
        Node::Join(node) => Join::contents(node, states, context, emit),
        Node::SetOperation(node) => SetOperation::contents(node, states, store, emit),
        Node::Distinct(node) => Distinct::contents(node, states, store, emit),
        Node::Recursive(node) => Recursive::contents(node, states, store, emit),
        _ => Err(Error::Broken("an operator's output is read that isn't kept".to_owned())),
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
