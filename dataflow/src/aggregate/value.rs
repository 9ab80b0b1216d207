//! Argument values as keys: comparable, hashable, and in order as bytes.
//!
//! Three forms cover all types: 64-bit codes (integers, dates and times, floating point numbers, booleans), 128-bit codes (decimals), and bytes
//! (text and bytea as they are, everything else in arrow-row's encoding). The order of codes and bytes is the order of SQL, where NaN is the largest
//! number, and `-0.0` equals `0.0`.

use std::borrow::Borrow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, PrimitiveArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    BinaryType, BinaryViewType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, LargeBinaryType, LargeUtf8Type, StringViewType, Time32MillisecondType, Time32SecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type, Utf8Type,
};
use arrow::row::{RowConverter, Rows, SortField};

use crate::{Error, Result};

/// In which form the values of a type are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Code64,
    Code128,
    Bytes,
}

/// The form for a type.
pub(super) fn form(data_type: &DataType) -> Form {
    match data_type {
        DataType::Decimal128(..) => Form::Code128,
        // No SQL type.
        DataType::Float16 => Form::Bytes,
        DataType::Boolean
        | DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(..)
        | DataType::Duration(_) => Form::Code64,
        number if number.is_integer() || number.is_floating() => Form::Code64,
        _ => Form::Bytes,
    }
}

/// A kind of value that tables are made of.
pub(super) trait Value: Clone + Ord + Send + Borrow<Self::Key> {
    /// A value of a column, before it is owned.
    type Ref<'a>: Copy + Borrow<Self::Key>;
    /// What both can be compared as.
    type Key: Ord + ?Sized;

    fn to_ref(&self) -> Self::Ref<'_>;
    fn own(value: Self::Ref<'_>) -> Self;
    fn is(&self, value: Self::Ref<'_>) -> bool;
    fn hash(value: Self::Ref<'_>) -> u64;
    /// Appends bytes whose order is the order of values.
    fn write_key(value: Self::Ref<'_>, out: &mut Vec<u8>);
    /// Reads what [`Value::write_key`] wrote; the bytes hold nothing else.
    fn read_key(bytes: &[u8]) -> Result<Self>;
    /// Bytes on the heap.
    fn heap_bytes(&self) -> usize;
}

/// The values of a column in one of the forms.
pub(super) trait Column<V: Value> {
    fn get(&self, row: usize) -> V::Ref<'_>;
}

#[inline]
fn mix(mut x: u64) -> u64 {
    x ^= x >> 32;
    x = x.wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^= x >> 32;
    x = x.wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ (x >> 32)
}

/// The hash of a value within a group.
#[inline]
pub(super) fn with_group(hash: u64, group: u32) -> u64 {
    mix(hash ^ u64::from(group).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Value for i64 {
    type Ref<'a> = i64;
    type Key = i64;

    #[inline]
    fn to_ref(&self) -> i64 {
        *self
    }

    #[inline]
    fn own(value: i64) -> Self {
        value
    }

    #[inline]
    fn is(&self, value: i64) -> bool {
        *self == value
    }

    #[inline]
    fn hash(value: i64) -> u64 {
        value as u64
    }

    fn write_key(value: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(&(value ^ i64::MIN).to_be_bytes());
    }

    fn read_key(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes.try_into().map_err(|_| corrupt("a value of 8 bytes"))?;
        Ok(i64::from_be_bytes(bytes) ^ i64::MIN)
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

impl Value for i128 {
    type Ref<'a> = i128;
    type Key = i128;

    #[inline]
    fn to_ref(&self) -> i128 {
        *self
    }

    #[inline]
    fn own(value: i128) -> Self {
        value
    }

    #[inline]
    fn is(&self, value: i128) -> bool {
        *self == value
    }

    #[inline]
    fn hash(value: i128) -> u64 {
        value as u64 ^ ((value >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn write_key(value: i128, out: &mut Vec<u8>) {
        out.extend_from_slice(&(value ^ i128::MIN).to_be_bytes());
    }

    fn read_key(bytes: &[u8]) -> Result<Self> {
        let bytes = bytes.try_into().map_err(|_| corrupt("a value of 16 bytes"))?;
        Ok(i128::from_be_bytes(bytes) ^ i128::MIN)
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

impl Value for Box<[u8]> {
    type Ref<'a> = &'a [u8];
    type Key = [u8];

    fn to_ref(&self) -> &[u8] {
        self
    }

    fn own(value: &[u8]) -> Self {
        value.into()
    }

    fn is(&self, value: &[u8]) -> bool {
        **self == *value
    }

    fn hash(value: &[u8]) -> u64 {
        xxhash_rust::xxh3::xxh3_64(value)
    }

    fn write_key(value: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(value);
    }

    fn read_key(bytes: &[u8]) -> Result<Self> {
        Ok(bytes.into())
    }

    fn heap_bytes(&self) -> usize {
        self.len()
    }
}

pub(super) fn corrupt(what: &str) -> Error {
    Error::Corrupt(format!("{what} was expected in an aggregate's state"))
}

impl Column<i64> for ScalarBuffer<i64> {
    #[inline]
    fn get(&self, row: usize) -> i64 {
        self[row]
    }
}

impl Column<i128> for ScalarBuffer<i128> {
    #[inline]
    fn get(&self, row: usize) -> i128 {
        self[row]
    }
}

/// A column in the form of bytes.
pub(super) enum ByteColumn {
    /// Text or bytea.
    Plain(ArrayRef),
    /// Any other type.
    Rows(Rows),
}

impl ByteColumn {
    pub(super) fn new(array: &ArrayRef) -> Result<Self> {
        if Self::is_plain(array.data_type()) {
            return Ok(Self::Plain(array.clone()));
        }
        let converter = RowConverter::new(vec![SortField::new(array.data_type().clone())])?;
        Ok(Self::Rows(converter.convert_columns(std::slice::from_ref(array))?))
    }

    fn is_plain(data_type: &DataType) -> bool {
        use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
        matches!(data_type, Utf8View | BinaryView | Utf8 | LargeUtf8 | Binary | LargeBinary)
    }
}

impl Column<Box<[u8]>> for ByteColumn {
    #[inline]
    fn get(&self, row: usize) -> &[u8] {
        match self {
            Self::Rows(rows) => rows.row(row).data(),
            Self::Plain(array) => match array.data_type() {
                DataType::Utf8View => array.as_byte_view::<StringViewType>().value(row).as_bytes(),
                DataType::BinaryView => array.as_byte_view::<BinaryViewType>().value(row),
                DataType::Utf8 => array.as_bytes::<Utf8Type>().value(row).as_bytes(),
                DataType::LargeUtf8 => array.as_bytes::<LargeUtf8Type>().value(row).as_bytes(),
                DataType::Binary => array.as_bytes::<BinaryType>().value(row),
                _ => array.as_bytes::<LargeBinaryType>().value(row),
            },
        }
    }
}

/// A number as a 64-bit code and back.
trait Code64: Copy {
    fn code(self) -> i64;
    fn of(code: i64) -> Self;
}

macro_rules! integer_code {
    ($($t:ty),*) => {$(
        impl Code64 for $t {
            #[inline]
            fn code(self) -> i64 {
                self as i64
            }

            #[inline]
            fn of(code: i64) -> Self {
                code as Self
            }
        }
    )*};
}
integer_code!(i8, i16, i32, i64, u8, u16, u32);

impl Code64 for u64 {
    #[inline]
    fn code(self) -> i64 {
        self as i64 ^ i64::MIN
    }

    #[inline]
    fn of(code: i64) -> Self {
        (code ^ i64::MIN) as u64
    }
}

impl Code64 for f64 {
    #[inline]
    fn code(self) -> i64 {
        let bits = if self.is_nan() { f64::NAN.to_bits() } else { (self + 0.0).to_bits() } as i64;
        bits ^ ((bits >> 63) as u64 >> 1) as i64
    }

    #[inline]
    fn of(code: i64) -> Self {
        f64::from_bits((code ^ ((code >> 63) as u64 >> 1) as i64) as u64)
    }
}

impl Code64 for f32 {
    #[inline]
    fn code(self) -> i64 {
        f64::from(self).code()
    }

    #[inline]
    fn of(code: i64) -> Self {
        f64::of(code) as f32
    }
}

fn codes<T: ArrowPrimitiveType>(array: &ArrayRef) -> ScalarBuffer<i64>
where
    T::Native: Code64,
{
    array.as_primitive::<T>().values().iter().map(|value| value.code()).collect::<Vec<_>>().into()
}

fn from_codes<T: ArrowPrimitiveType>(data_type: &DataType, codes: &[i64], nulls: Option<NullBuffer>) -> ArrayRef
where
    T::Native: Code64,
{
    let values: ScalarBuffer<T::Native> = codes.iter().map(|code| T::Native::of(*code)).collect::<Vec<_>>().into();
    Arc::new(PrimitiveArray::<T>::new(values, nulls).with_data_type(data_type.clone()))
}

/// The codes of a column of [`Form::Code64`]; what stands under a null means nothing.
pub(super) fn codes64(array: &ArrayRef) -> ScalarBuffer<i64> {
    match array.data_type() {
        DataType::Int8 => codes::<Int8Type>(array),
        DataType::Int16 => codes::<Int16Type>(array),
        DataType::Int32 => codes::<Int32Type>(array),
        DataType::UInt8 => codes::<UInt8Type>(array),
        DataType::UInt16 => codes::<UInt16Type>(array),
        DataType::UInt32 => codes::<UInt32Type>(array),
        DataType::UInt64 => codes::<UInt64Type>(array),
        DataType::Float32 => codes::<Float32Type>(array),
        DataType::Float64 => codes::<Float64Type>(array),
        DataType::Date32 => codes::<Date32Type>(array),
        DataType::Time32(arrow::datatypes::TimeUnit::Second) => codes::<Time32SecondType>(array),
        DataType::Time32(_) => codes::<Time32MillisecondType>(array),
        DataType::Boolean => array.as_boolean().values().iter().map(i64::from).collect::<Vec<_>>().into(),
        // All others are 64-bit integers: the values themselves.
        _ => {
            let data = array.to_data();
            ScalarBuffer::new(data.buffers()[0].clone(), data.offset(), data.len())
        }
    }
}

/// The column of which these are the codes.
pub(super) fn array_of_codes64(data_type: &DataType, codes: &[i64], nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Int8 => from_codes::<Int8Type>(data_type, codes, nulls),
        DataType::Int16 => from_codes::<Int16Type>(data_type, codes, nulls),
        DataType::Int32 => from_codes::<Int32Type>(data_type, codes, nulls),
        DataType::UInt8 => from_codes::<UInt8Type>(data_type, codes, nulls),
        DataType::UInt16 => from_codes::<UInt16Type>(data_type, codes, nulls),
        DataType::UInt32 => from_codes::<UInt32Type>(data_type, codes, nulls),
        DataType::UInt64 => from_codes::<UInt64Type>(data_type, codes, nulls),
        DataType::Float32 => from_codes::<Float32Type>(data_type, codes, nulls),
        DataType::Float64 => from_codes::<Float64Type>(data_type, codes, nulls),
        DataType::Date32 => from_codes::<Date32Type>(data_type, codes, nulls),
        DataType::Time32(arrow::datatypes::TimeUnit::Second) => from_codes::<Time32SecondType>(data_type, codes, nulls),
        DataType::Time32(_) => from_codes::<Time32MillisecondType>(data_type, codes, nulls),
        DataType::Boolean => Arc::new(BooleanArray::new(codes.iter().map(|code| *code != 0).collect(), nulls)),
        _ => {
            let integers = PrimitiveArray::<Int64Type>::new(codes.to_vec().into(), nulls).into_data();
            arrow::array::make_array(integers.into_builder().data_type(data_type.clone()).build()?)
        }
    })
}

/// The codes of a column of [`Form::Code128`].
pub(super) fn codes128(array: &ArrayRef) -> ScalarBuffer<i128> {
    array.as_primitive::<Decimal128Type>().values().clone()
}

/// The column of which these are the codes.
pub(super) fn array_of_codes128(data_type: &DataType, codes: &[i128], nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(Decimal128Array::new(codes.to_vec().into(), nulls).with_data_type(data_type.clone()))
}

/// The column of which these are the bytes; `None` is NULL.
pub(super) fn array_of_bytes<'a>(
    data_type: &DataType,
    values: impl Iterator<Item = Option<&'a [u8]>>,
) -> Result<ArrayRef> {
    if ByteColumn::is_plain(data_type) {
        let binary: arrow::array::BinaryViewArray = values.collect();
        return Ok(arrow::compute::cast(&binary, data_type)?);
    }
    let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
    let parser = converter.parser();
    let mut valid = Vec::new();
    let mut rows = Vec::new();
    for value in values {
        valid.push(value.map(|bytes| {
            rows.push(bytes);
            rows.len() as u32 - 1
        }));
    }
    let column = converter.convert_rows(rows.into_iter().map(|bytes| parser.parse(bytes)))?;
    Ok(arrow::compute::take(&column[0], &UInt32Array::from(valid), None)?)
}
