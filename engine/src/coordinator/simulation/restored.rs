//! Backups, and servers that continue one while topics and sinks have gone on.
//!
//! What must be true then: epochs and writes after the backup are gone; what its sinks had sent isn't sent again, and what they send from then
//! on is how their relations differ from what they were when the sources had been read as far as the sink knew. For a relation that is made
//! of sources alone that is what the sink has.

use storage::fault::Copy;

use super::life::Life;
use super::model::emitted;
use super::rows::Bag;
use super::{Simulation, random};
use crate::recovery;

/// Epochs after which a backup is too old to be of interest.
const KEPT_EPOCHS: u64 = 150;

/// A copy of what was committed.
pub(super) struct Backup {
    copy: Copy,
    pub(super) epoch: u64,
}

/// What a sink goes on from that had sent more than the backup knew.
pub(super) struct Continued {
    /// Up to which epoch it had sent.
    pub(super) sent: u64,
    /// What it had sent.
    pub(super) contents: Bag,
    /// What its relation was when the sources had been read as far, and in which epoch that was; `None` before.
    pub(super) base: Option<(u64, Bag)>,
}

impl Continued {
    /// What the sink must have sent when its relation is this.
    pub(super) fn and(&self, relation: Bag) -> Option<Bag> {
        let mut all = self.contents.clone();
        for (row, weight) in relation {
            *all.entry(row).or_default() += weight;
        }
        for (row, weight) in &self.base.as_ref()?.1 {
            *all.entry(row.clone()).or_default() -= weight;
        }
        all.retain(|_, weight| *weight != 0);
        Some(all)
    }
}

impl Simulation<'_> {
    pub(super) fn back_up(&mut self) {
        let last = self.life().coordinator.epoch.0;
        let is_old = self.backup.as_ref().is_none_or(|backup| last.saturating_sub(backup.epoch) > KEPT_EPOCHS);
        // What is being built is no part of it: a sink of such a view begins again with all of it.
        let all_built = self.life().coordinator.hydrating.is_empty();
        if self.is_defined() && all_built && !self.store.is_stopped() && (is_old || self.random.one_in(2)) {
            let copy = self.store.copy();
            let epoch = recovery::epoch(&copy.snapshot()).expect("it was committed").epoch.0;
            self.note(|| format!("backup of epoch {epoch}"));
            self.backup = Some(Backup { copy, epoch });
        } else if is_old {
            self.backup = None;
        }
    }

    /// The server goes; another one continues the backup.
    pub(super) fn restore(&mut self) {
        let Some(backup) = self.backup.take() else { return };
        let epoch = backup.epoch;
        self.note(|| format!("restored: epoch {epoch}"));
        for (identity, log) in self.world.logs() {
            let Some(sent) = log.progress.filter(|sent| sent.0 > epoch) else { continue };
            let continued = Continued { sent: sent.0, contents: log.contents, base: None };
            self.continued.insert(identity, continued);
        }
        self.acknowledged = self.acknowledged.min(epoch);
        self.history.split_off(&(epoch + 1));
        self.facts.clear();
        // Of powers of two no two sums are the same.
        let drawn = (1 << self.store.injected().restored.min(10)) - 1;
        let changes = recovery::restored(&backup.copy.snapshot(), drawn).expect("it can be read");
        let next = self.store.restore(&backup.copy, changes);
        // There may be a second time.
        self.backup = Some(backup);
        self.bury(next);
        // A sink finds its progress by its number.
        let life = self.life.as_ref().expect("it has just started");
        let first = life.coordinator.catalog.counters().next_object;
        for (identity, log) in self.world.logs() {
            let number = identity.trim_start_matches("simulated-").parse::<u32>().expect("a number");
            let given = number >= first && number < first + 64 && log.progress.is_some();
            assert!(!given, "4: number {number} would be given again, and has a sink's progress");
        }
    }

    /// One step of a server that continues a backup.
    pub(super) fn catch_up(&mut self) {
        let before = self.life().coordinator.epoch.0;
        let knew = self.life().knows_who_is_ahead();
        self.store.let_reads_fail(1);
        self.life().catch_up();
        self.store.let_reads_fail(0);
        let after = self.life().coordinator.epoch.0;
        if knew {
            self.account_for_epochs(before);
        } else if after > before {
            // Numbers that its sinks have seen are left out.
            let moment = self.history[&before].clone();
            self.history.insert(after, moment);
        }
        self.note(|| format!("catching up at epoch {after}"));
        self.see_who_goes_on();
    }

    /// Sinks that are no longer held go on from what their relations are now.
    pub(super) fn see_who_goes_on(&mut self) {
        let life = self.life.as_ref().expect("it lives between deaths");
        if !life.knows_who_is_ahead() || life.coordinator.failure.is_some() {
            return;
        }
        let epoch = life.coordinator.epoch.0;
        let moment = &self.history[&epoch];
        for (id, sink) in &life.coordinator.sinks {
            let identity = format!("simulated-{}", id.0);
            let Some(continued) = self.continued.get_mut(&identity) else { continue };
            let name = life.coordinator.catalog.get(*id).map(|object| object.name.name.clone()).unwrap_or_default();
            let Some(relation) = emitted(&name) else { continue };
            if continued.base.is_some() || sink.outbox.is_held() {
                continue;
            }
            let base = moment.view(relation, moment.variant, self.topic);
            // Neither changes by what is written to tables.
            if ["by_k", "log"].contains(&relation) {
                assert_eq!(continued.contents, base, "4: {name} goes on from what it had sent");
            }
            continued.base = Some((epoch, base));
        }
    }

    /// After a start: a sink goes on once more if what it went on from is not in the store.
    pub(super) fn begin_again(&mut self, recovered: u64) {
        if !self.life.as_ref().is_some_and(Life::is_catching_up) {
            return;
        }
        for continued in self.continued.values_mut() {
            continued.base = continued.base.take().filter(|(epoch, _)| *epoch <= recovered);
        }
        self.report.digest = random::at(self.report.digest, &[1]);
    }
}
