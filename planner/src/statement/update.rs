//! UPDATE.

use std::collections::BTreeMap;

use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use sql::Span;
use sql::ast::{self, Ident, TableFactor, TableWithJoins, Update, UpdateTableFromKind};

use super::insert::{assigned_value, assignments};
use super::plan::{Plan, UpdatePlan};
use super::table::{self, Writable};
use crate::error::ErrorKind;
use crate::query::name::folded;
use crate::query::{bind_source, collect_parameters, collect_plan_parameters, parameter_list};
use crate::{Error, PlanContext, Result};

pub(super) fn plan(update: &Update, context: &PlanContext<'_>) -> Result<Plan> {
    let span = Span::of_parser(update.update_token.0.span);
    if update.or.is_some() || update.output.is_some() || !update.order_by.is_empty() || update.limit.is_some() {
        return Err(Error::unsupported("this form of UPDATE").at(span));
    }
    let (target, qualifier, alias) = written_table(&update.table, context)?;
    let from = match &update.from {
        None => &[],
        Some(UpdateTableFromKind::AfterSet(tables)) => tables.as_slice(),
        Some(UpdateTableFromKind::BeforeSet(_)) => return Err(Error::unsupported("FROM before SET").at(span)),
    };
    let rows = bind_source(&rows_query(&update.table, from, update.selection.as_ref())?, context)?;
    let schema = rows.schema().clone();
    let old: Vec<Expr> =
        target.object.columns.iter().map(|column| table::qualified(&qualifier, &column.name)).collect();
    let mut new = old.clone();
    for (column, value) in assignments(&update.assignments, &target)? {
        // With FROM a bare name may be of any relation: only without it is it surely the table's.
        new[column] = if from.is_empty() {
            assigned_value(column, &value, &target, &schema, context)?
        } else {
            from_value(column, &value, &target, &schema, context)?
        };
    }
    let named =
        |prefix: &'static str| move |(position, expr): (usize, Expr)| expr.alias(format!("{prefix}_{position}"));
    let columns = old.into_iter().enumerate().map(named("old")).chain(new.into_iter().enumerate().map(named("new")));
    let source = LogicalPlanBuilder::from(rows).project(columns)?.build()?;
    let (source, reads) = table::finish(source, context)?;
    let returning = table::returning(update.returning.as_deref(), &target, alias.as_ref(), context)?;
    let mut found = BTreeMap::new();
    collect_plan_parameters(&source, &mut found)?;
    for expr in returning.iter().flat_map(|returning| &returning.expressions) {
        collect_parameters(expr, &mut found)?;
    }
    let parameters = parameter_list(found, context)?;
    let (table, is_joined) = (target.object.id, !from.is_empty());
    Ok(Plan::Update(Box::new(UpdatePlan { table, source, is_joined, returning, parameters, reads })))
}

fn from_value(
    column: usize,
    value: &ast::Expr,
    target: &Writable,
    schema: &datafusion::common::DFSchema,
    context: &PlanContext<'_>,
) -> Result<Expr> {
    use sql::ast::Spanned;
    if matches!(value, ast::Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
    {
        return target.default(column, context);
    }
    let bound = table::bind(value, schema, context)?;
    target.assigned(column, bound, schema, context).map_err(|error| error.at(Span::of_parser(value.span())))
}

/// The table of UPDATE and DELETE, the name by which expressions know it, and its alias.
pub(super) fn written_table(
    table: &TableWithJoins,
    context: &PlanContext<'_>,
) -> Result<(Writable, String, Option<Ident>)> {
    let TableFactor::Table { name, alias, args: None, .. } = &table.relation else {
        return Err(Error::new(ErrorKind::Syntax, "a table is expected here"));
    };
    if !table.joins.is_empty() {
        return Err(Error::unsupported("a join as the target").with_hint("Use FROM or USING."));
    }
    let target = table::writable(name, context)?;
    let alias = alias.as_ref().map(|alias| alias.name.clone());
    let qualifier = alias.as_ref().map_or_else(|| target.object.name.name.clone(), folded);
    Ok((target, qualifier, alias))
}

/// `SELECT * FROM table, from… WHERE selection`: the rows that are written, and what they are joined with.
pub(super) fn rows_query(
    table: &TableWithJoins,
    from: &[TableWithJoins],
    selection: Option<&ast::Expr>,
) -> Result<ast::Query> {
    let sql::StatementKind::Query(query) = sql::parse_one("SELECT * FROM x")?.kind else {
        return Err(Error::internal("a SELECT is a query"));
    };
    let mut query = *query.query;
    if let ast::SetExpr::Select(select) = &mut *query.body {
        select.from = std::iter::once(with_own_name(table)).chain(from.iter().cloned()).collect();
        select.selection = selection.cloned();
    }
    Ok(query)
}

/// A table of a named schema is known by its bare name, as in PostgreSQL.
fn with_own_name(table: &TableWithJoins) -> TableWithJoins {
    let mut table = table.clone();
    if let TableFactor::Table { name, alias: alias @ None, .. } = &mut table.relation
        && let (true, Some(ident)) = (name.0.len() > 1, name.0.last().and_then(|part| part.as_ident()))
    {
        *alias = Some(ast::TableAlias { explicit: true, name: ident.clone(), columns: Vec::new(), at: None });
    }
    table
}
