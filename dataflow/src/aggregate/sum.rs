//! `sum` and `avg` of integers and decimals: exact, in 128 bits. A retraction takes away what the row added.
//!
//! A sum beyond its type is an error, as in PostgreSQL (DataFusion wraps around), until it is back in range: what goes beyond 128 bits
//! on the way is kept too.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array, UInt64Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type,
    MAX_DECIMAL128_FOR_EACH_PRECISION, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
};

use super::rows::GroupRows;
use crate::state::keyed::fit;
use crate::state::{read_signed, read_varint, write_signed, write_varint};
use crate::{Error, Result};

/// A sum and how many numbers are in it, per group.
#[derive(Debug, Default)]
pub(super) struct Sum {
    sums: Vec<i128>,
    /// By group, how often its sum has gone beyond 128 bits: the whole is the sum and so many times 2^128. Most groups aren't in it.
    wraps: BTreeMap<usize, i64>,
    pub(super) counts: Vec<i64>,
}

/// The numbers of a column as integers (of decimals: without their scale).
pub(super) enum Numbers {
    Int64(ScalarBuffer<i64>),
    Int128(ScalarBuffer<i128>),
}

pub(super) fn numbers(argument: &ArrayRef) -> Result<Numbers> {
    macro_rules! widened {
        ($t:ty) => {
            Numbers::Int64(argument.as_primitive::<$t>().values().iter().map(|v| i64::from(*v)).collect())
        };
    }
    Ok(match argument.data_type() {
        DataType::Int64 => Numbers::Int64(argument.as_primitive::<Int64Type>().values().clone()),
        DataType::Decimal128(..) => Numbers::Int128(argument.as_primitive::<Decimal128Type>().values().clone()),
        DataType::Int8 => widened!(Int8Type),
        DataType::Int16 => widened!(Int16Type),
        DataType::Int32 => widened!(Int32Type),
        DataType::UInt8 => widened!(UInt8Type),
        DataType::UInt16 => widened!(UInt16Type),
        DataType::UInt32 => widened!(UInt32Type),
        DataType::UInt64 => {
            Numbers::Int128(argument.as_primitive::<UInt64Type>().values().iter().map(|v| i128::from(*v)).collect())
        }
        other => return Err(Error::Unsupported(format!("sum of {other}"))),
    })
}

/// Whether [`Sum`] takes arguments of a type.
pub(super) fn is_exact_number(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Decimal128(..))
}

impl Sum {
    pub(super) fn resize(&mut self, groups: usize) {
        fit(&mut self.sums, groups, 0);
        fit(&mut self.counts, groups, 0);
    }

    pub(super) fn clear(&mut self, group: usize) {
        self.sums[group] = 0;
        self.counts[group] = 0;
        self.wraps.remove(&group);
    }

    pub(super) fn update(&mut self, argument: &ArrayRef, rows: GroupRows<'_>) -> Result<()> {
        let (sums, counts, wraps) = (&mut self.sums, &mut self.counts, &mut self.wraps);
        match (numbers(argument)?, rows.weights) {
            (Numbers::Int64(values), None) => rows.for_each(|row, group, _| {
                // As many numbers as an i64 counts fit.
                sums[group] += i128::from(values[row]);
                counts[group] += 1;
            }),
            (Numbers::Int64(values), Some(_)) => rows.for_each(|row, group, weight| {
                sums[group] += i128::from(values[row]) * i128::from(weight);
                counts[group] += weight;
            }),
            (Numbers::Int128(values), _) => rows.for_each(|row, group, weight| {
                let (product, mut wrapped) = product(values[row], weight);
                let (sum, overflow) = sums[group].overflowing_add(product);
                wrapped += i64::from(overflow) * product.signum() as i64;
                if wrapped != 0 {
                    let wraps_of = wraps.entry(group).or_insert(0);
                    *wraps_of += wrapped;
                    if *wraps_of == 0 {
                        wraps.remove(&group);
                    }
                }
                sums[group] = sum;
                counts[group] += weight;
            }),
        }
        Ok(())
    }

    /// A group's sum; an error if it is beyond 128 bits.
    fn sum(&self, group: usize) -> Result<i128> {
        if self.wraps.contains_key(&group) { Err(Error::OutOfRange { what: "numeric" }) } else { Ok(self.sums[group]) }
    }

    /// `sum` as a column of that type; the numbers have `scale` digits behind the point. Without numbers it is NULL.
    pub(super) fn sums(&self, groups: &[u32], scale: i8, data_type: &DataType) -> Result<ArrayRef> {
        let of = |group: &u32| {
            let group = *group as usize;
            (self.counts[group] != 0).then(|| self.sum(group))
        };
        match data_type {
            DataType::Int64 => {
                let number = |sum: Result<i128>| i64::try_from(sum?).map_err(|_| Error::OutOfRange { what: "bigint" });
                let sums = groups.iter().map(|group| of(group).map(number).transpose());
                Ok(Arc::new(sums.collect::<Result<Int64Array>>()?))
            }
            DataType::UInt64 => {
                let number = |sum: Result<i128>| u64::try_from(sum?).map_err(|_| Error::OutOfRange { what: "bigint" });
                let sums = groups.iter().map(|group| of(group).map(number).transpose());
                Ok(Arc::new(sums.collect::<Result<UInt64Array>>()?))
            }
            DataType::Decimal128(precision, to_scale) => {
                let factor = power_of_ten(i32::from(*to_scale) - i32::from(scale))?;
                let number = |sum: Result<i128>| in_precision(sum?.checked_mul(factor), *precision);
                let sums = groups.iter().map(|group| of(group).map(number).transpose());
                let sums = sums.collect::<Result<Decimal128Array>>()?;
                Ok(Arc::new(sums.with_precision_and_scale(*precision, *to_scale)?))
            }
            other => Err(Error::Unsupported(format!("sum as {other}"))),
        }
    }

    /// `avg` as a decimal of that type, or as a floating point number.
    ///
    /// PostgreSQL's value but for the scale, which is the type's; what is behind it is rounded half away from zero.
    pub(super) fn averages(&self, groups: &[u32], scale: i8, data_type: &DataType) -> Result<ArrayRef> {
        let of = |group: &u32| {
            let group = *group as usize;
            let count = self.counts[group];
            (count != 0).then(|| self.sum(group).map(|sum| (sum, count)))
        };
        match data_type {
            DataType::Decimal128(precision, to_scale) => {
                let factor = power_of_ten(i32::from(*to_scale) - i32::from(scale))?;
                let average = |group: Result<(i128, i64)>| {
                    let (sum, count) = group?;
                    in_precision(divide(sum, factor, count), *precision)
                };
                let averages = groups.iter().map(|group| of(group).map(average).transpose());
                let averages = averages.collect::<Result<Decimal128Array>>()?;
                Ok(Arc::new(averages.with_precision_and_scale(*precision, *to_scale)?))
            }
            DataType::Float64 => {
                let unit = 10_f64.powi(i32::from(scale));
                let average = |group: Result<(i128, i64)>| group.map(|(sum, count)| sum as f64 / unit / count as f64);
                let averages = groups.iter().map(|group| of(group).map(average).transpose());
                Ok(Arc::new(averages.collect::<Result<arrow::array::Float64Array>>()?))
            }
            other => Err(Error::Unsupported(format!("avg as {other}"))),
        }
    }

    pub(super) fn encode(&self, group: usize, out: &mut Vec<u8>) {
        let sum = self.sums[group];
        let zigzag = (sum << 1 ^ sum >> 127) as u128;
        write_varint(zigzag as u64, out);
        write_varint((zigzag >> 64) as u64, out);
        write_signed(self.counts[group], out);
        write_signed(self.wraps.get(&group).copied().unwrap_or(0), out);
    }

    pub(super) fn decode(&mut self, group: usize, bytes: &mut &[u8]) -> Option<()> {
        let zigzag = u128::from(read_varint(bytes)?) | u128::from(read_varint(bytes)?) << 64;
        self.sums[group] = (zigzag >> 1) as i128 ^ -((zigzag & 1) as i128);
        self.counts[group] = read_signed(bytes)?;
        match read_signed(bytes)? {
            0 => self.wraps.remove(&group),
            wraps => self.wraps.insert(group, wraps),
        };
        Some(())
    }

    pub(super) fn bytes(&self) -> usize {
        16 * self.sums.capacity() + 8 * self.counts.capacity()
    }
}

/// `value * weight` as the number in 128 bits that it ends in, and how often 2^128 is to be added to that.
fn product(value: i128, weight: i64) -> (i128, i64) {
    if let Some(product) = value.checked_mul(i128::from(weight)) {
        return (product, 0);
    }
    let (low, high) = i256::from_i128(value).wrapping_mul(i256::from_i128(i128::from(weight))).to_parts();
    let low = low as i128;
    (low, high as i64 + i64::from(low < 0))
}

fn power_of_ten(exponent: i32) -> Result<i128> {
    let exponent = u32::try_from(exponent).ok().filter(|exponent| *exponent <= u32::from(DECIMAL128_MAX_PRECISION));
    exponent
        .map(|exponent| 10_i128.pow(exponent))
        .ok_or(Error::Unsupported("an aggregate of less scale than its argument".to_owned()))
}

/// `sum * factor / count`, rounded half away from zero; the product may need more than 128 bits.
fn divide(sum: i128, factor: i128, count: i64) -> Option<i128> {
    let count = i128::from(count);
    match sum.checked_mul(factor) {
        Some(product) => Some(product / count + away(product % count, count)),
        None => {
            let (product, wide) = (i256::from_i128(sum).checked_mul(i256::from_i128(factor))?, i256::from_i128(count));
            let remainder = product.checked_rem(wide)?.to_i128()?;
            product.checked_div(wide)?.to_i128()?.checked_add(away(remainder, count))
        }
    }
}

/// What rounding half away from zero adds to a quotient with this remainder. Both fit in 64 bits.
fn away(remainder: i128, count: i128) -> i128 {
    if 2 * remainder.abs() >= count.abs() { remainder.signum() * count.signum() } else { 0 }
}

fn in_precision(value: Option<i128>, precision: u8) -> Result<i128> {
    let limit = MAX_DECIMAL128_FOR_EACH_PRECISION[usize::from(precision)];
    value.filter(|value| (-limit..=limit).contains(value)).ok_or(Error::OutOfRange { what: "numeric" })
}
