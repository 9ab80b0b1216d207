//! Subqueries over relations that are always empty here, because Millrace has no such things.

use std::ops::ControlFlow;

use sql::ast::{
    BinaryOperator, DataType, Expr, FunctionArguments, GroupByExpr, JoinOperator, Query, Select, SelectItem, SetExpr,
    TableFactor, TableWithJoins, Value, Visitor, VisitorMut,
};
use sql::walk;

use super::{cast, system_name};
use crate::PlanContext;
use crate::query::name::folded;
use crate::query::rewrite::call;

/// Aggregates make a row out of none.
pub(super) const AGGREGATES: &[&str] = &[
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "array_agg",
    "string_agg",
    "bool_and",
    "bool_or",
    "every",
    "json_agg",
    "jsonb_agg",
];

/// If nothing can come out of FROM, the subqueries of the SELECT are never run: they give NULL. Else each of its subqueries over nothing gives
/// what a subquery over nothing gives.
pub(super) fn simplify(select: &mut Select, context: &PlanContext<'_>) {
    let mut replace = Replace { context, all: from_is_empty(&select.from, context) && !aggregates(select) };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let _never_breaks = walk::change(expr, &mut replace);
        }
    }
    if let Some(selection) = &mut select.selection {
        let _never_breaks = walk::change(selection, &mut replace);
    }
}

struct Replace<'a> {
    context: &'a PlanContext<'a>,
    /// Every subquery, not only those over nothing.
    all: bool,
}

impl VisitorMut for Replace<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let gone = |query: &Query| self.all || query_is_empty(query, self.context);
        let replacement = match expr {
            Expr::Subquery(query) if gone(query) => Some(cast(null(), DataType::Text)),
            Expr::Exists { subquery, negated } if gone(subquery) => Some(Expr::value(Value::Boolean(*negated))),
            Expr::InSubquery { subquery, negated, .. } if gone(subquery) => Some(Expr::value(Value::Boolean(*negated))),
            Expr::Function(function) => match &function.args {
                FunctionArguments::Subquery(query) if gone(query) => Some(call("pg_empty_array", Vec::new())),
                _ => None,
            },
            Expr::Case { operand: None, conditions, else_result, .. } => {
                conditions.retain(|branch| !is_domain(&branch.condition));
                conditions.is_empty().then(|| else_result.as_deref().cloned().unwrap_or_else(null))
            }
            _ => None,
        };
        if let Some(replacement) = replacement {
            *expr = replacement;
        }
        ControlFlow::Continue(())
    }
}

/// `typtype = 'd'`: no type is a domain.
fn is_domain(condition: &Expr) -> bool {
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = condition else { return false };
    let column = match &**left {
        Expr::Identifier(ident) => Some(ident),
        Expr::CompoundIdentifier(parts) => parts.last(),
        _ => None,
    };
    let is_d = matches!(&**right, Expr::Value(value) if value.value == Value::SingleQuotedString("d".to_owned()));
    is_d && column.is_some_and(|column| folded(column) == "typtype")
}

fn null() -> Expr {
    Expr::value(Value::Null)
}

/// Whether a query certainly gives no rows.
fn query_is_empty(query: &Query, context: &PlanContext<'_>) -> bool {
    match &*query.body {
        SetExpr::Select(select) => from_is_empty(&select.from, context) && !aggregates(select),
        SetExpr::Query(query) => query_is_empty(query, context),
        _ => false,
    }
}

/// Whether a relation that every row needs is empty.
fn from_is_empty(from: &[TableWithJoins], context: &PlanContext<'_>) -> bool {
    from.iter().any(|table| {
        let mut empty = factor_is_empty(&table.relation, context);
        for join in &table.joins {
            let right = factor_is_empty(&join.relation, context);
            empty = match &join.join_operator {
                JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => empty || right,
                JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => empty,
                JoinOperator::Right(_) | JoinOperator::RightOuter(_) => right,
                _ => false,
            };
        }
        empty
    })
}

fn factor_is_empty(factor: &TableFactor, context: &PlanContext<'_>) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => {
            system_name(name, context).is_some_and(|name| context.system.is_always_empty(&name))
        }
        // Storage options are NULL: nothing comes out of them.
        TableFactor::UNNEST { array_exprs, .. } => array_exprs.iter().any(is_storage_options),
        TableFactor::Table { args: Some(args), .. } => args.args.iter().any(|argument| match argument {
            sql::ast::FunctionArg::Unnamed(sql::ast::FunctionArgExpr::Expr(expr)) => is_storage_options(expr),
            _ => false,
        }),
        _ => false,
    }
}

fn is_storage_options(expr: &Expr) -> bool {
    let last = match expr {
        Expr::Identifier(ident) => ident,
        Expr::CompoundIdentifier(parts) => match parts.last() {
            Some(ident) => ident,
            None => return false,
        },
        _ => return false,
    };
    matches!(folded(last).as_str(), "reloptions" | "attoptions")
}

fn aggregates(select: &Select) -> bool {
    let grouped = match &select.group_by {
        GroupByExpr::Expressions(expressions, _) => !expressions.is_empty(),
        GroupByExpr::All(_) => true,
    };
    let finds = select.projection.iter().any(|item| walk::read(item, &mut FindAggregate::default()).is_break());
    !grouped && finds
}

/// Breaks at an aggregate; those of subqueries are their own.
#[derive(Default)]
struct FindAggregate {
    depth: usize,
}

impl Visitor for FindAggregate {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        let name = function.name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
        if AGGREGATES.contains(&name.as_str()) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// psql shows the options of a foreign table by `array_to_string(ARRAY(SELECT … FROM pg_options_to_table(options)), ', ')`: a function of
/// the options, which is `pg_options_text(options)` here.
pub(super) fn options_of_foreign_table(expr: &mut Expr) {
    let Expr::Function(function) = &*expr else { return };
    let is_join =
        function.name.0.last().and_then(|part| part.as_ident()).is_some_and(|name| folded(name) == "array_to_string");
    if !is_join {
        return;
    }
    let FunctionArguments::List(list) = &function.args else { return };
    let Some(sql::ast::FunctionArg::Unnamed(sql::ast::FunctionArgExpr::Expr(Expr::Function(array)))) =
        list.args.first()
    else {
        return;
    };
    let FunctionArguments::Subquery(query) = &array.args else { return };
    let SetExpr::Select(select) = &*query.body else { return };
    let [TableWithJoins { relation: TableFactor::Table { name, args: Some(args), .. }, joins }] =
        select.from.as_slice()
    else {
        return;
    };
    let is_options =
        name.0.last().and_then(|part| part.as_ident()).is_some_and(|name| folded(name) == "pg_options_to_table");
    let [sql::ast::FunctionArg::Unnamed(sql::ast::FunctionArgExpr::Expr(options))] = args.args.as_slice() else {
        return;
    };
    if is_options && joins.is_empty() {
        *expr = call("pg_options_text", vec![options.clone()]);
    }
}
