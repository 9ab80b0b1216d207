//! `sum`: DataFusion's, but for numerics and intervals. DataFusion's sums of these wrap around beyond 128 bits; these are kept whole, and reading one that no
//! numeric holds is an error.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::sum::{Sum as Inner, sum_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, Expr, GroupsAccumulator, Operator, ReversedUDAF,
    SetMonotonicity, Signature, StatisticsArgs, Volatility,
};

use super::interval_total::{self, INTERVAL};
use crate::Error;
use crate::error::ErrorKind;

/// `sum`, as SQL calls it.
pub(super) fn function() -> Arc<AggregateUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(AggregateUDF::from(Sum { inner: Inner::new(), signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    inner: Inner,
    signature: Signature,
}

/// Whether it is a sum of numerics, each of which counts.
fn is_exact(args: &AccumulatorArgs<'_>) -> bool {
    !args.is_distinct && matches!(args.return_field.data_type(), DataType::Decimal128(..))
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        interval_total::coerced(arg_types, &[INTERVAL, DataType::Float32], &sum_udaf())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [own @ (DataType::Interval(_) | DataType::Float32)] => Ok(own.clone()),
            _ => self.inner.return_type(arg_types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if *args.return_type() == INTERVAL && !args.is_distinct {
            return Ok(Box::new(interval_total::Total::new(false)));
        }
        if *args.return_type() == DataType::Float32 {
            return Ok(Box::new(Real { inner: self.inner.accumulator(as_doubles(args))? }));
        }
        match is_exact(&args) {
            true => Ok(Box::new(One { total: Total::default(), count: 0, data_type: args.return_type().clone() })),
            false => self.inner.accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if is_exact(&args) || *args.return_type() == INTERVAL {
            self.accumulator(args)
        } else if *args.return_type() == DataType::Float32 {
            Ok(Box::new(Real { inner: self.inner.create_sliding_accumulator(as_doubles(args))? }))
        } else {
            self.inner.create_sliding_accumulator(args)
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if *args.return_type() == INTERVAL && !args.is_distinct {
            return Ok(interval_total::state_fields(args.name));
        }
        if *args.return_type() == DataType::Float32 {
            let double: FieldRef = Arc::new(Field::new("", DataType::Float64, true));
            let input_fields = std::slice::from_ref(&double);
            return self.inner.state_fields(StateFieldsArgs { return_field: double.clone(), input_fields, ..args });
        }
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !matches!(args.return_type(), DataType::Interval(_) | DataType::Float32)
            && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        match is_exact(&args) {
            true => Ok(Box::new(Groups { totals: vec![], counts: vec![], data_type: args.return_type().clone() })),
            false => self.inner.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(data_type)
    }

    fn simplify_expr_op_literal(
        &self,
        function: &datafusion::logical_expr::expr::AggregateFunction,
        arg: &Expr,
        op: Operator,
        literal: &Expr,
        is_right: bool,
    ) -> Result<Option<Expr>> {
        self.inner.simplify_expr_op_literal(function, arg, op, literal, is_right)
    }

    fn value_from_stats(&self, statistics: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.inner.value_from_stats(statistics)
    }
}

/// As if the argument and the sum were double precision.
fn as_doubles(args: AccumulatorArgs<'_>) -> AccumulatorArgs<'_> {
    AccumulatorArgs { return_field: Arc::new(Field::new("", DataType::Float64, true)), ..args }
}

/// A sum of reals: of doubles until it is read.
#[derive(Debug)]
struct Real {
    inner: Box<dyn Accumulator>,
}

fn doubles(values: &[ArrayRef]) -> Result<[ArrayRef; 1]> {
    Ok([cast(&values[0], &DataType::Float64)?])
}

impl Accumulator for Real {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&doubles(values)?)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&doubles(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()?.cast_to(&DataType::Float32)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

/// A sum of numerics of one scale: `high * 2^128 + low`.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    low: i128,
    high: i64,
}

impl Total {
    fn add(&mut self, value: i128) {
        let (low, wraps) = self.low.overflowing_add(value);
        self.low = low;
        self.high += i64::from(wraps) * value.signum() as i64;
    }

    fn subtract(&mut self, value: i128) {
        let (low, wraps) = self.low.overflowing_sub(value);
        self.low = low;
        self.high -= i64::from(wraps) * value.signum() as i64;
    }

    /// As a numeric.
    ///
    /// # Errors
    /// If it has more digits than a numeric holds.
    fn value(self) -> Result<i128> {
        const LIMIT: u128 = 10_u128.pow(38);
        match self.high == 0 && self.low.unsigned_abs() < LIMIT {
            true => Ok(self.low),
            false => Err(Error::new(ErrorKind::OutOfRange, "numeric out of range").into()),
        }
    }
}

/// The digits of numerics that are not NULL.
fn digits(values: &ArrayRef) -> impl Iterator<Item = i128> + '_ {
    values.as_primitive::<Decimal128Type>().iter().flatten()
}

/// One sum.
#[derive(Debug)]
struct One {
    total: Total,
    count: u64,
    data_type: DataType,
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        digits(&values[0]).for_each(|value| self.total.add(value));
        self.count += (values[0].len() - values[0].null_count()) as u64;
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        digits(&values[0]).for_each(|value| self.total.subtract(value));
        self.count -= (values[0].len() - values[0].null_count()) as u64;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = if self.count == 0 { None } else { Some(self.total.value()?) };
        ScalarValue::new_primitive::<Decimal128Type>(sum, &self.data_type)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// A sum per group.
#[derive(Debug)]
struct Groups {
    totals: Vec<Total>,
    counts: Vec<u64>,
    data_type: DataType,
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.totals.resize(total_num_groups, Total::default());
        self.counts.resize(total_num_groups, 0);
        let values = values[0].as_primitive::<Decimal128Type>();
        for (row, group) in group_indices.iter().enumerate() {
            let counts = opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if counts && values.is_valid(row) {
                self.totals[*group].add(values.value(row));
                self.counts[*group] += 1;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.update_batch(values, group_indices, None, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (totals, counts) = (emit_to.take_needed(&mut self.totals), emit_to.take_needed(&mut self.counts));
        let sum = |(total, count): (Total, u64)| if count == 0 { Ok(None) } else { total.value().map(Some) };
        let sums = totals.into_iter().zip(counts).map(sum).collect::<Result<Decimal128Array>>()?;
        Ok(Arc::new(sums.with_data_type(self.data_type.clone())))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<Decimal128Type>();
        let counts = |row: usize| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let value = |row: usize| (values.is_valid(row) && counts(row)).then(|| values.value(row));
        let sums: Decimal128Array = (0..values.len()).map(value).collect();
        Ok(vec![Arc::new(sums.with_data_type(self.data_type.clone()))])
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<Total>() + self.counts.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_beyond_128_bits_comes_back() {
        let mut total = Total::default();
        for _ in 0..5 {
            total.add(i128::MAX);
        }
        assert!(total.value().is_err());
        for _ in 0..10 {
            total.subtract(i128::MAX);
        }
        assert!(total.value().is_err());
        for _ in 0..5 {
            total.add(i128::MAX);
        }
        total.add(-7);
        assert_eq!(total.value().ok(), Some(-7));
    }
}
