//! `TUMBLE`, `HOP` and `CUMULATE`: which windows a row is in, by integer arithmetic on its time.
//!
//! - Rule: `Δout = { row × window : row ∈ Δin, window ∋ row's time, window open }`; it is linear.
//! - State: none.
//! - A retraction goes to the windows that its row went to, if they are open: what a closed window showed stays.
//!
//! A window is closed when the watermark before the epoch has reached its end. A row all of whose windows are closed is late and
//! comes out aside. (Akidau et al., "The Dataflow Model", VLDB 2015.)

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, SchemaRef, TimeUnit};
use catalog::ObjectId;
use delta::Delta;
use planner::incremental::{Window as Node, WindowKind};

use crate::exchange::map_each;
use crate::expression::{batch_of, nullable};
use crate::operator::{Operator, StepContext, StepOutput};
use crate::{Error, Result};

/// See [the module](self).
#[derive(Debug)]
pub struct Window {
    time: usize,
    kind: WindowKind,
    watermark_of: Vec<ObjectId>,
    schema: SchemaRef,
    time_type: DataType,
}

impl Window {
    /// The operator of a node.
    pub fn new(node: &Node) -> Result<Self> {
        let (slide_us, size_us) = node.kind.lengths();
        let time_type = node.input.schema().field(node.time).data_type().clone();
        if !matches!(time_type, DataType::Timestamp(TimeUnit::Microsecond, _)) || slide_us <= 0 || size_us <= 0 {
            return Err(Error::Broken(format!("windows of {size_us} by {slide_us} over a {time_type}")));
        }
        Ok(Self {
            time: node.time,
            kind: node.kind,
            watermark_of: node.watermark_of.clone(),
            schema: nullable(&node.schema),
            time_type,
        })
    }

    /// The rows in their windows, and the late rows.
    fn assign(&self, delta: &Delta, closed_to: Option<i64>) -> Result<(Option<Delta>, Option<Delta>)> {
        let times = cast(delta.column(self.time), &DataType::Int64)?;
        let times = times.as_primitive::<Int64Type>();
        let mut starts: Vec<i64> = Vec::with_capacity(times.len());
        let mut ends: Vec<i64> = Vec::with_capacity(times.len());
        let (step_us, size_us) = self.kind.lengths();
        let mut rows: Vec<u32> = Vec::with_capacity(times.len());
        let mut late: Vec<u32> = Vec::new();
        let is_open = |end: i64| closed_to.is_none_or(|closed| end > closed);
        for (row, time) in times.values().iter().enumerate() {
            if times.is_null(row) {
                continue;
            }
            // From the window that ends last to the one that ends first, while they are open.
            let mut window = match self.kind {
                WindowKind::Tumble { .. } | WindowKind::Hop { .. } => {
                    let newest = time.saturating_sub(time.rem_euclid(step_us));
                    (newest, newest.saturating_add(size_us))
                }
                WindowKind::Cumulate { .. } => {
                    let start = time.saturating_sub(time.rem_euclid(size_us));
                    (start, start.saturating_add(size_us))
                }
            };
            // With a slide longer than the windows there are gaps between them.
            if window.1 <= *time {
                continue;
            }
            if !is_open(window.1) {
                late.push(row as u32);
                continue;
            }
            while window.1 > *time && is_open(window.1) {
                starts.push(window.0);
                ends.push(window.1);
                rows.push(row as u32);
                let (Some(start), Some(end)) = (window.0.checked_sub(step_us), window.1.checked_sub(step_us)) else {
                    break;
                };
                window = (if let WindowKind::Cumulate { .. } = self.kind { window.0 } else { start }, end);
            }
        }
        let late = if late.is_empty() { None } else { Some(delta.take(&UInt32Array::from(late))?) };
        if rows.is_empty() {
            return Ok((None, late));
        }
        let each_once = rows.len() == delta.num_rows() && rows.iter().enumerate().all(|(i, row)| i == *row as usize);
        let kept = if each_once { delta.clone() } else { delta.take(&UInt32Array::from(rows))? };
        let mut columns = kept.batch().columns().to_vec();
        columns.push(self.time_column(starts)?);
        columns.push(self.time_column(ends)?);
        let rows = kept.num_rows();
        Ok((Some(kept.with_batch(batch_of(&self.schema, columns, rows)?)), late))
    }

    fn time_column(&self, values: Vec<i64>) -> Result<ArrayRef> {
        let values: ArrayRef = Arc::new(PrimitiveArray::from_iter_values(values) as Int64Array);
        Ok(cast(&values, &self.time_type)?)
    }
}

/// The rows of a batch in all their windows, for queries that aren't kept up to date: no window is ever closed.
pub fn assign_windows(batch: &RecordBatch, time: usize, kind: WindowKind, schema: &SchemaRef) -> Result<RecordBatch> {
    let time_type = batch.column(time).data_type().clone();
    let window = Window { time, kind, watermark_of: vec![], schema: nullable(schema), time_type };
    match window.assign(&Delta::inserts(batch.clone()), None)?.0 {
        Some(rows) => Ok(rows.batch().clone()),
        None => Ok(RecordBatch::new_empty(window.schema)),
    }
}

impl Operator for Window {
    fn step(&mut self, context: &StepContext<'_>, inputs: &[Vec<Delta>]) -> Result<StepOutput> {
        let closed_to = context.watermark_before(&self.watermark_of);
        let rows = inputs[0].iter().map(Delta::num_rows).sum();
        let mut output = StepOutput::default();
        for (kept, late) in map_each(context.workers, rows, &inputs[0], |delta| self.assign(delta, closed_to))? {
            output.deltas.extend(kept);
            output.late.extend(late);
        }
        Ok(output)
    }
}
