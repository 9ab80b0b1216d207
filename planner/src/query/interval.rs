//! PostgreSQL's text form of intervals: `1 mon 2 days 03:04:05.6`, `5 minutes`, `P1DT2H`, `1-2`, `-3 04:05`.

use arrow::datatypes::IntervalMonthDayNano;

use crate::Error;
use crate::error::{DataError, ErrorKind};

const NANOS_PER_SECOND: f64 = 1e9;

/// An interval in the making; fractions of a large unit spill into the smaller ones as in PostgreSQL.
#[derive(Default)]
struct Parts {
    months: i64,
    days: i64,
    nanos: i64,
}

/// What is wrong with a text that is no interval.
pub(crate) fn unreadable(text: &str) -> Error {
    // Numbers with units, but too large ones.
    let huge = |digits: &str| digits.len() > 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let mut numbers = text.split(|character: char| !character.is_ascii_digit());
    let shorter: String = text.chars().filter(|character| !character.is_ascii_digit()).collect();
    if numbers.any(huge) && parse(&format!("1{shorter}")).is_some() {
        let message = format!("interval field value out of range: \"{text}\"");
        return Error::new(ErrorKind::Data(DataError::IntervalOverflow), message);
    }
    Error::new(ErrorKind::InvalidDatetime, format!("invalid input syntax for type interval: \"{text}\""))
}

/// Reads an interval whose fields are said behind it, `'1:30' MINUTE TO SECOND`: they say what a bare number counts, and what is smaller than the
/// last of them is cut.
pub(crate) fn parse_within(text: &str, fields: (Option<&str>, Option<&str>)) -> Option<IntervalMonthDayNano> {
    let (Some(first), last) = fields else { return parse(text) };
    let smallest = last.unwrap_or(first);
    let trimmed = text.trim();
    let bare = |text: &str| text.parse::<f64>().is_ok();
    let two = trimmed.split_once(' ').filter(|(one, other)| bare(one) && bare(other.trim()));
    let value = if let (Some((one, other)), Some(last)) = (two, last) {
        parse(&format!("{one} {first} {} {last}", other.trim()))?
    } else if bare(trimmed) {
        parse(&format!("{trimmed} {smallest}"))?
    } else if (first, last) == ("minute", Some("second")) && trimmed.matches(':').count() == 1 {
        let (sign, clock) = trimmed.strip_prefix('-').map_or(("", trimmed), |clock| ("-", clock));
        parse(&format!("{sign}0:{clock}"))?
    } else if smallest != "second" && trimmed.rsplit(' ').next().is_some_and(bare) {
        parse(&format!("{trimmed} {smallest}"))?
    } else {
        parse(trimmed)?
    };
    let IntervalMonthDayNano { months, days, nanoseconds } = value;
    const MINUTE: i64 = 60_000_000_000;
    Some(match smallest {
        "year" => IntervalMonthDayNano::new(months / 12 * 12, 0, 0),
        "month" => IntervalMonthDayNano::new(months, 0, 0),
        "day" => IntervalMonthDayNano::new(months, days, 0),
        "hour" => IntervalMonthDayNano::new(months, days, nanoseconds / (60 * MINUTE) * (60 * MINUTE)),
        "minute" => IntervalMonthDayNano::new(months, days, nanoseconds / MINUTE * MINUTE),
        _ => value,
    })
}

/// Reads an interval; `None` if the text is none.
pub(crate) fn parse(text: &str) -> Option<IntervalMonthDayNano> {
    let text = text.trim();
    let mut parts = Parts::default();
    if let Some(iso) = text.strip_prefix(['P', 'p']) {
        parts.iso(iso)?;
        return parts.finish();
    }
    let lower = text.to_lowercase();
    let (body, ago) = match lower.strip_suffix("ago") {
        Some(body) => (body, true),
        None => (lower.as_str(), false),
    };
    parts.words(body.strip_prefix('@').unwrap_or(body))?;
    if ago {
        parts = Parts { months: -parts.months, days: -parts.days, nanos: -parts.nanos };
    }
    parts.finish()
}

impl Parts {
    fn finish(self) -> Option<IntervalMonthDayNano> {
        Some(IntervalMonthDayNano::new(i32::try_from(self.months).ok()?, i32::try_from(self.days).ok()?, self.nanos))
    }

    /// Numbers with units, and times of day.
    fn words(&mut self, text: &str) -> Option<()> {
        let mut tokens = split(text).into_iter().peekable();
        tokens.peek()?;
        while let Some(token) = tokens.next() {
            // A sign may stand apart from its number: `1 month - 1 day`.
            let (sign, token) = match token {
                "-" => (-1.0, tokens.next().filter(|next| next.starts_with(|c: char| c.is_ascii_digit() || c == '.'))?),
                "+" => (1.0, tokens.next().filter(|next| next.starts_with(|c: char| c.is_ascii_digit() || c == '.'))?),
                token => (1.0, token),
            };
            if token.contains(':') {
                let nanos = if sign < 0.0 { clock(token)?.checked_neg()? } else { clock(token)? };
                self.nanos = self.nanos.checked_add(nanos)?;
            } else if let Some((years, months)) = year_month(token).filter(|_| sign > 0.0) {
                self.months = years.checked_mul(12)?.checked_add(months)?.checked_add(self.months)?;
            } else {
                let value = sign * token.parse::<f64>().ok()?;
                // A number without a unit counts seconds, or days before a time of day.
                let unit = match tokens.peek() {
                    Some(next) if next.starts_with(|c: char| c.is_ascii_alphabetic()) => tokens.next()?,
                    Some(next) if next.contains(':') => "day",
                    Some(_) => return None,
                    None => "second",
                };
                self.add(value, unit)?;
            }
        }
        Some(())
    }

    fn add(&mut self, value: f64, unit: &str) -> Option<()> {
        let whole = value.trunc();
        match unit.trim_end_matches(',') {
            "millennium" | "millennia" | "millenniums" | "mil" | "mils" => self.add_months(value, 12_000.0),
            "century" | "centuries" | "c" | "cent" => self.add_months(value, 1200.0),
            "decade" | "decades" | "dec" | "decs" => self.add_months(value, 120.0),
            "year" | "years" | "yr" | "yrs" | "y" => self.add_months(value, 12.0),
            "month" | "months" | "mon" | "mons" => {
                self.months = self.months.checked_add(whole as i64)?;
                self.add((value - whole) * 30.0, "days")
            }
            "week" | "weeks" | "w" => self.add(value * 7.0, "days"),
            "day" | "days" | "d" => {
                self.days = self.days.checked_add(whole as i64)?;
                self.add_seconds((value - whole) * 86_400.0)
            }
            "hour" | "hours" | "hr" | "hrs" | "h" => self.add_seconds(value * 3600.0),
            "minute" | "minutes" | "min" | "mins" | "m" => self.add_seconds(value * 60.0),
            "second" | "seconds" | "sec" | "secs" | "s" => self.add_seconds(value),
            "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" => self.add_seconds(value / 1e3),
            "microsecond" | "microseconds" | "us" | "usec" | "usecs" => self.add_seconds(value / 1e6),
            _ => None,
        }
    }

    fn add_months(&mut self, value: f64, months: f64) -> Option<()> {
        self.months = self.months.checked_add((value * months).round() as i64)?;
        Some(())
    }

    /// To the microsecond, which is as far as PostgreSQL goes.
    fn add_seconds(&mut self, seconds: f64) -> Option<()> {
        let micros = (seconds * 1e6).round();
        if micros.abs() * 1e3 > i64::MAX as f64 {
            return None;
        }
        self.nanos = self.nanos.checked_add(micros as i64 * 1000)?;
        Some(())
    }

    /// ISO 8601 behind its `P`.
    fn iso(&mut self, text: &str) -> Option<()> {
        let (date, time) = match text.split_once(['T', 't']) {
            Some((date, time)) => (date, time),
            None => (text, ""),
        };
        // The alternative form: `0001-02-03T04:05:06`.
        if !text.bytes().any(|byte| byte.is_ascii_alphabetic() && !byte.eq_ignore_ascii_case(&b't')) {
            if let [years, months, days] = date.split('-').collect::<Vec<_>>().as_slice() {
                let number = |text: &str| text.parse::<i64>().ok();
                self.months = number(years)?.checked_mul(12)?.checked_add(number(months)?)?;
                self.days = number(days)?;
            } else if !date.is_empty() {
                return None;
            }
            if !time.is_empty() {
                self.nanos = clock(time)?;
            }
            return Some(());
        }
        for (part, in_time) in [(date, false), (time, true)] {
            let mut rest = part;
            while !rest.is_empty() {
                let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
                let value: f64 = rest[..end].parse().ok()?;
                let unit = match (rest.as_bytes()[end].to_ascii_uppercase(), in_time) {
                    (b'Y', false) => "years",
                    (b'M', false) => "months",
                    (b'W', false) => "weeks",
                    (b'D', false) => "days",
                    (b'H', true) => "hours",
                    (b'M', true) => "minutes",
                    (b'S', true) => "seconds",
                    _ => return None,
                };
                self.add(value, unit)?;
                rest = &rest[end + 1..];
            }
        }
        Some(())
    }
}

/// Words, with numbers and units that touch taken apart.
fn split(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    for word in text.split_whitespace() {
        let mut rest = word;
        while !rest.is_empty() {
            let is_unit = rest.starts_with(|c: char| c.is_ascii_alphabetic());
            let end = rest.find(|c: char| c.is_ascii_alphabetic() != is_unit).unwrap_or(rest.len());
            tokens.push(&rest[..end]);
            rest = &rest[end..];
        }
    }
    tokens
}

/// `1-2`: years and months.
fn year_month(token: &str) -> Option<(i64, i64)> {
    let (negative, digits) = match token.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, token.strip_prefix('+').unwrap_or(token)),
    };
    let (years, months) = digits.split_once('-')?;
    let (years, months): (i64, i64) = (years.parse().ok()?, months.parse().ok()?);
    Some(if negative { (-years, -months) } else { (years, months) })
}

/// `[-]hours:minutes[:seconds[.fraction]]` in nanoseconds.
fn clock(token: &str) -> Option<i64> {
    let (sign, digits) = match token.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, token.strip_prefix('+').unwrap_or(token)),
    };
    let mut parts = digits.split(':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next().map_or(Some(0.0), |seconds| seconds.parse().ok())?;
    if parts.next().is_some() || minutes >= 60 || !(0.0..=60.0).contains(&seconds) {
        return None;
    }
    let whole = hours.checked_mul(3600)?.checked_add(minutes * 60)?;
    let nanos =
        whole.checked_mul(1_000_000_000)?.checked_add((seconds * NANOS_PER_SECOND / 1e3).round() as i64 * 1000)?;
    Some(sign * nanos)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_as_postgresql_reads_them() {
        let second = 1_000_000_000;
        let golden = [
            ("1 month 2 days 03:04:05", (1, 2, 11_045 * second)),
            ("5 minutes", (0, 0, 300 * second)),
            ("10", (0, 0, 10 * second)),
            ("1.5 days", (0, 1, 43_200 * second)),
            ("1 day 02:03:04", (0, 1, 7384 * second)),
            ("1-2", (14, 0, 0)),
            ("-1 year", (-12, 0, 0)),
            ("2h30m", (0, 0, 9000 * second)),
            ("1 week ago", (0, -7, 0)),
            ("P1Y2M3DT4H5M6S", (14, 3, 14_706 * second)),
            ("250 ms", (0, 0, second / 4)),
            ("3 04:05", (0, 3, 14_700 * second)),
            ("-00:00:01.5", (0, 0, -3 * second / 2)),
            ("1 month - 1 day + 2 hours", (1, -1, 7200 * second)),
            ("1 day - 01:00", (0, 1, -3600 * second)),
        ];
        for (text, (months, days, nanos)) in golden {
            assert_eq!(parse(text), Some(IntervalMonthDayNano::new(months, days, nanos)), "{text}");
        }
        for text in ["", "abc", "-", "1 day -", "1 parsec", "1:2:3:4", "1 2 3"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
