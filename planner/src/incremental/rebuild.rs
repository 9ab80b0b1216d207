//! Plans made of other plans: nodes are values, so a change somewhere makes all nodes above anew.

use std::sync::Arc;

use super::{
    Aggregate, Constant, Distinct, Forgetful, Idle, Join, Map, Node, OnError, Outer, Partition, Recursive, Retention,
    Session, SetOperation, TemporalFilter, Union, Unnest, Window, WindowClose,
};

impl Node {
    /// This operator over other inputs. Of a recursion, the step stays as it is.
    pub fn map_inputs(&self, of: &mut dyn FnMut(&Arc<Self>) -> Arc<Self>) -> Self {
        match self.clone() {
            node @ (Self::Input(_) | Self::Hole(_) | Self::Constant(_)) => node,
            Self::Recursive(node) => Self::Recursive(Recursive {
                base: of(&node.base),
                outers: node.outers.iter().map(|outer| Outer { node: of(&outer.node), ..*outer }).collect(),
                ..node
            }),
            Self::Map(node) => Self::Map(Map { input: of(&node.input), ..node }),
            Self::Window(node) => Self::Window(Window { input: of(&node.input), ..node }),
            Self::Session(node) => Self::Session(Session { input: of(&node.input), ..node }),
            Self::TemporalFilter(node) => Self::TemporalFilter(TemporalFilter { input: of(&node.input), ..node }),
            Self::Aggregate(node) => Self::Aggregate(Aggregate { input: of(&node.input), ..node }),
            Self::Join(node) => Self::Join(Join { left: of(&node.left), right: of(&node.right), ..node }),
            Self::Union(node) => Self::Union(Union { inputs: node.inputs.iter().map(of).collect(), ..node }),
            Self::SetOperation(node) => {
                Self::SetOperation(SetOperation { left: of(&node.left), right: of(&node.right), kind: node.kind })
            }
            Self::Unnest(node) => Self::Unnest(Unnest { input: of(&node.input), ..node }),
            Self::Distinct(node) => Self::Distinct(Distinct { input: of(&node.input) }),
            Self::Partition(node) => Self::Partition(Partition { input: of(&node.input), ..node }),
            Self::WindowClose(node) => Self::WindowClose(WindowClose { input: of(&node.input), ..node }),
            Self::Retention(node) => Self::Retention(Retention { input: of(&node.input), ..node }),
            Self::Idle(node) => Self::Idle(Idle { input: of(&node.input), ..node }),
            Self::Forgetful(node) => {
                let inner = Arc::new(node.of.map_inputs(&mut *of));
                Self::Forgetful(Forgetful { of: inner, idle: of(&node.idle), ..node })
            }
        }
    }

    /// The same operators, with another answer to expressions that fail.
    pub fn with_on_error(&self, on_error: OnError) -> Arc<Self> {
        Arc::new(match self.map_inputs(&mut |input| input.with_on_error(on_error)) {
            Self::Recursive(node) => Self::Recursive(Recursive { step: node.step.with_on_error(on_error), ..node }),
            Self::Map(node) => Self::Map(Map { on_error, ..node }),
            Self::Aggregate(node) => Self::Aggregate(Aggregate { on_error, ..node }),
            Self::Join(node) => Self::Join(Join { on_error, ..node }),
            Self::Partition(node) => Self::Partition(Partition { on_error, ..node }),
            Self::Constant(node) => Self::Constant(Constant { on_error, ..node }),
            node => node,
        })
    }
}
