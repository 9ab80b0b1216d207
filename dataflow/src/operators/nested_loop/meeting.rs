//! A change of one side on its way through the rows of the other, block by block.

use arrow::array::{ArrayRef, AsArray, Int64Array, UInt32Array};
use arrow::compute::{filter, take};
use arrow::datatypes::UInt32Type;
use delta::Delta;

use super::{PLACE, Shared, Side, place_of};
use crate::Result;
use crate::expression::batch_of;
use crate::operators::join::alone::Which;
use crate::state::RowCodec;
use crate::state::ordered::Row;

/// Pairs that are compared, or put together, at once.
const CHUNK: usize = 16 * 1024;

/// Which places a row of a change asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    pub(super) row: u32,
    pub(super) first: i64,
    pub(super) last: i64,
}

/// Some rows of one side, decoded, in the order of their places.
pub(super) struct Block<'a> {
    codec: &'a RowCodec,
    rows: Vec<&'a [u8]>,
    places: Vec<i64>,
    /// By position; `None` where nobody needs it.
    columns: Vec<Option<ArrayRef>>,
    weights: Vec<i64>,
}

impl<'a> Block<'a> {
    pub(super) fn new(shared: &Shared, side: &'a Side, stored: &'a [Row]) -> Result<Self> {
        let rows: Vec<&[u8]> = stored.iter().map(|(key, _)| &key[PLACE..]).collect();
        let decode = |column| match shared.needs(side, column) {
            true => side.codec.decode_column(column, &rows).map(Some),
            false => Ok(None),
        };
        let columns = (0..side.schema.fields().len()).map(decode).collect::<Result<_>>()?;
        let places = stored.iter().map(|(key, _)| place_of(key)).collect();
        let weights = stored.iter().map(|(_, [weight, _])| *weight).collect();
        Ok(Self { codec: &side.codec, rows, places, columns, weights })
    }

    fn column(&self, index: usize) -> &ArrayRef {
        self.columns[index].as_ref().expect("what is needed is decoded")
    }

    /// All columns of some of the rows.
    fn take(&self, positions: &UInt32Array) -> Result<Vec<ArrayRef>> {
        let taken = self.columns.iter().enumerate().map(|(index, column)| {
            Ok(match column {
                Some(column) => take(column, positions, None)?,
                None => take(&self.codec.decode_column(index, &self.rows)?, positions, None)?,
            })
        });
        taken.collect()
    }
}

pub(super) struct Meeting<'a> {
    shared: &'a Shared,
    /// The side that changes.
    which: Which,
    delta: &'a Delta,
    pub(super) output: Vec<Delta>,
    pub(super) errors: Vec<Delta>,
    /// By row of the change: the weight of the rows that match it.
    pub(super) matches: Vec<i64>,
}

impl<'a> Meeting<'a> {
    pub(super) fn new(shared: &'a Shared, which: Which, delta: &'a Delta) -> Self {
        Self { shared, which, delta, output: vec![], errors: vec![], matches: vec![0; delta.num_rows()] }
    }

    /// Rows of the change meet the rows of a block that they ask for. Returns by row of the block the weight of the change's rows that match it.
    pub(super) fn meet(&mut self, block: &Block<'_>, queries: &[Query]) -> Result<Vec<i64>> {
        let mut by = vec![0; block.weights.len()];
        let (mut own, mut others): (Vec<u32>, Vec<u32>) = (vec![], vec![]);
        for query in queries {
            let mut start = block.places.partition_point(|place| *place < query.first);
            let end = block.places.partition_point(|place| *place <= query.last);
            while start < end {
                let some = (end - start).min(CHUNK - own.len());
                own.extend(std::iter::repeat_n(query.row, some));
                others.extend(start as u32..(start + some) as u32);
                start += some;
                if own.len() == CHUNK {
                    self.compare(std::mem::take(&mut own), std::mem::take(&mut others), block, &mut by)?;
                }
            }
        }
        self.compare(own, others, block, &mut by)?;
        Ok(by)
    }

    /// Of these pairs, those that fulfil the condition are matches.
    fn compare(&mut self, own: Vec<u32>, others: Vec<u32>, block: &Block<'_>, by: &mut [i64]) -> Result<()> {
        if own.is_empty() {
            return Ok(());
        }
        let (own, others) = self.matching(UInt32Array::from(own), UInt32Array::from(others), block)?;
        for (row, other) in own.values().iter().zip(others.values()) {
            self.matches[*row as usize] += block.weights[*other as usize];
            by[*other as usize] += self.delta.weight(*row as usize);
        }
        if !self.shared.pairs || own.is_empty() {
            return Ok(());
        }
        let weight = |pair: usize| self.weight(own.value(pair), others.value(pair), block);
        let weights: Vec<i64> = (0..own.len()).map(weight).collect();
        let columns = self.columns_of_pairs(&own, &others, block)?;
        let plain = weights.iter().all(|weight| *weight == 1);
        let batch = batch_of(&self.shared.schema, columns, own.len())?;
        self.output.push(Delta::new(batch, (!plain).then(|| Int64Array::from(weights))));
        Ok(())
    }

    fn matching(
        &mut self,
        own: UInt32Array,
        others: UInt32Array,
        block: &Block<'_>,
    ) -> Result<(UInt32Array, UInt32Array)> {
        let Some(condition) = &self.shared.condition else { return Ok((own, others)) };
        let side = self.shared.side(self.which);
        let other_side = self.shared.side(self.which.other());
        let column = |index: &usize| -> Result<ArrayRef> {
            let own_index = index.checked_sub(side.offset).filter(|index| *index < side.schema.fields().len());
            Ok(match own_index {
                Some(index) => take(self.delta.column(index), &own, None)?,
                None => take(block.column(index - other_side.offset), &others, None)?,
            })
        };
        let columns = condition.columns().iter().map(column).collect::<Result<Vec<_>>>()?;
        let (keep, failures) = condition.evaluate_on(columns, own.len())?;
        // Each pair comes by here once, as it comes and as it goes.
        if self.shared.report.wants(&failures) {
            let columns = self.columns_of_pairs(&own, &others, block)?;
            let weight = |pair: usize| self.weight(own.value(pair), others.value(pair), block);
            self.errors.push(self.shared.report.errors(&columns, &failures, weight)?);
        }
        let kept = |positions: &UInt32Array| -> Result<UInt32Array> {
            Ok(filter(positions, &keep)?.as_primitive::<UInt32Type>().clone())
        };
        Ok((kept(&own)?, kept(&others)?))
    }

    fn weight(&self, row: u32, other: u32, block: &Block<'_>) -> i64 {
        self.delta.weight(row as usize) * block.weights[other as usize]
    }

    /// The left columns and the right columns.
    fn columns_of_pairs(&self, own: &UInt32Array, others: &UInt32Array, block: &Block<'_>) -> Result<Vec<ArrayRef>> {
        let own_columns = self.delta.batch().columns().iter().map(|column| Ok(take(column, own, None)?));
        let own_columns = own_columns.collect::<Result<Vec<_>>>()?;
        let other_columns = block.take(others)?;
        Ok(match self.which {
            Which::Left => [own_columns, other_columns].concat(),
            Which::Right => [other_columns, own_columns].concat(),
        })
    }
}
