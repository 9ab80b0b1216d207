//! `WITH (retention = …)`: rows go some time after their own.

use super::super::testing::{After, Op, state_rows};
use super::*;

const KINDS: [Kind; 3] = [Text, Time, Int];
const OFFSET: i64 = 2;

fn case(by_watermark: bool, form: ViewForm) -> Case {
    let watermark_of = if by_watermark { vec![input_id(0)] } else { vec![] };
    let input = input(0, &KINDS, false);
    let node = Retention { input, column: 1, offset_us: OFFSET, watermark_of, silent: false };
    Case { root: Arc::new(Node::Retention(node)), kinds: vec![KINDS.to_vec()], form }
}

fn left(by_watermark: bool) -> impl FnMut(&World<'_>) -> Bag<TextRow> {
    move |world: &World<'_>| {
        // In these tests the clock is where the watermark is, and 0 before there is one.
        let now = if by_watermark { world.watermark } else { Some(world.watermark.unwrap_or(0)) };
        let mut bag = Bag::new();
        for (row, weight) in &world.inputs[0] {
            let gone = row[1].zip(now).is_some_and(|(time, now)| time + OFFSET <= now);
            if !gone {
                add(&mut bag, shown_row(&KINDS, row), *weight);
            }
        }
        bag
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn rows_go_when_their_time_is_over(steps in steps(vec![3], 9, true), by_watermark in any::<bool>()) {
        check(&case(by_watermark, ViewForm::Bag), &steps, || left(by_watermark));
    }

    /// Silent or not, what is stored is the same.
    #[test]
    fn what_goes_silently_is_told_to_nobody(steps in steps(vec![3], 9, false), by_watermark in any::<bool>()) {
        let Case { root, kinds, form } = case(by_watermark, ViewForm::Bag);
        let Node::Retention(node) = root.as_ref() else { panic!("it is one") };
        let silent = Node::Retention(Retention { silent: true, ..node.clone() });
        check_silent(&Case { root: Arc::new(silent), kinds, form }, &steps, || left(by_watermark));
    }
}

#[test]
fn what_has_gone_is_freed() {
    let insert = |time| Op::Insert { input: 0, row: vec![Some(1), Some(time), Some(1)] };
    let step = |ops, advance| Step { ops, advance, after: After::Checkpoint };
    let steps = [step(vec![insert(1), insert(3), insert(9)], 1), step(vec![insert(3)], 5), step(vec![], 0)];
    assert_eq!(state_rows(&case(false, ViewForm::Bag), &steps), 1);
    check(&case(false, ViewForm::Bag), &steps, || left(false));
}
