//! What a DDL statement changes, as the epoch thread is told.

use std::collections::HashMap;
use std::sync::Arc;

use crate::command::Write;
use catalog::{Catalog, ObjectId, QualifiedName};
use connectors::Positions;
use datafusion::common::ScalarValue;
use planner::Node;
use planner::statement::plan::{AlterPlan, CommentPlan, CreatePlan, DropPlan};

/// Where the views of queries that are followed are, as long as they are.
pub(crate) const TEMPORARY_SCHEMA: &str = "mr_temp";

/// The objects that live only as long as somebody follows them, or waits for them: dependents first.
pub(crate) fn temporary(catalog: &Catalog) -> Vec<ObjectId> {
    let is_temporary = |id: &ObjectId| catalog.get(*id).is_some_and(|object| object.name.schema == TEMPORARY_SCHEMA);
    let all = catalog.with_dependents(catalog.objects_in(TEMPORARY_SCHEMA).map(|object| object.id));
    all.into_iter().filter(|id| catalog.with_dependents([*id]).iter().all(is_temporary)).collect()
}

/// A change of the catalog. What had to be asked of the outside (a topic's partitions, a sink's topic) has been asked.
pub(crate) enum DdlChange {
    /// A new object; the connector's start is resolved.
    Create {
        /// What.
        create: Box<CreatePlan>,
        /// Where the topics and files end that it is the first to read; a table's own under the number that `create` has for it.
        past: HashMap<ObjectId, Positions>,
    },
    /// As [`DdlChange::Create`], of a view that goes on from operators of running ones.
    CreateBeside {
        /// What.
        create: Box<CreatePlan>,
        /// As of [`DdlChange::Create`].
        past: HashMap<ObjectId, Positions>,
        /// The operators.
        exposed: Vec<Exposed>,
    },
    /// A new schema.
    CreateSchema(String),
    /// Objects and schemas that go.
    Drop(DropPlan),
    /// Other definitions of objects that exist.
    Alter(Box<Alteration>),
    /// All that a transaction changes.
    Batch {
        /// Its changes of the catalog, in order.
        changes: Vec<DdlChange>,
        /// The rows that it changes, computed when the first of its statements ran.
        write: Write,
    },
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
    /// Nobody waits any more for the view of that name, which was to take another's place.
    Abandon(QualifiedName),
}

/// Objects that change, and what has been built for that.
pub(crate) struct Alteration {
    /// What changes.
    pub(crate) plan: AlterPlan,
    /// By view: what stands beside it, built, to take its place.
    pub(crate) built: HashMap<ObjectId, BuiltBeside>,
    /// The values of new columns of a table, in the order of the plan's expressions.
    pub(crate) values: Vec<ScalarValue>,
}

/// An operator inside of a running view, from whose output a view goes on that is built to take another's place.
#[derive(Clone, Debug)]
pub(crate) struct Exposed {
    /// What the new view calls it: a number that no object has.
    pub(crate) number: ObjectId,
    /// The view that has it.
    pub(crate) view: ObjectId,
    /// Its plan.
    pub(crate) operator: Arc<Node>,
}

/// A hidden view that has caught up with the one whose place it will take.
#[derive(Clone, Debug)]
pub(crate) struct BuiltBeside {
    /// Its number.
    pub(crate) hidden: ObjectId,
    /// Whose state each operator goes on with: the view that has it, the operator's fingerprint there, its fingerprint from then on.
    pub(crate) states: Vec<(ObjectId, String, String)>,
    /// Views that gave it the rows of a part of its plan.
    pub(crate) reused: Vec<ObjectId>,
}

impl DdlChange {
    /// Whether it goes on from what is in the store.
    pub(crate) fn is_from_store(&self) -> bool {
        match self {
            Self::Create { create, .. } => create.object.is_index(),
            Self::Alter(alteration) => alteration.moves_state(),
            Self::Batch { changes, .. } => changes.iter().any(Self::is_from_store),
            _ => false,
        }
    }
}

impl Alteration {
    /// Whether operators or stored rows change, not only names.
    pub(crate) fn moves_state(&self) -> bool {
        !self.plan.attach.is_empty() || self.plan.rewrite.is_some()
    }
}
