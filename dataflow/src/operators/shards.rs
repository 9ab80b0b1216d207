//! What operators with state in shards have in common.

use std::ops::{Deref, DerefMut};

use delta::{Part, SHARDS};
use storage::ChangeSet;

use crate::Result;
use crate::exchange::{Parts, checkpoint_shards, for_shards, is_parallel, rows_of};
use crate::operator::State;
use crate::state::keyed::SlotValues;
use crate::state::{Keyed, Multimap, Ordered};

/// What a shard holds in memory, over what is in the store.
pub(super) trait Held: Send {
    /// How many states it has: each of them is written for all shards before the next one, so that a checkpoint's keys ascend.
    const STATES: usize = 1;

    /// Keys or rows that the next checkpoint writes.
    fn changed(&self) -> usize;

    /// About as many bytes as it writes.
    fn unwritten_bytes(&self) -> usize {
        const BYTES: usize = 64;
        self.changed() * BYTES
    }

    /// Adds what changed in one of its states to a checkpoint.
    fn write(&mut self, state: usize, changes: &mut ChangeSet);

    /// What was written is durable: keys may leave memory until it is within the budget.
    fn committed(&mut self, budget_bytes: usize);

    /// Memory held, in bytes.
    fn bytes(&self) -> usize;

    /// Keys or rows in memory.
    fn rows(&self) -> usize;
}

impl<V: SlotValues> Held for Keyed<V> {
    fn changed(&self) -> usize {
        Self::changed(self)
    }

    fn write(&mut self, _state: usize, changes: &mut ChangeSet) {
        self.checkpoint(changes);
    }

    fn committed(&mut self, budget_bytes: usize) {
        Self::committed(self, budget_bytes);
    }

    fn bytes(&self) -> usize {
        Self::bytes(self)
    }

    fn rows(&self) -> usize {
        self.keys.len()
    }
}

impl Held for Multimap {
    fn changed(&self) -> usize {
        Self::changed(self)
    }

    fn unwritten_bytes(&self) -> usize {
        Self::unwritten_bytes(self)
    }

    fn write(&mut self, _state: usize, changes: &mut ChangeSet) {
        self.checkpoint(changes);
    }

    fn committed(&mut self, budget_bytes: usize) {
        Self::committed(self, budget_bytes);
    }

    fn bytes(&self) -> usize {
        Self::bytes(self)
    }

    fn rows(&self) -> usize {
        self.len()
    }
}

impl Held for Ordered {
    fn changed(&self) -> usize {
        Self::changed(self)
    }

    fn unwritten_bytes(&self) -> usize {
        Self::unwritten_bytes(self)
    }

    fn write(&mut self, _state: usize, changes: &mut ChangeSet) {
        self.checkpoint(changes);
    }

    fn committed(&mut self, budget_bytes: usize) {
        Self::committed(self, budget_bytes);
    }

    fn bytes(&self) -> usize {
        Self::bytes(self)
    }

    fn rows(&self) -> usize {
        self.len()
    }
}

/// A shard of a join: what is known of each side.
#[derive(Debug)]
pub(super) struct Sides<H> {
    pub(super) left: H,
    pub(super) right: H,
}

impl<H: Held> Held for Sides<H> {
    const STATES: usize = 2;

    fn changed(&self) -> usize {
        self.left.changed() + self.right.changed()
    }

    fn unwritten_bytes(&self) -> usize {
        self.left.unwritten_bytes() + self.right.unwritten_bytes()
    }

    fn write(&mut self, state: usize, changes: &mut ChangeSet) {
        let side = if state == 0 { &mut self.left } else { &mut self.right };
        side.write(0, changes);
    }

    fn committed(&mut self, budget_bytes: usize) {
        let total = self.bytes();
        for side in [&mut self.left, &mut self.right] {
            side.committed(share(budget_bytes, side.bytes(), total));
        }
    }

    fn bytes(&self) -> usize {
        self.left.bytes() + self.right.bytes()
    }

    fn rows(&self) -> usize {
        self.left.rows() + self.right.rows()
    }
}

/// The state of an operator that holds one thing in each shard: what the engine asks of it at checkpoints.
#[derive(Debug)]
pub(super) struct Shards<S>(Vec<S>);

impl<S: Held> Shards<S> {
    pub(super) fn new(shard: impl FnMut(usize) -> S) -> Self {
        Self((0..SHARDS).map(shard).collect())
    }
}

impl<S: Held> State for Shards<S> {
    fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        let changed = self.0.iter().map(Held::changed).sum();
        (0..S::STATES).try_for_each(|state| {
            checkpoint_shards(workers, &mut self.0, changed, changes, |shard, changes| {
                shard.write(state, changes);
                Ok(())
            })
        })
    }

    fn committed(&mut self, budget_bytes: usize) -> Result<()> {
        let total = self.bytes();
        for shard in &mut self.0 {
            shard.committed(share(budget_bytes, shard.bytes(), total));
        }
        Ok(())
    }

    fn unwritten_bytes(&self) -> usize {
        self.0.iter().map(Held::unwritten_bytes).sum()
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(Held::bytes).sum()
    }

    fn rows(&self) -> usize {
        self.0.iter().map(Held::rows).sum()
    }
}

impl<S> Deref for Shards<S> {
    type Target = [S];

    fn deref(&self) -> &[S] {
        &self.0
    }
}

impl<S> DerefMut for Shards<S> {
    fn deref_mut(&mut self) -> &mut [S] {
        &mut self.0
    }
}

/// Gives each shard that something came to on either side its parts of both.
pub(super) fn for_sides<S: Send, R: Send>(
    workers: &rayon::ThreadPool,
    shards: &mut [S],
    left: Parts,
    right: Parts,
    work: impl Fn(&mut S, Vec<Part>, Vec<Part>) -> Result<R> + Sync + Send,
) -> Result<Vec<R>> {
    let parallel = is_parallel(workers, rows_of(&left) + rows_of(&right));
    let parts: Vec<(Vec<Part>, Vec<Part>)> = left.into_iter().zip(right).collect();
    let some = |(left, right): &(Vec<Part>, Vec<Part>)| !left.is_empty() || !right.is_empty();
    for_shards(workers, parallel, shards, parts, some, |shard, (left, right)| work(shard, left, right))
}

/// The share of a budget that falls to one of several holders of memory; all of it while they stay within.
pub(super) fn share(budget_bytes: usize, used: usize, of_total: usize) -> usize {
    if of_total <= budget_bytes || of_total == 0 {
        return usize::MAX;
    }
    (budget_bytes as f64 * used as f64 / of_total as f64) as usize
}
