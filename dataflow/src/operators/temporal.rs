//! Conditions on `now()`: each row is there from one time until another, and comes and goes without new input.
//!
//! - Rule: a row is in the output while `from <= now < until`, where `now` is the epoch's timestamp, which never goes back. What comes for a
//!   time that has passed is left out.
//! - State: the weight of each row that will come or go, by the time when it does next, and the row. Rows that have gone for good and rows
//!   that stay for good are forgotten. What is in memory is found by time ([`Waiting`]); in the store, the rows of a virtual node lie by time.
//! - A retraction takes a row away wherever it waits, and out of the output if it is there.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use delta::{Delta, Part, SHARDS};
use planner::incremental::TemporalFilter as Node;

use super::States;
use super::agenda::Waiting;
use super::shards::Shards;
use crate::Result;
use crate::exchange::{exchange, for_shards, is_parallel, rows_of};
use crate::expression::{batch_of, nullable, with_schema};
use crate::operator::{Operator, State, StepContext, StepOutput};
use crate::state::KeyEncoder;
use crate::state::keys::hash_keys;

/// See [the module](self).
#[derive(Debug)]
pub struct TemporalFilter {
    shared: Shared,
    shards: Shards<Waiting>,
    /// When the next row comes or goes; `i64::MIN`: nobody has looked yet.
    due: i64,
}

#[derive(Debug)]
struct Shared {
    from: Vec<usize>,
    until: Vec<usize>,
    schema: SchemaRef,
    /// The time of a row's next change, then the row.
    waiting: SchemaRef,
    encoder: KeyEncoder,
}

/// What new rows are now, and what waits.
#[derive(Default)]
struct Sorted {
    there: Option<Delta>,
    waiting: Option<Delta>,
}

impl TemporalFilter {
    /// The operator of a node.
    pub fn new(node: &Node, states: &mut dyn States) -> Result<Self> {
        let schema = nullable(node.input.schema());
        let when = Arc::new(Field::new("when", DataType::Timestamp(TimeUnit::Microsecond, None), true));
        let fields: Vec<_> = std::iter::once(when).chain(schema.fields().iter().cloned()).collect();
        let waiting: SchemaRef = Arc::new(Schema::new(fields));
        let all: Vec<usize> = (0..waiting.fields().len()).collect();
        let state = states.state("waiting");
        Ok(Self {
            shared: Shared {
                from: node.from.clone(),
                until: node.until.clone(),
                encoder: KeyEncoder::of_columns(&waiting, &all)?,
                schema,
                waiting,
            },
            shards: Shards::new(|shard| Waiting::new(state, shard)),
            due: i64::MIN,
        })
    }
}

impl Shared {
    /// From when until when each row is there; `None`: never.
    fn bounds(&self, columns: &[ArrayRef], rows: usize) -> Vec<Option<(i64, i64)>> {
        let times = |wanted: &[usize]| -> Vec<TimestampMicrosecondArray> {
            wanted.iter().map(|column| columns[*column].as_primitive().clone()).collect()
        };
        let (from, until) = (times(&self.from), times(&self.until));
        let of = |times: &[TimestampMicrosecondArray], row: usize, missing: i64, either: fn(i64, i64) -> i64| {
            times.iter().try_fold(missing, |known, times| times.is_valid(row).then(|| either(known, times.value(row))))
        };
        let bounds = |row| Some((of(&from, row, i64::MIN, i64::max)?, of(&until, row, i64::MAX, i64::min)?));
        (0..rows).map(|row| bounds(row).filter(|(from, until)| from < until)).collect()
    }

    /// What of new rows is there now, and what waits for its next change.
    fn sort(&self, delta: &Delta, now: i64) -> Result<Sorted> {
        let (mut there, mut waiting, mut times): (Vec<u32>, Vec<u32>, Vec<i64>) = (vec![], vec![], vec![]);
        for (row, bounds) in (0_u32..).zip(self.bounds(delta.batch().columns(), delta.num_rows())) {
            let Some((from, until)) = bounds.filter(|(_, until)| now < *until) else { continue };
            if from <= now {
                there.push(row);
            }
            let next = if from <= now { until } else { from };
            if next < i64::MAX {
                waiting.push(row);
                times.push(next);
            }
        }
        Ok(Sorted { there: taken(delta, there)?, waiting: self.at_times(taken(delta, waiting)?, times)? })
    }

    fn at_times(&self, rows: Option<Delta>, times: Vec<i64>) -> Result<Option<Delta>> {
        let Some(rows) = rows else { return Ok(None) };
        let when: ArrayRef = Arc::new(TimestampMicrosecondArray::from(times));
        let columns = std::iter::once(when).chain(rows.batch().columns().iter().cloned()).collect();
        Ok(Some(rows.with_batch(batch_of(&self.waiting, columns, rows.num_rows())?)))
    }

    /// Rows whose time has come: what that changes of the output, and what waits again, to go.
    fn change(&self, due: &Delta, now: i64) -> Result<Sorted> {
        let (when, columns) = due.batch().columns().split_first().expect("the time stands before the row");
        let when = when.as_primitive::<TimestampMicrosecondType>();
        let (mut rows, mut weights): (Vec<u32>, Vec<i64>) = (vec![], vec![]);
        let (mut staying, mut times): (Vec<u32>, Vec<i64>) = (vec![], vec![]);
        for (row, bounds) in (0_u32..).zip(self.bounds(columns, due.num_rows())) {
            let Some((_, until)) = bounds else { continue };
            let goes = when.value(row as usize) == until;
            if !goes && until <= now {
                // It came and went between two epochs.
                continue;
            }
            rows.push(row);
            weights.push(if goes { -1 } else { 1 } * due.weight(row as usize));
            if !goes && until < i64::MAX {
                staying.push(row);
                times.push(until);
            }
        }
        let plain = due.with_batch(batch_of(&self.schema, columns.to_vec(), due.num_rows())?);
        let changed =
            taken(&plain, rows)?.map(|rows| Delta::new(rows.batch().clone(), Some(Int64Array::from(weights))));
        Ok(Sorted { there: changed, waiting: self.at_times(taken(&plain, staying)?, times)? })
    }
}

fn taken(delta: &Delta, rows: Vec<u32>) -> Result<Option<Delta>> {
    Ok(if rows.is_empty() { None } else { Some(delta.take(&UInt32Array::from(rows))?) })
}

impl Operator for TemporalFilter {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let (shared, store, now) = (&self.shared, context.snapshot.as_ref(), context.timestamp_us);
        let mut sorted = Vec::new();
        if self.due <= now {
            let all: Vec<usize> = (0..shared.waiting.fields().len()).collect();
            let take =
                |shard: &mut Waiting, ()| match shard.take_due(&shared.encoder, &shared.waiting, &all, now, store)? {
                    Some((rows, weights)) => shared.change(&Delta::new(rows, Some(Int64Array::from(weights))), now),
                    None => Ok(Sorted::default()),
                };
            let parallel = is_parallel(context.workers, self.shards.rows());
            sorted = for_shards(context.workers, parallel, &mut self.shards, vec![(); SHARDS], |()| true, take)?;
        }
        for delta in &inputs[0] {
            sorted.push(shared.sort(&with_schema(delta, &shared.schema)?, now)?);
        }
        let (mut deltas, mut waiting) = (Vec::new(), Vec::new());
        for rows in sorted {
            deltas.extend(rows.there);
            waiting.extend(rows.waiting);
        }
        let parts = exchange(context.workers, &waiting, |delta| {
            let mut hashes = Vec::new();
            hash_keys(delta.batch().columns(), delta.num_rows(), &mut hashes);
            Ok((delta.clone(), hashes))
        })?;
        let parallel = is_parallel(context.workers, rows_of(&parts));
        let wait = |shard: &mut Waiting, parts: Vec<Part>| shard.add(&shared.encoder, &parts, store);
        for_shards(context.workers, parallel, &mut self.shards, parts, |parts| !parts.is_empty(), wait)?;
        self.due = self.shards.iter().map(|shard| shard.next()).min().unwrap_or(i64::MAX);
        Ok(StepOutput { deltas, ..StepOutput::default() })
    }

    fn due(&self) -> Option<i64> {
        (self.due < i64::MAX).then_some(self.due)
    }

    fn state(&self) -> Option<&dyn State> {
        Some(&self.shards)
    }

    fn state_mut(&mut self) -> Option<&mut dyn State> {
        Some(&mut self.shards)
    }
}
