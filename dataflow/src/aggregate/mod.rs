//! Incremental aggregation: what a group remembers, and how rows with weights change it.
//!
//! An [`Aggregation`] is what one [`Aggregate`] node computes; from it come the [`Accumulators`] of each shard. Groups are dense numbers
//! (slots of the operator's key table), state is columnar: a vector over groups per accumulator, so that a batch is a few tight
//! loops and no row allocates. Calls share what they can: `sum(x)` and `avg(x)` are one sum, all `DISTINCT` calls on one argument
//! are one set of values, `count(*)` is the row count that every group has.
//!
//! # State
//!
//! A group has one entry, which the operator writes: its key, and as value what [`Accumulators::encode`] says. Two kinds of accumulator
//! need more, an entry per group and value, in state tables of their own ([`Aggregation::value_states`]):
//! `DISTINCT` ([`distinct`]) and `min`/`max` over input that takes rows away ([`extreme`]). Those the accumulators read, cache and
//! checkpoint themselves; their keys are `[state][virtual node][group key][value]`.
//!
//! # The life of a group
//!
//! 1. The operator gives it a slot and calls [`Accumulators::resize`]; then [`Accumulators::decode`], if the store has the group.
//! 2. [`Accumulators::update`] adds rows, [`Accumulators::evaluate`] yields results before and after, [`Accumulators::rows`] says
//!    whether the group still exists (its weights add up to more than nothing).
//! 3. At a checkpoint the operator writes [`Accumulators::encode`] of each changed group (or deletes the entry when there are no rows), and calls
//!    [`Accumulators::checkpoint`] once. A group without rows keeps its slot until then.
//! 4. [`Accumulators::forget`] empties slots of unchanged groups for reuse; [`Accumulators::close`] is for groups whose window has
//!    passed: state goes, in memory and in the store.

use arrow::array::{ArrayRef, Int64Array};
use datafusion::logical_expr::Expr;
use planner::incremental::Aggregate;
use storage::{ChangeSet, Snapshot, StateId};

use crate::Result;

/// What one aggregate node computes.
#[derive(Debug)]
pub struct Aggregation {}

/// Keys of groups, as the operator holds them.
pub trait GroupKeys {
    /// Appends what stands behind the state's number in the store key of a group: its virtual node (one byte), then the
    /// encoded key. No group's encoded key may be the beginning of another's.
    fn append_key(&self, group: u32, out: &mut Vec<u8>);
}

impl Aggregation {
    /// The aggregation of a node.
    pub fn new(node: &Aggregate) -> Result<Self> {
        todo!()
    }

    /// Expressions over the node's input that the operator evaluates for [`Accumulators::update`]: arguments and filters, each once.
    pub fn arguments(&self) -> &[Expr] {
        todo!()
    }

    /// Roles of the state tables that hold an entry per group and value. The operator finds a number for each.
    pub fn value_states(&self) -> &[String] {
        todo!()
    }

    /// Accumulators for one shard; `states` are the numbers of [`Aggregation::value_states`], in that order.
    pub fn accumulators(&self, states: &[StateId]) -> Result<Accumulators> {
        todo!()
    }
}

/// The accumulators of all calls of a node, for the groups of one shard.
pub struct Accumulators {}

impl Accumulators {
    /// Makes room for groups `0 .. groups`; new ones have no rows.
    pub fn resize(&mut self, groups: usize) {
        todo!()
    }

    /// Adds rows: `arguments` are the columns of [`Aggregation::arguments`], `groups[row]` is the group of a row, `weights` how often it
    /// counts (absent: once). What isn't in memory is read from `store`, with one multi-get per state and batch.
    pub fn update(
        &mut self,
        arguments: &[ArrayRef],
        groups: &[u32],
        weights: Option<&Int64Array>,
        keys: &dyn GroupKeys,
        store: &dyn Snapshot,
    ) -> Result<()> {
        todo!()
    }

    /// The sum of a group's weights; 0: the group isn't there.
    pub fn rows(&self, group: u32) -> i64 {
        todo!()
    }

    /// The results for these groups: a column per call. A group without rows yields what aggregates of no rows are.
    pub fn evaluate(&self, groups: &[u32]) -> Result<Vec<ArrayRef>> {
        todo!()
    }

    /// Appends the value of a group's entry in the store.
    pub fn encode(&self, group: u32, out: &mut Vec<u8>) {
        todo!()
    }

    /// Sets an empty group to what [`Accumulators::encode`] wrote.
    pub fn decode(&mut self, group: u32, bytes: &[u8]) -> Result<()> {
        todo!()
    }

    /// Adds the entries per group and value that changed since the last call. (Groups' own entries are the operator's.)
    pub fn checkpoint(&mut self, keys: &dyn GroupKeys, changes: &mut ChangeSet) -> Result<()> {
        todo!()
    }

    /// Empties the slots of groups that have not changed since the last checkpoint, which must have been committed.
    pub fn forget(&mut self, groups: &[u32]) {
        todo!()
    }

    /// Empties the slots of groups that will never change again; the next checkpoint removes their entries per group and value.
    /// (Groups' own entries are the operator's.)
    pub fn close(&mut self, groups: &[u32], keys: &dyn GroupKeys, store: &dyn Snapshot) -> Result<()> {
        todo!()
    }

    /// Drops entries per group and value that have not changed since the last checkpoint, which must have been committed, until
    /// [`Accumulators::bytes`] is at most `budget_bytes` or nothing more can go.
    pub fn evict(&mut self, budget_bytes: usize) {
        todo!()
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        todo!()
    }
}
