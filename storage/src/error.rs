//! What can go wrong in a store, by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process, or another store of this one, has the directory open.
    #[error("another server uses the data directory {}", path.display())]
    Locked {
        /// The data directory.
        path: PathBuf,
    },

    /// The disk has no room. Nothing was applied; the same commit may be tried again when there is room.
    #[error("no space left for the data directory: {detail}")]
    Full {
        /// What was being written.
        detail: String,
    },

    /// Bytes on disk are not what was written. A restart doesn't help; a backup does.
    #[error("the data directory is damaged{}: {detail}", in_file(file.as_deref()))]
    Corrupt {
        /// The damaged file, when it is known.
        file: Option<PathBuf>,
        /// What was found.
        detail: String,
    },

    /// The directory was written by a version with another layout.
    #[error("the data directory {} has layout {found}, this version reads layout {expected}", path.display())]
    Layout {
        /// The data directory.
        path: PathBuf,
        /// The layout found there.
        found: String,
        /// The layout of this version.
        expected: String,
    },

    /// A write failed in a way that leaves open whether the commit happened. The store takes no more commits;
    /// opening it again tells.
    #[error("a commit may or may not have been written: {detail}")]
    Uncertain {
        /// What failed.
        detail: String,
    },

    /// The store has failed before, or crashed in a simulation, and must be opened again.
    #[error("the store has stopped after an error and must be opened again")]
    Stopped,

    /// A stored value is not what its reader expects.
    #[error("the stored value of \"{key}\" can't be read: {source}")]
    Value {
        /// The key of a [`crate::meta`] entry.
        key: String,
        /// Why it can't be read.
        source: serde_json::Error,
    },

    /// A directory without the backup that was asked for.
    #[error("there is no backup{} in {}", number.map_or_else(String::new, |number| format!(" {number}")), path.display())]
    NoBackup {
        /// The directory.
        path: PathBuf,
        /// The number that was asked for.
        number: Option<u32>,
    },

    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// RocksDB failed in another way; nothing was applied.
    #[error("{0}")]
    Rocks(rocksdb::Error),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// As this; a damaged file that RocksDB doesn't name is one of those of its kind in `directory`.
    pub(crate) fn in_directory(self, directory: &Path) -> Self {
        match self {
            Self::Corrupt { file: None, detail } => {
                let kind = if detail.contains("blob") || detail.contains("Blob") { "*.blob" } else { "" };
                Self::Corrupt { file: Some(directory.join(kind)), detail }
            }
            other => other,
        }
    }

    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { detail: format!("{}: {source}", path.display()) }
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }
}

impl From<rocksdb::Error> for Error {
    /// RocksDB's bindings give a text only: its kind is at the start, the operating system's message at the end.
    fn from(error: rocksdb::Error) -> Self {
        let text = error.as_ref();
        if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
            return Self::Full { detail: text.to_owned() };
        }
        // A file that is gone is as good as one that is damaged.
        let is_gone = text.contains("No such file or directory") && file_in(text).is_some();
        if error.kind() == rocksdb::ErrorKind::Corruption || is_gone {
            return Self::Corrupt { file: file_in(text), detail: text.to_owned() };
        }
        Self::Rocks(error)
    }
}

/// The database file that an error text names, if it names one.
pub(crate) fn file_in(text: &str) -> Option<PathBuf> {
    let is_file = |word: &&str| {
        let name = word.rsplit('/').next().unwrap_or(word);
        name.ends_with(".sst")
            || name.ends_with(".blob")
            || name.ends_with(".log")
            || name.starts_with("MANIFEST-")
            || name == "CURRENT"
    };
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '\'' | '(' | ')'));
    words.map(|word| word.trim_end_matches([':', '.'])).find(is_file).map(PathBuf::from)
}

fn in_file(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |file| format!(" ({})", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corruption_names_the_file() {
        let text =
            "Corruption: block checksum mismatch: stored = 1, computed = 2, type = 4  in /d/000012.sst offset 0 size 9";
        assert_eq!(file_in(text), Some(PathBuf::from("/d/000012.sst")));
        assert_eq!(
            file_in("Corruption: Corrupted keys in file /d/MANIFEST-000004: bad"),
            Some("/d/MANIFEST-000004".into())
        );
        assert_eq!(file_in("Corruption: unknown"), None);
    }
}
