//! `WITH (retention = …)`: rows go some time after their own.
//!
//! - Rule: a row is in the output while its time plus the retention lies behind a clock that only goes forward: a watermark, or the epoch's
//!   timestamp. What comes for a time that has passed is left out, a retraction too: its row is gone.
//! - State: the weight of each row that is there, by its time and the row; rows whose time is NULL stay and need none. What is in memory is found by
//!   time ([`Waiting`]); in the store, the rows of a virtual node lie by time. So an epoch costs what comes and what goes, not what is there.
//! - A retraction takes its row away.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use delta::{Delta, Part, SHARDS};
use planner::incremental::Retention as Node;

use super::States;
use super::agenda::Waiting;
use super::closing::Closing;
use super::shards::Shards;
use crate::Result;
use crate::exchange::{exchange, for_shards, is_parallel, rows_of};
use crate::expression::{nullable, with_schema};
use crate::operator::{Operator, State, StepContext, StepOutput};
use crate::state::KeyEncoder;
use crate::state::keys::hash_keys;

/// See [the module](self).
#[derive(Debug)]
pub struct Retention {
    shared: Shared,
    shards: Shards<Waiting>,
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

impl Retention {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let schema = nullable(node.input.schema());
        let others = (0..schema.fields().len()).filter(|column| *column != node.column);
        let order: Vec<usize> = std::iter::once(node.column).chain(others).collect();
        let state = states.state("kept");
        Ok(Self {
            shared: Shared {
                encoder: KeyEncoder::of_columns(&schema, &order)?,
                order,
                closing: Closing { offset_us: node.offset_us, watermark_of: node.watermark_of.clone() },
                schema,
            },
            shards: Shards::new(|shard| Waiting::new(state, shard)),
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

impl Operator for Retention {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let (shared, store) = (&self.shared, context.snapshot.as_ref());
        let gone_to = shared.gone_to(context);
        let mut deltas: Vec<Delta> = Vec::new();
        if let Some(gone_to) = gone_to.filter(|gone_to| self.next <= *gone_to) {
            let take = |shard: &mut Waiting, ()| {
                let gone = shard.take_due(&shared.encoder, &shared.schema, &shared.order, gone_to, store)?;
                let taken = |weights: Vec<i64>| Int64Array::from_iter_values(weights.into_iter().map(|weight| -weight));
                Ok(gone.map(|(rows, weights)| Delta::new(rows, Some(taken(weights)))))
            };
            let parallel = is_parallel(context.workers, self.shards.rows());
            let gone = for_shards(context.workers, parallel, &mut self.shards, vec![(); SHARDS], |()| true, take)?;
            deltas.extend(gone.into_iter().flatten());
        }
        let left = inputs[0].iter().map(|delta| shared.left(delta, gone_to)).collect::<Result<Vec<_>>>()?;
        let parts = exchange(context.workers, &left, |delta| shared.send(delta))?;
        deltas.extend(left);
        let parallel = is_parallel(context.workers, rows_of(&parts));
        let keep = |shard: &mut Waiting, parts: Vec<Part>| shard.add(&shared.encoder, &parts, store);
        for_shards(context.workers, parallel, &mut self.shards, parts, |parts| !parts.is_empty(), keep)?;
        self.next = self.shards.iter().map(|shard| shard.next()).min().unwrap_or(i64::MAX);
        Ok(StepOutput { deltas, ..StepOutput::default() })
    }

    fn wants_time(&self) -> bool {
        !self.shared.by_timestamp()
    }

    fn due(&self) -> Option<i64> {
        let due = self.shared.by_timestamp() && self.next < i64::MAX;
        due.then(|| self.next.saturating_add(self.shared.closing.offset_us))
    }

    fn state(&self) -> Option<&dyn State> {
        Some(&self.shards)
    }

    fn state_mut(&mut self) -> Option<&mut dyn State> {
        Some(&mut self.shards)
    }
}
