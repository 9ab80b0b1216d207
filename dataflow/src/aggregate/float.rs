//! `sum`, `avg`, `stddev` and `variance` of floating point numbers, exact until they are read: see [`super::exact`].
//!
//! The result depends on which numbers there are, never on their order or on what was there before. PostgreSQL and DataFusion round at
//! every step; theirs may differ in the last digits.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Array, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use planner::functions::spread::Spread;

use super::exact::{ExactSum, Magnitude, UNIT_OF_SQUARES};
use super::rows::GroupRows;
use crate::Result;
use crate::state::{read_signed, write_signed};

/// How many numbers of a group are NaN, infinite, negative infinite: they are in no sum, so that they can be taken away.
type Specials = [i64; 3];

/// The sum of numbers, if asked for of their squares, and how many they are, per group.
#[derive(Debug, Default)]
pub(super) struct FloatSum {
    sums: Vec<ExactSum>,
    /// Empty unless `with_squares`.
    squares: Vec<ExactSum>,
    with_squares: bool,
    counts: Vec<i64>,
    specials: BTreeMap<usize, Specials>,
}

impl FloatSum {
    pub(super) fn new(with_squares: bool) -> Self {
        Self { with_squares, ..Self::default() }
    }

    pub(super) fn resize(&mut self, groups: usize) {
        self.sums.resize_with(groups, ExactSum::default);
        if self.with_squares {
            self.squares.resize_with(groups, ExactSum::default);
        }
        self.counts.resize(groups, 0);
    }

    pub(super) fn clear(&mut self, group: usize) {
        self.sums[group] = ExactSum::default();
        if self.with_squares {
            self.squares[group] = ExactSum::default();
        }
        self.counts[group] = 0;
        self.specials.remove(&group);
    }

    pub(super) fn update(&mut self, argument: &ArrayRef, rows: GroupRows<'_>) -> Result<()> {
        let argument = cast(argument, &DataType::Float64)?;
        let values = argument.as_primitive::<Float64Type>().values();
        rows.for_each(|row, group, weight| {
            let value = values[row];
            self.counts[group] += weight;
            if !value.is_finite() {
                return self.add_special(group, value, weight);
            }
            self.sums[group].add(value, weight);
            if self.with_squares {
                self.squares[group].add_square(value, weight);
            }
        });
        Ok(())
    }

    fn add_special(&mut self, group: usize, value: f64, weight: i64) {
        let specials = self.specials.entry(group).or_default();
        specials[if value.is_nan() {
            0
        } else if value > 0.0 {
            1
        } else {
            2
        }] += weight;
        if *specials == [0; 3] {
            self.specials.remove(&group);
        }
    }

    /// The sum as float arithmetic has it when some numbers aren't finite.
    fn sum(&self, group: usize) -> f64 {
        match self.specials.get(&group) {
            None => self.sums[group].to_f64(),
            Some([0, positive, 0]) if *positive > 0 => f64::INFINITY,
            Some([0, 0, negative]) if *negative > 0 => f64::NEG_INFINITY,
            Some(_) => f64::NAN,
        }
    }

    pub(super) fn sums(&self, groups: &[u32], data_type: &DataType) -> ArrayRef {
        self.column(groups, data_type, |group, _| Some(self.sum(group)))
    }

    pub(super) fn averages(&self, groups: &[u32], data_type: &DataType) -> ArrayRef {
        self.column(groups, data_type, |group, count| Some(self.sum(group) / count as f64))
    }

    pub(super) fn spreads(&self, groups: &[u32], spread: Spread, data_type: &DataType) -> ArrayRef {
        self.column(groups, data_type, |group, count| {
            let variance = self.variance(group, count, spread.sample)?;
            Some(if spread.root { variance.sqrt() } else { variance })
        })
    }

    /// `(n * sum of squares - square of sum) / (n * n)`, or over `n * (n - 1)`; only the division rounds. NULL where that is no number.
    fn variance(&self, group: usize, count: i64, sample: bool) -> Option<f64> {
        let n = u64::try_from(count).ok()?;
        let divisor = if sample { n - 1 } else { n };
        if divisor == 0 {
            return None;
        }
        if self.specials.contains_key(&group) {
            return Some(f64::NAN);
        }
        let sum = self.sums[group].magnitude();
        let squares = self.squares[group].magnitude();
        let spread = squares.times(&Magnitude::integer(n)).minus(&sum.times(&sum));
        Some(spread.to_f64(UNIT_OF_SQUARES, n as f64 * divisor as f64))
    }

    fn column(&self, groups: &[u32], data_type: &DataType, of: impl Fn(usize, i64) -> Option<f64>) -> ArrayRef {
        let values = groups.iter().map(|group| {
            let group = *group as usize;
            let count = self.counts[group];
            if count == 0 { None } else { of(group, count) }
        });
        if *data_type == DataType::Float32 {
            return Arc::new(values.map(|value| value.map(|value| value as f32)).collect::<Float32Array>());
        }
        Arc::new(values.collect::<Float64Array>())
    }

    pub(super) fn encode(&self, group: usize, out: &mut Vec<u8>) {
        write_signed(self.counts[group], out);
        self.sums[group].encode(out);
        if self.with_squares {
            self.squares[group].encode(out);
        }
        match self.specials.get(&group) {
            None => out.push(0),
            Some(specials) => {
                out.push(1);
                specials.iter().for_each(|count| write_signed(*count, out));
            }
        }
    }

    pub(super) fn decode(&mut self, group: usize, bytes: &mut &[u8]) -> Option<()> {
        self.counts[group] = read_signed(bytes)?;
        self.sums[group] = ExactSum::decode(bytes)?;
        if self.with_squares {
            self.squares[group] = ExactSum::decode(bytes)?;
        }
        let (has_specials, rest) = bytes.split_first()?;
        *bytes = rest;
        if *has_specials == 1 {
            let specials = [read_signed(bytes)?, read_signed(bytes)?, read_signed(bytes)?];
            self.specials.insert(group, specials);
        }
        Some(())
    }

    /// Sums that have grown beyond their window are rare enough not to be looked for.
    pub(super) fn bytes(&self) -> usize {
        let sums = self.sums.capacity() + self.squares.capacity();
        sums * size_of::<ExactSum>() + 8 * self.counts.capacity() + 64 * self.specials.len()
    }
}
