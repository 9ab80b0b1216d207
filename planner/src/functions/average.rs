//! `avg`: DataFusion's, of intervals too, whose last digit of a numeric is rounded as PostgreSQL rounds it. DataFusion cuts it off.
//!
//! Its accumulators are asked for one digit more than the type has, and that digit is rounded away: half away from zero. As only digits were cut
//! off behind it, this is the exact average's rounding.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Decimal128Array};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::average::{Avg, avg_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};

use super::interval_total::{self, INTERVAL};

/// `avg`, as SQL calls it.
pub fn function() -> Arc<AggregateUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(AggregateUDF::from(Average { inner: Avg::new(), signature }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Average {
    inner: Avg,
    signature: Signature,
}

impl AggregateUDFImpl for Average {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        interval_total::coerced(arg_types, &[INTERVAL], &avg_udaf())
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        if arg_types == [INTERVAL] { Ok(INTERVAL) } else { self.inner.return_type(arg_types) }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if *args.return_type() == INTERVAL && !args.is_distinct {
            return Ok(Box::new(interval_total::Total::new(true)));
        }
        match finer(&args.return_field) {
            Some(field) => {
                let target = args.return_field.data_type().clone();
                let inner = self.inner.accumulator(AccumulatorArgs { return_field: field, ..args })?;
                Ok(Box::new(Rounded { inner, target }))
            }
            None => self.inner.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if *args.return_type() == INTERVAL && !args.is_distinct {
            return Ok(interval_total::state_fields(args.name));
        }
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        *args.return_type() != INTERVAL && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        match finer(&args.return_field) {
            Some(field) => {
                let target = args.return_field.data_type().clone();
                let inner = self.inner.create_groups_accumulator(AccumulatorArgs { return_field: field, ..args })?;
                Ok(Box::new(Rounded { inner, target }))
            }
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// The field with one digit more behind the point, if it is a numeric that has room for it.
fn finer(field: &FieldRef) -> Option<FieldRef> {
    match field.data_type() {
        DataType::Decimal128(precision, scale) if *scale < DECIMAL128_MAX_PRECISION as i8 => {
            let data_type = DataType::Decimal128(DECIMAL128_MAX_PRECISION.min(precision + 1), scale + 1);
            Some(Arc::new(Field::clone(field).with_data_type(data_type)))
        }
        _ => None,
    }
}

/// An accumulator whose results have one digit more than `target`.
#[derive(Debug)]
struct Rounded<A> {
    inner: A,
    target: DataType,
}

impl<A> Rounded<A> {
    fn rounded(&self, finer: &ArrayRef) -> Result<ArrayRef> {
        let rounded: Decimal128Array = finer.as_primitive::<Decimal128Type>().unary(|value| {
            let (quotient, digit) = (value / 10, value % 10);
            quotient + i128::from(digit >= 5) - i128::from(digit <= -5)
        });
        Ok(Arc::new(rounded.with_data_type(self.target.clone())))
    }
}

impl Accumulator for Rounded<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let finer = self.inner.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&self.rounded(&finer)?, 0)
    }

    fn size(&self) -> usize {
        size_of::<DataType>() + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

impl GroupsAccumulator for Rounded<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.inner.update_batch(values, group_indices, opt_filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let finer = self.inner.evaluate(emit_to)?;
        self.rounded(&finer)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.inner.merge_batch(values, group_indices, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, opt_filter)
    }

    fn size(&self) -> usize {
        size_of::<DataType>() + self.inner.size()
    }
}
