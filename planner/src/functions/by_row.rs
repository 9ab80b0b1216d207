//! `lag`, `lead` and `nth_value` whose distance differs from row to row, and `ntile` of a column: DataFusion's take one for all rows of a partition.
//!
//! A distance, and what `lag` and `lead` give beyond the partition, are those of the row itself; NULL gives NULL. `ntile` reads its argument at the first row of the
//! partition where it isn't NULL; rows before that have NULL.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, new_null_array};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    Expr, PartitionEvaluator, Signature, TypeSignature, Volatility, WindowUDF, WindowUDFImpl,
};

use super::excluding::nth;
use crate::Error;
use crate::error::ErrorKind;

/// See [the module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ByRow {
    function: Function,
    signature: Signature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Function {
    Lag,
    Lead,
    Nth,
    Ntile,
}

impl ByRow {
    /// The function in the place of DataFusion's, if one of these arguments is another one from row to row.
    pub(crate) fn instead_of(function: &WindowUDF, args: &[Expr]) -> Option<Arc<WindowUDF>> {
        let (function, fixed) = match function.name() {
            "lag" => (Function::Lag, 1),
            "lead" => (Function::Lead, 1),
            "nth_value" => (Function::Nth, 1),
            "ntile" => (Function::Ntile, 0),
            _ => return None,
        };
        let varies = |arg: &Expr| !arg.column_refs().is_empty() || arg.contains_outer();
        if !args.iter().skip(fixed).any(varies) {
            return None;
        }
        let signature = Signature::new(TypeSignature::VariadicAny, Volatility::Immutable);
        Some(Arc::new(WindowUDF::from(Self { function, signature })))
    }

    /// The function that it is, if it is one of these.
    pub(crate) fn of(function: &WindowUDF) -> Option<&Self> {
        function.inner().downcast_ref()
    }

    /// How it is written.
    pub(crate) fn function(&self) -> &'static str {
        match self.function {
            Function::Lag => "lag",
            Function::Lead => "lead",
            Function::Nth => "nth_value",
            Function::Ntile => "ntile",
        }
    }
}

impl WindowUDFImpl for ByRow {
    fn name(&self) -> &str {
        match self.function {
            Function::Lag => "lag by row",
            Function::Lead => "lead by row",
            Function::Nth => "nth_value by row",
            Function::Ntile => "ntile by row",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        let field = match self.function {
            Function::Ntile => Field::new(args.name(), DataType::Int32, true),
            _ => Field::clone(&*args.input_fields()[0]).with_name(args.name()).with_nullable(true),
        };
        Ok(field.into())
    }

    fn partition_evaluator(&self, _args: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator { function: self.function, row: 0 }))
    }
}

/// Evaluates a partition, whose rows come one after the other.
#[derive(Debug)]
struct Evaluator {
    function: Function,
    row: usize,
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        match self.function {
            Function::Lag => at_distance(values, rows, -1),
            Function::Lead => at_distance(values, rows, 1),
            _ => tiles(&integers(&values[0])?, rows),
        }
    }

    fn evaluate(&mut self, values: &[ArrayRef], frame: &Range<usize>) -> Result<ScalarValue> {
        let row = self.row;
        self.row += 1;
        let found = nth(values, row)?.checked_sub(1).and_then(|before| frame.start.checked_add(before));
        match found.filter(|place| *place < frame.end) {
            Some(place) => ScalarValue::try_from_array(&values[0], place),
            None => ScalarValue::try_from(values[0].data_type()),
        }
    }

    fn uses_window_frame(&self) -> bool {
        self.function == Function::Nth
    }
}

fn integers(values: &ArrayRef) -> Result<Int64Array> {
    Ok(cast(values, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

/// The value of the row that is so many rows behind, in a direction; else what stands in its place.
fn at_distance(values: &[ArrayRef], rows: usize, direction: i64) -> Result<ArrayRef> {
    let distances = match values.get(1) {
        Some(distances) => integers(distances)?,
        None => Int64Array::from_value(1, rows),
    };
    let data_type = values[0].data_type();
    let others = match values.get(2) {
        Some(others) => cast(others, data_type)?,
        None => new_null_array(data_type, rows),
    };
    let null = new_null_array(data_type, 1);
    let source = |row: usize| {
        if distances.is_null(row) {
            return (2, 0);
        }
        let distance = distances.value(row).checked_mul(direction).and_then(|distance| isize::try_from(distance).ok());
        match distance.and_then(|distance| row.checked_add_signed(distance)).filter(|place| *place < rows) {
            Some(place) => (0, place),
            None => (1, row),
        }
    };
    let sources: Vec<(usize, usize)> = (0..rows).map(source).collect();
    Ok(interleave(&[values[0].as_ref(), others.as_ref(), null.as_ref()], &sources)?)
}

/// The rows in so many parts, the first of which have one row more where they aren't equal.
fn tiles(parts: &Int64Array, rows: usize) -> Result<ArrayRef> {
    let Some(first) = (0..rows).find(|row| parts.is_valid(*row)) else {
        return Ok(Arc::new(Int32Array::new_null(rows)));
    };
    let parts = usize::try_from(parts.value(first))
        .ok()
        .filter(|parts| *parts > 0)
        .ok_or_else(|| Error::new(ErrorKind::InvalidParameterValue, "argument of ntile must be greater than zero"))?;
    let (least, larger) = (rows / parts, rows % parts);
    let place = |row: usize| {
        let at = row - first;
        let in_larger = larger * (least + 1);
        let tile = if at < in_larger { at / (least + 1) } else { larger + (at - in_larger) / least };
        i32::try_from(tile + 1).ok()
    };
    Ok(Arc::new((0..rows).map(|row| (row >= first).then(|| place(row)).flatten()).collect::<Int32Array>()))
}
