//! What is compared, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalog::ObjectKind;
use delta::Epoch;
use storage::{Snapshot, StateId, Store, Visit};
use tokio::sync::oneshot::error::TryRecvError;

use super::life::{contents, saved_epoch};
use super::model::{DEFINITIONS, Moment, PASSING, VIEWS, emitted};
use super::rows::{Bag, add};
use super::topic::PARTITIONS;
use super::{Follower, Simulation, hash, is_passing, random};
use crate::coordinator::ddl::operator_states;
use crate::published::Published;
use crate::{dead_letters, recovery};

/// Epochs that the model remembers at least: a slow reader may ask for them.
const REMEMBERED: usize = 64;

impl Simulation<'_> {
    /// After an epoch: the model takes the same step, and must come to the same.
    pub(super) fn account_for_epoch(&mut self, before: u64) {
        let topic = self.topic;
        let coordinator = &self.life.as_ref().expect("it has just run").coordinator;
        let epoch = coordinator.epoch.0;
        assert_eq!(epoch, before + 1, "epochs are numbered one by one");
        let mut moment = self.history[&before].clone();
        let source = self.life.as_ref().and_then(|life| life.find("events"));
        let input = source.and_then(|source| coordinator.inputs.get(&source));
        if let Some(input) = input {
            moment.read(topic, &input.positions);
            let watermark = source.and_then(|source| coordinator.watermarks.get(&source)).copied();
            assert_eq!(watermark, moment.watermark, "the watermark of epoch {epoch}");
            let counters = input.counters;
            assert_eq!(
                (counters.rows, counters.dead_letters),
                (moment.rows, moment.bad),
                "6: what was read is counted"
            );
        } else if moment.positions.values().any(|at| *at > 0) {
            panic!("a source that is read goes on");
        }
        let mut changed = None;
        for write in self.writes.iter_mut().filter(|write| write.taken.is_none() && !write.refused) {
            // A write that was refused at once has its answer already, and was never handed on.
            if let Ok(Err(error)) = write.answer.try_recv() {
                let conflicts = self.changed > write.read_at || changed.is_some();
                assert!(is_passing(error.kind), "{error}");
                assert!(
                    conflicts || error.kind == crate::ErrorKind::DiskFull,
                    "a write that conflicts with nothing is taken: {error}"
                );
                write.refused = true;
                self.report.conflicts += 1;
                continue;
            }
            assert!(
                self.changed <= write.read_at && changed.is_none(),
                "1: a write that was computed from old rows is refused: read at {}, changed at {:?} and {}",
                write.read_at,
                changed,
                self.changed
            );
            write.taken = Some(epoch);
            changed = Some(epoch);
            for (id, row) in &write.changes {
                match row {
                    Some(row) => drop(moment.ledger.insert(*id, *row)),
                    None => drop(moment.ledger.remove(id)),
                }
            }
        }
        self.changed = changed.unwrap_or(self.changed);
        self.history.insert(epoch, moment);
        self.report.epochs += 1;
        self.forget_old_epochs();
        self.note(|| format!("epoch {epoch}"));
        let name = VIEWS[self.random.below(VIEWS.len() as u64) as usize];
        let published = self.life().published();
        assert_eq!(published.epoch.0, epoch, "2: an epoch is published when it is computed");
        self.compare(&published, name);
    }

    fn forget_old_epochs(&mut self) {
        let held = self.held.as_ref().map_or(u64::MAX, |held| held.epoch.0);
        let durable = self.store.durable_oldest(saved_of).unwrap_or(0);
        let sent = self.sinks().into_iter().filter_map(|(_, _, progress)| progress).min().unwrap_or(u64::MAX);
        let follower = self.follower.as_ref().map_or(u64::MAX, |follower| follower.epoch);
        let needed = held.min(durable).min(sent).min(follower);
        while self.history.len() > REMEMBERED && self.history.first_key_value().is_some_and(|(e, _)| *e < needed) {
            self.history.pop_first();
        }
    }

    /// A view in an epoch is what its query says.
    fn compare(&self, published: &Arc<Published>, name: &str) {
        let epoch = published.epoch.0;
        let found = contents(published, name).unwrap_or_else(|error| panic!("{name} can be read: {error}"));
        let Some(found) = found else { return };
        let moment = self.history.get(&epoch).unwrap_or_else(|| panic!("epoch {epoch} is none that was computed"));
        assert_eq!(found, moment.view(name, self.topic), "1: {name} at epoch {epoch} is what its query says");
    }

    fn compare_all(&self, published: &Arc<Published>) {
        VIEWS.iter().for_each(|name| self.compare(published, name));
    }

    /// After a start: what was found is what was, at an epoch that loses nothing that somebody was told.
    pub(super) fn check_recovery(&mut self) {
        let epoch = saved_epoch(&self.store).expect("it was just opened").0;
        let moment = self.history.get(&epoch).unwrap_or_else(|| panic!("2: epoch {epoch} was never computed")).clone();
        self.history.split_off(&(epoch + 1));
        assert!(epoch >= self.acknowledged, "5: epoch {} was acknowledged, {epoch} is left", self.acknowledged);
        for (sink, _, progress) in self.sinks() {
            assert!(progress.is_none_or(|sent| sent <= epoch), "4: {sink} has sent {progress:?}, {epoch} is left");
        }
        for (name, exists) in &self.exists {
            let found = self.life.as_ref().is_some_and(|life| life.find(name).is_some());
            assert_eq!(found, *exists, "2: whether {name} exists was acknowledged");
        }
        // What was found stays, unless somebody drops it.
        for (name, _) in DEFINITIONS.iter().chain(&PASSING) {
            let found = self.life.as_ref().is_some_and(|life| life.find(name).is_some());
            self.exists.insert((*name).to_owned(), found);
        }
        let life = self.life.as_ref().expect("it has just started");
        let source = life.find("events");
        if let Some(input) = source.and_then(|source| life.coordinator.inputs.get(&source)) {
            assert_eq!(input.positions, moment.positions, "3: offsets and views are of one epoch");
        }
        let published = life.published();
        assert_eq!(published.epoch, Epoch(epoch), "a start shows what it found");
        self.compare_all(&published);
        self.check_dead_letters(&moment);
    }

    fn check_dead_letters(&self, moment: &Moment) {
        let snapshot = self.store.snapshot().expect("it works");
        let found = dead_letters::read(&snapshot, usize::MAX).expect("they can be read");
        let found: Vec<(i32, i64)> = found.iter().map(|(_, letter)| (letter.partition, letter.offset)).collect();
        assert_eq!(found, moment.dead_letters(self.topic), "6: each record that can't be decoded is kept once");
    }

    /// Answers that have come.
    pub(super) fn check_answers(&mut self) {
        let published = self.life().published();
        let mut waiting = Vec::new();
        for mut write in std::mem::take(&mut self.writes) {
            match write.answer.try_recv() {
                _ if write.refused => {}
                Err(TryRecvError::Empty) => waiting.push(write),
                Ok(Ok(epoch)) => {
                    assert_eq!(Some(epoch.0), write.taken, "5: a write is acknowledged for the epoch that took it");
                    assert!(published.epoch >= epoch, "5: a write that is acknowledged is shown");
                    self.acknowledged = self.acknowledged.max(epoch.0);
                    self.report.writes += 1;
                }
                // It was not taken, or nobody knows: the store has stopped.
                Ok(Err(_)) | Err(TryRecvError::Closed) => {}
            }
        }
        self.writes = waiting;
        let mut waiting = Vec::new();
        for mut statement in std::mem::take(&mut self.statements) {
            match statement.answer.try_recv() {
                Err(TryRecvError::Empty) => waiting.push(statement),
                Ok(Ok(_)) => drop(self.exists.insert(statement.object, statement.makes)),
                Ok(Err(error)) => {
                    let stopped = self.store.is_stopped();
                    assert!(stopped || is_passing(error.kind), "{}: {error}", statement.object);
                }
                Err(TryRecvError::Closed) => {}
            }
        }
        self.statements = waiting;
    }

    /// A query of one view, and of an epoch that was read some time ago.
    pub(super) fn read(&mut self) {
        let name = VIEWS[self.random.below(VIEWS.len() as u64) as usize];
        let published = self.life().published();
        self.compare(&published, name);
        if let Some(held) = self.held.take() {
            self.compare_all(&held);
        }
    }

    pub(super) fn hold(&mut self) {
        let published = self.life().published();
        self.held.get_or_insert(published);
    }

    /// Somebody follows `by_k`, and adds the changes up.
    pub(super) fn follow(&mut self) {
        if self.follower.is_none() {
            let Some(relation) = self.life().find("by_k") else { return };
            let (reply, mut answer) = tokio::sync::oneshot::channel();
            self.life().handle(crate::command::Command::Subscribe { relation, name: "by_k".to_owned(), reply });
            let subscribed = answer.try_recv().expect("it is answered at once").expect("by_k is there");
            let crate::subscription::Subscription { start, later } = subscribed;
            if let Some(found) = contents(&start, "by_k").expect("it can be read") {
                self.follower = Some(Follower { later, contents: found, epoch: start.epoch.0 });
            }
            return;
        }
        let Some(follower) = &mut self.follower else { return };
        while let Ok(changes) = follower.later.changes.try_recv() {
            assert!(changes.epoch.0 > follower.epoch, "1: epochs come in order to those who follow");
            add(&mut follower.contents, &changes.delta);
            follower.epoch = changes.epoch.0;
        }
        if let Some(moment) = self.history.get(&follower.epoch) {
            let expected = moment.view("by_k", self.topic);
            assert_eq!(follower.contents, expected, "1: changes of by_k add up to epoch {}", follower.epoch);
        }
        if self.random.one_in(8) {
            self.follower = None;
        }
    }

    /// The running sinks: name, what it has written, up to which epoch.
    fn sinks(&self) -> Vec<(String, Bag, Option<u64>)> {
        let Some(life) = &self.life else { return Vec::new() };
        let named = |id: &catalog::ObjectId| {
            let object = life.coordinator.catalog.get(*id)?;
            let log = self.world.with_broker(&format!("simulated-{}", id.0), |log, _| log.clone());
            Some((object.name.name.clone(), log.contents, log.progress.map(|epoch| epoch.0)))
        };
        life.coordinator.sinks.keys().filter_map(named).collect()
    }

    /// What sinks have written adds up to what their relations were.
    fn check_sinks(&self) {
        for (sink, written, progress) in self.sinks() {
            let (Some(relation), Some(moment)) = (emitted(&sink), progress.and_then(|e| self.history.get(&e))) else {
                continue;
            };
            assert_eq!(
                written,
                moment.view(relation, self.topic),
                "4: {sink} has all of {relation} up to {progress:?}"
            );
        }
    }

    /// What has not yet been read, computed, committed or sent.
    pub(super) fn unrest(&mut self) -> Option<String> {
        self.check_sinks();
        let last = self.history.last_key_value().map(|(_, moment)| moment.positions.clone());
        let all_there = DEFINITIONS.iter().all(|(name, _)| self.life.as_ref().is_some_and(|l| l.find(name).is_some()));
        let ends = self.world.ends();
        let coordinator = &self.life().coordinator;
        let quiet = coordinator.hydrating.is_empty() && coordinator.in_flight.is_none() && !coordinator.pending.dirty;
        let sent = coordinator.sinks.values().all(|sink| sink.outbox.bytes() == 0 && !sink.outbox.has_delivered());
        let why = format!(
            "defined: {all_there}, being built: {:?}, a commit under way: {}, changes: {}, sinks have everything: {sent}, read up to {last:?} of {ends:?}",
            coordinator.hydrating.keys(),
            coordinator.in_flight.is_some(),
            coordinator.pending.dirty
        );
        let is_at_rest = all_there && quiet && sent && last == Some(ends);
        (!is_at_rest).then_some(why)
    }

    pub(super) fn check_the_end(&mut self) {
        let published = self.life().published();
        self.compare_all(&published);
        let moment = self.history[&published.epoch.0].clone();
        self.report.records = moment.rows + moment.bad;
        self.check_dead_letters(&moment);
        let counters = {
            let life = self.life();
            let source = life.find("events");
            source.and_then(|source| life.coordinator.inputs.get(&source)).map(|input| input.counters)
        };
        assert!(counters.is_some(), "the source is read");
        for (sink, written, _) in self.sinks() {
            let relation = emitted(&sink).unwrap_or_else(|| panic!("{sink} is one of the model's"));
            assert_eq!(written, moment.view(relation, self.topic), "4: {sink} has everything, once");
        }
        self.check_what_is_stored();
        assert_eq!(moment.positions.len(), PARTITIONS as usize);
    }

    /// Nothing is left in the store of what doesn't exist any more, or was sent.
    fn check_what_is_stored(&self) {
        let life = self.life.as_ref().expect("it is at rest");
        let mut known = BTreeSet::from([StateId::META.0, dead_letters::STATE.0]);
        let mut outboxes = BTreeSet::new();
        for object in life.coordinator.catalog.objects() {
            match &object.kind {
                ObjectKind::Table(table) => drop(known.insert(table.state_id)),
                ObjectKind::MaterializedView(view) => drop(known.insert(view.state_id)),
                ObjectKind::Sink(sink) => drop(outboxes.insert(sink.state_id)),
                _ => {}
            }
            known.extend(operator_states(&object.kind).into_iter().flat_map(|states| states.values().copied()));
        }
        let mut found: BTreeMap<u32, u64> = BTreeMap::new();
        let snapshot = self.store.snapshot().expect("it works");
        visit(&*snapshot, &mut |key, _| {
            let state = key.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            *found.entry(state).or_default() += 1;
        });
        for (state, entries) in found {
            assert!(!outboxes.contains(&state), "7: {entries} entries of an outbox are left that were sent");
            assert!(known.contains(&state), "7: {entries} entries are left of state {state}, which is nobody's");
        }
    }

    /// A hash of all that is stored.
    pub(super) fn stored_hash(&self) -> u64 {
        let snapshot = self.store.snapshot().expect("it works");
        let mut whole = 0;
        visit(&*snapshot, &mut |key, value| whole = random::at(whole, &[hash(key), hash(value)]));
        whole
    }
}

fn visit(snapshot: &dyn Snapshot, see: &mut dyn FnMut(&[u8], &[u8])) {
    let mut visit = |key: &[u8], value: &[u8]| {
        see(key, value);
        Visit::Continue
    };
    snapshot.scan(&[], &[0xFF; 16], &mut visit).expect("memory");
}

/// The epoch of some contents of the store.
fn saved_of(snapshot: &Arc<dyn Snapshot>) -> Option<u64> {
    recovery::epoch(snapshot).ok().map(|saved| saved.epoch.0)
}
