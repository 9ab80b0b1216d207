//! Bytes of rows, one behind the other.

/// Where a row's bytes begin: a chunk, and a place in it in units of four bytes.
pub(super) type Address = u32;

/// Bytes of rows in chunks, so that growing moves nothing.
#[derive(Debug, Default)]
pub(super) struct Arena {
    chunks: Vec<Vec<u8>>,
    bytes: usize,
}

const CHUNK: usize = 1 << 18;

impl Arena {
    pub(super) fn push(&mut self, row: &[u8]) -> Address {
        let fits = self.chunks.last().is_some_and(|chunk| chunk.len() + row.len() <= CHUNK && chunk.len() < CHUNK);
        if !fits {
            // The first chunk starts small: most shards of most operators hold little.
            let capacity = if self.chunks.is_empty() { row.len() } else { row.len().max(CHUNK) };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        let index = self.chunks.len() - 1;
        let chunk = &mut self.chunks[index];
        let at = (index << 16) | (chunk.len() / 4);
        chunk.extend_from_slice(row);
        chunk.resize(chunk.len().next_multiple_of(4), 0);
        self.bytes += row.len().next_multiple_of(4);
        u32::try_from(at).expect("a shard's rows take less than 16 GiB")
    }

    #[inline]
    pub(super) fn from(&self, at: Address) -> &[u8] {
        &self.chunks[(at >> 16) as usize][(at & 0xffff) as usize * 4..]
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
