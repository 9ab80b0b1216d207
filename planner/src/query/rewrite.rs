//! PostgreSQL's syntax as DataFusion's planner understands it: column names, clauses of other spelling, special functions. What
//! DataFusion's planner would overlook is refused here, where it still has a place in the text.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use arrow::datatypes::IntervalMonthDayNano;
use catalog::nearest;
use sql::Span;
use sql::ast::{
    self, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, LimitClause, ObjectName, Query, Select, SelectItem, SetExpr, SetOperator, Spanned,
    TableFactor, UnaryOperator, Value, VisitorMut,
};
use sql::walk;

use super::as_of::written as as_of;
use super::name::{column_name, folded};
use super::{
    interval, literal, number, operator, placement, quantified, row_value, set_returning, types, written_cast,
};
use crate::error::ErrorKind;
use crate::{Error, PlanContext, Result};

/// What says something about the session, without parentheses too.
const SESSION_VALUES: [&str; 6] =
    ["current_user", "session_user", "user", "current_role", "current_catalog", "current_schema"];

/// What rewriting a query has found out.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    /// Column names that were made unique, and what the user is to see instead.
    pub(crate) visible: HashMap<String, String>,
}

/// Rewrites a query in place. With `all_unique` every column of the outermost SELECT list that is no wildcard gets a name of its own: the
/// second attempt when names of a wildcard and others collide.
pub(crate) fn query(query: &mut Query, context: &PlanContext<'_>, all_unique: bool) -> Result<Rewritten> {
    super::pg_rewrite::query(query, context);
    let mut rewriter = Rewriter { context, all_unique, depth: 0, rewritten: Rewritten::default() };
    match walk::change(query, &mut rewriter) {
        ControlFlow::Continue(()) => Ok(rewriter.rewritten),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// Rewrites an expression in place.
pub(crate) fn expression(expr: &mut Expr, context: &PlanContext<'_>) -> Result<()> {
    set_returning::refuse(expr, "here")?;
    let mut rewriter = Rewriter { context, all_unique: false, depth: 1, rewritten: Rewritten::default() };
    match walk::change(expr, &mut rewriter) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

struct Rewriter<'a> {
    context: &'a PlanContext<'a>,
    all_unique: bool,
    depth: usize,
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

/// A number in a call's ORDER BY is a constant, and counts no column; DataFusion would take a bare one for a place in the input.
fn constants_in_order(function: &mut Function) {
    let clauses = match &mut function.args {
        FunctionArguments::List(list) => list.clauses.as_mut_slice(),
        _ => &mut [],
    };
    let in_arguments = clauses.iter_mut().filter_map(|clause| match clause {
        ast::FunctionArgumentClause::OrderBy(order) => Some(order),
        _ => None,
    });
    let over = match &mut function.over {
        Some(ast::WindowType::WindowSpec(spec)) => Some(&mut spec.order_by),
        _ => None,
    };
    for key in in_arguments.chain(over).flatten().chain(&mut function.within_group) {
        if matches!(&key.expr, Expr::Value(value) if matches!(value.value, Value::Number(..))) {
            let number = std::mem::replace(&mut key.expr, Expr::value(Value::Null));
            key.expr = Expr::Nested(Box::new(number));
        }
    }
}

impl VisitorMut for Rewriter<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, query: &mut Query) -> Flow {
        self.depth += 1;
        flow(super::recursion::check(query, self.context.functions))?;
        super::values::one_type(&mut query.body);
        row_value::in_order_by(query);
        flow(super::windows::in_query(query))?;
        let joins = |query: &mut Query| match &mut *query.body {
            SetExpr::Select(select) => as_of::normalize(select, self.context),
            _ => Ok(()),
        };
        let rewritten = clauses(query).and_then(|()| joins(query)).and_then(|()| super::using::rewrite(query));
        flow(rewritten.and_then(|()| set_returning::in_query(query)))
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> Flow {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> Flow {
        if let Err(error) = supported_select(select).and_then(|()| placement::check(select, self.context.functions)) {
            return ControlFlow::Break(Box::new(error));
        }
        if let Err(error) = as_of::normalize(select, self.context).and_then(|()| as_of::mark(select)) {
            return ControlFlow::Break(Box::new(error));
        }
        super::grouping::in_select(select);
        let mut discarded = HashMap::new();
        let outermost = self.depth == 1;
        let visible = if outermost { &mut self.rewritten.visible } else { &mut discarded };
        Namer { all_unique: self.all_unique && outermost, visible }.name(&mut select.projection);
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

/// Clauses of a query that DataFusion's planner ignores or doesn't know.
fn clauses(query: &mut Query) -> Result<()> {
    let unsupported = |what: &str, span: Option<Span>| Err(Error::unsupported(what).at(span));
    if let Some(lock) = query.locks.first() {
        return unsupported(&format!("{lock}"), None);
    }
    if query.for_clause.is_some()
        || query.settings.is_some()
        || query.format_clause.is_some()
        || !query.pipe_operators.is_empty()
    {
        return unsupported("this clause of a query", place(query));
    }
    if let Some(fetch) = query.fetch.take() {
        if fetch.percent {
            return unsupported("FETCH with PERCENT", place(query));
        }
        let one = || Expr::value(Value::Number("1".to_owned(), false));
        let quantity = fetch.quantity.unwrap_or_else(one);
        if fetch.with_ties {
            let skipped = match &query.limit_clause {
                Some(LimitClause::LimitOffset { limit: None, offset, .. }) => {
                    offset.as_ref().map(|offset| offset.value.clone())
                }
                None => None,
                Some(_) => return Err(Error::new(ErrorKind::Syntax, "LIMIT and FETCH can't be given both")),
            };
            let quantity = match skipped {
                Some(skipped) => {
                    Expr::BinaryOp { left: Box::new(quantity), op: BinaryOperator::Plus, right: Box::new(skipped) }
                }
                None => quantity,
            };
            super::ties::restrict(query, quantity)?;
        } else {
            match query.limit_clause.get_or_insert(LimitClause::LimitOffset {
                limit: None,
                offset: None,
                limit_by: Vec::new(),
            }) {
                LimitClause::LimitOffset { limit: limit @ None, .. } => *limit = Some(quantity),
                _ => return Err(Error::new(ErrorKind::Syntax, "LIMIT and FETCH can't be given both")),
            }
        }
    }
    bare_columns(&mut query.body);
    match &*query.body {
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
            unsupported("a data-modifying statement in a query", place(query))
        }
        _ => Ok(()),
    }
}

/// DataFusion finds the columns of INTERSECT's and EXCEPT's sides by their bare names, so that two of them may not share one.
fn bare_columns(body: &mut SetExpr) {
    let SetExpr::SetOperation { op: SetOperator::Intersect | SetOperator::Except, left, right, .. } = body else {
        return;
    };
    for side in [left, right] {
        bare_columns(side);
        if let SetExpr::Select(select) = &mut **side {
            named_columns(select);
        }
    }
}

/// Gives plain columns their names as aliases, without a relation's.
fn named_columns(select: &mut Select) {
    for item in &mut select.projection {
        let alias = match &*item {
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().cloned(),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.clone()),
            _ => None,
        };
        if let (SelectItem::UnnamedExpr(expr), Some(alias)) = (&*item, alias) {
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// In LATERAL a column may be the outer row's, which DataFusion gives no name.
fn lateral_columns(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => named_columns(select),
        SetExpr::SetOperation { left, right, .. } => {
            lateral_columns(left);
            lateral_columns(right);
        }
        SetExpr::Query(query) => lateral_columns(&mut query.body),
        _ => {}
    }
}

fn supported_select(select: &Select) -> Result<()> {
    let refused = [
        (select.into.is_some(), "SELECT INTO"),
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW"),
        (select.value_table_mode.is_some(), "SELECT AS"),
        (select.top.is_some(), "TOP"),
        (select.select_modifiers.is_some(), "this modifier of SELECT"),
        (!select.optimizer_hints.is_empty(), "an optimizer hint"),
        (select.exclude.is_some(), "EXCLUDE"),
    ];
    match refused.iter().find(|(present, _)| *present) {
        Some((_, what)) => Err(Error::unsupported(what).at(place(select))),
        None => Ok(()),
    }
}

/// What stands in FROM.
fn table_factor(factor: &mut TableFactor) -> Result<()> {
    match factor {
        TableFactor::Table {
            name,
            alias: _,
            args: _,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } => {
            let span = place(name);
            let refused = [
                (*with_ordinality, "WITH ORDINALITY"),
                (sample.is_some(), "TABLESAMPLE"),
                (!with_hints.is_empty() || !index_hints.is_empty(), "a hint behind a relation"),
                (version.is_some(), "a version of a relation"),
                (!partitions.is_empty(), "PARTITION behind a relation"),
                (json_path.is_some(), "a path behind a relation"),
            ];
            if let Some((_, what)) = refused.iter().find(|(present, _)| *present) {
                return Err(Error::unsupported(what).at(span));
            }
            Ok(())
        }
        TableFactor::Derived { sample: None, lateral: true, subquery, .. } => {
            lateral_columns(&mut subquery.body);
            Ok(())
        }
        TableFactor::Derived { sample: None, .. } | TableFactor::NestedJoin { .. } => Ok(()),
        other => Err(Error::unsupported("this form of a relation in FROM").at(place(other))),
    }
}

/// A name without `pg_catalog.`.
pub(super) fn unqualified(name: &ObjectName) -> ObjectName {
    match name.0.as_slice() {
        [schema, rest @ ..] if !rest.is_empty() && schema.to_string().eq_ignore_ascii_case("pg_catalog") => {
            ObjectName(rest.to_vec())
        }
        _ => name.clone(),
    }
}

impl Rewriter<'_> {
    fn expr(&self, expr: &mut Expr) -> Result<()> {
        let span = place(expr);
        if let Some(written_out) = row_value::rewritten(expr, span)? {
            *expr = written_out;
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
            Expr::Substring { expr: text, substring_from: Some(pattern), substring_for: Some(escape), .. }
                if string_literal(pattern).is_some() && string_literal(escape).is_some() =>
            {
                *expr = call("substring_similar", vec![(**text).clone(), (**pattern).clone(), (**escape).clone()]);
            }
            Expr::Function(function) => {
                constants_in_order(function);
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
            Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..) => is_distinct(expr),
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
                if let Some(replacement) = super::subscript::of(root, access_chain) {
                    *expr = replacement;
                }
            }
            Expr::Like { pattern, escape_char: escape @ Some(_), .. }
            | Expr::ILike { pattern, escape_char: escape @ Some(_), .. } => {
                let arguments = [(**pattern).clone()].into_iter().chain(escape.take().map(Expr::Value));
                **pattern = call("like_escape", arguments.collect());
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
            Expr::Substring { expr: text, substring_from: Some(pattern), substring_for: None, .. }
                if string_literal(pattern).is_some() =>
            {
                *expr = call("substring_matching", vec![(**text).clone(), (**pattern).clone()]);
            }
            Expr::Extract { field, expr: value, .. } => {
                let field = field.to_string();
                let unit = Expr::value(Value::SingleQuotedString(field.trim_matches('\'').to_lowercase()));
                *expr = call("extract", vec![unit, (**value).clone()]);
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                let zone = match string_literal(time_zone).map(|text| (text.get(..1), text)) {
                    // A bare offset is POSIX's, which is counted westward; `timezone` counts it eastward.
                    Some((Some("+"), text)) => Expr::value(Value::SingleQuotedString(text.replacen('+', "-", 1))),
                    Some((Some("-"), text)) => Expr::value(Value::SingleQuotedString(text.replacen('-', "+", 1))),
                    _ => (**time_zone).clone(),
                };
                *expr = call("timezone", vec![zone, (**timestamp).clone()]);
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
            Expr::Array(array) => *expr = call("make_array", std::mem::take(&mut array.elem)),
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
                let literal = interval_literal(interval, span)?;
                *interval = literal;
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

    /// Checks that a function exists; what takes its place, if something does.
    fn function(&self, function: &mut Function, span: Option<Span>) -> Result<Option<Expr>> {
        function.name = unqualified(&function.name);
        let name_span = place(&function.name).or(span);
        let name = match function.name.0.as_slice() {
            [part] => part.as_ident().map(folded).unwrap_or_default(),
            _ => function.name.to_string(),
        };
        if SESSION_VALUES.contains(&name.as_str()) || name == "current_database" {
            return Ok(Some(self.session_value(&name)));
        }
        // `LIKE ALL (array)` comes as a function, which LIKE takes apart.
        if name == "all"
            || name == "any"
            || name == "some"
            || name == "unnest"
            || name == "grouping"
            || name == "row"
            || name == super::exclusion::MARK
            || as_of::is_mark(&name)
        {
            return Ok(None);
        }
        if name == "array"
            && let FunctionArguments::Subquery(query) = &function.args
        {
            return array_of_rows(query).map(Some).map_err(|error| error.at(name_span));
        }
        if name == "mod"
            && let Some([left, right]) = plain_arguments(function)
        {
            let remainder = Expr::BinaryOp {
                left: Box::new(left.clone()),
                op: BinaryOperator::Modulo,
                right: Box::new(right.clone()),
            };
            return Ok(Some(Expr::Nested(Box::new(remainder))));
        }
        if let Some(replacement) = super::second_names::replaced(&name, function, self.context)? {
            return Ok(Some(replacement));
        }
        if name == "age"
            && let Some([then]) = plain_arguments(function)
        {
            let today = cast(call("current_date", Vec::new()), "timestamp");
            return Ok(Some(call("age", vec![today, then.clone()])));
        }
        if let Some(expanded) = super::own_aggregate::expanded(&name, function, name_span)? {
            return Ok(Some(expanded));
        }
        if !self.context.functions.has(&name) {
            let hint = nearest(&name, self.context.functions.names(), |known| known).map_or_else(
                || {
                    "No function matches the given name and argument types. You might need to add explicit type casts."
                        .to_owned()
                },
                |near| format!("Did you mean \"{near}\"?"),
            );
            let message = format!("function {name}({}) does not exist", argument_types(function));
            return Err(Error::new(ErrorKind::UndefinedFunction, message).with_hint(hint).at(name_span));
        }
        Ok(None)
    }

    /// What a function without arguments says about the session.
    fn session_value(&self, name: &str) -> Expr {
        let settings = self.context.settings;
        let value = match name {
            "current_catalog" | "current_database" => &settings.database,
            "current_schema" => {
                let exists = |schema: &&String| self.context.catalog.has_schema(schema);
                match settings.search_path.iter().find(exists) {
                    Some(schema) => schema,
                    None => return cast(Expr::value(Value::Null), "name"),
                }
            }
            _ => &settings.user,
        };
        cast(Expr::value(Value::SingleQuotedString(value.clone())), "name")
    }

    /// Casts to types of the catalog are functions, where the engine has them: `regclass_in`.
    fn special_cast(&self, data_type: &DataType) -> Option<String> {
        let name = match data_type {
            DataType::Regclass => "regclass".to_owned(),
            DataType::Custom(name, _) => name.0.last()?.as_ident().map(folded)?,
            _ => return None,
        };
        let function = format!("{name}_in");
        self.context.functions.find_scalar(&function).map(|_| function)
    }
}

/// `ARRAY(SELECT x FROM … ORDER BY y)` as an aggregate of that subquery's rows.
fn array_of_rows(query: &Query) -> Result<Expr> {
    let unsupported = || Error::unsupported("this form of a subquery in ARRAY(…)");
    let mut query = query.clone();
    let SetExpr::Select(select) = &mut *query.body else { return Err(unsupported()) };
    let grouped = !matches!(&select.group_by, ast::GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let first_of_each = matches!(select.distinct, Some(ast::Distinct::On(_)));
    if grouped || first_of_each || select.having.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
        return Err(unsupported());
    }
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] = select.projection.as_slice()
    else {
        return Err(unsupported());
    };
    let value = value.clone();
    let mut aggregate = call("array_agg", vec![value.clone()]);
    if let Expr::Function(function) = &mut aggregate
        && let FunctionArguments::List(list) = &mut function.args
    {
        if let Some(ast::OrderByKind::Expressions(mut by)) = query.order_by.take().map(|order| order.kind) {
            for key in &mut by {
                // ORDER BY 1 means the value.
                if key.expr.to_string() == "1" {
                    key.expr = value.clone();
                }
            }
            list.clauses.push(ast::FunctionArgumentClause::OrderBy(by));
        }
        if let Some(ast::Distinct::Distinct) = select.distinct.take() {
            list.duplicate_treatment = Some(ast::DuplicateTreatment::Distinct);
        }
    }
    select.projection = vec![SelectItem::ExprWithAlias { expr: aggregate, alias: Ident::with_quote('"', "array") }];
    Ok(call("array_or_empty", vec![Expr::Subquery(Box::new(query))]))
}

/// The arguments of a call that has `N` of them, all plain expressions.
pub(super) fn plain_arguments<const N: usize>(function: &Function) -> Option<[&Expr; N]> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    plain.collect::<Option<Vec<_>>>()?.try_into().ok()
}

/// `a IS DISTINCT FROM b AND c`: sqlparser takes `b AND c` for what `a` is compared with.
fn is_distinct(expr: &mut Expr) {
    let (Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right)) = &mut *expr else { return };
    let Expr::BinaryOp { left: inner, op: BinaryOperator::And | BinaryOperator::Or, .. } = &mut **right else { return };
    // The comparison goes to where its right side ends, and what was around that is around the comparison.
    let compared = std::mem::replace(&mut **inner, Expr::value(Value::Null));
    let mut whole = std::mem::replace(&mut **right, compared);
    let mut comparison = std::mem::replace(expr, Expr::value(Value::Null));
    is_distinct(&mut comparison);
    if let Expr::BinaryOp { left, .. } = &mut whole {
        **left = comparison;
    }
    *expr = whole;
}

/// An AND or NOT that has, without parentheses, an operand that binds more loosely: it came there by [`is_distinct`].
fn loosened(expr: &mut Expr) {
    let operand = match expr {
        Expr::BinaryOp { right, .. } => right,
        Expr::UnaryOp { expr, .. } => expr,
        _ => return,
    };
    let is_and = matches!(**operand, Expr::BinaryOp { op: BinaryOperator::And, .. });
    let is_or = matches!(**operand, Expr::BinaryOp { op: BinaryOperator::Or, .. });
    let looser = is_or || is_and && matches!(expr, Expr::UnaryOp { .. });
    if !looser {
        return;
    }
    let (Expr::BinaryOp { right: operand, .. } | Expr::UnaryOp { expr: operand, .. }) = &mut *expr else { return };
    let mut whole = std::mem::replace(&mut **operand, Expr::value(Value::Null));
    if let Expr::BinaryOp { left, .. } = &mut whole {
        std::mem::swap(&mut **left, &mut **operand);
        let mut inner = std::mem::replace(expr, Expr::value(Value::Null));
        loosened(&mut inner);
        **left = inner;
    }
    *expr = whole;
}

/// `BETWEEN SYMMETRIC low AND high` is parsed as `BETWEEN !! low AND high`: takes the mark off, wherever it has come to stand.
fn take_symmetric_mark(low: &mut Expr) -> bool {
    match low {
        Expr::UnaryOp { op: UnaryOperator::PGPrefixFactorial, expr } => {
            *low = std::mem::replace(&mut **expr, Expr::value(Value::Null));
            true
        }
        Expr::BinaryOp { left, .. } => take_symmetric_mark(left),
        Expr::Cast { expr, .. } => take_symmetric_mark(expr),
        other => written_cast::written_value(other).is_some_and(take_symmetric_mark),
    }
}

/// The bounds in either order.
fn between_symmetric(expr: &Expr) -> Expr {
    let Expr::Between { expr: value, negated, low, high } = expr else { return expr.clone() };
    let between = |low: &Expr, high: &Expr| {
        Box::new(Expr::Between {
            expr: value.clone(),
            negated: false,
            low: Box::new(low.clone()),
            high: Box::new(high.clone()),
        })
    };
    let either = Expr::Nested(Box::new(Expr::BinaryOp {
        left: between(low, high),
        op: BinaryOperator::Or,
        right: between(high, low),
    }));
    if *negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(either) } } else { either }
}

/// `'today'::date`, `timestamp 'now'`: a time that the clock says.
fn moving_time(text: &str, data_type: &DataType) -> Option<Expr> {
    let day = |days: &str| {
        let today = Expr::Nested(Box::new(cast(call("now", Vec::new()), "date")));
        Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(today),
            op: BinaryOperator::Plus,
            right: Box::new(Expr::Nested(Box::new(cast(Expr::value(Value::Number(days.to_owned(), false)), "int4")))),
        }))
    };
    let target = types::sql_type(data_type).ok()?;
    let is_moment =
        matches!(target, catalog::SqlType::Date | catalog::SqlType::Timestamp | catalog::SqlType::Timestamptz);
    let moment = match text.trim().to_lowercase().as_str() {
        "now" if is_moment || target == catalog::SqlType::Time => call("now", Vec::new()),
        "today" if is_moment => day("0"),
        "tomorrow" if is_moment => day("1"),
        "yesterday" if is_moment => day("-1"),
        _ => return None,
    };
    Some(written_cast::call(moment, data_type.clone()))
}

fn subquery_of(expr: &Expr) -> Option<Box<Query>> {
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

/// The types of a call's arguments as far as the text alone tells them.
fn argument_types(function: &Function) -> String {
    let FunctionArguments::List(list) = &function.args else { return String::new() };
    let known = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
            Value::Number(digits, _) if digits.parse::<i32>().is_ok() => "integer".to_owned(),
            Value::Number(digits, _) if digits.parse::<i64>().is_ok() => "bigint".to_owned(),
            Value::Number(..) => "numeric".to_owned(),
            Value::Boolean(_) => "boolean".to_owned(),
            _ => "unknown".to_owned(),
        },
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => match written_cast::written(expr) {
            Some((_, data_type)) => {
                types::sql_type(data_type).map_or_else(|_| data_type.to_string(), |sql_type| sql_type.to_string())
            }
            None => expr.to_string(),
        },
        other => other.to_string(),
    });
    known.collect::<Vec<_>>().join(", ")
}

/// The function that an operator between a text and a regular expression calls.
fn regex_function(op: &BinaryOperator) -> Option<&'static str> {
    Some(match op {
        BinaryOperator::PGRegexMatch => "textregexeq",
        BinaryOperator::PGRegexIMatch => "texticregexeq",
        BinaryOperator::PGRegexNotMatch => "textregexne",
        BinaryOperator::PGRegexNotIMatch => "texticregexne",
        _ => return None,
    })
}

/// `OPERATOR(pg_catalog.~)`.
fn named_operator(parts: &[String], span: Option<Span>) -> Result<BinaryOperator> {
    Ok(match parts.last().map(String::as_str) {
        Some("+") => BinaryOperator::Plus,
        Some("-") => BinaryOperator::Minus,
        Some("*") => BinaryOperator::Multiply,
        Some("/") => BinaryOperator::Divide,
        Some("%") => BinaryOperator::Modulo,
        Some("=") => BinaryOperator::Eq,
        Some("<>" | "!=") => BinaryOperator::NotEq,
        Some("<") => BinaryOperator::Lt,
        Some("<=") => BinaryOperator::LtEq,
        Some(">") => BinaryOperator::Gt,
        Some(">=") => BinaryOperator::GtEq,
        Some("~") => BinaryOperator::PGRegexMatch,
        Some("~*") => BinaryOperator::PGRegexIMatch,
        Some("!~") => BinaryOperator::PGRegexNotMatch,
        Some("!~*") => BinaryOperator::PGRegexNotIMatch,
        Some("~~") => BinaryOperator::PGLikeMatch,
        Some("||") => BinaryOperator::StringConcat,
        _ => {
            let message = format!("operator does not exist: {}", parts.join("."));
            return Err(Error::new(ErrorKind::UndefinedFunction, message).at(span));
        }
    })
}

fn string_literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => value_text(&value.value),
        Expr::Nested(inner) => string_literal(inner),
        _ => None,
    }
}

fn value_text(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
        Value::DollarQuotedString(text) => Some(&text.value),
        _ => None,
    }
}

/// An interval literal in the form that DataFusion's parser reads.
fn interval_literal(literal: &ast::Interval, span: Option<Span>) -> Result<ast::Interval> {
    let written = match &*literal.value {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => Some(digits.as_str()),
            other => value_text(other),
        },
        _ => None,
    };
    let Some(written) = written else {
        return Err(Error::unsupported("an interval that is not a literal")
            .with_hint("Use make_interval, or multiply an interval.")
            .at(span));
    };
    let text = match &literal.leading_field {
        // `INTERVAL '5' MINUTE`, but also `INTERVAL '1 02:03' DAY TO MINUTE`, where the text says it all.
        Some(field) if literal.last_field.is_none() && written.trim().parse::<f64>().is_ok() => {
            format!("{written} {field}")
        }
        _ => written.to_owned(),
    };
    let value = interval::parse(&text).ok_or_else(|| {
        Error::new(ErrorKind::InvalidDatetime, format!("invalid input syntax for type interval: \"{written}\""))
            .at(span)
    })?;
    Ok(ast::Interval {
        value: Box::new(Expr::value(Value::SingleQuotedString(datafusion_text(value)))),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

fn datafusion_text(value: IntervalMonthDayNano) -> String {
    format!("{} months {} days {} nanoseconds", value.months, value.days, value.nanoseconds)
}

/// Gives names to the columns of a SELECT list.
struct Namer<'a> {
    all_unique: bool,
    visible: &'a mut HashMap<String, String>,
}

/// A column as DataFusion tells columns apart: what it is called, and whose it is if the text says so.
#[derive(PartialEq, Eq, Hash)]
struct Label {
    qualifier: Option<String>,
    name: String,
}

impl Namer<'_> {
    fn name(&mut self, projection: &mut [SelectItem]) {
        let mut taken: HashSet<Label> = HashSet::new();
        for (position, item) in projection.iter_mut().enumerate() {
            let (expr, name, qualifier) = match &*item {
                SelectItem::UnnamedExpr(expr) => (expr.clone(), column_name(expr), qualifier(expr)),
                SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), folded(alias), None),
                _ => continue,
            };
            let plain = match &*item {
                SelectItem::UnnamedExpr(Expr::Identifier(ident)) => {
                    ident.quote_style.is_some() || !SESSION_VALUES.contains(&ident.value.to_lowercase().as_str())
                }
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(_)) => true,
                _ => false,
            };
            // A bare name may mean the same column as any qualified one.
            let collides = taken.iter().any(|label| {
                label.name == name && (label.qualifier.is_none() || qualifier.is_none() || label.qualifier == qualifier)
            });
            taken.insert(Label { qualifier, name: name.clone() });
            if collides || self.all_unique {
                let unique = format!("{name}:{position}");
                self.visible.insert(unique.clone(), name);
                *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', unique) };
            } else if !plain {
                *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
            }
        }
    }
}

fn qualifier(expr: &Expr) -> Option<String> {
    match expr {
        Expr::CompoundIdentifier(parts) => {
            let qualifier = parts[..parts.len() - 1].iter().map(folded).collect::<Vec<_>>();
            Some(qualifier.join("."))
        }
        _ => None,
    }
}
