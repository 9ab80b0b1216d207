//! Positions in ROLLUP, CUBE and GROUPING SETS: DataFusion knows them in a plain GROUP BY only.

use sql::ast::{Expr, GroupByExpr, Select, SelectItem, Value};

/// `GROUP BY ROLLUP (1, 2)` with what stands at these places of the SELECT list.
pub(super) fn in_select(select: &mut Select) {
    let GroupByExpr::Expressions(keys, _) = &mut select.group_by else { return };
    let meant = |member: &Expr| -> Option<Expr> {
        let Expr::Value(value) = member else { return None };
        let Value::Number(digits, _) = &value.value else { return None };
        match select.projection.get(digits.parse::<usize>().ok()?.checked_sub(1)?)? {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.clone()),
            _ => None,
        }
    };
    for key in keys {
        let (Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets)) = key else { continue };
        for member in sets.iter_mut().flatten() {
            if let Some(expr) = meant(member) {
                *member = expr;
            }
        }
    }
}
