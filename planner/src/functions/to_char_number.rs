//! `to_char` of numbers: a pattern is read into counts and flags, then walked beside the number's digits.
//!
//! The walk follows PostgreSQL's, position by position, so that its corners (`FM`, `PR`, a sign in the middle) come out as they do there.

use datafusion::common::Result;

use crate::Error;
use crate::error::ErrorKind;

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Nine,
    Zero,
    Point,
    Comma,
    /// `S`
    Sign,
    /// `SG`
    SignHere,
    /// `MI`
    Minus,
    /// `PL`
    Plus,
    /// `PR`
    Brackets,
    /// `RN`; true for small letters.
    Roman(bool),
    /// `V`
    Shift,
    /// `TH`; true for small letters.
    Ordinal(bool),
    /// `EEEE`
    Scientific,
    /// `L`
    Currency,
    Literal(String),
    Nothing,
}

const PIECES: &[(&str, Piece)] = &[
    ("EEEE", Piece::Scientific),
    ("SG", Piece::SignHere),
    ("MI", Piece::Minus),
    ("PL", Piece::Plus),
    ("PR", Piece::Brackets),
    ("RN", Piece::Roman(false)),
    ("TH", Piece::Ordinal(false)),
    ("9", Piece::Nine),
    ("0", Piece::Zero),
    (".", Piece::Point),
    ("D", Piece::Point),
    (",", Piece::Comma),
    ("G", Piece::Comma),
    ("S", Piece::Sign),
    ("V", Piece::Shift),
    ("L", Piece::Currency),
    ("B", Piece::Nothing),
];

/// Where `S` writes the sign.
#[derive(Clone, Copy, Debug, PartialEq)]
enum SignPlace {
    None,
    Before,
    After,
}

/// A pattern for numbers.
#[derive(Clone, Debug)]
pub(super) struct NumberPattern {
    pieces: Vec<Piece>,
    fill_off: bool,
    /// Digits before the point, and behind it.
    before: usize,
    after: usize,
    /// Powers of ten by which `V` multiplies.
    shift: usize,
    /// The position of the first `0`, and how many digits there are up to the last one.
    zero_start: Option<usize>,
    zero_end: usize,
    point: bool,
    sign: SignPlace,
    plus: bool,
    minus: bool,
    brackets: bool,
    roman: bool,
    scientific: bool,
}

fn wrong<T>(message: &str) -> Result<T> {
    Err(Error::new(ErrorKind::Syntax, message).into())
}

impl NumberPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Pieces that don't go together (42601).
    pub(super) fn parse(pattern: &str) -> Result<Self> {
        let mut read = Self {
            pieces: Vec::new(),
            fill_off: false,
            before: 0,
            after: 0,
            shift: 0,
            zero_start: None,
            zero_end: 0,
            point: false,
            sign: SignPlace::None,
            plus: false,
            minus: false,
            brackets: false,
            roman: false,
            scientific: false,
        };
        let mut digits_before_sign = None;
        let mut shifts = false;
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            if let Some(quoted) = rest.strip_prefix('"') {
                let end = quoted.find('"').unwrap_or(quoted.len());
                read.pieces.push(Piece::Literal(quoted[..end].to_owned()));
                rest = quoted.get(end + 1..).unwrap_or_default();
                continue;
            }
            if rest.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("FM")) {
                read.fill_off = true;
                rest = &rest[2..];
                continue;
            }
            let known = PIECES
                .iter()
                .find(|(name, _)| rest.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name)));
            let Some((name, piece)) = known else {
                let escaped = first == '\\' && rest[1..].starts_with('"');
                read.pieces.push(Piece::Literal(if escaped { '"' } else { first }.to_string()));
                rest = &rest[first.len_utf8() + usize::from(escaped)..];
                continue;
            };
            let small = rest.starts_with(|first: char| first.is_ascii_lowercase());
            rest = &rest[name.len()..];
            if read.scientific && *piece != Piece::Scientific {
                return wrong("\"EEEE\" must be the last pattern used");
            }
            match piece {
                Piece::Nine | Piece::Zero if read.brackets => {
                    return wrong(&format!("\"{name}\" must be ahead of \"PR\""));
                }
                Piece::Nine if shifts => read.shift += 1,
                Piece::Nine if read.point => read.after += 1,
                Piece::Nine => read.before += 1,
                Piece::Zero => {
                    if read.zero_start.is_none() && !read.point {
                        read.zero_start = Some(read.before);
                    }
                    if read.point {
                        read.after += 1;
                    } else {
                        read.before += 1;
                    }
                    read.zero_end = read.before + read.after;
                }
                Piece::Point if read.point => return wrong("multiple decimal points"),
                Piece::Point if shifts => return wrong("cannot use \"V\" and decimal point together"),
                Piece::Point => read.point = true,
                Piece::Sign if read.sign != SignPlace::None => return wrong("cannot use \"S\" twice"),
                Piece::Sign if read.plus || read.minus || read.brackets => {
                    return wrong("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together");
                }
                Piece::Sign if read.point => read.sign = SignPlace::After,
                Piece::Sign => {
                    read.sign = SignPlace::Before;
                    digits_before_sign = Some(read.before);
                }
                Piece::Minus | Piece::Plus | Piece::SignHere if read.sign != SignPlace::None => {
                    return wrong(&format!("cannot use \"S\" and \"{name}\" together"));
                }
                Piece::Minus => read.minus = true,
                Piece::Plus => read.plus = true,
                Piece::SignHere => (read.plus, read.minus) = (true, true),
                Piece::Brackets if read.sign != SignPlace::None || read.plus || read.minus => {
                    return wrong("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together");
                }
                Piece::Brackets => read.brackets = true,
                Piece::Shift if read.point => return wrong("cannot use \"V\" and decimal point together"),
                Piece::Shift => shifts = true,
                Piece::Roman(_) => read.roman = true,
                Piece::Scientific => read.scientific = true,
                _ => {}
            }
            read.pieces.push(match piece {
                Piece::Roman(_) => Piece::Roman(small),
                Piece::Ordinal(_) => Piece::Ordinal(small),
                other => other.clone(),
            });
        }
        if read.sign == SignPlace::Before && digits_before_sign == Some(read.before) {
            read.sign = SignPlace::After;
        }
        Ok(read)
    }

    /// Writes a number that is given in plain digits; `float` of so many digits, if it is one.
    pub(super) fn write(&self, number: &str, float_digits: Option<usize>) -> String {
        if self.pieces.is_empty() {
            return String::new();
        }
        if self.roman {
            return self.roman_numerals(number);
        }
        if self.scientific {
            return self.exponential(number);
        }
        let (mut before, mut after) = (self.before, self.after);
        let shifted = shifted(number, self.shift);
        before += self.shift;
        if let Some(digits) = float_digits {
            // A double has 15 digits to show.
            let whole = shifted.trim_start_matches('-').split('.').next().unwrap_or_default().len();
            after = if whole >= digits { 0 } else { after.min(digits - whole) };
        }
        let is_number = shifted.bytes().any(|byte| byte.is_ascii_digit());
        let (negative, whole, fraction) = if is_number {
            super::to_char::rounded(&shifted, after)
        } else {
            let negative = shifted.starts_with('-');
            (negative, shifted.trim_start_matches('-').to_owned(), String::new())
        };
        let whole = match whole.trim_start_matches('0') {
            "" => "0".to_owned(),
            digits if is_number => digits.to_owned(),
            _ => whole,
        };
        let spaces = before.saturating_sub(whole.len());
        let digits: Vec<char> = if whole.len() > before {
            let all = "#".repeat(before);
            if self.after > 0 { format!("{all}.{}", "#".repeat(self.after)) } else { all }
        } else if after > 0 && is_number {
            format!("{whole}.{fraction}")
        } else {
            whole
        }
        .chars()
        .collect();
        Walk::new(self, digits, negative, spaces, before, after).run()
    }

    fn roman_numerals(&self, number: &str) -> String {
        const NUMERALS: [(u32, &str); 13] = [
            (1000, "M"),
            (900, "CM"),
            (500, "D"),
            (400, "CD"),
            (100, "C"),
            (90, "XC"),
            (50, "L"),
            (40, "XL"),
            (10, "X"),
            (9, "IX"),
            (5, "V"),
            (4, "IV"),
            (1, "I"),
        ];
        let (negative, whole, _) = super::to_char::rounded(number, 0);
        let mut value: u32 = whole.parse().unwrap_or(0);
        if negative || !(1..=3999).contains(&value) {
            return "#".repeat(15);
        }
        let mut text = String::new();
        for (weight, letters) in NUMERALS {
            while value >= weight {
                text.push_str(letters);
                value -= weight;
            }
        }
        if self.pieces.contains(&Piece::Roman(true)) {
            text = text.to_lowercase();
        }
        if self.fill_off { text } else { format!("{text:>15}") }
    }

    /// `1.235e+04`
    fn exponential(&self, number: &str) -> String {
        let (negative, digits) = number.strip_prefix('-').map_or((false, number), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{fraction}");
        let first = all.find(|digit| digit != '0');
        let mut exponent = first.map_or(0, |first| whole.len() as i64 - 1 - first as i64);
        let significant = &all[first.unwrap_or(0)..];
        let (head, tail) = significant.split_at(1.min(significant.len()));
        let (_, mut lead, mut rest) = super::to_char::rounded(&format!("{head}.{tail}"), self.after);
        if lead.len() > 1 {
            // Rounded up to the next power of ten.
            exponent += 1;
            rest = format!("0{rest}")[..self.after].to_owned();
            lead.truncate(1);
        }
        let mantissa = if self.after > 0 { format!("{lead}.{rest}") } else { lead };
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}{mantissa}e{sign}{:02}", if negative { '-' } else { ' ' }, exponent.abs())
    }
}

/// A number with its point moved to the right.
fn shifted(number: &str, places: usize) -> String {
    if places == 0 {
        return number.to_owned();
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let padded = format!("{fraction:0<places$}");
    let (moved, left) = padded.split_at(places);
    if left.is_empty() { format!("{whole}{moved}") } else { format!("{whole}{moved}.{left}") }
}

/// One number on its way through a pattern.
struct Walk<'a> {
    pattern: &'a NumberPattern,
    digits: Vec<char>,
    /// The next of `digits`.
    at: usize,
    negative: bool,
    /// Positions before the number's first digit.
    spaces: usize,
    /// Positions that are behind.
    position: usize,
    count: usize,
    sign_written: bool,
    brackets: bool,
    /// Whether a digit has been written.
    inside: bool,
    /// With `FM`: the last of `digits` that is worth writing.
    last: Option<usize>,
    out: String,
}

impl<'a> Walk<'a> {
    fn new(
        pattern: &'a NumberPattern,
        digits: Vec<char>,
        negative: bool,
        spaces: usize,
        before: usize,
        after: usize,
    ) -> Self {
        let fill_off = pattern.fill_off;
        let own_sign = pattern.plus || pattern.minus;
        let brackets = pattern.brackets && (negative || !fill_off);
        let sign_written =
            if own_sign { pattern.minus } else { !negative && fill_off && pattern.sign == SignPlace::None };
        let point = digits.iter().position(|digit| *digit == '.');
        let last = point.filter(|_| fill_off && pattern.point).map(|point| {
            let significant = digits.iter().rposition(|digit| *digit != '0').unwrap_or(point).max(point);
            if pattern.zero_end > spaces {
                let zero = (digits.len() - 1).min(pattern.zero_end - spaces);
                significant.max(zero)
            } else {
                significant
            }
        });
        let count = (after + before).saturating_sub(1) + usize::from(!sign_written && spaces == 0);
        Self {
            pattern,
            digits,
            at: 0,
            negative,
            spaces,
            position: 0,
            count,
            sign_written,
            brackets,
            inside: false,
            last,
            out: String::new(),
        }
    }

    fn run(mut self) -> String {
        let fill_off = self.pattern.fill_off;
        for piece in &self.pattern.pieces {
            match piece {
                Piece::Nine | Piece::Zero | Piece::Point => self.digit(piece),
                Piece::Comma if self.inside => self.out.push(','),
                Piece::Comma if fill_off => {}
                Piece::Comma => self.out.push(' '),
                Piece::Currency => self.out.push(' '),
                Piece::Minus => match (self.negative, fill_off) {
                    (true, _) => self.out.push('-'),
                    (false, true) => {}
                    (false, false) => self.out.push(' '),
                },
                Piece::Plus => match (self.negative, fill_off) {
                    (false, _) => self.out.push('+'),
                    (true, true) => {}
                    (true, false) => self.out.push(' '),
                },
                Piece::SignHere => self.out.push(if self.negative { '-' } else { '+' }),
                Piece::Ordinal(small) => {
                    if !self.negative && !self.pattern.point && self.digits.first() != Some(&'#') {
                        let value: String = self.digits.iter().collect();
                        let ending = ordinal(&value);
                        self.out.push_str(&if *small { ending.to_owned() } else { ending.to_uppercase() });
                    }
                }
                Piece::Literal(text) => self.out.push_str(text),
                Piece::Sign | Piece::Brackets | Piece::Roman(_) | Piece::Shift | Piece::Scientific | Piece::Nothing => {
                }
            }
        }
        self.out
    }

    /// Whether a zero before the point is to be left blank.
    fn is_blank_zero(&self) -> bool {
        self.pattern.zero_start.is_none()
            && self.at == 0
            && self.digits.first() == Some(&'0')
            && self.pattern.after != 0
    }

    /// Whether nothing behind the point is worth writing.
    fn ends_at_point(&self) -> bool {
        self.last.is_some_and(|last| self.digits.get(last) == Some(&'.'))
    }

    fn digit(&mut self, piece: &Piece) {
        let fill_off = self.pattern.fill_off;
        let has_zero = self.pattern.zero_start.is_some();
        let zero_start = self.pattern.zero_start.unwrap_or(usize::MAX);
        let begins = self.position >= self.spaces || has_zero && zero_start == self.position;
        if !self.sign_written && begins && (!self.is_blank_zero() || self.ends_at_point()) {
            self.sign();
        }
        if self.position < self.spaces && (zero_start > self.position || !has_zero) {
            if !fill_off {
                self.out.push(' ');
            }
        } else if self.position < self.spaces {
            self.out.push('0');
            self.inside = true;
        } else {
            match self.digits.get(self.at) {
                Some('.') => self.out.push('.'),
                Some(digit) => {
                    if self.last.is_some_and(|last| self.at > last) && *piece != Piece::Zero {
                    } else if self.is_blank_zero() {
                        if !fill_off {
                            self.out.push(' ');
                        } else if self.ends_at_point() {
                            self.out.push('0');
                        }
                    } else {
                        self.out.push(*digit);
                        self.inside = true;
                    }
                }
                None => {}
            }
            self.at += usize::from(self.at < self.digits.len());
        }
        let mut end = self.count + usize::from(self.spaces > 0) + usize::from(self.pattern.point);
        if self.last == Some(self.at) {
            end = self.position;
        }
        if self.position + 1 == end {
            if self.sign_written && self.brackets {
                self.out.push(if self.negative { '>' } else { ' ' });
            } else if self.pattern.sign == SignPlace::After {
                self.out.push(if self.negative { '-' } else { '+' });
            }
        }
        self.position += 1;
    }

    fn sign(&mut self) {
        match self.pattern.sign {
            SignPlace::Before => self.out.push(if self.negative { '-' } else { '+' }),
            SignPlace::After => return,
            SignPlace::None if self.brackets => self.out.push(if self.negative { '<' } else { ' ' }),
            SignPlace::None if self.negative => self.out.push('-'),
            SignPlace::None if !self.pattern.fill_off => self.out.push(' '),
            SignPlace::None => {}
        }
        self.sign_written = true;
    }
}

/// `st`, `nd`, `rd`, `th`.
fn ordinal(digits: &str) -> &'static str {
    let tens = digits.len().checked_sub(2).and_then(|at| digits.as_bytes().get(at));
    match (tens, digits.bytes().last()) {
        (Some(b'1'), _) => "th",
        (_, Some(b'1')) => "st",
        (_, Some(b'2')) => "nd",
        (_, Some(b'3')) => "rd",
        _ => "th",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_postgresql_writes_them() {
        for (number, pattern, expected) in [
            ("1234.5", "9,999.99", " 1,234.50"),
            ("-1234.5", "9,999.99", "-1,234.50"),
            ("12", "9,999", "    12"),
            ("12", "0000", " 0012"),
            ("1.5", "FM999.99", "1.5"),
            ("12345", "999", " ###"),
            ("0.5", "FM0.00", "0.50"),
            ("5", "S99", " +5"),
            ("0.1", ".99", " .##"),
            ("0.1", "0.9", " 0.1"),
            ("-0.1", "99.99", "  -.10"),
            ("0", "FM99.99", "0."),
            ("-485", "999S", "485-"),
            ("-485", "999MI", "485-"),
            ("-485", "999PR", "<485>"),
            ("485", "999PR", " 485 "),
            ("485", "PL999", "+ 485"),
            ("485", "SG999", "+485"),
            ("-485", "9SG99", "4-85"),
            ("485", "RN", "        CDLXXXV"),
            ("485", "FMRN", "CDLXXXV"),
            ("482", "999th", " 482nd"),
            ("485", "\"Good number:\"999", "Good number: 485"),
            ("485.8", "\"Pre:\"999\" Post:\" .999", "Pre: 485 Post: .800"),
            ("12.45", "99V9", " 125"),
            ("0.0004859", "9.99EEEE", " 4.86e-04"),
            ("148.5", "FM999.990", "148.500"),
            ("12", "", ""),
        ] {
            assert_eq!(NumberPattern::parse(pattern).unwrap().write(number, None), expected, "{number} {pattern}");
        }
    }
}
