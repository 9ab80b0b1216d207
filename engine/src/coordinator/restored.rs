//! A server that continues a backup: its sinks have sent more than the backup knows.
//!
//! What a sink had sent last is in its progress record, and with it how far the sources had been read by then. So the sources are read up to just
//! there, in epochs of which that sink gets nothing, before anything else is taken in: a view that is made of sources is then what
//! the sink's readers have. What it sends next goes on from there. Rows of tables that SQL wrote after the backup are lost, and a sink of a view
//! over them keeps what they had led to.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use catalog::ObjectId;
use connectors::{Health, Positions};
use crossbeam_channel::Receiver;
use delta::Epoch;
use storage::{ChangeSet, Durability};

use super::{Coordinator, storage_error};
use crate::command::Command;
use crate::inputs::{Input, Inputs};
use crate::planted::{Bug, is_planted};
use crate::{Error, ErrorKind, Result, recovery};

/// How long it waits for commands when there is nothing else to do.
const PAUSE: Duration = Duration::from_millis(5);

/// How long it waits before it tries again what the outside or a full disk has refused.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// How far sources were read, by number.
pub(crate) type ReadUpTo = BTreeMap<ObjectId, Positions>;

/// What a restored server still has to read, and for which sinks.
pub(super) struct CatchUp {
    /// The sources that go on when all is read.
    sources: Vec<ObjectId>,
    /// The sinks in the order in which they have sent, each with how far sources had been read by then; `None` until all have said so.
    ahead: Option<VecDeque<(ObjectId, ReadUpTo)>>,
    /// Whether sources are being read for the first of them.
    reading: bool,
    /// What the last epoch changed, until it is in the store.
    uncommitted: Option<ChangeSet>,
    /// Something was refused, and is tried again then.
    again_at: Option<Instant>,
}

#[cfg(test)]
impl CatchUp {
    /// Whether all sinks have said what they have.
    pub(super) fn knows_who_is_ahead(&self) -> bool {
        self.ahead.is_some()
    }

    /// Whether an epoch waits for room on the disk.
    pub(super) fn waits_for_room(&self) -> bool {
        self.uncommitted.is_some() && self.again_at.is_some()
    }
}

/// What a step of catching up came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caught {
    /// There is more to do.
    Went,
    /// Something else must happen first: a sink must answer, a source must send, a disk must have room.
    Waits,
    /// All is read that the sinks have sent.
    Up,
}

impl Coordinator {
    /// Reads what the sinks of a restored server have sent already. Commands wait meanwhile, but for those that end the engine.
    pub(super) fn catch_up(&mut self, commands: &Receiver<Command>) -> Result<()> {
        match self.begin_catch_up()? {
            Some(past) => self.catch_up_on(past, commands),
            None => Ok(()),
        }
    }

    /// What there is to catch up on, if this server continues a backup.
    pub(super) fn begin_catch_up(&mut self) -> Result<Option<CatchUp>> {
        if !recovery::is_restored(&self.snapshot)? || self.settings.offline {
            return Ok(None);
        }
        tracing::info!(epoch = self.epoch.0, sinks = self.sinks.len(), "this server continues a backup");
        // Nothing that was read ahead is taken: some of it may lie behind where a sink has to begin.
        let mut sources: Vec<ObjectId> = std::mem::take(&mut self.inputs).into_keys().collect();
        sources.sort_unstable();
        Ok(Some(CatchUp { sources, ahead: None, reading: false, uncommitted: None, again_at: None }))
    }

    /// Step by step, hearing between them whether the engine is to stop.
    pub(super) fn catch_up_on(&mut self, mut past: CatchUp, commands: &Receiver<Command>) -> Result<()> {
        let mut held = Vec::new();
        let done = loop {
            let pause = match self.catch_up_step(&mut past) {
                Ok(Caught::Up) => break Ok(()),
                Ok(Caught::Went) => Duration::ZERO,
                Ok(Caught::Waits) => PAUSE,
                Err(error) => break Err(error),
            };
            if !wait_for_commands(commands, pause, &mut held) {
                // An epoch that isn't in the store can't be gone on from.
                break if past.uncommitted.is_some() { Err(no_room()) } else { Ok(()) };
            }
        };
        if let Err(error) = &done {
            self.fail(error.clone());
        }
        for command in held {
            self.handle(command);
        }
        done
    }

    /// Does one thing, at most one epoch.
    pub(super) fn catch_up_step(&mut self, past: &mut CatchUp) -> Result<Caught> {
        if past.again_at.is_some_and(|at| self.outside.now() < at) {
            return Ok(Caught::Waits);
        }
        past.again_at = None;
        if let Some(changes) = past.uncommitted.take() {
            return self.commit_now(changes, past);
        }
        let Some(ahead) = &mut past.ahead else {
            past.ahead = self.who_is_ahead()?;
            return Ok(if past.ahead.is_some() { Caught::Went } else { Caught::Waits });
        };
        let Some((sink, inputs)) = ahead.front().cloned() else { return self.end_catch_up(past) };
        if !past.reading {
            past.reading = self.is_behind(&inputs)?;
        }
        if past.reading {
            let sources: Vec<ObjectId> = inputs.keys().copied().collect();
            if !self.restart_inputs(&sources, Some(&inputs), past)? {
                return Ok(Caught::Waits);
            }
            if self.inputs.values().any(Input::has_input) {
                self.run_epoch()?;
                past.uncommitted = Some(self.changes_to_commit()?);
                return Ok(Caught::Went);
            }
            if !self.has_read_the_past()? {
                return Ok(Caught::Waits);
            }
            self.inputs = Inputs::new();
            past.reading = false;
        }
        if let Some(sink) = self.sinks.get_mut(&sink) {
            sink.outbox.hold(false);
        }
        if let Some(ahead) = &mut past.ahead {
            ahead.pop_front();
        }
        Ok(Caught::Went)
    }

    /// The sinks in the order in which they have sent; `None` while one hasn't said.
    fn who_is_ahead(&mut self) -> Result<Option<VecDeque<(ObjectId, ReadUpTo)>>> {
        let mut ahead: Vec<(Epoch, ObjectId, ReadUpTo)> = Vec::new();
        for (id, sink) in &self.sinks {
            let Some((epoch, inputs)) = sink.sent() else { return Ok(None) };
            ahead.push((epoch, *id, read_up_to(inputs.as_deref())?));
        }
        ahead.sort_by_key(|(epoch, sink, _)| (*epoch, *sink));
        // Numbers that a sink has seen aren't given to other epochs.
        let seen = ahead.last().map_or(Epoch(0), |(epoch, ..)| *epoch);
        if !is_planted(Bug::EpochsNumberedAgain) {
            self.epoch = self.epoch.max(seen);
        }
        for (_, sink, inputs) in &ahead {
            let behind = self.is_behind(inputs)? && !is_planted(Bug::RestoredSendsAgain);
            if let Some(sink) = self.sinks.get_mut(sink) {
                sink.outbox.hold(behind);
            }
        }
        Ok(Some(ahead.into_iter().map(|(_, sink, inputs)| (sink, inputs)).collect()))
    }

    /// Whether something before these positions has not been read.
    fn is_behind(&self, until: &ReadUpTo) -> Result<bool> {
        for (id, until) in until {
            if self.catalog.get(*id).is_some() && !self.ahead_of(*id, until)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Of these positions those that a source has not been read up to.
    fn ahead_of(&self, id: ObjectId, until: &Positions) -> Result<Positions> {
        let saved = recovery::input(id, &self.snapshot)?;
        let at = |partition| saved.as_ref().and_then(|saved| saved.positions.get(partition)).copied();
        let ahead = until.iter().filter(|(p, end)| at(p).is_none_or(|at| at < **end));
        Ok(ahead.map(|(p, end)| (*p, *end)).collect())
    }

    /// Whether all sources that are being read have come to where they were to end.
    fn has_read_the_past(&self) -> Result<bool> {
        let failed = self.inputs.values().find_map(|input| match input.status().health {
            Health::Failed(why) if !input.is_finished() => Some(format!("{}: {why}", input.name)),
            _ => None,
        });
        match failed {
            Some(why) => {
                let message = format!("what came after the backup can't be read again: {why}");
                Err(Error::new(ErrorKind::External, message))
            }
            None => Ok(self.inputs.values().all(Input::is_finished)),
        }
    }

    /// Reads those of the sources on that aren't read; whether all of them are: who doesn't answer is asked again later.
    fn restart_inputs(&mut self, ids: &[ObjectId], until: Option<&ReadUpTo>, past: &mut CatchUp) -> Result<bool> {
        for id in ids.iter().filter(|id| !self.inputs.contains_key(id)).copied().collect::<Vec<_>>() {
            let until = until.and_then(|until| until.get(&id));
            match self.restart_input(id, until) {
                Ok(()) => {}
                Err(error) if error.kind == ErrorKind::External => {
                    tracing::warn!(%error, "a source that a backup is continued from doesn't answer yet");
                    past.again_at = Some(self.outside.now() + TRY_AGAIN);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads a source on from where it was read: to its end, or for ever.
    fn restart_input(&mut self, id: ObjectId, until: Option<&Positions>) -> Result<()> {
        let Some(object) = self.catalog.get(id).cloned() else { return Ok(()) };
        let until = until.map(|until| self.ahead_of(id, until)).transpose()?;
        if until.as_ref().is_some_and(Positions::is_empty) {
            return Ok(());
        }
        let saved = recovery::input(id, &self.snapshot)?;
        let queued_bytes = self.outside.queued_bytes(self.settings.input_bounds().queued_bytes);
        let input = Input::start_until(&object, saved, until.as_ref(), queued_bytes, &self.bell, &*self.outside)?;
        self.inputs.insert(id, input);
        Ok(())
    }

    /// All sources go on.
    fn end_catch_up(&mut self, past: &mut CatchUp) -> Result<Caught> {
        let sources = past.sources.clone();
        if !self.restart_inputs(&sources, None, past)? {
            return Ok(Caught::Waits);
        }
        recovery::put_restored(false, &mut self.pending.changes)?;
        (self.pending.dirty, self.pending.durable) = (true, true);
        self.publish();
        Ok(Caught::Up)
    }

    /// Tries once to commit on this thread: nothing else goes on meanwhile.
    fn commit_now(&mut self, changes: ChangeSet, past: &mut CatchUp) -> Result<Caught> {
        match self.store.commit(changes.clone(), Durability::Process) {
            Err(storage::Error::Full { .. }) => {
                self.runtime.lock().commit_trouble =
                    Some("the disk is full: input waits until there is room".to_owned());
                past.uncommitted = Some(changes);
                past.again_at = Some(self.outside.now() + TRY_AGAIN);
                Ok(Caught::Waits)
            }
            done => {
                done.map_err(storage_error)?;
                self.runtime.lock().commit_trouble = None;
                self.adopt_snapshot()?;
                Ok(Caught::Went)
            }
        }
    }
}

/// Lets others send commands, and keeps them for later; `false` when the engine is told to stop.
fn wait_for_commands(commands: &Receiver<Command>, pause: Duration, held: &mut Vec<Command>) -> bool {
    while let Ok(command) = commands.recv_timeout(pause) {
        let stops = matches!(command, Command::Shutdown { .. });
        held.push(command);
        if stops {
            return false;
        }
    }
    true
}

fn no_room() -> Error {
    Error::new(ErrorKind::DiskFull, "what came after the backup could not be written: the disk is full")
        .with_hint("make room; the server goes on from the backup when it is started again")
}

fn read_up_to(inputs: Option<&str>) -> Result<ReadUpTo> {
    let Some(inputs) = inputs else { return Ok(ReadUpTo::new()) };
    serde_json::from_str(inputs)
        .map_err(|e| Error::new(ErrorKind::External, format!("a sink's progress record can't be read: {e}")))
}
