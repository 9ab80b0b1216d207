//! Times read by a pattern of `to_date` and `to_timestamp`.

use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Weekday};
use datafusion::common::Result;

use super::to_char::{DAYS, Field, MONTHS, Piece};
use crate::Error;
use crate::error::{DataError, ErrorKind};

/// What a text has said so far.
#[derive(Default)]
struct Read {
    year: Option<i64>,
    before_christ: bool,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    iso_day_of_year: Option<i64>,
    julian: Option<i64>,
    century: Option<i64>,
    /// The year is of so few digits that a century may stand before them.
    short_year: bool,
    week_of_month: Option<i64>,
    week: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    weekday: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    second_of_day: Option<i64>,
    twelve: bool,
    afternoon: Option<bool>,
    zone_hours: Option<(bool, i64)>,
    zone_minutes: i64,
}

fn invalid<T>(text: &str, field: Field) -> Result<T> {
    let message = format!("invalid value \"{}\" for \"{}\"", shown(text), name_of(field));
    Err(Error::new(ErrorKind::InvalidDatetime, message).with_detail("Value must be an integer.").into())
}

fn shown(text: &str) -> String {
    text.chars().take(10).collect()
}

/// A field as a pattern writes it, for messages.
fn name_of(field: Field) -> &'static str {
    super::to_char::name_of(field)
}

fn beyond<T>(text: &str) -> Result<T> {
    let message = format!("date/time field value out of range: \"{text}\"");
    Err(Error::new(ErrorKind::Data(DataError::DatetimeOverflow), message).into())
}

/// The local time, and the offset in seconds if the pattern has one.
///
/// # Errors
/// What doesn't fit the pattern (22007), or is no time (22008).
pub(super) fn read(text: &str, pieces: &[Piece]) -> Result<(NaiveDateTime, Option<i32>)> {
    let mut found = Read::default();
    let mut rest = text;
    conventions(pieces)?;
    for (index, piece) in pieces.iter().enumerate() {
        let field = match piece {
            Piece::Literal(literal) => {
                // Separators match any separators; letters skip what stands there.
                for character in literal.chars() {
                    let mut characters = rest.chars();
                    match characters.next() {
                        Some(next) if character.is_alphanumeric() || !next.is_ascii_alphanumeric() => {
                            // A sign belongs to the number behind it, if a blank is all that the pattern has.
                            if !(character == ' ' && matches!(next, '+' | '-')) {
                                rest = characters.as_str();
                            }
                        }
                        _ => {}
                    }
                }
                continue;
            }
            Piece::Field(field, _) => *field,
        };
        if rest.trim().is_empty() {
            break;
        }
        rest = rest.trim_start();
        let followed_by_field = matches!(pieces.get(index + 1), Some(Piece::Field(..)));
        found.field(field, &mut rest, followed_by_field)?;
        if let Piece::Field(_, style) = piece
            && style.ordinal.is_some()
            && rest.len() >= 2
        {
            rest = rest.get(2..).unwrap_or_default();
        }
    }
    found.time(text)
}

/// `Err` for a pattern that says a day by the calendar's year and by that of ISO weeks both.
fn conventions(pieces: &[Piece]) -> Result<()> {
    let has = |convention: fn(&Field) -> bool| {
        pieces.iter().any(|piece| matches!(piece, Piece::Field(field, _) if convention(field)))
    };
    let iso =
        |field: &Field| matches!(field, Field::IsoYear(_) | Field::IsoWeek | Field::IsoDayOfYear | Field::IsoDayOfWeek);
    let gregorian = |field: &Field| {
        matches!(
            field,
            Field::Year(_)
                | Field::YearWithComma
                | Field::Month
                | Field::MonthName(_)
                | Field::MonthShort(_)
                | Field::MonthRoman(_)
                | Field::Day
                | Field::DayOfYear
                | Field::Week
                | Field::WeekOfMonth
                | Field::DayOfWeek
                | Field::DayName(_)
                | Field::DayShort(_)
        )
    };
    if !has(iso) || !has(gregorian) {
        return Ok(());
    }
    let error = Error::new(ErrorKind::InvalidDatetime, "invalid combination of date conventions");
    Err(error.with_hint("Do not mix Gregorian and ISO week date conventions in a formatting template.").into())
}

impl Read {
    fn field(&mut self, field: Field, rest: &mut &str, followed_by_field: bool) -> Result<()> {
        let mut number = |width: usize| -> Result<i64> {
            let limit = if followed_by_field { width } else { usize::MAX };
            let length = rest.bytes().take_while(u8::is_ascii_digit).count().min(limit);
            let (digits, tail) = rest.split_at(length);
            match digits.parse() {
                Ok(value) => {
                    *rest = tail;
                    Ok(value)
                }
                Err(_) => invalid(rest, field),
            }
        };
        match field {
            Field::Year(width) | Field::IsoYear(width) => {
                let value = number(width)?;
                // Fewer than four digits are of the year nearest to 2020.
                let value = match width {
                    4 => value,
                    _ if value < 70 => value + 2000,
                    _ if value < 100 => value + 1900,
                    _ if value < 520 => value + 2000,
                    _ if value < 1000 => value + 1000,
                    _ => value,
                };
                self.short_year = width <= 2;
                match field {
                    Field::Year(_) => self.year = Some(value),
                    _ => self.iso_year = Some(value),
                }
            }
            Field::YearWithComma => {
                let thousands = number(9)?;
                let tail = rest.strip_prefix(',').unwrap_or(rest);
                let length = tail.bytes().take_while(u8::is_ascii_digit).count().min(3);
                let (digits, tail) = tail.split_at(length);
                *rest = tail;
                self.year = Some(thousands * 1000 + digits.parse::<i64>().unwrap_or(0));
            }
            Field::Month => self.month = Some(number(2)?),
            Field::Day => self.day = Some(number(2)?),
            Field::DayOfYear => self.day_of_year = Some(number(3)?),
            Field::IsoDayOfYear => self.iso_day_of_year = Some(number(3)?),
            Field::Julian => self.julian = Some(number(9)?),
            Field::IsoWeek => self.iso_week = Some(number(2)?),
            Field::Week => self.week = Some(number(2)?),
            Field::WeekOfMonth => self.week_of_month = Some(number(1)?),
            Field::Century => self.century = Some(number(2)?),
            Field::DayOfWeek => self.weekday = Some((number(1)? + 5) % 7 + 1),
            Field::IsoDayOfWeek => self.weekday = Some(number(1)?),
            // A quarter says no day, and is passed over.
            Field::Quarter => {
                number(1)?;
            }
            Field::Hour24 => self.hour = number(2)?,
            Field::Hour12 => {
                self.hour = number(2)?;
                self.twelve = true;
            }
            Field::Minute => self.minute = number(2)?,
            Field::Second => self.second = number(2)?,
            Field::SecondOfDay => self.second_of_day = Some(number(5)?),
            Field::Milliseconds => self.micros = fraction(rest, 3, field)?,
            Field::Microseconds => self.micros = fraction(rest, 6, field)?,
            Field::Fraction(width) => self.micros = fraction(rest, width, field)?,
            Field::MonthName(_) | Field::MonthShort(_) => {
                let full = matches!(field, Field::MonthName(_));
                self.month = Some(named(rest, &MONTHS, full, field)? as i64 + 1);
            }
            Field::MonthRoman(_) => {
                const ROMAN: [&str; 12] = ["XII", "XI", "X", "IX", "VIII", "VII", "VI", "V", "IV", "III", "II", "I"];
                let month = ROMAN
                    .iter()
                    .enumerate()
                    .find(|(_, name)| rest.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name)));
                let Some((at, name)) = month else { return invalid(rest, field) };
                self.month = Some(12 - at as i64);
                *rest = &rest[name.len()..];
            }
            Field::DayName(_) | Field::DayShort(_) => {
                let full = matches!(field, Field::DayName(_));
                named(rest, &DAYS, full, field)?;
            }
            Field::Meridiem(_, dots) | Field::Era(_, dots) => {
                let length = if dots { 4 } else { 2 };
                let Some(head) = rest.get(..length) else { return invalid(rest, field) };
                match (field, head.as_bytes()[0].to_ascii_lowercase()) {
                    (Field::Meridiem(..), b'p') => self.afternoon = Some(true),
                    (Field::Meridiem(..), b'a') => self.afternoon = Some(false),
                    (Field::Era(..), b'b') => self.before_christ = true,
                    (Field::Era(..), b'a') => {}
                    _ => return invalid(rest, field),
                }
                *rest = &rest[length..];
            }
            Field::ZoneHours | Field::Offset => {
                let (negative, tail) = match rest.strip_prefix('-') {
                    Some(tail) => (true, tail),
                    None => (false, rest.strip_prefix('+').unwrap_or(rest)),
                };
                *rest = tail;
                self.zone_hours = Some((negative, digits(rest, 2, field)?));
                if field == Field::Offset
                    && let Some(tail) = rest.strip_prefix(':')
                {
                    *rest = tail;
                    self.zone_minutes = digits(rest, 2, field)?;
                }
            }
            Field::ZoneMinutes => self.zone_minutes = digits(rest, 2, field)?,
            Field::Zone(_) => {
                return Err(Error::unsupported("a zone's name (TZ) in a pattern that is read").into());
            }
        }
        Ok(())
    }

    fn time(self, text: &str) -> Result<(NaiveDateTime, Option<i32>)> {
        let mut hour = self.hour;
        if self.afternoon.is_some() || self.twelve {
            if !(1..=12).contains(&hour) && (self.twelve && (hour != 0 || self.afternoon.is_some())) {
                let message = format!("hour \"{hour}\" is invalid for the 12-hour clock");
                let error = Error::new(ErrorKind::InvalidDatetime, message);
                return Err(error.with_hint("Use the 24-hour clock, or give an hour between 1 and 12.").into());
            }
            match self.afternoon {
                Some(true) if hour < 12 => hour += 12,
                Some(false) if hour == 12 => hour = 0,
                _ => {}
            }
        }
        if self.year_of_date().is_none() && !self.before_christ && self.ordinal().is_some() {
            let message = "cannot calculate day of year without year information";
            return Err(Error::new(ErrorKind::InvalidDatetime, message).into());
        }
        let Some(date) = self.date() else { return beyond(text) };
        let part = |value: i64| u32::try_from(value).ok();
        let clock = || {
            if let Some(second) = self.second_of_day {
                return NaiveTime::from_num_seconds_from_midnight_opt(part(second)?, 0);
            }
            NaiveTime::from_hms_micro_opt(part(hour)?, part(self.minute)?, part(self.second)?, part(self.micros)?)
        };
        let Some(clock) = clock() else { return beyond(text) };
        let offset = self.zone_hours.map(|(negative, hours)| {
            let seconds = (hours * 3600 + self.zone_minutes * 60) as i32;
            if negative { -seconds } else { seconds }
        });
        Ok((date.and_time(clock), offset))
    }

    /// The year: its last digits may be said beside the century, or the century alone, which is its first year.
    fn year_of_date(&self) -> Option<i64> {
        let year = self.year.or(self.iso_year);
        match (self.century, year) {
            (Some(century), Some(year)) if self.short_year => {
                let century = if self.before_christ { -century } else { century };
                Some(match (year % 100, century < 0) {
                    (0, negative) => century * 100 + i64::from(negative),
                    (year, true) => (century + 1) * 100 - year + 1,
                    (year, false) => (century - 1) * 100 + year,
                })
            }
            (_, Some(year)) if self.before_christ => Some(1 - year),
            (Some(century), None) if self.before_christ => Some(1 - century * 100),
            (Some(century), None) => Some((century - 1) * 100 + 1),
            (_, year) => year,
        }
    }

    /// The day counted from the year's first: of the calendar's, or of ISO weeks.
    fn ordinal(&self) -> Option<i64> {
        let in_week = self.week.map(|week| (week - 1) * 7 + 1);
        in_week.or(self.day_of_year).or(self.iso_day_of_year)
    }

    fn date(&self) -> Option<NaiveDate> {
        // Without a year it is 1 BC, which is the year 0.
        let year = i32::try_from(self.year_of_date().unwrap_or(0)).ok()?;
        if let Some(week) = self.iso_week {
            let weekday = u64::try_from(self.weekday.unwrap_or(1) - 1).ok()?;
            let first = first_monday(year)?.checked_add_days(Days::new(u64::try_from(week - 1).ok()? * 7))?;
            return first.checked_add_days(Days::new(weekday));
        }
        if let Some(day) = self.julian {
            return NaiveDate::from_num_days_from_ce_opt(i32::try_from(day - 1_721_425).ok()?);
        }
        let day = self.week_of_month.map(|week| (week - 1) * 7 + 1).or(self.day);
        // A zero says nothing.
        let (mut month, mut day) = (self.month.unwrap_or(1).max(1), day.unwrap_or(1).max(1));
        // A day of the year says what isn't said otherwise.
        if let Some(ordinal) = self.ordinal().filter(|_| month <= 1 || day <= 1) {
            if self.iso_day_of_year.is_some() {
                return first_monday(year)?.checked_add_days(Days::new(u64::try_from(ordinal - 1).ok()?));
            }
            let said = NaiveDate::from_yo_opt(year, u32::try_from(ordinal).ok()?)?;
            month = if month <= 1 { said.month().into() } else { month };
            day = if day <= 1 { said.day().into() } else { day };
        }
        NaiveDate::from_ymd_opt(year, u32::try_from(month).ok()?, u32::try_from(day).ok()?)
    }
}

/// The day that the first ISO week of a year begins with.
fn first_monday(year: i32) -> Option<NaiveDate> {
    NaiveDate::from_isoywd_opt(year, 1, Weekday::Mon)
}

/// The place of the name that is next, among names of which three letters are the short form.
fn named(rest: &mut &str, names: &[&str], full: bool, field: Field) -> Result<usize> {
    let found = names.iter().enumerate().find_map(|(at, name)| {
        let name = if full { name } else { &name[..3] };
        rest.get(..name.len()).filter(|head| head.eq_ignore_ascii_case(name)).map(|_| (at, name.len()))
    });
    let Some((at, length)) = found else {
        let message = format!("invalid value \"{}\" for \"{}\"", shown(rest), name_of(field));
        let detail = "The given value did not match any of the allowed values for this field.";
        return Err(Error::new(ErrorKind::InvalidDatetime, message).with_detail(detail).into());
    };
    *rest = &rest[length..];
    Ok(at)
}

fn digits(rest: &mut &str, width: usize, field: Field) -> Result<i64> {
    let length = rest.bytes().take_while(u8::is_ascii_digit).count().min(width);
    let (digits, tail) = rest.split_at(length);
    match digits.parse() {
        Ok(value) => {
            *rest = tail;
            Ok(value)
        }
        Err(_) => invalid(rest, field),
    }
}

/// Digits behind a point, in microseconds.
fn fraction(rest: &mut &str, width: usize, field: Field) -> Result<i64> {
    let length = rest.bytes().take_while(u8::is_ascii_digit).count().min(width);
    if length == 0 {
        return invalid(rest, field);
    }
    let (digits, tail) = rest.split_at(length);
    *rest = tail;
    Ok(format!("{digits:0<6}").get(..6).and_then(|digits| digits.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::functions::to_char::compile;

    #[test]
    fn patterns_are_read_back() {
        let read = |text, pattern| match read(text, &compile(pattern)) {
            Ok((time, offset)) => format!("{time}{}", offset.map(|offset| format!(" {offset}")).unwrap_or_default()),
            Err(error) => Error::from(error).message,
        };
        for (text, pattern, expected) in [
            ("2024-01-01", "YYYY-MM-DD", "2024-01-01 00:00:00"),
            ("20240102", "YYYYMMDD", "2024-01-02 00:00:00"),
            ("05 Dec 2000 01:02:03 PM", "DD Mon YYYY HH12:MI:SS AM", "2000-12-05 13:02:03"),
            ("2024-13-01", "YYYY-MM-DD", "date/time field value out of range: \"2024-13-01\""),
            ("2024 10", "IYYY IW", "2024-03-04 00:00:00"),
            ("2005-027", "IYYY-IDDD", "2005-01-29 00:00:00"),
            ("2024-060", "YYYY-DDD", "2024-02-29 00:00:00"),
            ("2024 10", "YYYY WW", "2024-03-04 00:00:00"),
            ("21", "CC", "2001-01-01 00:00:00"),
            ("060", "DDD", "cannot calculate day of year without year information"),
            ("2024 10", "YYYY IW", "invalid combination of date conventions"),
            ("2024-03-15 10:20:30+02", "YYYY-MM-DD HH24:MI:SSTZH", "2024-03-15 10:20:30 7200"),
            ("12:30", "HH24:MI", "0000-01-01 12:30:00"),
            ("foo", "YYYY", "invalid value \"foo\" for \"YYYY\""),
        ] {
            assert_eq!(read(text, pattern), expected, "{text} in {pattern}");
        }
    }
}
