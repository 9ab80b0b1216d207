//! Dates, times and intervals: the clock of the statement, zones, differences, fields.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Builder, Float64Array, IntervalMonthDayNanoArray, IntervalMonthDayNanoBuilder,
    PrimitiveArray, Time64MicrosecondBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, FieldRef, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use catalog::SqlType;
use chrono::{DateTime, Datelike, FixedOffset, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::definition::{Definition, arrays, columnar, constant_text, invalid, one_of, unexpected};
use super::text::as_views;
use crate::Error;
use crate::error::{DataError, ErrorKind};
use crate::query::{datetime, interval, literal};
use crate::time_zone::{PosixZone, iso_offset};

pub(super) const DAY_US: i64 = 86_400_000_000;

fn timestamp() -> DataType {
    SqlType::Timestamp.data_type()
}

fn timestamptz() -> DataType {
    SqlType::Timestamptz.data_type()
}

fn month_day_nano() -> DataType {
    DataType::Interval(IntervalUnit::MonthDayNano)
}

pub(super) fn functions() -> Vec<Definition> {
    let any = |count| Signature::any(count, Volatility::Immutable);
    let text = || one_of(&[&[DataType::Utf8View]], Volatility::Immutable);
    let interval_and_number = || one_of(&[&[month_day_nano(), DataType::Float64]], Volatility::Immutable);
    let two_timestamps =
        || one_of(&[&[timestamptz(), timestamptz()], &[timestamp(), timestamp()]], Volatility::Immutable);
    let integers = vec![DataType::Int64; 6];
    let mut parts = integers.clone();
    parts.push(DataType::Float64);
    vec![
        Definition::new("timezone", any(2), zone_type, at_time_zone),
        Definition::new("timestamp_diff", any(2), |_| Ok(SqlType::Interval), difference),
        Definition::new("age", two_timestamps(), |_| Ok(SqlType::Interval), age),
        Definition::new("interval_mul", interval_and_number(), |_| Ok(SqlType::Interval), |args| scale(args, false)),
        Definition::new("interval_div", interval_and_number(), |_| Ok(SqlType::Interval), |args| scale(args, true)),
        Definition::new(
            "make_interval",
            one_of(&[&parts], Volatility::Immutable),
            |_| Ok(SqlType::Interval),
            make_interval,
        ),
        Definition::new("extract_epoch", any(1), |_| Ok(SqlType::Numeric(Some((38, 6)))), |args| field(args, epoch, 6)),
        Definition::new(
            "extract_second",
            any(1),
            |_| Ok(SqlType::Numeric(Some((38, 6)))),
            |args| field(args, in_minute, 6),
        ),
        Definition::new(
            "extract_milliseconds",
            any(1),
            |_| Ok(SqlType::Numeric(Some((38, 3)))),
            |args| field(args, in_minute, 3),
        ),
        Definition::new(
            "extract_microseconds",
            any(1),
            |_| Ok(SqlType::Numeric(Some((38, 0)))),
            |args| field(args, in_minute, 0),
        ),
        Definition::new("text_to_timestamp", text(), |_| Ok(SqlType::Timestamp), |args| read_timestamps(args, false)),
        Definition::new(
            "text_to_timestamptz",
            one_of(&[&[DataType::Utf8View, DataType::Utf8View]], Volatility::Immutable),
            |_| Ok(SqlType::Timestamptz),
            |args| read_timestamps(args, true),
        ),
        Definition::new("text_to_time", text(), |_| Ok(SqlType::Time), read_times),
        Definition::new("text_to_interval", text(), |_| Ok(SqlType::Interval), read_intervals),
    ]
}

/// The functions that say what time it is: one value for a whole statement, put in as the statement starts to run.
pub(super) fn clocks() -> Vec<Arc<ScalarUDF>> {
    let clock = |name, zoned| {
        Arc::new(ScalarUDF::from(Clock { name, zoned, signature: Signature::nullary(Volatility::Stable) }))
    };
    vec![
        clock("now", true),
        clock("current_timestamp", true),
        clock("transaction_timestamp", true),
        clock("statement_timestamp", true),
        clock("clock_timestamp", true),
        clock("localtimestamp", false),
    ]
}

/// See [`clocks`].
#[derive(Debug)]
struct Clock {
    name: &'static str,
    zoned: bool,
    signature: Signature,
}

impl PartialEq for Clock {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Clock {}

impl Hash for Clock {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Clock {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(if self.zoned { timestamptz() } else { timestamp() })
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Field::new(self.name, self.return_type(&[])?, false).into())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(Error::internal(format!("{} was not replaced by the time of the statement", self.name)).into())
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let Some(now) = info.query_execution_start_time() else { return Ok(ExprSimplifyResult::Original(args)) };
        let zone = self.zoned.then(|| "UTC".into());
        let value = ScalarValue::TimestampMicrosecond(Some(now.timestamp_micros()), zone);
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(value, None)))
    }
}

pub(super) fn out_of_range() -> datafusion::common::DataFusionError {
    Error::new(ErrorKind::Data(DataError::DatetimeOverflow), "timestamp out of range").into()
}

pub(super) fn micros(column: &ArrayRef) -> Result<TimestampMicrosecondArray> {
    let target = match column.data_type() {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        _ => timestamp(),
    };
    Ok(cast(column, &target)?.as_primitive::<TimestampMicrosecondType>().clone())
}

pub(super) fn naive(micros: i64) -> Result<NaiveDateTime> {
    DateTime::<Utc>::from_timestamp_micros(micros).map(|time| time.naive_utc()).ok_or_else(out_of_range)
}

/// `timestamptz AT TIME ZONE` is local time, `timestamp AT TIME ZONE` a point in time.
fn zone_type(fields: &[FieldRef]) -> Result<SqlType> {
    Ok(match fields[1].data_type() {
        DataType::Timestamp(_, Some(_)) => SqlType::Timestamp,
        DataType::Time32(_) | DataType::Time64(_) => {
            return Err(Error::unsupported("time with time zone").with_hint("Use a timestamp.").into());
        }
        _ => SqlType::Timestamptz,
    })
}

/// A time zone: one with a history, or an offset.
pub(super) enum Zone {
    Named(chrono_tz::Tz),
    Fixed { offset: FixedOffset, name: String },
}

impl Zone {
    /// By its name, an abbreviation, or an offset as POSIX counts it, westward.
    pub(super) fn of(name: &str) -> Result<Self> {
        let trimmed = name.trim();
        if let Ok(zone) = trimmed.parse::<chrono_tz::Tz>() {
            return Ok(Self::Named(zone));
        }
        let mut zones = chrono_tz::TZ_VARIANTS.iter();
        if let Some(zone) = zones.find(|zone| zone.name().eq_ignore_ascii_case(trimmed)).copied() {
            return Ok(Self::Named(zone));
        }
        let fixed = match datetime::abbreviated_offset(&trimmed.to_lowercase()) {
            Some(seconds) => Some((seconds, trimmed)),
            None => PosixZone::parse(trimmed).map(|zone| (zone.offset, zone.name)),
        };
        match fixed.and_then(|(seconds, name)| Some((FixedOffset::east_opt(seconds)?, name))) {
            Some((offset, name)) => Ok(Self::Fixed { offset, name: name.to_owned() }),
            None => invalid(format!("time zone \"{name}\" not recognized")),
        }
    }

    /// As [`Zone::of`], with an offset alone counted eastward, as ISO 8601 does.
    pub(super) fn of_iso(name: &str) -> Result<Self> {
        match iso_offset(name.trim()).and_then(FixedOffset::east_opt) {
            Some(offset) => Ok(Self::Fixed { offset, name: String::new() }),
            None => Self::of(name),
        }
    }

    pub(super) fn to_local(&self, utc: NaiveDateTime) -> NaiveDateTime {
        let offset = match self {
            Self::Named(zone) => zone.offset_from_utc_datetime(&utc).fix(),
            Self::Fixed { offset, .. } => *offset,
        };
        utc + offset
    }

    /// Seconds east of Greenwich at a point in time.
    pub(super) fn offset_at(&self, utc: NaiveDateTime) -> i32 {
        (self.to_local(utc) - utc).num_seconds() as i32
    }

    /// What the zone is called at a point in time: `EDT`; nothing for an offset alone.
    pub(super) fn abbreviation_at(&self, utc: NaiveDateTime) -> String {
        match self {
            Self::Named(zone) => {
                let offset = zone.offset_from_utc_datetime(&utc);
                chrono_tz::OffsetName::abbreviation(&offset).unwrap_or_default().to_owned()
            }
            Self::Fixed { name, .. } => name.clone(),
        }
    }

    /// A local time that occurs twice is the later one by the standard offset, one that doesn't occur is moved over the gap: as PostgreSQL does.
    pub(super) fn to_utc(&self, local: NaiveDateTime) -> NaiveDateTime {
        match self {
            Self::Fixed { offset, .. } => local - *offset,
            Self::Named(zone) => match zone.offset_from_local_datetime(&local).latest() {
                Some(offset) => local - offset.fix(),
                None => {
                    let before = zone.offset_from_local_datetime(&(local - TimeDelta::hours(3))).latest();
                    before.map_or(local, |offset| local - offset.fix())
                }
            },
        }
    }
}

/// Seconds east of Greenwich at a local time in a zone, if there is such a zone.
pub(crate) fn offset_of_zone(name: &str, local: NaiveDateTime) -> Option<i32> {
    let zone = Zone::of(name).ok()?;
    i32::try_from((local - zone.to_utc(local)).num_seconds()).ok()
}

fn at_time_zone(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let zoned = matches!(args.arg_fields[1].data_type(), DataType::Timestamp(_, Some(_)));
    let columns = arrays(args)?;
    let times = micros(&columns[1])?;
    if let DataType::Interval(_) = columns[0].data_type() {
        return at_offset(args, zoned, &columns[0], &times);
    }
    let constant = constant_text(&args.args[0]).map(Zone::of).transpose()?;
    let names = as_views(&columns[0])?;
    let mut builder = TimestampMicrosecondBuilder::with_capacity(times.len());
    for row in 0..times.len() {
        if times.is_null(row) || names.is_null(row) {
            builder.append_null();
            continue;
        }
        let own;
        let zone = match &constant {
            Some(zone) => zone,
            None => {
                own = Zone::of(names.value(row))?;
                &own
            }
        };
        let time = naive(times.value(row))?;
        let moved = if zoned { zone.to_local(time) } else { zone.to_utc(time) };
        builder.append_value(moved.and_utc().timestamp_micros());
    }
    let result = builder.finish().with_timezone_opt(if zoned { None } else { Some("UTC") });
    columnar(args, Arc::new(result))
}

/// `AT TIME ZONE INTERVAL '3 hours'`.
fn at_offset(
    args: &ScalarFunctionArgs,
    zoned: bool,
    offsets: &ArrayRef,
    times: &TimestampMicrosecondArray,
) -> Result<ColumnarValue> {
    let offsets = offsets.as_primitive::<IntervalMonthDayNanoType>();
    let mut builder = TimestampMicrosecondBuilder::with_capacity(times.len());
    for (time, offset) in times.iter().zip(offsets) {
        match (time, offset) {
            (Some(time), Some(offset)) if offset.months == 0 && offset.days == 0 => {
                let micros = offset.nanoseconds / 1000;
                builder.append_value(if zoned { time + micros } else { time - micros });
            }
            (Some(_), Some(_)) => return invalid("interval time zone must not include months or days".to_owned()),
            _ => builder.append_null(),
        }
    }
    let result = builder.finish().with_timezone_opt(if zoned { None } else { Some("UTC") });
    columnar(args, Arc::new(result))
}

/// Days and the rest, as PostgreSQL subtracts timestamps.
fn difference(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (left, right) = (micros(&columns[0])?, micros(&columns[1])?);
    let differences = intervals(&left, &right, |left, right| {
        let micros = left.checked_sub(right).ok_or_else(out_of_range)?;
        let days = i32::try_from(micros / DAY_US).map_err(|_| out_of_range())?;
        Ok(IntervalMonthDayNano::new(0, days, micros % DAY_US * 1000))
    })?;
    columnar(args, Arc::new(differences))
}

fn intervals(
    left: &TimestampMicrosecondArray,
    right: &TimestampMicrosecondArray,
    function: impl Fn(i64, i64) -> Result<IntervalMonthDayNano>,
) -> Result<IntervalMonthDayNanoArray> {
    let mut builder = IntervalMonthDayNanoBuilder::with_capacity(left.len());
    for row in 0..left.len() {
        if left.is_null(row) || right.is_null(row) {
            builder.append_null();
        } else {
            builder.append_value(function(left.value(row), right.value(row))?);
        }
    }
    Ok(builder.finish())
}

/// Years, months and days by the calendar.
fn age(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (left, right) = (micros(&columns[0])?, micros(&columns[1])?);
    let ages = intervals(&left, &right, |left, right| {
        let (sign, later, earlier) = if left < right { (-1, right, left) } else { (1, left, right) };
        let (later, earlier) = (naive(later)?, naive(earlier)?);
        let mut months = (later.year() - earlier.year()) * 12 + later.month() as i32 - earlier.month() as i32;
        let mut days = later.day() as i32 - earlier.day() as i32;
        let mut nanos = (later.time() - earlier.time()).num_nanoseconds().ok_or_else(out_of_range)?;
        if nanos < 0 {
            nanos += DAY_US * 1000;
            days -= 1;
        }
        if days < 0 {
            // The month that is broken into is the earlier one's.
            days += days_in_month(earlier.year(), earlier.month());
            months -= 1;
        }
        Ok(IntervalMonthDayNano::new(sign * months, sign * days, i64::from(sign) * nanos))
    })?;
    columnar(args, Arc::new(ages))
}

fn days_in_month(year: i32, month: u32) -> i32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// An interval times a number, or divided by one.
fn scale(args: &ScalarFunctionArgs, divides: bool) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let values = columns[0].as_primitive::<IntervalMonthDayNanoType>();
    let factors: &Float64Array = columns[1].as_primitive::<Float64Type>();
    let mut builder = IntervalMonthDayNanoBuilder::with_capacity(values.len());
    for row in 0..values.len() {
        if values.is_null(row) || factors.is_null(row) {
            builder.append_null();
            continue;
        }
        let (value, factor) = (values.value(row), factors.value(row));
        if divides && factor == 0.0 {
            return Err(Error::new(ErrorKind::DivisionByZero, "division by zero").into());
        }
        let scaled = if divides { scaled(value, |part| part / factor) } else { scaled(value, |part| part * factor) };
        builder.append_value(scaled.ok_or_else(interval_out_of_range)?);
    }
    columnar(args, Arc::new(builder.finish()))
}

pub(super) fn interval_out_of_range() -> datafusion::common::DataFusionError {
    Error::new(ErrorKind::Data(DataError::DatetimeOverflow), "interval out of range").into()
}

/// An interval with each part scaled; what is left of months and days spills into the smaller parts, as PostgreSQL rounds it. `None` beyond what
/// an interval holds.
pub(super) fn scaled(value: IntervalMonthDayNano, scale: impl Fn(f64) -> f64) -> Option<IntervalMonthDayNano> {
    const DAY_SECONDS: f64 = 86_400.0;
    let to_micros = |seconds: f64| (seconds * 1e6).round_ties_even() / 1e6;
    let whole = |part: f64| (part.abs() <= f64::from(i32::MAX)).then(|| part.trunc());
    let (all_months, all_days) = (scale(f64::from(value.months)), scale(f64::from(value.days)));
    let (months, mut days) = (whole(all_months)?, whole(all_days)?);
    let days_of_months = to_micros((all_months - months) * 30.0);
    let mut seconds = to_micros((all_days - days + days_of_months - days_of_months.trunc()) * DAY_SECONDS);
    if seconds.abs() >= DAY_SECONDS {
        let more = (seconds / DAY_SECONDS).trunc();
        days += more;
        seconds -= more * DAY_SECONDS;
    }
    let days = whole(days + days_of_months.trunc())?;
    let micros = (scale(value.nanoseconds as f64 / 1000.0) + seconds * 1e6).round_ties_even();
    if micros.is_nan() || micros.abs() >= i64::MAX as f64 / 1000.0 {
        return None;
    }
    Some(IntervalMonthDayNano::new(months as i32, days as i32, micros as i64 * 1000))
}

/// `make_interval(years, months, weeks, days, hours, minutes, seconds)`.
fn make_interval(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let part = |index: usize, row: usize| -> Option<i64> {
        let column = columns[index].as_primitive::<arrow::datatypes::Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let seconds = columns[6].as_primitive::<Float64Type>();
    let mut builder = IntervalMonthDayNanoBuilder::with_capacity(args.number_rows);
    for row in 0..seconds.len() {
        let made = || -> Option<IntervalMonthDayNano> {
            let months = part(0, row)?.checked_mul(12)?.checked_add(part(1, row)?)?;
            let days = part(2, row)?.checked_mul(7)?.checked_add(part(3, row)?)?;
            let minutes = part(4, row)?.checked_mul(60)?.checked_add(part(5, row)?)?;
            let micros = minutes.checked_mul(60_000_000)?.checked_add(whole_micros(seconds.value(row))?)?;
            Some(IntervalMonthDayNano::new(
                i32::try_from(months).ok()?,
                i32::try_from(days).ok()?,
                micros.checked_mul(1000)?,
            ))
        };
        let any_null = columns.iter().any(|column| column.is_null(row));
        match (any_null, made()) {
            (true, _) => builder.append_null(),
            (false, Some(interval)) => builder.append_value(interval),
            (false, None) => return Err(interval_out_of_range()),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

/// Seconds as microseconds, to the nearest; `None` for NaN and what no interval holds.
fn whole_micros(seconds: f64) -> Option<i64> {
    let micros = (seconds * 1e6).round_ties_even();
    (micros.abs() < i64::MAX as f64 / 1000.0).then_some(micros as i64)
}

/// A field of EXTRACT that is a number of microseconds, as a decimal of `scale` digits over seconds, milliseconds or microseconds.
fn field(args: &ScalarFunctionArgs, micros_of: fn(&Moment) -> i64, scale: i8) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let moments = Moments::of(&columns[0])?;
    let mut builder = Decimal128Builder::with_capacity(columns[0].len());
    for row in 0..columns[0].len() {
        match moments.at(row)? {
            // Microseconds are the unscaled digits of seconds at scale 6, of milliseconds at scale 3, and themselves at scale 0.
            Some(moment) => builder.append_value(i128::from(micros_of(&moment))),
            None => builder.append_null(),
        }
    }
    let result: ArrayRef = Arc::new(builder.finish().with_precision_and_scale(38, scale)?);
    columnar(args, result)
}

/// Something that EXTRACT reads.
enum Moment {
    Time(NaiveDateTime),
    Interval(IntervalMonthDayNano),
}

fn epoch(moment: &Moment) -> i64 {
    match moment {
        Moment::Time(time) => time.and_utc().timestamp_micros(),
        Moment::Interval(value) => {
            // A year has 365.25 days, a month 30, as in PostgreSQL.
            let (years, months) = (i64::from(value.months / 12), i64::from(value.months % 12));
            years * (DAY_US * 1461 / 4) + (months * 30 + i64::from(value.days)) * DAY_US + value.nanoseconds / 1000
        }
    }
}

fn in_minute(moment: &Moment) -> i64 {
    match moment {
        Moment::Time(time) => i64::from(time.second()) * 1_000_000 + i64::from(time.nanosecond() / 1000),
        Moment::Interval(value) => value.nanoseconds / 1000 % 60_000_000,
    }
}

enum Moments {
    Times(TimestampMicrosecondArray),
    Clock(PrimitiveArray<Time64MicrosecondType>),
    Intervals(IntervalMonthDayNanoArray),
}

impl Moments {
    fn of(column: &ArrayRef) -> Result<Self> {
        Ok(match column.data_type() {
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Self::Times(micros(column)?),
            DataType::Time32(_) | DataType::Time64(_) => {
                let times = cast(column, &DataType::Time64(TimeUnit::Microsecond))?;
                Self::Clock(times.as_primitive::<Time64MicrosecondType>().clone())
            }
            DataType::Interval(_) | DataType::Duration(_) => {
                let intervals = cast(column, &month_day_nano())?;
                Self::Intervals(intervals.as_primitive::<IntervalMonthDayNanoType>().clone())
            }
            _ => return unexpected("EXTRACT"),
        })
    }

    fn at(&self, row: usize) -> Result<Option<Moment>> {
        Ok(match self {
            Self::Times(times) if times.is_valid(row) => Some(Moment::Time(naive(times.value(row))?)),
            Self::Clock(times) if times.is_valid(row) => Some(Moment::Time(naive(times.value(row))?)),
            Self::Intervals(intervals) if intervals.is_valid(row) => Some(Moment::Interval(intervals.value(row))),
            _ => None,
        })
    }
}

fn read_timestamps(args: &ScalarFunctionArgs, zoned: bool) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let zone = match args.args.get(1).and_then(constant_text) {
        Some(name) => Some(Zone::of(name)?),
        None => None,
    };
    let texts = as_views(&columns[0])?;
    let mut builder = TimestampMicrosecondBuilder::with_capacity(texts.len());
    for value in &texts {
        let Some(text) = value else {
            builder.append_null();
            continue;
        };
        let name = if zoned { "timestamp with time zone" } else { "timestamp" };
        let (local, offset) = datetime::parse(text).map_err(|problem| problem.error(text, name))?;
        let time = match (zoned, offset, &zone) {
            (false, ..) | (true, None, None) => local,
            (true, Some(offset), _) => local - TimeDelta::seconds(i64::from(offset)),
            (true, None, Some(zone)) => zone.to_utc(local),
        };
        builder.append_value(time.and_utc().timestamp_micros());
    }
    columnar(args, Arc::new(builder.finish().with_timezone_opt(zoned.then_some("UTC"))))
}

fn read_times(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let texts = as_views(&columns[0])?;
    let mut builder = Time64MicrosecondBuilder::with_capacity(texts.len());
    for value in &texts {
        match value.map(|text| literal::parse(text, &SqlType::Time)).transpose()? {
            Some(ScalarValue::Time64Microsecond(time)) => builder.append_option(time),
            _ => builder.append_null(),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

fn read_intervals(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let mut builder = IntervalMonthDayNanoBuilder::new();
    for value in &as_views(&columns[0])? {
        match value.map(|text| (text, interval::parse(text))) {
            None => builder.append_null(),
            Some((_, Some(interval))) => builder.append_value(interval),
            Some((text, None)) => {
                return Err(interval::unreadable(text).into());
            }
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_counted_as_postgresql_counts_them() {
        let noon = "2024-07-01T12:00:00".parse::<NaiveDateTime>().unwrap();
        let offset = |zone: Result<Zone>| zone.ok().map(|zone| zone.offset_at(noon));
        assert_eq!((offset(Zone::of("+02")), offset(Zone::of("UTC+2"))), (Some(-7200), Some(-7200)));
        assert_eq!((offset(Zone::of_iso("+02")), offset(Zone::of_iso("UTC+2"))), (Some(7200), Some(-7200)));
        assert_eq!((offset(Zone::of("PDT")), offset(Zone::of("nowhere"))), (Some(-25_200), None));
    }

    #[test]
    fn local_times_follow_the_zone() {
        let zone = Zone::of("Europe/Berlin").unwrap();
        let summer = "2024-07-01T12:00:00".parse::<NaiveDateTime>().unwrap();
        assert_eq!(zone.to_local(summer).to_string(), "2024-07-01 14:00:00");
        assert_eq!(zone.to_utc(zone.to_local(summer)), summer);
        let in_the_gap = "2024-03-31T02:30:00".parse::<NaiveDateTime>().unwrap();
        assert_eq!(zone.to_utc(in_the_gap).to_string(), "2024-03-31 01:30:00");
    }
}
