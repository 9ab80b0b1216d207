//! Reads a shard of a state table from its first entry to its last, piece by piece: for who wants all of it, and memory for a piece.

use delta::vnodes_of;
use storage::{Snapshot, StateId, Visit, vnode_prefix};

use super::keyed::vnode_end;
use crate::Result;

/// Entries of a piece, at most.
const PIECE: usize = if cfg!(test) { 3 } else { 8192 };

/// Bytes of a piece after which no entry is added: one entry may be large, as all rows of a key are one.
const PIECE_BYTES: usize = 4 << 20;

/// Bytes of a stored key before the encoded one: the table's number and the virtual node.
const PREFIX: usize = 5;

/// Where the reading of a shard has come to.
pub(crate) struct Entries {
    from: Vec<u8>,
    end: Vec<u8>,
}

/// A key, without what says where it lies, and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

impl Entries {
    /// All entries of a shard.
    pub(crate) fn of_shard(state: StateId, shard: usize) -> Self {
        let vnodes = vnodes_of(shard);
        Self { from: vnode_prefix(state, *vnodes.start()).to_vec(), end: vnode_end(state, *vnodes.end()) }
    }

    /// The next entries, in the order of their keys; none at the end.
    pub(crate) fn next(&mut self, store: &dyn Snapshot) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        store.scan(&self.from, &self.end, &mut |key, value| {
            bytes += key.len() + value.len();
            entries.push((key[PREFIX..].to_vec(), value.to_vec()));
            if entries.len() < PIECE && bytes < PIECE_BYTES {
                return Visit::Continue;
            }
            last = Some(key.to_vec());
            Visit::Stop
        })?;
        match last {
            Some(mut last) => {
                // The least key behind it.
                last.push(0);
                self.from = last;
            }
            None => self.from.clone_from(&self.end),
        }
        Ok(entries)
    }
}
