//! Temporal joins.

use super::*;

const LEFT: [Kind; 3] = [Int, Text, Int];
const RIGHT: [Kind; 3] = [Int, Int, Text];

fn case(outer: bool, residual: bool) -> Case {
    let root = Arc::new(Node::TemporalJoin(TemporalJoin {
        left: input(0, &LEFT, true),
        right: input(1, &RIGHT, false),
        on: vec![(column(0), col("c0") + lit(0_i64))],
        residual: residual.then(|| col("c2").lt_eq(col("c4"))),
        outer,
        on_error: OnError::Report,
        schema: schema_of(&[LEFT, RIGHT].concat()),
    }));
    Case { root, kinds: vec![LEFT.to_vec(), RIGHT.to_vec()], form: ViewForm::Bag }
}

/// What came, each row with the right side as it was in its epoch.
fn oracle(outer: bool, residual: bool) -> impl FnMut(&World<'_>) -> Bag<TextRow> {
    let mut bag = Bag::new();
    move |world| {
        let mut came = Bag::new();
        world.came[0].iter().for_each(|(row, weight)| add(&mut came, row.clone(), *weight));
        let inputs = [came, world.inputs[1].clone()];
        let world = World { inputs: &inputs, ..*world };
        let kind = if outer { JoinKind::Left } else { JoinKind::Inner };
        for (row, weight) in join_oracle(&world, kind, residual, false) {
            add(&mut bag, row, weight);
        }
        bag.clone()
    }
}

/// Of the left side nothing is ever taken away.
fn growing(mut steps: Vec<Step>) -> Vec<Step> {
    use super::super::testing::Op;
    steps.iter_mut().for_each(|step| step.ops.retain(|op| !matches!(op, Op::Remove { input: 0, .. })));
    steps
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn each_row_meets_the_epoch_in_which_it_comes(
        steps in steps(vec![3, 3], 4, true),
        outer in any::<bool>(),
        residual in any::<bool>(),
    ) {
        check(&case(outer, residual), &growing(steps), || oracle(outer, residual));
    }
}
