//! Copies of a data directory that no engine uses at the moment: whole, consistent, checked by opening them.

use std::path::Path;

use storage::{RocksOptions, RocksStore, Store};

use crate::coordinator::storage_error;
use crate::{Error, ErrorKind, Result};

/// The file that every store has; a directory without it holds no data.
const MARKER: &str = "CURRENT";

/// Copies the data in `data_dir` to `target`, which must be empty or not there. Files that never change are linked, so on one
/// filesystem it takes moments.
///
/// # Errors
/// If a server uses `data_dir` (stop it first), if there is no data in it, or if `target` isn't empty.
pub fn backup(data_dir: &Path, target: &Path) -> Result<()> {
    holds_data(data_dir)?;
    is_vacant(target)?;
    let store = RocksStore::open(data_dir, &RocksOptions::default()).map_err(storage_error)?;
    store.backup(target).map_err(storage_error)
}

/// Copies a backup into `data_dir`, which must be empty or not there, and opens it once to see that it is sound.
///
/// # Errors
/// If `source` isn't a backup, if `data_dir` isn't empty, or if the copy can't be opened.
pub fn restore(source: &Path, data_dir: &Path) -> Result<()> {
    holds_data(source)?;
    is_vacant(data_dir)?;
    std::fs::create_dir_all(data_dir).map_err(|error| failed(data_dir, &error))?;
    for entry in std::fs::read_dir(source).map_err(|error| failed(source, &error))? {
        let from = entry.map_err(|error| failed(source, &error))?.path();
        if let (true, Some(name)) = (from.is_file(), from.file_name()) {
            std::fs::copy(&from, data_dir.join(name)).map_err(|error| failed(&from, &error))?;
        }
    }
    RocksStore::open(data_dir, &RocksOptions::default()).map(drop).map_err(storage_error)
}

fn holds_data(directory: &Path) -> Result<()> {
    if directory.join(MARKER).is_file() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::External, format!("there is no data in {}", directory.display())))
}

fn is_vacant(directory: &Path) -> Result<()> {
    match std::fs::read_dir(directory) {
        Ok(entries) => match entries.count() {
            0 => Ok(()),
            _ => Err(Error::new(ErrorKind::External, format!("{} is not empty", directory.display()))
                .with_hint("name a directory that is empty or doesn't exist")),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(directory, &error)),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::External, format!("{}: {error}", path.display()))
}
