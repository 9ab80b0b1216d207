//! `CYCLE` of a recursive query, by PostgreSQL's own rewrite: each row carries the rows on the way to it, and one that is among them is marked and leads no further.
//!
//! `WITH RECURSIVE r (a) AS (first UNION ALL SELECT … FROM r …) CYCLE a SET c USING p` becomes
//!
//! ```sql
//! WITH RECURSIVE r (a, c, p) AS (
//!     SELECT a, false, ARRAY[ROW(a)] FROM (first) AS first (a)
//!     UNION ALL
//!     SELECT a, ROW(a) = ANY (p), p || ROW(a) FROM (SELECT …, r.p FROM r … WHERE … AND r.c <> true) AS next (a, p))
//! ```

use sql::ast::{
    BinaryOperator, Cte, Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, SetOperator,
    TableAliasColumnDef, TableFactor, TableWithJoins,
};
use sql::cycle::{self, Cycle};
use sql::{Span, StatementKind};

use super::from_columns::FromColumns;
use super::name::folded;
use super::recursion::references;
use crate::error::ErrorKind;
use crate::{Error, Result};

/// Rewrites the items of a query's WITH. `names` has entered what is around the query.
pub(super) fn in_with(query: &mut Query, names: &mut FromColumns<'_>) -> Result<()> {
    let Some(with) = &mut query.with else { return Ok(()) };
    let cycles: Vec<Option<Cycle>> = with.cte_tables.iter_mut().map(|table| cycle::split(&mut table.alias)).collect();
    if cycles.iter().all(Option::is_none) {
        return Ok(());
    }
    let is_recursive = with.recursive;
    let called: Vec<String> = with.cte_tables.iter().map(|table| folded(&table.alias.name)).collect();
    names.enter(query);
    let columns: Vec<Option<Vec<String>>> = called.iter().map(|name| names.of_common_table(name)).collect();
    names.leave();
    let tables = query.with.iter_mut().flat_map(|with| &mut with.cte_tables);
    for (((table, cycle), columns), name) in tables.zip(cycles).zip(columns).zip(&called) {
        let Some(cycle) = cycle else { continue };
        if !is_recursive || references(&*table.query, name).is_empty() {
            let error = Error::new(ErrorKind::Syntax, "WITH query is not recursive");
            return Err(error.at(Span::of_parser(table.alias.name.span)));
        }
        let columns = columns
            .ok_or_else(|| Error::unsupported("CYCLE of a query whose columns only its plan tells").at(cycle.span))?;
        check(&cycle, &columns)?;
        rewrite(table, &cycle, &columns, name)?;
    }
    Ok(())
}

/// Refuses names that aren't columns, or are twice.
fn check(cycle: &Cycle, columns: &[String]) -> Result<()> {
    let refuse = |kind, message: String| Err(Error::new(kind, message).at(cycle.span));
    let mut seen = Vec::new();
    for column in cycle.columns.iter().map(folded) {
        if !columns.contains(&column) {
            return refuse(ErrorKind::Syntax, format!("cycle column \"{column}\" not in WITH query column list"));
        }
        if seen.contains(&column) {
            return refuse(ErrorKind::DuplicateColumn, format!("cycle column \"{column}\" specified more than once"));
        }
        seen.push(column);
    }
    let (mark, path) = (folded(&cycle.set), folded(&cycle.using));
    for (noun, name) in [("mark", &mark), ("path", &path)] {
        if columns.contains(name) {
            let message = format!("cycle {noun} column name \"{name}\" already used in WITH query column list");
            return refuse(ErrorKind::Syntax, message);
        }
    }
    if mark == path {
        let message = "cycle mark column name and cycle path column name are the same";
        return refuse(ErrorKind::Syntax, message.to_owned());
    }
    Ok(())
}

fn rewrite(table: &mut Cte, cycle: &Cycle, columns: &[String], name: &str) -> Result<()> {
    let unsupported = |message: String| Error::new(ErrorKind::Unsupported, message).at(cycle.span);
    let must_be = |side: &str| {
        unsupported(format!("with a SEARCH or CYCLE clause, the {side} side of the UNION must be a SELECT"))
    };
    let SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } = &mut *table.query.body else {
        return Err(must_be("left"));
    };
    if !matches!(&**left, SetExpr::Select(_)) {
        return Err(must_be("left"));
    }
    let SetExpr::Select(next) = &mut **right else { return Err(must_be("right")) };
    if next.having.is_some() || !matches!(&next.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty()) {
        return Err(unsupported("CYCLE of a recursive term with GROUP BY or HAVING is not supported".to_owned()));
    }
    let reference = next.from.iter().find_map(|table| called(table, name)).ok_or_else(|| {
        let place = "must be at the top level of its right-hand SELECT";
        unsupported(format!("with a SEARCH or CYCLE clause, the recursive reference to WITH query \"{name}\" {place}"))
    })?;
    let (mark, path) = (quoted(&folded(&cycle.set)), quoted(&folded(&cycle.using)));
    let (to, default) = (&cycle.to.value, &cycle.default.value);
    let all = columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ");
    let row = cycle.columns.iter().map(|column| quoted(&folded(column))).collect::<Vec<_>>().join(", ");

    let of_reference = |name: &Ident| Expr::CompoundIdentifier(vec![reference.clone(), name.clone()]);
    let (mark_name, path_name) = (unmarked(&cycle.set), unmarked(&cycle.using));
    next.projection.push(SelectItem::ExprWithAlias { expr: of_reference(&path_name), alias: path_name.clone() });
    let goes_on = Expr::BinaryOp {
        left: Box::new(of_reference(&mark_name)),
        op: BinaryOperator::NotEq,
        right: Box::new(sql::parse_expression(to)?),
    };
    next.selection = Some(match next.selection.take() {
        Some(condition) => Expr::BinaryOp {
            left: Box::new(Expr::Nested(Box::new(condition))),
            op: BinaryOperator::And,
            right: Box::new(goes_on),
        },
        None => goes_on,
    });
    put_under(
        left,
        &format!("SELECT {all}, {default} AS {mark}, ARRAY[ROW({row})] AS {path} FROM (SELECT 1) AS \"first\" ({all})"),
    )?;
    put_under(
        right,
        &format!(
            "SELECT {all}, CASE WHEN ROW({row}) = ANY ({path}) THEN {to} ELSE {default} END AS {mark}, \
             array_append({path}, ROW({row})) AS {path} FROM (SELECT 1) AS \"next\" ({all}, {path})"
        ),
    )?;
    if !table.alias.columns.is_empty() {
        let given = table.alias.columns.len();
        let others = columns[given.min(columns.len())..].iter().map(|name| Ident::with_quote('"', name));
        let others = others.chain([mark_name, path_name]);
        table.alias.columns.extend(others.map(|name| TableAliasColumnDef { name, data_type: None }));
    }
    Ok(())
}

fn quoted(name: &str) -> String {
    Ident::with_quote('"', name).to_string()
}

/// A name without its place.
fn unmarked(name: &Ident) -> Ident {
    Ident::with_quote('"', folded(name))
}

/// What the recursive query is called in FROM, if it stands there itself.
fn called(table: &TableWithJoins, name: &str) -> Option<Ident> {
    let mut factors = std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation));
    factors.find_map(|factor| match factor {
        TableFactor::Table { name: relation, alias, args: None, .. } => {
            let [part] = relation.0.as_slice() else { return None };
            let ident = part.as_ident().filter(|ident| folded(ident) == name)?;
            Some(alias.as_ref().map_or_else(|| ident.clone(), |alias| alias.name.clone()))
        }
        TableFactor::NestedJoin { table_with_joins, alias: None } => called(table_with_joins, name),
        _ => None,
    })
}

/// Puts a term into the place of the subquery of a template.
fn put_under(term: &mut SetExpr, template: &str) -> Result<()> {
    let malformed = || Error::internal("a SELECT over a subquery was parsed");
    let StatementKind::Query(parsed) = sql::parse_one(template)?.kind else { return Err(malformed()) };
    let mut body = parsed.query.body;
    let SetExpr::Select(select) = &mut *body else { return Err(malformed()) };
    *subquery_of(select).ok_or_else(malformed)?.body = std::mem::replace(term, SetExpr::Values(empty()));
    *term = *body;
    Ok(())
}

fn empty() -> sql::ast::Values {
    sql::ast::Values { explicit_row: false, value_keyword: false, rows: Vec::new() }
}

fn subquery_of(select: &mut Select) -> Option<&mut Query> {
    match &mut select.from.first_mut()?.relation {
        TableFactor::Derived { subquery, .. } => Some(subquery),
        _ => None,
    }
}
