//! The contract of an operator.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use catalog::ObjectId;
use delta::{Delta, Epoch};
use storage::{ChangeSet, Snapshot};

use crate::Result;

/// What an operator may look at during a step: recorded inputs only, so that a step can be repeated.
pub struct StepContext<'a> {
    /// The epoch being computed.
    pub epoch: Epoch,
    /// The epoch's timestamp, microseconds since 1970: what `now()` is.
    pub timestamp_us: i64,
    /// By source: the watermark before this epoch's rows, microseconds since 1970. Rows are late by this one.
    pub watermarks_before: &'a HashMap<ObjectId, i64>,
    /// By source: the watermark after this epoch's rows. Windows close by this one.
    pub watermarks: &'a HashMap<ObjectId, i64>,
    /// The store as of the last checkpoint that was committed: where evicted state is read back.
    pub snapshot: &'a Arc<dyn Snapshot>,
    /// Runs work on shards in parallel.
    pub workers: &'a rayon::ThreadPool,
    /// What a recursion may hold of one step, in bytes.
    pub recursion_bytes: usize,
    /// Set when nobody wants what the step computes: one that takes long may then end with [`Error::Stopped`](crate::Error::Stopped).
    pub stopped: &'a AtomicBool,
}

/// Of a step that nobody ends.
pub static GOES_ON: AtomicBool = AtomicBool::new(false);

impl StepContext<'_> {
    /// The least watermark of these sources before this epoch's rows; `None` while one of them has none, or there are none.
    pub fn watermark_before(&self, sources: &[ObjectId]) -> Option<i64> {
        least(self.watermarks_before, sources)
    }

    /// The least watermark of these sources after this epoch's rows.
    pub fn watermark(&self, sources: &[ObjectId]) -> Option<i64> {
        least(self.watermarks, sources)
    }
}

fn least(watermarks: &HashMap<ObjectId, i64>, sources: &[ObjectId]) -> Option<i64> {
    let mut least = None;
    for source in sources {
        let watermark = *watermarks.get(source)?;
        least = Some(least.map_or(watermark, |least: i64| least.min(watermark)));
    }
    least
}

/// What a step of one operator yields.
#[derive(Debug, Default)]
pub struct StepOutput {
    /// The changes of its output; several batches count as their sum, in this order.
    pub deltas: Vec<Delta>,
    /// Rows left out because their windows were closed.
    pub late: Vec<Delta>,
    /// The changes of what its expressions fail on ([`crate::failures`]).
    pub errors: Vec<Delta>,
}

/// Turns the changes of its inputs into the changes of its output, once per epoch, and owns state.
///
/// After a step the sum of all outputs so far equals the operator's function of the sum of all inputs so far.
pub trait Operator: Send {
    /// One epoch. `inputs[i]` are the changes of the i-th input; all may be empty (time may still pass).
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput>;

    /// Whether [`Operator::step`] must run in an epoch in which no input changed, because a watermark moved.
    fn wants_time(&self) -> bool {
        false
    }

    /// Whether [`Operator::step`] must run though nothing changed, because it has output that needs no input.
    fn is_pending(&self) -> bool {
        false
    }

    /// The epoch's timestamp from which on [`Operator::step`] must run though nothing changed, because `now()` has moved.
    fn due(&self) -> Option<i64> {
        None
    }

    /// What it keeps between epochs; `None`: nothing. An operator that says more here than `None` says the same in [`Operator::state_mut`];
    /// one whose state is in several places answers the questions below by itself.
    fn state(&self) -> Option<&dyn State> {
        None
    }

    /// What it keeps between epochs, to write it and to let it go.
    fn state_mut(&mut self) -> Option<&mut dyn State> {
        None
    }

    /// See [`State::checkpoint`].
    fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        self.state_mut().map_or(Ok(()), |state| state.checkpoint(workers, changes))
    }

    /// See [`State::committed`].
    fn committed(&mut self, budget_bytes: usize) -> Result<()> {
        self.state_mut().map_or(Ok(()), |state| state.committed(budget_bytes))
    }

    /// See [`State::unwritten_bytes`].
    fn unwritten_bytes(&self) -> usize {
        self.state().map_or(0, State::unwritten_bytes)
    }

    /// See [`State::bytes`].
    fn state_bytes(&self) -> usize {
        self.state().map_or(0, State::bytes)
    }

    /// See [`State::rows`].
    fn state_rows(&self) -> usize {
        self.state().map_or(0, State::rows)
    }
}

/// What an operator keeps between epochs: in memory what it needs, in the store what is durable.
pub trait State {
    /// Adds what changed since the last call to the checkpoint. State that a step after this call changes belongs to the next
    /// checkpoint.
    fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()>;

    /// The last checkpoint is in the store that the next step's [`StepContext::snapshot`] reads: entries that it wrote and that did not
    /// change again may be evicted. Free memory down to `budget_bytes`.
    fn committed(&mut self, budget_bytes: usize) -> Result<()>;

    /// About how many bytes the next checkpoint writes.
    fn unwritten_bytes(&self) -> usize;

    /// Memory held, in bytes.
    fn bytes(&self) -> usize;

    /// Keys, groups or rows held, evicted ones not counted.
    fn rows(&self) -> usize;
}
