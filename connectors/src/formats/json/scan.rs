//! The grammar of JSON (RFC 8259) over bytes: strict, without allocation, eight bytes at a time where strings are long.
//!
//! Every function takes the record and a position and says where the thing ends. Text is checked to be UTF-8 wherever a string is passed.

/// How deep arrays and objects may nest.
pub(crate) const DEPTH: usize = 128;

/// Why a record is no JSON: what is wrong, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) what: &'static str,
    pub(crate) at: usize,
}

#[cold]
fn malformed<T>(what: &'static str, at: usize) -> Result<T, Malformed> {
    Err(Malformed { what, at })
}

/// The inside of a string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Where the closing quote stands.
    pub(crate) end: usize,
    /// There are escapes in it.
    pub(crate) escaped: bool,
}

/// The first position from `at` that is no white space.
#[inline]
pub(crate) fn space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES << 7;

/// Bytes of the word that are a quote, a backslash or a control character: the lowest set bit is right, those above it may not be.
#[inline]
fn special(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    ((quote.wrapping_sub(ONES) & !quote)
        | (backslash.wrapping_sub(ONES) & !backslash)
        | (word.wrapping_sub(ONES * 0x20) & !word))
        & HIGH
}

/// Scans a string from `start`, the position behind its opening quote.
#[inline]
pub(crate) fn string(bytes: &[u8], start: usize) -> Result<Span, Malformed> {
    let mut at = start;
    let mut high = 0u64; // the high bits of all bytes passed
    let mut escaped = false;
    loop {
        if let Some(chunk) = bytes.get(at..at + 16) {
            let (low, high_half) = chunk.split_at(8);
            let first = u64::from_le_bytes(low.try_into().expect("eight bytes"));
            let second = u64::from_le_bytes(high_half.try_into().expect("eight bytes"));
            let (in_first, in_second) = (special(first), special(second));
            if in_first | in_second == 0 {
                high |= first | second;
                at += 16;
                continue;
            }
            let (word, found) = if in_first != 0 {
                (first, in_first)
            } else {
                high |= first;
                at += 8;
                (second, in_second)
            };
            high |= word & (found & found.wrapping_neg()).wrapping_sub(1);
            at += (found.trailing_zeros() / 8) as usize;
        } else {
            while bytes.get(at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
                high |= u64::from(bytes[at]);
                at += 1;
            }
        }
        match bytes.get(at) {
            Some(b'"') => break,
            Some(b'\\') => {
                escaped = true;
                at = escape(bytes, at)?;
            }
            Some(_) => return malformed("a control character in a string", at),
            None => return malformed("a string that doesn't end", start),
        }
    }
    if high & HIGH != 0
        && let Err(error) = std::str::from_utf8(&bytes[start..at])
    {
        return malformed("a string that is not UTF-8", start + error.valid_up_to());
    }
    Ok(Span { end: at, escaped })
}

/// Passes one escape sequence, which starts with the backslash at `at`.
fn escape(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') if bytes.len() >= at + 6 && bytes[at + 2..at + 6].iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
        _ => malformed("an escape that doesn't exist", at),
    }
}

/// Appends what the inside of a scanned string means. `Err`: a half of a surrogate pair stands alone.
pub(crate) fn unescape(inside: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut at = 0;
    while let Some(backslash) = memchr::memchr(b'\\', &inside[at..]) {
        out.extend_from_slice(&inside[at..at + backslash]);
        at += backslash + 2;
        let plain = match inside[at - 1] {
            b'b' => b'\x08',
            b'f' => b'\x0C',
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let first = hex(inside, at);
                at += 4;
                let code = match first {
                    0xD800..0xDC00 => {
                        let second = match inside.get(at..at + 6) {
                            Some([b'\\', b'u', ..]) => hex(inside, at + 2),
                            _ => 0,
                        };
                        if !(0xDC00..0xE000).contains(&second) {
                            return malformed("half of a surrogate pair", at - 6);
                        }
                        at += 6;
                        0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00)
                    }
                    _ => first,
                };
                let Some(character) = char::from_u32(code) else {
                    return malformed("half of a surrogate pair", at - 6);
                };
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            itself => itself,
        };
        out.push(plain);
    }
    out.extend_from_slice(&inside[at..]);
    Ok(())
}

fn hex(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().fold(0, |value, byte| value << 4 | char::from(*byte).to_digit(16).unwrap_or(0))
}

/// A number's end, and whether it is written without a point and exponent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number {
    pub(crate) end: usize,
    pub(crate) integral: bool,
}

/// Scans a number.
pub(crate) fn number(bytes: &[u8], start: usize) -> Result<Number, Malformed> {
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let whole = start + usize::from(bytes.get(start) == Some(&b'-'));
    let mut at = digits(whole);
    if at == whole || (bytes[whole] == b'0' && at > whole + 1) {
        return malformed("a number that is none", start);
    }
    let mut integral = true;
    if bytes.get(at) == Some(&b'.') {
        let end = digits(at + 1);
        if end == at + 1 {
            return malformed("a number that is none", start);
        }
        (at, integral) = (end, false);
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let exponent = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let end = digits(exponent);
        if end == exponent {
            return malformed("a number that is none", start);
        }
        (at, integral) = (end, false);
    }
    Ok(Number { end: at, integral })
}

/// Passes `true`, `false` or `null`.
pub(crate) fn literal(bytes: &[u8], at: usize, word: &'static str) -> Result<usize, Malformed> {
    match bytes[at..].starts_with(word.as_bytes()) {
        true => Ok(at + word.len()),
        false => malformed("a word that is none", at),
    }
}

/// Passes any value, which starts at `at`.
pub(crate) fn value(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    match bytes.get(at) {
        Some(b'"') => Ok(string(bytes, at + 1)?.end + 1),
        Some(b'{' | b'[') => container(bytes, at),
        Some(b't') => literal(bytes, at, "true"),
        Some(b'f') => literal(bytes, at, "false"),
        Some(b'n') => literal(bytes, at, "null"),
        Some(b'-' | b'0'..=b'9') => Ok(number(bytes, at)?.end),
        Some(_) => malformed("no value", at),
        None => malformed("the end of the record", at),
    }
}

/// Passes an array or object without recursion: one bit a level says which it is.
fn container(bytes: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut objects = 0u128;
    let mut depth = 0usize;
    let mut at = start;
    loop {
        // At the start of a value.
        match bytes.get(at) {
            Some(open @ (b'{' | b'[')) => {
                if depth == DEPTH {
                    return malformed("values nested too deep", at);
                }
                depth += 1;
                objects = objects << 1 | u128::from(*open == b'{');
                at = space(bytes, at + 1);
                match bytes.get(at) {
                    Some(b'}') if *open == b'{' => {}
                    Some(b']') if *open == b'[' => {}
                    _ => {
                        if *open == b'{' {
                            at = member(bytes, at)?;
                        }
                        continue;
                    }
                }
            }
            _ => at = space(bytes, value(bytes, at)?),
        }
        // Behind a value, or at the end of an empty container.
        loop {
            match (bytes.get(at), objects & 1) {
                (Some(b','), 1) => {
                    at = member(bytes, space(bytes, at + 1))?;
                    break;
                }
                (Some(b','), _) => {
                    at = space(bytes, at + 1);
                    break;
                }
                (Some(b'}'), 1) | (Some(b']'), 0) => {
                    depth -= 1;
                    objects >>= 1;
                    if depth == 0 {
                        return Ok(at + 1);
                    }
                    at = space(bytes, at + 1);
                }
                (Some(_), _) => return malformed("no comma and no end of an array or object", at),
                (None, _) => return malformed("the end of the record", at),
            }
        }
    }
}

/// Passes `"name" :` and the white space around it.
fn member(bytes: &[u8], at: usize) -> Result<usize, Malformed> {
    if bytes.get(at) != Some(&b'"') {
        return malformed("a name that is no string", at);
    }
    let colon = space(bytes, string(bytes, at + 1)?.end + 1);
    if bytes.get(colon) != Some(&b':') {
        return malformed("no colon behind a name", colon);
    }
    Ok(space(bytes, colon + 1))
}

/// Whether `bytes` is one JSON value and nothing else.
pub(crate) fn whole(bytes: &[u8]) -> Result<(), Malformed> {
    let end = space(bytes, value(bytes, space(bytes, 0))?);
    if end == bytes.len() { Ok(()) } else { malformed("something behind the value", end) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_json_is_passed_and_what_is_not_is_refused() {
        for good in [
            "null",
            " true ",
            "-0",
            "0.5e-3",
            "\"\\u00e4\\n\"",
            "[]",
            "{}",
            "[[],{}, [1 ,2],{\"a\":{\"b\":[null]},\"c\":\"\"}]",
            "{\"\":0}",
        ] {
            assert_eq!(whole(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in [
            "",
            "nul",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "[1,]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "[1 2]",
            "1 2",
            "{]",
            "[}",
            "\"\t\"",
            "'a'",
            "[",
            "{\"a\":1",
            "NaN",
        ] {
            assert!(whole(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(whole(b"\"\xff\"").is_err());
        assert!(whole(&[b"[".repeat(128), b"]".repeat(128)].concat()).is_ok());
        assert!(whole(&[b"[".repeat(129), b"]".repeat(129)].concat()).is_err());
    }

    #[test]
    fn escapes_mean_what_they_say() {
        let mut out = Vec::new();
        unescape(br#"a\"\\\/\b\f\n\r\t\u0041\ud83d\ude00z"#, &mut out).unwrap();
        assert_eq!(out, "a\"\\/\u{8}\u{c}\n\r\tA😀z".as_bytes());
        for lone in [r"\ud83d", r"\ud83dx", r"\ud83d\n1234", r"\ude00", r"\ud83d\u0041"] {
            assert!(unescape(lone.as_bytes(), &mut out).is_err(), "{lone}");
        }
    }

    /// JSON of any shape, with white space anywhere, sometimes damaged.
    fn document() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            any::<f64>().prop_map(|n| n.to_string()),
            any::<i64>().prop_map(|n| n.to_string()),
            "\\PC{0,24}".prop_map(|s| serde_json::to_string(&s).unwrap()),
            "[-+0-9eE.]{1,6}",
            "\"[\\\\a-fu0-9\"]{0,12}\"",
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[ {} ]", items.join(" ,"))),
                proptest::collection::vec(("[a-c]{0,2}", inner), 0..4).prop_map(|members| {
                    let members: Vec<String> =
                        members.iter().map(|(name, value)| format!("\"{name}\" :{value}")).collect();
                    format!("{{{}}}", members.join(",\n"))
                }),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn serde_json_says_the_same(text in document()) {
            let theirs = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(whole(text.as_bytes()).is_ok(), theirs, "{}", text);
        }

        #[test]
        fn strings_mean_what_serde_json_says(text in "\"([\\x00-\\x7f]|\\PC|\\\\u[0-9a-fD]{4}|\\\\[nrt\"\\\\]){0,20}\"") {
            let bytes = text.as_bytes();
            let theirs = serde_json::from_str::<String>(&text).ok();
            let ours = string(bytes, 1).ok().filter(|span| span.end + 1 == bytes.len()).and_then(|span| {
                let mut out = Vec::new();
                unescape(&bytes[1..span.end], &mut out).ok()?;
                Some(String::from_utf8(out).unwrap())
            });
            prop_assert_eq!(ours, theirs);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"{}[]\",:\\u0\x7f".to_vec())], 0..40)) {
            let _ = whole(&bytes);
        }
    }
}
