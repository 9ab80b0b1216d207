//! The functions that follow a path: `jsonb_path_query`, `_query_array`, `_query_first`, `_exists`, `_match`, and the operators `@?` and `@@`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanBuilder, ListBuilder, StringViewBuilder};
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, TypeSignature, Volatility};

use super::path::{Evaluation, Path, is_suppressible};
use super::value::Json;
use crate::error::{DataError, ErrorKind};
use crate::functions::definition::{Definition, arrays, columnar};
use crate::functions::text::as_views;

pub(super) fn functions() -> Vec<Definition> {
    let arguments = || Signature::one_of((2..=4).map(TypeSignature::Any).collect(), Volatility::Immutable);
    let two = || Signature::any(2, Volatility::Immutable);
    let jsonbs = |_: &[arrow::datatypes::FieldRef]| Ok(SqlType::Array(Box::new(SqlType::Jsonb)));
    vec![
        // What UNNEST makes rows of.
        Definition::new("jsonb_path_query", arguments(), jsonbs, query),
        Definition::new(
            "jsonb_path_query_array",
            arguments(),
            |_| Ok(SqlType::Jsonb),
            |args| one(args, |items| Some(Json::Array(items))),
        ),
        Definition::new(
            "jsonb_path_query_first",
            arguments(),
            |_| Ok(SqlType::Jsonb),
            |args| one(args, |items| items.into_iter().next()),
        ),
        Definition::new("jsonb_path_exists", arguments(), |_| Ok(SqlType::Boolean), |args| truths(args, false, exists)),
        Definition::new("jsonb_path_match", arguments(), |_| Ok(SqlType::Boolean), |args| truths(args, false, matches)),
        Definition::new("jsonb_path_exists_opr", two(), |_| Ok(SqlType::Boolean), |args| truths(args, true, exists)),
        Definition::new("jsonb_path_match_opr", two(), |_| Ok(SqlType::Boolean), |args| truths(args, true, matches)),
    ]
}

/// The arguments, row by row: a value, a path, variables, and whether mistakes are passed over.
struct Rows {
    columns: Vec<ArrayRef>,
    json: arrow::array::StringViewArray,
    paths: arrow::array::StringViewArray,
    variables: Option<arrow::array::StringViewArray>,
    silent: bool,
    read: HashMap<String, Path>,
}

impl Rows {
    fn of(args: &ScalarFunctionArgs, silent: bool) -> Result<Self> {
        let columns = arrays(args)?;
        let (json, paths) = (as_views(&columns[0])?, as_views(&columns[1])?);
        let variables = columns.get(2).map(as_views).transpose()?;
        Ok(Self { columns, json, paths, variables, silent, read: HashMap::new() })
    }

    /// What the path of a row finds; `None` where an argument is NULL or a mistake is passed over.
    fn items<T>(&mut self, row: usize, answer: impl Fn(Vec<Json>) -> Result<T>) -> Result<Option<T>> {
        if self.columns.iter().any(|column| column.is_null(row)) {
            return Ok(None);
        }
        let written = self.paths.value(row);
        if !self.read.contains_key(written) {
            self.read.insert(written.to_owned(), Path::parse(written)?);
        }
        let Some(path) = self.read.get(written) else { return Ok(None) };
        let root = super::row_of(&self.json, row)?;
        let variables = match &self.variables {
            Some(column) => super::row_of(column, row)?,
            None => Json::Object(Vec::new()),
        };
        if !matches!(variables, Json::Object(_)) {
            let error = crate::Error::new(ErrorKind::InvalidParameterValue, "\"vars\" argument is not an object");
            let detail = "Jsonpath parameters should be encoded as key-value pairs of \"vars\" object.";
            return Err(error.with_detail(detail).into());
        }
        let silent = self.silent || self.columns.get(3).is_some_and(|column| column.as_boolean().value(row));
        let found = Evaluation { path, root: &root, variables: &variables }.items().and_then(answer);
        match found {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => {
                let error = crate::Error::from(error);
                if silent && is_suppressible(&error) { Ok(None) } else { Err(error.into()) }
            }
        }
    }

    fn len(&self) -> usize {
        self.json.len()
    }
}

fn query(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let mut rows = Rows::of(args, false)?;
    let mut builder = ListBuilder::new(StringViewBuilder::new()).with_field(SqlType::Jsonb.field("item", true));
    for row in 0..rows.len() {
        let items = rows.items(row, Ok)?;
        for item in items.iter().flatten() {
            builder.values().append_value(item.text());
        }
        builder.append(items.is_some());
    }
    columnar(args, Arc::new(builder.finish()))
}

fn one(args: &ScalarFunctionArgs, pick: impl Fn(Vec<Json>) -> Option<Json>) -> Result<ColumnarValue> {
    let mut rows = Rows::of(args, false)?;
    let mut builder = StringViewBuilder::new();
    for row in 0..rows.len() {
        let given = rows.columns.iter().all(|column| column.is_valid(row));
        let items = rows.items(row, Ok)?;
        // What is passed over in silence has found nothing.
        let items = if given { Some(items.unwrap_or_default()) } else { None };
        builder.append_option(items.and_then(&pick).map(|json| json.text()));
    }
    columnar(args, Arc::new(builder.finish()))
}

fn truths(
    args: &ScalarFunctionArgs,
    silent: bool,
    answer: fn(Vec<Json>) -> Result<Option<bool>>,
) -> Result<ColumnarValue> {
    let mut rows = Rows::of(args, silent)?;
    let mut builder = BooleanBuilder::new();
    for row in 0..rows.len() {
        builder.append_option(rows.items(row, answer)?.flatten());
    }
    columnar(args, Arc::new(builder.finish()))
}

fn exists(items: Vec<Json>) -> Result<Option<bool>> {
    Ok(Some(!items.is_empty()))
}

fn matches(items: Vec<Json>) -> Result<Option<bool>> {
    match items.as_slice() {
        [Json::Bool(value)] => Ok(Some(*value)),
        [Json::Null] => Ok(None),
        _ => {
            let kind = ErrorKind::Data(DataError::JsonSingleton);
            Err(crate::Error::new(kind, "single boolean result is expected").into())
        }
    }
}
