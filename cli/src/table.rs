//! Rows as psql shows them.

use engine::{ResultColumn, SqlType};

/// A table with a heading, a rule and the number of rows.
pub(crate) fn table(columns: &[ResultColumn], rows: &[Vec<Option<String>>]) -> String {
    let shown = |value: &Option<String>| value.clone().unwrap_or_default();
    let width = |column: usize| {
        let values = rows.iter().flat_map(|row| row[column].as_deref().unwrap_or_default().lines());
        values.map(display_width).max().unwrap_or(0).max(display_width(&columns[column].name))
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = String::new();
    let heads: Vec<_> = columns.iter().zip(&widths).map(|(column, width)| center(&column.name, *width)).collect();
    out.push_str(&format!(" {} \n", heads.join(" | ")));
    let rules: Vec<_> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    out.push_str(&format!("{}\n", rules.join("+")));
    for row in rows {
        let cells: Vec<_> = columns
            .iter()
            .zip(row)
            .zip(&widths)
            .map(|((column, value), width)| {
                pad(&shown(value).replace('\n', "\u{21b5}"), *width, is_number(&column.sql_type))
            })
            .collect();
        out.push_str(&format!(" {} \n", cells.join(" | ")));
    }
    let count = rows.len();
    out.push_str(&format!("({count} row{})\n", if count == 1 { "" } else { "s" }));
    out
}

fn is_number(sql_type: &SqlType) -> bool {
    matches!(
        sql_type,
        SqlType::SmallInt
            | SqlType::Integer
            | SqlType::BigInt
            | SqlType::Real
            | SqlType::Double
            | SqlType::Numeric(_)
            | SqlType::Oid
    )
}

fn display_width(text: &str) -> usize {
    text.chars().count()
}

/// Numbers end at the right edge, everything else begins at the left one.
fn pad(text: &str, width: usize, right: bool) -> String {
    if right { format!("{text:>width$}") } else { format!("{text:<width$}") }
}

fn center(text: &str, width: usize) -> String {
    format!("{text:^width$}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn looks_like_psql() {
        let column = |name: &str, sql_type| ResultColumn { name: name.to_owned(), sql_type, origin: None };
        let columns = [column("customer", SqlType::Text), column("n", SqlType::BigInt)];
        let rows = [vec![Some("Ann".to_owned()), Some("10".to_owned())], vec![None, Some("7".to_owned())]];
        assert_eq!(
            table(&columns, &rows),
            " customer | n  \n----------+----\n Ann      | 10 \n          |  7 \n(2 rows)\n"
        );
    }
}
