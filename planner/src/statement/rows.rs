//! Answers that planning gives: tables of text.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use arrow::datatypes::{Schema, SchemaRef};
use catalog::SqlType;

use super::plan::{Plan, RowsPlan};
use crate::{Error, Result};

/// Columns of text.
pub(crate) fn text_schema(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|name| SqlType::Text.field(name, true)).collect::<Vec<_>>()))
}

/// An answer of rows of text; `None` is NULL.
pub(crate) fn text_rows(names: &[&str], rows: Vec<Vec<Option<String>>>, tag: &'static str) -> Result<Plan> {
    let column = |index: usize| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row[index].as_deref()).collect::<StringViewArray>())
    };
    let columns = (0..names.len()).map(column).collect();
    let rows = RecordBatch::try_new(text_schema(names), columns).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Plan::Rows(RowsPlan { rows, tag }))
}

/// An answer of one column, a row per line.
pub(crate) fn text_lines(name: &str, text: &str, tag: &'static str) -> Result<Plan> {
    text_rows(&[name], text.lines().map(|line| vec![Some(line.to_owned())]).collect(), tag)
}
