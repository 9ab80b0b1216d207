//! Functions on numbers that DataFusion lacks: whole quotients, scales, buckets, angles in degrees, hexadecimal digits.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Decimal128Builder, Float64Array, Int32Array, Int32Builder,
    StringViewArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, FieldRef, Float64Type, Int32Type, Int64Type, i256};
use catalog::SqlType;
use catalog::sql_type::NUMERIC_DEFAULT;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, TypeSignature, Volatility};

use super::definition::{Definition, arrays, columnar, one_of, undefined, unexpected};
use crate::Error;
use crate::error::{DataError, ErrorKind};

pub(super) fn functions() -> Vec<Definition> {
    let any = |count| Signature::any(count, Volatility::Immutable);
    let float = |count: usize| one_of(&[&vec![DataType::Float64; count]], Volatility::Immutable);
    let mut functions = vec![
        Definition::new(
            "div",
            any(2),
            |fields| of_numerics("div", fields, 2, SqlType::Numeric(Some((38, 0)))),
            whole_quotient,
        ),
        Definition::new("scale", any(1), |fields| of_numerics("scale", fields, 1, SqlType::Integer), scale),
        Definition::new(
            "trim_scale",
            any(1),
            |fields| of_numerics("trim_scale", fields, 1, SqlType::Numeric(None)),
            trim_scale,
        ),
        Definition::new(
            "factorial",
            any(1),
            |fields| match fields[0].data_type() {
                data_type if data_type.is_integer() || data_type.is_null() => Ok(SqlType::Numeric(Some((38, 0)))),
                _ => undefined("factorial", fields),
            },
            factorial,
        ),
        Definition::new("min_scale", any(1), |fields| of_numerics("min_scale", fields, 1, SqlType::Integer), min_scale),
        Definition::new(
            "width_bucket",
            Signature::one_of(vec![TypeSignature::Any(2), TypeSignature::Any(4)], Volatility::Immutable),
            |fields| match fields {
                [_, thresholds] if matches!(thresholds.data_type(), DataType::List(_)) => Ok(SqlType::Integer),
                fields => of_numerics("width_bucket", fields, 4, SqlType::Integer),
            },
            width_bucket,
        ),
        Definition::new(
            "to_hex",
            any(1),
            |fields| match fields[0].data_type() {
                data_type if data_type.is_integer() || data_type.is_null() => Ok(SqlType::Text),
                _ => undefined("to_hex", fields),
            },
            to_hex,
        ),
        Definition::new(
            "num_nulls",
            Signature::one_of(vec![TypeSignature::VariadicAny], Volatility::Immutable),
            |_| Ok(SqlType::Integer),
            |args| count(args, true),
        ),
        Definition::new(
            "num_nonnulls",
            Signature::one_of(vec![TypeSignature::VariadicAny], Volatility::Immutable),
            |_| Ok(SqlType::Integer),
            |args| count(args, false),
        ),
        Definition::new("atan2d", float(2), |_| Ok(SqlType::Double), atan2d),
    ];
    let of_degrees: [(&'static str, super::definition::Invoke); 7] = [
        ("sind", |args| degrees(args, sind)),
        ("cosd", |args| degrees(args, |angle| sind(90.0 - angle.abs() % 360.0))),
        ("tand", |args| degrees(args, |angle| sind(angle) / sind(90.0 - angle.abs() % 360.0))),
        ("cotd", |args| degrees(args, |angle| sind(90.0 - angle.abs() % 360.0) / sind(angle))),
        ("asind", |args| inverse(args, asind)),
        ("acosd", |args| inverse(args, |value| 90.0 - asind(value))),
        ("atand", |args| degrees(args, |value| atand(value, 1.0))),
    ];
    functions.extend(of_degrees.map(|(name, invoke)| Definition::new(name, float(1), |_| Ok(SqlType::Double), invoke)));
    functions
}

/// The type of a function of so many numbers.
fn of_numerics(function: &str, fields: &[FieldRef], count: usize, result: SqlType) -> Result<SqlType> {
    let numbers = fields.iter().filter(|field| field.data_type().is_numeric() || field.data_type().is_null());
    if numbers.count() == count { Ok(result) } else { undefined(function, fields) }
}

/// A column of numbers as decimals.
fn decimals(column: &ArrayRef) -> Result<Decimal128Array> {
    let target = match column.data_type() {
        DataType::Decimal128(..) => return Ok(column.as_primitive::<Decimal128Type>().clone()),
        data_type if data_type.is_integer() => DataType::Decimal128(20, 0),
        _ => DataType::Decimal128(38, 15),
    };
    Ok(cast(column, &target)?.as_primitive::<Decimal128Type>().clone())
}

fn ten_to(exponent: i8) -> i256 {
    i256::from_i128(10).wrapping_pow(u32::from(exponent.unsigned_abs()))
}

/// What division gives, without what is behind the point.
fn whole_quotient(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (left, right) = (decimals(&columns[0])?, decimals(&columns[1])?);
    let (left_factor, right_factor) = (ten_to(right.scale()), ten_to(left.scale()));
    let mut builder = Decimal128Builder::with_capacity(left.len());
    for (left, right) in left.iter().zip(&right) {
        let (Some(left), Some(right)) = (left, right) else {
            builder.append_null();
            continue;
        };
        if right == 0 {
            return Err(Error::new(ErrorKind::DivisionByZero, "division by zero").into());
        }
        let left = i256::from_i128(left).checked_mul(left_factor);
        let right = i256::from_i128(right).checked_mul(right_factor);
        let quotient = left.zip(right).and_then(|(left, right)| left.checked_div(right)?.to_i128());
        match quotient {
            Some(quotient) => builder.append_value(quotient),
            None => return Err(Error::new(ErrorKind::OutOfRange, "numeric field overflow").into()),
        }
    }
    columnar(args, Arc::new(builder.finish().with_precision_and_scale(38, 0)?))
}

/// Digits behind the point that a value needs.
fn needed_scale(value: i128, scale: i8) -> i32 {
    let (mut value, mut scale) = (value, i32::from(scale));
    while scale > 0 && value % 10 == 0 {
        value /= 10;
        scale -= 1;
    }
    scale
}

fn min_scale(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let values = decimals(&arrays(args)?[0])?;
    let scales = values.iter().map(|value| value.map(|value| needed_scale(value, values.scale())));
    columnar(args, Arc::new(scales.collect::<Int32Array>()))
}

/// Digits behind the point that a value is shown with.
fn scale(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let values = decimals(&arrays(args)?[0])?;
    let trimmed = (values.precision(), values.scale()) == NUMERIC_DEFAULT;
    let scales = values.iter().map(|value| {
        value.map(|value| if trimmed { needed_scale(value, values.scale()) } else { i32::from(values.scale()) })
    });
    columnar(args, Arc::new(scales.collect::<Int32Array>()))
}

/// `width_bucket(operand, low, high, count)`, or `width_bucket(operand, thresholds)`.
fn width_bucket(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    if args.args.len() == 2 {
        return super::thresholds::bucket(args);
    }
    let columns = arrays(args)?;
    let counts = cast(&columns[3], &DataType::Int32)?;
    let counts = counts.as_primitive::<Int32Type>();
    let exact = !columns[..3].iter().any(|column| column.data_type().is_floating());
    let decimals = if exact { columns[..3].iter().map(decimals).collect::<Result<Vec<_>>>()? } else { Vec::new() };
    let floats = columns[..3].iter().map(|column| cast(column, &DataType::Float64)).collect::<Result<Vec<_>, _>>()?;
    let mut builder = Int32Builder::with_capacity(counts.len());
    for row in 0..counts.len() {
        if columns.iter().any(|column| column.is_null(row)) {
            builder.append_null();
            continue;
        }
        let count = counts.value(row);
        if count <= 0 {
            return bucket_error("count must be greater than zero");
        }
        let bucket = if exact {
            let deepest = decimals.iter().map(Decimal128Array::scale).max().unwrap_or(0);
            let scaled: Option<Vec<i256>> = decimals
                .iter()
                .map(|column| i256::from_i128(column.value(row)).checked_mul(ten_to(deepest - column.scale())))
                .collect();
            match scaled.as_deref() {
                Some([operand, low, high]) => exact_bucket(*operand, *low, *high, count)?,
                _ => return Err(Error::new(ErrorKind::OutOfRange, "numeric field overflow").into()),
            }
        } else {
            let value = |index: usize| floats[index].as_primitive::<Float64Type>().value(row);
            float_bucket(value(0), value(1), value(2), count)?
        };
        builder.append_value(bucket);
    }
    columnar(args, Arc::new(builder.finish()))
}

fn bucket_error<T>(message: &str) -> Result<T> {
    Err(Error::new(ErrorKind::Data(DataError::WidthBucket), message).into())
}

fn exact_bucket(operand: i256, low: i256, high: i256, count: i32) -> Result<i32> {
    if low == high {
        return bucket_error("lower bound cannot equal upper bound");
    }
    let (into, width) = if low < high {
        (operand.wrapping_sub(low), high.wrapping_sub(low))
    } else {
        (low.wrapping_sub(operand), low.wrapping_sub(high))
    };
    if into < i256::ZERO {
        return Ok(0);
    }
    if into >= width {
        return beyond(count);
    }
    let bucket = into.checked_mul(i256::from_i128(i128::from(count))).and_then(|into| into.checked_div(width));
    match bucket.and_then(i256::to_i128).and_then(|bucket| i32::try_from(bucket).ok()) {
        Some(bucket) => Ok(bucket + 1),
        None => Err(Error::new(ErrorKind::OutOfRange, "integer out of range").into()),
    }
}

fn float_bucket(operand: f64, low: f64, high: f64, count: i32) -> Result<i32> {
    if operand.is_nan() || low.is_nan() || high.is_nan() {
        return bucket_error("operand, lower bound, and upper bound cannot be NaN");
    }
    if low.is_infinite() || high.is_infinite() {
        return bucket_error("lower and upper bounds must be finite");
    }
    if low == high {
        return bucket_error("lower bound cannot equal upper bound");
    }
    let (into, width) = if low < high { (operand - low, high - low) } else { (low - operand, low - high) };
    match into {
        into if into < 0.0 => Ok(0),
        into if into >= width => beyond(count),
        into => Ok((into / width * f64::from(count)) as i32 + 1),
    }
}

fn beyond(count: i32) -> Result<i32> {
    count.checked_add(1).ok_or_else(|| Error::new(ErrorKind::OutOfRange, "integer out of range").into())
}

/// The digits of an integer's own bits.
fn to_hex(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let column = &arrays(args)?[0];
    let wide = !matches!(column.data_type(), DataType::Int16 | DataType::Int32);
    let values = cast(column, &DataType::Int64)?;
    let digits = |value: i64| if wide { format!("{value:x}") } else { format!("{:x}", value as i32) };
    let texts = values.as_primitive::<Int64Type>().iter().map(|value| value.map(digits));
    columnar(args, Arc::new(StringViewArray::from_iter(texts)))
}

/// How many arguments are NULL, or are not.
fn count(args: &ScalarFunctionArgs, wanted: bool) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let Some(first) = columns.first() else { return unexpected("a count of NULLs") };
    let nulls: Vec<_> = columns.iter().map(|column| column.logical_nulls()).collect();
    let is_null = |nulls: &Option<NullBuffer>, row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    let numbers = (0..first.len()).map(|row| nulls.iter().filter(|nulls| is_null(nulls, row) == wanted).count() as i32);
    columnar(args, Arc::new(numbers.collect::<Int32Array>()))
}

fn mapped(args: &ScalarFunctionArgs, check: fn(f64) -> bool, of: fn(f64) -> f64) -> Result<ColumnarValue> {
    let column = cast(&arrays(args)?[0], &DataType::Float64)?;
    let values = column.as_primitive::<Float64Type>();
    if values.iter().flatten().any(|value| !check(value)) {
        return Err(Error::new(ErrorKind::OutOfRange, "input is out of range").into());
    }
    let results: Float64Array = values.unary(of);
    columnar(args, Arc::new(results))
}

fn degrees(args: &ScalarFunctionArgs, of: fn(f64) -> f64) -> Result<ColumnarValue> {
    mapped(args, |value| !value.is_infinite(), of)
}

fn inverse(args: &ScalarFunctionArgs, of: fn(f64) -> f64) -> Result<ColumnarValue> {
    mapped(args, |value| value.is_nan() || value.abs() <= 1.0, of)
}

/// The sine of an angle in degrees, exact where the sine is 0, 1/2 or 1.
fn sind(angle: f64) -> f64 {
    let turned = angle % 360.0;
    let (sign, turned) = if turned < 0.0 { (-1.0, -turned) } else { (1.0, turned) };
    let (sign, turned) = if turned > 180.0 { (-sign, turned - 180.0) } else { (sign, turned) };
    let turned = if turned > 90.0 { 180.0 - turned } else { turned };
    sign * if turned <= 30.0 {
        turned.to_radians().sin() / 30_f64.to_radians().sin() / 2.0
    } else {
        // The cosine of what is left to 90 degrees, by how far it is from 1.
        let left = 90.0 - turned;
        1.0 - (1.0 - left.to_radians().cos()) / (1.0 - 60_f64.to_radians().cos()) / 2.0
    }
}

/// The angle of a sine, exact for 0, 1/2 and 1.
fn asind(value: f64) -> f64 {
    if value.is_nan() {
        return value;
    }
    let size = value.abs();
    let angle =
        if size <= 0.5 { size.asin() / 0.5_f64.asin() * 30.0 } else { 90.0 - size.acos() / 0.5_f64.acos() * 60.0 };
    angle.copysign(value)
}

fn atand(y: f64, x: f64) -> f64 {
    y.atan2(x) / 1_f64.atan2(1.0) * 45.0
}

fn atan2d(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (y, x) = (columns[0].as_primitive::<Float64Type>(), columns[1].as_primitive::<Float64Type>());
    let angles = y.iter().zip(x).map(|(y, x)| Some(atand(y?, x?)));
    columnar(args, Arc::new(angles.collect::<Float64Array>()))
}

/// Without zeros at its end: a plain numeric is shown so.
fn trim_scale(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let column = &arrays(args)?[0];
    let target = SqlType::Numeric(None).data_type();
    let cut = cast(column, &target)?;
    let back = cast(&cut, column.data_type())?;
    if back.as_ref() != column.as_ref() {
        return Err(Error::unsupported("trim_scale of a numeric with more than ten digits behind the point").into());
    }
    columnar(args, cut)
}

fn factorial(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let numbers = cast(&arrays(args)?[0], &DataType::Int64)?;
    let mut builder = arrow::array::Decimal128Builder::new().with_data_type(DataType::Decimal128(38, 0));
    for number in numbers.as_primitive::<arrow::datatypes::Int64Type>() {
        let Some(number) = number else {
            builder.append_null();
            continue;
        };
        if number < 0 {
            let message = "factorial of a negative number is undefined";
            return Err(Error::new(ErrorKind::OutOfRange, message).into());
        }
        let product = (1..=i128::from(number)).try_fold(1_i128, i128::checked_mul);
        match product.filter(|product| *product < 10_i128.pow(38)) {
            Some(product) => builder.append_value(product),
            None => return Err(Error::new(ErrorKind::OutOfRange, "value overflows numeric format").into()),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn angles_in_degrees_are_exact_where_they_can_be() {
        assert_eq!(
            [sind(0.0), sind(30.0), sind(90.0), sind(150.0), sind(180.0), sind(-30.0), sind(270.0)],
            [0.0, 0.5, 1.0, 0.5, 0.0, -0.5, -1.0]
        );
        assert_eq!([asind(0.5), asind(1.0), asind(-0.5), 90.0 - asind(0.5)], [30.0, 90.0, -30.0, 60.0]);
        assert_eq!(atand(1.0, 1.0), 45.0);
    }

    #[test]
    fn buckets_are_counted_from_the_lower_bound() {
        let exact = |operand, low, high| {
            exact_bucket(i256::from_i128(operand), i256::from_i128(low), i256::from_i128(high), 5).unwrap()
        };
        assert_eq!(
            [exact(-1, 0, 10), exact(0, 0, 10), exact(9, 0, 10), exact(10, 0, 10), exact(9, 10, 0)],
            [0, 1, 5, 6, 1]
        );
        assert_eq!(float_bucket(5.35, 0.024, 10.06, 5).unwrap(), 3);
    }
}
