//! Blocks: some thousand rows as columns, small and quick to write. What a log is stored as.
//!
//! A block is `[rows: u32][where each column ends, counted from the first column: u32…][columns]`; the schema isn't stored. A column is `[1 if
//! there are nulls, else 0][if so, a bit a row: 1 is a value][values]`, and values are, by type:
//!
//! | type | values |
//! |---|---|
//! | integers, dates, times | the least one, and of each the difference to it, in as many bytes as the greatest difference needs |
//! | decimals | likewise, if the differences fit into eight bytes, else as they are |
//! | floating point numbers, intervals | as they are, or compressed |
//! | booleans | bits |
//! | texts and bytes | their lengths, as integers; then all bytes together, as they are or compressed |
//! | lists | an Arrow IPC record batch of the one column, compressed |
//!
//! Compression is LZ4, of a whole column, where a sample says that it saves something: numbers take a few bytes anyway, and texts without
//! repetitions would cost the time and save nothing. What is written depends on nothing but the batch.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Decimal128Array, GenericByteViewArray,
    MAX_INLINE_VIEW_LEN, RecordBatch, RecordBatchOptions, StringViewArray, UInt32Array, make_array, make_view,
    new_null_array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, ByteViewType, DataType, Decimal128Type, IntervalUnit, Schema, SchemaRef};
use delta::Delta;
use storage::checksum;

use super::ipc::Ipc;
use crate::{Error, Result};

/// Rows of a full block: enough for compression and for vectors, few enough that one row costs little to read.
pub(crate) const BLOCK_ROWS: usize = 8192;

/// How much of a column is compressed to see whether it is worth it.
const SAMPLE: usize = 16 * 1024;

/// What isn't longer is never compressed.
const SHORT: usize = 64;

/// Encodes and decodes blocks of one schema.
#[derive(Debug)]
pub(crate) struct BlockCodec {
    schema: SchemaRef,
    columns: Vec<Form>,
}

/// How the values of a column are written.
#[derive(Debug)]
enum Form {
    Null,
    Boolean,
    Int16,
    Int32,
    UInt32,
    Int64,
    Decimal,
    /// So many bytes each.
    Fixed(usize),
    Text,
    Bytes,
    Other(Ipc),
}

impl Form {
    fn of(data_type: &DataType) -> Result<Self> {
        use DataType as T;
        Ok(match data_type {
            T::Null => Self::Null,
            T::Boolean => Self::Boolean,
            T::Int16 => Self::Int16,
            T::Int32 | T::Date32 => Self::Int32,
            T::UInt32 => Self::UInt32,
            T::Int64 | T::Time64(_) | T::Timestamp(..) => Self::Int64,
            T::Decimal128(..) => Self::Decimal,
            T::Float32 => Self::Fixed(4),
            T::Float64 => Self::Fixed(8),
            T::Interval(IntervalUnit::MonthDayNano) => Self::Fixed(16),
            T::Utf8View => Self::Text,
            T::BinaryView => Self::Bytes,
            other => Self::Other(Ipc::new(other)?),
        })
    }
}

fn corrupt(what: &str) -> Error {
    Error::Corrupt(format!("a block of rows: {what}"))
}

/// The next so many bytes.
fn cut<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(len).ok_or_else(|| corrupt("too short"))?;
    *bytes = rest;
    Ok(head)
}

fn cut_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk().ok_or_else(|| corrupt("too short"))?;
    *bytes = rest;
    Ok(*head)
}

fn cut_u32(bytes: &mut &[u8]) -> Result<usize> {
    Ok(u32::from_le_bytes(cut_array(bytes)?) as usize)
}

fn length(len: usize) -> Result<[u8; 4]> {
    // Half of what 32 bits can count: Arrow's own buffers go no further.
    let len = i32::try_from(len).map_err(|_| Error::Unsupported("a block of rows of over 2 GiB".to_owned()))?;
    Ok(len.to_le_bytes())
}

impl BlockCodec {
    pub(crate) fn new(schema: SchemaRef) -> Result<Self> {
        let columns = schema.fields().iter().map(|field| Form::of(field.data_type())).collect::<Result<_>>()?;
        Ok(Self { schema, columns })
    }

    /// A block, behind `prefix`.
    pub(crate) fn encode(&self, prefix: &[u8], batch: &RecordBatch) -> Result<Vec<u8>> {
        let rows = batch.num_rows();
        let bound: usize = batch.columns().iter().map(bound).sum();
        let head = prefix.len() + 4 + 4 * self.columns.len();
        let mut out = Vec::with_capacity(head + bound);
        out.extend_from_slice(prefix);
        out.extend_from_slice(&length(rows)?);
        out.resize(head, 0);
        for (index, (form, column)) in self.columns.iter().zip(batch.columns()).enumerate() {
            write_column(form, column, &mut out)?;
            let end = prefix.len() + 4 + 4 * index;
            let written = length(out.len() - head)?;
            out[end..end + 4].copy_from_slice(&written);
        }
        Ok(out)
    }

    /// Decodes a block, or only some of its columns.
    pub(crate) fn decode(&self, bytes: &[u8], projection: Option<&[usize]>) -> Result<RecordBatch> {
        let mut rest = bytes;
        let rows = cut_u32(&mut rest)?;
        let mut ends = cut(&mut rest, 4 * self.columns.len())?;
        let ends: Vec<usize> = (0..self.columns.len()).map(|_| cut_u32(&mut ends)).collect::<Result<_>>()?;
        let read = |column: usize| -> Result<ArrayRef> {
            let start = if column == 0 { 0 } else { ends[column - 1] };
            let bytes = rest.get(start..ends[column]).ok_or_else(|| corrupt("a column is outside of it"))?;
            read_column(&self.columns[column], self.schema.field(column).data_type(), rows, bytes)
        };
        let (schema, columns) = match projection {
            Some(columns) => {
                let schema: Arc<Schema> = Arc::new(self.schema.project(columns)?);
                (schema, columns.iter().map(|column| read(*column)).collect::<Result<Vec<_>>>()?)
            }
            None => (self.schema.clone(), (0..self.columns.len()).map(read).collect::<Result<Vec<_>>>()?),
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }

    /// Rows of a block at some positions.
    pub(crate) fn decode_rows(&self, bytes: &[u8], rows: &UInt32Array) -> Result<RecordBatch> {
        let whole = self.decode(bytes, None)?;
        if rows.values().iter().any(|row| *row as usize >= whole.num_rows()) {
            return Err(corrupt("a row is missing"));
        }
        Ok(Delta::inserts(whole).take(rows)?.batch().clone())
    }
}

/// About how many bytes a column takes at most.
fn bound(column: &ArrayRef) -> usize {
    let rows = column.len();
    let lengths = |views: &[u128]| views.iter().map(|view| *view as u32 as usize).sum::<usize>();
    let values = match column.data_type() {
        DataType::Utf8View => 4 * rows + lengths(column.as_string_view().views()),
        DataType::BinaryView => 4 * rows + lengths(column.as_binary_view().views()),
        other => other.primitive_width().unwrap_or(16) * rows,
    };
    64 + rows / 8 + values
}

fn write_column(form: &Form, column: &ArrayRef, out: &mut Vec<u8>) -> Result<()> {
    // Others write their nulls themselves.
    let own = matches!(form, Form::Null | Form::Other(_));
    let nulls = column.nulls().filter(|nulls| !own && nulls.null_count() > 0);
    out.push(u8::from(nulls.is_some()));
    if let Some(nulls) = nulls {
        write_bits(nulls.inner(), out);
    }
    let data = || column.to_data();
    match form {
        Form::Null => {}
        Form::Boolean => write_bits(column.as_boolean().values(), out),
        Form::Int16 => pack(data().buffer::<i16>(0), nulls, out),
        Form::Int32 => pack(data().buffer::<i32>(0), nulls, out),
        Form::UInt32 => pack(data().buffer::<u32>(0), nulls, out),
        Form::Int64 => pack(data().buffer::<i64>(0), nulls, out),
        Form::Decimal => pack_decimals(column.as_primitive::<Decimal128Type>().values(), nulls, out),
        Form::Fixed(width) => {
            let data = data();
            let bytes = &data.buffers()[0].as_slice()[data.offset() * width..][..data.len() * width];
            let start = begin_chunk(out);
            out.extend_from_slice(bytes);
            end_chunk(start, out)?;
        }
        Form::Text => write_views(column.as_string_view(), out)?,
        Form::Bytes => write_views(column.as_binary_view(), out)?,
        Form::Other(ipc) => ipc.encode(column, out)?,
    }
    Ok(())
}

fn read_column(form: &Form, data_type: &DataType, rows: usize, mut bytes: &[u8]) -> Result<ArrayRef> {
    let nulls = match cut_array::<1>(&mut bytes)? {
        [0] => None,
        _ => Some(NullBuffer::new(read_bits(&mut bytes, rows)?)),
    };
    let fixed = |values: Buffer, nulls: Option<NullBuffer>| -> Result<ArrayRef> {
        let data = ArrayData::builder(data_type.clone()).len(rows).nulls(nulls).add_buffer(values);
        Ok(make_array(data.build()?))
    };
    match form {
        Form::Null => Ok(new_null_array(data_type, rows)),
        Form::Boolean => Ok(Arc::new(BooleanArray::new(read_bits(&mut bytes, rows)?, nulls))),
        Form::Int16 => fixed(Buffer::from_vec(unpack(&mut bytes, rows, |value| value as i16)?), nulls),
        Form::Int32 => fixed(Buffer::from_vec(unpack(&mut bytes, rows, |value| value as i32)?), nulls),
        Form::UInt32 => fixed(Buffer::from_vec(unpack(&mut bytes, rows, |value| value as u32)?), nulls),
        Form::Int64 => fixed(Buffer::from_vec(unpack(&mut bytes, rows, |value| value as i64)?), nulls),
        Form::Decimal => {
            let values = ScalarBuffer::from(unpack_decimals(&mut bytes, rows)?);
            Ok(Arc::new(Decimal128Array::try_new(values, nulls)?.with_data_type(data_type.clone())))
        }
        Form::Fixed(width) => {
            let values = read_chunk(&mut bytes)?;
            if values.len() != rows * width {
                return Err(corrupt("values are missing"));
            }
            // A copy, so that it is aligned.
            fixed(Buffer::from_slice_ref(values.as_ref()), nulls)
        }
        Form::Text => {
            let (views, buffers) = read_views(&mut bytes, rows)?;
            Ok(Arc::new(StringViewArray::try_new(views, buffers, nulls)?))
        }
        Form::Bytes => {
            let (views, buffers) = read_views(&mut bytes, rows)?;
            Ok(Arc::new(BinaryViewArray::try_new(views, buffers, nulls)?))
        }
        Form::Other(ipc) => ipc.decode(bytes),
    }
}

fn write_bits(bits: &BooleanBuffer, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(bits.sliced().as_slice());
    out.truncate(start + bits.len().div_ceil(8));
    // What stands behind the last bit means nothing.
    let used = bits.len() % 8;
    if used != 0
        && let Some(last) = out.last_mut()
    {
        *last &= (1_u8 << used) - 1;
    }
}

fn read_bits(bytes: &mut &[u8], rows: usize) -> Result<BooleanBuffer> {
    Ok(BooleanBuffer::new(Buffer::from(cut(bytes, rows.div_ceil(8))?), 0, rows))
}

/// Writes integers as differences to the least one. What stands in the place of a null doesn't matter.
fn pack<T: ArrowNativeType + Into<i64>>(values: &[T], nulls: Option<&NullBuffer>, out: &mut Vec<u8>) {
    let Some(nulls) = nulls else { return pack_all(values, out) };
    let least: i64 = nulls.valid_indices().map(|row| -> i64 { values[row].into() }).min().unwrap_or(0);
    let value = |(row, value): (usize, &T)| -> i64 { if nulls.is_valid(row) { (*value).into() } else { least } };
    pack_all(&values.iter().enumerate().map(value).collect::<Vec<i64>>(), out);
}

fn pack_all<T: Copy + Into<i64>>(values: &[T], out: &mut Vec<u8>) {
    let (mut least, mut greatest) = (i64::MAX, i64::MIN);
    for value in values {
        let value: i64 = (*value).into();
        least = least.min(value);
        greatest = greatest.max(value);
    }
    if values.is_empty() {
        (least, greatest) = (0, 0);
    }
    out.extend_from_slice(&least.to_le_bytes());
    let number = |value: &T| -> i64 { (*value).into() };
    let differences = values.iter().map(|value| number(value).wrapping_sub(least) as u64);
    pack_differences(greatest.wrapping_sub(least) as u64, differences, out);
}

/// Writes numbers of which none is above `greatest` in as many bytes as that needs; how many stands before them.
fn pack_differences(greatest: u64, values: impl ExactSizeIterator<Item = u64>, out: &mut Vec<u8>) {
    fn all<const WIDTH: usize>(values: impl ExactSizeIterator<Item = u64>, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + values.len() * WIDTH, 0);
        for (to, value) in out[start..].chunks_exact_mut(WIDTH).zip(values) {
            to.copy_from_slice(&value.to_le_bytes()[..WIDTH]);
        }
    }
    let width = (64 - greatest.leading_zeros()).div_ceil(8) as u8;
    out.push(width);
    match width {
        0 => {}
        1 => all::<1>(values, out),
        2 => all::<2>(values, out),
        3 => all::<3>(values, out),
        4 => all::<4>(values, out),
        5 => all::<5>(values, out),
        6 => all::<6>(values, out),
        7 => all::<7>(values, out),
        _ => all::<8>(values, out),
    }
}

fn unpack<T>(bytes: &mut &[u8], rows: usize, typed: impl Fn(u64) -> T) -> Result<Vec<T>> {
    let least = u64::from_le_bytes(cut_array(bytes)?);
    unpack_differences(bytes, rows, |difference| typed(least.wrapping_add(difference)))
}

fn unpack_differences<T>(bytes: &mut &[u8], rows: usize, typed: impl Fn(u64) -> T) -> Result<Vec<T>> {
    fn all<const WIDTH: usize, T>(packed: &[u8], typed: impl Fn(u64) -> T) -> Vec<T> {
        let value = |bytes: &[u8]| {
            let mut value = [0; 8];
            value[..WIDTH].copy_from_slice(bytes);
            typed(u64::from_le_bytes(value))
        };
        packed.chunks_exact(WIDTH).map(value).collect()
    }
    let [width] = cut_array(bytes)?;
    let packed = cut(bytes, rows.checked_mul(usize::from(width)).ok_or_else(|| corrupt("too short"))?)?;
    Ok(match width {
        0 => (0..rows).map(|_| typed(0)).collect(),
        1 => all::<1, T>(packed, typed),
        2 => all::<2, T>(packed, typed),
        3 => all::<3, T>(packed, typed),
        4 => all::<4, T>(packed, typed),
        5 => all::<5, T>(packed, typed),
        6 => all::<6, T>(packed, typed),
        7 => all::<7, T>(packed, typed),
        8 => all::<8, T>(packed, typed),
        _ => return Err(corrupt("numbers of over eight bytes")),
    })
}

/// Decimals are differences to the least one, or what they are: a 1 before them says which.
fn pack_decimals(values: &[i128], nulls: Option<&NullBuffer>, out: &mut Vec<u8>) {
    let is_valid = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
    let valid = || values.iter().enumerate().filter(|(row, _)| is_valid(*row)).map(|(_, value)| *value);
    let least = valid().min().unwrap_or(0);
    let greatest = valid().max().unwrap_or(0);
    let value = |row: usize| if is_valid(row) { values[row] } else { least };
    match greatest.checked_sub(least).and_then(|difference| u64::try_from(difference).ok()) {
        Some(difference) => {
            out.push(0);
            out.extend_from_slice(&least.to_le_bytes());
            pack_differences(difference, (0..values.len()).map(|row| (value(row) - least) as u64), out);
        }
        None => {
            out.push(1);
            (0..values.len()).for_each(|row| out.extend_from_slice(&value(row).to_le_bytes()));
        }
    }
}

fn unpack_decimals(bytes: &mut &[u8], rows: usize) -> Result<Vec<i128>> {
    if cut_array::<1>(bytes)? == [0_u8] {
        let least = i128::from_le_bytes(cut_array(bytes)?);
        return unpack_differences(bytes, rows, |difference| least.wrapping_add(i128::from(difference)));
    }
    (0..rows).map(|_| Ok(i128::from_le_bytes(cut_array(bytes)?))).collect()
}

/// Lengths, then all bytes together.
fn write_views<T: ByteViewType>(array: &GenericByteViewArray<T>, out: &mut Vec<u8>) -> Result<()> {
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    let is_valid = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
    let lengths = array.views().iter().enumerate().map(|(row, view)| if is_valid(row) { *view as u32 } else { 0 });
    let lengths: Vec<u32> = lengths.collect();
    pack_all(&lengths, out);
    let start = begin_chunk(out);
    let buffers = array.data_buffers();
    for (view, len) in array.views().iter().zip(lengths) {
        if len <= MAX_INLINE_VIEW_LEN {
            out.extend_from_slice(&view.to_le_bytes()[4..4 + len as usize]);
        } else {
            let (buffer, offset) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
            out.extend_from_slice(&buffers[buffer].as_slice()[offset..offset + len as usize]);
        }
    }
    end_chunk(start, out)
}

fn read_views(bytes: &mut &[u8], rows: usize) -> Result<(ScalarBuffer<u128>, Vec<Buffer>)> {
    let lengths = unpack(bytes, rows, |len| len as u32 as usize)?;
    let text = match read_chunk(bytes)? {
        Chunk::Plain(text) => Buffer::from(text),
        Chunk::Decompressed(text) => Buffer::from_vec(text),
    };
    let mut views = Vec::with_capacity(rows);
    let mut at = 0;
    for len in lengths {
        let value = text.get(at..at + len).ok_or_else(|| corrupt("a text is outside of it"))?;
        views.push(make_view(value, 0, at as u32));
        at += len;
    }
    Ok((views.into(), vec![text]))
}

/// Bytes before a chunk: `[1 if it is compressed, else 0][its length][its length when decompressed][its checksum, if it is compressed]`.
const CHUNK_HEAD: usize = 13;

/// Room for what says how the bytes that follow are written.
fn begin_chunk(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; CHUNK_HEAD]);
    out.len()
}

/// The bytes from `start` on are a chunk: compresses them, if that is worth it.
fn end_chunk(start: usize, out: &mut Vec<u8>) -> Result<()> {
    let len = out.len() - start;
    let compressed = compressed(&out[start..]);
    if let Some(compressed) = &compressed {
        out.truncate(start);
        out.extend_from_slice(compressed);
    }
    let stored = length(out.len() - start)?;
    let sum = if compressed.is_some() { checksum(&out[start..]) } else { 0 };
    let head = &mut out[start - CHUNK_HEAD..start];
    head[0] = u8::from(compressed.is_some());
    head[1..5].copy_from_slice(&stored);
    head[5..9].copy_from_slice(&length(len)?);
    head[9..].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

/// Bytes compressed; `None` if that saves less than an eighth.
fn compressed(bytes: &[u8]) -> Option<Vec<u8>> {
    let saves = |before: usize, after: usize| after < before - before / 8;
    if bytes.len() <= SHORT {
        return None;
    }
    if bytes.len() > 2 * SAMPLE {
        let middle = (bytes.len() - SAMPLE) / 2;
        let sample = lz4_flex::block::compress(&bytes[middle..middle + SAMPLE]);
        if !saves(SAMPLE, sample.len()) {
            return None;
        }
    }
    Some(lz4_flex::block::compress(bytes)).filter(|compressed| saves(bytes.len(), compressed.len()))
}

enum Chunk<'a> {
    Plain(&'a [u8]),
    Decompressed(Vec<u8>),
}

impl Chunk<'_> {
    fn len(&self) -> usize {
        self.as_ref().len()
    }
}

impl AsRef<[u8]> for Chunk<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Decompressed(bytes) => bytes,
        }
    }
}

fn read_chunk<'a>(bytes: &mut &'a [u8]) -> Result<Chunk<'a>> {
    let [is_compressed] = cut_array(bytes)?;
    let (stored, len, sum) = (cut_u32(bytes)?, cut_u32(bytes)?, u32::from_le_bytes(cut_array(bytes)?));
    let stored = cut(bytes, stored)?;
    if is_compressed == 0 {
        return Ok(Chunk::Plain(stored));
    }
    // The decoder trusts what it is given.
    if checksum(stored) != sum {
        return Err(corrupt("its checksum is another"));
    }
    // LZ4 makes at most 255 bytes of one: a damaged length must not take all memory.
    if len / 255 > stored.len() {
        return Err(corrupt("a length that can't be"));
    }
    let whole = lz4_flex::block::decompress(stored, len).map_err(|error| corrupt(&error.to_string()))?;
    if whole.len() == len { Ok(Chunk::Decompressed(whole)) } else { Err(corrupt("bytes are missing")) }
}

#[cfg(test)]
mod tests;
