//! Names that an alias gives to the first columns of a relation: `FROM t AS a (x)`, `WITH c (x) AS (…)`. The others keep theirs; DataFusion wants a name for each.

use sql::Span;
use sql::ast::{Ident, Query, Select, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins};

use super::from_columns::FromColumns;
use super::name::folded;
use crate::error::ErrorKind;
use crate::{Error, Result};

/// Completes those in a query's WITH, and in FROM of the SELECTs that it consists of. `names` has entered the query.
pub(super) fn complete(query: &mut Query, names: &mut FromColumns<'_>) -> Result<()> {
    for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
        let span = Span::of_parser(table.alias.name.span);
        if let Some(columns) = names.of_common_table(&folded(&table.alias.name)) {
            completed(&mut table.alias, &columns, "WITH query").map_err(|error| error.at(span))?;
        }
    }
    in_body(&mut query.body, names)
}

fn in_body(body: &mut SetExpr, names: &mut FromColumns<'_>) -> Result<()> {
    match body {
        SetExpr::Select(select) => in_select(select, names),
        SetExpr::SetOperation { left, right, .. } => {
            in_body(left, names)?;
            in_body(right, names)
        }
        _ => Ok(()),
    }
}

fn in_select(select: &mut Select, names: &mut FromColumns<'_>) -> Result<()> {
    select.from.iter_mut().try_for_each(|table| in_joins(table, names))
}

fn in_joins(table: &mut TableWithJoins, names: &mut FromColumns<'_>) -> Result<()> {
    let joined = table.joins.iter_mut().map(|join| &mut join.relation);
    std::iter::once(&mut table.relation).chain(joined).try_for_each(|factor| in_factor(factor, names))
}

fn in_factor(factor: &mut TableFactor, names: &mut FromColumns<'_>) -> Result<()> {
    let noun = match factor {
        TableFactor::NestedJoin { table_with_joins, .. } => {
            in_joins(table_with_joins, names)?;
            "join expression"
        }
        TableFactor::Table { args: None, .. } | TableFactor::Derived { .. } => "table",
        _ => return Ok(()),
    };
    let given = match &*factor {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => alias.as_ref().is_some_and(|alias| !alias.columns.is_empty()),
        _ => false,
    };
    let Some(columns) = given.then(|| names.of_factor(factor)).flatten() else { return Ok(()) };
    match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::NestedJoin { alias: Some(alias), .. } => completed(alias, &columns, noun),
        _ => Ok(()),
    }
}

/// `columns`: all that there are.
fn completed(alias: &mut TableAlias, columns: &[String], noun: &str) -> Result<()> {
    let (given, known) = (alias.columns.len(), columns.len());
    if given > known {
        let name = folded(&alias.name);
        let message = format!("{noun} \"{name}\" has {known} columns available but {given} columns specified");
        return Err(Error::new(ErrorKind::InvalidColumnReference, message));
    }
    if given > 0 {
        let others = columns[given..].iter().map(|name| Ident::with_quote('"', name));
        alias.columns.extend(others.map(|name| TableAliasColumnDef { name, data_type: None }));
    }
    Ok(())
}
