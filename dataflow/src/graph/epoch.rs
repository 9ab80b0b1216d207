//! What the engine gives a graph, and what it gets.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use catalog::{LatePolicy, ObjectId};
use delta::{Delta, Epoch};
use planner::incremental::Node;
use storage::StateId;

/// What a graph is told when it is made.
#[derive(Clone, Debug)]
pub struct GraphSettings {
    /// Threads that work on an epoch; results don't depend on it.
    pub workers: usize,
    /// What operators may keep in memory of what the store has, in bytes.
    pub memory_budget_bytes: usize,
    /// What a recursion may hold of the changes of one epoch, in bytes.
    pub recursion_bytes: usize,
    /// What time it is, for statistics only; the crate itself reads no clock.
    pub clock: fn() -> Duration,
}

impl Default for GraphSettings {
    /// One worker, a GiB, as much for a recursion, and no clock: no time ever passes.
    fn default() -> Self {
        Self { workers: 1, memory_budget_bytes: 1 << 30, recursion_bytes: 1 << 30, clock: || Duration::ZERO }
    }
}

/// Gives state tables their numbers.
pub trait StateAllocator {
    /// The number of the table of that name: the same after a restart, never given to another name.
    ///
    /// A name is `<fingerprint of the node>/<role>`.
    fn state(&mut self, name: &str) -> StateId;

    /// The number that the table of that name was given before, if it was: an operator with another one has another past.
    fn given(&self, _name: &str) -> Option<StateId> {
        None
    }
}

/// What an epoch is made of; recorded, so that it can be repeated.
#[derive(Debug, Default)]
pub struct EpochInputs {
    /// Its number.
    pub epoch: Epoch,
    /// What `now()` is, microseconds since 1970.
    pub timestamp_us: i64,
    /// By source: the watermark before these rows, microseconds since 1970.
    pub watermarks_before: HashMap<ObjectId, i64>,
    /// By source: the watermark after these rows.
    pub watermarks: HashMap<ObjectId, i64>,
    /// By relation fed from outside: its changes, in order.
    pub deltas: HashMap<ObjectId, Vec<Delta>>,
}

/// What an epoch yields.
#[derive(Debug, Default)]
pub struct EpochOutputs {
    /// By relation: what changed. Relations that didn't change are missing.
    pub changes: HashMap<ObjectId, Vec<Delta>>,
    /// By stored relation whose rows go silently: what changed of what is stored.
    pub kept: HashMap<ObjectId, Vec<Delta>>,
    /// By relation: the changes of what its expressions fail on, rows of [`ERROR_SCHEMA`](crate::failures::ERROR_SCHEMA).
    pub errors: HashMap<ObjectId, Vec<Delta>>,
    /// Rows left out because their windows were closed.
    pub late: Vec<LateRows>,
}

/// Rows left out because their windows were closed.
#[derive(Debug)]
pub struct LateRows {
    /// The sources whose watermark it was.
    pub sources: Vec<ObjectId>,
    /// What is to happen to them.
    pub policy: LatePolicy,
    /// The rows, as they were before windows.
    pub rows: Vec<Delta>,
    /// What their columns are called.
    pub labels: Vec<String>,
    /// The windows that were closed, as EXPLAIN names them.
    pub window: String,
}

/// What an operator has done and holds.
#[derive(Clone, Debug)]
pub struct OperatorStats {
    /// Its plan.
    pub node: Arc<Node>,
    /// The relations whose plans it is part of.
    pub relations: Vec<ObjectId>,
    /// Rows that came in since it was made.
    pub rows_in: u64,
    /// Rows that it yielded.
    pub rows_out: u64,
    /// Time spent in steps.
    pub busy: Duration,
    /// Memory held by its state, in bytes.
    pub state_bytes: usize,
    /// Keys, groups or rows in memory.
    pub state_rows: usize,
    /// Its state tables by name.
    pub states: BTreeMap<String, StateId>,
}
