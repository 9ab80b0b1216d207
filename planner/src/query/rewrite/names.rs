//! The names that the columns of a SELECT list get.

use std::collections::{HashMap, HashSet};

use sql::ast::{Expr, Ident, SelectItem};

use super::SESSION_VALUES;
use crate::query::name::{column_name, folded};

/// Gives names to the columns of a SELECT list.
pub(super) struct Namer<'a> {
    pub(super) all_unique: bool,
    pub(super) visible: &'a mut HashMap<String, String>,
}

/// A column as DataFusion tells columns apart: what it is called, and whose it is if the text says so.
#[derive(PartialEq, Eq, Hash)]
struct Label {
    qualifier: Option<String>,
    name: String,
}

impl Namer<'_> {
    pub(super) fn name(&mut self, projection: &mut [SelectItem]) {
        let mut taken: HashSet<Label> = HashSet::new();
        for (position, item) in projection.iter_mut().enumerate() {
            let (expr, name, qualifier) = match &*item {
                SelectItem::UnnamedExpr(expr) => (expr.clone(), column_name(expr), qualifier(expr)),
                SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), folded(alias), None),
                _ => continue,
            };
            let plain = match &*item {
                SelectItem::UnnamedExpr(Expr::Identifier(ident)) => {
                    ident.quote_style.is_some() || !SESSION_VALUES.contains(&ident.value.to_lowercase().as_str())
                }
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(_)) => true,
                _ => false,
            };
            // A bare name may mean the same column as any qualified one.
            let collides = taken.iter().any(|label| {
                label.name == name && (label.qualifier.is_none() || qualifier.is_none() || label.qualifier == qualifier)
            });
            taken.insert(Label { qualifier, name: name.clone() });
            if collides || self.all_unique {
                let unique = format!("{name}:{position}");
                self.visible.insert(unique.clone(), name);
                *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', unique) };
            } else if !plain {
                *item = SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', name) };
            }
        }
    }
}

fn qualifier(expr: &Expr) -> Option<String> {
    match expr {
        Expr::CompoundIdentifier(parts) => {
            let qualifier = parts[..parts.len() - 1].iter().map(folded).collect::<Vec<_>>();
            Some(qualifier.join("."))
        }
        _ => None,
    }
}
