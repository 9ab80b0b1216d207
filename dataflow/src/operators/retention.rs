//! `WITH (retention = …)`: rows go some time after their own.
//!
//! - Rule: a row is in the output while its time plus the retention lies behind a clock that only goes forward: a watermark, or the epoch's
//!   timestamp. What comes for a time that has passed is left out, a retraction too: its row is gone.
//! - State: the weight of each row that is there, by its time and the row; rows whose time is NULL stay and need none. What is in memory is found by
//!   time ([`Agenda`]); in the store, the rows of a virtual node lie by time. So an epoch costs what comes and what goes, not what is there.
//! - A retraction takes its row away.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use delta::{Delta, Part, SHARDS};
use planner::incremental::Retention as Node;
use storage::{ChangeSet, Snapshot};

use super::States;
use super::agenda::Agenda;
use super::closing::{Closing, load};
use super::shards::{Held, Shards};
use crate::Result;
use crate::exchange::{exchange, for_shards, is_parallel, rows_of};
use crate::expression::{nullable, with_schema};
use crate::operator::{Operator, StepContext, StepOutput};
use crate::state::keyed::Weights;
use crate::state::keys::hash_keys;
use crate::state::{KeyEncoder, Keyed};

/// See [the module](self).
#[derive(Debug)]
pub struct Retention {
    shared: Shared,
    shards: Shards<Shard>,
    /// The time of the rows that go next, or one before it; `i64::MIN`: nobody has looked yet.
    next: i64,
}

#[derive(Debug)]
struct Shared {
    /// Columns in the order in which they are encoded: the time first.
    order: Vec<usize>,
    encoder: KeyEncoder,
    closing: Closing,
    schema: SchemaRef,
}

#[derive(Debug)]
struct Shard {
    rows: Keyed<Weights>,
    agenda: Agenda,
}

impl Retention {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let schema = nullable(node.input.schema());
        let others = (0..schema.fields().len()).filter(|column| *column != node.column);
        let order: Vec<usize> = std::iter::once(node.column).chain(others).collect();
        let state = states.state("kept");
        let shard = |shard| Shard { rows: Keyed::new(state, shard, Weights::default()), agenda: Agenda::new() };
        Ok(Self {
            shared: Shared {
                encoder: KeyEncoder::of_columns(&schema, &order)?,
                order,
                closing: Closing { offset_us: node.offset_us, watermark_of: node.watermark_of.clone() },
                schema,
            },
            shards: Shards::new(shard),
            next: i64::MIN,
        })
    }
}

impl Shared {
    /// Whether the clock is the epoch's timestamp.
    fn by_timestamp(&self) -> bool {
        self.closing.watermark_of.is_empty()
    }

    /// Rows of times up to this one are gone; `None`: no watermark has been seen yet.
    fn gone_to(&self, context: &StepContext<'_>) -> Option<i64> {
        match self.by_timestamp() {
            true => Some(context.timestamp_us.saturating_sub(self.closing.offset_us)),
            false => self.closing.closed_after(context),
        }
    }

    /// The rows that are there.
    fn left(&self, delta: &Delta, gone_to: Option<i64>) -> Result<Delta> {
        let delta = with_schema(delta, &self.schema)?;
        let Some(gone_to) = gone_to else { return Ok(delta) };
        let times = cast(delta.column(self.order[0]), &DataType::Int64)?;
        let times = times.as_primitive::<Int64Type>();
        let stays = |row| times.is_null(row) || times.value(row) > gone_to;
        Ok(delta.filter(&BooleanArray::new(BooleanBuffer::collect_bool(times.len(), stays), None))?)
    }

    /// What is kept in mind of rows: those that have a time.
    fn send(&self, delta: &Delta) -> Result<(Delta, Vec<u64>)> {
        let mut sent = delta.project(&self.order)?;
        if sent.column(0).null_count() > 0 {
            let times = sent.column(0).clone();
            let has_time = BooleanBuffer::collect_bool(times.len(), |row| times.is_valid(row));
            sent = sent.filter(&BooleanArray::new(has_time, None))?;
        }
        let mut hashes = Vec::new();
        hash_keys(sent.batch().columns(), sent.num_rows(), &mut hashes);
        Ok((sent, hashes))
    }
}

impl Shard {
    /// Takes out the rows of times up to `gone_to`.
    fn take_gone(&mut self, shared: &Shared, gone_to: i64, store: &dyn Snapshot) -> Result<Option<Delta>> {
        self.rows.begin_step();
        let load = |rows: &mut Keyed<Weights>, keys: &[Vec<u8>]| load(rows, &shared.encoder, keys, store);
        let gone = self.agenda.due(&mut self.rows, gone_to, store, load)?;
        if gone.is_empty() {
            return Ok(None);
        }
        let keys: Vec<&[u8]> = gone.iter().map(|slot| self.rows.keys.key(*slot)).collect();
        let batch = shared.encoder.decode_batch(&keys, &shared.schema, &shared.order)?;
        let weights: Vec<i64> = self.rows.take_weights(&gone).into_iter().map(|weight| -weight).collect();
        Ok(Some(Delta::new(batch, Some(Int64Array::from(weights)))))
    }

    fn keep(&mut self, shared: &Shared, parts: &[Part], store: &dyn Snapshot) -> Result<()> {
        self.rows.begin_step();
        let touched = self.rows.add_weights(&shared.encoder, parts, store)?;
        self.agenda.note(&self.rows, &touched);
        Ok(())
    }
}

impl Held for Shard {
    fn changed(&self) -> usize {
        self.rows.changed()
    }

    fn write(&mut self, changes: &mut ChangeSet) {
        self.rows.checkpoint(changes);
    }

    fn committed(&mut self, budget_bytes: usize) {
        let evicted = self.rows.committed(budget_bytes);
        self.agenda.tidy(&self.rows, evicted);
    }

    fn bytes(&self) -> usize {
        self.rows.bytes() + self.agenda.bytes()
    }

    fn rows(&self) -> usize {
        self.rows.keys.len()
    }
}

impl Operator for Retention {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let (shared, store) = (&self.shared, context.snapshot.as_ref());
        let gone_to = shared.gone_to(context);
        let mut deltas: Vec<Delta> = Vec::new();
        if let Some(gone_to) = gone_to.filter(|gone_to| self.next <= *gone_to) {
            let take = |shard: &mut Shard, ()| shard.take_gone(shared, gone_to, store);
            let parallel = is_parallel(context.workers, self.shards.iter().map(|shard| shard.rows.keys.len()).sum());
            let gone = for_shards(context.workers, parallel, &mut self.shards, vec![(); SHARDS], |()| true, take)?;
            deltas.extend(gone.into_iter().flatten());
        }
        let left = inputs[0].iter().map(|delta| shared.left(delta, gone_to)).collect::<Result<Vec<_>>>()?;
        let parts = exchange(context.workers, &left, |delta| shared.send(delta))?;
        deltas.extend(left);
        let parallel = is_parallel(context.workers, rows_of(&parts));
        let keep = |shard: &mut Shard, parts: Vec<Part>| shard.keep(shared, &parts, store);
        for_shards(context.workers, parallel, &mut self.shards, parts, |parts| !parts.is_empty(), keep)?;
        self.next = self.shards.iter().map(|shard| shard.agenda.next()).min().unwrap_or(i64::MAX);
        Ok(StepOutput { deltas, ..StepOutput::default() })
    }

    fn wants_time(&self) -> bool {
        !self.shared.by_timestamp()
    }

    fn due(&self) -> Option<i64> {
        let due = self.shared.by_timestamp() && self.next < i64::MAX;
        due.then(|| self.next.saturating_add(self.shared.closing.offset_us))
    }

    fn checkpoint(&mut self, workers: &rayon::ThreadPool, changes: &mut ChangeSet) -> Result<()> {
        self.shards.checkpoint(workers, changes)
    }

    fn committed(&mut self, budget_bytes: usize) -> Result<()> {
        self.shards.committed(budget_bytes);
        Ok(())
    }

    fn unwritten_bytes(&self) -> usize {
        self.shards.unwritten_bytes()
    }

    fn state_bytes(&self) -> usize {
        self.shards.bytes()
    }

    fn state_rows(&self) -> usize {
        self.shards.rows()
    }
}
