//! Records that could not be decoded, and late rows where the source keeps them: in the store from the epoch's own commit.
//!
//! Key: `[state][vnode 0][source: u32 BE][number: u64 BE]`; value: JSON, bytes in base16.

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

/// Writes dead letters under running numbers.
#[derive(Default)]
pub(crate) struct DeadLetters {
    next: HashMap<ObjectId, u64>,
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
        scan(snapshot, None, &mut |source, number, _| {
            next.insert(source, number + 1);
            Ok(())
        })?;
        Ok(Self { next })
    }

    /// Adds letters to a checkpoint.
    pub(crate) fn write(&mut self, letters: Vec<(ObjectId, DeadLetter)>, changes: &mut ChangeSet) -> Result<()> {
        for (source, letter) in letters {
            let number = self.next.entry(source).or_default();
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
            changes.put(&key(source, *number), &value);
            *number += 1;
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
        scan(snapshot, Some(source), &mut |source, number, _| {
            changes.delete(&key(source, number));
            Ok(())
        })
    }
}

/// The committed dead letters of all sources, at most `limit`.
pub(crate) fn read(snapshot: &Arc<dyn Snapshot>, limit: usize) -> Result<Vec<(ObjectId, DeadLetter)>> {
    let mut letters = Vec::new();
    scan(snapshot, None, &mut |source, _, value| {
        if letters.len() < limit {
            letters.push((source, parse(value)?));
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

fn key(source: ObjectId, number: u64) -> Vec<u8> {
    let mut key = vnode_prefix(STATE, 0).to_vec();
    key.extend_from_slice(&source.0.to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn scan(
    snapshot: &Arc<dyn Snapshot>,
    only: Option<ObjectId>,
    visit: &mut dyn FnMut(ObjectId, u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let start = key(only.unwrap_or(ObjectId(0)), 0);
    let end = only.map_or_else(|| vnode_prefix(STATE, 1).to_vec(), |source| key(ObjectId(source.0 + 1), 0));
    let mut result = Ok(());
    snapshot
        .scan(&start, &end, &mut |key, value| {
            let Some((source, number)) = parse_key(key) else { return Visit::Continue };
            result = visit(source, number, value);
            if result.is_ok() { Visit::Continue } else { Visit::Stop }
        })
        .map_err(storage_error)?;
    result
}

fn parse_key(key: &[u8]) -> Option<(ObjectId, u64)> {
    let source = u32::from_be_bytes(key.get(5..9)?.try_into().ok()?);
    let number = u64::from_be_bytes(key.get(9..17)?.try_into().ok()?);
    Some((ObjectId(source), number))
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
