//! Rows that an operator puts aside: how often each is there, without an order.

use arrow::array::Int64Array;
use arrow::datatypes::SchemaRef;
use delta::{Delta, Part, SHARDS, consolidate};
use storage::{ChangeSet, Snapshot, StateId};

use super::shards::share;
use crate::Result;
use crate::exchange::exchange;
use crate::expression::{nullable, with_schema};
use crate::operator::StepContext;
use crate::state::keyed::Weights;
use crate::state::keys::{EncodedKeys, hash_keys};
use crate::state::{Keyed, RowCodec};

/// Rows and their weights, in shards by the hash of the row.
pub(super) struct RowBag {
    schema: SchemaRef,
    codec: RowCodec,
    shards: Vec<Keyed<Weights>>,
}

impl RowBag {
    pub(super) fn new(schema: &SchemaRef, state: StateId) -> Result<Self> {
        let schema = nullable(schema);
        Ok(Self {
            codec: RowCodec::new(schema.clone())?,
            schema,
            shards: (0..SHARDS).map(|shard| Keyed::new(state, shard, Weights::default())).collect(),
        })
    }

    pub(super) fn add(&mut self, context: &StepContext<'_>, deltas: &[Delta]) -> Result<()> {
        let parts = exchange(context.workers, deltas, |delta| {
            let mut hashes = Vec::new();
            hash_keys(delta.batch().columns(), delta.num_rows(), &mut hashes);
            Ok((with_schema(delta, &self.schema)?, hashes))
        })?;
        for (shard, parts) in self.shards.iter_mut().zip(parts) {
            shard.begin_step();
            let mut slots = Vec::new();
            for Part { delta, hashes, .. } in &parts {
                let keys = EncodedKeys::Exact(self.codec.encode(delta.batch().columns(), delta.num_rows())?);
                shard.locate(hashes, &keys, context.snapshot.as_ref(), &mut slots, &mut vec![])?;
                for (row, slot) in slots.iter().enumerate() {
                    shard.values.0[*slot as usize] += delta.weight(row);
                }
            }
        }
        Ok(())
    }

    /// All rows, in the order of shards; within one they come in the order of their bytes.
    pub(super) fn rows(&mut self, store: &dyn Snapshot) -> Result<Delta> {
        let (mut rows, mut weights): (Vec<Vec<u8>>, Vec<i64>) = (vec![], vec![]);
        for shard in &mut self.shards {
            let codec = &self.codec;
            shard.load_all(store, |keys| {
                let mut hashes = Vec::new();
                hash_keys(codec.decode(keys)?.columns(), keys.len(), &mut hashes);
                Ok(hashes)
            })?;
            let there = shard.keys.occupied().filter(|slot| shard.values.0[*slot as usize] != 0);
            let mut found: Vec<_> =
                there.map(|slot| (shard.keys.key(slot).to_vec(), shard.values.0[slot as usize])).collect();
            found.sort_unstable();
            for (row, weight) in found {
                rows.push(row);
                weights.push(weight);
            }
        }
        let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        Ok(Delta::new(self.codec.decode(&rows)?, Some(Int64Array::from(weights))))
    }

    /// Makes it hold these rows, under its own schema, and returns the difference.
    pub(super) fn change_to(&mut self, wanted: Delta, context: &StepContext<'_>) -> Result<Vec<Delta>> {
        let there = self.rows(context.snapshot.as_ref())?;
        let change =
            consolidate(&Delta::concat(&self.schema, &[with_schema(&wanted, &self.schema)?, there.negate()?])?)?;
        if change.is_empty() {
            return Ok(vec![]);
        }
        let change = vec![change];
        self.add(context, &change)?;
        Ok(change)
    }

    /// Whether the store has rows of it that aren't in memory, as after a restart.
    pub(super) fn is_stored(&mut self, store: &dyn Snapshot) -> Result<bool> {
        for shard in &mut self.shards {
            if !shard.is_complete(store)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes all rows out, which [`RowBag::rows`] has brought into memory.
    pub(super) fn clear(&mut self) {
        for shard in &mut self.shards {
            shard.begin_step();
            let there: Vec<u32> = shard.keys.occupied().filter(|slot| shard.values.0[*slot as usize] != 0).collect();
            for slot in there {
                shard.values.0[slot as usize] = 0;
                shard.touch(slot);
            }
        }
    }

    pub(super) fn checkpoint(&mut self, changes: &mut ChangeSet) {
        self.shards.iter_mut().for_each(|shard| shard.checkpoint(changes));
    }

    /// `total` is what all of the operator's state takes.
    pub(super) fn committed(&mut self, budget_bytes: usize, total: usize) {
        for shard in &mut self.shards {
            shard.committed(share(budget_bytes, shard.bytes(), total));
        }
    }

    pub(super) fn changed(&self) -> usize {
        self.shards.iter().map(Keyed::changed).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().map(Keyed::bytes).sum()
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.keys.len()).sum()
    }
}
