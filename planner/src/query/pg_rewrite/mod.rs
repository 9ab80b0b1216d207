//! What PostgreSQL's clients ask of its catalog, in a shape that DataFusion plans. Pure: syntax to syntax, with the positions that were there.
//!
//! To be called as the first step of rewriting a query (before [`super::rewrite`] checks functions and casts): [`query`]. It leaves every query alone that
//! mentions neither a system relation nor one of PostgreSQL's `reg…` types. Three things are done:
//!
//! 1. Casts to and from types that stand for a thing by its OID (`regclass`, `regtype`, …) become functions: `regclass_in` gives the OID, `regclass_out`
//!    the name. A whole column of the outermost SELECT list shows the name, everywhere else the OID counts. Types that are nowhere stored are read as
//!    text.
//! 2. [`emptiness`]: a subquery over a relation that is always empty here (policies, publications, …) is known without being run.
//! 3. [`hoist`]: EXISTS in a SELECT list becomes a count ([`super::exists`]), and a correlated scalar subquery over system relations becomes a LEFT JOIN, as DataFusion correlates only what it can group by.

mod emptiness;
mod hoist;

use std::ops::ControlFlow;

use catalog::QualifiedName;
use sql::ast::{
    ArrayElemTypeDef, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectName, Query, Select, SelectItem, SetExpr, TableFactor, Visitor, VisitorMut,
};
use sql::walk;

use super::exists;
use super::name::{column_name, folded};
use super::rewrite::call;
use crate::PlanContext;

/// The schema that is searched before all others.
const PG_CATALOG: &str = "pg_catalog";

/// Rewrites a query in place.
pub(crate) fn query(query: &mut Query, context: &PlanContext<'_>) {
    let mut finder = Finder { context };
    if walk::read(query, &mut finder).is_continue() {
        return;
    }
    outermost(&mut query.body);
    let _never_breaks = walk::change(query, &mut Casts);
    let _never_breaks = walk::change(query, &mut Selects { context, aliases: 0 });
}

/// Whether anything of PostgreSQL's catalog is mentioned: breaks if so.
struct Finder<'a> {
    context: &'a PlanContext<'a>,
}

impl Visitor for Finder<'_> {
    type Break = ();

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        match system_name(relation, self.context) {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast { data_type, .. } if Reg::of(data_type).is_some() || is_catalog_text(data_type) => {
                ControlFlow::Break(())
            }
            Expr::TypedString(typed) if Reg::of(&typed.data_type).is_some() => ControlFlow::Break(()),
            Expr::Function(function) if Reg::found_by(function).is_some() => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// The system relation that a name in FROM means, if it is one of PostgreSQL's.
fn system_name(name: &ObjectName, context: &PlanContext<'_>) -> Option<QualifiedName> {
    let parts: Vec<String> = name.0.iter().map(|part| part.as_ident().map(folded)).collect::<Option<_>>()?;
    let (schema, name) = match parts.as_slice() {
        [name] => (PG_CATALOG, name),
        [.., schema, name] => (schema.as_str(), name),
        [] => return None,
    };
    if schema != PG_CATALOG && schema != "information_schema" {
        return None;
    }
    let name = QualifiedName { schema: schema.to_owned(), name: name.clone() };
    context.system.relation(&name).map(|_| name)
}

/// A type that stands for a thing by its OID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reg {
    input: &'static str,
    output: &'static str,
}

impl Reg {
    fn of(data_type: &DataType) -> Option<Self> {
        let name = match data_type {
            DataType::Regclass => "regclass".to_owned(),
            DataType::Custom(name, modifiers) if modifiers.is_empty() => folded(name.0.last()?.as_ident()?),
            _ => return None,
        };
        Self::of_name(&name)
    }

    fn of_name(name: &str) -> Option<Self> {
        let (input, output) = match name {
            "regclass" => ("regclass_in", "regclass_out"),
            "regtype" => ("regtype_in", "regtype_out"),
            "regnamespace" => ("regnamespace_in", "regnamespace_out"),
            "regrole" => ("regrole_in", "regrole_out"),
            "regproc" | "regprocedure" => ("regproc_in", "regproc_out"),
            _ => return None,
        };
        Some(Self { input, output })
    }

    /// The type of what `to_regclass` and its like give.
    fn found_by(function: &Function) -> Option<Self> {
        let name = folded(function.name.0.last()?.as_ident()?);
        Self::of_name(name.strip_prefix("to_")?)
    }

    /// The type whose input function this call is.
    fn of_call(function: &Function) -> Option<Self> {
        let [part] = function.name.0.as_slice() else { return None };
        Self::of_name(part.as_ident()?.value.strip_suffix("_in")?)
    }
}

/// Types that are text here.
fn is_catalog_text(data_type: &DataType) -> bool {
    let DataType::Custom(name, _) = data_type else { return false };
    let Some(ident) = name.0.last().and_then(|part| part.as_ident()) else { return false };
    ["pg_lsn", "inet", "cstring", "cid", "tid", "regconfig", "regdictionary"].contains(&folded(ident).as_str())
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Text | DataType::Varchar(_) | DataType::CharacterVarying(_) => true,
        DataType::Custom(name, _) => name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .is_some_and(|ident| matches!(folded(ident).as_str(), "text" | "varchar" | "name" | "bpchar")),
        _ => false,
    }
}

/// Columns of the outermost SELECT lists that are a `reg…` value as a whole show its name.
fn outermost(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for item in &mut select.projection {
                match item {
                    SelectItem::UnnamedExpr(expr) => {
                        let name = column_name(expr);
                        if show(expr) {
                            let expr = std::mem::replace(
                                expr,
                                Expr::Wildcard(sql::ast::helpers::attached_token::AttachedToken::empty()),
                            );
                            *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
                        }
                    }
                    SelectItem::ExprWithAlias { expr, .. } => {
                        show(expr);
                    }
                    SelectItem::ExprWithAliases { .. }
                    | SelectItem::QualifiedWildcard(..)
                    | SelectItem::Wildcard(_) => {}
                }
            }
        }
        SetExpr::Query(query) => outermost(&mut query.body),
        SetExpr::SetOperation { left, right, .. } => {
            outermost(left);
            outermost(right);
        }
        _ => {}
    }
}

/// Makes a cast to a `reg…` type show the name; says whether it was one.
fn show(expr: &mut Expr) -> bool {
    match expr {
        Expr::Nested(inner) => show(inner),
        Expr::Cast { expr: inner, data_type, .. } => match Reg::of(data_type) {
            Some(reg) => {
                *expr = call(reg.output, vec![(**inner).clone()]);
                true
            }
            None => false,
        },
        Expr::Function(function) => match Reg::found_by(function) {
            Some(reg) => {
                *expr = call(reg.output, vec![expr.clone()]);
                true
            }
            None => false,
        },
        _ => false,
    }
}

/// Step 1, from the inside out.
struct Casts;

impl VisitorMut for Casts {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        keep_names(&mut select.projection);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast { expr: inner, data_type, .. } => {
                if let Some(reg) = Reg::of(data_type) {
                    *expr = call(reg.input, vec![(**inner).clone()]);
                } else if is_text(data_type)
                    && let Expr::Function(function) = inner.as_ref()
                    && let (Some(reg), Some(argument)) = (Reg::of_call(function), only_argument(function))
                {
                    **inner = call(reg.output, vec![argument.clone()]);
                } else if is_catalog_text(data_type) {
                    *data_type = DataType::Text;
                } else if let DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) = data_type
                    && is_catalog_text(element)
                {
                    **element = DataType::Text;
                }
            }
            Expr::TypedString(typed) => {
                if let Some(reg) = Reg::of(&typed.data_type) {
                    *expr = call(reg.input, vec![Expr::Value(typed.value.clone())]);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// Gives columns that are about to change the names that they had.
fn keep_names(projection: &mut [SelectItem]) {
    for item in projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_)) {
            continue;
        }
        let name = column_name(expr);
        let expr = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
        *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
    }
}

fn only_argument(function: &Function) -> Option<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))] => Some(argument),
        _ => None,
    }
}

/// Steps 2 and 3, from the outside in, so that what is known to be empty is not hoisted.
struct Selects<'a> {
    context: &'a PlanContext<'a>,
    /// Aliases given so far.
    aliases: usize,
}

impl VisitorMut for Selects<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        emptiness::simplify(select, self.context);
        // What can't be rewritten is refused when the query is planned.
        let _refused_later = exists::in_list(select, self.context.functions);
        hoist::scalar_subqueries(select, self.context, &mut self.aliases);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        emptiness::options_of_foreign_table(expr);
        ControlFlow::Continue(())
    }
}

/// The name of a plain relation in FROM and what it is called there.
fn plain_relation(factor: &TableFactor) -> Option<(&ObjectName, String)> {
    let TableFactor::Table { name, alias, args: None, .. } = factor else { return None };
    let called = match alias {
        Some(alias) if alias.columns.is_empty() => folded(&alias.name),
        Some(_) => return None,
        None => folded(name.0.last()?.as_ident()?),
    };
    Some((name, called))
}

/// A cast as `expr::type`.
fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::DoubleColon, expr: Box::new(expr), data_type, array: false, format: None }
}

#[cfg(test)]
mod tests;
