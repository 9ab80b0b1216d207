//! What readers see: one epoch, whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use catalog::{Catalog, ObjectId};
use connectors::Positions;
use dataflow::PublishedView;
use delta::Epoch;
use parking_lot::RwLock;
use storage::Snapshot;
use tokio::sync::watch;

/// An epoch that readers see. Immutable; a reader holds it as long as its query runs.
#[derive(Clone)]
pub(crate) struct Published {
    /// The epoch.
    pub(crate) epoch: Epoch,
    /// Its timestamp, microseconds since 1970.
    pub(crate) timestamp_us: i64,
    /// What exists.
    pub(crate) catalog: Arc<Catalog>,
    /// Counts its changes since the start.
    pub(crate) catalog_version: u64,
    /// The store as of the last checkpoint.
    pub(crate) snapshot: Arc<dyn Snapshot>,
    /// The stored relations: what the snapshot doesn't have yet lies over it.
    pub(crate) relations: imbl::HashMap<ObjectId, PublishedView>,
    /// What the expressions of views fail on; a view whose expressions don't is not in it.
    pub(crate) errors: imbl::HashMap<ObjectId, PublishedView>,
    /// Views that are still being built, with their progress.
    pub(crate) hydrating: Arc<HashMap<ObjectId, crate::hydration::Progress>>,
    /// Relations whose topics and files are being read for the first time; what they hold is true of the epoch, but hardly what anybody asks for.
    pub(crate) reading_first: Arc<HashSet<ObjectId>>,
    /// How far the running sources had been read: the next offsets.
    pub(crate) positions: Arc<HashMap<ObjectId, Positions>>,
    /// The watermarks of the running sources, microseconds since 1970.
    pub(crate) watermarks: Arc<HashMap<ObjectId, i64>>,
}

impl Published {
    /// What the store has, before anything is put to work.
    pub(crate) fn recovered(
        epoch: Epoch,
        timestamp_us: i64,
        catalog: Arc<Catalog>,
        snapshot: Arc<dyn Snapshot>,
    ) -> Self {
        Self {
            epoch,
            timestamp_us,
            catalog,
            catalog_version: 1,
            snapshot,
            relations: imbl::HashMap::new(),
            errors: imbl::HashMap::new(),
            hydrating: Arc::new(HashMap::new()),
            reading_first: Arc::new(HashSet::new()),
            positions: Arc::new(HashMap::new()),
            watermarks: Arc::new(HashMap::new()),
        }
    }
}

/// The place where the last published epoch stands.
pub(crate) struct PublishedCell {
    current: RwLock<Arc<Published>>,
    epochs: watch::Sender<Epoch>,
}

impl PublishedCell {
    /// Starts with the recovered state.
    pub(crate) fn new(first: Published) -> Self {
        let (epochs, _) = watch::channel(first.epoch);
        Self { current: RwLock::new(Arc::new(first)), epochs }
    }

    /// The last published epoch.
    pub(crate) fn load(&self) -> Arc<Published> {
        self.current.read().clone()
    }

    /// Readers see this from now on.
    pub(crate) fn publish(&self, next: Published) {
        let epoch = next.epoch;
        *self.current.write() = Arc::new(next);
        self.epochs.send_replace(epoch);
    }

    /// Told of each published epoch.
    pub(crate) fn watch(&self) -> watch::Receiver<Epoch> {
        self.epochs.subscribe()
    }
}
