//! Changes of large partitions: only blocks that a change reaches are read and computed.
//!
//! - First rows in an order: the blocks in front that hold them, if the change is in one of those.
//! - Window functions: the blocks that rows changed in, and as many around them as the functions see. What running functions know of the rows
//!   before is kept for each block, so they begin there; they go on behind the change for as long as it is another than it was.

use arrow::array::{RecordBatch, UInt32Array};
use delta::{Delta, Part};
use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use storage::Snapshot;

use super::blocks::{BLOCK_ROWS, Block, Blocks, Piece, Positions, expand};
use super::order::{Order, Partitions};
use super::ranked::Standing;
use super::region::{Change, Context, Saved, Touched};
use super::top::Top;
use super::windows::{Stretch, Windows};
use super::{Rule, Shard, Shared};
use crate::Result;
use crate::operator::StepOutput;
use crate::state::keys::NO_SLOT;
use crate::state::row::EncodedRows;

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
            let block = &blocks.change(key)?.blocks[*place];
            saved.insert(*id, Saved { rows, fence: block.fence.clone(), carried: block.carried.clone() });
        }
        blocks.apply(key, &places, &changed.rows, &changed.weights, store)?;
        let counts = blocks.maintain(key, &touched, store, |rows| pieces(shared, order, rows))?;
        let mut ends = changed.ends(&places);
        let touched = touched.into_iter().zip(counts);
        let touched = touched.map(|(place, count)| Touched { place, count, keys: ends.remove(&place) }).collect();
        let mut change =
            Change::new(Context { shared, windows, local, order, store }, key, blocks, before, saved, touched);
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
                    let all = Stretch {
                        carried: None,
                        marks: &starts[1..],
                        wanted: 0..sorted.num_rows(),
                        standing: Standing { before: 0, total: sorted.num_rows() },
                    };
                    let Ok(run) = windows.evaluate_run(&sorted, &all) else { continue };
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

    /// By block: the first and the last of the order's keys that rows came or went with; `places` are those of the rows.
    fn ends(&self, places: &[usize]) -> HashMap<usize, (Vec<u8>, Vec<u8>)> {
        let mut ends: HashMap<usize, (&[u8], &[u8])> = HashMap::new();
        for (row, place) in places.iter().enumerate() {
            let key = self.fences.row(row);
            let (first, last) = ends.entry(*place).or_insert((key, key));
            (*first, *last) = (key.min(*first), key.max(*last));
        }
        ends.into_iter().map(|(place, (first, last))| (place, (first.to_vec(), last.to_vec()))).collect()
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
pub(super) fn in_sequence(shared: &Shared, order: &Order, rows: &[&[u8]]) -> Result<RecordBatch> {
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
