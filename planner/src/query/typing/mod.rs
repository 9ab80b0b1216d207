//! A pass over DataFusion's fresh logical plan that gives literals, aggregates and casts PostgreSQL's types. The operators were typed as the
//! plan was made ([`super::operator`]); they are typed again here, as the columns below them may have got other types.

mod aggregates;
mod elements;
mod functions;
mod keys;
mod order;
mod values;

use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef};
use catalog::SqlType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, ExprSchema, Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, BinaryExpr, Case, Cast, Exists, GroupingSet, InSubquery, Placeholder, SetComparison,
    WindowFunction,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Limit, LogicalPlan, LogicalPlanBuilder, Operator, RecursiveQuery, Subquery, Union,
    WindowFunctionDefinition,
};

use self::aggregates::{argument_types, interval_extreme};
use self::elements::with_element_types;
pub(super) use self::keys::key;
use super::cast::{self, Context};
use super::operator::{Class, OWN_CAST, binary, class_of, is_unknown, narrowed, resolve, sql_type_of, type_name};
use super::{exclusion, recursion, set_comparison, set_operation, written_cast, zoned};
use crate::error::{DataError, ErrorKind};
use crate::functions::by_row::ByRow;
use crate::{Error, PlanContext, Result};

/// Types a plan.
pub(crate) fn plan(plan: LogicalPlan, context: &PlanContext<'_>) -> Result<LogicalPlan> {
    let typed = Typing { context, keep_literals: false }.node(plan, &[])?;
    Ok(typed)
}

/// Types an expression over a schema.
pub(crate) fn expression(expr: Expr, schema: &DFSchema, context: &PlanContext<'_>) -> Result<Expr> {
    Ok(Typing { context, keep_literals: false }.expr(expr, schema, &[])?)
}

/// Parameters that nothing has given a type are text, as in PostgreSQL.
pub(crate) fn default_parameters(plan: LogicalPlan) -> Result<LogicalPlan> {
    let typed = plan.transform_up_with_subqueries(|node| {
        let preserver = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = preserver.save(&expr);
            Ok(text_parameters(expr)?.update_data(|expr| name.restore(expr)))
        })?;
        node.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(typed.data)
}

/// As [`default_parameters`], for an expression.
pub(crate) fn text_parameters(expr: Expr) -> DataFusionResult<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::Placeholder(Placeholder { id, field: None }) => {
            let field = Some(FieldRef::from(SqlType::Text.field(&id, true)));
            Ok(Transformed::yes(Expr::Placeholder(Placeholder { id, field })))
        }
        other => Ok(Transformed::no(other)),
    })
}

struct Typing<'a> {
    context: &'a PlanContext<'a>,
    /// Of a LIMIT, whose bare numbers DataFusion's optimizer wants to see.
    keep_literals: bool,
}

impl Typing<'_> {
    /// Types a node and all below it; `outer` are the schemas that a correlated subquery sees, the nearest first.
    fn node(&self, plan: LogicalPlan, outer: &[DFSchemaRef]) -> DataFusionResult<LogicalPlan> {
        match plan {
            LogicalPlan::Values(values) => self.values(values, outer),
            LogicalPlan::RecursiveQuery(query) => {
                let RecursiveQuery { name, static_term, recursive_term, is_distinct, .. } = query;
                let mut first = self.node(Arc::unwrap_or_clone(static_term), outer)?;
                let written = Arc::unwrap_or_clone(recursive_term);
                let coerced = recursion::coerced(&written);
                let typed = |first: &DFSchema| -> DataFusionResult<LogicalPlan> {
                    self.node(recursion::with_rows_of(written.clone(), &name, first)?, outer)
                };
                let mut term = typed(first.schema())?;
                if let Some(wide) = recursion::widened(&first, &term, &coerced)? {
                    first = wide;
                    term = typed(first.schema())?;
                }
                recursion::check_types(&first, &term, &coerced, &name)?;
                let term = recursion::without_casts(term, first.schema())?;
                LogicalPlanBuilder::from(first).to_recursive_query(name, term, is_distinct)?.build()
            }
            LogicalPlan::Limit(Limit { skip, fetch, input }) => {
                let input = Arc::new(self.node(Arc::unwrap_or_clone(input), outer)?);
                let bound = |expr: Option<Box<Expr>>| -> DataFusionResult<Option<Box<Expr>>> {
                    let as_written = Typing { context: self.context, keep_literals: true };
                    let typed = |expr: Box<Expr>| as_written.expr(*expr, &DFSchema::empty(), outer);
                    expr.map(|expr| Ok(Box::new(resolve(typed(expr)?, &SqlType::BigInt)?))).transpose()
                };
                let (skip, fetch) = (bound(skip)?, bound(fetch)?);
                if fetch.as_deref().is_some_and(is_negative) {
                    return Err(Error::new(ErrorKind::InvalidLimit, "LIMIT must not be negative").into());
                }
                if skip.as_deref().is_some_and(is_negative) {
                    return Err(Error::new(ErrorKind::InvalidOffset, "OFFSET must not be negative").into());
                }
                Ok(LogicalPlan::Limit(Limit { skip, fetch, input }))
            }
            LogicalPlan::Union(union) => {
                let inputs =
                    union.inputs.into_iter().map(|input| Ok(Arc::new(self.node(Arc::unwrap_or_clone(input), outer)?)));
                let inputs = super::union::resolved(inputs.collect::<DataFusionResult<Vec<_>>>()?)?;
                Ok(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?))
            }
            plan => {
                let plan = plan.map_children(|child| Ok(Transformed::yes(self.node(child, outer)?)))?.data;
                if let LogicalPlan::Join(join) = &plan
                    && let Some(operation) = set_operation::of_join(join, &self.context.functions.own)?
                {
                    return Ok(operation);
                }
                let schema = input_schema(&plan)?;
                super::ambiguous::check(&plan, &schema)?;
                let preserver = NamePreserver::new(&plan);
                let sorts = matches!(plan, LogicalPlan::Sort(_));
                let plan = plan.map_expressions(|expr| {
                    // The columns of grouping sets are their members.
                    let expr = match expr {
                        Expr::GroupingSet(set) => Expr::GroupingSet(members(set, |member| {
                            let name = preserver.save(&member);
                            Ok(name.restore(self.expr(member, &schema, outer)?))
                        })?),
                        expr => {
                            let name = preserver.save(&expr);
                            let typed = self.expr(expr, &schema, outer)?;
                            let own = &self.context.functions.own;
                            match sorts.then(|| keys::order(&typed, &schema, own)).transpose()?.flatten() {
                                Some(key) => key,
                                None => name.restore(typed),
                            }
                        }
                    };
                    Ok(Transformed::yes(expr))
                })?;
                keys::grouped(with_element_types(plan.data.recompute_schema()?)?, &self.context.functions.own)
            }
        }
    }

    fn expr(&self, expr: Expr, schema: &DFSchema, outer: &[DFSchemaRef]) -> DataFusionResult<Expr> {
        Ok(expr.transform_up(|expr| self.one(expr, schema, outer).map(Transformed::yes))?.data)
    }

    /// One expression whose parts are typed.
    fn one(&self, expr: Expr, schema: &DFSchema, outer: &[DFSchemaRef]) -> DataFusionResult<Expr> {
        let own = &self.context.functions.own;
        Ok(match expr {
            Expr::Literal(ScalarValue::Decimal256(Some(value), precision, scale), metadata) => match value.to_i128() {
                Some(value) if precision.min(38) >= scale.unsigned_abs() => {
                    Expr::Literal(ScalarValue::Decimal128(Some(value), 38, scale), metadata)
                }
                _ => {
                    return Err(Error::new(ErrorKind::OutOfRange, "numeric constant is out of range").into());
                }
            },
            literal @ Expr::Literal(..) if !self.keep_literals => narrowed(literal),
            Expr::OuterReferenceColumn(field, column) => {
                let found = outer.iter().find_map(|schema| schema.field_from_column(&column).ok().cloned());
                Expr::OuterReferenceColumn(found.unwrap_or(field), column)
            }
            Expr::Negative(value) if class_of(&value.get_type(schema)?) == Class::Interval => {
                own.call("interval_um", vec![*value])?
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                if let Some(planned) = zoned::operator(op, &left, &right, schema, self.context)? {
                    return Ok(planned);
                }
                match binary(op, (*left).clone(), (*right).clone(), schema, own)? {
                    Some(planned) => planned,
                    None => Expr::BinaryExpr(BinaryExpr { left, op, right }),
                }
            }
            Expr::Between(mut between) => {
                let sql_type = sql_type_of(&between.expr, schema)?;
                if !is_unknown(&between.expr) {
                    between.low = Box::new(resolve(*between.low, &sql_type)?);
                    between.high = Box::new(resolve(*between.high, &sql_type)?);
                }
                // What is not compared as Arrow does is compared by operators.
                if matches!(sql_type, SqlType::Interval | SqlType::Jsonb) && !is_unknown(&between.expr) {
                    let bound = |op, bound: &Expr| binary(op, (*between.expr).clone(), bound.clone(), schema, own);
                    let (low, high) = (bound(Operator::GtEq, &between.low)?, bound(Operator::LtEq, &between.high)?);
                    if let (Some(low), Some(high)) = (low, high) {
                        let within = low.and(high);
                        return Ok(if between.negated { Expr::Not(Box::new(within)) } else { within });
                    }
                }
                Expr::Between(between)
            }
            Expr::InList(mut list) => {
                let mut all = vec![*list.expr];
                all.append(&mut list.list);
                self.unify(&mut all, schema)?;
                list.expr = Box::new(all.remove(0));
                list.list = all;
                keys::in_list(list, schema, own)?
            }
            Expr::Case(case) => self.case(case, schema)?,
            Expr::Like(mut like) => {
                like.pattern = Box::new(resolve(*like.pattern, &SqlType::Text)?);
                Expr::Like(like)
            }
            Expr::Cast(Cast { expr, field }) => self.cast(*expr, &field, schema)?,
            Expr::ScalarFunction(function) => match written_cast::parts(&function) {
                Some((value, field)) => self.cast(value.clone(), field, schema)?,
                None => match zoned::function(function, schema, self.context)? {
                    Ok(planned) => planned,
                    Err(function) => self.scalar_function(function, schema)?,
                },
            },
            Expr::AggregateFunction(AggregateFunction { func, mut params }) => {
                argument_types(&func, &mut params.args, schema)?;
                if let ("count", true, [value]) = (func.name(), params.distinct, params.args.as_mut_slice())
                    && let Some(key) = keys::key(value, schema, own)?
                {
                    *value = key;
                }
                if order::takes_rows_in_order(&func) && !params.distinct {
                    params.order_by = order::sort_keys(params.order_by, schema, own)?;
                }
                match interval_extreme(&func, &params, schema, own)? {
                    Some(extreme) => extreme,
                    None => Expr::AggregateFunction(AggregateFunction { func, params }),
                }
            }
            Expr::WindowFunction(function) => {
                let WindowFunction { fun, mut params } = *function;
                if let WindowFunctionDefinition::AggregateUDF(func) = &fun {
                    argument_types(func, &mut params.args, schema)?;
                }
                for part in &mut params.partition_by {
                    if let Some(key) = keys::key(part, schema, own)? {
                        *part = key;
                    }
                }
                order::of_window(&mut params, schema, own)?;
                positive_place(&fun, &params.args)?;
                let WindowFunction { fun, params } = exclusion::planned(WindowFunction { fun, params }, schema)?;
                let fun = match &fun {
                    WindowFunctionDefinition::WindowUDF(function) if params.null_treatment.is_none() => {
                        let by_row = ByRow::instead_of(function, &params.args);
                        by_row.map_or(fun, WindowFunctionDefinition::WindowUDF)
                    }
                    _ => fun,
                };
                Expr::WindowFunction(Box::new(WindowFunction { fun, params }))
            }
            Expr::ScalarSubquery(subquery) => Expr::ScalarSubquery(self.subquery(subquery, schema, outer)?),
            Expr::Exists(Exists { subquery, negated }) => {
                Expr::Exists(Exists { subquery: self.subquery(subquery, schema, outer)?, negated })
            }
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                let subquery = self.subquery(subquery, schema, outer)?;
                let expr = Box::new(against_subquery(*expr, &subquery)?);
                keys::in_subquery(InSubquery { expr, subquery, negated }, schema, own)?
            }
            Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }) => {
                let subquery = self.subquery(subquery, schema, outer)?;
                let expr = Box::new(against_subquery(*expr, &subquery)?);
                let comparison = SetComparison { expr, subquery, op, quantifier };
                set_comparison::by_extremes(comparison, schema, &self.context.functions.own)?
            }
            other => other,
        })
    }

    fn subquery(&self, subquery: Subquery, schema: &DFSchema, outer: &[DFSchemaRef]) -> DataFusionResult<Subquery> {
        let mut scopes = vec![Arc::new(schema.clone())];
        scopes.extend_from_slice(outer);
        let plan = self.node(Arc::unwrap_or_clone(subquery.subquery), &scopes)?;
        let outer_ref_columns = plan.all_out_ref_exprs();
        Ok(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: subquery.spans })
    }

    fn cast(&self, expr: Expr, field: &Field, schema: &DFSchema) -> DataFusionResult<Expr> {
        let Some(target) = SqlType::of_field(field) else {
            return Ok(Expr::Cast(Cast::new(Box::new(expr), field.data_type().clone())));
        };
        if field.name() == OWN_CAST || *field.data_type() != target.data_type() {
            // A cast that this crate made.
            return Ok(Expr::Cast(Cast::new_from_field(Box::new(expr), field.clone().into())));
        }
        let zone = &self.context.settings.time_zone;
        cast::cast(expr, &target, Context::Explicit, schema, &self.context.functions.own, zone)
    }

    /// CASE: results take one type, and so do an operand and what it is compared with.
    fn case(&self, case: Case, schema: &DFSchema) -> DataFusionResult<Expr> {
        let Case { expr, when_then_expr, else_expr } = case;
        let (mut whens, mut results): (Vec<Expr>, Vec<Expr>) =
            when_then_expr.into_iter().map(|(when, then)| (*when, *then)).unzip();
        let has_else = else_expr.is_some();
        results.extend(else_expr.map(|expr| *expr));
        self.unify(&mut results, schema)?;
        let else_expr = if has_else { results.pop().map(Box::new) } else { None };
        let expr = match expr {
            Some(operand) => {
                whens.push(*operand);
                self.unify(&mut whens, schema)?;
                whens.pop().map(Box::new)
            }
            None => {
                for when in &whens {
                    let sql_type = sql_type_of(when, schema)?;
                    if !is_unknown(when) && sql_type != SqlType::Boolean {
                        let name = type_name(&sql_type);
                        let message = format!("argument of CASE/WHEN must be type boolean, not type {name}");
                        return Err(Error::new(ErrorKind::DatatypeMismatch, message).into());
                    }
                }
                None
            }
        };
        let json = json_type(results.iter().chain(else_expr.as_deref()), schema)?;
        let when_then_expr = whens.into_iter().map(Box::new).zip(results.into_iter().map(Box::new)).collect();
        Ok(typed_json(Expr::Case(Case { expr, when_then_expr, else_expr }), json))
    }

    /// What has no type takes that of the first that has one.
    fn unify(&self, exprs: &mut [Expr], schema: &DFSchema) -> DataFusionResult<()> {
        let Some(known) = exprs.iter().find(|expr| !is_unknown(expr)) else { return Ok(()) };
        let sql_type = sql_type_of(known, schema)?;
        // A constant of these is a text inside, and would be taken for one.
        let tag = matches!(sql_type, SqlType::Json | SqlType::Jsonb | SqlType::Uuid).then_some(&sql_type);
        for expr in exprs {
            match expr {
                Expr::Literal(ScalarValue::Utf8(Some(_)), None) => {
                    *expr = typed_json(resolve(std::mem::take(expr), &sql_type)?, tag.cloned());
                }
                expr if is_unknown(expr) => *expr = resolve(std::mem::take(expr), &sql_type)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Whether expressions of one type are JSON, and which of the two, or uuids: all are texts inside.
fn json_type<'e>(exprs: impl IntoIterator<Item = &'e Expr>, schema: &DFSchema) -> DataFusionResult<Option<SqlType>> {
    for expr in exprs.into_iter().filter(|expr| !is_unknown(expr)) {
        if let found @ (SqlType::Json | SqlType::Jsonb | SqlType::Uuid) = sql_type_of(expr, schema)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// DataFusion's CASE, and functions that give one of their arguments, forget that a text is JSON.
fn typed_json(expr: Expr, json: Option<SqlType>) -> Expr {
    match json {
        Some(json) => Expr::Cast(Cast::new_from_field(Box::new(expr), json.field(OWN_CAST, true).into())),
        None => expr,
    }
}

/// Grouping sets with each of their members changed.
fn members(set: GroupingSet, change: impl Fn(Expr) -> DataFusionResult<Expr>) -> DataFusionResult<GroupingSet> {
    let all = |list: Vec<Expr>| list.into_iter().map(&change).collect::<DataFusionResult<Vec<_>>>();
    Ok(match set {
        GroupingSet::Rollup(list) => GroupingSet::Rollup(all(list)?),
        GroupingSet::Cube(list) => GroupingSet::Cube(all(list)?),
        GroupingSet::GroupingSets(sets) => {
            GroupingSet::GroupingSets(sets.into_iter().map(all).collect::<DataFusionResult<_>>()?)
        }
    })
}

/// A constant below zero.
fn is_negative(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => *value < 0,
        Expr::Literal(ScalarValue::Int32(Some(value)), _) => *value < 0,
        Expr::Negative(inner) => {
            matches!(&**inner, Expr::Literal(ScalarValue::Int64(Some(1..)) | ScalarValue::Int32(Some(1..)), _))
        }
        _ => false,
    }
}

/// `expr IN (SELECT …)`: what has no type takes that of the subquery's column.
fn against_subquery(expr: Expr, subquery: &Subquery) -> DataFusionResult<Expr> {
    let column = subquery.subquery.schema().fields().first().and_then(|field| SqlType::of_field(field));
    Ok(match column {
        Some(sql_type) => resolve(expr, &sql_type)?,
        None => expr,
    })
}

/// What the expressions of a node see.
pub(super) fn input_schema(plan: &LogicalPlan) -> DataFusionResult<DFSchema> {
    if let LogicalPlan::TableScan(scan) = plan {
        return DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema());
    }
    let mut schema = DFSchema::empty();
    for input in plan.inputs() {
        schema.merge(input.schema());
    }
    Ok(schema)
}

/// `Err` for a constant number of buckets, or a place, that isn't above zero.
fn positive_place(function: &WindowFunctionDefinition, args: &[Expr]) -> Result<()> {
    let (place, error) = match function.name() {
        "ntile" => (0, DataError::Ntile),
        "nth_value" => (1, DataError::NthValue),
        _ => return Ok(()),
    };
    let Some(Expr::Literal(value, _)) = args.get(place) else { return Ok(()) };
    match value.to_string().parse::<i64>() {
        Ok(..=0) => {
            let message = format!("argument of {} must be greater than zero", function.name());
            Err(Error::new(ErrorKind::Data(error), message))
        }
        _ => Ok(()),
    }
}
