//! Changes of a relation as they happen: SUBSCRIBE, EMIT CHANGES.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use delta::{Delta, Epoch};
use tokio::sync::mpsc;

use crate::planted::{Bug, is_planted};
use crate::published::Published;
use crate::{Error, ErrorKind};

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
    /// The epoch at which it starts; its contents are the snapshot. Whoever follows for long lets it go first: it holds what the store would
    /// otherwise forget.
    pub(crate) start: Arc<Published>,
    /// What later epochs changed.
    pub(crate) later: Later,
}

/// Changes as they come; ends when the relation is dropped, the engine stops, or the subscriber was too slow.
pub(crate) struct Later {
    changes: mpsc::UnboundedReceiver<Changes>,
    queued_bytes: Arc<AtomicUsize>,
    ended: Arc<OnceLock<Error>>,
}

/// The epoch thread's end.
pub(crate) struct Subscriber {
    /// How many columns the relation had when it began; `None`: that can't change.
    pub(crate) columns: Option<usize>,
    changes: mpsc::UnboundedSender<Changes>,
    queued_bytes: Arc<AtomicUsize>,
    most_bytes: usize,
    /// Why it ends, if not in good order.
    ended: Arc<OnceLock<Error>>,
}

/// A subscription that starts at `start`. The channel has no bound of its own; `most_bytes` bounds what is in it: who reads more slowly for long
/// must hold back neither the epochs nor the memory of the others.
pub(crate) fn subscription(
    start: Arc<Published>,
    columns: Option<usize>,
    most_bytes: usize,
) -> (Subscriber, Subscription) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(OnceLock::new());
    (
        Subscriber { columns, changes: sender, queued_bytes: queued_bytes.clone(), most_bytes, ended: ended.clone() },
        Subscription { start, later: Later { changes: receiver, queued_bytes, ended } },
    )
}

impl Subscriber {
    /// Hands on what an epoch changed; `false` when this subscriber is to be forgotten.
    #[must_use]
    pub(crate) fn send(&self, changes: &Changes) -> bool {
        let bytes = changes.delta.memory_size();
        if self.queued_bytes.fetch_add(bytes, Ordering::AcqRel) > self.most_bytes {
            if is_planted(Bug::SubscriberSkips) {
                return true;
            }
            let error = Error::new(ErrorKind::LimitExceeded, "the subscription was ended: its client reads too slowly");
            self.end(error.with_hint("read faster, or subscribe to a view that changes less"));
            return false;
        }
        self.changes.send(changes.clone()).is_ok()
    }

    /// Says why there will be no more changes.
    pub(crate) fn end(&self, error: Error) {
        self.ended.get_or_init(|| error);
    }
}

impl Later {
    /// The next changes; `None` when there will be none.
    pub(crate) async fn next(&mut self) -> Option<Changes> {
        let changes = self.changes.recv().await?;
        self.queued_bytes.fetch_sub(changes.delta.memory_size(), Ordering::AcqRel);
        Some(changes)
    }

    /// The next changes if there are any now; an error when there will be none.
    #[cfg(test)]
    pub(crate) fn try_next(&mut self) -> Result<Changes, mpsc::error::TryRecvError> {
        let changes = self.changes.try_recv()?;
        self.queued_bytes.fetch_sub(changes.delta.memory_size(), Ordering::AcqRel);
        Ok(changes)
    }

    /// Why it ended, if not in good order.
    pub(crate) fn ended(&self) -> Option<Error> {
        self.ended.get().cloned()
    }
}
