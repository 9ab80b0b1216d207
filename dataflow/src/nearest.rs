//! The nearest of some rows, by keys and time: what an ASOF join does, over rows that are all there.

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use planner::incremental::Nearest;

use crate::state::keys::{normal_floats, null_keys};
use crate::{Error, Result};

/// Rows in the order of their keys, then of their times, then of themselves.
pub struct NearestRows {
    nearest: Nearest,
    keys: RowConverter,
    time: RowConverter,
    /// What each row stands under, and which it is.
    order: Vec<(Vec<u8>, u32)>,
}

impl NearestRows {
    /// Of `rows` rows with these columns, among which `keys` (the time behind them) are searched. A row with a NULL among its keys is never
    /// the nearest. Of several rows of one time it is the least, column by column, NULL before all values.
    pub fn new(nearest: Nearest, keys: &[ArrayRef], columns: &[ArrayRef], rows: usize) -> Result<Self> {
        let (time, others) =
            keys.split_last().ok_or_else(|| Error::Broken("a nearest row without a time".to_owned()))?;
        let key_converter = converter(others.iter().map(|column| column.data_type()))?;
        let time_converter = converter([time.data_type()])?;
        let mut found = Self { nearest, keys: key_converter, time: time_converter, order: Vec::with_capacity(rows) };
        let (encoded, times) = (found.encoded(others)?, found.time.convert_columns(&[normal_floats(time)])?);
        let ties = match columns {
            [] => None,
            columns => Some(converter(columns.iter().map(|column| column.data_type()))?.convert_columns(columns)?),
        };
        let valid = null_keys(keys);
        for row in (0..rows).filter(|row| valid.as_ref().is_none_or(|valid| valid.is_valid(*row))) {
            let mut place = found.place(encoded.as_ref(), &times, row);
            // The least of one time is the last before a place.
            place.extend(ties.iter().flat_map(|ties| ties.row(row).data()).map(|byte| !byte));
            found.order.push((place, row as u32));
        }
        found.order.sort_unstable();
        Ok(found)
    }

    /// For each of `rows` rows with these keys (the time behind them) which row is the nearest; NULL: none is.
    pub fn find(&self, keys: &[ArrayRef], rows: usize) -> Result<UInt32Array> {
        let (time, others) =
            keys.split_last().ok_or_else(|| Error::Broken("a nearest row without a time".to_owned()))?;
        let (encoded, times) = (self.encoded(others)?, self.time.convert_columns(&[normal_floats(time)])?);
        let valid = null_keys(keys);
        let find = |row: usize| {
            if valid.as_ref().is_some_and(|valid| valid.is_null(row)) {
                return None;
            }
            let place = self.place(encoded.as_ref(), &times, row);
            let is_before = |(other, _): &(Vec<u8>, u32)| match self.nearest.or_equal() {
                true => other[..place.len().min(other.len())] <= place[..],
                false => *other < place,
            };
            let (before, row_before) = self.order[..self.order.partition_point(is_before)].last()?;
            let group = encoded.as_ref().map_or(0, |encoded| encoded.row(row).data().len());
            before.starts_with(&place[..group]).then_some(*row_before)
        };
        Ok((0..rows).map(find).collect())
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.order.iter().map(|(place, _)| place.len() + size_of::<(Vec<u8>, u32)>()).sum()
    }

    fn encoded(&self, keys: &[ArrayRef]) -> Result<Option<Rows>> {
        if keys.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.keys.convert_columns(&keys.iter().map(normal_floats).collect::<Vec<_>>())?))
    }

    /// Keys and time, so that the nearest row stands last before it.
    fn place(&self, keys: Option<&Rows>, times: &Rows, row: usize) -> Vec<u8> {
        let mut place = keys.map(|keys| keys.row(row).data().to_vec()).unwrap_or_default();
        let flip = if self.nearest.is_later() { u8::MAX } else { 0 };
        place.extend(times.row(row).data().iter().map(|byte| byte ^ flip));
        place
    }
}

fn converter<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Result<RowConverter> {
    let fields: Vec<SortField> = types.into_iter().map(|data_type| SortField::new(data_type.clone())).collect();
    if !RowConverter::supports_fields(&fields) {
        return Err(Error::Unsupported("an ASOF join of rows without an order".to_owned()));
    }
    Ok(RowConverter::new(fields)?)
}
