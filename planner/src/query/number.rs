//! Numeric constants as DataFusion's planner reads them: digits without an exponent, or double precision where numeric ends.
//!
//! PostgreSQL's numeric has as many digits as a constant is given; ours has [`DIGITS`]. What needs more (`1e300`) is double precision, which holds
//! its magnitude and rounds its digits.

use sql::ast::{CastKind, DataType, Expr, Value};

/// Decimal digits that a numeric holds.
const DIGITS: usize = 38;

/// What a numeric constant is to be written as; `None`: as it is.
pub(crate) fn rewritten(text: &str) -> Option<Expr> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) && text.len() <= DIGITS {
        return None;
    }
    match plain_digits(text) {
        Some(digits) if digits == text => None,
        Some(digits) => Some(Expr::value(Value::Number(digits, false))),
        None => Some(Expr::Cast {
            kind: CastKind::DoubleColon,
            expr: Box::new(Expr::value(Value::SingleQuotedString(text.to_owned()))),
            data_type: DataType::DoublePrecision,
            array: false,
            format: None,
        }),
    }
}

/// A constant's digits with the point where its exponent moves it, and with a point in any case, so that it isn't taken for an integer; `None` if
/// there are too many.
pub(super) fn plain_digits(text: &str) -> Option<String> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    // Where the point stands, counted from the left of the digits.
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let length = i64::try_from(digits.len()).ok()?;
    let limit = i64::try_from(DIGITS).ok()?;
    if point < -limit || point > limit || length - point > limit {
        return None;
    }
    let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or(0));
    let padded = format!("{}{digits}{}", zeros(1 - point), zeros(point - length));
    let at = usize::try_from(point.max(1)).ok()?;
    let (before, after) = padded.split_at(at);
    let before = before.trim_start_matches('0');
    (before.len() + after.len() <= DIGITS).then(|| format!("{}.{after}", if before.is_empty() { "0" } else { before }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_move_the_point() {
        for (text, digits) in [
            ("1e3", Some("1000.")),
            ("1.5e1", Some("15.")),
            ("1.25e1", Some("12.5")),
            ("15e-1", Some("1.5")),
            ("1E-3", Some("0.001")),
            (".5", Some("0.5")),
            ("0012.50", Some("12.50")),
            ("1e37", Some("10000000000000000000000000000000000000.")),
            ("1e38", None),
            ("1e300", None),
            ("1e-39", None),
            ("1e-400", None),
            ("1e99999999999999999999", None),
        ] {
            assert_eq!(plain_digits(text).as_deref(), digits, "{text}");
        }
    }

    #[test]
    fn integers_stay_as_they_are() {
        assert_eq!(rewritten("42"), None);
        assert_eq!(rewritten("1.50"), None);
        assert_eq!(rewritten("1e300").map(|expr| expr.to_string()).as_deref(), Some("'1e300'::DOUBLE PRECISION"));
        assert_eq!(
            rewritten(&"9".repeat(39)).map(|expr| expr.to_string()),
            Some(format!("'{}'::DOUBLE PRECISION", "9".repeat(39)))
        );
    }
}
