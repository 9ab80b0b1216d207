//! The short path: a get by key or index, without the optimizer.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use catalog::ObjectKind;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{ColumnarValue, Expr};
use datafusion::physical_expr::create_physical_expr;
use planner::query::{LookupPath, PointLookup};
use storage::StateId;

use super::query_error;
use crate::coordinator::dataflow_error;
use crate::published::Published;
use crate::session::Parameter;
use crate::{Error, ErrorKind, Result};

/// What a point lookup finds.
pub(crate) struct Found {
    /// The answer's columns.
    pub(crate) columns: Vec<ArrayRef>,
    /// How many rows they have.
    pub(crate) rows: usize,
}

/// Answers a point lookup. `None`: nobody has stored that relation yet.
pub(crate) fn look_up(lookup: &PointLookup, parameters: &[Parameter], published: &Published) -> Result<Option<Found>> {
    let Some(view) = published.relations.get(&lookup.relation) else { return Ok(None) };
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(lookup.key.len());
    for (expression, data_type) in lookup.key.iter().zip(key_types(lookup, published)?) {
        let value = constant(expression, parameters)?;
        if value.is_null() {
            return project(lookup, &RecordBatch::new_empty(view.schema().clone()), parameters).map(Some);
        }
        let value =
            if value.data_type() == data_type { value } else { value.cast_to(&data_type).map_err(query_error)? };
        columns.push(value.to_array_of_size(1).map_err(query_error)?);
    }
    let store = &*published.snapshot;
    let rows = match (lookup.path, &lookup.columns) {
        // What nobody asks for isn't decoded; one row is within any limit but LIMIT 0.
        (LookupPath::Primary, Some(wanted)) if lookup.residual.is_none() && lookup.limit != Some(0) => {
            let (columns, rows) = view.get_columns(store, &columns, wanted).map_err(dataflow_error)?;
            return Ok(Some(Found { columns, rows }));
        }
        (LookupPath::Primary, _) => view.get(store, &columns),
        (LookupPath::Index(id), _) => view.index_lookup(store, index_state(id, published)?, &columns),
    };
    let mut rows = rows.map_err(dataflow_error)?;
    if let Some(residual) = &lookup.residual {
        let keep = evaluate(residual, &rows, parameters)?;
        rows = filter_record_batch(&rows, keep.as_boolean()).map_err(|e| query_error(e.into()))?;
    }
    if let Some(limit) = lookup.limit {
        rows = rows.slice(0, limit.min(rows.num_rows()));
    }
    project(lookup, &rows, parameters).map(Some)
}

fn project(lookup: &PointLookup, rows: &RecordBatch, parameters: &[Parameter]) -> Result<Found> {
    let columns = match &lookup.columns {
        Some(columns) => columns.iter().map(|column| rows.column(*column).clone()).collect(),
        None => {
            lookup.projection.iter().map(|expression| evaluate(expression, rows, parameters)).collect::<Result<_>>()?
        }
    };
    Ok(Found { columns, rows: rows.num_rows() })
}

fn key_types<'a>(lookup: &PointLookup, published: &'a Published) -> Result<impl Iterator<Item = DataType> + use<'a>> {
    let object = published.catalog.get(lookup.relation);
    let object = object.ok_or_else(|| Error::new(ErrorKind::UndefinedTable, "a relation was dropped meanwhile"))?;
    let columns: &[usize] = match lookup.path {
        LookupPath::Primary => object.key().unwrap_or_default(),
        LookupPath::Index(id) => match published.catalog.get(id).map(|index| &index.kind) {
            Some(ObjectKind::Index(index)) => &index.columns,
            _ => return Err(Error::new(ErrorKind::UndefinedObject, "an index was dropped meanwhile")),
        },
    };
    Ok(columns.iter().map(|column| object.columns[*column].sql_type.data_type()))
}

fn index_state(id: catalog::ObjectId, published: &Published) -> Result<StateId> {
    match published.catalog.get(id).map(|index| &index.kind) {
        Some(ObjectKind::Index(index)) => Ok(StateId(index.state_id)),
        _ => Err(Error::new(ErrorKind::UndefinedObject, "an index was dropped meanwhile")),
    }
}

/// The values of expressions without columns.
pub(crate) fn evaluate_constants(expressions: &[Expr], parameters: &[Parameter]) -> Result<Vec<ScalarValue>> {
    expressions.iter().map(|expression| constant(expression, parameters)).collect()
}

fn constant(expression: &Expr, parameters: &[Parameter]) -> Result<ScalarValue> {
    match expression {
        Expr::Literal(value, _) => return Ok(value.clone()),
        Expr::Placeholder(placeholder) => return parameter(&placeholder.id, parameters),
        Expr::Cast(cast) => {
            let value = constant(&cast.expr, parameters)?;
            let data_type = cast.field.data_type();
            return if value.data_type() == *data_type {
                Ok(value)
            } else {
                value.cast_to(data_type).map_err(query_error)
            };
        }
        Expr::Alias(alias) => return constant(&alias.expr, parameters),
        _ => {}
    }
    let one_row = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        vec![],
        &RecordBatchOptions::new().with_row_count(Some(1)),
    );
    let array = evaluate(expression, &one_row.map_err(|e| query_error(e.into()))?, parameters)?;
    ScalarValue::try_from_array(&array, 0).map_err(query_error)
}

fn parameter(id: &str, parameters: &[Parameter]) -> Result<ScalarValue> {
    let number: Option<usize> = id.strip_prefix('$').and_then(|digits| digits.parse().ok());
    let value = number.and_then(|number| parameters.get(number.checked_sub(1)?));
    value.cloned().ok_or_else(|| Error::new(ErrorKind::UndefinedParameter, format!("there is no parameter {id}")))
}

/// Evaluates a logical expression over the columns of a batch, named without qualifier.
pub(crate) fn evaluate(expression: &Expr, rows: &RecordBatch, parameters: &[Parameter]) -> Result<ArrayRef> {
    let schema = DFSchema::try_from(rows.schema_ref().as_ref().clone()).map_err(query_error)?;
    evaluate_on(expression, &schema, rows, parameters)
}

/// As [`evaluate`], the columns named as `schema` says.
pub(crate) fn evaluate_on(
    expression: &Expr,
    schema: &DFSchema,
    rows: &RecordBatch,
    parameters: &[Parameter],
) -> Result<ArrayRef> {
    let bound = bind(expression, parameters)?;
    let physical = create_physical_expr(&bound, schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
        .map_err(query_error)?;
    match physical.evaluate(rows).map_err(query_error)? {
        ColumnarValue::Array(array) => Ok(array),
        ColumnarValue::Scalar(value) => value.to_array_of_size(rows.num_rows()).map_err(query_error),
    }
}

/// Values in the place of `$1`, `$2`, ….
fn bind(expression: &Expr, parameters: &[Parameter]) -> Result<Expr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    if parameters.is_empty() {
        return Ok(expression.clone());
    }
    let mut missing = HashMap::new();
    let bound = expression.clone().transform(|node| match &node {
        Expr::Placeholder(placeholder) => match parameter(&placeholder.id, parameters) {
            Ok(value) => Ok(Transformed::yes(Expr::Literal(value, None))),
            Err(error) => {
                missing.insert(placeholder.id.clone(), error);
                Ok(Transformed::no(node))
            }
        },
        _ => Ok(Transformed::no(node)),
    });
    match missing.into_values().next() {
        Some(error) => Err(error),
        None => Ok(bound.map_err(query_error)?.data),
    }
}
