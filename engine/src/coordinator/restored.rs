//! A server that continues a backup: its sinks have sent more than the backup knows.
//!
//! What a sink had sent last is in its progress record, and with it how far the sources had been read by then. So the sources are read up to just
//! there, in epochs of which that sink gets nothing, before anything else is taken in: a view that is made of sources is then what
//! the sink's readers have. What it sends next goes on from there. Rows of tables that SQL wrote after the backup are lost, and a sink of a view
//! over them keeps what they had led to.

use std::collections::BTreeMap;
use std::time::Duration;

use catalog::ObjectId;
use connectors::{Health, Positions};
use crossbeam_channel::Receiver;
use delta::Epoch;
use storage::{ChangeSet, Durability};

use super::{Coordinator, storage_error};
use crate::command::Command;
use crate::inputs::{Input, Inputs};
use crate::{Error, Result, recovery};

/// How long it waits for commands when there is nothing else to do.
const PAUSE: Duration = Duration::from_millis(5);

/// How far sources were read, by number.
pub(crate) type ReadUpTo = BTreeMap<ObjectId, Positions>;

impl Coordinator {
    /// Reads what the sinks of a restored server have sent already. Commands wait meanwhile, but for those that end the engine.
    pub(super) fn catch_up(&mut self, commands: &Receiver<Command>) -> Result<()> {
        if !recovery::is_restored(&self.snapshot)? || self.settings.offline {
            return Ok(());
        }
        // Nothing that was read ahead is taken: some of it may lie behind where a sink has to begin.
        let objects: Vec<ObjectId> = std::mem::take(&mut self.inputs).into_keys().collect();
        let mut held = Vec::new();
        let caught_up = self.catch_up_sinks(commands, &mut held);
        for command in held {
            self.handle(command);
        }
        if !caught_up? {
            return Ok(());
        }
        for id in objects {
            self.restart_input(id, None)?;
        }
        recovery::put_restored(false, &mut self.pending.changes)?;
        (self.pending.dirty, self.pending.durable) = (true, true);
        self.publish();
        Ok(())
    }

    /// Whether it came to its end: the engine may be told to stop before.
    fn catch_up_sinks(&mut self, commands: &Receiver<Command>, held: &mut Vec<Command>) -> Result<bool> {
        tracing::info!(epoch = self.epoch.0, sinks = self.sinks.len(), "this server continues a backup");
        while !self.sinks.values().all(|sink| sink.sent().is_some()) {
            if !self.wait_for_commands(commands, held) {
                return Ok(false);
            }
        }
        let mut ahead: Vec<(Epoch, ObjectId, ReadUpTo)> = Vec::new();
        for (id, sink) in &self.sinks {
            let Some((epoch, inputs)) = sink.sent() else { continue };
            ahead.push((epoch, *id, read_up_to(inputs.as_deref())?));
        }
        ahead.sort_by_key(|(epoch, sink, _)| (*epoch, *sink));
        // Numbers that a sink has seen aren't given to other epochs.
        let seen = ahead.last().map_or(Epoch(0), |(epoch, ..)| *epoch);
        self.epoch = self.epoch.max(seen);
        for (_, sink, inputs) in &ahead {
            let behind = self.is_behind(inputs)?;
            if let Some(sink) = self.sinks.get_mut(sink) {
                sink.outbox.hold(behind);
            }
        }
        for (_, sink, inputs) in ahead {
            if self.is_behind(&inputs)? && !self.read_the_past(&inputs, commands, held)? {
                return Ok(false);
            }
            if let Some(sink) = self.sinks.get_mut(&sink) {
                sink.outbox.hold(false);
            }
        }
        Ok(true)
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

    /// Reads sources up to these positions; others not at all.
    fn read_the_past(
        &mut self,
        until: &ReadUpTo,
        commands: &Receiver<Command>,
        held: &mut Vec<Command>,
    ) -> Result<bool> {
        for (id, until) in until {
            self.restart_input(*id, Some(until))?;
        }
        loop {
            while self.inputs.values().any(Input::has_input) {
                self.run_epoch()?;
                self.commit_now()?;
            }
            let failed = self.inputs.values().find_map(|input| match input.status().health {
                Health::Failed(why) if !input.is_finished() => Some(format!("{}: {why}", input.name)),
                _ => None,
            });
            if let Some(why) = failed {
                let message = format!("what came after the backup can't be read again: {why}");
                return Err(Error::new(crate::ErrorKind::External, message));
            }
            if self.inputs.values().all(Input::is_finished) {
                break;
            }
            if !self.wait_for_commands(commands, held) {
                return Ok(false);
            }
        }
        self.inputs = Inputs::new();
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
        let input = Input::start_until(&object, saved, until.as_ref(), &self.bell, &*self.outside)?;
        self.inputs.insert(id, input);
        Ok(())
    }

    /// Commits on this thread: nothing else goes on.
    fn commit_now(&mut self) -> Result<()> {
        let changes: ChangeSet = self.changes_to_commit()?;
        loop {
            match self.store.commit(changes.clone(), Durability::Process) {
                Err(storage::Error::Full { .. }) => std::thread::sleep(Duration::from_secs(1)),
                done => break done.map_err(storage_error)?,
            }
        }
        self.adopt_snapshot()
    }

    /// Lets others send commands, and keeps them for later; `false` when the engine is told to stop.
    fn wait_for_commands(&mut self, commands: &Receiver<Command>, held: &mut Vec<Command>) -> bool {
        while let Ok(command) = commands.recv_timeout(PAUSE) {
            let stops = matches!(command, Command::Shutdown { .. });
            held.push(command);
            if stops {
                return false;
            }
        }
        true
    }
}

fn read_up_to(inputs: Option<&str>) -> Result<ReadUpTo> {
    let Some(inputs) = inputs else { return Ok(ReadUpTo::new()) };
    serde_json::from_str(inputs)
        .map_err(|e| Error::new(crate::ErrorKind::External, format!("a sink's progress record can't be read: {e}")))
}
