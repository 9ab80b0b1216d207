//! Which session a row is in, and what of a change is late.

use std::collections::{BTreeMap, HashMap};

use delta::Part;

use super::Shared;
use crate::state::keys::EncodedKeys;
use crate::state::row::EncodedRows;

/// Rows of a key, by their bytes, with their weights.
pub(super) type Bag = BTreeMap<Vec<u8>, i64>;

/// The rows of one key in an epoch.
#[derive(Default)]
pub(super) struct Group {
    pub(super) hash: u64,
    pub(super) key: Vec<u8>,
    pub(super) before: Bag,
    pub(super) after: Bag,
}

/// A window.
pub(super) type Span = (i64, i64);

/// The sessions of rows at these times.
pub(super) fn sessions(mut times: Vec<i64>, gap_us: i64) -> Vec<Span> {
    times.sort_unstable();
    let mut found: Vec<Span> = Vec::new();
    for time in times {
        let end = time.saturating_add(gap_us);
        match found.last_mut() {
            Some(last) if time < last.1 => last.1 = end,
            _ => found.push((time, end)),
        }
    }
    found
}

/// The session that a time of one of the rows is in.
pub(super) fn session_at(sessions: &[Span], time: i64) -> Span {
    let behind = sessions.partition_point(|(start, _)| *start <= time);
    sessions[behind.saturating_sub(1)]
}

/// The numbers of groups by key, and the groups by number, which is the order in which they came.
#[derive(Default)]
pub(super) struct Groups(pub(super) HashMap<Vec<u8>, usize>, pub(super) BTreeMap<usize, Group>);

pub(super) fn bag<'a>(rows: impl Iterator<Item = (&'a [u8], i64)>) -> Bag {
    let mut bag = Bag::new();
    for (row, weight) in rows {
        *bag.entry(row.to_vec()).or_default() += weight;
    }
    bag.retain(|_, weight| *weight != 0);
    bag
}

/// Adds a change to its groups, but for what is late. For each part: which rows are in, and which are late.
pub(super) fn accept(
    shared: &Shared,
    parts: &[Part],
    keys: &[EncodedKeys],
    rows: &[EncodedRows],
    groups: &mut Groups,
    closed_to: Option<i64>,
) -> Vec<(Vec<bool>, Vec<bool>)> {
    let Groups(numbers, groups) = groups;
    let group_of = |part: usize, row: usize| numbers[keys[part].key(row)];
    // Sessions of what is there and of all that comes: one that is over has no row that was there before.
    let mut times: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
    if closed_to.is_some() {
        for (number, part) in parts.iter().enumerate() {
            for row in (0..part.delta.num_rows()).filter(|row| part.delta.weight(*row) > 0) {
                times.entry(group_of(number, row)).or_default().push(shared.time_of(rows[number].row(row)));
            }
        }
        for (number, times) in &mut times {
            times.extend(groups[number].before.keys().map(|row| shared.time_of(row)));
        }
    }
    let all: BTreeMap<usize, Vec<Span>> =
        times.into_iter().map(|(number, times)| (number, sessions(times, shared.gap_us))).collect();

    let mut accepted = Vec::with_capacity(parts.len());
    for (number, part) in parts.iter().enumerate() {
        let (mut is_in, mut is_late) = (vec![true; part.delta.num_rows()], vec![false; part.delta.num_rows()]);
        for (row, (is_in, is_late)) in is_in.iter_mut().zip(&mut is_late).enumerate() {
            let (bytes, weight) = (rows[number].row(row), part.delta.weight(row));
            let which = group_of(number, row);
            let group = groups.get_mut(&which).expect("every key has a group");
            if let Some(closed_to) = closed_to {
                if weight > 0 && session_at(&all[&which], shared.time_of(bytes)).1 <= closed_to {
                    (*is_in, *is_late) = (false, true);
                    continue;
                }
                // What is taken away of a closed session isn't there any more.
                if weight < 0 && !group.after.contains_key(bytes) {
                    *is_in = false;
                    continue;
                }
            }
            let sum = group.after.entry(bytes.to_vec()).or_default();
            *sum += weight;
            if *sum == 0 {
                group.after.remove(bytes);
            }
        }
        accepted.push((is_in, is_late));
    }
    accepted
}
