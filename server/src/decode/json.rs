//! JSON texts: checked for `json`, normalised for `jsonb`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use engine::SqlType;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::error::WireError;

/// Fails if the text isn't JSON.
pub(super) fn check(text: &str, sql_type: &SqlType) -> Result<(), WireError> {
    serde_json::from_str::<IgnoredAny>(text).map(|_| ()).map_err(|error| invalid(&error, sql_type))
}

/// The text of a `jsonb` value: one key of a name (the last), shorter keys first, a blank after colon and comma.
pub(super) fn normalise(text: &str, sql_type: &SqlType) -> Result<String, WireError> {
    let value: &RawValue = serde_json::from_str(text).map_err(|error| invalid(&error, sql_type))?;
    let mut out = String::with_capacity(text.len() + 16);
    write(value, &mut out).map_err(|error| invalid(&error, sql_type))?;
    Ok(out)
}

fn invalid(error: &serde_json::Error, sql_type: &SqlType) -> WireError {
    WireError {
        detail: Some(error.to_string()),
        ..WireError::new("22P02", format!("invalid input syntax for type {sql_type}"))
    }
}

fn write(value: &RawValue, out: &mut String) -> Result<(), serde_json::Error> {
    let text = value.get();
    match text.as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(text)?;
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
            out.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                out.push_str(&serde_json::to_string(&key)?);
                out.push_str(": ");
                write(value, out)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            let elements: Vec<&RawValue> = serde_json::from_str(text)?;
            out.push('[');
            for (index, element) in elements.into_iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                write(element, out)?;
            }
            out.push(']');
        }
        Some(b'"') => {
            let text: String = serde_json::from_str(text)?;
            out.push_str(&serde_json::to_string(&text)?);
        }
        _ => out.push_str(text),
    }
    Ok(())
}
