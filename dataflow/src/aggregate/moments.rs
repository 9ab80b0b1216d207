//! `stddev` and `variance` of integers and decimals: exact until they are read, and then decimals, as in PostgreSQL.

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array};
use arrow::datatypes::DataType;
use planner::functions::spread::{Moments, OutOfRange, Spread};

use super::rows::GroupRows;
use super::sum::{Numbers, numbers};
use crate::state::keyed::fit;
use crate::state::{read_signed, write_signed};
use crate::{Error, Result};

/// Count, sum and sum of squares, per group.
#[derive(Debug, Default)]
pub(super) struct NumberMoments {
    moments: Vec<Moments>,
}

impl NumberMoments {
    pub(super) fn resize(&mut self, groups: usize) {
        fit(&mut self.moments, groups, Moments::default());
    }

    pub(super) fn clear(&mut self, group: usize) {
        self.moments[group] = Moments::default();
    }

    pub(super) fn update(&mut self, argument: &ArrayRef, rows: GroupRows<'_>) -> Result<()> {
        let moments = &mut self.moments;
        match numbers(argument)? {
            Numbers::Int64(values) => {
                rows.for_each(|row, group, weight| moments[group].add(i128::from(values[row]), weight));
            }
            Numbers::Int128(values) => rows.for_each(|row, group, weight| moments[group].add(values[row], weight)),
        }
        Ok(())
    }

    /// The spreads of numbers that have `scale` digits behind the point. Without enough numbers it is NULL.
    pub(super) fn spreads(&self, groups: &[u32], spread: Spread, scale: i8, data_type: &DataType) -> Result<ArrayRef> {
        let scale = u32::from(scale.max(0).unsigned_abs());
        let of = |group: &u32| self.moments[*group as usize].spread(spread, scale);
        let spreads = groups.iter().map(of).collect::<std::result::Result<Decimal128Array, OutOfRange>>();
        let spreads = spreads.map_err(|OutOfRange| Error::OutOfRange { what: "numeric" })?;
        Ok(Arc::new(spreads.with_data_type(data_type.clone())))
    }

    pub(super) fn encode(&self, group: usize, out: &mut Vec<u8>) {
        let moments = &self.moments[group];
        write_signed(moments.count, out);
        for bytes in moments.sums_to_bytes() {
            // Upper bytes that repeat the sign are left out.
            let sign = if bytes[63] & 0x80 == 0 { 0 } else { 0xff };
            let above = bytes.iter().rev().take_while(|byte| **byte == sign).count();
            let used = bytes.len() - above;
            out.push(used as u8);
            out.push(sign);
            out.extend_from_slice(&bytes[..used]);
        }
    }

    pub(super) fn decode(&mut self, group: usize, bytes: &mut &[u8]) -> Option<()> {
        let count = read_signed(bytes)?;
        let mut sum = || -> Option<[u8; 64]> {
            let ([used, sign], rest) = bytes.split_first_chunk()?;
            let (given, rest) = rest.split_at_checked(usize::from(*used))?;
            *bytes = rest;
            let mut whole = [*sign; 64];
            whole.get_mut(..given.len())?.copy_from_slice(given);
            Some(whole)
        };
        let (sum, squares) = (sum()?, sum()?);
        self.moments[group] = Moments::from_bytes(count, &sum, &squares);
        Some(())
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Moments>() * self.moments.capacity()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_read_as_it_was_written() {
        let mut written = NumberMoments::default();
        written.resize(1);
        for (value, weight) in [(-7, 1), (i128::from(i64::MAX), 3), (10_i128.pow(37), 1)] {
            written.moments[0].add(value, weight);
        }
        let mut bytes = Vec::new();
        written.encode(0, &mut bytes);
        let mut read = NumberMoments::default();
        read.resize(1);
        let mut rest = bytes.as_slice();
        read.decode(0, &mut rest).unwrap();
        assert!(rest.is_empty());
        assert_eq!(read.moments, written.moments);
        let mut cut = &bytes[..bytes.len() - 1];
        assert_eq!(read.decode(0, &mut cut), None);
    }
}
