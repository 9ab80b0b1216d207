//! Numbers: `n` counts from 0, `id` is one of `keys` ids at random, all alike or by Zipf's law.

use arrow::array::{ArrayRef, Int64Array};
use catalog::SqlType;

use super::random::{Draw, array, below};
use super::{Rows, Table};
use crate::options::GeneratorOptions;

/// A prime above all numbers of keys that are skewed in practice: multiplied by it, ranks are dealt over all ids, each to one.
const SPREAD: u64 = (1 << 61) - 1;

pub(crate) struct Sequence {
    columns: [(&'static str, SqlType); 2],
    draw: Draw,
    keys: u64,
    skew: f64,
}

impl Sequence {
    pub(crate) fn new(options: &GeneratorOptions) -> Self {
        let columns = [("n", SqlType::BigInt), ("id", SqlType::BigInt)];
        Self { columns, draw: Draw::new(options.seed, 4 << 40), keys: options.keys, skew: options.skew }
    }

    fn id(&self, row: u64) -> i64 {
        let bits = self.draw.bits(row);
        if self.skew == 0.0 {
            return below(bits, self.keys) as i64;
        }
        let rank = rank(bits, self.keys, self.skew);
        (u128::from(rank) * u128::from(SPREAD % self.keys) % u128::from(self.keys)) as i64
    }
}

/// A rank, counted from 0: the continuous distribution with density x^-skew on 1 ..= keys + 1, whose inverse needs no table.
fn rank(bits: u64, keys: u64, skew: f64) -> u64 {
    let uniform = (bits >> 11) as f64 / (1u64 << 53) as f64;
    let end = keys as f64 + 1.0;
    let rest = 1.0 - skew;
    let place =
        if rest.abs() < 1e-9 { end.powf(uniform) } else { ((end.powf(rest) - 1.0) * uniform + 1.0).powf(1.0 / rest) };
    (place as u64).clamp(1, keys) - 1
}

impl Table for Sequence {
    fn columns(&self) -> &[(&'static str, SqlType)] {
        &self.columns
    }

    fn event(&self, row: u64) -> u64 {
        row
    }

    fn rows_before(&self, events: u64) -> u64 {
        events
    }

    fn column(&self, column: usize, rows: &Rows) -> ArrayRef {
        match column {
            0 => array(Int64Array::from_iter_values(rows.iter().map(|row| row as i64))),
            _ => array(Int64Array::from_iter_values(rows.iter().map(|row| self.id(row)))),
        }
    }
}
