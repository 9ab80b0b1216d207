//! Calls of functions: which there are, and what some of them stand for.

use std::ops::ControlFlow;

use catalog::nearest;
use sql::Span;
use sql::ast::{
    self, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
    Query, SelectItem, SetExpr, Value, Visitor,
};
use sql::walk;

use super::{Rewriter, SESSION_VALUES, as_of, call, cast, place};
use crate::error::ErrorKind;
use crate::functions::FunctionRegistry;
use crate::query::name::folded;
use crate::query::{
    exclusion, literals, ordered_input, own_aggregate, second_names, set_returning, types, variadic, written_cast,
};
use crate::{Error, Result};

/// Types whose values are made by functions of their names.
const RANGE_TYPES: [&str; 6] = ["int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange"];

/// A number in a call's ORDER BY is a constant, and counts no column; DataFusion would take a bare one for a place in the input.
pub(super) fn constants_in_order(function: &mut Function) {
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

impl Rewriter<'_> {
    /// Checks that a function exists; what takes its place, if something does.
    pub(super) fn function(&self, function: &mut Function, span: Option<Span>) -> Result<Option<Expr>> {
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
            || name == exclusion::MARK
            || as_of::is_mark(&name)
        {
            return Ok(None);
        }
        if name == "array"
            && let FunctionArguments::Subquery(query) = &function.args
        {
            return array_of_rows(query, self.context.functions).map(Some).map_err(|error| error.at(name_span));
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
        if let Some(spread) = variadic::spread(&name, function, name_span)? {
            return Ok(Some(spread));
        }
        literals::read(function, &name);
        if let Some(replacement) = second_names::replaced(&name, function, self.context)? {
            return Ok(Some(replacement));
        }
        if name == "age"
            && let Some([then]) = plain_arguments(function)
        {
            let today = cast(call("current_date", Vec::new()), "timestamp");
            return Ok(Some(call("age", vec![today, then.clone()])));
        }
        if let Some(expanded) = own_aggregate::expanded(&name, function, name_span)? {
            return Ok(Some(expanded));
        }
        if RANGE_TYPES.contains(&name.as_str()) {
            return Err(Error::unsupported(format!("type {name}")).at(name_span));
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
    pub(super) fn session_value(&self, name: &str) -> Expr {
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
    pub(super) fn special_cast(&self, data_type: &DataType) -> Option<String> {
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
fn array_of_rows(query: &Query, functions: &FunctionRegistry) -> Result<Expr> {
    let array = match aggregated(query, functions) {
        Some(array) => array,
        None => aggregated_above(query)?,
    };
    Ok(call("array_or_empty", vec![array]))
}

/// The subquery with an aggregate in the place of its column, if its rows are those that it reads.
fn aggregated(query: &Query, functions: &FunctionRegistry) -> Option<Expr> {
    let mut query = query.clone();
    let SetExpr::Select(select) = &mut *query.body else { return None };
    let grouped = !matches!(&select.group_by, ast::GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let first_of_each = matches!(select.distinct, Some(ast::Distinct::On(_)));
    if grouped || first_of_each || select.having.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
        return None;
    }
    let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] = select.projection.as_slice()
    else {
        return None;
    };
    if !is_of_row(value, functions) {
        return None;
    }
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
    Some(Expr::Subquery(Box::new(query)))
}

/// An aggregate above the subquery, in its order.
fn aggregated_above(query: &Query) -> Result<Expr> {
    if let SetExpr::Select(select) = &*query.body
        && select.projection.len() > 1
    {
        return Err(Error::new(ErrorKind::Syntax, "subquery must return only one column"));
    }
    let malformed = || Error::internal("a subquery in FROM was parsed");
    let mut array = sql::parse_expression("(SELECT array_agg(value) FROM (SELECT 1) AS \"array\" (value))")?;
    let Expr::Subquery(above) = &mut array else { return Err(malformed()) };
    let SetExpr::Select(select) = &mut *above.body else { return Err(malformed()) };
    match select.from.first_mut().map(|from| &mut from.relation) {
        Some(ast::TableFactor::Derived { subquery, .. }) => {
            **subquery = query.clone();
            ordered_input::keep(subquery);
        }
        _ => return Err(malformed()),
    }
    Ok(array)
}

/// Whether an expression is one value for each row: nothing in it makes rows of it or aggregates them.
pub(super) fn is_of_row(expr: &Expr, functions: &FunctionRegistry) -> bool {
    struct Others<'a>(&'a FunctionRegistry);
    impl Visitor for Others<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Function(function) => {
                    let name = function.name.0.last().and_then(|part| part.as_ident()).map(folded);
                    let is_other = |name: String| self.0.find_aggregate(&name).is_some();
                    if function.over.is_some() || name.is_some_and(is_other) {
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    walk::read(expr, &mut Others(functions)).is_continue() && set_returning::refuse(expr, "").is_ok()
}

/// The arguments of a call that has `N` of them, all plain expressions.
pub(in crate::query) fn plain_arguments<const N: usize>(function: &Function) -> Option<[&Expr; N]> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = list.args.iter().map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    plain.collect::<Option<Vec<_>>>()?.try_into().ok()
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

/// A name without `pg_catalog.`.
pub(in crate::query) fn unqualified(name: &ObjectName) -> ObjectName {
    match name.0.as_slice() {
        [schema, rest @ ..] if !rest.is_empty() && schema.to_string().eq_ignore_ascii_case("pg_catalog") => {
            ObjectName(rest.to_vec())
        }
        _ => name.clone(),
    }
}
