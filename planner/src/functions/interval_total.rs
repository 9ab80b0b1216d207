//! `sum` and `avg` of intervals: of months, days and the rest apart, each of which can be taken away again.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF};

use super::time::{interval_out_of_range, scaled};

/// The type of intervals.
pub(super) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// The type that an aggregate takes an argument of one as, which is `own` or one of DataFusion's.
pub(super) fn coerced(types: &[DataType], own: &[DataType], inner: &AggregateUDF) -> Result<Vec<DataType>> {
    if let [given] = types
        && own.contains(given)
    {
        return Ok(types.to_vec());
    }
    let fields: Vec<FieldRef> = types.iter().map(|given| Arc::new(Field::new("", given.clone(), true))).collect();
    let fields = fields_with_udf(&fields, inner)?;
    Ok(fields.iter().map(|field| field.data_type().clone()).collect())
}

/// Months, days and microseconds of some intervals, and how many these are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntervalTotal {
    /// The intervals.
    pub count: i64,
    /// Their months.
    pub months: i64,
    /// Their days.
    pub days: i64,
    /// What is left of them, in microseconds.
    pub micros: i64,
}

impl IntervalTotal {
    /// Adds an interval so many times; takes it away where that is below zero. Sums wrap around, and so come back.
    #[inline]
    pub fn add(&mut self, value: IntervalMonthDayNano, weight: i64) {
        self.merge(&Self {
            count: weight,
            months: i64::from(value.months).wrapping_mul(weight),
            days: i64::from(value.days).wrapping_mul(weight),
            micros: (value.nanoseconds / 1000).wrapping_mul(weight),
        });
    }

    fn merge(&mut self, other: &Self) {
        self.count = self.count.wrapping_add(other.count);
        self.months = self.months.wrapping_add(other.months);
        self.days = self.days.wrapping_add(other.days);
        self.micros = self.micros.wrapping_add(other.micros);
    }

    /// The sum; `None` beyond what an interval holds.
    pub fn sum(&self) -> Option<IntervalMonthDayNano> {
        let (months, days) = (i32::try_from(self.months).ok()?, i32::try_from(self.days).ok()?);
        Some(IntervalMonthDayNano::new(months, days, self.micros.checked_mul(1000)?))
    }

    /// The sum over the count, which isn't zero.
    pub fn average(&self) -> Option<IntervalMonthDayNano> {
        let count = self.count as f64;
        scaled(self.sum()?, |part| part / count)
    }
}

/// The states of an accumulator of intervals.
pub(super) fn state_fields(name: &str) -> Vec<FieldRef> {
    let field = |part| Arc::new(Field::new(format_state_name(name, part), DataType::Int64, true));
    ["count", "months", "days", "micros"].into_iter().map(field).collect()
}

/// A sum or an average of intervals.
#[derive(Debug)]
pub(super) struct Total {
    total: IntervalTotal,
    averages: bool,
}

impl Total {
    pub(super) fn new(averages: bool) -> Self {
        Self { total: IntervalTotal::default(), averages }
    }

    fn change(&mut self, values: &ArrayRef, weight: i64) {
        let values = values.as_primitive::<IntervalMonthDayNanoType>();
        values.iter().flatten().for_each(|value| self.total.add(value, weight));
    }
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(&values[0], 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(&values[0], -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let parts: Vec<_> = states.iter().map(|state| state.as_primitive::<Int64Type>()).collect();
        let [counts, months, days, micros] = parts.as_slice() else {
            return internal_err!("a sum of intervals has four states");
        };
        for row in (0..counts.len()).filter(|row| counts.is_valid(*row)) {
            let (count, months) = (counts.value(row), months.value(row));
            self.total.merge(&IntervalTotal { count, months, days: days.value(row), micros: micros.value(row) });
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let IntervalTotal { count, months, days, micros } = self.total;
        Ok([count, months, days, micros].map(|part| ScalarValue::Int64(Some(part))).to_vec())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.total.count == 0 {
            return Ok(ScalarValue::IntervalMonthDayNano(None));
        }
        let value = if self.averages { self.total.average() } else { self.total.sum() };
        Ok(ScalarValue::IntervalMonthDayNano(Some(value.ok_or_else(interval_out_of_range)?)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_spills_into_smaller_parts() {
        let mut total = IntervalTotal::default();
        total.add(IntervalMonthDayNano::new(1, 0, 0), 1);
        total.add(IntervalMonthDayNano::new(2, 0, 0), 1);
        assert_eq!(total.average(), Some(IntervalMonthDayNano::new(1, 15, 0)));
        total.add(IntervalMonthDayNano::new(2, 0, 0), -1);
        assert_eq!(total.sum(), Some(IntervalMonthDayNano::new(1, 0, 0)));
        total.add(IntervalMonthDayNano::new(i32::MAX, 0, 0), 2);
        assert_eq!(total.sum(), None);
    }
}
