//! Temporal joins: each left row with the right rows that match it in the epoch in which it comes.
//!
//! - Rule: `Δout = ΔL ⋈ (R + ΔR)`: the right side's changes of an epoch are there before its left rows are, and change nothing that came out
//!   before.
//! - State: the right side's rows by join key. Nothing of the left side, whose rows only ever come.
//! - What the operator yields is not a function of its inputs' sums but of the epochs in which their changes came, which are recorded: the same
//!   epochs again yield the same.
//! - A row on which a key fails is left out, and is an error. A pair on which the further condition fails is no match, and is an error.

use delta::Part;
use planner::incremental::{Join as Equijoin, JoinKind, TemporalJoin as Node};
use storage::Snapshot;

use super::Shared;
use super::alone::{Alone, Which};
use super::matching::Pairs;
use crate::operator::{Operator, State, StepContext, StepOutput};
use crate::operators::States;
use crate::operators::shards::{Shards, for_sides};
use crate::state::Multimap;
use crate::{Error, Result};

/// See [the module](self).
pub struct TemporalJoin {
    shared: Shared,
    shards: Shards<Multimap>,
}

impl TemporalJoin {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let shared = Shared::new(&Equijoin {
            left: node.left.clone(),
            right: node.right.clone(),
            kind: if node.outer { JoinKind::Left } else { JoinKind::Inner },
            on: node.on.clone(),
            null_equal: false,
            residual: node.residual.clone(),
            left_expiry: None,
            right_expiry: None,
            on_error: node.on_error,
            schema: node.schema.clone(),
        })?;
        let state = states.state("right");
        Ok(Self { shards: Shards::new(|shard| shared.right.state(state, shard)), shared })
    }
}

/// One epoch of a shard.
fn step(
    shared: &Shared,
    right: &mut Multimap,
    (left, changes): (Vec<Part>, Vec<Part>),
    store: &dyn Snapshot,
) -> Result<StepOutput> {
    let mut output = StepOutput::default();
    right.begin_step();
    for Part { delta, hashes, .. } in &changes {
        let side = &shared.right;
        let rows = delta.num_rows();
        let keys = side.encoder.encode(&side.keys_of(delta.batch()), rows)?;
        let encoded = side.codec.encode(side.columns_of(delta.batch()), rows)?;
        let weights: Option<&[i64]> = delta.weights().map(|weights| &weights.values()[..]);
        right.add(hashes, &keys, &encoded, weights, store)?;
    }
    for Part { delta, hashes, .. } in &left {
        if (0..delta.num_rows()).any(|row| delta.weight(row) < 0) {
            return Err(Error::Broken(
                "a row is taken away from a temporal join's left side, which only grows".to_owned(),
            ));
        }
        let side = &shared.left;
        let keys = side.encoder.encode(&side.keys_of(delta.batch()), delta.num_rows())?;
        let mut partners = Vec::new();
        right.probe(hashes, &keys, store, &mut partners)?;
        let columns = side.columns_of(delta.batch());
        let mut pairs = Pairs { shared, which: Which::Left, delta, columns, partners: &partners, other: right };
        let matches = pairs.emit(&mut output)?;
        if side.alone != Alone::No {
            let unmet = (0..delta.num_rows() as u32).filter(|row| side.alone.wants(matches[*row as usize]));
            let unmet = delta.take(&arrow::array::UInt32Array::from_iter_values(unmet))?;
            if !unmet.is_empty() {
                let columns = side.columns_of(unmet.batch()).to_vec();
                output.deltas.push(unmet.with_batch(shared.alone(Which::Left, columns, unmet.num_rows())?));
            }
        }
    }
    Ok(output)
}

impl Operator for TemporalJoin {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<delta::Delta>]) -> Result<StepOutput> {
        let (shared, store) = (&self.shared, context.snapshot.as_ref());
        let mut output = StepOutput::default();
        let left = shared.exchange(Which::Left, context.workers, &inputs[0], &mut output)?;
        let right = shared.exchange(Which::Right, context.workers, &inputs[1], &mut output)?;
        let work = |shard: &mut Multimap, left: Vec<Part>, right: Vec<Part>| step(shared, shard, (left, right), store);
        for change in for_sides(context.workers, &mut self.shards, left, right, work)? {
            output.deltas.extend(change.deltas);
            output.errors.extend(change.errors);
        }
        Ok(output)
    }

    fn state(&self) -> Option<&dyn State> {
        Some(&self.shards)
    }

    fn state_mut(&mut self) -> Option<&mut dyn State> {
        Some(&mut self.shards)
    }
}
