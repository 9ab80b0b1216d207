//! Results on their way out: descriptions, rows with flow control, command tags.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use engine::{ResultColumn, Rows, type_numbers};
use futures::StreamExt;
use pgwire::messages::data::{FieldDescription, RowDescription};

use super::socket::Socket;
use super::watch::{Failure, Watch};
use crate::encode::{self, Format, RowEncoder, Style};
use crate::error::WireError;

/// The RowDescription of a result.
pub(crate) fn description(columns: &[ResultColumn], formats: &[Format]) -> RowDescription {
    let fields = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let (table, position) = column
                .origin
                .map_or((0, 0), |(id, position)| (id.wrapping_add(type_numbers::FIRST_OBJECT_OID), position));
            FieldDescription::new(
                column.name.clone(),
                table as i32,
                position,
                type_numbers::oid(&column.sql_type),
                type_numbers::size(&column.sql_type),
                type_numbers::typmod(&column.sql_type),
                formats.get(index).copied().unwrap_or_default().code(),
            )
        })
        .collect();
    RowDescription::new(fields)
}

/// A result that is being sent, maybe in several parts.
pub(crate) struct Sending {
    columns: Arc<[ResultColumn]>,
    rows: Rows,
    formats: Vec<Format>,
    /// A batch that a row limit has split, and its next row.
    rest: Option<(RecordBatch, usize)>,
}

/// How a part of a result ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// All rows are out; this is the command tag.
    Complete(String),
    /// The row limit was reached.
    Suspended,
}

impl Sending {
    /// Of `rows`, with a format for each column.
    pub(crate) fn new(rows: Rows, formats: Vec<Format>) -> Self {
        Self { columns: Arc::clone(&rows.columns), rows, formats, rest: None }
    }

    /// Sends rows up to `limit` (0: all). The count in the tag is this part's.
    pub(crate) async fn send(
        &mut self,
        socket: &mut Socket,
        watch: &Watch,
        style: &Style,
        text: &str,
        limit: usize,
    ) -> Result<Sent, Failure> {
        let mut count = 0;
        loop {
            let (batch, first) = match self.rest.take() {
                Some(rest) => rest,
                None => match watch.wait(socket, self.rows.batches.next()).await? {
                    Some(batch) => (batch.map_err(|error| WireError::of_engine(error, text))?, 0),
                    None => return Ok(Sent::Complete(self.tag(count))),
                },
            };
            watch.check_time()?;
            let end = match limit {
                0 => batch.num_rows(),
                limit => batch.num_rows().min(first + (limit - count)),
            };
            send_batch(socket, &self.columns, &self.formats, style, text, &batch, first..end).await?;
            count += end - first;
            if limit != 0 && count == limit {
                self.rest = (end < batch.num_rows()).then_some((batch, end));
                return Ok(Sent::Suspended);
            }
        }
    }

    /// PostgreSQL counts rows in the tag, but not those of SHOW and EXPLAIN.
    fn tag(&self, count: usize) -> String {
        match self.rows.tag.as_str() {
            tag @ ("SHOW" | "EXPLAIN") => tag.to_owned(),
            tag => format!("{tag} {count}"),
        }
    }
}

/// Appends rows of a batch, sending whenever enough has gathered.
async fn send_batch(
    socket: &mut Socket,
    columns: &[ResultColumn],
    formats: &[Format],
    style: &Style,
    text: &str,
    batch: &RecordBatch,
    range: std::ops::Range<usize>,
) -> Result<(), Failure> {
    let failed = |error| WireError::of_engine(error, text);
    let arrays = encode::arrays(batch, columns).map_err(failed)?;
    let encoder = RowEncoder::new(&arrays, columns, formats, style).map_err(failed)?;
    for row in range {
        encoder.encode(row, &mut socket.output).map_err(failed)?;
        if socket.is_full() {
            socket.flush().await?;
        }
    }
    Ok(())
}
