//! Time zones without a history: POSIX's forms of an offset, and what a session's `TimeZone` may be set to.

use arrow::datatypes::IntervalMonthDayNano;

use crate::query::interval;

const HOUR: i32 = 3600;

/// Seconds of a day: no zone is so far from Greenwich.
const DAY: i32 = 24 * HOUR;

/// A zone as POSIX writes it, without summer time: `UTC+3`, `<-03>+03`, `-3`, counted westward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PosixZone<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Seconds east of Greenwich.
    pub offset: i32,
}

impl<'a> PosixZone<'a> {
    /// Reads a zone; `None` if the text is none.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (name, offset) = match text.strip_prefix('<') {
            Some(quoted) => quoted.split_once('>')?,
            None => {
                let end = text.find(|character: char| !character.is_ascii_alphabetic())?;
                text.split_at(end)
            }
        };
        // A name of one or two letters is none.
        let named = name.is_empty() && !text.starts_with('<') || name.len() >= 3;
        let west = named.then(|| clock(offset)).flatten()?;
        Some(Self { name, offset: -west })
    }
}

/// `[+-]hours[:minutes[:seconds]]` in seconds.
fn clock(text: &str) -> Option<i32> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = digits.split(':').map(|part| {
        let digits = (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<i32>().ok()).flatten()
    });
    let hours = parts.next()??;
    let minutes = parts.next().unwrap_or(Some(0))?;
    let seconds = parts.next().unwrap_or(Some(0))?;
    let whole = hours * HOUR + minutes * 60 + seconds;
    let fits = parts.next().is_none() && minutes < 60 && seconds < 60 && whole < DAY;
    fits.then_some(sign * whole)
}

/// Seconds east of Greenwich of an offset as ISO 8601 writes it, counted eastward: `+3`, `-03:30`, `+0530`.
pub(crate) fn iso_offset(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-'])?;
    match digits.len() {
        // Hours and minutes in one number.
        3 | 4 if digits.is_ascii() => {
            let (hours, minutes) = digits.split_at(digits.len() - 2);
            clock(&format!("{}{hours}:{minutes}", &text[..1]))
        }
        _ => clock(text),
    }
}

/// The normal form of what `TimeZone` is set to: a zone's name, an offset in hours east of Greenwich, an interval, or a zone as POSIX writes it.
/// `None` if it is no zone.
pub fn setting(value: &str) -> Option<String> {
    let mut zones = chrono_tz::TZ_VARIANTS.iter();
    if let Some(zone) = zones.find(|zone| zone.name().eq_ignore_ascii_case(value)) {
        return Some(zone.name().to_owned());
    }
    if let Ok(hours) = value.parse::<f64>() {
        let seconds = (hours * f64::from(HOUR)).round_ties_even();
        return (seconds.abs() < f64::from(DAY)).then(|| of_offset(seconds as i32));
    }
    if let Some(text) = value.strip_prefix("INTERVAL '").and_then(|text| text.strip_suffix('\'')) {
        let IntervalMonthDayNano { months: 0, days: 0, nanoseconds } = interval::parse(text)? else { return None };
        let seconds = i32::try_from(nanoseconds / 1_000_000_000).ok()?;
        return (seconds.abs() < DAY).then(|| of_offset(seconds));
    }
    PosixZone::parse(value).map(|_| value.to_owned())
}

/// `<+05:30>-05:30`.
fn of_offset(seconds: i32) -> String {
    let text = |seconds: i32| {
        let (sign, seconds) = (if seconds < 0 { '-' } else { '+' }, seconds.abs());
        let (hours, minutes, rest) = (seconds / HOUR, seconds / 60 % 60, seconds % 60);
        match (minutes, rest) {
            (0, 0) => format!("{sign}{hours:02}"),
            (_, 0) => format!("{sign}{hours:02}:{minutes:02}"),
            _ => format!("{sign}{hours:02}:{minutes:02}:{rest:02}"),
        }
    };
    let west = if seconds == 0 { "-00".to_owned() } else { text(-seconds) };
    format!("<{}>{west}", text(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn posix_counts_westward() {
        let offset = |text| PosixZone::parse(text).map(|zone| zone.offset);
        assert_eq!(offset("UTC+3"), Some(-3 * HOUR));
        assert_eq!(offset("<-03>+03"), Some(-3 * HOUR));
        assert_eq!(offset("<+05:30>-05:30"), Some(5 * HOUR + 1800));
        assert_eq!(offset("-3"), Some(3 * HOUR));
        assert_eq!(PosixZone::parse("Foo4").map(|zone| zone.name), Some("Foo"));
        for none in ["", "UTC", "ab+3", "nowhere", "EST5EDT4,M3.2.0", "UTC+25", "UTC+3:60", "<>3x", "+100"] {
            assert_eq!(offset(none), None, "{none}");
        }
        assert_eq!(
            (iso_offset("+3"), iso_offset("-03:30"), iso_offset("+100")),
            (Some(HOUR * 3), Some(-12_600), Some(HOUR))
        );
    }

    #[test]
    fn a_setting_has_postgresqls_normal_form() {
        for (value, normal) in [
            ("europe/berlin", Some("Europe/Berlin")),
            ("-3", Some("<-03>+03")),
            ("5.5", Some("<+05:30>-05:30")),
            ("0", Some("<+00>-00")),
            ("200", None),
            ("INTERVAL '-08:00'", Some("<-08>+08")),
            ("INTERVAL '3 days'", None),
            ("UTC-3", Some("UTC-3")),
            ("nowhere", None),
        ] {
            assert_eq!(setting(value).as_deref(), normal, "{value}");
        }
    }
}
