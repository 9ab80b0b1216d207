//! LIKE with a pattern that ends with its escape character: an error where the comparison comes to that end, as in PostgreSQL, else false.

use std::sync::Arc;

use arrow::array::{Array, BooleanBuilder};
use arrow::datatypes::DataType;
use catalog::SqlType;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Volatility};

use super::definition::{Definition, arrays, columnar, one_of};
use super::text::as_views;
use crate::error::ErrorKind;
use crate::{Error, Result};

pub(super) fn functions() -> Vec<Definition> {
    // The text and the pattern.
    let two = || one_of(&[&[DataType::Utf8View, DataType::Utf8View]], Volatility::Immutable);
    vec![
        Definition::new("like_open", two(), |_| Ok(SqlType::Boolean), |args| compared(args, str::to_owned)),
        Definition::new("ilike_open", two(), |_| Ok(SqlType::Boolean), |args| compared(args, str::to_lowercase)),
    ]
}

fn compared(args: &ScalarFunctionArgs, folded: fn(&str) -> String) -> datafusion::common::Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (texts, patterns) = (as_views(&columns[0])?, as_views(&columns[1])?);
    let mut builder = BooleanBuilder::with_capacity(texts.len());
    for (text, pattern) in texts.iter().zip(&patterns) {
        match (text, pattern) {
            (Some(text), Some(pattern)) => {
                let characters = |text: &str| folded(text).chars().collect::<Vec<_>>();
                builder.append_value(matched(&characters(text), &characters(pattern))? == Match::Whole);
            }
            _ => builder.append_null(),
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Whole,
    None,
    /// The text ends before the pattern: no later beginning would match either.
    TextEnds,
}

/// PostgreSQL's `MatchText`.
fn matched(mut text: &[char], mut pattern: &[char]) -> Result<Match> {
    while let ([first, rest @ ..], [wanted, others @ ..]) = (text, pattern) {
        match wanted {
            '\\' => match others.split_first() {
                None => return open(),
                Some((wanted, _)) if wanted != first => return Ok(Match::None),
                Some((_, others)) => pattern = others,
            },
            '%' => return after_any(text, others),
            '_' => pattern = others,
            wanted if wanted != first => return Ok(Match::None),
            _ => pattern = others,
        }
        text = rest;
    }
    let left = pattern.iter().find(|wanted| **wanted != '%');
    Ok(match (text.is_empty(), left) {
        (false, _) => Match::None,
        (true, None) => Match::Whole,
        (true, Some(_)) => Match::TextEnds,
    })
}

/// Behind `%`.
fn after_any(mut text: &[char], mut pattern: &[char]) -> Result<Match> {
    while let Some((wanted @ ('%' | '_'), others)) = pattern.split_first() {
        if *wanted == '_' {
            let Some((_, rest)) = text.split_first() else { return Ok(Match::TextEnds) };
            text = rest;
        }
        pattern = others;
    }
    let first = match pattern {
        [] => return Ok(Match::Whole),
        ['\\'] => return open(),
        ['\\', first, ..] | [first, ..] => first,
    };
    while let Some((next, rest)) = text.split_first() {
        if next == first {
            let found = matched(text, pattern)?;
            if found != Match::None {
                return Ok(found);
            }
        }
        text = rest;
    }
    Ok(Match::TextEnds)
}

fn open<T>() -> Result<T> {
    Err(Error::new(ErrorKind::InvalidEscape, "LIKE pattern must not end with escape character"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fails_where_the_comparison_comes_to_the_open_end() {
        let like = |text: &str, pattern: &str| {
            let characters = |text: &str| text.chars().collect::<Vec<_>>();
            matched(&characters(text), &characters(pattern)).map(|found| found == Match::Whole).ok()
        };
        assert_eq!(like("ab", "a\\"), None);
        assert_eq!(like("a", "a\\"), Some(false));
        assert_eq!(like("b", "a\\"), Some(false));
        assert_eq!(like("xab", "%a\\"), None);
        assert_eq!(like("", "\\"), Some(false));
        assert_eq!(like("a", "%\\"), None);
        assert_eq!(like("a\\", "a\\\\"), Some(true));
        assert_eq!(like("abc", "a_c"), Some(true));
    }
}
