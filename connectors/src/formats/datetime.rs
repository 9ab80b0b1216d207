//! Dates and times as text, in both directions, without a general date library: these run once or twice per record.
//!
//! Read: `YYYY-MM-DD`, then `' '` or `T`, `HH:MM[:SS[.fraction]]`, then nothing, `Z`, `UTC` or an offset (`+HH`, `+HHMM`,
//! `+HH:MM`, with an optional `:SS`). A fraction beyond microseconds is rounded.

const DAY_US: i64 = 86_400_000_000;

/// What an offset in the text does, as PostgreSQL has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// `timestamptz`: the instant, UTC when the text has no offset.
    Apply,
    /// `timestamp`: the wall clock as written; an offset is read over.
    Ignore,
}

/// Days since 1970 of a date of the proleptic Gregorian calendar.
#[inline]
pub(crate) fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (i64::from(month) + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970.
pub(crate) fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_shifted + 2) / 5 + 1) as u32;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Two digits; above 99 if either isn't one.
#[inline]
fn two(bytes: &[u8], at: usize) -> u32 {
    let (tens, ones) = (bytes[at].wrapping_sub(b'0'), bytes[at + 1].wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { 1000 } else { u32::from(tens) * 10 + u32::from(ones) }
}

/// Days since 1970 of the `YYYY-MM-DD` that `bytes` starts with, which must be at least ten bytes long.
#[inline]
fn leading_date(bytes: &[u8]) -> Option<i64> {
    let bytes: &[u8; 10] = bytes.first_chunk()?;
    let (century, years, month, day) = (two(bytes, 0), two(bytes, 2), two(bytes, 5), two(bytes, 8));
    if bytes[4] != b'-' || bytes[7] != b'-' || century > 99 || years > 99 {
        return None;
    }
    let year = i64::from(century * 100 + years);
    if year == 0 || !(1..=12).contains(&month) || day == 0 || (day > 28 && day > days_in_month(year, month)) {
        return None;
    }
    Some(days_from_civil(year, month, day))
}

/// Microseconds since midnight of the `HH:MM[:SS[.fraction]]` that `bytes` starts with, and its length.
#[inline]
fn leading_time(bytes: &[u8]) -> Option<(i64, usize)> {
    let start: &[u8; 5] = bytes.first_chunk()?;
    let (hour, minute) = (two(start, 0), two(start, 3));
    if start[2] != b':' || hour > 24 || minute > 59 {
        return None;
    }
    let mut us = i64::from(hour) * 3_600_000_000 + i64::from(minute) * 60_000_000;
    let mut length = 5;
    if bytes.len() >= 8 && bytes[5] == b':' {
        let second = two(bytes, 6);
        if second > 60 {
            return None;
        }
        us += i64::from(second) * 1_000_000;
        length = 8;
        if bytes.len() > 8 && bytes[8] == b'.' {
            let (fraction, digits) = leading_fraction(&bytes[9..])?;
            us += fraction;
            length = 9 + digits;
        }
    } else if bytes.len() > 5 && bytes[5] == b':' {
        return None;
    }
    if us > DAY_US {
        return None;
    }
    Some((us, length))
}

/// Microseconds of the digits behind a point, and how many digits there are.
#[inline]
fn leading_fraction(bytes: &[u8]) -> Option<(i64, usize)> {
    const SCALE: [i64; 7] = [1_000_000, 100_000, 10_000, 1000, 100, 10, 1];
    let mut value = 0i64;
    let mut digits = 0;
    let mut round_up = false;
    while let Some(digit) = bytes.get(digits).map(|b| b.wrapping_sub(b'0')).filter(|digit| *digit <= 9) {
        match digits {
            0..6 => value = value * 10 + i64::from(digit),
            6 => round_up = digit >= 5,
            _ => {}
        }
        digits += 1;
    }
    (digits > 0).then(|| (value * SCALE[digits.min(6)] + i64::from(round_up), digits))
}

/// Microseconds that a zone is east of UTC: `Z`, `UTC`, `+HH[[:]MM[:SS]]`, blanks before it.
fn zone_offset(bytes: &[u8]) -> Option<i64> {
    let bytes = bytes.trim_ascii();
    match bytes {
        b"Z" | b"z" | b"UTC" | b"utc" | b"GMT" => return Some(0),
        _ => {}
    }
    let (sign, digits) = match bytes.split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes, seconds) = match digits {
        [_, _] => (two(digits, 0), 0, 0),
        [_, _, _, _] => (two(digits, 0), two(digits, 2), 0),
        [_, _, b':', _, _] => (two(digits, 0), two(digits, 3), 0),
        [_, _, b':', _, _, b':', _, _] => (two(digits, 0), two(digits, 3), two(digits, 6)),
        _ => return None,
    };
    if hours > 15 || minutes > 59 || seconds > 59 {
        return None;
    }
    Some(sign * (i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(seconds)) * 1_000_000)
}

/// Microseconds since 1970 of a timestamp's text; a date alone is its midnight.
#[inline]
pub(crate) fn timestamp(text: &[u8], zone: Zone) -> Option<i64> {
    let midnight = leading_date(text)? * DAY_US;
    let rest = &text[10..];
    match rest.first() {
        None => return Some(midnight),
        Some(b' ' | b'T' | b't') => {}
        Some(_) => return None,
    }
    let (time, length) = leading_time(&rest[1..])?;
    let rest = &rest[1 + length..];
    if rest.is_empty() {
        return Some(midnight + time);
    }
    let offset = zone_offset(rest)?;
    Some(match zone {
        Zone::Apply => midnight + time - offset,
        Zone::Ignore => midnight + time,
    })
}

/// Days since 1970 of a date's text; a time behind it is read over, as PostgreSQL does.
pub(crate) fn date(text: &[u8]) -> Option<i32> {
    if text.len() > 10 {
        timestamp(text, Zone::Ignore)?;
    }
    i32::try_from(leading_date(text)?).ok()
}

/// Microseconds since midnight of a time's text.
pub(crate) fn time(text: &[u8]) -> Option<i64> {
    let (us, length) = leading_time(text)?;
    (length == text.len()).then_some(us)
}

fn push_two(out: &mut Vec<u8>, value: i64) {
    out.push(b'0' + (value / 10) as u8);
    out.push(b'0' + (value % 10) as u8);
}

/// Writes `YYYY-MM-DD`; years before 1 as PostgreSQL does, with ` BC` at the end.
pub(crate) fn write_date(out: &mut Vec<u8>, days: i64) {
    let before_christ = write_civil(out, days);
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

fn write_civil(out: &mut Vec<u8>, days: i64) -> bool {
    let (year, month, day) = civil_from_days(days);
    let shown = if year <= 0 { 1 - year } else { year };
    if shown < 10_000 {
        push_two(out, shown / 100);
        push_two(out, shown % 100);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(shown).as_bytes());
    }
    out.push(b'-');
    push_two(out, i64::from(month));
    out.push(b'-');
    push_two(out, i64::from(day));
    year <= 0
}

/// Writes `HH:MM:SS`, and the fraction without trailing zeros if there is one.
pub(crate) fn write_time(out: &mut Vec<u8>, us: i64) {
    push_two(out, us / 3_600_000_000);
    out.push(b':');
    push_two(out, us / 60_000_000 % 60);
    out.push(b':');
    push_two(out, us / 1_000_000 % 60);
    write_fraction(out, us % 1_000_000);
}

/// Writes `.` and microseconds without trailing zeros; nothing for zero.
pub(crate) fn write_fraction(out: &mut Vec<u8>, us: i64) {
    if us == 0 {
        return;
    }
    out.push(b'.');
    let (mut rest, mut unit) = (us, 100_000);
    while rest > 0 {
        out.push(b'0' + (rest / unit) as u8);
        rest %= unit;
        unit /= 10;
    }
}

/// Writes ISO 8601 with a `T`; `zone` is what stands behind it.
pub(crate) fn write_timestamp(out: &mut Vec<u8>, us: i64, zone: &[u8]) {
    let before_christ = write_civil(out, us.div_euclid(DAY_US));
    out.push(b'T');
    write_time(out, us.rem_euclid(DAY_US));
    out.extend_from_slice(zone);
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn timestamps_are_read_in_the_usual_forms() {
        let us = 1_704_164_645_678_000; // 2024-01-02 03:04:05.678 UTC
        for text in [
            "2024-01-02 03:04:05.678",
            "2024-01-02T03:04:05.678Z",
            "2024-01-02 03:04:05.678+00",
            "2024-01-02T05:34:05.678+02:30",
            "2024-01-02T02:04:05.6780004-0100",
            "2024-01-02 03:04:05.6779995 UTC",
        ] {
            assert_eq!(timestamp(text.as_bytes(), Zone::Apply), Some(us), "{text}");
        }
        assert_eq!(timestamp(b"2024-01-02T05:34:05.678+02:30", Zone::Ignore), Some(us + 9_000_000_000));
        assert_eq!(timestamp(b"1970-01-02", Zone::Apply), Some(DAY_US));
        assert_eq!(timestamp(b"1969-12-31 23:59:59.5", Zone::Apply), Some(-500_000));
        assert_eq!(timestamp(b"2024-01-02 03:04", Zone::Apply), Some(1_704_164_640_000_000));
    }

    #[test]
    fn what_is_no_timestamp_is_refused() {
        for text in [
            "",
            "2024",
            "2024-13-01",
            "2024-02-30",
            "2023-02-29 00:00:00",
            "2024-01-01x",
            "2024-01-01 25:00:00",
            "2024-01-01 00:00:0",
            "2024-01-01 00:00:00.",
            "2024-01-01 00:00:00 Europe/Berlin",
            "2024-1-1",
            "0000-01-01",
            "2024-01-01 24:00:01",
            "2024-01-01 ",
            "2024-01-01 00:61",
            "2024-01-01T00:00:00+",
            "２024-01-01",
        ] {
            assert_eq!(timestamp(text.as_bytes(), Zone::Apply), None, "{text}");
        }
    }

    #[test]
    fn times_and_dates() {
        assert_eq!(time(b"24:00:00"), Some(DAY_US));
        assert_eq!(time(b"01:02:03.000004"), Some(3_723_000_004));
        assert_eq!(time(b"01:02:03Z"), None);
        assert_eq!(date(b"2024-02-29"), Some(19_782));
        assert_eq!(date(b"2024-02-29 10:00:00"), Some(19_782));
        assert_eq!(date(b"2024-02-29 junk"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(us in -62_135_596_800_000_000i64..253_402_300_799_999_999) {
            let mut text = Vec::new();
            write_timestamp(&mut text, us, b"Z");
            prop_assert_eq!(timestamp(&text, Zone::Apply), Some(us));
            let chrono = chrono::DateTime::from_timestamp_micros(us).unwrap();
            let expected = chrono.format("%Y-%m-%dT%H:%M:%S").to_string();
            prop_assert!(text.starts_with(expected.as_bytes()));
            text.clear();
            write_date(&mut text, us.div_euclid(DAY_US));
            prop_assert_eq!(date(&text).map(i64::from), Some(us.div_euclid(DAY_US)));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = (timestamp(text.as_bytes(), Zone::Apply), date(text.as_bytes()), time(text.as_bytes()));
        }
    }
}
