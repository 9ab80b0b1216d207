//! JSON objects into columns, without a tree between: each value goes straight from the record's bytes into its column's vector.
//!
//! Records of one source look alike. So for each key the reader remembers the bytes that stood between its value and the next one
//! (`,"bidder":`), and compares them first: on a hit, which is the rule, no name is scanned, hashed or compared again. On a miss
//! the general step reads white space, name and colon by the grammar, finds the column by the name, and remembers what it saw.

use std::collections::HashMap;

use super::super::{Fault, Slot};
use super::scan::{self, Malformed};
use super::value::{Bad, describe, value};

/// The key before the first one.
const START: u32 = 0;
/// Stands for each name beyond [`MOST_KEYS`].
const OTHER: u32 = 1;
/// No column has this name.
const IGNORED: u32 = u32::MAX;
/// Distinct names that are remembered: records with generated names must not fill the memory.
const MOST_KEYS: usize = 1024;
/// The longest text between two values that is remembered.
const LITERAL: usize = 32;

/// Reads objects whose names are columns.
pub(crate) struct JsonReader {
    keys: Vec<Key>,
    by_name: HashMap<Box<[u8]>, u32>,
    /// For each column, the last record that had it and under which key.
    seen: Vec<(u64, u32)>,
    /// The columns that objects fill.
    targets: Vec<u32>,
    record: u64,
    scratch: Vec<u8>,
}

/// A name that occurred.
struct Key {
    column: u32,
    /// The name is the column's to the letter, not only when folded.
    exact: bool,
    /// What stood between this key's value and the next value, and that value's key.
    next: Literal,
}

/// Up to 32 bytes that are compared as two words.
#[derive(Default)]
struct Literal {
    words: [u128; 2],
    masks: [u128; 2],
    bytes: [u8; LITERAL],
    /// 0: nothing is remembered.
    length: usize,
    key: u32,
}

impl Literal {
    fn new(literal: &[u8], key: u32) -> Self {
        let mut bytes = [0u8; LITERAL];
        bytes[..literal.len()].copy_from_slice(literal);
        let mut mask = [0u8; LITERAL];
        mask[..literal.len()].fill(0xFF);
        let words = |bytes: &[u8; LITERAL]| {
            let (low, high) = bytes.split_at(16);
            [low, high].map(|half| u128::from_le_bytes(half.try_into().expect("16 bytes")))
        };
        Self { words: words(&bytes), masks: words(&mask), bytes, length: literal.len(), key }
    }

    /// Whether the record goes on with it.
    #[inline]
    fn follows(&self, record: &[u8], at: usize) -> bool {
        if self.length == 0 {
            return false;
        }
        let Some(chunk) = record.get(at..at + 16) else { return self.follows_near_end(record, at) };
        let low = u128::from_le_bytes(chunk.try_into().expect("16 bytes"));
        if (low ^ self.words[0]) & self.masks[0] != 0 {
            return false;
        }
        if self.length <= 16 {
            return true;
        }
        let Some(chunk) = record.get(at + 16..at + 32) else { return self.follows_near_end(record, at) };
        let high = u128::from_le_bytes(chunk.try_into().expect("16 bytes"));
        (high ^ self.words[1]) & self.masks[1] == 0
    }

    fn follows_near_end(&self, record: &[u8], at: usize) -> bool {
        record[at..].starts_with(&self.bytes[..self.length])
    }
}

impl From<Malformed> for Box<Fault> {
    #[cold]
    fn from(malformed: Malformed) -> Self {
        Box::new(Fault::Record(format!("malformed JSON: {} at byte {}", malformed.what, malformed.at)))
    }
}

#[cold]
fn malformed<T>(what: &'static str, at: usize) -> Result<T, Box<Fault>> {
    Err(Malformed { what, at }.into())
}

impl JsonReader {
    /// A reader that fills those of `slots` at `targets` from members of their names: to the letter, else without regard to case.
    pub(crate) fn new(slots: &[Slot], targets: Vec<usize>) -> Self {
        let key = |column, exact| Key { column, exact, next: Literal::default() };
        let mut reader = Self {
            keys: vec![key(IGNORED, false), key(IGNORED, false)],
            by_name: HashMap::new(),
            seen: vec![(0, START); slots.len()],
            targets: targets.into_iter().map(|target| target as u32).collect(),
            record: 0,
            scratch: Vec::new(),
        };
        for index in 0..reader.targets.len() {
            let column = reader.targets[index];
            reader.keys.push(key(column, true));
            reader.by_name.insert(slots[column as usize].name.as_bytes().into(), reader.keys.len() as u32 - 1);
        }
        reader
    }

    /// Appends the object as row `row` to the target columns. On an error some columns have it already: the caller takes it back.
    pub(crate) fn read(
        &mut self,
        record: &[u8],
        slots: &mut [Slot],
        row: usize,
        null_on_error: bool,
    ) -> Result<(), Box<Fault>> {
        self.record += 1;
        let mut filled = 0;
        let (mut key, mut at) = (START, 0);
        loop {
            let next = &self.keys[key as usize].next;
            if next.follows(record, at) {
                at += next.length;
                key = next.key;
                // This record may have more white space than the one that was remembered.
                if record.get(at).is_some_and(|byte| *byte <= b' ') {
                    at = scan::space(record, at);
                }
            } else {
                match self.step(record, at, key, slots)? {
                    Some(found) => (key, at) = found,
                    None => break,
                }
            }
            let Key { column, exact, .. } = self.keys[key as usize];
            if column == IGNORED {
                at = scan::value(record, at)?;
                continue;
            }
            let seen = &mut self.seen[column as usize];
            if seen.0 == self.record {
                // The name occurs twice: the last one counts, but never a folded name over one to the letter.
                if self.keys[seen.1 as usize].exact && !exact {
                    at = scan::value(record, at)?;
                    continue;
                }
                slots[column as usize].column.truncate(row);
                filled -= 1;
            }
            *seen = (self.record, key);
            filled += 1;
            let slot = &mut slots[column as usize];
            if record.get(at) == Some(&b'n') {
                at = scan::literal(record, at, "null")?;
                push_null(slot, column, "is null")?;
                continue;
            }
            at = match value(&mut slot.column, record, at, &mut self.scratch) {
                Ok(end) => end,
                Err(bad) => replace(*bad, slot, column, record, at, row, null_on_error)?,
            };
        }
        if filled < self.targets.len() {
            self.fill_missing(slots)?;
        }
        Ok(())
    }

    /// A value alone, without an object around it, for a reader with one target.
    pub(crate) fn read_bare(&mut self, record: &[u8], slots: &mut [Slot]) -> Result<(), Box<Fault>> {
        let target = self.targets[0];
        let column = &mut slots[target as usize].column;
        let start = scan::space(record, 0);
        let row = column.len();
        if record.get(start) != Some(&b'n')
            && let Ok(end) = value(column, record, start, &mut self.scratch)
        {
            if scan::space(record, end) == record.len() {
                return Ok(());
            }
            column.truncate(row);
        }
        let fault = |reason| Box::new(Fault::Column { column: target as usize, reason });
        if std::str::from_utf8(record).is_err() {
            return Err(fault(column.expected("bytes that are not UTF-8")));
        }
        column.push_text(record).map_err(fault)
    }

    /// Reads from `at`, behind the value of `key`, to the next value by the grammar: its key and position, or `None` at the end.
    fn step(
        &mut self,
        record: &[u8],
        from: usize,
        key: u32,
        slots: &[Slot],
    ) -> Result<Option<(u32, usize)>, Box<Fault>> {
        let mut at = scan::space(record, from);
        match record.get(at) {
            Some(b'{') if key == START => {
                at = scan::space(record, at + 1);
                if record.get(at) == Some(&b'}') {
                    return end(record, at + 1);
                }
            }
            Some(b'}') if key != START => return end(record, at + 1),
            Some(b',') if key != START => at = scan::space(record, at + 1),
            None if key == START => return Err(Box::new(Fault::Record("the record is empty".to_owned()))),
            None => return malformed("the end of the record", at),
            Some(_) if key == START => {
                scan::whole(record)?;
                return Err(Box::new(Fault::Record(format!("expected a JSON object, found {}", describe(record, at)))));
            }
            Some(_) => return malformed("no comma and no end of an object", at),
        }
        if record.get(at) != Some(&b'"') {
            return malformed("a name that is no string", at);
        }
        let span = scan::string(record, at + 1)?;
        let colon = scan::space(record, span.end + 1);
        if record.get(colon) != Some(&b':') {
            return malformed("no colon behind a name", colon);
        }
        let value = scan::space(record, colon + 1);
        let found = if span.escaped {
            let mut name = Vec::new();
            scan::unescape(&record[at + 1..span.end], &mut name)?;
            self.key(&name, slots)
        } else {
            self.key(&record[at + 1..span.end], slots)
        };
        if value - from <= LITERAL && found != OTHER && key != OTHER {
            self.keys[key as usize].next = Literal::new(&record[from..value], found);
        }
        Ok(Some((found, value)))
    }

    /// The key of a name.
    fn key(&mut self, name: &[u8], slots: &[Slot]) -> u32 {
        if let Some(key) = self.by_name.get(name) {
            return *key;
        }
        let folded = |target: &&u32| {
            let column = &slots[**target as usize].name;
            std::str::from_utf8(name).is_ok_and(|name| name.to_lowercase() == column.to_lowercase())
        };
        let column = self.targets.iter().find(folded).copied().unwrap_or(IGNORED);
        if self.keys.len() >= MOST_KEYS && column == IGNORED {
            return OTHER;
        }
        self.keys.push(Key { column, exact: false, next: Literal::default() });
        let key = self.keys.len() as u32 - 1;
        self.by_name.insert(name.into(), key);
        key
    }

    /// A null for each column that the record didn't name.
    fn fill_missing(&self, slots: &mut [Slot]) -> Result<(), Box<Fault>> {
        for &column in &self.targets {
            if self.seen[column as usize].0 != self.record {
                push_null(&mut slots[column as usize], column, "is missing")?;
            }
        }
        Ok(())
    }
}

fn push_null(slot: &mut Slot, column: u32, why: &str) -> Result<(), Box<Fault>> {
    if !slot.nullable {
        return Err(Box::new(Fault::Column {
            column: column as usize,
            reason: format!("{why}, but the column is NOT NULL").into(),
        }));
    }
    slot.column.push_null();
    Ok(())
}

/// Nothing but white space may follow.
fn end<T>(record: &[u8], at: usize) -> Result<Option<T>, Box<Fault>> {
    let rest = scan::space(record, at);
    if rest == record.len() { Ok(None) } else { malformed("something behind the object", rest) }
}

/// What happens to a value that its column can't hold: the fault, or with `on_error = 'null'` a null in its place.
#[cold]
fn replace(
    bad: Bad,
    slot: &mut Slot,
    column: u32,
    record: &[u8],
    at: usize,
    row: usize,
    null_on_error: bool,
) -> Result<usize, Box<Fault>> {
    match bad {
        Bad::Malformed(malformed) => Err(malformed.into()),
        Bad::Value(_) if null_on_error && slot.nullable => {
            let end = scan::value(record, at)?;
            slot.column.truncate(row);
            slot.column.push_null();
            Ok(end)
        }
        Bad::Value(reason) => {
            scan::whole(record)?;
            Err(Box::new(Fault::Column { column: column as usize, reason }))
        }
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
