//! What changed since the last committed checkpoint: an immutable layer over the store, published once per epoch.
//!
//! Each epoch adds a run; runs of similar size are merged, so there are few, and a change is copied a few times at most. A checkpoint
//! merges all of them into one, which stays readable while it is being committed and is dropped whole afterwards.

use std::sync::Arc;

use super::run::{Rule, Run, key_hash, number};

/// The layers of one shard of a view, or of one index. A clone is a few reference counts.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    rule: Rule,
    /// Oldest first.
    runs: Vec<Arc<Run>>,
    /// In a checkpoint that isn't known to be committed.
    flushing: Option<Arc<Run>>,
}

impl Overlay {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, runs: vec![], flushing: None }
    }

    /// Puts an epoch's changes on top.
    pub(crate) fn push(&mut self, run: Run) {
        if run.is_empty() {
            return;
        }
        let mut run = Arc::new(run);
        while let Some(last) = self.runs.last()
            && last.len() < 2 * run.len()
        {
            run = Arc::new(last.merged(&run, self.rule));
            self.runs.pop();
        }
        self.runs.push(run);
    }

    /// Layers, newest first.
    pub(crate) fn layers(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.runs.iter().rev().chain(&self.flushing)
    }

    /// What the overlay says of a key: nothing, that it is gone, or its value. Under [`Rule::Add`] the value is a change.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        if self.is_empty() {
            return None;
        }
        let hash = key_hash(key);
        self.layers().find_map(|run| run.get(hash, key))
    }

    /// How the number of a key has changed (see [`Rule::Add`]).
    pub(crate) fn change(&self, key: &[u8]) -> i64 {
        if self.is_empty() {
            return 0;
        }
        let hash = key_hash(key);
        self.layers().filter_map(|run| run.get(hash, key)).flatten().map(number).sum()
    }

    /// Whether a layer above `layer` (counted from the newest) speaks of a key.
    fn is_hidden(&self, layer: usize, hash: u64, key: &[u8]) -> bool {
        self.layers().take(layer).any(|run| run.get(hash, key).is_some())
    }

    /// The entries of one layer that no newer layer hides, from a position on. Returns the position to go on from, or `None` when
    /// there is no such layer.
    pub(crate) fn visit_layer(
        &self,
        layer: usize,
        from: usize,
        mut visit: impl FnMut(&[u8], Option<&[u8]>) -> bool,
    ) -> Option<usize> {
        let run = self.layers().nth(layer)?;
        for position in from..run.len() {
            let (hash, key, value) = run.at(position);
            if !self.is_hidden(layer, hash, key) && !visit(key, value) {
                return Some(position + 1);
            }
        }
        Some(usize::MAX)
    }

    /// Entries whose key begins with `prefix`, those of older layers hidden by newer ones.
    pub(crate) fn visit_prefix(&self, prefix: &[u8], mut visit: impl FnMut(&[u8], Option<&[u8]>)) {
        for (layer, run) in self.layers().enumerate() {
            for (hash, key, value) in run.with_prefix(prefix) {
                if !self.is_hidden(layer, hash, key) {
                    visit(key, value);
                }
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.flushing.is_none()
    }

    /// All changes since the last call, as one run that stays readable until [`Overlay::committed`].
    pub(crate) fn flush(&mut self) -> Option<Arc<Run>> {
        let mut runs = std::mem::take(&mut self.runs).into_iter();
        let first = runs.next()?;
        let run = match runs.len() {
            0 => first,
            _ => {
                let mut all = Run::with_capacity(first.len());
                all.absorb(&first, self.rule);
                runs.for_each(|run| all.absorb(&run, self.rule));
                Arc::new(all)
            }
        };
        debug_assert!(self.flushing.is_none(), "one checkpoint at a time");
        self.flushing = Some(run.clone());
        Some(run)
    }

    /// What was flushed is in the store now. Returns whether anything was.
    pub(crate) fn committed(&mut self) -> bool {
        self.flushing.take().is_some()
    }

    /// Memory held by changes that the next checkpoint writes.
    pub(crate) fn unflushed_bytes(&self) -> usize {
        self.runs.iter().map(|run| run.byte_size()).sum()
    }

    /// Memory held.
    pub(crate) fn byte_size(&self) -> usize {
        self.layers().map(|run| run.byte_size()).sum()
    }
}
