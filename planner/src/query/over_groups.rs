//! A SELECT whose subqueries take its aggregates: `SELECT dept, (SELECT max(x) FROM u WHERE u.y < sum(t.z)) FROM t GROUP BY dept`, or rows of them:
//! `HAVING (sum(z), count(*)) = (SELECT …)`. PostgreSQL takes an aggregate for one of the innermost query whose columns it has.
//!
//! DataFusion knows aggregates of a query of its own alone, so it becomes one over its groups: `SELECT dept, (SELECT max(x) FROM u WHERE u.y < "group:2") FROM
//! (SELECT dept AS "group:1", sum(t.z) AS "group:2" FROM t GROUP BY dept) AS "groups"`.

use std::ops::ControlFlow;

use sql::Span;
use sql::ast::{
    Distinct, Expr, Function, GroupByExpr, Ident, NamedWindowExpr, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SetExpr, Spanned, TableFactor, TableWithJoins, Visitor, VisitorMut,
};
use sql::walk::{self, Walk};

use super::from_columns::FromColumns;
use super::key_columns::{Ungrouped, output_name, written};
use super::name::{column_name, folded};
use super::scope::{self, Relation, Scopes, meant, normal};
use super::set_returning::{select_all, table_alias};
use super::{placement, row_in};
use crate::error::ErrorKind;
use crate::functions::FunctionRegistry;
use crate::{Error, PlanContext, Result};

/// What the groups are called.
const GROUPS: &str = "groups";

/// Rewrites the SELECTs that a query consists of. `names` has entered the query, and GROUP BY has what keys say.
pub(super) fn in_query(query: &mut Query, names: &mut FromColumns<'_>, context: &PlanContext<'_>) -> Result<()> {
    let order = match query.order_by.as_mut().map(|order| &mut order.kind) {
        Some(OrderByKind::Expressions(keys)) => keys.as_mut_slice(),
        _ => &mut [],
    };
    in_body(&mut query.body, order, names, context)
}

fn in_body(
    body: &mut SetExpr,
    order: &mut [OrderByExpr],
    names: &mut FromColumns<'_>,
    context: &PlanContext<'_>,
) -> Result<()> {
    match body {
        SetExpr::Select(select) => in_select(select, order, names, context),
        SetExpr::SetOperation { left, right, .. } => {
            in_body(left, &mut [], names, context)?;
            in_body(right, &mut [], names, context)
        }
        _ => Ok(()),
    }
}

fn in_select(
    select: &mut Select,
    order: &mut [OrderByExpr],
    names: &mut FromColumns<'_>,
    context: &PlanContext<'_>,
) -> Result<()> {
    if makes_groups(select) || !may_concern(select, order, context.functions) {
        return Ok(());
    }
    let relations = scope::relations(&select.from, names, context);
    let (scopes, functions) = (Scopes::new(names, context), context.functions);
    let mut taken = Taken { relations: &relations, scopes, functions, found: None };
    taken.refuse_elsewhere(select)?;
    let is_grouped = matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if !keys.is_empty())
        || placement::aggregate_of(select, context.functions).is_some();
    let concerned = seen(select, order).into_iter().any(|node| taken.first(node).is_some())
        || is_grouped && seen(select, order).into_iter().any(compares_rows);
    if !concerned {
        return Ok(());
    }
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return Ok(()) };
    let mut values: Vec<Expr> = Vec::new();
    for key in keys.iter().flat_map(members) {
        let key = normal(&written(key, select, &relations), &relations);
        if !values.contains(&key) {
            values.push(key);
        }
    }
    name_outputs(select, &relations);
    let mut over = Over { taken, keys: values.len(), values, ungrouped: None };
    let outputs: Vec<String> = select.projection.iter().filter_map(output_name).collect();
    let is_output = |expr: &Expr| matches!(expr, Expr::Identifier(name) if outputs.contains(&folded(name)));
    seen_mut(select, order, is_output).into_iter().for_each(|node| over.of(node));
    let Over { values, ungrouped, .. } = over;
    match ungrouped {
        Some(ungrouped) => Err(ungrouped.error()),
        // Nothing is known of the one group but that it is there.
        None if values.is_empty() => Ok(()),
        None => put_over(select, values),
    }
}

/// Whether there can be anything to do.
fn may_concern(select: &Select, order: &[OrderByExpr], functions: &FunctionRegistry) -> bool {
    struct Finder<'a> {
        depth: usize,
        functions: &'a FunctionRegistry,
    }
    impl Visitor for Finder<'_> {
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
            let found = match expr {
                Expr::Function(call) => self.depth > 0 && is_aggregate(call, self.functions),
                other => self.depth == 0 && row_in::compares(other),
            };
            if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    let mut finder = Finder { depth: 0, functions };
    walk::read(select, &mut finder).is_break() || order.iter().any(|key| walk::read(&key.expr, &mut finder).is_break())
}

fn is_aggregate(call: &Function, functions: &FunctionRegistry) -> bool {
    call.over.is_none() && placement::is_aggregate(call, functions)
}

/// Whether a row stands beside a subquery, other subqueries aside.
fn compares_rows(node: &dyn Walk) -> bool {
    struct Finder(usize);
    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
            self.0 += 1;
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
            self.0 -= 1;
            ControlFlow::Continue(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if self.0 == 0 && row_in::compares(expr) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    walk::read(node, &mut Finder(0)).is_break()
}

/// What is grouped by, one by one.
fn members(key: &Expr) -> Vec<&Expr> {
    match key {
        Expr::GroupingSets(sets) | Expr::Rollup(sets) | Expr::Cube(sets) => sets.iter().flatten().collect(),
        Expr::Tuple(fields) => fields.iter().collect(),
        key => vec![key],
    }
}

/// What sees the rows of the groups.
fn seen<'a>(select: &'a Select, order: &'a [OrderByExpr]) -> Vec<&'a dyn Walk> {
    let mut nodes: Vec<&dyn Walk> = select.projection.iter().map(|item| item as &dyn Walk).collect();
    nodes.extend(order.iter().map(|key| &key.expr as &dyn Walk));
    if let Some(Distinct::On(keys)) = &select.distinct {
        nodes.extend(keys.iter().map(|key| key as &dyn Walk));
    }
    nodes.extend(select.having.iter().chain(&select.qualify).map(|condition| condition as &dyn Walk));
    nodes
}

/// As [`seen`], and the keys of windows; without what is the name of a column of the answer where that may stand.
fn seen_mut<'a>(
    select: &'a mut Select,
    order: &'a mut [OrderByExpr],
    is_output: impl Fn(&Expr) -> bool,
) -> Vec<&'a mut dyn Walk> {
    let mut nodes: Vec<&mut dyn Walk> = select.projection.iter_mut().map(|item| item as &mut dyn Walk).collect();
    let of_order = order.iter_mut().map(|key| &mut key.expr);
    let of_distinct = match &mut select.distinct {
        Some(Distinct::On(keys)) => keys.as_mut_slice(),
        _ => &mut [],
    };
    let by_name = of_order.chain(of_distinct).filter(|key| !is_output(key));
    nodes.extend(by_name.map(|key| key as &mut dyn Walk));
    nodes.extend(select.having.iter_mut().chain(&mut select.qualify).map(|condition| condition as &mut dyn Walk));
    for window in &mut select.named_window {
        if let NamedWindowExpr::WindowSpec(spec) = &mut window.1 {
            nodes.extend(spec.partition_by.iter_mut().map(|key| key as &mut dyn Walk));
            nodes.extend(spec.order_by.iter_mut().map(|key| &mut key.expr as &mut dyn Walk));
        }
    }
    nodes
}

/// Gives the columns of the answer the names that they have now, those of `*` too.
fn name_outputs(select: &mut Select, relations: &[Relation]) {
    scope::write_out(&mut select.projection, relations);
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item {
            let alias = Ident::with_quote('"', column_name(expr));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

/// The SELECT over one of these values.
fn put_over(select: &mut Select, values: Vec<Expr>) -> Result<()> {
    let mut query = select_all()?;
    let SetExpr::Select(groups) = &mut *query.body else { return Err(Error::internal("a SELECT was parsed")) };
    let items = values.into_iter().enumerate();
    groups.projection = items.map(|(at, expr)| SelectItem::ExprWithAlias { expr, alias: place(at) }).collect();
    groups.from = std::mem::take(&mut select.from);
    groups.selection = select.selection.take();
    let ungrouped = GroupByExpr::Expressions(Vec::new(), Vec::new());
    groups.group_by = std::mem::replace(&mut select.group_by, ungrouped);
    select.selection = select.having.take();
    let relation = TableFactor::Derived {
        lateral: false,
        subquery: query,
        alias: Some(table_alias(GROUPS.to_owned())),
        sample: None,
    };
    select.from = vec![TableWithJoins { relation, joins: Vec::new() }];
    Ok(())
}

/// Whether it is a SELECT that [`put_over`] has made: what stands in its aggregates and keys is of the rows below, not of the groups.
fn makes_groups(select: &Select) -> bool {
    let mut items = select.projection.iter().enumerate();
    !select.projection.is_empty()
        && items.all(|(at, item)| matches!(item, SelectItem::ExprWithAlias { alias, .. } if *alias == place(at)))
}

fn place(at: usize) -> Ident {
    Ident::with_quote('"', format!("group:{}", at + 1))
}

/// Looks for the aggregates of a SELECT that stand in its subqueries.
struct Taken<'a, 'c> {
    relations: &'a [Relation],
    scopes: Scopes<'a, 'c>,
    functions: &'a FunctionRegistry,
    /// Where the first one stands.
    found: Option<Option<Span>>,
}

impl Taken<'_, '_> {
    fn first(&mut self, node: &dyn Walk) -> Option<Option<Span>> {
        // To its end, so that all scopes are left again.
        let _never_breaks = walk::read(node, self);
        self.found.take()
    }

    /// An error if there is one where aggregates may not be.
    fn refuse_elsewhere(&mut self, select: &Select) -> Result<()> {
        let conditions = select.selection.iter().map(|condition| ("in WHERE", condition));
        let joins = select.from.iter().flat_map(|table| &table.joins);
        let of_joins =
            joins.filter_map(|join| Some(("in JOIN conditions", placement::condition(&join.join_operator)?)));
        let keys = match &select.group_by {
            GroupByExpr::Expressions(keys, _) => keys.as_slice(),
            GroupByExpr::All(_) => &[],
        };
        let keys = keys.iter().map(|key| ("in GROUP BY", key));
        for (clause, node) in conditions.chain(of_joins).chain(keys) {
            if let Some(span) = self.first(node) {
                let message = format!("aggregate functions are not allowed {clause}");
                return Err(Error::new(ErrorKind::Grouping, message).at(span));
            }
        }
        Ok(())
    }

    /// Whether it is an aggregate of the SELECT's rows.
    fn is_own(&self, expr: &Expr) -> bool {
        let Expr::Function(call) = expr else { return false };
        is_aggregate(call, self.functions)
            && (self.scopes.is_outside() || self.scopes.is_of_select(expr, self.relations))
    }
}

impl Visitor for Taken<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.scopes.enter_query(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.scopes.leave_query();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        self.scopes.enter_select(select);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &Select) -> ControlFlow<()> {
        self.scopes.leave_select();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Function(call) = expr
            && !self.scopes.is_outside()
            && self.is_own(expr)
        {
            self.found.get_or_insert(Span::of_parser(call.name.span()));
        }
        ControlFlow::Continue(())
    }
}

/// Puts columns of the groups in the place of what is known of them.
struct Over<'a, 'c> {
    taken: Taken<'a, 'c>,
    /// How many of the values are what is grouped by.
    keys: usize,
    values: Vec<Expr>,
    ungrouped: Option<Ungrouped>,
}

impl Over<'_, '_> {
    fn of(&mut self, node: &mut dyn Walk) {
        let _never_breaks = walk::change(node, self);
    }

    /// Which value it is.
    fn value(&mut self, expr: &Expr) -> Option<usize> {
        let relations = self.taken.relations;
        if self.taken.is_own(expr) {
            let call = normal(expr, relations);
            let known = self.values[self.keys..].iter().position(|value| *value == call);
            return Some(
                self.keys
                    + known.unwrap_or_else(|| {
                        self.values.push(call);
                        self.values.len() - 1 - self.keys
                    }),
            );
        }
        let column = meant(expr, relations).filter(|_| self.taken.scopes.reaches(expr));
        if column.is_none() && !self.taken.scopes.is_outside() {
            return None;
        }
        let wanted = normal(expr, relations);
        let found = self.values[..self.keys].iter().position(|value| *value == wanted);
        if let (None, Some(column)) = (found, column) {
            let name = format!("{}.{}", relations[column.relation].name, column.name);
            let within = !self.taken.scopes.is_outside();
            self.ungrouped.get_or_insert(Ungrouped { column: name, within, span: Span::of_parser(expr.span()) });
        }
        found
    }
}

impl VisitorMut for Over<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.taken.scopes.enter_query(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.taken.scopes.leave_query();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        self.taken.scopes.enter_select(select);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &mut Select) -> ControlFlow<()> {
        self.taken.scopes.leave_select();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(at) = self.value(expr) {
            *expr = Expr::CompoundIdentifier(vec![Ident::with_quote('"', GROUPS), place(at)]);
        }
        ControlFlow::Continue(())
    }
}
