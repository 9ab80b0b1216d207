//! What names in a SELECT's expressions mean, before anything is planned: which relation in FROM has the column, and whether a subquery hides it.

use std::collections::HashSet;
use std::ops::ControlFlow;

use catalog::ObjectKind;
use sql::ast::{
    ExceptSelectItem, Expr, Ident, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, TableFactor,
    TableWithJoins, Visitor, VisitorMut, WildcardAdditionalOptions,
};
use sql::walk;

use super::from_columns::FromColumns;
use super::name::folded;
use super::provider::{self, name_parts, resolve};
use super::using;
use crate::PlanContext;

/// Something in FROM.
pub(super) struct Relation {
    pub(super) name: String,
    ident: Ident,
    /// Empty if they aren't known.
    pub(super) columns: Vec<String>,
    /// The columns of a table's primary key.
    key: Vec<String>,
}

/// A column of one of the relations in FROM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) relation: usize,
    pub(super) name: String,
}

impl Relation {
    /// A column of it, in an expression.
    pub(super) fn column(&self, name: &str) -> Expr {
        Expr::CompoundIdentifier(vec![self.ident.clone(), Ident::with_quote('"', name)])
    }

    /// Whether all its columns are the same where these are; `at`: which relation it is.
    pub(super) fn is_said_by(&self, columns: &[Column], at: usize) -> bool {
        let is_given = |key: &String| columns.iter().any(|column| column.relation == at && column.name == *key);
        !self.key.is_empty() && self.key.iter().all(is_given)
    }
}

/// The relations in FROM, those without a name under an empty one.
pub(super) fn relations(
    from: &[TableWithJoins],
    names: &mut FromColumns<'_>,
    context: &PlanContext<'_>,
) -> Vec<Relation> {
    let factors = from
        .iter()
        .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
    let mut relations = Vec::new();
    for factor in factors {
        if let TableFactor::NestedJoin { table_with_joins, alias: None } = factor {
            relations.extend(self::relations(std::slice::from_ref(table_with_joins), names, context));
            continue;
        }
        let ident = using::name_of(factor).cloned().unwrap_or_else(|| Ident::new(""));
        let columns = names.of_factor(factor).unwrap_or_default();
        let key = key_of(factor, &columns, names, context).unwrap_or_default();
        relations.push(Relation { name: folded(&ident), ident, columns, key });
    }
    relations
}

/// The primary key of a table, under the names that its columns have here.
fn key_of(
    factor: &TableFactor,
    columns: &[String],
    names: &FromColumns<'_>,
    context: &PlanContext<'_>,
) -> Option<Vec<String>> {
    let TableFactor::Table { name, args: None, .. } = factor else { return None };
    let parts = name_parts(name).ok()?;
    if names.is_common_table(&parts) {
        return None;
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let provider::Relation::Object(object) = resolve(context, &parts).ok()? else { return None };
    let ObjectKind::Table(table) = &object.kind else { return None };
    table.primary_key.iter().map(|place| columns.get(*place).cloned()).collect()
}

/// Puts the columns that `*` and `t.*` stand for in their place, where they are known; says whether that was everywhere, and anywhere.
pub(super) fn write_out(projection: &mut Vec<SelectItem>, relations: &[Relation]) -> bool {
    let (mut written, mut left) = (false, false);
    for item in std::mem::take(projection) {
        match columns_of(&item, relations) {
            Some(columns) => {
                written = true;
                projection.extend(columns.into_iter().map(SelectItem::UnnamedExpr));
            }
            None => {
                left |= matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
                projection.push(item);
            }
        }
    }
    written && !left
}

fn columns_of(item: &SelectItem, relations: &[Relation]) -> Option<Vec<Expr>> {
    let (wanted, options) = match item {
        SelectItem::Wildcard(options) => (None, options),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
            (Some(folded(name.0.last()?.as_ident()?)), options)
        }
        _ => return None,
    };
    let except: Vec<String> = options.opt_except.iter().flat_map(excepted).collect();
    if (WildcardAdditionalOptions { opt_except: None, ..options.clone() }) != WildcardAdditionalOptions::default() {
        return None;
    }
    let is_wanted = |relation: &&Relation| wanted.as_ref().is_none_or(|wanted| *wanted == relation.name);
    let mut columns = Vec::new();
    for relation in relations.iter().filter(is_wanted) {
        if relation.columns.is_empty() || relation.name.is_empty() {
            return None;
        }
        let others = relation.columns.iter().filter(|column| !except.contains(column));
        columns.extend(others.map(|column| relation.column(column)));
    }
    (!columns.is_empty()).then_some(columns)
}

fn excepted(item: &ExceptSelectItem) -> Vec<String> {
    std::iter::once(&item.first_element).chain(&item.additional_elements).map(folded).collect()
}

/// The column that a name means, if it is one of theirs.
pub(super) fn meant(name: &Expr, relations: &[Relation]) -> Option<Column> {
    let has = |relation: &Relation, column: &str| relation.columns.iter().any(|known| known == column);
    let (relation, name) = match name {
        Expr::Identifier(name) => {
            let name = folded(name);
            let mut having = (0..relations.len()).filter(|at| has(&relations[*at], &name));
            (having.next().filter(|_| having.next().is_none())?, name)
        }
        Expr::CompoundIdentifier(parts) => {
            let [.., relation, name] = parts.as_slice() else { return None };
            let (relation, name) = (folded(relation), folded(name));
            (relations.iter().position(|known| known.name == relation && has(known, &name))?, name)
        }
        _ => return None,
    };
    Some(Column { relation, name })
}

/// An expression with its columns' names written out, so that equal ones are the same.
pub(super) fn normal(expr: &Expr, relations: &[Relation]) -> Expr {
    struct Names<'a>(&'a [Relation]);
    impl VisitorMut for Names<'_> {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Some(column) = meant(expr, self.0)
                && !self.0[column.relation].name.is_empty()
            {
                let relation = Ident::with_quote('"', &self.0[column.relation].name);
                *expr = Expr::CompoundIdentifier(vec![relation, Ident::with_quote('"', column.name)]);
            }
            ControlFlow::Continue(())
        }
    }
    let mut expr = match expr {
        Expr::Nested(inner) => inner.as_ref().clone(),
        other => other.clone(),
    };
    let _never_breaks = walk::change(&mut expr, &mut Names(relations));
    expr
}

/// The subqueries around what a walk over a SELECT's expressions visits.
pub(super) struct Scopes<'a, 'c> {
    names: &'a mut FromColumns<'c>,
    context: &'a PlanContext<'a>,
    /// From the outside in.
    around: Vec<Around>,
}

/// A part of a subquery within which names may be those of columns outside.
enum Around {
    /// The clauses of a query behind its SELECT, which see the columns of its answer.
    Query,
    /// A SELECT, with the columns and the relations that it sees. `None`: its columns aren't known.
    Select(Option<HashSet<String>>, HashSet<String>),
}

impl<'a, 'c> Scopes<'a, 'c> {
    /// `names` has entered the SELECT's query.
    pub(super) fn new(names: &'a mut FromColumns<'c>, context: &'a PlanContext<'a>) -> Self {
        Self { names, context, around: Vec::new() }
    }

    pub(super) fn enter_query(&mut self, query: &Query) {
        self.names.enter(query);
        self.around.push(Around::Query);
    }

    pub(super) fn leave_query(&mut self) {
        self.names.leave();
        self.around.pop();
    }

    pub(super) fn enter_select(&mut self, select: &Select) {
        let columns = using::all_columns(&select.from, self.names).map(|columns| columns.into_iter().collect());
        let relations = relations(&select.from, self.names, self.context);
        let relations = relations.into_iter().map(|relation| relation.name).collect();
        self.around.push(Around::Select(columns, relations));
    }

    pub(super) fn leave_select(&mut self) {
        self.around.pop();
    }

    /// Whether no subquery is around.
    pub(super) fn is_outside(&self) -> bool {
        self.around.is_empty()
    }

    /// Whether it is this SELECT's columns that a name means here.
    pub(super) fn reaches(&self, name: &Expr) -> bool {
        if matches!(self.around.last(), Some(Around::Query)) {
            return false;
        }
        self.around.iter().all(|around| match (around, name) {
            (Around::Query, _) => true,
            (Around::Select(columns, _), Expr::Identifier(name)) => {
                columns.as_ref().is_some_and(|columns| !columns.contains(&folded(name)))
            }
            (Around::Select(_, relations), Expr::CompoundIdentifier(parts)) => {
                let relation = parts.len().checked_sub(2).map(|at| folded(&parts[at]));
                relation.is_some_and(|relation| !relations.contains(&relation))
            }
            _ => false,
        })
    }

    /// Whether what an aggregate in a subquery is taken of are columns of the SELECT, and of none of the queries between.
    pub(super) fn is_of_select(&self, call: &Expr, relations: &[Relation]) -> bool {
        struct Names<'a, 's, 'c> {
            scopes: &'a Scopes<'s, 'c>,
            relations: &'a [Relation],
            own: bool,
            others: bool,
        }
        impl Visitor for Names<'_, '_, '_> {
            type Break = ();

            fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
                self.others = true;
                ControlFlow::Continue(())
            }

            fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
                if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
                    match self.scopes.reaches(expr) {
                        true => self.own |= meant(expr, self.relations).is_some(),
                        false => self.others = true,
                    }
                }
                ControlFlow::Continue(())
            }
        }
        let mut names = Names { scopes: self, relations, own: false, others: false };
        let _never_breaks = walk::read(call, &mut names);
        names.own && !names.others
    }
}
