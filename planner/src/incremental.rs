//! The plan of a view: a tree of operators, each of which turns changes of its inputs into changes of its output.
//!
//! Nodes are values: two views that contain equal nodes share the operator and its state. So that equality means the same
//! work, whatever aliases were used, expressions refer to their input's columns by position: column `i` is the
//! logical column named [`column_name`]`(i)`, without qualifier (in a join: the left input's columns, then the right's).

mod as_of;
mod partition;
mod reach;
mod readable;
mod rebuild;
mod recursive;
mod retention;
mod state_ttl;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
pub use as_of::{AsOf, Nearest, TemporalJoin};
use catalog::{Growth, LatePolicy, ObjectId};
pub use catalog::{TimeBound, TimeKind};
use datafusion::logical_expr::{AggregateUDF, Expr};
pub use partition::{OrderKey, OrderedCall, Partition, PartitionRule, Place, Top, WindowCall};
pub use reach::{Extent, Ranked, Reach};
pub use recursive::{Effect, Hole, Outer, Recursive};
pub use retention::Retention;
pub use state_ttl::{Forgetful, Forgotten, Idle};

/// A node of the incremental plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// The changes of a stored relation or a source.
    Input(Input),
    /// Filter and projection in one pass.
    Map(Map),
    /// `TUMBLE`, `HOP` and `CUMULATE`: adds `window_start` and `window_end`.
    Window(Window),
    /// `SESSION`: adds `window_start` and `window_end`, which other rows change.
    Session(Session),
    /// A condition on `now()`: each row is there from a time on, or until a time.
    TemporalFilter(TemporalFilter),
    /// `GROUP BY`.
    Aggregate(Aggregate),
    /// Rows that belong together, by equal keys, a condition, or both.
    Join(Join),
    /// `ASOF JOIN`: each left row with the one right row that is nearest to it.
    AsOf(AsOf),
    /// `FOR SYSTEM_TIME AS OF PROCTIME()`: each left row with the right rows of the epoch in which it comes.
    TemporalJoin(TemporalJoin),
    /// `UNION ALL`.
    Union(Union),
    /// `INTERSECT ALL` and `EXCEPT ALL`.
    SetOperation(SetOperation),
    /// `UNNEST` and set-returning functions: a row per element of an array.
    Unnest(Unnest),
    /// `DISTINCT`: each row once.
    Distinct(Distinct),
    /// Window functions, `LIMIT`, `DISTINCT ON`, and aggregates that need all rows of their group.
    Partition(Partition),
    /// `WITH RECURSIVE`: the least rows that contain a base and what a step makes of them.
    Recursive(Recursive),
    /// Stands in the step of a recursion for what flows in.
    Hole(Hole),
    /// `EMIT ON WINDOW CLOSE`: holds rows back until the watermark passes their window's end.
    WindowClose(WindowClose),
    /// `WITH (retention = …)`: rows go some time after their own. Only at the root.
    Retention(Retention),
    /// `WITH (state_ttl = …)`: which keys have not come for some time.
    Idle(Idle),
    /// `WITH (state_ttl = …)`: an operator that forgets such keys.
    Forgetful(Forgetful),
    /// Rows that need no input (`VALUES`, a SELECT without FROM): emitted once, when the view is made.
    Constant(Constant),
}

/// See [`Node::Input`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Input {
    /// The relation.
    pub relation: ObjectId,
    /// All its columns.
    pub schema: SchemaRef,
    /// Rows are only ever added: a source, or a view whose plan is [`append_only`](Node::append_only).
    pub append_only: bool,
}

/// What becomes of a row on which an expression fails, by a division by zero, say. It never stops the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnError {
    /// The row is left out and reported, until it is taken away.
    #[default]
    Report,
    /// The expression is NULL.
    Null,
}

/// See [`Node::Map`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Map {
    /// Where rows come from.
    pub input: Arc<Node>,
    /// Only rows for which this is true, over the input's columns.
    pub predicate: Option<Expr>,
    /// The output columns, over the input's columns.
    pub expressions: Vec<Expr>,
    /// What becomes of a row on which one of them fails.
    pub on_error: OnError,
    /// Types of the output.
    pub schema: SchemaRef,
}

/// How rows are assigned to windows; times in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WindowKind {
    /// Windows of `size_us` that touch: each row is in one.
    Tumble {
        /// Length.
        size_us: i64,
    },
    /// Windows of `size_us` that start every `slide_us`: each row is in `size / slide` of them.
    Hop {
        /// Distance of starts.
        slide_us: i64,
        /// Length.
        size_us: i64,
    },
    /// Windows that begin every `size_us` and end one step further each, up to `size_us`: each row is in those that end behind it.
    Cumulate {
        /// Distance of ends.
        step_us: i64,
        /// The length of the longest, a multiple of the step.
        size_us: i64,
    },
}

impl WindowKind {
    /// How far ends are apart, and the length of the longest window.
    pub fn lengths(self) -> (i64, i64) {
        match self {
            Self::Tumble { size_us } => (size_us, size_us),
            Self::Hop { slide_us: step_us, size_us } | Self::Cumulate { step_us, size_us } => (step_us, size_us),
        }
    }
}

/// See [`Node::Window`]. Output: the input's columns, then `window_start` and `window_end` in the time column's type. Rows whose time
/// is null are in no window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Where rows come from.
    pub input: Arc<Node>,
    /// The event time column.
    pub time: usize,
    /// How windows lie; they are aligned to 1970-01-01 00:00 UTC.
    pub kind: WindowKind,
    /// The sources whose watermark (the least of them) closes windows; empty: no window ever closes.
    pub watermark_of: Vec<ObjectId>,
    /// What happens to rows of closed windows.
    pub late: LatePolicy,
    /// Types of the output.
    pub schema: SchemaRef,
}

/// See [`Node::Session`]. Output: the input's columns, then `window_start` and `window_end` in the time column's type. Rows whose time is null
/// are in no session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// Where rows come from.
    pub input: Arc<Node>,
    /// The event time column.
    pub time: usize,
    /// A session ends so long after its last row: one that comes before that goes on with it. Microseconds.
    pub gap_us: i64,
    /// Rows that are equal in these columns (NULLs are equal) have sessions of their own.
    pub keys: Vec<usize>,
    /// The sources whose watermark (the least of them) closes sessions; empty: no session ever closes.
    pub watermark_of: Vec<ObjectId>,
    /// What happens to rows that could only be in closed sessions.
    pub late: LatePolicy,
    /// Types of the output.
    pub schema: SchemaRef,
}

/// See [`Node::TemporalFilter`]. Same columns as the input. A row is there while `from <= now < until`, where `now` is the epoch's
/// timestamp; it never is where one of them is NULL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TemporalFilter {
    /// Where rows come from.
    pub input: Arc<Node>,
    /// The columns, each a timestamptz, that say from when a row is there: the last of them counts; none: from the beginning.
    pub from: Vec<usize>,
    /// The columns that say until when: the first of them counts; none: for ever.
    pub until: Vec<usize>,
}

/// One aggregate of an [`Aggregate`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AggregateCall {
    /// DataFusion's function; the operator has its own incremental form of it.
    pub function: Arc<AggregateUDF>,
    /// Arguments over the input's columns; empty for `count(*)`.
    pub args: Vec<Expr>,
    /// Equal arguments count once.
    pub distinct: bool,
    /// `FILTER (WHERE …)`.
    pub filter: Option<Expr>,
}

/// See [`Node::Aggregate`]. Output: the keys, then the aggregates. Without keys there is exactly one group, which exists from the
/// start (a count of 0 is a row).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Aggregate {
    /// Where rows come from.
    pub input: Arc<Node>,
    /// Group keys over the input's columns; NULLs are equal.
    pub keys: Vec<Expr>,
    /// The aggregates.
    pub calls: Vec<AggregateCall>,
    /// Set when one of the keys is a window's end: groups behind the watermark are closed and their state is freed
    /// (their rows stay).
    pub window: Option<GroupWindow>,
    /// What becomes of a row on which a key or an argument fails, and of a group whose result its type can't hold.
    pub on_error: OnError,
    /// Types of the output.
    pub schema: SchemaRef,
}

/// Which key of an aggregate says when a group is complete.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupWindow {
    /// Position among the keys of the window's end, or of its start.
    pub end_key: usize,
    /// Added to that key's value (microseconds) it is the window's end: 0, or the window's length.
    pub offset_us: i64,
    /// The sources whose least watermark closes it.
    pub watermark_of: Vec<ObjectId>,
}

/// Kinds of joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// Matching pairs.
    Inner,
    /// And left rows without a match, the right side NULL.
    Left,
    /// And right rows without a match, the left side NULL.
    Right,
    /// Both.
    Full,
    /// Left rows that have a match, once.
    LeftSemi,
    /// Left rows that have none.
    LeftAnti,
    /// Right rows that have a match, once.
    RightSemi,
    /// Right rows that have none.
    RightAnti,
}

/// See [`Node::Join`]. Output: left columns, then right columns; for semi and anti joins only the kept side's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Join {
    /// The left input.
    pub left: Arc<Node>,
    /// The right input.
    pub right: Arc<Node>,
    /// Which rows come out.
    pub kind: JoinKind,
    /// Pairs that must be equal: over the left's columns, over the right's columns, of one type. None: all rows of both sides meet.
    pub on: Vec<(Expr, Expr)>,
    /// NULL keys equal each other (`IS NOT DISTINCT FROM`).
    pub null_equal: bool,
    /// A further condition over the columns of both.
    pub residual: Option<Expr>,
    /// When left rows find no match any more.
    pub left_expiry: Option<Expiry>,
    /// When right rows find no match any more.
    pub right_expiry: Option<Expiry>,
    /// What becomes of a row on which a key fails, and of a pair on which the condition does.
    pub on_error: OnError,
    /// Types of the output.
    pub schema: SchemaRef,
}

impl Join {
    /// Whether a relation's rows meet each other by the same keys, and nothing but pairs comes out: then they are kept once for both sides.
    pub fn is_with_itself(&self) -> bool {
        let same_keys = !self.on.is_empty() && self.on.iter().all(|(left, right)| left == right);
        let forgets = self.left_expiry.is_some() || self.right_expiry.is_some();
        self.kind == JoinKind::Inner && same_keys && !forgets && self.left == self.right
    }
}

/// When rows of a side of a join find no match any more: nothing that comes later on the other side can match them, and nobody takes
/// their pairs back, so their state is freed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expiry {
    /// A column of times of that side; rows where it is NULL stay.
    pub column: usize,
    /// Added to that column's value (microseconds): when the watermark has reached that, the row is over.
    pub offset_us: i64,
    /// The sources whose least watermark counts.
    pub watermark_of: Vec<ObjectId>,
}

/// See [`Node::Union`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Union {
    /// The inputs, all of the output's types.
    pub inputs: Vec<Arc<Node>>,
    /// Types of the output.
    pub schema: SchemaRef,
}

/// What a [`SetOperation`] keeps of the left side's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetKind {
    /// As many copies of a row as both sides have.
    Intersect,
    /// As many as the left side has more than the right.
    Except,
}

/// See [`Node::SetOperation`]. Both sides have the output's types; NULLs are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SetOperation {
    /// The left input.
    pub left: Arc<Node>,
    /// The right input.
    pub right: Arc<Node>,
    /// What is kept.
    pub kind: SetKind,
}

/// See [`Node::Unnest`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unnest {
    /// The input.
    pub input: Arc<Node>,
    /// The columns of the input that are taken apart, side by side: shorter arrays are filled up with NULL.
    pub lists: Vec<usize>,
    /// The columns of the output, by the column of the input: repeated, or its elements.
    pub columns: Vec<usize>,
    /// Whether a row without any element comes out once, with NULLs.
    pub keeps_empty: bool,
    /// The output's columns.
    pub schema: SchemaRef,
}

/// See [`Node::Distinct`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Distinct {
    /// Where rows come from; the output has the same columns.
    pub input: Arc<Node>,
}

/// See [`Node::WindowClose`]. Same columns as the input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WindowClose {
    /// Where rows come from.
    pub input: Arc<Node>,
    /// The column that is the window's end, or its start.
    pub end: usize,
    /// Added to that column's value (microseconds) it is the window's end: 0, or the window's length.
    pub offset_us: i64,
    /// The sources whose least watermark closes it.
    pub watermark_of: Vec<ObjectId>,
}

/// See [`Node::Constant`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Constant {
    /// Rows of expressions without columns.
    pub rows: Vec<Vec<Expr>>,
    /// What becomes of a row of which an expression fails.
    pub on_error: OnError,
    /// Types of the output.
    pub schema: SchemaRef,
}

/// How a query is kept up to date.
#[derive(Clone, Debug)]
pub struct ViewPlan {
    /// The operators; the root's columns are the view's, in order.
    pub root: Arc<Node>,
    /// Names, types (with [`catalog::SqlType`] metadata) and nullability of the result.
    pub schema: SchemaRef,
    /// Positions of columns that identify a row; empty: none found.
    pub key: Vec<usize>,
    /// No change ever takes a row away.
    pub append_only: bool,
    /// Columns by which time goes on in a view over this one.
    pub times: Vec<(usize, TimeBound)>,
    /// Why there are ever more rows; `None`: there aren't.
    pub growth: Option<Growth>,
    /// The relations that are read, in order of their ids.
    pub inputs: Vec<ObjectId>,
    /// What the user should know, such as state that grows without bound.
    pub notices: Vec<String>,
}

/// The name by which an expression refers to column `index` of its input.
pub fn column_name(index: usize) -> String {
    format!("c{index}")
}

impl Node {
    /// Types of the rows that come out; the names mean nothing.
    pub fn schema(&self) -> &SchemaRef {
        match self {
            Self::Input(node) => &node.schema,
            Self::Map(node) => &node.schema,
            Self::Window(node) => &node.schema,
            Self::Session(node) => &node.schema,
            Self::TemporalFilter(node) => node.input.schema(),
            Self::Aggregate(node) => &node.schema,
            Self::Join(node) => &node.schema,
            Self::AsOf(node) => &node.schema,
            Self::TemporalJoin(node) => &node.schema,
            Self::Union(node) => &node.schema,
            Self::SetOperation(node) => node.left.schema(),
            Self::Unnest(node) => &node.schema,
            Self::Distinct(node) => node.input.schema(),
            Self::Partition(node) => &node.schema,
            Self::Recursive(node) => &node.schema,
            Self::Hole(node) => &node.schema,
            Self::WindowClose(node) => node.input.schema(),
            Self::Retention(node) => node.input.schema(),
            Self::Idle(node) => node.input.schema(),
            Self::Forgetful(node) => node.of.schema(),
            Self::Constant(node) => &node.schema,
        }
    }

    /// The nodes that this one reads. A recursion's step is a part of it, not an input.
    pub fn inputs(&self) -> Vec<&Arc<Node>> {
        match self {
            Self::Input(_) | Self::Constant(_) | Self::Hole(_) => vec![],
            Self::Map(node) => vec![&node.input],
            Self::Window(node) => vec![&node.input],
            Self::Session(node) => vec![&node.input],
            Self::TemporalFilter(node) => vec![&node.input],
            Self::Aggregate(node) => vec![&node.input],
            Self::Join(node) => vec![&node.left, &node.right],
            Self::AsOf(node) => vec![&node.left, &node.right],
            Self::TemporalJoin(node) => vec![&node.left, &node.right],
            Self::Union(node) => node.inputs.iter().collect(),
            Self::SetOperation(node) => vec![&node.left, &node.right],
            Self::Unnest(node) => vec![&node.input],
            Self::Distinct(node) => vec![&node.input],
            Self::Partition(node) => vec![&node.input],
            Self::Recursive(node) => {
                std::iter::once(&node.base).chain(node.outers.iter().map(|outer| &outer.node)).collect()
            }
            Self::WindowClose(node) => vec![&node.input],
            Self::Retention(node) => vec![&node.input],
            Self::Idle(node) => vec![&node.input],
            Self::Forgetful(node) => node.of.inputs().into_iter().chain([&node.idle]).collect(),
        }
    }

    /// The inputs that stand to the right of a temporal join: what stands to the left meets them as they are when it comes.
    pub fn met_inputs(&self) -> Vec<&Input> {
        let mut met: Vec<&Input> = self.inputs().into_iter().flat_map(|input| input.met_inputs()).collect();
        if let Self::TemporalJoin(join) = self {
            join.right.collect_inputs(&mut met);
        }
        met
    }

    fn collect_inputs<'a>(&'a self, found: &mut Vec<&'a Input>) {
        if let Self::Input(input) = self {
            found.push(input);
        }
        self.inputs().into_iter().for_each(|input| input.collect_inputs(found));
    }

    /// What becomes of a row on which one of this operator's own expressions fails; `None`: it has none.
    pub fn on_error(&self) -> Option<OnError> {
        match self {
            Self::Map(node) => Some(node.on_error),
            Self::Aggregate(node) => Some(node.on_error),
            Self::Join(node) => Some(node.on_error),
            Self::AsOf(node) => Some(node.on_error),
            Self::TemporalJoin(node) => Some(node.on_error),
            Self::Partition(node) => Some(node.on_error),
            Self::Constant(node) => Some(node.on_error),
            Self::Input(_) | Self::Window(_) | Self::Union(_) | Self::SetOperation(_) | Self::Unnest(_) => None,
            Self::Distinct(_) | Self::WindowClose(_) | Self::Session(_) | Self::TemporalFilter(_) => None,
            Self::Recursive(_) | Self::Hole(_) | Self::Retention(_) | Self::Idle(_) => None,
            Self::Forgetful(node) => node.of.on_error(),
        }
    }

    /// Whether rows are only ever added to the output, so that operators above need not remember what a retraction would
    /// take away.
    pub fn append_only(&self) -> bool {
        match self {
            Self::Input(node) => node.append_only,
            Self::Map(node) => node.input.append_only(),
            Self::Window(node) => node.input.append_only(),
            Self::TemporalFilter(node) => node.until.is_empty() && node.input.append_only(),
            // A count that grows is a row that is replaced. Without calls a group's row never changes.
            Self::Aggregate(node) => node.calls.is_empty() && node.input.append_only(),
            Self::Join(node) => match node.kind {
                JoinKind::Inner | JoinKind::LeftSemi | JoinKind::RightSemi => {
                    node.left.append_only() && node.right.append_only()
                }
                // A row without a match is taken back when the match arrives.
                _ => false,
            },
            // A nearer row may come.
            Self::AsOf(_) => false,
            // What becomes of the other side later changes nothing.
            Self::TemporalJoin(node) => node.left.append_only(),
            Self::Union(node) => node.inputs.iter().all(|input| input.append_only()),
            Self::SetOperation(node) => {
                node.kind == SetKind::Intersect && node.left.append_only() && node.right.append_only()
            }
            Self::Unnest(node) => node.input.append_only(),
            Self::Distinct(node) => node.input.append_only(),
            // A row that comes changes what comes of the others.
            Self::Partition(_) | Self::Session(_) => false,
            Self::Recursive(node) => node.append_only(),
            // What is above a hole is no plan of its own.
            Self::Hole(_) => false,
            // Rows come out when nothing can change them any more.
            Self::WindowClose(_) | Self::Constant(_) => true,
            Self::Retention(node) => node.silent && node.input.append_only(),
            // A key comes again once it is forgotten.
            Self::Idle(_) => true,
            Self::Forgetful(node) => node.append_only(),
        }
    }
}
