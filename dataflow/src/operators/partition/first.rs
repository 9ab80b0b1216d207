//! The first rows of partitions from which no row is ever taken: others are not kept.
//!
//! The order's keys decide which rows stay, so only their columns are read of a row that doesn't. What comes out are the places that another
//! row has now; nothing is computed anew to be compared.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::row::Rows;
use delta::{Delta, Part};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use planner::incremental::Place;
use storage::Snapshot;

use super::order::{Order, take_rows};
use super::top::Top;
use super::{Shard, Shared};
use crate::expression::batch_of;
use crate::operator::StepOutput;
use crate::state::keys::{EncodedKeys, NO_SLOT};
use crate::state::row::EncodedRows;
use crate::state::{Multimap, RowCodec};
use crate::{Error, Result};

impl Shard {
    /// An epoch of a rule that needs only the first rows, of an input that only grows.
    pub(super) fn keep_first(
        &mut self,
        shared: &Shared,
        top: &Top,
        parts: &[Part],
        store: &dyn Snapshot,
    ) -> Result<StepOutput> {
        let keys = parts.iter().map(|part| shared.encode_keys(part)).collect::<Result<Vec<_>>>()?;
        let came = Came::new(&mut self.rows, parts, &keys, store)?;
        let candidates = Candidates::new(&self.rows, &came, parts, &shared.codec, top)?;
        let mut changes = Changes::default();
        for group in 0..came.groups.len() {
            candidates.compare(group, top, &mut changes);
        }
        if changes.added.is_empty() {
            return Ok(StepOutput::default());
        }
        let added = Added::new(&changes, &candidates, parts, &shared.codec)?;
        let bytes = |id: u32| match id.checked_sub(candidates.there.len() as u32) {
            None => candidates.there[id as usize],
            Some(new) => added.row(new),
        };
        let rows: Vec<&[u8]> = changes.rows.iter().map(|id| bytes(*id)).collect();
        let mut columns = shared.codec.decode(&rows)?.columns().to_vec();
        if top.plan.place.is_some() {
            columns.push(Arc::new(UInt64Array::from(std::mem::take(&mut changes.places))) as ArrayRef);
        }
        let batch = batch_of(&shared.output, columns, rows.len())?;
        let weights = Int64Array::from(std::mem::take(&mut changes.weights));

        let mut taken = EncodedRows::default();
        changes.taken.iter().for_each(|(_, id)| taken.push(bytes(*id)));
        let there = candidates.there.len() as u32;
        drop(candidates);
        let mut touched = Vec::with_capacity(changes.added.len());
        for (row, (group, _)) in changes.taken.iter().enumerate() {
            self.rows.add_row(came.groups[*group].slot, taken.row(row), -1);
        }
        for (group, id) in &changes.added {
            let Group { slot, part, row, .. } = came.groups[*group];
            let slot = match slot {
                NO_SLOT => self.rows.slot(parts[part].hashes[row], keys[part].key(row)),
                slot => slot,
            };
            self.rows.add_row(slot, added.row(id - there), 1);
            touched.push(slot);
        }
        self.note(shared, &touched);
        let mut output = StepOutput::default();
        output.deltas.extend((batch.num_rows() > 0).then(|| Delta::new(batch, Some(weights))));
        Ok(output)
    }
}

/// What came, by partition.
struct Came {
    groups: Vec<Group>,
    /// Rows by their number over all parts, those of a partition together, each as often as it came.
    rows: Vec<u32>,
    /// The number of each part's first row, and one more: how many there are.
    starts: Vec<usize>,
}

/// A partition to which rows came.
struct Group {
    /// In the state, or [`NO_SLOT`].
    slot: u32,
    /// One of its rows.
    part: usize,
    row: usize,
    /// In [`Came::rows`].
    came: Range<usize>,
}

impl Came {
    fn new(state: &mut Multimap, parts: &[Part], keys: &[EncodedKeys], store: &dyn Snapshot) -> Result<Self> {
        let mut starts = vec![0];
        starts.extend(parts.iter().scan(0, |end, part| {
            *end += part.delta.num_rows();
            Some(*end)
        }));
        let total = starts[parts.len()];
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of = Vec::with_capacity(total);
        let mut copies = Vec::with_capacity(total);
        let mut numbers: HashTable<usize> = HashTable::new();
        let mut slots = Vec::new();
        for (part, (Part { delta, hashes, .. }, part_keys)) in parts.iter().zip(keys).enumerate() {
            state.probe(hashes, part_keys, store, &mut slots)?;
            for (row, slot) in slots.iter().enumerate() {
                let key = |group: &Group| keys[group.part].key(group.row);
                let hash = |group: &usize| parts[groups[*group].part].hashes[groups[*group].row];
                let group = match numbers.entry(hashes[row], |group| key(&groups[*group]) == part_keys.key(row), hash) {
                    Entry::Occupied(group) => *group.get(),
                    Entry::Vacant(place) => {
                        let group = groups.len();
                        place.insert(group);
                        groups.push(Group { slot: *slot, part, row, came: 0..0 });
                        group
                    }
                };
                let weight = usize::try_from(delta.weight(row))
                    .map_err(|_| Error::Broken("an input that only grows takes a row away".to_owned()))?;
                groups[group].came.end += weight;
                group_of.push(group);
                copies.push(weight);
            }
        }
        let mut end = 0;
        for group in &mut groups {
            let start = end;
            end += group.came.end;
            group.came = start..start;
        }
        let mut rows = vec![0; end];
        for (row, (group, copies)) in group_of.into_iter().zip(copies).enumerate() {
            let came = &mut groups[group].came;
            rows[came.end..came.end + copies].fill(row as u32);
            came.end += copies;
        }
        Ok(Self { groups, rows, starts })
    }
}

/// The rows of the partitions to which some came, in order. A row is known by a number: those that were there come first, then those that
/// came.
struct Candidates<'a> {
    there: Vec<&'a [u8]>,
    starts: &'a [usize],
    /// By row.
    keys: Rows,
    has_keys: bool,
    /// Rows, partition by partition, each in order.
    sorted: Vec<u32>,
    /// Of each partition, in `sorted`.
    ranges: Vec<Range<usize>>,
}

impl<'a> Candidates<'a> {
    fn new(state: &'a Multimap, came: &'a Came, parts: &[Part], codec: &RowCodec, top: &Top) -> Result<Self> {
        let order = &top.order;
        let mut there: Vec<&[u8]> = Vec::new();
        let mut ranges = Vec::with_capacity(came.groups.len());
        for group in &came.groups {
            let start = there.len();
            for (row, weight) in state.rows(group.slot) {
                there.extend(std::iter::repeat_n(row, usize::try_from(weight).unwrap_or(0)));
            }
            ranges.push(start..there.len());
        }
        let first_new = there.len() as u32;
        let total = there.len() + came.starts[parts.len()];
        u32::try_from(total).map_err(|_| Error::Unsupported("an epoch of more than 2^32 rows".to_owned()))?;
        let mut keys = order.no_keys(total);
        order.add_keys(&mut keys, there.len(), |column| codec.decode_column(column, &there))?;
        for part in parts {
            let batch = part.delta.batch();
            order.add_keys(&mut keys, batch.num_rows(), |column| Ok(batch.column(column).clone()))?;
        }
        let mut sorted = Vec::with_capacity(there.len() + came.rows.len());
        for (group, range) in came.groups.iter().zip(&mut ranges) {
            let start = sorted.len();
            sorted.extend(range.clone().map(|row| row as u32));
            sorted.extend(came.rows[group.came.clone()].iter().map(|row| row + first_new));
            *range = start..sorted.len();
        }
        let has_keys = !order.keys.is_empty();
        let mut all = Self { there, starts: &came.starts, keys, has_keys, sorted, ranges };
        all.sort(parts, codec, top)?;
        Ok(all)
    }

    fn sort(&mut self, parts: &[Part], codec: &RowCodec, top: &Top) -> Result<()> {
        let Self { sorted, keys, .. } = self;
        if self.has_keys {
            for range in &self.ranges {
                sorted[range.clone()]
                    .sort_unstable_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)).then(a.cmp(b)));
            }
        }
        // Rows that tie, and where they stand. How those stand that neither were nor are among the first is nobody's concern.
        let last = top.plan.last_place().filter(|_| !top.is_dense()).unwrap_or(usize::MAX);
        let (mut tied, mut runs) = (Vec::new(), Vec::new());
        for range in &self.ranges {
            let mut start = range.start;
            for run in self.sorted[range.clone()].chunk_by(|a, b| self.are_peers(*a, *b)) {
                if run.len() > 1 && (start - range.start < last || !self.is_new(run[0])) {
                    tied.extend_from_slice(run);
                    runs.push(start..start + run.len());
                }
                start += run.len();
            }
        }
        if tied.is_empty() {
            return Ok(());
        }
        tied.sort_unstable();
        tied.dedup();
        let rows = self.whole(&tied, parts, codec, &top.order)?;
        let place = |id: u32| tied.partition_point(|other| *other < id);
        for run in runs {
            // Of equal rows, those that were there stand first.
            self.sorted[run].sort_by_cached_key(|id| (rows.row(place(*id)).owned(), *id));
        }
        Ok(())
    }

    /// What orders rows that tie; `ids` are in their order.
    fn whole(&self, ids: &[u32], parts: &[Part], codec: &RowCodec, order: &Order) -> Result<Rows> {
        let mut rows = None;
        let split = ids.partition_point(|id| (*id as usize) < self.there.len());
        let there: Vec<&[u8]> = ids[..split].iter().map(|id| self.there[*id as usize]).collect();
        order.add_ties(&mut rows, &codec.decode(&there)?)?;
        for batch in self.of_parts(&ids[split..], parts)? {
            order.add_ties(&mut rows, &batch)?;
        }
        rows.ok_or_else(|| Error::Broken("rows that tie".to_owned()))
    }

    /// Rows that came; `ids` are in their order.
    fn of_parts(&self, mut ids: &[u32], parts: &[Part]) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for (part, bounds) in parts.iter().zip(self.starts.windows(2)) {
            let first = (self.there.len() + bounds[0]) as u32;
            let end = ids.partition_point(|id| (*id as usize) < self.there.len() + bounds[1]);
            let (here, rest) = ids.split_at(end);
            ids = rest;
            if !here.is_empty() {
                let positions = UInt32Array::from_iter_values(here.iter().map(|id| id - first));
                batches.push(take_rows(part.delta.batch(), &positions)?);
            }
        }
        Ok(batches)
    }

    fn are_peers(&self, a: u32, b: u32) -> bool {
        !self.has_keys || self.keys.row(a as usize) == self.keys.row(b as usize)
    }

    fn is_new(&self, id: u32) -> bool {
        id as usize >= self.there.len()
    }

    /// What changes in a partition.
    fn compare(&self, group: usize, top: &Top, changes: &mut Changes) {
        let rows = &self.sorted[self.ranges[group].clone()];
        let end = top.end_of(&(0..rows.len()), |a, b| self.are_peers(rows[a], rows[b]));
        if !rows[..end].iter().any(|id| self.is_new(*id)) {
            return;
        }
        changes.taken.extend(rows[end..].iter().filter(|id| !self.is_new(**id)).map(|id| (group, *id)));
        changes.added.extend(rows[..end].iter().filter(|id| self.is_new(**id)).map(|id| (group, *id)));
        // Counted from 0: how many rows of then and of now stand before a row, and before its first peer.
        let (mut then, mut now) = (0, 0);
        let (mut first_then, mut first_now) = (0, 0);
        // And how many ranks are before it.
        let (mut ranks_then, mut ranks_now) = (0, 0);
        let first_added = changes.come.len();
        for (at, id) in rows.iter().enumerate() {
            if at > 0 && !self.are_peers(rows[at - 1], *id) {
                ranks_then += u64::from(then > first_then);
                ranks_now += u64::from(now > first_now);
                (first_then, first_now) = (then, now);
            }
            let place = |at: usize, first: usize, ranks: u64| match top.plan.place {
                None => 0,
                Some(Place::Row) => at as u64 + 1,
                Some(Place::Rank) => first as u64 + 1,
                Some(Place::DenseRank) => ranks + 1,
            };
            let was = (!self.is_new(*id) && then >= top.plan.offset).then(|| place(then, first_then, ranks_then));
            let is = (at < end && now >= top.plan.offset).then(|| place(now, first_now, ranks_now));
            if was != is {
                was.into_iter().for_each(|place| changes.push(*id, place, -1));
                changes.come.extend(is.map(|place| (*id, place)));
            }
            then += usize::from(!self.is_new(*id));
            now += usize::from(at < end);
        }
        // What goes comes first.
        for (id, place) in changes.come.split_off(first_added) {
            changes.push(id, place, 1);
        }
    }
}

/// What changes in the output and in the state. Rows are numbers of [`Candidates`].
#[derive(Default)]
struct Changes {
    rows: Vec<u32>,
    places: Vec<u64>,
    weights: Vec<i64>,
    come: Vec<(u32, u64)>,
    /// Partitions and their rows.
    taken: Vec<(usize, u32)>,
    added: Vec<(usize, u32)>,
}

impl Changes {
    fn push(&mut self, id: u32, place: u64, weight: i64) {
        self.rows.push(id);
        self.places.push(place);
        self.weights.push(weight);
    }
}

/// Rows that stay of those that came, encoded.
struct Added {
    rows: Vec<EncodedRows>,
    /// By row that came: where it is.
    places: Vec<(u32, u32)>,
}

impl Added {
    fn new(changes: &Changes, candidates: &Candidates<'_>, parts: &[Part], codec: &RowCodec) -> Result<Self> {
        let mut ids: Vec<u32> = changes.added.iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        let there = candidates.there.len();
        let mut places = vec![(0, 0); candidates.starts[parts.len()]];
        let mut rows = Vec::new();
        let mut left = ids.iter();
        for batch in candidates.of_parts(&ids, parts)? {
            for (row, id) in left.by_ref().take(batch.num_rows()).enumerate() {
                places[*id as usize - there] = (rows.len() as u32, row as u32);
            }
            rows.push(codec.encode(batch.columns(), batch.num_rows())?);
        }
        Ok(Self { rows, places })
    }

    fn row(&self, came: u32) -> &[u8] {
        let (batch, row) = self.places[came as usize];
        self.rows[batch as usize].row(row as usize)
    }
}
