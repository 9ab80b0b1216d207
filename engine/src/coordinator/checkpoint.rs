//! When a checkpoint is due, what it contains, and what happens when it is durable.

use std::time::Instant;

use delta::Epoch;
use storage::{ChangeSet, Durability};

use super::hydrate::DeferredTap;
use super::{Coordinator, InFlight, Pending};
use crate::commit::Checkpoint;
use crate::hydration::Tap;
use crate::planted::{Bug, is_planted};
use crate::recovery::{self, SavedEpoch};
use crate::{Error, ErrorKind, Result};

impl Coordinator {
    /// When the next checkpoint should start; `None` while nothing has changed or one is under way.
    pub(super) fn checkpoint_due(&self) -> Option<Instant> {
        if self.in_flight.is_some() || !self.pending.dirty || self.failure.is_some() {
            return None;
        }
        let now = self.outside.now();
        if !self.waiting.is_empty() || !self.stopping.is_empty() || self.is_over_bound() {
            return Some(now);
        }
        let regular = self.last_checkpoint + self.settings.checkpoint_interval;
        if self.pending.outbox_since.is_some() {
            return Some(regular.min(self.last_checkpoint + self.settings.sink_commit_interval));
        }
        Some(regular)
    }

    /// Starts a checkpoint if one is due. What sinks have confirmed is reason enough for one: their outboxes are to be empty.
    pub(super) fn checkpoint_if_due(&mut self) -> Result<()> {
        self.pending.dirty |= self.sinks.values().any(|sink| sink.outbox.has_delivered());
        match self.checkpoint_due() {
            Some(due) if due <= self.outside.now() => self.checkpoint(),
            _ => Ok(()),
        }
    }

    /// Whether more epochs would let what is not yet durable grow beyond its bound.
    fn must_wait_for_commit(&self) -> bool {
        self.in_flight.is_some() && self.is_over_bound()
    }

    /// Whether an epoch must wait for a slower part: the store, or a view that is being built.
    pub(super) fn must_wait(&self) -> bool {
        self.must_wait_for_commit() || self.taps.values().any(Tap::is_full)
    }

    fn is_over_bound(&self) -> bool {
        self.graph.unwritten_bytes() + self.pending.changes.byte_size() >= self.settings.checkpoint_bytes
    }

    /// All that has changed since the last commit, which the caller carries out.
    pub(super) fn changes_to_commit(&mut self) -> Result<ChangeSet> {
        let Pending { changes: pending, mut dead_letters, .. } = std::mem::take(&mut self.pending);
        if is_planted(Bug::DeadLetterDropped) {
            dead_letters.pop();
        }
        let mut changes: ChangeSet = self.graph.checkpoint().map_err(super::epoch::dataflow_error)?;
        changes.merge(pending);
        self.dead_letters.write(dead_letters, &mut changes)?;
        for input in self.inputs.values_mut().filter(|input| input.dirty) {
            if !is_planted(Bug::OffsetsForgotten) {
                recovery::put_input(input.id, &input.saved(), &mut changes)?;
            }
            input.dirty = false;
        }
        for sink in self.sinks.values_mut() {
            sink.outbox.forget_delivered(&mut changes);
        }
        let saved = SavedEpoch { epoch: self.epoch, timestamp_us: self.timestamp_us };
        recovery::put_epoch(&saved, &mut changes)?;
        Ok(changes)
    }

    pub(super) fn checkpoint(&mut self) -> Result<()> {
        let durable = self.pending.durable && !is_planted(Bug::SentBeforeDurable);
        let changes = self.changes_to_commit()?;
        // A write and a sink rely on what they were told; anything else may be computed again.
        let waited_for = !self.waiting.is_empty() && !is_planted(Bug::WriteNotSynced);
        let durable = durable || waited_for || !self.stopping.is_empty();
        let durability = if durable { Durability::Disk } else { Durability::Process };
        self.in_flight = Some(InFlight { waiters: std::mem::take(&mut self.waiting) });
        self.last_checkpoint = self.outside.now();
        self.checkpoints.started += 1;
        self.committer.commit(Checkpoint { epoch: self.epoch, changes, durability });
        Ok(())
    }

    /// The commit thread is done.
    pub(super) fn committed(&mut self, epoch: Epoch, result: storage::Result<()>) {
        let Some(InFlight { waiters }) = self.in_flight.take() else { return };
        let done = result.map_err(storage_error).and_then(|()| self.adopt_snapshot());
        for waiter in waiters {
            waiter(done.clone());
        }
        match done {
            Ok(()) => {
                self.checkpoints.done = self.checkpoints.started;
                for sink in self.sinks.values() {
                    sink.durable_up_to(epoch);
                }
                // Before anything is changed: now the store has all that there is.
                for DeferredTap { view, relations, reply } in std::mem::take(&mut self.deferred_taps) {
                    self.tap(view, relations, reply);
                }
                self.join_hydrated();
                self.start_builds();
                for (planned_against, change, reply) in std::mem::take(&mut self.deferred) {
                    self.ddl(planned_against, change, reply);
                }
            }
            Err(error) => self.fail(error),
        }
    }

    /// Readers and operators go on from what is in the store now: overlays shrink, clean state may be evicted.
    pub(super) fn adopt_snapshot(&mut self) -> Result<()> {
        let before = std::mem::replace(&mut self.snapshot, self.store.snapshot().map_err(storage_error)?);
        let written = self.graph.committed(self.snapshot.clone()).map_err(super::epoch::dataflow_error)?;
        if is_planted(Bug::StaleSnapshot) {
            self.snapshot = before;
        }
        for relation in written {
            if self.relations.contains_key(&relation) {
                self.show(relation);
            }
        }
        let failing: Vec<_> = self.errors.keys().copied().collect();
        failing.into_iter().try_for_each(|relation| self.show_errors(relation))?;
        self.publish();
        Ok(())
    }
}

/// An error of the store as a client sees it.
pub(crate) fn storage_error(error: storage::Error) -> Error {
    let kind = match error {
        storage::Error::Full { .. } => ErrorKind::DiskFull,
        _ => ErrorKind::Storage,
    };
    let hint = match error {
        storage::Error::Corrupt { .. } => Some(DAMAGED),
        storage::Error::Layout { .. } => Some(OTHER_LAYOUT),
        _ => None,
    };
    let error = Error::new(kind, error.to_string());
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// What can be done about a data directory that another version wrote.
const OTHER_LAYOUT: &str = "start the version that wrote it; or start this one with an empty directory and run the definitions again: sources \
    are read again, rows of tables that were written by SQL have to be copied; see docs/operations/upgrade.md";

/// What can be done about a damaged data directory.
const DAMAGED: &str = "restore a backup (millrace restore), or start with an empty directory and run the definitions again: sources are read \
    again, rows of tables that were written by SQL are only in a backup; see docs/operations/damaged.md";
