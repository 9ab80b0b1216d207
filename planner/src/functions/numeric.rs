//! Exact division, as PostgreSQL's numeric does it, and what else DataFusion does only for floats.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Decimal128Builder, Float32Array, Float64Array};
use arrow::compute::cast;
use arrow::compute::kernels::length::length;
use arrow::datatypes::{DataType, Decimal128Type, FieldRef, Float64Type, Int32Type, i256};
use arrow::error::ArrowError;
use catalog::SqlType;
use catalog::sql_type::NUMERIC_DEFAULT;
use datafusion::common::{DataFusionError, Result, ScalarValue, cast::as_decimal128_array};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, TypeSignature, Volatility};

use super::definition::{Definition, arrays, columnar, unexpected};
use crate::Error;
use crate::error::ErrorKind;

/// Digits behind the point that a quotient has at least.
const QUOTIENT_SCALE: i8 = 16;

pub(super) fn functions() -> Vec<Definition> {
    vec![
        Definition::new(
            "numeric_div",
            Signature::one_of(vec![TypeSignature::Any(2), TypeSignature::Any(3)], Volatility::Immutable),
            division_type,
            divide,
        ),
        Definition::new("sign", Signature::any(1, Volatility::Immutable), sign_type, sign),
        Definition::new("float_round", Signature::any(1, Volatility::Immutable), |_| Ok(SqlType::Double), float_round),
        Definition::new(
            "double_to_real",
            Signature::any(1, Volatility::Immutable),
            |_| Ok(SqlType::Real),
            double_to_real,
        ),
        Definition::new(
            "float_to_numeric",
            Signature::any(2, Volatility::Immutable),
            |fields| match fields[1].data_type() {
                DataType::Decimal128(precision, scale) => Ok(SqlType::Numeric(Some((*precision, *scale)))),
                _ => unexpected("float_to_numeric"),
            },
            float_to_numeric,
        ),
        Definition::new(
            "text_to_double",
            Signature::any(1, Volatility::Immutable),
            |_| Ok(SqlType::Double),
            |args| {
                let texts = super::text::as_views(&arrays(args)?[0])?;
                let values = texts.iter().map(|text| text.map(double_of).transpose());
                columnar(args, Arc::new(values.collect::<Result<Float64Array>>()?))
            },
        ),
        Definition::new(
            "text_to_real",
            Signature::any(1, Volatility::Immutable),
            |_| Ok(SqlType::Real),
            |args| {
                let texts = super::text::as_views(&arrays(args)?[0])?;
                let values = texts.iter().map(|text| text.map(real_of).transpose());
                columnar(args, Arc::new(values.collect::<Result<Float32Array>>()?))
            },
        ),
        Definition::new(
            "text_to_numeric",
            Signature::any(1, Volatility::Immutable),
            |_| Ok(SqlType::Numeric(None)),
            text_to_numeric,
        ),
        Definition::new(
            "bytea_length",
            Signature::any(1, Volatility::Immutable),
            |_| Ok(SqlType::Integer),
            bytea_length,
        ),
        Definition::new(
            "bytea_bit_length",
            Signature::any(1, Volatility::Immutable),
            |_| Ok(SqlType::Integer),
            |args| {
                let bytes = cast(&arrays(args)?[0], &DataType::Binary)?;
                let bytes = length(&bytes)?;
                let bits = bytes.as_primitive::<Int32Type>().unary::<_, Int32Type>(|bytes| bytes.saturating_mul(8));
                columnar(args, Arc::new(bits))
            },
        ),
    ]
}

/// Numeric for numerics, double precision for other numbers.
fn sign_type(fields: &[FieldRef]) -> Result<SqlType> {
    match fields[0].data_type() {
        DataType::Decimal128(..) => Ok(SqlType::Numeric(Some((1, 0)))),
        data_type if data_type.is_numeric() || data_type.is_null() => Ok(SqlType::Double),
        _ => {
            let sql_type =
                SqlType::of_field(&fields[0]).map_or_else(|| "unknown".to_owned(), |sql_type| sql_type.to_string());
            Err(Error::new(ErrorKind::UndefinedFunction, format!("function sign({sql_type}) does not exist")).into())
        }
    }
}

/// -1, 0 or 1.
fn sign(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let column = &arrays(args)?[0];
    let result: ArrayRef = match column.data_type() {
        DataType::Decimal128(..) => {
            let signs = as_decimal128_array(column)?.unary::<_, Decimal128Type>(i128::signum);
            Arc::new(signs.with_precision_and_scale(1, 0)?)
        }
        _ => {
            let numbers = arrow::compute::cast(column, &DataType::Float64)?;
            let of = |value: f64| if value == 0.0 || value.is_nan() { value } else { value.signum() };
            Arc::new(numbers.as_primitive::<Float64Type>().unary::<_, Float64Type>(of))
        }
    };
    columnar(args, result)
}

/// `round` of a double: a half goes to the even neighbour, as in PostgreSQL; DataFusion's goes away from zero.
fn float_round(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let values = cast(&arrays(args)?[0], &DataType::Float64)?;
    let rounded: Float64Array = values.as_primitive::<Float64Type>().unary(f64::round_ties_even);
    columnar(args, Arc::new(rounded))
}

/// A double that a real can hold.
fn double_to_real(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let values = cast(&arrays(args)?[0], &DataType::Float64)?;
    let mut builder = arrow::array::Float32Builder::with_capacity(values.len());
    for value in values.as_primitive::<Float64Type>() {
        let real = value.map(|value| value as f32);
        let beyond = match (value, real) {
            (Some(value), Some(real)) if value.is_finite() && real.is_infinite() => "overflow",
            (Some(value), Some(real)) if value != 0.0 && real == 0.0 => "underflow",
            _ => {
                builder.append_option(real);
                continue;
            }
        };
        return Err(Error::new(ErrorKind::OutOfRange, format!("value out of range: {beyond}")).into());
    }
    columnar(args, Arc::new(builder.finish()))
}

/// A double from its digits; other texts are read as literals are.
fn double_of(text: &str) -> Result<f64> {
    match plain_double(text).filter(|value| value.is_finite() && *value != 0.0) {
        Some(value) => Ok(value),
        None => match crate::query::literal::parse(text, &SqlType::Double)? {
            ScalarValue::Float64(Some(value)) => Ok(value),
            _ => unexpected("text_to_double"),
        },
    }
}

fn real_of(text: &str) -> Result<f32> {
    match plain_double(text).map(|value| value as f32).filter(|value| value.is_finite() && *value != 0.0) {
        // Rounded once, from the digits.
        Some(_) => text.trim().parse::<f32>().map_err(|_| overflow()),
        None => match crate::query::literal::parse(text, &SqlType::Real)? {
            ScalarValue::Float32(Some(value)) => Ok(value),
            _ => unexpected("text_to_real"),
        },
    }
}

/// The value of a text that begins as numbers do.
fn plain_double(text: &str) -> Option<f64> {
    let text = text.trim();
    let begins = text.trim_start_matches(['-', '+']).starts_with(|first: char| first.is_ascii_digit() || first == '.');
    begins.then(|| text.parse().ok()).flatten()
}

/// Floating point numbers with the digits that their type promises, 15 or 6, as numerics of the type of the second argument, a NULL.
fn float_to_numeric(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let DataType::Decimal128(precision, scale) = *args.return_field.data_type() else {
        return unexpected("float_to_numeric");
    };
    let column = args.args[0].to_array(args.number_rows)?;
    let digits = if *column.data_type() == DataType::Float64 { 15 } else { 6 };
    let values = cast(&column, &DataType::Float64)?;
    let mut text = String::new();
    let of = |value: f64, text: &mut String| -> Result<i128> {
        if !value.is_finite() {
            return Err(crate::query::literal::no_such_numeric(value).into());
        }
        text.clear();
        write!(text, "{value:.0$e}", digits - 1).map_err(|_| overflow())?;
        decimal_of(text, i32::from(scale))
            .filter(|of| of.unsigned_abs() < 10_u128.pow(precision.into()))
            .ok_or_else(overflow)
    };
    let values = values.as_primitive::<Float64Type>();
    let results = values.iter().map(|value| value.map(|value| of(value, &mut text)).transpose());
    let results = results.collect::<Result<Decimal128Array>>()?.with_precision_and_scale(precision, scale)?;
    columnar(args, Arc::new(results))
}

/// `1.25e-3` with `scale` digits behind the point, as the integer of all of them, rounded half away from zero; `None` beyond 128 bits.
fn decimal_of(scientific: &str, scale: i32) -> Option<i128> {
    let (mantissa, exponent) = scientific.split_once('e')?;
    let (mut digits, mut behind) = (0_i128, 0);
    let mut point = false;
    for character in mantissa.bytes().filter(|byte| *byte != b'-') {
        match character {
            b'.' => point = true,
            digit => {
                digits = digits * 10 + i128::from(digit - b'0');
                behind += i32::from(point);
            }
        }
    }
    let shift = exponent.parse::<i32>().ok()? - behind + scale;
    let magnitude = match shift {
        0.. => digits.checked_mul(10_i128.checked_pow(shift.unsigned_abs())?)?,
        // More digits fall away than there are.
        ..-20 => 0,
        _ => rounded(digits, 10_i128.pow(shift.unsigned_abs())),
    };
    Some(if mantissa.starts_with('-') { -magnitude } else { magnitude })
}

/// Numbers with all their digits, or an error.
fn text_to_numeric(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let texts = super::text::as_views(&arrays(args)?[0])?;
    let mut builder = Decimal128Builder::with_capacity(texts.len());
    for text in &texts {
        match text.map(|text| crate::query::literal::parse(text, &SqlType::Numeric(None))).transpose()? {
            Some(ScalarValue::Decimal128(value, ..)) => builder.append_option(value),
            _ => builder.append_null(),
        }
    }
    let (precision, scale) = NUMERIC_DEFAULT;
    columnar(args, Arc::new(builder.finish().with_precision_and_scale(precision, scale)?))
}

fn bytea_length(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let bytes = cast(&arrays(args)?[0], &DataType::Binary)?;
    columnar(args, length(&bytes)?)
}

fn scale_of(field: &FieldRef) -> Result<i8> {
    match field.data_type() {
        DataType::Decimal128(_, scale) => Ok(*scale),
        _ => unexpected("numeric_div"),
    }
}

/// A third argument, a NULL, has the type of the quotient.
fn division_type(fields: &[FieldRef]) -> Result<SqlType> {
    if let [_, _, result] = fields {
        return Ok(SqlType::Numeric(Some((38, scale_of(result)?))));
    }
    let scale = scale_of(&fields[0])?.max(scale_of(&fields[1])?).max(QUOTIENT_SCALE);
    Ok(SqlType::Numeric(Some((38, scale))))
}

fn divide(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = ColumnarValue::values_to_arrays(&args.args[..2])?;
    let (left, right) = (as_decimal128_array(&columns[0])?, as_decimal128_array(&columns[1])?);
    let DataType::Decimal128(precision, scale) = *args.return_field.data_type() else {
        return unexpected("numeric_div");
    };
    // left / 10^sl over right / 10^sr, with `scale` digits: left * 10^(scale - sl + sr) / right.
    let shift = i32::from(scale) - i32::from(left.scale()) + i32::from(right.scale());
    let result = quotients(left, right, shift.unsigned_abs())?;
    let result: ArrayRef = Arc::new(result.with_precision_and_scale(precision, scale)?);
    columnar(args, result)
}

fn quotients(left: &Decimal128Array, right: &Decimal128Array, shift: u32) -> Result<Decimal128Array> {
    let factor = 10_i128.checked_pow(shift);
    let wide_factor = i256::from_i128(10).checked_pow(shift).ok_or_else(overflow)?;
    let mut builder = Decimal128Builder::with_capacity(left.len());
    for row in 0..left.len() {
        if left.is_null(row) || right.is_null(row) {
            builder.append_null();
            continue;
        }
        let (dividend, divisor) = (left.value(row), right.value(row));
        if divisor == 0 {
            return Err(ArrowError::DivideByZero.into());
        }
        let quotient = match factor.and_then(|factor| dividend.checked_mul(factor)) {
            Some(dividend) => rounded(dividend, divisor),
            None => {
                let dividend = i256::from_i128(dividend).checked_mul(wide_factor).ok_or_else(overflow)?;
                wide_rounded(dividend, i256::from_i128(divisor)).ok_or_else(overflow)?
            }
        };
        builder.append_value(quotient);
    }
    let result = builder.finish().with_precision_and_scale(38, 0)?;
    result.validate_decimal_precision(38).map_err(|_| overflow())?;
    Ok(result)
}

/// Half away from zero.
fn rounded(dividend: i128, divisor: i128) -> i128 {
    let (quotient, remainder) = (dividend / divisor, dividend % divisor);
    if remainder.unsigned_abs() >= divisor.unsigned_abs().div_ceil(2) && remainder != 0 {
        quotient + if (dividend < 0) == (divisor < 0) { 1 } else { -1 }
    } else {
        quotient
    }
}

fn wide_rounded(dividend: i256, divisor: i256) -> Option<i128> {
    let quotient = dividend.checked_div(divisor)?;
    let remainder = dividend.checked_rem(divisor)?;
    let twice = remainder.wrapping_abs().checked_mul(i256::from_i128(2))?;
    let step = if twice < divisor.wrapping_abs() {
        i256::ZERO
    } else if dividend.is_negative() == divisor.is_negative() {
        i256::ONE
    } else {
        i256::MINUS_ONE
    };
    quotient.checked_add(step)?.to_i128()
}

fn overflow() -> DataFusionError {
    Error::new(ErrorKind::OutOfRange, "numeric field overflow").into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_rounded_half_away_from_zero() {
        assert_eq!((rounded(7, 2), rounded(-7, 2), rounded(5, 3), rounded(4, 3), rounded(6, 3)), (4, -4, 2, 1, 2));
        assert_eq!(wide_rounded(i256::from_i128(-7), i256::from_i128(2)), Some(-4));
    }

    #[test]
    fn floating_point_numbers_have_so_many_digits() {
        assert_eq!(decimal_of("1.23456789123457e8", 10), Some(1_234_567_891_234_570_000));
        assert_eq!(decimal_of("-1.50000000000000e0", 0), Some(-2));
        assert_eq!(decimal_of("1.00000000000000e-30", 10), Some(0));
        assert_eq!(decimal_of("1.00000000000000e300", 10), None);
    }

    #[test]
    fn division_goes_on_where_128_bits_end() {
        let one = |value: i128, scale| Decimal128Array::from(vec![value]).with_precision_and_scale(38, scale).unwrap();
        let big = one(10_i128.pow(36), 10);
        let quotient = quotients(&big, &one(10_i128.pow(20), 10), 16).unwrap();
        assert_eq!(quotient.value(0), 10_i128.pow(32));
    }
}
