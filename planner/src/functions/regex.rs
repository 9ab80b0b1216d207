//! Functions on regular expressions ([`super::pattern`]): whether, where and how often one matches, and what is between.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder, Int32Builder, ListBuilder, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type};
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Volatility};
use fancy_regex::Captures;

use super::definition::{Definition, arrays, columnar, invalid, one_of};
use super::pattern::{Compiled, Pattern};
use super::text::as_views;
use crate::error::ErrorKind;

pub(super) fn functions() -> Vec<Definition> {
    let kinds = |lists: &[&str]| {
        let lists: Vec<Vec<DataType>> = lists
            .iter()
            .map(|list| {
                list.chars().map(|kind| if kind == 't' { DataType::Utf8View } else { DataType::Int64 }).collect()
            })
            .collect();
        one_of(&lists.iter().map(Vec::as_slice).collect::<Vec<_>>(), Volatility::Immutable)
    };
    let texts = |_: &[arrow::datatypes::FieldRef]| Ok(SqlType::Array(Box::new(SqlType::Text)));
    vec![
        Definition::new("textregexeq", kinds(&["tt"]), |_| Ok(SqlType::Boolean), |args| truths(args, "", true)),
        Definition::new("texticregexeq", kinds(&["tt"]), |_| Ok(SqlType::Boolean), |args| truths(args, "i", true)),
        Definition::new("textregexne", kinds(&["tt"]), |_| Ok(SqlType::Boolean), |args| truths(args, "", false)),
        Definition::new("texticregexne", kinds(&["tt"]), |_| Ok(SqlType::Boolean), |args| truths(args, "i", false)),
        Definition::new("regexp_like", kinds(&["tt", "ttt"]), |_| Ok(SqlType::Boolean), |args| truths(args, "", true)),
        Definition::new("regexp_match", kinds(&["tt", "ttt"]), texts, regexp_match),
        // What UNNEST makes rows of: an array of what `regexp_match` gives.
        Definition::new(
            "regexp_matches",
            kinds(&["tt", "ttt"]),
            |_| Ok(SqlType::Array(Box::new(SqlType::Array(Box::new(SqlType::Text))))),
            regexp_matches,
        ),
        Definition::new(
            "regexp_replace",
            // A number is tried before a text, which any number could become.
            kinds(&["ttt", "ttti", "tttt", "tttii", "tttiit"]),
            |_| Ok(SqlType::Text),
            regexp_replace,
        ),
        Definition::new("regexp_count", kinds(&["tt", "tti", "ttit"]), |_| Ok(SqlType::Integer), regexp_count),
        Definition::new(
            "regexp_instr",
            kinds(&["tt", "tti", "ttii", "ttiii", "ttiiit", "ttiiiti"]),
            |_| Ok(SqlType::Integer),
            regexp_instr,
        ),
        Definition::new(
            "regexp_substr",
            kinds(&["tt", "tti", "ttii", "ttiit", "ttiiti"]),
            |_| Ok(SqlType::Text),
            regexp_substr,
        ),
        Definition::new("regexp_split_to_array", kinds(&["tt", "ttt"]), texts, |args| {
            split(args, "regexp_split_to_array")
        }),
        // What UNNEST makes rows of.
        Definition::new("regexp_split_to_table", kinds(&["tt", "ttt"]), texts, |args| {
            split(args, "regexp_split_to_table")
        }),
        // `substring(text FROM pattern)`.
        Definition::new("substring_matching", kinds(&["tt"]), |_| Ok(SqlType::Text), substring_matching),
    ]
}

/// Arguments of one call, by row: texts and numbers.
struct Arguments {
    columns: Vec<ArrayRef>,
}

impl Arguments {
    /// Arguments, text as views and numbers as 64 bits.
    fn of(args: &ScalarFunctionArgs) -> Result<Self> {
        let columns = arrays(args)?.into_iter().map(|column| -> Result<ArrayRef> {
            if column.data_type().is_integer() {
                return Ok(cast(&column, &DataType::Int64)?);
            }
            Ok(Arc::new(as_views(&column)?))
        });
        Ok(Self { columns: columns.collect::<Result<_>>()? })
    }

    fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.len())
    }

    fn any_null(&self, row: usize) -> bool {
        self.columns.iter().any(|column| column.is_null(row))
    }

    fn text(&self, argument: usize, row: usize) -> &str {
        self.columns.get(argument).and_then(|column| column.as_string_view_opt()).map_or("", |texts| texts.value(row))
    }

    /// A number, which may be left out.
    fn number(&self, argument: usize, row: usize, otherwise: i64, name: &str, least: i64) -> Result<i64> {
        let numbers = self.columns.get(argument).and_then(|column| column.as_primitive_opt::<Int64Type>());
        let number = numbers.map_or(otherwise, |numbers| numbers.value(row));
        match number >= least {
            true => Ok(number),
            false => invalid(format!("invalid value for parameter \"{name}\": {number}")),
        }
    }
}

/// The byte at which a character stands, counted from 1; `None` behind the end.
fn byte_of(text: &str, character: i64) -> Option<usize> {
    let skipped = usize::try_from(character - 1).ok()?;
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(skipped)
}

/// `Err` if the options have a `g` where there is but one answer.
fn no_global(options: &str, function: &str) -> Result<()> {
    match options.contains('g') {
        true => {
            let error = crate::Error::new(
                ErrorKind::InvalidParameterValue,
                format!("{function}() does not support the \"global\" option"),
            );
            let hint = (function == "regexp_match").then(|| "Use the regexp_matches function instead.".to_owned());
            Err(error.with_hint_if(hint).into())
        }
        false => Ok(()),
    }
}

fn truths(args: &ScalarFunctionArgs, options: &str, positive: bool) -> Result<ColumnarValue> {
    let arguments = Arguments::of(args)?;
    let mut compiled = Compiled::default();
    let mut builder = BooleanBuilder::with_capacity(arguments.rows());
    for row in 0..arguments.rows() {
        if arguments.any_null(row) {
            builder.append_null();
            continue;
        }
        let written = arguments.text(2, row);
        no_global(written, "regexp_like")?;
        let pattern = compiled.get(arguments.text(1, row), if written.is_empty() { options } else { written })?;
        builder.append_value(pattern.is_match(arguments.text(0, row))? == positive);
    }
    columnar(args, Arc::new(builder.finish()))
}

/// The parts in parentheses, or the whole match if there are none.
fn push_groups(pattern: &Pattern, found: &Captures<'_>, out: &mut StringViewBuilder) {
    let groups = if pattern.groups() == 0 { 0..=0 } else { 1..=pattern.groups() };
    for group in groups {
        out.append_option(found.get(group).map(|found| found.as_str()));
    }
}

fn regexp_match(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let arguments = Arguments::of(args)?;
    let mut compiled = Compiled::default();
    let field = Field::new("item", DataType::Utf8View, true);
    let mut builder = ListBuilder::new(StringViewBuilder::new()).with_field(field);
    for row in 0..arguments.rows() {
        if arguments.any_null(row) {
            builder.append(false);
            continue;
        }
        no_global(arguments.text(2, row), "regexp_match")?;
        let pattern = compiled.get(arguments.text(1, row), arguments.text(2, row))?;
        let found = pattern.captures(arguments.text(0, row))?;
        if let Some(found) = &found {
            push_groups(pattern, found, builder.values());
        }
        builder.append(found.is_some());
    }
    columnar(args, Arc::new(builder.finish()))
}

fn regexp_matches(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let arguments = Arguments::of(args)?;
    let mut compiled = Compiled::default();
    let inner = ListBuilder::new(StringViewBuilder::new()).with_field(Field::new("item", DataType::Utf8View, true));
    let list = DataType::List(Field::new("item", DataType::Utf8View, true).into());
    let mut builder = ListBuilder::new(inner).with_field(Field::new("item", list, true));
    for row in 0..arguments.rows() {
        if arguments.any_null(row) {
            builder.append(false);
            continue;
        }
        let options = arguments.text(2, row);
        let pattern = compiled.get(arguments.text(1, row), &options.replace('g', ""))?;
        let text = arguments.text(0, row);
        let found = pattern.matches(text, 0, if options.contains('g') { usize::MAX } else { 1 })?;
        for captures in &found {
            push_groups(pattern, captures, builder.values().values());
            builder.values().append(true);
        }
        builder.append(true);
    }
    columnar(args, Arc::new(builder.finish()))
}

/// `regexp_replace(text, pattern, replacement [, start [, n]] [, options])`.
fn regexp_replace(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let arguments = Arguments::of(args)?;
    let mut compiled = Compiled::default();
    let mut builder = StringViewBuilder::with_capacity(arguments.rows());
    let numbered = arguments.columns.get(3).is_some_and(|column| column.data_type().is_integer());
    for row in 0..arguments.rows() {
        if arguments.any_null(row) {
            builder.append_null();
            continue;
        }
        let options = if numbered { arguments.text(5, row) } else { arguments.text(3, row) };
        let (start, count) = if numbered {
            let start = arguments.number(3, row, 1, "start", 1)?;
            (start, arguments.number(4, row, i64::from(!options.contains('g')), "n", 0)?)
        } else {
            (1, i64::from(!options.contains('g')))
        };
        let pattern = compiled.get(arguments.text(1, row), &options.replace('g', ""))?;
        let (text, replacement) = (arguments.text(0, row), arguments.text(2, row));
        let Some(from) = byte_of(text, start) else {
            builder.append_value(text);
            continue;
        };
        let mut out = String::with_capacity(text.len());
        let mut done = 0;
        // 0 stands for all of them.
        let most = if count == 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) };
        for (number, found) in (1..).zip(&pattern.matches(text, from, most)?) {
            let Some(whole) = found.get(0) else { continue };
            if count == 0 || count == number {
                out.push_str(&text[done..whole.start()]);
                push_replacement(replacement, found, &mut out);
                done = whole.end();
            }
        }
        out.push_str(&text[done..]);
        builder.append_value(out);
    }
    columnar(args, Arc::new(builder.finish()))
}

/// `\1` … `\9` and `\&` stand for parts of the match, `\\` for a backslash.
fn push_replacement(replacement: &str, found: &Captures<'_>, out: &mut String) {
    let mut characters = replacement.chars();
    while let Some(next) = characters.next() {
        if next != '\\' {
            out.push(next);
            continue;
        }
        let group = match characters.clone().next() {
            Some('&') => Some(0),
            Some(digit @ '1'..='9') => digit.to_digit(10).map(|digit| digit as usize),
            Some('\\') => {
                characters.next();
                out.push('\\');
                continue;
            }
            _ => None,
        };
        match group {
            Some(group) => {
                characters.next();
                out.push_str(found.get(group).map_or("", |found| found.as_str()));
            }
            None => out.push('\\'),
        }
    }
}

fn regexp_count(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let arguments = Arguments::of(args)?;
    let mut compiled = Compiled::default();
    let mut builder = Int32Builder::with_capacity(arguments.rows());
    for row in 0..arguments.rows() {
        if arguments.any_null(row) {
            builder.append_null();
            continue;
        }
        let start = arguments.number(2, row, 1, "start", 1)?;
        no_global(arguments.text(3, row), "regexp_count")?;
        let pattern = compiled.get(arguments.text(1, row), arguments.text(3, row))?;
        let text = arguments.text(0, row);
        let count = byte_of(text, start)
            .map_or(Ok(0), |from| pattern.matches(text, from, usize::MAX).map(|found| found.len()))?;
        builder.append_value(count as i32);
    }
    columnar(args, Arc::new(builder.finish()))
}

/// `regexp_instr(text, pattern [, start [, n [, endoption [, options [, subexpr]]]]])`.
fn regexp_instr(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let arguments = Arguments::of(args)?;
    let mut compiled = Compiled::default();
    let mut builder = Int32Builder::with_capacity(arguments.rows());
    for row in 0..arguments.rows() {
        if arguments.any_null(row) {
            builder.append_null();
            continue;
        }
        let end = arguments.number(4, row, 0, "endoption", 0)?;
        if end > 1 {
            return invalid(format!("invalid value for parameter \"endoption\": {end}"));
        }
        no_global(arguments.text(5, row), "regexp_instr")?;
        let group = arguments.number(6, row, 0, "subexpr", 0)?;
        let text = arguments.text(0, row);
        let place = nth(&arguments, &mut compiled, row, arguments.text(5, row), group)?;
        let place =
            place.map_or(0, |(start, stop)| text[..if end == 1 { stop } else { start }].chars().count() as i32 + 1);
        builder.append_value(place);
    }
    columnar(args, Arc::new(builder.finish()))
}

/// `regexp_substr(text, pattern [, start [, n [, options [, subexpr]]]])`.
fn regexp_substr(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let arguments = Arguments::of(args)?;
    let mut compiled = Compiled::default();
    let mut builder = StringViewBuilder::with_capacity(arguments.rows());
    for row in 0..arguments.rows() {
        if arguments.any_null(row) {
            builder.append_null();
            continue;
        }
        no_global(arguments.text(4, row), "regexp_substr")?;
        let group = arguments.number(5, row, 0, "subexpr", 0)?;
        let place = nth(&arguments, &mut compiled, row, arguments.text(4, row), group)?;
        builder.append_option(place.map(|(start, end)| &arguments.text(0, row)[start..end]));
    }
    columnar(args, Arc::new(builder.finish()))
}

/// The bytes of a part of the n-th match: text, pattern, start and n are the first arguments.
fn nth(
    arguments: &Arguments,
    compiled: &mut Compiled,
    row: usize,
    options: &str,
    group: i64,
) -> Result<Option<(usize, usize)>> {
    let start = arguments.number(2, row, 1, "start", 1)?;
    let count = arguments.number(3, row, 1, "n", 1)?;
    let pattern = compiled.get(arguments.text(1, row), options)?;
    let text = arguments.text(0, row);
    let Some(from) = byte_of(text, start) else { return Ok(None) };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let found = pattern.matches(text, from, count)?;
    let found = found.get(count - 1);
    Ok(found.and_then(|found| found.get(group as usize)).map(|found| (found.start(), found.end())))
}

fn split(args: &ScalarFunctionArgs, function: &str) -> Result<ColumnarValue> {
    let arguments = Arguments::of(args)?;
    let mut compiled = Compiled::default();
    let field = Field::new("item", DataType::Utf8View, true);
    let mut builder = ListBuilder::new(StringViewBuilder::new()).with_field(field);
    for row in 0..arguments.rows() {
        if arguments.any_null(row) {
            builder.append(false);
            continue;
        }
        no_global(arguments.text(2, row), function)?;
        let pattern = compiled.get(arguments.text(1, row), arguments.text(2, row))?;
        for part in parts(arguments.text(0, row), pattern)? {
            builder.values().append_value(part);
        }
        builder.append(true);
    }
    columnar(args, Arc::new(builder.finish()))
}

/// What is between matches. An empty match splits, but not at the text's ends or right behind another match.
fn parts<'a>(text: &'a str, pattern: &Pattern) -> Result<Vec<&'a str>> {
    let mut parts = Vec::new();
    let mut start = 0;
    for found in pattern.matches(text, 0, usize::MAX)? {
        let Some(found) = found.get(0) else { continue };
        if found.start() == found.end() && (found.start() <= start || found.start() == text.len()) {
            continue;
        }
        parts.push(&text[start..found.start()]);
        start = found.end();
    }
    parts.push(&text[start..]);
    Ok(parts)
}

/// The part that matches, or of this the first part in parentheses.
fn substring_matching(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let arguments = Arguments::of(args)?;
    let mut compiled = Compiled::default();
    let mut builder = StringViewBuilder::with_capacity(arguments.rows());
    for row in 0..arguments.rows() {
        if arguments.any_null(row) {
            builder.append_null();
            continue;
        }
        let pattern = compiled.get(arguments.text(1, row), "")?;
        let found = pattern.captures(arguments.text(0, row))?;
        let found = found.and_then(|found| found.get(usize::from(pattern.groups() > 0)));
        builder.append_option(found.map(|found| found.as_str()));
    }
    columnar(args, Arc::new(builder.finish()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::functions::pattern::compile;

    #[test]
    fn a_text_is_split_as_postgresql_splits_it() {
        let split = |text: &'static str, pattern: &str| parts(text, &compile(pattern, "").unwrap()).unwrap();
        assert_eq!(split("hello world", r"\s+"), ["hello", "world"]);
        assert_eq!(split("abc", r"\s*"), ["a", "b", "c"]);
        assert_eq!(split("a,b,", ","), ["a", "b", ""]);
        assert_eq!(split("", ","), [""]);
        assert_eq!(split(",a,", ","), ["", "a", ""]);
        assert_eq!(split("a, b,c", r"\s*,\s*"), ["a", "b", "c"]);
    }

    #[test]
    fn a_replacement_names_parts_of_the_match() {
        let pattern = compile("b(.)", "").unwrap();
        let found = pattern.captures("abc").unwrap().unwrap();
        let mut out = String::new();
        push_replacement(r"<\1\&\\\x$1>", &found, &mut out);
        assert_eq!(out, r"<cbc\\x$1>");
    }
}
