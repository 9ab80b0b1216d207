//! Where a row belongs: a stable hash of its key columns, cut into virtual nodes and shards.
//!
//! The virtual node is part of every state key on disk, so the hash must never change: not with the version,
//! the machine, or the batch in which a row arrives. `golden_hashes` in the tests pins it. It is written out here
//! instead of taken from a library, whose hash may change with any release; only the hash of long strings is
//! XXH3, which is frozen by its specification.
//!
//! Values that SQL calls equal hash equal: `-0.0` and `0.0`, every NaN, one integer in columns of different
//! widths, one string as text, view or dictionary. NULL hashes like any other value, because groups and joins
//! must place it somewhere too.

use arrow::array::{
    Array, ArrayRef, AsArray, GenericByteArray, GenericByteViewArray, MAX_INLINE_VIEW_LEN, OffsetSizeTrait,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowNativeType, BinaryType, BinaryViewType, ByteArrayType, ByteViewType, DataType, IntervalDayTime,
    IntervalMonthDayNano, IntervalUnit, LargeBinaryType, LargeUtf8Type, StringViewType, Utf8Type, i256,
};
use xxhash_rust::xxh3::xxh3_64;

/// A virtual node: the unit in which state could move between machines. Stored in every state key.
pub type Vnode = u8;

/// How many virtual nodes there are. Fixed for ever: it is on disk.
pub const VNODES: usize = 256;

/// Into how many shards an epoch's work is cut, whatever the number of workers, so that results and state bytes
/// don't depend on it. Enough for 16 cores, and few enough that a shard of a small epoch still holds a batch of rows.
pub const SHARDS: usize = 16;

/// Virtual nodes of one shard: a contiguous range, so a shard's keys of one state are contiguous too.
pub const VNODES_PER_SHARD: usize = VNODES / SHARDS;

/// The hash of a key without columns (the one group of an aggregate without GROUP BY).
pub const EMPTY_KEY_HASH: u64 = 0x243f_6a88_85a3_08d3;

const NULL: u64 = 0xa409_3822_299f_31d0;
const LIST: u64 = 0x082e_fa98_ec4e_6c89;
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The virtual node of a row with that hash.
///
/// Not the topmost bits: hash tables tell entries apart by those (hashbrown by the top seven), and all rows of
/// one virtual node would share them.
#[must_use]
pub fn vnode_of(hash: u64) -> Vnode {
    (hash >> 48) as u8
}

/// The shard that owns a virtual node.
#[must_use]
pub fn shard_of(vnode: Vnode) -> usize {
    usize::from(vnode) / VNODES_PER_SHARD
}

/// The virtual nodes of a shard, first and last.
#[must_use]
pub fn vnodes_of(shard: usize) -> std::ops::RangeInclusive<Vnode> {
    assert!(shard < SHARDS, "there are {SHARDS} shards");
    let first = shard * VNODES_PER_SHARD;
    first as Vnode..=(first + VNODES_PER_SHARD - 1) as Vnode
}

/// Hashes the rows of `columns` into `out`, which is cleared first and then holds one hash per row.
///
/// Without columns there are no rows to count, and `out` stays empty; the hash of such a key is [`EMPTY_KEY_HASH`].
///
/// # Panics
/// If a column has a type in which no SQL type is stored (half float, union, run-end encoded, list view).
pub fn hash_rows(columns: &[ArrayRef], out: &mut Vec<u64>) {
    out.clear();
    let Some(first) = columns.first() else { return };
    out.resize(first.len(), EMPTY_KEY_HASH);
    for column in columns {
        assert_eq!(column.len(), out.len(), "columns of one batch have one length");
        fold(column, out);
    }
}

/// Folds one more column into the hashes of its rows.
fn fold(array: &dyn Array, hashes: &mut [u64]) {
    use DataType as T;
    match array.data_type() {
        T::Int8 => fold_values::<i8>(array, hashes),
        T::Int16 => fold_values::<i16>(array, hashes),
        T::Int32 | T::Date32 | T::Time32(_) | T::Decimal32(_, _) => fold_values::<i32>(array, hashes),
        T::Int64 | T::Date64 | T::Time64(_) | T::Timestamp(_, _) | T::Duration(_) | T::Decimal64(_, _) => {
            fold_values::<i64>(array, hashes);
        }
        T::UInt8 => fold_values::<u8>(array, hashes),
        T::UInt16 => fold_values::<u16>(array, hashes),
        T::UInt32 => fold_values::<u32>(array, hashes),
        T::UInt64 => fold_values::<u64>(array, hashes),
        T::Float32 => fold_values::<f32>(array, hashes),
        T::Float64 => fold_values::<f64>(array, hashes),
        T::Decimal128(_, _) => fold_values::<i128>(array, hashes),
        T::Decimal256(_, _) => fold_values::<i256>(array, hashes),
        T::Interval(IntervalUnit::YearMonth) => fold_values::<i32>(array, hashes),
        T::Interval(IntervalUnit::DayTime) => fold_values::<IntervalDayTime>(array, hashes),
        T::Interval(IntervalUnit::MonthDayNano) => fold_values::<IntervalMonthDayNano>(array, hashes),
        T::Null => hashes.iter_mut().for_each(|h| *h = step(*h, NULL)),
        T::Boolean => {
            let array = array.as_boolean();
            fold_codes(array.values().iter().map(u64::from), array.nulls(), hashes);
        }
        T::Utf8View => fold_views::<StringViewType>(array.as_byte_view(), hashes),
        T::BinaryView => fold_views::<BinaryViewType>(array.as_byte_view(), hashes),
        T::Utf8 => fold_bytes::<Utf8Type>(array.as_bytes(), hashes),
        T::LargeUtf8 => fold_bytes::<LargeUtf8Type>(array.as_bytes(), hashes),
        T::Binary => fold_bytes::<BinaryType>(array.as_bytes(), hashes),
        T::LargeBinary => fold_bytes::<LargeBinaryType>(array.as_bytes(), hashes),
        T::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary();
            fold_codes(array.iter().map(|v| v.map_or(NULL, bytes_code)), None, hashes);
        }
        T::List(_) => fold_lists::<i32>(array, hashes),
        T::LargeList(_) => fold_lists::<i64>(array, hashes),
        T::FixedSizeList(_, size) => {
            let list = array.as_fixed_size_list();
            fold_elements(list.values(), (0..=list.len()).map(|i| i * *size as usize), list.nulls(), hashes);
        }
        T::Map(_, _) => {
            let map = array.as_map();
            fold_elements(map.entries(), map.offsets().iter().map(|o| o.as_usize()), map.nulls(), hashes);
        }
        T::Struct(_) => {
            let fields = array.as_struct();
            let mut inner = vec![EMPTY_KEY_HASH; array.len()];
            for column in fields.columns() {
                fold(column, &mut inner);
            }
            fold_codes(inner.into_iter(), array.nulls(), hashes);
        }
        T::Dictionary(_, _) => fold_dictionary(array, hashes),
        other => panic!("no SQL type is stored as {other}"),
    }
}

/// Folds a column of fixed width.
fn fold_values<N: Code + ArrowNativeType>(array: &dyn Array, hashes: &mut [u64]) {
    let data = array.to_data();
    fold_codes(data.buffer::<N>(0).iter().map(|value| value.code()), array.nulls(), hashes);
}

/// Folds values that are already 64-bit codes. What stands under a null is not looked at.
fn fold_codes(codes: impl Iterator<Item = u64>, nulls: Option<&NullBuffer>, hashes: &mut [u64]) {
    match nulls.filter(|n| n.null_count() > 0) {
        None => {
            for (hash, code) in hashes.iter_mut().zip(codes) {
                *hash = step(*hash, code);
            }
        }
        Some(nulls) => {
            for ((hash, code), valid) in hashes.iter_mut().zip(codes).zip(nulls) {
                *hash = step(*hash, if valid { code } else { NULL });
            }
        }
    }
}

fn fold_views<T: ByteViewType>(array: &GenericByteViewArray<T>, hashes: &mut [u64]) {
    let code = |(row, view): (usize, &u128)| {
        if *view as u32 <= MAX_INLINE_VIEW_LEN { short_code(*view) } else { long_code(array.value(row).as_ref()) }
    };
    match array.nulls() {
        None => fold_codes(array.views().iter().enumerate().map(code), None, hashes),
        // A null's view may point anywhere.
        Some(nulls) => {
            let codes = array.views().iter().enumerate().zip(nulls);
            fold_codes(codes.map(|(v, valid)| if valid { code(v) } else { NULL }), None, hashes);
        }
    }
}

fn fold_bytes<T: ByteArrayType>(array: &GenericByteArray<T>, hashes: &mut [u64]) {
    fold_codes(array.iter().map(|v| v.map_or(NULL, |v| bytes_code(v.as_ref()))), None, hashes);
}

fn fold_lists<O: OffsetSizeTrait>(array: &dyn Array, hashes: &mut [u64]) {
    let list = array.as_list::<O>();
    fold_elements(list.values(), list.offsets().iter().map(|o| o.as_usize()), list.nulls(), hashes);
}

/// Folds lists, given by the offsets at which they begin and end in `elements`: a list is hashed as a row of its length
/// and its elements.
fn fold_elements(
    elements: &dyn Array,
    offsets: impl Iterator<Item = usize> + Clone,
    nulls: Option<&NullBuffer>,
    hashes: &mut [u64],
) {
    // A slice of a column shares all elements of the column, most of which belong to other rows.
    let first = offsets.clone().next().unwrap_or(0);
    let used = elements.slice(first, offsets.clone().last().unwrap_or(first) - first);
    let mut inner = vec![LIST; used.len()];
    fold(&used, &mut inner);
    let codes = offsets.clone().zip(offsets.skip(1)).map(|(start, end)| {
        let list = &inner[start - first..end - first];
        list.iter().fold(step(LIST, list.len() as u64), |hash, element| step(hash, *element))
    });
    fold_codes(codes, nulls, hashes);
}

/// A dictionary hashes as the values that it stands for. It is unpacked first: no column of a relation has this
/// type, only readers of files make it.
fn fold_dictionary(array: &dyn Array, hashes: &mut [u64]) {
    let dictionary = array.as_any_dictionary();
    let plain = arrow::compute::take(dictionary.values(), dictionary.keys(), None)
        .expect("the keys of a dictionary are positions in its values");
    fold(&plain, hashes);
}

/// One more value in a row's hash. For a given hash no two codes collide, and for a given code no two hashes.
#[inline]
fn step(hash: u64, code: u64) -> u64 {
    mix(hash.wrapping_mul(STEP).wrapping_add(code))
}

/// MurmurHash3's 64-bit finaliser: a bijection in which every input bit reaches every output bit.
#[inline]
fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// The code of up to twelve bytes, packed as Arrow packs a short view: length, then the bytes, then zeros.
#[inline]
fn short_code(view: u128) -> u64 {
    mix(view as u64 ^ LIST).wrapping_add((view >> 64) as u64)
}

fn long_code(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

fn bytes_code(bytes: &[u8]) -> u64 {
    if bytes.len() > MAX_INLINE_VIEW_LEN as usize {
        return long_code(bytes);
    }
    let mut view = [0; 16];
    view[0] = bytes.len() as u8;
    view[4..4 + bytes.len()].copy_from_slice(bytes);
    short_code(u128::from_le_bytes(view))
}

/// A primitive value as 64 bits; equal values have equal codes.
trait Code: Copy {
    fn code(self) -> u64;
}

macro_rules! integer_code {
    ($($t:ty),*) => {$(
        impl Code for $t {
            /// Sign-extended, so that widths agree.
            #[inline]
            fn code(self) -> u64 {
                self as i64 as u64
            }
        }
    )*};
}
integer_code!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Code for f64 {
    #[inline]
    fn code(self) -> u64 {
        // Adding zero turns -0.0 into 0.0.
        if self.is_nan() { f64::NAN.to_bits() } else { (self + 0.0).to_bits() }
    }
}

impl Code for f32 {
    #[inline]
    fn code(self) -> u64 {
        f64::from(self).code()
    }
}

impl Code for i128 {
    /// As the integer of that value where it fits into 64 bits.
    #[inline]
    fn code(self) -> u64 {
        let low = self as i64;
        if i128::from(low) == self { low.code() } else { mix((self >> 64) as u64 ^ LIST).wrapping_add(low as u64) }
    }
}

impl Code for i256 {
    fn code(self) -> u64 {
        self.to_i128().map_or_else(|| xxh3_64(&self.to_le_bytes()), Code::code)
    }
}

impl Code for IntervalDayTime {
    fn code(self) -> u64 {
        (u64::from(self.days as u32) << 32) | u64::from(self.milliseconds as u32)
    }
}

impl Code for IntervalMonthDayNano {
    /// Field by field, as Arrow and DataFusion compare intervals: a month is not thirty days.
    fn code(self) -> u64 {
        let months_days = (u64::from(self.months as u32) << 32) | u64::from(self.days as u32);
        mix(months_days ^ LIST).wrapping_add(self.nanoseconds as u64)
    }
}

#[cfg(test)]
mod tests;
