//! What is known about the output of an operator while a plan is lowered.

use std::collections::BTreeSet;
use std::sync::Arc;

use catalog::LatePolicy;

use crate::incremental::{Node, TimeBound, TimeKind};

/// More candidate keys than this aren't kept: a join multiplies them.
const MAX_KEYS: usize = 8;

/// A number that columns share which determine each other, such as the two sides of an equi-join, or a window's start and end. Keys are sets
/// of these, so that a key survives as long as one column of each class does.
pub(super) type Class = usize;

/// An operator and what is known about the rows that come out.
#[derive(Clone, Debug)]
pub(super) struct Lowered {
    pub(super) node: Arc<Node>,
    /// By position.
    pub(super) columns: Vec<ColumnInfo>,
    /// Each of these sets identifies a row. The empty set: there is never more than one row.
    pub(super) keys: Vec<BTreeSet<Class>>,
}

#[derive(Clone, Debug)]
pub(super) struct ColumnInfo {
    pub(super) class: Class,
    /// NULL never stands in it.
    pub(super) not_null: bool,
    pub(super) time: Option<TimeBound>,
}

impl ColumnInfo {
    /// A column of which nothing is known.
    pub(super) fn unknown(class: Class) -> Self {
        Self { class, not_null: false, time: None }
    }
}

impl Lowered {
    /// A class that no column has.
    pub(super) fn free_class(&self) -> Class {
        self.columns
            .iter()
            .map(|column| column.class + 1)
            .chain(self.keys.iter().flatten().map(|c| c + 1))
            .max()
            .unwrap_or(0)
    }

    /// Keeps the smallest keys, each once, and none that contains another.
    pub(super) fn set_keys(&mut self, mut keys: Vec<BTreeSet<Class>>) {
        keys.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
        self.keys.clear();
        for key in keys {
            if self.keys.len() < MAX_KEYS && !self.keys.iter().any(|smaller| smaller.is_subset(&key)) {
                self.keys.push(key);
            }
        }
    }

    /// Another set that identifies a row.
    pub(super) fn add_key(&mut self, key: BTreeSet<Class>) {
        let mut keys = std::mem::take(&mut self.keys);
        keys.push(key);
        self.set_keys(keys);
    }

    /// Drops keys of which a column is gone.
    pub(super) fn retain_keys(&mut self) {
        let present: BTreeSet<Class> = self.columns.iter().map(|column| column.class).collect();
        self.keys.retain(|key| key.is_subset(&present));
    }

    /// Whether there is never more than one row.
    pub(super) fn is_single_row(&self) -> bool {
        self.keys.iter().any(BTreeSet::is_empty)
    }

    /// The positions of the fewest columns that identify a row, in order; empty: none found, or there is but one row.
    pub(super) fn smallest_key(&self) -> Vec<usize> {
        let Some(key) = self.keys.first() else { return Vec::new() };
        let position = |class: &Class| {
            self.columns.iter().position(|column| column.class == *class).expect("keys of missing columns are dropped")
        };
        let mut positions: Vec<usize> = key.iter().map(position).collect();
        positions.sort_unstable();
        positions
    }

    /// The columns that say how far time has come.
    pub(super) fn times(&self) -> Vec<(usize, TimeBound)> {
        let columns = self.columns.iter().enumerate();
        columns.filter_map(|(position, column)| Some((position, column.time.clone()?))).collect()
    }

    /// See [`window_column`].
    pub(super) fn window_column(&self) -> Option<(usize, &TimeBound, i64)> {
        window_column(&self.columns)
    }
}

/// The column that tells best when a row's window is over (its end rather than its start), and what is added to it to be the end.
pub(super) fn window_column(columns: &[ColumnInfo]) -> Option<(usize, &TimeBound, i64)> {
    let windows = columns.iter().enumerate().filter_map(|(position, column)| match &column.time {
        Some(bound @ TimeBound { kind: TimeKind::Window { offset_us }, .. }) => Some((position, bound, *offset_us)),
        _ => None,
    });
    windows.min_by_key(|(position, _, offset_us)| (*offset_us, *position))
}

/// What holds where both bounds hold: the same kind of time, over the sources of both.
pub(super) fn both_bounds(a: Option<&TimeBound>, b: Option<&TimeBound>) -> Option<TimeBound> {
    let (a, b) = (a?, b?);
    if a.kind != b.kind {
        return None;
    }
    let sources: BTreeSet<_> = a.sources.iter().chain(&b.sources).copied().collect();
    let late = match (a.late, b.late) {
        (LatePolicy::Drop, LatePolicy::Drop) => LatePolicy::Drop,
        _ => LatePolicy::DeadLetter,
    };
    Some(TimeBound { kind: a.kind, sources: sources.into_iter().collect(), late })
}
