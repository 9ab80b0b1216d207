//! `EMIT ON WINDOW CLOSE`: holds rows back until the watermark has passed their window's end.
//!
//! - Rule: a row of a window comes out once, with the sum of its weights, in the epoch whose watermark closes the window; afterwards
//!   whatever comes for the window is left out.
//! - State: the weight of each row of an open window, by window's end and row.
//! - A retraction lowers the weight of a row that is held back: nobody has seen it.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use delta::{Delta, Part, SHARDS};
use planner::incremental::WindowClose as Node;
use storage::{ChangeSet, Snapshot};

use super::States;
use super::closing::{Closing, Earliest};
use super::shards::{checkpoint, share};
use crate::Result;
use crate::exchange::{exchange, for_shards, is_parallel, rows_of};
use crate::expression::{batch_of, nullable};
use crate::operator::{Operator, StepContext, StepOutput};
use crate::state::keyed::{Touched, Weights};
use crate::state::keys::hash_keys;
use crate::state::{KeyEncoder, Keyed};

/// See [the module](self).
#[derive(Debug)]
pub struct WindowClose {
    shared: Shared,
    shards: Vec<Shard>,
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
            shards: (0..SHARDS).map(shard).collect(),
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
        let (mut touched, mut slots): (Vec<Touched>, Vec<u32>) = (vec![], vec![]);
        for part in parts {
            let keys = shared.encoder.encode(part.delta.batch().columns(), part.delta.num_rows())?;
            self.rows.locate(&part.hashes, &keys, store, &mut slots, &mut touched)?;
            for (row, slot) in slots.iter().enumerate() {
                self.rows.values.0[*slot as usize] += part.delta.weight(row);
            }
        }
        self.earliest.note(&self.rows, &touched);
        Ok(())
    }

    fn close(&mut self, shared: &Shared, closed_to: i64, store: &dyn Snapshot) -> Result<Option<Delta>> {
        let closed = self.earliest.closed(&mut self.rows, &shared.encoder, closed_to, store)?;
        if closed.is_empty() {
            return Ok(None);
        }
        let keys: Vec<&[u8]> = closed.iter().map(|slot| self.rows.keys.key(*slot)).collect();
        let decoded = shared.encoder.decode(&keys)?;
        let mut columns = decoded.clone();
        for (column, position) in decoded.into_iter().zip(&shared.order) {
            let wanted = shared.schema.field(*position).data_type();
            columns[*position] = if column.data_type() == wanted { column } else { cast(&column, wanted)? };
        }
        let weights: Vec<i64> = closed.iter().map(|slot| self.rows.values.0[*slot as usize]).collect();
        for slot in &closed {
            self.rows.values.0[*slot as usize] = 0;
            self.rows.touch(*slot);
        }
        let plain = weights.iter().all(|weight| *weight == 1);
        let batch = batch_of(&Arc::clone(&shared.schema), columns, closed.len())?;
        Ok(Some(Delta::new(batch, (!plain).then(|| Int64Array::from(weights)))))
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

    fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        let changed = self.shards.iter().map(|shard| shard.rows.changed()).sum();
        checkpoint(workers, &mut self.shards, changed, changes, |shard, changes| {
            shard.rows.checkpoint(changes);
            Ok(())
        })
    }

    fn committed(&mut self, budget_bytes: usize) -> Result<()> {
        let total = self.state_bytes();
        for shard in &mut self.shards {
            if shard.rows.committed(share(budget_bytes, shard.rows.bytes(), total)) {
                shard.earliest.evicted();
            }
        }
        Ok(())
    }

    fn unwritten_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.rows.changed() * 64).sum()
    }

    fn state_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.rows.bytes()).sum()
    }

    fn state_rows(&self) -> usize {
        self.shards.iter().map(|shard| shard.rows.keys.len()).sum()
    }
}
