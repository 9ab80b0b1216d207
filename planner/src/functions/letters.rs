//! `upper` and `lower`, character by character as PostgreSQL's: a letter whose other case is several letters stays as it is.

use std::sync::Arc;

use arrow::array::{Array, StringViewBuilder};
use arrow::datatypes::DataType;
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Volatility};

use super::definition::{Definition, arrays, columnar, one_of};
use super::text::as_views;

pub(super) fn functions() -> Vec<Definition> {
    let text = || one_of(&[&[DataType::Utf8View]], Volatility::Immutable);
    vec![
        Definition::new("upper", text(), |_| Ok(SqlType::Text), |args| changed(args, upper)),
        Definition::new("lower", text(), |_| Ok(SqlType::Text), |args| changed(args, lower)),
    ]
}

fn changed(args: &ScalarFunctionArgs, change: fn(&str, &mut String)) -> Result<ColumnarValue> {
    let texts = as_views(&arrays(args)?[0])?;
    let mut builder = StringViewBuilder::with_capacity(texts.len());
    let mut whole = String::new();
    for text in &texts {
        match text {
            None => builder.append_null(),
            Some(text) => {
                whole.clear();
                change(text, &mut whole);
                builder.append_value(&whole);
            }
        }
    }
    columnar(args, Arc::new(builder.finish()))
}

fn upper(text: &str, out: &mut String) {
    if text.is_ascii() {
        out.push_str(text);
        return out.make_ascii_uppercase();
    }
    out.extend(text.chars().map(|character| single(character, character.to_uppercase())));
}

fn lower(text: &str, out: &mut String) {
    if text.is_ascii() {
        out.push_str(text);
        return out.make_ascii_lowercase();
    }
    out.extend(text.chars().map(|character| single(character, character.to_lowercase())));
}

fn single(character: char, mut cased: impl ExactSizeIterator<Item = char>) -> char {
    match (cased.len(), cased.next()) {
        (1, Some(cased)) => cased,
        _ => character,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_becomes_one_letter() {
        let of = |change: fn(&str, &mut String), text| {
            let mut out = String::new();
            change(text, &mut out);
            out
        };
        assert_eq!((of(upper, "straße ä"), of(upper, "abc")), ("STRAßE Ä".to_owned(), "ABC".to_owned()));
        assert_eq!(of(lower, "ÄÖ İ"), "äö İ");
    }
}
