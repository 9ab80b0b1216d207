//! `GROUP BY` the primary key of a table: the table's other columns are the same in all rows of a group, so they may stand beside aggregates. Those that are
//! asked for are grouped by, too. As in PostgreSQL it takes the whole key, of a table that stands in FROM itself.
//!
//! What is neither grouped by, nor said by a key, nor in an aggregate is an error; here it still has a place in the text.

use std::ops::ControlFlow;

use sql::Span;
use sql::ast::{
    Distinct, Expr, Function, GroupByExpr, NamedWindowExpr, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Spanned, Value, Visitor,
};
use sql::walk::{self, Walk};

use super::from_columns::FromColumns;
use super::name::{column_name, folded};
use super::placement;
use super::scope::{self, Column, Relation, Scopes, meant, normal};
use crate::error::ErrorKind;
use crate::functions::FunctionRegistry;
use crate::{Error, PlanContext};

/// A column that is neither grouped by nor in an aggregate.
#[derive(Debug)]
pub(crate) struct Ungrouped {
    /// Its relation and its name.
    pub(crate) column: String,
    /// Whether it stands in a subquery.
    pub(crate) within: bool,
    /// Where it stands.
    pub(crate) span: Option<Span>,
}

/// The error with the column that it is about and its place, if it is about one that isn't grouped by. DataFusion may name another of several.
pub(super) fn located(error: Error, ungrouped: &[Ungrouped]) -> Error {
    if error.kind != ErrorKind::Grouping || !error.message.starts_with("column ") {
        return error;
    }
    let said = |found: &&Ungrouped| error.message.contains(&format!("\"{}\"", found.column));
    let Some(found) = ungrouped.iter().find(said).or(ungrouped.first()) else { return error };
    found.error().at(error.span)
}

impl Ungrouped {
    /// What PostgreSQL says of it.
    pub(super) fn error(&self) -> Error {
        let column = &self.column;
        let message = match self.within {
            true => format!("subquery uses ungrouped column \"{column}\" from outer query"),
            false => {
                format!("column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function")
            }
        };
        Error::new(ErrorKind::Grouping, message).at(self.span)
    }
}

/// Adds what keys say to GROUP BY, in the SELECTs that a query consists of; gives the columns that nothing says. `names` has entered the query.
pub(super) fn in_query(query: &mut Query, names: &mut FromColumns<'_>, context: &PlanContext<'_>) -> Vec<Ungrouped> {
    let order = match query.order_by.as_ref().map(|order| &order.kind) {
        Some(OrderByKind::Expressions(keys)) => keys.as_slice(),
        _ => &[],
    };
    let mut ungrouped = Vec::new();
    in_body(&mut query.body, order, names, context, &mut ungrouped);
    ungrouped
}

fn in_body(
    body: &mut SetExpr,
    order: &[OrderByExpr],
    names: &mut FromColumns<'_>,
    context: &PlanContext<'_>,
    ungrouped: &mut Vec<Ungrouped>,
) {
    match body {
        SetExpr::Select(select) => in_select(select, order, names, context, ungrouped),
        SetExpr::SetOperation { left, right, .. } => {
            in_body(left, &[], names, context, ungrouped);
            in_body(right, &[], names, context, ungrouped);
        }
        _ => {}
    }
}

fn in_select(
    select: &mut Select,
    order: &[OrderByExpr],
    names: &mut FromColumns<'_>,
    context: &PlanContext<'_>,
    ungrouped: &mut Vec<Ungrouped>,
) {
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return };
    let is_one_group = || select.having.is_some() || placement::aggregate_of(select, context.functions).is_some();
    if keys.is_empty() && !is_one_group() {
        return;
    }
    let relations = scope::relations(&select.from, names, context);
    let groups = Groups::of(select, &relations);
    let (scopes, functions) = (Scopes::new(names, context), context.functions);
    let mut asked = Asked { groups: &groups, relations: &relations, scopes, functions, inside: 0, found: vec![] };
    asked.of_select(select, order);
    let found = asked.found;
    let mut added: Vec<Column> = Vec::new();
    for (column, span, within) in found {
        if groups.columns.contains(&column) || added.contains(&column) {
            continue;
        }
        let relation = &relations[column.relation];
        match relation.is_said_by(&groups.common, column.relation) {
            true => added.push(column),
            false => {
                let column = format!("{}.{}", relation.name, column.name);
                ungrouped.push(Ungrouped { column, within, span });
            }
        }
    }
    let place = |column: &Column| relations[column.relation].columns.iter().position(|known| *known == column.name);
    added.sort_by_key(|column| (column.relation, place(column)));
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        keys.extend(added.iter().map(|column| relations[column.relation].column(&column.name)));
    }
}

/// What a SELECT groups by.
struct Groups {
    /// Plain columns.
    columns: Vec<Column>,
    /// Those of them that are in every grouping set.
    common: Vec<Column>,
    /// Other expressions, in the form of [`normal`].
    expressions: Vec<Expr>,
}

impl Groups {
    fn of(select: &Select, relations: &[Relation]) -> Self {
        let mut groups = Self { columns: Vec::new(), common: Vec::new(), expressions: Vec::new() };
        let GroupByExpr::Expressions(keys, _) = &select.group_by else { return groups };
        for key in keys {
            match key {
                Expr::GroupingSets(sets) => {
                    let members: Vec<Vec<Expr>> = sets
                        .iter()
                        .map(|set| set.iter().map(|key| written(key, select, relations)).collect())
                        .collect();
                    for member in members.iter().flatten() {
                        groups.add(member, relations, members.iter().all(|set| set.contains(member)));
                    }
                }
                Expr::Rollup(sets) | Expr::Cube(sets) => {
                    for member in sets.iter().flatten() {
                        groups.add(&written(member, select, relations), relations, false);
                    }
                }
                Expr::Tuple(fields) => {
                    for field in fields {
                        groups.add(&written(field, select, relations), relations, true);
                    }
                }
                key => groups.add(&written(key, select, relations), relations, true),
            }
        }
        groups
    }

    fn add(&mut self, key: &Expr, relations: &[Relation], in_all: bool) {
        match meant(key, relations) {
            Some(column) => {
                if in_all {
                    self.common.push(column.clone());
                }
                self.columns.push(column);
            }
            None => self.expressions.push(normal(key, relations)),
        }
    }
}

/// What a key stands for: `1` for what is there in the SELECT list, and a name of that list for what has it, if no column is called so.
pub(super) fn written(key: &Expr, select: &Select, relations: &[Relation]) -> Expr {
    let output = match key {
        Expr::Nested(inner) => return written(inner, select, relations),
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => {
                let place = digits.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
                place.and_then(|place| select.projection.get(place))
            }
            _ => None,
        },
        Expr::Identifier(name) if meant(key, relations).is_none() => select
            .projection
            .iter()
            .find(|item| matches!(item, SelectItem::ExprWithAlias { alias, .. } if folded(alias) == folded(name))),
        _ => None,
    };
    match output {
        Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => expr.clone(),
        _ => key.clone(),
    }
}

/// Looks for the columns that a SELECT asks for outside of its aggregates, in subqueries too.
struct Asked<'a, 'c> {
    groups: &'a Groups,
    relations: &'a [Relation],
    scopes: Scopes<'a, 'c>,
    functions: &'a FunctionRegistry,
    /// Aggregates, and expressions that are grouped by, around it.
    inside: usize,
    /// Columns, where they stand, and whether that is in a subquery.
    found: Vec<(Column, Option<Span>, bool)>,
}

impl Asked<'_, '_> {
    /// In the order in which PostgreSQL looks at them.
    fn of_select(&mut self, select: &Select, order: &[OrderByExpr]) {
        for item in &select.projection {
            self.of_item(item);
        }
        let outputs: Vec<String> = select.projection.iter().filter_map(output_name).collect();
        let is_output = |expr: &Expr| matches!(expr, Expr::Identifier(name) if outputs.contains(&folded(name)));
        let of_order = order.iter().map(|key| &key.expr);
        let of_distinct = match &select.distinct {
            Some(Distinct::On(keys)) => keys.as_slice(),
            _ => &[],
        };
        for key in of_order.chain(of_distinct).filter(|key| !is_output(key)) {
            self.of(key);
        }
        for condition in select.having.iter().chain(&select.qualify) {
            self.of(condition);
        }
        for window in &select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = &window.1 {
                spec.partition_by.iter().for_each(|key| self.of(key));
                spec.order_by.iter().for_each(|key| self.of(&key.expr));
            }
        }
    }

    fn of_item(&mut self, item: &SelectItem) {
        let whole = match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => return self.of(expr),
            SelectItem::Wildcard(_) => None,
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                name.0.last().and_then(|part| part.as_ident()).map(folded)
            }
            _ => return,
        };
        let span = Span::of_parser(item.span());
        for (at, relation) in self.relations.iter().enumerate() {
            if whole.as_ref().is_none_or(|whole| *whole == relation.name) {
                let columns = relation.columns.iter().map(|name| Column { relation: at, name: name.clone() });
                self.found.extend(columns.map(|column| (column, span, false)));
            }
        }
    }

    fn of(&mut self, node: &dyn Walk) {
        let _never_breaks = walk::read(node, self);
    }

    /// Whether what stands within is the same in all rows of a group, or is taken of all of them.
    fn is_whole(&self, expr: &Expr) -> bool {
        let is_aggregate = |call: &Function| call.over.is_none() && placement::is_aggregate(call, self.functions);
        let is_aggregate = matches!(expr, Expr::Function(call) if is_aggregate(call));
        if !self.scopes.is_outside() {
            return is_aggregate && self.scopes.is_of_select(expr, self.relations);
        }
        is_aggregate
            || !self.groups.expressions.is_empty() && self.groups.expressions.contains(&normal(expr, self.relations))
    }
}

/// What a column of the answer is called, if it is no wildcard.
pub(super) fn output_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        SelectItem::UnnamedExpr(expr) => Some(column_name(expr)),
        _ => None,
    }
}

impl Visitor for Asked<'_, '_> {
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
        if self.is_whole(expr) {
            self.inside += 1;
        }
        if self.inside == 0
            && let Some(column) = meant(expr, self.relations)
            && self.scopes.reaches(expr)
        {
            self.found.push((column, Span::of_parser(expr.span()), !self.scopes.is_outside()));
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.is_whole(expr) {
            self.inside -= 1;
        }
        ControlFlow::Continue(())
    }
}
