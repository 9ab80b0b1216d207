//! `date_bin`: the beginning of the stride that a time is in.

use std::sync::Arc;

use arrow::array::{Array, AsArray, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType};
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, TypeSignature, Volatility};

use super::definition::{Definition, columnar, undefined};
use super::interval_total::INTERVAL;
use super::time::{DAY_US, interval_out_of_range, micros, out_of_range};
use crate::Error;
use crate::error::{DataError, ErrorKind};

pub(super) fn functions() -> Vec<Definition> {
    // Strides are counted from an origin, or from 1970-01-01.
    let signature = Signature::one_of(vec![TypeSignature::Any(2), TypeSignature::Any(3)], Volatility::Immutable);
    vec![Definition::new("date_bin", signature, result_type, date_bin)]
}

/// With a zone if one of the times has one.
fn result_type(fields: &[FieldRef]) -> Result<SqlType> {
    // A literal gets its type later.
    let is_interval =
        |data_type: &DataType| matches!(data_type, DataType::Interval(_) | DataType::Null) || data_type.is_string();
    let mut zoned = false;
    for field in &fields[1..] {
        match field.data_type() {
            DataType::Timestamp(_, zone) => zoned |= zone.is_some(),
            DataType::Date32 | DataType::Null => {}
            data_type if data_type.is_string() => {}
            _ => return undefined("date_bin", fields),
        }
    }
    match is_interval(fields[0].data_type()) {
        true => Ok(if zoned { SqlType::Timestamptz } else { SqlType::Timestamp }),
        false => undefined("date_bin", fields),
    }
}

/// A stride in microseconds.
fn length(stride: IntervalMonthDayNano) -> Result<i64> {
    if stride.months != 0 {
        let message = "timestamps cannot be binned into intervals containing months or years";
        return Err(Error::new(ErrorKind::Unsupported, message).into());
    }
    let days = i64::from(stride.days).checked_mul(DAY_US).ok_or_else(interval_out_of_range)?;
    match days.checked_add(stride.nanoseconds / 1000).ok_or_else(interval_out_of_range)? {
        length @ 1.. => Ok(length),
        _ => {
            let kind = ErrorKind::Data(DataError::DatetimeOverflow);
            Err(Error::new(kind, "stride must be greater than zero").into())
        }
    }
}

fn date_bin(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = ColumnarValue::values_to_arrays(&args.args)?;
    let zoned = matches!(args.return_field.data_type(), DataType::Timestamp(_, Some(_)));
    let strides = arrow::compute::cast(&columns[0], &INTERVAL)?;
    let strides = strides.as_primitive::<IntervalMonthDayNanoType>();
    let times = micros(&columns[1])?;
    let origins = columns.get(2).map(micros).transpose()?;
    let mut builder = TimestampMicrosecondBuilder::with_capacity(times.len());
    for row in 0..times.len() {
        let origin = match &origins {
            None => Some(0),
            Some(origins) => origins.is_valid(row).then(|| origins.value(row)),
        };
        let (true, true, Some(origin)) = (strides.is_valid(row), times.is_valid(row), origin) else {
            builder.append_null();
            continue;
        };
        let stride = length(strides.value(row))?;
        let since = times.value(row).checked_sub(origin).ok_or_else(out_of_range)?;
        let begin = since.checked_sub(since.rem_euclid(stride)).and_then(|since| since.checked_add(origin));
        builder.append_value(begin.ok_or_else(out_of_range)?);
    }
    columnar(args, Arc::new(builder.finish().with_timezone_opt(zoned.then_some("UTC"))))
}
