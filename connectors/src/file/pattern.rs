//! Which files a path means, and their partition numbers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::source::PartitionId;

/// The files that `path` means now: itself, those in a directory that don't start with a dot, or those that match a pattern in its last part.
pub(crate) fn files(path: &str) -> Result<BTreeMap<PartitionId, PathBuf>> {
    let whole = Path::new(path);
    let last = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_pattern = last.contains(['*', '?']);
    if !is_pattern && !whole.is_dir() {
        return match fs::metadata(whole) {
            Ok(_) => Ok(BTreeMap::from([(0, whole.to_owned())])),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(Error::Io { path: whole.to_owned(), error }),
        };
    }
    let directory = match whole.parent() {
        Some(parent) if is_pattern && parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) if is_pattern => parent,
        _ => whole,
    };
    if directory.to_string_lossy().contains(['*', '?']) {
        return Err(Error::InvalidOption {
            option: "path".to_owned(),
            reason: "a pattern may stand in the last part of the path only".to_owned(),
        });
    }
    let failed = |error| Error::Io { path: directory.to_owned(), error };
    let mut files: BTreeMap<PartitionId, PathBuf> = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.')
            || (is_pattern && !matches(last.as_bytes(), name.as_bytes()))
            || !entry.path().is_file()
        {
            continue;
        }
        if let Some(other) = files.insert(partition(&name), entry.path()) {
            let (other, this) = (other.display(), entry.path());
            return Err(Error::Unsupported(format!(
                "files {other} and {} have the same partition number; rename one",
                this.display()
            )));
        }
    }
    Ok(files)
}

/// The partition number of a file of that name: 31 bits of FNV-1a. Two of a thousand files have the same one with a chance of 1 to 4,000, and that is an error.
fn partition(name: &str) -> PartitionId {
    let hash = name
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    ((hash ^ (hash >> 31)) & 0x7FFF_FFFF) as PartitionId
}

/// Whether `name` matches a pattern of `*` (any characters) and `?` (any one).
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((star_at, matched)) => {
                    star = Some((star_at, matched + 1));
                    p = star_at + 1;
                    n = matched + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names() {
        for (pattern, name, expected) in [
            ("*", "a", true),
            ("*.jsonl", "part-0.jsonl", true),
            ("*.jsonl", "part-0.json", false),
            ("a?c*", "abcd", true),
            ("a?c", "ac", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_partition_number_never_changes() {
        assert_eq!(partition("part-0.jsonl"), partition("part-0.jsonl"));
        assert_ne!(partition("part-0.jsonl"), partition("part-1.jsonl"));
        assert!(partition("part-0.jsonl") >= 0);
    }
}
