//! How often a piece asks for memory: what an epoch costs by itself, and what each row does.
//!
//! Each piece is done over some events and over four times as many in as many epochs. What the second asks for beyond the first is the rows' part.

use std::cell::Cell;

use super::pieces;
use super::world::EVENTS;
use crate::Result;

/// How many times as many events there are the second time.
const TIMES: u64 = 4;

/// How often memory has been asked for, but for what is done aside.
#[derive(Default)]
pub(super) struct Meter {
    count: Option<fn() -> u64>,
    aside: Cell<u64>,
}

impl Meter {
    fn read(&self) -> u64 {
        self.count.map_or(0, |count| count())
    }

    /// Does something that isn't the piece's own.
    pub(super) fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.read();
        let done = work();
        self.aside.set(self.aside.get() + self.read() - before);
        done
    }
}

/// What a piece asks for.
#[derive(Clone, Debug)]
pub struct Allocations {
    /// Its name.
    pub piece: String,
    /// Allocations and reallocations per row, beyond those that a batch or an epoch costs anyway; per statement, for those that
    /// read no rows.
    pub per_row: f64,
    /// All of them, the first time.
    pub total: u64,
}

/// What each piece whose name begins with one of `wanted` (none: all) asks for; `count` says how often the process did so far.
///
/// # Errors
/// If a piece fails.
pub fn allocations(count: fn() -> u64, wanted: &[String]) -> Result<Vec<Allocations>> {
    let few = pieces(EVENTS, wanted)?;
    let many = pieces(EVENTS * TIMES, wanted)?;
    let one = |piece: &super::Piece| -> Result<(u64, u64)> {
        let mut work = (piece.make)()?;
        let meter = Meter { count: Some(count), aside: Cell::new(0) };
        let before = count();
        let rows = work(&meter)?;
        Ok((rows, count() - before - meter.aside.get()))
    };
    let both = few.iter().zip(&many).map(|(few, many)| {
        let ((rows, total), (more_rows, more)) = (one(few)?, one(many)?);
        let per_row = match more_rows.checked_sub(rows) {
            Some(rows) if rows > 0 => more.saturating_sub(total) as f64 / rows as f64,
            _ => total as f64 / rows.max(1) as f64,
        };
        Ok(Allocations { piece: few.name.clone(), per_row, total })
    });
    both.collect()
}
