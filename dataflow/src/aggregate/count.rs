//! `count`: how many rows there are, or how many whose argument isn't NULL. A retraction takes away what the row added.
//!
//! No difference to PostgreSQL or DataFusion.

use super::rows::GroupRows;
use crate::state::{read_signed, write_signed};

/// A number of rows per group.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) counts: Vec<i64>,
}

impl Count {
    #[inline]
    pub(super) fn update(&mut self, rows: GroupRows<'_>) {
        match (rows.selection, rows.weights) {
            // A filter that many rows pass: no branch per row.
            (Some(selection), None) => {
                for (row, group) in rows.groups.iter().enumerate() {
                    self.counts[*group as usize] += i64::from(selection.value(row));
                }
            }
            _ => rows.for_each(|_, group, weight| self.counts[group] += weight),
        }
    }

    pub(super) fn encode(&self, group: usize, out: &mut Vec<u8>) {
        write_signed(self.counts[group], out);
    }

    pub(super) fn decode(&mut self, group: usize, bytes: &mut &[u8]) -> Option<()> {
        self.counts[group] = read_signed(bytes)?;
        Some(())
    }
}
