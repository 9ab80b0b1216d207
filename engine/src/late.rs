//! Late rows as dead letters: the row as JSON, since its record is long decoded.

use std::sync::Arc;

use arrow::datatypes::Schema;
use bytes::Bytes;
use connectors::DeadLetter;
use dataflow::LateRows;
use delta::Delta;

use crate::{Error, Result};

/// One letter per row of one of its `deltas`.
pub(crate) fn letters(delta: &Delta, late: &LateRows) -> Result<Vec<DeadLetter>> {
    let LateRows { labels, window, .. } = late;
    let reason = format!("late: the watermark has passed the end of its window ({window})");
    let schema = delta.schema();
    let fields = schema.fields().iter().zip(labels).map(|(field, label)| field.as_ref().clone().with_name(label));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut lines = arrow::json::LineDelimitedWriter::new(Vec::new());
    let named = crate::query::named(delta.batch(), &schema);
    let written = named.and_then(|rows| lines.write(&rows)).and_then(|()| lines.finish());
    written.map_err(|e| Error::internal(format!("late rows can't be written as JSON: {e}")))?;
    let text = Bytes::from(lines.into_inner());
    let mut letters = Vec::with_capacity(delta.num_rows());
    let mut start = 0;
    for end in text.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at) {
        letters.push(DeadLetter {
            partition: crate::dead_letters::LATE,
            offset: -1,
            key: None,
            payload: Some(text.slice(start..end)),
            reason: reason.clone(),
            timestamp_ms: None,
        });
        start = end + 1;
    }
    Ok(letters)
}
