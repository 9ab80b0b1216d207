//! The name of a relation in FROM as a value: its row, or the one column of a function's rows.

use std::ops::ControlFlow;

use sql::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Select, SelectItem, SetExpr,
    TableFactor, Value, VisitorMut,
};
use sql::walk;

use super::name::{column_name, folded};
use super::provider::{self, Relation};
use super::rewrite::call;
use super::set_returning::single_column;
use crate::PlanContext;

/// `SELECT e FROM jsonb_array_elements(…) AS e`: the alias of a function of one column stands for that column, where no column is called so.
/// The name of another relation stands for its row: `SELECT row_to_json(t) FROM t`. Says whether anything was changed.
pub(super) fn expanded(query: &mut Query, context: &PlanContext<'_>) -> bool {
    let mut expander = WholeRows { context, scopes: Vec::new(), rows: Vec::new(), changed: false };
    let ControlFlow::Continue(()) = walk::change(query, &mut expander);
    expander.changed
}

struct WholeRows<'a> {
    context: &'a PlanContext<'a>,
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

    /// Alias and columns of a relation, as far as its text or the catalog tell.
    fn row_of(&self, factor: &TableFactor) -> Option<(String, Vec<String>)> {
        let (alias, columns) = match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident().map(folded)).collect();
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let schema = match provider::resolve(self.context, &parts).ok()? {
                    Relation::Object(object) => object.schema(),
                    Relation::System(_, schema) => schema,
                };
                let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
                (alias.clone(), (parts.last()?.to_string(), columns))
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let named = |item: &SelectItem| match item {
                    SelectItem::UnnamedExpr(expr) => Some(column_name(expr)),
                    SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
                    _ => None,
                };
                let columns = match &*subquery.body {
                    SetExpr::Select(select) => select.projection.iter().map(named).collect::<Option<Vec<_>>>()?,
                    SetExpr::Values(values) => {
                        let width = values.rows.first().map_or(0, |row| row.content.len());
                        (1..=width).map(|at| format!("column{at}")).collect()
                    }
                    _ => return None,
                };
                (alias.clone(), (String::new(), columns))
            }
            _ => return None,
        };
        let (name, mut columns) = columns;
        let name = match &alias {
            Some(alias) => {
                for (column, renamed) in columns.iter_mut().zip(&alias.columns) {
                    *column = folded(&renamed.name);
                }
                folded(&alias.name)
            }
            None => name,
        };
        Some((name, columns))
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

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        let factors = select
            .from
            .iter()
            .flat_map(|table| std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation)));
        let factors: Vec<&TableFactor> = factors.collect();
        self.scopes.push(factors.iter().copied().filter_map(single_column).collect());
        self.rows.push(factors.into_iter().filter_map(|factor| self.row_of(factor)).collect());
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
