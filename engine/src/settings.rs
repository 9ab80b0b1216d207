//! How an engine is set up. Parsed once at the edge (flags, environment, config file), passed down by value.

use std::path::PathBuf;
use std::time::Duration;

/// The settings of an engine; the defaults suit a laptop.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where everything durable lies; `None`: in memory, gone with the process (tests, `millrace run`).
    pub data_dir: Option<PathBuf>,
    /// Memory for operator state, view overlays and the store's caches, in bytes.
    pub memory_budget_bytes: usize,
    /// Threads that step operators.
    pub workers: usize,
    /// Time between checkpoints while there is input.
    pub checkpoint_interval: Duration,
    /// Changes that make a checkpoint due before its time, in bytes; at most an eighth of the memory budget.
    pub checkpoint_bytes: usize,
    /// Time between the durable commits that sinks wait for, under load; when idle a sink's epoch is committed at once.
    pub sink_commit_interval: Duration,
    /// Rows taken into one epoch at most; no more than KiB of the memory budget.
    pub epoch_rows: usize,
    /// Bytes of decoded rows taken into one epoch at most; at most a sixteenth of the memory budget.
    pub epoch_bytes: usize,
    /// Views that are built at the same time, at most; others wait for their turn. Each reads its inputs from their start on a thread of its
    /// own, with a share of the memory budget.
    pub concurrent_builds: usize,
    /// Memory for ad-hoc queries, in bytes.
    pub query_memory_bytes: usize,
    /// Bytes of changes that wait for one subscriber, at most; one that reads more slowly than this for long is ended with an error.
    pub subscriber_bytes: usize,
    /// Nothing outside is asked or touched: sources and sinks are checked as far as their options go, and then neither read nor write.
    /// For `millrace check`.
    pub offline: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: None,
            memory_budget_bytes: 4 << 30,
            workers: std::thread::available_parallelism().map_or(2, usize::from).min(delta::SHARDS),
            checkpoint_interval: Duration::from_secs(1),
            checkpoint_bytes: 256 << 20,
            sink_commit_interval: Duration::from_millis(100),
            epoch_rows: 131_072,
            epoch_bytes: 64 << 20,
            concurrent_builds: std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8),
            query_memory_bytes: 1 << 30,
            subscriber_bytes: 64 << 20,
            offline: false,
        }
    }
}

impl Settings {
    /// What waits to be written, and what an epoch takes in, are in memory beside the state: of a small budget they get a part.
    pub(crate) fn within_budget(mut self) -> Self {
        let part = |of: usize| (self.memory_budget_bytes / of).max(LEAST_BYTES);
        (self.checkpoint_bytes, self.epoch_bytes) =
            (self.checkpoint_bytes.min(part(8)), self.epoch_bytes.min(part(16)));
        self.epoch_rows = self.epoch_rows.min(part(1) / BYTES_OF_A_ROW);
        self
    }
}

/// What is in memory beside state while rows come in: of a source's queue, and of a view that is being built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputBounds {
    /// Bytes of records and rows that wait between a source and the engine, at most.
    pub(crate) queued_bytes: usize,
    /// Rows of the past that go into one step of a build, at most.
    pub(crate) step_rows: usize,
    /// Changes that make a build's checkpoint due, in bytes: what is built can be evicted then.
    pub(crate) unwritten_bytes: usize,
    /// Bytes of changes that wait for a build, at most. When there are more, epochs wait until it has caught up: sources slow down.
    pub(crate) tapped_bytes: usize,
}

impl Settings {
    /// A part of the memory budget for each, as far as that is less than what is worth having.
    pub(crate) fn input_bounds(&self) -> InputBounds {
        let part = (self.memory_budget_bytes / 8).max(LEAST_BYTES);
        InputBounds {
            queued_bytes: part.min(connectors::QUEUED_BYTES),
            step_rows: self.epoch_rows.max(1),
            unwritten_bytes: (self.checkpoint_bytes / self.concurrent_builds.max(1)).max(1),
            tapped_bytes: part.min(MOST_TAPPED_BYTES),
        }
    }
}

/// More hides nothing: a build takes in as much in a second or two.
const MOST_TAPPED_BYTES: usize = 256 << 20;

/// What a row is given of the budget while its epoch is under way: a small row that touches a key costs some 300 bytes in state, overlay and changes
/// to be written.
const BYTES_OF_A_ROW: usize = 1 << 10;

/// With less, an epoch would have few rows, and there would be hardly anything but checkpoints.
const LEAST_BYTES: usize = 1 << 20;
