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
