//! `DISTINCT`: each row once.
//!
//! - Rule: with `w` the sum of a row's weights, `Δout` is `+row` when `w` becomes positive and `-row` when it stops to be.
//!   (Budiu et al., "DBSP", VLDB 2023.)
//! - State: the weight of each row, by row.
//! - A retraction lowers the weight; the row goes when none is left.

use arrow::array::{Int64Array, UInt32Array};
use arrow::datatypes::SchemaRef;
use delta::{Delta, Part};
use planner::incremental::Distinct as Node;
use storage::Snapshot;

use super::shards::Shards;
use super::{Emit, States, counted};
use crate::Result;
use crate::exchange::{exchange, for_shards, is_parallel, rows_of};
use crate::expression::{nullable, with_schema};
use crate::operator::{Operator, State, StepContext, StepOutput};
use crate::state::keyed::{Touched, Weights};
use crate::state::keys::hash_keys;
use crate::state::{KeyEncoder, Keyed};

/// See [the module](self).
#[derive(Debug)]
pub struct Distinct {
    encoder: KeyEncoder,
    schema: SchemaRef,
    shards: Shards<Keyed<Weights>>,
}

impl Distinct {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let schema = nullable(node.input.schema());
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let state = states.state("rows");
        Ok(Self {
            encoder: KeyEncoder::of_columns(&schema, &all)?,
            schema,
            shards: Shards::new(|shard| Keyed::new(state, shard, Weights::default())),
        })
    }
}

impl Distinct {
    /// Reads what has come out.
    pub(super) fn contents(
        node: &Node,
        states: &mut dyn States,
        store: &dyn Snapshot,
        emit: &mut Emit<'_>,
    ) -> Result<()> {
        let schema = nullable(node.input.schema());
        counted::contents(states.state("rows"), &schema, |[weight]| i64::from(weight > 0), store, emit)
    }
}

fn step_shard(
    rows: &mut Keyed<Weights>,
    encoder: &KeyEncoder,
    parts: &[Part],
    store: &dyn Snapshot,
) -> Result<Vec<Delta>> {
    rows.begin_step();
    let (mut touched, mut slots): (Vec<Touched>, Vec<u32>) = (vec![], vec![]);
    let mut before: Vec<i64> = Vec::new();
    let mut ends = Vec::with_capacity(parts.len());
    for part in parts {
        let keys = encoder.encode(part.delta.batch().columns(), part.delta.num_rows())?;
        rows.locate(&part.hashes, &keys, store, &mut slots, &mut touched)?;
        before.extend(touched[before.len()..].iter().map(|touched| rows.values.0[touched.slot as usize]));
        for (row, slot) in slots.iter().enumerate() {
            rows.values.0[*slot as usize] += part.delta.weight(row);
        }
        ends.push(touched.len());
    }
    let mut output = Vec::new();
    let mut start = 0;
    for (part, end) in parts.iter().zip(ends) {
        let (mut positions, mut weights) = (Vec::new(), Vec::new());
        for (touched, before) in touched[start..end].iter().zip(&before[start..end]) {
            let after = rows.values.0[touched.slot as usize];
            if (*before > 0) != (after > 0) {
                positions.push(touched.row);
                weights.push(if after > 0 { 1 } else { -1 });
            }
        }
        start = end;
        if positions.is_empty() {
            continue;
        }
        let batch = Delta::inserts(part.delta.batch().clone()).take(&UInt32Array::from(positions))?.batch().clone();
        let plain = weights.iter().all(|weight| *weight == 1);
        output.push(Delta::new(batch, (!plain).then(|| Int64Array::from(weights))));
    }
    Ok(output)
}

/// Takes rows away, however often they are there.
fn forget(rows: &mut Keyed<Weights>, encoder: &KeyEncoder, parts: &[Part], store: &dyn Snapshot) -> Result<Vec<Delta>> {
    rows.begin_step();
    let mut gone = Vec::new();
    for part in parts {
        let keys = encoder.encode(part.delta.batch().columns(), part.delta.num_rows())?;
        let mut slots = Vec::new();
        rows.locate(&part.hashes, &keys, store, &mut slots, &mut vec![])?;
        let mut positions: Vec<u32> = Vec::new();
        for (row, slot) in (0..).zip(slots) {
            if std::mem::take(&mut rows.values.0[slot as usize]) > 0 {
                positions.push(row);
            }
        }
        if !positions.is_empty() {
            let weights = Int64Array::from(vec![-1; positions.len()]);
            let batch = Delta::inserts(part.delta.batch().clone()).take(&UInt32Array::from(positions))?.batch().clone();
            gone.push(Delta::new(batch, Some(weights)));
        }
    }
    Ok(gone)
}

impl Operator for Distinct {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let (encoder, schema) = (&self.encoder, &self.schema);
        let store = context.snapshot.as_ref();
        let send = |delta: &Delta| {
            let mut hashes = Vec::new();
            hash_keys(delta.batch().columns(), delta.num_rows(), &mut hashes);
            Ok((with_schema(delta, schema)?, hashes))
        };
        let parts = exchange(context.workers, &inputs[0], send)?;
        let parallel = is_parallel(context.workers, rows_of(&parts));
        let step = |rows: &mut Keyed<Weights>, parts: Vec<Part>| step_shard(rows, encoder, &parts, store);
        let changes = for_shards(context.workers, parallel, &mut self.shards, parts, |p| !p.is_empty(), step)?;
        let mut deltas: Vec<Delta> = changes.into_iter().flatten().collect();
        if let Some(idle) = inputs.get(1) {
            let parts = exchange(context.workers, idle, send)?;
            let parallel = is_parallel(context.workers, rows_of(&parts));
            let forget = |rows: &mut Keyed<Weights>, parts: Vec<Part>| forget(rows, encoder, &parts, store);
            let gone = for_shards(context.workers, parallel, &mut self.shards, parts, |p| !p.is_empty(), forget)?;
            deltas.extend(gone.into_iter().flatten());
        }
        Ok(StepOutput { deltas, ..StepOutput::default() })
    }

    fn state(&self) -> Option<&dyn State> {
        Some(&self.shards)
    }

    fn state_mut(&mut self) -> Option<&mut dyn State> {
        Some(&mut self.shards)
    }
}
