//! ROLLUP, CUBE and GROUPING SETS as DataFusion can plan them: it knows positions in a plain GROUP BY only, and nothing that is grouped by twice.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Expr as Planned, LogicalPlan};
use sql::ast::{Expr, GroupByExpr, Select, SelectItem, Value};

use crate::Error;
use crate::error::ErrorKind;

/// Keys hold no aggregates. `grouping(x)` over what is grouped by as it stands there: types may have given that another form, under its old name.
pub(super) fn arguments(plan: LogicalPlan) -> Result<LogicalPlan> {
    let named = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Aggregate(mut aggregate) = node else { return Ok(Transformed::no(node)) };
        let keys: Vec<Planned> = grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
        for key in &keys {
            if key.exists(|part| Ok(matches!(part, Planned::AggregateFunction(_))))? {
                let message = "aggregate functions are not allowed in GROUP BY";
                return Err(Error::new(ErrorKind::Grouping, message).into());
            }
        }
        let mut changed = false;
        for call in &mut aggregate.aggr_expr {
            let mut call = call;
            while let Planned::Alias(alias) = call {
                call = &mut alias.expr;
            }
            let Planned::AggregateFunction(call) = call else { continue };
            if call.func.name() != "grouping" {
                continue;
            }
            for argument in &mut call.params.args {
                let is_meant = |key: &&Planned| (*key).clone().unalias() == argument.clone().unalias();
                if let Some(key) = keys.iter().find(is_meant).filter(|key| *key != argument) {
                    *argument = key.clone();
                    changed = true;
                }
            }
        }
        let aggregate = LogicalPlan::Aggregate(aggregate);
        Ok(if changed { Transformed::yes(aggregate) } else { Transformed::no(aggregate) })
    })?;
    Ok(named.data)
}

/// `GROUP BY ROLLUP (1, 2)` with what stands at these places of the SELECT list, and `ROLLUP (x, x)` as `GROUPING SETS ((x), (x), ())`.
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
    for key in keys.iter_mut() {
        let (Expr::Rollup(sets) | Expr::Cube(sets) | Expr::GroupingSets(sets)) = key else { continue };
        for member in sets.iter_mut().flatten() {
            if let Some(expr) = meant(member) {
                *member = expr;
            }
        }
    }
    if !keys.iter().any(|key| sets_of(key).is_some()) {
        return;
    }
    let mut positions = keys.iter().map(|key| meant(key).unwrap_or_else(|| key.clone()));
    if !names_twice(&positions.by_ref().collect::<Vec<_>>()) {
        return;
    }
    // Of several items, each set of one goes with each of the others.
    let mut all: Vec<Vec<Expr>> = vec![vec![]];
    for key in keys.iter() {
        let key = meant(key).unwrap_or_else(|| key.clone());
        let sets = sets_of(&key).unwrap_or_else(|| vec![vec![key]]);
        all = all.iter().flat_map(|before| sets.iter().map(|set| [&before[..], set].concat())).collect();
    }
    for set in &mut all {
        let mut once: Vec<Expr> = Vec::with_capacity(set.len());
        for member in set.drain(..) {
            if !once.contains(&member) {
                once.push(member);
            }
        }
        *set = once;
    }
    *keys = vec![Expr::GroupingSets(all)];
}

/// Whether something is grouped by twice where a set may have both.
fn names_twice(keys: &[Expr]) -> bool {
    let mut seen: Vec<&Expr> = Vec::new();
    for key in keys {
        // The sets of one item don't meet each other, the members of one set do.
        let sets: Vec<Vec<&Expr>> = match key {
            Expr::GroupingSets(sets) => sets.iter().map(|set| set.iter().collect()).collect(),
            Expr::Rollup(sets) | Expr::Cube(sets) => vec![sets.iter().flatten().collect()],
            key => vec![vec![key]],
        };
        let mut here: Vec<&Expr> = Vec::new();
        for set in &sets {
            let twice = |at: usize| seen.contains(&set[at]) || set[..at].contains(&set[at]);
            if (0..set.len()).any(twice) {
                return true;
            }
            here.extend(set);
        }
        seen.append(&mut here);
    }
    false
}

/// The sets that an item of GROUP BY stands for; `None`: it is an expression.
fn sets_of(key: &Expr) -> Option<Vec<Vec<Expr>>> {
    match key {
        Expr::GroupingSets(sets) => Some(sets.clone()),
        Expr::Rollup(members) => Some((0..=members.len()).rev().map(|n| members[..n].concat()).collect()),
        // As many sets as PostgreSQL takes.
        Expr::Cube(members) if members.len() <= 12 => Some(
            (0..1_u32 << members.len())
                .map(|left_out| {
                    let kept = members.iter().enumerate().filter(|(index, _)| left_out >> index & 1 == 0);
                    kept.flat_map(|(_, member)| member.clone()).collect()
                })
                .collect(),
        ),
        _ => None,
    }
}
