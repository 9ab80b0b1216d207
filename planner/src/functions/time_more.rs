//! Intervals by their length, cut and negated; times cut to decades and more; fields and sums that depend on the session's zone.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Builder, IntervalMonthDayNanoBuilder, PrimitiveArray, StringViewBuilder,
    Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType,
    TimeUnit, TimestampMicrosecondType,
};
use catalog::SqlType;
use chrono::{Datelike, Months, NaiveDate, NaiveDateTime, TimeDelta};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, Volatility};

use super::definition::{Definition, arrays, columnar, constant_text, invalid, undefined};
use super::text::as_views;
use super::time::{DAY_US, Zone, interval_out_of_range, micros, naive, out_of_range};
use crate::Error;
use crate::error::ErrorKind;

pub(super) fn functions() -> Vec<Definition> {
    let any = |count| Signature::any(count, Volatility::Immutable);
    vec![
        Definition::new("interval_length", any(1), |_| Ok(SqlType::Numeric(Some((38, 0)))), interval_length),
        Definition::new("interval_um", any(1), |_| Ok(SqlType::Interval), |args| intervals(args, negated)),
        Definition::new("time_to_interval", any(1), |_| Ok(SqlType::Interval), time_to_interval),
        Definition::new("interval_trunc", any(2), |_| Ok(SqlType::Interval), interval_trunc),
        Definition::new("timestamp_trunc", any(2), |_| Ok(SqlType::Timestamp), timestamp_trunc),
        // Until its types are known; then of units that are no constants.
        Definition::new("date_trunc", any(2), trunc_type, trunc).with_alias("datetrunc"),
        Definition::new("interval_to_time", any(1), |_| Ok(SqlType::Time), interval_to_time),
        Definition::new("extract_julian", any(1), |_| Ok(SqlType::Numeric(Some((38, 20)))), julian),
        Definition::new(
            "extract_quarter",
            any(1),
            |_| Ok(SqlType::Integer),
            |args| interval_field(args, |value| value.months % 12 / 3 + 1),
        ),
        Definition::new(
            "extract_interval_decade",
            any(1),
            |_| Ok(SqlType::Integer),
            |args| interval_field(args, |value| value.months / 120),
        ),
        Definition::new(
            "extract_interval_century",
            any(1),
            |_| Ok(SqlType::Integer),
            |args| interval_field(args, |value| value.months / 1200),
        ),
        Definition::new(
            "extract_interval_millennium",
            any(1),
            |_| Ok(SqlType::Integer),
            |args| interval_field(args, |value| value.months / 12_000),
        ),
        Definition::new("extract_timezone", any(2), |_| Ok(SqlType::Integer), |args| zone_field(args, |offset| offset)),
        Definition::new(
            "extract_timezone_hour",
            any(2),
            |_| Ok(SqlType::Integer),
            |args| zone_field(args, |offset| offset / 3600),
        ),
        Definition::new(
            "extract_timezone_minute",
            any(2),
            |_| Ok(SqlType::Integer),
            |args| zone_field(args, |offset| offset / 60 % 60),
        ),
        // A point in time plus an interval (or minus one: then negated), by the calendar of a zone.
        Definition::new("timestamptz_pl_interval", any(3), |_| Ok(SqlType::Timestamptz), zoned_sum),
        Definition::new("timestamptz_text", any(2), |_| Ok(SqlType::Text), |args| zoned_text(args, false)),
        Definition::new("timestamptz_json", any(2), |_| Ok(SqlType::Json), |args| zoned_text(args, true)),
        // `EXTRACT(unit FROM value)` until its types are known.
        Definition::new(
            "extract",
            any(2),
            |_| Ok(SqlType::Numeric(Some((38, 6)))),
            |_| super::definition::unexpected("EXTRACT"),
        ),
        Definition::new("overlaps", any(4), |_| Ok(SqlType::Boolean), overlaps),
        Definition::new(
            "timestamp_scale",
            any(2),
            |fields| Ok(SqlType::of_field(&fields[0]).unwrap_or(SqlType::Timestamp)),
            rounded_timestamps,
        ),
        Definition::new("time_scale", any(2), |_| Ok(SqlType::Time), rounded_times),
        Definition::new("interval_scale", any(2), |_| Ok(SqlType::Interval), rounded_intervals),
    ]
}

fn month_day_nano() -> DataType {
    DataType::Interval(IntervalUnit::MonthDayNano)
}

fn interval_column(column: &ArrayRef) -> Result<PrimitiveArray<IntervalMonthDayNanoType>> {
    Ok(cast(column, &month_day_nano())?.as_primitive::<IntervalMonthDayNanoType>().clone())
}

fn intervals(
    args: &ScalarFunctionArgs,
    function: impl Fn(IntervalMonthDayNano) -> Option<IntervalMonthDayNano>,
) -> Result<ColumnarValue> {
    let values = interval_column(&arrays(args)?[0])?;
    let mut builder = IntervalMonthDayNanoBuilder::with_capacity(values.len());
    for value in &values {
        match value {
            None => builder.append_null(),
            Some(value) => builder.append_value(function(value).ok_or_else(interval_out_of_range)?),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

fn negated(value: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    Some(IntervalMonthDayNano::new(
        value.months.checked_neg()?,
        value.days.checked_neg()?,
        value.nanoseconds.checked_neg()?,
    ))
}

/// Microseconds, with 30 days to a month and 24 hours to a day: what intervals are compared by.
fn interval_length(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let values = interval_column(&arrays(args)?[0])?;
    let mut builder = Decimal128Builder::with_capacity(values.len()).with_data_type(DataType::Decimal128(38, 0));
    for value in &values {
        builder.append_option(value.map(length_us));
    }
    columnar(args, Arc::new(builder.finish()))
}

/// How long an interval is in microseconds, a month being 30 days.
pub(crate) fn length_us(value: IntervalMonthDayNano) -> i128 {
    let days = i128::from(value.months) * 30 + i128::from(value.days);
    days * i128::from(DAY_US) + i128::from(value.nanoseconds / 1000)
}

fn time_to_interval(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let times = cast(&arrays(args)?[0], &DataType::Time64(TimeUnit::Microsecond))?;
    let mut builder = IntervalMonthDayNanoBuilder::with_capacity(times.len());
    for time in times.as_primitive::<Time64MicrosecondType>() {
        builder.append_option(time.map(|micros| IntervalMonthDayNano::new(0, 0, micros * 1000)));
    }
    columnar(args, Arc::new(builder.finish()))
}

/// `date_trunc(unit, interval)`.
fn interval_trunc(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (units, values) = (as_views(&columns[0])?, interval_column(&columns[1])?);
    let mut builder = IntervalMonthDayNanoBuilder::with_capacity(values.len());
    for row in 0..values.len() {
        if values.is_null(row) || units.is_null(row) {
            builder.append_null();
            continue;
        }
        let value = values.value(row);
        let whole_months = |months: i32| Some(IntervalMonthDayNano::new(value.months / months * months, 0, 0));
        let whole_nanos =
            |nanos: i64| Some(IntervalMonthDayNano::new(value.months, value.days, value.nanoseconds / nanos * nanos));
        let cut = match crate::query::unit_of(units.value(row)).as_str() {
            "millennium" => whole_months(12_000),
            "century" => whole_months(1200),
            "decade" => whole_months(120),
            "year" => whole_months(12),
            "quarter" => whole_months(3),
            "month" => whole_months(1),
            "day" => Some(IntervalMonthDayNano::new(value.months, value.days, 0)),
            "hour" => whole_nanos(3_600_000_000_000),
            "minute" => whole_nanos(60_000_000_000),
            "second" => whole_nanos(1_000_000_000),
            "millisecond" => whole_nanos(1_000_000),
            "microsecond" => whole_nanos(1000),
            "week" => {
                let error = Error::new(ErrorKind::Unsupported, "unit \"week\" not supported for type interval");
                return Err(error.with_detail("Months usually have fractional weeks.").into());
            }
            _ => None,
        };
        let Some(cut) = cut else {
            return invalid(format!("unit \"{}\" not recognized for type interval", units.value(row)));
        };
        builder.append_value(cut);
    }
    columnar(args, Arc::new(builder.finish()))
}

/// `date_trunc` to a decade, a century or a millennium, of local times.
fn timestamp_trunc(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (units, times) = (as_views(&columns[0])?, micros(&columns[1])?);
    let mut builder = TimestampMicrosecondBuilder::with_capacity(times.len());
    for row in 0..times.len() {
        if times.is_null(row) || units.is_null(row) {
            builder.append_null();
            continue;
        }
        let year = naive(times.value(row))?.year();
        let day = first_year(units.value(row), year).ok_or_else(out_of_range)?;
        builder.append_value(day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros());
    }
    columnar(args, Arc::new(builder.finish()))
}

fn trunc_type(fields: &[FieldRef]) -> Result<SqlType> {
    match fields[1].data_type() {
        DataType::Interval(_) | DataType::Time32(_) | DataType::Time64(_) => Ok(SqlType::Interval),
        DataType::Timestamp(_, None) => Ok(SqlType::Timestamp),
        DataType::Timestamp(_, Some(_)) | DataType::Date32 | DataType::Null => Ok(SqlType::Timestamptz),
        data_type if data_type.is_string() => Ok(SqlType::Timestamp),
        _ => undefined("date_trunc", fields),
    }
}

/// `date_trunc` of local times to a unit of each row.
fn trunc(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (units, times) = (as_views(&columns[0])?, micros(&columns[1])?);
    let zoned = matches!(args.return_field.data_type(), DataType::Timestamp(_, Some(_)));
    let sql_type = if zoned { SqlType::Timestamptz } else { SqlType::Timestamp };
    let mut builder = TimestampMicrosecondBuilder::with_capacity(times.len());
    for row in 0..times.len() {
        if times.is_null(row) || units.is_null(row) {
            builder.append_null();
            continue;
        }
        let unit = crate::query::unit_to_trunc(units.value(row), &sql_type)?;
        let cut = cut_to(&unit, naive(times.value(row))?).ok_or_else(out_of_range)?;
        builder.append_value(cut.and_utc().timestamp_micros());
    }
    columnar(args, Arc::new(builder.finish().with_timezone_opt(zoned.then_some("UTC"))))
}

/// A local time without what is smaller than a unit.
fn cut_to(unit: &str, time: NaiveDateTime) -> Option<NaiveDateTime> {
    let day = time.date();
    let midnight = |day: NaiveDate| day.and_time(chrono::NaiveTime::MIN);
    let micros = time.and_utc().timestamp_micros();
    let clock = |unit: i64| {
        chrono::DateTime::from_timestamp_micros(micros - micros.rem_euclid(unit)).map(|time| time.naive_utc())
    };
    match unit {
        "microsecond" => Some(time),
        "millisecond" => clock(1000),
        "second" => clock(1_000_000),
        "minute" => clock(60_000_000),
        "hour" => clock(3_600_000_000),
        "day" => Some(midnight(day)),
        "week" => day.checked_sub_days(chrono::Days::new(day.weekday().num_days_from_monday().into())).map(midnight),
        "month" => day.with_day(1).map(midnight),
        "quarter" => NaiveDate::from_ymd_opt(day.year(), day.month0() / 3 * 3 + 1, 1).map(midnight),
        "year" => NaiveDate::from_ymd_opt(day.year(), 1, 1).map(midnight),
        long => first_year(long, day.year()).map(midnight),
    }
}

/// The first day of the decade, century or millennium of a year.
fn first_year(unit: &str, year: i32) -> Option<NaiveDate> {
    let first = |years: i32| if year > 0 { (year - 1) / years * years + 1 } else { (year - years) / years * years + 1 };
    let first = match unit {
        "millennium" => first(1000),
        "century" => first(100),
        _ => year.div_euclid(10) * 10,
    };
    NaiveDate::from_ymd_opt(first, 1, 1)
}

/// The time of day that an interval leaves behind whole days.
fn interval_to_time(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let values = interval_column(&arrays(args)?[0])?;
    let mut builder = Time64MicrosecondBuilder::with_capacity(values.len());
    for value in &values {
        builder.append_option(value.map(|value| (value.nanoseconds / 1000).rem_euclid(DAY_US)));
    }
    columnar(args, Arc::new(builder.finish()))
}

/// Days since 4714 BC, with the part of the day that is over.
fn julian(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let times = micros(&arrays(args)?[0])?;
    let unit = 10_i128.pow(20);
    let mut builder = Decimal128Builder::with_capacity(times.len()).with_data_type(DataType::Decimal128(38, 20));
    for row in 0..times.len() {
        if times.is_null(row) {
            builder.append_null();
            continue;
        }
        let time = naive(times.value(row))?;
        let days = i128::from(time.num_days_from_ce()) + 1_721_425;
        let (part, day) = (i128::from(times.value(row).rem_euclid(DAY_US)), i128::from(DAY_US));
        builder.append_value(days * unit + (part * unit + day / 2) / day);
    }
    columnar(args, Arc::new(builder.finish()))
}

fn interval_field(args: &ScalarFunctionArgs, of: fn(IntervalMonthDayNano) -> i32) -> Result<ColumnarValue> {
    let values = interval_column(&arrays(args)?[0])?;
    let numbers = values.iter().map(|value| value.map(of));
    columnar(args, Arc::new(numbers.collect::<arrow::array::Int32Array>()))
}

/// Something of the offset, in seconds, that a zone has at a point in time.
fn zone_field(args: &ScalarFunctionArgs, of: fn(i32) -> i32) -> Result<ColumnarValue> {
    let times = micros(&arrays(args)?[0])?;
    let zone = constant_zone(args, 1)?;
    let mut builder = arrow::array::Int32Builder::with_capacity(times.len());
    for time in &times {
        match time {
            None => builder.append_null(),
            Some(time) => builder.append_value(of(zone.offset_at(naive(time)?))),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

/// The zone that the planner has written as an argument.
fn constant_zone(args: &ScalarFunctionArgs, argument: usize) -> Result<Zone> {
    match args.args.get(argument).and_then(constant_text) {
        Some(name) => Zone::of(name),
        None => super::definition::unexpected("a time zone"),
    }
}

/// Months and days go by the local calendar, the rest by the clock.
fn zoned_sum(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (times, spans) = (micros(&columns[0])?, interval_column(&columns[1])?);
    let zone = constant_zone(args, 2)?;
    let mut builder = TimestampMicrosecondBuilder::with_capacity(times.len());
    for row in 0..times.len() {
        if times.is_null(row) || spans.is_null(row) {
            builder.append_null();
            continue;
        }
        let span = spans.value(row);
        let mut time = naive(times.value(row))?;
        if span.months != 0 || span.days != 0 {
            let local = zone.to_local(time);
            time = zone.to_utc(moved(local, span.months, span.days).ok_or_else(out_of_range)?);
        }
        let micros = time.and_utc().timestamp_micros().checked_add(span.nanoseconds / 1000);
        builder.append_value(micros.ok_or_else(out_of_range)?);
    }
    columnar(args, Arc::new(builder.finish().with_timezone("UTC")))
}

fn moved(local: NaiveDateTime, months: i32, days: i32) -> Option<NaiveDateTime> {
    let by = Months::new(months.unsigned_abs());
    let local = if months < 0 { local.checked_sub_months(by)? } else { local.checked_add_months(by)? };
    local.checked_add_signed(TimeDelta::days(i64::from(days)))
}

/// A point in time as a zone shows it: `2024-06-30 22:00:00-04`; in JSON `"2024-06-30T22:00:00-04:00"`.
fn zoned_text(args: &ScalarFunctionArgs, json: bool) -> Result<ColumnarValue> {
    let times = micros(&arrays(args)?[0])?;
    let zone = constant_zone(args, 1)?;
    let mut builder = StringViewBuilder::with_capacity(times.len());
    for time in &times {
        match time {
            None => builder.append_null(),
            Some(time) => {
                let utc = naive(time)?;
                let mut out = String::new();
                super::text::write_timestamp(zone.to_local(utc), &mut out);
                out.push_str(&offset_text(zone.offset_at(utc)));
                if json {
                    let minutes = if out.as_bytes()[out.len() - 3] == b':' { "" } else { ":00" };
                    out = format!("\"{}{minutes}\"", out.replacen(' ', "T", 1));
                }
                builder.append_value(out);
            }
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

/// `-04`, `+05:30`.
pub(super) fn offset_text(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hours, minutes, rest) = (seconds.abs() / 3600, seconds.abs() / 60 % 60, seconds.abs() % 60);
    match (minutes, rest) {
        (0, 0) => format!("{sign}{hours:02}"),
        (minutes, 0) => format!("{sign}{hours:02}:{minutes:02}"),
        _ => format!("{sign}{hours:02}:{minutes:02}:{rest:02}"),
    }
}

/// Microseconds since 1970.
type Moments = Vec<Option<i64>>;

/// Whether two periods have a moment in common: each has a beginning and an end, or a length, in either order.
fn overlaps(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let points = [0, 2].map(|start| -> Result<(Moments, Moments)> {
        let starts = moments(&columns[start])?;
        let ends = match columns[start + 1].data_type() {
            DataType::Interval(_) => {
                let spans = interval_column(&columns[start + 1])?;
                let ends = starts.iter().zip(&spans).map(|(start, span)| match (start, span) {
                    (Some(start), Some(span)) => {
                        let local = moved(naive(*start)?, span.months, span.days).ok_or_else(out_of_range)?;
                        Ok(Some(local.and_utc().timestamp_micros() + span.nanoseconds / 1000))
                    }
                    _ => Ok(None),
                });
                ends.collect::<Result<_>>()?
            }
            _ => moments(&columns[start + 1])?,
        };
        Ok((starts, ends))
    });
    let [first, second] = points;
    let ((first_starts, first_ends), (second_starts, second_ends)) = (first?, second?);
    let truths = (0..first_starts.len())
        .map(|row| period_overlaps((first_starts[row], first_ends[row]), (second_starts[row], second_ends[row])));
    columnar(args, Arc::new(truths.collect::<arrow::array::BooleanArray>()))
}

/// Dates, times of day and points in time as microseconds.
fn moments(column: &ArrayRef) -> Result<Vec<Option<i64>>> {
    Ok(match column.data_type() {
        DataType::Time32(_) | DataType::Time64(_) => {
            let times = cast(column, &DataType::Time64(TimeUnit::Microsecond))?;
            times.as_primitive::<Time64MicrosecondType>().iter().collect()
        }
        DataType::Null => vec![None; column.len()],
        _ => micros(column)?.iter().collect(),
    })
}

/// As the standard has it, NULL where what is known doesn't decide.
fn period_overlaps(first: (Option<i64>, Option<i64>), second: (Option<i64>, Option<i64>)) -> Option<bool> {
    // A known end stands in for an unknown beginning, and the earlier one is the beginning.
    let ordered = |(start, end): (Option<i64>, Option<i64>)| match (start, end) {
        (None, None) => None,
        (None, Some(end)) => Some((end, None)),
        (Some(start), None) => Some((start, None)),
        (Some(start), Some(end)) => Some((start.min(end), Some(start.max(end)))),
    };
    let ((first_start, first_end), (second_start, second_end)) = (ordered(first)?, ordered(second)?);
    let decided = |end: Option<i64>, other_start: i64| match end {
        None => None,
        Some(end) if other_start < end => Some(true),
        Some(_) => Some(false),
    };
    match first_start.cmp(&second_start) {
        std::cmp::Ordering::Greater => match decided(second_end, first_start) {
            Some(true) if first_end.is_none() => Some(true),
            answer => answer,
        },
        std::cmp::Ordering::Less => decided(first_end, second_start),
        // They begin together, and each has at least that moment.
        std::cmp::Ordering::Equal if first_end.is_none() || second_end.is_none() => None,
        std::cmp::Ordering::Equal => Some(true),
    }
}

/// The number of digits of a second that are kept.
fn precision(args: &ScalarFunctionArgs) -> Result<i64> {
    let column = cast(&arrays(args)?[1], &DataType::Int64)?;
    let digits = column.as_primitive::<Int64Type>();
    Ok(if digits.is_empty() { 6 } else { digits.value(0).clamp(0, 6) })
}

/// To the nearest multiple; a half goes away from zero.
fn rounded(micros: i64, digits: i64) -> i64 {
    let unit = 10_i64.pow((6 - digits) as u32);
    let half = unit / 2;
    if micros >= 0 { (micros + half) / unit * unit } else { (micros - half) / unit * unit }
}

fn rounded_timestamps(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (times, digits) = (micros(&arrays(args)?[0])?, precision(args)?);
    let rounded = times.unary::<_, TimestampMicrosecondType>(|time| rounded(time, digits));
    columnar(args, Arc::new(rounded.with_data_type(times.data_type().clone())))
}

fn rounded_times(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let digits = precision(args)?;
    let times = cast(&arrays(args)?[0], &DataType::Time64(TimeUnit::Microsecond))?;
    let mut builder = Time64MicrosecondBuilder::with_capacity(times.len());
    for time in times.as_primitive::<Time64MicrosecondType>() {
        builder.append_option(time.map(|time| rounded(time, digits).min(DAY_US - 1)));
    }
    columnar(args, Arc::new(builder.finish()))
}

fn rounded_intervals(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let digits = precision(args)?;
    intervals(args, |value| {
        Some(IntervalMonthDayNano::new(value.months, value.days, rounded(value.nanoseconds / 1000, digits) * 1000))
    })
}
