//! Functions on regular expressions that DataFusion lacks; the expressions are those of its own functions.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListBuilder, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Volatility};
use regex::{Regex, RegexBuilder};

use super::definition::{Definition, arrays, columnar, invalid, one_of};
use super::text::as_views;
use crate::Error;
use crate::error::ErrorKind;

/// The bytes that a compiled expression may take.
const MAX_REGEX_BYTES: usize = 1 << 20;

pub(super) fn functions() -> Vec<Definition> {
    let (text, number) = (DataType::Utf8View, DataType::Int64);
    let texts = |count: usize| vec![text.clone(); count];
    let mut substr: Vec<Vec<DataType>> = vec![texts(2)];
    for numbers in 1..=2 {
        substr.push(texts(2).into_iter().chain(vec![number.clone(); numbers]).collect());
    }
    substr.push(texts(2).into_iter().chain([number.clone(), number.clone(), text.clone()]).collect());
    substr.push(texts(2).into_iter().chain([number.clone(), number.clone(), text.clone(), number.clone()]).collect());
    let lists: Vec<&[DataType]> = substr.iter().map(Vec::as_slice).collect();
    vec![
        Definition::new(
            "regexp_split_to_array",
            one_of(&[&texts(2), &texts(3)], Volatility::Immutable),
            |_| Ok(SqlType::Array(Box::new(SqlType::Text))),
            split_to_array,
        ),
        Definition::new("regexp_substr", one_of(&lists, Volatility::Immutable), |_| Ok(SqlType::Text), regexp_substr),
        // `substring(text FROM pattern)`.
        Definition::new(
            "substring_matching",
            one_of(&[&texts(2)], Volatility::Immutable),
            |_| Ok(SqlType::Text),
            substring_matching,
        ),
    ]
}

/// Compiled expressions of one call.
#[derive(Default)]
struct Compiled(HashMap<(String, String), Regex>);

impl Compiled {
    fn get(&mut self, pattern: &str, flags: &str) -> Result<&Regex> {
        let key = (pattern.to_owned(), flags.to_owned());
        if !self.0.contains_key(&key) {
            self.0.insert(key.clone(), compile(pattern, flags)?);
        }
        self.0.get(&key).ok_or_else(|| Error::internal("it was put there a line above").into())
    }
}

fn compile(pattern: &str, flags: &str) -> Result<Regex> {
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(MAX_REGEX_BYTES).dot_matches_new_line(true);
    for flag in flags.chars() {
        match flag {
            'i' => builder.case_insensitive(true),
            'c' => builder.case_insensitive(false),
            'n' | 'm' => builder.multi_line(true).dot_matches_new_line(false),
            's' => builder.multi_line(false).dot_matches_new_line(true),
            'x' => builder.ignore_whitespace(true),
            _ => return invalid(format!("invalid regular expression option: \"{flag}\"")),
        };
    }
    builder.build().map_err(|error| {
        let known = crate::query::datafusion_error::regular_expression(&error.to_string());
        let error = known.unwrap_or_else(|| Error::new(ErrorKind::InvalidRegularExpression, error.to_string()));
        error.into()
    })
}

fn split_to_array(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?.iter().map(as_views).collect::<Result<Vec<_>>>()?;
    let mut compiled = Compiled::default();
    let field = Field::new("item", DataType::Utf8View, true);
    let mut builder = ListBuilder::new(StringViewBuilder::new()).with_field(field);
    for row in 0..columns[0].len() {
        if columns.iter().any(|column| column.is_null(row)) {
            builder.append(false);
            continue;
        }
        let flags = columns.get(2).map_or("", |flags| flags.value(row));
        let (text, regex) = (columns[0].value(row), compiled.get(columns[1].value(row), flags)?);
        for part in parts(text, regex) {
            builder.values().append_value(part);
        }
        builder.append(true);
    }
    columnar(args, Arc::new(builder.finish()))
}

/// What is between matches. An empty match splits, but not at the text's ends or right behind another match.
fn parts<'a>(text: &'a str, regex: &Regex) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for found in regex.find_iter(text) {
        if found.is_empty() && (found.start() <= start || found.start() == text.len()) {
            continue;
        }
        parts.push(&text[start..found.start()]);
        start = found.end();
    }
    parts.push(&text[start..]);
    parts
}

/// `regexp_substr(text, pattern [, start [, n [, flags [, group]]]])`.
fn regexp_substr(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let number = |index: usize| -> Result<Option<ArrayRef>> {
        Ok(columns.get(index).map(|column| cast(column, &DataType::Int64)).transpose()?)
    };
    let (texts, patterns) = (as_views(&columns[0])?, as_views(&columns[1])?);
    let (starts, counts, groups) = (number(2)?, number(3)?, number(5)?);
    let flags = columns.get(4).map(as_views).transpose()?;
    let mut compiled = Compiled::default();
    let mut builder = StringViewBuilder::with_capacity(texts.len());
    for row in 0..texts.len() {
        if columns.iter().any(|column| column.is_null(row)) {
            builder.append_null();
            continue;
        }
        let value = |column: &Option<ArrayRef>, otherwise: i64| {
            column.as_ref().map_or(otherwise, |column| column.as_primitive::<Int64Type>().value(row))
        };
        let (start, count, group) = (value(&starts, 1), value(&counts, 1), value(&groups, 0));
        for (name, value, least) in [("start", start, 1), ("n", count, 1), ("subexpr", group, 0)] {
            if value < least {
                return invalid(format!("invalid value for parameter \"{name}\": {value}"));
            }
        }
        let regex = compiled.get(patterns.value(row), flags.as_ref().map_or("", |flags| flags.value(row)))?;
        let text = texts.value(row);
        let from = text.char_indices().nth(start as usize - 1).map(|(at, _)| at);
        let found = from.and_then(|from| regex.captures_iter(&text[from..]).nth(count as usize - 1));
        builder.append_option(found.and_then(|found| found.get(group as usize)).map(|found| found.as_str()));
    }
    columnar(args, Arc::new(builder.finish()))
}

/// The part that matches, or of this the first part in parentheses.
fn substring_matching(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let (texts, patterns) = (as_views(&columns[0])?, as_views(&columns[1])?);
    let mut compiled = Compiled::default();
    let mut builder = StringViewBuilder::with_capacity(texts.len());
    for (text, pattern) in texts.iter().zip(&patterns) {
        let (Some(text), Some(pattern)) = (text, pattern) else {
            builder.append_null();
            continue;
        };
        let regex = compiled.get(pattern, "")?;
        let group = usize::from(regex.captures_len() > 1);
        let found = regex.captures(text).and_then(|found| found.get(group));
        builder.append_option(found.map(|found| found.as_str()));
    }
    columnar(args, Arc::new(builder.finish()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_as_postgresql_splits_it() {
        let split = |text: &'static str, pattern: &str| parts(text, &compile(pattern, "").unwrap());
        assert_eq!(split("hello world", r"\s+"), ["hello", "world"]);
        assert_eq!(split("abc", r"\s*"), ["a", "b", "c"]);
        assert_eq!(split("a,b,", ","), ["a", "b", ""]);
        assert_eq!(split("", ","), [""]);
    }

    #[test]
    fn what_is_no_expression_is_said() {
        let error = Error::from(compile("(", "").unwrap_err());
        assert_eq!(
            (error.kind, error.message.as_str()),
            (ErrorKind::InvalidRegularExpression, "invalid regular expression: unclosed group")
        );
    }
}
