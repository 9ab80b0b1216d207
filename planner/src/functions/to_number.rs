//! `to_number(text, pattern)`: the number that a text shows in a pattern of `to_char`'s.

use std::sync::Arc;

use arrow::array::{Array, Decimal128Builder};
use arrow::datatypes::DataType;
use catalog::SqlType;
use catalog::sql_type::NUMERIC_DEFAULT;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Volatility};

use super::definition::{Definition, arrays, columnar, invalid_text, one_of};
use super::text::as_views;
use crate::Error;
use crate::query::literal;

pub(super) fn functions() -> Vec<Definition> {
    vec![Definition::new(
        "to_number",
        one_of(&[&[DataType::Utf8View, DataType::Utf8View]], Volatility::Immutable),
        |_| Ok(SqlType::Numeric(None)),
        to_number,
    )]
}

fn to_number(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (texts, patterns) = (as_views(&columns[0])?, as_views(&columns[1])?);
    let mut builder = Decimal128Builder::with_capacity(texts.len());
    for (text, pattern) in texts.iter().zip(&patterns) {
        match text.zip(pattern) {
            Some((text, pattern)) => {
                let number = read(text, pattern)?;
                match literal::parse(&number, &SqlType::Numeric(None))? {
                    ScalarValue::Decimal128(value, ..) => builder.append_option(value),
                    _ => return invalid_text("numeric", &number),
                }
            }
            None => builder.append_null(),
        }
    }
    let (precision, scale) = NUMERIC_DEFAULT;
    columnar(args, Arc::new(builder.finish().with_precision_and_scale(precision, scale)?))
}

/// Digits behind the point that a pattern has.
pub(crate) fn scale(pattern: &str) -> usize {
    let behind = pattern.split_once(['.', 'D', 'd']).map_or("", |(_, behind)| behind);
    behind.chars().filter(|character| matches!(character, '9' | '0')).count()
}

/// The digits of a number, without what the pattern has around them.
fn read(text: &str, pattern: &str) -> Result<String> {
    let mut number = String::new();
    let mut negative = false;
    let mut input = text.chars().peekable();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        if input.peek().is_none() {
            break;
        }
        let upper = rest.get(..2).unwrap_or_default().to_ascii_uppercase();
        let taken = match upper.as_str() {
            "FM" => {
                rest = &rest[2..];
                continue;
            }
            "MI" | "PL" | "SG" | "PR" | "TH" => 2,
            _ => first.len_utf8(),
        };
        match (upper.as_str(), first) {
            ("MI" | "PL" | "SG", _) | (_, 'S' | 's') => sign(&mut input, &mut negative),
            ("PR", _) | ("TH", _) => {
                if input.peek() == Some(&'>') {
                    input.next();
                }
            }
            (_, '9' | '0') => {
                while input.peek().is_some_and(|next| *next == ' ') {
                    input.next();
                }
                sign(&mut input, &mut negative);
                if input.peek() == Some(&'<') {
                    negative = true;
                    input.next();
                }
                if let Some(digit) = input.next_if(char::is_ascii_digit) {
                    number.push(digit);
                } else if input.peek() == Some(&'.') && !number.contains('.') {
                    // The point comes before the pattern has it.
                    number.push('.');
                    input.next();
                }
            }
            (_, '.' | 'D' | 'd') => {
                if input.next_if_eq(&'.').is_some() && !number.contains('.') {
                    number.push('.');
                }
            }
            (_, ',' | 'G' | 'g') => {
                input.next_if_eq(&',');
            }
            (_, 'V' | 'v') => return Err(Error::unsupported("V in a pattern of to_number").into()),
            (_, 'E' | 'e') if upper == "EE" => {
                return Err(Error::unsupported("EEEE in a pattern of to_number").into());
            }
            (_, '"') => {
                let quoted = rest[1..].find('"').map_or(rest.len() - 1, |end| end);
                let skipped = rest[1..=quoted].chars().count();
                (0..skipped).for_each(|_| {
                    input.next();
                });
                rest = rest.get(quoted + 2..).unwrap_or_default();
                continue;
            }
            // A plain character of the pattern stands for one of the text, a currency sign for any that is no part of a number.
            _ => {
                input.next_if(|next| !next.is_ascii_digit() && !matches!(next, '+' | '-' | '.' | ','));
            }
        }
        rest = &rest[taken..];
    }
    // A sign behind the number.
    sign(&mut input, &mut negative);
    if !number.bytes().any(|byte| byte.is_ascii_digit()) {
        return invalid_text("numeric", " ");
    }
    Ok(if negative { format!("-{number}") } else { number })
}

fn sign(input: &mut std::iter::Peekable<std::str::Chars<'_>>, negative: &mut bool) {
    if let Some(sign) = input.next_if(|next| matches!(next, '+' | '-')) {
        *negative |= sign == '-';
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_by_their_pattern() {
        for (text, pattern, number) in [
            ("12,454.8-", "99G999D9S", "-12454.8"),
            ("-34,338,492", "99G999G999", "-34338492"),
            ("<564646.654564>", "999999.999999PR", "-564646.654564"),
            ("0.00001-", "9.999999S", "-0.00001"),
            ("5.01-", "FM9.999999S", "-5.01"),
            ("$1,234.56", "L9,999.99", "1234.56"),
            (" 485", "999", "485"),
            ("42", "99", "42"),
        ] {
            assert_eq!(read(text, pattern).unwrap(), number, "{text} as {pattern}");
        }
        assert!(read("x", "999").is_err());
        assert_eq!([scale("99D99"), scale("999"), scale("9.990")], [2, 0, 3]);
    }
}
