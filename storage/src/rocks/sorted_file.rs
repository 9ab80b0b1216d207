//! A large commit as one sorted file.

use std::path::Path;

use rocksdb::{DB, IngestExternalFileOptions, Options, SstFileWriter};

use crate::{Change, ChangeSet, Result, state_range};

/// Writes sorted changes to `file` and syncs it.
///
/// A file holds one entry per key, so all changes to a key become one. A cleared state is a range deletion, which
/// applies to what the database holds, not to other entries of the same file: just what clearing first means.
pub(super) fn write(options: &Options, file: &Path, changes: &ChangeSet) -> Result<()> {
    let mut writer = SstFileWriter::create(options);
    writer.open(file)?;
    for state in changes.cleared() {
        let (start, end) = state_range(*state);
        writer.delete_range(start, end)?;
    }
    changes.for_each_key(|change, key, value| match change {
        Change::Put => writer.put(key, value),
        Change::Append => writer.merge(key, value),
        Change::Delete => writer.delete(key),
    })?;
    Ok(writer.finish()?)
}

/// Makes the entries of `file` part of the database, all at once, and durable. The file moves into it.
pub(super) fn link(db: &DB, file: &Path) -> Result<(), rocksdb::Error> {
    let mut options = IngestExternalFileOptions::default();
    options.set_move_files(true);
    // Snapshots keep what they saw, and small commits before this one, still in the memtable, are flushed below it.
    options.set_snapshot_consistency(true);
    options.set_allow_global_seqno(true);
    options.set_allow_blocking_flush(true);
    db.ingest_external_file_opts(&options, vec![file])
}
