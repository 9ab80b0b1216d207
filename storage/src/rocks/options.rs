//! How RocksDB is set up.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, Options};

/// Settings of a [`crate::RocksStore`].
#[derive(Clone, Debug)]
pub struct RocksOptions {
    /// Blocks, indexes and filters that are kept in memory, in bytes.
    pub block_cache_bytes: usize,
    /// Memory for small commits that aren't in sorted files yet, in bytes.
    pub memtable_bytes: usize,
    /// Threads for flushes and compactions.
    pub background_jobs: i32,
    /// Commits with at least so many entries are written as a sorted file.
    pub large_commit_entries: usize,
    /// Commits of at least so many bytes are written as a sorted file.
    pub large_commit_bytes: usize,
    /// Free disk space below which a commit is refused, so that compaction, which makes room, can still work.
    pub reserve_bytes: u64,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self {
            block_cache_bytes: 256 << 20,
            memtable_bytes: 64 << 20,
            // One flush and one compaction at a time leave the other cores to the engine.
            background_jobs: 2,
            large_commit_entries: Self::LARGE_COMMIT_ENTRIES,
            large_commit_bytes: Self::LARGE_COMMIT_BYTES,
            reserve_bytes: 64 << 20,
        }
    }
}

impl RocksOptions {
    /// Where a sorted file of small entries gets cheaper than inserts into the memtable, the log, and the flush that
    /// follows; measured by `storage/examples/put_paths.rs`. A file costs some syncs, and small files are compacted
    /// more often than memtables, which gather many small commits.
    pub const LARGE_COMMIT_ENTRIES: usize = 128 << 10;

    /// The same in bytes, which counts for large values.
    pub const LARGE_COMMIT_BYTES: usize = 8 << 20;

    /// Values of at least so many bytes are kept outside of the tree, which would write them again with every compaction.
    const BLOB_BYTES: u64 = 32 << 10;

    /// A file's filter and index are built in memory, and read whole: of a small cache they would be much.
    fn file_bytes(&self) -> u64 {
        (self.block_cache_bytes as u64).clamp(16 << 20, 64 << 20)
    }

    /// A compaction reads ahead in each of its inputs, of which there may be thirty.
    fn readahead_bytes(&self) -> usize {
        (self.block_cache_bytes / 32).clamp(256 << 10, 2 << 20)
    }

    /// What sorted files of commits are written with: as the database's own, but not compressed. They live in level 0 until a
    /// compaction reads them, which compresses what it keeps; and blocks of rows are compressed already.
    pub(super) fn sorted_file(&self) -> Options {
        let mut options = self.database();
        options.set_compression_type(DBCompressionType::None);
        options
    }

    /// As RocksDB takes it.
    pub(super) fn database(&self) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(self.block_cache_bytes));
        // Indexes and filters count against the cache, so that memory stays bounded however large the state is.
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        // A ribbon filter would be smaller, but sorted files are built while an epoch waits.
        table.set_bloom_filter(10.0, false);
        table.set_whole_key_filtering(true);
        table.set_optimize_filters_for_memory(true);
        table.set_block_size(8 << 10);

        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::Lz4);
        // A block of rows is large and compressed where that is worth it: compaction moves it out of the tree once and leaves it there.
        options.set_enable_blob_files(true);
        options.set_min_blob_size(Self::BLOB_BYTES);
        options.set_blob_file_size(256 << 20);
        options.set_enable_blob_gc(true);
        options.set_merge_operator_associative("append", append);
        options.set_paranoid_checks(true);
        // A part of the log that is gone as a whole is noticed; `synced` notices the end of it.
        options.set_track_and_verify_wals_in_manifest(true);

        options.set_write_buffer_size(self.memtable_bytes / 4);
        options.set_max_write_buffer_number(4);
        options.set_max_background_jobs(self.background_jobs);
        // Smooths writing instead of leaving it all to one fsync.
        options.set_bytes_per_sync(1 << 20);
        options.set_wal_bytes_per_sync(1 << 20);

        // A checkpoint spans all states and virtual nodes, so its file starts in level 0. Eight of them, some seconds'
        // worth, are merged at once: about as much as the level below holds, which each merge rewrites.
        options.set_level_zero_file_num_compaction_trigger(8);
        options.set_level_zero_slowdown_writes_trigger(32);
        options.set_level_zero_stop_writes_trigger(64);
        options.set_max_bytes_for_level_base(256 << 20);
        options.set_target_file_size_base(self.file_bytes());
        options.set_compaction_readahead_size(self.readahead_bytes());
        options.set_level_compaction_dynamic_level_bytes(true);

        // Below the customary limit of 1,024 open files, of which connections need some.
        options.set_max_open_files(512);
        options.set_keep_log_file_num(4);
        options.set_max_log_file_size(16 << 20);
        options
    }
}

/// Appends are merges: RocksDB keeps the operands apart and joins them when it reads or compacts.
fn append(_key: &[u8], value: Option<&[u8]>, operands: &rocksdb::MergeOperands) -> Option<Vec<u8>> {
    let length = value.map_or(0, <[u8]>::len) + operands.iter().map(<[u8]>::len).sum::<usize>();
    let mut whole = Vec::with_capacity(length);
    whole.extend_from_slice(value.unwrap_or_default());
    operands.iter().for_each(|operand| whole.extend_from_slice(operand));
    Some(whole)
}
