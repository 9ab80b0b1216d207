//! The rows of a batch as an accumulator sees them.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;

/// Which group each row belongs to, how often it counts, and which rows count at all.
#[derive(Clone, Copy)]
pub(super) struct GroupRows<'a> {
    /// By row.
    pub(super) groups: &'a [u32],
    /// By row; absent: all 1.
    pub(super) weights: Option<&'a [i64]>,
    /// By row; absent: all count.
    pub(super) selection: Option<&'a BooleanBuffer>,
}

impl GroupRows<'_> {
    /// Calls `each` with row, group and weight of every row that counts.
    #[inline]
    pub(super) fn for_each(&self, mut each: impl FnMut(usize, usize, i64)) {
        match (self.selection, self.weights) {
            (None, None) => self.groups.iter().enumerate().for_each(|(row, group)| each(row, *group as usize, 1)),
            (None, Some(weights)) => {
                let rows = self.groups.iter().zip(weights).enumerate();
                rows.for_each(|(row, (group, weight))| each(row, *group as usize, *weight));
            }
            (Some(selection), None) => {
                selection.set_indices().for_each(|row| each(row, self.groups[row] as usize, 1));
            }
            (Some(selection), Some(weights)) => {
                selection.set_indices().for_each(|row| each(row, self.groups[row] as usize, weights[row]));
            }
        }
    }
}

/// The rows for which a filter is true.
pub(super) fn selected_by(filter: &ArrayRef) -> BooleanBuffer {
    let filter: &BooleanArray = filter.as_boolean();
    match filter.nulls() {
        None => filter.values().clone(),
        Some(nulls) => filter.values() & nulls.inner(),
    }
}

/// The rows of a selection (absent: all) in which an argument isn't NULL.
pub(super) fn and_valid(selection: Option<&BooleanBuffer>, argument: &ArrayRef) -> Option<BooleanBuffer> {
    let valid = argument.logical_nulls().filter(|nulls| nulls.null_count() > 0);
    match (selection, valid) {
        (selection, None) => selection.cloned(),
        (None, Some(valid)) => Some(valid.into_inner()),
        (Some(selection), Some(valid)) => Some(selection & valid.inner()),
    }
}
