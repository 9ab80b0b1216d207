//! Records that could not be decoded, and late rows where the source keeps them: in the store from the epoch's own commit.
//!
//! Key: `[state][vnode 0][source: u32 BE][partition: i32][offset: i64][number: u64 BE]`, partition and offset with the sign bit turned, so
//! that they are in order; value: JSON, bytes in base16. A record has the number 0: read again, it is still one dead letter. Late rows
//! have left their records behind; they have partition and offset -1 and running numbers.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use catalog::ObjectId;
use connectors::DeadLetter;
use serde::{Deserialize, Serialize};
use storage::{ChangeSet, Snapshot, StateId, Visit, vnode_prefix};

use crate::coordinator::storage_error;
use crate::{Error, ErrorKind, Result};

/// The state table of all dead letters; far above the numbers that the catalog gives.
pub(crate) const STATE: StateId = StateId(0xFFFF_0001);

/// What late rows have in the place of a partition and an offset.
pub(crate) const LATE: i32 = -1;

/// Writes dead letters.
#[derive(Default)]
pub(crate) struct DeadLetters {
    /// The number of the next late row.
    next: HashMap<ObjectId, u64>,
}

/// Where a dead letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    source: ObjectId,
    partition: i32,
    offset: i64,
    number: u64,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    partition: i32,
    offset: i64,
    key: Option<String>,
    payload: Option<String>,
    reason: String,
    timestamp_ms: Option<i64>,
}

impl DeadLetters {
    /// Goes on behind what the store has.
    pub(crate) fn open(snapshot: &Arc<dyn Snapshot>) -> Result<Self> {
        let mut next = HashMap::new();
        scan(snapshot, None, &mut |place, _| {
            if place.partition == LATE {
                next.insert(place.source, place.number + 1);
            }
            Ok(())
        })?;
        Ok(Self { next })
    }

    /// Adds letters to a checkpoint.
    pub(crate) fn write(&mut self, letters: Vec<(ObjectId, DeadLetter)>, changes: &mut ChangeSet) -> Result<()> {
        for (source, letter) in letters {
            let mut place = Place { source, partition: letter.partition, offset: letter.offset, number: 0 };
            if letter.partition == LATE {
                let next = self.next.entry(source).or_default();
                place.number = *next;
                *next += 1;
            }
            let stored = Stored {
                partition: letter.partition,
                offset: letter.offset,
                key: letter.key.map(|bytes| to_hex(&bytes)),
                payload: letter.payload.map(|bytes| to_hex(&bytes)),
                reason: letter.reason,
                timestamp_ms: letter.timestamp_ms,
            };
            let value = serde_json::to_vec(&stored)
                .map_err(|e| Error::internal(format!("a dead letter can't be written: {e}")))?;
            changes.put(&place.key(), &value);
        }
        Ok(())
    }

    /// Removes those of a source that is dropped.
    pub(crate) fn forget(
        &mut self,
        source: ObjectId,
        snapshot: &Arc<dyn Snapshot>,
        changes: &mut ChangeSet,
    ) -> Result<()> {
        self.next.remove(&source);
        scan(snapshot, Some(source), &mut |place, _| {
            changes.delete(&place.key());
            Ok(())
        })
    }

    /// Removes late rows of a source that begins again: they will be late again, or not.
    pub(crate) fn forget_late(
        &mut self,
        source: ObjectId,
        snapshot: &Arc<dyn Snapshot>,
        changes: &mut ChangeSet,
    ) -> Result<()> {
        self.next.remove(&source);
        scan(snapshot, Some(source), &mut |place, _| {
            if place.partition == LATE {
                changes.delete(&place.key());
            }
            Ok(())
        })
    }
}

/// The committed dead letters of all sources, at most `limit`.
pub(crate) fn read(snapshot: &Arc<dyn Snapshot>, limit: usize) -> Result<Vec<(ObjectId, DeadLetter)>> {
    let mut letters = Vec::new();
    scan(snapshot, None, &mut |place, value| {
        if letters.len() < limit {
            letters.push((place.source, parse(value)?));
        }
        Ok(())
    })?;
    Ok(letters)
}

fn parse(value: &[u8]) -> Result<DeadLetter> {
    let damaged = |what: String| Error::new(ErrorKind::Storage, format!("a dead letter can't be read: {what}"));
    let stored: Stored = serde_json::from_slice(value).map_err(|e| damaged(e.to_string()))?;
    let bytes = |text: Option<String>| -> Result<Option<Bytes>> {
        text.map(|text| from_hex(&text).ok_or_else(|| damaged("its bytes are no base16".to_owned()))).transpose()
    };
    Ok(DeadLetter {
        partition: stored.partition,
        offset: stored.offset,
        key: bytes(stored.key)?,
        payload: bytes(stored.payload)?,
        reason: stored.reason,
        timestamp_ms: stored.timestamp_ms,
    })
}

impl Place {
    fn key(&self) -> Vec<u8> {
        let mut key = of_source(self.source);
        key.extend_from_slice(&(self.partition ^ i32::MIN).to_be_bytes());
        key.extend_from_slice(&(self.offset ^ i64::MIN).to_be_bytes());
        key.extend_from_slice(&self.number.to_be_bytes());
        key
    }

    fn parse(key: &[u8]) -> Option<Self> {
        Some(Self {
            source: ObjectId(u32::from_be_bytes(key.get(5..9)?.try_into().ok()?)),
            partition: i32::from_be_bytes(key.get(9..13)?.try_into().ok()?) ^ i32::MIN,
            offset: i64::from_be_bytes(key.get(13..21)?.try_into().ok()?) ^ i64::MIN,
            number: u64::from_be_bytes(key.get(21..29)?.try_into().ok()?),
        })
    }
}

/// What all keys of a source begin with.
fn of_source(source: ObjectId) -> Vec<u8> {
    let mut key = vnode_prefix(STATE, 0).to_vec();
    key.extend_from_slice(&source.0.to_be_bytes());
    key
}

fn scan(
    snapshot: &Arc<dyn Snapshot>,
    only: Option<ObjectId>,
    visit: &mut dyn FnMut(Place, &[u8]) -> Result<()>,
) -> Result<()> {
    let start = of_source(only.unwrap_or(ObjectId(0)));
    let end = only.map_or_else(|| vnode_prefix(STATE, 1).to_vec(), |source| of_source(ObjectId(source.0 + 1)));
    let mut result = Ok(());
    snapshot
        .scan(&start, &end, &mut |key, value| {
            let Some(place) = Place::parse(key) else { return Visit::Continue };
            result = visit(place, value);
            if result.is_ok() { Visit::Continue } else { Visit::Stop }
        })
        .map_err(storage_error)?;
    result
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[(b >> 4) as usize] as char, DIGITS[(b & 15) as usize] as char]).collect()
}

fn from_hex(text: &str) -> Option<Bytes> {
    let digit = |b: u8| (b as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| Some((digit(*pair.first()?)? << 4) | digit(*pair.get(1)?)?))
        .collect::<Option<Vec<u8>>>()
        .map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;
    use storage::{Durability, MemoryStore, Store};

    use super::*;

    fn letter(partition: i32, offset: i64, reason: &str) -> DeadLetter {
        let payload = Some(Bytes::from_static(b"{"));
        DeadLetter { partition, offset, key: None, payload, reason: reason.to_owned(), timestamp_ms: None }
    }

    fn committed(
        store: &MemoryStore,
        change: impl FnOnce(&Arc<dyn Snapshot>, &mut ChangeSet),
    ) -> Vec<(ObjectId, DeadLetter)> {
        let mut changes = ChangeSet::new();
        change(&store.snapshot().expect("memory"), &mut changes);
        store.commit(changes, Durability::Process).expect("memory");
        read(&store.snapshot().expect("memory"), 100).expect("what was written can be read")
    }

    #[test]
    fn a_record_that_is_read_again_is_one_dead_letter() {
        let store = MemoryStore::default();
        let source = ObjectId(3);
        let letters =
            || vec![(source, letter(1, 7, "x")), (source, letter(0, 300, "y")), (source, letter(LATE, -1, "late"))];
        let write = |snapshot: &Arc<dyn Snapshot>, changes: &mut ChangeSet| {
            DeadLetters::open(snapshot).and_then(|mut dead| dead.write(letters(), changes)).expect("memory");
        };
        let places =
            |read: &[(ObjectId, DeadLetter)]| read.iter().map(|(_, l)| (l.partition, l.offset)).collect::<Vec<_>>();
        assert_eq!(places(&committed(&store, write)), [(LATE, -1), (0, 300), (1, 7)]);
        assert_eq!(
            places(&committed(&store, write)),
            [(LATE, -1), (LATE, -1), (0, 300), (1, 7)],
            "late rows are no records"
        );
        let forget_late = |snapshot: &Arc<dyn Snapshot>, changes: &mut ChangeSet| {
            DeadLetters::open(snapshot)
                .and_then(|mut dead| dead.forget_late(source, snapshot, changes))
                .expect("memory");
        };
        assert_eq!(places(&committed(&store, forget_late)), [(0, 300), (1, 7)]);
        let forget = |snapshot: &Arc<dyn Snapshot>, changes: &mut ChangeSet| {
            DeadLetters::default().forget(source, snapshot, changes).expect("memory");
        };
        assert_eq!(committed(&store, forget), []);
    }

    proptest::proptest! {
        #[test]
        fn whatever_bytes_are_stored_they_are_a_letter_or_an_error(
            key in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
            value in proptest::prop_oneof![
                proptest::collection::vec(proptest::num::u8::ANY, 0..60),
                "\\{\"partition\":-?[0-9]{1,12},\"offset\":[0-9]{1,20},\"key\":\"[0-9a-g]{0,5}\",\"payload\":null,\"reason\":\"x\",\"timestamp_ms\":1\\}"
                    .prop_map(String::into_bytes),
            ],
        ) {
            let _ = (Place::parse(&key), parse(&value).is_ok());
        }
    }
}
