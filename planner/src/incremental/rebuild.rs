//! The same operators over other inputs.

use std::sync::Arc;

use catalog::ObjectId;

use super::{
    Aggregate, AsOf, Constant, Distinct, Forgetful, Idle, Input, Join, Map, Node, OnError, Outer, Partition, Recursive,
    Retention, Session, SetOperation, TemporalFilter, TemporalJoin, Union, Unnest, Window, WindowClose,
};

impl Node {
    /// The same operator over other inputs: as many as [`Node::inputs`] gives, of the same types.
    #[must_use]
    pub fn with_inputs(&self, inputs: Vec<Arc<Self>>) -> Self {
        debug_assert_eq!(self.inputs().len(), inputs.len(), "each input has its place");
        let mut inputs = inputs.into_iter();
        let mut next = || inputs.next().expect("there are as many as before");
        match self.clone() {
            node @ (Self::Input(_) | Self::Constant(_) | Self::Hole(_)) => node,
            Self::Map(node) => Self::Map(Map { input: next(), ..node }),
            Self::Window(node) => Self::Window(Window { input: next(), ..node }),
            Self::Session(node) => Self::Session(Session { input: next(), ..node }),
            Self::TemporalFilter(node) => Self::TemporalFilter(TemporalFilter { input: next(), ..node }),
            Self::Aggregate(node) => Self::Aggregate(Aggregate { input: next(), ..node }),
            Self::Join(node) => Self::Join(Join { left: next(), right: next(), ..node }),
            Self::AsOf(node) => Self::AsOf(AsOf { left: next(), right: next(), ..node }),
            Self::TemporalJoin(node) => Self::TemporalJoin(TemporalJoin { left: next(), right: next(), ..node }),
            Self::Union(node) => {
                let inputs = node.inputs.iter().map(|_| next()).collect();
                Self::Union(Union { inputs, ..node })
            }
            Self::SetOperation(node) => Self::SetOperation(SetOperation { left: next(), right: next(), ..node }),
            Self::Unnest(node) => Self::Unnest(Unnest { input: next(), ..node }),
            Self::Distinct(_) => Self::Distinct(Distinct { input: next() }),
            Self::Partition(node) => Self::Partition(Partition { input: next(), ..node }),
            Self::Recursive(node) => {
                let base = next();
                let outers = node.outers.iter().map(|outer| Outer { node: next(), ..*outer }).collect();
                Self::Recursive(Recursive { base, outers, ..node })
            }
            Self::WindowClose(node) => Self::WindowClose(WindowClose { input: next(), ..node }),
            Self::Retention(node) => Self::Retention(Retention { input: next(), ..node }),
            Self::Idle(node) => Self::Idle(Idle { input: next(), ..node }),
            Self::Forgetful(node) => {
                let of = node.of.inputs().into_iter().map(|_| next()).collect();
                Self::Forgetful(Forgetful { of: Arc::new(node.of.with_inputs(of)), idle: next(), ..node })
            }
        }
    }

    /// This operator, with each of its inputs replaced by what is made of it. Of a recursion, the step stays as it is.
    #[must_use]
    pub fn map_inputs(&self, of: impl FnMut(&Arc<Self>) -> Arc<Self>) -> Self {
        self.with_inputs(self.inputs().into_iter().map(of).collect())
    }

    /// The same operators, with another answer to expressions that fail.
    #[must_use]
    pub fn with_on_error(&self, on_error: OnError) -> Arc<Self> {
        Arc::new(match self.map_inputs(|input| input.with_on_error(on_error)) {
            Self::Recursive(node) => Self::Recursive(Recursive { step: node.step.with_on_error(on_error), ..node }),
            Self::Map(node) => Self::Map(Map { on_error, ..node }),
            Self::Aggregate(node) => Self::Aggregate(Aggregate { on_error, ..node }),
            Self::Join(node) => Self::Join(Join { on_error, ..node }),
            Self::AsOf(node) => Self::AsOf(AsOf { on_error, ..node }),
            Self::TemporalJoin(node) => Self::TemporalJoin(TemporalJoin { on_error, ..node }),
            Self::Partition(node) => Self::Partition(Partition { on_error, ..node }),
            Self::Constant(node) => Self::Constant(Constant { on_error, ..node }),
            node => node,
        })
    }

    /// The plan with some of its parts replaced: from the top down, the first part for which `part` gives another one.
    #[must_use]
    pub fn replacing(self: &Arc<Self>, part: &dyn Fn(&Arc<Self>) -> Option<Arc<Self>>) -> Arc<Self> {
        if let Some(other) = part(self) {
            return other;
        }
        let inputs = self.inputs();
        if inputs.is_empty() {
            return self.clone();
        }
        let replaced: Vec<Arc<Self>> = inputs.iter().map(|input| input.replacing(part)).collect();
        if replaced.iter().zip(&inputs).all(|(new, old)| Arc::ptr_eq(new, old)) {
            return self.clone();
        }
        Arc::new(self.with_inputs(replaced))
    }

    /// Whether this operator keeps state.
    pub fn keeps_own_state(&self) -> bool {
        !matches!(
            self,
            Self::Input(_) | Self::Map(_) | Self::Window(_) | Self::Union(_) | Self::Unnest(_) | Self::Hole(_)
        )
    }

    /// Whether an operator of this plan keeps state.
    pub fn keeps_state(&self) -> bool {
        self.keeps_own_state() || self.inputs().into_iter().any(|input| input.keeps_state())
    }

    /// The relations that the plan reads, in order of their ids.
    pub fn relations(&self) -> Vec<ObjectId> {
        let mut found = Vec::new();
        self.visit(&mut |node| {
            if let Self::Input(Input { relation, .. }) = node {
                found.push(*relation);
            }
        });
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Shows every node of the plan, a node before its inputs; those of a recursion's step are not among them.
    pub fn visit<'a>(&'a self, see: &mut dyn FnMut(&'a Self)) {
        see(self);
        for input in self.inputs() {
            input.visit(see);
        }
    }
}
