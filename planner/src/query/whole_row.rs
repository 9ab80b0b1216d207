//! The name of a relation in FROM as a value: its row, or the one column of a function's rows.

use std::ops::ControlFlow;

use sql::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Select, SelectItem, TableFactor,
    Value, VisitorMut,
};
use sql::walk;

use super::from_columns::FromColumns;
use super::name::folded;
use super::rewrite::call;
use super::set_returning::single_column;
use crate::PlanContext;

/// `SELECT e FROM jsonb_array_elements(…) AS e`: the alias of a function of one column stands for that column, where no column is called so.
/// The name of another relation stands for its row: `SELECT row_to_json(t) FROM t`. Says whether anything was changed.
pub(super) fn expanded(query: &mut Query, context: &PlanContext<'_>) -> bool {
    let columns = FromColumns::new(context);
    let mut expander = WholeRows { columns, scopes: Vec::new(), rows: Vec::new(), changed: false };
    let ControlFlow::Continue(()) = walk::change(query, &mut expander);
    expander.changed
}

struct WholeRows<'a> {
    columns: FromColumns<'a>,
    /// Alias and column of the functions in FROM, by SELECT.
    scopes: Vec<Vec<(String, Ident)>>,
    /// Alias and columns of other relations, by SELECT.
    rows: Vec<Vec<(String, Vec<String>)>>,
    changed: bool,
}

impl WholeRows<'_> {
    /// The columns of the relation that a name stands for, as expressions beside their names.
    fn fields(&self, name: &Ident) -> Option<Vec<(String, Expr)>> {
        let name_folded = folded(name);
        let (_, columns) = self.rows.iter().rev().flatten().find(|(alias, _)| *alias == name_folded)?;
        let field = |column: &String| {
            let parts = vec![name.clone(), Ident::with_quote('"', column.clone())];
            (column.clone(), Expr::CompoundIdentifier(parts))
        };
        Some(columns.iter().map(field).collect())
    }

    /// Name and columns of a relation, as far as its text or the catalog tell.
    fn row_of(&mut self, factor: &TableFactor) -> Option<(String, Vec<String>)> {
        if single_column(factor).is_some() {
            return None;
        }
        let name = match factor {
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. }
            | TableFactor::NestedJoin { alias: Some(alias), .. } => folded(&alias.name),
            TableFactor::Table { name, .. } => folded(name.0.last()?.as_ident()?),
            _ => return None,
        };
        Some((name, self.columns.of_factor(factor)?))
    }

    /// `to_jsonb(t)`, `json_agg(t)`: an object with the columns' names.
    fn as_json(&self, function: &mut Function) -> Option<()> {
        let name = function.name.to_string().to_lowercase();
        let jsonb = match name.as_str() {
            "row_to_json" | "to_json" | "json_agg" => false,
            "to_jsonb" | "jsonb_agg" => true,
            _ => return None,
        };
        let FunctionArguments::List(list) = &mut function.args else { return None };
        let [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(row)))] = list.args.as_slice() else {
            return None;
        };
        let members = self
            .fields(row)?
            .into_iter()
            .flat_map(|(name, column)| [Expr::value(Value::SingleQuotedString(name)), column]);
        let object = call(if jsonb { "jsonb_build_object" } else { "json_row" }, members.collect());
        list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(object))];
        if name == "row_to_json" {
            function.name = sql::ast::ObjectName::from(vec![Ident::new("to_json")]);
        }
        Some(())
    }

    /// The column, or the row, that a name stands for.
    fn value(&self, name: &Ident) -> Option<Expr> {
        self.column(name).or_else(|| {
            let fields = self.fields(name)?;
            Some(call("row", fields.into_iter().map(|(_, column)| column).collect()))
        })
    }

    /// The column that a name stands for.
    fn column(&self, name: &Ident) -> Option<Expr> {
        let name_folded = folded(name);
        let (_, column) = self.scopes.iter().rev().flatten().find(|(alias, _)| *alias == name_folded)?;
        Some(Expr::CompoundIdentifier(vec![name.clone(), column.clone()]))
    }
}

impl VisitorMut for WholeRows<'_> {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        self.columns.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Self::Break> {
        self.columns.leave();
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        let factors = select
            .from
            .iter()
            .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
        let factors: Vec<&TableFactor> = factors.collect();
        self.scopes.push(factors.iter().copied().filter_map(single_column).collect());
        let rows = factors.into_iter().filter_map(|factor| self.row_of(factor)).collect();
        self.rows.push(rows);
        for item in &mut select.projection {
            let named = match &*item {
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => self.value(name).map(|expr| (expr, name.clone())),
                SelectItem::UnnamedExpr(Expr::Function(function)) => {
                    let mut replaced = function.clone();
                    let name = Ident::with_quote('"', function.name.to_string().to_lowercase());
                    self.as_json(&mut replaced).map(|()| (Expr::Function(replaced), name))
                }
                _ => None,
            };
            if let Some((expr, alias)) = named {
                *item = SelectItem::ExprWithAlias { expr, alias };
                self.changed = true;
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _select: &mut Select) -> ControlFlow<Self::Break> {
        self.scopes.pop();
        self.rows.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::Function(function) = &mut *expr
            && self.as_json(function).is_some()
        {
            self.changed = true;
        }
        if let Expr::Identifier(name) = &*expr
            && let Some(value) = self.value(name)
        {
            *expr = value;
            self.changed = true;
        }
        ControlFlow::Continue(())
    }
}
