//! Intervals as text: PostgreSQL's words (`1 year 2 mons -3 days 04:05:06.7`) and ISO 8601 (`P1Y2M3DT4H5M6.7S`).

use arrow::datatypes::IntervalMonthDayNano;

use super::datetime;

#[derive(Default)]
struct Parts {
    months: f64,
    days: f64,
    us: f64,
}

impl Parts {
    fn add(&mut self, number: f64, unit: &str) -> Option<()> {
        match unit {
            "y" | "yr" | "yrs" | "year" | "years" => self.months += number * 12.0,
            "mon" | "mons" | "month" | "months" => self.months += number,
            "w" | "week" | "weeks" => self.days += number * 7.0,
            "d" | "day" | "days" => self.days += number,
            "h" | "hr" | "hrs" | "hour" | "hours" => self.us += number * 3.6e9,
            "m" | "min" | "mins" | "minute" | "minutes" => self.us += number * 6e7,
            "s" | "sec" | "secs" | "second" | "seconds" => self.us += number * 1e6,
            "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => self.us += number * 1e3,
            "us" | "usec" | "usecs" | "microsecond" | "microseconds" => self.us += number,
            _ => return None,
        }
        Some(())
    }

    /// Fractions of months become days of a 30-day month, fractions of days become time.
    fn finish(self) -> Option<IntervalMonthDayNano> {
        let days = self.days + self.months.fract() * 30.0;
        let nanoseconds = (self.us + days.fract() * 8.64e10).round() * 1e3;
        let fits = |value: f64, limit: f64| value.is_finite() && value.abs() <= limit;
        let (months, days) = (self.months.trunc(), days.trunc());
        if !fits(months, f64::from(i32::MAX)) || !fits(days, f64::from(i32::MAX)) || !fits(nanoseconds, 9.2e18) {
            return None;
        }
        Some(IntervalMonthDayNano::new(months as i32, days as i32, nanoseconds as i64))
    }
}

/// The interval that `text` says.
pub(crate) fn parse(text: &str) -> Option<IntervalMonthDayNano> {
    let text = text.trim();
    if let Some(iso) = text.strip_prefix('P') {
        return parse_iso(iso);
    }
    let lower = text.to_lowercase();
    let (lower, ago) = match lower.strip_suffix(" ago") {
        Some(rest) => (rest, true),
        None => (lower.as_str(), false),
    };
    let mut parts = Parts::default();
    let mut words = lower.trim_start_matches('@').split_whitespace().peekable();
    words.peek()?;
    while let Some(word) = words.next() {
        if word.contains(':') {
            parts.us += clock(word)?;
            continue;
        }
        let digits = word.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+')).unwrap_or(word.len());
        let number: f64 = word[..digits].parse().ok()?;
        match &word[digits..] {
            "" => match words.next() {
                Some(unit) => parts.add(number, unit)?,
                None => parts.us += number * 1e6,
            },
            unit => parts.add(number, unit)?,
        }
    }
    if ago {
        parts = Parts { months: -parts.months, days: -parts.days, us: -parts.us };
    }
    parts.finish()
}

/// `[-]H:MM[:SS[.fraction]]` in microseconds; hours may have any number of digits.
fn clock(word: &str) -> Option<f64> {
    let (sign, word) = match word.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, word.strip_prefix('+').unwrap_or(word)),
    };
    let mut fields = word.split(':');
    let hours: u32 = fields.next()?.parse().ok()?;
    let minutes: u32 = fields.next()?.parse().ok().filter(|minutes| *minutes < 60)?;
    let seconds: f64 = match fields.next() {
        Some(text) if text.starts_with(|c: char| c.is_ascii_digit()) => {
            text.parse().ok().filter(|seconds| *seconds < 60.0)?
        }
        Some(_) => return None,
        None => 0.0,
    };
    if fields.next().is_some() {
        return None;
    }
    Some(sign * (f64::from(hours) * 3.6e9 + f64::from(minutes) * 6e7 + seconds * 1e6))
}

fn parse_iso(text: &str) -> Option<IntervalMonthDayNano> {
    let mut parts = Parts::default();
    let mut time = false;
    let mut rest = text;
    if rest.is_empty() || rest == "T" {
        return None;
    }
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            if time {
                return None;
            }
            time = true;
            rest = after;
            continue;
        }
        let digits = rest.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        match (time, unit) {
            (false, 'Y') => parts.add(number, "year"),
            (false, 'M') => parts.add(number, "month"),
            (false, 'W') => parts.add(number, "week"),
            (false, 'D') => parts.add(number, "day"),
            (true, 'H') => parts.add(number, "hour"),
            (true, 'M') => parts.add(number, "minute"),
            (true, 'S') => parts.add(number, "second"),
            _ => None,
        }?;
        rest = &rest[digits + 1..];
    }
    parts.finish()
}

/// Writes PostgreSQL's form: `1 year 2 mons 3 days 04:05:06.7`; nanoseconds below a microsecond are cut.
pub(crate) fn write(out: &mut Vec<u8>, interval: IntervalMonthDayNano) {
    let start = out.len();
    let word = |number: i64, one: &str, many: &str, out: &mut Vec<u8>| {
        if number == 0 {
            return;
        }
        if out.len() > start {
            out.push(b' ');
        }
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        out.push(b' ');
        out.extend_from_slice(if number == 1 { one } else { many }.as_bytes());
    };
    word(i64::from(interval.months / 12), "year", "years", out);
    word(i64::from(interval.months % 12), "mon", "mons", out);
    word(i64::from(interval.days), "day", "days", out);
    let us = interval.nanoseconds / 1000;
    if us == 0 && out.len() > start {
        return;
    }
    if out.len() > start {
        out.push(b' ');
    }
    if us < 0 {
        out.push(b'-');
    }
    let magnitude = us.unsigned_abs() as i64;
    let hours = magnitude / 3_600_000_000;
    if hours > 99 {
        out.extend_from_slice(itoa::Buffer::new().format(hours).as_bytes());
        let from = out.len();
        datetime::write_time(out, magnitude % 3_600_000_000);
        out.drain(from..from + 2);
    } else {
        datetime::write_time(out, magnitude);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_and_iso_say_the_same() {
        let expected = IntervalMonthDayNano::new(14, 3, 14_706_700_000_000);
        for text in [
            "1 year 2 mons 3 days 04:05:06.7",
            "P1Y2M3DT4H5M6.7S",
            "1y 2 months 3d 4 hours 5 min 6.7 s",
            "14 mons 3 days 14706.7",
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        assert_eq!(parse("1 day ago"), Some(IntervalMonthDayNano::new(0, -1, 0)));
        assert_eq!(parse("-1 day -00:00:01"), Some(IntervalMonthDayNano::new(0, -1, -1_000_000_000)));
        assert_eq!(parse("1.5 months"), Some(IntervalMonthDayNano::new(1, 15, 0)));
        for wrong in ["", "P", "x", "1 fortnight", "1:2:3:4", "P1H", "00:99"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "1 year 2 mons -3 days 04:05:06.7",
            "00:00:00",
            "1 mon",
            "-00:00:01",
            "123:04:05",
            "2 days 00:00:00.000001",
        ] {
            let mut out = Vec::new();
            write(&mut out, parse(text).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
