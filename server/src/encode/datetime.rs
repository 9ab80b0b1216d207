//! Dates and times in ISO style, which is the only `DateStyle` output.

use bytes::{BufMut, BytesMut};

use super::style::Zone;

pub(crate) const DAY_US: i64 = 86_400_000_000;
/// 2000-01-01, from which PostgreSQL counts, in days since 1970-01-01.
pub(crate) const POSTGRES_EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub(crate) const POSTGRES_EPOCH_US: i64 = POSTGRES_EPOCH_DAYS as i64 * DAY_US;

/// `date`: days since 1970-01-01.
pub(crate) fn write_date(days: i32, out: &mut BytesMut) {
    match days {
        i32::MAX => out.put_slice(b"infinity"),
        i32::MIN => out.put_slice(b"-infinity"),
        _ => {
            let before_christ = write_year_month_day(i64::from(days), out);
            if before_christ {
                out.put_slice(b" BC");
            }
        }
    }
}

/// `timestamp`: microseconds since 1970-01-01 on a clock without a zone.
pub(crate) fn write_timestamp(us: i64, out: &mut BytesMut) {
    if write_infinity(us, out) {
        return;
    }
    let before_christ = write_date_and_time(us, out);
    if before_christ {
        out.put_slice(b" BC");
    }
}

/// `timestamptz`: microseconds since 1970-01-01 UTC, shown in a zone.
pub(crate) fn write_timestamptz(us: i64, zone: Zone, out: &mut BytesMut) {
    if write_infinity(us, out) {
        return;
    }
    let offset = zone.offset_seconds(us);
    let before_christ = write_date_and_time(us.saturating_add(i64::from(offset) * 1_000_000), out);
    out.put_u8(if offset < 0 { b'-' } else { b'+' });
    let offset = offset.unsigned_abs();
    let (hours, minutes, seconds) = (offset / 3600, offset / 60 % 60, offset % 60);
    write_two(hours, out);
    if minutes != 0 || seconds != 0 {
        out.put_u8(b':');
        write_two(minutes, out);
    }
    if seconds != 0 {
        out.put_u8(b':');
        write_two(seconds, out);
    }
    if before_christ {
        out.put_slice(b" BC");
    }
}

/// `time`: microseconds since midnight.
pub(crate) fn write_time(us: i64, out: &mut BytesMut) {
    let seconds = us.div_euclid(1_000_000);
    write_two((seconds / 3600) as u32, out);
    out.put_u8(b':');
    write_two((seconds / 60 % 60) as u32, out);
    out.put_u8(b':');
    write_two((seconds % 60) as u32, out);
    write_fraction(us.rem_euclid(1_000_000) as u32, out);
}

/// `.123456` without the zeros at its end; nothing for zero.
pub(crate) fn write_fraction(us: u32, out: &mut BytesMut) {
    if us == 0 {
        return;
    }
    let mut digits = [b'0'; 6];
    let mut rest = us;
    for digit in digits.iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    let end = digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
    out.put_u8(b'.');
    out.put_slice(&digits[..end]);
}

pub(crate) fn write_two(value: u32, out: &mut BytesMut) {
    if value < 10 {
        out.put_u8(b'0');
    }
    out.put_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_infinity(us: i64, out: &mut BytesMut) -> bool {
    match us {
        i64::MAX => out.put_slice(b"infinity"),
        i64::MIN => out.put_slice(b"-infinity"),
        _ => return false,
    }
    true
}

/// Returns whether the year is before Christ.
fn write_date_and_time(us: i64, out: &mut BytesMut) -> bool {
    let before_christ = write_year_month_day(us.div_euclid(DAY_US), out);
    out.put_u8(b' ');
    write_time(us.rem_euclid(DAY_US), out);
    before_christ
}

fn write_year_month_day(days: i64, out: &mut BytesMut) -> bool {
    let (year, month, day) = civil_of_days(days);
    // There is no year 0: the one before 1 AD is 1 BC.
    let (shown, before_christ) = if year > 0 { (year, false) } else { (1 - year, true) };
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(shown).as_bytes();
    out.put_bytes(b'0', 4_usize.saturating_sub(text.len()));
    out.put_slice(text);
    out.put_u8(b'-');
    write_two(month, out);
    out.put_u8(b'-');
    write_two(day, out);
    before_christ
}

/// Year, month and day of a number of days since 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible
/// low-level date algorithms").
pub(crate) fn civil_of_days(days: i64) -> (i64, u32, u32) {
    const DAYS_PER_ERA: i64 = 146_097;
    let days = days + 719_468;
    let era = days.div_euclid(DAYS_PER_ERA);
    let day_of_era = days.rem_euclid(DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`civil_of_days`], for a date that exists.
pub(crate) fn days_of_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = i64::from(if month > 2 { month - 3 } else { month + 9 });
    let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Days of a month.
pub(crate) fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
