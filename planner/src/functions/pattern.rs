//! PostgreSQL's regular expressions, translated to those of the engine: newlines, word boundaries, classes, options.
//!
//! An expression without back references and look-around is matched in linear time; others by backtracking, with a bound. What remains different:
//! of several matches at one place the first alternative is taken, not the longest.

use std::collections::HashMap;

use datafusion::common::Result;
use fancy_regex::{Captures, Regex, RegexBuilder};

use super::definition::invalid;
use crate::Error;
use crate::error::ErrorKind;

/// The bytes that a compiled expression may take.
const MAX_BYTES: usize = 1 << 20;

/// The steps that matching one text may take where it backtracks.
const MAX_STEPS: usize = 10_000_000;

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Whether it matches anywhere in a text.
    pub(crate) fn is_match(&self, text: &str) -> Result<bool> {
        self.0.is_match(text).map_err(run_away)
    }

    /// How many parts in parentheses it has.
    pub(crate) fn groups(&self) -> usize {
        self.0.captures_len() - 1
    }

    /// Its first match.
    pub(crate) fn captures<'t>(&self, text: &'t str) -> Result<Option<Captures<'t>>> {
        self.0.captures(text).map_err(run_away)
    }

    /// Its matches from a byte on, one behind the other, `most` of them.
    pub(crate) fn matches<'t>(&self, text: &'t str, from: usize, most: usize) -> Result<Vec<Captures<'t>>> {
        let mut found = Vec::new();
        let mut at = from;
        while at <= text.len() && found.len() < most {
            let Some(captures) = self.0.captures_from_pos(text, at).map_err(run_away)? else { break };
            let Some(whole) = captures.get(0) else { break };
            let (start, end) = (whole.start(), whole.end());
            at = if end > start {
                end
            } else {
                // Behind an empty match goes on at the next character.
                end + text[end..].chars().next().map_or(1, char::len_utf8)
            };
            found.push(captures);
        }
        Ok(found)
    }
}

fn run_away(error: fancy_regex::Error) -> datafusion::common::DataFusionError {
    let message = format!("a regular expression takes too many steps: {error}");
    Error::new(ErrorKind::LimitExceeded, message).into()
}

/// Compiled expressions of one call, by pattern and options.
#[derive(Default)]
pub(super) struct Compiled {
    patterns: Vec<(String, String, Pattern)>,
    places: HashMap<(String, String), usize>,
    /// The one that was asked for last: mostly the next row has the same.
    last: usize,
}

impl Compiled {
    pub(super) fn get(&mut self, pattern: &str, options: &str) -> Result<&Pattern> {
        let is_last = |(text, with, _): &(String, String, Pattern)| text == pattern && with == options;
        if !self.patterns.get(self.last).is_some_and(is_last) {
            let key = (pattern.to_owned(), options.to_owned());
            self.last = match self.places.get(&key) {
                Some(place) => *place,
                None => {
                    self.patterns.push((key.0.clone(), key.1.clone(), compile(pattern, options)?));
                    self.places.insert(key, self.patterns.len() - 1);
                    self.patterns.len() - 1
                }
            };
        }
        Ok(&self.patterns[self.last].2)
    }
}

/// Compiles an expression.
///
/// # Errors
/// If it is none (2201B), or an option is unknown (22023).
pub(crate) fn compile(pattern: &str, options: &str) -> Result<Pattern> {
    let mut translation = Translation::default();
    for option in options.chars() {
        translation.option(option)?;
    }
    let mut rest = pattern;
    if let Some(literal) = rest.strip_prefix("***=") {
        translation.literal = true;
        rest = literal;
    } else if let Some(advanced) = rest.strip_prefix("***:") {
        rest = advanced;
    } else if rest.starts_with("***") {
        return wrong("quantifier operand invalid");
    }
    if !translation.literal
        && let Some((options, behind)) = rest.strip_prefix("(?").and_then(|inner| inner.split_once(')'))
        && !options.is_empty()
        && options.bytes().all(|byte| byte.is_ascii_lowercase())
    {
        for option in options.chars() {
            if translation.option(option).is_err() {
                return wrong("invalid embedded option");
            }
        }
        rest = behind;
    }
    let translated =
        if translation.literal { fancy_regex::escape(rest).into_owned() } else { translation.translate(rest)? };
    let flags = [(translation.ignores_case, 'i'), (translation.lines, 'm'), (!translation.stops, 's')];
    let flags: String = flags.into_iter().filter_map(|(set, flag)| set.then_some(flag)).collect();
    let flagged = if flags.is_empty() { translated } else { format!("(?{flags}){translated}") };
    let built = RegexBuilder::new(&flagged).delegate_size_limit(MAX_BYTES).backtrack_limit(MAX_STEPS).build();
    match built {
        Ok(regex) => Ok(Pattern(regex)),
        Err(error) => wrong(&reason(&error.to_string())),
    }
}

/// What an error of the engine comes to, in PostgreSQL's words where it has them.
fn reason(message: &str) -> String {
    let known = [
        ("Target of repeat operator", "quantifier operand invalid"),
        ("repetition operator missing expression", "quantifier operand invalid"),
        ("without closing parenthesis", "parentheses () not balanced"),
        ("Invalid character class", "brackets [] not balanced"),
        ("invalid repetition count range", "invalid repetition count(s)"),
        ("repetition quantifier expects", "invalid repetition count(s)"),
        ("size limit", "regular expression is too complex"),
        ("too complex", "regular expression is too complex"),
        ("invalid character class range", "invalid character range"),
        ("back reference", "invalid backreference number"),
    ];
    if let Some((_, words)) = known.iter().find(|(part, _)| message.contains(part)) {
        return (*words).to_owned();
    }
    let last = message.lines().last().unwrap_or_default().trim();
    last.trim_start_matches("error: ").to_lowercase()
}

fn wrong<T>(reason: &str) -> Result<T> {
    let message = format!("invalid regular expression: {reason}");
    Err(Error::new(ErrorKind::InvalidRegularExpression, message).into())
}

#[derive(Default)]
struct Translation {
    ignores_case: bool,
    /// `^` and `$` match at the ends of lines.
    lines: bool,
    /// A point, and a class that excludes characters, don't match a line break.
    stops: bool,
    /// Blanks and comments don't count.
    expanded: bool,
    literal: bool,
    out: String,
    groups: usize,
    depth: usize,
}

impl Translation {
    fn option(&mut self, option: char) -> Result<()> {
        match option {
            'i' => self.ignores_case = true,
            'c' => self.ignores_case = false,
            'n' | 'm' => (self.lines, self.stops) = (true, true),
            'p' => (self.lines, self.stops) = (false, true),
            'w' => (self.lines, self.stops) = (true, false),
            's' => (self.lines, self.stops) = (false, false),
            'x' => self.expanded = true,
            't' => self.expanded = false,
            'q' => self.literal = true,
            'e' => self.literal = false,
            'b' => return Err(Error::unsupported("a basic regular expression (option \"b\")").into()),
            other => return invalid(format!("invalid regular expression option: \"{other}\"")),
        }
        Ok(())
    }

    fn translate(&mut self, pattern: &str) -> Result<String> {
        let mut rest = pattern;
        while let Some(next) = rest.chars().next() {
            let behind = &rest[next.len_utf8()..];
            rest = match next {
                '\\' => self.escape(behind)?,
                '[' => self.class(behind)?,
                '(' => self.open(behind)?,
                ')' => {
                    match self.depth.checked_sub(1) {
                        Some(depth) => self.depth = depth,
                        None => return wrong("parentheses () not balanced"),
                    }
                    self.out.push(')');
                    behind
                }
                '{' if !behind.starts_with(|first: char| first.is_ascii_digit()) => {
                    self.out.push_str("\\{");
                    behind
                }
                '{' => {
                    let Some((bounds, behind)) = behind.split_once('}') else {
                        return wrong("braces {} not balanced");
                    };
                    self.bounds(bounds)?;
                    behind
                }
                '}' | ']' => {
                    self.out.push('\\');
                    self.out.push(next);
                    behind
                }
                blank if self.expanded && blank.is_whitespace() => behind,
                '#' if self.expanded => behind.split_once('\n').map_or("", |(_, behind)| behind),
                other => {
                    self.out.push(other);
                    behind
                }
            };
        }
        if self.depth > 0 {
            return wrong("parentheses () not balanced");
        }
        Ok(std::mem::take(&mut self.out))
    }

    fn bounds(&mut self, bounds: &str) -> Result<()> {
        let counts = bounds.split(',').map(|count| if count.is_empty() { Ok(0) } else { count.parse::<u32>() });
        match counts.collect::<std::result::Result<Vec<_>, _>>().as_deref() {
            Ok([least]) if *least <= 255 => {}
            Ok([least, most]) if *least <= 255 && *most <= 255 && (bounds.ends_with(',') || least <= most) => {}
            _ => return wrong("invalid repetition count(s)"),
        }
        self.out.push_str(&format!("{{{bounds}}}"));
        Ok(())
    }

    fn open<'p>(&mut self, behind: &'p str) -> Result<&'p str> {
        self.depth += 1;
        if let Some(comment) = behind.strip_prefix("?#") {
            self.depth -= 1;
            return Ok(comment.split_once(')').map_or("", |(_, behind)| behind));
        }
        for kind in ["?:", "?=", "?!", "?<=", "?<!"] {
            if let Some(behind) = behind.strip_prefix(kind) {
                self.out.push('(');
                self.out.push_str(kind);
                return Ok(behind);
            }
        }
        if behind.starts_with('?') || behind.starts_with('*') || behind.starts_with('+') {
            return wrong("quantifier operand invalid");
        }
        self.groups += 1;
        self.out.push('(');
        Ok(behind)
    }

    /// What is behind a backslash outside of brackets.
    fn escape<'p>(&mut self, behind: &'p str) -> Result<&'p str> {
        let Some(next) = behind.chars().next() else { return wrong("invalid escape \\ sequence") };
        let after = &behind[next.len_utf8()..];
        let words = match next {
            'm' => "\\b(?=\\w)",
            'M' => "\\b(?<=\\w)",
            'y' => "\\b",
            'Y' => "\\B",
            'A' => "\\A",
            'Z' => "\\z",
            'd' | 'D' | 'w' | 'W' | 's' | 'S' => {
                self.out.push('\\');
                self.out.push(next);
                return Ok(after);
            }
            '1'..='9' => {
                let length = behind.bytes().take_while(u8::is_ascii_digit).count();
                let number: usize = behind[..length].parse().unwrap_or(usize::MAX);
                // More digits than groups are an octal character, as is what begins with 0.
                if length == 1 || number <= self.groups {
                    if number > self.groups {
                        return wrong("invalid backreference number");
                    }
                    self.out.push_str(&format!("(?:\\{number})"));
                    return Ok(&behind[length..]);
                }
                return self.character(behind);
            }
            _ => return self.character(behind),
        };
        self.out.push_str(words);
        Ok(after)
    }

    fn character<'p>(&mut self, behind: &'p str) -> Result<&'p str> {
        let (character, after) = escaped_character(behind)?;
        push_literal(character, &mut self.out);
        Ok(after)
    }

    /// What is behind an opening bracket.
    fn class<'p>(&mut self, behind: &'p str) -> Result<&'p str> {
        for (words, boundary) in [("[:<:]]", "\\b(?=\\w)"), ("[:>:]]", "\\b(?<=\\w)")] {
            if let Some(after) = behind.strip_prefix(words) {
                self.out.push_str(boundary);
                return Ok(after);
            }
        }
        let (negated, mut rest) = behind.strip_prefix('^').map_or((false, behind), |rest| (true, rest));
        self.out.push_str(if negated { "[^" } else { "[" });
        if negated && self.stops {
            self.out.push_str("\\n");
        }
        let mut first = true;
        loop {
            let Some(next) = rest.chars().next() else { return wrong("brackets [] not balanced") };
            if next == ']' && !first {
                self.out.push(']');
                return Ok(&rest[1..]);
            }
            first = false;
            if let Some(named) = rest.strip_prefix("[:") {
                let Some((name, after)) = named.split_once(":]") else { return wrong("brackets [] not balanced") };
                self.out.push_str(named_class(name)?);
                rest = after;
                continue;
            }
            if next == '\\'
                && let Some(kind @ ('d' | 'D' | 's' | 'S' | 'w' | 'W')) = rest[1..].chars().next()
            {
                self.out.push('\\');
                self.out.push(kind);
                rest = &rest[2..];
                continue;
            }
            let (low, after) = member(rest)?;
            rest = after;
            push_literal(low, &mut self.out);
            if rest.starts_with('-') && !rest.starts_with("-]") {
                let (high, after) = member(&rest[1..])?;
                if high < low {
                    return wrong("invalid character range");
                }
                self.out.push('-');
                push_literal(high, &mut self.out);
                rest = after;
            }
        }
    }
}

/// One character within brackets.
fn member(rest: &str) -> Result<(char, &str)> {
    for (open, close) in [("[.", ".]"), ("[=", "=]")] {
        if let Some(inner) = rest.strip_prefix(open) {
            let Some((name, after)) = inner.split_once(close) else { return wrong("brackets [] not balanced") };
            let mut characters = name.chars();
            return match (characters.next(), characters.next()) {
                (Some(character), None) => Ok((character, after)),
                _ => wrong("invalid collating element"),
            };
        }
    }
    match rest.chars().next() {
        Some('\\') => escaped_character(&rest[1..]),
        Some(character) => Ok((character, &rest[character.len_utf8()..])),
        None => wrong("brackets [] not balanced"),
    }
}

/// The character that stands behind a backslash, and what is behind it.
fn escaped_character(behind: &str) -> Result<(char, &str)> {
    let Some(next) = behind.chars().next() else { return wrong("invalid escape \\ sequence") };
    let after = &behind[next.len_utf8()..];
    let numbered = |digits: &str, radix: u32, after| {
        let character = u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        character.map_or_else(|| wrong("invalid escape \\ sequence"), |character| Ok((character, after)))
    };
    let fixed = |length: usize| match after.get(..length) {
        Some(digits) => numbered(digits, 16, &after[length..]),
        None => wrong("invalid escape \\ sequence"),
    };
    Ok((
        match next {
            'a' => '\u{7}',
            'b' => '\u{8}',
            'B' => '\\',
            'e' => '\u{1b}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            'u' => return fixed(4),
            'U' => return fixed(8),
            'x' => {
                let length = after.bytes().take_while(u8::is_ascii_hexdigit).count();
                return numbered(&after[..length], 16, &after[length..]);
            }
            '0'..='7' => {
                let length = behind.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                return numbered(&behind[..length], 8, &behind[length..]);
            }
            letter if letter.is_ascii_alphanumeric() => return wrong("invalid escape \\ sequence"),
            other => other,
        },
        after,
    ))
}

fn push_literal(character: char, out: &mut String) {
    if character.is_ascii_punctuation() {
        out.push('\\');
        out.push(character);
    } else if character.is_control() || character.is_whitespace() {
        out.push_str(&format!("\\x{{{:x}}}", u32::from(character)));
    } else {
        out.push(character);
    }
}

fn named_class(name: &str) -> Result<&'static str> {
    Ok(match name {
        "alpha" => "\\p{Alphabetic}",
        "alnum" => "\\p{Alphabetic}\\p{N}",
        "digit" => "\\p{Nd}",
        "upper" => "\\p{Uppercase}",
        "lower" => "\\p{Lowercase}",
        "space" => "\\s",
        "blank" => "\\t\\p{Zs}",
        "punct" => "\\p{P}\\p{S}",
        "cntrl" => "\\p{Cc}",
        "graph" => "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}",
        "print" => "\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}\\p{Zs}",
        "xdigit" => "0-9A-Fa-f",
        "word" => "\\w",
        "ascii" => "\\x{0}-\\x{7f}",
        _ => return wrong("invalid character class"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn matches(text: &str, pattern: &str, options: &str) -> bool {
        compile(pattern, options).unwrap().is_match(text).unwrap()
    }

    #[test]
    fn expressions_mean_what_postgresqls_mean() {
        for (text, pattern, options, expected) in [
            ("a\nb", "a.b", "", true),
            ("a\nb", "a.b", "n", false),
            ("a\nb", "^b", "", false),
            ("a\nb", "(?n)^b", "", true),
            ("hello world", r"\mworld\M", "", true),
            ("helloworld", r"\mworld", "", false),
            ("hello", "[[:<:]]hello[[:>:]]", "", true),
            ("abab", r"(ab)\1", "", true),
            ("foobar", "foo(?!bar)", "", false),
            ("é", "^[[:alpha:]]$", "", true),
            ("a.c", "***=a.c", "", true),
            ("abc", "***=a.c", "", false),
            ("a]b", "a[]x]b", "", true),
            ("a-b", "a[x-]b", "", true),
            ("É", "é", "i", true),
            ("a{b", "a{b", "", true),
            ("ab", "a b # c", "x", true),
            ("a\\b", r"a[\\]b", "", true),
            ("A", r"\u0041", "", true),
        ] {
            assert_eq!(matches(text, pattern, options), expected, "{text} ~ {pattern}");
        }
    }

    #[test]
    fn what_is_no_expression_is_said() {
        for (pattern, reason) in [
            ("(", "parentheses () not balanced"),
            ("a)", "parentheses () not balanced"),
            ("[", "brackets [] not balanced"),
            ("*", "quantifier operand invalid"),
            ("a{2,1}", "invalid repetition count(s)"),
            (r"\", "invalid escape \\ sequence"),
            (r"(a)\2", "invalid backreference number"),
            ("[[:foo:]]", "invalid character class"),
        ] {
            let error = Error::from(compile(pattern, "").unwrap_err());
            assert_eq!(error.message, format!("invalid regular expression: {reason}"));
        }
    }
}
