//! `to_char`, `to_date` and `to_timestamp` with PostgreSQL's patterns. A pattern is compiled once per batch.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Builder, StringViewBuilder, TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampMicrosecondType,
};
use catalog::SqlType;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, Volatility};

use super::definition::{Definition, arrays, columnar, constant_text, unexpected};
use super::text::{as_views, texts};
use crate::Error;
use crate::error::ErrorKind;

pub(super) fn functions() -> Vec<Definition> {
    let any = |count| Signature::any(count, Volatility::Immutable);
    vec![
        Definition::new("to_char", any(2), |_| Ok(SqlType::Text), to_char),
        Definition::new("to_date", any(2), |_| Ok(SqlType::Date), to_date),
        Definition::new(
            "to_timestamp",
            Signature::one_of(
                vec![datafusion::logical_expr::TypeSignature::Any(1), datafusion::logical_expr::TypeSignature::Any(2)],
                Volatility::Immutable,
            ),
            |_| Ok(SqlType::Timestamptz),
            to_timestamp,
        ),
    ]
}

/// A piece of a compiled pattern.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Literal(String),
    Field(Field, Style),
}

/// How a field is written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Style {
    /// `FM`: without padding.
    fill_off: bool,
    /// `TH`, `th`: `1ST`, `1st`.
    ordinal: Option<Case>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Case {
    Upper,
    Title,
    Lower,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    Year(usize),
    IsoYear,
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
    ("A.M.", Field::Meridiem(Case::Upper, true)),
    ("P.M.", Field::Meridiem(Case::Upper, true)),
    ("a.m.", Field::Meridiem(Case::Lower, true)),
    ("p.m.", Field::Meridiem(Case::Lower, true)),
    ("AM", Field::Meridiem(Case::Upper, false)),
    ("PM", Field::Meridiem(Case::Upper, false)),
    ("am", Field::Meridiem(Case::Lower, false)),
    ("pm", Field::Meridiem(Case::Lower, false)),
    ("IYYY", Field::IsoYear),
    ("iyyy", Field::IsoYear),
    ("IW", Field::IsoWeek),
    ("iw", Field::IsoWeek),
    ("ID", Field::IsoDayOfWeek),
    ("id", Field::IsoDayOfWeek),
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
    ("CC", Field::Century),
    ("cc", Field::Century),
    ("Q", Field::Quarter),
    ("q", Field::Quarter),
    ("J", Field::Julian),
    ("TZ", Field::Zone(Case::Upper)),
    ("tz", Field::Zone(Case::Lower)),
    ("OF", Field::Offset),
];

const MONTHS: [&str; 12] = [
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
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

fn compile(pattern: &str) -> Vec<Piece> {
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
        if let Some(tail) = rest.strip_prefix("FM").or_else(|| rest.strip_prefix("fm")) {
            fill_off = true;
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

fn write_time(pieces: &[Piece], time: NaiveDateTime, zoned: bool, out: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Literal(text) => out.push_str(text),
            Piece::Field(field, style) => write_field(*field, *style, time, zoned, out),
        }
    }
}

fn write_field(field: Field, style: Style, time: NaiveDateTime, zoned: bool, out: &mut String) {
    let number = |out: &mut String, value: i64, width| digits(out, value, width, style);
    let hour12 = |hour: u32| if hour.is_multiple_of(12) { 12 } else { hour % 12 };
    let micros = i64::from(time.nanosecond() / 1000);
    let weekday = time.weekday();
    match field {
        Field::Year(width) => {
            let year = i64::from(time.year());
            number(out, if width == 4 { year } else { year % 10_i64.pow(width as u32) }, width);
        }
        Field::IsoYear => number(out, i64::from(time.iso_week().year()), 4),
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
        Field::Zone(case) => out.push_str(&if zoned { cased("UTC", case) } else { String::new() }),
        Field::Offset => out.push_str(if zoned { "+00" } else { "" }),
    }
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
    let mut builder = StringViewBuilder::with_capacity(times.len());
    let mut text = String::new();
    // Events come in order, so that neighbours often have the same text: those of one second differ only where a pattern looks closer.
    let mut last: Option<i64> = None;
    let coarse = matches!(&patterns, Patterns::One(pieces) if !pieces.iter().any(is_fine));
    for row in 0..times.len() {
        if times.is_null(row) || columns[1].is_null(row) {
            builder.append_null();
            continue;
        }
        let micros = times.value(row);
        let second = micros.div_euclid(1_000_000);
        if !(coarse && last == Some(second)) {
            let time = DateTime::<Utc>::from_timestamp_micros(micros).ok_or_else(out_of_range)?.naive_utc();
            text.clear();
            match &patterns {
                Patterns::One(pieces) => write_time(pieces, time, zoned, &mut text),
                Patterns::Each(each) => write_time(&compile(each.value(row)), time, zoned, &mut text),
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
    Error::new(ErrorKind::InvalidDatetime, "timestamp out of range").into()
}

/// The clock part of an interval, its hours beyond 24 included.
fn intervals_to_char(args: &ScalarFunctionArgs, columns: &[ArrayRef]) -> Result<ColumnarValue> {
    let intervals = cast(&columns[0], &DataType::Interval(IntervalUnit::MonthDayNano))?;
    let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
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
                Field::Hour12 => (micros / 3_600_000_000 % 12, 2),
                Field::Minute => (micros / 60_000_000 % 60, 2),
                Field::Second => (micros / 1_000_000 % 60, 2),
                Field::Milliseconds => (micros / 1000 % 1000, 3),
                Field::Microseconds => (micros % 1_000_000, 6),
                _ => return super::definition::invalid("this pattern of to_char is not for intervals".to_owned()),
            };
            digits(&mut text, number, width, style);
        }
        builder.append_value(text);
    }
    columnar(args, Arc::new(builder.finish()))
}

fn numbers_to_char(args: &ScalarFunctionArgs, columns: &[ArrayRef]) -> Result<ColumnarValue> {
    let plain = match columns[0].data_type() {
        // Plain digits, without an exponent.
        DataType::Float32 | DataType::Float64 => {
            let floats = cast(&columns[0], &DataType::Float64)?;
            let floats = floats.as_primitive::<Float64Type>();
            floats.iter().map(|value| value.map(|value| value.to_string())).collect::<arrow::array::StringViewArray>()
        }
        _ => texts(&columns[0])?,
    };
    let patterns = as_views(&columns[1])?;
    let mut builder = StringViewBuilder::new();
    for row in 0..plain.len() {
        if plain.is_null(row) || patterns.is_null(row) {
            builder.append_null();
        } else {
            builder.append_value(number_text(plain.value(row), patterns.value(row))?);
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

/// A number in a pattern of `9`, `0`, `.`, `,`, `FM`, `S`, `MI`.
fn number_text(number: &str, pattern: &str) -> Result<String> {
    let (fill_off, body) = match pattern.strip_prefix("FM").or_else(|| pattern.strip_prefix("fm")) {
        Some(body) => (true, body),
        None => (false, pattern),
    };
    let upper = body.to_uppercase();
    let signed_first = upper.starts_with('S');
    let signed_last = upper.ends_with('S');
    let minus_last = upper.ends_with("MI");
    let places =
        upper.trim_start_matches('S').trim_end_matches('S').trim_end_matches("MI").replace('D', ".").replace('G', ",");
    if let Some(other) = places.chars().find(|character| !matches!(character, '9' | '0' | '.' | ',' | ' ')) {
        return super::definition::invalid(format!("to_char does not support \"{other}\" in a pattern for numbers"));
    }
    let (whole_pattern, fraction_pattern) = places.split_once('.').unwrap_or((&places, ""));
    let decimals = fraction_pattern.chars().filter(|place| matches!(place, '9' | '0')).count();
    let (negative, whole, fraction) = rounded(number, decimals);
    let room = whole_pattern.chars().filter(|place| matches!(place, '9' | '0')).count();
    let significant = whole.trim_start_matches('0');
    let overflow = significant.len() > room;
    let mut digits = significant.chars().rev();
    let zero_from = whole_pattern.find('0');
    let mut reversed = String::new();
    let mut pending = significant.len();
    for (at, place) in whole_pattern.char_indices().rev() {
        match place {
            '9' | '0' if overflow => reversed.push('#'),
            '9' | '0' => match digits.next() {
                Some(digit) => {
                    reversed.push(digit);
                    pending -= 1;
                }
                None if zero_from.is_some_and(|zero| at >= zero) => reversed.push('0'),
                None if fill_off => {}
                None => reversed.push(' '),
            },
            ',' if pending > 0 || overflow || zero_from.is_some_and(|zero| at > zero) => reversed.push(','),
            ',' if fill_off => {}
            _ => reversed.push(' '),
        }
    }
    let mut text: String = reversed.chars().rev().collect();
    if decimals > 0 {
        let fraction = if overflow { "#".repeat(decimals) } else { fraction };
        let kept = if fill_off {
            let least = fraction_pattern.rfind('0').map_or(0, |zero| zero + 1);
            let trimmed = fraction.trim_end_matches('0').len().max(least);
            fraction[..trimmed].to_owned()
        } else {
            fraction
        };
        text.push('.');
        text.push_str(&kept);
    }
    // The sign stands right before the first digit.
    let sign = match (negative, signed_first || signed_last) {
        (true, _) => "-",
        (false, true) => "+",
        (false, false) if fill_off => "",
        (false, false) => " ",
    };
    if signed_last || minus_last {
        let sign = if minus_last && !negative { if fill_off { "" } else { " " } } else { sign };
        return Ok(format!("{text}{sign}"));
    }
    let blanks = text.len() - text.trim_start().len();
    Ok(format!("{}{sign}{}", &text[..blanks], &text[blanks..]))
}

/// Sign, digits before the point and exactly `decimals` behind it, rounded half away from zero.
fn rounded(number: &str, decimals: usize) -> (bool, String, String) {
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

/// What a text says in a pattern.
fn read(text: &str, pieces: &[Piece]) -> Option<NaiveDateTime> {
    let (mut year, mut month, mut day, mut day_of_year) = (None, 1, 1, None);
    let (mut hour, mut minute, mut second, mut micros, mut afternoon) = (0, 0, 0, 0_i64, None);
    let mut rest = text;
    for (index, piece) in pieces.iter().enumerate() {
        let field = match piece {
            Piece::Literal(literal) => {
                // Separators match any separators.
                for _ in literal.chars() {
                    let mut characters = rest.chars();
                    match characters.next() {
                        Some(next) if !next.is_ascii_alphanumeric() => rest = characters.as_str(),
                        _ => {}
                    }
                }
                continue;
            }
            Piece::Field(field, _) => *field,
        };
        rest = rest.trim_start();
        let followed_by_field = matches!(pieces.get(index + 1), Some(Piece::Field(..)));
        let mut number = |width: usize| -> Option<i64> {
            let limit = if followed_by_field { width } else { usize::MAX };
            let length = rest.bytes().take_while(u8::is_ascii_digit).count().min(limit);
            let (digits, tail) = rest.split_at(length);
            rest = tail;
            digits.parse().ok()
        };
        match field {
            Field::Year(width) => {
                let value = number(width)?;
                year = Some(match width {
                    4 => value,
                    // Two digits are the year nearest to 2020.
                    _ => {
                        value
                            + if value < 70 {
                                2000
                            } else if value < 100 {
                                1900
                            } else {
                                0
                            }
                    }
                });
            }
            Field::Month => month = number(2)?,
            Field::Day => day = number(2)?,
            Field::DayOfYear => day_of_year = Some(number(3)?),
            Field::Hour24 | Field::Hour12 => hour = number(2)?,
            Field::Minute => minute = number(2)?,
            Field::Second => second = number(2)?,
            Field::Milliseconds => micros = fraction(&mut rest, 3)?,
            Field::Microseconds => micros = fraction(&mut rest, 6)?,
            Field::Fraction(width) => micros = fraction(&mut rest, width)?,
            Field::MonthName(_) | Field::MonthShort(_) => {
                let full = matches!(field, Field::MonthName(_));
                let (at, name) = MONTHS.iter().enumerate().find_map(|(at, name)| {
                    let name = if full { name } else { &name[..3] };
                    rest.get(..name.len()).filter(|head| head.eq_ignore_ascii_case(name)).map(|_| (at, name))
                })?;
                month = at as i64 + 1;
                rest = &rest[name.len()..];
            }
            Field::DayName(_) | Field::DayShort(_) => {
                let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
                rest = &rest[length..];
            }
            Field::Meridiem(_, dots) => {
                let length = if dots { 4 } else { 2 };
                let head = rest.get(..length)?;
                afternoon = Some(head.starts_with(['P', 'p']));
                rest = &rest[length..];
            }
            _ => return None,
        }
    }
    match afternoon {
        Some(true) if hour < 12 => hour += 12,
        Some(false) if hour == 12 => hour = 0,
        _ => {}
    }
    let year = i32::try_from(year.unwrap_or(1)).ok()?;
    let date = match day_of_year {
        Some(ordinal) => NaiveDate::from_yo_opt(year, u32::try_from(ordinal).ok()?)?,
        None => NaiveDate::from_ymd_opt(year, u32::try_from(month).ok()?, u32::try_from(day).ok()?)?,
    };
    let part = |value: i64| u32::try_from(value).ok();
    let time = NaiveTime::from_hms_micro_opt(part(hour)?, part(minute)?, part(second)?, part(micros)?)?;
    Some(date.and_time(time))
}

/// Digits behind a point, in microseconds.
fn fraction(rest: &mut &str, width: usize) -> Option<i64> {
    let length = rest.bytes().take_while(u8::is_ascii_digit).count().min(width);
    let (digits, tail) = rest.split_at(length);
    *rest = tail;
    format!("{digits:0<6}").get(..6)?.parse().ok()
}

fn unreadable(text: &str) -> datafusion::common::DataFusionError {
    Error::new(ErrorKind::InvalidDatetime, format!("invalid value \"{text}\" for the given pattern")).into()
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
        let time =
            read(values.value(row), &compile(patterns.value(row))).ok_or_else(|| unreadable(values.value(row)))?;
        builder.append_value((time.date() - NaiveDate::default()).num_days() as i32);
    }
    columnar(args, Arc::new(builder.finish()))
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
            builder.append_option(value.map(|seconds| (seconds * 1e6).round() as i64));
        }
    } else {
        let (values, patterns) = (as_views(&columns[0])?, as_views(&columns[1])?);
        for row in 0..values.len() {
            if values.is_null(row) || patterns.is_null(row) {
                builder.append_null();
                continue;
            }
            let time =
                read(values.value(row), &compile(patterns.value(row))).ok_or_else(|| unreadable(values.value(row)))?;
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
            write_time(&compile(pattern), time, true, &mut out);
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

    #[test]
    fn numbers_are_written_as_postgresql_writes_them() {
        let golden = [
            ("1234.5", "9,999.99", " 1,234.50"),
            ("-1234.5", "9,999.99", "-1,234.50"),
            ("12", "9,999", "    12"),
            ("12", "0000", " 0012"),
            ("1.5", "FM999.99", "1.5"),
            ("12345", "999", " ###"),
            ("0.5", "FM0.00", "0.50"),
            ("5", "S99", " +5"),
            ("0.999", "0.99", " 1.00"),
        ];
        for (number, pattern, expected) in golden {
            assert_eq!(number_text(number, pattern).unwrap(), expected, "{number} {pattern}");
        }
    }

    #[test]
    fn patterns_are_read_back() {
        let read = |text, pattern| read(text, &compile(pattern)).map(|time| time.to_string());
        assert_eq!(read("2024-01-01", "YYYY-MM-DD").as_deref(), Some("2024-01-01 00:00:00"));
        assert_eq!(read("20240102", "YYYYMMDD").as_deref(), Some("2024-01-02 00:00:00"));
        assert_eq!(
            read("05 Dec 2000 01:02:03 PM", "DD Mon YYYY HH12:MI:SS AM").as_deref(),
            Some("2000-12-05 13:02:03")
        );
        assert_eq!(read("2024-13-01", "YYYY-MM-DD"), None);
    }
}
