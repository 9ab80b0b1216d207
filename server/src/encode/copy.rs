//! Rows as lines of COPY's text format: tabs between values, `\N` for NULL, backslashes before what would be taken for either.

use arrow::array::ArrayRef;
use bytes::{BufMut, BytesMut};
use engine::ResultColumn;

use super::{Column, Style, patch_length, text};

/// Writes the rows of one batch, each as a CopyData message.
pub(crate) struct CopyEncoder<'a> {
    columns: Vec<Column<'a>>,
    style: &'a Style,
    /// A value before it is escaped.
    value: BytesMut,
}

impl<'a> CopyEncoder<'a> {
    /// For arrays from [`super::arrays`].
    pub(crate) fn new(arrays: &'a [ArrayRef], columns: &'a [ResultColumn], style: &'a Style) -> engine::Result<Self> {
        let columns = arrays.iter().zip(columns).map(|(array, column)| Column::new(array, &column.sql_type));
        Ok(Self { columns: columns.collect::<engine::Result<_>>()?, style, value: BytesMut::new() })
    }

    /// Appends one row.
    pub(crate) fn encode(&mut self, row: usize, out: &mut BytesMut) {
        let Self { columns, style, value } = self;
        line(out, columns.len(), |index, out| {
            if columns[index].is_null(row) {
                out.put_slice(b"\\N");
            } else {
                value.clear();
                text::write(&columns[index], row, style, value);
                escape(value, out);
            }
        });
    }
}

/// Appends the columns' names as a line.
pub(crate) fn copy_header(columns: &[ResultColumn], out: &mut BytesMut) {
    line(out, columns.len(), |index, out| escape(columns[index].name.as_bytes(), out));
}

fn line(out: &mut BytesMut, values: usize, mut write: impl FnMut(usize, &mut BytesMut)) {
    let start = out.len();
    out.put_u8(b'd');
    out.put_i32(0);
    for index in 0..values {
        if index > 0 {
            out.put_u8(b'\t');
        }
        write(index, out);
    }
    out.put_u8(b'\n');
    patch_length(out, start + 1, out.len() - start - 1);
}

fn escape(value: &[u8], out: &mut BytesMut) {
    for byte in value {
        match byte {
            b'\\' => out.put_slice(b"\\\\"),
            b'\t' => out.put_slice(b"\\t"),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            other => out.put_u8(*other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_value_or_a_line_is_escaped() {
        let mut out = BytesMut::new();
        escape(b"a\tb\\N\r\n\xc3\xa4", &mut out);
        assert_eq!(&out[..], b"a\\tb\\\\N\\r\\n\xc3\xa4");
    }

    #[test]
    fn a_line_is_one_message_with_its_length() {
        let mut out = BytesMut::new();
        line(&mut out, 2, |index, out| out.put_u8(b'x' + index as u8));
        assert_eq!(&out[..], b"d\0\0\0\x08x\ty\n");
    }
}
