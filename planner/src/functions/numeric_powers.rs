//! Roots, powers and logarithms of numerics, which are numerics: computed with more digits than any numeric has, and rounded once.
//!
//! The last argument of each is a NULL of the type of the result, whose scale the planner has chosen ([`crate::query::result_scale`]).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Decimal128Builder};
use arrow::datatypes::{DataType, Decimal128Type, FieldRef};
use catalog::SqlType;
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, Volatility};

use super::definition::{Definition, columnar, unexpected};
use super::wide::{Fixed, Wide};
use crate::Error;
use crate::error::ErrorKind;

pub(super) fn functions() -> Vec<Definition> {
    let of = |name, arguments: usize, invoke| {
        Definition::new(name, Signature::any(arguments + 1, Volatility::Immutable), result_type, invoke)
    };
    vec![
        of("numeric_sqrt", 1, |args| each(args, sqrt)),
        of("numeric_exp", 1, |args| each(args, exp)),
        of("numeric_ln", 1, |args| each(args, ln)),
        of("numeric_log10", 1, |args| each(args, log10)),
        of("numeric_log", 2, |args| each_pair(args, log)),
        of("numeric_power", 2, |args| each_pair(args, power)),
    ]
}

/// The type of the last argument.
fn result_type(fields: &[FieldRef]) -> Result<SqlType> {
    match fields.last().map(|field| field.data_type()) {
        Some(DataType::Decimal128(precision, scale)) => Ok(SqlType::Numeric(Some((*precision, *scale)))),
        _ => unexpected("a function of numerics"),
    }
}

/// A numeric: an integer over ten to a scale.
#[derive(Clone, Copy)]
struct Number {
    digits: i128,
    scale: u32,
}

fn fail<T>(kind: ErrorKind, message: &str) -> Result<T> {
    Err(Error::new(kind, message).into())
}

/// `Err` for a result of more digits than there are.
fn too_large() -> DataFusionError {
    Error::new(ErrorKind::OutOfRange, "numeric field overflow")
        .with_detail("A numeric has at most 38 digits, with those behind the point.")
        .with_hint("Cast an argument to double precision.")
        .into()
}

/// The columns of all arguments but the last, and the scale of the result.
fn operands(args: &ScalarFunctionArgs) -> Result<(Vec<Decimal128Array>, u8, i8)> {
    let DataType::Decimal128(precision, scale) = *args.return_field.data_type() else {
        return unexpected("a function of numerics");
    };
    let given = &args.args[..args.args.len().saturating_sub(1)];
    let columns = ColumnarValue::values_to_arrays(given)?;
    let decimals = columns.iter().map(|column: &ArrayRef| column.as_primitive_opt::<Decimal128Type>().cloned());
    match decimals.collect::<Option<Vec<_>>>() {
        Some(columns) => Ok((columns, precision, scale)),
        None => unexpected("a function of numerics"),
    }
}

fn scale_of(column: &Decimal128Array) -> u32 {
    u32::from(column.scale().max(0).unsigned_abs())
}

fn each(args: &ScalarFunctionArgs, of: fn(Number, u32) -> Result<i128>) -> Result<ColumnarValue> {
    let (columns, precision, scale) = operands(args)?;
    let [column] = columns.as_slice() else { return unexpected("a function of a numeric") };
    let (own, to) = (scale_of(column), u32::from(scale.unsigned_abs()));
    let results = column.iter().map(|digits| digits.map(|digits| of(Number { digits, scale: own }, to)).transpose());
    let results = results.collect::<Result<Decimal128Array>>()?.with_precision_and_scale(precision, scale)?;
    columnar(args, Arc::new(results))
}

fn each_pair(args: &ScalarFunctionArgs, of: fn(Number, Number, u32) -> Result<i128>) -> Result<ColumnarValue> {
    let (columns, precision, scale) = operands(args)?;
    let [left, right] = columns.as_slice() else { return unexpected("a function of two numerics") };
    let (left_scale, right_scale, to) = (scale_of(left), scale_of(right), u32::from(scale.unsigned_abs()));
    let mut builder = Decimal128Builder::with_capacity(left.len());
    for pair in left.iter().zip(right) {
        builder.append_option(match pair {
            (Some(left), Some(right)) => {
                let (left, right) =
                    (Number { digits: left, scale: left_scale }, Number { digits: right, scale: right_scale });
                Some(of(left, right, to)?)
            }
            _ => None,
        });
    }
    columnar(args, Arc::new(builder.finish().with_precision_and_scale(precision, scale)?))
}

fn sqrt(of: Number, scale: u32) -> Result<i128> {
    if of.digits < 0 {
        return fail(ErrorKind::InvalidPower, "cannot take square root of a negative number");
    }
    // An even number of digits behind the point, so that half of them are the root's.
    let digits = Wide::from_i128(of.digits);
    let radicand = match (2 * scale).checked_sub(of.scale) {
        Some(more) => digits.times_ten_to(more),
        None => digits.over_ten_to(of.scale - 2 * scale),
    };
    radicand.root().to_i128().filter(|root| *root < 10_i128.pow(38)).ok_or_else(too_large)
}

fn exp(of: Number, scale: u32) -> Result<i128> {
    match of.digits / 10_i128.pow(of.scale) {
        100.. => Err(too_large()),
        ..=-100 => Ok(0),
        _ => Fixed::decimal(of.digits, of.scale).exp(scale).ok_or_else(too_large),
    }
}

fn logarithm(of: Number) -> Result<Fixed> {
    if of.digits == 0 {
        return fail(ErrorKind::InvalidLogarithm, "cannot take logarithm of zero");
    }
    if of.digits < 0 {
        return fail(ErrorKind::InvalidLogarithm, "cannot take logarithm of a negative number");
    }
    Ok(Fixed::ln(of.digits.unsigned_abs(), of.scale))
}

fn ln(of: Number, scale: u32) -> Result<i128> {
    logarithm(of)?.to_decimal(scale).ok_or_else(too_large)
}

fn log10(of: Number, scale: u32) -> Result<i128> {
    logarithm(of)?.ln_to_log10().to_decimal(scale).ok_or_else(too_large)
}

/// The logarithm of a number to a base.
fn log(base: Number, of: Number, scale: u32) -> Result<i128> {
    let (base_ln, ln) = (logarithm(base)?, logarithm(of)?);
    if base.digits == 10_i128.pow(base.scale) {
        return fail(ErrorKind::DivisionByZero, "division by zero");
    }
    ln.over(&base_ln).to_decimal(scale).ok_or_else(too_large)
}

fn power(base: Number, exponent: Number, scale: u32) -> Result<i128> {
    let one = 10_i128.pow(exponent.scale);
    let (whole, rest) = (exponent.digits / one, exponent.digits % one);
    if exponent.digits == 0 {
        return Ok(10_i128.pow(scale));
    }
    if base.digits == 0 {
        return match exponent.digits < 0 {
            true => fail(ErrorKind::InvalidPower, "zero raised to a negative power is undefined"),
            false => Ok(0),
        };
    }
    if base.digits < 0 && rest != 0 {
        let message = "a negative number raised to a non-integer power yields a complex result";
        return fail(ErrorKind::InvalidPower, message);
    }
    let ln = Fixed::ln(base.digits.unsigned_abs(), base.scale);
    // Beyond 2^31 the power is 0, 1 or more than there is, whatever the exponent.
    let bound = 1_i128 << 31;
    let factor = match whole {
        whole if whole >= bound => Fixed::decimal(bound, 0),
        whole if whole <= -bound => Fixed::decimal(-bound, 0),
        _ => Fixed::decimal(exponent.digits, exponent.scale),
    };
    let power = ln.times(&factor).exp(scale).ok_or_else(too_large)?;
    Ok(if base.digits < 0 && whole % 2 != 0 { -power } else { power })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn number(digits: i128, scale: u32) -> Number {
        Number { digits, scale }
    }

    #[test]
    fn results_have_postgresqls_digits() {
        assert_eq!(sqrt(number(20, 1), 15).unwrap(), 1_414_213_562_373_095);
        assert_eq!(sqrt(number(0, 1), 15).unwrap(), 0);
        assert_eq!(exp(number(10, 1), 16).unwrap(), 27_182_818_284_590_452);
        assert_eq!(exp(number(20, 1), 16).unwrap(), 73_890_560_989_306_502);
        assert_eq!(ln(number(20, 1), 16).unwrap(), 6_931_471_805_599_453);
        assert_eq!(log10(number(1000, 1), 16).unwrap(), 20_000_000_000_000_000);
        assert_eq!(log(number(20, 1), number(640, 1), 16).unwrap(), 60_000_000_000_000_000);
        assert_eq!(power(number(90, 1), number(3, 0), 16).unwrap(), 7_290_000_000_000_000_000);
        assert_eq!(power(number(2, 0), number(5, 1), 16).unwrap(), 14_142_135_623_730_950);
        assert_eq!(power(number(-2, 0), number(3, 0), 4).unwrap(), -80_000);
        assert_eq!(power(number(20, 1), number(-1, 0), 16).unwrap(), 5_000_000_000_000_000);
    }

    #[test]
    fn what_does_not_exist_is_an_error() {
        assert!(sqrt(number(-1, 0), 15).is_err());
        assert!(ln(number(0, 0), 16).is_err() && ln(number(-1, 0), 16).is_err());
        assert!(log(number(10, 1), number(5, 0), 16).is_err());
        assert!(power(number(0, 1), number(-1, 0), 16).is_err());
        assert!(power(number(-80, 1), number(333, 3), 16).is_err());
        assert!(exp(number(1000, 0), 16).is_err());
        assert_eq!(exp(number(-1000, 0), 16).unwrap(), 0);
    }
}
