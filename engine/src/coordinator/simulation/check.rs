//! What is compared, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalog::ObjectKind;
use delta::Epoch;
use storage::{Snapshot, StateId, Store, Visit};
use tokio::sync::oneshot::error::TryRecvError;

use super::clients::Client;
use super::life::{contents, fact, saved_epoch};
use super::model::{BLOCK, DEFINITIONS, Moment, PASSING, VIEWS, emitted, variant};
use super::rows::{Bag, add};
use super::topic::PARTITIONS;
use super::{Follower, Simulation, hash, is_passing, random};
use crate::coordinator::ddl::operator_states;
use crate::published::Published;
use crate::{ErrorKind, Result, dead_letters, recovery};

/// Epochs that the model remembers at least: a slow reader may ask for them.
const REMEMBERED: usize = 64;

/// What may wait for a commit beyond the bound: an epoch is taken in whole.
const ONE_EPOCH_BYTES: usize = 1 << 20;

impl Simulation<'_> {
    /// After epochs: the model takes the same steps, and must come to the same. Only the last one of several reads and writes: those before it
    /// are the differences that come of another query.
    pub(super) fn account_for_epochs(&mut self, before: u64) {
        let topic = self.topic;
        let coordinator = &self.life.as_ref().expect("it has just run").coordinator;
        let epoch = coordinator.epoch.0;
        // What an epoch has left half done is nowhere to be seen.
        if epoch == before || coordinator.failure.is_some() {
            return;
        }
        let waiting = coordinator.graph.unwritten_bytes() + coordinator.pending.changes.byte_size();
        let bound = self.settings.checkpoint_bytes + ONE_EPOCH_BYTES;
        assert!(waiting <= bound, "7: {waiting} bytes wait for a commit, more than {bound}");
        let mut moment = self.history[&before].clone();
        moment.variant = variant(&coordinator.catalog);
        for between in before + 1..epoch {
            self.history.insert(between, moment.clone());
        }
        let source = self.life.as_ref().and_then(|life| life.find("events"));
        let input = source.and_then(|source| coordinator.inputs.get(&source));
        if let Some(input) = input {
            moment.read(topic, &input.positions, coordinator.timestamp_us);
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
        let block = fact(&coordinator.catalog, BLOCK).is_some();
        let is_taken = coordinator.writes.is_empty();
        // What comes with a change of the catalog comes first.
        self.writes.sort_by_key(|write| write.block.is_none());
        for write in self.writes.iter_mut().filter(|write| write.taken.is_none() && !write.refused) {
            if write.block.map_or(!is_taken, |makes| makes != block) {
                continue;
            }
            // A write that was refused at once has its answer already, and was never handed on.
            if let Some(Ok(Err(error))) = write.answer.as_mut().map(tokio::sync::oneshot::Receiver::try_recv) {
                let conflicts = self.changed > write.read_at || changed.is_some();
                assert!(is_passing(error.kind), "{error}");
                assert!(
                    conflicts || error.kind == crate::ErrorKind::DiskFull,
                    "a write that conflicts with nothing is taken: {error}"
                );
                write.refused = true;
                if let Some(session) = write.session.take() {
                    drop(session.send(Err(error)));
                }
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
            let mut said = moment.ledger.clone();
            write.says.iter().for_each(|sentence| sentence.apply(&mut said));
            for (id, row) in &write.changes {
                match row {
                    Some(row) => drop(moment.ledger.insert(*id, *row)),
                    None => drop(moment.ledger.remove(id)),
                }
            }
            assert!(
                write.says.is_empty() || said == moment.ledger,
                "5: {:?} did {:?} in epoch {epoch}",
                write.says,
                write.changes
            );
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
        let backup = self.backup.as_ref().map_or(u64::MAX, |backup| backup.epoch);
        let sent = self.sinks().into_iter().filter_map(|sink| sink.progress).min().unwrap_or(u64::MAX);
        let follower = self.follower.as_ref().map_or(u64::MAX, |follower| follower.epoch);
        let needed = held.min(durable).min(sent).min(follower).min(backup);
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
        if name == "busy" {
            assert!(moment.may_be_busy(&found), "1: busy at epoch {epoch}: {found:?} of {moment:?}");
            return;
        }
        let expected = moment.view(name, variant(&published.catalog), self.topic);
        assert_eq!(found, expected, "1: {name} at epoch {epoch} is what its query says");
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
        let catching_up = self.life.as_ref().is_some_and(super::life::Life::is_catching_up);
        for SentSink { name, identity, progress, .. } in self.sinks() {
            let is_ahead = self.continued.get(&identity).is_some_and(|continued| Some(continued.sent) == progress);
            assert!(
                progress.is_none_or(|sent| sent <= epoch) || catching_up && is_ahead,
                "4: {name} has sent {progress:?}, {epoch} is left"
            );
        }
        let catalog = self.life.as_ref().expect("it has just started").coordinator.catalog.clone();
        for (what, known) in &self.facts {
            assert_eq!(fact(&catalog, what), *known, "2: of {what} it was acknowledged what it is");
        }
        // What was found stays, unless somebody changes it.
        let definitions = DEFINITIONS.iter().chain(&PASSING).map(|(name, _)| *name);
        for what in definitions.chain(CLIENTS) {
            self.facts.insert(what.to_owned(), fact(&catalog, what));
        }
        self.begin_again(epoch);
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
            let Some(answer) = &mut write.answer else {
                waiting.push(write);
                continue;
            };
            match answer.try_recv() {
                _ if write.refused => {}
                Err(TryRecvError::Empty) => waiting.push(write),
                Ok(Ok(epoch)) => {
                    assert_eq!(Some(epoch.0), write.taken, "5: a write is acknowledged for the epoch that took it");
                    assert!(published.epoch >= epoch, "5: a write that is acknowledged is shown");
                    self.acknowledged = self.acknowledged.max(epoch.0);
                    self.report.writes += 1;
                    if let Some(session) = write.session {
                        drop(session.send(Ok(epoch)));
                    }
                }
                // It was not taken, or nobody knows: the store has stopped.
                Ok(Err(error)) => {
                    if let Some(session) = write.session {
                        drop(session.send(Err(error)));
                    }
                }
                Err(TryRecvError::Closed) => {}
            }
        }
        self.writes = waiting;
        let mut waiting = Vec::new();
        for mut statement in std::mem::take(&mut self.statements) {
            match statement.answer.try_recv() {
                Err(TryRecvError::Empty) => waiting.push(statement),
                Ok(Ok(_)) => drop(self.facts.insert(statement.object, statement.makes.then_some(1))),
                Ok(Err(error)) => {
                    let fails = self.store.is_stopped() || self.store.injected().failed_reads > self.failed_reads;
                    assert!(fails || is_passing(error.kind), "{}: {error}", statement.object);
                    let life = self.life.as_ref().expect("it lives between deaths");
                    if life.coordinator.failure.is_none() {
                        let found = fact(&life.coordinator.catalog, &statement.object);
                        assert_eq!(found.is_none(), statement.makes, "2: {error}, and yet it was done");
                        self.facts.insert(statement.object, found);
                    }
                }
                Err(TryRecvError::Closed) => {}
            }
        }
        self.statements = waiting;
    }

    /// A client has its answer.
    pub(super) fn check_client(&mut self, client: &Client, answer: Result<()>) {
        let errand = &client.errand;
        let life = self.life.as_ref().expect("it lives between deaths");
        let taken = |write: &&super::ClientWrite| write.block.is_some() && write.taken.is_some();
        let taken = self.writes.iter().find(taken).and_then(|write| write.taken);
        let published = life.published();
        match &answer {
            Ok(()) => {
                self.report.errands += 1;
                for (what, known) in &errand.facts {
                    let found = fact(&published.catalog, what);
                    assert_eq!(found, *known, "5: {} was acknowledged: {what}", errand.sql);
                    self.facts.insert((*what).to_owned(), found);
                }
                if errand.block.is_some() {
                    let epoch = taken.unwrap_or_else(|| panic!("2: the rows of {} are nowhere", errand.sql));
                    assert!(published.epoch.0 >= epoch, "5: {} is shown", errand.sql);
                    self.acknowledged = self.acknowledged.max(epoch);
                }
            }
            Err(error) => {
                let stopped = self.store.is_stopped() || life.coordinator.failure.is_some();
                let fails = stopped || self.store.injected().failed_reads > client.failed_reads;
                let passes = is_passing(error.kind) || error.kind == ErrorKind::External;
                assert!(fails || passes, "{}: {error}", errand.sql);
                if !stopped {
                    for (what, before) in &client.before {
                        let found = fact(&life.coordinator.catalog, what);
                        assert_eq!(found, *before, "2: {} failed ({error}), and yet it was done: {what}", errand.sql);
                        self.facts.insert((*what).to_owned(), found);
                    }
                }
            }
        }
        if errand.block.is_some() {
            self.writes.retain(|write| write.block.is_none());
        }
        self.note(|| format!("answered: {}", answer.is_ok()));
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
            if self.life().is_catching_up() {
                return;
            }
            let (reply, mut answer) = tokio::sync::oneshot::channel();
            let command = crate::command::Command::Subscribe { relation, name: "by_k".to_owned(), reply };
            self.engine(|life| life.handle(command));
            let subscribed = answer.try_recv().expect("it is answered at once").expect("by_k is there");
            let crate::subscription::Subscription { start, later } = subscribed;
            if let Some(found) = contents(&start, "by_k").expect("it can be read") {
                self.follower = Some(Follower { later, contents: found, epoch: start.epoch.0 });
            }
            return;
        }
        let last = self.life().coordinator.epoch.0;
        let Some(follower) = &mut self.follower else { return };
        let end = loop {
            let changes = match follower.later.try_next() {
                Ok(changes) => changes,
                Err(end) => break end,
            };
            assert!(changes.epoch.0 > follower.epoch, "1: epochs come in order to those who follow");
            add(&mut follower.contents, &changes.delta);
            follower.epoch = changes.epoch.0;
        };
        let ended = match end {
            tokio::sync::mpsc::error::TryRecvError::Empty => None,
            tokio::sync::mpsc::error::TryRecvError::Disconnected => Some(follower.later.ended()),
        };
        // Who has been told of all changes has what there is now.
        let epoch = if ended.is_none() { last } else { follower.epoch };
        if let Some(moment) = self.history.get(&epoch) {
            let expected = moment.view("by_k", moment.variant, self.topic);
            assert_eq!(follower.contents, expected, "1: changes of by_k add up to epoch {epoch}");
        }
        if let Some(why) = &ended {
            let slow = why.as_ref().is_some_and(|error| error.kind == ErrorKind::LimitExceeded);
            let failed = self.life().coordinator.failure.is_some();
            assert!(slow || failed, "who falls behind is told so: {why:?}");
            self.report.happened.left_behind += u64::from(slow);
        }
        if ended.is_some() || self.random.one_in(8) {
            self.follower = None;
        }
    }

    /// The running sinks.
    fn sinks(&self) -> Vec<SentSink> {
        let Some(life) = &self.life else { return Vec::new() };
        let named = |id: &catalog::ObjectId| {
            let object = life.coordinator.catalog.get(*id)?;
            let identity = format!("simulated-{}", id.0);
            let progress = self.world.with_broker(&identity, |log, _| log.progress.map(|epoch| epoch.0));
            Some(SentSink { name: object.name.name.clone(), identity, progress })
        };
        life.coordinator.sinks.keys().filter_map(named).collect()
    }

    /// The rows that all that a sink has written adds up to.
    fn written(&self, sink: &SentSink) -> Bag {
        self.world.with_broker(&sink.identity, |log, _| log.contents.clone())
    }

    /// What sinks have written adds up to what their relations were.
    fn check_sinks(&self) {
        for sink in self.sinks() {
            let Some(progress) = sink.progress else { continue };
            match self.continued.get(&sink.identity).filter(|continued| continued.sent == progress) {
                Some(continued) => {
                    assert_eq!(self.written(&sink), continued.contents, "4: {} has what it had before", sink.name);
                }
                None => {
                    if let Some(moment) = self.history.get(&progress) {
                        self.check_sink(&sink, moment);
                    }
                }
            }
        }
    }

    /// What a sink has written is what its relation was at a moment.
    fn check_sink(&self, sink: &SentSink, moment: &Moment) {
        let relation = emitted(&sink.name).unwrap_or_else(|| panic!("{} is one of the model's", sink.name));
        let contents = moment.view(relation, moment.variant, self.topic);
        let expected = match self.continued.get(&sink.identity) {
            None => contents,
            Some(continued) => {
                let all = continued.and(contents);
                all.unwrap_or_else(|| panic!("4: {} has sent before it had caught up", sink.name))
            }
        };
        assert_eq!(
            self.written(sink),
            expected,
            "4: {} has all of {relation} up to {:?}, once",
            sink.name,
            sink.progress
        );
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
        let is_at_rest = all_there && quiet && sent && last == Some(ends) && !self.life().is_catching_up();
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
        let busy = contents(&published, "busy").expect("it can be read").expect("it is built");
        assert!(busy.is_empty(), "what is due comes when it is time, without input: {busy:?}");
        self.sinks().iter().for_each(|sink| self.check_sink(sink, &moment));
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

/// What a sink has written, up to which epoch.
struct SentSink {
    name: String,
    identity: String,
    progress: Option<u64>,
}

/// What clients with sessions change.
const CLIENTS: [&str; 6] =
    [super::model::CHANGING, super::model::CHANGED, super::life::VARIANT, "of_changing", "changing_out", BLOCK];

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
