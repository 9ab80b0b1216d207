//! Rows as values, shown as the text of a record: `(1,"a b",)`.

use std::sync::Arc;

use arrow::array::{Array, StringViewBuilder};
use arrow::datatypes::DataType;
use catalog::{CatalogType, SqlType};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, TypeSignature, Volatility};

use super::definition::{Definition, arrays, columnar};
use super::text::texts;

pub(super) fn functions() -> Vec<Definition> {
    let some = Signature::one_of(vec![TypeSignature::Nullary, TypeSignature::VariadicAny], Volatility::Immutable);
    vec![Definition::new("row", some, |_| Ok(SqlType::Catalog(CatalogType::Record)), record)]
}

fn record(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let columns = arrays(args)?;
    let booleans: Vec<bool> = columns.iter().map(|column| *column.data_type() == DataType::Boolean).collect();
    let fields = columns.iter().map(texts).collect::<Result<Vec<_>>>()?;
    let rows = columns.first().map_or(args.number_rows, |column| column.len());
    let mut builder = StringViewBuilder::with_capacity(rows);
    let mut out = String::new();
    for row in 0..rows {
        out.clear();
        out.push('(');
        for (at, field) in fields.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            if field.is_valid(row) {
                let text = field.value(row);
                write_field(if booleans[at] { &text[..1] } else { text }, &mut out);
            }
        }
        out.push(')');
        builder.append_value(&out);
    }
    columnar(args, Arc::new(builder.finish()))
}

/// In quotes where it would be read as something else.
fn write_field(text: &str, out: &mut String) {
    let plain = !text.is_empty()
        && !text.chars().any(|next| matches!(next, '"' | '\\' | '(' | ')' | ',') || next.is_whitespace());
    if plain {
        out.push_str(text);
        return;
    }
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push(character);
        }
        out.push(character);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let written = |text: &str| {
            let mut out = String::new();
            write_field(text, &mut out);
            out
        };
        assert_eq!(
            [written("a"), written("a b"), written(""), written("x\"y"), written("(1,2)")],
            ["a", "\"a b\"", "\"\"", "\"x\"\"y\"", "\"(1,2)\""]
        );
    }
}
