//! Changes of large partitions: only blocks that a change reaches are read and computed.
//!
//! - First rows in an order: the blocks in front that hold them, if the change is in one of those.
//! - Window functions: the blocks that rows changed in, and as many around them as the functions see. What running functions know of the rows
//!   before is kept for each block, so they begin there; they go on behind the change for as long as it is another than it was.

use std::ops::Range;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use delta::{Delta, Part, consolidate};
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use storage::Snapshot;

use super::blocks::{BLOCK_ROWS, Block, Blocks, Piece, Positions, expand};
use super::order::{Order, Partitions};
use super::reach::Reach;
use super::top::Top;
use super::windows::{Local, Windows};
use super::{Rule, Shard, Shared, taken};
use crate::expression::batch_of;
use crate::operator::StepOutput;
use crate::state::keys::NO_SLOT;
use crate::state::row::EncodedRows;
use crate::{Error, Result};

/// What happens to a partition in an epoch.
#[derive(Default)]
struct Changed {
    rows: EncodedRows,
    weights: Vec<i64>,
    fences: EncodedRows,
}

impl Rule {
    /// The order by which large partitions are cut; `None`: any change may reach all of a partition.
    pub(super) fn cut_by(&self) -> Option<&Order> {
        match self {
            Self::Windows(windows) => windows.local().map(|(_, order)| order),
            Self::Top(top) => top.is_local().then_some(&top.order),
            Self::Aggregates(_) => None,
        }
    }
}

impl Shard {
    /// Takes rows of large partitions out of the parts, and computes these.
    pub(super) fn change_large(
        &mut self,
        shared: &Shared,
        order: &Order,
        parts: &[Part],
        store: &dyn Snapshot,
    ) -> Result<(Vec<Part>, StepOutput)> {
        let mut output = StepOutput::default();
        let Some(blocks) = &self.blocks else { return Ok((parts.to_vec(), output)) };
        if blocks.is_empty() {
            return Ok((parts.to_vec(), output));
        }
        let mut small = Vec::new();
        let mut numbers: HashMap<Box<[u8]>, usize> = HashMap::new();
        let mut changed: Vec<(Box<[u8]>, Changed)> = Vec::new();
        for part in parts {
            let keys = shared.encode_keys(part)?;
            let is_large: Vec<bool> = (0..keys.len()).map(|row| blocks.get(keys.key(row)).is_some()).collect();
            if !is_large.contains(&true) {
                small.push(part.clone());
                continue;
            }
            let positions = |large: bool| {
                let rows = (0..is_large.len()).filter(|row| is_large[*row] == large);
                UInt32Array::from_iter_values(rows.map(|row| row as u32))
            };
            let (here, there) = (positions(true), positions(false));
            if !there.is_empty() {
                let hashes = there.values().iter().map(|row| part.hashes[*row as usize]).collect::<Vec<_>>();
                small.push(Part { shard: part.shard, delta: part.delta.take(&there)?, hashes: hashes.into() });
            }
            let delta = part.delta.take(&here)?;
            let fences = order.fences(delta.batch())?;
            let rows = shared.codec.encode(delta.batch().columns(), delta.num_rows())?;
            for (row, position) in here.values().iter().enumerate() {
                let number = match numbers.entry_ref(keys.key(*position as usize)) {
                    EntryRef::Occupied(number) => *number.get(),
                    EntryRef::Vacant(place) => {
                        changed.push((keys.key(*position as usize).into(), Changed::default()));
                        *place.insert(changed.len() - 1)
                    }
                };
                let changed = &mut changed[number].1;
                changed.rows.push(rows.row(row));
                changed.weights.push(delta.weight(row));
                changed.fences.push(fences.row(row).data());
            }
        }
        for (key, changed) in &changed {
            let change = match &shared.rule {
                Rule::Top(top) => self.change_top(shared, top, key, changed, store)?,
                Rule::Windows(windows) => self.change_windows(shared, windows, key, changed, store)?,
                Rule::Aggregates(_) => StepOutput::default(),
            };
            output.deltas.extend(change.deltas);
            output.errors.extend(change.errors);
        }
        Ok((small, output))
    }

    /// The first rows of a large partition.
    fn change_top(
        &mut self,
        shared: &Shared,
        top: &Top,
        key: &[u8],
        changed: &Changed,
        store: &dyn Snapshot,
    ) -> Result<StepOutput> {
        let Some(blocks) = &mut self.blocks else { return Ok(StepOutput::default()) };
        let places = changed.places(blocks, key)?;
        let touched = in_order(&places);
        let last = top.plan.last_place().unwrap_or(usize::MAX);
        let reaches = match touched.first() {
            Some(first) => {
                let before = &blocks.change(key)?.blocks[..*first];
                before.iter().map(|block| held(top, block)).sum::<usize>() < last
            }
            None => false,
        };
        let before = match reaches {
            true => Some(shared.output(&front(shared, top, blocks, key, store)?)?),
            false => None,
        };
        blocks.apply(key, &places, &changed.rows, &changed.weights, store)?;
        blocks.maintain(key, &touched, store, |rows| pieces(shared, &top.order, rows))?;
        let after = match reaches {
            true => Some(shared.output(&front(shared, top, blocks, key, store)?)?),
            false => None,
        };
        blocks.remove_if_empty(key);
        match after {
            Some(after) => shared.difference(before, after),
            None => Ok(StepOutput::default()),
        }
    }

    /// Window functions over a large partition.
    fn change_windows(
        &mut self,
        shared: &Shared,
        windows: &Windows,
        key: &[u8],
        changed: &Changed,
        store: &dyn Snapshot,
    ) -> Result<StepOutput> {
        let (Some(blocks), Some((local, order))) = (&mut self.blocks, windows.local()) else {
            return Ok(StepOutput::default());
        };
        let places = changed.places(blocks, key)?;
        let touched = in_order(&places);
        let before: Vec<(u32, usize)> = blocks.change(key)?.blocks.iter().map(|block| (block.id, block.rows)).collect();
        let ids: Vec<u32> = touched.iter().map(|place| before[*place].0).collect();
        let slots = blocks.load(key, &ids, store)?;
        let mut saved = HashMap::new();
        for ((place, id), slot) in touched.iter().zip(&ids).zip(slots) {
            let mut rows = EncodedRows::default();
            expand(&blocks.rows, &[slot]).into_iter().for_each(|row| rows.push(row));
            saved.insert(*id, Saved { rows, carried: blocks.change(key)?.blocks[*place].carried.clone() });
        }
        blocks.apply(key, &places, &changed.rows, &changed.weights, store)?;
        let counts = blocks.maintain(key, &touched, store, |rows| pieces(shared, order, rows))?;
        let mut change = Change { shared, windows, local, key, blocks, before, saved, touched, counts, store };
        let output = match change.regions() {
            Ok(regions) => regions,
            // What fails on a partition is an error of it, and no rows; it is computed whole until that is over.
            Err(_) => {
                let rows = change.all_before()?;
                let before = shared.output(&whole(shared, &rows)?)?;
                let rows = self.join_blocks(shared, key, store)?;
                let rows: Vec<&[u8]> = (0..rows.len()).map(|row| rows.row(row)).collect();
                return shared.difference(Some(before), shared.output(&whole(shared, &rows)?)?);
            }
        };
        if let Some(blocks) = &mut self.blocks {
            blocks.remove_if_empty(key);
        }
        Ok(output)
    }

    /// A large partition is kept as a small one is. Its rows.
    pub(super) fn join_blocks(&mut self, shared: &Shared, key: &[u8], store: &dyn Snapshot) -> Result<EncodedRows> {
        let Some(blocks) = self.blocks.as_mut().filter(|blocks| blocks.get(key).is_some()) else {
            return Ok(EncodedRows::default());
        };
        let ids: Vec<u32> = blocks.change(key)?.blocks.iter().map(|block| block.id).collect();
        let slots = blocks.load(key, &ids, store)?;
        let rows = blocks.remove(key, &slots)?;
        let all: Vec<&[u8]> = (0..rows.len()).map(|row| rows.row(row)).collect();
        let (sent, hashes) = shared.send(&Delta::inserts(shared.codec.decode(&all)?), None)?;
        let keys = shared.encoder.encode(&shared.keys_of(sent.batch()), sent.num_rows())?;
        self.rows.add(&hashes, &keys, &rows, None, store)?;
        Ok(rows)
    }

    /// Small partitions that have become large are cut.
    pub(super) fn cut_grown(
        &mut self,
        shared: &Shared,
        order: &Order,
        slots: &[u32],
        store: &dyn Snapshot,
    ) -> Result<()> {
        let Some(blocks) = &mut self.blocks else { return Ok(()) };
        for slot in slots {
            if *slot == NO_SLOT || self.rows.total(*slot) <= 2 * BLOCK_ROWS as i64 {
                continue;
            }
            let rows = expand(&self.rows, &[*slot]);
            let cut = pieces(shared, order, &rows)?;
            if cut.len() < 2 {
                continue;
            }
            let mut starts: Vec<usize> = Vec::with_capacity(cut.len());
            let mut end = 0;
            for (_, positions) in &cut {
                starts.push(end);
                end += positions.len();
            }
            let carried = match &shared.rule {
                Rule::Windows(windows) if windows.local().is_some_and(|(local, _)| local.carries()) => {
                    let sorted: Vec<&[u8]> =
                        cut.iter().flat_map(|(_, positions)| positions.iter().map(|row| rows[*row as usize])).collect();
                    let sorted = in_sequence(shared, order, &sorted)?;
                    // What fails on the partition is computed whole.
                    let Ok(run) = windows.evaluate_run(&sorted, None, &starts[1..]) else { continue };
                    run.carried
                }
                _ => vec![Box::default(); starts.len() - 1],
            };
            let pieces: Vec<Piece<'_>> = cut.iter().map(|piece| Piece::new(piece, &rows)).collect();
            let key = self.rows.keys().key(*slot).to_vec();
            blocks.add(&key, self.rows.keys().vnode(*slot), &pieces, &carried, store)?;
            self.rows.clear(*slot);
        }
        Ok(())
    }
}

impl Changed {
    /// By row: the block to which it belongs.
    fn places(&self, blocks: &mut Blocks, key: &[u8]) -> Result<Vec<usize>> {
        let cut = blocks.change(key)?;
        Ok((0..self.fences.len()).map(|row| cut.place(self.fences.row(row))).collect())
    }
}

fn in_order(places: &[usize]) -> Vec<usize> {
    let mut places = places.to_vec();
    places.sort_unstable();
    places.dedup();
    places
}

/// How many places of an order the rows of a block take at least: peers lie in one block.
fn held(top: &Top, block: &Block) -> usize {
    if top.is_dense() { usize::from(block.rows > 0) } else { block.rows }
}

/// The blocks that hold the first places.
fn front(shared: &Shared, top: &Top, blocks: &mut Blocks, key: &[u8], store: &dyn Snapshot) -> Result<Partitions> {
    let last = top.plan.last_place().unwrap_or(usize::MAX);
    let mut places = 0;
    let mut ids = Vec::new();
    for block in &blocks.change(key)?.blocks {
        if places >= last {
            break;
        }
        places += held(top, block);
        ids.push(block.id);
    }
    let slots = blocks.load(key, &ids, store)?;
    whole(shared, &expand(&blocks.rows, &slots))
}

/// Rows as one partition, if there are any.
fn whole(shared: &Shared, rows: &[&[u8]]) -> Result<Partitions> {
    let range = 0..rows.len();
    let ranges = if range.is_empty() { vec![] } else { vec![range] };
    Ok(Partitions { batch: shared.codec.decode(rows)?, ranges })
}

/// Rows of a partition, sorted.
fn in_sequence(shared: &Shared, order: &Order, rows: &[&[u8]]) -> Result<RecordBatch> {
    let partitions = whole(shared, rows)?;
    let positions = order.sort(&partitions)?.positions;
    partitions.arrange(&UInt32Array::from(positions))
}

/// Cuts rows into pieces, in order: the fence of each, and the positions of its rows.
fn pieces(shared: &Shared, order: &Order, rows: &[&[u8]]) -> Result<Vec<Positions>> {
    let batch = shared.codec.decode(rows)?;
    let fences = order.fences(&batch)?;
    let fence = |row: u32| fences.row(row as usize);
    let mut positions: Vec<u32> = (0..rows.len() as u32).collect();
    positions.sort_unstable_by(|a, b| fence(*a).cmp(&fence(*b)).then(a.cmp(b)));
    let mut pieces: Vec<Positions> = Vec::new();
    for peers in positions.chunk_by(|a, b| fence(*a) == fence(*b)) {
        match pieces.last_mut() {
            Some((_, piece)) if piece.len() < BLOCK_ROWS => piece.extend_from_slice(peers),
            _ => pieces.push((fence(peers[0]).data().to_vec(), peers.to_vec())),
        }
    }
    Ok(pieces)
}

/// A block as it was before the epoch.
struct Saved {
    rows: EncodedRows,
    carried: Box<[u8]>,
}

/// Window functions over a partition that has changed. Places of blocks are those before the change.
struct Change<'a> {
    shared: &'a Shared,
    windows: &'a Windows,
    local: &'a Local,
    key: &'a [u8],
    blocks: &'a mut Blocks,
    /// Of each block: its number and how many rows it had.
    before: Vec<(u32, usize)>,
    /// Blocks that rows came to or went from.
    saved: HashMap<u32, Saved>,
    /// Their places.
    touched: Vec<usize>,
    /// And how many blocks there are now in the place of each.
    counts: Vec<usize>,
    store: &'a dyn Snapshot,
}

/// Blocks whose rows may have other results, among those that they depend on.
struct Region {
    seen: Range<usize>,
    reached: Range<usize>,
    /// Which of the touched blocks are in it.
    touched: Range<usize>,
}

/// Rows of a region, with their results.
struct Computed {
    rows: RecordBatch,
    carried: Vec<Box<[u8]>>,
}

impl Change<'_> {
    fn regions(&mut self) -> Result<StepOutput> {
        let (mut goes, mut comes) = (Vec::new(), Vec::new());
        let mut first = 0;
        // By how much places have moved behind the regions so far.
        let mut moved: isize = 0;
        while first < self.touched.len() {
            let mut more = 0;
            let (region, after) = loop {
                let region = self.region(first, more);
                let after = self.after(&region, moved)?;
                if self.ends(&region, moved, &after) {
                    break (region, after);
                }
                more += region.reached.len();
            };
            let before = self.before(&region, moved)?;
            let rows = |blocks: Range<usize>| -> usize { self.before[blocks].iter().map(|(_, rows)| rows).sum() };
            let start = rows(region.seen.start..region.reached.start);
            goes.push(taken(before.rows.slice(start, rows(region.reached.clone()))));
            let now = self.now(&region, moved);
            let blocks = &mut self.blocks.change(self.key)?.blocks;
            let rows = |blocks: &[Block]| -> usize { blocks.iter().map(|block| block.rows).sum() };
            let start = rows(&blocks[now.seen.start..now.reached.start]);
            comes.push(Delta::inserts(after.rows.slice(start, rows(&blocks[now.reached.clone()]))));
            if self.local.carries() {
                let first = self.carried_to(&region, moved);
                let blocks = &mut self.blocks.change(self.key)?.blocks;
                let carried = std::iter::once(&first).chain(&after.carried);
                blocks[now.seen.start..now.reached.end].iter_mut().zip(carried).for_each(|(block, c)| block.carry(c));
            }
            moved += self.growth(&region.touched);
            first = region.touched.end;
        }
        goes.append(&mut comes);
        let difference = consolidate(&Delta::concat(&self.shared.output, &goes)?)?;
        let mut output = StepOutput::default();
        output.deltas.extend((!difference.is_empty()).then_some(difference));
        Ok(output)
    }

    fn growth(&self, touched: &Range<usize>) -> isize {
        self.counts[touched.clone()].iter().map(|count| *count as isize - 1).sum()
    }

    /// What the change of the touched block reaches, and of those that lie within that; `more` blocks behind it.
    fn region(&self, first: usize, more: usize) -> Region {
        let Reach { back, ahead, .. } = self.local.reach;
        let end = self.before.len();
        let before = |place: usize, rows: usize| -> usize {
            let mut left = rows;
            let mut place = place;
            while left > 0 && place > 0 {
                place -= 1;
                left = left.saturating_sub(self.before[place].1);
            }
            place
        };
        let behind = |place: usize, rows: usize| -> usize {
            let mut left = rows;
            let mut place = place;
            while left > 0 && place < end {
                left = left.saturating_sub(self.before[place].1);
                place += 1;
            }
            place
        };
        let start = before(self.touched[first], ahead);
        let mut last = first;
        loop {
            let reached = behind((self.touched[last] + 1 + more).min(end), back);
            let seen = behind(reached, ahead);
            match self.touched.get(last + 1) {
                Some(next) if *next < seen || before(before(*next, ahead), back) < reached => last += 1,
                _ => {
                    return Region {
                        seen: before(start, back)..seen,
                        reached: start..reached,
                        touched: first..last + 1,
                    };
                }
            }
        }
    }

    /// A region in places of now.
    fn now(&self, region: &Region, moved: isize) -> Region {
        let growth = self.growth(&region.touched);
        let start = |place: usize| (place as isize + moved) as usize;
        let end = |place: usize| (place as isize + moved + growth) as usize;
        // A block that is gone has none in its place.
        let range = |range: &Range<usize>| start(range.start)..end(range.end);
        Region { seen: range(&region.seen), reached: range(&region.reached), touched: region.touched.clone() }
    }

    /// What is carried to a region: nothing, if it begins with the first block.
    fn carried_to(&self, region: &Region, moved: isize) -> Box<[u8]> {
        let Some((id, _)) = self.before.get(region.seen.start).filter(|_| region.seen.start > 0) else {
            return Box::default();
        };
        if let Some(saved) = self.saved.get(id) {
            return saved.carried.clone();
        }
        let place = (region.seen.start as isize + moved) as usize;
        let block = self.blocks.get(self.key).and_then(|cut| cut.blocks.get(place));
        block.map_or_else(Box::default, |block| block.carried.clone())
    }

    fn after(&mut self, region: &Region, moved: isize) -> Result<Computed> {
        let now = self.now(region, moved);
        let blocks = &self.blocks.change(self.key)?.blocks;
        let ids: Vec<u32> = blocks[now.seen.clone()].iter().map(|block| block.id).collect();
        let mut marks = Vec::new();
        let mut end = 0;
        for block in &blocks[now.seen.start..now.reached.end] {
            end += block.rows;
            marks.push(end);
        }
        let slots = self.blocks.load(self.key, &ids, self.store)?;
        let rows = expand(&self.blocks.rows, &slots);
        compute(self.shared, self.windows, &rows, &self.carried_to(region, moved), &marks)
    }

    fn before(&mut self, region: &Region, moved: isize) -> Result<Computed> {
        let (shared, windows, carried) = (self.shared, self.windows, self.carried_to(region, moved));
        compute(shared, windows, &self.rows_before(region.seen.clone())?, &carried, &[])
    }

    /// The rows of blocks as they were.
    fn rows_before(&mut self, places: Range<usize>) -> Result<Vec<&[u8]>> {
        let there: Vec<u32> =
            self.before[places.clone()].iter().map(|(id, _)| *id).filter(|id| !self.saved.contains_key(id)).collect();
        let slots = self.blocks.load(self.key, &there, self.store)?;
        let mut rows = expand(&self.blocks.rows, &slots);
        for (id, _) in &self.before[places] {
            if let Some(saved) = self.saved.get(id) {
                rows.extend((0..saved.rows.len()).map(|row| saved.rows.row(row)));
            }
        }
        Ok(rows)
    }

    fn all_before(&mut self) -> Result<Vec<&[u8]>> {
        self.rows_before(0..self.before.len())
    }

    /// Whether what is carried behind a region is what it was.
    fn ends(&self, region: &Region, moved: isize, after: &Computed) -> bool {
        if !self.local.carries() || region.reached.end == self.before.len() {
            return true;
        }
        let behind = self.now(region, moved).reached.end;
        let cut = self.blocks.get(self.key);
        let Some(block) = cut.and_then(|cut| cut.blocks.get(behind)) else { return true };
        match after.carried.last() {
            Some(carried) => *carried == block.carried,
            // All of its blocks are gone.
            None => self.carried_to(region, moved) == block.carried,
        }
    }
}

/// Rows with their results, in order, and what is carried behind `marks` of them.
fn compute(shared: &Shared, windows: &Windows, rows: &[&[u8]], carried: &[u8], marks: &[usize]) -> Result<Computed> {
    let Some((_, order)) = windows.local() else {
        return Err(Error::Broken("a change whose reach isn't known".to_owned()));
    };
    let sorted = in_sequence(shared, order, rows)?;
    let run = windows.evaluate_run(&sorted, (!carried.is_empty()).then_some(carried), marks)?;
    let columns: Vec<ArrayRef> = sorted.columns().iter().cloned().chain(run.columns).collect();
    Ok(Computed { rows: batch_of(&shared.output, columns, sorted.num_rows())?, carried: run.carried })
}
