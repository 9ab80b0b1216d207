//! The session's settings that text output depends on.

use chrono_tz::Tz;

/// How values look in text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    /// `TimeZone`.
    pub(crate) zone: Zone,
    /// `extra_float_digits`: above 0 the shortest text that reads back the same, else digits less than the type's.
    pub(crate) extra_float_digits: i32,
    /// `bytea_output`.
    pub(crate) bytea: ByteaStyle,
    /// `IntervalStyle`.
    pub(crate) interval: IntervalStyle,
}

/// In which zone a timestamptz is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Zone {
    /// Offset zero, without a look-up.
    Utc,
    /// Always so many seconds east of Greenwich.
    Fixed(i32),
    /// A zone with a history.
    Named(Tz),
}

/// Values of `bytea_output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteaStyle {
    /// `\x00ff`.
    Hex,
    /// `\000\377`.
    Escape,
}

/// Values of `IntervalStyle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntervalStyle {
    /// `1 year 2 mons 3 days 04:05:06`.
    Postgres,
    /// `@ 1 year 2 mons 3 days 4 hours 5 mins 6 secs`.
    PostgresVerbose,
    /// `+1-2 +3 +4:05:06`.
    SqlStandard,
    /// `P1Y2M3DT4H5M6S`.
    Iso8601,
}

impl Default for Style {
    fn default() -> Self {
        Self { zone: Zone::Utc, extra_float_digits: 1, bytea: ByteaStyle::Hex, interval: IntervalStyle::Postgres }
    }
}

impl Style {
    /// From a session's settings, which the engine has checked.
    pub(crate) fn of(setting: impl Fn(&str) -> Option<String>) -> Self {
        let default = Self::default();
        Self {
            zone: setting("timezone").map_or(default.zone, |name| Zone::of_name(&name)),
            extra_float_digits: setting("extra_float_digits")
                .and_then(|digits| digits.parse().ok())
                .unwrap_or(default.extra_float_digits),
            bytea: match setting("bytea_output").as_deref() {
                Some("escape") => ByteaStyle::Escape,
                _ => ByteaStyle::Hex,
            },
            interval: match setting("intervalstyle").as_deref() {
                Some("postgres_verbose") => IntervalStyle::PostgresVerbose,
                Some("sql_standard") => IntervalStyle::SqlStandard,
                Some("iso_8601") => IntervalStyle::Iso8601,
                _ => IntervalStyle::Postgres,
            },
        }
    }
}

impl Zone {
    /// The zone of that name; UTC if there is none, which SET has refused before.
    pub(crate) fn of_name(name: &str) -> Self {
        match name.parse::<Tz>() {
            Ok(Tz::UTC | Tz::Etc__UTC | Tz::Etc__GMT | Tz::GMT | Tz::Etc__UCT | Tz::UCT | Tz::Zulu | Tz::Universal) => {
                Self::Utc
            }
            Ok(zone) => Self::Named(zone),
            Err(_) => engine::PosixZone::parse(name).map_or(Self::Utc, |zone| Self::Fixed(zone.offset)),
        }
    }

    /// Seconds east of Greenwich at an instant.
    pub(crate) fn offset_seconds(self, instant_us: i64) -> i32 {
        use chrono::{DateTime, Offset, TimeZone};
        match self {
            Self::Utc => 0,
            Self::Fixed(offset) => offset,
            Self::Named(zone) => DateTime::from_timestamp_micros(instant_us)
                .map_or(0, |instant| zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc()),
        }
    }

    /// The instant at which clocks in the zone show `local_us`. In the hour that spring skips the offset before it counts, in the hour
    /// that autumn repeats the standard time, as in PostgreSQL.
    pub(crate) fn instant_of_local(self, local_us: i64) -> i64 {
        use chrono::{DateTime, LocalResult, Offset, TimeZone};
        let zone = match self {
            Self::Utc => return local_us,
            Self::Fixed(offset) => return local_us - i64::from(offset) * 1_000_000,
            Self::Named(zone) => zone,
        };
        let Some(local) = DateTime::from_timestamp_micros(local_us).map(|local| local.naive_utc()) else {
            return local_us;
        };
        let offset = match zone.offset_from_local_datetime(&local) {
            LocalResult::Single(offset) => offset.fix().local_minus_utc(),
            LocalResult::Ambiguous(first, second) => first.fix().local_minus_utc().min(second.fix().local_minus_utc()),
            LocalResult::None => {
                const HOURS_US: i64 = 3 * 3600 * 1_000_000;
                let before =
                    DateTime::from_timestamp_micros(local_us - HOURS_US).map_or(local, |before| before.naive_utc());
                match zone.offset_from_local_datetime(&before) {
                    LocalResult::Single(offset) | LocalResult::Ambiguous(offset, _) => offset.fix().local_minus_utc(),
                    LocalResult::None => 0,
                }
            }
        };
        local_us - i64::from(offset) * 1_000_000
    }
}
