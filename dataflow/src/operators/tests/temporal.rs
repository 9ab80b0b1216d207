//! Conditions on `now()`.

use super::super::testing::{After, Op, state_rows};
use super::*;

const KINDS: [Kind; 3] = [Time, Time, Text];

fn case(from: bool, until: bool) -> Case {
    let node = TemporalFilter {
        input: input(0, &KINDS, false),
        from: from.then_some(0).into_iter().collect(),
        until: until.then_some(1).into_iter().collect(),
    };
    Case { root: Arc::new(Node::TemporalFilter(node)), kinds: vec![KINDS.to_vec()], form: ViewForm::Bag }
}

fn there(from: bool, until: bool) -> impl FnMut(&World<'_>) -> Bag<TextRow> {
    move |world: &World<'_>| {
        // In these tests the clock is where the watermark is.
        let now = world.watermark.unwrap_or(0);
        let mut bag = Bag::new();
        for (row, weight) in &world.inputs[0] {
            let begun = !from || row[0].is_some_and(|from| from <= now);
            let ended = until && row[1].is_none_or(|until| until <= now);
            if begun && !ended {
                add(&mut bag, shown_row(&KINDS, row), *weight);
            }
        }
        bag
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn rows_come_and_go_as_time_passes(steps in steps(vec![3], 8, true), from in any::<bool>(), until in any::<bool>()) {
        check(&case(from, until), &steps, || there(from, until));
    }

    /// Rows that are taken away before their time leave nothing behind.
    #[test]
    fn few_times_many_rows(steps in steps(vec![3], 3, true)) {
        check(&case(true, true), &steps, || there(true, true));
    }
}

#[test]
fn what_is_over_is_freed() {
    let insert = |from, until| Op::Insert { input: 0, row: vec![Some(from), Some(until), Some(1)] };
    let step = |ops, advance| Step { ops, advance, after: After::Checkpoint };
    let steps = [step(vec![insert(0, 5), insert(2, 5), insert(7, 8)], 1), step(vec![], 5), step(vec![insert(1, 3)], 3)];
    check(&case(true, true), &steps, || there(true, true));
    assert_eq!(state_rows(&case(true, true), &steps), 0);
}
