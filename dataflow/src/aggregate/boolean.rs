//! `bool_and` and `bool_or`: how many of the values that aren't NULL are true, and how many false. A retraction takes away what the row added.
//!
//! No difference to PostgreSQL or DataFusion.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};

use super::rows::GroupRows;
use crate::state::keyed::fit;
use crate::state::{read_signed, write_signed};

/// How many values are true and how many false, per group.
#[derive(Debug, Default)]
pub(super) struct Booleans {
    trues: Vec<i64>,
    falses: Vec<i64>,
}

impl Booleans {
    pub(super) fn resize(&mut self, groups: usize) {
        fit(&mut self.trues, groups, 0);
        fit(&mut self.falses, groups, 0);
    }

    pub(super) fn clear(&mut self, group: usize) {
        self.trues[group] = 0;
        self.falses[group] = 0;
    }

    pub(super) fn update(&mut self, argument: &ArrayRef, rows: GroupRows<'_>) {
        let values = argument.as_boolean().values();
        rows.for_each(|row, group, weight| {
            let counts = if values.value(row) { &mut self.trues } else { &mut self.falses };
            counts[group] += weight;
        });
    }

    /// `bool_and`: no value is false; NULL without values.
    pub(super) fn all(&self, groups: &[u32]) -> ArrayRef {
        self.column(groups, |_, falses| falses == 0)
    }

    /// `bool_or`: some value is true; NULL without values.
    pub(super) fn any(&self, groups: &[u32]) -> ArrayRef {
        self.column(groups, |trues, _| trues > 0)
    }

    fn column(&self, groups: &[u32], of: impl Fn(i64, i64) -> bool) -> ArrayRef {
        let values = groups.iter().map(|group| {
            let (trues, falses) = (self.trues[*group as usize], self.falses[*group as usize]);
            (trues + falses != 0).then(|| of(trues, falses))
        });
        Arc::new(values.collect::<BooleanArray>())
    }

    pub(super) fn encode(&self, group: usize, out: &mut Vec<u8>) {
        write_signed(self.trues[group], out);
        write_signed(self.falses[group], out);
    }

    pub(super) fn decode(&mut self, group: usize, bytes: &mut &[u8]) -> Option<()> {
        self.trues[group] = read_signed(bytes)?;
        self.falses[group] = read_signed(bytes)?;
        Some(())
    }

    pub(super) fn bytes(&self) -> usize {
        8 * (self.trues.capacity() + self.falses.capacity())
    }
}
