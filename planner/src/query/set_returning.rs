//! Set-returning functions: `FROM f(…) [WITH ORDINALITY] AS t (x, …)` and `SELECT f(…)`.
//!
//! Each is a function that gives an array (or one array per output column), which UNNEST makes rows of: DataFusion plans UNNEST in both places, several
//! arrays side by side, shorter ones filled up with NULL. Where such a call may not stand, it is refused as PostgreSQL does.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use sql::Span;
use sql::ast::{
    Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, JoinConstraint,
    JoinOperator, ObjectName, OrderByKind, Query, Select, SelectItem, SetExpr, Spanned, TableAlias,
    TableAliasColumnDef, TableFactor, Value, Visitor, VisitorMut,
};
use sql::walk::{self, Walk};

use super::name::folded;
use super::rewrite::{call, unqualified};
use crate::error::ErrorKind;
use crate::functions::FunctionRegistry;
use crate::{Error, Result};

/// A set-returning function, as arrays.
struct SetFunction {
    /// The functions that give an array for each of its output columns; `unnest` is given arrays.
    arrays: &'static [&'static str],
    /// What its output columns are called, where they have names of their own.
    outputs: &'static [&'static str],
}

/// Name, the functions that give its arrays, the names of its columns.
const FUNCTIONS: &[(&str, &[&str], &[&str])] = &[
    ("unnest", &[], &[]),
    ("generate_series", &["generate_series"], &[]),
    ("generate_subscripts", &["array_subscripts"], &[]),
    ("string_to_table", &["string_to_table"], &[]),
    ("regexp_split_to_table", &["regexp_split_to_table"], &[]),
    ("regexp_matches", &["regexp_matches"], &[]),
    ("jsonb_path_query", &["jsonb_path_query"], &[]),
    ("json_array_elements", &["json_array_elements"], &["value"]),
    ("json_array_elements_text", &["json_array_elements_text"], &["value"]),
    ("json_object_keys", &["json_object_keys"], &[]),
    ("json_each", &["json_each_keys", "json_each_values"], &["key", "value"]),
    ("json_each_text", &["json_each_keys", "json_each_texts"], &["key", "value"]),
    ("jsonb_array_elements", &["jsonb_array_elements"], &["value"]),
    ("jsonb_array_elements_text", &["jsonb_array_elements_text"], &["value"]),
    ("jsonb_object_keys", &["jsonb_object_keys"], &[]),
    ("jsonb_each", &["jsonb_each_keys", "jsonb_each_values"], &["key", "value"]),
    ("jsonb_each_text", &["jsonb_each_text_keys", "jsonb_each_texts"], &["key", "value"]),
];

fn find(name: &str) -> Option<SetFunction> {
    let (_, arrays, outputs) = FUNCTIONS.iter().find(|(function, ..)| *function == name)?;
    Some(SetFunction { arrays, outputs })
}

/// The folded name of a function, `pg_catalog.` aside.
fn bare(name: &ObjectName) -> String {
    match unqualified(name).0.as_slice() {
        [part] => part.as_ident().map(folded).unwrap_or_default(),
        _ => String::new(),
    }
}

/// Whether a call is of a set-returning function.
pub(crate) fn returns_set(name: &ObjectName) -> bool {
    find(&bare(name)).is_some() || bare(name) == sql::ROWS_FROM
}

/// Makes an UNNEST of a set-returning function in FROM; says whether it was one. A name that several columns have is made unique in `visible`.
pub(super) fn relation(factor: &mut TableFactor, visible: &mut HashMap<String, String>) -> Result<bool> {
    let Some(call) = Call::of(factor) else { return Ok(false) };
    if super::json_records::is_one(&call.name) {
        *factor = super::json_records::relation(&call.name, &call.args, call.alias, call.span)?;
        return Ok(true);
    }
    let span = call.span;
    let (mut arrays, mut columns) = if call.name == sql::ROWS_FROM {
        call.side_by_side().map_err(|error| error.at(span))?
    } else {
        let Some(function) = find(&call.name) else { return Ok(false) };
        let mut arrays = call.arguments().map_err(|error| error.at(span))?;
        if !function.arrays.is_empty() {
            arrays = function.arrays.iter().map(|name| super::rewrite::call(name, arrays.clone())).collect();
        }
        let columns = call.columns(&function, arrays.len());
        (arrays, columns)
    };
    if call.ordinality {
        columns.push(Ident::with_quote('"', "ordinality"));
        arrays.push(super::rewrite::call("array_numbers", arrays.clone()));
    }
    let mut alias = call.alias.unwrap_or_else(|| table_alias(call.name.clone()));
    if alias.columns.len() > columns.len() {
        let (name, has, wanted) = (folded(&alias.name), columns.len(), alias.columns.len());
        let message = format!("table \"{name}\" has {has} columns available but {wanted} columns specified");
        return Err(Error::new(ErrorKind::InvalidColumnReference, message).at(span));
    }
    for (position, name) in columns.into_iter().enumerate().skip(alias.columns.len()) {
        let taken = alias.columns.iter().any(|column| folded(&column.name) == folded(&name));
        let unique = format!("{}:{position}", name.value);
        if taken {
            visible.insert(unique.clone(), name.value.clone());
        }
        let name = if taken { Ident::with_quote('"', unique) } else { name };
        alias.columns.push(TableAliasColumnDef { name, data_type: None });
    }
    *factor = TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: arrays,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    };
    Ok(true)
}

/// A function in FROM.
struct Call {
    name: String,
    args: Vec<FunctionArg>,
    alias: Option<TableAlias>,
    ordinality: bool,
    span: Option<Span>,
}

impl Call {
    fn of(factor: &TableFactor) -> Option<Self> {
        let (name, args, alias, ordinality) = match factor {
            TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } => {
                (name, args.args.clone(), alias, *with_ordinality)
            }
            TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                (name, args.clone(), alias, *with_ordinality)
            }
            TableFactor::UNNEST { alias, array_exprs, with_ordinality, with_offset: false, .. } => {
                let arg = |array: &Expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(array.clone()));
                let span = array_exprs.first().and_then(|array| Span::of_parser(array.span()));
                let args = array_exprs.iter().map(arg).collect();
                let name = "unnest".to_owned();
                return Some(Self { name, args, alias: alias.clone(), ordinality: *with_ordinality, span });
            }
            _ => return None,
        };
        let span = Span::of_parser(name.span());
        Some(Self { name: bare(name), args, alias: alias.clone(), ordinality, span })
    }

    fn arguments(&self) -> Result<Vec<Expr>> {
        let plain = |arg: &FunctionArg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.clone()),
            _ => Err(Error::unsupported(format!("an argument of this form to {}", self.name))),
        };
        self.args.iter().map(plain).collect()
    }

    /// `ROWS FROM (f(), g())`: the arrays of all functions, and what their columns are called.
    fn side_by_side(&self) -> Result<(Vec<Expr>, Vec<Ident>)> {
        let (mut arrays, mut columns) = (Vec::new(), Vec::new());
        for arg in self.arguments()? {
            let inner = match &arg {
                Expr::Function(function) => match (&function.args, find(&bare(&function.name))) {
                    (FunctionArguments::List(list), Some(found)) => {
                        Some((bare(&function.name), list.args.clone(), found))
                    }
                    _ => None,
                },
                _ => None,
            };
            let Some((name, args, function)) = inner else {
                return Err(Error::unsupported("what is no set-returning function in ROWS FROM"));
            };
            let call = Self { name, args, alias: None, ordinality: false, span: self.span };
            let given = call.arguments()?;
            let own = match function.arrays {
                [] => given,
                names => names.iter().map(|name| super::rewrite::call(name, given.clone())).collect(),
            };
            columns.extend(call.columns(&function, own.len()));
            arrays.extend(own);
        }
        Ok((arrays, columns))
    }

    /// What the output columns are called before the alias's columns: as the function says; one alone as the alias, or the function.
    fn columns(&self, function: &SetFunction, width: usize) -> Vec<Ident> {
        let named = |name: &str| Ident::with_quote('"', name);
        match (function.outputs, &self.alias) {
            ([], Some(alias)) if width == 1 => vec![alias.name.clone()],
            ([], _) => vec![named(&self.name); width],
            (outputs, _) => outputs.iter().map(|name| named(name)).collect(),
        }
    }
}

/// Makes UNNESTs of set-returning functions in a SELECT's list and in GROUP BY, and refuses them where they may not be.
pub(super) fn in_select(select: &mut Select, functions: &FunctionRegistry) -> Result<()> {
    if let Some(selection) = &select.selection {
        refuse(selection, "in WHERE")?;
    }
    if let Some(having) = &select.having {
        refuse(having, "in HAVING")?;
    }
    for join in select.from.iter_mut().flat_map(|table| &mut table.joins) {
        if let JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_) = join.join_operator {
            apart(&mut join.relation)?;
        }
        if let JoinOperator::Join(JoinConstraint::On(condition))
        | JoinOperator::Inner(JoinConstraint::On(condition))
        | JoinOperator::Left(JoinConstraint::On(condition))
        | JoinOperator::LeftOuter(JoinConstraint::On(condition))
        | JoinOperator::Right(JoinConstraint::On(condition))
        | JoinOperator::RightOuter(JoinConstraint::On(condition))
        | JoinOperator::FullOuter(JoinConstraint::On(condition)) = &join.join_operator
        {
            refuse(condition, "in JOIN conditions")?;
        }
    }
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            unnested(expr, functions)?;
        }
    }
    if let GroupByExpr::Expressions(expressions, _) = &mut select.group_by {
        expressions.iter_mut().try_for_each(|expr| unnested(expr, functions))?;
    }
    Ok(())
}

/// `SELECT upper(name) AS name, unnest(tags)`: DataFusion takes the column and what is called so for one name. Such a list goes into a subquery in
/// which its columns have names of their own.
pub(super) fn apart_from_columns(select: &mut Select) -> Result<()> {
    let named = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { expr, alias } => Some((expr.clone(), folded(alias))),
        SelectItem::UnnamedExpr(expr) => Some((expr.clone(), super::name::column_name(expr))),
        _ => None,
    };
    let Some(items) = select.projection.iter().map(named).collect::<Option<Vec<_>>>() else { return Ok(()) };
    if !items.iter().any(|(expr, _)| refuse(expr, "").is_err()) || matches!(select.distinct, Some(Distinct::On(_))) {
        return Ok(());
    }
    let mut columns = ColumnNames::default();
    items.iter().for_each(|(expr, _)| {
        let ControlFlow::Continue(()) = walk::read(expr, &mut columns);
    });
    let is_column = |expr: &Expr, name: &str| match expr {
        Expr::Identifier(column) => folded(column) == name,
        Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|column| folded(column) == name),
        _ => false,
    };
    if !items.iter().any(|(expr, name)| !is_column(expr, name) && columns.0.contains(name)) {
        return Ok(());
    }
    let (mut outer, mut inner) = (Vec::new(), Vec::new());
    for (position, (expr, name)) in items.into_iter().enumerate() {
        let unique = Ident::with_quote('"', format!("{name}:{position}"));
        let alias = Ident::with_quote('"', name);
        outer.push(SelectItem::ExprWithAlias { expr: Expr::Identifier(unique.clone()), alias });
        inner.push(SelectItem::ExprWithAlias { expr, alias: unique });
    }
    let mut subquery = select_all()?;
    let mut whole = select_all()?;
    if let (SetExpr::Select(inside), SetExpr::Select(outside)) = (&mut *subquery.body, &mut *whole.body) {
        std::mem::swap(&mut **inside, select);
        inside.projection = inner;
        outside.projection = outer;
        outside.distinct = inside.distinct.take();
        let alias = Some(table_alias("rows".to_owned()));
        outside.from[0].relation = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
        *select = (**outside).clone();
    }
    Ok(())
}

/// The last parts of the names of columns in expressions, those of subqueries aside.
#[derive(Default)]
struct ColumnNames(HashSet<String>);

impl Visitor for ColumnNames {
    type Break = std::convert::Infallible;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Identifier(name) => self.0.insert(folded(name)),
            Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|name| self.0.insert(folded(name))),
            _ => false,
        };
        ControlFlow::Continue(())
    }
}

/// A query to be filled in.
pub(super) fn select_all() -> Result<Box<Query>> {
    match sql::parse_one("SELECT * FROM t")?.kind {
        sql::StatementKind::Query(parsed) => Ok(parsed.query),
        _ => Err(Error::internal("a SELECT is a query")),
    }
}

pub(super) fn table_alias(name: String) -> TableAlias {
    TableAlias { explicit: true, name: Ident::with_quote('"', name), columns: Vec::new(), at: None }
}

/// A set-returning function that is joined with what it can't refer to: a subquery of its own, as DataFusion takes any UNNEST in FROM for LATERAL.
fn apart(factor: &mut TableFactor) -> Result<()> {
    let Some(call) = Call::of(factor).filter(|call| find(&call.name).is_some()) else { return Ok(()) };
    let alias = call.alias.unwrap_or_else(|| table_alias(call.name));
    let mut subquery = select_all()?;
    if let SetExpr::Select(select) = &mut *subquery.body {
        select.from[0].relation = factor.clone();
    }
    let alias = Some(TableAlias { columns: Vec::new(), ..alias });
    *factor = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
    Ok(())
}

/// As [`in_select`], for what belongs to the whole query.
pub(super) fn in_query(query: &mut Query) -> Result<()> {
    if let SetExpr::Values(values) = &*query.body {
        values.rows.iter().flat_map(|row| &row.content).try_for_each(|value| refuse(value, "in VALUES"))?;
    }
    let Some(order_by) = &mut query.order_by else { return Ok(()) };
    let OrderByKind::Expressions(orders) = &mut order_by.kind else { return Ok(()) };
    for order in orders {
        let Err(error) = refuse(&order.expr, "in ORDER BY") else { continue };
        // What stands in the SELECT list too is found by its number there.
        let SetExpr::Select(select) = &*query.body else { return Err(error) };
        let position = select.projection.iter().position(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => *expr == order.expr,
            _ => false,
        });
        match position {
            Some(position) => order.expr = Expr::value(Value::Number((position + 1).to_string(), false)),
            None => {
                return Err(Error::unsupported("a set-returning function in ORDER BY that is not in the SELECT list")
                    .with_hint("Add it to the SELECT list, or call it in FROM.")
                    .at(error.span));
            }
        }
    }
    Ok(())
}

/// An error if a set-returning function is called in the expression; those of subqueries are their own.
pub(super) fn refuse(expr: &dyn Walk, place: &str) -> Result<()> {
    match walk::read(expr, &mut Finder { depth: 0 }) {
        ControlFlow::Break(span) => Err(not_allowed(&format!("not allowed {place}")).at(span)),
        ControlFlow::Continue(()) => Ok(()),
    }
}

fn not_allowed(how: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("set-returning functions are {how}"))
}

struct Finder {
    /// Subqueries around what is visited.
    depth: usize,
}

impl Visitor for Finder {
    type Break = Option<Span>;

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<Self::Break> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::Function(function) if self.depth == 0 && returns_set(&function.name) => {
                ControlFlow::Break(Span::of_parser(function.name.span()))
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn unnested(expr: &mut Expr, functions: &FunctionRegistry) -> Result<()> {
    match walk::change(expr, &mut ToUnnest { functions, depth: 0, inside: Vec::new() }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(*error),
    }
}

/// Puts the arrays of set-returning functions under `unnest`.
struct ToUnnest<'a> {
    functions: &'a FunctionRegistry,
    /// Subqueries around what is visited.
    depth: usize,
    /// What stands around the visited expression in which no set may be.
    inside: Vec<&'static str>,
}

impl ToUnnest<'_> {
    /// What an expression is, if no set may be in it.
    fn excludes_sets(&self, expr: &Expr) -> Option<&'static str> {
        match expr {
            Expr::Case { .. } => Some("CASE"),
            Expr::Function(function) => {
                let name = bare(&function.name);
                let is_aggregate = self.functions.find_aggregate(&name).is_some();
                match name.as_str() {
                    "coalesce" => Some("COALESCE"),
                    _ if function.over.is_some() => Some("window function calls"),
                    _ if is_aggregate => Some("aggregate function calls"),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The call of the arrays in place of a set-returning function's.
    fn replaced(function: &Function) -> Result<Option<Expr>> {
        let name = bare(&function.name);
        let Some(set) = find(&name) else { return Ok(None) };
        let span = Span::of_parser(function.name.span());
        let FunctionArguments::List(list) = &function.args else { return Ok(None) };
        match set.arrays {
            [] => Ok(None),
            [array] => {
                let args = list.args.iter().map(|arg| match arg {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Ok(expr.clone()),
                    _ => Err(Error::unsupported(format!("an argument of this form to {name}")).at(span)),
                });
                Ok(Some(call("unnest", vec![call(array, args.collect::<Result<_>>()?)])))
            }
            _ => Err(Error::unsupported(format!("a row of {name} as a value"))
                .with_hint(format!("Call {name} in FROM, where its columns have names."))
                .at(span)),
        }
    }
}

impl VisitorMut for ToUnnest<'_> {
    type Break = Box<Error>;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Box<Error>> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Box<Error>> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Box<Error>> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        if let (Expr::Function(function), Some(around)) = (&*expr, self.inside.last())
            && returns_set(&function.name)
        {
            let error = if around.ends_with("calls") {
                let message = format!("{around} cannot contain set-returning function calls");
                Error::new(ErrorKind::Unsupported, message)
            } else {
                not_allowed(&format!("not allowed in {around}"))
            };
            let error = error
                .with_hint("You might be able to move the set-returning function into a LATERAL FROM item.")
                .at(Span::of_parser(function.name.span()));
            return ControlFlow::Break(Box::new(error));
        }
        self.inside.extend(self.excludes_sets(expr));
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Box<Error>> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        if self.excludes_sets(expr).is_some() {
            self.inside.pop();
        }
        if let Expr::Function(function) = expr {
            match Self::replaced(function) {
                Ok(Some(replacement)) => *expr = replacement,
                Ok(None) => {}
                Err(error) => return ControlFlow::Break(Box::new(error)),
            }
        }
        ControlFlow::Continue(())
    }
}

/// The alias of a function of one column in FROM, and the column.
pub(super) fn single_column(factor: &TableFactor) -> Option<(String, Ident)> {
    let call = Call::of(factor)?;
    let function = find(&call.name)?;
    let width = if function.arrays.is_empty() { call.args.len() } else { function.arrays.len() };
    let alias = call.alias.as_ref()?;
    let columns = call.columns(&function, width);
    match (columns.as_slice(), alias.columns.as_slice()) {
        (_, _) if call.ordinality => None,
        ([column], []) => Some((folded(&alias.name), column.clone())),
        ([_], [named]) => Some((folded(&alias.name), named.name.clone())),
        _ => None,
    }
}

/// The names of the columns of a function in FROM, if it is a set-returning one.
pub(super) fn columns_of(factor: &TableFactor) -> Option<Vec<String>> {
    let call = Call::of(factor)?;
    let mut columns = if super::json_records::is_one(&call.name) {
        call.alias.iter().flat_map(|alias| &alias.columns).map(|column| column.name.clone()).collect()
    } else if call.name == sql::ROWS_FROM {
        call.side_by_side().ok()?.1
    } else {
        let function = find(&call.name)?;
        let width = if function.arrays.is_empty() { call.args.len() } else { function.arrays.len() };
        call.columns(&function, width)
    };
    if call.ordinality {
        columns.push(Ident::with_quote('"', "ordinality"));
    }
    let mut names: Vec<String> = columns.iter().map(folded).collect();
    for (name, named) in names.iter_mut().zip(call.alias.iter().flat_map(|alias| &alias.columns)) {
        *name = folded(&named.name);
    }
    Some(names)
}
