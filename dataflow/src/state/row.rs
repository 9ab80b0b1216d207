//! Rows as bytes, for what keeps whole rows: views, join sides.
//!
//! A row is `[null bits][fixed-width values][end of each variable value: u32][variable bytes]`. Every column of a row is reached
//! without reading those before it, so a projection decodes only what it needs; equal rows are equal bytes, so a retraction
//! finds its row by comparing bytes. Encoding and decoding go column by column over a batch. Nested values are arrow-row's bytes.

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryViewArray, BooleanArray, GenericByteViewArray, MAX_INLINE_VIEW_LEN,
    RecordBatch, RecordBatchOptions, StringViewArray, make_array, make_view, new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{BinaryType, ByteViewType, DataType, LargeBinaryType, LargeUtf8Type, SchemaRef, Utf8Type};
use arrow::row::{RowConverter, Rows, SortField};

use crate::{Error, Result};

/// Encodes and decodes the rows of one schema.
#[derive(Debug)]
pub struct RowCodec {
    schema: SchemaRef,
    columns: Vec<Column>,
    null_bytes: usize,
    /// Bytes before the ends of the variable values.
    fixed_len: usize,
    /// How many variable values a row has.
    variable: usize,
    /// Bytes before the variable values.
    header_len: usize,
}

#[derive(Debug)]
struct Column {
    kind: Kind,
    /// Fixed: where the value is in the row. Variable: which of the variable values it is.
    at: usize,
}

#[derive(Debug)]
enum Kind {
    /// Of that many bytes.
    Fixed(usize),
    Boolean,
    /// Always null.
    Null,
    Text,
    Bytes,
    /// A type that isn't stored by itself; goes through arrow-row.
    Nested(RowConverter),
}

/// Rows as [`RowCodec::encode`] leaves them.
#[derive(Debug, Default)]
pub struct EncodedRows {
    bytes: Vec<u8>,
    /// Where each row begins, and one more: the end.
    starts: Vec<usize>,
}

impl EncodedRows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One row.
    #[inline]
    pub fn row(&self, index: usize) -> &[u8] {
        &self.bytes[self.starts[index]..self.starts[index + 1]]
    }

    /// Adds one row.
    pub fn push(&mut self, row: &[u8]) {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        self.bytes.extend_from_slice(row);
        self.starts.push(self.bytes.len());
    }

    /// Bytes of all rows.
    pub fn byte_size(&self) -> usize {
        self.bytes.len()
    }
}

impl RowCodec {
    /// A codec for rows of that schema.
    ///
    /// # Errors
    /// If a column has a type that nothing encodes.
    pub fn new(schema: SchemaRef) -> Result<Self> {
        let null_bytes = schema.fields().len().div_ceil(8);
        let mut fixed_len = null_bytes;
        let mut variable = 0;
        let mut columns = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let kind = Kind::of(field.data_type())?;
            let (fixed, at) = match &kind {
                Kind::Fixed(width) => (*width, fixed_len),
                Kind::Boolean => (1, fixed_len),
                Kind::Null => (0, 0),
                Kind::Text | Kind::Bytes | Kind::Nested(_) => {
                    variable += 1;
                    (0, variable - 1)
                }
            };
            fixed_len += fixed;
            columns.push(Column { kind, at });
        }
        Ok(Self { schema, columns, null_bytes, fixed_len, variable, header_len: fixed_len + 4 * variable })
    }

    /// The schema of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The length of the row that `bytes` begins with.
    #[inline]
    pub fn row_len(&self, bytes: &[u8]) -> usize {
        if self.variable == 0 { self.header_len } else { self.header_len + self.end(bytes, self.variable - 1) }
    }

    /// As [`RowCodec::row_len`]; `None` if `bytes` is too short for a row.
    pub fn checked_row_len(&self, bytes: &[u8]) -> Option<usize> {
        if bytes.len() < self.header_len {
            return None;
        }
        Some(self.row_len(bytes)).filter(|len| *len <= bytes.len())
    }

    /// The end of a variable value, counted from the header's end.
    #[inline]
    fn end(&self, row: &[u8], variable: usize) -> usize {
        let at = self.fixed_len + 4 * variable;
        let bytes = row[at..at + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes) as usize
    }

    #[inline]
    fn variable_value<'a>(&self, row: &'a [u8], variable: usize) -> &'a [u8] {
        let start = if variable == 0 { 0 } else { self.end(row, variable - 1) };
        &row[self.header_len + start..self.header_len + self.end(row, variable)]
    }

    /// The value of a column of 64-bit integers, or of times stored as such; `None` if it is null.
    #[inline]
    pub fn integer(&self, column: usize, row: &[u8]) -> Option<i64> {
        if row[column / 8] & 1 << (column % 8) != 0 {
            return None;
        }
        let at = self.columns[column].at;
        Some(i64::from_le_bytes(row[at..at + 8].try_into().expect("eight bytes")))
    }

    /// Encodes columns of this schema's types, `rows` long.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<EncodedRows> {
        let mut out = EncodedRows::default();
        self.encode_into(columns, rows, &mut out)?;
        Ok(out)
    }

    /// As [`RowCodec::encode`], into buffers that are used again.
    pub fn encode_into(&self, columns: &[ArrayRef], rows: usize, out: &mut EncodedRows) -> Result<()> {
        debug_assert_eq!(columns.len(), self.columns.len());
        let mut nested = Vec::new();
        let mut lengths = vec![self.header_len as u32; if self.variable == 0 { 0 } else { rows }];
        for (column, array) in self.columns.iter().zip(columns) {
            match &column.kind {
                Kind::Text | Kind::Bytes => add_lengths(array, &mut lengths)?,
                Kind::Nested(converter) => {
                    let encoded = converter.convert_columns(std::slice::from_ref(array))?;
                    for (row, length) in lengths.iter_mut().enumerate() {
                        if array.is_valid(row) {
                            *length += encoded.row_len(row) as u32;
                        }
                    }
                    nested.push(encoded);
                }
                Kind::Fixed(_) | Kind::Boolean | Kind::Null => {}
            }
        }
        out.starts.clear();
        out.starts.reserve(rows + 1);
        let mut end = 0;
        out.starts.push(0);
        if self.variable == 0 {
            out.starts.extend((1..=rows).map(|row| row * self.header_len));
            end = rows * self.header_len;
        } else {
            for length in &lengths {
                end += *length as usize;
                out.starts.push(end);
            }
        }
        out.bytes.clear();
        out.bytes.resize(end, 0);

        // How much of each row's variable part is written.
        let mut written = vec![0_u32; lengths.len()];
        let mut nested = nested.iter();
        for (index, (column, array)) in self.columns.iter().zip(columns).enumerate() {
            self.write_nulls(index, array, out);
            match &column.kind {
                Kind::Fixed(width) => write_fixed(*width, column.at, array, out),
                Kind::Boolean => write_booleans(column.at, array, out),
                Kind::Null => {}
                Kind::Text | Kind::Bytes => self.write_variable(column.at, array, &mut written, out),
                Kind::Nested(_) => {
                    let encoded: &Rows = nested.next().expect("one per nested column");
                    let value = |row: usize| if array.is_valid(row) { encoded.row(row).data() } else { &[] };
                    self.write_values(column.at, (0..rows).map(value), &mut written, out);
                }
            }
        }
        Ok(())
    }

    fn write_nulls(&self, index: usize, array: &ArrayRef, out: &mut EncodedRows) {
        if matches!(self.columns[index].kind, Kind::Null) {
            for start in &out.starts[..out.starts.len() - 1] {
                out.bytes[start + index / 8] |= 1 << (index % 8);
            }
            return;
        }
        let Some(nulls) = array.nulls().filter(|n| n.null_count() > 0) else { return };
        for (start, valid) in out.starts.iter().zip(nulls) {
            if !valid {
                out.bytes[start + index / 8] |= 1 << (index % 8);
            }
        }
    }

    fn write_variable(&self, variable: usize, array: &ArrayRef, written: &mut [u32], out: &mut EncodedRows) {
        match array.data_type() {
            DataType::Utf8View => self.write_views(variable, array.as_string_view(), written, out),
            DataType::BinaryView => self.write_views(variable, array.as_binary_view(), written, out),
            DataType::Utf8 => {
                let values = array.as_bytes::<Utf8Type>().iter().map(|v| v.map_or(&[][..], str::as_bytes));
                self.write_values(variable, values, written, out);
            }
            DataType::LargeUtf8 => {
                let values = array.as_bytes::<LargeUtf8Type>().iter().map(|v| v.map_or(&[][..], str::as_bytes));
                self.write_values(variable, values, written, out);
            }
            DataType::Binary => {
                let values = array.as_bytes::<BinaryType>().iter().map(Option::unwrap_or_default);
                self.write_values(variable, values, written, out);
            }
            DataType::LargeBinary => {
                let values = array.as_bytes::<LargeBinaryType>().iter().map(Option::unwrap_or_default);
                self.write_values(variable, values, written, out);
            }
            _ => {
                let values = array.as_fixed_size_binary().iter().map(Option::unwrap_or_default);
                self.write_values(variable, values, written, out);
            }
        }
    }

    fn write_views<T: ByteViewType>(
        &self,
        variable: usize,
        array: &GenericByteViewArray<T>,
        written: &mut [u32],
        out: &mut EncodedRows,
    ) {
        let value = |row: usize| -> &[u8] { if array.is_valid(row) { array.value(row).as_ref() } else { &[] } };
        self.write_values(variable, (0..array.len()).map(value), written, out);
    }

    #[inline]
    fn write_values<'a>(
        &self,
        variable: usize,
        values: impl Iterator<Item = &'a [u8]>,
        written: &mut [u32],
        out: &mut EncodedRows,
    ) {
        let end_at = self.fixed_len + 4 * variable;
        for ((value, start), written) in values.zip(&out.starts).zip(written) {
            let from = start + self.header_len + *written as usize;
            out.bytes[from..from + value.len()].copy_from_slice(value);
            *written += value.len() as u32;
            out.bytes[start + end_at..start + end_at + 4].copy_from_slice(&written.to_le_bytes());
        }
    }

    /// Decodes rows to a batch of this schema.
    pub fn decode(&self, rows: &[&[u8]]) -> Result<RecordBatch> {
        let columns = (0..self.columns.len()).map(|c| self.decode_column(c, rows)).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    /// Decodes one column.
    pub fn decode_column(&self, index: usize, rows: &[&[u8]]) -> Result<ArrayRef> {
        let column = &self.columns[index];
        let data_type = self.schema.field(index).data_type();
        let nulls = self.read_nulls(index, rows);
        let array = match &column.kind {
            Kind::Fixed(width) => {
                let data = ArrayData::builder(data_type.clone()).len(rows.len()).nulls(nulls);
                make_array(data.add_buffer(read_fixed(*width, column.at, rows)).build()?)
            }
            Kind::Boolean => {
                let values = BooleanBuffer::collect_bool(rows.len(), |row| rows[row][column.at] != 0);
                std::sync::Arc::new(BooleanArray::new(values, nulls))
            }
            Kind::Null => new_null_array(data_type, rows.len()),
            Kind::Text => {
                let (views, buffers) = self.read_views(column.at, rows);
                let array = StringViewArray::try_new(views, buffers, nulls)?;
                as_type(std::sync::Arc::new(array), data_type)?
            }
            Kind::Bytes => {
                let (views, buffers) = self.read_views(column.at, rows);
                let array = BinaryViewArray::try_new(views, buffers, nulls)?;
                as_type(std::sync::Arc::new(array), data_type)?
            }
            Kind::Nested(converter) => {
                let parser = converter.parser();
                let null = converter.convert_columns(&[new_null_array(data_type, 1)])?;
                let value = |row: &&[u8]| {
                    if row[index / 8] & 1 << (index % 8) != 0 {
                        return null.row(0).owned();
                    }
                    parser.parse(self.variable_value(row, column.at)).owned()
                };
                let values: Vec<_> = rows.iter().map(value).collect();
                let mut decoded = converter.convert_rows(values.iter().map(|v| v.row()))?;
                as_type(decoded.pop().expect("one column"), data_type)?
            }
        };
        Ok(array)
    }

    fn read_nulls(&self, index: usize, rows: &[&[u8]]) -> Option<NullBuffer> {
        let bit = 1 << (index % 8);
        let is_null = |row: &&[u8]| row[index / 8] & bit != 0;
        if !rows.iter().any(is_null) {
            return None;
        }
        Some(NullBuffer::new(BooleanBuffer::collect_bool(rows.len(), |row| !is_null(&rows[row]))))
    }

    fn read_views(&self, variable: usize, rows: &[&[u8]]) -> (ScalarBuffer<u128>, Vec<Buffer>) {
        let mut data: Vec<u8> = Vec::new();
        let mut buffers = Vec::new();
        let mut views = Vec::with_capacity(rows.len());
        for row in rows {
            let value = self.variable_value(row, variable);
            if value.len() <= MAX_INLINE_VIEW_LEN as usize {
                views.push(make_view(value, 0, 0));
                continue;
            }
            // A view's offset is an i32.
            if data.len() + value.len() > i32::MAX as usize {
                buffers.push(Buffer::from_vec(std::mem::take(&mut data)));
            }
            views.push(make_view(value, buffers.len() as u32, data.len() as u32));
            data.extend_from_slice(value);
        }
        if !data.is_empty() {
            buffers.push(Buffer::from_vec(data));
        }
        (ScalarBuffer::from(views), buffers)
    }

    /// Bytes of null bits that a row begins with.
    pub fn null_bytes(&self) -> usize {
        self.null_bytes
    }
}

impl Kind {
    fn of(data_type: &DataType) -> Result<Self> {
        if let Some(width) = data_type.primitive_width() {
            return Ok(Self::Fixed(width));
        }
        Ok(match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Null => Self::Null,
            DataType::Utf8View | DataType::Utf8 | DataType::LargeUtf8 => Self::Text,
            DataType::BinaryView | DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
                Self::Bytes
            }
            nested => {
                let field = SortField::new(nested.clone());
                if !RowConverter::supports_fields(std::slice::from_ref(&field)) {
                    return Err(Error::Unsupported(format!("storing a column of type {nested}")));
                }
                Self::Nested(RowConverter::new(vec![field])?)
            }
        })
    }
}

fn as_type(array: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if array.data_type() == data_type { Ok(array) } else { Ok(arrow::compute::cast(&array, data_type)?) }
}

/// Adds the lengths of a column's values to the lengths of their rows.
fn add_lengths(array: &ArrayRef, lengths: &mut [u32]) -> Result<()> {
    fn add(lengths: &mut [u32], values: impl Iterator<Item = u32>, nulls: Option<&NullBuffer>) {
        match nulls.filter(|n| n.null_count() > 0) {
            None => lengths.iter_mut().zip(values).for_each(|(length, value)| *length += value),
            Some(nulls) => {
                for ((length, value), valid) in lengths.iter_mut().zip(values).zip(nulls) {
                    *length += if valid { value } else { 0 };
                }
            }
        }
    }
    let nulls = array.nulls();
    match array.data_type() {
        DataType::Utf8View => add(lengths, array.as_string_view().views().iter().map(|v| *v as u32), nulls),
        DataType::BinaryView => add(lengths, array.as_binary_view().views().iter().map(|v| *v as u32), nulls),
        DataType::Utf8 => {
            add(lengths, array.as_bytes::<Utf8Type>().offsets().windows(2).map(|w| (w[1] - w[0]) as u32), nulls);
        }
        DataType::LargeUtf8 => {
            add(lengths, array.as_bytes::<LargeUtf8Type>().offsets().windows(2).map(|w| (w[1] - w[0]) as u32), nulls);
        }
        DataType::Binary => {
            add(lengths, array.as_bytes::<BinaryType>().offsets().windows(2).map(|w| (w[1] - w[0]) as u32), nulls);
        }
        DataType::LargeBinary => {
            add(lengths, array.as_bytes::<LargeBinaryType>().offsets().windows(2).map(|w| (w[1] - w[0]) as u32), nulls);
        }
        DataType::FixedSizeBinary(width) => {
            add(lengths, std::iter::repeat_n(*width as u32, array.len()), nulls);
        }
        other => return Err(Error::Broken(format!("a column of bytes came as {other}"))),
    }
    Ok(())
}

fn write_booleans(at: usize, array: &ArrayRef, out: &mut EncodedRows) {
    for (start, value) in out.starts.iter().zip(array.as_boolean()) {
        out.bytes[start + at] = u8::from(value == Some(true));
    }
}

fn write_fixed(width: usize, at: usize, array: &ArrayRef, out: &mut EncodedRows) {
    match width {
        1 => write_width::<1>(at, array, out),
        2 => write_width::<2>(at, array, out),
        4 => write_width::<4>(at, array, out),
        8 => write_width::<8>(at, array, out),
        16 => write_width::<16>(at, array, out),
        _ => write_width::<32>(at, array, out),
    }
}

fn write_width<const W: usize>(at: usize, array: &ArrayRef, out: &mut EncodedRows) {
    let data = array.to_data();
    let values = &data.buffers()[0].as_slice()[data.offset() * W..];
    let (values, _) = values.as_chunks::<W>();
    match array.nulls().filter(|n| n.null_count() > 0) {
        None => {
            for (start, value) in out.starts[..array.len()].iter().zip(values) {
                out.bytes[start + at..start + at + W].copy_from_slice(value);
            }
        }
        // What stands under a null stays zero: equal rows are equal bytes.
        Some(nulls) => {
            for ((start, value), valid) in out.starts.iter().zip(values).zip(nulls) {
                if valid {
                    out.bytes[start + at..start + at + W].copy_from_slice(value);
                }
            }
        }
    }
}

fn read_fixed(width: usize, at: usize, rows: &[&[u8]]) -> Buffer {
    fn read<const W: usize, T: arrow::datatypes::ArrowNativeType>(
        at: usize,
        rows: &[&[u8]],
        value: impl Fn([u8; W]) -> T,
    ) -> Buffer {
        let value = |row: &&[u8]| value(row[at..at + W].try_into().expect("as many bytes as the value is wide"));
        Buffer::from_vec(rows.iter().map(value).collect::<Vec<T>>())
    }
    match width {
        1 => read::<1, u8>(at, rows, u8::from_le_bytes),
        2 => read::<2, u16>(at, rows, u16::from_le_bytes),
        4 => read::<4, u32>(at, rows, u32::from_le_bytes),
        8 => read::<8, u64>(at, rows, u64::from_le_bytes),
        16 => read::<16, i128>(at, rows, i128::from_le_bytes),
        _ => read::<32, arrow::datatypes::i256>(at, rows, arrow::datatypes::i256::from_le_bytes),
    }
}

#[cfg(test)]
mod tests;
