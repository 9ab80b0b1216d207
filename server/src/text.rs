//! Rows as text for tools in the same process (`millrace run`, tests): the forms that a client would get over the wire.

use arrow::record_batch::RecordBatch;
use bytes::BytesMut;
use engine::ResultColumn;

use crate::encode::{Column, Style, arrays, text};

/// How a session wants its values written.
pub struct Text(Style);

impl Text {
    /// From the session's settings.
    pub fn of(setting: impl Fn(&str) -> Option<String>) -> Self {
        Self(Style::of(setting))
    }

    /// Every row of a batch; NULL is `None`.
    pub fn rows(&self, columns: &[ResultColumn], batch: &RecordBatch) -> engine::Result<Vec<Vec<Option<String>>>> {
        let arrays = arrays(batch, columns)?;
        let written: Vec<_> = arrays
            .iter()
            .zip(columns)
            .map(|(array, column)| Column::new(array, &column.sql_type))
            .collect::<engine::Result<_>>()?;
        let mut out = BytesMut::new();
        let mut value = |column: &Column<'_>, row| {
            if column.is_null(row) {
                return None;
            }
            out.clear();
            text::write(column, row, &self.0, &mut out);
            Some(String::from_utf8_lossy(&out).into_owned())
        };
        Ok((0..batch.num_rows()).map(|row| written.iter().map(|column| value(column, row)).collect()).collect())
    }
}
