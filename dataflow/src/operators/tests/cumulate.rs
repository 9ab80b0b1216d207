//! `CUMULATE`: windows that begin together.

use super::*;

proptest! {
    #![proptest_config(config())]

    #[test]
    fn windows_that_begin_together_end_one_by_one(steps in steps(vec![2], 15, true), step_us in 1..4_i64, times in 1..4_i64) {
        let kinds = vec![Time, Int];
        let size_us = step_us * times;
        let root = windowed(WindowKind::Cumulate { step_us, size_us }, &kinds);
        let case = Case { root, kinds: vec![kinds], form: ViewForm::Bag };
        check(&case, &steps, || {
            let mut all = Bag::new();
            move |world: &World<'_>| {
                for (row, weight) in &world.came[0] {
                    let Some(time) = row[0] else { continue };
                    let start = time - time % size_us;
                    let ends = (1..=times).map(|n| start + n * step_us).filter(|end| *end > time);
                    for end in ends.filter(|end| world.watermark_before.is_none_or(|mark| *end > mark)) {
                        let row = [row.clone(), vec![Some(start), Some(end)]].concat();
                        add(&mut all, shown_row(&[Time, Int, Time, Time], &row), *weight);
                    }
                }
                all.clone()
            }
        });
    }
}
