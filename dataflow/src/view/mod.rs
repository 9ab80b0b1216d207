//! What readers see: a relation's stored rows under an overlay of the changes since the last checkpoint.
//!
//! Reading order: [`ViewLayout`] (here), [`run`] and [`overlay`] (changes in memory), [`materialize`] (an epoch's changes go in, a
//! checkpoint comes out), [`log`] (append-only rows, in blocks), [`block`] (how they are written), [`reader`] ([`PublishedView`]: lookups), [`scan`],
//! [`range`] (rows by a part of an order).
//!
//! Entries of a state table, behind the state's number:
//!
//! | form | key | value |
//! |---|---|---|
//! | keyed | virtual node of the key, key columns in order-preserving form | the row (see [`crate::state::row`]) |
//! | bag | virtual node of the row, all columns in order-preserving form | changes of its count, to be added up (eight bytes each) |
//! | log | 0, block number | some thousand rows in columns (see [`block`]) |
//! | index of a keyed view | virtual node of the first index column, index columns, key columns | the row's key |
//! | index of a bag | virtual node of the first index column, index columns, all columns | changes of its count |
//! | index of a log | virtual node of the first index column, index columns, block and row number | nothing |
//!
//! And one more entry, behind all others: how many rows there are ([`HEAD_KEY`]).

pub(crate) mod block;
mod ipc;
pub(crate) mod log;
pub mod materialize;
pub(crate) mod overlay;
pub mod range;
pub mod reader;
pub(crate) mod run;
pub mod scan;

use storage::StateId;

pub use materialize::Materialize;
pub use range::{Direction, KeyRange, RangeScan};
pub use reader::PublishedView;
pub use scan::Scan;

/// How a relation is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewLayout {
    /// The state table of its rows.
    pub state: StateId,
    /// What an entry is.
    pub form: ViewForm,
    /// Further orders.
    pub indexes: Vec<IndexLayout>,
}

/// What an entry of a stored relation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewForm {
    /// A row, found by its key.
    Keyed {
        /// Positions of the key's columns; none: there is one row at most.
        key: Vec<usize>,
    },
    /// A row and how often it is there.
    Bag,
    /// A block of rows that are never taken away.
    Log,
}

/// A second order on a stored relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexLayout {
    /// Its state table.
    pub state: StateId,
    /// Positions of its columns; at least one.
    pub columns: Vec<usize>,
}

/// The key (behind the state's number) of the entry that says how many rows there are. No other key is as great: the first byte of an
/// encoded column is small.
pub(crate) const HEAD_KEY: [u8; 2] = [0xff, 0xff];

/// The full key of an entry whose key begins with its virtual node.
pub(crate) fn full_key(state: StateId, key: &[u8]) -> Vec<u8> {
    [&state.0.to_be_bytes(), key].concat()
}

/// What the entry at [`HEAD_KEY`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Rows in the store.
    pub(crate) rows: i64,
    /// The number of the next block of a log.
    pub(crate) next_block: u64,
}

impl Head {
    pub(crate) fn read(state: StateId, store: &dyn storage::Snapshot) -> crate::Result<Self> {
        let Some(value) = store.get(&full_key(state, &HEAD_KEY))? else { return Ok(Self::default()) };
        let mut value = &value[..];
        let rows = crate::state::read_signed(&mut value);
        match (rows, crate::state::read_varint(&mut value)) {
            (Some(rows), Some(next_block)) => Ok(Self { rows, next_block }),
            _ => Err(crate::Error::Corrupt("the head of a view".to_owned())),
        }
    }

    pub(crate) fn write(self, state: StateId, changes: &mut storage::ChangeSet) {
        let mut value = Vec::new();
        crate::state::write_signed(self.rows, &mut value);
        crate::state::write_varint(self.next_block, &mut value);
        changes.put(&full_key(state, &HEAD_KEY), &value);
    }
}

#[cfg(test)]
mod tests;
