//! The name of a function's rows in FROM as a value.

use std::ops::ControlFlow;

use sql::ast::{Expr, Ident, Query, Select, SelectItem, VisitorMut};
use sql::walk;

use super::name::folded;
use super::set_returning::single_column;

/// `SELECT e FROM jsonb_array_elements(…) AS e`: the alias of a function of one column stands for that column, where no column is called so.
/// Says whether anything was changed.
pub(super) fn expanded(query: &mut Query) -> bool {
    let mut expander = WholeRows { scopes: Vec::new(), changed: false };
    let ControlFlow::Continue(()) = walk::change(query, &mut expander);
    expander.changed
}

struct WholeRows {
    /// Alias and column of the functions in FROM, by SELECT.
    scopes: Vec<Vec<(String, Ident)>>,
    changed: bool,
}

impl WholeRows {
    /// The column that a name stands for.
    fn column(&self, name: &Ident) -> Option<Expr> {
        let name_folded = folded(name);
        let (_, column) = self.scopes.iter().rev().flatten().find(|(alias, _)| *alias == name_folded)?;
        Some(Expr::CompoundIdentifier(vec![name.clone(), column.clone()]))
    }
}

impl VisitorMut for WholeRows {
    type Break = std::convert::Infallible;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        let factors = select
            .from
            .iter()
            .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
        self.scopes.push(factors.filter_map(single_column).collect());
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(Expr::Identifier(name)) = &*item
                && let Some(expr) = self.column(name)
            {
                *item = SelectItem::ExprWithAlias { expr, alias: name.clone() };
                self.changed = true;
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &mut Select) -> ControlFlow<Self::Break> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::Identifier(name) = &*expr
            && let Some(column) = self.column(name)
        {
            *expr = column;
            self.changed = true;
        }
        ControlFlow::Continue(())
    }
}
