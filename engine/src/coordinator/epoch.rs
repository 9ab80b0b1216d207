//! `run_epoch`: pull, step, record, publish. Durability follows per checkpoint.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use catalog::{LatePolicy, ObjectId};
use dataflow::{EpochInputs, EpochOutputs, LateRows, RowError};
use delta::{Delta, consolidate};

use super::Coordinator;
use crate::hydration::EpochRecord;
use crate::planted::{Bug, is_planted};
use crate::subscription::Changes;
use crate::{Error, Result};

/// Rows that come or go as time passes, a few microseconds apart, do so together: an epoch that runs for nothing else waits so long after the
/// one before it.
const DUE_EVERY_US: i64 = 10_000;

impl Coordinator {
    /// One synchronous step of the whole graph.
    pub(super) fn run_epoch(&mut self) -> Result<()> {
        let started = self.outside.now();
        let (inputs, created_ms) = self.pull(started)?;
        self.compute(inputs)?;
        self.measure(started, &created_ms);
        Ok(())
    }

    /// What an epoch produces depends on nothing but what is there and these inputs.
    pub(super) fn compute(&mut self, inputs: EpochInputs) -> Result<()> {
        self.step(inputs, None)?;
        self.publish();
        Ok(())
    }

    /// As [`Coordinator::compute`], for readers to see later. What happens to `silent` is told to nobody.
    pub(super) fn step(&mut self, inputs: EpochInputs, silent: Option<ObjectId>) -> Result<()> {
        self.epoch = inputs.epoch;
        self.timestamp_us = inputs.timestamp_us;
        self.wants_step = false;
        let tapped = self.tapped(&inputs);
        let mut outputs = self.graph.step(inputs).map_err(dataflow_error)?;
        if let Some(silent) = silent {
            outputs.changes.remove(&silent);
        }
        self.record(outputs, tapped)
    }

    /// What an epoch is made of in which only these changes come.
    pub(super) fn only(&self, deltas: HashMap<ObjectId, Vec<Delta>>) -> Result<EpochInputs> {
        Ok(EpochInputs {
            epoch: self.epoch.next(),
            timestamp_us: self.next_timestamp()?,
            watermarks_before: self.watermarks.clone(),
            watermarks: self.watermarks.clone(),
            deltas,
        })
    }

    /// Whether there is something to compute.
    pub(super) fn wants_epoch(&self) -> bool {
        if self.failure.is_some() || !self.deferred.is_empty() || !self.deferred_taps.is_empty() {
            return false;
        }
        if self.wants_step || !self.writes.is_empty() {
            return true;
        }
        let now = self.outside.now();
        self.stopping.is_empty() && (self.due_in().is_some_and(|left| left.is_zero()) || self.has_arrived(now))
    }

    fn has_arrived(&self, now: Instant) -> bool {
        self.inputs.values().any(|i| i.has_input() || i.watermark.as_ref().is_some_and(|w| w.would_advance(now)))
    }

    /// Takes what has arrived, up to the bounds of an epoch.
    fn pull(&mut self, now: Instant) -> Result<(EpochInputs, HashMap<ObjectId, i64>)> {
        let mut deltas: HashMap<ObjectId, Vec<Delta>> = HashMap::new();
        self.pull_writes(&mut deltas)?;
        let mut created = HashMap::new();
        let watermarks_before = self.watermarks.clone();
        if self.stopping.is_empty() {
            let (mut rows, mut bytes) = (self.settings.epoch_rows, self.settings.epoch_bytes);
            let mut left = self.inputs.values().filter(|i| i.has_input()).count();
            for input in self.inputs.values_mut() {
                if input.has_input() {
                    // Every source gets its share of the epoch, and what the ones before left over. One that got its first batch
                    // since they were counted shares with the last.
                    let sharing = left.max(1);
                    let taken = input.take((rows / sharing).max(1), (bytes / sharing).max(1), now);
                    left = sharing - 1;
                    rows = rows.saturating_sub(taken.rows).max(left);
                    bytes = bytes.saturating_sub(taken.bytes).max(left);
                    if let Some(ms) = taken.created_ms {
                        created.insert(input.id, ms);
                    }
                    let id = input.id;
                    self.pending.dead_letters.extend(taken.dead_letters.into_iter().map(|letter| (id, letter)));
                    if !taken.deltas.is_empty() {
                        deltas.entry(id).or_default().extend(taken.deltas);
                    }
                }
                if let Some(watermark) = input.watermark.as_mut().and_then(|w| w.advance(now)) {
                    self.watermarks.insert(input.id, watermark);
                }
            }
        }
        let inputs = EpochInputs {
            epoch: self.epoch.next(),
            timestamp_us: self.next_timestamp()?,
            watermarks_before,
            watermarks: self.watermarks.clone(),
            deltas,
        };
        Ok((inputs, created))
    }

    /// The clock, which never stands still between two epochs, nor goes back: when somebody has set it back, time all but stands until it has
    /// come to where it was.
    fn next_timestamp(&self) -> Result<i64> {
        let now_us = self.outside.now_us()?;
        if is_planted(Bug::ClockFollowed) {
            return Ok(now_us);
        }
        Ok(now_us.max(self.timestamp_us + 1))
    }

    /// How long it is until an epoch is wanted because time passes; `None`: nothing waits for that.
    pub(super) fn due_in(&self) -> Option<Duration> {
        if is_planted(Bug::DueForgotten) {
            return None;
        }
        let due = self.graph.due()?.max(self.timestamp_us.saturating_add(DUE_EVERY_US));
        let left = due.saturating_sub(self.outside.now_us().ok()?);
        Some(Duration::from_micros(u64::try_from(left).unwrap_or(0)))
    }

    /// What views that are being built must see of this epoch.
    fn tapped(&self, inputs: &EpochInputs) -> Option<EpochRecord> {
        if self.taps.is_empty() {
            return None;
        }
        Some(EpochRecord {
            epoch: inputs.epoch,
            timestamp_us: inputs.timestamp_us,
            watermarks_before: inputs.watermarks_before.clone(),
            watermarks: inputs.watermarks.clone(),
            deltas: inputs.deltas.clone(),
        })
    }

    /// Hands the changes on: to readers, subscribers, outboxes and views that are being built.
    fn record(&mut self, outputs: EpochOutputs, tapped: Option<EpochRecord>) -> Result<()> {
        self.pending.dirty = true;
        let last_changed = outputs.changes.keys().max().copied().unwrap_or(ObjectId(0));
        for (&relation, deltas) in &outputs.changes {
            if deltas.iter().all(Delta::is_empty) {
                continue;
            }
            if !(is_planted(Bug::DependentPublishedLate) && self.epoch.0.is_multiple_of(3) && relation == last_changed)
            {
                self.republish(relation);
            }
            if self.subscribers.contains_key(&relation) || self.has_sink_from(relation) {
                let schema = deltas[0].schema();
                let delta = consolidate(&Delta::concat(&schema, deltas).map_err(delta_error)?).map_err(delta_error)?;
                if !delta.is_empty() {
                    let delta = self.under_its_names(relation, delta)?;
                    self.emit(relation, &Arc::new(delta))?;
                }
            }
        }
        for (&relation, _) in outputs.kept.iter().filter(|(_, deltas)| !deltas.is_empty()) {
            self.republish(relation);
        }
        for (&relation, errors) in &outputs.errors {
            self.record_errors(relation, errors)?;
        }
        for late in &outputs.late {
            self.record_late(late)?;
        }
        if let Some(record) = tapped {
            self.feed_taps(record, &outputs.changes);
        }
        Ok(())
    }

    /// Readers see the relation's rows as they are now.
    fn republish(&mut self, relation: ObjectId) {
        if self.relations.contains_key(&relation)
            && let Some(view) = self.graph.published(relation)
        {
            self.relations.insert(relation, view);
        }
    }

    fn emit(&mut self, relation: ObjectId, delta: &Arc<Delta>) -> Result<()> {
        if let Some(subscribers) = self.subscribers.get_mut(&relation) {
            let changes = Changes { epoch: self.epoch, delta: delta.clone() };
            subscribers.retain(|subscriber| {
                match subscriber.columns.filter(|columns| *columns < delta.batch().num_columns()) {
                    None => subscriber.send(&changes),
                    // It began when the relation had fewer columns.
                    Some(columns) => match first_columns(delta, columns) {
                        Ok(delta) if delta.is_empty() => true,
                        Ok(delta) => subscriber.send(&Changes { epoch: changes.epoch, delta: Arc::new(delta) }),
                        Err(error) => {
                            subscriber.end(error);
                            false
                        }
                    },
                }
            });
            if subscribers.is_empty() {
                self.subscribers.remove(&relation);
            }
        }
        if !self.has_sink_from(relation) {
            return Ok(());
        }
        let inputs = self.read_up_to()?;
        for sink in self.sinks.values_mut().filter(|sink| sink.from == relation) {
            sink.outbox.add(self.epoch, delta, &inputs, &mut self.pending.changes)?;
            sink.note(self.epoch);
            self.pending.durable = true;
            self.pending.outbox_since.get_or_insert_with(|| self.outside.now());
        }
        Ok(())
    }

    /// How far sources have been read, as a sink's progress keeps it.
    pub(super) fn read_up_to(&self) -> Result<String> {
        let read: super::restored::ReadUpTo =
            self.inputs.iter().map(|(id, input)| (*id, input.positions.clone())).collect();
        serde_json::to_string(&read).map_err(|e| Error::internal(format!("positions can't be written: {e}")))
    }

    /// Operators number their columns; what goes out has the relation's names.
    fn under_its_names(&self, relation: ObjectId, delta: Delta) -> Result<Delta> {
        let Some(object) = self.catalog.get(relation) else { return Ok(delta) };
        // What a view had before it got a column has NULL there.
        let nullable =
            object.schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>();
        let named = crate::query::named(delta.batch(), &Arc::new(arrow::datatypes::Schema::new(nullable)));
        let named = named.map_err(|e| Error::internal(format!("changes of {} can't be emitted: {e}", object.name)))?;
        Ok(delta.with_batch(named))
    }

    fn has_sink_from(&self, relation: ObjectId) -> bool {
        self.sinks.values().any(|sink| sink.from == relation)
    }

    /// Readers of a view are told of its errors when they ask; who follows a query has no other place to learn of them.
    fn record_errors(&mut self, relation: ObjectId, errors: &[Delta]) -> Result<()> {
        if !self.followed_inputs.contains_key(&relation) {
            return self.show_errors(relation);
        }
        let came =
            errors.iter().find_map(|delta| Some((delta, (0..delta.num_rows()).find(|row| delta.weight(*row) > 0)?)));
        if let Some((delta, row)) = came {
            let found = RowError::read(&delta.batch().slice(row, 1)).map_err(dataflow_error)?;
            for subscriber in self.subscribers.remove(&relation).unwrap_or_default() {
                found.iter().for_each(|error| subscriber.end(crate::row_errors::error(error, "In the query")));
            }
        }
        Ok(())
    }

    /// Late rows are counted, and kept among the dead letters where the source says so.
    fn record_late(&mut self, late: &LateRows) -> Result<()> {
        // Of a join of several sources nobody knows whose row it was: the first one counts it.
        let Some(input) = late.sources.first().and_then(|source| self.inputs.get_mut(source)) else { return Ok(()) };
        input.counters.late += late.rows.iter().map(|delta| delta.num_rows() as u64).sum::<u64>();
        input.dirty = true;
        if late.policy == LatePolicy::DeadLetter {
            let id = input.id;
            for delta in &late.rows {
                let letters = crate::late::letters(delta, late)?;
                self.pending.dead_letters.extend(letters.into_iter().map(|letter| (id, letter)));
            }
        }
        Ok(())
    }

    fn measure(&self, started: Instant, created_ms: &HashMap<ObjectId, i64>) {
        let seconds = self.outside.now().saturating_duration_since(started).as_secs_f64();
        metrics::histogram!("millrace_epoch_seconds").record(seconds);
        let Ok(now_us) = self.outside.now_us() else { return };
        for (id, created) in created_ms {
            if let Some(input) = self.inputs.get(id) {
                let seconds = now_us as f64 / 1e6 - *created as f64 / 1e3;
                metrics::histogram!("millrace_visible_latency_seconds", "source" => input.name.clone())
                    .record(seconds.max(0.0));
            }
        }
    }
}

/// The changes in the first columns.
fn first_columns(delta: &Delta, columns: usize) -> Result<Delta> {
    let columns: Vec<usize> = (0..columns).collect();
    let batch = delta.batch().project(&columns).map_err(|e| Error::internal(e.to_string()))?;
    consolidate(&delta.with_batch(batch)).map_err(delta_error)
}

/// A failed step is a bug or damaged state: operators report what users' data can cause in other ways.
pub(crate) fn dataflow_error(error: dataflow::Error) -> Error {
    match error {
        dataflow::Error::Store(error) => super::storage_error(error),
        dataflow::Error::Stopped => crate::hydration::ended(),
        error => Error::internal(format!("an epoch could not be computed: {error}")),
    }
}

pub(crate) fn delta_error(error: delta::Error) -> Error {
    Error::internal(format!("changes could not be combined: {error}"))
}
