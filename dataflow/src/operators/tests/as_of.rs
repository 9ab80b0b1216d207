//! ASOF joins.

use super::*;

const ALL: [Nearest; 4] = [Nearest::AtOrBefore, Nearest::Before, Nearest::AtOrAfter, Nearest::After];
const LEFT: [Kind; 3] = [Int, Text, Int];
const RIGHT: [Kind; 3] = [Int, Int, Text];

/// By `l.c0 = r.c0`, if `keyed`; the times are `l.c2` and `r.c1`.
fn case(nearest: Nearest, outer: bool, keyed: bool) -> Case {
    let both = [LEFT, RIGHT].concat();
    let root = Arc::new(Node::AsOf(AsOf {
        left: input(0, &LEFT, false),
        right: input(1, &RIGHT, false),
        on: if keyed { vec![(column(0), col("c0") + lit(0_i64))] } else { vec![] },
        times: (column(2), column(1)),
        nearest,
        outer,
        on_error: OnError::Report,
        schema: schema_of(&both),
    }));
    Case { root, kinds: vec![LEFT.to_vec(), RIGHT.to_vec()], form: ViewForm::Bag }
}

fn oracle(world: &World<'_>, nearest: Nearest, outer: bool, keyed: bool) -> Bag<TextRow> {
    let mut bag = Bag::new();
    for (l, weight) in &world.inputs[0] {
        let fits = |r: &&Row| {
            let (Some(left), Some(right)) = (l[2], r[1]) else { return false };
            let time = match nearest {
                Nearest::AtOrBefore => left >= right,
                Nearest::Before => left > right,
                Nearest::AtOrAfter => left <= right,
                Nearest::After => left < right,
            };
            time && (!keyed || l[0].is_some() && l[0] == r[0])
        };
        // NULL stands before all values, texts are compared as such.
        let rank = |r: &Row| {
            let time = if nearest.is_later() { r[1] } else { r[1].map(|time| -time) };
            (time, r[0], r[2].map(text))
        };
        let met = world.inputs[1].keys().filter(fits).min_by_key(|r| rank(r));
        let l = shown_row(&LEFT, l);
        match met {
            Some(r) => add(&mut bag, [l, shown_row(&RIGHT, r)].concat(), *weight),
            None if outer => add(&mut bag, [l, vec!["NULL".to_owned(); 3]].concat(), *weight),
            None => {}
        }
    }
    bag
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn each_row_meets_the_nearest(
        steps in steps(vec![3, 3], 6, true),
        nearest in prop::sample::select(&ALL[..]),
        outer in any::<bool>(),
        keyed in any::<bool>(),
    ) {
        let oracle = move |world: &World<'_>| oracle(world, nearest, outer, keyed);
        check(&case(nearest, outer, keyed), &steps, || oracle);
    }
}

/// A change between many rows looks at those that it may change.
#[test]
fn many_rows_of_one_key_have_neighbours() {
    use super::super::testing::{After, Op};
    let insert = |input: usize, row: [i64; 3]| Op::Insert { input, row: row.map(Some).to_vec() };
    let left: Vec<Op> = (0..9000).map(|n| insert(0, [1, n, n])).collect();
    let right: Vec<Op> = (0..3).map(|n| insert(1, [1, n * 3000, n])).collect();
    let step = |ops: Vec<Op>, after| Step { ops, advance: 0, after };
    let gone = vec![Op::Remove { input: 1, nth: 1 }, Op::Remove { input: 0, nth: 17 }, insert(1, [1, 100, 7])];
    let steps = [step(left, After::Restart), step(right, After::Checkpoint), step(gone, After::Nothing)];
    for nearest in ALL {
        let oracle = move |world: &World<'_>| oracle(world, nearest, true, true);
        check(&case(nearest, true, true), &steps, || oracle);
    }
}
