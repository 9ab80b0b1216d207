//! Projection and filter: a [`Map`], one for as many of them in a row as can be.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Cast, Expr, Filter, Operator, Projection};

use super::expression::{column, column_index, count_columns, numbered_schema, positional, substitute, types_over};
use super::lowered::{ColumnInfo, Lowered};
use super::temporal::restrict_by;
use super::{Lowering, shared};
use crate::Result;
use crate::incremental::{Constant, Map, Node, OnError};

impl Lowering<'_> {
    pub(super) fn projection(&mut self, projection: &Projection) -> Result<Lowered> {
        let input = self.node(&projection.input)?;
        let expressions = positional_all(&projection.expr, projection.input.schema())?;
        project(input, expressions)
    }

    pub(super) fn filter(&mut self, filter: &Filter) -> Result<Lowered> {
        let input = match self.first_places(filter)? {
            Some(top) => top,
            None => self.node(&filter.input)?,
        };
        restrict_by(input, &filter.predicate, filter.input.schema())
    }
}

/// [`positional`], for a list.
pub(super) fn positional_all(expressions: &[Expr], schema: &DFSchema) -> Result<Vec<Expr>> {
    expressions.iter().map(|expression| positional(expression, schema)).collect()
}

/// The input's rows with other columns, over the input's columns.
pub(super) fn project(input: Lowered, expressions: Vec<Expr>) -> Result<Lowered> {
    map(input, None, expressions)
}

/// The input's rows for which the predicate is true.
pub(super) fn restrict(input: Lowered, predicate: Expr) -> Result<Lowered> {
    let expressions = (0..input.columns.len()).map(column).collect();
    map(input, Some(predicate), expressions)
}

fn map(input: Lowered, predicate: Option<Expr>, expressions: Vec<Expr>) -> Result<Lowered> {
    let mut output = properties(&input, predicate.as_ref(), &expressions);
    output.node = match &*input.node {
        // A SELECT without FROM: the one row without columns becomes the row of the select list.
        Node::Constant(Constant { rows, .. }) if rows.len() == 1 && rows[0].is_empty() && predicate.is_none() => {
            let types = types_over(&input.node, &expressions)?;
            shared(Node::Constant(Constant {
                rows: vec![expressions],
                on_error: OnError::default(),
                schema: numbered_schema(&types),
            }))
        }
        _ => map_node(&input.node, predicate, expressions)?,
    };
    Ok(output)
}

/// A [`Map`], one with the maps below it where it can be, or its input where it would change nothing.
fn map_node(input: &Arc<Node>, predicate: Option<Expr>, expressions: Vec<Expr>) -> Result<Arc<Node>> {
    if let Node::Map(below) = &**input
        && may_fuse(below, predicate.as_ref(), &expressions)?
    {
        let replacement = |index: usize| below.expressions[index].clone();
        let predicate = predicate.map(|p| substitute(&p, &replacement)).transpose()?;
        let predicate = conjunction(below.predicate.iter().cloned().chain(predicate));
        let expressions = expressions.iter().map(|e| substitute(e, &replacement)).collect::<Result<Vec<_>>>()?;
        return map_node(&below.input, predicate, expressions);
    }
    let width = input.schema().fields().len();
    let identity = expressions.len() == width
        && expressions.iter().enumerate().all(|(index, expression)| column_index(expression) == Some(index));
    if predicate.is_none() && identity {
        return Ok(input.clone());
    }
    let types = types_over(input, &expressions)?;
    let on_error = OnError::default();
    Ok(shared(Node::Map(Map {
        input: input.clone(),
        predicate,
        expressions,
        on_error,
        schema: numbered_schema(&types),
    })))
}

/// Whether the expressions of the map below may be put in place of the columns above: only if none that costs something would then be
/// computed more than once.
fn may_fuse(below: &Map, predicate: Option<&Expr>, expressions: &[Expr]) -> Result<bool> {
    let mut counts = vec![0; below.expressions.len()];
    for expression in predicate.into_iter().chain(expressions) {
        count_columns(expression, &mut counts)?;
    }
    Ok(below.expressions.iter().zip(counts).all(|(expression, count)| count <= 1 || is_free(expression)))
}

fn is_free(expression: &Expr) -> bool {
    matches!(expression, Expr::Column(_) | Expr::Literal(..))
}

/// What is known about the output: columns that are passed on keep what was known about them.
pub(super) fn properties(input: &Lowered, predicate: Option<&Expr>, expressions: &[Expr]) -> Lowered {
    let mut known = input.columns.clone();
    for condition in predicate.map(split_conjunction).unwrap_or_default() {
        for index in rejects_null(condition) {
            known[index].not_null = true;
        }
    }
    let mut class = input.free_class();
    let columns = expressions.iter().map(|expression| match column_index(expression) {
        Some(index) => known[index].clone(),
        None => {
            class += 1;
            let not_null = matches!(expression, Expr::Literal(value, _) if !value.is_null());
            ColumnInfo { not_null, ..ColumnInfo::unknown(class - 1) }
        }
    });
    let mut output = Lowered { columns: columns.collect(), ..input.clone() };
    output.retain_keys();
    output
}

/// The columns of which a condition is never true when they are NULL, as far as its form shows.
fn rejects_null(condition: &Expr) -> Vec<usize> {
    match condition {
        Expr::IsNotNull(inner) => strict_column(inner).into_iter().collect(),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_strict_comparison(*op) => {
            [left, right].into_iter().filter_map(|side| strict_column(side)).collect()
        }
        _ => Vec::new(),
    }
}

fn is_strict_comparison(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

/// The column, under casts.
fn strict_column(expression: &Expr) -> Option<usize> {
    match expression {
        Expr::Cast(Cast { expr, .. }) => strict_column(expr),
        other => column_index(other),
    }
}
