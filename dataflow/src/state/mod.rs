//! Operator state: write-back caches over the store, one per shard.
//!
//! Reading order: [`row`] (rows as bytes), [`keys`] (keys as bytes, and the table from a key to a dense slot), [`keyed`]
//! (a value per key), [`multimap`] (many rows per key), [`ordered`] (keys in an order of their own), [`entries`] (a table from its first entry to its last).
//!
//! A cache is *complete* while every key that it doesn't hold is known to be absent: it began with an empty state and has
//! evicted nothing. Then a miss costs nothing; otherwise all misses of a batch are one multi-get.

mod arena;
pub(crate) mod entries;
pub mod keyed;
pub mod keys;
pub mod multimap;
pub mod ordered;
pub mod row;

pub use keyed::{Keyed, SlotValues};
pub use keys::{KeyEncoder, KeyTable};
pub use multimap::Multimap;
pub use ordered::Ordered;
pub use row::{EncodedRows, RowCodec};

/// Appends `value` in as few bytes as it needs (LEB128).
pub(crate) fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads what [`write_varint`] wrote and moves `bytes` behind it.
pub(crate) fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// As [`write_varint`], small negative numbers short too.
pub(crate) fn write_signed(value: i64, out: &mut Vec<u8>) {
    write_varint((value << 1 ^ value >> 63) as u64, out);
}

/// Reads what [`write_signed`] wrote.
pub(crate) fn read_signed(bytes: &mut &[u8]) -> Option<i64> {
    let value = read_varint(bytes)?;
    Some((value >> 1) as i64 ^ -((value & 1) as i64))
}
