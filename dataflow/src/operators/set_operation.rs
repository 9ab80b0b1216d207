//! `INTERSECT ALL` and `EXCEPT ALL`.
//!
//! - Rule: with `l` and `r` a row's weights on both sides, the output has it `min(l, r)` times (`INTERSECT ALL`) or `max(l - r, 0)` times
//!   (`EXCEPT ALL`: monus). `Δout` is the difference of that number.
//!   (Green, Karvounarakis, Tannen: "Provenance Semirings", PODS 2007; Geerts, Poggi: "On database query languages for K-relations", 2010.)
//! - State: both weights of each row, by row; NULLs are equal.
//! - A retraction lowers a weight of its side: of the right side it may bring a row back.

use arrow::array::Int64Array;
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use delta::{Delta, Part, SHARDS};
use planner::incremental::{SetKind, SetOperation as Node};
use storage::{ChangeSet, Snapshot};

use super::shards::{checkpoint, share};
use super::{Emit, States, counted};
use crate::Result;
use crate::exchange::{Parts, exchange, for_shards, is_parallel, rows_of};
use crate::expression::{batch_of, nullable, with_schema};
use crate::operator::{Operator, StepContext, StepOutput};
use crate::state::keyed::{Touched, WeightPairs};
use crate::state::keys::hash_keys;
use crate::state::{KeyEncoder, Keyed};

/// See [the module](self).
#[derive(Debug)]
pub struct SetOperation {
    shared: Shared,
    shards: Vec<Keyed<WeightPairs>>,
}

#[derive(Debug)]
struct Shared {
    encoder: KeyEncoder,
    schema: SchemaRef,
    kind: SetKind,
}

impl SetOperation {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let schema = nullable(node.left.schema());
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let state = states.state("rows");
        Ok(Self {
            shared: Shared { encoder: KeyEncoder::of_columns(&schema, &all)?, schema, kind: node.kind },
            shards: (0..SHARDS).map(|shard| Keyed::new(state, shard, WeightPairs::default())).collect(),
        })
    }
}

impl SetOperation {
    /// Reads what has come out.
    pub(super) fn contents(
        node: &Node,
        states: &mut dyn States,
        store: &dyn Snapshot,
        emit: &mut Emit<'_>,
    ) -> Result<()> {
        let schema = nullable(node.left.schema());
        counted::contents(states.state("rows"), &schema, |weights| count(node.kind, weights), store, emit)
    }
}

/// How often a row is in the output.
fn count(kind: SetKind, [left, right]: [i64; 2]) -> i64 {
    match kind {
        SetKind::Intersect => left.min(right).max(0),
        SetKind::Except => (left - right.max(0)).max(0),
    }
}

impl Shared {
    fn count(&self, weights: [i64; 2]) -> i64 {
        count(self.kind, weights)
    }

    fn parts(&self, context: &StepContext<'_>, input: &[Delta]) -> Result<Parts> {
        exchange(context.workers, input, |delta| {
            let mut hashes = Vec::new();
            hash_keys(delta.batch().columns(), delta.num_rows(), &mut hashes);
            Ok((with_schema(delta, &self.schema)?, hashes))
        })
    }

    fn step(&self, rows: &mut Keyed<WeightPairs>, sides: [&[Part]; 2], store: &dyn Snapshot) -> Result<Option<Delta>> {
        rows.begin_step();
        let (mut touched, mut slots): (Vec<Touched>, Vec<u32>) = (vec![], vec![]);
        let mut before: Vec<i64> = Vec::new();
        for (side, parts) in sides.into_iter().enumerate() {
            for part in parts {
                let keys = self.encoder.encode(part.delta.batch().columns(), part.delta.num_rows())?;
                rows.locate(&part.hashes, &keys, store, &mut slots, &mut touched)?;
                let new = touched[before.len()..].iter();
                before.extend(new.map(|touched| self.count(rows.values.0[touched.slot as usize])));
                for (row, slot) in slots.iter().enumerate() {
                    rows.values.0[*slot as usize][side] += part.delta.weight(row);
                }
            }
        }
        let change = |(touched, before): (&Touched, &i64)| {
            let change = self.count(rows.values.0[touched.slot as usize]) - before;
            (change != 0).then_some((touched.slot, change))
        };
        let (slots, weights): (Vec<u32>, Vec<i64>) = touched.iter().zip(&before).filter_map(change).unzip();
        if slots.is_empty() {
            return Ok(None);
        }
        let keys: Vec<&[u8]> = slots.iter().map(|slot| rows.keys.key(*slot)).collect();
        let decoded = self.encoder.decode(&keys)?.into_iter().zip(self.schema.fields());
        let columns = decoded.map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column),
            false => Ok(cast(&column, field.data_type())?),
        });
        let batch = batch_of(&self.schema, columns.collect::<Result<_>>()?, slots.len())?;
        let plain = weights.iter().all(|weight| *weight == 1);
        Ok(Some(Delta::new(batch, (!plain).then(|| Int64Array::from(weights)))))
    }
}

impl Operator for SetOperation {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let (shared, store) = (&self.shared, context.snapshot.as_ref());
        let (left, right) = (shared.parts(context, &inputs[0])?, shared.parts(context, &inputs[1])?);
        let parallel = is_parallel(context.workers, rows_of(&left) + rows_of(&right));
        let sides: Vec<(Vec<Part>, Vec<Part>)> = left.into_iter().zip(right).collect();
        let some = |(left, right): &(Vec<Part>, Vec<Part>)| !left.is_empty() || !right.is_empty();
        let step = |rows: &mut Keyed<WeightPairs>, (left, right): (Vec<Part>, Vec<Part>)| {
            shared.step(rows, [&left, &right], store)
        };
        let changes = for_shards(context.workers, parallel, &mut self.shards, sides, some, step)?;
        Ok(StepOutput { deltas: changes.into_iter().flatten().collect(), ..StepOutput::default() })
    }

    fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        let changed = self.shards.iter().map(Keyed::changed).sum();
        checkpoint(workers, &mut self.shards, changed, changes, |shard, changes| {
            shard.checkpoint(changes);
            Ok(())
        })
    }

    fn committed(&mut self, budget_bytes: usize) -> Result<()> {
        let total = self.state_bytes();
        for shard in &mut self.shards {
            shard.committed(share(budget_bytes, shard.bytes(), total));
        }
        Ok(())
    }

    fn unwritten_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.changed() * 64).sum()
    }

    fn state_bytes(&self) -> usize {
        self.shards.iter().map(Keyed::bytes).sum()
    }

    fn state_rows(&self) -> usize {
        self.shards.iter().map(|shard| shard.keys.len()).sum()
    }
}
