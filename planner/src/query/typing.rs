//! A pass over DataFusion's fresh logical plan that gives literals, aggregates and casts PostgreSQL's types. The operators were typed as the
//! plan was made ([`super::operator`]); they are typed again here, as the columns below them may have got other types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use catalog::sql_type::NUMERIC_DEFAULT;
use catalog::{CatalogType, SqlType};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ExprSchema, Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, AggregateFunctionParams, BinaryExpr, Case, Cast, Exists, GroupingSet, InSubquery, Placeholder,
    ScalarFunction, SetComparison, Sort, WindowFunction, WindowFunctionParams,
};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    AggregateUDF, Expr, ExprSchemable, Limit, LogicalPlan, LogicalPlanBuilder, Operator, Projection, RecursiveQuery,
    Subquery, Union, Unnest, Values, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition,
};

use super::cast::{self, Context};
use super::operator::{
    Class, OWN_CAST, binary, class_of, is_unknown, narrowed, resolve, sql_type_of, type_name, unpadded,
};
use super::{exclusion, literals, quantified, recursion, set_comparison, set_operation, written_cast, zoned};
use crate::error::ErrorKind;
use crate::{Error, PlanContext, Result};

/// Precision and scale to which an average's argument is brought: DataFusion's average adds four digits, which makes PostgreSQL's 16.
const AVG_ARGUMENT: DataType = DataType::Decimal128(38, 12);

/// Precision and scale to which the sum of a bigint is brought.
const SUM_BIGINT_ARGUMENT: DataType = DataType::Decimal128(38, 0);

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
                let first = self.node(Arc::unwrap_or_clone(static_term), outer)?;
                let term = recursion::with_rows_of(Arc::unwrap_or_clone(recursive_term), &name, first.schema())?;
                let term = recursion::without_casts(self.node(term, outer)?, first.schema())?;
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
                    && let Some(operation) = set_operation::of_join(join)?
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
                            match sorts.then(|| sort_key(&typed, &schema, own)).transpose()?.flatten() {
                                Some(key) => key,
                                None => name.restore(typed),
                            }
                        }
                    };
                    Ok(Transformed::yes(expr))
                })?;
                with_element_types(plan.data.recompute_schema()?)
            }
        }
    }

    /// VALUES: its columns take the types of all rows together.
    fn values(&self, values: Values, outer: &[DFSchemaRef]) -> DataFusionResult<LogicalPlan> {
        let empty = DFSchema::empty();
        let rows = values.values.into_iter().map(|row| {
            row.into_iter().map(|expr| self.expr(expr, &empty, outer)).collect::<DataFusionResult<Vec<_>>>()
        });
        let mut rows = rows.collect::<DataFusionResult<Vec<_>>>()?;
        let width = rows.first().map_or(0, Vec::len);
        for column in 0..width {
            let mut cells: Vec<Expr> = rows.iter_mut().map(|row| std::mem::take(&mut row[column])).collect();
            self.unify(&mut cells, &empty)?;
            one_numeric(&mut cells, &empty)?;
            for (row, cell) in rows.iter_mut().zip(cells) {
                row[column] = cell;
            }
        }
        LogicalPlanBuilder::values(rows)?.build()
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
                Expr::InList(list)
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
                if takes_rows_in_order(&func) && !params.distinct {
                    params.order_by = sort_keys(params.order_by, schema, own)?;
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
                window_order(&mut params, schema, own)?;
                Expr::WindowFunction(Box::new(exclusion::planned(WindowFunction { fun, params }, schema)?))
            }
            Expr::ScalarSubquery(subquery) => Expr::ScalarSubquery(self.subquery(subquery, schema, outer)?),
            Expr::Exists(Exists { subquery, negated }) => {
                Expr::Exists(Exists { subquery: self.subquery(subquery, schema, outer)?, negated })
            }
            Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
                let subquery = self.subquery(subquery, schema, outer)?;
                let expr = against_subquery(*expr, &subquery)?;
                Expr::InSubquery(InSubquery { expr: Box::new(expr), subquery, negated })
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
            None => None,
        };
        let when_then_expr = whens.into_iter().map(Box::new).zip(results.into_iter().map(Box::new)).collect();
        Ok(Expr::Case(Case { expr, when_then_expr, else_expr }))
    }

    /// A value as `concat` shows it: a boolean as one letter.
    fn shown(&self, expr: Expr, schema: &DFSchema) -> DataFusionResult<Expr> {
        if is_unknown(&expr) {
            return Ok(expr);
        }
        let class = class_of(&expr.get_type(schema)?);
        let text = cast::to_text(expr, schema, &self.context.functions.own)?;
        Ok(match class {
            Class::Boolean => {
                let letter = Expr::Literal(ScalarValue::Int64(Some(1)), None);
                datafusion::functions::unicode::left().call(vec![text, letter])
            }
            _ => text,
        })
    }

    /// What has no type takes that of the first that has one.
    fn unify(&self, exprs: &mut [Expr], schema: &DFSchema) -> DataFusionResult<()> {
        let Some(known) = exprs.iter().find(|expr| !is_unknown(expr)) else { return Ok(()) };
        let sql_type = sql_type_of(known, schema)?;
        for expr in exprs {
            if is_unknown(expr) {
                *expr = resolve(std::mem::take(expr), &sql_type)?;
            }
        }
        Ok(())
    }

    /// A function that text and bytea share, of bytea.
    fn of_bytes(&self, function: ScalarFunction, schema: &DFSchema) -> DataFusionResult<Expr> {
        let own = &self.context.functions.own;
        let ScalarFunction { func, mut args } = function;
        let (name, bytes) = match func.name() {
            "substr" | "substring" => ("bytea_substr", 1),
            "overlay" => ("bytea_overlay", 2),
            "strpos" | "position" => ("bytea_position", 2),
            "btrim" => ("bytea_btrim", 2),
            "ltrim" => ("bytea_ltrim", 2),
            "rtrim" => ("bytea_rtrim", 2),
            "octet_length" => ("bytea_length", 1),
            other => {
                let fields =
                    args.iter().map(|arg| Ok(arg.to_field(schema)?.1)).collect::<DataFusionResult<Vec<_>>>()?;
                return crate::functions::undefined(other, &fields);
            }
        };
        for arg in args.iter_mut().take(bytes) {
            *arg = resolve(std::mem::take(arg), &SqlType::Bytea)?;
        }
        own.call(name, args)
    }

    fn scalar_function(&self, mut function: ScalarFunction, schema: &DFSchema) -> DataFusionResult<Expr> {
        let count = function.args.len();
        for (arg, sql_type) in function.args.iter_mut().zip(literals::types(function.func.name(), count)) {
            if is_unknown(arg) {
                *arg = resolve(std::mem::take(arg), &sql_type)?;
            }
        }
        for arg in function.args.iter_mut().filter(|_| function.func.name() != "pg_typeof") {
            if let Ok(SqlType::Char(length)) = sql_type_of(arg, schema) {
                *arg = unpadded(std::mem::take(arg), &SqlType::Char(length));
            }
        }
        element_types(&mut function, schema)?;
        match function.name() {
            "any_of" | "all_of" => {
                let planned = quantified::typed(function, schema, &self.context.functions.own)?;
                return match planned {
                    list @ Expr::InList(_) => self.one(list, schema, &[]),
                    other => Ok(other),
                };
            }
            "character_length" | "length" | "char_length" => {
                if let [text] = function.args.as_slice()
                    && class_of(&text.get_type(schema)?) == Class::Bytes
                {
                    return self.context.functions.own.call("bytea_length", function.args);
                }
            }
            "substr" | "substring" | "overlay" | "strpos" | "position" | "btrim" | "ltrim" | "rtrim"
            | "octet_length" | "reverse" => {
                if let Some(first) = function.args.first()
                    && class_of(&first.get_type(schema)?) == Class::Bytes
                {
                    return self.of_bytes(function, schema);
                }
            }
            "gcd" | "lcm" => {
                let all = |wanted: DataType| {
                    function.args.iter().all(|arg| arg.get_type(schema).is_ok_and(|data_type| data_type == wanted))
                };
                if all(DataType::Int32) {
                    return Ok(super::operator::cast(Expr::ScalarFunction(function), DataType::Int32));
                }
            }
            "round" => {
                if let [value] = function.args.as_slice()
                    && class_of(&value.get_type(schema)?) == Class::Float
                {
                    return self.context.functions.own.call("float_round", function.args);
                }
            }
            // Cut to fewer digits, a numeric has fewer.
            "trunc" | "ceil" | "floor" if matches!(function.args[0].get_type(schema)?, DataType::Decimal128(..)) => {
                let digits = match function.args.get(1) {
                    None => Some(0),
                    Some(Expr::Literal(value, _)) => value.to_string().parse::<i8>().ok(),
                    Some(_) => None,
                };
                if let (DataType::Decimal128(precision, scale), Some(digits)) =
                    (function.args[0].get_type(schema)?, digits)
                {
                    let target = DataType::Decimal128(precision, digits.clamp(0, scale.max(0)));
                    return Ok(super::operator::cast(Expr::ScalarFunction(function), target));
                }
            }
            "concat" | "concat_ws" => {
                for arg in &mut function.args {
                    *arg = self.shown(std::mem::take(arg), schema)?;
                }
            }
            "to_number" => {
                if let [_, Expr::Literal(pattern, _)] = function.args.as_slice() {
                    let scale = crate::functions::to_number::scale(&pattern.to_string());
                    let scale = i8::try_from(scale.min(usize::from(NUMERIC_DEFAULT.1.unsigned_abs()))).unwrap_or(0);
                    let call = self.context.functions.own.call("to_number", function.args)?;
                    return Ok(super::operator::cast(call, DataType::Decimal128(NUMERIC_DEFAULT.0, scale)));
                }
            }
            "coalesce" | "nullif" | "greatest" | "least" => self.unify(&mut function.args, schema)?,
            "pg_typeof" => {
                if let [value] = function.args.as_slice() {
                    let name =
                        if is_unknown(value) { "unknown".to_owned() } else { type_name(&sql_type_of(value, schema)?) };
                    let name = Expr::Literal(ScalarValue::Utf8View(Some(name)), None);
                    let field = SqlType::Catalog(CatalogType::RegType).field("", true);
                    return Ok(Expr::Cast(Cast::new_from_field(Box::new(name), field.into())));
                }
            }
            "generate_series" => series_arguments(&mut function.args, schema)?,
            _ => {
                // A parameter among numbers is a number.
                let numeric = function.args.iter().find(|arg| {
                    !is_unknown(arg)
                        && arg.get_type(schema).is_ok_and(|data_type| {
                            matches!(class_of(&data_type), Class::Integer | Class::Decimal | Class::Float)
                        })
                });
                let all_numeric = function.args.iter().all(|arg| {
                    matches!(arg, Expr::Placeholder(_))
                        || arg.get_type(schema).is_ok_and(|data_type| {
                            matches!(class_of(&data_type), Class::Integer | Class::Decimal | Class::Float)
                        })
                });
                if let (Some(numeric), true) = (numeric, all_numeric) {
                    let sql_type = sql_type_of(numeric, schema)?;
                    for arg in &mut function.args {
                        if matches!(arg, Expr::Placeholder(_)) {
                            *arg = resolve(std::mem::take(arg), &sql_type)?;
                        }
                    }
                }
            }
        }
        Ok(Expr::ScalarFunction(function))
    }
}

/// Beside an array, what has no type is one of its elements.
fn element_types(function: &mut ScalarFunction, schema: &DFSchema) -> DataFusionResult<()> {
    let array_at = match function.name() {
        "array_append" | "array_position" | "array_positions" | "array_remove" | "array_replace" => 0,
        "array_prepend" => 1,
        "array_cat" | "array_overlap" | "array_contains" => {
            let known =
                function.args.iter().find(|arg| !is_unknown(arg)).map(|arg| sql_type_of(arg, schema)).transpose()?;
            if let Some(known @ SqlType::Array(_)) = known {
                for arg in function.args.iter_mut().filter(|arg| is_unknown(arg)) {
                    *arg = resolve(std::mem::take(arg), &known)?;
                }
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    let Some(array) = function.args.get(array_at).filter(|array| !is_unknown(array)) else { return Ok(()) };
    if let SqlType::Array(element) = sql_type_of(array, schema)? {
        for (_, arg) in function.args.iter_mut().enumerate().filter(|(at, arg)| *at != array_at && is_unknown(arg)) {
            *arg = resolve(std::mem::take(arg), &element)?;
        }
    }
    Ok(())
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

/// Arguments without a type take that of the series; the third of times is an interval.
fn series_arguments(args: &mut [Expr], schema: &DFSchema) -> DataFusionResult<()> {
    let fields = args.iter().map(|arg| match is_unknown(arg) {
        true => Ok(Field::new("", DataType::Null, true).into()),
        false => Ok(arg.to_field(schema)?.1),
    });
    let element = crate::functions::series::element_of(&fields.collect::<DataFusionResult<Vec<_>>>()?)?;
    let is_time = matches!(element, SqlType::Timestamp | SqlType::Timestamptz);
    for (position, arg) in args.iter_mut().enumerate().filter(|(_, arg)| is_unknown(arg)) {
        let wanted = if is_time && position == 2 { &SqlType::Interval } else { &element };
        *arg = resolve(std::mem::take(arg), wanted)?;
    }
    Ok(())
}

/// `expr IN (SELECT …)`: what has no type takes that of the subquery's column.
fn against_subquery(expr: Expr, subquery: &Subquery) -> DataFusionResult<Expr> {
    let column = subquery.subquery.schema().fields().first().and_then(|field| SqlType::of_field(field));
    Ok(match column {
        Some(sql_type) => resolve(expr, &sql_type)?,
        None => expr,
    })
}

/// sum(bigint) and avg of integers and numerics are numeric in PostgreSQL.
fn argument_types(func: &AggregateUDF, args: &mut [Expr], schema: &DFSchema) -> DataFusionResult<()> {
    let [arg] = args else {
        return match func.name() {
            "count" if args.len() > 1 => {
                let fields =
                    args.iter().map(|arg| Ok(arg.to_field(schema)?.1)).collect::<DataFusionResult<Vec<_>>>()?;
                crate::functions::undefined("count", &fields)
            }
            _ => Ok(()),
        };
    };
    let data_type = arg.get_type(schema)?;
    let target = match func.name() {
        "sum" if matches!(data_type, DataType::Int64 | DataType::UInt64) => SUM_BIGINT_ARGUMENT,
        "avg" if data_type.is_integer() => AVG_ARGUMENT,
        "avg" if matches!(data_type, DataType::Decimal128(_, scale) if scale < 12) => AVG_ARGUMENT,
        _ => return Ok(()),
    };
    *arg = Expr::Cast(Cast::new(Box::new(std::mem::take(arg)), target));
    Ok(())
}

/// Numerics of several precisions in a column of VALUES become numerics of one.
fn one_numeric(cells: &mut [Expr], schema: &DFSchema) -> DataFusionResult<()> {
    let mut widest: Option<(u8, i8)> = None;
    let mut fields = Vec::with_capacity(cells.len());
    for cell in cells.iter() {
        let (_, field) = cell.to_field(schema)?;
        match field.data_type() {
            DataType::Decimal128(precision, scale) => {
                let (whole, most) = widest.unwrap_or((0, 0));
                widest = Some((whole.max(precision.saturating_sub(scale.unsigned_abs())), most.max(*scale)));
            }
            data_type if data_type.is_integer() || data_type.is_null() => {}
            _ => return Ok(()),
        }
        fields.push(field);
    }
    let first = fields.first();
    let Some((whole, scale)) = widest else { return Ok(()) };
    if fields.iter().all(|field| Some(field.metadata()) == first.map(|first| first.metadata())) {
        return Ok(());
    }
    let precision = (whole + scale.unsigned_abs()).clamp(10, 38);
    let metadata = SqlType::Numeric(None).field("", true).metadata().clone();
    let field = Field::new(OWN_CAST, DataType::Decimal128(precision, scale), true).with_metadata(metadata);
    let field = FieldRef::from(field);
    for cell in cells {
        *cell = Expr::Cast(Cast::new_from_field(Box::new(std::mem::take(cell)), field.clone()));
    }
    Ok(())
}

/// `max` and `min` of intervals are the first by length: DataFusion's compare their parts.
fn interval_extreme(
    func: &Arc<AggregateUDF>,
    params: &AggregateFunctionParams,
    schema: &DFSchema,
    own: &crate::functions::OwnFunctions,
) -> DataFusionResult<Option<Expr>> {
    let [value] = params.args.as_slice() else { return Ok(None) };
    if !matches!(func.name(), "max" | "min") || class_of(&value.get_type(schema)?) != Class::Interval {
        return Ok(None);
    }
    let length = own.call("interval_length", vec![value.clone()])?;
    let present = value.clone().is_not_null();
    let filter = match &params.filter {
        Some(filter) => present.and((**filter).clone()),
        None => present,
    };
    let params = AggregateFunctionParams {
        filter: Some(Box::new(filter)),
        order_by: vec![length.sort(func.name() == "min", false)],
        distinct: false,
        ..params.clone()
    };
    let func = datafusion::functions_aggregate::first_last::first_value_udaf();
    Ok(Some(Expr::AggregateFunction(AggregateFunction { func, params })))
}

/// What the values of a type are sorted by, where it is not the values as Arrow compares them.
fn sort_key(expr: &Expr, schema: &DFSchema, own: &crate::functions::OwnFunctions) -> DataFusionResult<Option<Expr>> {
    if is_unknown(expr) {
        return Ok(None);
    }
    let function = match sql_type_of(expr, schema)? {
        SqlType::Jsonb => "jsonb_sort_key",
        SqlType::Interval => "interval_length",
        _ => return Ok(None),
    };
    own.call(function, vec![expr.clone()]).map(Some)
}

/// The keys by which a call sorts its rows, as a query's ORDER BY has them.
fn sort_keys(keys: Vec<Sort>, schema: &DFSchema, own: &crate::functions::OwnFunctions) -> DataFusionResult<Vec<Sort>> {
    let keys = keys.into_iter().map(|mut key| {
        if let Some(expr) = sort_key(&key.expr, schema, own)? {
            key.expr = expr;
        }
        Ok(key)
    });
    keys.collect()
}

/// As [`sort_keys`], of a window; with a frame that can be had over keys of any type.
fn window_order(
    params: &mut WindowFunctionParams,
    schema: &DFSchema,
    own: &crate::functions::OwnFunctions,
) -> DataFusionResult<()> {
    let frame = &mut params.window_frame;
    let is_offset = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) => !offset.is_null(),
        WindowFrameBound::CurrentRow => false,
    };
    let is_range = frame.units == WindowFrameUnits::Range;
    let has_offset = is_range && (is_offset(&frame.start_bound) || is_offset(&frame.end_bound));
    let keys = sort_keys(params.order_by.clone(), schema, own)?;
    if has_offset && keys != params.order_by {
        let key = params.order_by.iter().zip(&keys).find(|(key, sorted)| key != sorted).map(|(key, _)| &key.expr);
        let name = key.map(|key| sql_type_of(key, schema)).transpose()?.map_or_else(String::new, |key| key.to_string());
        return Err(Error::unsupported(format!("RANGE with an offset over values of the type {name}")).into());
    }
    params.order_by = keys;
    let Some(first) = params.order_by.first() else { return Ok(()) };
    // DataFusion has RANGE over some types only. Without an offset it is GROUPS: the rows up to those that are equal.
    let first = first.expr.get_type(schema)?;
    if is_range && !has_offset && (first.is_binary() || matches!(first, DataType::Time64(_) | DataType::Interval(_))) {
        frame.units = WindowFrameUnits::Groups;
    }
    Ok(())
}

/// Whether an aggregate's ORDER BY says in which order it takes its rows, and nothing else.
fn takes_rows_in_order(func: &AggregateUDF) -> bool {
    matches!(func.name(), "array_agg" | "string_agg" | "first_value" | "last_value" | "nth_value")
}

/// DataFusion's UNNEST forgets what an array says about the SQL type of its elements, and takes only one level of arrays in arrays apart.
fn with_element_types(plan: LogicalPlan) -> DataFusionResult<LogicalPlan> {
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
            return Err(crate::Error::unsupported("UNNEST of an array of arrays beside another array").into());
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
