//! How long a view's rows stay.

use std::sync::Arc;

use catalog::ObjectId;

use super::Node;

/// See [`Node::Retention`]. Same columns as the input. A row is there until its time plus `offset_us` has been reached: by the least watermark
/// of some sources, or by the epoch's timestamp. Rows whose time is NULL stay.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Retention {
    /// Where rows come from.
    pub input: Arc<Node>,
    /// The column of times: a timestamp or timestamptz.
    pub column: usize,
    /// Added to that column's value (microseconds): when that is reached, the row goes.
    pub offset_us: i64,
    /// The sources whose least watermark counts; none: the epoch's timestamp counts.
    pub watermark_of: Vec<ObjectId>,
    /// Rows go from what is stored only: who reads the view's changes is not told, and never sees a row that comes too late.
    pub silent: bool,
}
