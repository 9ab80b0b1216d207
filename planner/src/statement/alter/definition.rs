//! The definitions of views are kept as text, in which relations stand by name: they follow what happens to those relations.
//!
//! A relation that is renamed keeps its old name inside a definition as an alias (`FROM purchases AS orders`), so that nothing else in it need
//! change. One whose columns change is read through a query of its own (`FROM (SELECT paid AS amount FROM orders) AS orders`), so that a `*`, a
//! NATURAL JOIN and every name go on meaning what they meant.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use catalog::snapshot::PUBLIC;
use catalog::{Object, ObjectKind, QualifiedName};
use sql::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, VisitorMut,
};
use sql::{StatementKind, walk};

use super::super::scopes::Scopes;
use super::super::view_options::ViewOptions;
use crate::functions::quote_ident;
use crate::query::name::folded;
use crate::query::provider::{Relation, name_parts, name_span, resolve};
use crate::query::stored_settings;
use crate::{Error, PlanContext, Result};

/// How a relation is to be called in a definition from now on.
pub(super) struct Reference {
    /// Its name.
    pub(super) name: QualifiedName,
    /// Its columns that the definition may see, by their names now, under those that they had; `None`: all, as they are.
    pub(super) columns: Option<Vec<(String, String)>>,
}

/// The text of the query that defines an object.
pub(super) fn query_of(object: &Object) -> Option<&str> {
    match &object.kind {
        ObjectKind::View(view) => Some(&view.query),
        ObjectKind::MaterializedView(view) => Some(&view.query),
        ObjectKind::Stream(stream) => Some(&stream.query),
        ObjectKind::Source(_) | ObjectKind::Table(_) | ObjectKind::Sink(_) | ObjectKind::Index(_) => None,
    }
}

/// Rewrites the query that defines `object`, which will be in `schema`. `context` is how things were; `reference` gives what a relation is to be called,
/// `None` where nothing changes.
pub(super) fn rewrite(
    object: &mut Object,
    schema: &str,
    context: &PlanContext<'_>,
    reference: &dyn Fn(&Object) -> Option<Reference>,
) -> Result<()> {
    let Some(text) = query_of(object) else { return Ok(()) };
    let mut query = parsed(text, object)?;
    let settings = stored_settings(object, context);
    let context = PlanContext { settings: &settings, ..*context };
    let mut rewriting = Rewriting {
        context,
        schema,
        names: all_names(&query),
        scopes: Scopes::default(),
        reference,
        seen_to: Vec::new(),
        error: None,
        changed: false,
    };
    let walked = walk::change(&mut *query, &mut rewriting);
    if let (ControlFlow::Break(()), Some(error)) = (walked, rewriting.error.take()) {
        return Err(error);
    }
    if rewriting.changed {
        set_query(object, sql::print(&query))?;
    }
    Ok(())
}

/// Gives a view another query: what is kept of it, and the text of its statement.
pub(super) fn set_query(object: &mut Object, query: String) -> Result<()> {
    if let StatementKind::CreateView(_) | StatementKind::CreateMaterializedView(_) | StatementKind::CreateStream(_) =
        statement(object)?.kind
        && let Some((start, end)) = place_of_query(object)?
    {
        object.sql.replace_range(start..end, &query);
    }
    match &mut object.kind {
        ObjectKind::View(view) => view.query = query,
        ObjectKind::MaterializedView(view) => view.query = query,
        ObjectKind::Stream(stream) => stream.query = query,
        _ => return Err(Error::internal(format!("\"{}\" is not defined by a query", object.name))),
    }
    Ok(())
}

/// Renames an object in the text of its own statement.
pub(super) fn set_name(object: &mut Object, name: QualifiedName) -> Result<()> {
    let statement = statement(object)?;
    let written = match &statement.kind {
        StatementKind::CreateSource(create) => &create.name,
        StatementKind::CreateStream(create) => &create.name,
        StatementKind::CreateTable(create) => &create.name,
        StatementKind::CreateView(create) => &create.name,
        StatementKind::CreateMaterializedView(create) => &create.name,
        StatementKind::CreateSink(create) => &create.name,
        // Written anew by `index_text`.
        _ => {
            object.name = name;
            return Ok(());
        }
    };
    replace_name(&mut object.sql, written, &name);
    object.name = name;
    Ok(())
}

/// Renames the relation that a sink reads in the text of its statement.
pub(super) fn set_from(object: &mut Object, from: &QualifiedName) -> Result<()> {
    if let StatementKind::CreateSink(create) = &statement(object)?.kind {
        replace_name(&mut object.sql, &create.from, from);
    }
    Ok(())
}

/// The statement that makes an index.
pub(super) fn index_text(index: &Object, on: &Object) -> String {
    let ObjectKind::Index(definition) = &index.kind else { return index.sql.clone() };
    let columns: Vec<String> = definition.columns.iter().map(|column| quote_ident(&on.columns[*column].name)).collect();
    format!("CREATE INDEX {} ON {} ({})", quote_ident(&index.name.name), written(&on.name), columns.join(", "))
}

/// Writes the statement of a table, or of a view, from what the catalog knows of it.
pub(super) fn write_anew(object: &mut Object) {
    let name = written(&object.name);
    let names: Vec<String> = object.columns.iter().map(|column| quote_ident(&column.name)).collect();
    match &object.kind {
        ObjectKind::Table(table) => {
            let mut parts: Vec<String> = object.columns.iter().map(column_text).collect();
            if !table.primary_key.is_empty() {
                let key: Vec<&str> = table.primary_key.iter().map(|column| names[*column].as_str()).collect();
                parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
            }
            object.sql = format!("CREATE TABLE {name} ({})", parts.join(", "));
        }
        ObjectKind::View(view) => {
            object.sql = format!("CREATE VIEW {name} ({}) AS {}", names.join(", "), view.query);
        }
        ObjectKind::MaterializedView(view) => {
            let options = ViewOptions::of(object).text();
            let emit = if view.emit_on_close { " EMIT ON WINDOW CLOSE" } else { "" };
            let names = names.join(", ");
            object.sql = format!("CREATE MATERIALIZED VIEW {name} ({names}) {options}AS {}{emit}", view.query);
        }
        _ => {}
    }
}

fn column_text(column: &catalog::Column) -> String {
    let mut text = format!("{} {}", quote_ident(&column.name), column.sql_type);
    if !column.nullable {
        text.push_str(" NOT NULL");
    }
    if let Some(default) = &column.default {
        text.push_str(" DEFAULT ");
        text.push_str(default);
    }
    text
}

/// A name as it is written in SQL.
pub(super) fn written(name: &QualifiedName) -> String {
    match name.schema.as_str() {
        PUBLIC => quote_ident(&name.name),
        schema => format!("{}.{}", quote_ident(schema), quote_ident(&name.name)),
    }
}

fn replace_name(text: &mut String, name: &ObjectName, by: &QualifiedName) {
    if let Some(span) = name_span(name) {
        let (start, end) = (span.start.byte_offset(text), span.end.byte_offset(text));
        text.replace_range(start..end, &written(by));
    }
}

/// The statement that made an object.
fn statement(object: &Object) -> Result<sql::Statement> {
    sql::parse_one(&object.sql)
        .map_err(|error| Error::internal(format!("the statement of {} can't be read again: {error}", object.name)))
}

/// From where to where the query stands in an object's statement.
fn place_of_query(object: &Object) -> Result<Option<(usize, usize)>> {
    let statement = statement(object)?;
    let text = match &statement.kind {
        StatementKind::CreateView(create) => &create.query.text,
        StatementKind::CreateMaterializedView(create) => &create.query.text,
        StatementKind::CreateStream(create) => match &create.query {
            Some(query) => &query.text,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(object.sql.rfind(text.as_str()).map(|start| (start, start + text.len())))
}

fn parsed(text: &str, object: &Object) -> Result<Box<Query>> {
    match sql::parse_one(text).map(|statement| statement.kind) {
        Ok(StatementKind::Query(query)) => Ok(query.query),
        _ => Err(Error::internal(format!("the definition of {} can't be read again", object.name))),
    }
}

/// All names that a query gives to its parts: a relation must not be written so that one of them is meant instead.
fn all_names(query: &Query) -> BTreeSet<String> {
    super::super::object::common_tables(query)
}

struct Rewriting<'a, 'b> {
    context: PlanContext<'b>,
    /// Where the view will be.
    schema: &'a str,
    /// The names of common table expressions.
    names: BTreeSet<String>,
    scopes: Scopes,
    reference: &'a dyn Fn(&Object) -> Option<Reference>,
    /// Where relations lie that have been seen to already.
    seen_to: Vec<usize>,
    error: Option<Error>,
    changed: bool,
}

impl Rewriting<'_, '_> {
    /// What a name stands for, if that is to be called otherwise: its reference, and the bare name that it had.
    fn referred(&self, parts: &[String]) -> Option<(Reference, String)> {
        if let [bare] = parts
            && self.scopes.hides(bare)
        {
            return None;
        }
        let bare = parts.last()?.clone();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let Ok(Relation::Object(object)) = resolve(&self.context, &parts) else { return None };
        (self.reference)(&object).map(|reference| (reference, bare))
    }

    /// The parts of a relation's name as they are written in this view.
    fn parts(&self, name: &QualifiedName) -> Vec<Ident> {
        let short = self.schema == PUBLIC && name.schema == PUBLIC && !self.names.contains(&name.name);
        let parts = if short { vec![&name.name] } else { vec![&name.schema, &name.name] };
        parts.into_iter().map(|part| ident(part)).collect()
    }

    /// The query that shows a relation with the columns that it had.
    fn through(&self, reference: &Reference, columns: &[(String, String)]) -> Result<Box<Query>> {
        let from = ObjectName::from(self.parts(&reference.name));
        match sql::parse_one(&choosing(columns, &from.to_string()))?.kind {
            StatementKind::Query(query) => Ok(query.query),
            _ => Err(Error::internal("a SELECT is a query")),
        }
    }

    /// A subquery that only chooses columns of a relation, such as this rewriting makes, chooses them under their new names; a column that is
    /// gone is chosen no more, and if anything needs it, that is seen when the query is planned.
    fn choice(&mut self, factor: &mut TableFactor) -> Result<()> {
        let TableFactor::Derived { subquery, .. } = factor else { return Ok(()) };
        let SetExpr::Select(select) = &*subquery.body else { return Ok(()) };
        let [from] = select.from.as_slice() else { return Ok(()) };
        let TableFactor::Table { name, .. } = &from.relation else { return Ok(()) };
        let mut chosen = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::UnnamedExpr(Expr::Identifier(column)) => chosen.push((folded(column), folded(column))),
                SelectItem::ExprWithAlias { expr: Expr::Identifier(column), alias } => {
                    chosen.push((folded(column), folded(alias)));
                }
                _ => return Ok(()),
            }
        }
        // Nothing else may be in it.
        let plain = sql::parse_one(&choosing(&chosen, &name.to_string()))?;
        if !matches!(&plain.kind, StatementKind::Query(plain) if plain.query.to_string() == subquery.to_string()) {
            return Ok(());
        }
        let Some((reference, _)) = name_parts(name).ok().and_then(|parts| self.referred(&parts)) else { return Ok(()) };
        let Some(columns) = &reference.columns else { return Ok(()) };
        let now = |then: &String| columns.iter().find(|(_, old)| old == then).map(|(now, _)| now.clone());
        let list: Vec<(String, String)> =
            chosen.into_iter().filter_map(|(column, shown)| Some((now(&column)?, shown))).collect();
        if list.is_empty() {
            return Ok(());
        }
        *subquery = self.through(&reference, &list)?;
        self.changed = true;
        if let SetExpr::Select(select) = &*subquery.body
            && let Some(from) = select.from.first()
        {
            self.seen_to.push(std::ptr::from_ref(&from.relation).addr());
        }
        Ok(())
    }

    fn table(&mut self, factor: &mut TableFactor) -> Result<()> {
        if self.seen_to.contains(&std::ptr::from_ref(factor).addr()) {
            return Ok(());
        }
        let TableFactor::Table { name, alias, args, .. } = factor else { return Ok(()) };
        if let Some(args) = args {
            let Some(first) = args.args.first_mut().filter(|_| is_window_function(name)) else { return Ok(()) };
            let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = first else { return Ok(()) };
            let parts: Vec<String> = match &*expr {
                Expr::Identifier(ident) => vec![folded(ident)],
                Expr::CompoundIdentifier(parts) => parts.iter().map(folded).collect(),
                _ => return Ok(()),
            };
            let Some((reference, bare)) = self.referred(&parts) else { return Ok(()) };
            *expr = match &reference.columns {
                Some(columns) => Expr::Subquery(self.through(&reference, columns)?),
                None => match self.parts(&reference.name).as_slice() {
                    [one] => Expr::Identifier(one.clone()),
                    parts => Expr::CompoundIdentifier(parts.to_vec()),
                },
            };
            if reference.name.name != bare || reference.columns.is_some() {
                alias.get_or_insert_with(|| called(&bare));
            }
            self.changed = true;
            return Ok(());
        }
        let Some((reference, bare)) = name_parts(name).ok().and_then(|parts| self.referred(&parts)) else {
            return Ok(());
        };
        self.changed = true;
        match &reference.columns {
            Some(columns) => {
                let subquery = self.through(&reference, columns)?;
                let alias = alias.take().unwrap_or_else(|| called(&bare));
                *factor = TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
            }
            None => {
                if reference.name.name != bare {
                    alias.get_or_insert_with(|| called(&bare));
                }
                *name = ObjectName::from(self.parts(&reference.name));
            }
        }
        Ok(())
    }

    /// `schema.relation.column` loses its schema: inside, the relation is known by its bare name.
    fn unqualified(&self, parts: &mut Vec<Ident>) {
        while parts.len() > 2 {
            let relation: Vec<String> = parts[..parts.len() - 1].iter().map(folded).collect();
            if self.referred(&relation).is_none() {
                return;
            }
            parts.drain(..parts.len() - 2);
        }
    }
}

impl VisitorMut for Rewriting<'_, '_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let SetExpr::Table(table) = &*query.body {
            let parts = [&table.schema_name, &table.table_name].into_iter().flatten();
            let parts: Vec<Ident> = parts.map(|part| ident(part)).collect();
            let text = format!("SELECT * FROM {}", ObjectName::from(parts));
            if let Ok(StatementKind::Query(all)) = sql::parse_one(&text).map(|statement| statement.kind) {
                query.body = all.query.body;
            }
        }
        self.scopes.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<()> {
        self.scopes.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for item in &mut select.projection {
            if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) = item
                && let Ok(parts) = name_parts(name)
                && parts.len() > 1
                && self.referred(&parts).is_some()
            {
                name.0.drain(..parts.len() - 1);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match self.choice(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.error = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match self.table(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.error = Some(error);
                ControlFlow::Break(())
            }
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr {
            self.unqualified(parts);
        }
        ControlFlow::Continue(())
    }
}

/// The query that shows columns of a relation under other names.
fn choosing(columns: &[(String, String)], from: &str) -> String {
    let list = columns.iter().map(|(now, then)| match now == then {
        true => quote_ident(now),
        false => format!("{} AS {}", quote_ident(now), quote_ident(then)),
    });
    format!("SELECT {} FROM {from}", list.collect::<Vec<_>>().join(", "))
}

/// Whether a table function takes a relation as its first argument.
fn is_window_function(name: &ObjectName) -> bool {
    let parts = name_parts(name).unwrap_or_default();
    matches!(parts.as_slice(), [name] if ["tumble", "hop", "cumulate", "session"].contains(&name.as_str()))
}

fn called(name: &str) -> TableAlias {
    TableAlias { explicit: true, name: ident(name), columns: Vec::new(), at: None }
}

fn ident(name: &str) -> Ident {
    if quote_ident(name) == name { ast::Ident::new(name) } else { ast::Ident::with_quote('"', name) }
}
