//! Window functions over a large partition that has changed: which of its blocks are computed, as they were and as they are.
//!
//! Blocks that rows came to or went from are *touched*, and so are those whose rows have another rank among another number of rows. What depends on the
//! rows that changed is *reached*: as far around them as the calls see. To compute that, blocks are *seen* that lie as far around it again. The distance is in rows
//! (blocks know how many they have), in groups of peers (which are counted in the blocks that are read anyway), or of keys: then the blocks between are found by binary
//! search over the fences.

use std::ops::Range;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{filter_record_batch, or};
use datafusion::scalar::ScalarValue;
use delta::{Delta, consolidate};
use hashbrown::HashMap;
use planner::incremental::Extent;
use storage::Snapshot;

use super::blocks::{Block, Blocks, expand};
use super::local::in_sequence;
use super::order::{Direction, Order, Shifted};
use super::ranked::{self, Standing};
use super::windows::{Local, Stretch, Windows};
use super::{Shared, taken};
use crate::expression::batch_of;
use crate::operator::StepOutput;
use crate::state::row::EncodedRows;
use crate::{Error, Result};

/// So many neighbours are ranked anew together.
const RANKED_TOGETHER: usize = 16;

/// What all changes of a step use.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) shared: &'a Shared,
    pub(super) windows: &'a Windows,
    pub(super) local: &'a Local,
    pub(super) order: &'a Order,
    pub(super) store: &'a dyn Snapshot,
}

/// A block as it was before the epoch.
pub(super) struct Saved {
    pub(super) rows: EncodedRows,
    pub(super) fence: Box<[u8]>,
    pub(super) carried: Box<[u8]>,
}

/// A block of which something is new.
pub(super) struct Touched {
    pub(super) place: usize,
    /// How many blocks there are now in its place.
    pub(super) count: usize,
    /// The first and the last of the keys that rows came or went with; `None`: its rows are those that were there.
    pub(super) keys: Option<(Vec<u8>, Vec<u8>)>,
}

/// A partition that has changed. Places of blocks are those before the change.
pub(super) struct Change<'a> {
    context: Context<'a>,
    key: &'a [u8],
    blocks: &'a mut Blocks,
    /// Of each block: its number and how many rows it had.
    before: Vec<(u32, usize)>,
    /// Blocks that rows came to or went from.
    saved: HashMap<u32, Saved>,
    /// In order of their places.
    touched: Vec<Touched>,
    /// By how much places have moved behind so many of the touched blocks.
    moved: Vec<isize>,
    /// Where the rows of each block stood and stand, and how many there were and are; empty where that isn't asked for.
    stood: Vec<usize>,
    stands: Vec<usize>,
    /// How many groups of peers a block has, as far as they have been counted.
    groups: HashMap<u32, usize>,
}

/// Blocks whose rows may have other results, among those that they depend on.
struct Region {
    seen: Range<usize>,
    reached: Range<usize>,
    /// Which of the touched blocks are in it.
    touched: Range<usize>,
}

/// Rows that a region reaches, with their results.
struct Computed {
    rows: RecordBatch,
    carried: Vec<Box<[u8]>>,
}

impl<'a> Change<'a> {
    /// `touched` are the blocks that rows came to or went from.
    pub(super) fn new(
        context: Context<'a>,
        key: &'a [u8],
        blocks: &'a mut Blocks,
        before: Vec<(u32, usize)>,
        saved: HashMap<u32, Saved>,
        touched: Vec<Touched>,
    ) -> Self {
        let mut change = Self {
            context,
            key,
            blocks,
            before,
            saved,
            touched,
            moved: vec![],
            stood: vec![],
            stands: vec![],
            groups: HashMap::new(),
        };
        change.note_moves();
        if !context.local.reach.ranked.is_empty() {
            change.touch_ranked();
            change.note_moves();
        }
        change
    }

    fn note_moves(&mut self) {
        let moves = self.touched.iter().scan(0, |moved, touched| {
            *moved += touched.count as isize - 1;
            Some(*moved)
        });
        self.moved = std::iter::once(0).chain(moves).collect();
    }

    /// Blocks are touched too whose rows rank otherwise among the rows of now.
    fn touch_ranked(&mut self) {
        fn starts(rows: impl Iterator<Item = usize>) -> Vec<usize> {
            let starts = rows.scan(0, |end, rows| {
                *end += rows;
                Some(*end)
            });
            std::iter::once(0).chain(starts).collect()
        }
        self.stood = starts(self.before.iter().map(|(_, rows)| *rows));
        self.stands = starts(self.now().iter().map(|block| block.rows));
        let mut changed = std::mem::take(&mut self.touched).into_iter().peekable();
        let mut touched = Vec::new();
        let mut moved: isize = 0;
        for place in 0..self.before.len() {
            if let Some(changed) = changed.next_if(|changed| changed.place == place) {
                moved += changed.count as isize - 1;
                touched.push(changed);
                continue;
            }
            let was = standing(&self.stood, place);
            let is = standing(&self.stands, place.saturating_add_signed(moved));
            let ranked = &self.context.local.reach.ranked;
            if !ranked.iter().all(|ranked| ranked::stays(*ranked, was, is, self.before[place].1)) {
                touched.push(Touched { place, count: 1, keys: None });
            }
        }
        self.touched = touched;
    }

    /// The blocks of now.
    fn now(&self) -> &[Block] {
        self.blocks.get(self.key).map_or(&[], |cut| &cut.blocks)
    }

    /// The place of now of a block, or behind a block.
    fn place_now(&self, place: usize) -> usize {
        let moved = self.moved[self.touched.partition_point(|touched| touched.place < place)];
        place.saturating_add_signed(moved)
    }

    fn range_now(&self, places: &Range<usize>) -> Range<usize> {
        self.place_now(places.start)..self.place_now(places.end)
    }

    /// The change of the partition's rows and their results.
    pub(super) fn regions(&mut self) -> Result<StepOutput> {
        let mut output = StepOutput::default();
        let mut first = 0;
        while first < self.touched.len() {
            let mut more = 0;
            let (region, after) = loop {
                let region = self.region(first, more)?;
                let after = self.after(&region)?;
                if self.ends(&region, &after) {
                    break (region, after);
                }
                more += region.reached.len();
            };
            let difference = match self.touched[region.touched.clone()].iter().any(|touched| touched.keys.is_some()) {
                true => self.difference(&region, &after)?,
                false => self.ranked_otherwise(&region, &after)?,
            };
            output.deltas.extend(difference);
            if self.context.local.carries() {
                let first = self.carried_to(region.seen.start);
                let now = self.range_now(&(region.seen.start..region.reached.end));
                let carried = std::iter::once(&first).chain(&after.carried);
                self.blocks.change(self.key)?.blocks[now].iter_mut().zip(carried).for_each(|(block, c)| block.carry(c));
            }
            first = region.touched.end;
        }
        Ok(output)
    }

    /// What goes and what comes, in a region whose rows have changed.
    fn difference(&mut self, region: &Region, after: &Computed) -> Result<Option<Delta>> {
        let before = self.before(region)?;
        let both = [taken(before.rows), Delta::inserts(after.rows.clone())];
        let difference = consolidate(&Delta::concat(&self.context.shared.output, &both)?)?;
        Ok((!difference.is_empty()).then_some(difference))
    }

    /// What goes and what comes, where the rows are those that were there: nothing but their ranks is computed.
    fn ranked_otherwise(&self, region: &Region, after: &Computed) -> Result<Option<Delta>> {
        let Context { shared, windows, .. } = self.context;
        let width = shared.schema.fields().len();
        let rows = after.rows.num_rows();
        let sorted = batch_of(&shared.schema, after.rows.columns()[..width].to_vec(), rows)?;
        let mut columns = after.rows.columns().to_vec();
        let mut differ: Option<BooleanArray> = None;
        for (call, ranks) in windows.evaluate_ranked(&sorted, standing(&self.stood, region.reached.start))? {
            let here = distinct(&ranks, &columns[width + call])?;
            differ = Some(match differ {
                None => here,
                Some(differ) => or(&differ, &here)?,
            });
            columns[width + call] = ranks;
        }
        let Some(differ) = differ.filter(|differ| differ.true_count() > 0) else { return Ok(None) };
        let goes = filter_record_batch(&batch_of(&shared.output, columns, rows)?, &differ)?;
        let comes = filter_record_batch(&after.rows, &differ)?;
        Ok(Some(Delta::concat(&shared.output, &[taken(goes), Delta::inserts(comes)])?))
    }

    /// What the touched block reaches, and those that lie within that; `more` blocks behind it.
    fn region(&mut self, first: usize, more: usize) -> Result<Region> {
        let with_more = |touched: &Touched| touched.place + 1 + more;
        let mut reached = self.dependents(first)?;
        let mut last = first;
        loop {
            reached.end = reached.end.max(with_more(&self.touched[last])).min(self.before.len());
            let seen = self.seen(&reached)?;
            let Some(next) = self.touched.get(last + 1) else {
                return Ok(Region { seen, reached, touched: first..last + 1 });
            };
            let is_neighbour = next.place == reached.end && next.keys.is_none() && self.touched[last].keys.is_none();
            let together = is_neighbour && reached.len() < RANKED_TOGETHER;
            let dependents = self.dependents(last + 1)?;
            let within = self.touched[last + 1].place < seen.end || self.seen(&dependents)?.start < reached.end;
            if !within && !together {
                return Ok(Region { seen, reached, touched: first..last + 1 });
            }
            last += 1;
            reached = reached.start.min(dependents.start)..reached.end.max(dependents.end);
        }
    }

    /// The blocks with rows whose results depend on the rows that changed in a touched one, beside what is carried.
    fn dependents(&mut self, touched: usize) -> Result<Range<usize>> {
        let Touched { place, keys, .. } = &self.touched[touched];
        let place = *place;
        let Some((first, last)) = keys.clone() else { return Ok(place..place + 1) };
        let reach = &self.context.local.reach;
        let start = self.before_place(place, &first, &reach.ahead)?;
        Ok(start..self.behind_place(place + 1, &last, &reach.back)?)
    }

    /// The blocks with rows on which the results of blocks depend, beside what is carried.
    fn seen(&mut self, reached: &Range<usize>) -> Result<Range<usize>> {
        let reach = &self.context.local.reach;
        let start = match reached.start {
            0 => 0,
            start => self.before_place(start, &self.fence(start), &reach.back)?,
        };
        let end = match reached.end == self.before.len() {
            true => reached.end,
            false => self.behind_place(reached.end, &self.fence(reached.end), &reach.ahead)?,
        };
        Ok(start..end)
    }

    /// The first block within an extent before a block, or a key.
    fn before_place(&mut self, block: usize, key: &[u8], extent: &Extent) -> Result<usize> {
        let (mut by_rows, mut left) = (block, extent.rows);
        while left > 0 && by_rows > 0 {
            by_rows -= 1;
            left = left.saturating_sub(self.before[by_rows].1);
        }
        let (mut by_groups, mut left) = (block, extent.groups);
        while left > 0 && by_groups > 0 {
            by_groups -= 1;
            left = left.saturating_sub(self.groups(by_groups)?);
        }
        let mut start = by_rows.min(by_groups);
        for by in &extent.keys {
            start = start.min(match self.shift(key, by, Direction::Before)? {
                Shifted::To(key) => self.place_of(&key),
                Shifted::Beyond => 0,
                Shifted::Null => block,
            });
        }
        Ok(start)
    }

    /// Behind the last block within an extent behind a block, or a key; `block` is the one behind it.
    fn behind_place(&mut self, block: usize, key: &[u8], extent: &Extent) -> Result<usize> {
        let all = self.before.len();
        let (mut by_rows, mut left) = (block, extent.rows);
        while left > 0 && by_rows < all {
            left = left.saturating_sub(self.before[by_rows].1);
            by_rows += 1;
        }
        let (mut by_groups, mut left) = (block, extent.groups);
        while left > 0 && by_groups < all {
            left = left.saturating_sub(self.groups(by_groups)?);
            by_groups += 1;
        }
        let mut end = by_rows.max(by_groups);
        for by in &extent.keys {
            end = end.max(match self.shift(key, by, Direction::Behind)? {
                Shifted::To(key) => self.place_of(&key) + 1,
                Shifted::Beyond => all,
                Shifted::Null => block,
            });
        }
        Ok(end.min(all))
    }

    fn shift(&self, key: &[u8], by: &ScalarValue, direction: Direction) -> Result<Shifted> {
        self.context.order.shift(key, by, direction)
    }

    /// The keys from which a block began.
    fn fence(&self, place: usize) -> Vec<u8> {
        self.fence_of(place).to_vec()
    }

    fn fence_of(&self, place: usize) -> &[u8] {
        match self.saved.get(&self.before[place].0) {
            Some(saved) => &saved.fence,
            None => self.now().get(self.place_now(place)).map_or(&[], |block| &block.fence),
        }
    }

    /// The block to which a row with these keys would have belonged.
    fn place_of(&self, keys: &[u8]) -> usize {
        let (mut start, mut end) = (0, self.before.len());
        while start < end {
            let middle = start + (end - start) / 2;
            match self.fence_of(middle) <= keys {
                true => start = middle + 1,
                false => end = middle,
            }
        }
        start.saturating_sub(1)
    }

    /// How many groups of peers a block has; of one that has changed it isn't known.
    fn groups(&mut self, place: usize) -> Result<usize> {
        let id = self.before[place].0;
        if self.saved.contains_key(&id) {
            return Ok(0);
        }
        if let Some(groups) = self.groups.get(&id) {
            return Ok(*groups);
        }
        let Context { shared, order, store, .. } = self.context;
        let slots = self.blocks.load(self.key, &[id], store)?;
        let groups = order.groups(&shared.codec, &expand(&self.blocks.rows, &slots))?;
        self.groups.insert(id, groups);
        Ok(groups)
    }

    /// What was carried to a block: nothing to the first.
    fn carried_to(&self, place: usize) -> Box<[u8]> {
        let Some((id, _)) = self.before.get(place).filter(|_| place > 0) else { return Box::default() };
        match self.saved.get(id) {
            Some(saved) => saved.carried.clone(),
            None => self.now().get(self.place_now(place)).map_or_else(Box::default, |block| block.carried.clone()),
        }
    }

    fn after(&mut self, region: &Region) -> Result<Computed> {
        let (seen, reached) = (self.range_now(&region.seen), self.range_now(&region.reached));
        let blocks = self.now();
        let rows = |blocks: &[Block]| -> usize { blocks.iter().map(|block| block.rows).sum() };
        let first = rows(&blocks[seen.start..reached.start]);
        let wanted = first..first + rows(&blocks[reached.clone()]);
        let ids: Vec<u32> = blocks[seen.clone()].iter().map(|block| block.id).collect();
        let mut marks = Vec::new();
        let mut end = 0;
        for block in &blocks[seen.start..reached.end] {
            end += block.rows;
            marks.push(end);
        }
        let slots = self.blocks.load(self.key, &ids, self.context.store)?;
        let rows = expand(&self.blocks.rows, &slots);
        let standing = standing(&self.stands, reached.start);
        compute(self.context, &rows, &self.carried_to(region.seen.start), &marks, wanted, standing)
    }

    fn before(&mut self, region: &Region) -> Result<Computed> {
        let Region { seen, reached, .. } = region;
        let carried = self.carried_to(seen.start);
        let rows = |blocks: &[(u32, usize)]| -> usize { blocks.iter().map(|(_, rows)| rows).sum() };
        let first = rows(&self.before[seen.start..reached.start]);
        let wanted = first..first + rows(&self.before[reached.clone()]);
        let standing = standing(&self.stood, reached.start);
        let context = self.context;
        compute(context, &self.rows_before(seen.clone())?, &carried, &[], wanted, standing)
    }

    /// The rows of blocks as they were.
    fn rows_before(&mut self, places: Range<usize>) -> Result<Vec<&[u8]>> {
        let there: Vec<u32> =
            self.before[places.clone()].iter().map(|(id, _)| *id).filter(|id| !self.saved.contains_key(id)).collect();
        let slots = self.blocks.load(self.key, &there, self.context.store)?;
        let mut rows = expand(&self.blocks.rows, &slots);
        for (id, _) in &self.before[places] {
            if let Some(saved) = self.saved.get(id) {
                rows.extend((0..saved.rows.len()).map(|row| saved.rows.row(row)));
            }
        }
        Ok(rows)
    }

    pub(super) fn all_before(&mut self) -> Result<Vec<&[u8]>> {
        self.rows_before(0..self.before.len())
    }

    /// Whether what is carried behind a region is what it was.
    fn ends(&self, region: &Region, after: &Computed) -> bool {
        if !self.context.local.carries() || region.reached.end == self.before.len() {
            return true;
        }
        let was = self.carried_to(region.reached.end);
        match after.carried.last() {
            Some(carried) => *carried == was,
            // All of its blocks are gone.
            None => self.carried_to(region.seen.start) == was,
        }
    }
}

/// Where the rows of a block stand, by the starts of all blocks; nowhere if that isn't asked for.
fn standing(starts: &[usize], place: usize) -> Standing {
    let total = starts.last().copied().unwrap_or(0);
    Standing { before: starts.get(place).copied().unwrap_or(total), total }
}

/// Those of rows that are wanted, with their results, in order, and what is carried behind `marks` of them.
fn compute(
    context: Context<'_>,
    rows: &[&[u8]],
    carried: &[u8],
    marks: &[usize],
    wanted: Range<usize>,
    standing: Standing,
) -> Result<Computed> {
    let Context { shared, windows, order, .. } = context;
    let sorted = in_sequence(shared, order, rows)?;
    if wanted.end > sorted.num_rows() {
        return Err(Error::Broken("a block without the rows that it should have".to_owned()));
    }
    let stretch =
        Stretch { carried: (!carried.is_empty()).then_some(carried), marks, wanted: wanted.clone(), standing };
    let run = windows.evaluate_run(&sorted, &stretch)?;
    let sorted = sorted.slice(wanted.start, wanted.len());
    let columns: Vec<ArrayRef> = sorted.columns().iter().cloned().chain(run.columns).collect();
    Ok(Computed { rows: batch_of(&shared.output, columns, sorted.num_rows())?, carried: run.carried })
}
