//! Finding and putting together the rows that match, batch by batch.

use arrow::array::{ArrayRef, BooleanArray, Int64Array, UInt32Array};
use arrow::compute::take;
use delta::Delta;

use super::{Shared, Which};
use crate::Result;
use crate::expression::batch_of;
use crate::failures::Failures;
use crate::operator::StepOutput;
use crate::state::keys::NO_SLOT;
use crate::state::{Multimap, RowCodec};

/// Candidates that are put together at once: bounds what a key with many rows costs in memory.
const CHUNK: usize = 16 * 1024;

/// One side's change against the rows of the other.
pub(super) struct Pairs<'a> {
    pub(super) shared: &'a Shared,
    /// The side that changes.
    pub(super) which: Which,
    pub(super) delta: &'a Delta,
    /// The columns of the changing side.
    pub(super) columns: &'a [ArrayRef],
    /// For each row of the change: where the other side has its key.
    pub(super) partners: &'a [u32],
    pub(super) other: &'a Multimap,
}

/// Candidate pairs: a row of the change, a row of the other side and its weight.
#[derive(Default)]
struct Candidates<'a> {
    own: Vec<u32>,
    others: Vec<&'a [u8]>,
    weights: Vec<i64>,
}

/// How a change affects the matches of one of the other side's rows.
pub(super) struct MatchChange {
    /// Where the row is.
    pub(super) partner: u32,
    /// Which of its key's rows it is.
    pub(super) position: usize,
    /// Its matches before the change.
    pub(super) before: i64,
    /// By how much their number changes.
    pub(super) by: i64,
}

impl<'a> Pairs<'a> {
    /// Emits the pairs, if pairs are wanted; returns how many matches each row of the change has.
    pub(super) fn emit(&mut self, output: &mut StepOutput) -> Result<Vec<i64>> {
        let rows = self.delta.num_rows();
        if !self.shared.pairs && self.shared.residual.is_none() {
            return Ok(self.partners.iter().map(|partner| self.other.total(*partner)).collect());
        }
        let mut matches = vec![0; rows];
        let mut candidates = Candidates::default();
        for (row, partner) in self.partners.iter().enumerate() {
            if *partner == NO_SLOT {
                continue;
            }
            for (other, weight) in self.other.rows(*partner) {
                candidates.push(row as u32, other, weight);
                if candidates.own.len() == CHUNK {
                    self.flush(&mut candidates, &mut matches, output)?;
                }
            }
        }
        self.flush(&mut candidates, &mut matches, output)?;
        Ok(matches)
    }

    fn flush(&self, candidates: &mut Candidates<'a>, matches: &mut [i64], output: &mut StepOutput) -> Result<()> {
        if candidates.own.is_empty() {
            return Ok(());
        }
        if self.shared.residual.is_some() {
            let (keep, failures) =
                self.condition(self.columns, self.other.codec(), &candidates.own, &candidates.others)?;
            // Each pair comes by here once, as it comes and as it goes.
            if self.shared.report.wants(&failures) {
                let columns = self.columns_of_pairs(candidates)?;
                output
                    .errors
                    .push(self.shared.report.errors(&columns, &failures, |pair| self.weight(candidates, pair))?);
            }
            candidates.retain(&keep);
        }
        for (row, weight) in candidates.own.iter().zip(&candidates.weights) {
            matches[*row as usize] += weight;
        }
        if self.shared.pairs && !candidates.own.is_empty() {
            output.deltas.push(self.pairs_of(candidates)?);
        }
        candidates.clear();
        Ok(())
    }

    fn pairs_of(&self, candidates: &Candidates<'_>) -> Result<Delta> {
        let pairs = candidates.own.len();
        let batch = batch_of(&self.shared.schema, self.columns_of_pairs(candidates)?, pairs)?;
        let weights = match self.delta.weights() {
            None if self.other.is_plain() => None,
            _ => Some(Int64Array::from_iter_values((0..pairs).map(|pair| self.weight(candidates, pair)))),
        };
        Ok(Delta::new(batch, weights))
    }

    fn weight(&self, candidates: &Candidates<'_>, pair: usize) -> i64 {
        self.delta.weight(candidates.own[pair] as usize) * candidates.weights[pair]
    }

    /// The left columns and the right columns.
    fn columns_of_pairs(&self, candidates: &Candidates<'_>) -> Result<Vec<ArrayRef>> {
        let own = UInt32Array::from(candidates.own.clone());
        let mut columns = Vec::new();
        let own_columns =
            || -> Result<Vec<ArrayRef>> { self.columns.iter().map(|column| Ok(take(column, &own, None)?)).collect() };
        let codec = self.other.codec();
        let other_columns = || -> Result<Vec<ArrayRef>> {
            (0..codec.schema().fields().len()).map(|c| codec.decode_column(c, &candidates.others)).collect()
        };
        match self.which {
            Which::Left => {
                columns.extend(own_columns()?);
                columns.extend(other_columns()?);
            }
            Which::Right => {
                columns.extend(other_columns()?);
                columns.extend(own_columns()?);
            }
        }
        Ok(columns)
    }

    /// For which candidates the further condition holds, and on which it fails. `own` are rows of `columns`; `others` are encoded.
    fn condition(
        &self,
        columns: &[ArrayRef],
        codec: &RowCodec,
        own: &[u32],
        others: &[&[u8]],
    ) -> Result<(BooleanArray, Failures)> {
        let residual = self.shared.residual.as_ref().expect("only asked where there is one");
        let own = UInt32Array::from(own.to_vec());
        let left = self.shared.left.width;
        let column = |index: &usize| -> Result<ArrayRef> {
            let (which, index) = if *index < left { (Which::Left, *index) } else { (Which::Right, *index - left) };
            if which == self.which {
                Ok(take(&columns[index], &own, None)?)
            } else {
                codec.decode_column(index, others)
            }
        };
        let columns = residual.columns().iter().map(column).collect::<Result<Vec<_>>>()?;
        residual.evaluate_on(columns, own.len())
    }

    /// How the change affects the matches of the other side's rows, under the further condition. `own` is the changing side before
    /// the change, `own_slots` where it has the keys of the change.
    pub(super) fn matches_before(&mut self, own: &Multimap, own_slots: &[u32]) -> Result<Vec<MatchChange>> {
        // Rows of the change by the key that they have on the other side.
        let mut by_partner: Vec<(u32, u32)> =
            self.partners.iter().copied().zip(0..self.partners.len() as u32).collect();
        by_partner.retain(|(partner, _)| *partner != NO_SLOT);
        by_partner.sort_unstable();
        let mut changes = Vec::new();
        for rows in by_partner.chunk_by(|a, b| a.0 == b.0) {
            let partner = rows[0].0;
            let others: Vec<&[u8]> = self.other.rows(partner).map(|(row, _)| row).collect();
            let mut by = vec![0; others.len()];
            for (_, row) in rows {
                let (keep, _) = self.condition(self.columns, self.other.codec(), &vec![*row; others.len()], &others)?;
                for (position, by) in by.iter_mut().enumerate() {
                    if keep.value(position) {
                        *by += self.delta.weight(*row as usize);
                    }
                }
            }
            if by.iter().all(|by| *by == 0) {
                continue;
            }
            let before = self.matches_of(own, own_slots[rows[0].1 as usize], &others, &by)?;
            let affected = by.iter().zip(before).enumerate().filter(|(_, (by, _))| **by != 0);
            changes.extend(affected.map(|(position, (by, before))| MatchChange { partner, position, before, by: *by }));
        }
        Ok(changes)
    }

    /// How many matches some of the other side's rows (those where `by` isn't 0) have among the own rows in a slot.
    fn matches_of(&self, own: &Multimap, slot: u32, others: &[&[u8]], by: &[i64]) -> Result<Vec<i64>> {
        let mut matches = vec![0; others.len()];
        let (rows, weights): (Vec<&[u8]>, Vec<i64>) = own.rows(slot).unzip();
        if rows.is_empty() {
            return Ok(matches);
        }
        let columns = own.codec().decode(&rows)?;
        let all: Vec<u32> = (0..rows.len() as u32).collect();
        for position in (0..others.len()).filter(|position| by[*position] != 0) {
            let repeated = vec![others[position]; rows.len()];
            let (keep, _) = self.condition(columns.columns(), self.other.codec(), &all, &repeated)?;
            let kept = weights.iter().enumerate().filter(|(row, _)| keep.value(*row));
            matches[position] = kept.map(|(_, weight)| weight).sum();
        }
        Ok(matches)
    }
}

impl<'a> Candidates<'a> {
    #[inline]
    fn push(&mut self, own: u32, other: &'a [u8], weight: i64) {
        self.own.push(own);
        self.others.push(other);
        self.weights.push(weight);
    }

    fn retain(&mut self, keep: &BooleanArray) {
        let mut kept = 0;
        for position in 0..self.own.len() {
            if keep.value(position) {
                self.own[kept] = self.own[position];
                self.others[kept] = self.others[position];
                self.weights[kept] = self.weights[position];
                kept += 1;
            }
        }
        self.own.truncate(kept);
        self.others.truncate(kept);
        self.weights.truncate(kept);
    }

    fn clear(&mut self) {
        self.own.clear();
        self.others.clear();
        self.weights.clear();
    }
}

/// Encoded rows of one side that come out alone.
#[derive(Default)]
pub(super) struct Rows<'a> {
    rows: Vec<&'a [u8]>,
    weights: Vec<i64>,
}

impl<'a> Rows<'a> {
    pub(super) fn push(&mut self, row: &'a [u8], weight: i64) {
        self.rows.push(row);
        self.weights.push(weight);
    }

    pub(super) fn emit(self, shared: &Shared, which: Which, output: &mut Vec<Delta>) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let codec = &shared.side(which).codec;
        let rows = codec.decode(&self.rows)?;
        let batch = shared.alone(which, rows.columns().to_vec(), rows.num_rows())?;
        let plain = self.weights.iter().all(|weight| *weight == 1);
        output.push(Delta::new(batch, (!plain).then(|| Int64Array::from(self.weights))));
        Ok(())
    }
}
