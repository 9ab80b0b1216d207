//! `sum` and `avg` of intervals: months, days and the rest apart.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, IntervalMonthDayNanoArray};
use arrow::datatypes::IntervalMonthDayNanoType;
use planner::functions::interval_total::IntervalTotal;

use super::rows::GroupRows;
use crate::state::keyed::fit;
use crate::state::{read_signed, write_signed};
use crate::{Error, Result};

/// A sum and how many intervals are in it, per group.
#[derive(Debug, Default)]
pub(super) struct IntervalSum {
    totals: Vec<IntervalTotal>,
}

impl IntervalSum {
    pub(super) fn resize(&mut self, groups: usize) {
        fit(&mut self.totals, groups, IntervalTotal::default());
    }

    pub(super) fn clear(&mut self, group: usize) {
        self.totals[group] = IntervalTotal::default();
    }

    pub(super) fn update(&mut self, argument: &ArrayRef, rows: GroupRows<'_>) -> Result<()> {
        let Some(values) = argument.as_primitive_opt::<IntervalMonthDayNanoType>() else {
            return Err(Error::Unsupported(format!("sum of {}", argument.data_type())));
        };
        let values = values.values();
        rows.for_each(|row, group, weight| self.totals[group].add(values[row], weight));
        Ok(())
    }

    /// `sum`, or `avg`; NULL without intervals.
    pub(super) fn results(&self, groups: &[u32], averages: bool) -> Result<ArrayRef> {
        let of = |group: &u32| {
            let total = &self.totals[*group as usize];
            if total.count == 0 {
                return Ok(None);
            }
            let result = if averages { total.average() } else { total.sum() };
            result.map(Some).ok_or(Error::OutOfRange { what: "interval" })
        };
        Ok(Arc::new(groups.iter().map(of).collect::<Result<IntervalMonthDayNanoArray>>()?))
    }

    pub(super) fn encode(&self, group: usize, out: &mut Vec<u8>) {
        let IntervalTotal { count, months, days, micros } = self.totals[group];
        [count, months, days, micros].into_iter().for_each(|part| write_signed(part, out));
    }

    pub(super) fn decode(&mut self, group: usize, bytes: &mut &[u8]) -> Option<()> {
        self.totals[group] = IntervalTotal {
            count: read_signed(bytes)?,
            months: read_signed(bytes)?,
            days: read_signed(bytes)?,
            micros: read_signed(bytes)?,
        };
        Some(())
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<IntervalTotal>() * self.totals.capacity()
    }
}
