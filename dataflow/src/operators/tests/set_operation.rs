//! `INTERSECT ALL` and `EXCEPT ALL`.

use super::*;

fn case(kind: SetKind) -> Case {
    let kinds = vec![Int, Text];
    let (left, right) = (input(0, &kinds, false), input(1, &kinds, false));
    let root = Arc::new(Node::SetOperation(SetOperation { left, right, kind }));
    Case { root, kinds: vec![kinds.clone(), kinds], form: ViewForm::Bag }
}

fn oracle(world: &World<'_>, kind: SetKind) -> Bag<TextRow> {
    let mut bag = Bag::new();
    for (row, left) in &world.inputs[0] {
        let right = world.inputs[1].get(row).copied().unwrap_or(0);
        let copies = match kind {
            SetKind::Intersect => right.min(*left),
            SetKind::Except => (left - right).max(0),
        };
        if copies > 0 {
            add(&mut bag, shown_row(&[Int, Text], row), copies);
        }
    }
    bag
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn weights_of_both_sides_decide(
        steps in steps(vec![2, 2], 2, true),
        kind in prop::sample::select(&[SetKind::Intersect, SetKind::Except][..]),
    ) {
        check(&case(kind), &steps, || move |world: &World<'_>| oracle(world, kind));
    }
}
