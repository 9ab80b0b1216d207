//! Dates, times and intervals that are made of numbers, brought into order, or asked for a field that DataFusion doesn't know.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Builder, Int64Array, IntervalMonthDayNanoBuilder,
    Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use catalog::SqlType;
use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, Volatility};

use super::definition::{Definition, arrays, columnar, constant_text, one_of, undefined, unexpected};
use super::text::as_views;
use super::time::Zone;
use crate::Error;
use crate::error::{DataError, ErrorKind};

const DAY_NS: i64 = 86_400_000_000_000;
const DAYS_OF_MONTH: i32 = 30;

pub(super) fn functions() -> Vec<Definition> {
    let interval = || one_of(&[&[DataType::Interval(IntervalUnit::MonthDayNano)]], Volatility::Immutable);
    let numbers = |integers: usize, behind: &[DataType]| {
        let types: Vec<DataType> = std::iter::repeat_n(DataType::Int64, integers)
            .chain(std::iter::once(DataType::Float64))
            .chain(behind.iter().cloned())
            .collect();
        one_of(&[&types], Volatility::Immutable)
    };
    let any = || Signature::any(1, Volatility::Immutable);
    vec![
        Definition::new("justify_hours", interval(), |_| Ok(SqlType::Interval), |args| justify(args, hours)),
        Definition::new("justify_days", interval(), |_| Ok(SqlType::Interval), |args| justify(args, days)),
        Definition::new("justify_interval", interval(), |_| Ok(SqlType::Interval), |args| justify(args, signs)),
        Definition::new(
            "make_date",
            one_of(&[&[DataType::Int64, DataType::Int64, DataType::Int64]], Volatility::Immutable),
            |_| Ok(SqlType::Date),
            make_date,
        ),
        Definition::new("make_time", numbers(2, &[]), |_| Ok(SqlType::Time), make_time),
        Definition::new("make_timestamp", numbers(5, &[]), |_| Ok(SqlType::Timestamp), make_timestamp),
        // Where the statement gives no zone, the session's is put there.
        Definition::new(
            "make_timestamptz",
            numbers(5, &[DataType::Utf8View]),
            |_| Ok(SqlType::Timestamptz),
            make_timestamp,
        ),
        Definition::new(
            "isfinite",
            any(),
            |fields| match fields[0].data_type() {
                DataType::Date32 | DataType::Timestamp(..) | DataType::Interval(_) => Ok(SqlType::Boolean),
                _ => undefined("isfinite", fields),
            },
            isfinite,
        ),
        Definition::new(
            "extract_decade",
            any(),
            |_| Ok(SqlType::BigInt),
            |args| field(args, |day| day.year().div_euclid(10)),
        ),
        Definition::new("extract_century", any(), |_| Ok(SqlType::BigInt), |args| field(args, |day| begun(day, 100))),
        Definition::new(
            "extract_millennium",
            any(),
            |_| Ok(SqlType::BigInt),
            |args| field(args, |day| begun(day, 1000)),
        ),
    ]
}

/// The number of the century or millennium that a day is in: the first one began with the year 1, the one before it ended with 1 BC.
fn begun(day: NaiveDate, years: i32) -> i32 {
    let year = day.year();
    if year > 0 { (year + years - 1) / years } else { -((years - year) / years) }
}

/// A number for each day.
fn field(args: &ScalarFunctionArgs, of: fn(NaiveDate) -> i32) -> Result<ColumnarValue> {
    let dates = cast(&arrays(args)?[0], &DataType::Date32)?;
    let dates = dates.as_primitive::<Date32Type>();
    let numbers = (0..dates.len()).map(|row| {
        let day = dates.is_valid(row).then(|| dates.value_as_date(row)).flatten();
        day.map(|day| i64::from(of(day)))
    });
    columnar(args, Arc::new(numbers.collect::<Int64Array>()))
}

/// There are no infinite times here.
fn isfinite(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let column = &arrays(args)?[0];
    let finite = (0..column.len()).map(|row| column.is_valid(row).then_some(true));
    columnar(args, Arc::new(finite.collect::<BooleanArray>()))
}

fn out_of_range(what: &str) -> datafusion::common::DataFusionError {
    Error::new(ErrorKind::Data(DataError::DatetimeOverflow), format!("{what} out of range")).into()
}

/// As [`out_of_range`], with the fields as they were given.
fn field_out_of_range<T>(what: &str, fields: std::fmt::Arguments<'_>) -> Result<T> {
    let message = format!("{what} field value out of range: {fields}");
    Err(Error::new(ErrorKind::Data(DataError::DatetimeOverflow), message).into())
}

fn justify(
    args: &ScalarFunctionArgs,
    function: fn(IntervalMonthDayNano) -> Option<IntervalMonthDayNano>,
) -> Result<ColumnarValue> {
    let column = &arrays(args)?[0];
    let intervals = column.as_primitive::<IntervalMonthDayNanoType>();
    let mut builder = IntervalMonthDayNanoBuilder::with_capacity(intervals.len());
    for value in intervals {
        match value {
            Some(value) => builder.append_value(function(value).ok_or_else(|| out_of_range("interval"))?),
            None => builder.append_null(),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

/// 24 hours are a day; what is left has the sign of the days.
fn hours(value: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let mut days = value.days.checked_add(i32::try_from(value.nanoseconds / DAY_NS).ok()?)?;
    let mut nanos = value.nanoseconds % DAY_NS;
    if days > 0 && nanos < 0 {
        nanos += DAY_NS;
        days -= 1;
    } else if days < 0 && nanos > 0 {
        nanos -= DAY_NS;
        days += 1;
    }
    Some(IntervalMonthDayNano::new(value.months, days, nanos))
}

/// 30 days are a month; what is left has the sign of the months.
fn days(value: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let mut months = value.months.checked_add(value.days / DAYS_OF_MONTH)?;
    let mut days = value.days % DAYS_OF_MONTH;
    if months > 0 && days < 0 {
        days += DAYS_OF_MONTH;
        months -= 1;
    } else if months < 0 && days > 0 {
        days -= DAYS_OF_MONTH;
        months += 1;
    }
    Some(IntervalMonthDayNano::new(months, days, value.nanoseconds))
}

/// Both, and all parts of one sign.
fn signs(value: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    let mut days = value.days.checked_add(i32::try_from(value.nanoseconds / DAY_NS).ok()?)?;
    let mut nanos = value.nanoseconds % DAY_NS;
    let mut months = value.months.checked_add(days / DAYS_OF_MONTH)?;
    days %= DAYS_OF_MONTH;
    if months > 0 && (days < 0 || days == 0 && nanos < 0) {
        days += DAYS_OF_MONTH;
        months -= 1;
    } else if months < 0 && (days > 0 || days == 0 && nanos > 0) {
        days -= DAYS_OF_MONTH;
        months += 1;
    }
    if days > 0 && nanos < 0 {
        nanos += DAY_NS;
        days -= 1;
    } else if days < 0 && nanos > 0 {
        nanos -= DAY_NS;
        days += 1;
    }
    Some(IntervalMonthDayNano::new(months, days, nanos))
}

/// The time of day, and 1 for what is as long as a day.
fn time_of_day(hour: i64, minute: i64, second: f64) -> Option<(NaiveTime, i64)> {
    let micros = (second * 1e6).round();
    if !(0..=24).contains(&hour) || !(0..60).contains(&minute) || !(0.0..=60e6).contains(&micros) {
        return None;
    }
    let micros = (hour * 60 + minute) * 60_000_000 + micros as i64;
    let (days, within) = (micros / (DAY_NS / 1000), micros % (DAY_NS / 1000));
    if days > 1 || days == 1 && within > 0 {
        return None;
    }
    Some((NaiveTime::MIN + TimeDelta::microseconds(within), days))
}

/// The numbers of a row; `None` if one is NULL.
fn numbers(columns: &[ArrayRef], row: usize) -> Option<(Vec<i64>, f64)> {
    if columns.iter().any(|column| column.is_null(row)) {
        return None;
    }
    let integers = columns.iter().filter_map(|column| column.as_primitive_opt::<Int64Type>());
    let seconds = columns.iter().find_map(|column| column.as_primitive_opt::<Float64Type>())?;
    Some((integers.map(|column| column.value(row)).collect(), seconds.value(row)))
}

fn make_date(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let [years, months, days] = columns.as_slice() else { return unexpected("make_date") };
    let number = |column: &ArrayRef, row: usize| column.as_primitive::<Int64Type>().value(row);
    let mut builder = Date32Builder::with_capacity(years.len());
    for row in 0..years.len() {
        if columns.iter().any(|column| column.is_null(row)) {
            builder.append_null();
            continue;
        }
        let date = date(number(years, row), number(months, row), number(days, row))?;
        builder.append_value(Date32Type::from_naive_date(date));
    }
    columnar(args, Arc::new(builder.finish()))
}

/// A day. There is no year 0: -1 is the year before 1.
fn date(year: i64, month: i64, day: i64) -> Result<NaiveDate> {
    let made = || {
        let counted = match i32::try_from(year).ok()? {
            0 => return None,
            year @ ..0 => year + 1,
            year => year,
        };
        NaiveDate::from_ymd_opt(counted, u32::try_from(month).ok()?, u32::try_from(day).ok()?)
    };
    match made() {
        Some(date) => Ok(date),
        None => field_out_of_range("date", format_args!("{year}-{month:02}-{day:02}")),
    }
}

/// The time of day, and 1 for what is as long as a day.
fn time(hour: i64, minute: i64, second: f64) -> Result<(NaiveTime, i64)> {
    match time_of_day(hour, minute, second) {
        Some(time) => Ok(time),
        None if second.fract() == 0.0 => field_out_of_range("time", format_args!("{hour}:{minute:02}:{second:02}")),
        None => field_out_of_range("time", format_args!("{hour}:{minute:02}:{second}")),
    }
}

fn make_time(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let mut builder = Time64MicrosecondBuilder::new();
    for row in 0..columns[0].len() {
        let Some((parts, second)) = numbers(&columns, row) else {
            builder.append_null();
            continue;
        };
        let [hour, minute] = parts.as_slice() else { return unexpected("make_time") };
        let (time, days) = time(*hour, *minute, second)?;
        if days > 0 {
            return Err(Error::unsupported("the time 24:00").into());
        }
        builder.append_value((time - NaiveTime::MIN).num_microseconds().unwrap_or_default());
    }
    columnar(args, Arc::new(builder.finish()))
}

/// With a zone, which is the last argument, a point in time.
fn make_timestamp(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let zones = columns.get(6).map(as_views).transpose()?;
    let constant = args.args.get(6).and_then(constant_text).map(Zone::of_iso).transpose()?;
    let mut builder = TimestampMicrosecondBuilder::new();
    for row in 0..columns[0].len() {
        let Some((parts, second)) = numbers(&columns, row) else {
            builder.append_null();
            continue;
        };
        let local = local_time(&parts, second)?;
        let time = match (&constant, &zones) {
            (Some(zone), _) => zone.to_utc(local),
            (None, Some(zones)) => Zone::of_iso(zones.value(row))?.to_utc(local),
            (None, None) => local,
        };
        builder.append_value(time.and_utc().timestamp_micros());
    }
    columnar(args, Arc::new(builder.finish().with_timezone_opt(zones.is_some().then_some("UTC"))))
}

fn local_time(parts: &[i64], second: f64) -> Result<NaiveDateTime> {
    let [year, month, day, hour, minute] = parts else { return unexpected("make_timestamp") };
    let date = date(*year, *month, *day)?;
    let (time, carry) = time(*hour, *minute, second)?;
    date.checked_add_signed(TimeDelta::days(carry)).map(|date| date.and_time(time)).ok_or_else(|| out_of_range("date"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_brought_into_order() {
        let interval = IntervalMonthDayNano::new;
        let hour = DAY_NS / 24;
        assert_eq!(hours(interval(0, 0, 27 * hour)), Some(interval(0, 1, 3 * hour)));
        assert_eq!(hours(interval(0, 2, -hour)), Some(interval(0, 1, 23 * hour)));
        assert_eq!(days(interval(0, 35, 0)), Some(interval(1, 5, 0)));
        assert_eq!(days(interval(1, -5, 0)), Some(interval(0, 25, 0)));
        assert_eq!(signs(interval(1, 0, -hour)), Some(interval(0, 29, 23 * hour)));
        assert_eq!(days(interval(i32::MAX, 30, 0)), None);
    }

    #[test]
    fn centuries_begin_with_the_year_1() {
        let century = |year| begun(NaiveDate::from_ymd_opt(year, 1, 1).unwrap(), 100);
        assert_eq!([century(2000), century(2001), century(1), century(0), century(-99)], [20, 21, 1, -1, -1]);
        assert_eq!(century(-100), -2);
    }
}
