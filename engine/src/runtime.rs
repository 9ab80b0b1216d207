//! What the epoch thread lets others see of its moving parts, refreshed a few times a second: for system views and metrics.

use std::collections::HashMap;

use catalog::ObjectId;
use connectors::SourceStatus;
use dataflow::OperatorStats;
use storage::StoreStats;

use crate::inputs::SavedInput;
use crate::sinks::SinkStatus;

/// A picture of the running parts.
#[derive(Clone, Default)]
pub(crate) struct Runtime {
    /// Running sources.
    pub(crate) inputs: HashMap<ObjectId, InputView>,
    /// Sinks.
    pub(crate) sinks: HashMap<ObjectId, SinkView>,
    /// Operators, each with the relations that use it.
    pub(crate) operators: Vec<OperatorStats>,
    /// The store.
    pub(crate) store: StoreStats,
    /// Memory held by operator state and view overlays, in bytes.
    pub(crate) state_bytes: usize,
    /// Rows that views were built from since the start.
    pub(crate) build_rows: BuildRows,
    /// Why commits wait, if they do.
    pub(crate) commit_trouble: Option<String>,
    /// How far the clock is behind the last epoch's time, microseconds: it was set back, and `now()` all but stands still meanwhile.
    pub(crate) clock_behind_us: i64,
    /// Why the engine takes no input any more, if so.
    pub(crate) failure: Option<String>,
}

impl Runtime {
    /// How it is going, for people.
    pub(crate) fn status(&self) -> String {
        if let Some(trouble) = self.failure.as_ref().or(self.commit_trouble.as_ref()) {
            return trouble.clone();
        }
        match self.clock_behind_us / 1_000_000 {
            0 => "running".to_owned(),
            seconds => format!("running; the clock was set back, and now() stands still for another {seconds} s"),
        }
    }
}

/// Rows that views were built from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BuildRows {
    /// Of sources, tables and views.
    pub(crate) inputs: u64,
    /// Of the state of operators that went on.
    pub(crate) state: u64,
}

/// A running source.
#[derive(Clone)]
pub(crate) struct InputView {
    pub(crate) status: SourceStatus,
    pub(crate) read: SavedInput,
    /// Everything there will ever be has been taken and computed.
    pub(crate) finished: bool,
}

/// A running sink.
#[derive(Clone)]
pub(crate) struct SinkView {
    pub(crate) status: SinkStatus,
    pub(crate) outbox_bytes: usize,
}
