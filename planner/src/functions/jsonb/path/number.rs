//! Arithmetic as numeric does it: exact, but for a quotient, which has 16 significant digits and more.

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode, Zero};

use super::Arithmetic;
use crate::functions::jsonb::value::Json;

/// Digits that a quotient has at least, and digits behind the point that it has at most.
const SIGNIFICANT: i64 = 16;
const MOST: i64 = 1000;

/// The digits of a number without an exponent, with the scale that it has.
pub(super) fn json_of(number: &BigDecimal) -> Json {
    Json::Number(number.to_plain_string())
}

/// `None` for a division by zero.
pub(super) fn apply(op: Arithmetic, left: &BigDecimal, right: &BigDecimal) -> Option<BigDecimal> {
    let (left_scale, right_scale) = (left.fractional_digit_count(), right.fractional_digit_count());
    Some(match op {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
        Arithmetic::Divide | Arithmetic::Modulo if right.is_zero() => return None,
        Arithmetic::Divide => {
            let scale = quotient_scale(left, right);
            // Enough digits for the last one to be rounded rightly.
            let (numerator, denominator) = (digits_at(left, scale + right_scale + 1), digits_at(right, right_scale));
            let quotient: BigInt = numerator * 10 / denominator;
            BigDecimal::new(quotient, scale + 2).with_scale_round(scale, RoundingMode::HalfUp)
        }
        Arithmetic::Modulo => {
            let scale = left_scale.max(right_scale);
            let (left, right) = (digits_at(left, scale), digits_at(right, scale));
            BigDecimal::new(left % right, scale)
        }
    })
}

/// A number times a power of ten, which makes it whole.
fn digits_at(number: &BigDecimal, scale: i64) -> BigInt {
    number.with_scale(scale).into_bigint_and_exponent().0
}

/// As PostgreSQL chooses it: by groups of four digits, one group fewer where the quotient's first may be 0.
fn quotient_scale(left: &BigDecimal, right: &BigDecimal) -> i64 {
    let ((left_weight, left_first), (right_weight, right_first)) = (weight(left), weight(right));
    let mut quotient = left_weight - right_weight;
    if left_first <= right_first {
        quotient -= 1;
    }
    (SIGNIFICANT - quotient * 4).max(left.fractional_digit_count()).max(right.fractional_digit_count()).clamp(0, MOST)
}

/// The position of the first group of four digits that isn't zero (0 is the one before the point), and its value.
fn weight(number: &BigDecimal) -> (i64, u32) {
    if number.is_zero() {
        return (0, 0);
    }
    let text = number.abs().to_plain_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let whole = whole.trim_start_matches('0');
    let (mut groups, mut position) = (Vec::new(), (whole.len() as i64 + 3) / 4 - 1);
    if whole.is_empty() {
        position = -1;
    } else {
        let padded = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
        groups.push(padded[..4].to_owned());
    }
    if groups.is_empty() {
        let padded = format!("{fraction}{}", "0".repeat((4 - fraction.len() % 4) % 4));
        let zeros = padded.len() - padded.trim_start_matches('0').len();
        position -= (zeros / 4) as i64;
        groups.push(padded[zeros / 4 * 4..zeros / 4 * 4 + 4].to_owned());
    }
    (position, groups.first().and_then(|group| group.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quotients_have_postgresqls_digits() {
        for (left, right, expected) in [
            ("7", "2", "3.5000000000000000"),
            ("1", "3", "0.33333333333333333333"),
            ("2", "3", "0.66666666666666666667"),
            ("1000000", "3.0", "333333.333333333333"),
            ("0.001", "3", "0.00033333333333333333"),
            ("123456.789", "0.0001", "1234567890.00000000"),
            ("-7", "2", "-3.5000000000000000"),
        ] {
            let quotient = apply(Arithmetic::Divide, &left.parse().unwrap(), &right.parse().unwrap()).unwrap();
            assert_eq!(quotient.to_plain_string(), expected, "{left} / {right}");
        }
        assert_eq!(apply(Arithmetic::Divide, &"1".parse().unwrap(), &"0".parse().unwrap()), None);
    }
}
