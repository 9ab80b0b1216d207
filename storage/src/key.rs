//! How keys are laid out: state, virtual node, then the table's own order-preserving key.

use delta::Vnode;
use serde::{Deserialize, Serialize};

/// The number of a state table: a view's rows, an operator's groups, one side of a join. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StateId(pub u32);

impl StateId {
    /// Catalog, offsets, watermarks, progress.
    pub const META: Self = Self(0);
}

/// The full key of an entry.
pub fn state_key(state: StateId, vnode: Vnode, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(5 + key.len());
    out.extend_from_slice(&vnode_prefix(state, vnode));
    out.extend_from_slice(key);
    out
}

/// What all keys of a state begin with.
pub fn state_prefix(state: StateId) -> [u8; 4] {
    state.0.to_be_bytes()
}

/// What all keys of one virtual node of a state begin with.
pub fn vnode_prefix(state: StateId, vnode: Vnode) -> [u8; 5] {
    let [a, b, c, d] = state_prefix(state);
    [a, b, c, d, vnode]
}

/// The range `start <= key < end` of all keys of a state.
pub fn state_range(state: StateId) -> (Vec<u8>, Vec<u8>) {
    (state.0.to_be_bytes().to_vec(), (state.0 + 1).to_be_bytes().to_vec())
}
