//! Results on their way out: descriptions, rows with flow control, command tags.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::{BufMut, BytesMut};
use engine::{ResultColumn, Rows, type_numbers};
use futures::StreamExt;

use super::socket::Socket;
use super::watch::{Failure, Watch};
use crate::encode::{self, Format, RowEncoder, Style, patch_length};
use crate::error::WireError;

/// Rows of a point query that are sent without looking whether the client reads them: more go the way of all others.
pub(crate) const ROWS_AT_ONCE: usize = 64;

/// Appends the RowDescription of a result.
pub(crate) fn description(columns: &[ResultColumn], formats: &[Format], out: &mut BytesMut) {
    let start = out.len();
    out.put_u8(b'T');
    out.put_i32(0);
    // Columns are at most 1,664, as the planner sees to.
    out.put_i16(columns.len() as i16);
    for (index, column) in columns.iter().enumerate() {
        let (table, position) =
            column.origin.map_or((0, 0), |(id, position)| (id.wrapping_add(type_numbers::FIRST_OBJECT_OID), position));
        out.put_slice(column.name.as_bytes());
        out.put_u8(0);
        out.put_u32(table);
        out.put_i16(position);
        out.put_u32(type_numbers::oid(&column.sql_type));
        out.put_i16(type_numbers::size(&column.sql_type));
        out.put_i32(type_numbers::typmod(&column.sql_type));
        out.put_i16(formats.get(index).copied().unwrap_or_default().code());
    }
    patch_length(out, start + 1, out.len() - start - 1);
}

/// Appends the CommandComplete of a query.
pub(crate) fn select_complete(rows: usize, out: &mut BytesMut) {
    let start = out.len();
    out.put_slice(b"C\0\0\0\0SELECT ");
    out.put_slice(itoa::Buffer::new().format(rows).as_bytes());
    out.put_u8(0);
    patch_length(out, start + 1, out.len() - start - 1);
}

/// Appends all rows of a batch, however long.
pub(crate) fn append_rows(
    batch: &RecordBatch,
    columns: &[ResultColumn],
    formats: &[Format],
    style: &Style,
    out: &mut BytesMut,
) -> engine::Result<()> {
    let arrays = encode::arrays(batch, columns)?;
    let encoder = RowEncoder::new(&arrays, columns, formats, style)?;
    (0..batch.num_rows()).try_for_each(|row| encoder.encode(row, out))
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

    /// Of the rows of a query that are there already.
    pub(crate) fn of_batch(columns: Arc<[ResultColumn]>, batch: RecordBatch, formats: Vec<Format>) -> Self {
        let batches = futures::stream::empty().boxed();
        let rows = Rows { columns: Arc::clone(&columns), batches, tag: "SELECT".to_owned(), live: false };
        Self { columns, rows, formats, rest: Some((batch, 0)) }
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
