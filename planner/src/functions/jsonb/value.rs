//! A jsonb value in memory: numbers as their digits, members in PostgreSQL's order.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::Write as _;

use bigdecimal::BigDecimal;
use datafusion::common::Result;
use serde_json::value::RawValue;

use crate::functions::definition::invalid_text;

/// How deep arrays and objects may be in one another: serde_json's own limit.
const MAX_DEPTH: usize = 128;

/// Digits that a number may have on either side of its point once its exponent is written out: PostgreSQL's numeric.
const MAX_DIGITS: i64 = 16_383;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// Digits with a point and a sign, without an exponent.
    Number(String),
    String(String),
    Array(Vec<Json>),
    /// Members by the length of their names, then by name; no name twice.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a text.
    ///
    /// # Errors
    /// If it is not JSON (22P02), or has a number that no numeric holds (22003).
    pub(crate) fn parse(text: &str) -> Result<Self> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Self::read(raw.get(), 0),
            Err(_) => invalid_text("json", text),
        }
    }

    fn read(json: &str, depth: usize) -> Result<Self> {
        let broken = || invalid_text("json", json);
        if depth > MAX_DEPTH {
            return broken();
        }
        Ok(match json.bytes().next() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'"') => match serde_json::from_str(json) {
                Ok(text) => Self::String(text),
                Err(_) => return broken(),
            },
            Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(json) {
                Ok(elements) => Self::Array(
                    elements.into_iter().map(|element| Self::read(element.get(), depth + 1)).collect::<Result<_>>()?,
                ),
                Err(_) => return broken(),
            },
            Some(b'{') => match serde_json::from_str::<Pairs<'_>>(json) {
                Ok(Pairs(pairs)) => {
                    let pairs = pairs.into_iter().map(|(name, value)| {
                        let value = Self::read(value.get(), depth + 1)?;
                        Ok((name.into_owned(), value))
                    });
                    Self::object(pairs.collect::<Result<_>>()?)
                }
                Err(_) => return broken(),
            },
            _ => match plain_number(json) {
                Some(digits) => Self::Number(digits),
                None => {
                    let message = "value overflows numeric format";
                    return Err(crate::Error::new(crate::error::ErrorKind::OutOfRange, message).into());
                }
            },
        })
    }

    /// An object of these members; of one name the last one stays.
    pub(crate) fn object(mut members: Vec<(String, Self)>) -> Self {
        members.reverse();
        members.sort_by(|(left, _), (right, _)| by_name(left, right));
        members.dedup_by(|(later, _), (earlier, _)| later == earlier);
        Self::Object(members)
    }

    /// The member of an object.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        let at = members.binary_search_by(|(known, _)| by_name(known, name)).ok()?;
        members.get(at).map(|(_, value)| value)
    }

    /// The value of a number.
    pub(crate) fn number(&self) -> Option<BigDecimal> {
        match self {
            Self::Number(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// What `jsonb_typeof` says.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// Whether it is neither an array nor an object.
    pub(crate) fn is_scalar(&self) -> bool {
        !matches!(self, Self::Array(_) | Self::Object(_))
    }

    /// Writes it with PostgreSQL's spacing.
    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(digits) => out.push_str(digits),
            Self::String(text) => write_string(text, out),
            Self::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    element.write(out);
                }
                out.push(']');
            }
            Self::Object(members) => {
                out.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push_str(", ");
                    }
                    write_string(name, out);
                    out.push_str(": ");
                    value.write(out);
                }
                out.push('}');
            }
        }
    }

    /// Its text.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// The order in which an object keeps its members.
fn by_name(left: &str, right: &str) -> Ordering {
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// A string as JSON, escaped where it must be.
pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' => {
                write!(out, "\\u{:04x}", u32::from(control)).expect("a String takes any text");
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// A number's digits without its exponent, as numeric keeps them: `1e3` is `1000`, `-0.0` is `0.0`. `None` if there are too many.
pub(crate) fn plain_number(text: &str) -> Option<String> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let plain = match digits.split_once(['e', 'E']) {
        None => Cow::Borrowed(digits),
        Some((mantissa, exponent)) => {
            let exponent: i64 = exponent.parse().ok()?;
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
            if exponent.abs() > 8 * MAX_DIGITS {
                return None;
            }
            let all = format!("{whole}{fraction}");
            let point = whole.len() as i64 + exponent;
            let padded = format!(
                "{}{all}{}",
                "0".repeat(usize::try_from(1 - point).unwrap_or(0)),
                "0".repeat(usize::try_from(point - all.len() as i64).unwrap_or(0))
            );
            let (before, after) = padded.split_at(usize::try_from(point.max(1)).ok()?);
            let before = before.trim_start_matches('0');
            let before = if before.is_empty() { "0" } else { before };
            Cow::Owned(if after.is_empty() { before.to_owned() } else { format!("{before}.{after}") })
        }
    };
    if plain.split('.').any(|part| part.len() as i64 > 8 * MAX_DIGITS) {
        return None;
    }
    let is_zero = plain.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    Some(format!("{}{plain}", if is_zero { "" } else { sign }))
}

/// The members of an object as they are written.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> serde::de::Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: serde::de::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Members;
        impl<'de> serde::de::Visitor<'de> for Members {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut entries: A,
            ) -> std::result::Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some((name, value)) = entries.next_entry::<String, &RawValue>()? {
                    pairs.push((Cow::Owned(name), value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits_and_lose_their_exponent() {
        for (written, plain) in [
            ("1e5", "100000"),
            ("1.50", "1.50"),
            ("-0", "0"),
            ("-0.0", "0.0"),
            ("1.0e-5", "0.000010"),
            ("12.5e1", "125"),
            ("-1.25e1", "-12.5"),
        ] {
            assert_eq!(plain_number(written).as_deref(), Some(plain), "{written}");
        }
        assert_eq!(plain_number("1e999999"), None);
    }

    #[test]
    fn a_value_is_read_and_written() {
        let json = Json::parse(r#" {"bb": [1.10,  {"x":null}], "a":"\u0041\n", "bb": true} "#).unwrap();
        assert_eq!(json.text(), r#"{"a": "A\n", "bb": true}"#);
        assert_eq!(json.member("bb"), Some(&Json::Bool(true)));
        assert!(Json::parse("[1,").is_err());
    }
}
