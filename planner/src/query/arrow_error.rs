//! Errors of Arrow's kernels in PostgreSQL's words: values that don't fit, texts that are no values.

use arrow::error::ArrowError;

use crate::Error;
use crate::error::{DataError, ErrorKind};

/// What PostgreSQL would say.
pub(crate) fn translate(error: &ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => Error::new(ErrorKind::DivisionByZero, "division by zero"),
        ArrowError::ArithmeticOverflow(message) => Error::new(ErrorKind::OutOfRange, overflow(message)),
        ArrowError::CastError(message) => cast(message)
            .unwrap_or_else(|| Error::new(ErrorKind::InvalidText, super::datafusion_error::lower_first(message))),
        ArrowError::ParseError(message) => {
            Error::new(ErrorKind::InvalidText, super::datafusion_error::lower_first(message))
        }
        ArrowError::InvalidArgumentError(message) if message.contains(" to store in a Decimal") => {
            numeric_overflow(limit(message))
        }
        ArrowError::ComputeError(message)
            if message.contains("overflow in GCD") || message.contains("overflow in LCM") =>
        {
            Error::new(ErrorKind::OutOfRange, "bigint out of range")
        }
        ArrowError::ComputeError(message) if message == "Timestamp out of range" => {
            Error::new(ErrorKind::Data(DataError::DatetimeOverflow), "timestamp out of range")
        }
        ArrowError::ComputeError(message) if message.contains("Array overflow") => {
            Error::new(ErrorKind::OutOfRange, overflow(message))
        }
        ArrowError::ComputeError(message) => super::datafusion_error::regular_expression(message)
            .unwrap_or_else(|| Error::new(ErrorKind::DatatypeMismatch, super::datafusion_error::lower_first(message))),
        other => Error::new(ErrorKind::DatatypeMismatch, super::datafusion_error::lower_first(&other.to_string())),
    }
}

/// Arithmetic says what it was given: the type that overflowed is the narrowest that both operands have.
fn overflow(message: &str) -> String {
    // `abs` names the array.
    match message.split_once("Array overflow").map(|(array, _)| array) {
        Some("Int16") => return "smallint out of range".to_owned(),
        Some("Int32") => return "integer out of range".to_owned(),
        Some("Int64") => return "bigint out of range".to_owned(),
        _ => {}
    }
    let operands: Vec<i128> = message.split([' ', ':']).filter_map(|word| word.parse().ok()).collect();
    let fits =
        |bits: u32| operands.iter().all(|operand| (-(1_i128 << (bits - 1))..1_i128 << (bits - 1)).contains(operand));
    let sql_type = match operands.as_slice() {
        [] => return "value out of range".to_owned(),
        _ if fits(16) => "smallint",
        _ if fits(32) => "integer",
        _ if fits(64) => "bigint",
        _ => return "numeric field overflow".to_owned(),
    };
    format!("{sql_type} out of range")
}

/// The message of a cast that failed.
fn cast(message: &str) -> Option<Error> {
    let out_of_range = |sql_type: &str| Some(Error::new(ErrorKind::OutOfRange, format!("{sql_type} out of range")));
    if let Some((_, target)) =
        message.split_once("Can't cast value ").and_then(|(_, rest)| rest.split_once(" to type "))
    {
        return out_of_range(type_name(target));
    }
    if let Some((_, target)) = message.strip_prefix("value of ").and_then(|rest| rest.split_once(" is out of range ")) {
        return out_of_range(type_name(target));
    }
    let text = message.strip_prefix("Cannot cast string '").or_else(|| message.strip_prefix("Cannot cast value '"));
    if let Some((text, target)) = text.and_then(|rest| rest.rsplit_once("' to value of ")) {
        let name = type_name(target.strip_suffix(" type").unwrap_or(target));
        if matches!(name, "smallint" | "integer" | "bigint") && text.trim().parse::<i128>().is_ok() {
            return Some(Error::new(
                ErrorKind::OutOfRange,
                format!("value \"{text}\" is out of range for type {name}"),
            ));
        }
        return Some(Error::new(ErrorKind::InvalidText, format!("invalid input syntax for type {name}: \"{text}\"")));
    }
    if let Some(rest) = message.strip_prefix("Cannot cast to Decimal").filter(|rest| rest.contains("verflow")) {
        let (precision, scale) = rest.split_once('(')?.1.split_once(')')?.0.split_once(", ")?;
        return Some(numeric_overflow(precision.parse().ok().zip(scale.parse().ok())));
    }
    None
}

fn type_name(arrow: &str) -> &str {
    match arrow {
        "Int8" | "Int16" => "smallint",
        "Int32" => "integer",
        "Int64" | "UInt64" => "bigint",
        "UInt32" => "OID",
        "Float32" => "real",
        "Float64" => "double precision",
        "Boolean" => "boolean",
        "Date32" => "date",
        other if other.starts_with("Decimal") => "numeric",
        other => other,
    }
}

/// Precision and scale out of `… of precision 5. Max is 99.999`.
fn limit(message: &str) -> Option<(i64, i64)> {
    let (_, bound) = message.rsplit_once(" is ")?;
    let (whole, fraction) =
        bound.trim_start_matches('-').split_once('.').unwrap_or((bound.trim_start_matches('-'), ""));
    let digits = |text: &str| i64::try_from(text.bytes().filter(u8::is_ascii_digit).count()).ok();
    let whole = if whole == "0" { 0 } else { digits(whole)? };
    Some((whole + digits(fraction)?, digits(fraction)?))
}

fn numeric_overflow(limit: Option<(i64, i64)>) -> Error {
    let error = Error::new(ErrorKind::OutOfRange, "numeric field overflow");
    match limit {
        Some((precision, scale)) => error.with_detail(format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value less than {}.",
            if precision == scale { "1".to_owned() } else { format!("10^{}", precision - scale) }
        )),
        None => error,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray};
    use arrow::compute::kernels::numeric;
    use arrow::compute::{CastOptions, cast_with_options};
    use arrow::datatypes::DataType;

    use super::*;

    /// What is said about a cast, by Arrow's own kernels.
    fn of_cast(array: ArrayRef, target: &DataType) -> String {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        said(cast_with_options(&array, target, &options).unwrap_err())
    }

    fn said(error: ArrowError) -> String {
        let error = translate(&error);
        format!("{:?}: {}", error.kind, error.to_string().replace('\n', " "))
    }

    #[test]
    fn values_that_do_not_fit() {
        assert_eq!(
            of_cast(Arc::new(Int32Array::from(vec![70_000])), &DataType::Int16),
            "OutOfRange: smallint out of range"
        );
        assert_eq!(
            of_cast(Arc::new(Float64Array::from(vec![1e10])), &DataType::Int32),
            "OutOfRange: integer out of range"
        );
        let decimal = Decimal128Array::from(vec![10_i128.pow(30)]).with_precision_and_scale(38, 0).unwrap();
        assert_eq!(of_cast(Arc::new(decimal), &DataType::Int64), "OutOfRange: bigint out of range");
        assert_eq!(
            of_cast(Arc::new(Int32Array::from(vec![12_345])), &DataType::Decimal128(5, 3)),
            "OutOfRange: numeric field overflow DETAIL: A field with precision 5, scale 3 must round to an absolute value less than 10^2."
        );
    }

    #[test]
    fn texts_that_are_no_values() {
        let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
        assert_eq!(of_cast(text("x"), &DataType::Int32), "InvalidText: invalid input syntax for type integer: \"x\"");
        assert_eq!(
            of_cast(text("99999999999"), &DataType::Int32),
            "OutOfRange: value \"99999999999\" is out of range for type integer"
        );
        assert_eq!(
            of_cast(text("x"), &DataType::Float64),
            "InvalidText: invalid input syntax for type double precision: \"x\""
        );
        assert_eq!(of_cast(text("x"), &DataType::Boolean), "InvalidText: invalid input syntax for type boolean: \"x\"");
        assert_eq!(
            of_cast(text("x"), &DataType::Decimal128(38, 10)),
            "InvalidText: invalid input syntax for type numeric: \"x\""
        );
    }

    #[test]
    fn arithmetic_that_overflows() {
        let big = Int64Array::from(vec![i64::MAX]);
        assert_eq!(
            said(numeric::add(&big, &Int64Array::from(vec![1])).unwrap_err()),
            "OutOfRange: bigint out of range"
        );
        let int = Int32Array::from(vec![i32::MAX]);
        assert_eq!(
            said(numeric::mul(&int, &Int32Array::from(vec![2])).unwrap_err()),
            "OutOfRange: integer out of range"
        );
        assert_eq!(
            said(numeric::div(&int, &Int32Array::from(vec![0])).unwrap_err()),
            "DivisionByZero: division by zero"
        );
    }
}
