//! `WITH (state_ttl = …)`: operators that forget keys for which nothing comes.

use std::collections::BTreeMap;

use super::super::testing::{After, Op, state_rows};
use super::*;

const KINDS: [Kind; 2] = [Int, Int];
/// Long enough to be cut into steps, short enough that tests live through it several times.
const TTL: i64 = 3;

fn idle(input: Arc<Node>) -> Arc<Node> {
    Arc::new(Node::Idle(Idle { input, ttl_us: TTL }))
}

fn first_columns(input: &Arc<Node>) -> Arc<Node> {
    Arc::new(Node::Map(Map {
        input: input.clone(),
        predicate: None,
        expressions: vec![column(0)],
        on_error: OnError::Null,
        schema: schema([DataType::Int64]),
    }))
}

fn forgetful(of: Node, idle: Arc<Node>, forgotten: Forgotten) -> Arc<Node> {
    Arc::new(Node::Forgetful(Forgetful { of: Arc::new(of), idle, forgotten }))
}

/// Counts, adds up and counts the different values of rows by their first column.
pub(super) fn aggregate() -> Case {
    let input = input(0, &KINDS, true);
    let of = Node::Aggregate(Aggregate {
        keys: vec![column(0)],
        calls: vec![
            call(count::count_udaf(), vec![], false, None),
            call(min_max::max_udaf(), vec![column(1)], false, None),
            call(count::count_udaf(), vec![column(1)], true, None),
        ],
        window: None,
        on_error: OnError::Report,
        schema: schema(std::iter::repeat_n(DataType::Int64, 4)),
        input: input.clone(),
    });
    let root = forgetful(of, idle(first_columns(&input)), Forgotten::WithOutput);
    Case { root, kinds: vec![KINDS.to_vec()], form: ViewForm::Keyed { key: vec![0] } }
}

pub(super) fn distinct() -> Case {
    let input = input(0, &KINDS, true);
    let root = forgetful(Node::Distinct(Distinct { input: input.clone() }), idle(input), Forgotten::WithOutput);
    Case { root, kinds: vec![KINDS.to_vec()], form: ViewForm::Bag }
}

/// The least row by first column, or the place of each.
pub(super) fn partition(first: bool) -> Case {
    let input = input(0, &KINDS, true);
    let order = vec![OrderKey { expression: column(1), descending: false, nulls_first: true }];
    let fetch = first.then_some(1);
    let place = (!first).then_some(Place::Row);
    let rule = PartitionRule::Top(Top { order, offset: 0, fetch, ties: false, place });
    let columns = KINDS.iter().map(|kind| data_type(*kind)).chain(place.map(|_| DataType::UInt64));
    let schema = schema(columns);
    let of = Node::Partition(Partition {
        keys: vec![column(0)],
        rule,
        window: None,
        on_error: OnError::Report,
        schema,
        input: input.clone(),
    });
    let root = forgetful(of, idle(first_columns(&input)), Forgotten::WithOutput);
    Case { root, kinds: vec![KINDS.to_vec()], form: ViewForm::Bag }
}

/// Both sides are forgotten, or the left one of a left join.
pub(super) fn join(both: bool) -> Case {
    let (left, right) = (input(0, &KINDS, true), input(1, &KINDS, both));
    let keys = match both {
        true => Arc::new(Node::Union(Union {
            inputs: vec![first_columns(&left), first_columns(&right)],
            schema: schema([DataType::Int64]),
        })),
        false => first_columns(&left),
    };
    let of = Node::Join(Join {
        left,
        right,
        kind: if both { JoinKind::Inner } else { JoinKind::Left },
        on: vec![(column(0), column(0))],
        null_equal: false,
        residual: None,
        left_expiry: None,
        right_expiry: None,
        on_error: OnError::Report,
        schema: schema_of(&[KINDS, KINDS].concat()),
    });
    let root = forgetful(of, idle(keys), if both { Forgotten::Both } else { Forgotten::Left });
    Case { root, kinds: vec![KINDS.to_vec(), KINDS.to_vec()], form: ViewForm::Bag }
}

/// When keys were touched last.
#[derive(Default)]
struct Touched(BTreeMap<Row, i64>);

impl Touched {
    /// The keys that are forgotten, given those that came.
    fn step(&mut self, world: &World<'_>, came: impl Iterator<Item = Row>) -> Vec<Row> {
        // In these tests the clock is where the watermark is.
        let now = world.watermark.unwrap_or(0);
        self.0.extend(came.map(|key| (key, now)));
        // A step is a microsecond here, and what comes within one counts as its end.
        let idle: Vec<Row> =
            self.0.iter().filter(|(_, at)| **at + 1 + TTL <= now).map(|(key, _)| key.clone()).collect();
        self.0.retain(|key, _| !idle.contains(key));
        idle
    }
}

/// What the operator is a function of: the rows that it knows. `keys` columns are a key.
fn known(keys: usize, shown: impl Fn(&Bag<Row>) -> Bag<TextRow>) -> impl FnMut(&World<'_>) -> Bag<TextRow> {
    let (mut rows, mut touched): (Bag<Row>, Touched) = Default::default();
    move |world: &World<'_>| {
        world.came[0].iter().for_each(|(row, weight)| add(&mut rows, row.clone(), *weight));
        for key in touched.step(world, world.came[0].iter().map(|(row, _)| row[..keys].to_vec())) {
            rows.retain(|row, _| row[..keys] != key);
        }
        shown(&rows)
    }
}

fn groups(rows: &Bag<Row>) -> Bag<TextRow> {
    let mut groups: BTreeMap<Option<i64>, (i64, Vec<i64>)> = BTreeMap::new();
    for (row, weight) in rows {
        let (count, values) = groups.entry(row[0]).or_default();
        *count += weight;
        values.extend(row[1]);
    }
    let row = |(key, (count, values)): (Option<i64>, (i64, Vec<i64>))| {
        let most = values.iter().max().copied();
        (vec![shown(Int, key), count.to_string(), shown(Int, most), values.len().to_string()], 1)
    };
    groups.into_iter().map(row).collect()
}

fn places(rows: &Bag<Row>, first: bool) -> Bag<TextRow> {
    let mut places: BTreeMap<Option<i64>, i64> = BTreeMap::new();
    let mut out = Bag::new();
    for (row, weight) in rows {
        for _ in 0..*weight {
            let place = places.entry(row[0]).or_default();
            *place += 1;
            match (first, *place) {
                (true, 1) => add(&mut out, shown_row(&KINDS, row), 1),
                (true, _) => {}
                (false, place) => add(&mut out, [shown_row(&KINDS, row), vec![place.to_string()]].concat(), 1),
            }
        }
    }
    out
}

/// What has come out of forgotten rows, and stays; what is known; and how it is joined.
#[derive(Default)]
struct Joined {
    frozen: Bag<TextRow>,
    left: Bag<Row>,
    right: Bag<Row>,
    touched: Touched,
}

impl Joined {
    fn joined(&self, both: bool, wanted: impl Fn(&Row) -> bool, out: &mut Bag<TextRow>) {
        for (left, weight) in self.left.iter().filter(|(row, _)| wanted(row)) {
            let mut met = false;
            for (right, copies) in self.right.iter().filter(|(right, _)| left[0].is_some() && right[0] == left[0]) {
                met = true;
                add(out, [shown_row(&KINDS, left), shown_row(&KINDS, right)].concat(), weight * copies);
            }
            if !both && !met {
                add(out, [shown_row(&KINDS, left), vec!["NULL".to_owned(); 2]].concat(), *weight);
            }
        }
    }

    fn step(&mut self, world: &World<'_>, both: bool) -> Bag<TextRow> {
        world.came[0].iter().for_each(|(row, weight)| add(&mut self.left, row.clone(), *weight));
        world.came[1].iter().for_each(|(row, weight)| add(&mut self.right, row.clone(), *weight));
        let sides = if both { world.came } else { &world.came[..1] };
        let came: Vec<Row> = sides.iter().flatten().map(|(row, _)| row[..1].to_vec()).collect();
        for key in self.touched.step(world, came.into_iter()) {
            let mut frozen = std::mem::take(&mut self.frozen);
            self.joined(both, |row| row[..1] == key, &mut frozen);
            self.frozen = frozen;
            self.left.retain(|row, _| row[..1] != key);
            if both {
                self.right.retain(|row, _| row[..1] != key);
            }
        }
        let mut out = self.frozen.clone();
        self.joined(both, |_| true, &mut out);
        out
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn groups_go_with_their_rows(steps in steps(vec![2], 4, false)) {
        check(&aggregate(), &steps, || known(1, groups));
    }

    #[test]
    fn a_row_comes_again_after_it_was_forgotten(steps in steps(vec![2], 3, false)) {
        let once = |rows: &Bag<Row>| rows.keys().map(|row| (shown_row(&KINDS, row), 1)).collect();
        check(&distinct(), &steps, || known(2, once));
    }

    #[test]
    fn partitions_go_with_their_rows(steps in steps(vec![2], 4, false), first in any::<bool>()) {
        check(&partition(first), &steps, || known(1, move |rows| places(rows, first)));
    }

    #[test]
    fn pairs_stay_when_their_rows_are_forgotten(steps in steps(vec![2, 2], 4, false)) {
        check(&join(true), &steps, || {
            let mut joined = Joined::default();
            move |world: &World<'_>| joined.step(world, true)
        });
    }

    /// The right side, whose rows come and go, is known as long as it is there.
    #[test]
    fn forgotten_rows_keep_the_matches_that_they_had(steps in steps(vec![2, 2], 4, true)) {
        let steps: Vec<Step> = steps
            .into_iter()
            .map(|mut step| {
                step.ops.retain(|op| !matches!(op, Op::Remove { input: 0, .. }));
                step
            })
            .collect();
        check(&join(false), &steps, || {
            let mut joined = Joined::default();
            move |world: &World<'_>| joined.step(world, false)
        });
    }
}

#[test]
fn what_is_forgotten_is_freed() {
    let insert = |input, key| Op::Insert { input, row: vec![Some(key), Some(1)] };
    let step = |ops, advance| Step { ops, advance, after: After::Checkpoint };
    let steps = |input| {
        let ops = vec![insert(0, 1), insert(input, 1), insert(0, 2)];
        vec![step(ops, 1), step(vec![insert(0, 2)], 3), step(vec![], 2), step(vec![], 0)]
    };
    // Of one key: the operator's own entry, and when it is idle.
    assert_eq!(state_rows(&aggregate(), &steps(0)), 2);
    assert_eq!(state_rows(&distinct(), &steps(0)), 2);
    assert_eq!(state_rows(&partition(true), &steps(0)), 2);
    assert_eq!(state_rows(&join(true), &steps(1)), 2 + 1);
}
