//! `min` and `max` over rows that are never taken away: the extreme so far is all there is to know.
//!
//! No PostgreSQL difference; NaN is the largest number, as PostgreSQL has it.

use arrow::array::ArrayRef;
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use super::rows::GroupRows;
use super::value::{
    ByteColumn, Column, Form, Value, array_of_bytes, array_of_codes64, array_of_codes128, codes64, codes128, corrupt,
    form,
};
use crate::Result;
use crate::state::keyed::fit;
use crate::state::{read_varint, write_varint};

/// Which end of the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Least,
    Greatest,
}

/// The extreme of each group.
#[derive(Debug)]
pub(super) struct Extreme {
    end: End,
    data_type: DataType,
    values: Extremes,
}

/// Extremes by group; what stands where there is none means nothing.
#[derive(Debug)]
enum Extremes {
    Code64(Slots<i64>),
    Code128(Slots<i128>),
    Bytes(Slots<Vec<u8>>),
}

#[derive(Debug, Default)]
struct Slots<T> {
    values: Vec<T>,
    present: Vec<bool>,
    heap_bytes: usize,
}

impl Extreme {
    pub(super) fn new(end: End, data_type: DataType) -> Self {
        let values = match form(&data_type) {
            Form::Code64 => Extremes::Code64(Slots::default()),
            Form::Code128 => Extremes::Code128(Slots::default()),
            Form::Bytes => Extremes::Bytes(Slots::default()),
        };
        Self { end, data_type, values }
    }

    pub(super) fn resize(&mut self, groups: usize) {
        match &mut self.values {
            Extremes::Code64(slots) => slots.resize(groups),
            Extremes::Code128(slots) => slots.resize(groups),
            Extremes::Bytes(slots) => slots.resize(groups),
        }
    }

    pub(super) fn clear(&mut self, group: usize) {
        match &mut self.values {
            Extremes::Code64(slots) => slots.present[group] = false,
            Extremes::Code128(slots) => slots.present[group] = false,
            Extremes::Bytes(slots) => {
                slots.present[group] = false;
                slots.heap_bytes -= slots.values[group].capacity();
                slots.values[group] = Vec::new();
            }
        }
    }

    pub(super) fn update(&mut self, argument: &ArrayRef, rows: GroupRows<'_>) -> Result<()> {
        match &mut self.values {
            Extremes::Code64(slots) => slots.update(self.end, &codes64(argument), rows),
            Extremes::Code128(slots) => slots.update(self.end, &codes128(argument), rows),
            Extremes::Bytes(slots) => slots.update_bytes(self.end, &ByteColumn::new(argument)?, rows),
        }
        Ok(())
    }

    pub(super) fn evaluate(&self, groups: &[u32]) -> Result<ArrayRef> {
        match &self.values {
            Extremes::Code64(slots) => {
                let (codes, nulls) = slots.gather(groups);
                array_of_codes64(&self.data_type, &codes, nulls)
            }
            Extremes::Code128(slots) => {
                let (codes, nulls) = slots.gather(groups);
                Ok(array_of_codes128(&self.data_type, &codes, nulls))
            }
            Extremes::Bytes(slots) => {
                let value = |group: &u32| {
                    let group = *group as usize;
                    slots.present[group].then(|| slots.values[group].as_slice())
                };
                array_of_bytes(&self.data_type, groups.iter().map(value))
            }
        }
    }

    pub(super) fn encode(&self, group: usize, out: &mut Vec<u8>) {
        let mut value = Vec::new();
        let present = match &self.values {
            Extremes::Code64(slots) => {
                i64::write_key(slots.values[group], &mut value);
                slots.present[group]
            }
            Extremes::Code128(slots) => {
                i128::write_key(slots.values[group], &mut value);
                slots.present[group]
            }
            Extremes::Bytes(slots) => {
                value.extend_from_slice(&slots.values[group]);
                slots.present[group]
            }
        };
        write_optional(present.then_some(&value), out);
    }

    pub(super) fn decode(&mut self, group: usize, bytes: &mut &[u8]) -> Result<()> {
        let Some(value) = read_optional(bytes)? else {
            self.clear(group);
            return Ok(());
        };
        match &mut self.values {
            Extremes::Code64(slots) => slots.set(group, i64::read_key(value)?),
            Extremes::Code128(slots) => slots.set(group, i128::read_key(value)?),
            Extremes::Bytes(slots) => {
                slots.heap_bytes += value.len();
                slots.set(group, value.to_vec());
            }
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        match &self.values {
            Extremes::Code64(slots) => slots.bytes(),
            Extremes::Code128(slots) => slots.bytes(),
            Extremes::Bytes(slots) => slots.bytes(),
        }
    }
}

/// Appends bytes that may be missing, with their length.
pub(super) fn write_optional(value: Option<&Vec<u8>>, out: &mut Vec<u8>) {
    match value {
        None => write_varint(0, out),
        Some(value) => {
            write_varint(value.len() as u64 + 1, out);
            out.extend_from_slice(value);
        }
    }
}

/// Reads what [`write_optional`] wrote.
pub(super) fn read_optional<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>> {
    let length = read_varint(bytes).ok_or_else(|| corrupt("a length"))?;
    let Some(length) = length.checked_sub(1) else { return Ok(None) };
    let split = usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(length));
    let (value, rest) = split.ok_or_else(|| corrupt("a value"))?;
    *bytes = rest;
    Ok(Some(value))
}

impl<T: Clone + Default> Slots<T> {
    fn resize(&mut self, groups: usize) {
        fit(&mut self.values, groups, T::default());
        fit(&mut self.present, groups, false);
    }

    fn set(&mut self, group: usize, value: T) {
        self.values[group] = value;
        self.present[group] = true;
    }

    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<T>() + self.present.capacity() + self.heap_bytes
    }
}

impl<T: Copy + Default + Ord> Slots<T> {
    fn update(&mut self, end: End, values: &[T], rows: GroupRows<'_>) {
        rows.for_each(|row, group, _| {
            let value = values[row];
            let is_better = match end {
                End::Least => value < self.values[group],
                End::Greatest => value > self.values[group],
            };
            if is_better || !self.present[group] {
                self.set(group, value);
            }
        });
    }

    fn gather(&self, groups: &[u32]) -> (Vec<T>, Option<NullBuffer>) {
        let values = groups.iter().map(|group| self.values[*group as usize]).collect();
        let present: NullBuffer = groups.iter().map(|group| self.present[*group as usize]).collect();
        (values, Some(present).filter(|present| present.null_count() > 0))
    }
}

impl Slots<Vec<u8>> {
    fn update_bytes(&mut self, end: End, column: &ByteColumn, rows: GroupRows<'_>) {
        rows.for_each(|row, group, _| {
            let value = column.get(row);
            let held = &mut self.values[group];
            let is_better = match end {
                End::Least => value < held.as_slice(),
                End::Greatest => value > held.as_slice(),
            };
            if is_better || !self.present[group] {
                self.heap_bytes -= held.capacity();
                held.clear();
                held.extend_from_slice(value);
                self.heap_bytes += held.capacity();
                self.present[group] = true;
            }
        });
    }
}
