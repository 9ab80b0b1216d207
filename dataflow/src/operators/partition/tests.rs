//! Partitions against recomputation in plain code. See [`super::super::testing`].
#![allow(clippy::unwrap_used)]

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::functions_aggregate::{array_agg, count, min_max, string_agg, sum};
use datafusion::functions_window::{cume_dist, lead_lag, nth_value, ntile, rank, row_number};
use datafusion::logical_expr::{
    AggregateUDF, Expr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, lit,
};
use datafusion::scalar::ScalarValue;
use planner::incremental::{
    AggregateCall, GroupWindow, Node, OnError, OrderKey, OrderedCall, Partition, PartitionRule, Place, Top, WindowCall,
};
use proptest::prelude::*;

use super::super::testing::{
    Bag, Case, Kind, Row, TextRow, World, add, check, column, data_type, input, input_id, schema, shown, steps, text,
};
use super::super::tests::{size, window_kind, window_oracle, windowed};
use crate::view::ViewForm;

use Kind::{Int, Text, Time};

/// Many values, so that few rows are peers.
fn spread_steps() -> impl Strategy<Value = Vec<super::super::testing::Step>> {
    prop_oneof![steps(vec![3], 4, true), steps(vec![3], 40, true)]
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 64, ..ProptestConfig::default() }
}

const KINDS: [Kind; 3] = [Int, Int, Text];

fn key(index: usize, descending: bool) -> OrderKey {
    OrderKey { expression: column(index), descending, nulls_first: descending }
}

fn partition(keys: usize, rule: PartitionRule, added: &[DataType], append_only: bool) -> Arc<Node> {
    let input_types = KINDS.iter().map(|kind| data_type(*kind));
    let types: Vec<DataType> = match &rule {
        PartitionRule::Aggregates(_) => input_types.take(keys).chain(added.iter().cloned()).collect(),
        _ => input_types.chain(added.iter().cloned()).collect(),
    };
    Arc::new(Node::Partition(Partition {
        input: input(0, &KINDS, append_only),
        keys: (0..keys).map(column).collect(),
        rule,
        window: None,
        on_error: OnError::Report,
        schema: schema(types),
    }))
}

fn case(root: Arc<Node>) -> Case {
    Case { root, kinds: vec![KINDS.to_vec()], form: ViewForm::Bag }
}

/// The order of the operator: the keys, then all columns, NULL first.
fn compare(order: &[(usize, bool)], a: &Row, b: &Row) -> Ordering {
    by_keys(order, a, b).then_with(|| value(a).cmp(&value(b)))
}

fn value(row: &Row) -> (Option<i64>, Option<i64>, Option<String>) {
    (row[0], row[1], row[2].map(text))
}

/// Ascending with NULLs last, or descending with NULLs first.
fn by_keys(order: &[(usize, bool)], a: &Row, b: &Row) -> Ordering {
    order.iter().fold(Ordering::Equal, |known, (column, descending)| {
        let (a, b) = (value(a), value(b));
        let one = match column {
            2 => (a.2.is_none(), &a.2).cmp(&(b.2.is_none(), &b.2)),
            1 => (a.1.is_none(), a.1).cmp(&(b.1.is_none(), b.1)),
            _ => (a.0.is_none(), a.0).cmp(&(b.0.is_none(), b.0)),
        };
        known.then(if *descending { one.reverse() } else { one })
    })
}

/// The rows of each partition, each as often as it is there.
fn partitions(rows: &Bag<Row>, keys: usize) -> Vec<Vec<Row>> {
    let mut found: std::collections::BTreeMap<Row, Vec<Row>> = Default::default();
    for (row, weight) in rows {
        let copies = std::iter::repeat_n(row.clone(), *weight as usize);
        found.entry(row[..keys].to_vec()).or_default().extend(copies);
    }
    found.into_values().collect()
}

fn sorted(rows: &[Row], order: &[(usize, bool)]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    rows.sort_by(|a, b| compare(order, a, b));
    rows
}

fn shown_row(row: &Row) -> TextRow {
    KINDS.iter().zip(row).map(|(kind, value)| shown(*kind, *value)).collect()
}

fn number(value: Option<i64>) -> String {
    shown(Int, value)
}

fn window(function: WindowFunctionDefinition, args: Vec<Expr>, order: Vec<OrderKey>, frame: WindowFrame) -> WindowCall {
    WindowCall { function, args, order, frame, filter: None, ignore_nulls: false }
}

fn rows_frame(before: u64, after: u64) -> WindowFrame {
    let bound = |n| ScalarValue::UInt64(Some(n));
    let (start, end) = (WindowFrameBound::Preceding(bound(before)), WindowFrameBound::Following(bound(after)));
    WindowFrame::new_bounds(WindowFrameUnits::Rows, start, end)
}

fn windows_case(keys: usize) -> Case {
    let udwf = WindowFunctionDefinition::WindowUDF;
    let udaf = WindowFunctionDefinition::AggregateUDF;
    let by_value = || vec![key(1, false)];
    let calls = vec![
        window(udwf(row_number::row_number_udwf()), vec![], vec![key(1, true)], WindowFrame::new(Some(false))),
        window(udwf(rank::rank_udwf()), vec![], by_value(), WindowFrame::new(Some(false))),
        window(udwf(lead_lag::lag_udwf()), vec![column(1), lit(1_i64)], by_value(), WindowFrame::new(Some(false))),
        window(udaf(sum::sum_udaf()), vec![column(1)], by_value(), rows_frame(1, 1)),
        // What a frame that grows by peers sees, and the whole partition.
        window(udaf(count::count_udaf()), vec![column(1)], by_value(), WindowFrame::new(Some(false))),
        window(udaf(array_agg::array_agg_udaf()), vec![column(1)], vec![], rows_frame(1, 0)),
    ];
    let list = DataType::new_list(DataType::Int64, true);
    let (long, signed) = (DataType::UInt64, DataType::Int64);
    let types = [long.clone(), long, signed.clone(), signed.clone(), signed, list];
    case(partition(keys, PartitionRule::Windows(calls), &types, false))
}

fn windows_oracle(world: &World<'_>, keys: usize) -> Bag<TextRow> {
    let mut bag = Bag::new();
    for rows in partitions(&world.inputs[0], keys) {
        let (falling, rising) = (sorted(&rows, &[(1, true)]), sorted(&rows, &[(1, false)]));
        let plain = sorted(&rows, &[]);
        // Of equal rows each stands at its own place, which one doesn't matter.
        let mut seen: Bag<Row> = Bag::new();
        for row in &rising {
            let copy = *seen.entry(row.clone()).and_modify(|n| *n += 1).or_insert(0) as usize;
            let place = |rows: &[Row]| rows.iter().position(|other| other == row).unwrap() + copy;
            let (at, plain_at) = (place(&rising), place(&plain));
            let rank = rising.iter().position(|other| by_keys(&[(1, false)], other, row).is_eq()).unwrap();
            let peers = rising.iter().take_while(|other| by_keys(&[(1, false)], other, row).is_le());
            let frame: Vec<i64> =
                rising[at.saturating_sub(1)..rows.len().min(at + 2)].iter().filter_map(|r| r[1]).collect();
            let list: Vec<String> = plain[plain_at.saturating_sub(1)..=plain_at].iter().map(|r| number(r[1])).collect();
            let results = [
                (place(&falling) + 1).to_string(),
                (rank + 1).to_string(),
                number(at.checked_sub(1).and_then(|before| rising[before][1])),
                number((!frame.is_empty()).then(|| frame.iter().sum())),
                peers.filter(|r| r[1].is_some()).count().to_string(),
                format!("[{}]", list.join(", ")),
            ];
            add(&mut bag, shown_row(row).into_iter().chain(results).collect(), 1);
        }
    }
    bag
}

/// Functions of which it is known what a change reaches, in one order.
fn local_case(keys: usize, runs: bool) -> Case {
    let udwf = WindowFunctionDefinition::WindowUDF;
    let udaf = WindowFunctionDefinition::AggregateUDF;
    let by_value = || vec![key(1, false)];
    let growing = || WindowFrame::new(Some(false));
    let by_rows = || {
        let start = WindowFrameBound::Preceding(ScalarValue::UInt64(None));
        WindowFrame::new_bounds(WindowFrameUnits::Rows, start, WindowFrameBound::CurrentRow)
    };
    let near = vec![
        window(udwf(lead_lag::lag_udwf()), vec![column(0), lit(2_i64)], by_value(), growing()),
        window(udwf(lead_lag::lead_udwf()), vec![column(0)], by_value(), growing()),
        window(udaf(sum::sum_udaf()), vec![column(0)], by_value(), rows_frame(1, 2)),
        window(udwf(nth_value::last_value_udwf()), vec![column(0)], by_value(), growing()),
    ];
    let running = vec![
        window(udwf(row_number::row_number_udwf()), vec![], by_value(), growing()),
        window(udwf(rank::rank_udwf()), vec![], by_value(), growing()),
        window(udwf(rank::dense_rank_udwf()), vec![], by_value(), growing()),
        window(udaf(sum::sum_udaf()), vec![column(0)], by_value(), by_rows()),
        window(udaf(count::count_udaf()), vec![column(0)], by_value(), growing()),
        window(udaf(min_max::max_udaf()), vec![column(0)], by_value(), growing()),
    ];
    let (long, signed) = (DataType::UInt64, DataType::Int64);
    let near_types = vec![signed.clone(); 4];
    let running_types = [long.clone(), long.clone(), long, signed.clone(), signed.clone(), signed];
    let calls = if runs { near.into_iter().chain(running).collect() } else { near };
    let types = if runs { near_types.into_iter().chain(running_types).collect() } else { near_types };
    case(partition(keys, PartitionRule::Windows(calls), &types, false))
}

fn local_oracle(world: &World<'_>, keys: usize, runs: bool) -> Bag<TextRow> {
    let mut bag = Bag::new();
    let order = [(1, false)];
    for rows in partitions(&world.inputs[0], keys) {
        let rows = sorted(&rows, &order);
        let sum = |rows: &[Row]| {
            let values: Vec<i64> = rows.iter().filter_map(|row| row[0]).collect();
            number((!values.is_empty()).then(|| values.iter().sum()))
        };
        for (at, row) in rows.iter().enumerate() {
            let is_before = |other: &&Row| by_keys(&order, other, row).is_lt();
            let rank = rows.iter().filter(is_before).count();
            let peers_end = rows.iter().filter(|other| by_keys(&order, other, row).is_le()).count();
            let mut groups: Vec<Option<i64>> = rows[..rank].iter().map(|row| row[1]).collect();
            groups.dedup();
            let until = &rows[..peers_end];
            let near = [
                number(at.checked_sub(2).and_then(|place| rows[place][0])),
                number(rows.get(at + 1).and_then(|row| row[0])),
                sum(&rows[at.saturating_sub(1)..rows.len().min(at + 3)]),
                number(rows[peers_end - 1][0]),
            ];
            let running = [
                (at + 1).to_string(),
                (rank + 1).to_string(),
                (groups.len() + 1).to_string(),
                sum(&rows[..=at]),
                until.iter().filter(|row| row[0].is_some()).count().to_string(),
                number(until.iter().filter_map(|row| row[0]).max()),
            ];
            let results = near.into_iter().chain(running).take(if runs { 10 } else { 4 });
            add(&mut bag, shown_row(row).into_iter().chain(results).collect(), 1);
        }
    }
    bag
}

/// An order of numbers.
#[derive(Clone, Copy, Debug)]
struct By {
    descending: bool,
    nulls_first: bool,
}

impl By {
    fn key(self) -> OrderKey {
        OrderKey { expression: column(1), descending: self.descending, nulls_first: self.nulls_first }
    }

    fn compare(self, a: &Row, b: &Row) -> Ordering {
        match (a[1], b[1]) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) if self.nulls_first => Ordering::Less,
            (Some(_), None) if !self.nulls_first => Ordering::Less,
            (None, Some(_)) | (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) if self.descending => b.cmp(&a),
            (Some(a), Some(b)) => a.cmp(&b),
        }
    }
}

fn any_order() -> impl Strategy<Value = By> {
    (any::<bool>(), any::<bool>()).prop_map(|(descending, nulls_first)| By { descending, nulls_first })
}

/// How far frames reach before and behind a row, in keys and in groups of peers; less than nothing is on the other side.
const DISTANCES: [(WindowFrameUnits, i64, i64); 6] = [
    (WindowFrameUnits::Range, 2, 0),
    (WindowFrameUnits::Range, 1, 3),
    (WindowFrameUnits::Range, -1, 2),
    (WindowFrameUnits::Groups, 2, 1),
    (WindowFrameUnits::Groups, 3, -1),
    (WindowFrameUnits::Range, 0, 0),
];

fn distances_case(keys: usize, by: By, which: Range<usize>) -> Case {
    let call = |(units, back, ahead): &(WindowFrameUnits, i64, i64)| {
        let value = |by: i64| match units {
            WindowFrameUnits::Range => ScalarValue::Int64(Some(by)),
            _ => ScalarValue::UInt64(Some(by as u64)),
        };
        let bound = |by: i64| match by {
            0 => WindowFrameBound::CurrentRow,
            by if by > 0 => WindowFrameBound::Following(value(by)),
            by => WindowFrameBound::Preceding(value(-by)),
        };
        let frame = WindowFrame::new_bounds(*units, bound(-back), bound(*ahead));
        window(WindowFunctionDefinition::AggregateUDF(sum::sum_udaf()), vec![column(0)], vec![by.key()], frame)
    };
    let calls: Vec<_> = DISTANCES[which].iter().map(call).collect();
    let types = vec![DataType::Int64; calls.len()];
    case(partition(keys, PartitionRule::Windows(calls), &types, false))
}

fn distances_oracle(world: &World<'_>, keys: usize, by: By, which: Range<usize>) -> Bag<TextRow> {
    let mut bag = Bag::new();
    for mut rows in partitions(&world.inputs[0], keys) {
        rows.sort_by(|a, b| by.compare(a, b));
        let groups: Vec<Vec<Row>> = rows.chunk_by(|a, b| by.compare(a, b).is_eq()).map(<[Row]>::to_vec).collect();
        for (at, group) in (0_i64..).zip(&groups) {
            let result = |(units, back, ahead): &(WindowFrameUnits, i64, i64)| {
                let distance = |(place, other): (i64, &Vec<Row>)| match (units, group[0][1], other[0][1]) {
                    (WindowFrameUnits::Groups, ..) => Some(place - at),
                    (_, None, None) => None,
                    (_, None, _) | (_, _, None) => Some(i64::MAX),
                    (_, Some(this), Some(that)) => Some(if by.descending { this - that } else { that - this }),
                };
                // NULL has no neighbours, at whatever distance.
                let is_seen = |other: &(i64, &Vec<Row>)| distance(*other).is_none_or(|d| (-back..=*ahead).contains(&d));
                let seen = (0_i64..).zip(&groups).filter(is_seen).flat_map(|(_, group)| group);
                let values: Vec<i64> = seen.filter_map(|row| row[0]).collect();
                number((!values.is_empty()).then(|| values.iter().sum()))
            };
            let results: Vec<String> = DISTANCES[which.clone()].iter().map(result).collect();
            for row in group {
                add(&mut bag, shown_row(row).into_iter().chain(results.iter().cloned()).collect(), 1);
            }
        }
    }
    bag
}

/// Functions of a row's place and the number of rows, with others that reach a neighbour or all rows before.
fn ranked_case(keys: usize, by: By, buckets: i64, others: bool) -> Case {
    let udwf = WindowFunctionDefinition::WindowUDF;
    let call = |function, args| window(udwf(function), args, vec![by.key()], WindowFrame::new(Some(false)));
    let mut calls = vec![call(ntile::ntile_udwf(), vec![lit(buckets)])];
    let mut types = vec![DataType::Int64];
    if others {
        calls.extend([
            call(rank::percent_rank_udwf(), vec![]),
            call(cume_dist::cume_dist_udwf(), vec![]),
            call(lead_lag::lag_udwf(), vec![column(0)]),
            call(row_number::row_number_udwf(), vec![]),
        ]);
        types.extend([DataType::Float64, DataType::Float64, DataType::Int64, DataType::UInt64]);
    }
    case(partition(keys, PartitionRule::Windows(calls), &types, false))
}

fn ranked_oracle(world: &World<'_>, keys: usize, by: By, buckets: i64, others: bool) -> Bag<TextRow> {
    let mut bag = Bag::new();
    for mut rows in partitions(&world.inputs[0], keys) {
        rows.sort_by(|a, b| by.compare(a, b).then_with(|| value(a).cmp(&value(b))));
        let (total, buckets) = (rows.len(), buckets as usize);
        let ntile = (0..buckets).flat_map(|bucket| {
            std::iter::repeat_n(bucket + 1, total / buckets + usize::from(bucket < total % buckets))
        });
        for ((at, row), bucket) in rows.iter().enumerate().zip(ntile) {
            let before = rows.iter().filter(|other| by.compare(other, row).is_lt()).count();
            let until = rows.iter().filter(|other| by.compare(other, row).is_le()).count();
            let results = [
                bucket.to_string(),
                format!("{:?}", before as f64 / (total as f64 - 1.0).max(1.0)),
                format!("{:?}", until as f64 / total as f64),
                number(at.checked_sub(1).and_then(|before| rows[before][0])),
                (at + 1).to_string(),
            ];
            let results = results.into_iter().take(if others { 5 } else { 1 });
            add(&mut bag, shown_row(row).into_iter().chain(results).collect(), 1);
        }
    }
    bag
}

fn top_case(keys: usize, top: &Top, append_only: bool) -> Case {
    let added: Vec<DataType> = top.place.iter().map(|_| DataType::UInt64).collect();
    case(partition(keys, PartitionRule::Top(top.clone()), &added, append_only))
}

fn top_oracle(rows: &Bag<Row>, keys: usize, top: &Top) -> Bag<TextRow> {
    let mut bag = Bag::new();
    let order = if top.order.is_empty() { vec![] } else { vec![(1, true)] };
    for rows in partitions(rows, keys) {
        let rows = sorted(&rows, &order);
        let last = top.last_place().unwrap_or(rows.len());
        let begins = |at: &usize| *at == 0 || by_keys(&order, &rows[*at - 1], &rows[*at]).is_ne();
        let firsts: Vec<usize> = (0..rows.len()).filter(begins).collect();
        let mut end = last.min(rows.len());
        if top.place == Some(Place::DenseRank) {
            end = firsts.get(last).copied().unwrap_or(rows.len());
        } else if top.ties && end > 0 && top.fetch != Some(0) {
            let last = rows[end - 1].clone();
            end += rows[end..].iter().take_while(|row| by_keys(&order, row, &last).is_eq()).count();
        }
        for (at, row) in rows.iter().enumerate().take(end).skip(top.offset) {
            let rank = rows.iter().position(|other| by_keys(&order, other, row).is_eq()).unwrap();
            let place = top.place.map(|place| match place {
                Place::Row => at + 1,
                Place::Rank => rank + 1,
                Place::DenseRank => firsts.iter().filter(|first| **first <= at).count(),
            });
            add(&mut bag, shown_row(row).into_iter().chain(place.map(|p| p.to_string())).collect(), 1);
        }
    }
    bag
}

fn any_top() -> impl Strategy<Value = Top> {
    let place = prop_oneof![Just(None), Just(Some(Place::Row)), Just(Some(Place::Rank)), Just(Some(Place::DenseRank))];
    let fetch = prop_oneof![4 => (0..4_usize).prop_map(Some), 1 => Just(None)];
    (any::<bool>(), 0..3_usize, fetch, any::<bool>(), place).prop_map(|(ordered, offset, fetch, ties, place)| Top {
        order: if ordered { vec![key(1, true)] } else { vec![] },
        offset,
        fetch,
        ties,
        place,
    })
}

fn ordered(
    function: Arc<AggregateUDF>,
    args: Vec<Expr>,
    distinct: bool,
    filter: Option<Expr>,
    order: Vec<OrderKey>,
) -> OrderedCall {
    OrderedCall { call: AggregateCall { function, args, distinct, filter }, order, ignore_nulls: false }
}

fn aggregates_case(keys: usize, append_only: bool) -> Case {
    let calls = vec![
        ordered(array_agg::array_agg_udaf(), vec![column(1)], false, None, vec![key(2, true)]),
        ordered(string_agg::string_agg_udaf(), vec![column(2), lit("/")], true, None, vec![]),
        ordered(count::count_udaf(), vec![lit(1_i64)], false, Some(column(1).gt(lit(1_i64))), vec![]),
        ordered(array_agg::array_agg_udaf(), vec![column(1)], true, Some(column(1).is_not_null()), vec![key(1, true)]),
    ];
    let list = DataType::new_list(DataType::Int64, true);
    let types = [list.clone(), DataType::LargeUtf8, DataType::Int64, list];
    case(partition(keys, PartitionRule::Aggregates(calls), &types, append_only))
}

fn aggregates_oracle(world: &World<'_>, keys: usize) -> Bag<TextRow> {
    let mut groups = partitions(&world.inputs[0], keys);
    if keys == 0 && groups.is_empty() {
        groups.push(vec![]);
    }
    let list = |values: Vec<Option<i64>>| {
        let values: Vec<String> = values.into_iter().map(number).collect();
        if values.is_empty() { "NULL".to_owned() } else { format!("[{}]", values.join(", ")) }
    };
    let row = |rows: Vec<Row>| -> TextRow {
        let key = rows.first().map_or(vec![], |row| row[..keys].to_vec());
        let by_text = sorted(&rows, &[(2, true)]).iter().map(|row| row[1]).collect();
        let mut texts: Vec<String> = rows.iter().filter_map(|row| row[2].map(text)).collect();
        texts.sort();
        texts.dedup();
        let mut values: Vec<Option<i64>> = rows.iter().map(|row| row[1]).filter(Option::is_some).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.dedup();
        let results = [
            list(by_text),
            if texts.is_empty() { "NULL".to_owned() } else { texts.join("/") },
            rows.iter().filter(|row| row[1].is_some_and(|v| v > 1)).count().to_string(),
            list(values),
        ];
        key.into_iter().map(number).chain(results).collect()
    };
    groups.into_iter().map(|rows| (row(rows), 1)).collect()
}

/// The two rows with the greatest numbers of each window.
fn windowed_top(kind: planner::incremental::WindowKind, by_start: bool) -> Case {
    let kinds = vec![Time, Int];
    let (end_column, offset_us) = if by_start { (2, size(kind)) } else { (3, 0) };
    let top = Top { order: vec![key(1, true)], offset: 0, fetch: Some(2), ties: false, place: None };
    let input = windowed(kind, &kinds);
    let root = Arc::new(Node::Partition(Partition {
        schema: input.schema().clone(),
        input,
        keys: vec![column(end_column)],
        rule: PartitionRule::Top(top),
        window: Some(GroupWindow { end_key: 0, offset_us, watermark_of: vec![input_id(0)] }),
        on_error: OnError::Report,
    }));
    Case { root, kinds: vec![kinds], form: ViewForm::Bag }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn window_functions_see_their_partition(steps in steps(vec![3], 4, true), keys in 0..3_usize) {
        check(&windows_case(keys), &steps, || move |world: &World<'_>| windows_oracle(world, keys));
    }

    #[test]
    fn large_partitions_are_computed_where_they_change(
        steps in spread_steps(), keys in 0..2_usize, runs in any::<bool>()
    ) {
        check(&local_case(keys, runs), &steps, || move |world: &World<'_>| local_oracle(world, keys, runs));
    }

    #[test]
    fn frames_by_distance_are_computed_where_they_change(
        steps in spread_steps(), keys in 0..2_usize, by in any_order(), which in prop_oneof![Just(0..6), (0..6_usize).prop_map(|w| w..w + 1)]
    ) {
        check(&distances_case(keys, by, which.clone()), &steps, || {
            let which = which.clone();
            move |world: &World<'_>| distances_oracle(world, keys, by, which.clone())
        });
    }

    #[test]
    fn ranks_change_with_the_number_of_rows(
        steps in spread_steps(), keys in 0..2_usize, by in any_order(), buckets in 1..5_i64, others in any::<bool>()
    ) {
        check(&ranked_case(keys, by, buckets, others), &steps, || {
            move |world: &World<'_>| ranked_oracle(world, keys, by, buckets, others)
        });
    }

    #[test]
    fn first_rows_come_back_when_others_go(steps in spread_steps(), keys in 0..2_usize, top in any_top()) {
        check(&top_case(keys, &top, false), &steps, || |world: &World<'_>| top_oracle(&world.inputs[0], keys, &top));
    }

    #[test]
    fn first_rows_of_an_input_that_grows(steps in steps(vec![3], 4, false), keys in 0..2_usize, top in any_top()) {
        check(&top_case(keys, &top, true), &steps, || |world: &World<'_>| top_oracle(&world.inputs[0], keys, &top));
    }

    #[test]
    fn aggregates_see_their_group_in_order(steps in steps(vec![3], 4, true), keys in 0..3_usize) {
        check(&aggregates_case(keys, false), &steps, || move |world: &World<'_>| aggregates_oracle(world, keys));
    }

    #[test]
    fn closed_partitions_keep_their_rows(steps in steps(vec![2], 12, false), kind in window_kind(), by_start in any::<bool>()) {
        check(&windowed_top(kind, by_start), &steps, || {
            let mut all = Bag::new();
            move |world: &World<'_>| {
                window_oracle(world, kind, &mut all);
                let mut bag = Bag::new();
                let mut windows: std::collections::BTreeMap<Option<i64>, Vec<Row>> = Default::default();
                for (row, weight) in &all {
                    windows.entry(row[3]).or_default().extend(std::iter::repeat_n(row.clone(), *weight as usize));
                }
                for rows in windows.values_mut() {
                    // The greatest numbers first, NULL before all; then the order of columns.
                    rows.sort_by(|a, b| (b[1].is_none(), b[1]).cmp(&(a[1].is_none(), a[1])).then_with(|| a.cmp(b)));
                    for row in rows.iter().take(2) {
                        let shown = row.iter().zip([Time, Int, Time, Time]).map(|(value, kind)| shown(kind, *value));
                        add(&mut bag, shown.collect(), 1);
                    }
                }
                bag
            }
        });
    }
}

#[test]
fn what_a_limit_leaves_out_is_not_kept() {
    use super::super::testing::{After, Op, Step};
    let top = Top { order: vec![key(1, true)], offset: 0, fetch: Some(2), ties: false, place: None };
    let node = top_case(1, &top, true).root;
    let Node::Partition(plan) = &*node else { unreachable!() };
    assert!(plan.keeps_only_top());
    let rows = (0..100).map(|i| Op::Insert { input: 0, row: vec![Some(i % 2), Some(i), Some(i)] }).collect();
    let steps = [Step { ops: rows, advance: 0, after: After::Checkpoint }];
    let kept = super::super::testing::state_rows(&top_case(1, &top, true), &steps);
    assert_eq!(kept, 4);
}
