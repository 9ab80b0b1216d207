//! Sizes and durations as people write them: `4GiB`, `256MB`, `1.5s`, `100ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A number of bytes, written with a unit: B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (of 1024).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) usize);

/// A time span, written with a unit: us, ms, s, m, h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

/// The number and the unit behind it.
fn split(text: &str) -> Result<(f64, &str), String> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let number = number.parse().map_err(|_| format!("{text:?} does not begin with a number"))?;
    Ok((number, unit.trim()))
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text)?;
        let factor: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            "kib" => 1 << 10,
            "mib" => 1 << 20,
            "gib" => 1 << 30,
            "tib" => 1 << 40,
            _ => return Err(format!("unknown unit {unit:?}: use B, kB, MB, GB, KiB, MiB or GiB, as in 4GiB")),
        };
        // Exact up to 8 PiB, far above any machine.
        Ok(Self((number * factor as f64) as usize))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text)?;
        let seconds = match unit {
            "us" => number / 1e6,
            "ms" => number / 1e3,
            "s" => number,
            "m" | "min" => number * 60.0,
            "h" => number * 3600.0,
            _ => return Err(format!("unknown unit {unit:?}: use us, ms, s, m or h, as in 100ms")),
        };
        Duration::try_from_secs_f64(seconds).map(Self).map_err(|error| error.to_string())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KiB", "MiB", "GiB", "TiB"];
        let step = (0..units.len() - 1).find(|step| (self.0 >> (10 * step)) < 1024).unwrap_or(units.len() - 1);
        let value = self.0 as f64 / (1_u64 << (10 * step)) as f64;
        if value.fract() == 0.0 { write!(f, "{value}{}", units[step]) } else { write!(f, "{value:.1}{}", units[step]) }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sizes_read_and_print() {
        for (text, bytes, printed) in
            [("4GiB", 4 << 30, "4GiB"), ("1.5 MiB", 3 << 19, "1.5MiB"), ("64kB", 64_000, "62.5KiB"), ("7", 7, "7B")]
        {
            let parsed: Bytes = text.parse().unwrap();
            assert_eq!((parsed.0, parsed.to_string().as_str()), (bytes, printed), "{text}");
        }
        assert!("4GiBs".parse::<Bytes>().unwrap_err().contains("GiB"));
        assert!("much".parse::<Bytes>().is_err());
    }

    #[test]
    fn spans_need_a_unit() {
        assert_eq!("1.5s".parse::<Span>().unwrap().0, Duration::from_millis(1_500));
        assert_eq!("100ms".parse::<Span>().unwrap().0, Duration::from_millis(100));
        assert!("100".parse::<Span>().is_err());
        assert!("-1s".parse::<Span>().is_err());
    }
}
