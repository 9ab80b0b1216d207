//! What changed since the last committed checkpoint: an immutable layer over the store, published once per epoch.
//!
//! Each epoch adds a run; runs of similar size are merged, so there are few, and a change is copied a few times at most. A checkpoint
//! writes all of them, which stay readable while it is being committed and are dropped whole afterwards.

use std::sync::Arc;

use super::run::{Rule, Run, key_hash, number};

/// The layers of one shard of a view, or of one index. A clone is a few reference counts.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    rule: Rule,
    /// Oldest first.
    runs: Vec<Arc<Run>>,
    /// In a checkpoint that isn't known to be committed; oldest first.
    flushing: Vec<Arc<Run>>,
}

impl Overlay {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, runs: vec![], flushing: vec![] }
    }

    /// What a newer change of a key does to an older one.
    pub(crate) fn rule(&self) -> Rule {
        self.rule
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
        self.runs.iter().rev().chain(self.flushing.iter().rev())
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
        self.runs.is_empty() && self.flushing.is_empty()
    }

    /// Visits each key that has changed since the last call, once, with what all its changes have made of it. They stay readable until
    /// [`Overlay::committed`].
    pub(crate) fn flush<E>(&mut self, mut visit: impl FnMut(&[u8], Option<&[u8]>) -> Result<(), E>) -> Result<(), E> {
        debug_assert!(self.flushing.is_empty(), "one checkpoint at a time");
        self.flushing = std::mem::take(&mut self.runs);
        for (position, run) in self.flushing.iter().enumerate() {
            let (older, newer) = (&self.flushing[..position], &self.flushing[position + 1..]);
            for (hash, key, value) in run.iter() {
                if newer.iter().any(|run| run.get(hash, key).is_some()) {
                    continue;
                }
                match (self.rule, value) {
                    (Rule::Add, Some(value)) => {
                        let before = older.iter().filter_map(|run| run.get(hash, key)).flatten().map(number);
                        visit(key, Some(&(before.sum::<i64>() + number(value)).to_le_bytes()))?;
                    }
                    _ => visit(key, value)?,
                }
            }
        }
        Ok(())
    }

    /// What was flushed is in the store now. Returns whether anything was.
    pub(crate) fn committed(&mut self) -> bool {
        !std::mem::take(&mut self.flushing).is_empty()
    }

    /// Changes that the next checkpoint writes; those of one key may count more than once.
    pub(crate) fn unflushed(&self) -> usize {
        self.runs.iter().map(|run| run.len()).sum()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn flushed(overlay: &mut Overlay) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
        let mut found = BTreeMap::new();
        let visited: Result<(), ()> = overlay.flush(|key, value| {
            let before = found.insert(key.to_vec(), value.map(<[u8]>::to_vec));
            assert_eq!(before, None, "a key is visited once");
            Ok(())
        });
        assert_eq!(visited, Ok(()));
        found
    }

    /// Epochs that get smaller, so that each leaves a run of its own.
    fn epochs() -> impl Iterator<Item = std::ops::Range<u8>> {
        [0..64, 8..24, 16..20, 19..20].into_iter()
    }

    #[test]
    fn a_checkpoint_writes_the_last_value_of_each_key() {
        let mut overlay = Overlay::new(Rule::Replace);
        let mut expected = BTreeMap::new();
        for (epoch, keys) in epochs().enumerate() {
            let mut run = Run::default();
            for key in keys {
                let value = (key % 3 != 0).then(|| vec![epoch as u8]);
                run.set(&[key], value.as_deref());
                expected.insert(vec![key], value);
            }
            overlay.push(run);
        }
        assert!(overlay.layers().count() > 2);
        assert_eq!(flushed(&mut overlay), expected);
        for (key, value) in &expected {
            assert_eq!(overlay.get(key), Some(value.as_deref()), "readers go on seeing it");
        }
        assert!(overlay.committed());
        assert!(overlay.is_empty());
    }

    #[test]
    fn a_checkpoint_adds_up_the_changes_of_each_key() {
        let mut overlay = Overlay::new(Rule::Add);
        let mut expected: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for (epoch, keys) in epochs().enumerate() {
            let mut run = Run::default();
            for key in keys {
                let change = epoch as i64 * 10 - 5;
                run.add(&[key], change);
                *expected.entry(vec![key]).or_default() += change;
            }
            overlay.push(run);
        }
        let found = flushed(&mut overlay).into_iter().map(|(key, value)| (key, value.as_deref().map_or(0, number)));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
    }
}
