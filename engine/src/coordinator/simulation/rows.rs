//! Rows as text, to compare what an engine has with what the model says.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use delta::Delta;

/// How often each row is there.
pub(super) type Bag = BTreeMap<String, i64>;

/// Adds changes to a bag.
pub(super) fn add(bag: &mut Bag, delta: &Delta) {
    for row in 0..delta.num_rows() {
        let weight = bag.entry(text(delta.batch(), row)).or_default();
        *weight += delta.weight(row);
    }
    bag.retain(|_, weight| *weight != 0);
}

/// A row's values between bars; times are microseconds since 1970.
pub(super) fn text(batch: &RecordBatch, row: usize) -> String {
    let values: Vec<String> = batch.columns().iter().map(|column| value(column, row)).collect();
    values.join("|")
}

fn value(column: &dyn Array, row: usize) -> String {
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        return numbers.value(row).to_string();
    }
    if let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() {
        return times.value(row).to_string();
    }
    array_value_to_string(column, row).expect("a value can be shown")
}
