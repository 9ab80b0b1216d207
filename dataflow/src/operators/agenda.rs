//! What is to be done when: the keys of a state table in the order of the time that they begin with.
//!
//! In memory they are found by an ordered map beside the table; in the store, those of a virtual node lie in that order.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use delta::Part;
use storage::{ChangeSet, Snapshot, StateId};

use super::closing::{first_column, load, stored_keys};
use super::shards::Held;
use crate::Result;
use crate::state::keyed::{Touched, Weights};
use crate::state::{KeyEncoder, Keyed};

/// The rows of a shard that wait for their time: how often each is there, by the time that it begins with.
#[derive(Debug)]
pub(super) struct Waiting {
    rows: Keyed<Weights>,
    agenda: Agenda,
}

impl Waiting {
    pub(super) fn new(state: StateId, shard: usize) -> Self {
        Self { rows: Keyed::new(state, shard, Weights::default()), agenda: Agenda::new() }
    }

    /// Rows come, or go again.
    pub(super) fn add(&mut self, encoder: &KeyEncoder, parts: &[Part], store: &dyn Snapshot) -> Result<()> {
        self.rows.begin_step();
        let touched = self.rows.add_weights(encoder, parts, store)?;
        self.agenda.note(&self.rows, &touched);
        Ok(())
    }

    /// Takes out the rows of times up to `now`, with their weights. `order` says where the columns of what was added are in `schema`.
    pub(super) fn take_due(
        &mut self,
        encoder: &KeyEncoder,
        schema: &SchemaRef,
        order: &[usize],
        now: i64,
        store: &dyn Snapshot,
    ) -> Result<Option<(RecordBatch, Vec<i64>)>> {
        self.rows.begin_step();
        let due = self.agenda.due(&mut self.rows, now, store, |rows, keys| load(rows, encoder, keys, store))?;
        if due.is_empty() {
            return Ok(None);
        }
        let keys: Vec<&[u8]> = due.iter().map(|slot| self.rows.keys.key(*slot)).collect();
        let batch = encoder.decode_batch(&keys, schema, order)?;
        Ok(Some((batch, self.rows.take_weights(&due))))
    }

    /// When the next row is due, or one that is no more.
    pub(super) fn next(&self) -> i64 {
        self.agenda.next()
    }
}

impl Held for Waiting {
    fn changed(&self) -> usize {
        self.rows.changed()
    }

    fn write(&mut self, _state: usize, changes: &mut ChangeSet) {
        self.rows.checkpoint(changes);
    }

    fn committed(&mut self, budget_bytes: usize) {
        let evicted = self.rows.committed(budget_bytes);
        self.agenda.tidy(&self.rows, evicted);
    }

    fn bytes(&self) -> usize {
        self.rows.bytes() + self.agenda.bytes()
    }

    fn rows(&self) -> usize {
        self.rows.keys.len()
    }
}

/// When the keys of a shard are due: a time is their first column.
#[derive(Debug)]
pub(super) struct Agenda {
    /// Those in memory. A slot that is free by now, or has another row, may still stand here.
    in_memory: BTreeMap<i64, Vec<u32>>,
    /// How many stand there.
    entries: usize,
    /// No row that is only in the store comes or goes before.
    stored: i64,
}

impl Agenda {
    pub(super) fn new() -> Self {
        Self { in_memory: BTreeMap::new(), entries: 0, stored: i64::MIN }
    }

    pub(super) fn note(&mut self, rows: &Keyed<Weights>, touched: &[Touched]) {
        touched.iter().for_each(|touched| self.enter(rows, touched.slot));
    }

    fn enter(&mut self, rows: &Keyed<Weights>, slot: u32) {
        if let Some(when) = first_column(rows.keys.key(slot)) {
            self.in_memory.entry(when).or_default().push(slot);
            self.entries += 1;
        }
    }

    /// Rows have left memory, to come back from the store if `evicted`. What still stands here of rows that were taken away before their time is
    /// cleared out once it is more than there are rows.
    pub(super) fn tidy(&mut self, rows: &Keyed<Weights>, evicted: bool) {
        const FEW: usize = 64;
        if evicted {
            self.stored = self.stored.min(self.in_memory.first_key_value().map_or(i64::MAX, |(when, _)| *when));
        } else if self.entries <= 2 * rows.keys.len() + FEW {
            return;
        }
        self.in_memory.clear();
        self.entries = 0;
        rows.keys.occupied().for_each(|slot| self.enter(rows, slot));
    }

    pub(super) fn bytes(&self) -> usize {
        const ENTRY_BYTES: usize = 48;
        self.entries * ENTRY_BYTES
    }

    /// The slots of all rows whose time has come, by time; those in the store are brought into memory by
    /// `load`, which is given their keys.
    pub(super) fn due(
        &mut self,
        rows: &mut Keyed<Weights>,
        now: i64,
        store: &dyn Snapshot,
        load: impl FnOnce(&mut Keyed<Weights>, &[Vec<u8>]) -> Result<Vec<Touched>>,
    ) -> Result<Vec<u32>> {
        if rows.is_complete(store)? {
            self.stored = i64::MAX;
        } else if self.stored <= now {
            let (keys, next) = stored_keys(rows.state(), rows.shard(), now, store)?;
            let touched = load(rows, &keys)?;
            self.note(rows, &touched);
            self.stored = next;
        }
        let later = match now.checked_add(1) {
            Some(next) => self.in_memory.split_off(&next),
            None => BTreeMap::new(),
        };
        let mut due = Vec::new();
        for (when, mut slots) in std::mem::replace(&mut self.in_memory, later) {
            self.entries -= slots.len();
            slots.retain(|slot| {
                let is_it = rows.keys.is_occupied(*slot) && first_column(rows.keys.key(*slot)) == Some(when);
                is_it && rows.values.0[*slot as usize] != 0
            });
            // The order of slots says what was in memory first; that of rows doesn't.
            slots.sort_unstable_by(|a, b| rows.keys.key(*a).cmp(rows.keys.key(*b)));
            slots.dedup();
            due.extend(slots);
        }
        Ok(due)
    }

    /// When the next row comes or goes, or one that is no more.
    pub(super) fn next(&self) -> i64 {
        self.in_memory.first_key_value().map_or(self.stored, |(when, _)| self.stored.min(*when))
    }
}
