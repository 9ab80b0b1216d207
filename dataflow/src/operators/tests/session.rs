//! `SESSION`: rows that come and go join sessions and split them.

use std::collections::BTreeMap;

use super::*;

const KINDS: [Kind; 2] = [Time, Int];
const OUT: [Kind; 4] = [Time, Int, Time, Time];

fn sessions(gap_us: i64, keys: Vec<usize>, watermark: bool) -> Arc<Node> {
    let watermark_of = if watermark { vec![input_id(0)] } else { vec![] };
    Arc::new(Node::Session(Session {
        input: input(0, &KINDS, false),
        time: 0,
        gap_us,
        keys,
        watermark_of,
        late: LatePolicy::Drop,
        schema: schema_of(&OUT),
    }))
}

/// Each row, a pair of time and key, in its session: found by going on from the row in both directions.
fn windowed(rows: &Bag<Row>, gap_us: i64, by_key: bool) -> Bag<Row> {
    let mut out = Bag::new();
    for (row, weight) in rows {
        let Some(time) = row[0] else { continue };
        let near =
            |a: i64, other: &Row| (!by_key || other[1] == row[1]) && other[0].is_some_and(|b| (a - b).abs() < gap_us);
        let (mut first, mut last) = (time, time);
        loop {
            let all = rows.keys();
            let times: Vec<i64> =
                all.filter(|other| near(first, other) || near(last, other)).filter_map(|r| r[0]).collect();
            let (least, most) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
            if least >= first && most <= last {
                break;
            }
            (first, last) = (first.min(least), last.max(most));
        }
        add(&mut out, [row.clone(), vec![Some(first), Some(last + gap_us)]].concat(), *weight);
    }
    out
}

fn text(rows: &Bag<Row>) -> Bag<TextRow> {
    rows.iter().map(|(row, weight)| (shown_row(&OUT, row), *weight)).collect()
}

/// What is open, and what closed sessions have shown.
#[derive(Default)]
struct Closing {
    open: Bag<Row>,
    closed: Bag<Row>,
}

impl Closing {
    fn step(&mut self, world: &World<'_>, gap_us: i64, by_key: bool) -> Bag<Row> {
        let mut change = Bag::new();
        world.came[0].iter().for_each(|(row, weight)| add(&mut change, row.clone(), *weight));
        let mut all = self.open.clone();
        change.iter().filter(|(_, weight)| **weight > 0).for_each(|(row, weight)| add(&mut all, row.clone(), *weight));
        let windows: BTreeMap<Row, i64> =
            windowed(&all, gap_us, by_key).into_keys().map(|row| (row[..2].to_vec(), row[3].unwrap())).collect();
        for (row, weight) in change.into_iter().filter(|(row, _)| row[0].is_some()) {
            let late = world.watermark_before.is_some_and(|mark| weight > 0 && windows[&row] <= mark);
            let unknown = world.watermark_before.is_some() && weight < 0 && !self.open.contains_key(&row);
            if !late && !unknown {
                add(&mut self.open, row, weight);
            }
        }
        let mut out = self.closed.clone();
        for (row, weight) in windowed(&self.open, gap_us, by_key) {
            add(&mut out, row.clone(), weight);
            if world.watermark.is_some_and(|mark| row[3].unwrap() <= mark) {
                add(&mut self.open, row[..2].to_vec(), -weight);
                add(&mut self.closed, row, weight);
            }
        }
        out
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn sessions_join_and_split(steps in steps(vec![2], 12, true), gap_us in 1..4_i64, by_key in any::<bool>()) {
        let keys = if by_key { vec![1] } else { vec![] };
        let case = Case { root: sessions(gap_us, keys, false), kinds: vec![KINDS.to_vec()], form: ViewForm::Bag };
        check(&case, &steps, || move |world: &World<'_>| text(&windowed(&world.inputs[0], gap_us, by_key)));
    }

    #[test]
    fn sessions_end_as_the_watermark_passes(steps in steps(vec![2], 15, true), gap_us in 1..4_i64, by_key in any::<bool>()) {
        let keys = if by_key { vec![1] } else { vec![] };
        let case = Case { root: sessions(gap_us, keys, true), kinds: vec![KINDS.to_vec()], form: ViewForm::Bag };
        check(&case, &steps, || {
            let mut closing = Closing::default();
            move |world: &World<'_>| text(&closing.step(world, gap_us, by_key))
        });
    }

    /// What the watermark has passed is not taken away: so an open session, however it shrinks, ends behind the watermark.
    #[test]
    fn sessions_come_out_when_they_are_over(steps in steps(vec![2], 15, false), gap_us in 1..4_i64) {
        let root = sessions(gap_us, vec![1], true);
        let watermark_of = vec![input_id(0)];
        let root = Arc::new(Node::WindowClose(WindowClose { input: root, end: 3, offset_us: 0, watermark_of }));
        let case = Case { root, kinds: vec![KINDS.to_vec()], form: ViewForm::Log };
        check(&case, &steps, || {
            let mut closing = Closing::default();
            move |world: &World<'_>| {
                closing.step(world, gap_us, true);
                text(&closing.closed)
            }
        });
    }
}
