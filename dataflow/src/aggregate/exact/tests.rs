#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn sum(values: &[f64]) -> f64 {
    let mut sum = ExactSum::default();
    values.iter().for_each(|value| sum.add(*value, 1));
    sum.to_f64()
}

fn encoded(sum: &ExactSum) -> Vec<u8> {
    let mut out = Vec::new();
    sum.encode(&mut out);
    out
}

/// Finite doubles of every size.
fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |v| v.is_finite()),
        (-1e6..1e6_f64),
        (-1000..1000_i32).prop_map(f64::from),
        Just(f64::MAX),
        Just(f64::MIN_POSITIVE),
        Just(5e-324),
    ]
}

#[test]
fn what_was_there_before_a_large_number_is_there_after_it() {
    let mut sum = ExactSum::default();
    sum.add(0.1, 1);
    sum.add(1e20, 1);
    sum.add(1e300, 1);
    sum.add(1e300, -1);
    sum.add(1e20, -1);
    assert_eq!(sum.to_f64(), 0.1);
}

#[test]
fn a_sum_is_rounded_once() {
    assert_eq!(sum(&[0.1; 10]), 1.0);
    assert_eq!(sum(&[1e16, 1.0, -1e16]), 1.0);
    assert_eq!(sum(&[1.0, 2_f64.powi(-53)]), 1.0);
    assert_eq!(sum(&[1.0, 2_f64.powi(-53), 5e-324]), 1.0 + f64::EPSILON);
    assert_eq!(sum(&[1.0 + f64::EPSILON, 2_f64.powi(-53)]), 1.0 + 2.0 * f64::EPSILON);
}

#[test]
fn a_sum_too_large_is_infinite() {
    assert_eq!(sum(&[f64::MAX, f64::MAX]), f64::INFINITY);
    assert_eq!(sum(&[-f64::MAX, -f64::MAX]), f64::NEG_INFINITY);
    assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]), f64::MAX);
}

proptest! {
    #[test]
    fn one_number_is_its_own_sum(value in finite()) {
        prop_assert_eq!(sum(&[value]), value);
        let mut square = ExactSum::default();
        square.add_square(value, 1);
        let want = value * value;
        let got = square.magnitude().to_f64(UNIT_OF_SQUARES, 1.0);
        prop_assert!(got == want || want == 0.0 || want.abs() < f64::MIN_POSITIVE, "{} {}", got, want);
    }

    #[test]
    fn a_sum_of_two_is_the_rounded_sum(a in finite(), b in finite()) {
        prop_assert_eq!(sum(&[a, b]), a + b);
    }

    #[test]
    fn order_and_detours_leave_no_trace(values in prop::collection::vec((finite(), -3..4_i64), 0..20), extra in finite()) {
        let mut forward = ExactSum::default();
        let mut backward = ExactSum::default();
        for (value, weight) in &values {
            forward.add(*value, *weight);
        }
        backward.add(extra, 7);
        for (value, weight) in values.iter().rev() {
            backward.add(*value, *weight);
        }
        backward.add(extra, -7);
        prop_assert_eq!(encoded(&forward), encoded(&backward));
        prop_assert_eq!(forward.to_f64().to_bits(), backward.to_f64().to_bits());
        let bytes = encoded(&forward);
        let mut rest = bytes.as_slice();
        let decoded = ExactSum::decode(&mut rest).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(encoded(&decoded), bytes);
    }

    #[test]
    fn weights_count(value in finite(), weight in -5..6_i64) {
        let mut at_once = ExactSum::default();
        at_once.add(value, weight);
        at_once.add_square(value, weight);
        let mut one_by_one = ExactSum::default();
        for _ in 0..weight.abs() {
            one_by_one.add(value, weight.signum());
            one_by_one.add_square(value, weight.signum());
        }
        prop_assert_eq!(encoded(&at_once), encoded(&one_by_one));
    }

    #[test]
    fn magnitudes_calculate(a in any::<i32>(), b in any::<i32>(), c in any::<u32>()) {
        let number = |value: i32| {
            let mut sum = ExactSum::default();
            sum.add(f64::from(value), 1);
            sum.magnitude()
        };
        let product = number(a).times(&number(b)).minus(&number(b).times(&Magnitude::integer(c.into())).times(&number(1)));
        let want = i128::from(a) * i128::from(b) - i128::from(b) * i128::from(c);
        prop_assert_eq!(product.to_f64(UNIT_OF_SQUARES, 1.0), want as f64);
    }
}
