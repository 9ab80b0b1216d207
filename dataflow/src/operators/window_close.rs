//! `EMIT ON WINDOW CLOSE`: holds rows back until the watermark has passed their window's end.
//!
//! - Rule: a row of a window comes out once, with the sum of its weights, in the epoch whose watermark closes the window; afterwards
//!   whatever comes for the window is left out.
//! - State: the weight of each row of an open window, by window's end and row.
//! - A retraction lowers the weight of a row that is held back: nobody has seen it.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use delta::{Delta, Part};
use planner::incremental::WindowClose as Node;
use storage::{ChangeSet, Snapshot};

use super::States;
use super::closing::{Closing, Earliest};
use super::shards::{Held, Shards};
use crate::Result;
use crate::exchange::{exchange, for_shards, is_parallel, rows_of};
use crate::expression::nullable;
use crate::operator::{Operator, State, StepContext, StepOutput};
use crate::state::keyed::Weights;
use crate::state::keys::hash_keys;
use crate::state::{KeyEncoder, Keyed};

/// See [the module](self).
#[derive(Debug)]
pub struct WindowClose {
    shared: Shared,
    shards: Shards<Shard>,
}

#[derive(Debug)]
struct Shared {
    /// Columns in the order in which they are encoded: the window's first.
    order: Vec<usize>,
    encoder: KeyEncoder,
    closing: Closing,
    schema: SchemaRef,
}

#[derive(Debug)]
struct Shard {
    rows: Keyed<Weights>,
    earliest: Earliest,
}

impl WindowClose {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let schema = nullable(node.input.schema());
        let others = (0..schema.fields().len()).filter(|column| *column != node.end);
        let order: Vec<usize> = std::iter::once(node.end).chain(others).collect();
        let state = states.state("pending");
        let shard = |shard| Shard { rows: Keyed::new(state, shard, Weights::default()), earliest: Earliest::new() };
        Ok(Self {
            shared: Shared {
                encoder: KeyEncoder::of_columns(&schema, &order)?,
                order,
                closing: Closing { offset_us: node.offset_us, watermark_of: node.watermark_of.clone() },
                schema,
            },
            shards: Shards::new(shard),
        })
    }
}

impl Shared {
    fn send(&self, delta: &Delta, closed_to: Option<i64>) -> Result<(Delta, Vec<u64>)> {
        let mut sent = delta.project(&self.order)?;
        if let Some(closed_to) = closed_to {
            let ends = cast(sent.column(0), &DataType::Int64)?;
            let ends = ends.as_primitive::<Int64Type>();
            let open = |row| ends.is_null(row) || ends.value(row) > closed_to;
            sent = sent.filter(&BooleanArray::new(BooleanBuffer::collect_bool(ends.len(), open), None))?;
        }
        let mut hashes = Vec::new();
        hash_keys(sent.batch().columns(), sent.num_rows(), &mut hashes);
        Ok((sent, hashes))
    }
}

impl Shard {
    fn step(&mut self, shared: &Shared, parts: &[Part], store: &dyn Snapshot) -> Result<()> {
        self.rows.begin_step();
        let touched = self.rows.add_weights(&shared.encoder, parts, store)?;
        self.earliest.note(&self.rows, &touched);
        Ok(())
    }

    fn close(&mut self, shared: &Shared, closed_to: i64, store: &dyn Snapshot) -> Result<Option<Delta>> {
        let closed = self.earliest.closed(&mut self.rows, &shared.encoder, closed_to, store)?;
        if closed.is_empty() {
            return Ok(None);
        }
        let keys: Vec<&[u8]> = closed.iter().map(|slot| self.rows.keys.key(*slot)).collect();
        let batch = shared.encoder.decode_batch(&keys, &shared.schema, &shared.order)?;
        let weights = self.rows.take_weights(&closed);
        let plain = weights.iter().all(|weight| *weight == 1);
        Ok(Some(Delta::new(batch, (!plain).then(|| Int64Array::from(weights)))))
    }
}

impl Held for Shard {
    fn changed(&self) -> usize {
        self.rows.changed()
    }

    fn write(&mut self, _state: usize, changes: &mut ChangeSet) {
        self.rows.checkpoint(changes);
    }

    fn committed(&mut self, budget_bytes: usize) {
        if self.rows.committed(budget_bytes) {
            self.earliest.evicted();
        }
    }

    fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    fn rows(&self) -> usize {
        self.rows.keys.len()
    }
}

impl Operator for WindowClose {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let shared = &self.shared;
        let store = context.snapshot.as_ref();
        let closed_to = shared.closing.closed_before(context);
        let parts = exchange(context.workers, &inputs[0], |delta| shared.send(delta, closed_to))?;
        let parallel = is_parallel(context.workers, rows_of(&parts));
        let step = |shard: &mut Shard, parts: Vec<Part>| shard.step(shared, &parts, store);
        for_shards(context.workers, parallel, &mut self.shards, parts, |p| !p.is_empty(), step)?;

        let Some(closed_to) = shared.closing.closed_after(context) else { return Ok(StepOutput::default()) };
        let all = vec![(); self.shards.len()];
        let close = |shard: &mut Shard, ()| shard.close(shared, closed_to, store);
        let closed = for_shards(context.workers, parallel, &mut self.shards, all, |()| true, close)?;
        Ok(StepOutput { deltas: closed.into_iter().flatten().collect(), ..StepOutput::default() })
    }

    fn wants_time(&self) -> bool {
        true
    }

    fn state(&self) -> Option<&dyn State> {
        Some(&self.shards)
    }

    fn state_mut(&mut self) -> Option<&mut dyn State> {
        Some(&mut self.shards)
    }
}
