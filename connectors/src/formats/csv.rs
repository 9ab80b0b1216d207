//! Comma-separated values (RFC 4180): fields in double quotes may hold delimiters, quotes (doubled) and line breaks. A field that is
//! empty and not quoted is NULL.

use memchr::{memchr, memchr2};

use super::column::{TextKind, Values};
use super::{Fault, Slot};
use crate::error::{Error, Result};

/// Reads one line into columns.
pub(crate) struct CsvReader {
    delimiter: u8,
    /// For each field the column that it fills, if any.
    fields: Vec<Option<usize>>,
    /// Columns that no field fills.
    missing: Vec<usize>,
    /// Set when a header named the columns: then lines must have as many fields as it.
    scratch: Vec<u8>,
}

impl CsvReader {
    /// A reader whose fields are the targets in order.
    pub(crate) fn new(delimiter: u8, targets: Vec<usize>) -> Self {
        Self { delimiter, fields: targets.into_iter().map(Some).collect(), missing: Vec::new(), scratch: Vec::new() }
    }

    /// Takes the names of the fields: to the letter, else without regard to case.
    pub(crate) fn header(&mut self, line: &[u8], slots: &[Slot]) -> Result<()> {
        let targets: Vec<usize> = (0..slots.len()).filter(|index| slots[*index].include.is_none()).collect();
        let mut names = Vec::new();
        let mut rest = Some(line);
        while let Some(text) = rest {
            let (field, after) = next_field(text, self.delimiter, &mut self.scratch)
                .map_err(|what| Error::Unsupported(format!("the header line is malformed: {what}")))?;
            names.push(
                String::from_utf8_lossy(field.text(text, &self.scratch))
                    .trim()
                    .trim_start_matches('\u{feff}')
                    .to_owned(),
            );
            rest = after;
        }
        let exact = |name: &String| targets.iter().copied().find(|target| slots[*target].name == *name);
        let folded = |name: &String| {
            targets.iter().copied().find(|target| slots[*target].name.to_lowercase() == name.to_lowercase())
        };
        let exactly: Vec<Option<usize>> = names.iter().map(exact).collect();
        self.fields = names
            .iter()
            .zip(&exactly)
            .map(|(name, found)| found.or_else(|| folded(name).filter(|target| !exactly.contains(&Some(*target)))))
            .collect();
        self.missing = targets.into_iter().filter(|target| !self.fields.contains(&Some(*target))).collect();
        Ok(())
    }

    /// Appends the line as row `row`. On an error some columns have it already: the caller takes it back.
    pub(crate) fn read(
        &mut self,
        line: &[u8],
        slots: &mut [Slot],
        row: usize,
        null_on_error: bool,
    ) -> Result<(), Box<Fault>> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut rest = Some(line);
        let mut count = 0;
        while let Some(text) = rest {
            let (field, after) = next_field(text, self.delimiter, &mut self.scratch)
                .map_err(|what| Box::new(Fault::Record(format!("malformed CSV: {what}"))))?;
            rest = after;
            count += 1;
            let Some(target) = self.fields.get(count - 1) else { continue };
            let Some(target) = *target else { continue };
            let slot = &mut slots[target];
            let is_null = matches!(field, Field::Plain(0));
            let refused = match is_null {
                true => Some("is null".into()),
                false => slot_text(slot, field.text(text, &self.scratch)).err(),
            };
            let Some(reason) = refused else { continue };
            if slot.nullable && (is_null || null_on_error) {
                slot.column.truncate(row);
                slot.column.push_null();
            } else {
                let reason = if is_null { "is null, but the column is NOT NULL".into() } else { reason };
                return Err(Box::new(Fault::Column { column: target, reason }));
            }
        }
        if count != self.fields.len() {
            return Err(Box::new(Fault::Record(format!("expected {} fields, found {count}", self.fields.len()))));
        }
        for &target in &self.missing {
            let slot = &mut slots[target];
            if !slot.nullable {
                let reason = "is missing, but the column is NOT NULL".into();
                return Err(Box::new(Fault::Column { column: target, reason }));
            }
            slot.column.push_null();
        }
        Ok(())
    }
}

fn slot_text(slot: &mut Slot, text: &[u8]) -> Result<(), super::Reason> {
    if std::str::from_utf8(text).is_err() {
        return Err(slot.column.expected("bytes that are not UTF-8"));
    }
    if text.contains(&0)
        && matches!(
            slot.column.values,
            Values::Text { kind: TextKind::Plain | TextKind::AtMost(_) | TextKind::Padded(_), .. }
        )
    {
        return Err(slot.column.expected("a text with a zero byte"));
    }
    slot.column.push_text(text)
}

/// Where a field's text is.
#[derive(Clone, Copy)]
enum Field {
    /// The first bytes of the rest of the line.
    Plain(usize),
    /// Between quotes, the length behind the first.
    Quoted(usize),
    /// In the scratch buffer, because quotes were doubled.
    Copied,
}

impl Field {
    fn text<'a>(self, line: &'a [u8], scratch: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Plain(end) => &line[..end],
            Self::Quoted(end) => &line[1..end],
            Self::Copied => scratch,
        }
    }
}

/// The first field of `line`, and what follows its delimiter if there is one.
fn next_field<'a>(
    line: &'a [u8],
    delimiter: u8,
    scratch: &mut Vec<u8>,
) -> Result<(Field, Option<&'a [u8]>), &'static str> {
    if line.first() != Some(&b'"') {
        return Ok(match memchr(delimiter, line) {
            Some(end) => (Field::Plain(end), Some(&line[end + 1..])),
            None => (Field::Plain(line.len()), None),
        });
    }
    let mut copied = false;
    let (mut from, mut at) = (1, 1);
    loop {
        let Some(quote) = memchr(b'"', &line[at..]) else { return Err("a quote that isn't closed") };
        at += quote;
        if line.get(at + 1) != Some(&b'"') {
            break;
        }
        if !copied {
            scratch.clear();
            copied = true;
        }
        scratch.extend_from_slice(&line[from..=at]);
        at += 2;
        from = at;
    }
    let field = if copied {
        scratch.extend_from_slice(&line[from..at]);
        Field::Copied
    } else {
        Field::Quoted(at)
    };
    match line.get(at + 1) {
        None => Ok((field, None)),
        Some(byte) if *byte == delimiter => Ok((field, Some(&line[at + 2..]))),
        Some(_) => Err("something behind a closing quote"),
    }
}

/// The length of the first record of `text` with its line break: line breaks in quotes are part of a field. `None`: it is not complete.
pub(crate) fn record_length(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr2(b'"', b'\n', &text[at..])?;
        if text[found] == b'\n' {
            return Some(found + 1);
        }
        at = found + 1 + memchr(b'"', &text[found + 1..])? + 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use catalog::SqlType;

    use super::super::{Decoder, OnError, RecordMeta, show};
    use super::*;
    use crate::options::{Csv, DecodeOptions, Format};

    fn decoder(header: Option<&str>, on_error: OnError) -> Decoder {
        let column = |name: &str, sql_type, nullable| catalog::Column {
            name: name.to_owned(),
            sql_type,
            nullable,
            default: None,
            generated: None,
        };
        let columns = [
            column("id", SqlType::BigInt, false),
            column("name", SqlType::Text, true),
            column("at", SqlType::Timestamp, true),
        ];
        let csv = Csv { delimiter: b',', header: header.is_some() };
        let mut decoder = Decoder::new(&columns, None, &DecodeOptions { format: Format::Csv(csv), on_error }).unwrap();
        if let Some(line) = header {
            decoder.header(line.as_bytes()).unwrap();
        }
        decoder
    }

    fn table(decoder: &mut Decoder, lines: &[&str]) -> (Vec<String>, Vec<String>) {
        for line in lines {
            decoder.push(Some(line.as_bytes()), &RecordMeta::default()).unwrap();
        }
        let decoded = decoder.finish().unwrap();
        let reasons = decoded.dead_letters.into_iter().map(|letter| letter.reason).collect();
        (show::rows(decoded.delta.batch()), reasons)
    }

    #[test]
    fn fields_are_the_columns_in_order() {
        let (rows, reasons) = table(
            &mut decoder(None, OnError::DeadLetter),
            &[
                "1,a b,2024-01-01 00:00:00\r\n",
                "2,,",
                "3,\"a \"\"b\"\", c\",",
                "4,\"\",",
                "x,a,",
                ",a,",
                "5,a",
                "6,a,,",
                "7,\"a,",
                "8,\"a\"b,",
            ],
        );
        assert_eq!(rows, ["1|a b|2024-01-01T00:00:00", "2|NULL|NULL", "3|a \"b\", c|NULL", "4||NULL"]);
        assert_eq!(
            reasons,
            [
                "column \"id\": expected bigint, found \"x\"",
                "column \"id\": is null, but the column is NOT NULL",
                "expected 3 fields, found 2",
                "expected 3 fields, found 4",
                "malformed CSV: a quote that isn't closed",
                "malformed CSV: something behind a closing quote",
            ]
        );
    }

    #[test]
    fn a_header_names_them() {
        let (rows, reasons) = table(&mut decoder(Some("other,\"NAME\",id"), OnError::Null), &["z,n,1", "z,n,x"]);
        assert_eq!(rows, ["1|n|NULL"]);
        assert_eq!(reasons, ["column \"id\": expected bigint, found \"x\""]);
    }

    #[test]
    fn a_record_ends_at_a_line_break_outside_quotes() {
        assert_eq!(record_length(b"a,b\nc"), Some(4));
        assert_eq!(record_length(b"a,\"b\n\"\"c\"\nd"), Some(10));
        assert_eq!(record_length(b"a,\"b\n"), None);
        assert_eq!(record_length(b"a"), None);
    }
}
