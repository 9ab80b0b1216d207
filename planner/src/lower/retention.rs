//! `WITH (retention = …)`: how long the rows of a view stay.

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use catalog::{Retention, TimeBound, TimeKind};

use super::lowered::Lowered;
use super::shared;
use crate::error::ErrorKind;
use crate::incremental::{Node, Retention as RetentionNode};
use crate::{Error, Result};

/// The view's rows, each until its time is so long ago. `schema` has the names of the view's columns.
///
/// By the watermark where one is known for the column, else by the epoch's timestamp. Views over this one see rows of closed windows go, so
/// that its columns no longer say that a row is complete; unless rows go silently.
pub(super) fn retained(input: Lowered, retention: Retention, schema: &SchemaRef) -> Result<Lowered> {
    let column = match retention.column {
        Some(column) => column,
        None => column_of_time(&input, schema)?,
    };
    let name = schema.field(column).name();
    if !is_time(schema.field(column).data_type()) {
        let message = format!("the rows of a view can't be kept by its column \"{name}\", which is no timestamp");
        return Err(Error::new(ErrorKind::InvalidOption, message));
    }
    let (window_us, watermark_of) = match &input.columns[column].time {
        Some(TimeBound { kind: TimeKind::Window { offset_us }, sources, .. }) => (*offset_us, sources.clone()),
        Some(TimeBound { kind: TimeKind::Event, sources, .. }) => (0, sources.clone()),
        None => (0, Vec::new()),
    };
    let is_final = matches!(&input.columns[column].time, Some(TimeBound { kind: TimeKind::Window { .. }, .. }));
    if retention.silent && !is_final && !input.node.append_only() {
        let message = "the rows of this view can't go silently, as they may still change";
        return Err(Error::new(ErrorKind::InvalidOption, message).with_hint(
            "That takes rows that are only ever added, or the windows of a source with a WATERMARK. Without on_expiry = 'silent' views, \
             subscribers and sinks are told that a row goes.",
        ));
    }
    let offset_us = retention.us.saturating_add(window_us);
    let Retention { silent, .. } = retention;
    let node = RetentionNode { input: input.node.clone(), column, offset_us, watermark_of, silent };
    let mut output = Lowered { node: shared(Node::Retention(node)), ..input };
    if !silent {
        output.columns.iter_mut().for_each(|column| column.time = None);
    }
    Ok(output)
}

/// The window's end, or its start, or a source's event time; else the one column that is a time.
fn column_of_time(input: &Lowered, schema: &SchemaRef) -> Result<usize> {
    if let Some((column, ..)) = input.window_column() {
        return Ok(column);
    }
    if let Some(column) = input.columns.iter().position(|column| column.time.is_some()) {
        return Ok(column);
    }
    let times: Vec<usize> =
        (0..input.columns.len()).filter(|column| is_time(schema.field(*column).data_type())).collect();
    match times.as_slice() {
        [column] => Ok(*column),
        [] => Err(Error::new(ErrorKind::InvalidOption, "retention needs a column of times, and the view has none")
            .with_hint("Add window_end, or the time of the row, to the select list.")),
        several => {
            let names: Vec<&str> = several.iter().map(|column| schema.field(*column).name().as_str()).collect();
            let message = format!("retention could go by several columns: {}", names.join(", "));
            Err(Error::new(ErrorKind::InvalidOption, message)
                .with_hint(format!("Say which: retention_column = '{}'.", names[0])))
        }
    }
}

fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _))
}
