//! The rows of a recursion without `ALL`: how often each is derived, and whether the step knows it.

use std::collections::HashMap;

use arrow::array::Int64Array;
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use delta::{Delta, Part, SHARDS};
use storage::{ChangeSet, StateId};

use super::super::shards::share;
use crate::Result;
use crate::exchange::{Parts, checkpoint_shards, exchange, for_shards, is_parallel, rows_of};
use crate::expression::{batch_of, with_schema};
use crate::operator::StepContext;
use crate::state::keyed::WeightPairs;
use crate::state::keys::hash_keys;
use crate::state::{KeyEncoder, Keyed};

/// Which way rows go in a phase of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Rows that lose a derivation go out.
    Lose,
    /// Rows that have a derivation come in.
    Gain,
}

/// By row: the number of derivations, and 1 if the row is there. Between epochs a row is there if it has a derivation.
pub(super) struct Rows {
    encoder: KeyEncoder,
    schema: SchemaRef,
    shards: Vec<Shard>,
}

struct Shard {
    rows: Keyed<WeightPairs>,
    /// Rows that went out or came in in this epoch, and whether they were there before.
    moved: HashMap<u32, bool>,
}

impl Rows {
    pub(super) fn new(schema: &SchemaRef, state: StateId) -> Result<Self> {
        let columns: Vec<usize> = (0..schema.fields().len()).collect();
        let shard = |shard| Shard { rows: Keyed::new(state, shard, WeightPairs::default()), moved: HashMap::new() };
        Ok(Self {
            encoder: KeyEncoder::of_columns(schema, &columns)?,
            schema: schema.clone(),
            shards: (0..SHARDS).map(shard).collect(),
        })
    }

    /// Counts derivations that were lost or gained, and returns the rows that go out or come in for it. With `again`, those come in too that
    /// went out though they have a derivation left.
    pub(super) fn take(
        &mut self,
        context: &StepContext<'_>,
        phase: Phase,
        again: bool,
        change: &[Delta],
    ) -> Result<Vec<Delta>> {
        let moving = |shard: &mut Shard, mut slots: Vec<u32>| {
            if again {
                slots.extend(shard.moved.keys());
            }
            slots.sort_unstable();
            slots.dedup();
            slots.retain(|slot| shard.moves(phase, *slot));
            slots
        };
        let moved = self.count(context, change, again, moving)?;
        let weight = if phase == Phase::Gain { 1 } else { -1 };
        let moved = moved.into_iter().filter(|(_, slots)| !slots.is_empty());
        moved.map(|(shard, slots)| self.delta(shard, &slots, vec![weight; slots.len()])).collect()
    }

    /// Takes everything back that this epoch has done; `taken` are its changes the other way round.
    pub(super) fn undo(&mut self, context: &StepContext<'_>, taken: &[Delta]) -> Result<()> {
        let restore = |shard: &mut Shard, _| {
            for (slot, before) in shard.moved.drain() {
                shard.rows.values.0[slot as usize][1] = i64::from(before);
            }
            Vec::new()
        };
        self.count(context, taken, true, restore)?;
        Ok(())
    }

    /// Adds the weights of a change to the numbers of derivations, and does something with the rows of each shard that it touches, or of
    /// `all`.
    fn count(
        &mut self,
        context: &StepContext<'_>,
        change: &[Delta],
        all: bool,
        then: impl Fn(&mut Shard, Vec<u32>) -> Vec<u32> + Sync + Send,
    ) -> Result<Vec<(usize, Vec<u32>)>> {
        let (encoder, schema, store) = (&self.encoder, &self.schema, context.snapshot.as_ref());
        let parts: Parts = exchange(context.workers, change, |delta| {
            let mut hashes = Vec::new();
            hash_keys(delta.batch().columns(), delta.num_rows(), &mut hashes);
            Ok((with_schema(delta, schema)?, hashes))
        })?;
        let parallel = is_parallel(context.workers, rows_of(&parts));
        let work = |shard: &mut Shard, (number, parts): (usize, Vec<Part>)| -> Result<(usize, Vec<u32>)> {
            let (mut slots, mut all_slots) = (Vec::new(), Vec::new());
            for part in &parts {
                let keys = encoder.encode(part.delta.batch().columns(), part.delta.num_rows())?;
                shard.rows.locate(&part.hashes, &keys, store, &mut slots, &mut vec![])?;
                for (row, slot) in slots.iter().enumerate() {
                    shard.rows.values.0[*slot as usize][0] += part.delta.weight(row);
                }
                all_slots.extend_from_slice(&slots);
            }
            Ok((number, then(shard, all_slots)))
        };
        let numbered: Vec<(usize, Vec<Part>)> = parts.into_iter().enumerate().collect();
        let wanted = |(_, parts): &(usize, Vec<Part>)| all || !parts.is_empty();
        for_shards(context.workers, parallel, &mut self.shards, numbered, wanted, work)
    }

    /// What went out and stayed out, and what is new, over the whole epoch, which ends with it.
    pub(super) fn moved(&mut self) -> Result<Vec<Delta>> {
        let mut output = Vec::new();
        for number in 0..SHARDS {
            let shard = &mut self.shards[number];
            let mut moved: Vec<(u32, bool)> = shard.moved.drain().collect();
            moved.sort_unstable();
            let change = |(slot, before): (u32, bool)| {
                let after = shard.rows.values.0[slot as usize][1] > 0;
                (before != after).then_some((slot, if after { 1 } else { -1 }))
            };
            let (slots, weights): (Vec<u32>, Vec<i64>) = moved.into_iter().filter_map(change).unzip();
            if !slots.is_empty() {
                output.push(self.delta(number, &slots, weights)?);
            }
        }
        self.shards.iter_mut().for_each(|shard| shard.rows.begin_step());
        Ok(output)
    }

    fn delta(&self, shard: usize, slots: &[u32], weights: Vec<i64>) -> Result<Delta> {
        let keys: Vec<&[u8]> = slots.iter().map(|slot| self.shards[shard].rows.keys.key(*slot)).collect();
        let decoded = self.encoder.decode(&keys)?.into_iter().zip(self.schema.fields());
        let columns = decoded.map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column),
            false => Ok(cast(&column, field.data_type())?),
        });
        let batch = batch_of(&self.schema, columns.collect::<Result<_>>()?, slots.len())?;
        let plain = weights.iter().all(|weight| *weight == 1);
        Ok(Delta::new(batch, (!plain).then(|| Int64Array::from(weights))))
    }

    pub(super) fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        let changed = self.changed();
        checkpoint_shards(workers, &mut self.shards, changed, changes, |shard, changes| {
            shard.rows.checkpoint(changes);
            Ok(())
        })
    }

    pub(super) fn committed(&mut self, budget_bytes: usize, total: usize) {
        for shard in &mut self.shards {
            shard.rows.committed(share(budget_bytes, shard.rows.bytes(), total));
        }
    }

    pub(super) fn changed(&self) -> usize {
        self.shards.iter().map(|shard| shard.rows.changed()).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.rows.bytes()).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.rows.keys.len()).sum()
    }
}

impl Shard {
    /// Moves a row, one of whose derivations has changed, if it must.
    fn moves(&mut self, phase: Phase, slot: u32) -> bool {
        let [derivations, present] = &mut self.rows.values.0[slot as usize];
        let before = *present > 0;
        let moves = match phase {
            Phase::Lose => before,
            Phase::Gain => !before && *derivations > 0,
        };
        if moves {
            *present = i64::from(!before);
            self.moved.entry(slot).or_insert(before);
        }
        moves
    }
}
