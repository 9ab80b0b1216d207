//! Large partitions of one shard, cut into blocks by the order of their rows.
//!
//! A block holds the rows from its fence (the order's keys of its first row, when it was cut) up to the next block's. Rows that are peers are never in
//! two blocks. Within a block rows have no order: they are kept as a partition's are ([`Multimap`]), under the partition's key and the block's
//! number, so that adding a row reads nothing and a checkpoint writes what was added.
//!
//! Fences are in memory, all of them, with the number of rows of each block and what running functions carry to it. In the store each is an
//! entry of its own: an epoch writes those that it changed.

use delta::{Vnode, vnodes_of};
use storage::{ChangeSet, Snapshot, StateId, Visit, vnode_prefix};
use xxhash_rust::xxh3::xxh3_64;

use crate::state::keyed::vnode_end;
use crate::state::keys::EncodedKeys;
use crate::state::row::EncodedRows;
use crate::state::{Multimap, read_varint, write_varint};
use crate::{Error, Result};

/// Rows to which a block is cut; one of more than twice as many is. Sorting so many costs less than finding them in the store. Tests have few rows.
pub(super) const BLOCK_ROWS: usize = if cfg!(test) { 2 } else { 256 };

/// The large partitions of a shard.
pub(super) struct Blocks {
    state: StateId,
    shard: usize,
    pub(super) rows: Multimap,
    partitions: hashbrown::HashMap<Box<[u8]>, Cut>,
    /// Whether fences have been read.
    known: bool,
    /// Partitions whose fences changed.
    changed: Vec<Box<[u8]>>,
    /// Fences to be deleted.
    gone: Vec<(Vnode, Vec<u8>)>,
    fence_bytes: usize,
}

/// A large partition.
pub(super) struct Cut {
    vnode: Vnode,
    /// The number that the next block gets.
    next: u32,
    /// In order.
    pub(super) blocks: Vec<Block>,
    is_changed: bool,
}

/// One of its blocks.
pub(super) struct Block {
    pub(super) id: u32,
    /// The order's keys from which it begins; rows before the first block's are in the first.
    pub(super) fence: Box<[u8]>,
    pub(super) rows: usize,
    /// What running functions know of all rows before.
    pub(super) carried: Box<[u8]>,
    /// It isn't cut before it has so many rows.
    cut_at: usize,
    is_changed: bool,
}

/// A piece of a partition that is being cut: where it begins, and its rows.
pub(super) struct Piece<'a> {
    pub(super) fence: &'a [u8],
    pub(super) rows: Vec<&'a [u8]>,
}

/// The fence of a piece, and the positions of its rows.
pub(super) type Positions = (Vec<u8>, Vec<u32>);

impl<'a> Piece<'a> {
    pub(super) fn new((fence, positions): &'a Positions, rows: &[&'a [u8]]) -> Self {
        Self { fence, rows: positions.iter().map(|position| rows[*position as usize]).collect() }
    }
}

impl Block {
    fn new(id: u32, fence: &[u8], rows: usize) -> Self {
        Self { id, fence: fence.into(), rows, carried: Box::default(), cut_at: 2 * BLOCK_ROWS, is_changed: true }
    }

    pub(super) fn carry(&mut self, carried: &[u8]) {
        if *self.carried != *carried {
            self.carried = carried.into();
            self.is_changed = true;
        }
    }
}

impl Cut {
    /// The block to which a row with these keys belongs.
    pub(super) fn place(&self, keys: &[u8]) -> usize {
        self.blocks.partition_point(|block| *block.fence <= *keys).saturating_sub(1)
    }
}

impl Blocks {
    pub(super) fn new(rows: Multimap, fences: StateId, shard: usize) -> Self {
        Self {
            state: fences,
            shard,
            rows,
            partitions: hashbrown::HashMap::new(),
            known: false,
            changed: vec![],
            gone: vec![],
            fence_bytes: 0,
        }
    }

    /// Before anything else in a step.
    pub(super) fn begin_step(&mut self, store: &dyn Snapshot) -> Result<()> {
        self.rows.begin_step();
        if self.known {
            return Ok(());
        }
        self.known = true;
        for vnode in vnodes_of(self.shard) {
            let mut read = Ok(());
            store.scan(&vnode_prefix(self.state, vnode), &vnode_end(self.state, vnode), &mut |key, value| {
                read = self.read(vnode, &key[5..], value);
                if read.is_ok() { Visit::Continue } else { Visit::Stop }
            })?;
            read?;
        }
        for cut in self.partitions.values_mut() {
            cut.blocks.sort_unstable_by(|a, b| a.fence.cmp(&b.fence));
        }
        Ok(())
    }

    fn read(&mut self, vnode: Vnode, key: &[u8], mut value: &[u8]) -> Result<()> {
        let corrupt = || Error::Corrupt("a fence of a partition".to_owned());
        let (key, id) = key.split_last_chunk::<4>().ok_or_else(corrupt)?;
        let rows = read_varint(&mut value).ok_or_else(corrupt)?;
        let length = read_varint(&mut value).ok_or_else(corrupt)?;
        let (fence, carried) =
            usize::try_from(length).ok().and_then(|length| value.split_at_checked(length)).ok_or_else(corrupt)?;
        let id = u32::from_be_bytes(*id);
        let mut block = Block::new(id, fence, usize::try_from(rows).map_err(|_| corrupt())?);
        block.carried = carried.into();
        block.is_changed = false;
        self.fence_bytes += size_of::<Block>() + value.len();
        let cut =
            self.partitions.entry_ref(key).or_insert_with(|| Cut { vnode, next: 0, blocks: vec![], is_changed: false });
        cut.next = cut.next.max(id + 1);
        cut.blocks.push(block);
        Ok(())
    }

    /// Whether there is no large partition.
    pub(super) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Cut> {
        self.partitions.get(key)
    }

    /// A partition, which is to be written again.
    pub(super) fn change(&mut self, key: &[u8]) -> Result<&mut Cut> {
        let missing = || Error::Broken("a partition that is in blocks".to_owned());
        let cut = self.partitions.get_mut(key).ok_or_else(missing)?;
        if !std::mem::replace(&mut cut.is_changed, true) {
            self.changed.push(key.into());
        }
        Ok(cut)
    }

    /// A partition becomes a large one.
    pub(super) fn add(
        &mut self,
        key: &[u8],
        vnode: Vnode,
        pieces: &[Piece<'_>],
        carried: &[Box<[u8]>],
        store: &dyn Snapshot,
    ) -> Result<()> {
        self.partitions.insert(key.into(), Cut { vnode, next: 0, blocks: vec![], is_changed: false });
        let mut blocks = self.pieces(key, pieces, store)?;
        for (block, carried) in blocks.iter_mut().skip(1).zip(carried) {
            block.carry(carried);
        }
        self.change(key)?.blocks = blocks;
        Ok(())
    }

    /// New blocks of a partition, with their rows.
    pub(super) fn pieces(&mut self, key: &[u8], pieces: &[Piece<'_>], store: &dyn Snapshot) -> Result<Vec<Block>> {
        let cut = self.change(key)?;
        let vnode = cut.vnode;
        let mut blocks = Vec::with_capacity(pieces.len());
        let mut bytes = 0;
        let (mut keys, mut hashes, mut rows) = (EncodedRows::default(), Vec::new(), EncodedRows::default());
        for piece in pieces {
            let mut block = Block::new(cut.next, piece.fence, piece.rows.len());
            // Peers can't be cut: not before there are many more.
            block.cut_at = block.cut_at.max(2 * block.rows);
            cut.next += 1;
            let block_key = key_of(key, block.id);
            let hash = hash_of(vnode, &block_key);
            for row in &piece.rows {
                keys.push(&block_key);
                hashes.push(hash);
                rows.push(row);
            }
            bytes += size_of::<Block>() + piece.fence.len();
            blocks.push(block);
        }
        self.fence_bytes += bytes;
        self.rows.add(&hashes, &EncodedKeys::Exact(keys), &rows, None, store)?;
        Ok(blocks)
    }

    /// Adds rows to blocks of a partition, or takes them away; `places` are positions of blocks.
    pub(super) fn apply(
        &mut self,
        key: &[u8],
        places: &[usize],
        rows: &EncodedRows,
        weights: &[i64],
        store: &dyn Snapshot,
    ) -> Result<()> {
        let cut = self.change(key)?;
        let (mut keys, mut hashes) = (EncodedRows::default(), Vec::with_capacity(places.len()));
        for (place, weight) in places.iter().zip(weights) {
            let block = &mut cut.blocks[*place];
            // What is taken may come before what is added.
            block.rows = block.rows.wrapping_add_signed(*weight as isize);
            block.is_changed = true;
            let block_key = key_of(key, block.id);
            hashes.push(hash_of(cut.vnode, &block_key));
            keys.push(&block_key);
        }
        if places.iter().any(|place| isize::try_from(cut.blocks[*place].rows).is_err()) {
            return Err(Error::Broken("a row is taken from a partition that it isn't in".to_owned()));
        }
        self.rows.add(&hashes, &EncodedKeys::Exact(keys), rows, Some(weights), store)?;
        Ok(())
    }

    /// Brings blocks of a partition into memory; the slots of their rows.
    pub(super) fn load(&mut self, key: &[u8], ids: &[u32], store: &dyn Snapshot) -> Result<Vec<u32>> {
        let Some(cut) = self.partitions.get(key) else { return Ok(vec![]) };
        let (mut keys, mut hashes, mut slots) = (EncodedRows::default(), Vec::with_capacity(ids.len()), Vec::new());
        for id in ids {
            let block_key = key_of(key, *id);
            hashes.push(hash_of(cut.vnode, &block_key));
            keys.push(&block_key);
        }
        self.rows.probe(&hashes, &EncodedKeys::Exact(keys), store, &mut slots)?;
        Ok(slots)
    }

    /// Drops blocks without rows, and cuts those with too many at the places of `places` (positions in order, each once). `cut` makes pieces of a
    /// block's rows. By place: how many blocks there are in its place.
    pub(super) fn maintain(
        &mut self,
        key: &[u8],
        places: &[usize],
        store: &dyn Snapshot,
        cut: impl Fn(&[&[u8]]) -> Result<Vec<Positions>>,
    ) -> Result<Vec<usize>> {
        let now = &self.change(key)?.blocks;
        let must = |place: &usize| now[*place].rows == 0 || now[*place].rows > now[*place].cut_at;
        if !places.iter().any(must) {
            return Ok(vec![1; places.len()]);
        }
        let mut counts = Vec::with_capacity(places.len());
        let mut replaced: Vec<(usize, Vec<Block>)> = Vec::new();
        for place in places {
            let Block { id, rows, cut_at, .. } = self.change(key)?.blocks[*place];
            if rows == 0 {
                counts.push(0);
                replaced.push((*place, vec![]));
            } else if rows > cut_at {
                let slots = self.load(key, &[id], store)?;
                let mut copies = EncodedRows::default();
                expand(&self.rows, &slots).into_iter().for_each(|row| copies.push(row));
                let rows: Vec<&[u8]> = (0..copies.len()).map(|row| copies.row(row)).collect();
                let pieces = cut(&rows)?;
                if pieces.len() < 2 {
                    self.change(key)?.blocks[*place].cut_at = 2 * rows.len();
                    counts.push(1);
                    continue;
                }
                slots.iter().for_each(|slot| self.rows.clear(*slot));
                let pieces: Vec<Piece<'_>> = pieces.iter().map(|piece| Piece::new(piece, &rows)).collect();
                let blocks = self.pieces(key, &pieces, store)?;
                counts.push(blocks.len());
                replaced.push((*place, blocks));
            } else {
                counts.push(1);
            }
        }
        let cut = self.change(key)?;
        let mut replaced = replaced.into_iter().peekable();
        let mut gone = Vec::new();
        let mut blocks = Vec::with_capacity(cut.blocks.len() + 8);
        for (place, mut block) in std::mem::take(&mut cut.blocks).into_iter().enumerate() {
            match replaced.next_if(|(replaced, _)| *replaced == place) {
                None => blocks.push(block),
                Some((_, mut by)) => {
                    gone.push(block.id);
                    if let Some(first) = by.first_mut() {
                        first.carried = std::mem::take(&mut block.carried);
                    }
                    blocks.append(&mut by);
                }
            }
        }
        cut.blocks = blocks;
        self.forget(key, gone);
        Ok(counts)
    }

    /// Takes a partition out: its rows. They must have been loaded.
    pub(super) fn remove(&mut self, key: &[u8], slots: &[u32]) -> Result<EncodedRows> {
        let mut rows = EncodedRows::default();
        expand(&self.rows, slots).into_iter().for_each(|row| rows.push(row));
        slots.iter().for_each(|slot| self.rows.clear(*slot));
        let gone = self.change(key)?.blocks.iter().map(|block| block.id).collect();
        self.forget(key, gone);
        self.partitions.remove(key);
        Ok(rows)
    }

    /// A partition without blocks is none any more.
    pub(super) fn remove_if_empty(&mut self, key: &[u8]) {
        if self.partitions.get(key).is_some_and(|cut| cut.blocks.is_empty()) {
            self.partitions.remove(key);
        }
    }

    fn forget(&mut self, key: &[u8], ids: Vec<u32>) {
        let Some(cut) = self.partitions.get(key) else { return };
        self.gone.extend(ids.into_iter().map(|id| (cut.vnode, key_of(key, id))));
    }

    pub(super) fn checkpoint(&mut self, changes: &mut ChangeSet) {
        self.rows.checkpoint(changes);
        for (vnode, key) in self.gone.drain(..) {
            changes.delete_parts(&[&vnode_prefix(self.state, vnode), &key]);
        }
        let mut value = Vec::new();
        for key in self.changed.drain(..) {
            let Some(cut) = self.partitions.get_mut(&key) else { continue };
            cut.is_changed = false;
            let prefix = vnode_prefix(self.state, cut.vnode);
            for block in cut.blocks.iter_mut().filter(|block| block.is_changed) {
                block.is_changed = false;
                value.clear();
                write_varint(block.rows as u64, &mut value);
                write_varint(block.fence.len() as u64, &mut value);
                value.extend_from_slice(&block.fence);
                value.extend_from_slice(&block.carried);
                changes.put_parts(&[&prefix, &key, &block.id.to_be_bytes()], &value);
            }
        }
    }

    /// Memory held, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.rows.bytes() + self.fence_bytes
    }
}

/// The rows behind slots, each as often as it is there.
pub(super) fn expand<'a>(rows: &'a Multimap, slots: &[u32]) -> Vec<&'a [u8]> {
    let mut all = Vec::new();
    for slot in slots {
        for (row, weight) in rows.rows(*slot) {
            all.extend(std::iter::repeat_n(row, usize::try_from(weight).unwrap_or(0)));
        }
    }
    all
}

fn key_of(partition: &[u8], id: u32) -> Vec<u8> {
    [partition, &id.to_be_bytes()].concat()
}

/// The virtual node is the partition's; what else tells blocks apart is theirs.
fn hash_of(vnode: Vnode, key: &[u8]) -> u64 {
    const VNODE: u64 = 0xff << 48;
    xxh3_64(key) & !VNODE | u64::from(vnode) << 48
}
