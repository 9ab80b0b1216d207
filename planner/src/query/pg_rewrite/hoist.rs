//! A correlated scalar subquery over system relations as a LEFT JOIN. In `SELECT a.attname, (SELECT e FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND
//! a.atthasdef) FROM pg_attribute a` the subquery's relations join `a` on its whole condition, and `e` takes its place where they match. A catalog's
//! subqueries find one row at most, as they look for keys; one that found more would give more rows here and an error in PostgreSQL.

use std::collections::HashMap;
use std::ops::ControlFlow;

use arrow::datatypes::SchemaRef;
use sql::ast::{
    CaseWhen, Expr, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, Query, Select, SelectItem, SetExpr,
    TableAlias, TableFactor, TableWithJoins, Value, Visitor, VisitorMut,
};
use sql::walk;

use super::{plain_relation, system_name};
use crate::PlanContext;
use crate::query::name::folded;

/// Hoists what can be hoisted out of a SELECT's list and condition.
pub(super) fn scalar_subqueries(select: &mut Select, context: &PlanContext<'_>, aliases: &mut usize) {
    let grouped = match &select.group_by {
        GroupByExpr::Expressions(expressions, _) => !expressions.is_empty(),
        GroupByExpr::All(_) => true,
    };
    let wildcard = select.projection.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
    if select.from.is_empty() || grouped || select.having.is_some() || wildcard {
        return;
    }
    let mut hoist = Hoist { context, aliases, joins: Vec::new() };
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            let _never_breaks = walk::change(expr, &mut hoist);
        }
    }
    if let Some(selection) = &mut select.selection {
        let _never_breaks = walk::change(selection, &mut hoist);
    }
    let joins = hoist.joins;
    if joins.is_empty() {
        return;
    }
    // A condition of a join sees only what is joined before it: relations apart by commas become one chain.
    let mut tables = std::mem::take(&mut select.from).into_iter();
    let Some(mut chain) = tables.next() else { return };
    for table in tables {
        chain.joins.push(join(table.relation, JoinOperator::CrossJoin(JoinConstraint::None)));
        chain.joins.extend(table.joins);
    }
    chain.joins.extend(joins);
    select.from = vec![chain];
}

fn join(relation: TableFactor, join_operator: JoinOperator) -> Join {
    Join { relation, global: false, join_operator }
}

struct Hoist<'a> {
    context: &'a PlanContext<'a>,
    aliases: &'a mut usize,
    joins: Vec<Join>,
}

impl VisitorMut for Hoist<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Subquery(query) = expr
            && let Some(replacement) = self.hoist(query)
        {
            *expr = replacement;
        }
        ControlFlow::Continue(())
    }
}

impl Hoist<'_> {
    /// Adds the join and gives what takes the subquery's place; `None` if it is not of that kind.
    fn hoist(&mut self, query: &Query) -> Option<Expr> {
        let plain =
            query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
        let SetExpr::Select(select) = &*query.body else { return None };
        let ungrouped = matches!(&select.group_by, GroupByExpr::Expressions(expressions, _) if expressions.is_empty());
        if !plain || !ungrouped || select.distinct.is_some() || select.having.is_some() {
            return None;
        }
        let [SelectItem::UnnamedExpr(value) | SelectItem::ExprWithAlias { expr: value, .. }] =
            select.projection.as_slice()
        else {
            return None;
        };
        if walk::read(value, &mut FindCallOverRows).is_break() {
            return None;
        }

        let mut scope = Scope::default();
        let mut factors = Vec::new();
        let mut conditions: Vec<Expr> = select.selection.clone().into_iter().collect();
        for table in &select.from {
            factors.push(self.relation(&table.relation, &mut scope)?);
            for join in &table.joins {
                match &join.join_operator {
                    JoinOperator::Join(JoinConstraint::On(on)) | JoinOperator::Inner(JoinConstraint::On(on)) => {
                        conditions.push(on.clone())
                    }
                    JoinOperator::CrossJoin(_) => {}
                    _ => return None,
                }
                factors.push(self.relation(&join.relation, &mut scope)?);
            }
        }
        let mut correlated = Correlated { scope: &scope, found: false };
        for condition in &conditions {
            let _never_breaks = walk::read(condition, &mut correlated);
        }
        let _never_breaks = walk::read(value, &mut correlated);
        if !correlated.found {
            return None;
        }

        let mut condition = conditions
            .into_iter()
            .map(|condition| Expr::Nested(Box::new(condition)))
            .reduce(|left, right| Expr::BinaryOp {
                left: Box::new(left),
                op: sql::ast::BinaryOperator::And,
                right: Box::new(right),
            })
            .unwrap_or_else(|| Expr::value(Value::Boolean(true)));
        let mut value = value.clone();
        let mut rename = Rename { scope: &scope };
        let _never_breaks = walk::change(&mut condition, &mut rename);
        let _never_breaks = walk::change(&mut value, &mut rename);

        let mut factors = factors.into_iter();
        let first = factors.next()?;
        let others: Vec<Join> =
            factors.map(|factor| join(factor, JoinOperator::CrossJoin(JoinConstraint::None))).collect();
        let relation = if others.is_empty() {
            first
        } else {
            let table_with_joins = Box::new(TableWithJoins { relation: first, joins: others });
            TableFactor::NestedJoin { table_with_joins, alias: None }
        };
        self.joins.push(join(relation, JoinOperator::LeftOuter(JoinConstraint::On(condition))));
        // The first column of a catalog table is never NULL: it tells whether there was a match.
        let (alias, witness) = scope.witness?;
        let matched = Expr::IsNotNull(Box::new(Expr::CompoundIdentifier(vec![
            Ident::new(alias),
            Ident::with_quote('"', witness),
        ])));
        Some(Expr::Case {
            case_token: sql::ast::helpers::attached_token::AttachedToken::empty(),
            end_token: sql::ast::helpers::attached_token::AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen { condition: matched, result: value }],
            else_result: None,
        })
    }

    /// A system relation under a name of its own.
    fn relation(&mut self, factor: &TableFactor, scope: &mut Scope) -> Option<TableFactor> {
        let (name, called) = plain_relation(factor)?;
        let schema = self.context.system.relation(&system_name(name, self.context)?)?;
        *self.aliases += 1;
        let alias = format!("hoisted_{}", self.aliases);
        if scope.witness.is_none() {
            scope.witness = Some((alias.clone(), schema.fields().first()?.name().clone()));
        }
        scope.relations.insert(called, (alias.clone(), schema));
        let mut factor = factor.clone();
        if let TableFactor::Table { alias: given, .. } = &mut factor {
            *given = Some(TableAlias { explicit: true, name: Ident::new(alias), columns: Vec::new(), at: None });
        }
        Some(factor)
    }
}

/// The relations of a subquery by the names that it gives them.
#[derive(Default)]
struct Scope {
    relations: HashMap<String, (String, SchemaRef)>,
    witness: Option<(String, String)>,
}

impl Scope {
    /// What a name of the subquery is called after hoisting; `None` if it is the outer query's.
    fn resolve(&self, parts: &[Ident]) -> Option<Vec<Ident>> {
        match parts {
            [column] => {
                let name = folded(column);
                let (alias, _) =
                    self.relations.values().find(|(_, schema)| schema.column_with_name(&name).is_some())?;
                Some(vec![Ident::new(alias), column.clone()])
            }
            [.., relation, column] => {
                let (alias, _) = self.relations.get(&folded(relation))?;
                Some(vec![Ident::new(alias), column.clone()])
            }
            [] => None,
        }
    }
}

struct Correlated<'a> {
    scope: &'a Scope,
    found: bool,
}

impl Visitor for Correlated<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.found |= self.scope.resolve(std::slice::from_ref(ident)).is_none(),
            Expr::CompoundIdentifier(parts) => self.found |= self.scope.resolve(parts).is_none(),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

struct Rename<'a> {
    scope: &'a Scope,
}

impl VisitorMut for Rename<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let renamed = match expr {
            Expr::Identifier(ident) => self.scope.resolve(std::slice::from_ref(ident)),
            Expr::CompoundIdentifier(parts) => self.scope.resolve(parts),
            _ => None,
        };
        if let Some(parts) = renamed {
            *expr = Expr::CompoundIdentifier(parts);
        }
        ControlFlow::Continue(())
    }
}

/// Finds what a value that depends on one row alone doesn't have: a subquery, a window, an aggregate.
struct FindCallOverRows;

impl Visitor for FindCallOverRows {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        let name = function.name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default();
        let over_rows = function.over.is_some() || super::emptiness::AGGREGATES.contains(&name.as_str());
        if over_rows { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
