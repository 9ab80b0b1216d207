//! Numbers: `n` counts from 0, `id` is one of `keys` ids at random.

use arrow::array::{ArrayRef, Int64Array};
use catalog::SqlType;

use super::random::{Draw, array, below};
use super::{Rows, Table};
use crate::options::GeneratorOptions;

pub(crate) struct Sequence {
    columns: [(&'static str, SqlType); 2],
    draw: Draw,
    keys: u64,
}

impl Sequence {
    pub(crate) fn new(options: &GeneratorOptions) -> Self {
        let columns = [("n", SqlType::BigInt), ("id", SqlType::BigInt)];
        Self { columns, draw: Draw::new(options.seed, 4 << 40), keys: options.keys }
    }
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
            _ => {
                array(Int64Array::from_iter_values(rows.iter().map(|row| below(self.draw.bits(row), self.keys) as i64)))
            }
        }
    }
}
