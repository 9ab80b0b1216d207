//! Joins with one row of the other side: the nearest in time, or the one that is there now.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::Expr;

use super::{Node, OnError};

/// Which of the other side's rows is the nearest to a row, by their times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Nearest {
    /// The last that isn't later: `left >= right`.
    AtOrBefore,
    /// The last that is earlier: `left > right`.
    Before,
    /// The first that isn't earlier: `left <= right`.
    AtOrAfter,
    /// The first that is later: `left < right`.
    After,
}

impl Nearest {
    /// The comparison of a left with a right time that says so.
    pub fn operator(self) -> &'static str {
        match self {
            Self::AtOrBefore => ">=",
            Self::Before => ">",
            Self::AtOrAfter => "<=",
            Self::After => "<",
        }
    }

    /// Whether a row of the same time is the nearest.
    pub fn or_equal(self) -> bool {
        matches!(self, Self::AtOrBefore | Self::AtOrAfter)
    }

    /// Whether the row is looked for among later ones.
    pub fn is_later(self) -> bool {
        matches!(self, Self::AtOrAfter | Self::After)
    }
}

/// See [`Node::AsOf`]. Output: left columns, then right columns: each left row once, with the right row that is nearest to it among those of its
/// keys. Of several right rows of one time it is the least, compared column by column (NULL before all values). A row with a NULL among keys and time
/// meets nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AsOf {
    /// The left input.
    pub left: Arc<Node>,
    /// The right input.
    pub right: Arc<Node>,
    /// Pairs that must be equal: over the left's columns, over the right's columns, of one type.
    pub on: Vec<(Expr, Expr)>,
    /// What is compared to find the nearest: over the left's columns, over the right's, of one type.
    pub times: (Expr, Expr),
    /// Which right row is the nearest.
    pub nearest: Nearest,
    /// Left rows that meet nothing come out with NULL for the right side.
    pub outer: bool,
    /// What becomes of a row on which a key or the time fails.
    pub on_error: OnError,
    /// Types of the output.
    pub schema: SchemaRef,
}

/// See [`Node::TemporalJoin`]. Output: left columns, then right columns: each left row as it comes, with the right rows that match it as the
/// epoch in which it comes leaves them. What becomes of the right rows later changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TemporalJoin {
    /// The left input, whose rows only ever come.
    pub left: Arc<Node>,
    /// The right input.
    pub right: Arc<Node>,
    /// Pairs that must be equal: over the left's columns, over the right's columns, of one type.
    pub on: Vec<(Expr, Expr)>,
    /// A further condition over the columns of both.
    pub residual: Option<Expr>,
    /// Left rows that meet nothing come out with NULL for the right side.
    pub outer: bool,
    /// What becomes of a row on which a key fails, and of a pair on which the condition does.
    pub on_error: OnError,
    /// Types of the output.
    pub schema: SchemaRef,
}
