//! `generate_series(start, stop[, step])` as an array, of integers, numerics and times.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, ListArray, NullBufferBuilder, PrimitiveArray, PrimitiveBuilder,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal128Type, Field, FieldRef, Int32Type, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType, IntervalUnit, TimestampMicrosecondType,
};
use catalog::SqlType;
use chrono::{DateTime, Months, TimeDelta};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, TypeSignature, Volatility};

use super::definition::{Definition, arrays, columnar, invalid, unexpected};
use crate::Error;
use crate::error::ErrorKind;

/// Values of one series, and of all series of a batch together: an array of so many takes some hundred megabytes.
const MOST_VALUES: usize = 50_000_000;

pub(super) fn functions() -> Vec<Definition> {
    let any = Signature::one_of(vec![TypeSignature::Any(2), TypeSignature::Any(3)], Volatility::Immutable);
    vec![Definition::new(
        "generate_series",
        any,
        |fields| Ok(SqlType::Array(Box::new(element_of(fields)?))),
        generate_series,
    )]
}

/// The type of a series with these arguments, as PostgreSQL resolves the call.
pub(crate) fn element_of(fields: &[FieldRef]) -> Result<SqlType> {
    let no_such = || {
        let names = fields.iter().map(|field| match field.data_type() {
            DataType::Null => "unknown".to_owned(),
            _ => SqlType::of_field(field).map_or_else(|| "unknown".to_owned(), |known| known.to_string()),
        });
        let names = names.collect::<Vec<_>>().join(", ");
        let hint = "It takes integers, numerics, or two timestamps and an interval.";
        Error::new(ErrorKind::UndefinedFunction, format!("function generate_series({names}) does not exist"))
            .with_hint(hint)
    };
    let mut element = SqlType::Integer;
    for (position, field) in fields.iter().enumerate() {
        element = match (element, field.data_type()) {
            (element, DataType::Null | DataType::Utf8 | DataType::Utf8View) => element,
            (element @ (SqlType::Timestamp | SqlType::Timestamptz), DataType::Interval(_)) if position == 2 => element,
            (SqlType::Timestamp, DataType::Timestamp(_, None)) => SqlType::Timestamp,
            // A date is made a timestamp with time zone where nothing else says what it is to be.
            (SqlType::Integer, DataType::Timestamp(_, None)) if position == 0 => SqlType::Timestamp,
            (SqlType::Timestamp, DataType::Date32) => SqlType::Timestamp,
            (
                SqlType::Integer | SqlType::Timestamptz | SqlType::Timestamp,
                DataType::Timestamp(..) | DataType::Date32,
            ) if position < 2 => SqlType::Timestamptz,
            (SqlType::Integer, DataType::Int8 | DataType::Int16 | DataType::Int32) => SqlType::Integer,
            (SqlType::Integer | SqlType::BigInt, data_type) if data_type.is_integer() => SqlType::BigInt,
            (SqlType::Integer | SqlType::BigInt, DataType::Decimal128(_, scale)) => {
                SqlType::Numeric(Some((38, *scale)))
            }
            (SqlType::Numeric(Some((precision, scale))), DataType::Decimal128(_, other)) => {
                SqlType::Numeric(Some((precision, scale.max(*other))))
            }
            (SqlType::Numeric(typmod), data_type) if data_type.is_integer() => SqlType::Numeric(typmod),
            _ => return Err(no_such().into()),
        };
    }
    let is_time = matches!(element, SqlType::Timestamp | SqlType::Timestamptz);
    if is_time && fields.len() < 3 {
        return Err(no_such().into());
    }
    Ok(element)
}

fn generate_series(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let DataType::List(item) = args.return_field.data_type() else { return unexpected("generate_series") };
    let columns = arrays(args)?;
    let bounds = |index: usize| cast(&columns[index], item.data_type());
    let (start, stop) = (bounds(0)?, bounds(1)?);
    let list = match item.data_type() {
        DataType::Timestamp(..) => times(&start, &stop, &columns[2], item)?,
        DataType::Int32 => numbers::<Int32Type>(&start, &stop, step(&columns, item)?.as_ref(), item, 1)?,
        DataType::Int64 => numbers::<Int64Type>(&start, &stop, step(&columns, item)?.as_ref(), item, 1)?,
        DataType::Decimal128(_, scale) => {
            let one = 10_i128.pow(u32::from(scale.unsigned_abs()));
            numbers::<Decimal128Type>(&start, &stop, step(&columns, item)?.as_ref(), item, one)?
        }
        _ => return unexpected("generate_series"),
    };
    columnar(args, Arc::new(list))
}

fn step(columns: &[ArrayRef], item: &Field) -> Result<Option<ArrayRef>> {
    Ok(columns.get(2).map(|step| cast(step, item.data_type())).transpose()?)
}

/// Lists that are put together value by value, within a bound.
struct Series<T: ArrowPrimitiveType> {
    values: PrimitiveBuilder<T>,
    lengths: Vec<usize>,
    present: NullBufferBuilder,
}

impl<T: ArrowPrimitiveType> Series<T> {
    fn new(rows: usize) -> Self {
        let (lengths, present) = (Vec::with_capacity(rows), NullBufferBuilder::new(rows));
        Self { values: PrimitiveBuilder::new(), lengths, present }
    }

    /// The values of one row; `None` is NULL.
    fn push(&mut self, values: Option<impl Iterator<Item = T::Native>>) -> Result<()> {
        self.present.append(values.is_some());
        let before = self.values.len();
        for value in values.into_iter().flatten() {
            if self.values.len() == MOST_VALUES {
                let message = format!("generate_series gives more than {MOST_VALUES} values");
                return Err(Error::new(ErrorKind::InvalidParameterValue, message)
                    .with_hint("Take several shorter series.")
                    .into());
            }
            self.values.append_value(value);
        }
        self.lengths.push(self.values.len() - before);
        Ok(())
    }

    fn finish(mut self, item: &FieldRef) -> Result<ListArray> {
        let values: PrimitiveArray<T> = self.values.finish().with_data_type(item.data_type().clone());
        let offsets = OffsetBuffer::from_lengths(self.lengths);
        Ok(ListArray::try_new(item.clone(), offsets, Arc::new(values), self.present.finish())?)
    }
}

fn zero_step<T>() -> Result<T> {
    invalid("step size cannot equal zero".to_owned())
}

fn numbers<T>(
    start: &ArrayRef,
    stop: &ArrayRef,
    step: Option<&ArrayRef>,
    item: &FieldRef,
    one: T::Native,
) -> Result<ListArray>
where
    T: ArrowPrimitiveType,
    T::Native: arrow::array::ArrowNativeTypeOp,
{
    use arrow::array::ArrowNativeTypeOp;
    let (start, stop) = (start.as_primitive::<T>(), stop.as_primitive::<T>());
    let step = step.map(|step| step.as_primitive::<T>());
    let mut series = Series::<T>::new(start.len());
    for row in 0..start.len() {
        let valid = start.is_valid(row) && stop.is_valid(row) && step.is_none_or(|step| step.is_valid(row));
        if !valid {
            series.push(None::<std::iter::Empty<T::Native>>)?;
            continue;
        }
        let (stop, step) = (stop.value(row), step.map_or(one, |step| step.value(row)));
        if step.is_zero() {
            return zero_step();
        }
        let rises = step.is_gt(T::Native::ZERO);
        let within = move |value: &T::Native| if rises { value.is_le(stop) } else { value.is_ge(stop) };
        let values = std::iter::successors(Some(start.value(row)).filter(within), move |value| {
            value.add_checked(step).ok().filter(within)
        });
        series.push(Some(values))?;
    }
    series.finish(item)
}

fn times(start: &ArrayRef, stop: &ArrayRef, step: &ArrayRef, item: &FieldRef) -> Result<ListArray> {
    let (start, stop): (&TimestampMicrosecondArray, &TimestampMicrosecondArray) =
        (start.as_primitive::<TimestampMicrosecondType>(), stop.as_primitive::<TimestampMicrosecondType>());
    let step = cast(step, &DataType::Interval(IntervalUnit::MonthDayNano))?;
    let step = step.as_primitive::<IntervalMonthDayNanoType>();
    let mut series = Series::<TimestampMicrosecondType>::new(start.len());
    for row in 0..start.len() {
        if !(start.is_valid(row) && stop.is_valid(row) && step.is_valid(row)) {
            series.push(None::<std::iter::Empty<i64>>)?;
            continue;
        }
        let (stop, step) = (stop.value(row), step.value(row));
        let length = length_ns(step);
        if length == 0 {
            return zero_step();
        }
        let within = move |value: &i64| if length > 0 { *value <= stop } else { *value >= stop };
        let values = std::iter::successors(Some(start.value(row)).filter(within), move |value| {
            later(*value, step).filter(within)
        });
        series.push(Some(values))?;
    }
    series.finish(item)
}

/// An interval's length as PostgreSQL compares intervals: 30 days a month, 24 hours a day.
fn length_ns(step: IntervalMonthDayNano) -> i128 {
    const DAY_NS: i128 = 86_400_000_000_000;
    (i128::from(step.months) * 30 + i128::from(step.days)) * DAY_NS + i128::from(step.nanoseconds)
}

/// A time, in microseconds, and an interval after it: the last of a month stays in the month.
fn later(time_us: i64, step: IntervalMonthDayNano) -> Option<i64> {
    let time = DateTime::from_timestamp_micros(time_us)?;
    let months = Months::new(step.months.unsigned_abs());
    let moved = match step.months {
        0 => time,
        1.. => time.checked_add_months(months)?,
        _ => time.checked_sub_months(months)?,
    };
    let moved = moved.checked_add_signed(TimeDelta::try_days(i64::from(step.days))?)?;
    Some(moved.checked_add_signed(TimeDelta::nanoseconds(step.nanoseconds))?.timestamp_micros())
}
