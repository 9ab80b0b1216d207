//! Intervals in the four styles of `IntervalStyle`.

use arrow::datatypes::IntervalMonthDayNano;
use bytes::{BufMut, BytesMut};

use super::datetime::{write_fraction, write_two};
use super::style::IntervalStyle;

/// An interval's parts with their signs; the parts of a group (years and months; hours to microseconds) share theirs.
struct Parts {
    years: i32,
    months: i32,
    days: i32,
    hours: i64,
    minutes: i64,
    seconds: i64,
    us: i64,
}

impl Parts {
    fn of(value: IntervalMonthDayNano) -> Self {
        let us = value.nanoseconds / 1000;
        Self {
            years: value.months / 12,
            months: value.months % 12,
            days: value.days,
            hours: us / 3_600_000_000,
            minutes: us / 60_000_000 % 60,
            seconds: us / 1_000_000 % 60,
            us: us % 1_000_000,
        }
    }

    fn has_time(&self) -> bool {
        self.hours != 0 || self.minutes != 0 || self.seconds != 0 || self.us != 0
    }

    fn time_is_negative(&self) -> bool {
        self.hours < 0 || self.minutes < 0 || self.seconds < 0 || self.us < 0
    }
}

/// Writes an interval in a style.
pub(crate) fn write(value: IntervalMonthDayNano, style: IntervalStyle, out: &mut BytesMut) {
    let parts = Parts::of(value);
    match style {
        IntervalStyle::Postgres => write_postgres(&parts, out),
        IntervalStyle::PostgresVerbose => write_verbose(&parts, out),
        IntervalStyle::SqlStandard => write_sql_standard(&parts, out),
        IntervalStyle::Iso8601 => write_iso_8601(&parts, out),
    }
}

fn put_integer(value: impl itoa::Integer, out: &mut BytesMut) {
    out.put_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Seconds without a sign: `5`, `05` if padded, `5.25`.
fn put_seconds(parts: &Parts, padded: bool, out: &mut BytesMut) {
    let seconds = parts.seconds.unsigned_abs() as u32;
    if padded {
        write_two(seconds, out);
    } else {
        put_integer(seconds, out);
    }
    write_fraction(parts.us.unsigned_abs() as u32, out);
}

fn write_postgres(parts: &Parts, out: &mut BytesMut) {
    let mut empty = true;
    let mut after_negative = false;
    for (value, unit) in [(parts.years, "year"), (parts.months, "mon"), (parts.days, "day")] {
        if value == 0 {
            continue;
        }
        if !empty {
            out.put_u8(b' ');
        }
        if after_negative && value > 0 {
            out.put_u8(b'+');
        }
        put_integer(value, out);
        out.put_u8(b' ');
        out.put_slice(unit.as_bytes());
        if value != 1 {
            out.put_u8(b's');
        }
        after_negative = value < 0;
        empty = false;
    }
    if empty || parts.has_time() {
        if !empty {
            out.put_u8(b' ');
        }
        if parts.time_is_negative() {
            out.put_u8(b'-');
        } else if after_negative {
            out.put_u8(b'+');
        }
        let hours = parts.hours.unsigned_abs();
        if hours < 10 {
            out.put_u8(b'0');
        }
        put_integer(hours, out);
        out.put_u8(b':');
        write_two(parts.minutes.unsigned_abs() as u32, out);
        out.put_u8(b':');
        put_seconds(parts, true, out);
    }
}

fn write_verbose(parts: &Parts, out: &mut BytesMut) {
    out.put_u8(b'@');
    let mut empty = true;
    // The first part that isn't zero says whether all of it is "ago"; later parts are relative to that.
    let mut ago = false;
    let units = [
        (i64::from(parts.years), "year"),
        (i64::from(parts.months), "mon"),
        (i64::from(parts.days), "day"),
        (parts.hours, "hour"),
        (parts.minutes, "min"),
    ];
    for (value, unit) in units {
        if value == 0 {
            continue;
        }
        if empty {
            ago = value < 0;
        }
        let value = if ago { -value } else { value };
        out.put_u8(b' ');
        put_integer(value, out);
        out.put_u8(b' ');
        out.put_slice(unit.as_bytes());
        if value != 1 {
            out.put_u8(b's');
        }
        empty = false;
    }
    if parts.seconds != 0 || parts.us != 0 {
        let negative = parts.seconds < 0 || parts.us < 0;
        if empty {
            ago = negative;
        }
        out.put_u8(b' ');
        if negative != ago {
            out.put_u8(b'-');
        }
        put_seconds(parts, false, out);
        out.put_slice(b" sec");
        if parts.seconds.unsigned_abs() != 1 || parts.us != 0 {
            out.put_u8(b's');
        }
        empty = false;
    }
    if empty {
        out.put_slice(b" 0");
    }
    if ago {
        out.put_slice(b" ago");
    }
}

fn write_sql_standard(parts: &Parts, out: &mut BytesMut) {
    let months_negative = parts.years < 0 || parts.months < 0;
    let has_months = parts.years != 0 || parts.months != 0;
    let has_day_time = parts.days != 0 || parts.has_time();
    let any_negative = months_negative || parts.days < 0 || parts.time_is_negative();
    let any_positive =
        parts.years > 0 || parts.months > 0 || parts.days > 0 || (parts.has_time() && !parts.time_is_negative());
    if !has_months && !has_day_time {
        out.put_u8(b'0');
    } else if (any_negative && any_positive) || (has_months && has_day_time) {
        // Each part shows its sign, so that it reads back the same.
        let sign = |negative: bool| if negative { b'-' } else { b'+' };
        out.put_u8(sign(months_negative));
        put_integer(parts.years.unsigned_abs(), out);
        out.put_u8(b'-');
        put_integer(parts.months.unsigned_abs(), out);
        out.put_u8(b' ');
        out.put_u8(sign(parts.days < 0));
        put_integer(parts.days.unsigned_abs(), out);
        out.put_u8(b' ');
        out.put_u8(sign(parts.time_is_negative()));
        put_hours_minutes_seconds(parts, out);
    } else {
        if any_negative {
            out.put_u8(b'-');
        }
        if has_months {
            put_integer(parts.years.unsigned_abs(), out);
            out.put_u8(b'-');
            put_integer(parts.months.unsigned_abs(), out);
        } else {
            if parts.days != 0 {
                put_integer(parts.days.unsigned_abs(), out);
                out.put_u8(b' ');
            }
            put_hours_minutes_seconds(parts, out);
        }
    }
}

fn put_hours_minutes_seconds(parts: &Parts, out: &mut BytesMut) {
    put_integer(parts.hours.unsigned_abs(), out);
    out.put_u8(b':');
    write_two(parts.minutes.unsigned_abs() as u32, out);
    out.put_u8(b':');
    put_seconds(parts, true, out);
}

fn write_iso_8601(parts: &Parts, out: &mut BytesMut) {
    out.put_u8(b'P');
    let start = out.len();
    let put = |value: i64, unit: u8, out: &mut BytesMut| {
        if value != 0 {
            put_integer(value, out);
            out.put_u8(unit);
        }
    };
    put(i64::from(parts.years), b'Y', out);
    put(i64::from(parts.months), b'M', out);
    put(i64::from(parts.days), b'D', out);
    if parts.has_time() {
        out.put_u8(b'T');
        put(parts.hours, b'H', out);
        put(parts.minutes, b'M', out);
        if parts.seconds != 0 || parts.us != 0 {
            if parts.seconds < 0 || parts.us < 0 {
                out.put_u8(b'-');
            }
            put_seconds(parts, false, out);
            out.put_u8(b'S');
        }
    }
    if out.len() == start {
        out.put_slice(b"T0S");
    }
}
