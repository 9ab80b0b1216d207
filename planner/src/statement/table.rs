//! What INSERT, UPDATE, DELETE, COPY and column defaults have in common: the table that is written, and expressions over its rows.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use catalog::{Object, ObjectKind, SqlType};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::logical_expr::{EmptyRelation, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use sql::Span;
use sql::ast::{self, Ident, ObjectName, SelectItem};

use super::plan::Returning;
use crate::error::ErrorKind;
use crate::query::cast::{self, Context};
use crate::query::provider::{Provider, name_span, resolve_object};
use crate::query::{literal, lookup, output, parameter_fields, plan_part, rewrite, typing};
use crate::{Error, PlanContext, Result};

/// A table that is filled by DML.
pub(super) struct Writable {
    pub(super) object: Arc<Object>,
}

/// The table of this name, if a user may write to it.
pub(super) fn writable(name: &ObjectName, context: &PlanContext<'_>) -> Result<Writable> {
    let object = resolve_object(context, name)?;
    let span = name_span(name);
    let refuse = |hint: &str| {
        let message = format!("cannot change {} \"{}\"", object.noun(), object.name.name);
        Err(Error::new(ErrorKind::WrongObjectType, message).with_hint(hint).at(span))
    };
    match &object.kind {
        ObjectKind::Table(table) if table.connector.is_none() => Ok(Writable { object }),
        ObjectKind::Table(_) => refuse("It is filled by its topic: write to that."),
        ObjectKind::Source(_) => refuse("It is filled from outside."),
        ObjectKind::View(_) | ObjectKind::MaterializedView(_) | ObjectKind::Stream(_) => {
            refuse("It is defined by its query: change the tables that it reads.")
        }
        ObjectKind::Sink(_) | ObjectKind::Index(_) => refuse("It has no rows of its own."),
    }
}

impl Writable {
    /// The position of a column that a statement names.
    pub(super) fn column(&self, ident: &Ident) -> Result<usize> {
        let name = crate::query::name::folded(ident);
        self.object.column_index(&name).ok_or_else(|| {
            let hint = self.object.near_miss_column(&name).map(|near| format!("Did you mean \"{near}\"?"));
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", self.object.name.name);
            Error::new(ErrorKind::UndefinedColumn, message).with_hint_if(hint).at(Span::of_parser(ident.span))
        })
    }

    /// The table's columns under a name.
    pub(super) fn schema(&self, qualifier: &str) -> Result<DFSchema> {
        Ok(DFSchema::try_from_qualified_schema(qualifier, &self.object.schema())?)
    }

    /// What a column has that a statement leaves out: its default, else NULL.
    pub(super) fn default(&self, column: usize, context: &PlanContext<'_>) -> Result<Expr> {
        let column = &self.object.columns[column];
        match &column.default {
            Some(text) => {
                let parsed = sql::parse_expression(text).map_err(|error| Error::from(error).nowhere())?;
                default_value(&parsed, &column.sql_type, context).map_err(Error::nowhere)
            }
            None => Ok(Expr::Literal(ScalarValue::try_from(&column.sql_type.data_type())?, None)),
        }
    }

    /// A value for a column: of the column's type, if it may be assigned.
    pub(super) fn assigned(
        &self,
        column: usize,
        expr: Expr,
        schema: &DFSchema,
        context: &PlanContext<'_>,
    ) -> Result<Expr> {
        let column = &self.object.columns[column];
        assign(expr, &column.sql_type, schema, context).map_err(|error| {
            if error.kind == ErrorKind::DatatypeMismatch && error.message.starts_with("column is of type") {
                let message = error.message.replacen("column", &format!("column \"{}\"", column.name), 1);
                return Error { message, ..error };
            }
            error
        })
    }
}

/// `expr` as a value of a type that is stored.
fn assign(expr: Expr, sql_type: &SqlType, schema: &DFSchema, context: &PlanContext<'_>) -> Result<Expr> {
    let data_type = expr.get_type(schema)?;
    // A column of literals that nothing has given a type.
    let untyped = matches!(data_type, DataType::Utf8 | DataType::Null);
    let how =
        if untyped && !crate::query::operator::is_unknown(&expr) { Context::Explicit } else { Context::Assignment };
    let zone = &context.settings.time_zone;
    let expr = cast::cast(expr, sql_type, how, schema, &context.functions.own, zone)?;
    if *sql_type == SqlType::Numeric(None)
        && let Expr::Literal(value @ ScalarValue::Decimal128(Some(_), ..), _) = &expr
    {
        literal::parse(&value.to_string(), sql_type)?;
    }
    if expr.get_type(schema)? == sql_type.data_type() {
        return Ok(expr);
    }
    Ok(Expr::Cast(datafusion::logical_expr::Cast::new(Box::new(expr), sql_type.data_type())))
}

/// Names and types of an expression resolved over a schema.
pub(super) fn bind(expr: &ast::Expr, schema: &DFSchema, context: &PlanContext<'_>) -> Result<Expr> {
    let mut expr = expr.clone();
    rewrite::expression(&mut expr, context)?;
    let provider = Provider::new(context);
    let planner = SqlToRel::new(&provider);
    let mut planner_context = PlannerContext::new().with_prepare_param_data_types(parameter_fields(context));
    let bound = planner.sql_to_expr(expr, schema, &mut planner_context)?;
    typing::expression(bound, schema, context)
}

/// Lets DataFusion's analyzer put conversions into expressions over a schema.
pub(super) fn coerce(exprs: Vec<Expr>, schema: DFSchemaRef, context: &PlanContext<'_>) -> Result<Vec<Expr>> {
    let input = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: true, schema });
    let named = exprs.into_iter().enumerate().map(|(index, expr)| expr.alias(format!("e{index}")));
    let plan = LogicalPlanBuilder::from(input).project(named)?.build()?;
    match crate::query::analyze(plan, context)? {
        LogicalPlan::Projection(projection) => Ok(projection.expr.into_iter().map(Expr::unalias).collect()),
        _ => Err(Error::internal("an analyzed projection is a projection")),
    }
}

/// Whether an expression can be the default of a column.
pub(super) fn check_default(expr: &ast::Expr, sql_type: &SqlType, context: &PlanContext<'_>) -> Result<()> {
    use sql::ast::Spanned;
    let span = Span::of_parser(expr.span());
    default_value(expr, sql_type, context).map(|_| ()).map_err(|error| match error.kind {
        ErrorKind::UndefinedColumn => {
            Error::new(ErrorKind::InvalidColumnReference, "cannot use column reference in DEFAULT expression").at(span)
        }
        ErrorKind::DatatypeMismatch => {
            let message = error.message.replacen("column is of type", "column default is of type", 1);
            Error { message, ..error }.at(span)
        }
        _ => error.at(span),
    })
}

fn default_value(expr: &ast::Expr, sql_type: &SqlType, context: &PlanContext<'_>) -> Result<Expr> {
    let schema = DFSchema::empty();
    let bound = bind(expr, &schema, context)?;
    let value = assign(bound, sql_type, &schema, context)?;
    let mut coerced = coerce(vec![value], schema.into(), context)?;
    coerced.pop().ok_or_else(|| Error::internal("one expression gives one"))
}

/// RETURNING: expressions over a table's row, known by `qualifier`.
pub(super) fn returning(
    items: Option<&[SelectItem]>,
    table: &Writable,
    alias: Option<&Ident>,
    context: &PlanContext<'_>,
) -> Result<Option<Returning>> {
    let Some(items) = items else { return Ok(None) };
    // A SELECT over the table is planned for its list, so that names, wildcards and types are a query's.
    let name = [&table.object.name.schema, &table.object.name.name].map(|part| Ident::with_quote('"', part));
    let text = match alias {
        Some(alias) => format!("SELECT 1 FROM {} AS {alias}", ObjectName::from(name.to_vec())),
        None => format!("SELECT 1 FROM {}", ObjectName::from(name.to_vec())),
    };
    let sql::StatementKind::Query(mut query) = sql::parse_one(&text)?.kind else {
        return Err(Error::internal("a SELECT is a query"));
    };
    if let ast::SetExpr::Select(select) = &mut *query.query.body {
        select.projection = items.to_vec();
    }
    let planned = plan_part(&query.query, context)?;
    let Some((expressions, _)) = lookup::over_one_relation(&planned.logical) else {
        return Err(Error::unsupported("this expression in RETURNING"));
    };
    let input = DFSchema::try_from(Schema::clone(&table.object.schema()))?;
    Ok(Some(Returning { input: input.into(), expressions, schema: planned.schema }))
}

/// A plan whose columns are those of the table, in order, of the table's types and under their names.
pub(super) fn whole_rows(plan: LogicalPlan, values: Vec<Expr>, table: &Writable) -> Result<LogicalPlan> {
    let named = values.into_iter().zip(&table.object.columns).map(|(value, column)| value.alias(&column.name));
    Ok(LogicalPlanBuilder::from(plan).project(named)?.build()?)
}

/// The columns of a plan, as expressions over it.
pub(super) fn columns_of(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema().columns().into_iter().map(Expr::Column).collect()
}

/// A column under a qualifier.
pub(super) fn qualified(qualifier: &str, name: &str) -> Expr {
    Expr::Column(Column::new(Some(qualifier.to_owned()), name))
}

/// Brings a plan's expressions of SQL's types to those of the store, once all is bound.
pub(super) fn finish(plan: LogicalPlan, context: &PlanContext<'_>) -> Result<(LogicalPlan, Vec<catalog::ObjectId>)> {
    let plan = crate::query::analyze(plan, context)?;
    let (reads, _) = crate::query::relations(&plan)?;
    debug_assert!(output::schema(&plan, &std::collections::HashMap::new()).is_ok(), "stored types are SQL types");
    Ok((plan, reads))
}
