//! DELETE.

use std::collections::BTreeMap;

use datafusion::logical_expr::LogicalPlanBuilder;
use sql::Span;
use sql::ast::{Delete, FromTable};

use super::plan::{DeletePlan, Plan};
use super::table;
use super::update::{rows_query, written_table};
use crate::error::ErrorKind;
use crate::query::{bind_source, collect_parameters, collect_plan_parameters, parameter_list};
use crate::{Error, PlanContext, Result};

pub(super) fn plan(delete: &Delete, context: &PlanContext<'_>) -> Result<Plan> {
    let span = Span::of_parser(delete.delete_token.0.span);
    if !delete.tables.is_empty() || !delete.order_by.is_empty() || delete.limit.is_some() || delete.output.is_some() {
        return Err(Error::unsupported("this form of DELETE").at(span));
    }
    let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
    let [from] = tables.as_slice() else {
        return Err(Error::new(ErrorKind::Syntax, "DELETE is FROM one table")
            .with_hint("Name other relations in USING.")
            .at(span));
    };
    let (target, qualifier, alias) = written_table(from, context)?;
    let using = delete.using.as_deref().unwrap_or_default();
    let rows = bind_source(&rows_query(from, using, delete.selection.as_ref())?, context)?;
    let columns =
        target.object.columns.iter().map(|column| table::qualified(&qualifier, &column.name).alias(&column.name));
    let source = LogicalPlanBuilder::from(rows).project(columns)?.build()?;
    let (source, reads) = table::finish(source, context)?;
    let returning = table::returning(delete.returning.as_deref(), &target, alias.as_ref(), context)?;
    let mut found = BTreeMap::new();
    collect_plan_parameters(&source, &mut found)?;
    for expr in returning.iter().flat_map(|returning| &returning.expressions) {
        collect_parameters(expr, &mut found)?;
    }
    let parameters = parameter_list(found, context)?;
    let (table, is_joined) = (target.object.id, !using.is_empty());
    Ok(Plan::Delete(Box::new(DeletePlan { table, source, is_joined, returning, parameters, reads })))
}
