//! Dates and times as PostgreSQL reads them: ISO 8601, months by name, `10:20 PM`, `BC`, zones by offset, abbreviation or name. DateStyle is ISO, MDY.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use crate::Error;
use crate::error::{DataError, ErrorKind};

/// Offsets, in hours, of the abbreviations that PostgreSQL knows by itself (those that people write).
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("utc", 0),
    ("gmt", 0),
    ("zulu", 0),
    ("z", 0),
    ("wet", 0),
    ("west", 1),
    ("bst", 1),
    ("cet", 1),
    ("cest", 2),
    ("met", 1),
    ("eet", 2),
    ("eest", 3),
    ("msk", 3),
    ("est", -5),
    ("edt", -4),
    ("cst", -6),
    ("cdt", -5),
    ("mst", -7),
    ("mdt", -6),
    ("pst", -8),
    ("pdt", -7),
    ("akst", -9),
    ("hst", -10),
    ("jst", 9),
    ("kst", 9),
    ("aest", 10),
    ("aedt", 11),
    ("nzst", 12),
    ("nzdt", 13),
];

/// Seconds east of Greenwich of an abbreviation in lower case.
pub(crate) fn abbreviated_offset(name: &str) -> Option<i32> {
    ABBREVIATIONS.iter().find(|(known, _)| *known == name).map(|(_, hours)| hours * 3600)
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// Why a text is no date or time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It is none.
    Syntax,
    /// Its fields are beyond what there is.
    Range,
    /// A zone that nobody knows.
    Zone(String),
    /// An offset that is too large.
    Displacement,
    /// `infinity`, or a time of 24:00.
    Unsupported(&'static str),
}

impl Problem {
    /// The error, in PostgreSQL's words.
    pub(crate) fn error(&self, text: &str, type_name: &str) -> Error {
        let overflow = |error, what: &str| Error::new(ErrorKind::Data(error), format!("{what}: \"{text}\""));
        match self {
            Self::Syntax => {
                Error::new(ErrorKind::InvalidDatetime, format!("invalid input syntax for type {type_name}: \"{text}\""))
            }
            Self::Range => overflow(DataError::DatetimeOverflow, "date/time field value out of range"),
            Self::Displacement => overflow(DataError::ZoneDisplacement, "time zone displacement out of range"),
            Self::Zone(name) => {
                Error::new(ErrorKind::InvalidParameterValue, format!("time zone \"{name}\" not recognized"))
            }
            Self::Unsupported(what) => Error::unsupported(what),
        }
    }
}

/// What the words of a text have said so far.
#[derive(Default)]
struct Fields {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    before_christ: bool,
    time: Option<(NaiveTime, i64)>,
    afternoon: Option<bool>,
    offset: Option<i32>,
    zone: Option<String>,
}

/// Date and time of day, with the offset in seconds if the text has one, or a zone.
pub(crate) fn parse(text: &str) -> Result<(NaiveDateTime, Option<i32>), Problem> {
    let text = text.trim();
    if let Some(read) = iso(text) {
        return Ok(read);
    }
    let lower = text.to_lowercase();
    match lower.as_str() {
        "epoch" => return Ok((DateTime::UNIX_EPOCH.naive_utc(), None)),
        "infinity" | "-infinity" | "+infinity" => return Err(Problem::Unsupported("an infinite date or timestamp")),
        _ => {}
    }
    let mut fields = Fields::default();
    for word in words(&lower) {
        fields.word(word)?;
    }
    fields.finish()
}

/// The form that programs write, `2024-01-05 10:20:30.5`, without a zone or with `Z`: read without looking at words. `None` leaves the text to that.
fn iso(text: &str) -> Option<(NaiveDateTime, Option<i32>)> {
    let (body, offset) = text.strip_suffix('Z').map_or((text, None), |body| (body, Some(0)));
    let bytes = body.as_bytes();
    let shaped = bytes.len() >= 19
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            10 => matches!(byte, b' ' | b'T'),
            13 | 16 => *byte == b':',
            19 => *byte == b'.',
            _ => byte.is_ascii_digit(),
        });
    if !shaped || bytes.len() == 20 || bytes.len() > 26 {
        return None;
    }
    let part =
        |from: usize, to: usize| bytes[from..to].iter().fold(0_u32, |value, byte| value * 10 + u32::from(byte - b'0'));
    let micros = match bytes.len() {
        19 => 0,
        length => part(20, length) * 10_u32.pow(26 - length as u32),
    };
    let year = part(0, 4);
    let date = NaiveDate::from_ymd_opt(year as i32, part(5, 7), part(8, 10)).filter(|_| year > 0)?;
    let time = NaiveTime::from_hms_micro_opt(part(11, 13), part(14, 16), part(17, 19), micros)?;
    Some((date.and_time(time), offset))
}

/// The time of day in a text that may have a date before it.
pub(crate) fn time(text: &str) -> Result<NaiveTime, Problem> {
    let lower = text.trim().to_lowercase();
    let mut fields = Fields::default();
    for word in words(&lower) {
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        match (digits, word.len(), fields.time) {
            (true, 6, None) => {
                let part = |at: usize| word[at..at + 2].parse().map_err(|_| Problem::Syntax);
                let time = NaiveTime::from_hms_opt(part(0)?, part(2)?, part(4)?).ok_or(Problem::Range)?;
                fields.time = Some((time, 0));
            }
            (true, 4, None) => {
                let part = |at: usize| word[at..at + 2].parse().map_err(|_| Problem::Syntax);
                fields.time = Some((NaiveTime::from_hms_opt(part(0)?, part(2)?, 0).ok_or(Problem::Range)?, 0));
            }
            _ => fields.word(word)?,
        }
    }
    match fields.clock()? {
        Some((time, 0)) => Ok(time),
        Some(_) => Err(Problem::Unsupported("the time 24:00")),
        None => Err(Problem::Syntax),
    }
}

/// Words between blanks, commas, and the T of ISO 8601.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for word in text.split(|character: char| character.is_whitespace() || character == ',') {
        match word.split_once('t') {
            Some((date, time))
                if date.ends_with(|last: char| last.is_ascii_digit())
                    && time.starts_with(|first: char| first.is_ascii_digit()) =>
            {
                words.extend([date, time]);
            }
            _ if word.is_empty() => {}
            _ => words.push(word),
        }
    }
    words
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits {
        return Err(Problem::Syntax);
    }
    text.parse().map_err(|_| Problem::Range)
}

/// The month that a word is, in full or by its first three letters.
fn month(word: &str) -> Option<u32> {
    let known = |name: &&str| {
        *name == word || word.len() == 3 && name.starts_with(word) || word == "sept" && name.starts_with(word)
    };
    MONTHS.iter().position(known).map(|at| at as u32 + 1)
}

impl Fields {
    fn word(&mut self, word: &str) -> Result<(), Problem> {
        if word.contains(':') && word.starts_with(|first: char| first.is_ascii_digit()) {
            return self.clock_and_more(word);
        }
        if let Some(offset) = word.strip_prefix(['+', '-']) {
            if self.time.is_none() && self.year.is_none() {
                return Err(Problem::Syntax);
            }
            return self.offset(word.starts_with('-'), offset);
        }
        if word.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.digits(word);
        }
        if word.starts_with(|first: char| first.is_ascii_digit()) {
            return self.date(word);
        }
        if let Some(days) = word.strip_prefix('j').filter(|days| days.bytes().all(|byte| byte.is_ascii_digit())) {
            return self.julian(number(days)?);
        }
        self.letters(word)
    }

    /// A day counted from 4714 BC.
    fn julian(&mut self, days: i32) -> Result<(), Problem> {
        let day = NaiveDate::from_num_days_from_ce_opt(days - 1_721_425).ok_or(Problem::Range)?;
        let year = chrono::Datelike::year(&day);
        self.before_christ = year <= 0;
        self.year = Some(if year > 0 { year } else { 1 - year });
        (self.month, self.day) = (Some(chrono::Datelike::month(&day)), Some(chrono::Datelike::day(&day)));
        Ok(())
    }

    fn letters(&mut self, word: &str) -> Result<(), Problem> {
        match word.trim_end_matches('.') {
            "am" => self.afternoon = Some(false),
            "pm" => self.afternoon = Some(true),
            "bc" => self.before_christ = true,
            "ad" => {}
            "allballs" => self.time = Some((NaiveTime::MIN, 0)),
            word if DAYS.iter().any(|day| *day == word || word.len() == 3 && day.starts_with(word)) => {}
            word => match (month(word), abbreviated_offset(word)) {
                (Some(month), _) if self.month.is_none() => self.month = Some(month),
                // `Jan-05-2024`
                _ if word.split('-').next().and_then(month).is_some() => return self.date(word),
                (_, Some(offset)) => self.offset = Some(offset),
                _ if word.contains('/') && (self.time.is_some() || self.year.is_some()) => {
                    self.zone = Some(word.to_owned());
                }
                _ => return Err(Problem::Syntax),
            },
        }
        Ok(())
    }

    /// A number alone: a whole date in eight digits, else a day or a year beside a month's name.
    fn digits(&mut self, word: &str) -> Result<(), Problem> {
        match word.len() {
            8 if self.year.is_none() => {
                (self.year, self.month, self.day) =
                    (Some(number(&word[..4])?), Some(number(&word[4..6])?), Some(number(&word[6..])?));
            }
            6 if self.year.is_none() && self.month.is_none() => {
                self.year = Some(two_digits(number(&word[..2])?));
                (self.month, self.day) = (Some(number(&word[2..4])?), Some(number(&word[4..])?));
            }
            1 | 2 if self.day.is_none() => self.day = Some(number(word)?),
            2 if self.year.is_none() => self.year = Some(two_digits(number(word)?)),
            3..=6 if self.year.is_none() => self.year = Some(number(word)?),
            _ => return Err(Problem::Syntax),
        }
        Ok(())
    }

    /// `2024-01-05`, `1/5/2024`, `05-jan-2024`, `2024-01-05+02`.
    fn date(&mut self, word: &str) -> Result<(), Problem> {
        let separator = word.chars().find(|character| matches!(character, '-' | '/' | '.')).ok_or(Problem::Syntax)?;
        let (date, rest) =
            match word.char_indices().filter(|(_, next)| matches!(next, '+' | '-' | 'z')).find(|(at, next)| {
                // Behind the third part an offset begins.
                word[..*at].matches(separator).count() >= 2
                    && !(*next == separator && word[..*at].matches(separator).count() < 2)
            }) {
                Some((at, _)) => word.split_at(at),
                None => (word, ""),
            };
        let parts: Vec<&str> = date.split(separator).collect();
        let [first, second, third] = parts.as_slice() else { return Err(Problem::Syntax) };
        let named = |text: &str| month(text).map_or_else(|| number(text), Ok);
        let year = |text: &str| -> Result<i32, Problem> {
            let year = number(text)?;
            Ok(if text.len() <= 2 { two_digits(year) } else { year })
        };
        // Year first if it has three digits or more; else the month by its name or its place.
        let (year, month, day) = if first.len() >= 3 && month(first).is_none() {
            (year(first)?, named(second)?, number(third)?)
        } else if month(second).is_some() {
            (year(third)?, named(second)?, number(first)?)
        } else {
            (year(third)?, named(first)?, number(second)?)
        };
        (self.year, self.month, self.day) = (Some(year), Some(month), Some(day));
        match rest.chars().next() {
            None => Ok(()),
            Some('z') if rest.len() == 1 => {
                self.offset = Some(0);
                Ok(())
            }
            Some(sign @ ('+' | '-')) => self.offset(sign == '-', &rest[1..]),
            _ => Err(Problem::Syntax),
        }
    }

    /// `10:20:30.5`, with an offset or half of the day right behind it.
    fn clock_and_more(&mut self, word: &str) -> Result<(), Problem> {
        let end = word.find(|character: char| !matches!(character, '0'..='9' | ':' | '.')).unwrap_or(word.len());
        let (clock, rest) = word.split_at(end);
        self.time = Some(clock_time(clock)?);
        match rest.chars().next() {
            None => Ok(()),
            Some(sign @ ('+' | '-')) => self.offset(sign == '-', &rest[1..]),
            Some(_) => self.letters(rest),
        }
    }

    fn offset(&mut self, negative: bool, digits: &str) -> Result<(), Problem> {
        let (hours, minutes, seconds) = match digits.split(':').collect::<Vec<_>>().as_slice() {
            [all] if all.len() == 4 => (all[..2].to_owned(), all[2..].to_owned(), "0".to_owned()),
            [hours] => ((*hours).to_owned(), "0".to_owned(), "0".to_owned()),
            [hours, minutes] => ((*hours).to_owned(), (*minutes).to_owned(), "0".to_owned()),
            [hours, minutes, seconds] => ((*hours).to_owned(), (*minutes).to_owned(), (*seconds).to_owned()),
            _ => return Err(Problem::Syntax),
        };
        let (hours, minutes, seconds): (i32, i32, i32) = (number(&hours)?, number(&minutes)?, number(&seconds)?);
        if hours > 15 || minutes > 59 || seconds > 59 {
            return Err(Problem::Displacement);
        }
        let offset = hours * 3600 + minutes * 60 + seconds;
        self.offset = Some(if negative { -offset } else { offset });
        Ok(())
    }

    /// The time of day, and 1 for what is 24:00.
    fn clock(&self) -> Result<Option<(NaiveTime, i64)>, Problem> {
        let Some((time, days)) = self.time else { return Ok(None) };
        let hour = chrono::Timelike::hour(&time);
        let shift = match self.afternoon {
            Some(_) if !(1..=12).contains(&hour) => return Err(Problem::Range),
            Some(true) if hour < 12 => 12,
            Some(false) if hour == 12 => -12,
            _ => 0,
        };
        Ok(Some((time + TimeDelta::hours(shift), days)))
    }

    fn finish(self) -> Result<(NaiveDateTime, Option<i32>), Problem> {
        let (Some(year), Some(month), Some(day)) = (self.year, self.month, self.day) else {
            return Err(Problem::Syntax);
        };
        if year == 0 {
            return Err(Problem::Range);
        }
        let year = if self.before_christ { 1 - year } else { year };
        let date = NaiveDate::from_ymd_opt(year, month, day).ok_or(Problem::Range)?;
        let (time, days) = self.clock()?.unwrap_or((NaiveTime::MIN, 0));
        let local = date.and_time(time).checked_add_signed(TimeDelta::days(days)).ok_or(Problem::Range)?;
        let offset = match self.zone {
            None => self.offset,
            Some(name) => match crate::functions::offset_of_zone(&name, local) {
                Some(offset) => Some(offset),
                None => return Err(Problem::Zone(name)),
            },
        };
        Ok((local, offset))
    }
}

/// The year that two digits mean: 1970 to 2069.
fn two_digits(year: i32) -> i32 {
    if year < 70 { 2000 + year } else { 1900 + year }
}

/// The time of day, and 1 for `24:00`.
fn clock_time(text: &str) -> Result<(NaiveTime, i64), Problem> {
    let mut parts = text.split(':');
    let hour: u32 = number(parts.next().unwrap_or_default())?;
    let minute: u32 = number(parts.next().ok_or(Problem::Syntax)?)?;
    let (second, micros) = match parts.next() {
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
            if fraction.bytes().any(|byte| !byte.is_ascii_digit()) {
                return Err(Problem::Syntax);
            }
            let micros = format!("0.{fraction}0").parse::<f64>().map_err(|_| Problem::Syntax)? * 1e6;
            (number::<u32>(whole)?, micros.round() as i64)
        }
        None => (0, 0),
    };
    if parts.next().is_some() {
        return Err(Problem::Syntax);
    }
    if (hour, minute, second, micros) == (24, 0, 0, 0) {
        return Ok((NaiveTime::MIN, 1));
    }
    if second == 60 && minute < 60 && hour < 24 {
        // The last second of a minute that has one more.
        let time = NaiveTime::from_hms_opt(hour, minute, 59).ok_or(Problem::Range)?;
        let (time, days) = time.overflowing_add_signed(TimeDelta::seconds(1));
        return Ok((time, days / 86_400));
    }
    let time = NaiveTime::from_hms_opt(hour, minute, second).ok_or(Problem::Range)?;
    let (time, days) = time.overflowing_add_signed(TimeDelta::microseconds(micros));
    Ok((time, days / 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_postgresql_reads_them() {
        for (text, expected) in [
            ("2024-01-05", "2024-01-05 00:00:00"),
            ("20240105", "2024-01-05 00:00:00"),
            ("1/5/2024", "2024-01-05 00:00:00"),
            ("Jan 5, 2024", "2024-01-05 00:00:00"),
            ("5 January 2024", "2024-01-05 00:00:00"),
            ("Fri, 5 Jan 2024 10:20:30", "2024-01-05 10:20:30"),
            ("2024-Jan-05", "2024-01-05 00:00:00"),
            ("05-Jan-2024", "2024-01-05 00:00:00"),
            ("2024.01.05", "2024-01-05 00:00:00"),
            ("2024-01-05T10:20:30.5Z", "2024-01-05 10:20:30.500 0"),
            ("2024-01-05 10:20:30+05:30", "2024-01-05 10:20:30 19800"),
            ("2024-01-05 10:20:30 -0330", "2024-01-05 10:20:30 -12600"),
            ("2024-01-05 10:20 PM", "2024-01-05 22:20:00"),
            ("2024-01-05 24:00", "2024-01-06 00:00:00"),
            ("2024-01-05 10:00 PST", "2024-01-05 10:00:00 -28800"),
            ("2024-07-01 10:00 Europe/Berlin", "2024-07-01 10:00:00 7200"),
            ("2024-01-05+02", "2024-01-05 00:00:00 7200"),
            ("0044-03-15 BC", "-0043-03-15 00:00:00"),
            ("epoch", "1970-01-01 00:00:00"),
        ] {
            let shown = parse(text).map(|(time, offset)| match offset {
                Some(offset) => format!("{time} {offset}"),
                None => time.to_string(),
            });
            assert_eq!(shown.as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_none_says_why() {
        for (text, problem) in [
            ("abc", Problem::Syntax),
            ("", Problem::Syntax),
            ("2024-02-30", Problem::Range),
            ("2024-01-01 25:00", Problem::Range),
            ("2024-01-01 10:20:30+99", Problem::Displacement),
            ("2024-01-01 10:00 Nowhere/Bad", Problem::Zone("nowhere/bad".to_owned())),
            ("2024-01", Problem::Syntax),
        ] {
            assert_eq!(parse(text), Err(problem), "{text}");
        }
        assert_eq!(time("123045").map(|time| time.to_string()), Ok("12:30:45".to_owned()));
        assert_eq!(time("12:30:45.5+02").map(|time| time.to_string()), Ok("12:30:45.500".to_owned()));
        assert_eq!(time("25:00"), Err(Problem::Range));
    }
}
