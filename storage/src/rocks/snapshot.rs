//! A RocksDB snapshot that keeps its database open.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rocksdb::{DB, DEFAULT_COLUMN_FAMILY_NAME, ReadOptions};
use self_cell::self_cell;

use crate::store::{Snapshot, Visit};
use crate::{Error, Result};

/// Keys that RocksDB looks for at a time. Each value keeps its whole block in memory until it has been copied, beside the cache and in no
/// budget: of 50,000 keys at once that was 300 MiB, and twice the time of their reads.
const TOGETHER: usize = 512;

self_cell!(
    /// A snapshot borrows the database; here both live together.
    pub(super) struct RocksSnapshot {
        owner: Arc<DB>,
        #[covariant]
        dependent: Pinned,
    }
);

struct Pinned<'a> {
    snapshot: rocksdb::Snapshot<'a>,
    /// For point reads, made once.
    options: ReadOptions,
}

impl RocksSnapshot {
    pub(super) fn take(db: Arc<DB>) -> Self {
        Self::new(db, |db| {
            let snapshot = db.snapshot();
            let mut options = ReadOptions::default();
            options.set_snapshot(&snapshot);
            Pinned { snapshot, options }
        })
    }
}

impl RocksSnapshot {
    fn failed(&self, error: rocksdb::Error) -> Error {
        Error::from(error).in_directory(self.borrow_owner().path())
    }
}

impl Snapshot for RocksSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let value = self.borrow_owner().get_pinned_opt(key, &self.borrow_dependent().options);
        let value = value.map_err(|error| self.failed(error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// The values of [`TOGETHER`] keys lie in one buffer.
    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>> {
        let db = self.borrow_owner();
        let family = db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME).expect("the store opens the default column family");
        let options = &self.borrow_dependent().options;
        let are_sorted = keys.is_sorted();
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(TOGETHER) {
            let found = db.batched_multi_get_cf_opt(family, keys.iter().copied(), are_sorted, options);
            let found = found.into_iter().collect::<Result<Vec<_>, _>>().map_err(|error| self.failed(error))?;
            let mut buffer = BytesMut::with_capacity(found.iter().flatten().map(|value| value.len()).sum());
            found.iter().flatten().for_each(|value| buffer.extend_from_slice(value));
            let mut rest = buffer.freeze();
            values.extend(found.iter().map(|value| value.as_ref().map(|value| rest.split_to(value.len()))));
        }
        Ok(values)
    }

    fn scan(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        let mut entries = self.borrow_dependent().snapshot.raw_iterator_opt(options);
        entries.seek(start);
        while let Some((key, value)) = entries.item() {
            if visit(key, value) == Visit::Stop {
                return Ok(());
            }
            entries.next();
        }
        entries.status().map_err(|error| self.failed(error))
    }

    fn scan_back(&self, start: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> Visit) -> Result<()> {
        if start >= end {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(start);
        options.set_iterate_upper_bound(end);
        let mut entries = self.borrow_dependent().snapshot.raw_iterator_opt(options);
        entries.seek_to_last();
        while let Some((key, value)) = entries.item() {
            if visit(key, value) == Visit::Stop {
                return Ok(());
            }
            entries.prev();
        }
        entries.status().map_err(|error| self.failed(error))
    }
}
