//! A query that reads its own rows.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::Node;

/// See [`Node::Recursive`]. Output: the base's columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recursive {
    /// The term without recursion: the rows that it begins with.
    pub base: Arc<Node>,
    /// What the recursive term reads besides the recursion's own rows. It is computed once, outside.
    pub outers: Vec<Outer>,
    /// The recursive term, whose leaves are [`Hole`]s.
    pub step: Arc<Node>,
    /// `UNION ALL`: a row is there as often as it is derived. Else each row is there once.
    pub all: bool,
    /// What the step makes of rows depends on other rows of their round (it ranks them, say, or counts them): rounds are computed one after the other,
    /// all of them anew when an input changes. Else each row is followed by itself.
    pub rounds: bool,
    /// Types of the output.
    pub schema: SchemaRef,
}

/// Something that a recursive term reads besides the recursion's own rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outer {
    /// Where its rows come from.
    pub node: Arc<Node>,
    /// What rows that are added to it do.
    pub effect: Effect,
}

/// What a row that is added to an input of a recursion does to the recursion's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It derives rows: the input is joined.
    Adds,
    /// It keeps rows from being derived: the input stands under NOT EXISTS.
    TakesAway,
    /// Some of both: the side of an outer join that is filled up with NULL.
    Both,
}

/// A leaf of a recursive term. See [`Node::Hole`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Hole {
    /// 0 stands for the recursion's own rows, `i` for the outer input `i - 1`.
    pub index: usize,
    /// Types of the rows.
    pub schema: SchemaRef,
}

impl Recursive {
    /// Whether rows are never taken away, as long as none is from the inputs.
    pub(super) fn append_only(&self) -> bool {
        let adds = |outer: &Outer| outer.effect == Effect::Adds && outer.node.append_only();
        !self.rounds && self.base.append_only() && self.outers.iter().all(adds)
    }
}
