#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, ListArray, StringViewArray};
use arrow::datatypes::{Int32Type, Schema};
use proptest::prelude::*;

use super::*;

type Row = (Option<i64>, Option<String>, Weight);

fn delta(rows: &[Row]) -> Delta {
    let numbers: ArrayRef = Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new(rows.iter().map(|r| r.1.clone()).collect::<StringViewArray>());
    let batch = RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("t", texts, true)]).unwrap();
    Delta::new(batch, Some(rows.iter().map(|r| r.2).collect::<Vec<_>>().into()))
}

/// The function that a delta stands for.
fn function(delta: &Delta) -> HashMap<String, Weight> {
    let mut sums = HashMap::new();
    for line in delta.to_string().lines() {
        let (weight, row) = line.split_once(' ').unwrap();
        *sums.entry(row.to_owned()).or_default() += weight.parse::<Weight>().unwrap();
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

fn plus(a: &Delta, b: &Delta) -> Delta {
    Delta::concat(&a.schema(), &[a.clone(), b.clone()]).unwrap()
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let text = prop::option::of(prop_oneof!["[ab]", Just("longer than an inline view".to_owned())]);
    prop::collection::vec((prop::option::of(0..3_i64), text, -2..=2_i64), 0..40)
}

proptest! {
    #[test]
    fn keeps_the_function_and_is_idempotent(a in rows()) {
        let a = delta(&a);
        let once = consolidate(&a).unwrap();
        prop_assert_eq!(function(&once), function(&a));
        prop_assert_eq!(once.num_rows(), function(&a).len());
        prop_assert_eq!(consolidate(&once).unwrap().to_string(), once.to_string());
    }

    #[test]
    fn is_linear(a in rows(), b in rows()) {
        let (a, b) = (delta(&a), delta(&b));
        let sum = consolidate(&plus(&a, &b)).unwrap();
        let parts = consolidate(&plus(&consolidate(&a).unwrap(), &consolidate(&b).unwrap())).unwrap();
        prop_assert_eq!(sum.num_rows(), parts.num_rows());
        prop_assert_eq!(function(&sum), function(&parts));
    }

    #[test]
    fn a_delta_and_its_opposite_are_nothing(a in rows()) {
        let a = delta(&a);
        prop_assert!(consolidate(&plus(&a, &a.negate().unwrap())).unwrap().is_empty());
    }
}

#[test]
fn rows_keep_the_order_in_which_they_first_came() {
    let row = |n, weight| (Some(n), None, weight);
    let a = delta(&[row(3, 1), row(1, 1), row(2, 1), row(1, -1), row(3, 1)]);
    assert_eq!(consolidate(&a).unwrap().to_string(), "+2 3 | NULL\n+1 2 | NULL\n");
}

#[test]
fn weights_that_are_all_one_are_left_out() {
    let a = delta(&[(Some(1), None, 1), (Some(2), None, 2), (Some(2), None, -1)]);
    assert!(consolidate(&a).unwrap().weights().is_none());
}

#[test]
fn duplicates_without_weights_add_up() {
    let a = Delta::inserts(delta(&[(Some(1), None, 0), (Some(1), None, 0)]).batch().clone());
    assert_eq!(consolidate(&a).unwrap().to_string(), "+2 1 | NULL\n");
}

#[test]
fn a_row_of_weight_zero_is_dropped_even_when_alone() {
    assert!(consolidate(&delta(&[(Some(1), None, 0)])).unwrap().is_empty());
}

#[test]
fn lists_and_floats_are_rows_like_any_other() {
    let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        Some(vec![Some(1), None]),
        None,
    ]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, f64::NAN, 0.5]));
    let batch = RecordBatch::try_from_iter_with_nullable([("l", lists, true), ("f", floats, true)]).unwrap();
    assert_eq!(consolidate(&Delta::inserts(batch)).unwrap().to_string(), "+2 [1, NULL] | NaN\n+1 NULL | 0.5\n");
}

#[test]
fn rows_without_columns_are_all_equal() {
    let rows = |n| {
        let options = RecordBatchOptions::new().with_row_count(Some(n));
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
    };
    assert_eq!(consolidate(&Delta::inserts(rows(3))).unwrap().to_string(), "+3 \n");
    let cancelled = Delta::new(rows(2), Some(vec![1, -1].into()));
    assert!(consolidate(&cancelled).unwrap().is_empty());
}
