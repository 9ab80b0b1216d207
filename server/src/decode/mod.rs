//! Bind's parameters as values: the text and binary forms that PostgreSQL's `typinput` and `typreceive` read.

mod array;
mod binary;
mod datetime;
mod interval;
mod json;
mod numeric;
mod text;

use engine::{Parameter, SqlType};

use crate::encode::Format;
use crate::encode::style::Zone;
use crate::error::WireError;
use crate::sqlstate;

/// Decodes one parameter. `number` is its `$n`, for messages.
pub(crate) fn parameter(
    bytes: Option<&[u8]>,
    format: Format,
    sql_type: &SqlType,
    zone: Zone,
    number: usize,
) -> Result<Parameter, WireError> {
    match (bytes, format) {
        (None, _) => null(sql_type),
        (Some(bytes), Format::Text) => text::value(utf8(bytes)?, sql_type, zone),
        (Some(bytes), Format::Binary) => binary::value(bytes, sql_type).map_err(|problem| match problem {
            binary::Problem::Shape => WireError::new(
                sqlstate::INVALID_BINARY_REPRESENTATION,
                format!("incorrect binary data format in bind parameter {number}"),
            ),
            binary::Problem::Value(error) => *error,
        }),
    }
}

/// The NULL of a type.
fn null(sql_type: &SqlType) -> Result<Parameter, WireError> {
    Parameter::try_from(&sql_type.data_type())
        .map_err(|error| WireError::new("XX000", format!("no NULL of type {sql_type}: {error}")))
}

/// Text as the client must send it: UTF-8 without zero bytes.
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str, WireError> {
    let bad = |byte: u8| {
        WireError::new(
            sqlstate::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": 0x{byte:02x}"),
        )
    };
    let text = std::str::from_utf8(bytes).map_err(|error| bad(bytes[error.valid_up_to()]))?;
    if text.contains('\0') {
        return Err(bad(0));
    }
    Ok(text)
}

/// `22P02`: text that is no value of its type.
fn invalid_text(sql_type: &SqlType, text: &str) -> WireError {
    WireError::new("22P02", format!("invalid input syntax for type {}: \"{text}\"", unmodified(sql_type)))
}

/// `22007`: text that is no date or time.
fn invalid_datetime(sql_type: &SqlType, text: &str) -> WireError {
    WireError::new("22007", format!("invalid input syntax for type {sql_type}: \"{text}\""))
}

/// `22003`: a number that its type can't hold.
fn out_of_range(sql_type: &SqlType, text: &str) -> WireError {
    WireError::new("22003", format!("value \"{text}\" is out of range for type {}", unmodified(sql_type)))
}

/// The type's name without length or precision, as messages have it.
fn unmodified(sql_type: &SqlType) -> String {
    match sql_type {
        SqlType::Numeric(_) => "numeric".into(),
        SqlType::Varchar(_) => "character varying".into(),
        SqlType::Char(_) => "character".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
