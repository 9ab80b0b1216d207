//! State that is forgotten though nothing says that it is over: what a person asked for with `state_ttl`.

use std::sync::Arc;

use super::Node;

/// See [`Node::Idle`]. Output: the input's rows, each once, that have not come for so long; again if one comes again and then doesn't. A row that is
/// taken away comes, too.
///
/// Between `ttl_us` and an eighth more passes, by the epochs' timestamps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Idle {
    /// Where rows come from.
    pub input: Arc<Node>,
    /// How long nothing comes, in microseconds.
    pub ttl_us: i64,
}

/// See [`Node::Forgetful`]. Output: that of `of`, as if the rows of a key had never come once the key is idle; but pairs of a join stay.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Forgetful {
    /// An aggregate, a DISTINCT, a partition, or a join on equal keys.
    pub of: Arc<Node>,
    /// Keys of that operator which are to be forgotten.
    pub idle: Arc<Node>,
    /// What of them.
    pub forgotten: Forgotten,
}

/// What a [`Forgetful`] operator forgets of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forgotten {
    /// All, and what had come out of it is taken back: of groups and the like, of which there would else be a second one if the key came again.
    WithOutput,
    /// The rows of the left side of a join: they find no match any more.
    Left,
    /// Those of the right side.
    Right,
    /// Those of both sides.
    Both,
}

impl Forgetful {
    /// See [`Node::append_only`].
    pub(super) fn append_only(&self) -> bool {
        self.forgotten != Forgotten::WithOutput && self.of.append_only()
    }
}
