//! `WITH RECURSIVE`: what is reachable over edges that come and go.

use std::collections::{BTreeMap, BTreeSet};

use super::super::testing::{After, Op};
use super::*;

const PAIR: [Kind; 2] = [Int, Int];

fn hole(index: usize) -> Arc<Node> {
    Arc::new(Node::Hole(Hole { index, schema: schema_of(&PAIR) }))
}

fn join(left: Arc<Node>, right: Arc<Node>, kind: JoinKind, on: (usize, usize)) -> Arc<Node> {
    let width = if matches!(kind, JoinKind::LeftSemi | JoinKind::LeftAnti) { 2 } else { 4 };
    Arc::new(Node::Join(Join {
        left,
        right,
        kind,
        on: vec![(column(on.0), column(on.1))],
        null_equal: false,
        residual: None,
        left_expiry: None,
        right_expiry: None,
        on_error: OnError::Report,
        schema: schema_of(&vec![Int; width]),
    }))
}

fn map(input: Arc<Node>, predicate: Option<Expr>, columns: [usize; 2]) -> Arc<Node> {
    let expressions = columns.map(column).to_vec();
    let on_error = OnError::Report;
    Arc::new(Node::Map(Map { input, predicate, expressions, on_error, schema: schema_of(&PAIR) }))
}

fn outer(node: &Arc<Node>, effect: Effect) -> Outer {
    Outer { node: node.clone(), effect }
}

fn case(base: Arc<Node>, outers: Vec<Outer>, step: Arc<Node>, all: bool, inputs: usize) -> Case {
    let root = Node::Recursive(Recursive { base, outers, step, all, rounds: false, schema: schema_of(&PAIR) });
    let form = if all { ViewForm::Bag } else { ViewForm::Keyed { key: vec![0, 1] } };
    Case { root: Arc::new(root), kinds: vec![PAIR.to_vec(); inputs], form }
}

/// The same, each round computed as a whole.
fn in_rounds(case: Case) -> Case {
    let Node::Recursive(node) = case.root.as_ref() else { panic!("it is a recursion") };
    Case { root: Arc::new(Node::Recursive(Recursive { rounds: true, ..node.clone() })), ..case }
}

/// `SELECT a, b FROM edges UNION [ALL] SELECT r.a, e.b FROM r JOIN edges e ON r.b = e.a`.
fn paths(edges: Arc<Node>, all: bool) -> Case {
    let step = map(join(hole(0), hole(1), JoinKind::Inner, (1, 0)), None, [0, 3]);
    case(edges.clone(), vec![outer(&edges, Effect::Adds)], step, all, 1)
}

fn edges() -> Arc<Node> {
    input(0, &PAIR, false)
}

/// The rows that are reached from `found` by `next`.
fn closure(mut found: BTreeSet<Row>, next: impl Fn(&Row) -> Vec<Row>) -> Bag<TextRow> {
    let mut open: Vec<Row> = found.iter().cloned().collect();
    while let Some(row) = open.pop() {
        open.extend(next(&row).into_iter().filter(|row| found.insert(row.clone())));
    }
    found.into_iter().map(|row| (shown_row(&PAIR, &row), 1)).collect()
}

fn onward<'a>(edges: &'a Bag<Row>, path: &'a Row) -> impl Iterator<Item = Row> + 'a {
    edges.keys().filter(|edge| path[1].is_some() && edge[0] == path[1]).map(|edge| vec![path[0], edge[1]])
}

fn reachable(world: &World<'_>) -> Bag<TextRow> {
    let edges = &world.inputs[0];
    closure(edges.keys().cloned().collect(), |path| onward(edges, path).collect())
}

/// Each path as often as it can be taken; `None` if there is a circle.
fn counted(edges: &Bag<Row>) -> Option<Bag<TextRow>> {
    let mut sum = Bag::new();
    let mut paths: Bag<Row> = edges.clone();
    for _ in 0..=edges.len() {
        let mut longer = Bag::new();
        for (path, weight) in &paths {
            add(&mut sum, shown_row(&PAIR, path), *weight);
            for (edge, of_edge) in edges.iter().filter(|(edge, _)| path[1].is_some() && edge[0] == path[1]) {
                add(&mut longer, vec![path[0], edge[1]], weight * of_edge);
            }
        }
        if longer.is_empty() {
            return Some(sum);
        }
        paths = longer;
    }
    None
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_nothing_leads_to_any_more_is_gone(steps in steps(vec![2], 6, true)) {
        check(&paths(edges(), false), &steps, || reachable);
    }

    #[test]
    fn each_derivation_counts(steps in steps(vec![2], 5, true)) {
        let upwards = map(edges(), Some(column(0).lt(column(1))), [0, 1]);
        check(&paths(upwards, true), &steps, || |world: &World<'_>| {
            let up = |edge: &Row| matches!((edge[0], edge[1]), (Some(a), Some(b)) if a < b);
            let edges = world.inputs[0].iter().filter(|(edge, _)| up(edge));
            counted(&edges.map(|(edge, weight)| (edge.clone(), *weight)).collect()).unwrap()
        });
    }

    #[test]
    fn rounds_come_to_the_same(steps in steps(vec![2], 5, true)) {
        check(&in_rounds(paths(edges(), false)), &steps, || reachable);
        let upwards = map(edges(), Some(column(0).lt(column(1))), [0, 1]);
        check(&in_rounds(paths(upwards, true)), &steps, || |world: &World<'_>| {
            let up = |edge: &Row| matches!((edge[0], edge[1]), (Some(a), Some(b)) if a < b);
            let edges = world.inputs[0].iter().filter(|(edge, _)| up(edge));
            counted(&edges.map(|(edge, weight)| (edge.clone(), *weight)).collect()).unwrap()
        });
    }

    /// `SELECT a, b FROM edges UNION [ALL] SELECT a + 1, count(*) FROM (SELECT a, b FROM r) GROUP BY a HAVING a < 4`.
    #[test]
    fn a_round_may_be_counted(steps in steps(vec![2], 5, true), all in any::<bool>()) {
        let counts = Arc::new(Node::Aggregate(Aggregate {
            input: hole(0),
            keys: vec![column(0)],
            calls: vec![call(count::count_udaf(), vec![], false, None)],
            window: None,
            on_error: OnError::Report,
            schema: schema_of(&PAIR),
        }));
        let step = Arc::new(Node::Map(Map {
            input: counts,
            predicate: Some(column(0).lt(lit(4_i64))),
            expressions: vec![column(0) + lit(1_i64), column(1)],
            on_error: OnError::Report,
            schema: schema_of(&PAIR),
        }));
        check(&in_rounds(case(edges(), vec![], step, all, 1)), &steps, || move |world: &World<'_>| {
            let mut sum: Bag<Row> = Bag::new();
            let mut round = world.inputs[0].clone();
            while !round.is_empty() {
                if !all {
                    round = round.into_keys().filter(|row| !sum.contains_key(row)).map(|row| (row, 1)).collect();
                }
                let mut counts: BTreeMap<Option<i64>, i64> = BTreeMap::new();
                for (row, weight) in &round {
                    add(&mut sum, row.clone(), *weight);
                    *counts.entry(row[0]).or_default() += weight;
                }
                let next = counts.into_iter().filter(|(a, _)| a.is_some_and(|a| a < 4));
                round = next.map(|(a, n)| (vec![a.map(|a| a + 1), Some(n)], 1)).collect();
            }
            sum.into_iter().map(|(row, weight)| (shown_row(&PAIR, &row), weight)).collect()
        });
    }

    /// While there is a circle, the view stays as it was before.
    #[test]
    fn what_has_no_end_changes_nothing_until_it_has_one(steps in steps(vec![2], 4, true)) {
        check(&paths(edges(), true), &steps, || {
            let mut last = Bag::new();
            move |world: &World<'_>| {
                if let Some(bag) = counted(&world.inputs[0]) {
                    last = bag;
                }
                last.clone()
            }
        });
    }

    /// `… SELECT r.a, e.b FROM r JOIN edges e ON r.b = e.a WHERE NOT EXISTS (SELECT FROM closed c WHERE c.a = r.b)`.
    #[test]
    fn what_is_closed_is_not_passed(steps in steps(vec![2, 2], 5, true)) {
        let open = join(hole(0), hole(1), JoinKind::LeftAnti, (1, 0));
        let step = map(join(open, hole(2), JoinKind::Inner, (1, 0)), None, [0, 3]);
        let closed = outer(&input(1, &PAIR, false), Effect::TakesAway);
        let case = case(edges(), vec![closed, outer(&edges(), Effect::Adds)], step, false, 2);
        check(&case, &steps, || |world: &World<'_>| {
            let (edges, closed) = (&world.inputs[0], &world.inputs[1]);
            let is_open = |path: &Row| path[1].is_none() || !closed.keys().any(|closed| closed[0] == path[1]);
            closure(edges.keys().cloned().collect(), |path| {
                if is_open(path) { onward(edges, path).collect() } else { vec![] }
            })
        });
    }

    /// Two ways on, one of them only where there is a sign: `… (SELECT r.a, e.b …) UNION (SELECT r.b, r.a FROM r WHERE EXISTS (…))`.
    #[test]
    fn a_step_may_have_several_ways(steps in steps(vec![2, 2], 5, true)) {
        let forth = map(join(hole(0), hole(1), JoinKind::Inner, (1, 0)), None, [0, 3]);
        let back = map(join(hole(0), hole(2), JoinKind::LeftSemi, (0, 0)), None, [1, 0]);
        let step = Arc::new(Node::Union(Union { inputs: vec![forth, back], schema: schema_of(&PAIR) }));
        let outers = vec![outer(&edges(), Effect::Adds), outer(&input(1, &PAIR, false), Effect::Adds)];
        check(&case(edges(), outers, step, false, 2), &steps, || |world: &World<'_>| {
            let (edges, signs) = (&world.inputs[0], &world.inputs[1]);
            closure(edges.keys().cloned().collect(), |path| {
                let mut next: Vec<Row> = onward(edges, path).collect();
                if path[0].is_some() && signs.keys().any(|sign| sign[0] == path[0]) {
                    next.push(vec![path[1], path[0]]);
                }
                next
            })
        });
    }
}

fn insert(a: i64, b: i64) -> Op {
    Op::Insert { input: 0, row: vec![Some(a), Some(b)] }
}

fn remove(nth: usize) -> Op {
    Op::Remove { input: 0, nth }
}

fn checkpointed(ops: Vec<Op>) -> Step {
    Step { ops, advance: 0, after: After::Checkpoint }
}

/// Two nodes that lead to each other must not keep each other alive, even if the edge between them comes as the one to them goes.
#[test]
fn a_circle_does_not_hold_itself() {
    // Rows in order: (1,2), (2,3), (3,2): the first leads into the circle.
    let steps = [
        checkpointed(vec![insert(1, 2), insert(2, 3)]),
        checkpointed(vec![remove(0), insert(3, 2)]),
        checkpointed(vec![remove(0)]),
        checkpointed(vec![insert(1, 3)]),
    ];
    check(&paths(edges(), false), &steps, || reachable);
}

/// A row that counts up without a condition, until the row that it begins with is gone.
#[test]
fn counting_without_an_end_stops() {
    let next = Arc::new(Node::Map(Map {
        input: hole(0),
        predicate: None,
        expressions: vec![column(0), column(1) + lit(1_i64)],
        on_error: OnError::Report,
        schema: schema_of(&PAIR),
    }));
    let steps = [
        checkpointed(vec![insert(1, 1)]),
        Step { after: After::Restart, ..checkpointed(vec![insert(2, 1)]) },
        checkpointed(vec![remove(1)]),
        checkpointed(vec![remove(0)]),
    ];
    for all in [false, true] {
        check(&case(edges(), vec![], next.clone(), all, 1), &steps, || |_: &World<'_>| Bag::new());
    }
}

/// A long chain is followed to its end, and is gone when its first edge is.
#[test]
fn long_chains_come_and_go() {
    let chain: Vec<Op> = (0..1500).map(|node| insert(node, node + 1)).collect();
    let from_zero = map(edges(), Some(column(0).eq(lit(0_i64))), [0, 1]);
    for all in [false, true] {
        let step = map(join(hole(0), hole(1), JoinKind::Inner, (1, 0)), None, [0, 3]);
        let case = case(from_zero.clone(), vec![outer(&edges(), Effect::Adds)], step, all, 1);
        let steps = [checkpointed(chain.clone()), checkpointed(vec![remove(700)]), checkpointed(vec![remove(0)])];
        check(&case, &steps, || {
            |world: &World<'_>| {
                let edges = &world.inputs[0];
                closure(edges.keys().filter(|edge| edge[0] == Some(0)).cloned().collect(), |path| {
                    let edge = vec![path[1], path[1].map(|node| node + 1)];
                    if edges.contains_key(&edge) { vec![vec![path[0], edge[1]]] } else { vec![] }
                })
            }
        });
    }
}
