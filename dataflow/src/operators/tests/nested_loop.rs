//! Joins without an equality.

use super::*;

/// `on` empty; the condition, if any, is `l.c2 <= r.c1`, which NULLs don't fulfil.
fn case(kind: JoinKind, residual: bool) -> Case {
    let mut case = join_case(kind, residual, false);
    let Node::Join(join) = case.root.as_ref() else { unreachable!() };
    case.root = Arc::new(Node::Join(Join { on: vec![], ..join.clone() }));
    case
}

fn matching(residual: bool) -> impl Fn(&Row, &Row) -> bool {
    move |l, r| !residual || matches!((l[2], r[1]), (Some(a), Some(b)) if a <= b)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_row_meets_every_row(steps in steps(vec![3, 3], 4, true), kind in prop::sample::select(&KINDS[..])) {
        let oracle = move |world: &World<'_>| join_oracle_by(world, kind, matching(false));
        check(&case(kind, false), &steps, || oracle);
    }

    #[test]
    fn a_condition_picks_pairs(steps in steps(vec![3, 3], 4, true), kind in prop::sample::select(&KINDS[..])) {
        let oracle = move |world: &World<'_>| join_oracle_by(world, kind, matching(true));
        check(&case(kind, true), &steps, || oracle);
    }

    #[test]
    fn a_condition_of_orders_picks_pairs(
        steps in steps(vec![3, 3], 7, true),
        kind in prop::sample::select(&KINDS[..]),
        which in 0..5_usize,
    ) {
        let (condition, matches) = ordered(which);
        check(&with_condition(kind, condition), &steps, || move |world: &World<'_>| join_oracle_by(world, kind, matches));
    }

    #[test]
    fn rows_that_are_over_are_forgotten(steps in steps(vec![2], 12, false), size_us in 1..5_i64) {
        let mut case = expiring_case(size_us);
        let Node::Join(join) = case.root.as_ref() else { unreachable!() };
        let residual = join.residual.clone().map(|residual| residual.and(col("c1").eq(col("c3"))));
        case.root = Arc::new(Node::Join(Join { on: vec![], residual, ..join.clone() }));
        check(&case, &steps, || {
            let mut all = Bag::new();
            move |world: &World<'_>| {
                window_oracle(world, WindowKind::Tumble { size_us }, &mut all);
                expiring_oracle(world, &all, size_us)
            }
        });
    }

    #[test]
    fn both_sides_forget(steps in steps(vec![2], 12, false), kind in window_kind()) {
        let mut case = window_join_case(kind, JoinKind::Inner);
        let Node::Join(join) = case.root.as_ref() else { unreachable!() };
        let residual = join.residual.clone().map(|residual| residual.and(col("c1").eq(col("c3"))));
        case.root = Arc::new(Node::Join(Join { on: vec![], residual, ..join.clone() }));
        check(&case, &steps, || {
            let mut all = Bag::new();
            move |world: &World<'_>| {
                window_oracle(world, kind, &mut all);
                window_join_oracle(&all, JoinKind::Inner)
            }
        });
    }
}

fn with_condition(kind: JoinKind, condition: Expr) -> Case {
    let mut case = case(kind, true);
    let Node::Join(join) = case.root.as_ref() else { unreachable!() };
    case.root = Arc::new(Node::Join(Join { residual: Some(condition), ..join.clone() }));
    case
}

/// Conditions that compare both sides, and what they say: points in intervals, intervals that overlap, half-open ones, texts, sums.
fn ordered(which: usize) -> (Expr, fn(&Row, &Row) -> bool) {
    fn le(a: Option<i64>, b: Option<i64>) -> bool {
        matches!((a, b), (Some(a), Some(b)) if a <= b)
    }
    let plus = |column: &str, by: i64| col(column) + lit(by);
    match which {
        0 => (col("c2").between(col("c3"), plus("c4", 1)), |l, r| le(r[0], l[2]) && le(l[2], r[1].map(|v| v + 1))),
        1 => (col("c0").lt_eq(col("c4")).and(col("c3").lt_eq(col("c2"))).and(col("c1").not_eq(col("c5"))), |l, r| {
            le(l[0], r[1]) && le(r[0], l[2]) && matches!((l[1], r[2]), (Some(a), Some(b)) if a != b)
        }),
        2 => (col("c4").gt(plus("c2", 1)), |l, r| le(l[2].map(|v| v + 2), r[1])),
        3 => (col("c1").lt_eq(col("c5")), |l, r| matches!((l[1], r[2]), (Some(a), Some(b)) if text(a) <= text(b))),
        _ => (col("c2").eq(plus("c3", 1)).or(col("c2").is_null()), |l, r| {
            l[2].is_none() || matches!((l[2], r[0]), (Some(a), Some(b)) if a == b + 1)
        }),
    }
}

/// More rows than a block and more pairs than a chunk, so that both are cut.
#[test]
fn large_sides_are_met_in_blocks() {
    use super::super::testing::{After, Op};
    let row = |n: i64| vec![Some(n), Some(n), Some(n)];
    let insert = |input: usize, n: i64| Op::Insert { input, row: row(n) };
    let left: Vec<Op> = (0..9000).map(|n| insert(0, n)).collect();
    let right: Vec<Op> = (0..40).map(|n| insert(1, n * 250)).collect();
    let step = |ops: Vec<Op>, after| Step { ops, advance: 0, after };
    let gone = vec![Op::Remove { input: 0, nth: 17 }, Op::Remove { input: 1, nth: 3 }];
    let steps = [step(left, After::Restart), step(right, After::Checkpoint), step(gone, After::Nothing)];
    for kind in [JoinKind::Inner, JoinKind::Left, JoinKind::RightAnti] {
        let near = col("c2").lt_eq(col("c4")).and(col("c4").lt_eq(col("c2") + lit(1_i64)));
        let mut case = case(kind, true);
        let Node::Join(join) = case.root.as_ref() else { unreachable!() };
        case.root = Arc::new(Node::Join(Join { residual: Some(near), ..join.clone() }));
        let matches = |l: &Row, r: &Row| l[2] <= r[1] && r[1] <= l[2].map(|v| v + 1);
        check(&case, &steps, || move |world: &World<'_>| join_oracle_by(world, kind, matches));
    }
}
