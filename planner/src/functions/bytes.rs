//! Functions on bytea: text encodings, `encode` and `decode`, bytes and bits.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BinaryViewBuilder, Int32Builder, Int64Builder, StringViewBuilder,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use catalog::SqlType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, Volatility};

use super::definition::{Definition, arrays, columnar, invalid, one_of, undefined, unexpected};
use super::text::as_views;
use crate::Error;
use crate::error::{DataError, ErrorKind};

pub(super) fn functions() -> Vec<Definition> {
    let any = |count| Signature::any(count, Volatility::Immutable);
    vec![
        Definition::new("encode", any(2), |fields| of_bytes("encode", fields, SqlType::Text), encode),
        Definition::new(
            "decode",
            one_of(&[&[DataType::Utf8View, DataType::Utf8View]], Volatility::Immutable),
            |_| Ok(SqlType::Bytea),
            decode,
        ),
        Definition::new("convert_from", any(2), |fields| of_bytes("convert_from", fields, SqlType::Text), convert_from),
        Definition::new(
            "convert_to",
            one_of(&[&[DataType::Utf8View, DataType::Utf8View]], Volatility::Immutable),
            |_| Ok(SqlType::Bytea),
            convert_to,
        ),
        Definition::new("get_byte", any(2), |fields| of_bytes("get_byte", fields, SqlType::Integer), get_byte),
        Definition::new("set_byte", any(3), |fields| of_bytes("set_byte", fields, SqlType::Bytea), set_byte),
        Definition::new("get_bit", any(2), |fields| of_bytes("get_bit", fields, SqlType::Integer), get_bit),
        Definition::new("set_bit", any(3), |fields| of_bytes("set_bit", fields, SqlType::Bytea), set_bit),
        Definition::new("bit_count", any(1), |fields| of_bytes("bit_count", fields, SqlType::BigInt), bit_count),
        Definition::new(
            "pg_client_encoding",
            one_of(&[&[]], Volatility::Stable),
            |_| Ok(SqlType::Name),
            |_| Ok(ColumnarValue::Scalar(ScalarValue::Utf8View(Some("UTF8".to_owned())))),
        ),
    ]
}

/// The type of a function whose first argument is bytea.
fn of_bytes(function: &str, fields: &[FieldRef], result: SqlType) -> Result<SqlType> {
    match fields[0].data_type() {
        // A literal that gets its type later.
        DataType::Utf8 | DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::Null => Ok(result),
        _ => undefined(function, fields),
    }
}

fn as_bytes(column: &ArrayRef) -> Result<BinaryViewArray> {
    Ok(cast(column, &DataType::BinaryView)?.as_binary_view().clone())
}

/// A text for each pair of bytes and text.
fn texts_of_bytes(args: &ScalarFunctionArgs, of: fn(&[u8], &str) -> Result<String>) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (bytes, names) = (as_bytes(&columns[0])?, as_views(&columns[1])?);
    let mut builder = StringViewBuilder::with_capacity(bytes.len());
    for (bytes, name) in bytes.iter().zip(&names) {
        match (bytes, name) {
            (Some(bytes), Some(name)) => builder.append_value(of(bytes, name)?),
            _ => builder.append_null(),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

/// Bytes for each pair of texts.
fn bytes_of_texts(args: &ScalarFunctionArgs, of: fn(&str, &str) -> Result<Vec<u8>>) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (texts, names) = (as_views(&columns[0])?, as_views(&columns[1])?);
    let mut builder = BinaryViewBuilder::with_capacity(texts.len());
    for (text, name) in texts.iter().zip(&names) {
        match (text, name) {
            (Some(text), Some(name)) => builder.append_value(of(text, name)?),
            _ => builder.append_null(),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

/// How bytes are written as text.
enum Form {
    Hex,
    Base64,
    Escape,
}

impl Form {
    fn of(name: &str) -> Result<Self> {
        match name.to_ascii_lowercase().as_str() {
            "hex" => Ok(Self::Hex),
            "base64" => Ok(Self::Base64),
            "escape" => Ok(Self::Escape),
            _ => invalid(format!("unrecognized encoding: \"{name}\"")),
        }
    }
}

fn encode(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    texts_of_bytes(args, |bytes, form| {
        Ok(match Form::of(form)? {
            Form::Hex => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            Form::Base64 => to_base64(bytes),
            Form::Escape => escaped(bytes),
        })
    })
}

fn decode(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    bytes_of_texts(args, |text, form| match Form::of(form)? {
        Form::Hex => of_hex(text),
        Form::Base64 => of_base64(text),
        Form::Escape => match crate::query::literal::escaped_bytes(text) {
            Some(bytes) => Ok(bytes),
            None => super::definition::invalid_text("bytea", text),
        },
    })
}

/// Bytes that are no ASCII, zeros and backslashes in octal digits or doubled; others as they are.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0 | 128.. => text.push_str(&format!("\\{byte:03o}")),
            byte => text.push(char::from(*byte)),
        }
    }
    text
}

fn of_hex(text: &str) -> Result<Vec<u8>> {
    let mut nibbles = Vec::with_capacity(text.len());
    for character in text.chars().filter(|character| !matches!(character, ' ' | '\n' | '\t' | '\r')) {
        match character.to_digit(16) {
            Some(nibble) => nibbles.push(nibble as u8),
            None => return invalid(format!("invalid hexadecimal digit: \"{character}\"")),
        }
    }
    if nibbles.len() % 2 == 1 {
        return invalid("invalid hexadecimal data: odd number of digits".to_owned());
    }
    Ok(nibbles.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect())
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Lines of base64 have so many characters, as in mail.
const BASE64_LINE: usize = 76;

fn to_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 4);
    let mut line = 0;
    for chunk in bytes.chunks(3) {
        if line == BASE64_LINE {
            text.push('\n');
            line = 0;
        }
        let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let digit = BASE64[(group >> (18 - 6 * index) & 63) as usize];
            text.push(if index <= chunk.len() { char::from(digit) } else { '=' });
        }
        line += 4;
    }
    text
}

fn of_base64(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut group, mut digits, mut padding) = (0_u32, 0, 0);
    for character in text.chars().filter(|character| !matches!(character, ' ' | '\n' | '\t' | '\r')) {
        let digit = match character {
            '=' if digits >= 2 => {
                padding += 1;
                0
            }
            '=' => return invalid("unexpected \"=\" while decoding base64 sequence".to_owned()),
            other => match BASE64.iter().position(|known| char::from(*known) == other) {
                Some(digit) if padding == 0 => digit as u32,
                _ => return invalid(format!("invalid symbol \"{other}\" found while decoding base64 sequence")),
            },
        };
        group = group << 6 | digit;
        digits += 1;
        if digits == 4 {
            let whole = group.to_be_bytes();
            bytes.extend(&whole[1..4 - padding.min(2)]);
            (group, digits) = (0, 0);
        }
    }
    if digits != 0 {
        return invalid("invalid base64 end sequence".to_owned());
    }
    Ok(bytes)
}

/// How text is written as bytes.
enum Encoding {
    Utf8,
    Latin1,
}

impl Encoding {
    fn of(name: &str, role: &str) -> Result<Self> {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
        match plain.to_ascii_uppercase().as_str() {
            "UTF8" | "UNICODE" | "SQLASCII" => Ok(Self::Utf8),
            "LATIN1" | "ISO88591" => Ok(Self::Latin1),
            known if known.starts_with("LATIN") || known.starts_with("ISO8859") || known.starts_with("WIN") => {
                Err(Error::unsupported(format!("the encoding \"{name}\"")).into())
            }
            _ => invalid(format!("invalid {role} encoding name \"{name}\"")),
        }
    }
}

fn convert_from(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    texts_of_bytes(args, |bytes, name| match Encoding::of(name, "source")? {
        Encoding::Latin1 => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Encoding::Utf8 => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => {
                let at = error.valid_up_to();
                let end = at + error.error_len().unwrap_or(bytes.len() - at).max(1);
                let wrong: Vec<String> = bytes[at..end].iter().map(|byte| format!("0x{byte:02x}")).collect();
                let message = format!("invalid byte sequence for encoding \"UTF8\": {}", wrong.join(" "));
                Err(Error::new(ErrorKind::InvalidEncoding, message).into())
            }
        },
    })
}

fn convert_to(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    bytes_of_texts(args, |text, name| match Encoding::of(name, "destination")? {
        Encoding::Utf8 => Ok(text.as_bytes().to_vec()),
        Encoding::Latin1 => text
            .chars()
            .map(|character| {
                u8::try_from(u32::from(character)).map_err(|_| {
                    let message = format!("character \"{character}\" has no equivalent in encoding \"LATIN1\"");
                    Error::new(ErrorKind::Data(DataError::UntranslatableCharacter), message).into()
                })
            })
            .collect(),
    })
}

/// The bytes of a row and its other arguments, or nothing if one of them is NULL.
fn rows(args: &ScalarFunctionArgs, mut of: impl FnMut(Option<(&[u8], &[i64])>) -> Result<()>) -> Result<()> {
    let columns = arrays(args)?;
    let bytes = as_bytes(&columns[0])?;
    let numbers = columns[1..].iter().map(|column| cast(column, &DataType::Int64)).collect::<Result<Vec<_>, _>>()?;
    let mut row_numbers = Vec::with_capacity(numbers.len());
    for row in 0..bytes.len() {
        if bytes.is_null(row) || numbers.iter().any(|column| column.is_null(row)) {
            of(None)?;
            continue;
        }
        row_numbers.clear();
        row_numbers.extend(numbers.iter().map(|column| column.as_primitive::<Int64Type>().value(row)));
        of(Some((bytes.value(row), &row_numbers)))?;
    }
    Ok(())
}

fn within(index: i64, length: usize) -> Result<usize> {
    match usize::try_from(index).ok().filter(|index| *index < length) {
        Some(index) => Ok(index),
        None => {
            let message = format!("index {index} out of valid range, 0..{}", length as i64 - 1);
            Err(Error::new(ErrorKind::InvalidSubscript, message).into())
        }
    }
}

fn get_byte(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let mut builder = Int32Builder::new();
    rows(args, |row| {
        match row {
            Some((bytes, [index])) => builder.append_value(i32::from(bytes[within(*index, bytes.len())?])),
            Some(_) => return unexpected("get_byte"),
            None => builder.append_null(),
        }
        Ok(())
    })?;
    columnar(args, Arc::new(builder.finish()))
}

fn get_bit(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let mut builder = Int32Builder::new();
    rows(args, |row| {
        match row {
            Some((bytes, [index])) => {
                let index = within(*index, bytes.len() * 8)?;
                builder.append_value(i32::from(bytes[index / 8] >> (index % 8) & 1));
            }
            Some(_) => return unexpected("get_bit"),
            None => builder.append_null(),
        }
        Ok(())
    })?;
    columnar(args, Arc::new(builder.finish()))
}

fn set_byte(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    changed(args, |bytes, index, value| {
        let index = within(index, bytes.len())?;
        bytes[index] = (value & 0xff) as u8;
        Ok(())
    })
}

fn set_bit(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    changed(args, |bytes, index, value| {
        let index = within(index, bytes.len() * 8)?;
        match value {
            0 => bytes[index / 8] &= !(1 << (index % 8)),
            1 => bytes[index / 8] |= 1 << (index % 8),
            _ => return invalid("new bit must be 0 or 1".to_owned()),
        }
        Ok(())
    })
}

fn changed(args: &ScalarFunctionArgs, change: fn(&mut [u8], i64, i64) -> Result<()>) -> Result<ColumnarValue> {
    let mut builder = BinaryViewBuilder::new();
    rows(args, |row| {
        match row {
            Some((bytes, [index, value])) => {
                let mut bytes = bytes.to_vec();
                change(&mut bytes, *index, *value)?;
                builder.append_value(bytes);
            }
            Some(_) => return unexpected("a change of bytes"),
            None => builder.append_null(),
        }
        Ok(())
    })?;
    columnar(args, Arc::new(builder.finish()))
}

fn bit_count(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let mut builder = Int64Builder::new();
    rows(args, |row| {
        let ones = row.map(|(bytes, _)| bytes.iter().map(|byte| i64::from(byte.count_ones())).sum());
        builder.append_option(ones);
        Ok(())
    })?;
    columnar(args, Arc::new(builder.finish()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn base64_goes_there_and_back() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(to_base64(bytes.as_bytes()), text);
            assert_eq!(of_base64(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(to_base64(&[0; 60]).lines().map(str::len).collect::<Vec<_>>(), [76, 4]);
        assert!(of_base64("Zg=").is_err() && of_base64("Z%==").is_err() && of_base64("=").is_err());
    }

    #[test]
    fn escapes_go_there_and_back() {
        let bytes = b"a\\\0\xff";
        assert_eq!(escaped(bytes), "a\\\\\\000\\377");
        assert_eq!(crate::query::literal::escaped_bytes(&escaped(bytes)).unwrap(), bytes);
    }
}
