//! Dates and times from text: ISO 8601 and PostgreSQL's own output, with or without a zone.

use crate::encode::datetime::{DAY_US, days_in_month, days_of_civil};
use crate::encode::style::Zone;

/// `date`, in days since 1970-01-01; `None` if it is no date.
pub(super) fn date(text: &str) -> Option<i32> {
    match special(text) {
        Some(Special::Infinity) => return Some(i32::MAX),
        Some(Special::MinusInfinity) => return Some(i32::MIN),
        Some(Special::Epoch) => return Some(0),
        None => {}
    }
    i32::try_from(Parsed::of(text)?.days).ok()
}

/// `time`, in microseconds since midnight.
pub(super) fn time(text: &str) -> Option<i64> {
    let mut rest = text;
    let us = clock(&mut rest)?;
    (rest.trim().is_empty() && us <= DAY_US).then_some(us)
}

/// `timestamp`, in microseconds since 1970-01-01; a zone in the text is ignored, as PostgreSQL does.
pub(super) fn timestamp(text: &str) -> Option<i64> {
    if let Some(special) = special(text) {
        return Some(special.instant());
    }
    Parsed::of(text)?.local_us()
}

/// `timestamptz`, in microseconds since 1970-01-01 UTC; a text without a zone is meant in the session's.
pub(super) fn timestamptz(text: &str, session: Zone) -> Option<i64> {
    if let Some(special) = special(text) {
        return Some(special.instant());
    }
    let parsed = Parsed::of(text)?;
    let local = parsed.local_us()?;
    match parsed.zone {
        None => Some(session.instant_of_local(local)),
        Some(Offset::Seconds(seconds)) => local.checked_sub(i64::from(seconds) * 1_000_000),
        Some(Offset::Zone(zone)) => Some(zone.instant_of_local(local)),
    }
}

enum Special {
    Infinity,
    MinusInfinity,
    Epoch,
}

impl Special {
    fn instant(&self) -> i64 {
        match self {
            Self::Infinity => i64::MAX,
            Self::MinusInfinity => i64::MIN,
            Self::Epoch => 0,
        }
    }
}

fn special(text: &str) -> Option<Special> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is("infinity") || is("+infinity") {
        Some(Special::Infinity)
    } else if is("-infinity") {
        Some(Special::MinusInfinity)
    } else if is("epoch") {
        Some(Special::Epoch)
    } else {
        None
    }
}

enum Offset {
    Seconds(i32),
    Zone(Zone),
}

struct Parsed {
    days: i64,
    time_us: i64,
    zone: Option<Offset>,
}

impl Parsed {
    /// `YYYY-MM-DD[(T| )HH:MM[:SS[.ffffff]]][zone][ BC]`, or the date as `YYYYMMDD`.
    fn of(text: &str) -> Option<Self> {
        let (mut rest, before_christ) = match text.len().checked_sub(3).and_then(|at| text.split_at_checked(at)) {
            Some((rest, era)) if era.eq_ignore_ascii_case(" bc") => (rest.trim_end(), true),
            Some((rest, era)) if era.eq_ignore_ascii_case(" ad") => (rest.trim_end(), false),
            _ => (text, false),
        };
        let (year, month, day) = calendar(&mut rest)?;
        let year = if before_christ { 1 - year } else { year };
        if (year == 0 && !before_christ) || !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
            return None;
        }
        let mut time_us = 0;
        if let Some(after) = rest.strip_prefix(['T', 't', ' ']) {
            rest = after.trim_start();
            if rest.starts_with(|first: char| first.is_ascii_digit()) {
                time_us = clock(&mut rest)?;
            }
        }
        let zone = match rest.trim() {
            "" => None,
            zone => Some(offset(zone)?),
        };
        Some(Self { days: days_of_civil(year, month, day), time_us, zone })
    }

    fn local_us(&self) -> Option<i64> {
        self.days.checked_mul(DAY_US)?.checked_add(self.time_us)
    }
}

fn calendar(rest: &mut &str) -> Option<(i64, u32, u32)> {
    let year = digits(rest, 4, 8)?;
    if year.len() == 8 && !rest.starts_with('-') {
        return Some((year[..4].parse().ok()?, year[4..6].parse().ok()?, year[6..].parse().ok()?));
    }
    if year.len() > 6 {
        return None;
    }
    *rest = rest.strip_prefix('-')?;
    let month = digits(rest, 1, 2)?.parse().ok()?;
    *rest = rest.strip_prefix('-')?;
    let day = digits(rest, 1, 2)?.parse().ok()?;
    Some((year.parse().ok()?, month, day))
}

/// `HH:MM[:SS[.ffffff]]`, up to 24:00:00; in microseconds, rounded.
fn clock(rest: &mut &str) -> Option<i64> {
    let hours: i64 = digits(rest, 1, 2)?.parse().ok()?;
    *rest = rest.strip_prefix(':')?;
    let minutes: i64 = digits(rest, 2, 2)?.parse().ok()?;
    let mut seconds = 0;
    let mut fraction_us = 0;
    if let Some(after) = rest.strip_prefix(':') {
        *rest = after;
        seconds = digits(rest, 2, 2)?.parse().ok()?;
        if let Some(after) = rest.strip_prefix('.') {
            *rest = after;
            let fraction = digits(rest, 1, 30)?;
            fraction_us = (format!("0.{fraction}").parse::<f64>().ok()? * 1e6).round() as i64;
        }
    }
    let us = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction_us;
    // A second of 60 is the next minute's first, as in PostgreSQL.
    (minutes < 60 && seconds <= 60 && us <= DAY_US).then_some(us)
}

/// `Z`, `+HH[[:]MM[[:]SS]]` or a name.
fn offset(text: &str) -> Option<Offset> {
    if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("utc") || text.eq_ignore_ascii_case("gmt") {
        return Some(Offset::Seconds(0));
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return text.parse::<chrono_tz::Tz>().ok().map(|zone| Offset::Zone(Zone::Named(zone))),
    };
    let mut rest = &text[1..];
    let mut parts = [0_i32; 3];
    for (index, part) in parts.iter_mut().enumerate() {
        if rest.is_empty() {
            break;
        }
        if index > 0 {
            rest = rest.strip_prefix(':').unwrap_or(rest);
        }
        *part = digits(&mut rest, if index == 0 { 1 } else { 2 }, 2)?.parse().ok()?;
    }
    let [hours, minutes, seconds] = parts;
    (rest.is_empty() && hours <= 15 && minutes < 60 && seconds < 60)
        .then_some(Offset::Seconds(sign * ((hours * 60 + minutes) * 60 + seconds)))
}

/// Takes between `least` and `most` digits off the front.
fn digits<'a>(rest: &mut &'a str, least: usize, most: usize) -> Option<&'a str> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least {
        return None;
    }
    let (taken, after) = rest.split_at(count);
    *rest = after;
    Some(taken)
}
