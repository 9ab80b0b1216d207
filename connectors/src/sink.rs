//! The contract of a sink: each epoch's changes, exactly once.

use std::collections::BTreeMap;

use delta::{Delta, Epoch};

use crate::Result;
use crate::source::Health;

/// What a sink is asked to be.
#[derive(Clone, Debug)]
pub struct SinkSpec {
    /// For messages and metrics.
    pub name: String,
    /// Names this sink for good, over restarts and renames: the transactional id derives from it.
    pub identity: String,
    /// The WITH list (`connector` is in it).
    pub options: BTreeMap<String, String>,
    /// The rows' columns.
    pub schema: arrow::datatypes::SchemaRef,
    /// Positions of the columns that identify a row; empty: rows have no key, and upsert output is refused.
    pub key: Vec<usize>,
}

/// The changes of one epoch, consolidated.
#[derive(Clone, Debug)]
pub struct SinkRow {
    /// The epoch they belong to.
    pub epoch: Epoch,
    /// How far the engine's sources had been read by then, in its own words: kept with the progress, and given back by [`Sink::read_up_to`].
    pub inputs: std::sync::Arc<str>,
    /// The rows and weights. For a keyed relation an update is -1 of the old row and +1 of the new one.
    pub delta: Delta,
}

/// A kind of output. Used by one thread; may block.
pub trait Sink: Send {
    /// Connects, fences every earlier instance of this sink, and says up to which epoch it has already emitted (`None`: nothing yet).
    fn recover(&mut self) -> Result<Option<Epoch>>;

    /// What [`SinkRow::inputs`] said of the epoch that [`Sink::recover`] found last, if it was kept.
    fn read_up_to(&self) -> Option<&str>;

    /// Emits these epochs, in order, atomically with the progress record that says so. When an error comes back the outcome may be
    /// unknown: the caller calls [`Sink::recover`] and goes on from what that says.
    fn deliver(&mut self, epochs: &[SinkRow]) -> Result<()>;

    /// Whether it works, for the system views.
    fn health(&self) -> Health;
}

/// Makes the sink that `spec` describes; checks every option and that the topic exists or can be made.
pub fn open_sink(spec: &SinkSpec) -> Result<Box<dyn Sink>> {
    crate::options::sink_connector(spec)
}

/// Checks the options of the sink that `spec` describes; nothing outside is asked.
pub fn check_sink(spec: &SinkSpec) -> Result<()> {
    crate::options::check_sink(spec)
}
