//! The normal form of a JSON document, as PostgreSQL's `jsonb` prints it: members sorted by length of their name, then by bytes, the
//! last of equal names kept, numbers without exponents, one blank behind `,` and `:`.

use super::scan::{self, DEPTH, Malformed};

/// Digits that a number may have when its exponent is written out: PostgreSQL's limit before the point.
const MOST_DIGITS: i64 = 131_072;

/// Appends the normal form of `document`.
pub(crate) fn normalize(document: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    scan::whole(document)?;
    let from = out.len();
    let start = scan::space(document, 0);
    value(document, start, 0, out).map(|_| ()).inspect_err(|_| out.truncate(from))
}

/// Writes the value at `at` of a document that was scanned before.
fn value(bytes: &[u8], at: usize, depth: usize, out: &mut Vec<u8>) -> Result<usize, Malformed> {
    if depth > DEPTH {
        return Err(Malformed { what: "values nested too deep", at });
    }
    match bytes[at] {
        b'"' => {
            let span = scan::string(bytes, at + 1)?;
            write_string(&unescaped(bytes, at + 1, span)?, out);
            Ok(span.end + 1)
        }
        b'{' => object(bytes, at, depth, out),
        b'[' => {
            out.push(b'[');
            let mut at = scan::space(bytes, at + 1);
            while bytes[at] != b']' {
                if bytes[at] == b',' {
                    out.extend_from_slice(b", ");
                    at = scan::space(bytes, at + 1);
                }
                at = scan::space(bytes, value(bytes, at, depth + 1, out)?);
            }
            out.push(b']');
            Ok(at + 1)
        }
        b'-' | b'0'..=b'9' => {
            let end = scan::number(bytes, at)?.end;
            write_number(&bytes[at..end], at, out)?;
            Ok(end)
        }
        _ => {
            let end = scan::value(bytes, at)?;
            out.extend_from_slice(&bytes[at..end]);
            Ok(end)
        }
    }
}

fn unescaped(bytes: &[u8], start: usize, span: scan::Span) -> Result<Vec<u8>, Malformed> {
    let inside = &bytes[start..span.end];
    let mut text = Vec::with_capacity(inside.len());
    scan::unescape(inside, &mut text)?;
    if span.escaped && text.contains(&0) {
        return Err(Malformed { what: "\\u0000, which no text can hold", at: start });
    }
    Ok(text)
}

fn object(bytes: &[u8], at: usize, depth: usize, out: &mut Vec<u8>) -> Result<usize, Malformed> {
    let mut members: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut at = scan::space(bytes, at + 1);
    while bytes[at] != b'}' {
        if bytes[at] == b',' {
            at = scan::space(bytes, at + 1);
        }
        let span = scan::string(bytes, at + 1)?;
        let name = unescaped(bytes, at + 1, span)?;
        let colon = scan::space(bytes, span.end + 1);
        let mut written = Vec::new();
        at = scan::space(bytes, value(bytes, scan::space(bytes, colon + 1), depth + 1, &mut written)?);
        members.push((name, written));
    }
    members.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    out.push(b'{');
    let mut first = true;
    for (index, (name, written)) in members.iter().enumerate() {
        if members.get(index + 1).is_some_and(|(next, _)| next == name) {
            continue;
        }
        if !first {
            out.extend_from_slice(b", ");
        }
        first = false;
        write_string(name, out);
        out.extend_from_slice(b": ");
        out.extend_from_slice(written);
    }
    out.push(b'}');
    Ok(at + 1)
}

/// Writes `text` as a JSON string, escaping only what must be.
pub(crate) fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut from = 0;
    for (at, byte) in text.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            8 => b"\\b",
            12 => b"\\f",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(&text[from..at]);
        from = at + 1;
        if escape.is_empty() {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(&text[from..]);
    out.push(b'"');
}

/// Writes a number with its exponent worked out; digits behind the point stay as many as they mean.
fn write_number(text: &[u8], at: usize, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let (negative, text) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(e) => {
            let exponent = String::from_utf8_lossy(&text[e + 1..]).parse::<i64>().unwrap_or(i64::MAX);
            (&text[..e], exponent)
        }
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(point) => (&mantissa[..point], &mantissa[point + 1..]),
        None => (mantissa, &[][..]),
    };
    if exponent.unsigned_abs() > MOST_DIGITS as u64 {
        return Err(Malformed { what: "a number with too many digits", at });
    }
    let digits: Vec<u8> = [whole, fraction].concat();
    let point = whole.len() as i64 + exponent; // where the point stands in `digits`
    let zero = digits.iter().all(|digit| *digit == b'0');
    if negative && !zero {
        out.push(b'-');
    }
    let before = if point > 0 { &digits[..digits.len().min(point as usize)] } else { &[][..] };
    let significant = &before[before.iter().take_while(|digit| **digit == b'0').count()..];
    let start = out.len();
    out.extend_from_slice(significant);
    if point > digits.len() as i64 && !zero {
        out.resize(out.len() + (point as usize - digits.len()), b'0');
    }
    if out.len() == start {
        out.push(b'0');
    }
    let places = (fraction.len() as i64 - exponent).max(0) as usize;
    if places > 0 {
        out.push(b'.');
        let from = (point.max(0) as usize).min(digits.len());
        let behind = &digits[from..];
        out.resize(out.len() + (places - behind.len()), b'0');
        out.extend_from_slice(behind);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn normal(text: &str) -> Result<String, &'static str> {
        let mut out = Vec::new();
        normalize(text.as_bytes(), &mut out).map_err(|error| error.what)?;
        Ok(String::from_utf8(out).unwrap())
    }

    /// Each pair as PostgreSQL 15 answers `select '…'::jsonb`.
    #[test]
    fn documents_look_as_in_postgresql() {
        for (text, expected) in [
            (r#"{"bb":1,"a":[1,2 , {}],"b":null,"a":true}"#, r#"{"a": true, "b": null, "bb": 1}"#),
            ("[]", "[]"),
            (" [ 1 , \"x\\u0041\\n\" ] ", "[1, \"xA\\n\"]"),
            ("1e2", "100"),
            ("1.50", "1.50"),
            ("-0", "0"),
            ("1.5e1", "15"),
            ("1.5e-3", "0.0015"),
            ("12e-1", "1.2"),
            ("0.00e0", "0.00"),
            ("100e-2", "1.00"),
            ("\"\\u0001\\/\"", "\"\\u0001/\""),
        ] {
            assert_eq!(normal(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_text_cannot_hold_is_refused() {
        assert!(normal("\"\\u0000\"").is_err());
        assert!(normal("\"\\ud800\"").is_err());
        assert!(normal("1e999999").is_err());
        assert!(normal("{").is_err());
    }
}
