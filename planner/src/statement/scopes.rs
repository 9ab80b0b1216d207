//! Which names in a query are those of its own WITH, as the walk over it goes on.

use std::collections::BTreeSet;

use sql::ast::Query;

use crate::query::name::folded;

/// The names of common table expressions that hide relations, where a walk is.
#[derive(Default)]
pub(super) struct Scopes {
    open: Vec<Scope>,
}

struct Scope {
    /// What is hidden in the query's body.
    hidden: BTreeSet<String>,
    /// What is hidden in each query of its WITH, known by where that lies: in one that isn't recursive only those before it.
    within: Vec<(usize, BTreeSet<String>)>,
}

impl Scopes {
    /// The walk comes to a query. It must not be moved until it is left.
    pub(super) fn enter(&mut self, query: &Query) {
        let outer = match self.open.last() {
            None => BTreeSet::new(),
            Some(scope) => {
                let within = scope.within.iter().find(|(at, _)| *at == address(query));
                within.map_or_else(|| scope.hidden.clone(), |(_, hidden)| hidden.clone())
            }
        };
        let mut scope = Scope { hidden: outer, within: Vec::new() };
        if let Some(with) = &query.with {
            if with.recursive {
                scope.hidden.extend(with.cte_tables.iter().map(|table| folded(&table.alias.name)));
            }
            for table in &with.cte_tables {
                scope.within.push((address(&table.query), scope.hidden.clone()));
                scope.hidden.insert(folded(&table.alias.name));
            }
        }
        self.open.push(scope);
    }

    /// The walk has seen all of a query.
    pub(super) fn leave(&mut self) {
        self.open.pop();
    }

    /// Whether a bare name is that of a common table expression here.
    pub(super) fn hides(&self, name: &str) -> bool {
        self.open.last().is_some_and(|scope| scope.hidden.contains(name))
    }
}

fn address(query: &Query) -> usize {
    std::ptr::from_ref(query).addr()
}
