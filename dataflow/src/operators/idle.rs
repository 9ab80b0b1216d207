//! `WITH (state_ttl = …)`: which keys have not come for some time.
//!
//! - Rule: a row comes out, once, when no equal row has come or gone for the time; it begins again when one comes.
//! - State: by row, when it will be idle; and by that time, the row. A row's time moves on in steps of an eighth, so that one that comes all the
//!   time is written a few times in that time, not in each epoch.
//! - A retraction is something that comes, too.
//!
//! The clock is the epoch's timestamp. What waits is found by time ([`Agenda`]); in the store, the rows of a virtual node lie by time.

use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use delta::{Delta, Part, SHARDS};
use planner::incremental::Idle as Node;
use storage::{ChangeSet, Snapshot};

use super::States;
use super::agenda::Agenda;
use super::shards::{Held, Shards, share};
use crate::Result;
use crate::exchange::{exchange, for_shards, is_parallel, rows_of};
use crate::expression::{batch_of, nullable, with_schema};
use crate::operator::{Operator, State, StepContext, StepOutput};
use crate::state::keyed::{Touched, Weights};
use crate::state::keys::hash_keys;
use crate::state::{KeyEncoder, Keyed};

/// The steps in which a row's time moves on.
const STEPS: i64 = 8;

/// See [the module](self).
#[derive(Debug)]
pub struct Idle {
    shared: Shared,
    shards: Shards<Shard>,
    /// When the next row is idle; `i64::MIN`: nobody has looked yet.
    next: i64,
}

#[derive(Debug)]
struct Shared {
    ttl_us: i64,
    schema: SchemaRef,
    encoder: KeyEncoder,
    /// Of a time and the row.
    waiting: KeyEncoder,
}

#[derive(Debug)]
struct Shard {
    /// By row: when it will be idle, in microseconds.
    last: Keyed<Weights>,
    waiting: Keyed<Weights>,
    agenda: Agenda,
}

impl Idle {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let schema = nullable(node.input.schema());
        let when = Arc::new(Field::new("when", DataType::Timestamp(TimeUnit::Microsecond, None), true));
        let fields: Vec<_> = std::iter::once(when).chain(schema.fields().iter().cloned()).collect();
        let waiting: SchemaRef = Arc::new(Schema::new(fields));
        let all: Vec<usize> = (0..waiting.fields().len()).collect();
        let (last, by_time) = (states.state("last"), states.state("waiting"));
        let shard = |shard| Shard {
            last: Keyed::new(last, shard, Weights::default()),
            waiting: Keyed::new(by_time, shard, Weights::default()),
            agenda: Agenda::new(),
        };
        Ok(Self {
            shared: Shared {
                ttl_us: node.ttl_us.max(1),
                encoder: KeyEncoder::of_columns(&schema, &all[..schema.fields().len()])?,
                waiting: KeyEncoder::of_columns(&waiting, &all)?,
                schema,
            },
            shards: Shards::new(shard),
            next: i64::MIN,
        })
    }
}

impl Shared {
    /// When a row that comes now will be idle.
    fn idle_at(&self, now: i64) -> i64 {
        let step = (self.ttl_us / STEPS).max(1);
        let begun = now.div_euclid(step).saturating_add(1);
        begun.saturating_mul(step).saturating_add(self.ttl_us)
    }
}

impl Shard {
    /// Rows have come.
    fn touch(&mut self, shared: &Shared, parts: &[Part], now: i64, store: &dyn Snapshot) -> Result<()> {
        self.last.begin_step();
        self.waiting.begin_step();
        let at = shared.idle_at(now);
        let (mut touched, mut slots): (Vec<Touched>, Vec<u32>) = (vec![], vec![]);
        for part in parts {
            let columns = part.delta.batch().columns();
            let keys = shared.encoder.encode(columns, part.delta.num_rows())?;
            let known = touched.len();
            self.last.locate(&part.hashes, &keys, store, &mut slots, &mut touched)?;
            let (mut rows, mut times, mut weights) = (Vec::new(), Vec::new(), Vec::new());
            for Touched { slot, row } in &touched[known..] {
                let before = std::mem::replace(&mut self.last.values.0[*slot as usize], at);
                if before == at {
                    continue;
                }
                if before != 0 {
                    rows.push(*row);
                    times.push(before);
                    weights.push(-1);
                }
                rows.push(*row);
                times.push(at);
                weights.push(1);
            }
            self.wait(shared, columns, &part.hashes, rows, times, &weights, store)?;
        }
        Ok(())
    }

    /// Enters rows at times, or takes them out there.
    #[allow(clippy::too_many_arguments, reason = "they are the columns of one change")]
    fn wait(
        &mut self,
        shared: &Shared,
        columns: &[ArrayRef],
        hashes: &[u64],
        rows: Vec<u32>,
        times: Vec<i64>,
        weights: &[i64],
        store: &dyn Snapshot,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let hashes: Vec<u64> = rows.iter().map(|row| hashes[*row as usize]).collect();
        let count = rows.len();
        let rows = UInt32Array::from(rows);
        let when: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times));
        let taken = columns.iter().map(|column| Ok(take(column, &rows, None)?));
        let columns = std::iter::once(Ok(when)).chain(taken).collect::<Result<Vec<_>>>()?;
        let keys = shared.waiting.encode(&columns, count)?;
        let (mut slots, mut touched) = (Vec::new(), Vec::new());
        self.waiting.locate(&hashes, &keys, store, &mut slots, &mut touched)?;
        for (slot, weight) in slots.iter().zip(weights) {
            self.waiting.values.0[*slot as usize] += weight;
        }
        self.agenda.note(&self.waiting, &touched);
        Ok(())
    }

    /// Takes out the rows that are idle.
    fn take_idle(&mut self, shared: &Shared, now: i64, store: &dyn Snapshot) -> Result<Option<Delta>> {
        self.last.begin_step();
        self.waiting.begin_step();
        let load = |waiting: &mut Keyed<Weights>, keys: &[Vec<u8>]| load(waiting, shared, keys, store);
        let idle = self.agenda.due(&mut self.waiting, now, store, load)?;
        if idle.is_empty() {
            return Ok(None);
        }
        let keys: Vec<&[u8]> = idle.iter().map(|slot| self.waiting.keys.key(*slot)).collect();
        let decoded = shared.waiting.decode(&keys)?.into_iter().skip(1).zip(shared.schema.fields());
        let columns = decoded.map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column),
            false => Ok(cast(&column, field.data_type())?),
        });
        let batch = batch_of(&shared.schema, columns.collect::<Result<_>>()?, idle.len())?;
        for slot in &idle {
            self.waiting.values.0[*slot as usize] = 0;
            self.waiting.touch(*slot);
        }
        let mut hashes = Vec::new();
        hash_keys(batch.columns(), batch.num_rows(), &mut hashes);
        let keys = shared.encoder.encode(batch.columns(), batch.num_rows())?;
        let mut slots = Vec::new();
        self.last.locate(&hashes, &keys, store, &mut slots, &mut vec![])?;
        slots.into_iter().for_each(|slot| self.last.values.0[slot as usize] = 0);
        Ok(Some(Delta::inserts(batch)))
    }
}

/// Brings what waits into memory, by the hashes of the rows without their times.
fn load(waiting: &mut Keyed<Weights>, shared: &Shared, keys: &[Vec<u8>], store: &dyn Snapshot) -> Result<Vec<Touched>> {
    let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let mut touched = Vec::new();
    if keys.is_empty() {
        return Ok(touched);
    }
    let columns = shared.waiting.decode(&keys)?;
    let mut hashes = Vec::new();
    hash_keys(&columns[1..], keys.len(), &mut hashes);
    let encoded = shared.waiting.encode(&columns, keys.len())?;
    waiting.locate(&hashes, &encoded, store, &mut vec![], &mut touched)?;
    Ok(touched)
}

impl Held for Shard {
    const STATES: usize = 2;

    fn changed(&self) -> usize {
        self.last.changed() + self.waiting.changed()
    }

    fn unwritten_bytes(&self) -> usize {
        Held::unwritten_bytes(&self.last) + Held::unwritten_bytes(&self.waiting)
    }

    fn write(&mut self, state: usize, changes: &mut ChangeSet) {
        if state == 0 {
            self.last.checkpoint(changes);
        } else {
            self.waiting.checkpoint(changes);
        }
    }

    fn committed(&mut self, budget_bytes: usize) {
        let total = self.bytes();
        self.last.committed(share(budget_bytes, self.last.bytes(), total));
        let evicted = self.waiting.committed(share(budget_bytes, self.waiting.bytes() + self.agenda.bytes(), total));
        self.agenda.tidy(&self.waiting, evicted);
    }

    fn bytes(&self) -> usize {
        self.last.bytes() + self.waiting.bytes() + self.agenda.bytes()
    }

    fn rows(&self) -> usize {
        self.last.keys.len()
    }
}

impl Operator for Idle {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let (shared, store, now) = (&self.shared, context.snapshot.as_ref(), context.timestamp_us);
        let parts = exchange(context.workers, &inputs[0], |delta| {
            let delta = with_schema(delta, &shared.schema)?;
            let mut hashes = Vec::new();
            hash_keys(delta.batch().columns(), delta.num_rows(), &mut hashes);
            Ok((delta, hashes))
        })?;
        let parallel = is_parallel(context.workers, rows_of(&parts));
        let touch = |shard: &mut Shard, parts: Vec<Part>| shard.touch(shared, &parts, now, store);
        for_shards(context.workers, parallel, &mut self.shards, parts, |parts| !parts.is_empty(), touch)?;
        let mut output = StepOutput::default();
        if self.next <= now {
            let all = vec![(); SHARDS];
            let take = |shard: &mut Shard, ()| shard.take_idle(shared, now, store);
            let idle = for_shards(context.workers, parallel, &mut self.shards, all, |()| true, take)?;
            output.deltas.extend(idle.into_iter().flatten());
        }
        self.next = self.shards.iter().map(|shard| shard.agenda.next()).min().unwrap_or(i64::MAX);
        Ok(output)
    }

    fn due(&self) -> Option<i64> {
        (self.next < i64::MAX).then_some(self.next)
    }

    fn state(&self) -> Option<&dyn State> {
        Some(&self.shards)
    }

    fn state_mut(&mut self) -> Option<&mut dyn State> {
        Some(&mut self.shards)
    }
}
