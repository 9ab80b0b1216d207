//! What a recursion may take for the changes of one epoch: rounds, rows, work and memory.
//!
//! All is counted from the rows themselves, not measured: whether a recursion is given up is a function of the epoch's inputs and of the memory budget, and not of
//! threads or of what was evicted.

use std::collections::VecDeque;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use delta::Delta;

/// Rounds of an epoch in which rows come, at most: the longest path that an epoch follows. A round over few rows takes some ten
/// microseconds, so that a recursion without an end costs the epoch some tenths of a second.
const MAX_ROUNDS: usize = 10_000;

/// Rows that an epoch derives at most, those that come back counted too.
const MAX_ROWS: usize = 1 << 24;

/// Rows that all operators of the step take in for one epoch, at most: at a million in a second, epochs wait for some two minutes.
const MAX_WORK: usize = 1 << 27;

/// With `UNION ALL`, a row that is derived more often will be derived for ever, or nobody will read it to its end.
const MAX_WEIGHT: i64 = 1 << 40;

/// What a row takes beside its values: its place in a table, its key, its weight.
const ROW_BYTES: usize = 64;

/// Rows that the step is given at once, at first.
const FIRST_PIECE: usize = 4096;
const PIECES: std::ops::RangeInclusive<usize> = 64..=65_536;

/// Rows that an operator of the step may make of a piece before the next one is smaller, and larger.
const WIDE: usize = 1 << 19;
const NARROW: usize = 1 << 17;

/// Why a recursion is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// It has no end, or none that is near.
    Endless,
    /// Its term takes in too much.
    Work,
    /// It takes more memory than it may.
    Memory,
}

impl Limit {
    /// The kind and the text of its error.
    pub(super) fn error(self) -> [&'static str; 2] {
        match self {
            Self::Endless => [
                "limit exceeded",
                "the recursive query doesn't end: it derives rows over and over, or more than 10000 rounds or 16777216 rows at a time",
            ],
            Self::Work => [
                "limit exceeded",
                "the recursive query takes too long: its term has taken in more than 134217728 rows at a time",
            ],
            Self::Memory => {
                ["out of memory", "the recursive query takes more memory at a time than a quarter of the memory budget"]
            }
        }
    }
}

/// What a recursion has taken in this epoch.
pub(super) struct Spent {
    /// Rounds in which rows have come.
    rounds: usize,
    /// Rows that were derived.
    rows: usize,
    /// Rows that operators of the step have taken in.
    work: usize,
    /// About what rows take that are held until the epoch ends.
    bytes: usize,
    budget_bytes: usize,
    /// What goes is free before the epoch ends.
    frees: bool,
    /// Rows that the step is given at once.
    piece: usize,
}

impl Spent {
    /// Nothing yet; `frees`: rows that go leave memory at once.
    pub(super) fn new(budget_bytes: usize, frees: bool) -> Self {
        Self { rounds: 0, rows: 0, work: 0, bytes: 0, budget_bytes, frees, piece: FIRST_PIECE }
    }

    /// Counts a round. Rows that go are no more than there are, so only those that come are counted.
    pub(super) fn round(&mut self, change: &[Delta]) -> Option<Limit> {
        let weights = change.iter().flat_map(|delta| (0..delta.num_rows()).map(|row| delta.weight(row)));
        let mut come = 0;
        for weight in weights {
            if weight > MAX_WEIGHT {
                return Some(Limit::Endless);
            }
            come += usize::from(weight > 0);
        }
        self.rounds += usize::from(come > 0);
        self.rows += come;
        (self.rounds > MAX_ROUNDS || self.rows > MAX_ROWS).then_some(Limit::Endless)
    }

    /// What has been exceeded of that which grows within a round.
    pub(super) fn over(&self) -> Option<Limit> {
        if self.bytes > self.budget_bytes { Some(Limit::Memory) } else { (self.work > MAX_WORK).then_some(Limit::Work) }
    }

    /// Rows that operators of the step have taken in.
    pub(super) fn work(&self) -> usize {
        self.work
    }

    /// Rows are held until the epoch ends.
    pub(super) fn hold(&mut self, deltas: &[Delta]) {
        for delta in deltas.iter().filter(|delta| !delta.is_empty()) {
            let each = ROW_BYTES + content_bytes(delta.batch()) / delta.num_rows();
            let gone = match delta.weights() {
                Some(weights) => weights.values().iter().filter(|weight| **weight < 0).count(),
                None => 0,
            };
            self.bytes += each * (delta.num_rows() - gone);
            if self.frees {
                self.bytes = self.bytes.saturating_sub(each * gone);
            }
        }
    }

    /// An operator of the step has taken rows in, and `keeps` them.
    pub(super) fn take_in(&mut self, inputs: &[Vec<Delta>], keeps: bool) {
        self.work += inputs.iter().flatten().map(Delta::num_rows).sum::<usize>();
        if keeps {
            inputs.iter().for_each(|deltas| self.hold(deltas));
        }
    }

    /// The most that an operator of the step has made of a piece: the next is as large as memory for what comes of it is small.
    pub(super) fn made_of_piece(&mut self, rows: usize) {
        let piece = match rows {
            WIDE.. => self.piece / 2,
            ..NARROW => self.piece * 2,
            _ => self.piece,
        };
        self.piece = piece.clamp(*PIECES.start(), *PIECES.end());
    }

    /// The next piece of what is to be given to the step.
    pub(super) fn next_piece(&self, left: &mut VecDeque<Delta>) -> Option<Vec<Delta>> {
        let mut piece = Vec::new();
        let mut room = self.piece;
        while let Some(delta) = left.pop_front() {
            if delta.num_rows() > room {
                left.push_front(delta.slice(room, delta.num_rows() - room));
                piece.push(delta.slice(0, room));
                return Some(piece);
            }
            room -= delta.num_rows();
            piece.push(delta);
            if room == 0 {
                break;
            }
        }
        (!piece.is_empty()).then_some(piece)
    }
}

/// About the bytes of a batch's values.
fn content_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| bytes_of(column.as_ref())).sum()
}

fn bytes_of(column: &dyn Array) -> usize {
    const VIEW: usize = 16;
    match column.data_type() {
        DataType::Utf8View => VIEW * column.len() + column.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => VIEW * column.len() + column.as_binary_view().total_buffer_bytes_used(),
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            let (first, last) = (list.value_offsets()[0], list.value_offsets()[list.len()]);
            bytes_of(list.values().slice(first as usize, (last - first) as usize).as_ref()) + 4 * list.len()
        }
        DataType::Struct(_) => column.as_struct().columns().iter().map(|field| bytes_of(field.as_ref())).sum(),
        other => match other.primitive_width() {
            Some(width) => width * column.len(),
            None => column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()),
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    fn numbers(count: i64) -> Delta {
        let column: Arc<dyn Array> = Arc::new(Int64Array::from_iter_values(0..count));
        Delta::inserts(RecordBatch::try_from_iter([("n", column)]).unwrap())
    }

    #[test]
    fn pieces_are_as_large_as_what_comes_of_them_allows() {
        let mut spent = Spent::new(1 << 20, false);
        let mut left = VecDeque::from([numbers(1000), numbers(10_000)]);
        let sizes = |piece: Vec<Delta>| piece.iter().map(Delta::num_rows).collect::<Vec<_>>();
        assert_eq!(spent.next_piece(&mut left).map(sizes), Some(vec![1000, 3096]));
        spent.made_of_piece(WIDE);
        assert_eq!(spent.next_piece(&mut left).map(sizes), Some(vec![2048]));
        spent.made_of_piece(1);
        spent.made_of_piece(1);
        assert_eq!(spent.next_piece(&mut left).map(sizes), Some(vec![4856]));
        assert_eq!(spent.next_piece(&mut left).map(sizes), None);
    }

    #[test]
    fn what_is_held_counts_by_its_content() {
        let mut spent = Spent::new(100_000, true);
        let long: Arc<dyn Array> = Arc::new(StringViewArray::from(vec!["x".repeat(936); 90]));
        let rows = Delta::inserts(RecordBatch::try_from_iter([("s", long)]).unwrap());
        spent.hold(std::slice::from_ref(&rows));
        assert_eq!(spent.over(), None);
        spent.hold(&[rows.slice(0, 10)]);
        assert_eq!(spent.over(), Some(Limit::Memory), "100 rows of 1016 bytes");
        spent.hold(&[rows.slice(0, 10).negate().unwrap()]);
        assert_eq!(spent.over(), None, "what goes is free");
    }
}
