//! What the columns of a relation in FROM are called, as far as the text and the catalog tell, before anything is planned.

use sql::ast::{
    Expr, FunctionArg, FunctionArgExpr, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    TableAlias, TableFactor, With,
};

use super::name::{column_name, folded};
use super::provider::{self, Relation};
use super::using::{Merged, Wider};
use super::window::{WINDOW_END, WINDOW_START};
use super::{set_returning, table_function, using};
use crate::PlanContext;

/// A common table expression: what it is called, and its columns if they are known.
type Table = (String, Option<Vec<String>>);

/// Which relations the names in FROM mean, as a walk over a query goes on.
pub(super) struct FromColumns<'a> {
    context: &'a PlanContext<'a>,
    open: Vec<Scope>,
    /// The columns that joins have made one of two.
    pub(super) merged: Vec<Merged>,
    /// Those that are known to have different types.
    wider: Vec<Wider>,
}

/// A query whose parts are being visited.
struct Scope {
    /// The common table expressions that its body sees, the nearest last.
    tables: Vec<Table>,
    /// For each query of its WITH, known by where it lies, how many of them that one sees.
    within: Vec<(usize, usize)>,
}

impl<'a> FromColumns<'a> {
    pub(super) fn new(context: &'a PlanContext<'a>) -> Self {
        Self { context, open: Vec::new(), merged: Vec::new(), wider: Vec::new() }
    }

    /// With the columns that are known to be merged of different types.
    pub(super) fn with_wider(self, wider: Vec<Wider>) -> Self {
        Self { wider, ..self }
    }

    /// Two columns become one; what is known of their types, if they differ.
    pub(super) fn merged(&mut self, left: &Expr, right: &Expr) -> Option<&Wider> {
        let merged = Merged::of(left, right)?;
        if !self.merged.contains(&merged) {
            self.merged.push(merged.clone());
        }
        self.wider.iter().find(|wider| wider.merged == merged)
    }

    /// The walk comes to a query. It must not be moved until the queries of its WITH have been visited.
    pub(super) fn enter(&mut self, query: &Query) {
        let tables = match self.open.last() {
            None => Vec::new(),
            Some(scope) => {
                let at = std::ptr::from_ref(query).addr();
                let seen = scope.within.iter().find(|(place, _)| *place == at).map(|(_, seen)| *seen);
                scope.tables[..seen.unwrap_or(scope.tables.len())].to_vec()
            }
        };
        self.open.push(Scope { tables, within: Vec::new() });
        if let Some(with) = &query.with {
            self.add(with);
        }
    }

    /// The walk has seen all of a query.
    pub(super) fn leave(&mut self) {
        self.open.pop();
    }

    fn add(&mut self, with: &With) {
        if with.recursive {
            // Each may be read by itself and by those before it: what it is called is enough to tell it from a relation.
            let names = with.cte_tables.iter().map(|table| (folded(&table.alias.name), None));
            self.scope().tables.extend(names);
        }
        for table in &with.cte_tables {
            let place = std::ptr::from_ref(&*table.query).addr();
            let seen = self.scope().tables.len();
            self.scope().within.push((place, seen));
            let columns = self.of_query(&table.query).map(|columns| renamed(columns, Some(&table.alias)));
            let name = folded(&table.alias.name);
            let tables = &mut self.scope().tables;
            match tables.iter_mut().rev().find(|(known, _)| with.recursive && *known == name) {
                Some((_, known)) => *known = columns,
                None => tables.push((name, columns)),
            }
        }
    }

    fn scope(&mut self) -> &mut Scope {
        self.open.last_mut().expect("WITH belongs to a query that has been entered")
    }

    /// The columns of a query's rows.
    pub(super) fn of_query(&mut self, query: &Query) -> Option<Vec<String>> {
        self.enter(query);
        let columns = self.of_body(&query.body);
        self.leave();
        columns
    }

    fn of_body(&mut self, body: &SetExpr) -> Option<Vec<String>> {
        match body {
            SetExpr::Select(select) => self.of_select(select),
            SetExpr::SetOperation { left, .. } => self.of_body(left),
            SetExpr::Query(query) => self.of_query(query),
            SetExpr::Values(values) => {
                let width = values.rows.first().map_or(0, |row| row.content.len());
                Some((1..=width).map(|at| format!("column{at}")).collect())
            }
            _ => None,
        }
    }

    fn of_select(&mut self, select: &Select) -> Option<Vec<String>> {
        let mut columns = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(expr) => columns.push(column_name(expr)),
                SelectItem::ExprWithAlias { alias, .. } => columns.push(folded(alias)),
                SelectItem::Wildcard(options) if *options == Default::default() => {
                    columns.extend(using::all_columns(&select.from, self)?);
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
                    if *options == Default::default() =>
                {
                    let wanted = folded(name.0.last()?.as_ident()?);
                    columns.extend(using::columns_of_relation(&select.from, &wanted, self)?);
                }
                _ => return None,
            }
        }
        Some(columns)
    }

    /// The columns of what stands in FROM; of joins in brackets too.
    pub(super) fn of_factor(&mut self, factor: &TableFactor) -> Option<Vec<String>> {
        if let Some(columns) = set_returning::columns_of(factor) {
            return Some(columns);
        }
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let parts: Vec<String> =
                    name.0.iter().map(|part| part.as_ident().map(folded)).collect::<Option<_>>()?;
                Some(renamed(self.of_name(&parts)?, alias.as_ref()))
            }
            TableFactor::Table { name, alias, args: Some(args), .. } if table_function::is_one(name) => {
                let FunctionArg::Unnamed(FunctionArgExpr::Expr(relation)) = args.args.first()? else { return None };
                let mut columns = match relation {
                    Expr::Identifier(name) => self.of_name(&[folded(name)])?,
                    Expr::CompoundIdentifier(parts) => self.of_name(&parts.iter().map(folded).collect::<Vec<_>>())?,
                    Expr::Subquery(query) => self.of_query(query)?,
                    _ => return None,
                };
                columns.extend([WINDOW_START.to_owned(), WINDOW_END.to_owned()]);
                Some(renamed(columns, alias.as_ref()))
            }
            TableFactor::Derived { subquery, alias, .. } => Some(renamed(self.of_query(subquery)?, alias.as_ref())),
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let columns = using::all_columns(std::slice::from_ref(table_with_joins), self)?;
                Some(renamed(columns, alias.as_ref()))
            }
            _ => None,
        }
    }

    /// Whether a name is that of a common table expression here.
    pub(super) fn is_common_table(&self, parts: &[String]) -> bool {
        self.common_table(parts).is_some()
    }

    /// The columns of a common table expression, if they are known.
    pub(super) fn of_common_table(&self, name: &str) -> Option<Vec<String>> {
        self.common_table(&[name.to_owned()])?.1.clone()
    }

    fn common_table(&self, parts: &[String]) -> Option<&Table> {
        let ([name], Some(scope)) = (parts, self.open.last()) else { return None };
        scope.tables.iter().rev().find(|(known, _)| known == name)
    }

    fn of_name(&self, parts: &[String]) -> Option<Vec<String>> {
        if let Some((_, columns)) = self.common_table(parts) {
            return columns.clone();
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let schema = match provider::resolve(self.context, &parts).ok()? {
            Relation::Object(object) => object.schema(),
            Relation::System(_, schema) => schema,
        };
        Some(schema.fields().iter().map(|field| field.name().clone()).collect())
    }
}

/// Columns under the names that an alias gives to the first of them.
fn renamed(mut columns: Vec<String>, alias: Option<&TableAlias>) -> Vec<String> {
    for (column, named) in columns.iter_mut().zip(alias.iter().flat_map(|alias| &alias.columns)) {
        *column = folded(&named.name);
    }
    columns
}
