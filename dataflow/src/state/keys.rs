//! Keys: their bytes, and a table from a key to a small dense number (its slot).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{ArrowNativeType, DataType, Float32Type, Float64Type, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use delta::{EMPTY_KEY_HASH, Vnode, hash_rows, vnode_of};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as TableEntry;

use super::row::EncodedRows;
use crate::aggregate::GroupKeys;
use crate::expression::batch_of;
use crate::{Error, Result};

/// Turns key columns into order-preserving bytes (arrow-row's), none of which begins another.
///
/// Values that SQL calls equal have equal bytes: zeros have no sign, NaN is one value.
#[derive(Debug)]
pub struct KeyEncoder {
    types: Vec<DataType>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// No columns: one key, the empty one.
    Nothing,
    /// One 64-bit integer, or a time stored as one: arrow-row's nine bytes, written by a plain loop.
    Integer,
    /// One 32-bit integer, or a date: likewise, five bytes.
    Short,
    Rows(RowConverter),
}

/// Keys of a batch.
#[derive(Debug)]
pub enum EncodedKeys {
    /// So many empty keys.
    Nothing(usize),
    /// Keys of one 64-bit integer.
    Integers(Vec<[u8; 9]>),
    /// Keys of one 32-bit integer.
    Shorts(Vec<[u8; 5]>),
    /// Any other keys.
    Rows(Rows),
    /// Rows to the byte, for what must give back just the rows that it took. They have no order.
    Exact(EncodedRows),
}

impl EncodedKeys {
    /// The key of a row.
    #[inline]
    pub fn key(&self, row: usize) -> &[u8] {
        match self {
            Self::Nothing(_) => &[],
            Self::Integers(keys) => &keys[row],
            Self::Shorts(keys) => &keys[row],
            Self::Rows(rows) => rows.row(row).data(),
            Self::Exact(rows) => rows.row(row),
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Nothing(rows) => *rows,
            Self::Integers(keys) => keys.len(),
            Self::Shorts(keys) => keys.len(),
            Self::Rows(rows) => rows.num_rows(),
            Self::Exact(rows) => rows.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl KeyEncoder {
    /// An encoder for keys of these types.
    ///
    /// # Errors
    /// If a type has no order.
    pub fn new(types: Vec<DataType>) -> Result<Self> {
        let form = match types.as_slice() {
            [] => Form::Nothing,
            [DataType::Int64 | DataType::Timestamp(..) | DataType::Time64(_)] => Form::Integer,
            [DataType::Int32 | DataType::Date32] => Form::Short,
            types => {
                let fields: Vec<_> = types.iter().cloned().map(SortField::new).collect();
                if !RowConverter::supports_fields(&fields) {
                    let names: Vec<_> = types.iter().map(ToString::to_string).collect();
                    return Err(Error::Unsupported(format!("a key of type {}", names.join(", "))));
                }
                Form::Rows(RowConverter::new(fields)?)
            }
        };
        Ok(Self { types, form })
    }

    /// An encoder for these columns of a schema.
    pub fn of_columns(schema: &SchemaRef, columns: &[usize]) -> Result<Self> {
        Self::new(columns.iter().map(|c| schema.field(*c).data_type().clone()).collect())
    }

    /// The types of the key columns.
    pub fn types(&self) -> &[DataType] {
        &self.types
    }

    /// Encodes the keys of `rows` rows.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize) -> Result<EncodedKeys> {
        Ok(match &self.form {
            Form::Nothing => EncodedKeys::Nothing(rows),
            Form::Integer => EncodedKeys::Integers(encode_integers(&columns[0], |value: i64| {
                let mut key = [1; 9];
                key[1..].copy_from_slice(&(value ^ i64::MIN).to_be_bytes());
                key
            })),
            Form::Short => EncodedKeys::Shorts(encode_integers(&columns[0], |value: i32| {
                let mut key = [1; 5];
                key[1..].copy_from_slice(&(value ^ i32::MIN).to_be_bytes());
                key
            })),
            Form::Rows(converter) => {
                let columns: Vec<_> = columns.iter().map(normal_floats).collect();
                EncodedKeys::Rows(converter.convert_columns(&columns)?)
            }
        })
    }

    /// Key columns from key bytes.
    ///
    /// # Errors
    /// If the bytes are not such keys.
    pub fn decode(&self, keys: &[&[u8]]) -> Result<Vec<ArrayRef>> {
        match &self.form {
            Form::Nothing => Ok(vec![]),
            Form::Integer | Form::Short => {
                let converter = RowConverter::new(vec![SortField::new(self.types[0].clone())])?;
                decode_rows(&converter, keys)
            }
            Form::Rows(converter) => decode_rows(converter, keys),
        }
    }

    /// Rows from keys that are whole rows; `order` says which column of the row each of the key's is.
    ///
    /// # Errors
    /// If the bytes are not such keys.
    pub fn decode_batch(&self, keys: &[&[u8]], schema: &SchemaRef, order: &[usize]) -> Result<RecordBatch> {
        let decoded = self.decode(keys)?;
        let mut columns = decoded.clone();
        for (column, position) in decoded.into_iter().zip(order) {
            let wanted = schema.field(*position).data_type();
            columns[*position] = if column.data_type() == wanted { column } else { cast(&column, wanted)? };
        }
        batch_of(schema, columns, keys.len())
    }
}

fn decode_rows(converter: &RowConverter, keys: &[&[u8]]) -> Result<Vec<ArrayRef>> {
    let parser = converter.parser();
    Ok(converter.convert_rows(keys.iter().map(|key| parser.parse(key)))?)
}

/// The keys of integers; a NULL's is zeros.
fn encode_integers<T: ArrowNativeType, const N: usize>(
    column: &ArrayRef,
    encode: impl Fn(T) -> [u8; N],
) -> Vec<[u8; N]> {
    let data = column.to_data();
    let values = data.buffers()[0].typed_data::<T>();
    let values = &values[data.offset()..data.offset() + data.len()];
    match column.nulls().filter(|n| n.null_count() > 0) {
        None => values.iter().map(|v| encode(*v)).collect(),
        Some(nulls) => values.iter().zip(nulls).map(|(v, valid)| if valid { encode(*v) } else { [0; N] }).collect(),
    }
}

/// Zeros without sign and one NaN; other columns as they are.
pub(crate) fn normal_floats(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float64 => {
            let normal = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
            Arc::new(column.as_primitive::<Float64Type>().unary::<_, Float64Type>(normal)) as Arc<Float64Array>
        }
        DataType::Float32 => {
            let normal = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            Arc::new(column.as_primitive::<Float32Type>().unary::<_, Float32Type>(normal)) as Arc<Float32Array>
        }
        _ => column.clone(),
    }
}

/// The hash of each row's key; without columns every row has the hash of the empty key.
pub fn hash_keys(columns: &[ArrayRef], rows: usize, out: &mut Vec<u64>) {
    if columns.is_empty() {
        out.clear();
        out.resize(rows, EMPTY_KEY_HASH);
    } else {
        hash_rows(columns, out);
    }
}

/// Whether a row has a NULL among its key columns; `None` when no row has.
pub fn null_keys(columns: &[ArrayRef]) -> Option<arrow::buffer::NullBuffer> {
    let mut valid = None;
    for column in columns.iter().filter(|c| c.null_count() > 0) {
        valid = arrow::buffer::NullBuffer::union(valid.as_ref(), column.logical_nulls().as_ref());
    }
    valid
}

/// The slot that no key has.
pub const NO_SLOT: u32 = u32::MAX;

/// Up to so many bytes of a key lie in its entry: a bigint and a timestamp need 18.
const INLINE: usize = 23;

/// From keys to slots. A slot is free again when its key is removed.
#[derive(Debug, Default)]
pub struct KeyTable {
    table: HashTable<u32>,
    entries: Vec<Entry>,
    /// Keys that don't fit into their entries.
    long: Vec<u8>,
    long_dead: usize,
    free: Vec<u32>,
}

/// 40 bytes: a probe touches a bucket and one entry.
#[derive(Clone, Debug)]
struct Entry {
    hash: u64,
    stamp: u32,
    len: u32,
    flags: u8,
    /// The key; or, when it is long, where it begins in `long`.
    key: [u8; INLINE],
}

/// The store holds an entry of this key.
const STORED: u8 = 1;
/// No key is here.
const FREE: u8 = 2;

impl Entry {
    #[inline]
    fn key<'a>(&'a self, long: &'a [u8]) -> &'a [u8] {
        let len = self.len as usize;
        if len <= INLINE {
            return &self.key[..len];
        }
        let start = self.long_start();
        &long[start..start + len]
    }

    fn long_start(&self) -> usize {
        u64::from_le_bytes(self.key[..8].try_into().expect("eight bytes")) as usize
    }
}

impl KeyTable {
    /// The slot of a key.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let (entries, long) = (&self.entries, &self.long);
        let equals = |slot: &u32| {
            let entry = &entries[*slot as usize];
            entry.hash == hash && entry.key(long) == key
        };
        self.table.find(hash, equals).copied()
    }

    /// The slot of a key, and whether it is new.
    #[inline]
    pub fn find_or_insert(&mut self, hash: u64, key: &[u8]) -> (u32, bool) {
        let (entries, long) = (&mut self.entries, &mut self.long);
        let equals = |slot: &u32| {
            let entry = &entries[*slot as usize];
            entry.hash == hash && entry.key(long) == key
        };
        match self.table.entry(hash, equals, |slot| entries[*slot as usize].hash) {
            TableEntry::Occupied(slot) => (*slot.get(), false),
            TableEntry::Vacant(place) => {
                let mut entry = Entry { hash, stamp: 0, len: key.len() as u32, flags: 0, key: [0; INLINE] };
                if key.len() <= INLINE {
                    entry.key[..key.len()].copy_from_slice(key);
                } else {
                    entry.key[..8].copy_from_slice(&(long.len() as u64).to_le_bytes());
                    long.extend_from_slice(key);
                }
                let slot = match self.free.pop() {
                    Some(slot) => {
                        entries[slot as usize] = entry;
                        slot
                    }
                    None => {
                        let slot = u32::try_from(entries.len()).expect("a shard has less than 2^32 keys");
                        entries.push(entry);
                        slot
                    }
                };
                place.insert(slot);
                (slot, true)
            }
        }
    }

    /// Frees a slot.
    pub fn remove(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        debug_assert_eq!(entry.flags & FREE, 0);
        entry.flags = FREE;
        if entry.len as usize > INLINE {
            self.long_dead += entry.len as usize;
        }
        if let Ok(found) = self.table.find_entry(entry.hash, |other| *other == slot) {
            found.remove();
        }
        self.free.push(slot);
        if self.long_dead > self.long.len() / 2 && self.long_dead > 1 << 20 {
            self.compact();
        }
    }

    /// Gives memory back where most slots are free: those behind the last one in use. Returns whether there are fewer slots now.
    pub fn shrink(&mut self) -> bool {
        // Fewer are not worth it. Tests have few.
        const FEW: usize = if cfg!(test) { 4 } else { 1024 };
        if self.entries.len() < FEW || self.len() > self.entries.len() / 4 {
            return false;
        }
        let used = self.entries.iter().rposition(|entry| entry.flags & FREE == 0).map_or(0, |last| last + 1);
        if used > self.entries.len() / 2 {
            return false;
        }
        self.entries.truncate(used);
        self.entries.shrink_to_fit();
        self.free.retain(|slot| (*slot as usize) < used);
        self.free.shrink_to_fit();
        let entries = &self.entries;
        self.table.shrink_to_fit(|slot| entries[*slot as usize].hash);
        if self.long_dead > 0 {
            self.compact();
        }
        true
    }

    fn compact(&mut self) {
        let mut long = Vec::with_capacity(self.long.len() - self.long_dead);
        for entry in &mut self.entries {
            if entry.flags & FREE == 0 && entry.len as usize > INLINE {
                let start = entry.long_start();
                let moved = (long.len() as u64).to_le_bytes();
                long.extend_from_slice(&self.long[start..start + entry.len as usize]);
                entry.key[..8].copy_from_slice(&moved);
            }
        }
        self.long = long;
        self.long_dead = 0;
    }

    /// The key in a slot.
    #[inline]
    pub fn key(&self, slot: u32) -> &[u8] {
        self.entries[slot as usize].key(&self.long)
    }

    /// The virtual node of the key in a slot.
    #[inline]
    pub fn vnode(&self, slot: u32) -> Vnode {
        vnode_of(self.entries[slot as usize].hash)
    }

    /// The hash of the key in a slot.
    pub fn hash(&self, slot: u32) -> u64 {
        self.entries[slot as usize].hash
    }

    /// The last step that touched a slot.
    #[inline]
    pub fn stamp(&self, slot: u32) -> u32 {
        self.entries[slot as usize].stamp
    }

    /// Marks a slot as touched and returns the stamp that it had.
    #[inline]
    pub fn set_stamp(&mut self, slot: u32, stamp: u32) -> u32 {
        std::mem::replace(&mut self.entries[slot as usize].stamp, stamp)
    }

    /// Whether the store holds the key.
    pub fn is_stored(&self, slot: u32) -> bool {
        self.entries[slot as usize].flags & STORED != 0
    }

    /// Notes whether the store holds the key.
    pub fn set_stored(&mut self, slot: u32, stored: bool) {
        let flags = &mut self.entries[slot as usize].flags;
        *flags = if stored { *flags | STORED } else { *flags & !STORED };
    }

    /// Whether a slot is in use.
    pub fn is_occupied(&self, slot: u32) -> bool {
        self.entries.get(slot as usize).is_some_and(|entry| entry.flags & FREE == 0)
    }

    /// Slots in use, in order.
    pub fn occupied(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.entries.len() as u32).filter(|slot| self.entries[*slot as usize].flags & FREE == 0)
    }

    /// Keys held.
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Slots, free ones counted.
    pub fn slots(&self) -> usize {
        self.entries.len()
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.entries.len() * size_of::<Entry>() + self.table.capacity() * 5 + self.long.len()
    }

    /// The stamp up to which slots must go so that a `fraction` (0 to 1) of those that may go does.
    pub fn oldest(&self, fraction: f64, may_go: impl Fn(u32) -> bool) -> Option<u32> {
        const SAMPLE: usize = 4096;
        let stride = (self.entries.len() / SAMPLE).max(1);
        let used = |slot: &u32| self.entries[*slot as usize].flags & FREE == 0 && may_go(*slot);
        let sampled = (0..self.entries.len() as u32).step_by(stride).filter(used);
        let mut stamps: Vec<u32> = sampled.map(|slot| self.stamp(slot)).collect();
        stamps.sort_unstable();
        let index = (stamps.len() as f64 * fraction).ceil() as usize;
        index.checked_sub(1).and_then(|i| stamps.get(i.min(stamps.len().saturating_sub(1))).copied())
    }
}

impl GroupKeys for KeyTable {
    fn append_key(&self, group: u32, out: &mut Vec<u8>) {
        out.push(self.vnode(group));
        out.extend_from_slice(self.key(group));
    }
}

/// Key columns as Int64 values would be; used by tests of the fast path.
#[cfg(test)]
pub(crate) fn integer_column(values: Vec<Option<i64>>) -> ArrayRef {
    Arc::new(arrow::array::Int64Array::from(values))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use arrow::array::Int32Array;

    use super::*;

    #[test]
    fn the_integer_path_writes_what_arrow_row_writes() {
        let column = integer_column(vec![Some(5), None, Some(-5), Some(i64::MIN), Some(i64::MAX)]).slice(1, 4);
        let fast = KeyEncoder::new(vec![DataType::Int64]).unwrap().encode(std::slice::from_ref(&column), 4).unwrap();
        let converter = RowConverter::new(vec![SortField::new(DataType::Int64)]).unwrap();
        let rows = converter.convert_columns(&[column]).unwrap();
        for row in 0..4 {
            assert_eq!(fast.key(row), rows.row(row).data());
        }
    }

    #[test]
    fn so_does_the_path_of_short_integers() {
        let values = Int32Array::from(vec![Some(5), None, Some(-5), Some(i32::MIN), Some(i32::MAX)]);
        let column: ArrayRef = Arc::new(values.slice(1, 4));
        let encoder = KeyEncoder::new(vec![DataType::Int32]).unwrap();
        let fast = encoder.encode(std::slice::from_ref(&column), 4).unwrap();
        let converter = RowConverter::new(vec![SortField::new(DataType::Int32)]).unwrap();
        let rows = converter.convert_columns(std::slice::from_ref(&column)).unwrap();
        let keys: Vec<&[u8]> = (0..4).map(|row| fast.key(row)).collect();
        assert_eq!(keys, (0..4).map(|row| rows.row(row).data().to_vec()).collect::<Vec<_>>());
        assert_eq!(encoder.decode(&keys).unwrap()[0].as_ref(), column.as_ref());
    }

    #[test]
    fn equal_floats_are_one_key() {
        let column: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN, -f64::NAN]));
        let keys = KeyEncoder::new(vec![DataType::Float64]).unwrap().encode(&[column], 4).unwrap();
        assert_eq!(keys.key(0), keys.key(1));
        assert_eq!(keys.key(2), keys.key(3));
    }

    #[test]
    fn memory_of_free_slots_is_given_back() {
        let mut table = KeyTable::default();
        for key in 0..5000_u64 {
            table.find_or_insert(key, &key.to_be_bytes());
        }
        let full = table.bytes();
        (0..5000).filter(|slot| *slot != 7).for_each(|slot| table.remove(slot));
        assert!(table.shrink());
        assert!(table.bytes() < full / 100, "{} of {full}", table.bytes());
        assert!(!table.is_occupied(4999));
        assert_eq!(table.find(7, &7_u64.to_be_bytes()), Some(7));
        assert_eq!(table.find_or_insert(9000, b"new"), (6, true));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn slots_are_found_freed_and_used_again() {
        let mut table = KeyTable::default();
        let long = [7; 100];
        let keys: Vec<(u64, Vec<u8>)> = (0..100_u64)
            .map(|i| (i % 7, [i.to_be_bytes().as_slice(), if i % 2 == 0 { &long } else { &[] }].concat()))
            .collect();
        for (i, (hash, key)) in keys.iter().enumerate() {
            assert_eq!(table.find_or_insert(*hash, key), (i as u32, true));
        }
        for slot in (0..100).step_by(3) {
            table.remove(slot);
        }
        table.compact();
        for (i, (hash, key)) in keys.iter().enumerate() {
            let want = (i % 3 != 0).then_some(i as u32);
            assert_eq!(table.find(*hash, key), want);
        }
        let (slot, new) = table.find_or_insert(1, b"again");
        assert!(new && slot % 3 == 0);
        assert_eq!(table.key(slot), b"again");
    }
}
