//! `INTERSECT ALL` and `EXCEPT ALL`.
//!
//! - Rule: with `l` and `r` a row's weights on both sides, the output has it `min(l, r)` times (`INTERSECT ALL`) or `max(l - r, 0)` times
//!   (`EXCEPT ALL`: monus). `Δout` is the difference of that number.
//!   (Green, Karvounarakis, Tannen: "Provenance Semirings", PODS 2007; Geerts, Poggi: "On database query languages for K-relations", 2010.)
//! - State: both weights of each row, by row; NULLs are equal.
//! - A retraction lowers a weight of its side: of the right side it may bring a row back.

use arrow::array::Int64Array;
use arrow::datatypes::SchemaRef;
use delta::{Delta, Part};
use planner::incremental::{SetKind, SetOperation as Node};
use storage::Snapshot;

use super::shards::{Shards, for_sides};
use super::{Emit, States, counted};
use crate::Result;
use crate::exchange::{Parts, exchange};
use crate::expression::{nullable, with_schema};
use crate::operator::{Operator, State, StepContext, StepOutput};
use crate::state::keyed::{Touched, WeightPairs};
use crate::state::keys::hash_keys;
use crate::state::{KeyEncoder, Keyed};

/// See [the module](self).
#[derive(Debug)]
pub struct SetOperation {
    shared: Shared,
    shards: Shards<Keyed<WeightPairs>>,
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
            shards: Shards::new(|shard| Keyed::new(state, shard, WeightPairs::default())),
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
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let batch = self.encoder.decode_batch(&keys, &self.schema, &all)?;
        let plain = weights.iter().all(|weight| *weight == 1);
        Ok(Some(Delta::new(batch, (!plain).then(|| Int64Array::from(weights)))))
    }
}

impl Operator for SetOperation {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let (shared, store) = (&self.shared, context.snapshot.as_ref());
        let (left, right) = (shared.parts(context, &inputs[0])?, shared.parts(context, &inputs[1])?);
        let step = |rows: &mut Keyed<WeightPairs>, left: Vec<Part>, right: Vec<Part>| {
            shared.step(rows, [&left, &right], store)
        };
        let changes = for_sides(context.workers, &mut self.shards, left, right, step)?;
        Ok(StepOutput { deltas: changes.into_iter().flatten().collect(), ..StepOutput::default() })
    }

    fn state(&self) -> Option<&dyn State> {
        Some(&self.shards)
    }

    fn state_mut(&mut self) -> Option<&mut dyn State> {
        Some(&mut self.shards)
    }
}
