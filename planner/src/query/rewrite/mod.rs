//! PostgreSQL's syntax as DataFusion's planner understands it: column names, clauses of other spelling, special functions. What
//! DataFusion's planner would overlook is refused here, where it still has a place in the text.

mod calls;
mod clauses;
mod literals;
mod names;
mod operators;

use std::collections::HashMap;
use std::ops::ControlFlow;

use sql::Span;
use sql::ast::{
    AccessExpr, BinaryOperator, CastKind, CeilFloorKind, DataType, DateTimeField, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentList, FunctionArguments, GroupByExpr, Ident, ObjectName, Query, Select,
    SelectItem, SetExpr, Spanned, TableFactor, UnaryOperator, Value, VisitorMut,
};
use sql::walk;

pub(super) use self::calls::{plain_arguments, unqualified};
use self::clauses::{clauses, positions_in_distinct, supported_select, table_factor, whole_names_in_wildcards};
use self::literals::{interval_literal, interval_of_fields, is_open, moving_time, string_literal, value_text};
use self::names::Namer;
use self::operators::{
    between_symmetric, distinct_from_text, is_distinct, loosened, named_operator, regex_function, signed_base,
    take_symmetric_mark,
};

use super::as_of::written as as_of;
use super::from_columns::FromColumns;
use super::key_columns::{self, Ungrouped};
use super::name::folded;
use super::using::{Merged, Wider};
use super::{
    literal, literals as arguments, number, operator, placement, quantified, row_value, scope, set_returning, types,
    written_cast,
};
use crate::error::ErrorKind;
use crate::functions::FunctionRegistry;
use crate::{Error, PlanContext, Result};

/// What says something about the session, without parentheses too.
const SESSION_VALUES: [&str; 6] =
    ["current_user", "session_user", "user", "current_role", "current_catalog", "current_schema"];

/// What rewriting a query has found out.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    /// Column names that were made unique, and what the user is to see instead.
    pub(crate) visible: HashMap<String, String>,
    /// Columns that are neither grouped by nor in an aggregate.
    pub(crate) ungrouped: Vec<Ungrouped>,
    /// Columns that joins have made one of two.
    pub(crate) merged: Vec<Merged>,
}

/// Rewrites a query in place. With `all_unique` every column of the outermost SELECT list that is no wildcard gets a name of its own: the
/// second attempt when names of a wildcard and others collide.
/// `wider`: the columns that are known to be merged of different types.
pub(crate) fn query(
    query: &mut Query,
    context: &PlanContext<'_>,
    all_unique: bool,
    wider: Vec<Wider>,
) -> Result<Rewritten> {
    super::pg_rewrite::query(query, context);
    super::shadowed::rename(query);
    super::ordered_input::kept(query);
    let columns = FromColumns::new(context).with_wider(wider);
    let mut rewriter = Rewriter { context, all_unique, depth: 0, columns, rewritten: Rewritten::default() };
    match walk::change(query, &mut rewriter) {
        ControlFlow::Continue(()) => Ok(Rewritten { merged: rewriter.columns.merged, ..rewriter.rewritten }),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// Rewrites an expression in place.
pub(crate) fn expression(expr: &mut Expr, context: &PlanContext<'_>) -> Result<()> {
    set_returning::refuse(expr, "here")?;
    let columns = FromColumns::new(context);
    let mut rewriter = Rewriter { context, all_unique: false, depth: 1, columns, rewritten: Rewritten::default() };
    match walk::change(expr, &mut rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Rewriter<'a> {
    context: &'a PlanContext<'a>,
    all_unique: bool,
    depth: usize,
    /// The columns of what stands in FROM.
    columns: FromColumns<'a>,
    rewritten: Rewritten,
}

type Flow = ControlFlow<Box<Error>>;

fn flow(result: Result<()>) -> Flow {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(Box::new(error)),
    }
}

fn place(node: &impl Spanned) -> Option<Span> {
    Span::of_parser(node.span())
}

impl VisitorMut for Rewriter<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> Flow {
        self.depth += 1;
        flow(super::common_tables::in_order(query))?;
        flow(super::cycle::in_with(query, &mut self.columns))?;
        self.columns.enter(query);
        flow(super::column_aliases::complete(query, &mut self.columns))?;
        flow(super::recursion::check(query, self.context.functions))?;
        super::values::one_type(&mut query.body);
        row_value::in_order_by(query);
        flow(super::windows::in_query(query))?;
        let rewritten = clauses(query).and_then(|()| joins(&mut query.body, self.context));
        flow(rewritten.and_then(|()| super::using::rewrite(query, &mut self.columns)))?;
        let ungrouped = key_columns::in_query(query, &mut self.columns, self.context);
        if let Some(column) = ungrouped.iter().find(|column| column.within) {
            return ControlFlow::Break(Box::new(column.error()));
        }
        self.rewritten.ungrouped.extend(ungrouped);
        flow(super::over_groups::in_query(query, &mut self.columns, self.context))?;
        flow(set_returning::in_query(query))
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> Flow {
        self.depth -= 1;
        self.columns.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> Flow {
        if let Err(error) = supported_select(select).and_then(|()| placement::check(select, self.context.functions)) {
            return ControlFlow::Break(Box::new(error));
        }
        if let Err(error) = as_of::mark(select) {
            return ControlFlow::Break(Box::new(error));
        }
        whole_names_in_wildcards(select);
        positions_in_distinct(select);
        super::grouping::in_select(select);
        super::one_group::in_select(select, self.context.functions);
        let mut discarded = HashMap::new();
        let outermost = self.depth == 1;
        let mut all_unique = self.all_unique && outermost;
        if all_unique {
            // What a star stands for collides with nothing unseen once it is written out.
            let relations = scope::relations(&select.from, &mut self.columns, self.context);
            all_unique = !scope::write_out(&mut select.projection, &relations);
        }
        let visible = if outermost { &mut self.rewritten.visible } else { &mut discarded };
        Namer { all_unique, visible }.name(&mut select.projection);
        row_value::in_group_by(select);
        if let Err(error) = super::row_in::in_select(select) {
            return ControlFlow::Break(Box::new(error));
        }
        if let Err(error) = super::exists::in_list(select, self.context.functions) {
            return ControlFlow::Break(Box::new(error));
        }
        let apart = set_returning::apart_from_columns(select);
        flow(apart.and_then(|()| set_returning::in_select(select, self.context.functions)))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> Flow {
        match set_returning::relation(factor, &mut self.rewritten.visible) {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => flow(table_factor(factor)),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> Flow {
        flow(self.expr(expr))
    }
}

/// Gives joins with one row of the right side their form, in all SELECTs of a body.
fn joins(body: &mut SetExpr, context: &PlanContext<'_>) -> Result<()> {
    match body {
        SetExpr::Select(select) => as_of::normalize(select, context),
        SetExpr::SetOperation { left, right, .. } => {
            joins(left, context)?;
            joins(right, context)
        }
        _ => Ok(()),
    }
}

impl Rewriter<'_> {
    fn expr(&self, expr: &mut Expr) -> Result<()> {
        let span = place(expr);
        if let Some(written_out) = row_value::rewritten(expr, span)? {
            *expr = written_out;
            return Ok(());
        }
        if let Expr::Subquery(query) = &*expr
            && let Some(value) = bare_value(query, self.context.functions)
        {
            *expr = Expr::Nested(Box::new(value));
            return Ok(());
        }
        match expr {
            Expr::Tuple(fields) => *expr = call("row", std::mem::take(fields)),
            Expr::IsNormalized { expr: text, form, negated } => {
                let form = form.as_ref().map_or_else(|| "NFC".to_owned(), ToString::to_string);
                let form = Expr::value(Value::SingleQuotedString(form));
                let is = call("is_normalized", vec![(**text).clone(), form]);
                *expr = match negated {
                    true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(is) },
                    false => is,
                };
            }
            Expr::Substring {
                expr: text,
                substring_from: Some(pattern),
                substring_for: Some(escape),
                shorthand: false,
                ..
            } if string_literal(pattern).is_some() && string_literal(escape).is_some() => {
                *expr = call("substring_similar", vec![(**text).clone(), (**pattern).clone(), (**escape).clone()]);
            }
            // They are read as something of their own, and are functions like others.
            Expr::Ceil { expr: value, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                *expr = call("ceil", vec![(**value).clone()]);
                return self.expr(expr);
            }
            Expr::Floor { expr: value, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                *expr = call("floor", vec![(**value).clone()]);
                return self.expr(expr);
            }
            Expr::Function(function) => {
                calls::constants_in_order(function);
                if let Some(replacement) = self.function(function, span)? {
                    *expr = replacement;
                }
            }
            Expr::Identifier(ident) if ident.quote_style.is_none() => {
                let name = ident.value.to_lowercase();
                if SESSION_VALUES.contains(&name.as_str()) {
                    *expr = self.session_value(&name);
                }
            }
            Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => {
                is_distinct(expr);
                distinct_from_text(expr);
            }
            Expr::BinaryOp { op: BinaryOperator::And, .. } | Expr::UnaryOp { op: UnaryOperator::Not, .. } => {
                loosened(expr);
            }
            Expr::Between { low, .. } => {
                if take_symmetric_mark(low) {
                    *expr = between_symmetric(expr);
                }
            }
            // `= ANY (SELECT …)` is IN, `<> ALL (SELECT …)` is NOT IN.
            Expr::AnyOp { left, compare_op, right, .. } => match (subquery_of(right), &compare_op) {
                (Some(subquery), BinaryOperator::Eq) => {
                    *expr = Expr::InSubquery { expr: left.clone(), subquery, negated: false };
                }
                (Some(_), _) => {}
                (None, op) => *expr = quantified::call("any_of", op, left, right)?,
            },
            Expr::AllOp { left, compare_op, right } => match (subquery_of(right), &compare_op) {
                (Some(subquery), BinaryOperator::NotEq) => {
                    *expr = Expr::InSubquery { expr: left.clone(), subquery, negated: true };
                }
                (Some(_), _) => {}
                (None, op) => *expr = quantified::call("all_of", op, left, right)?,
            },
            Expr::Like { .. } | Expr::ILike { .. } if quantified::like(expr).is_some() => {
                if let Some(replacement) = quantified::like(expr) {
                    *expr = replacement;
                }
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                if let Some(field) = field_of_row(root, access_chain) {
                    *expr = field;
                    return Ok(());
                }
                // `relation.array[1]` is DataFusion's.
                let is_name = matches!(**root, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                if !is_name && matches!(access_chain.first(), Some(AccessExpr::Dot(_))) {
                    let error = Error::unsupported("the field of a value that is no row of a relation in FROM");
                    return Err(error.at(place(&**root)));
                }
                if let Some(replacement) = super::subscript::of(root, access_chain) {
                    *expr = replacement;
                }
            }
            Expr::Like { pattern, escape_char: escape @ Some(_), .. }
            | Expr::ILike { pattern, escape_char: escape @ Some(_), .. } => {
                let arguments = [(**pattern).clone()].into_iter().chain(escape.take().map(Expr::Value));
                **pattern = call("like_escape", arguments.collect());
            }
            Expr::Like { negated, any: false, expr: text, pattern, escape_char: None }
            | Expr::ILike { negated, any: false, expr: text, pattern, escape_char: None }
                if string_literal(pattern).is_some_and(is_open) =>
            {
                let (negated, operands) = (*negated, vec![(**text).clone(), (**pattern).clone()]);
                let name = if matches!(expr, Expr::Like { .. }) { "like_open" } else { "ilike_open" };
                let like = call(name, operands);
                *expr = match negated {
                    true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(like) },
                    false => like,
                };
            }
            Expr::SimilarTo { negated, expr: text, pattern, escape_char } => {
                let mut arguments = vec![(**pattern).clone()];
                arguments.extend(escape_char.iter().map(|character| Expr::Value(character.clone())));
                let matches = call("textregexeq", vec![(**text).clone(), call("similar_to_escape", arguments)]);
                *expr = match negated {
                    true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(matches) },
                    false => matches,
                };
            }
            // A sign binds more tightly than a power: `-5 ^ 2` is 25.
            Expr::UnaryOp { op: sign @ (UnaryOperator::Minus | UnaryOperator::Plus), expr: operand }
                if matches!(**operand, Expr::BinaryOp { op: BinaryOperator::PGExp, .. }) =>
            {
                signed_base(operand, *sign);
                *expr = std::mem::replace(&mut **operand, Expr::value(Value::Null));
            }
            Expr::UnaryOp { op, expr: operand } => {
                if let Some(mark) = super::exclusion::mark(op, operand) {
                    *expr = mark;
                } else if let Some(replacement) = super::second_names::unary(op, operand) {
                    *expr = replacement;
                }
            }
            Expr::BinaryOp { left, op: BinaryOperator::PGStartsWith, right } => {
                *expr = call("starts_with", vec![(**left).clone(), (**right).clone()]);
            }
            Expr::Substring {
                expr: text,
                substring_from: Some(pattern),
                substring_for: None,
                shorthand: false,
                ..
            } if string_literal(pattern).is_some() => {
                *expr = call("substring_matching", vec![(**text).clone(), (**pattern).clone()]);
            }
            // As functions they are found where others are.
            Expr::Substring { expr: text, substring_from, substring_for, .. } => {
                let first = || Expr::value(Value::Number("1".to_owned(), false));
                let mut arguments = vec![(**text).clone(), substring_from.as_deref().cloned().unwrap_or_else(first)];
                arguments.extend(substring_for.as_deref().cloned());
                let mut substring = call("substr", arguments);
                if let Expr::Function(function) = &mut substring {
                    arguments::read(function, "substr");
                }
                *expr = substring;
            }
            Expr::Position { expr: sought, r#in } => {
                *expr = call("strpos", vec![(**r#in).clone(), (**sought).clone()]);
            }
            Expr::Overlay { expr: text, overlay_what, overlay_from, overlay_for } => {
                let mut arguments = vec![(**text).clone(), (**overlay_what).clone(), (**overlay_from).clone()];
                arguments.extend(overlay_for.as_deref().cloned());
                let mut overlay = call("overlay", arguments);
                if let Expr::Function(function) = &mut overlay {
                    arguments::read(function, "overlay");
                }
                *expr = overlay;
            }
            Expr::Extract { field, expr: value, .. } => {
                let field = field.to_string();
                let unit = Expr::value(Value::SingleQuotedString(field.trim_matches('\'').to_lowercase()));
                *expr = call("extract", vec![unit, (**value).clone()]);
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                *expr = call("timezone", vec![(**time_zone).clone(), (**timestamp).clone()]);
            }
            Expr::Collate { expr: inner, collation } => {
                let name = collation.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
                if !["C", "POSIX", "default", "ucs_basic", "C.UTF-8"].contains(&name.as_str()) {
                    let hint = "Text is compared by code point: the collation \"C\".";
                    return Err(Error::unsupported(format!("collation \"{name}\"")).with_hint(hint).at(span));
                }
                *expr = (**inner).clone();
            }
            // DataFusion's planner forgets outer rows and the types of parameters within brackets.
            Expr::Array(array) => {
                if ragged(&array.elem) {
                    let message = "multidimensional arrays must have array expressions with matching dimensions";
                    return Err(Error::new(ErrorKind::InvalidSubscript, message).at(span));
                }
                *expr = call("make_array", std::mem::take(&mut array.elem));
            }
            Expr::BinaryOp { op: op @ BinaryOperator::PGCustomBinaryOperator(_), .. } => {
                if let BinaryOperator::PGCustomBinaryOperator(parts) = op {
                    *op = named_operator(parts, span)?;
                    // It may be one that is done here.
                    return self.expr(expr);
                }
            }
            Expr::BinaryOp { left, op, right } if regex_function(op).is_some() => {
                let name = regex_function(op).unwrap_or_default();
                *expr = call(name, vec![(**left).clone(), (**right).clone()]);
            }
            Expr::Interval(interval) => {
                let digits = interval.fractional_seconds_precision.or(interval.leading_precision);
                *interval = interval_literal(interval, span)?;
                if let Some(digits) = digits.filter(|digits| *digits < 6) {
                    let digits = Expr::value(Value::Number(digits.to_string(), false));
                    *expr = call("interval_scale", vec![expr.clone(), digits]);
                }
            }
            Expr::Cast { expr: inner, data_type: DataType::Interval { fields: Some(fields), precision }, .. } => {
                *expr = interval_of_fields(inner, *fields, *precision);
                return self.expr(expr);
            }
            Expr::Cast { expr: inner, data_type, array: false, .. }
                if string_literal(inner).is_some_and(|text| moving_time(text, data_type).is_some()) =>
            {
                if let Some(moving) = string_literal(inner).and_then(|text| moving_time(text, data_type)) {
                    *expr = moving;
                }
            }
            Expr::TypedString(typed)
                if value_text(&typed.value.value).is_some_and(|text| moving_time(text, &typed.data_type).is_some()) =>
            {
                if let Some(moving) =
                    value_text(&typed.value.value).and_then(|text| moving_time(text, &typed.data_type))
                {
                    *expr = moving;
                }
            }
            Expr::Cast { expr: inner, data_type, kind, array: false, format } => {
                if let Some(function) = self.special_cast(data_type) {
                    *expr = call(&function, vec![(**inner).clone()]);
                } else {
                    let target = types::sql_type(data_type).map_err(|error| error.at(span))?;
                    if let (CastKind::Cast | CastKind::DoubleColon, Some(text)) = (&kind, string_literal(inner)) {
                        literal::parse(text, &operator::of_literal(text, target))
                            .map_err(|error| error.at(place(&**inner)))?;
                    }
                    if matches!(kind, CastKind::Cast | CastKind::DoubleColon) && format.is_none() {
                        let rounding = types::seconds_rounding(data_type);
                        let cast = written_cast::call((**inner).clone(), data_type.clone());
                        *expr = match rounding {
                            Some((function, digits)) => {
                                call(function, vec![cast, Expr::value(Value::Number(digits.to_string(), false))])
                            }
                            None => cast,
                        };
                    }
                }
            }
            Expr::TypedString(typed) => {
                let span = place(&typed.value).or(span);
                let target = types::sql_type(&typed.data_type).map_err(|error| error.at(span))?;
                if let Some(text) = value_text(&typed.value.value) {
                    literal::parse(text, &operator::of_literal(text, target)).map_err(|error| error.at(span))?;
                }
                if let Some((function, digits)) = types::seconds_rounding(&typed.data_type) {
                    let value = written_cast::call(Expr::Value(typed.value.clone()), typed.data_type.clone());
                    *expr = call(function, vec![value, Expr::value(Value::Number(digits.to_string(), false))]);
                }
            }
            Expr::Value(value) => match &mut value.value {
                Value::Number(text, _) => {
                    if let Some(constant) = number::rewritten(text) {
                        *expr = constant;
                    }
                }
                Value::UnicodeStringLiteral(text) => value.value = Value::SingleQuotedString(std::mem::take(text)),
                Value::SingleQuotedByteStringLiteral(_) | Value::HexStringLiteral(_) => {
                    return Err(Error::unsupported("type bit").at(span));
                }
                Value::NationalStringLiteral(text) => value.value = Value::SingleQuotedString(std::mem::take(text)),
                Value::Placeholder(name)
                    if !name.strip_prefix('$').is_some_and(|n| n.parse::<u16>().is_ok_and(|n| n > 0)) =>
                {
                    return Err(
                        Error::new(ErrorKind::UndefinedParameter, format!("there is no parameter {name}")).at(span)
                    );
                }
                _ => {}
            },
            Expr::MemberOf(_) | Expr::MatchAgainst { .. } | Expr::OuterJoin(_) | Expr::Prior(_) => {
                return Err(Error::unsupported("this expression").at(span));
            }
            _ => {}
        }
        Ok(())
    }
}

/// `(t).column`.
fn field_of_row(root: &Expr, chain: &[AccessExpr]) -> Option<Expr> {
    let Expr::Nested(root) = root else { return None };
    match (&**root, chain) {
        (Expr::Identifier(relation), [AccessExpr::Dot(Expr::Identifier(column))]) => {
            Some(Expr::CompoundIdentifier(vec![relation.clone(), column.clone()]))
        }
        _ => None,
    }
}

/// What `(SELECT x)` gives: `x`, as nothing in it reads rows.
fn bare_value(query: &Query, functions: &FunctionRegistry) -> Option<Expr> {
    let SetExpr::Select(select) = &*query.body else { return None };
    let plain =
        query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    let keys = matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let conditions = [&select.selection, &select.having, &select.qualify];
    if !plain || !keys || !select.from.is_empty() || select.distinct.is_some() || conditions.iter().any(|c| c.is_some())
    {
        return None;
    }
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] => {
            calls::is_of_row(value, functions).then(|| value.clone())
        }
        _ => None,
    }
}

pub(super) fn subquery_of(expr: &Expr) -> Option<Box<Query>> {
    match expr {
        Expr::Subquery(query) => Some(query.clone()),
        Expr::Nested(inner) => subquery_of(inner),
        _ => None,
    }
}

pub(super) fn cast(expr: Expr, type_name: &str) -> Expr {
    Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(expr),
        data_type: DataType::Custom(ObjectName::from(vec![Ident::new(type_name)]), Vec::new()),
        array: false,
        format: None,
    }
}

/// A call of a function by name.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let args = args.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Whether arrays within an array have different lengths.
fn ragged(elements: &[Expr]) -> bool {
    let lengths = elements.iter().map(|element| match element {
        Expr::Function(function) if function.name.to_string() == "make_array" => match &function.args {
            FunctionArguments::List(list) => Some(list.args.len()),
            _ => None,
        },
        _ => None,
    });
    let known: Vec<usize> = lengths.flatten().collect();
    known.windows(2).any(|pair| pair[0] != pair[1])
}
