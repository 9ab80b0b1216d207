//! What operators with state in shards have in common.

use std::ops::{Deref, DerefMut};

use delta::{Part, SHARDS};
use rayon::prelude::*;
use storage::ChangeSet;

use crate::Result;
use crate::exchange::{Parts, for_shards, is_parallel, rows_of};
use crate::state::keyed::SlotValues;
use crate::state::{Keyed, Multimap};

/// What a shard holds in memory, over what is in the store.
pub(super) trait Held: Send {
    /// Keys or rows that the next checkpoint writes.
    fn changed(&self) -> usize;

    /// About as many bytes as it writes.
    fn unwritten_bytes(&self) -> usize {
        const BYTES: usize = 64;
        self.changed() * BYTES
    }

    /// Adds what changed to a checkpoint.
    fn write(&mut self, changes: &mut ChangeSet);

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

    fn write(&mut self, changes: &mut ChangeSet) {
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

    fn write(&mut self, changes: &mut ChangeSet) {
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

/// The state of an operator that holds one thing in each shard: what the engine asks of it at checkpoints.
#[derive(Debug)]
pub(super) struct Shards<S>(Vec<S>);

impl<S: Held> Shards<S> {
    pub(super) fn new(shard: impl FnMut(usize) -> S) -> Self {
        Self((0..SHARDS).map(shard).collect())
    }

    pub(super) fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        let changed = self.0.iter().map(Held::changed).sum();
        checkpoint(workers, &mut self.0, changed, changes, |shard, changes| {
            shard.write(changes);
            Ok(())
        })
    }

    pub(super) fn committed(&mut self, budget_bytes: usize) {
        let total = self.bytes();
        for shard in &mut self.0 {
            shard.committed(share(budget_bytes, shard.bytes(), total));
        }
    }

    pub(super) fn unwritten_bytes(&self) -> usize {
        self.0.iter().map(Held::unwritten_bytes).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(Held::bytes).sum()
    }

    pub(super) fn rows(&self) -> usize {
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

/// Lets each shard add its changes, in parallel if there are many; they come in the order of shards.
pub(super) fn checkpoint<S: Send>(
    workers: &rayon::ThreadPool,
    shards: &mut [S],
    changed: usize,
    changes: &mut ChangeSet,
    write: impl Fn(&mut S, &mut ChangeSet) -> Result<()> + Sync + Send,
) -> Result<()> {
    const PARALLEL_KEYS: usize = 2048;
    if workers.current_num_threads() == 1 || changed < PARALLEL_KEYS {
        return shards.iter_mut().try_for_each(|shard| write(shard, changes));
    }
    let of_shard = |shard: &mut S| {
        let mut changes = ChangeSet::new();
        write(shard, &mut changes).map(|()| changes)
    };
    let sets: Vec<ChangeSet> =
        workers.install(|| shards.par_iter_mut().with_max_len(1).map(of_shard).collect::<Result<_>>())?;
    sets.into_iter().for_each(|set| changes.merge(set));
    Ok(())
}

/// The share of a budget that falls to one of several holders of memory; all of it while they stay within.
pub(super) fn share(budget_bytes: usize, used: usize, of_total: usize) -> usize {
    if of_total <= budget_bytes || of_total == 0 {
        return usize::MAX;
    }
    (budget_bytes as f64 * used as f64 / of_total as f64) as usize
}
