//! Each operator against recomputation. See [`super::testing`].
#![allow(clippy::unwrap_used)]

mod as_of;
mod cumulate;
mod nested_loop;
mod recursive;
mod retention;
mod session;
mod set_operation;
mod state_figures;
mod state_ttl;
mod temporal;
mod temporal_join;
mod unnest;

use std::sync::Arc;

use arrow::datatypes::DataType;
use catalog::LatePolicy;
use datafusion::functions_aggregate::{count, min_max, sum};
use datafusion::logical_expr::{Expr, col, lit};
use planner::incremental::*;
use proptest::prelude::*;

use super::testing::{
    Bag, Case, Kind, Row, Step, TextRow, World, add, check, check_silent, column, data_type, input, input_id, schema,
    schema_of, shown, shown_row, steps, text,
};
use crate::view::ViewForm;

use Kind::{Int, Text, Time};

fn config() -> ProptestConfig {
    ProptestConfig { cases: 96, ..ProptestConfig::default() }
}

fn map_case() -> Case {
    let kinds = vec![Int, Text];
    let root = Arc::new(Node::Map(Map {
        input: input(0, &kinds, false),
        predicate: Some(col("c0").gt(lit(2_i64))),
        expressions: vec![column(1), col("c0") + lit(1_i64)],
        on_error: OnError::Report,
        schema: schema([DataType::Utf8View, DataType::Int64]),
    }));
    Case { root, kinds: vec![kinds], form: ViewForm::Bag }
}

fn map_oracle(world: &World<'_>) -> Bag<TextRow> {
    let mut bag = Bag::new();
    for (row, weight) in &world.inputs[0] {
        if let Some(v) = row[0].filter(|v| *v > 2) {
            add(&mut bag, vec![shown(Text, row[1]), (v + 1).to_string()], *weight);
        }
    }
    bag
}

fn union_case() -> Case {
    let kinds = vec![Int, Text];
    let one = input(0, &kinds, false);
    let two = Arc::new(Node::Map(Map {
        input: input(1, &kinds, false),
        predicate: Some(column(0).is_not_null()),
        expressions: vec![column(0), column(1)],
        on_error: OnError::Report,
        schema: schema_of(&kinds),
    }));
    let root = Arc::new(Node::Union(Union { inputs: vec![one, two], schema: schema_of(&kinds) }));
    Case { root, kinds: vec![kinds.clone(), kinds], form: ViewForm::Bag }
}

fn union_oracle(world: &World<'_>) -> Bag<TextRow> {
    let mut bag = Bag::new();
    for (index, input) in world.inputs.iter().enumerate() {
        for (row, weight) in input.iter().filter(|(row, _)| index == 0 || row[0].is_some()) {
            add(&mut bag, shown_row(&[Int, Text], row), *weight);
        }
    }
    bag
}

fn distinct_case(form: ViewForm) -> Case {
    let kinds = vec![Int, Text];
    let root = Arc::new(Node::Distinct(Distinct { input: input(0, &kinds, false) }));
    Case { root, kinds: vec![kinds], form }
}

fn distinct_oracle(world: &World<'_>) -> Bag<TextRow> {
    world.inputs[0].keys().map(|row| (shown_row(&[Int, Text], row), 1)).collect()
}

fn call(
    function: Arc<datafusion::logical_expr::AggregateUDF>,
    args: Vec<Expr>,
    distinct: bool,
    filter: Option<Expr>,
) -> AggregateCall {
    AggregateCall { function, args, distinct, filter }
}

fn aggregate_case(keys: Vec<Expr>, key_types: Vec<DataType>, append_only: bool) -> Case {
    let kinds = vec![Int, Text, Int];
    let types = key_types.into_iter().chain(std::iter::repeat_n(DataType::Int64, 5));
    let root = Arc::new(Node::Aggregate(Aggregate {
        input: input(0, &kinds, append_only),
        keys: keys.clone(),
        calls: vec![
            call(count::count_udaf(), vec![], false, None),
            call(sum::sum_udaf(), vec![column(2)], false, None),
            call(min_max::max_udaf(), vec![column(2)], false, None),
            call(count::count_udaf(), vec![column(1)], true, None),
            call(count::count_udaf(), vec![column(2)], false, Some(col("c2").gt(lit(3_i64)))),
        ],
        window: None,
        on_error: OnError::Report,
        schema: schema(types),
    }));
    Case { root, kinds: vec![kinds], form: ViewForm::Keyed { key: (0..keys.len()).collect() } }
}

fn aggregate_row(key: TextRow, rows: &Bag<Row>) -> TextRow {
    let count: i64 = rows.values().sum();
    let values: Vec<(i64, i64)> = rows.iter().filter_map(|(row, w)| row[2].map(|v| (v, *w))).collect();
    let number = |v: Option<i64>| v.map_or("NULL".to_owned(), |v| v.to_string());
    let sum = (!values.is_empty()).then(|| values.iter().map(|(v, w)| v * w).sum());
    let mut texts: Vec<i64> = rows.keys().filter_map(|row| row[1]).collect();
    texts.sort_unstable();
    texts.dedup();
    let filtered: i64 = values.iter().filter(|(v, _)| *v > 3).map(|(_, w)| w).sum();
    let results = [
        count.to_string(),
        number(sum),
        number(values.iter().map(|(v, _)| *v).max()),
        texts.len().to_string(),
        filtered.to_string(),
    ];
    key.into_iter().chain(results).collect()
}

fn grouped(rows: &Bag<Row>, key: impl Fn(&Row) -> TextRow) -> Bag<TextRow> {
    let mut groups: std::collections::BTreeMap<TextRow, Bag<Row>> = Default::default();
    for (row, weight) in rows {
        add(groups.entry(key(row)).or_default(), row.clone(), *weight);
    }
    groups.into_iter().map(|(key, rows)| (aggregate_row(key, &rows), 1)).collect()
}

fn join_case(kind: JoinKind, residual: bool, null_equal: bool) -> Case {
    let (left, right) = (vec![Int, Text, Int], vec![Int, Int, Text]);
    let both: Vec<Kind> = left.iter().chain(&right).copied().collect();
    let out = match kind {
        JoinKind::LeftSemi | JoinKind::LeftAnti => left.clone(),
        JoinKind::RightSemi | JoinKind::RightAnti => right.clone(),
        _ => both,
    };
    let root = Arc::new(Node::Join(Join {
        left: input(0, &left, false),
        right: input(1, &right, false),
        kind,
        on: vec![(column(0), col("c0") + lit(0_i64))],
        null_equal,
        residual: residual.then(|| col("c2").lt_eq(col("c4"))),
        left_expiry: None,
        right_expiry: None,
        on_error: OnError::Report,
        schema: schema_of(&out),
    }));
    Case { root, kinds: vec![left, right], form: ViewForm::Bag }
}

fn join_oracle(world: &World<'_>, kind: JoinKind, residual: bool, null_equal: bool) -> Bag<TextRow> {
    join_oracle_by(world, kind, |l, r| {
        let keys = if l[0].is_none() && r[0].is_none() { null_equal } else { l[0] == r[0] };
        keys && (!residual || matches!((l[2], r[1]), (Some(a), Some(b)) if a <= b))
    })
}

/// A join of three columns with three, by what matches.
fn join_oracle_by(world: &World<'_>, kind: JoinKind, matches: impl Fn(&Row, &Row) -> bool) -> Bag<TextRow> {
    let (left_kinds, right_kinds) = ([Int, Text, Int], [Int, Int, Text]);
    let (left, right) = (&world.inputs[0], &world.inputs[1]);
    let nulls = || vec!["NULL".to_owned(); 3];
    let mut bag = Bag::new();
    let pairs = matches!(kind, JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full);
    for (l, lw) in left {
        let partners: Vec<_> = right.iter().filter(|(r, _)| matches(l, r)).collect();
        let l = shown_row(&left_kinds, l);
        if pairs {
            for (r, rw) in &partners {
                add(&mut bag, [l.clone(), shown_row(&right_kinds, r)].concat(), lw * **rw);
            }
        }
        match kind {
            JoinKind::Left | JoinKind::Full if partners.is_empty() => add(&mut bag, [l, nulls()].concat(), *lw),
            JoinKind::LeftSemi if !partners.is_empty() => add(&mut bag, l, *lw),
            JoinKind::LeftAnti if partners.is_empty() => add(&mut bag, l, *lw),
            _ => {}
        }
    }
    for (r, rw) in right {
        let matched = left.keys().any(|l| matches(l, r));
        let r = shown_row(&right_kinds, r);
        match kind {
            JoinKind::Right | JoinKind::Full if !matched => add(&mut bag, [nulls(), r].concat(), *rw),
            JoinKind::RightSemi if matched => add(&mut bag, r, *rw),
            JoinKind::RightAnti if !matched => add(&mut bag, r, *rw),
            _ => {}
        }
    }
    bag
}

const KINDS: [JoinKind; 8] = [
    JoinKind::Inner,
    JoinKind::Left,
    JoinKind::Right,
    JoinKind::Full,
    JoinKind::LeftSemi,
    JoinKind::LeftAnti,
    JoinKind::RightSemi,
    JoinKind::RightAnti,
];

pub(crate) fn windowed(kind: WindowKind, kinds: &[Kind]) -> Arc<Node> {
    let types = kinds.iter().map(|kind| data_type(*kind)).chain([data_type(Time), data_type(Time)]);
    Arc::new(Node::Window(Window {
        input: input(0, kinds, true),
        time: 0,
        kind,
        watermark_of: vec![input_id(0)],
        late: LatePolicy::Drop,
        schema: schema(types),
    }))
}

fn window_starts(kind: WindowKind, time: i64) -> Vec<i64> {
    let (slide, size) = kind.lengths();
    (-100..100).map(|i| i * slide).filter(|start| *start <= time && time < start + size).collect()
}

pub(crate) fn size(kind: WindowKind) -> i64 {
    kind.lengths().1
}

/// The rows that go into windows, over all epochs.
pub(crate) fn window_oracle(world: &World<'_>, kind: WindowKind, all: &mut Bag<Row>) {
    for (row, weight) in &world.came[0] {
        let Some(time) = row[0] else { continue };
        for start in window_starts(kind, time) {
            let end = start + size(kind);
            if world.watermark_before.is_none_or(|mark| end > mark) {
                add(all, [row.clone(), vec![Some(start), Some(end)]].concat(), *weight);
            }
        }
    }
}

pub(crate) fn window_kind() -> impl Strategy<Value = WindowKind> {
    prop_oneof![
        (1..5_i64).prop_map(|size_us| WindowKind::Tumble { size_us }),
        (1..4_i64, 1..7_i64).prop_map(|(slide_us, size_us)| WindowKind::Hop { slide_us, size_us }),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn map_filters_and_projects(steps in steps(vec![2], 6, true)) {
        check(&map_case(), &steps, || map_oracle);
    }

    #[test]
    fn union_adds(steps in steps(vec![2, 2], 6, true)) {
        check(&union_case(), &steps, || union_oracle);
    }

    #[test]
    fn distinct_keeps_each_row_once(steps in steps(vec![2], 3, true), keyed in any::<bool>()) {
        let form = if keyed { ViewForm::Keyed { key: vec![0, 1] } } else { ViewForm::Bag };
        check(&distinct_case(form), &steps, || distinct_oracle);
    }

    #[test]
    fn a_key_that_spans_shards_loses_no_row(steps in steps(vec![2], 4, true)) {
        let kinds = vec![Int, Int];
        let counts = Arc::new(Node::Aggregate(Aggregate {
            input: input(0, &kinds, false),
            keys: vec![column(0)],
            calls: vec![call(count::count_udaf(), vec![], false, None)],
            window: None,
            on_error: OnError::Report,
            schema: schema([DataType::Int64, DataType::Int64]),
        }));
        // Old and new count of a group are in different shards of the upper operator.
        let root = Arc::new(Node::Distinct(Distinct { input: counts }));
        let case = Case { root, kinds: vec![kinds], form: ViewForm::Keyed { key: vec![0] } };
        check(&case, &steps, || |world: &World<'_>| {
            let mut counts: Bag<TextRow> = Bag::new();
            world.inputs[0].iter().for_each(|(row, weight)| add(&mut counts, vec![shown(Int, row[0])], *weight));
            counts.into_iter().map(|(key, n)| ([key, vec![n.to_string()]].concat(), 1)).collect()
        });
    }

    #[test]
    fn aggregate_by_an_integer(steps in steps(vec![3], 5, true)) {
        let case = aggregate_case(vec![column(0)], vec![DataType::Int64], false);
        check(&case, &steps, || |world: &World<'_>| grouped(&world.inputs[0], |row| vec![shown(Int, row[0])]));
    }

    #[test]
    fn aggregate_by_several_keys(steps in steps(vec![3], 3, true)) {
        let keys = vec![column(1), col("c0") + lit(1_i64)];
        let case = aggregate_case(keys, vec![DataType::Utf8View, DataType::Int64], false);
        let key = |row: &Row| vec![shown(Text, row[1]), shown(Int, row[0].map(|v| v + 1))];
        check(&case, &steps, || |world: &World<'_>| grouped(&world.inputs[0], key));
    }

    #[test]
    fn aggregate_over_input_that_only_grows(steps in steps(vec![3], 5, false)) {
        let case = aggregate_case(vec![column(0)], vec![DataType::Int64], true);
        check(&case, &steps, || |world: &World<'_>| grouped(&world.inputs[0], |row| vec![shown(Int, row[0])]));
    }

    #[test]
    fn aggregate_without_keys_always_has_a_row(steps in steps(vec![3], 5, true)) {
        let case = aggregate_case(vec![], vec![], false);
        check(&case, &steps, || |world: &World<'_>| Bag::from([(aggregate_row(vec![], &world.inputs[0]), 1)]));
    }

    #[test]
    fn join_without_condition(steps in steps(vec![3, 3], 4, true), kind in prop::sample::select(&KINDS[..])) {
        check(&join_case(kind, false, false), &steps, || move |world: &World<'_>| join_oracle(world, kind, false, false));
    }

    #[test]
    fn join_with_condition(steps in steps(vec![3, 3], 4, true), kind in prop::sample::select(&KINDS[..])) {
        check(&join_case(kind, true, false), &steps, || move |world: &World<'_>| join_oracle(world, kind, true, false));
    }

    #[test]
    fn join_in_which_nulls_are_equal(
        steps in steps(vec![3, 3], 4, true),
        kind in prop::sample::select(&KINDS[..]),
        residual in any::<bool>(),
    ) {
        let oracle = move |world: &World<'_>| join_oracle(world, kind, residual, true);
        check(&join_case(kind, residual, true), &steps, || oracle);
    }

    #[test]
    fn join_with_itself(steps in steps(vec![3], 4, true), residual in any::<bool>(), null_equal in any::<bool>()) {
        let kinds = vec![Int, Int, Text];
        let root = Arc::new(Node::Join(Join {
            left: input(0, &kinds, false),
            right: input(0, &kinds, false),
            kind: JoinKind::Inner,
            on: vec![(column(0), column(0))],
            null_equal,
            residual: residual.then(|| col("c1").lt_eq(col("c4"))),
            left_expiry: None,
            right_expiry: None,
            on_error: OnError::Report,
            schema: schema_of(&[kinds.clone(), kinds.clone()].concat()),
        }));
        let case = Case { root, kinds: vec![kinds.clone()], form: ViewForm::Bag };
        check(&case, &steps, || |world: &World<'_>| {
            let mut bag = Bag::new();
            for (l, lw) in &world.inputs[0] {
                for (r, rw) in &world.inputs[0] {
                    let keys = if l[0].is_none() && r[0].is_none() { null_equal } else { l[0] == r[0] };
                    if keys && (!residual || matches!((l[1], r[1]), (Some(a), Some(b)) if a <= b)) {
                        add(&mut bag, [shown_row(&kinds, l), shown_row(&kinds, r)].concat(), lw * rw);
                    }
                }
            }
            bag
        });
    }

    #[test]
    fn windows_take_rows_until_they_close(steps in steps(vec![2], 12, false), kind in window_kind()) {
        let kinds = vec![Time, Int];
        let case = Case { root: windowed(kind, &kinds), kinds: vec![kinds], form: ViewForm::Log };
        check(&case, &steps, || {
            let mut all = Bag::new();
            move |world: &World<'_>| {
                window_oracle(world, kind, &mut all);
                all.iter().map(|(row, w)| (shown_row(&[Time, Int, Time, Time], row), *w)).collect()
            }
        });
    }

    #[test]
    fn closed_groups_keep_their_rows(steps in steps(vec![2], 12, false), kind in window_kind(), by_start in any::<bool>()) {
        let case = windowed_aggregate(kind, by_start, false);
        check(&case, &steps, || {
            let mut all = Bag::new();
            move |world: &World<'_>| {
                window_oracle(world, kind, &mut all);
                windowed_groups(&all, |_| true)
            }
        });
    }

    #[test]
    fn rows_that_find_no_match_any_more_are_not_missed(steps in steps(vec![2], 12, false), size_us in 1..5_i64) {
        let kind = WindowKind::Tumble { size_us };
        check(&expiring_case(size_us), &steps, || {
            let mut all = Bag::new();
            move |world: &World<'_>| {
                window_oracle(world, kind, &mut all);
                expiring_oracle(world, &all, size_us)
            }
        });
    }

    #[test]
    fn joins_of_windows_forget_those_that_are_closed(
        steps in steps(vec![2], 12, false),
        kind in window_kind(),
        join in prop::sample::select(&KINDS[..]),
    ) {
        check(&window_join_case(kind, join), &steps, || {
            let mut all = Bag::new();
            move |world: &World<'_>| {
                window_oracle(world, kind, &mut all);
                window_join_oracle(&all, join)
            }
        });
    }

    #[test]
    fn rows_come_out_when_their_window_closes(steps in steps(vec![2], 12, false), kind in window_kind(), by_start in any::<bool>()) {
        let case = windowed_aggregate(kind, by_start, true);
        check(&case, &steps, || {
            let mut all = Bag::new();
            move |world: &World<'_>| {
                window_oracle(world, kind, &mut all);
                let watermark = world.watermark;
                windowed_groups(&all, |end| watermark.is_some_and(|mark| end <= mark))
            }
        });
    }
}

/// How many rows there are by some columns of [`windowed`], of which the last is the window's end.
fn counts(kind: WindowKind, keys: Vec<Expr>) -> Arc<Node> {
    let types = (1..keys.len()).map(|_| DataType::Int64).chain([data_type(Time), DataType::Int64]);
    let watermark_of = vec![input_id(0)];
    Arc::new(Node::Aggregate(Aggregate {
        input: windowed(kind, &[Time, Int]),
        window: Some(GroupWindow { end_key: keys.len() - 1, offset_us: 0, watermark_of }),
        keys,
        calls: vec![call(count::count_udaf(), vec![], false, None)],
        on_error: OnError::Report,
        schema: schema(types),
    }))
}

fn over(column: usize, offset_us: i64) -> Option<Expiry> {
    Some(Expiry { column, offset_us, watermark_of: vec![input_id(0)] })
}

/// Rows whose number is the count of rows of the window in which they are, the window's end included.
fn expiring_case(size_us: i64) -> Case {
    let kinds = vec![Time, Int];
    let size = datafusion::arrow::datatypes::IntervalMonthDayNano::new(0, 0, size_us * 1000);
    let start = col("c2") - lit(datafusion::common::ScalarValue::IntervalMonthDayNano(Some(size)));
    let root = Arc::new(Node::Join(Join {
        left: input(0, &kinds, true),
        right: counts(WindowKind::Tumble { size_us }, vec![column(3)]),
        kind: JoinKind::Inner,
        on: vec![(column(1), column(1))],
        null_equal: false,
        residual: Some(col("c0").gt_eq(start).and(col("c0").lt_eq(col("c2")))),
        left_expiry: over(0, size_us),
        right_expiry: None,
        on_error: OnError::Report,
        schema: schema_of(&[Time, Int, Time, Int]),
    }));
    Case { root, kinds: vec![kinds], form: ViewForm::Bag }
}

fn expiring_oracle(world: &World<'_>, all: &Bag<Row>, size_us: i64) -> Bag<TextRow> {
    let mut counts: std::collections::BTreeMap<i64, i64> = Default::default();
    all.iter().for_each(|(row, weight)| *counts.entry(row[3].unwrap()).or_default() += weight);
    let mut bag = Bag::new();
    for (row, weight) in &world.inputs[0] {
        for (end, count) in &counts {
            if row[1] == Some(*count) && row[0].is_some_and(|time| (end - size_us..=*end).contains(&time)) {
                let joined = [row.clone(), vec![Some(*end), Some(*count)]].concat();
                add(&mut bag, shown_row(&[Time, Int, Time, Int], &joined), *weight);
            }
        }
    }
    bag
}

/// Counts by number and window, with the count of their window if that isn't greater than the number.
fn window_join_case(kind: WindowKind, join: JoinKind) -> Case {
    let (left, right) = (vec![Int, Time, Int], vec![Time, Int]);
    let out = match join {
        JoinKind::LeftSemi | JoinKind::LeftAnti => left,
        JoinKind::RightSemi | JoinKind::RightAnti => right,
        _ => [left, right].concat(),
    };
    let root = Arc::new(Node::Join(Join {
        left: counts(kind, vec![column(1), column(3)]),
        right: counts(kind, vec![column(3)]),
        kind: join,
        on: vec![(column(1), column(0))],
        null_equal: false,
        residual: Some(col("c4").lt_eq(col("c0"))),
        left_expiry: over(1, 0),
        right_expiry: over(0, 0),
        on_error: OnError::Report,
        schema: schema_of(&out),
    }));
    Case { root, kinds: vec![vec![Time, Int]], form: ViewForm::Bag }
}

fn window_join_oracle(all: &Bag<Row>, join: JoinKind) -> Bag<TextRow> {
    let (mut left, mut right): (Bag<(Option<i64>, i64)>, Bag<i64>) = (Bag::new(), Bag::new());
    for (row, weight) in all {
        *left.entry((row[1], row[3].unwrap())).or_default() += weight;
        *right.entry(row[3].unwrap()).or_default() += weight;
    }
    let matches = |number: Option<i64>, count: i64| number.is_some_and(|number| count <= number);
    let left_row = |key: &(Option<i64>, i64), count: i64| vec![shown(Int, key.0), key.1.to_string(), count.to_string()];
    let nulls = |count: usize| vec!["NULL".to_owned(); count];
    let mut rows: Vec<TextRow> = Vec::new();
    for (key, count) in &left {
        let partner = right.get(&key.1).copied().filter(|other| matches(key.0, *other));
        let row = left_row(key, *count);
        match (join, partner) {
            (JoinKind::LeftSemi, Some(_)) | (JoinKind::LeftAnti, None) => rows.push(row),
            (JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full, Some(other)) => {
                rows.push([row, vec![key.1.to_string(), other.to_string()]].concat());
            }
            (JoinKind::Left | JoinKind::Full, None) => rows.push([row, nulls(2)].concat()),
            _ => {}
        }
    }
    for (end, count) in &right {
        let matched = left.keys().any(|key| key.1 == *end && matches(key.0, *count));
        let row = vec![end.to_string(), count.to_string()];
        match join {
            JoinKind::Right | JoinKind::Full if !matched => rows.push([nulls(3), row].concat()),
            JoinKind::RightSemi if matched => rows.push(row),
            JoinKind::RightAnti if !matched => rows.push(row),
            _ => {}
        }
    }
    rows.into_iter().map(|row| (row, 1)).collect()
}

/// Counts rows by a number and a window (its start or its end).
fn windowed_aggregate(kind: WindowKind, by_start: bool, on_close: bool) -> Case {
    let kinds = vec![Time, Int];
    let (column_of_window, offset_us) = if by_start { (2, size(kind)) } else { (3, 0) };
    let watermark_of = vec![input_id(0)];
    let mut root = Arc::new(Node::Aggregate(Aggregate {
        input: windowed(kind, &kinds),
        keys: vec![column(1), column(column_of_window)],
        calls: vec![call(count::count_udaf(), vec![], false, None)],
        window: Some(GroupWindow { end_key: 1, offset_us, watermark_of: watermark_of.clone() }),
        on_error: OnError::Report,
        schema: schema([DataType::Int64, data_type(Time), DataType::Int64]),
    }));
    if on_close {
        root = Arc::new(Node::WindowClose(WindowClose { input: root, end: 1, offset_us, watermark_of }));
    }
    let end = if by_start { 0 } else { size(kind) };
    let shift = lit(datafusion::common::ScalarValue::Int64(Some(end)));
    // The window's start in all cases, as a number.
    let start = datafusion::logical_expr::cast(column(1), DataType::Int64) - shift;
    let root = Arc::new(Node::Map(Map {
        input: root,
        predicate: None,
        expressions: vec![column(0), start, column(2)],
        on_error: OnError::Report,
        schema: schema(std::iter::repeat_n(DataType::Int64, 3)),
    }));
    let form = if on_close { ViewForm::Log } else { ViewForm::Keyed { key: vec![0, 1] } };
    Case { root, kinds: vec![kinds], form }
}

fn windowed_groups(all: &Bag<Row>, shown_if: impl Fn(i64) -> bool) -> Bag<TextRow> {
    let mut counts: Bag<(Option<i64>, i64)> = Bag::new();
    for (row, weight) in all.iter().filter(|(row, _)| shown_if(row[3].unwrap())) {
        *counts.entry((row[1], row[2].unwrap())).or_default() += weight;
    }
    counts.into_iter().map(|((key, start), n)| (vec![shown(Int, key), start.to_string(), n.to_string()], 1)).collect()
}

#[test]
fn constants_come_once() {
    let rows = vec![vec![lit(1_i64), lit("one")], vec![lit(2_i64), lit("two")]];
    let root = Arc::new(Node::Constant(Constant {
        rows,
        on_error: OnError::Report,
        schema: schema([DataType::Int64, DataType::Utf8View]),
    }));
    let case = Case { root, kinds: vec![vec![Int]], form: ViewForm::Log };
    let after = [super::testing::After::Nothing, super::testing::After::Restart, super::testing::After::Checkpoint];
    let steps: Vec<Step> = after.into_iter().map(|after| Step { ops: vec![], advance: 0, after }).collect();
    let rows = Bag::from([(vec!["1".to_owned(), "one".to_owned()], 1), (vec!["2".to_owned(), "two".to_owned()], 1)]);
    check(&case, &steps, || |_: &World<'_>| rows.clone());
}
