//! Changes of a relation as they happen: SUBSCRIBE, EMIT CHANGES.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use delta::{Delta, Epoch};
use tokio::sync::mpsc;

use crate::published::Published;

/// Bytes of changes that wait for one subscriber, at most. One that reads more slowly than this for long is ended with an error: it must
/// hold back neither the epochs nor the memory of the others.
pub(crate) const QUEUED_BYTES: usize = 64 << 20;

/// What one epoch changed in the relation.
#[derive(Clone, Debug)]
pub(crate) struct Changes {
    /// The epoch.
    pub(crate) epoch: Epoch,
    /// The consolidated change.
    pub(crate) delta: Arc<Delta>,
}

/// The reading end: a consistent start and all that follows.
pub(crate) struct Subscription {
    /// The epoch at which it starts; its contents are the snapshot.
    pub(crate) start: Arc<Published>,
    /// What later epochs changed; ends when the relation is dropped, the engine stops, or the subscriber was too slow.
    pub(crate) changes: mpsc::UnboundedReceiver<Changes>,
    queued_bytes: Arc<AtomicUsize>,
    overrun: Arc<std::sync::atomic::AtomicBool>,
}

/// The epoch thread's end.
pub(crate) struct Subscriber {
    changes: mpsc::UnboundedSender<Changes>,
    queued_bytes: Arc<AtomicUsize>,
    overrun: Arc<std::sync::atomic::AtomicBool>,
}

/// A subscription that starts at `start`. The channel has no bound of its own; [`QUEUED_BYTES`] bounds what is in it.
pub(crate) fn subscription(start: Arc<Published>) -> (Subscriber, Subscription) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    let overrun = Arc::new(std::sync::atomic::AtomicBool::new(false));
    (
        Subscriber { changes: sender, queued_bytes: queued_bytes.clone(), overrun: overrun.clone() },
        Subscription { start, changes: receiver, queued_bytes, overrun },
    )
}

impl Subscriber {
    /// Hands on what an epoch changed; `false` when this subscriber is to be forgotten.
    #[must_use]
    pub(crate) fn send(&self, changes: &Changes) -> bool {
        let bytes = changes.delta.memory_size();
        if self.queued_bytes.fetch_add(bytes, Ordering::AcqRel) > QUEUED_BYTES {
            self.overrun.store(true, Ordering::Release);
            return false;
        }
        self.changes.send(changes.clone()).is_ok()
    }
}

impl Subscription {
    /// The next changes; `None` when there will be none.
    pub(crate) async fn next(&mut self) -> Option<Changes> {
        let changes = self.changes.recv().await?;
        self.queued_bytes.fetch_sub(changes.delta.memory_size(), Ordering::AcqRel);
        Some(changes)
    }

    /// Whether it was ended because it was read too slowly.
    pub(crate) fn was_too_slow(&self) -> bool {
        self.overrun.load(Ordering::Acquire)
    }
}
