//! `mode`: the most frequent value.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

/// `mode`, which takes the least of several that are as frequent, and `mode_of_last`, which takes the greatest.
pub(super) fn functions() -> [Arc<AggregateUDF>; 2] {
    let function = |name, greatest| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(AggregateUDF::from(Mode { name, greatest, signature }))
    };
    [function("mode", false), function("mode_of_last", true)]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mode {
    name: &'static str,
    greatest: bool,
    signature: Signature,
}

impl AggregateUDFImpl for Mode {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(arg_types[0].clone())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Counts { greatest: self.greatest, data_type: args.return_type().clone(), counts: HashMap::new() }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |what, data_type| {
            Arc::new(Field::new_list(format_state_name(args.name, what), Field::new_list_field(data_type, true), true))
        };
        Ok(vec![list("values", args.return_type().clone()), list("counts", DataType::Int64)])
    }
}

/// How often each value is there.
#[derive(Debug)]
struct Counts {
    greatest: bool,
    data_type: DataType,
    counts: HashMap<ScalarValue, i64>,
}

impl Counts {
    fn add(&mut self, values: &ArrayRef, weight: impl Fn(usize) -> i64) -> Result<()> {
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            let value = ScalarValue::try_from_array(values, row)?;
            *self.counts.entry(value).or_default() += weight(row);
        }
        self.counts.retain(|_, count| *count != 0);
        Ok(())
    }

    /// By how often it is there, then by its place in the order.
    fn compare(&self, (a, a_count): (&ScalarValue, i64), (b, b_count): (&ScalarValue, i64)) -> Ordering {
        let order = a.partial_cmp(b).unwrap_or(Ordering::Equal);
        a_count.cmp(&b_count).then(if self.greatest { order } else { order.reverse() })
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], |_| 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], |_| -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let counted = self.counts.iter().map(|(value, count)| (value, *count));
        match counted.max_by(|a, b| self.compare(*a, *b)) {
            Some((value, _)) => Ok(value.clone()),
            None => ScalarValue::try_new_null(&self.data_type),
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.counts.keys().map(|value| value.size() + size_of::<i64>()).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let (values, counts): (Vec<_>, Vec<_>) =
            self.counts.iter().map(|(value, count)| (value.clone(), ScalarValue::from(*count))).unzip();
        let list =
            |items: &[ScalarValue], data_type| ScalarValue::List(ScalarValue::new_list_nullable(items, data_type));
        Ok(vec![list(&values, &self.data_type), list(&counts, &DataType::Int64)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (values, counts) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for group in (0..values.len()).filter(|group| values.is_valid(*group)) {
            let counts = counts.value(group);
            let counts = counts.as_primitive::<Int64Type>();
            self.add(&values.value(group), |row| counts.value(row))?;
        }
        Ok(())
    }
}
