//! How many digits behind the point a quotient, root, power or logarithm of numerics has.
//!
//! PostgreSQL chooses for each value, so that there are at least 16 significant ones. A column has one scale, which is known before its values
//! are: it is PostgreSQL's for arguments from 1 to 10,000, and for constants exactly PostgreSQL's.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::operator::{as_decimal, is_unknown};
use crate::functions::OwnFunctions;

/// Significant digits that a result has at least.
const SIGNIFICANT: i32 = 16;

/// Decimal digits that PostgreSQL counts together.
const GROUP: i32 = 4;

/// Digits of a numeric.
const MOST: i32 = 38;

/// A constant numeric: an integer over ten to a scale.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Constant {
    digits: i128,
    scale: i32,
}

impl Constant {
    fn of(expr: &Expr) -> Option<Self> {
        match expr {
            Expr::Literal(value, _) => Self::of_value(value),
            Expr::Negative(inner) => Self::of(inner).map(|inner| Self { digits: -inner.digits, ..inner }),
            // A cast to a numeric that changes nothing but the type.
            Expr::Cast(Cast { expr, field }) => {
                let inner = Self::of(expr)?;
                match field.data_type() {
                    DataType::Decimal128(_, scale) if i32::from(*scale) >= inner.scale => Some(Self {
                        digits: inner
                            .digits
                            .checked_mul(10_i128.pow((i32::from(*scale) - inner.scale).unsigned_abs()))?,
                        scale: i32::from(*scale),
                    }),
                    data_type if data_type.is_integer() && inner.scale == 0 => Some(inner),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn of_value(value: &ScalarValue) -> Option<Self> {
        let integer = |value: i64| Some(Self { digits: i128::from(value), scale: 0 });
        match value {
            ScalarValue::Decimal128(Some(digits), _, scale) => Some(Self { digits: *digits, scale: i32::from(*scale) }),
            ScalarValue::Int16(Some(value)) => integer(i64::from(*value)),
            ScalarValue::Int32(Some(value)) => integer(i64::from(*value)),
            ScalarValue::Int64(Some(value)) => integer(*value),
            _ => None,
        }
    }

    fn to_f64(self) -> f64 {
        self.digits as f64 / 10_f64.powi(self.scale)
    }

    /// The place of the first group of four digits that isn't zero, counted from the point, and that group: PostgreSQL's weight and first digit.
    fn first_group(self) -> (i32, i128) {
        if self.digits == 0 {
            return (0, 0);
        }
        let behind = self.scale.div_euclid(GROUP) + i32::from(self.scale % GROUP != 0);
        let digits = self.digits.unsigned_abs().checked_mul(10_u128.pow((behind * GROUP - self.scale).unsigned_abs()));
        // No room for the zeros that fill the last group: three digits less in front are as good.
        let mut left = digits.unwrap_or(self.digits.unsigned_abs() / 10_u128.pow(GROUP.unsigned_abs()));
        let mut groups = i32::from(digits.is_none());
        while left >= 10_000 {
            left /= 10_000;
            groups += 1;
        }
        (groups - behind, left as i128)
    }
}

/// A scale that a column can have.
fn bounded(scale: i32) -> i8 {
    scale.clamp(0, MOST) as i8
}

/// The scale, unless so many digits behind the point leave no room for those in front.
fn with_room(scale: i32, magnitude: f64) -> i8 {
    let in_front = (magnitude.abs().log10().max(0.0).floor() as i32).saturating_add(1);
    let room = MOST.saturating_sub(in_front);
    bounded(scale.min(room))
}

/// Of a quotient of constants.
pub(super) fn of_quotient(dividend: &Expr, divisor: &Expr) -> Option<i8> {
    let (dividend, divisor) = (Constant::of(dividend)?, Constant::of(divisor)?);
    if divisor.digits == 0 {
        return None;
    }
    let ((weight, first), (divisor_weight, divisor_first)) = (dividend.first_group(), divisor.first_group());
    let weight = weight - divisor_weight - i32::from(first <= divisor_first);
    let scale = (SIGNIFICANT - weight * GROUP).max(dividend.scale).max(divisor.scale);
    Some(with_room(scale, dividend.to_f64() / divisor.to_f64()))
}

/// The decimal place of the first digit of a natural logarithm.
fn place_of_ln(of: Constant) -> i32 {
    let value = of.to_f64();
    let ln = value.ln();
    if (0.9..=1.1).contains(&value) {
        return if value == 1.0 { 0 } else { (value - 1.0).abs().log10().floor() as i32 };
    }
    ln.abs().log10() as i32
}

/// A function of numerics with the scale of its result: what a call of one of PostgreSQL's names is, if one of its arguments is a numeric and
/// none is a floating point number.
pub(super) fn function(name: &str, args: &[Expr], schema: &DFSchema, own: &OwnFunctions) -> Result<Option<Expr>> {
    if let ("numeric_div", [dividend, divisor]) = (name, args) {
        return match of_quotient(dividend, divisor) {
            Some(scale) => {
                let result = Expr::Literal(ScalarValue::Decimal128(None, MOST as u8, scale), None);
                own.call(name, vec![dividend.clone(), divisor.clone(), result]).map(Some)
            }
            None => Ok(None),
        };
    }
    let name = match (name, args.len()) {
        ("sqrt", 1) => "numeric_sqrt",
        ("exp", 1) => "numeric_exp",
        ("ln", 1) => "numeric_ln",
        ("log10" | "log", 1) => "numeric_log10",
        ("log", 2) => "numeric_log",
        ("power" | "pow", 2) => "numeric_power",
        _ => return Ok(None),
    };
    let mut decimals = 0;
    let mut types = Vec::with_capacity(args.len());
    for arg in args {
        let data_type = if is_unknown(arg) { return Ok(None) } else { arg.get_type(schema)? };
        match &data_type {
            DataType::Decimal128(..) => decimals += 1,
            data_type if data_type.is_integer() => {}
            _ => return Ok(None),
        }
        types.push(data_type);
    }
    // A logarithm to a base exists of numerics alone.
    if decimals == 0 && name != "numeric_log" {
        return Ok(None);
    }
    let numerics: Vec<Expr> =
        args.iter().zip(&types).map(|(arg, data_type)| as_decimal(arg.clone(), data_type)).collect();
    let constants: Option<Vec<Constant>> = numerics.iter().map(Constant::of).collect();
    let declared = numerics.iter().map(|arg| {
        Ok(match arg.get_type(schema)? {
            DataType::Decimal128(_, scale) => i32::from(scale),
            _ => 0,
        })
    });
    let deepest = declared.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or(0);
    let scale = constants
        .and_then(|constants| of_constants(name, &constants))
        .unwrap_or_else(|| bounded(deepest.max(if name == "numeric_sqrt" { SIGNIFICANT - 1 } else { SIGNIFICANT })));
    let result = ScalarValue::Decimal128(None, MOST as u8, scale);
    let args = numerics.into_iter().chain(std::iter::once(Expr::Literal(result, None))).collect();
    own.call(name, args).map(Some)
}

/// PostgreSQL's scale of a function of constants; `None` where there is no result.
fn of_constants(name: &str, constants: &[Constant]) -> Option<i8> {
    let deepest = constants.iter().map(|constant| constant.scale).max()?;
    match (name, constants) {
        ("numeric_sqrt", [of]) => {
            let (weight, _) = of.first_group();
            Some(bounded((SIGNIFICANT - (weight * GROUP / 2 + 1)).max(deepest)))
        }
        ("numeric_exp", [of]) => {
            let places = of.to_f64() * std::f64::consts::LOG10_E;
            Some(with_room((SIGNIFICANT - places as i32).max(deepest), 10_f64.powf(places)))
        }
        ("numeric_ln", [of]) if of.digits > 0 => Some(bounded((SIGNIFICANT - place_of_ln(*of)).max(deepest))),
        ("numeric_log10", [of]) if of.digits > 0 => Some(bounded((SIGNIFICANT - place_of_ln(*of)).max(deepest))),
        ("numeric_log", [base, of]) if base.digits > 0 && of.digits > 0 => {
            Some(bounded((SIGNIFICANT - (place_of_ln(*of) - place_of_ln(*base))).max(deepest)))
        }
        ("numeric_power", [base, exponent]) => {
            let result = base.to_f64().abs().powf(exponent.to_f64());
            let whole = exponent.digits % 10_i128.pow(exponent.scale.unsigned_abs()) == 0;
            let scale =
                if whole { SIGNIFICANT.max(base.scale) } else { (SIGNIFICANT - result.log10() as i32).max(deepest) };
            Some(with_room(scale, result))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(digits: i128, scale: i8) -> Expr {
        Expr::Literal(ScalarValue::Decimal128(Some(digits), 38, scale), None)
    }

    #[test]
    fn a_quotient_of_constants_has_postgresqls_digits() {
        for (dividend, divisor, scale) in [
            (constant(1, 0), constant(3, 0), 20),
            (constant(10, 1), constant(3, 0), 20),
            (constant(100_000, 0), constant(30, 1), 12),
            (constant(50, 1), constant(5, 0), 20),
            (constant(2200, 2), constant(7, 0), 16),
            (constant(1, 4), constant(3, 0), 24),
            (constant(123_456_789, 2), constant(1, 2), 8),
            (constant(10_000_000_000, 0), constant(3, 0), 8),
        ] {
            assert_eq!(of_quotient(&dividend, &divisor), Some(scale), "{dividend} / {divisor}");
        }
    }

    #[test]
    fn functions_of_constants_have_postgresqls_digits() {
        let of = |digits, scale| Constant { digits, scale };
        assert_eq!(of_constants("numeric_sqrt", &[of(20, 1)]), Some(15));
        assert_eq!(of_constants("numeric_exp", &[of(100, 1)]), Some(12));
        assert_eq!(of_constants("numeric_exp", &[of(-100, 1)]), Some(20));
        assert_eq!(of_constants("numeric_ln", &[of(1, 3)]), Some(16));
        assert_eq!(of_constants("numeric_power", &[of(90, 1), of(3, 0)]), Some(16));
        assert_eq!(of_constants("numeric_power", &[of(2, 0), of(5, 1)]), Some(16));
    }
}
