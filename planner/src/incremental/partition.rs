//! What is computed from all rows of a partition at once: window functions, the first rows in an order, aggregates without an
//! incremental form.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::{Expr, WindowFrame, WindowFunctionDefinition};

use super::{AggregateCall, GroupWindow, Node, OnError};

/// See [`Node::Partition`].
///
/// Rows that tie in an order are taken in the order of their columns, from the left, so that the result is a function of the rows alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Partition {
    /// Where rows come from.
    pub input: Arc<Node>,
    /// Rows that are equal in these columns of the input (NULLs are equal) are a partition; without keys all rows are one.
    pub keys: Vec<Expr>,
    /// What comes out of a partition.
    pub rule: PartitionRule,
    /// Set when one of the keys is a window's end: partitions behind the watermark are closed and their state is freed (their
    /// rows stay).
    pub window: Option<GroupWindow>,
    /// What becomes of a partition on which a function fails. Keys, orders and arguments are columns or constants, which can't; what computes
    /// them is a map below, where what fails belongs to its row.
    pub on_error: OnError,
    /// Types of the output.
    pub schema: SchemaRef,
}

/// What comes out of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PartitionRule {
    /// Each row, with a column more per call.
    Windows(Vec<WindowCall>),
    /// Some of the rows, by their place in an order.
    Top(Top),
    /// The keys, then the aggregates, in one row. Without keys that row is there even if no row came.
    Aggregates(Vec<OrderedCall>),
}

/// An item of ORDER BY.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OrderKey {
    /// Over the input's columns.
    pub expression: Expr,
    /// `DESC`.
    pub descending: bool,
    /// `NULLS FIRST`.
    pub nulls_first: bool,
}

/// A function over a window of rows around each row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WindowCall {
    /// DataFusion's function: of windows, or an aggregate.
    pub function: WindowFunctionDefinition,
    /// Arguments over the input's columns.
    pub args: Vec<Expr>,
    /// The order of the partition's rows.
    pub order: Vec<OrderKey>,
    /// Which rows around a row are seen.
    pub frame: WindowFrame,
    /// `FILTER (WHERE …)`, of aggregates.
    pub filter: Option<Expr>,
    /// `IGNORE NULLS`.
    pub ignore_nulls: bool,
}

/// The rows from place `offset` on, at most `fetch`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Top {
    /// The order; without one, that of the columns.
    pub order: Vec<OrderKey>,
    /// So many rows are left out.
    pub offset: usize,
    /// So many come out; absent: all that follow. With dense ranks, all rows of so many of these.
    pub fetch: Option<usize>,
    /// And all rows that are equal in the order to the last of them.
    pub ties: bool,
    /// Adds a column with each row's place.
    pub place: Option<Place>,
}

impl Top {
    /// Rows behind this place never come out, whatever other rows come. `None` if any row may come out. Dense ranks are counted where the place
    /// is one.
    pub fn last_place(&self) -> Option<usize> {
        self.fetch.map(|fetch| fetch.saturating_add(self.offset))
    }
}

/// How a row's place is counted, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// `row_number()`: each row has its own.
    Row,
    /// `rank()`: rows that are equal in the order share the first one's.
    Rank,
    /// `dense_rank()`: rows that are equal in the order share one, and the next ones have the next.
    DenseRank,
}

/// An aggregate that sees the rows of its group in an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OrderedCall {
    /// The function and what it is called with.
    pub call: AggregateCall,
    /// `ORDER BY` within the call, or `WITHIN GROUP (ORDER BY …)`.
    pub order: Vec<OrderKey>,
    /// `IGNORE NULLS`.
    pub ignore_nulls: bool,
}

impl Partition {
    /// Rows that no longer can come out are dropped: there is a last place, and no row above it ever goes.
    pub fn keeps_only_top(&self) -> bool {
        matches!(&self.rule, PartitionRule::Top(top) if top.fetch.is_some()) && self.input.append_only()
    }

    /// A row comes out though none came in: of aggregates without keys.
    pub fn has_row_of_nothing(&self) -> bool {
        self.keys.is_empty() && matches!(self.rule, PartitionRule::Aggregates(_))
    }
}
