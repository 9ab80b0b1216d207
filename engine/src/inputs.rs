//! The running sources: queues of decoded batches, positions, watermarks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use catalog::{Connector, Object, ObjectId, ObjectKind};
use connectors::{
    DeadLetter, Health, PartitionId, Positions, RunningSource, SourceBatch, SourceSpec, SourceStatus, UpsertKey,
    batch_channel_of,
};
use crossbeam_channel::{Receiver, TryRecvError};
use delta::Delta;
use serde::{Deserialize, Serialize};

use crate::command::Doorbell;
use crate::outside::Outside;
use crate::watermark::{SavedWatermark, WatermarkTracker};
use crate::{Error, ErrorKind, Result};

/// Options that the engine understands itself; the connector gets the others.
pub(crate) const ENGINE_OPTIONS: [&str; 2] = ["idle_timeout", "late"];

/// What a checkpoint keeps of a running source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedInput {
    /// The next offset to read, by partition.
    pub(crate) positions: Positions,
    /// Its watermark.
    pub(crate) watermark: SavedWatermark,
    /// Totals since the source was made.
    pub(crate) counters: InputCounters,
}

/// Totals of a source since it was made; committed with the epoch, so that they are exact after a crash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InputCounters {
    /// Rows decoded.
    pub(crate) rows: u64,
    /// Bytes of keys and values.
    pub(crate) bytes: u64,
    /// Records that could not be decoded.
    pub(crate) dead_letters: u64,
    /// Rows left out because their windows were closed.
    pub(crate) late: u64,
}

/// One running source or upsert topic.
pub(crate) struct Input {
    pub(crate) id: ObjectId,
    pub(crate) name: String,
    queue: Receiver<SourceBatch>,
    source: Box<dyn RunningSource>,
    ended: bool,
    pub(crate) positions: Positions,
    pub(crate) watermark: Option<WatermarkTracker>,
    pub(crate) counters: InputCounters,
    /// Whether anything changed since the last checkpoint.
    pub(crate) dirty: bool,
    shown_finished: bool,
}

/// What one epoch takes from a source.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) deltas: Vec<Delta>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    /// The earliest creation time among the batches, milliseconds since 1970.
    pub(crate) created_ms: Option<i64>,
}

impl Input {
    /// Starts reading behind what was committed; about `queued_bytes` of rows wait to be taken, at most.
    pub(crate) fn start(
        object: &Object,
        saved: Option<SavedInput>,
        queued_bytes: usize,
        bell: &Doorbell,
        outside: &dyn Outside,
    ) -> Result<Self> {
        Self::start_until(object, saved, None, queued_bytes, bell, outside)
    }

    /// As [`Input::start`]; with `until`, reading ends there.
    pub(crate) fn start_until(
        object: &Object,
        saved: Option<SavedInput>,
        until: Option<&Positions>,
        queued_bytes: usize,
        bell: &Doorbell,
        outside: &dyn Outside,
    ) -> Result<Self> {
        let (spec, connector) = spec(object)?;
        let source = outside.open_source(&spec).map_err(|e| external(&spec.name, &e))?;
        let mut saved = saved.unwrap_or_default();
        for (&partition, &offset) in &connector.start {
            saved.positions.entry(partition).or_insert(offset);
        }
        let (sender, queue) = batch_channel_of(queued_bytes, bell.callback());
        let running = source.run(&saved.positions, until, sender).map_err(|e| external(&spec.name, &e))?;
        Ok(Self {
            id: object.id,
            name: object.name.to_string(),
            queue,
            source: running,
            ended: false,
            watermark: watermark_tracker(object, &saved, outside.now())?,
            positions: saved.positions,
            counters: saved.counters,
            dirty: true,
            shown_finished: false,
        })
    }

    /// Takes what has arrived until `rows` or `bytes` are reached; never waits.
    pub(crate) fn take(&mut self, rows: usize, bytes: usize, now: Instant) -> Taken {
        let mut taken = Taken::default();
        let mut batches = Vec::new();
        while taken.rows < rows && taken.bytes < bytes {
            match self.queue.try_recv() {
                Ok(batch) => batches.push(self.accept(batch, &mut taken, now)),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.ended = true;
                    break;
                }
            }
        }
        // In the order of their offsets: which partition's thread was faster is no input of the epoch.
        batches.sort_by_key(|(place, _)| *place);
        taken.deltas.extend(batches.into_iter().map(|(_, delta)| delta).filter(|delta| !delta.is_empty()));
        taken
    }

    /// Counts a batch; its rows, and where they stand.
    fn accept(&mut self, batch: SourceBatch, taken: &mut Taken, now: Instant) -> ((PartitionId, i64), Delta) {
        self.dirty = true;
        if let Some(watermark) = &mut self.watermark {
            watermark.observe(&batch, now);
        }
        self.positions.insert(batch.partition, batch.next_offset);
        self.counters.rows += batch.delta.num_rows() as u64;
        self.counters.bytes += batch.bytes;
        self.counters.dead_letters += batch.dead_letters.len() as u64;
        taken.rows += batch.delta.num_rows() + batch.dead_letters.len();
        taken.bytes += batch.delta.memory_size();
        taken.created_ms = match (taken.created_ms, batch.created_ms) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        taken.dead_letters.extend(batch.dead_letters);
        ((batch.partition, batch.first_offset), batch.delta)
    }

    /// Whether batches wait.
    pub(crate) fn has_input(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Nothing has been taken from it since the source was made.
    pub(crate) fn is_untouched(&self) -> bool {
        self.counters == InputCounters::default()
    }

    /// Whether everything before these ends has been taken. A partition may end before its last offset: in a transaction's marker, say.
    pub(crate) fn has_read(&self, ends: &Positions) -> bool {
        let known = self.status().end_offsets;
        let position = |partition| self.positions.get(partition).copied().unwrap_or(0);
        ends.iter().all(|(partition, end)| {
            let position = position(partition);
            position >= *end || known.get(partition).is_some_and(|known| position >= *known)
        })
    }

    /// What a checkpoint keeps.
    pub(crate) fn saved(&self) -> SavedInput {
        SavedInput {
            positions: self.positions.clone(),
            watermark: self.watermark.as_ref().map(WatermarkTracker::saved).unwrap_or_default(),
            counters: self.counters,
        }
    }

    /// The connector's own state.
    pub(crate) fn status(&self) -> SourceStatus {
        let mut status = self.source.status();
        if self.ended && !status.finished && status.health == Health::Running {
            status.health = Health::Failed("its reader has ended".to_owned());
        }
        status
    }

    /// All input there will ever be has been taken. The source says so before its last batch has been taken, never after, so the queue is
    /// looked at last.
    pub(crate) fn is_finished(&self) -> bool {
        self.source.status().finished && self.queue.is_empty()
    }

    /// It has finished since [`Input::view`] was last called.
    pub(crate) fn has_just_finished(&self) -> bool {
        !self.shown_finished && self.is_finished()
    }

    /// What others see.
    pub(crate) fn view(&mut self) -> crate::runtime::InputView {
        self.shown_finished = self.is_finished();
        crate::runtime::InputView { status: self.status(), read: self.saved(), finished: self.shown_finished }
    }
}

/// What the connector must know of a source or of a table over a topic, and its connector.
pub(crate) fn spec(object: &Object) -> Result<(SourceSpec, &Connector)> {
    let (connector, upsert) = match &object.kind {
        ObjectKind::Source(source) => (&source.connector, None),
        ObjectKind::Table(table) => {
            let connector = table.connector.as_ref();
            let connector = connector.ok_or_else(|| Error::internal(format!("{} reads no topic", object.name)))?;
            (connector, Some(UpsertKey { columns: table.primary_key.clone() }))
        }
        _ => return Err(Error::internal(format!("{} is no source", object.name))),
    };
    let mut options = connector.options.clone();
    options.insert("connector".to_owned(), connector.name.clone());
    for option in ENGINE_OPTIONS {
        options.remove(option);
    }
    let spec = SourceSpec { name: object.name.to_string(), columns: object.columns.clone(), options, upsert };
    Ok((spec, connector))
}

/// The watermark of a source that goes on from `saved`, if it declares one.
pub(crate) fn watermark_tracker(object: &Object, saved: &SavedInput, now: Instant) -> Result<Option<WatermarkTracker>> {
    let ObjectKind::Source(source) = &object.kind else { return Ok(None) };
    let Some(watermark) = source.watermark.clone() else { return Ok(None) };
    let idle_timeout = idle_timeout(&source.connector)?;
    let partitions: Vec<PartitionId> = saved.positions.keys().copied().collect();
    Ok(Some(WatermarkTracker::new(watermark, idle_timeout, partitions, Some(&saved.watermark), now)))
}

/// How long a silent partition holds the watermark back, unless told otherwise.
const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The option `idle_timeout`: `'10 seconds'`, `'500ms'`, `'off'`.
pub(crate) fn idle_timeout(connector: &Connector) -> Result<Option<Duration>> {
    match connector.options.get("idle_timeout").map(|text| text.trim()) {
        None => Ok(Some(DEFAULT_IDLE_TIMEOUT)),
        Some("off") => Ok(None),
        Some(text) => parse_duration(text).map(Some).ok_or_else(|| {
            Error::new(ErrorKind::InvalidParameterValue, format!("invalid value for option \"idle_timeout\": '{text}'"))
                .with_hint("write a duration such as '10 seconds', or 'off'")
        }),
    }
}

/// `10s`, `500 ms`, `2 minutes`, `1 hour`; a bare number counts seconds.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit.trim().to_ascii_lowercase().as_str() {
        "ms" | "millisecond" | "milliseconds" => number / 1e3,
        "" | "s" | "sec" | "secs" | "second" | "seconds" => number,
        "m" | "min" | "mins" | "minute" | "minutes" => number * 60.0,
        "h" | "hour" | "hours" => number * 3_600.0,
        "d" | "day" | "days" => number * 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// An error of a connector as a client sees it.
pub(crate) fn external(name: &str, error: &connectors::Error) -> Error {
    use connectors::Error as E;
    let kind = match error {
        E::UnknownOption { .. } | E::MissingOption { .. } | E::InvalidOption { .. } => ErrorKind::InvalidParameterValue,
        E::UnknownConnector { .. } | E::UnknownTopic { .. } => ErrorKind::UndefinedObject,
        E::Unsupported { .. } => ErrorKind::Unsupported,
        _ => ErrorKind::External,
    };
    let mut out = Error::new(kind, format!("{name}: {error}"));
    out.hint = error.hint();
    out
}

/// The running sources by relation.
pub(crate) type Inputs = BTreeMap<ObjectId, Input>;
