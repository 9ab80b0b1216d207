//! What operators say that they hold: rows, and bytes of memory, which go down as state is freed.

use super::super::testing::{At, figures};
use super::state_ttl as forgetful;
use super::*;

const ROWS: i64 = 800;

/// Rows that come at once, each with its number in all columns.
fn come(widths: &[usize]) -> At {
    let row = |input: usize, width: usize, number| (input, vec![Some(number); width], 1);
    let rows = widths.iter().enumerate().flat_map(|(input, width)| (1..=ROWS).map(move |n| row(input, *width, n)));
    (0, rows.collect())
}

/// They go again.
fn go((at, rows): &At) -> At {
    (*at + 1, rows.iter().map(|(input, row, weight)| (*input, row.clone(), -weight)).collect())
}

/// Rows come, and then all that was kept of them is over: as they go, or as time passes.
fn is_freed(what: &str, case: &Case, go_again: bool) {
    let widths: Vec<usize> = case.kinds.iter().map(Vec::len).collect();
    let came = come(&widths);
    let gone = if go_again { go(&came) } else { (10 * ROWS, vec![]) };
    let figures = figures(case, &[came, gone, (20 * ROWS, vec![]), (30 * ROWS, vec![])]);
    let (full, empty) = (figures[0], figures[3]);
    assert!(full.0 as i64 >= ROWS, "{what}: {figures:?}");
    // A row of a few numbers is some tens of bytes, with what finds it.
    let per_row = full.1 / full.0;
    assert!((16..600).contains(&per_row), "{what}: {per_row} bytes a row, {figures:?}");
    assert_eq!(empty.0, 0, "{what}: {figures:?}");
    assert!(empty.1 < full.1 / 2, "{what}: {figures:?}");
}

#[test]
fn rows_that_go_leave_nothing() {
    is_freed("aggregate", &aggregate_case(vec![column(0)], vec![DataType::Int64], false), true);
    is_freed("join", &join_case(JoinKind::Full, false, false), true);
    is_freed("join on a condition", &join_case(JoinKind::Inner, true, false), true);
    let kinds = [Int, Int];
    let one = |root: Node| Case { root: Arc::new(root), kinds: vec![kinds.to_vec()], form: ViewForm::Bag };
    is_freed("distinct", &one(Node::Distinct(Distinct { input: input(0, &kinds, false) })), true);
    let (left, right) = (input(0, &kinds, false), input(1, &kinds, false));
    let root = Arc::new(Node::SetOperation(SetOperation { left, right, kind: SetKind::Except }));
    is_freed("set operation", &Case { root, kinds: vec![kinds.to_vec(); 2], form: ViewForm::Bag }, true);
    let order = vec![OrderKey { expression: column(1), descending: false, nulls_first: true }];
    let top = Top { order, offset: 0, fetch: Some(2), ties: false, place: None };
    let partition = Partition {
        input: input(0, &kinds, false),
        keys: vec![column(0)],
        rule: PartitionRule::Top(top),
        window: None,
        on_error: OnError::Report,
        schema: schema_of(&kinds),
    };
    is_freed("partition", &one(Node::Partition(partition)), true);
}

#[test]
fn what_is_over_leaves_nothing() {
    let kind = WindowKind::Tumble { size_us: 2 };
    is_freed("windowed aggregate", &windowed_aggregate(kind, false, false), false);
    is_freed("closed windows", &windowed_aggregate(kind, false, true), false);
    let kinds = [Time, Int];
    let one = |root: Node| Case { root: Arc::new(root), kinds: vec![kinds.to_vec()], form: ViewForm::Bag };
    let watermark_of = vec![input_id(0)];
    let input_of = || input(0, &kinds, true);
    let retention =
        Retention { input: input_of(), column: 0, offset_us: 5, watermark_of: watermark_of.clone(), silent: false };
    is_freed("retention", &one(Node::Retention(retention)), false);
    let filter = TemporalFilter { input: input_of(), from: vec![], until: vec![0] };
    is_freed("temporal filter", &one(Node::TemporalFilter(filter)), false);
    let session = Session {
        input: input_of(),
        time: 0,
        gap_us: 3,
        keys: vec![1],
        watermark_of,
        late: LatePolicy::Drop,
        schema: schema_of(&[Time, Int, Time, Time]),
    };
    is_freed("session", &one(Node::Session(session)), false);
}

#[test]
fn what_is_forgotten_leaves_nothing() {
    is_freed("aggregate", &forgetful::aggregate(), false);
    is_freed("distinct", &forgetful::distinct(), false);
    is_freed("partition", &forgetful::partition(true), false);
    is_freed("join", &forgetful::join(true), false);
}
