//! Inner joins of a relation with itself on the same keys, such as pairs of orders of one customer: the rows are kept once.
//!
//! - Rule: `Δ(L ⋈ L) = ΔL ⋈ L + (L + ΔL) ⋈ ΔL`: the change meets the rows as they are, is added, and is met by all of them.
//! - State: the rows by join key, for both sides.
//! - A retraction joins like any row, with its weight, and takes its row from the state.
//! - A row on which a key fails is left out, and is an error. A pair on which the further condition fails is no match, and is an error.

use delta::{Delta, Part};
use planner::incremental::Join as Node;
use storage::Snapshot;

use super::Shared;
use super::alone::Which;
use super::matching::Pairs;
use crate::Result;
use crate::exchange::{for_shards, is_parallel, rows_of};
use crate::operator::{Operator, State, StepContext, StepOutput};
use crate::operators::States;
use crate::operators::shards::Shards;
use crate::state::Multimap;

/// See [the module](self).
pub struct JoinWithItself {
    shared: Shared,
    shards: Shards<Multimap>,
}

impl JoinWithItself {
    /// The operator of a node that is [such a join](Node::is_with_itself).
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let shared = Shared::new(node)?;
        let state = states.state("left");
        Ok(Self { shards: Shards::new(|shard| shared.left.state(state, shard)), shared })
    }
}

/// One epoch of a shard.
fn step(shared: &Shared, rows: &mut Multimap, parts: &[Part], store: &dyn Snapshot) -> Result<StepOutput> {
    let mut output = StepOutput::default();
    rows.begin_step();
    let encode =
        |part: &Part| shared.left.encoder.encode(&shared.left.keys_of(part.delta.batch()), part.delta.num_rows());
    for which in [Which::Left, Which::Right] {
        for part in parts {
            let (delta, keys) = (&part.delta, encode(part)?);
            let mut partners = Vec::new();
            rows.probe(&part.hashes, &keys, store, &mut partners)?;
            let columns = shared.left.columns_of(delta.batch());
            Pairs { shared, which, delta, columns, partners: &partners, other: rows }.emit(&mut output)?;
        }
        // Between the two all of the change is added.
        for part in parts.iter().filter(|_| which == Which::Left) {
            let encoded =
                shared.left.codec.encode(shared.left.columns_of(part.delta.batch()), part.delta.num_rows())?;
            let weights: Option<&[i64]> = part.delta.weights().map(|weights| &weights.values()[..]);
            rows.add(&part.hashes, &encode(part)?, &encoded, weights, store)?;
        }
    }
    Ok(output)
}

impl Operator for JoinWithItself {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let (shared, store) = (&self.shared, context.snapshot.as_ref());
        let mut output = StepOutput::default();
        // Both inputs are one.
        let parts = shared.exchange(Which::Left, context.workers, &inputs[0], &mut output)?;
        let parallel = is_parallel(context.workers, rows_of(&parts));
        let work = |shard: &mut Multimap, parts: Vec<Part>| step(shared, shard, &parts, store);
        for change in for_shards(context.workers, parallel, &mut self.shards, parts, |parts| !parts.is_empty(), work)? {
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
