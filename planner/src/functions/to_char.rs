//! `to_char`, `to_date` and `to_timestamp` with PostgreSQL's patterns. A pattern is compiled once per batch.
//! [`super::to_char_number`] writes numbers, [`super::to_char_read`] reads times.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Builder, StringViewBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use catalog::SqlType;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike, Utc};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, Volatility};

use super::definition::{Definition, arrays, columnar, constant_text, unexpected};
use super::text::{as_views, texts};
use super::time::Zone;
use super::time_more::offset_text;
use super::to_char_number::NumberPattern;
use super::to_char_read::read;
use crate::Error;
use crate::error::{DataError, ErrorKind};

pub(super) fn functions() -> Vec<Definition> {
    let any = |count| Signature::any(count, Volatility::Immutable);
    vec![
        // The third argument is the zone that points in time are shown in.
        Definition::new(
            "to_char",
            Signature::one_of(
                (2..=3).map(datafusion::logical_expr::TypeSignature::Any).collect(),
                Volatility::Immutable,
            ),
            |_| Ok(SqlType::Text),
            to_char,
        ),
        Definition::new("to_date", any(2), |_| Ok(SqlType::Date), to_date),
        Definition::new(
            "to_timestamp",
            Signature::one_of(
                (1..=3).map(datafusion::logical_expr::TypeSignature::Any).collect(),
                Volatility::Immutable,
            ),
            |_| Ok(SqlType::Timestamptz),
            to_timestamp,
        ),
    ]
}

/// A piece of a compiled pattern.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Literal(String),
    Field(Field, Style),
}

/// How a field is written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Style {
    /// `FM`: without padding.
    fill_off: bool,
    /// `TH`, `th`: `1ST`, `1st`.
    pub(super) ordinal: Option<Case>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Case {
    Upper,
    Title,
    Lower,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field {
    Year(usize),
    /// `Y,YYY`
    YearWithComma,
    IsoYear(usize),
    Era(Case, bool),
    MonthRoman(Case),
    WeekOfMonth,
    IsoDayOfYear,
    ZoneHours,
    ZoneMinutes,
    Quarter,
    Month,
    MonthName(Case),
    MonthShort(Case),
    Week,
    IsoWeek,
    DayOfYear,
    Day,
    DayOfWeek,
    IsoDayOfWeek,
    DayName(Case),
    DayShort(Case),
    Julian,
    Century,
    Hour24,
    Hour12,
    Minute,
    Second,
    SecondOfDay,
    Milliseconds,
    Microseconds,
    Fraction(usize),
    Meridiem(Case, bool),
    Zone(Case),
    Offset,
}

/// The patterns, longest first where one begins another.
const FIELDS: &[(&str, Field)] = &[
    ("HH24", Field::Hour24),
    ("hh24", Field::Hour24),
    ("HH12", Field::Hour12),
    ("hh12", Field::Hour12),
    ("HH", Field::Hour12),
    ("hh", Field::Hour12),
    ("MI", Field::Minute),
    ("mi", Field::Minute),
    ("SSSSS", Field::SecondOfDay),
    ("SSSS", Field::SecondOfDay),
    ("SS", Field::Second),
    ("ss", Field::Second),
    ("MS", Field::Milliseconds),
    ("ms", Field::Milliseconds),
    ("US", Field::Microseconds),
    ("us", Field::Microseconds),
    ("FF1", Field::Fraction(1)),
    ("FF2", Field::Fraction(2)),
    ("FF3", Field::Fraction(3)),
    ("FF4", Field::Fraction(4)),
    ("FF5", Field::Fraction(5)),
    ("FF6", Field::Fraction(6)),
    ("A.D.", Field::Era(Case::Upper, true)),
    ("B.C.", Field::Era(Case::Upper, true)),
    ("a.d.", Field::Era(Case::Lower, true)),
    ("b.c.", Field::Era(Case::Lower, true)),
    ("AD", Field::Era(Case::Upper, false)),
    ("BC", Field::Era(Case::Upper, false)),
    ("ad", Field::Era(Case::Lower, false)),
    ("bc", Field::Era(Case::Lower, false)),
    ("RM", Field::MonthRoman(Case::Upper)),
    ("rm", Field::MonthRoman(Case::Lower)),
    ("A.M.", Field::Meridiem(Case::Upper, true)),
    ("P.M.", Field::Meridiem(Case::Upper, true)),
    ("a.m.", Field::Meridiem(Case::Lower, true)),
    ("p.m.", Field::Meridiem(Case::Lower, true)),
    ("AM", Field::Meridiem(Case::Upper, false)),
    ("PM", Field::Meridiem(Case::Upper, false)),
    ("am", Field::Meridiem(Case::Lower, false)),
    ("pm", Field::Meridiem(Case::Lower, false)),
    ("IYYY", Field::IsoYear(4)),
    ("iyyy", Field::IsoYear(4)),
    ("IYY", Field::IsoYear(3)),
    ("iyy", Field::IsoYear(3)),
    ("IY", Field::IsoYear(2)),
    ("iy", Field::IsoYear(2)),
    ("IDDD", Field::IsoDayOfYear),
    ("iddd", Field::IsoDayOfYear),
    ("IW", Field::IsoWeek),
    ("iw", Field::IsoWeek),
    ("ID", Field::IsoDayOfWeek),
    ("id", Field::IsoDayOfWeek),
    ("I", Field::IsoYear(1)),
    ("Y,YYY", Field::YearWithComma),
    ("y,yyy", Field::YearWithComma),
    ("YYYY", Field::Year(4)),
    ("yyyy", Field::Year(4)),
    ("YYY", Field::Year(3)),
    ("yyy", Field::Year(3)),
    ("YY", Field::Year(2)),
    ("yy", Field::Year(2)),
    ("Y", Field::Year(1)),
    ("y", Field::Year(1)),
    ("MONTH", Field::MonthName(Case::Upper)),
    ("Month", Field::MonthName(Case::Title)),
    ("month", Field::MonthName(Case::Lower)),
    ("MON", Field::MonthShort(Case::Upper)),
    ("Mon", Field::MonthShort(Case::Title)),
    ("mon", Field::MonthShort(Case::Lower)),
    ("MM", Field::Month),
    ("mm", Field::Month),
    ("DAY", Field::DayName(Case::Upper)),
    ("Day", Field::DayName(Case::Title)),
    ("day", Field::DayName(Case::Lower)),
    ("DY", Field::DayShort(Case::Upper)),
    ("Dy", Field::DayShort(Case::Title)),
    ("dy", Field::DayShort(Case::Lower)),
    ("DDD", Field::DayOfYear),
    ("ddd", Field::DayOfYear),
    ("DD", Field::Day),
    ("dd", Field::Day),
    ("D", Field::DayOfWeek),
    ("d", Field::DayOfWeek),
    ("WW", Field::Week),
    ("ww", Field::Week),
    ("W", Field::WeekOfMonth),
    ("w", Field::WeekOfMonth),
    ("CC", Field::Century),
    ("cc", Field::Century),
    ("Q", Field::Quarter),
    ("q", Field::Quarter),
    ("J", Field::Julian),
    ("j", Field::Julian),
    ("TZH", Field::ZoneHours),
    ("tzh", Field::ZoneHours),
    ("TZM", Field::ZoneMinutes),
    ("tzm", Field::ZoneMinutes),
    ("TZ", Field::Zone(Case::Upper)),
    ("tz", Field::Zone(Case::Lower)),
    ("OF", Field::Offset),
    ("of", Field::Offset),
];

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

pub(super) fn compile(pattern: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut literal = String::new();
    let mut rest = pattern;
    let mut fill_off = false;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted.find('"').unwrap_or(quoted.len());
            literal.push_str(&quoted[..end]);
            rest = quoted.get(end + 1..).unwrap_or_default();
            continue;
        }
        if let Some(tail) = rest.strip_prefix("\\\"") {
            literal.push('"');
            rest = tail;
            continue;
        }
        if let Some(tail) = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            fill_off = true;
            rest = tail;
            continue;
        }
        // Names in the session's language, which is English, and without padding.
        if let Some(tail) = rest.strip_prefix("TM").or_else(|| rest.strip_prefix("tm")) {
            fill_off = true;
            rest = tail;
            continue;
        }
        // How exactly a text has to keep to the pattern.
        if let Some(tail) = rest.strip_prefix("FX").or_else(|| rest.strip_prefix("fx")) {
            rest = tail;
            continue;
        }
        let Some((name, field)) = FIELDS.iter().find(|(name, _)| rest.starts_with(name)) else {
            let mut characters = rest.chars();
            literal.extend(characters.next());
            rest = characters.as_str();
            continue;
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        rest = &rest[name.len()..];
        let mut style = Style { fill_off: std::mem::take(&mut fill_off), ordinal: None };
        for (suffix, case) in [("TH", Case::Upper), ("th", Case::Lower)] {
            if let Some(tail) = rest.strip_prefix(suffix) {
                style.ordinal = Some(case);
                rest = tail;
            }
        }
        pieces.push(Piece::Field(*field, style));
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

/// A field as a pattern writes it.
pub(super) fn name_of(field: Field) -> &'static str {
    FIELDS.iter().find(|(_, known)| *known == field).map_or("", |(name, _)| name)
}

fn cased(text: &str, case: Case) -> String {
    match case {
        Case::Upper => text.to_uppercase(),
        Case::Title => text.to_owned(),
        Case::Lower => text.to_lowercase(),
    }
}

fn digits(out: &mut String, value: i64, width: usize, style: Style) {
    let start = out.len();
    let written = if style.fill_off { write!(out, "{value}") } else { write!(out, "{value:0width$}") };
    written.expect("a String takes any text");
    if let Some(case) = style.ordinal {
        let suffix = match (value % 100, value % 10) {
            (11..=13, _) => "th",
            (_, 1) => "st",
            (_, 2) => "nd",
            (_, 3) => "rd",
            _ => "th",
        };
        out.push_str(&cased(suffix, case));
    }
    debug_assert!(out.len() > start, "a number has digits");
}

fn word(out: &mut String, text: &str, case: Case, width: usize, style: Style) {
    let text = cased(text, case);
    let padding = if style.fill_off { 0 } else { width.saturating_sub(text.len()) };
    out.push_str(&text);
    out.extend(std::iter::repeat_n(' ', padding));
}

fn write_time(pieces: &[Piece], time: NaiveDateTime, place: &Place, out: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Field(field, style) => write_field(*field, *style, time, place, out),
        }
    }
}

/// The zone that a time is shown in, if it is a point in time.
struct Place {
    /// What the zone is called there.
    name: String,
    /// Seconds east of Greenwich.
    offset: Option<i32>,
}

fn write_field(field: Field, style: Style, time: NaiveDateTime, place: &Place, out: &mut String) {
    let number = |out: &mut String, value: i64, width| digits(out, value, width, style);
    let hour12 = |hour: u32| if hour.is_multiple_of(12) { 12 } else { hour % 12 };
    let micros = i64::from(time.nanosecond() / 1000);
    let weekday = time.weekday();
    match field {
        Field::Year(width) => {
            let year = shown_year(time.year());
            number(out, if width == 4 { year } else { year % 10_i64.pow(width as u32) }, width);
        }
        Field::YearWithComma => {
            let year = shown_year(time.year());
            out.push_str(&format!("{},{:03}", year / 1000, year % 1000));
        }
        Field::IsoYear(width) => {
            let year = shown_year(time.iso_week().year());
            number(out, if width == 4 { year } else { year % 10_i64.pow(width as u32) }, width);
        }
        Field::Era(case, dots) => {
            let text = match (time.year() > 0, dots) {
                (true, false) => "AD",
                (true, true) => "A.D.",
                (false, false) => "BC",
                (false, true) => "B.C.",
            };
            out.push_str(&cased(text, case));
        }
        Field::MonthRoman(case) => {
            const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];
            word(out, ROMAN[time.month0() as usize], case, 4, style);
        }
        Field::WeekOfMonth => number(out, i64::from(time.day0() / 7 + 1), 1),
        Field::IsoDayOfYear => {
            let week = time.iso_week();
            number(out, i64::from(week.week0() * 7 + weekday.number_from_monday()), 3);
        }
        Field::ZoneHours => {
            if let Some(offset) = place.offset {
                out.push_str(&format!("{}{:02}", if offset < 0 { '-' } else { '+' }, offset.abs() / 3600));
            }
        }
        Field::ZoneMinutes => {
            if let Some(offset) = place.offset {
                out.push_str(&format!("{:02}", offset.abs() / 60 % 60));
            }
        }
        Field::Century => number(out, (i64::from(time.year()) + 99) / 100, 2),
        Field::Quarter => number(out, i64::from(time.month0() / 3 + 1), 1),
        Field::Month => number(out, i64::from(time.month()), 2),
        Field::MonthName(case) => word(out, MONTHS[time.month0() as usize], case, 9, style),
        Field::MonthShort(case) => word(out, &MONTHS[time.month0() as usize][..3], case, 3, style),
        Field::Week => number(out, i64::from(time.ordinal0() / 7 + 1), 2),
        Field::IsoWeek => number(out, i64::from(time.iso_week().week()), 2),
        Field::DayOfYear => number(out, i64::from(time.ordinal()), 3),
        Field::Day => number(out, i64::from(time.day()), 2),
        Field::DayOfWeek => number(out, i64::from(weekday.num_days_from_sunday() + 1), 1),
        Field::IsoDayOfWeek => number(out, i64::from(weekday.number_from_monday()), 1),
        Field::DayName(case) => word(out, DAYS[weekday.num_days_from_sunday() as usize], case, 9, style),
        Field::DayShort(case) => word(out, &DAYS[weekday.num_days_from_sunday() as usize][..3], case, 3, style),
        Field::Julian => number(out, i64::from(time.num_days_from_ce()) + 1_721_425, 7),
        Field::Hour24 => number(out, i64::from(time.hour()), 2),
        Field::Hour12 => number(out, i64::from(hour12(time.hour())), 2),
        Field::Minute => number(out, i64::from(time.minute()), 2),
        Field::Second => number(out, i64::from(time.second()), 2),
        Field::SecondOfDay => number(out, i64::from(time.num_seconds_from_midnight()), 1),
        Field::Milliseconds => number(out, micros / 1000, 3),
        Field::Microseconds => number(out, micros, 6),
        Field::Fraction(width) => number(out, micros / 10_i64.pow(6 - width as u32), width),
        Field::Meridiem(case, dots) => {
            let text = match (time.hour() < 12, dots) {
                (true, false) => "AM",
                (false, false) => "PM",
                (true, true) => "A.M.",
                (false, true) => "P.M.",
            };
            out.push_str(&cased(text, case));
        }
        Field::Zone(case) => out.push_str(&cased(&place.name, case)),
        Field::Offset => out.push_str(&place.offset.map(offset_text).unwrap_or_default()),
    }
}

/// A year before Christ without its sign.
fn shown_year(year: i32) -> i64 {
    i64::from(if year > 0 { year } else { 1 - year })
}

/// The patterns of a batch: one if it is constant, else one per row.
enum Patterns {
    One(Vec<Piece>),
    Each(arrow::array::StringViewArray),
}

impl Patterns {
    fn of(value: &ColumnarValue, column: &ArrayRef) -> Result<Self> {
        match constant_text(value) {
            Some(text) => Ok(Self::One(compile(text))),
            None => Ok(Self::Each(as_views(column)?)),
        }
    }

    fn is_empty(&self, row: usize) -> bool {
        match self {
            Self::One(pieces) => pieces.is_empty(),
            Self::Each(each) => each.value(row).is_empty(),
        }
    }
}

fn to_char(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    match columns[0].data_type() {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            let zoned = matches!(columns[0].data_type(), DataType::Timestamp(_, Some(_)));
            times_to_char(args, &columns, zoned)
        }
        DataType::Interval(_) | DataType::Duration(_) | DataType::Time64(_) | DataType::Time32(_) => {
            intervals_to_char(args, &columns)
        }
        data_type if data_type.is_numeric() => numbers_to_char(args, &columns),
        _ => unexpected("to_char"),
    }
}

fn times_to_char(args: &ScalarFunctionArgs, columns: &[ArrayRef], zoned: bool) -> Result<ColumnarValue> {
    let times =
        cast(&columns[0], &DataType::Timestamp(TimeUnit::Microsecond, if zoned { Some("UTC".into()) } else { None }))?;
    let times: &TimestampMicrosecondArray = times.as_primitive::<TimestampMicrosecondType>();
    let patterns = Patterns::of(&args.args[1], &columns[1])?;
    let zone = args.args.get(2).and_then(constant_text).map(Zone::of).transpose()?;
    let mut builder = StringViewBuilder::with_capacity(times.len());
    let mut text = String::new();
    // Events come in order, so that neighbours often have the same text: those of one second differ only where a pattern looks closer.
    let mut last: Option<i64> = None;
    let coarse = matches!(&patterns, Patterns::One(pieces) if !pieces.iter().any(is_fine));
    for row in 0..times.len() {
        if times.is_null(row) || columns[1].is_null(row) || patterns.is_empty(row) {
            builder.append_null();
            continue;
        }
        let micros = times.value(row);
        let second = micros.div_euclid(1_000_000);
        if !(coarse && last == Some(second)) {
            let utc = DateTime::<Utc>::from_timestamp_micros(micros).ok_or_else(out_of_range)?.naive_utc();
            let (time, place) = match &zone {
                Some(zone) => {
                    let offset = zone.offset_at(utc);
                    let name = match zone.abbreviation_at(utc) {
                        name if name.is_empty() => offset_text(offset),
                        name => name,
                    };
                    (zone.to_local(utc), Place { name, offset: Some(offset) })
                }
                None if zoned => (utc, Place { name: "UTC".to_owned(), offset: Some(0) }),
                None => (utc, Place { name: String::new(), offset: None }),
            };
            text.clear();
            match &patterns {
                Patterns::One(pieces) => write_time(pieces, time, &place, &mut text),
                Patterns::Each(each) => write_time(&compile(each.value(row)), time, &place, &mut text),
            }
            last = Some(second);
        }
        builder.append_value(&text);
    }
    columnar(args, Arc::new(builder.finish()))
}

fn is_fine(piece: &Piece) -> bool {
    matches!(piece, Piece::Field(Field::Milliseconds | Field::Microseconds | Field::Fraction(_), _))
}

fn out_of_range() -> datafusion::common::DataFusionError {
    Error::new(ErrorKind::Data(DataError::DatetimeOverflow), "timestamp out of range").into()
}

/// The clock part of an interval, its hours beyond 24 included.
fn intervals_to_char(args: &ScalarFunctionArgs, columns: &[ArrayRef]) -> Result<ColumnarValue> {
    let intervals = match columns[0].data_type() {
        DataType::Time32(_) | DataType::Time64(_) => {
            let times = cast(&columns[0], &DataType::Time64(TimeUnit::Microsecond))?;
            let times = times.as_primitive::<arrow::datatypes::Time64MicrosecondType>();
            times.unary(|micros| IntervalMonthDayNano::new(0, 0, micros * 1000))
        }
        _ => {
            let intervals = cast(&columns[0], &DataType::Interval(IntervalUnit::MonthDayNano))?;
            intervals.as_primitive::<IntervalMonthDayNanoType>().clone()
        }
    };
    let patterns = as_views(&columns[1])?;
    let mut builder = StringViewBuilder::new();
    for row in 0..intervals.len() {
        if intervals.is_null(row) || patterns.is_null(row) {
            builder.append_null();
            continue;
        }
        let value = intervals.value(row);
        let micros = value.nanoseconds / 1000;
        let mut text = String::new();
        for piece in compile(patterns.value(row)) {
            let (field, style) = match piece {
                Piece::Literal(literal) => {
                    text.push_str(&literal);
                    continue;
                }
                Piece::Field(field, style) => (field, style),
            };
            let (number, width) = match field {
                Field::Year(width) => (i64::from(value.months / 12), width),
                Field::Month => (i64::from(value.months % 12), 2),
                Field::Day => (i64::from(value.days), 2),
                Field::Hour24 => (micros / 3_600_000_000, 2),
                Field::Hour12 => match micros / 3_600_000_000 % 12 {
                    0 => (12, 2),
                    hours => (hours, 2),
                },
                Field::SecondOfDay => (micros / 1_000_000, 1),
                Field::Quarter => (i64::from(value.months % 12 / 3 + 1), 1),
                Field::DayOfYear => (i64::from(value.months) * 30 + i64::from(value.days), 3),
                Field::Meridiem(case, dots) => {
                    let morning = micros / 3_600_000_000 % 24 < 12;
                    let letters = match (morning, dots) {
                        (true, false) => "AM",
                        (false, false) => "PM",
                        (true, true) => "A.M.",
                        (false, true) => "P.M.",
                    };
                    text.push_str(&cased(letters, case));
                    continue;
                }
                Field::Fraction(width) => (micros % 1_000_000 / 10_i64.pow(6 - width as u32), width),
                Field::Minute => (micros / 60_000_000 % 60, 2),
                Field::Second => (micros / 1_000_000 % 60, 2),
                Field::Milliseconds => (micros / 1000 % 1000, 3),
                Field::Microseconds => (micros % 1_000_000, 6),
                _ => {
                    let message = "invalid format specification for an interval value";
                    let error = Error::new(ErrorKind::InvalidDatetime, message);
                    return Err(error.with_hint("Intervals are not tied to specific calendar dates.").into());
                }
            };
            digits(&mut text, number, width, style);
        }
        builder.append_value(text);
    }
    columnar(args, Arc::new(builder.finish()))
}

fn numbers_to_char(args: &ScalarFunctionArgs, columns: &[ArrayRef]) -> Result<ColumnarValue> {
    let float_digits = match columns[0].data_type() {
        DataType::Float32 => Some(6),
        DataType::Float64 => Some(15),
        _ => None,
    };
    let plain = match columns[0].data_type() {
        // Plain digits, without an exponent.
        DataType::Float32 | DataType::Float64 => {
            let floats = cast(&columns[0], &DataType::Float64)?;
            let text = |value: f64| match value {
                value if value.is_nan() => "NaN".to_owned(),
                value if value.is_infinite() => if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
                value => value.to_string(),
            };
            let floats = floats.as_primitive::<Float64Type>();
            floats.iter().map(|value| value.map(text)).collect::<arrow::array::StringViewArray>()
        }
        _ => texts(&columns[0])?,
    };
    let constant = constant_text(&args.args[1]).map(NumberPattern::parse).transpose()?;
    let patterns = as_views(&columns[1])?;
    let mut builder = StringViewBuilder::new();
    for row in 0..plain.len() {
        if plain.is_null(row) || patterns.is_null(row) {
            builder.append_null();
            continue;
        }
        let own;
        let pattern = match &constant {
            Some(pattern) => pattern,
            None => {
                own = NumberPattern::parse(patterns.value(row))?;
                &own
            }
        };
        builder.append_value(pattern.write(plain.value(row), float_digits));
    }
    columnar(args, Arc::new(builder.finish()))
}

/// Sign, digits before the point and exactly `decimals` behind it, rounded half away from zero.
pub(super) fn rounded(number: &str, decimals: usize) -> (bool, String, String) {
    let (negative, digits) = number.strip_prefix('-').map_or((false, number), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut all: Vec<u8> =
        whole.bytes().chain(fraction.bytes().chain(std::iter::repeat(b'0')).take(decimals)).collect();
    if fraction.as_bytes().get(decimals).is_some_and(|digit| *digit >= b'5') {
        let mut at = all.len();
        loop {
            if at == 0 {
                all.insert(0, b'1');
                break;
            }
            at -= 1;
            if all[at] == b'9' {
                all[at] = b'0';
            } else {
                all[at] += 1;
                break;
            }
        }
    }
    let text: String = all.into_iter().map(char::from).collect();
    let (whole, fraction) = text.split_at(text.len() - decimals);
    let zero = text.bytes().all(|digit| digit == b'0');
    (negative && !zero, whole.to_owned(), fraction.to_owned())
}

fn to_date(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (values, patterns) = (as_views(&columns[0])?, as_views(&columns[1])?);
    let mut builder = Date32Builder::with_capacity(values.len());
    for row in 0..values.len() {
        if values.is_null(row) || patterns.is_null(row) {
            builder.append_null();
            continue;
        }
        let (time, _) = read(values.value(row), &compile(patterns.value(row)))?;
        builder.append_value((time.date() - NaiveDate::default()).num_days() as i32);
    }
    columnar(args, Arc::new(builder.finish()))
}

/// Seconds since 1970 as microseconds.
fn micros_of(seconds: f64) -> Result<i64> {
    let kind = ErrorKind::Data(DataError::DatetimeOverflow);
    if seconds.is_nan() {
        return Err(Error::new(kind, "timestamp cannot be NaN").into());
    }
    if seconds.is_infinite() {
        return Err(Error::unsupported("an infinite date or timestamp").into());
    }
    let micros = (seconds * 1e6).round_ties_even();
    match DateTime::from_timestamp_micros(micros as i64).filter(|_| micros.abs() < i64::MAX as f64) {
        Some(_) => Ok(micros as i64),
        None => Err(Error::new(kind, format!("timestamp out of range: \"{seconds}\"")).into()),
    }
}

/// `to_timestamp(seconds)` and `to_timestamp(text, pattern)`.
fn to_timestamp(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let mut builder = TimestampMicrosecondBuilder::with_capacity(columns[0].len());
    if let [seconds] = columns.as_slice() {
        if !seconds.data_type().is_numeric() && !seconds.data_type().is_null() {
            return unexpected("to_timestamp");
        }
        let seconds = cast(seconds, &DataType::Float64)?;
        for value in seconds.as_primitive::<Float64Type>() {
            builder.append_option(value.map(micros_of).transpose()?);
        }
    } else {
        let (values, patterns) = (as_views(&columns[0])?, as_views(&columns[1])?);
        let zone = args.args.get(2).and_then(constant_text).map(Zone::of).transpose()?;
        for row in 0..values.len() {
            if values.is_null(row) || patterns.is_null(row) {
                builder.append_null();
                continue;
            }
            let (local, offset) = read(values.value(row), &compile(patterns.value(row)))?;
            let time = match (offset, &zone) {
                (Some(seconds), _) => local - chrono::TimeDelta::seconds(i64::from(seconds)),
                (None, Some(zone)) => zone.to_utc(local),
                (None, None) => local,
            };
            builder.append_value(time.and_utc().timestamp_micros());
        }
    }
    columnar(args, Arc::new(builder.finish().with_timezone("UTC")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_written_as_postgresql_writes_them() {
        let time = "2024-01-02T15:04:05.067".parse::<NaiveDateTime>().unwrap();
        let text = |pattern: &str| {
            let mut out = String::new();
            write_time(&compile(pattern), time, &Place { name: "UTC".to_owned(), offset: Some(0) }, &mut out);
            out
        };
        let golden = [
            ("YYYY-MM-DD", "2024-01-02"),
            ("YYYY-MM-DD HH24:MI:SS", "2024-01-02 15:04:05"),
            ("HH24:MI", "15:04"),
            ("HH12:MI AM", "03:04 PM"),
            ("Day, DDth Month YYYY", "Tuesday  , 02nd January   2024"),
            ("FMDay, FMDDth FMMonth", "Tuesday, 2nd January"),
            ("MS US", "067 067000"),
            ("IYYY-IW-ID Q", "2024-01-2 1"),
            ("\"T\"HH", "T03"),
            ("DY Mon yy", "TUE Jan 24"),
        ];
        for (pattern, expected) in golden {
            assert_eq!(text(pattern), expected, "{pattern}");
        }
    }
}
