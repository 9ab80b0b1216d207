//! A WITH in a subquery may have a name that a WITH further out has: it hides that one. DataFusion takes each name once in all, so the inner one gets
//! another name, and whoever reads it keeps calling it as before.

use std::ops::ControlFlow;

use sql::ast::{Ident, ObjectName, Query, TableAlias, TableFactor, VisitorMut};
use sql::walk;

use super::name::folded;

/// Gives names of their own to the common table expressions that hide others.
pub(super) fn rename(query: &mut Query) {
    let _never_breaks = walk::change(query, &mut Queries { open: Vec::new(), renamed: 0 });
}

struct Queries {
    /// The names of the WITH of each query around this one.
    open: Vec<Vec<String>>,
    renamed: usize,
}

impl VisitorMut for Queries {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.open.push(tables.map(|table| folded(&table.alias.name)).collect());
        ControlFlow::Continue(())
    }

    /// From the inside out: what is below has no hidden names any more.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let names = self.open.pop().unwrap_or_default();
        for (position, name) in names.into_iter().enumerate() {
            if self.open.iter().flatten().any(|outer| *outer == name) {
                self.renamed += 1;
                let new = format!("{name}:{}", self.renamed);
                renamed(query, position, &name, &new);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Renames a common table expression of a query, where it is seen: by the query, by those that come after it, with RECURSIVE by all of them.
fn renamed(query: &mut Query, position: usize, name: &str, new: &str) {
    let Some(mut with) = query.with.take() else { return };
    let new = Ident::with_quote('"', new);
    let mut reading = Reading { name, new: &new };
    let _never_breaks = walk::change(query, &mut reading);
    for (other, table) in with.cte_tables.iter_mut().enumerate() {
        if with.recursive || other > position {
            let _never_breaks = walk::change(&mut *table.query, &mut reading);
        }
        if other == position {
            table.alias.name = new.clone();
        }
    }
    query.with = Some(with);
}

/// Whoever reads a relation of this name in FROM.
struct Reading<'a> {
    name: &'a str,
    new: &'a Ident,
}

impl VisitorMut for Reading<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, args: None, .. } = factor
            && let [part] = name.0.as_slice()
            && let Some(ident) = part.as_ident().filter(|ident| folded(ident) == self.name)
        {
            let called = TableAlias { explicit: true, name: ident.clone(), columns: Vec::new(), at: None };
            alias.get_or_insert(called);
            let mut new = self.new.clone();
            new.span = ident.span;
            *name = ObjectName::from(vec![new]);
        }
        ControlFlow::Continue(())
    }
}
