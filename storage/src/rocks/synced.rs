//! Up to where the log was on stable storage, written down beside the database.
//!
//! RocksDB gives back what the log holds up to the first record that is damaged. That is right after a power cut, when the end of the log was
//! never written; but a log that lost a part that had been synced looks the same, and what was acknowledged would be gone without a
//! word. So each synced commit notes its sequence number here, and a start that finds less says so.
//!
//! The note itself isn't synced: after a power cut it may be an older one, which asks for less. Two slots are written in turn, each a number
//! and its complement, so that one of them is whole whatever happens.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The file, inside the data directory.
pub(super) const FILE: &str = "SYNCED";

/// Bytes of a slot.
const SLOT: usize = 16;

/// Where the number is noted.
pub(super) struct Synced {
    path: PathBuf,
    file: File,
    next_slot: u64,
}

impl Synced {
    /// Opens the file in `directory`, or makes it; the number that was noted last, if any was.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the file holds something, but no whole slot.
    pub(super) fn open(directory: &Path) -> Result<(Self, Option<u64>)> {
        let path = directory.join(FILE);
        let io = |source| Error::io(&path, source);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut slots = [None; 2];
        for (slot, found) in slots.iter_mut().enumerate() {
            let mut bytes = [0; SLOT];
            if file.read_exact_at(&mut bytes, (slot * SLOT) as u64).is_ok() {
                *found = read(&bytes);
            }
        }
        let noted = slots.iter().flatten().max().copied();
        if noted.is_none() && length > 0 {
            let detail = "it holds no number".to_owned();
            return Err(Error::Corrupt { file: Some(path), detail });
        }
        // The older one is written over first.
        let next_slot = u64::from(slots[0] > slots[1]);
        Ok((Self { path, file, next_slot }, noted))
    }

    /// Notes that everything up to this number is on stable storage.
    pub(super) fn note(&mut self, number: u64) -> Result<()> {
        let mut bytes = [0; SLOT];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        bytes[8..].copy_from_slice(&(!number).to_le_bytes());
        self.file.write_all_at(&bytes, self.next_slot * SLOT as u64).map_err(|e| Error::io(&self.path, e))?;
        self.next_slot ^= 1;
        Ok(())
    }
}

fn read(bytes: &[u8; SLOT]) -> Option<u64> {
    let (number, complement) = bytes.split_at(8);
    let number = u64::from_le_bytes(number.try_into().ok()?);
    let complement = u64::from_le_bytes(complement.try_into().ok()?);
    (number == !complement).then_some(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_last_whole_number_comes_back() {
        let directory = tempfile::TempDir::new().unwrap();
        let noted = || Synced::open(directory.path()).unwrap().1;
        assert_eq!(noted(), None);
        for number in [7, 9, 12] {
            Synced::open(directory.path()).unwrap().0.note(number).unwrap();
            assert_eq!(noted(), Some(number));
        }
        // The newest is torn: the one before it counts.
        let path = directory.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        let newest = bytes.chunks(SLOT).position(|slot| slot[0] == 12).unwrap();
        bytes[newest * SLOT + 3] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(noted(), Some(9));
        std::fs::write(&path, "nonsense").unwrap();
        assert!(matches!(Synced::open(directory.path()), Err(Error::Corrupt { .. })));
    }
}
