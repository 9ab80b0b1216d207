//! Arrays from their two forms: `{1,2,NULL}` and dimensions with elements.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use engine::{Parameter, SqlType};

use super::binary::{self, Problem, fixed};
use super::{null, text};
use crate::encode::style::Zone;
use crate::error::WireError;

/// Elements of one array, or arrays of them.
const MAX_DIMENSIONS: i32 = 6;

/// From text, of any depth that the type has.
pub(super) fn of_text(literal: &str, element: &SqlType, zone: Zone) -> Result<Parameter, WireError> {
    let malformed = |detail: &str| WireError {
        detail: Some(detail.to_owned()),
        ..WireError::new("22P02", format!("malformed array literal: \"{literal}\""))
    };
    let mut reader = Reader { rest: literal.trim(), depth: 0 };
    let value = reader.array(element, zone, &malformed)?;
    if !reader.rest.is_empty() {
        return Err(malformed("Junk after closing right brace."));
    }
    Ok(value)
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn array(
        &mut self,
        element: &SqlType,
        zone: Zone,
        malformed: &dyn Fn(&str) -> WireError,
    ) -> Result<Parameter, WireError> {
        self.depth += 1;
        self.rest =
            self.rest.strip_prefix('{').ok_or_else(|| malformed("Array value must start with \"{\"."))?.trim_start();
        let mut values = Vec::new();
        if let Some(rest) = self.rest.strip_prefix('}') {
            self.rest = rest;
            return list(values, element);
        }
        loop {
            values.push(match element {
                SqlType::Array(inner) => self.array(inner, zone, malformed)?,
                _ => self.scalar(element, zone, malformed)?,
            });
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest.trim_start();
            } else if let Some(rest) = self.rest.strip_prefix('}') {
                self.rest = rest;
                return list(values, element);
            } else {
                return Err(malformed("Unexpected end of input."));
            }
        }
    }

    fn scalar(
        &mut self,
        element: &SqlType,
        zone: Zone,
        malformed: &dyn Fn(&str) -> WireError,
    ) -> Result<Parameter, WireError> {
        let mut value = String::new();
        let mut quoted = false;
        let mut escaped = false;
        let mut characters = self.rest.char_indices();
        if self.rest.starts_with('"') {
            quoted = true;
            characters.next();
        }
        let mut end = None;
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => {
                    let (_, next) = characters.next().ok_or_else(|| malformed("Unexpected end of input."))?;
                    value.push(next);
                    escaped = true;
                }
                '"' if quoted => {
                    end = Some(at + 1);
                    break;
                }
                ',' | '}' if !quoted => {
                    end = Some(at);
                    break;
                }
                '{' | '"' if !quoted => return Err(malformed("Unexpected array element.")),
                other => value.push(other),
            }
        }
        let end = end.ok_or_else(|| malformed("Unexpected end of input."))?;
        self.rest = &self.rest[end..];
        if quoted {
            return text::value(&value, element, zone);
        }
        let value = value.trim();
        if value.is_empty() {
            return Err(malformed("Unexpected \",\" or \"}\" character."));
        }
        if !escaped && value.eq_ignore_ascii_case("null") {
            return null(element);
        }
        text::value(value, element, zone)
    }
}

/// From `array_recv`'s form. Clients send the elements of an `int[]` parameter with any integer's OID or none: the type that
/// the statement gave the parameter counts.
pub(super) fn of_binary(bytes: &[u8], element: &SqlType) -> Result<Parameter, Problem> {
    let mut reader = Bytes { rest: bytes };
    let dimensions = reader.i32()?;
    let _has_nulls = reader.i32()?;
    let _element_oid = reader.i32()?;
    if !(0..=MAX_DIMENSIONS).contains(&dimensions) {
        return Err(Problem::Shape);
    }
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        lengths.push(usize::try_from(reader.i32()?).map_err(|_| Problem::Shape)?);
        let _lower_bound = reader.i32()?;
    }
    let value = match lengths.is_empty() {
        true => list(Vec::new(), element)?,
        false => reader.array(&lengths, element)?,
    };
    if !reader.rest.is_empty() {
        return Err(Problem::Shape);
    }
    Ok(value)
}

struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Problem::Shape)?;
        self.rest = rest;
        Ok(taken)
    }

    fn i32(&mut self) -> Result<i32, Problem> {
        Ok(i32::from_be_bytes(fixed(self.take(4)?)?))
    }

    fn array(&mut self, lengths: &[usize], element: &SqlType) -> Result<Parameter, Problem> {
        let (length, inner_lengths) = lengths.split_first().ok_or(Problem::Shape)?;
        let mut values = Vec::new();
        for _ in 0..*length {
            values.push(match (element, inner_lengths.is_empty()) {
                (SqlType::Array(inner), false) => self.array(inner_lengths, inner)?,
                (SqlType::Array(_), true) | (_, false) => return Err(Problem::Shape),
                (_, true) => match usize::try_from(self.i32()?) {
                    Ok(length) => binary::value(self.take(length)?, element)?,
                    Err(_) => null(element)?,
                },
            });
        }
        Ok(list(values, element)?)
    }
}

/// A list value whose inner field is the one that the type's Arrow form has.
fn list(values: Vec<Parameter>, element: &SqlType) -> Result<Parameter, WireError> {
    let internal =
        |error: &dyn std::fmt::Display| WireError::new("XX000", format!("can't make an array of {element}: {error}"));
    let DataType::List(field) = SqlType::Array(Box::new(element.clone())).data_type() else {
        return Err(internal(&"it is not carried by a list"));
    };
    let length = values.len();
    let array: ArrayRef = if values.is_empty() {
        arrow::array::new_empty_array(field.data_type())
    } else {
        Parameter::iter_to_array(values).map_err(|error| internal(&error))?
    };
    let list = ListArray::try_new(field, OffsetBuffer::from_lengths([length]), array, None)
        .map_err(|error| internal(&error))?;
    Ok(Parameter::List(Arc::new(list)))
}
