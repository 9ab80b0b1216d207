//! Generated input: the auction benchmark's events, orders and payments, plain numbers.
//!
//! Row k of a table is a function of the seed and k, and nothing else: so a position is a row number, a restart resumes where the
//! engine's offsets say, and every run reads the same. Columns are made one at a time, straight into Arrow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Schema, SchemaRef};
use catalog::SqlType;
use delta::Delta;
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::options::{GeneratorKind, GeneratorOptions};
use crate::source::{
    BatchSender, Health, PartitionId, Positions, RunningSource, Source, SourceBatch, SourceSpec, SourceStatus, now_ms,
};

mod nexmark;
mod orders;
mod random;
mod sequence;

/// Rows of a full batch.
const BATCH_ROWS: u64 = 8192;

/// How often a lane with a rate hands over what is due.
const TICK: Duration = Duration::from_millis(2);

/// A table whose rows can be computed from their numbers.
trait Table: Send + Sync {
    /// The columns it has.
    fn columns(&self) -> &[(&'static str, SqlType)];

    /// The event that row `row` is.
    fn event(&self, row: u64) -> u64;

    /// How many rows the first `events` events have.
    fn rows_before(&self, events: u64) -> u64;

    /// Column `column` of these rows.
    fn column(&self, column: usize, rows: &Rows) -> ArrayRef;
}

/// Every `step`th row from `first` on.
#[derive(Clone, Copy, Debug)]
struct Rows {
    first: u64,
    step: u64,
    count: u64,
}

impl Rows {
    fn iter(self) -> impl Iterator<Item = u64> {
        (0..self.count).map(move |index| self.first + index * self.step)
    }
}

/// The source of `connector = 'generator'`.
pub struct GeneratorSource {
    lanes: Arc<Lanes>,
}

/// What all lanes share.
struct Lanes {
    name: String,
    table: Box<dyn Table>,
    options: GeneratorOptions,
    schema: SchemaRef,
    /// For each declared column the table's.
    produced: Vec<usize>,
}

impl GeneratorSource {
    /// Checks the options, and that each declared column is one that the table has.
    pub fn open(spec: &SourceSpec) -> Result<Self> {
        let options = GeneratorOptions::parse(&spec.options)?;
        if spec.upsert.is_some() {
            return Err(Error::Unsupported(
                "a generator can't feed a table with a primary key; use CREATE SOURCE".to_owned(),
            ));
        }
        let table: Box<dyn Table> = match options.kind {
            GeneratorKind::Nexmark(table) => nexmark::table(table, &options),
            GeneratorKind::Orders(table) => orders::table(table, &options),
            GeneratorKind::Sequence => Box::new(sequence::Sequence::new(&options)),
        };
        let mut produced = Vec::with_capacity(spec.columns.len());
        for column in &spec.columns {
            let refused = |reason| Error::Column { column: column.name.clone(), reason };
            if column.generated.is_some() {
                return Err(refused("a generator has no record metadata to include".to_owned()));
            }
            let position =
                table.columns().iter().position(|(name, _)| name.eq_ignore_ascii_case(&column.name)).ok_or_else(
                    || {
                        let names: Vec<&str> = table.columns().iter().map(|(name, _)| *name).collect();
                        refused(format!("the generator doesn't make it; it makes {}", names.join(", ")))
                    },
                )?;
            let made = &table.columns()[position].1;
            if !converts(made, &column.sql_type) {
                return Err(refused(format!("the generator makes {made}, not {}", column.sql_type)));
            }
            produced.push(position);
        }
        let fields: Vec<_> =
            spec.columns.iter().map(|column| column.sql_type.field(&column.name, column.nullable)).collect();
        let schema = Arc::new(Schema::new(fields));
        Ok(Self { lanes: Arc::new(Lanes { name: spec.name.clone(), table, options, schema, produced }) })
    }
}

/// Whether a generated value can be declared as that type.
fn converts(made: &SqlType, declared: &SqlType) -> bool {
    use SqlType::*;
    match made {
        _ if made == declared => true,
        BigInt | Integer => matches!(declared, SmallInt | Integer | BigInt | Real | Double | Numeric(_)),
        Numeric(_) => matches!(declared, Numeric(_) | Real | Double),
        Text => matches!(declared, Varchar(None)),
        Timestamp | Timestamptz => matches!(declared, Timestamp | Timestamptz),
        _ => false,
    }
}

impl Lanes {
    /// Rows of lane `lane` among the table's first `rows` rows, which are dealt round-robin.
    fn rows_in_lane(&self, rows: u64, lane: u64) -> u64 {
        let lanes = self.options.partitions as u64;
        (rows + lanes - 1 - lane) / lanes
    }

    /// Where a lane ends; `None`: never.
    fn end(&self, lane: PartitionId) -> Option<i64> {
        let events = self.options.events?;
        Some(self.rows_in_lane(self.table.rows_before(events), lane as u64) as i64)
    }

    /// Rows `from .. to` of a lane.
    fn batch(&self, lane: PartitionId, from: i64, to: i64) -> Result<RecordBatch> {
        let lanes = self.options.partitions as u64;
        let rows = Rows { first: from as u64 * lanes + lane as u64, step: lanes, count: (to - from) as u64 };
        let refuse_overflow = CastOptions { safe: false, ..CastOptions::default() };
        let arrays = self.produced.iter().zip(self.schema.fields()).map(|(&column, field)| {
            let made = self.table.column(column, &rows);
            if made.data_type() == field.data_type() {
                return Ok(made);
            }
            Ok(cast_with_options(&made, field.data_type(), &refuse_overflow)?)
        });
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.count as usize));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?)
    }
}

impl Source for GeneratorSource {
    fn resolve_start(&self) -> Result<Positions> {
        Ok((0..self.lanes.options.partitions).map(|lane| (lane, 0)).collect())
    }

    /// Empty if the generator has no end.
    fn end_positions(&self) -> Result<Positions> {
        Ok((0..self.lanes.options.partitions).filter_map(|lane| Some((lane, self.lanes.end(lane)?))).collect())
    }

    fn past_end(&self) -> Result<Positions> {
        Ok(Positions::new())
    }

    fn run(&self, from: &Positions, until: Option<&Positions>, output: BatchSender) -> Result<Box<dyn RunningSource>> {
        let running =
            Arc::new(Running { stop: AtomicBool::new(false), active: AtomicUsize::new(0), failure: Mutex::new(None) });
        let mut tasks = Vec::new();
        for lane in 0..self.lanes.options.partitions {
            let start = from.get(&lane).copied().unwrap_or(0);
            let mut end = self.lanes.end(lane);
            if let Some(until) = until {
                let Some(limit) = until.get(&lane) else { continue };
                end = Some(end.map_or(*limit, |end| end.min(*limit)));
            }
            tasks.push((lane, start, end));
        }
        running.active.store(tasks.len(), Ordering::SeqCst);
        let bounded = tasks.iter().all(|(_, _, end)| end.is_some());
        for (lane, start, end) in tasks {
            let (lanes, running, output) = (Arc::clone(&self.lanes), Arc::clone(&running), output.clone());
            let paced = if until.is_some() { None } else { lanes.options.rate };
            std::thread::Builder::new()
                .name(format!("generator {lane}"))
                .spawn(move || {
                    if let Err(error) = lanes.generate(lane, start, end, paced, &running, &output) {
                        tracing::error!(source = lanes.name, %error, "generator stopped");
                        *running.failure.lock() = Some(error.to_string());
                    }
                    running.active.fetch_sub(1, Ordering::SeqCst);
                })
                .map_err(|error| Error::Io { path: "generator thread".into(), error })?;
        }
        Ok(Box::new(RunningGenerator { running, ends: self.end_positions()?, bounded }))
    }
}

impl Lanes {
    fn generate(
        &self,
        lane: PartitionId,
        start: i64,
        end: Option<i64>,
        rate: Option<f64>,
        running: &Running,
        output: &BatchSender,
    ) -> Result<()> {
        let end = end.unwrap_or(i64::MAX);
        let lanes = self.options.partitions as u64;
        let began = Instant::now();
        let first_event = self.table.event(start as u64 * lanes + lane as u64);
        let mut at = start;
        while at < end && !running.stop.load(Ordering::Relaxed) {
            let mut to = end.min(at + BATCH_ROWS as i64);
            if let Some(rate) = rate {
                let due = first_event + (began.elapsed().as_secs_f64() * rate) as u64;
                to = to.min(self.rows_in_lane(self.table.rows_before(due), lane as u64) as i64);
                if to <= at {
                    std::thread::sleep(TICK);
                    continue;
                }
            }
            let batch = self.batch(lane, at, to)?;
            let bytes = batch.get_array_memory_size().min((to - at) as usize * 512) as u64;
            let sent = output.send_unless(
                &running.stop,
                SourceBatch {
                    partition: lane,
                    first_offset: at,
                    next_offset: to,
                    delta: Delta::inserts(batch),
                    dead_letters: Vec::new(),
                    bytes,
                    created_ms: Some(now_ms()),
                    arrived: Instant::now(),
                },
            );
            if !sent {
                return Ok(());
            }
            at = to;
            if rate.is_some() && to - at < BATCH_ROWS as i64 {
                std::thread::sleep(TICK);
            }
        }
        Ok(())
    }
}

struct Running {
    stop: AtomicBool,
    active: AtomicUsize,
    failure: Mutex<Option<String>>,
}

struct RunningGenerator {
    running: Arc<Running>,
    ends: BTreeMap<PartitionId, i64>,
    bounded: bool,
}

impl RunningSource for RunningGenerator {
    fn status(&self) -> SourceStatus {
        let health = match &*self.running.failure.lock() {
            Some(reason) => Health::Failed(reason.clone()),
            None => Health::Running,
        };
        let finished = self.bounded && health == Health::Running && self.running.active.load(Ordering::SeqCst) == 0;
        SourceStatus { health, end_offsets: self.ends.clone(), finished, skipped: 0 }
    }
}

impl Drop for RunningGenerator {
    fn drop(&mut self) {
        self.running.stop.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
#[path = "generator_tests.rs"]
mod tests;
