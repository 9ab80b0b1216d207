//! DataFusion's own descriptions of plans with PostgreSQL's words in them: where no expression is at hand, only text.

use arrow::datatypes::{Decimal128Type, DecimalType};

/// How DataFusion writes literals of numbers and truth values: `Int64(1)`.
const PLAIN: [&str; 10] =
    ["Int8(", "Int16(", "Int32(", "Int64(", "UInt32(", "UInt64(", "Float32(", "Float64(", "Boolean(", "Date32("];

/// How it writes texts: `Utf8("a")`.
const TEXT: [&str; 3] = ["Utf8View(\"", "LargeUtf8(\"", "Utf8(\""];

/// How it writes numerics, `Decimal128(Some(150),3,2)`, and their type, `Decimal128(3, 2)`.
const DECIMAL: &str = "Decimal128(";

/// The text with literals as SQL writes them and with PostgreSQL's names of types.
pub fn sql_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut words = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match literal(rest) {
            // A longer word may end like a literal: UInt64 is no Int64.
            Some((literal, length)) if !words.ends_with(|before: char| before.is_ascii_alphanumeric()) => {
                out.push_str(&crate::query::datafusion_error::sql_names(&words));
                words.clear();
                out.push_str(&literal);
                rest = &rest[length..];
            }
            _ => {
                words.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out.push_str(&crate::query::datafusion_error::sql_names(&words));
    out
}

/// The literal or numeric type that a text begins with, in SQL, and how long it is there.
fn literal(text: &str) -> Option<(String, usize)> {
    if let Some(prefix) = PLAIN.iter().find(|prefix| text.starts_with(**prefix)) {
        let inside = &text[prefix.len()..];
        let end = inside.find(')')?;
        let number = inside[..end].bytes().next().is_some_and(|byte| byte.is_ascii_digit() || byte == b'-');
        let word = matches!(&inside[..end], "true" | "false" | "NULL");
        return (number || word).then(|| (inside[..end].to_owned(), prefix.len() + end + 1));
    }
    if let Some(prefix) = TEXT.iter().find(|prefix| text.starts_with(**prefix)) {
        let inside = &text[prefix.len()..];
        let end = inside.find("\")")?;
        return Some((format!("'{}'", inside[..end].replace('\'', "''")), prefix.len() + end + 2));
    }
    let inside = text.strip_prefix(DECIMAL)?;
    match inside.strip_prefix("Some(") {
        Some(literal) => {
            let (value, rest) = literal.split_once(')')?;
            let (precision_and_scale, _) = rest.split_once(')')?;
            let (_, scale) = precision_and_scale.rsplit_once(',')?;
            let text = Decimal128Type::format_decimal(value.parse().ok()?, 38, scale.parse().ok()?);
            Some((text, DECIMAL.len() + "Some()".len() + value.len() + precision_and_scale.len() + 1))
        }
        None => {
            let (precision_and_scale, _) = inside.split_once(')')?;
            Some((
                format!("numeric({})", precision_and_scale.replace(", ", ",")),
                DECIMAL.len() + precision_and_scale.len() + 1,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sql_words;

    #[test]
    fn literals_and_types_are_postgresqls() {
        assert_eq!(sql_words("count(Int64(1))"), "count(1)");
        assert_eq!(sql_words("x = Utf8View(\"it's Utf8\")"), "x = 'it''s Utf8'");
        assert_eq!(
            sql_words("Decimal128(Some(150),3,2) + CAST(a AS Decimal128(10, 2))"),
            "1.50 + CAST(a AS numeric(10,2))"
        );
        assert_eq!(sql_words("CAST(UInt64(7) AS Int64)"), "CAST(7 AS bigint)");
        assert_eq!(sql_words("Boolean(NULL), Int16(-3)"), "NULL, -3");
    }
}
