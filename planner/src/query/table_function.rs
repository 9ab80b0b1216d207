//! Functions in FROM: `TUMBLE(rel, col, size)`, `HOP(rel, col, slide, size)`, `CUMULATE(rel, col, step, size)`, `SESSION(rel, col, gap [, key…])`.

use arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::common::{Column, Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan};
use sql::Span;
use sql::ast::{self, FunctionArg, FunctionArgExpr, Ident, ObjectName, Spanned, TableFactor};

use super::name::folded;
use super::window::{WINDOW_END, WINDOW_START};
use super::{WindowTvf, Windows};
use crate::error::ErrorKind;
use crate::incremental::WindowKind;
use crate::{Error, Result};

/// Plans the table functions of the dialect.
#[derive(Debug)]
pub(crate) struct TableFunctions;

impl RelationPlanner for TableFunctions {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DataFusionResult<RelationPlanning> {
        let TableFactor::Table { name, alias, args: Some(args), .. } = &relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let Some(function) = Function::of(name) else { return Ok(RelationPlanning::Original(Box::new(relation))) };
        let span = Span::of_parser(name.span());
        let plan = function.plan(&args.args, context).map_err(|error| error.at(span))?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias.clone()))))
    }
}

/// Whether a function in FROM is one of these.
pub(super) fn is_one(name: &ObjectName) -> bool {
    Function::of(name).is_some()
}

/// A window function in FROM.
#[derive(Clone, Copy)]
enum Function {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

impl Function {
    fn of(name: &ObjectName) -> Option<Self> {
        let [part] = name.0.as_slice() else { return None };
        match folded(part.as_ident()?).as_str() {
            "tumble" => Some(Self::Tumble),
            "hop" => Some(Self::Hop),
            "cumulate" => Some(Self::Cumulate),
            "session" => Some(Self::Session),
            _ => None,
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::Tumble => "TUMBLE(relation, time_column, size)",
            Self::Hop => "HOP(relation, time_column, slide, size)",
            Self::Cumulate => "CUMULATE(relation, time_column, step, size)",
            Self::Session => "SESSION(relation, time_column, gap [, key_column, …])",
        }
    }

    fn plan(self, args: &[FunctionArg], context: &mut dyn RelationPlannerContext) -> Result<LogicalPlan> {
        let expressions: Vec<&ast::Expr> = args.iter().filter_map(expression).collect();
        let wanted = match self {
            Self::Tumble => 3,
            Self::Hop | Self::Cumulate => 4,
            Self::Session => args.len().max(3),
        };
        if expressions.len() != wanted || args.len() != wanted {
            let message = format!("{} is called with {} arguments", self.usage(), args.len());
            return Err(Error::new(ErrorKind::UndefinedFunction, message));
        }
        let input = context.plan(relation(expressions[0])?)?;
        for reserved in [WINDOW_START, WINDOW_END] {
            if input.schema().has_column_with_unqualified_name(reserved) {
                let message = format!("the input of {} already has a column \"{reserved}\"", self.usage());
                return Err(Error::new(ErrorKind::DuplicateColumn, message));
            }
        }
        let time = time_column(expressions[1], &input, context)?;
        let kind = match self {
            Self::Session => {
                let gap_us = length(expressions[2], context)?;
                let keys = expressions[3..].iter().map(|key| column(key, &input, context, "a key"));
                let windows = Windows::Session { gap_us, keys: keys.collect::<Result<_>>()? };
                let node = WindowTvf::try_new(input, time, windows)?;
                return Ok(LogicalPlan::Extension(Extension { node: std::sync::Arc::new(node) }));
            }
            Self::Tumble => WindowKind::Tumble { size_us: length(expressions[2], context)? },
            Self::Hop => {
                let (slide_us, size_us) = (length(expressions[2], context)?, length(expressions[3], context)?);
                if slide_us > size_us {
                    let message = "the slide of HOP must not be longer than the window";
                    return Err(Error::new(ErrorKind::InvalidParameterValue, message).at(place(expressions[2])));
                }
                WindowKind::Hop { slide_us, size_us }
            }
            Self::Cumulate => {
                let (step_us, size_us) = (length(expressions[2], context)?, length(expressions[3], context)?);
                if size_us % step_us != 0 {
                    let message = "the window of CUMULATE must be a multiple of its step";
                    return Err(Error::new(ErrorKind::InvalidParameterValue, message).at(place(expressions[3])));
                }
                WindowKind::Cumulate { step_us, size_us }
            }
        };
        let node = WindowTvf::try_new(input, time, Windows::Fixed(kind))?;
        Ok(LogicalPlan::Extension(Extension { node: std::sync::Arc::new(node) }))
    }
}

fn expression(arg: &FunctionArg) -> Option<&ast::Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

fn place(expr: &ast::Expr) -> Option<Span> {
    Span::of_parser(expr.span())
}

/// The first argument: a name, or a query in parentheses.
fn relation(expr: &ast::Expr) -> Result<TableFactor> {
    let named = |parts: Vec<Ident>| TableFactor::Table {
        name: ObjectName::from(parts),
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    };
    match expr {
        ast::Expr::Identifier(ident) => Ok(named(vec![ident.clone()])),
        ast::Expr::CompoundIdentifier(parts) => Ok(named(parts.clone())),
        ast::Expr::Subquery(query) => {
            Ok(TableFactor::Derived { lateral: false, subquery: query.clone(), alias: None, sample: None })
        }
        ast::Expr::Nested(inner) => relation(inner),
        other => {
            let message = "the first argument of a window function must be a relation or a query in parentheses";
            Err(Error::new(ErrorKind::DatatypeMismatch, message).at(place(other)))
        }
    }
}

fn time_column(expr: &ast::Expr, input: &LogicalPlan, context: &mut dyn RelationPlannerContext) -> Result<Column> {
    let descriptor = match expr {
        // Flink's way to name a column.
        ast::Expr::Function(function) if function.name.to_string().eq_ignore_ascii_case("descriptor") => {
            match &function.args {
                ast::FunctionArguments::List(list) => list.args.first().and_then(expression).cloned(),
                _ => None,
            }
        }
        other => Some(other.clone()),
    };
    let column = column(descriptor.as_ref().unwrap_or(expr), input, context, "the second argument")
        .map_err(|error| error.at(place(expr)))?;
    let (_, field) = input.schema().qualified_field_from_column(&column)?;
    if !matches!(field.data_type(), DataType::Timestamp(..)) {
        let message = format!("column \"{}\" of a window function must be a timestamp", field.name());
        return Err(Error::new(ErrorKind::DatatypeMismatch, message).at(place(expr)));
    }
    Ok(column)
}

/// A column of the input; `what` is what it is to the function.
fn column(
    expr: &ast::Expr,
    input: &LogicalPlan,
    context: &mut dyn RelationPlannerContext,
    what: &str,
) -> Result<Column> {
    let planned = context.sql_to_expr(expr.clone(), input.schema())?;
    let Expr::Column(column) = planned else {
        let message = format!("{what} of a window function must be a column");
        return Err(Error::new(ErrorKind::DatatypeMismatch, message).at(place(expr)));
    };
    // Found by position, so that the column has the qualifier that the input gives it.
    let index = input
        .schema()
        .index_of_column(&column)
        .or_else(|error| input.schema().index_of_column_by_name(None, &column.name).ok_or(error))?;
    let (qualifier, field) = input.schema().qualified_field(index);
    Ok(Column::new(qualifier.cloned(), field.name()))
}

/// A length of time: an interval literal of days and smaller parts.
fn length(expr: &ast::Expr, context: &mut dyn RelationPlannerContext) -> Result<i64> {
    let planned = context.sql_to_expr(expr.clone(), &datafusion::common::DFSchema::empty())?;
    let invalid = |message: &str| Err(Error::new(ErrorKind::InvalidParameterValue, message).at(place(expr)));
    let Some(interval) = constant_interval(&planned) else {
        return invalid("the length of a window must be a constant interval");
    };
    if interval.months != 0 {
        return invalid("the length of a window must be given in weeks, days, hours, minutes or seconds");
    }
    let micros = i64::from(interval.days) * 86_400_000_000 + interval.nanoseconds / 1000;
    if micros <= 0 || interval.nanoseconds % 1000 != 0 {
        return invalid("the length of a window must be at least a microsecond");
    }
    Ok(micros)
}

/// The value of an interval literal, also behind a cast.
pub(crate) fn constant_interval(expr: &Expr) -> Option<IntervalMonthDayNano> {
    match expr {
        Expr::Literal(ScalarValue::IntervalMonthDayNano(value), _) => *value,
        Expr::ScalarFunction(function) => {
            let (value, field) = super::written_cast::parts(function)?;
            constant_interval(&Expr::Cast(Cast::new_from_field(Box::new(value.clone()), field.clone())))
        }
        Expr::Cast(cast) if matches!(cast.field.data_type(), DataType::Interval(_)) => match &*cast.expr {
            Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => {
                super::interval::parse(text)
            }
            _ => None,
        },
        _ => None,
    }
}
