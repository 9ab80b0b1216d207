//! `width_bucket(operand, thresholds)`: among thresholds that go up, how many a value has reached.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Builder, make_comparator};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::definition::{arrays, columnar, undefined};
use crate::Error;
use crate::error::{DataError, ErrorKind};

/// The number of the last threshold that isn't beyond the operand, 0 for none. What comes of thresholds that don't go up is open, as in PostgreSQL.
///
/// # Errors
/// A NULL among the thresholds (22004), types that can't be compared (42883).
pub(super) fn bucket(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let DataType::List(element) = columns[1].data_type() else { return undefined("width_bucket", &args.arg_fields) };
    let of_text = |data_type: &DataType| data_type.is_string();
    let common = match comparison_coercion(columns[0].data_type(), element.data_type()) {
        Some(common) if of_text(columns[0].data_type()) == of_text(element.data_type()) => common,
        _ => return undefined("width_bucket", &args.arg_fields),
    };
    let (operands, lists) = (cast(&columns[0], &common)?, columns[1].as_list::<i32>());
    let thresholds = cast(lists.values(), &common)?;
    let compare = make_comparator(operands.as_ref(), thresholds.as_ref(), SortOptions::default())?;
    let mut builder = Int32Builder::with_capacity(operands.len());
    for row in 0..operands.len() {
        if operands.is_null(row) || lists.is_null(row) {
            builder.append_null();
            continue;
        }
        let first = lists.value_offsets()[row] as usize;
        let mut reached = first..first + lists.value_length(row) as usize;
        if reached.clone().any(|at| thresholds.is_null(at)) {
            let kind = ErrorKind::Data(DataError::NullValue);
            return Err(Error::new(kind, "thresholds array must not contain NULLs").into());
        }
        while !reached.is_empty() {
            let middle = reached.start.midpoint(reached.end);
            match compare(row, middle) {
                Ordering::Less => reached.end = middle,
                _ => reached.start = middle + 1,
            }
        }
        builder.append_value((reached.start - first) as i32);
    }
    let buckets: ArrayRef = Arc::new(builder.finish());
    columnar(args, buckets)
}
