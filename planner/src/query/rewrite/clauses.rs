//! Clauses that DataFusion's planner ignores, doesn't know, or knows in another form.

use sql::Span;
use sql::ast::{
    BinaryOperator, Distinct, Expr, LimitClause, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, SetOperator, TableFactor, TableWithJoins, Value,
};

use super::place;
use crate::error::ErrorKind;
use crate::query::name::folded;
use crate::query::set_returning::{select_all, table_alias};
use crate::query::ties;
use crate::{Error, Result};

/// What INTERSECT and EXCEPT are called where they have an order.
const SETS: &str = "sets";

/// Clauses of a query that DataFusion's planner ignores or doesn't know.
pub(super) fn clauses(query: &mut Query) -> Result<()> {
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
            ties::restrict(query, quantity)?;
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
    if query.order_by.is_some() {
        ordered_sets(query)?;
    }
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

/// `(a EXCEPT b) ORDER BY 1` becomes a query over the sets: DataFusion orders by a column of their left side, which is gone where the two sides' types
/// differ.
fn ordered_sets(query: &mut Query) -> Result<()> {
    if !matches!(&*query.body, SetExpr::SetOperation { op: SetOperator::Intersect | SetOperator::Except, .. }) {
        return Ok(());
    }
    let (mut all, mut subquery) = (select_all()?, select_all()?);
    std::mem::swap(&mut subquery.body, &mut query.body);
    if let SetExpr::Select(select) = &mut *all.body {
        let alias = Some(table_alias(SETS.to_owned()));
        select.from[0].relation = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
    }
    query.body = all.body;
    Ok(())
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

pub(super) fn supported_select(select: &Select) -> Result<()> {
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

/// `t.*` of a relation that is named with its schema: DataFusion compares whole names there.
pub(super) fn whole_names_in_wildcards(select: &mut Select) {
    fn collect(table: &TableWithJoins, names: &mut Vec<ObjectName>) {
        for factor in std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)) {
            match factor {
                TableFactor::Table { name, alias: None, args: None, .. } if name.0.len() > 1 => {
                    names.push(name.clone())
                }
                TableFactor::NestedJoin { table_with_joins, alias: None } => collect(table_with_joins, names),
                _ => {}
            }
        }
    }
    let last = |name: &ObjectName| name.0.last().and_then(|part| part.as_ident()).map(folded);
    let mut names = Vec::new();
    select.from.iter().for_each(|table| collect(table, &mut names));
    for item in &mut select.projection {
        if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) = item
            && name.0.len() == 1
            && let Some(whole) = names.iter().find(|whole| last(whole) == last(name))
        {
            *name = whole.clone();
        }
    }
}

/// `DISTINCT ON (1)` with what stands at that place of the SELECT list.
pub(super) fn positions_in_distinct(select: &mut Select) {
    let Some(Distinct::On(keys)) = &mut select.distinct else { return };
    for key in keys {
        let Expr::Value(value) = &*key else { continue };
        let Value::Number(digits, _) = &value.value else { continue };
        let place = digits.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
        if let Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) =
            place.and_then(|place| select.projection.get(place))
        {
            *key = expr.clone();
        }
    }
}

/// What stands in FROM.
pub(super) fn table_factor(factor: &mut TableFactor) -> Result<()> {
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
