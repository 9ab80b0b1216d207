//! What a DDL statement changes, as the epoch thread is told.

use std::collections::HashMap;

use catalog::ObjectId;
use connectors::Positions;
use planner::statement::plan::{AlterPlan, CommentPlan, CreatePlan, DropPlan};

/// Where the views of queries that are followed are, as long as they are.
pub(crate) const TEMPORARY_SCHEMA: &str = "mr_temp";

/// A change of the catalog. What had to be asked of the outside (a topic's partitions, a sink's topic) has been asked.
pub(crate) enum DdlChange {
    /// A new object; the connector's start is resolved.
    Create {
        /// What.
        create: Box<CreatePlan>,
        /// Where the topics and files end that it is the first to read; a table's own under the number that `create` has for it.
        past: HashMap<ObjectId, Positions>,
    },
    /// A new schema.
    CreateSchema(String),
    /// Objects and schemas that go.
    Drop(DropPlan),
    /// Other definitions of objects that exist.
    Alter(Box<AlterPlan>),
    /// A comment.
    Comment(CommentPlan),
    /// A query that is kept up to date for as long as somebody listens, under a number that no object has.
    Follow {
        /// The query.
        plan: Box<planner::ViewPlan>,
        /// Answered with its number.
        relation: std::sync::Arc<parking_lot::Mutex<Option<ObjectId>>>,
    },
    /// Nobody listens any more.
    Unfollow(ObjectId),
}
