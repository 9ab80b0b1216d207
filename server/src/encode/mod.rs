//! Arrow batches as DataRow messages: text and binary forms as PostgreSQL writes them, straight into the connection's output buffer.
//!
//! A [`RowEncoder`] looks at types once per batch; per value there is one branch on the column's type and no allocation.

pub(crate) mod binary;
pub(crate) mod column;
mod copy;
pub(crate) mod datetime;
pub(crate) mod float;
pub(crate) mod interval;
pub(crate) mod numeric;
pub(crate) mod style;
pub(crate) mod text;

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use bytes::{BufMut, BytesMut};
use engine::{Error, ErrorKind, ResultColumn};

pub(crate) use column::Column;
pub(crate) use copy::{CopyEncoder, copy_header};
pub(crate) use style::Style;

/// How a column's values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// As a person reads it.
    #[default]
    Text,
    /// As PostgreSQL's `typsend` writes it.
    Binary,
}

impl Format {
    /// The number that stands for it in messages.
    pub(crate) fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// A DataRow's length and a value's length are four bytes with a sign.
const MAX_MESSAGE_BYTES: usize = i32::MAX as usize;

/// The columns of a batch in the shape that the encoder reads: as [`engine::SqlType::data_type`] carries them, cast where a plan produced a
/// cousin of that type.
pub(crate) fn arrays(batch: &RecordBatch, columns: &[ResultColumn]) -> engine::Result<Vec<ArrayRef>> {
    if batch.num_columns() != columns.len() {
        return Err(Error::internal(format!(
            "a result of {} columns came with {}",
            columns.len(),
            batch.num_columns()
        )));
    }
    batch.columns().iter().zip(columns).map(|(array, column)| column::carried(array, &column.sql_type)).collect()
}

/// Writes the rows of one batch.
pub(crate) struct RowEncoder<'a> {
    columns: Vec<(Column<'a>, Format)>,
    style: &'a Style,
}

impl<'a> RowEncoder<'a> {
    /// For arrays from [`arrays`], with a format for each.
    pub(crate) fn new(
        arrays: &'a [ArrayRef],
        columns: &'a [ResultColumn],
        formats: &[Format],
        style: &'a Style,
    ) -> engine::Result<Self> {
        let columns = arrays
            .iter()
            .zip(columns)
            .enumerate()
            .map(|(index, (array, column))| {
                let format = formats.get(index).copied().unwrap_or_default();
                Ok((Column::new(array, &column.sql_type)?, format))
            })
            .collect::<engine::Result<_>>()?;
        Ok(Self { columns, style })
    }

    /// Appends one DataRow message. On an error `out` is as it was.
    pub(crate) fn encode(&self, row: usize, out: &mut BytesMut) -> engine::Result<()> {
        let start = out.len();
        out.put_u8(b'D');
        out.put_i32(0);
        // Columns are at most 1,664, as the planner sees to.
        out.put_i16(self.columns.len() as i16);
        for (column, format) in &self.columns {
            if column.is_null(row) {
                out.put_i32(-1);
                continue;
            }
            let length_at = out.len();
            out.put_i32(0);
            let written = match format {
                Format::Text => {
                    text::write(column, row, self.style, out);
                    Ok(())
                }
                Format::Binary => binary::write(column, row, out),
            };
            if let Err(error) = written {
                out.truncate(start);
                return Err(error);
            }
            patch_length(out, length_at, out.len() - length_at - 4);
        }
        let length = out.len() - start - 1;
        if length > MAX_MESSAGE_BYTES {
            out.truncate(start);
            return Err(Error::new(
                ErrorKind::LimitExceeded,
                format!("a row of {length} bytes is too long for the protocol"),
            ));
        }
        patch_length(out, start + 1, length);
        Ok(())
    }
}

/// Writes a length into the four bytes that were kept for it.
pub(crate) fn patch_length(out: &mut BytesMut, at: usize, length: usize) {
    out[at..at + 4].copy_from_slice(&(length as i32).to_be_bytes());
}

#[cfg(test)]
mod tests;
