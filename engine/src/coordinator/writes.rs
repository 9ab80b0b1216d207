//! INSERT, UPDATE and DELETE: changes that sessions computed from a published epoch, applied if that is still how things are.
//!
//! Optimistic: a write says from which epoch it was computed. If a table that it changes has been changed since, it is refused with
//! `SerializationFailure`, and a statement outside a transaction block is computed again. A write that only adds rows to a table without
//! a key conflicts with nothing.

use std::collections::{HashMap, HashSet};

use catalog::ObjectId;
use delta::Delta;

use super::Coordinator;
use crate::command::Write;
use crate::planted::{Bug, is_planted};
use crate::{Error, ErrorKind, Result};

impl Coordinator {
    /// Takes the waiting writes into the epoch; each is answered when the epoch is durable.
    pub(super) fn pull_writes(&mut self, deltas: &mut HashMap<ObjectId, Vec<Delta>>) -> Result<()> {
        let mut changed: HashSet<ObjectId> = HashSet::new();
        let epoch = self.epoch.next();
        for (write, reply) in std::mem::take(&mut self.writes) {
            match self.check(&write, &changed) {
                Err(error) => {
                    if reply.send(Err(error)).is_err() {
                        tracing::debug!("a writer has gone before it was refused");
                    }
                }
                Ok(()) => {
                    let write = if is_planted(Bug::TransactionTorn) { self.torn(write) } else { write };
                    for (table, delta) in write.deltas {
                        changed.insert(table);
                        self.table_changed.insert(table, epoch);
                        deltas.entry(table).or_default().push(delta);
                    }
                    self.waiting.push(Box::new(move |result| {
                        if reply.send(result.map(|()| epoch)).is_err() {
                            tracing::debug!("a writer has gone before it was told");
                        }
                    }));
                }
            }
        }
        Ok(())
    }

    /// The first table's part of a write; the rest is left for the next epoch.
    fn torn(&mut self, write: Write) -> Write {
        let Write { mut deltas, read_at, planned_against } = write;
        let rest = deltas.split_off(deltas.len().min(1));
        if !rest.is_empty() {
            let (nobody, _) = tokio::sync::oneshot::channel();
            self.writes.push_back((Write { deltas: rest, read_at, planned_against }, nobody));
        }
        Write { deltas, read_at, planned_against }
    }

    pub(super) fn check(&self, write: &Write, changed: &HashSet<ObjectId>) -> Result<()> {
        for (table, delta) in &write.deltas {
            let Some(object) = self.catalog.get(*table) else {
                return Err(conflict("a table of this statement was dropped meanwhile"));
            };
            if write.planned_against != self.catalog_version && object.schema().fields() != delta.schema().fields() {
                return Err(conflict(&format!("table \"{}\" was changed meanwhile", object.name)));
            }
            let blind = object.key().is_none() && delta.weights().is_none();
            let since = self.table_changed.get(table).is_some_and(|epoch| *epoch > write.read_at);
            let overlooked = is_planted(Bug::ConflictOverlooked);
            if !blind && !overlooked && (since || changed.contains(table)) {
                return Err(conflict(crate::session::CONFLICT));
            }
        }
        Ok(())
    }
}

fn conflict(message: &str) -> Error {
    Error::new(ErrorKind::SerializationFailure, message).with_hint("run the transaction again")
}
