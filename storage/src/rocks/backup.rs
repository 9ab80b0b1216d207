//! Backups of a store, several in one directory: each holds only what the ones before it don't have.
//!
//! Files that are there already are shared, and each file's checksum is kept and checked when it is restored.

use std::fs;
use std::path::Path;

use rocksdb::backup::{BackupEngine, BackupEngineOptions, RestoreOptions};
use rocksdb::{DB, Env};

use crate::{Error, Result};

/// Where RocksDB lists the backups of a directory.
const LIST: &str = "meta";

/// One backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    /// Its number; later ones are higher.
    pub number: u32,
    /// When it was made, seconds since 1970.
    pub made_at: i64,
    /// Bytes of its files, also of those that it shares with others.
    pub bytes: u64,
}

/// Adds a backup of all that is committed to `directory`.
pub(super) fn create(db: &DB, directory: &Path) -> Result<BackupInfo> {
    fs::create_dir_all(directory).map_err(|e| Error::io(directory, e))?;
    let mut engine = open(directory)?;
    // What is only in the log becomes a file: then a backup is whole without any log.
    engine.create_new_backup_flush(db, true)?;
    let made = list_of(&engine).into_iter().next_back();
    made.ok_or_else(|| Error::NoBackup { path: directory.to_owned(), number: None })
}

/// The backups in `directory`, oldest first.
///
/// # Errors
/// [`Error::NoBackup`] if it isn't a directory with backups.
pub fn backups(directory: &Path) -> Result<Vec<BackupInfo>> {
    let missing = || Error::NoBackup { path: directory.to_owned(), number: None };
    if !directory.join(LIST).is_dir() {
        return Err(missing());
    }
    Ok(list_of(&open(directory)?))
}

/// Removes all but the last `keep` backups, and the files that only they needed.
///
/// # Errors
/// As [`backups`].
pub fn keep_backups(directory: &Path, keep: usize) -> Result<()> {
    backups(directory)?;
    Ok(open(directory)?.purge_old_backups(keep)?)
}

/// Copies a backup (the last one, unless another is named) into `data`, which must be empty or not there.
///
/// # Errors
/// [`Error::NoBackup`] if there is none of that number, [`Error::Corrupt`] if a file of it is missing or isn't what was copied.
pub fn restore_backup(directory: &Path, number: Option<u32>, data: &Path) -> Result<BackupInfo> {
    let all = backups(directory)?;
    let made = numbers(directory)?;
    let wanted = number.or(made.last().copied());
    let Some(chosen) = all.into_iter().find(|backup| Some(backup.number) == wanted) else {
        // RocksDB passes over a backup of which a file is missing; nobody who wants the last one wants the one before it instead.
        return Err(match wanted.filter(|wanted| made.contains(wanted)) {
            Some(wanted) => incomplete(directory, wanted),
            None => Error::NoBackup { path: directory.to_owned(), number },
        });
    };
    fs::create_dir_all(data).map_err(|e| Error::io(data, e))?;
    let mut engine = open(directory)?;
    engine.verify_backup(chosen.number).map_err(|e| damaged(directory, e))?;
    engine
        .restore_from_backup(data, data, &RestoreOptions::default(), chosen.number)
        .map_err(|e| damaged(directory, e))?;
    Ok(chosen)
}

/// The numbers of the backups that were made and not removed, whole or not.
fn numbers(directory: &Path) -> Result<Vec<u32>> {
    let list = directory.join(LIST);
    let entries = fs::read_dir(&list).map_err(|e| Error::io(&list, e))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut numbers: Vec<u32> = names.filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// What is said of a backup that RocksDB doesn't show although there is a list of its files.
fn incomplete(directory: &Path, number: u32) -> Error {
    let list = directory.join(LIST).join(number.to_string());
    let text = fs::read_to_string(&list).unwrap_or_default();
    let files = text.lines().filter_map(|line| line.split(' ').next()).filter(|file| file.contains('/'));
    let missing = files.map(|file| directory.join(file)).find(|file| !file.exists());
    let detail = format!("backup {number} is not whole: a file of it is missing");
    Error::Corrupt { file: Some(missing.unwrap_or(list)), detail }
}

fn open(directory: &Path) -> Result<BackupEngine> {
    Ok(BackupEngine::open(&BackupEngineOptions::new(directory)?, &Env::new()?)?)
}

fn list_of(engine: &BackupEngine) -> Vec<BackupInfo> {
    let info = engine.get_backup_info();
    let mut all: Vec<BackupInfo> = info
        .into_iter()
        .map(|info| BackupInfo { number: info.backup_id, made_at: info.timestamp, bytes: info.size })
        .collect();
    all.sort_by_key(|backup| backup.number);
    all
}

/// Whatever keeps a backup from being restored, other than a full disk, is damage to it.
fn damaged(directory: &Path, error: rocksdb::Error) -> Error {
    match Error::from(error) {
        Error::Rocks(error) => {
            let detail = error.into_string();
            let file = crate::error::file_in(&detail).or_else(|| Some(directory.to_owned()));
            Error::Corrupt { file, detail }
        }
        other => other.in_directory(directory),
    }
}
