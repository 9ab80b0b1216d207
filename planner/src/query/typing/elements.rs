//! UNNEST: the SQL types of elements, and arrays of arrays.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Unnest};

use crate::Error;
use crate::query::operator::OWN_CAST;

/// DataFusion's UNNEST forgets what an array says about the SQL type of its elements, and takes only one level of arrays in arrays apart.
pub(super) fn with_element_types(plan: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Unnest(unnest) = &plan else { return Ok(plan) };
    let element = |input: usize| match unnest.input.schema().field(input).data_type() {
        DataType::List(item) if unnest.list_type_columns.iter().any(|(list, _)| *list == input) => Some(item),
        _ => None,
    };
    let elements = unnest.dependency_indices.iter().map(|input| element(*input));
    let outputs: Vec<(Column, Option<&FieldRef>)> = plan.schema().columns().into_iter().zip(elements).collect();
    let nested = outputs.iter().zip(&unnest.dependency_indices).filter(|((_, item), input)| {
        item.is_some_and(|item| matches!(item.data_type(), DataType::List(_))) && !gives_arrays(&unnest.input, **input)
    });
    let nested = nested.map(|(output, _)| output);
    let nested: Vec<Column> = nested.map(|(column, _)| column.clone()).collect();
    if !nested.is_empty() {
        if unnest.list_type_columns.len() > 1 {
            return Err(Error::unsupported("UNNEST of an array of arrays beside another array").into());
        }
        let inner = Unnest::try_new(Arc::new(plan.clone()), nested, unnest.options.clone())?;
        return with_element_types(LogicalPlan::Unnest(inner));
    }
    if outputs.iter().all(|(_, item)| item.is_none_or(|item| item.metadata().is_empty())) {
        return Ok(plan);
    }
    let typed = outputs.into_iter().map(|(column, item)| match item {
        Some(item) if !item.metadata().is_empty() => {
            let field = item.as_ref().clone().with_name(OWN_CAST).with_nullable(true);
            let cast = Expr::Cast(Cast::new_from_field(Box::new(Expr::Column(column.clone())), field.into()));
            cast.alias_qualified(column.relation, column.name)
        }
        _ => Expr::Column(column),
    });
    let typed = typed.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(typed, Arc::new(plan))?))
}

/// Whether a column to be taken apart is of a function whose rows are arrays.
fn gives_arrays(input: &LogicalPlan, column: usize) -> bool {
    let LogicalPlan::Projection(projection) = input else { return false };
    let expr = projection.expr.get(column).map(|expr| expr.clone().unalias());
    matches!(expr, Some(Expr::ScalarFunction(function)) if function.name() == "regexp_matches")
}
