//! Intervals from text: PostgreSQL's styles and ISO 8601.

use arrow::datatypes::IntervalMonthDayNano;

const SECOND_US: f64 = 1e6;
const HOUR_US: f64 = 3600.0 * SECOND_US;
const DAY_HOURS: f64 = 24.0;
const MONTH_DAYS: f64 = 30.0;

/// Sums parts; a fraction of a unit goes into the next smaller one, as PostgreSQL does.
#[derive(Default)]
struct Sum {
    months: f64,
    days: f64,
    us: f64,
}

impl Sum {
    /// A fraction of a year is rounded to whole months.
    fn add_years(&mut self, years: f64) {
        self.months += (years * 12.0).round();
    }

    fn add_months(&mut self, months: f64) {
        self.months += months.trunc();
        self.add_days(months.fract() * MONTH_DAYS);
    }

    fn add_days(&mut self, days: f64) {
        // 0.1 month is 3 days, not 2.9999.
        let days = (days * 1e9).round() / 1e9;
        self.days += days.trunc();
        self.us += days.fract() * DAY_HOURS * HOUR_US;
    }

    fn add(&mut self, amount: f64, unit: &str) -> Option<()> {
        match unit {
            "millennium" | "millennia" | "millenniums" | "mil" | "mils" => self.add_years(amount * 1000.0),
            "century" | "centuries" | "c" | "cent" => self.add_years(amount * 100.0),
            "decade" | "decades" | "dec" | "decs" => self.add_years(amount * 10.0),
            "year" | "years" | "y" | "yr" | "yrs" => self.add_years(amount),
            "month" | "months" | "mon" | "mons" => self.add_months(amount),
            "week" | "weeks" | "w" => self.add_days(amount * 7.0),
            "day" | "days" | "d" => self.add_days(amount),
            "hour" | "hours" | "h" | "hr" | "hrs" => self.us += amount * HOUR_US,
            "minute" | "minutes" | "min" | "mins" | "m" => self.us += amount * 60.0 * SECOND_US,
            "second" | "seconds" | "sec" | "secs" | "s" => self.us += amount * SECOND_US,
            "millisecond" | "milliseconds" | "ms" | "msec" | "msecs" => self.us += amount * 1000.0,
            "microsecond" | "microseconds" | "us" | "usec" | "usecs" => self.us += amount,
            _ => return None,
        }
        Some(())
    }

    fn finish(self, sign: f64) -> Option<IntervalMonthDayNano> {
        let whole = |value: f64| (value.abs() <= f64::from(i32::MAX)).then_some((value * sign) as i32);
        let us = (self.us * sign).round();
        const MAX_US: f64 = (i64::MAX / 1000) as f64;
        if us.abs() >= MAX_US {
            return None;
        }
        Some(IntervalMonthDayNano {
            months: whole(self.months)?,
            days: whole(self.days)?,
            nanoseconds: us as i64 * 1000,
        })
    }
}

/// The interval, or `None` if the text is none (or too long for the type).
pub(super) fn of_text(text: &str) -> Option<IntervalMonthDayNano> {
    if let Some(designated) = text.strip_prefix('P') {
        return iso_8601(designated);
    }
    let lower = text.to_ascii_lowercase();
    let spaced = space_units(lower.strip_prefix('@').unwrap_or(&lower));
    let mut words: Vec<&str> = spaced.split_ascii_whitespace().collect();
    let sign = match words.last() {
        Some(&"ago") => {
            words.pop();
            -1.0
        }
        _ => 1.0,
    };
    if words.is_empty() {
        return None;
    }
    let mut sum = Sum::default();
    let mut index = 0;
    while index < words.len() {
        let word = words[index];
        index += 1;
        if word.contains(':') {
            sum.us += clock(word)?;
        } else if let Some((years, months)) =
            word.get(1..).and_then(|tail| tail.find('-')).map(|at| word.split_at(at + 1))
        {
            // `1-2`: years and months, both with the sign in front.
            let years: f64 = years.parse().ok()?;
            let months: f64 = months[1..].parse().ok()?;
            sum.months += years * 12.0 + if word.starts_with('-') { -months } else { months };
        } else {
            let amount: f64 = number(word)?;
            match words.get(index) {
                Some(unit) if unit.starts_with(|first: char| first.is_ascii_alphabetic()) => {
                    sum.add(amount, unit)?;
                    index += 1;
                }
                // `3 04:05:06`: days before a time.
                Some(next) if next.contains(':') => sum.add_days(amount),
                None => sum.us += amount * SECOND_US,
                Some(_) => return None,
            }
        }
    }
    sum.finish(sign)
}

/// `2days` becomes `2 days`.
fn space_units(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut previous = ' ';
    for character in text.chars() {
        if character.is_ascii_alphabetic() && (previous.is_ascii_digit() || previous == '.') {
            out.push(' ');
        }
        out.push(character);
        previous = character;
    }
    out
}

fn number(text: &str) -> Option<f64> {
    let digits = text.trim_start_matches(['+', '-']);
    (digits.starts_with(|first: char| first.is_ascii_digit() || first == '.')).then(|| text.parse().ok())?
}

/// `[-]HH:MM[:SS[.ffffff]]` in microseconds.
fn clock(text: &str) -> Option<f64> {
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let mut parts = unsigned.split(':');
    let hours: u32 = parts.next()?.parse().ok()?;
    let minutes: u32 = parts.next()?.parse().ok()?;
    let seconds: f64 = parts.next().map_or(Some(0.0), number)?;
    if parts.next().is_some() || minutes >= 60 || !(0.0..60.000_001).contains(&seconds) {
        return None;
    }
    Some(sign * (f64::from(hours) * HOUR_US + f64::from(minutes) * 60.0 * SECOND_US + seconds * SECOND_US))
}

/// What follows `P`: `1Y2M3DT4H5M6.5S`, `2W`.
fn iso_8601(text: &str) -> Option<IntervalMonthDayNano> {
    let mut sum = Sum::default();
    let mut in_time = false;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            in_time = true;
            rest = after;
            continue;
        }
        let at = rest.find(|character: char| character.is_ascii_alphabetic())?;
        let amount = number(&rest[..at])?;
        let unit = match (&rest[at..=at], in_time) {
            ("Y", false) => "year",
            ("M", false) => "month",
            ("W", false) => "week",
            ("D", false) => "day",
            ("H", true) => "hour",
            ("M", true) => "minute",
            ("S", true) => "second",
            _ => return None,
        };
        sum.add(amount, unit)?;
        rest = &rest[at + 1..];
    }
    sum.finish(1.0)
}
