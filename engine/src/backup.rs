//! Copies of what is committed: while a server runs or while none does, several in one directory, each checked when it is restored.

use std::path::Path;

use storage::{BackupInfo, Durability, RocksOptions, RocksStore, Store};

use crate::coordinator::storage_error;
use crate::{Engine, Error, ErrorKind, Result, recovery};

/// The file that every store has; a directory without it holds no data.
const MARKER: &str = "CURRENT";

impl Engine {
    /// Adds a backup of the last commit to `directory`, while everything goes on. Of the backups there, `keep` are kept. Blocks.
    ///
    /// # Errors
    /// If `directory` can't be written, or is in the data directory.
    pub fn backup(&self, directory: &Path, keep: Option<usize>) -> Result<BackupInfo> {
        if let Some(data_dir) = &self.shared.settings.data_dir {
            is_outside(data_dir, directory)?;
        }
        add_backup(&*self.shared.store, directory, keep)
    }
}

/// Adds a backup of the data in `data_dir`, which no server may be using, to `directory`.
///
/// # Errors
/// If a server uses `data_dir`, if there is no data in it, or if `directory` can't be written, or is in the data directory.
pub fn backup(data_dir: &Path, directory: &Path, keep: Option<usize>) -> Result<BackupInfo> {
    if !data_dir.join(MARKER).is_file() {
        return Err(Error::new(ErrorKind::External, format!("there is no data in {}", data_dir.display())));
    }
    is_outside(data_dir, directory)?;
    let store = RocksStore::open(data_dir, &RocksOptions::default()).map_err(storage_error)?;
    add_backup(&store, directory, keep)
}

fn add_backup(store: &dyn Store, directory: &Path, keep: Option<usize>) -> Result<BackupInfo> {
    let made = store.backup(directory).map_err(storage_error)?;
    if let Some(keep) = keep {
        storage::keep_backups(directory, keep.max(1)).map_err(storage_error)?;
    }
    Ok(made)
}

/// The backups in a directory, oldest first.
///
/// # Errors
/// If it isn't a directory with backups.
pub fn backups(directory: &Path) -> Result<Vec<BackupInfo>> {
    storage::backups(directory).map_err(storage_error)
}

/// Copies a backup (the last one, unless a number is given) into `data_dir`, which must be empty or not there, and opens it once to see that it
/// is sound. The next server there knows that it continues a backup: what its sinks have sent since isn't sent again.
///
/// # Errors
/// If there is no such backup, if `data_dir` isn't empty, or if a file of the backup is damaged.
pub fn restore(directory: &Path, number: Option<u32>, data_dir: &Path) -> Result<BackupInfo> {
    is_vacant(data_dir)?;
    let restored = storage::restore_backup(directory, number, data_dir).map_err(storage_error)?;
    let store = RocksStore::open(data_dir, &RocksOptions::default()).map_err(storage_error)?;
    let changes = recovery::restored(&store.snapshot().map_err(storage_error)?, uuid::Uuid::new_v4().as_fields().0)?;
    store.commit(changes, Durability::Disk).map_err(storage_error)?;
    Ok(restored)
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

/// A backup inside of what it copies would be lost with it.
fn is_outside(data_dir: &Path, directory: &Path) -> Result<()> {
    let (data_dir, directory) = (whole(data_dir)?, whole(directory)?);
    if directory.starts_with(&data_dir) {
        let message = format!("{} is in the data directory", directory.display());
        return Err(Error::new(ErrorKind::External, message).with_hint("name another directory, best on another disk"));
    }
    Ok(())
}

fn whole(path: &Path) -> Result<std::path::PathBuf> {
    std::path::absolute(path).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::new(ErrorKind::External, format!("{}: {error}", path.display()))
}
