//! What operators with state in shards have in common.

use rayon::prelude::*;
use storage::ChangeSet;

use crate::Result;

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
