//! INSERT.

use std::collections::BTreeMap;

use catalog::ObjectKind;
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use sql::Span;
use sql::ast::{
    self, AssignmentTarget, ConflictTarget, Ident, Insert, OnConflictAction, OnInsert, Query, SetExpr, Spanned,
    TableObject,
};

use super::plan::{DoUpdate, InsertPlan, OnConflict, Plan};
use super::table::{self, Writable};
use crate::error::ErrorKind;
use crate::query::name::folded;
use crate::query::{bind_source, collect_parameters, parameter_list};
use crate::{Error, PlanContext, Result};

pub(super) fn plan(insert: &Insert, context: &PlanContext<'_>) -> Result<Plan> {
    supported(insert)?;
    let TableObject::TableName(name) = &insert.table else {
        return Err(Error::unsupported("INSERT into something else than a table"));
    };
    let target = table::writable(name, context)?;
    let columns = target_columns(insert, &target)?;
    let explicit = !insert.columns.is_empty();
    let source = match &insert.source {
        None => default_row(&target, context)?,
        Some(query) => match values(query) {
            Some(rows) => from_values(rows, &columns, explicit, &target, context)?,
            None => from_query(query, &columns, explicit, &target, context)?,
        },
    };
    let (source, reads) = table::finish(source, context)?;
    let alias = insert.table_alias.as_ref().map(|alias| &alias.alias);
    let on_conflict = on_conflict(insert.on.as_ref(), &target, alias, context)?;
    let returning = table::returning(insert.returning.as_deref(), &target, alias, context)?;
    let parameters = parameters(&source, &on_conflict, returning.as_ref(), context)?;
    Ok(Plan::Insert(Box::new(InsertPlan {
        table: target.object.id,
        source,
        on_conflict,
        returning,
        parameters,
        reads,
    })))
}

/// What PostgreSQL doesn't have, but sqlparser reads.
fn supported(insert: &Insert) -> Result<()> {
    let refused = [
        (!insert.into, "INSERT without INTO"),
        (insert.or.is_some() || insert.ignore || insert.replace_into, "INSERT OR …"),
        (insert.overwrite, "INSERT OVERWRITE"),
        (!insert.assignments.is_empty(), "INSERT … SET"),
        (insert.partitioned.is_some() || !insert.after_columns.is_empty(), "INSERT … PARTITION"),
        (insert.insert_alias.is_some() || insert.output.is_some(), "this form of INSERT"),
    ];
    match refused.iter().find(|(present, _)| *present) {
        Some((_, what)) => Err(Error::unsupported(what).at(Span::of_parser(insert.insert_token.0.span))),
        None => Ok(()),
    }
}

/// The columns that the source's columns go to.
fn target_columns(insert: &Insert, target: &Writable) -> Result<Vec<usize>> {
    if insert.columns.is_empty() {
        return Ok((0..target.object.columns.len()).collect());
    }
    let mut columns = Vec::with_capacity(insert.columns.len());
    for name in &insert.columns {
        let [part] = name.0.as_slice() else {
            return Err(
                Error::unsupported("INSERT into a part of a column").at(crate::query::provider::name_span(name))
            );
        };
        let ident =
            part.as_ident().ok_or_else(|| Error::new(ErrorKind::Syntax, format!("improper column name {name}")))?;
        let column = target.column(ident)?;
        if columns.contains(&column) {
            let message = format!("column \"{}\" specified more than once", folded(ident));
            return Err(Error::new(ErrorKind::DuplicateColumn, message).at(Span::of_parser(ident.span)));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// The rows of a bare VALUES.
fn values(query: &Query) -> Option<&[ast::Parens<Vec<ast::Expr>>]> {
    let plain =
        query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    match &*query.body {
        SetExpr::Values(values) if plain => Some(&values.rows),
        _ => None,
    }
}

fn default_row(target: &Writable, context: &PlanContext<'_>) -> Result<LogicalPlan> {
    let one_row = LogicalPlanBuilder::empty(true).build()?;
    let row =
        (0..target.object.columns.len()).map(|column| target.default(column, context)).collect::<Result<Vec<_>>>()?;
    table::whole_rows(one_row, row, target)
}

fn width_error(given: usize, wanted: usize, explicit: bool, span: Option<Span>) -> Result<()> {
    if given > wanted {
        return Err(Error::new(ErrorKind::Syntax, "INSERT has more expressions than target columns").at(span));
    }
    if given < wanted && explicit {
        return Err(Error::new(ErrorKind::Syntax, "INSERT has more target columns than expressions").at(span));
    }
    Ok(())
}

/// VALUES: each cell takes its column's type; DEFAULT may stand for one.
fn from_values(
    rows: &[ast::Parens<Vec<ast::Expr>>],
    columns: &[usize],
    explicit: bool,
    target: &Writable,
    context: &PlanContext<'_>,
) -> Result<LogicalPlan> {
    let empty = DFSchema::empty();
    let width = rows.first().map_or(0, |row| row.content.len());
    let mut cells = Vec::with_capacity(rows.len());
    for row in rows {
        let span = row.content.first().and_then(|cell| Span::of_parser(cell.span()));
        if row.content.len() != width {
            return Err(Error::new(ErrorKind::Syntax, "VALUES lists must all be the same length").at(span));
        }
        width_error(width, columns.len(), explicit, span)?;
        let mut bound = Vec::with_capacity(width);
        for (cell, column) in row.content.iter().zip(columns) {
            bound.push(if is_default(cell) {
                target.default(*column, context)?
            } else {
                let place = Span::of_parser(cell.span());
                let value = table::bind(cell, &empty, context)?;
                target.assigned(*column, value, &empty, context).map_err(|error| error.at(place))?
            });
        }
        cells.push(bound);
    }
    let plan = LogicalPlanBuilder::values(cells)?.build()?;
    filled(plan, &columns[..width], target, context)
}

fn is_default(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// A query's columns, cast to those that they go to.
fn from_query(
    query: &Query,
    columns: &[usize],
    explicit: bool,
    target: &Writable,
    context: &PlanContext<'_>,
) -> Result<LogicalPlan> {
    let mut query = query.clone();
    type_parameters(&mut query, columns, target);
    let plan = bind_source(&query, context)?;
    let width = plan.schema().fields().len();
    width_error(width, columns.len(), explicit, Span::of_parser(query.span()))?;
    filled(plan, &columns[..width], target, context)
}

/// A bare parameter in the SELECT list has the type of the column that it goes to.
fn type_parameters(query: &mut Query, columns: &[usize], target: &Writable) {
    let SetExpr::Select(select) = &mut *query.body else { return };
    for (item, column) in select.projection.iter_mut().zip(columns) {
        if let ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. } = item
            && is_placeholder(expr)
        {
            *expr = typed(expr.clone(), &target.object.columns[*column].sql_type);
        }
    }
}

pub(super) fn is_placeholder(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::Value(value) if matches!(value.value, ast::Value::Placeholder(_)))
}

/// `CAST(expr AS type)`; a limited text is checked where it is stored, not cut here.
pub(super) fn typed(expr: ast::Expr, sql_type: &catalog::SqlType) -> ast::Expr {
    use catalog::SqlType::{Char, Text, Varchar};
    let sql_type = if matches!(sql_type, Varchar(_) | Char(_)) { &Text } else { sql_type };
    match sql::parse_expression(&format!("CAST(NULL AS {sql_type})")) {
        Ok(ast::Expr::Cast { data_type, .. }) => {
            let kind = ast::CastKind::DoubleColon;
            ast::Expr::Cast { kind, expr: Box::new(expr), data_type, array: false, format: None }
        }
        _ => expr,
    }
}

/// The columns that are given, of their types, and the defaults of the others.
fn filled(plan: LogicalPlan, columns: &[usize], target: &Writable, context: &PlanContext<'_>) -> Result<LogicalPlan> {
    let given = table::columns_of(&plan);
    let schema = plan.schema().clone();
    let mut row = Vec::with_capacity(target.object.columns.len());
    for column in 0..target.object.columns.len() {
        row.push(match columns.iter().position(|given| *given == column) {
            Some(position) => target.assigned(column, given[position].clone(), &schema, context)?,
            None => target.default(column, context)?,
        });
    }
    table::whole_rows(plan, row, target)
}

fn on_conflict(
    on: Option<&OnInsert>,
    target: &Writable,
    alias: Option<&Ident>,
    context: &PlanContext<'_>,
) -> Result<OnConflict> {
    let conflict = match on {
        None => return Ok(OnConflict::Error),
        Some(OnInsert::OnConflict(conflict)) => conflict,
        Some(_) => return Err(Error::unsupported("ON DUPLICATE KEY")),
    };
    let given = conflict.conflict_target.is_some();
    check_target(conflict.conflict_target.as_ref(), target)?;
    match &conflict.action {
        OnConflictAction::DoNothing => Ok(OnConflict::DoNothing),
        OnConflictAction::DoUpdate(_) if !given => {
            let error = Error::new(
                ErrorKind::Syntax,
                "ON CONFLICT DO UPDATE requires inference specification or constraint name",
            );
            Err(error.with_hint("For example, ON CONFLICT (column_name)."))
        }
        OnConflictAction::DoUpdate(update) => {
            Ok(OnConflict::DoUpdate(Box::new(do_update(update, target, alias, context)?)))
        }
    }
}

/// The columns of ON CONFLICT must be those of the primary key.
fn check_target(conflict: Option<&ConflictTarget>, target: &Writable) -> Result<()> {
    let ObjectKind::Table(definition) = &target.object.kind else {
        return Err(Error::internal("only tables are written"));
    };
    let no_key = || {
        let message = "there is no unique or exclusion constraint matching the ON CONFLICT specification";
        Error::new(ErrorKind::InvalidColumnReference, message)
            .with_hint("The primary key is the only unique constraint.")
    };
    match conflict {
        None => Ok(()),
        Some(ConflictTarget::Columns(idents)) => {
            let mut columns = idents.iter().map(|ident| target.column(ident)).collect::<Result<Vec<_>>>()?;
            columns.sort_unstable();
            let mut key = definition.primary_key.clone();
            key.sort_unstable();
            if columns == key {
                Ok(())
            } else {
                Err(no_key().at(idents.first().and_then(|ident| Span::of_parser(ident.span))))
            }
        }
        Some(ConflictTarget::OnConstraint(name)) => {
            let expected = format!("{}_pkey", target.object.name.name);
            let written = name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
            if written == expected && !definition.primary_key.is_empty() {
                return Ok(());
            }
            let message = format!("constraint \"{written}\" for table \"{}\" does not exist", target.object.name.name);
            Err(Error::new(ErrorKind::UndefinedObject, message).at(crate::query::provider::name_span(name)))
        }
    }
}

fn do_update(
    update: &ast::DoUpdate,
    target: &Writable,
    alias: Option<&Ident>,
    context: &PlanContext<'_>,
) -> Result<DoUpdate> {
    let qualifier = alias.map_or_else(|| target.object.name.name.clone(), folded);
    let schema = target.schema(&qualifier)?.join(&target.schema("excluded")?)?;
    let mut row: Vec<Expr> =
        target.object.columns.iter().map(|column| table::qualified(&qualifier, &column.name)).collect();
    for (column, value) in assignments(&update.assignments, target)? {
        row[column] = assigned_value(column, &value, target, &schema, context)?;
    }
    let filter = match &update.selection {
        Some(selection) => Some(table::bind(&unqualified_to(selection, &qualifier, target), &schema, context)?),
        None => None,
    };
    let width = row.len();
    let mut all = row;
    all.extend(filter);
    let schema = std::sync::Arc::new(schema);
    let mut coerced = table::coerce(all, schema.clone(), context)?;
    let filter = if coerced.len() > width { coerced.pop() } else { None };
    Ok(DoUpdate { schema, row: coerced, filter })
}

/// A bare column in ON CONFLICT means the row that exists, never the proposed one.
fn unqualified_to(expr: &ast::Expr, qualifier: &str, target: &Writable) -> ast::Expr {
    let mut expr = expr.clone();
    let _never_breaks = ast::visit_expressions_mut(&mut expr, |part| {
        if let ast::Expr::Identifier(ident) = part
            && target.object.column_index(&folded(ident)).is_some()
        {
            let parts = vec![Ident::with_quote('"', qualifier), ident.clone()];
            *part = ast::Expr::CompoundIdentifier(parts);
        }
        std::ops::ControlFlow::<()>::Continue(())
    });
    expr
}

/// `SET a = x, (b, c) = (y, z)`, a column at most once.
pub(super) fn assignments(list: &[ast::Assignment], target: &Writable) -> Result<Vec<(usize, ast::Expr)>> {
    let mut assignments: Vec<(usize, ast::Expr)> = Vec::new();
    let mut add = |name: &ast::ObjectName, value: ast::Expr| {
        let [part] = name.0.as_slice() else {
            let error = Error::new(
                ErrorKind::UndefinedColumn,
                format!("column \"{}\" of relation \"{}\" does not exist", name.0[0], target.object.name.name),
            );
            return Err(error
                .with_hint("SET target columns cannot be qualified with the relation name.")
                .at(crate::query::provider::name_span(name)));
        };
        let ident =
            part.as_ident().ok_or_else(|| Error::new(ErrorKind::Syntax, format!("improper column name {name}")))?;
        let column = target.column(ident)?;
        if assignments.iter().any(|(other, _)| *other == column) {
            let message = format!("multiple assignments to same column \"{}\"", folded(ident));
            return Err(Error::new(ErrorKind::Syntax, message).at(Span::of_parser(ident.span)));
        }
        assignments.push((column, value));
        Ok(())
    };
    for assignment in list {
        match (&assignment.target, &assignment.value) {
            (AssignmentTarget::ColumnName(name), value) => add(name, value.clone())?,
            (AssignmentTarget::Tuple(names), ast::Expr::Tuple(values)) if names.len() == values.len() => {
                for (name, value) in names.iter().zip(values) {
                    add(name, value.clone())?;
                }
            }
            (AssignmentTarget::Tuple(_), value) => {
                return Err(
                    Error::unsupported("assignment of this to several columns").at(Span::of_parser(value.span()))
                );
            }
        }
    }
    Ok(assignments)
}

/// The value of one assignment, over what the statement sees.
pub(super) fn assigned_value(
    column: usize,
    value: &ast::Expr,
    target: &Writable,
    schema: &DFSchema,
    context: &PlanContext<'_>,
) -> Result<Expr> {
    if is_default(value) {
        return target.default(column, context);
    }
    let span = Span::of_parser(value.span());
    let qualifier = schema.qualified_field(0).0.map(|qualifier| qualifier.table().to_owned()).unwrap_or_default();
    let bound = table::bind(&unqualified_to(value, &qualifier, target), schema, context)?;
    target.assigned(column, bound, schema, context).map_err(|error| error.at(span))
}

/// Parameters of all parts.
fn parameters(
    source: &LogicalPlan,
    on_conflict: &OnConflict,
    returning: Option<&super::plan::Returning>,
    context: &PlanContext<'_>,
) -> Result<Vec<catalog::SqlType>> {
    let mut found = BTreeMap::new();
    crate::query::collect_plan_parameters(source, &mut found)?;
    if let OnConflict::DoUpdate(update) = on_conflict {
        for expr in update.row.iter().chain(&update.filter) {
            collect_parameters(expr, &mut found)?;
        }
    }
    for expr in returning.iter().flat_map(|returning| &returning.expressions) {
        collect_parameters(expr, &mut found)?;
    }
    parameter_list(found, context)
}
