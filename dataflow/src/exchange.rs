//! Rows to shards: a row of a stateful operator belongs to the shard that the hash of its key says.
//!
//! There are always [`SHARDS`] shards; workers take them. What comes out is put together in the order of shards, so neither
//! results nor state depend on how many workers there are. An epoch of few rows touches few shards, on one thread.

use delta::{Delta, Part, SHARDS, partition};
use rayon::prelude::*;
use storage::ChangeSet;

use crate::{Error, Result};

/// Below so many rows, handing work to other threads costs more than it gains.
const PARALLEL_ROWS: usize = 2048;

/// The parts of each shard, in the order in which their rows came.
pub type Parts = Vec<Vec<Part>>;

/// Whether work on so many rows is worth more than one thread.
pub fn is_parallel(workers: &rayon::ThreadPool, rows: usize) -> bool {
    workers.current_num_threads() > 1 && rows >= PARALLEL_ROWS
}

/// Does `work` on each item, in parallel if the items have `rows` rows worth it; results keep the order.
pub fn map_each<T: Sync, R: Send>(
    workers: &rayon::ThreadPool,
    rows: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync + Send,
) -> Result<Vec<R>> {
    if items.len() > 1 && is_parallel(workers, rows) {
        workers.install(|| items.par_iter().with_max_len(1).map(work).collect())
    } else {
        items.iter().map(work).collect()
    }
}

/// Cuts deltas into the parts of each shard. `keyed` makes of a delta what is to be sent, and the hash of each row's key.
pub fn exchange(
    workers: &rayon::ThreadPool,
    deltas: &[Delta],
    keyed: impl Fn(&Delta) -> Result<(Delta, Vec<u64>)> + Sync + Send,
) -> Result<Parts> {
    let rows = deltas.iter().map(Delta::num_rows).sum();
    let cut = |delta: &Delta| -> Result<Vec<Part>> {
        if delta.is_empty() {
            return Ok(vec![]);
        }
        let (delta, hashes) = keyed(delta)?;
        Ok(partition(&delta, &hashes)?)
    };
    Ok(by_shard(map_each(workers, rows, deltas, cut)?))
}

/// The parts of several deltas, by shard.
pub fn by_shard(cut: Vec<Vec<Part>>) -> Parts {
    let mut parts: Parts = (0..SHARDS).map(|_| vec![]).collect();
    for part in cut.into_iter().flatten() {
        parts[part.shard].push(part);
    }
    parts
}

/// Rows in all parts.
pub fn rows_of(parts: &Parts) -> usize {
    parts.iter().flatten().map(|part| part.delta.num_rows()).sum()
}

/// Does `work` on each shard that has input, or on all if `all`; results come in the order of shards.
pub fn for_shards<S: Send, I: Send, R: Send>(
    workers: &rayon::ThreadPool,
    parallel: bool,
    shards: &mut [S],
    inputs: Vec<I>,
    wanted: impl Fn(&I) -> bool,
    work: impl Fn(&mut S, I) -> Result<R> + Sync + Send,
) -> Result<Vec<R>> {
    if shards.len() != inputs.len() {
        return Err(Error::Broken("an input per shard".to_owned()));
    }
    let tasks: Vec<(&mut S, I)> = shards.iter_mut().zip(inputs).filter(|(_, input)| wanted(input)).collect();
    if parallel && tasks.len() > 1 && workers.current_num_threads() > 1 {
        workers.install(|| tasks.into_par_iter().with_max_len(1).map(|(shard, input)| work(shard, input)).collect())
    } else {
        tasks.into_iter().map(|(shard, input)| work(shard, input)).collect()
    }
}

/// Lets each shard add its changes, in parallel if there are many; they come in the order of shards.
pub fn checkpoint_shards<S: Send>(
    workers: &rayon::ThreadPool,
    shards: &mut [S],
    changed: usize,
    changes: &mut ChangeSet,
    write: impl Fn(&mut S, &mut ChangeSet) -> Result<()> + Sync + Send,
) -> Result<()> {
    if !is_parallel(workers, changed) {
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
