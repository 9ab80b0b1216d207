//! A value's text form into a column: what CSV fields, bare keys and the strings of JSON documents go through.

use base64::Engine;
use catalog::sql_type::NUMERIC_DEFAULT;

use super::column::{Column, TextKind, Values};
use super::{datetime, decimal, interval, json};

/// Why a value can't stand in its column: `expected bigint, found "abc"`.
pub(crate) type Reason = Box<str>;

/// The longest piece of a value that a message quotes, in characters.
const QUOTED: usize = 60;

/// `text` in quotes, cut if it is long.
pub(crate) fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    match text.char_indices().nth(QUOTED) {
        Some((cut, _)) => format!("\"{}…\"", &text[..cut]),
        None => format!("\"{text}\""),
    }
}

impl Column {
    /// `expected …, found …`, the value shown as it stands.
    #[cold]
    pub(crate) fn expected(&self, found: &str) -> Reason {
        format!("expected {}, found {found}", self.sql_type).into()
    }

    #[cold]
    fn expected_quoted(&self, text: &[u8]) -> Reason {
        self.expected(&quoted(text))
    }

    #[cold]
    fn out_of_range(&self, text: &[u8]) -> Reason {
        format!("{} is out of range for {}", String::from_utf8_lossy(&text[..text.len().min(QUOTED)]), self.sql_type)
            .into()
    }

    /// A number whose last digits would be lost, as no scale was declared to round it to.
    pub(super) fn too_many_digits(&self, text: &[u8]) -> Reason {
        let text = String::from_utf8_lossy(&text[..text.len().min(QUOTED)]);
        let digits = NUMERIC_DEFAULT.1;
        format!("{text} has more than {digits} digits behind the point, which {} holds", self.sql_type).into()
    }

    /// Appends the value that `text` (valid UTF-8) says in PostgreSQL's text form of the column's type. On an error nothing was appended.
    pub(crate) fn push_text(&mut self, text: &[u8]) -> Result<(), Reason> {
        match &mut self.values {
            Values::Text { kind: TextKind::Plain, views } => {
                views.push(text);
                return Ok(());
            }
            Values::Text { .. } | Values::Binary(_) | Values::List { .. } => return self.push_special(text),
            _ => {}
        }
        let trimmed = text.trim_ascii();
        let text_of = || std::str::from_utf8(trimmed).unwrap_or("");
        let done = match &mut self.values {
            Values::Boolean(values) => parse_boolean(trimmed).map(|value| values.push(value)),
            Values::Int16(values) => text_of().parse().ok().map(|value| values.push(value)),
            Values::Int32(values) => text_of().parse().ok().map(|value| values.push(value)),
            Values::Int64(values) => text_of().parse().ok().map(|value| values.push(value)),
            Values::UInt32(values) => text_of().parse().ok().map(|value| values.push(value)),
            Values::Float32(values) => text_of().parse().ok().map(|value| values.push(value)),
            Values::Float64(values) => text_of().parse().ok().map(|value| values.push(value)),
            Values::Decimal { values, precision, scale, exact } => {
                match decimal::of_column(trimmed, *precision, *scale, *exact) {
                    Ok(value) => {
                        values.push(value);
                        Some(())
                    }
                    Err(decimal::Trouble::TooManyDigits) => return Err(self.too_many_digits(trimmed)),
                    Err(decimal::Trouble::OutOfRange) => return Err(self.out_of_range(trimmed)),
                    Err(decimal::Trouble::NotANumber) => None,
                }
            }
            Values::Date(values) => datetime::date(trimmed).map(|value| values.push(value)),
            Values::Time(values) => datetime::time(trimmed).map(|value| values.push(value)),
            Values::Timestamp { values, utc } => {
                let zone = if *utc { datetime::Zone::Apply } else { datetime::Zone::Ignore };
                datetime::timestamp(trimmed, zone).map(|value| values.push(value))
            }
            Values::Interval(values) => interval::parse(text_of()).map(|value| values.push(value)),
            Values::Text { .. } | Values::Binary(_) | Values::List { .. } => None,
        };
        done.ok_or_else(|| {
            let integer =
                matches!(self.values, Values::Int16(_) | Values::Int32(_) | Values::Int64(_) | Values::UInt32(_));
            let digits = trimmed.strip_prefix(b"-").unwrap_or(trimmed);
            if integer && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) {
                self.out_of_range(trimmed)
            } else {
                self.expected_quoted(text)
            }
        })
    }

    /// Texts with rules of their own, and arrays.
    fn push_special(&mut self, text: &[u8]) -> Result<(), Reason> {
        match &mut self.values {
            Values::Text { kind: TextKind::AtMost(most), views } => {
                let most = *most as usize;
                if characters(text) > most {
                    return Err(too_long(&self.sql_type, text));
                }
                views.push(text);
            }
            Values::Text { kind: TextKind::Padded(most), views } => {
                let kept = text.trim_ascii_end_blanks();
                if characters(kept) > *most as usize {
                    return Err(too_long(&self.sql_type, text));
                }
                views.push(kept);
            }
            Values::Text { kind: TextKind::Uuid, views } => match uuid(text) {
                Some(canonical) => views.push(&canonical),
                None => return Err(self.expected_quoted(text)),
            },
            Values::Text { kind: TextKind::Json, views } => match json::scan::whole(text) {
                Ok(()) => views.push(text),
                Err(_) => return Err(self.expected_quoted(text)),
            },
            Values::Text { kind: TextKind::Jsonb, views } => {
                let mut normal = Vec::with_capacity(text.len());
                match json::jsonb::normalize(text, &mut normal) {
                    Ok(()) => views.push(&normal),
                    Err(_) => return Err(self.expected_quoted(text)),
                }
            }
            Values::Binary(views) => match bytea(text) {
                Some(bytes) => views.push(&bytes),
                None => return Err(self.expected_quoted(text)),
            },
            Values::List { .. } => return self.push_array(text),
            _ => {}
        }
        Ok(())
    }

    /// PostgreSQL's `{a,"b c",NULL}`, nested braces for arrays of arrays.
    fn push_array(&mut self, text: &[u8]) -> Result<(), Reason> {
        let row = self.len();
        let whole = text.trim_ascii();
        match self.array_items(whole) {
            Ok(end) if end == whole.len() => Ok(()),
            Ok(_) | Err(None) => {
                self.truncate(row);
                Err(self.expected_quoted(text))
            }
            Err(Some(reason)) => {
                self.truncate(row);
                Err(reason)
            }
        }
    }

    /// Reads `{…}` from the start of `text` into one more row and says where it ends; `None` for a malformed array.
    fn array_items(&mut self, text: &[u8]) -> Result<usize, Option<Reason>> {
        let Values::List { offsets, element, .. } = &mut self.values else { return Err(None) };
        let peek = |at: usize| text.get(at).copied();
        let blanks = |mut at: usize| {
            while text.get(at).is_some_and(u8::is_ascii_whitespace) {
                at += 1;
            }
            at
        };
        if peek(0) != Some(b'{') {
            return Err(None);
        }
        let mut at = blanks(1);
        if peek(at) == Some(b'}') {
            offsets.push(element.len() as i32);
            return Ok(at + 1);
        }
        loop {
            at = blanks(at);
            if matches!(element.values, Values::List { .. }) && peek(at) == Some(b'{') {
                at += element.array_items(&text[at..])?;
            } else {
                let mut item = Vec::new();
                let was_quoted = peek(at) == Some(b'"');
                at += usize::from(was_quoted);
                loop {
                    match peek(at).ok_or(None)? {
                        b'"' if was_quoted => {
                            at += 1;
                            break;
                        }
                        b',' | b'}' if !was_quoted => break,
                        b'{' | b'"' if !was_quoted => return Err(None),
                        b'\\' => {
                            item.push(peek(at + 1).ok_or(None)?);
                            at += 2;
                        }
                        byte => {
                            item.push(byte);
                            at += 1;
                        }
                    }
                }
                if !was_quoted {
                    item.truncate(item.trim_ascii_end().len());
                }
                if !was_quoted && item.eq_ignore_ascii_case(b"null") {
                    element.push_null();
                } else if !was_quoted && item.is_empty() {
                    return Err(None);
                } else {
                    element.push_text(&item).map_err(Some)?;
                }
            }
            at = blanks(at);
            match peek(at) {
                Some(b',') => at += 1,
                Some(b'}') => {
                    offsets.push(element.len() as i32);
                    return Ok(at + 1);
                }
                _ => return Err(None),
            }
        }
    }
}

#[cold]
fn too_long(sql_type: &catalog::SqlType, text: &[u8]) -> Reason {
    format!("{} is too long for {sql_type}", quoted(text)).into()
}

/// Characters of a text that is valid UTF-8.
pub(crate) fn characters(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

trait TrimBlanks {
    fn trim_ascii_end_blanks(&self) -> &[u8];
}

impl TrimBlanks for [u8] {
    /// Without trailing spaces, which `char(n)` pads with (tabs and newlines are characters).
    fn trim_ascii_end_blanks(&self) -> &[u8] {
        let end = self.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
        &self[..end]
    }
}

fn parse_boolean(text: &[u8]) -> Option<bool> {
    match text.to_ascii_lowercase().as_slice() {
        b"t" | b"true" | b"y" | b"yes" | b"on" | b"1" => Some(true),
        b"f" | b"false" | b"n" | b"no" | b"off" | b"0" => Some(false),
        _ => None,
    }
}

/// The 36-character form of a uuid: hyphens anywhere between groups of four, braces and upper case are read too.
pub(crate) fn uuid(text: &[u8]) -> Option<[u8; 36]> {
    let text = match text {
        [b'{', inner @ .., b'}'] => inner,
        _ => text,
    };
    let mut out = [b'-'; 36];
    let mut to = 0;
    let mut digits = 0;
    for byte in text {
        match byte {
            b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' if digits < 32 => {
                if matches!(to, 8 | 13 | 18 | 23) {
                    to += 1;
                }
                out[to] = byte.to_ascii_lowercase();
                to += 1;
                digits += 1;
            }
            b'-' if digits > 0 && digits < 32 && digits % 4 == 0 => {}
            _ => return None,
        }
    }
    (digits == 32).then_some(out)
}

/// Bytes from PostgreSQL's hex form (`\x…`), else from base64.
pub(crate) fn bytea(text: &[u8]) -> Option<Vec<u8>> {
    let Some(hex) = text.strip_prefix(b"\\x") else {
        return base64::engine::general_purpose::STANDARD.decode(text).ok();
    };
    if hex.len() % 2 != 0 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    hex.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::util::display::{ArrayFormatter, FormatOptions};
    use catalog::SqlType;

    use super::*;

    fn read(sql_type: &SqlType, text: &str) -> Result<String, String> {
        let mut column = Column::new(sql_type);
        column.push_text(text.as_bytes()).map_err(String::from).inspect_err(|_| assert_eq!(column.len(), 0))?;
        let array = column.finish().unwrap();
        let format = FormatOptions::default();
        Ok(ArrayFormatter::try_new(&array, &format).unwrap().value(0).to_string())
    }

    #[test]
    fn each_type_reads_its_text() {
        let ok = |sql_type: SqlType, text: &str, expected: &str| {
            assert_eq!(read(&sql_type, text).as_deref(), Ok(expected), "{text}")
        };
        ok(SqlType::BigInt, " 42 ", "42");
        ok(SqlType::Boolean, "Yes", "true");
        ok(SqlType::Double, "1e3", "1000.0");
        ok(SqlType::Numeric(Some((5, 2))), "1.005", "1.01");
        ok(SqlType::Uuid, "{A0EEBC99-9C0B4EF8BB6D6BB9BD380A11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
        ok(SqlType::Bytea, "\\x00fF", "00ff");
        ok(SqlType::Bytea, "AP8=", "00ff");
        ok(SqlType::Char(3), "ab   ", "ab");
        ok(SqlType::Jsonb, "{\"b\":1,\"a\": 2}", "{\"a\": 2, \"b\": 1}");
        ok(SqlType::Array(Box::new(SqlType::Text)), r#"{a, "b, c" ,NULL,"nu\"ll"}"#, "[a, b, c, , nu\"ll]");
        ok(SqlType::Array(Box::new(SqlType::Array(Box::new(SqlType::Integer)))), "{{1,2},{3}}", "[[1, 2], [3]]");
    }

    #[test]
    fn a_reason_says_what_was_expected_and_found() {
        let wrong =
            |sql_type: SqlType, text: &str, expected: &str| assert_eq!(read(&sql_type, text).unwrap_err(), expected);
        wrong(SqlType::BigInt, "abc", "expected bigint, found \"abc\"");
        wrong(SqlType::SmallInt, "40000", "40000 is out of range for smallint");
        wrong(SqlType::Numeric(Some((3, 1))), "100", "100 is out of range for numeric(3,1)");
        wrong(SqlType::Varchar(Some(2)), "äöü", "\"äöü\" is too long for character varying(2)");
        wrong(SqlType::Uuid, "123", "expected uuid, found \"123\"");
        wrong(SqlType::Timestamptz, "soon", "expected timestamp with time zone, found \"soon\"");
        wrong(SqlType::Array(Box::new(SqlType::Integer)), "{1,2", "expected integer[], found \"{1,2\"");
        wrong(SqlType::Array(Box::new(SqlType::Integer)), "{1,x}", "expected integer, found \"x\"");
    }
}
