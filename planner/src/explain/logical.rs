//! EXPLAIN of a query: DataFusion's logical plan, one node per line, its expressions in SQL.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Distinct, Expr, Join, JoinType, LogicalPlan, SortExpr, Subquery};

use super::expression::sql;

/// The plan as a tree.
pub(crate) fn logical(plan: &LogicalPlan) -> String {
    let mut out = String::new();
    node(plan, 0, &mut out);
    out
}

fn node(plan: &LogicalPlan, depth: usize, out: &mut String) {
    line(&describe(plan), depth, out);
    for subquery in subqueries(plan) {
        line("Subquery:", depth + 1, out);
        node(&subquery.subquery, depth + 2, out);
    }
    for input in plan.inputs() {
        node(input, depth + 1, out);
    }
}

fn line(text: &str, depth: usize, out: &mut String) {
    out.push_str(&"  ".repeat(depth));
    out.push_str(text);
    out.push('\n');
}

/// The subqueries in a node's expressions.
fn subqueries(plan: &LogicalPlan) -> Vec<Subquery> {
    let mut found = Vec::new();
    for expression in plan.expressions() {
        let _never_fails = expression.apply(|expression| {
            match expression {
                Expr::ScalarSubquery(subquery) => found.push(subquery.clone()),
                Expr::Exists(exists) => found.push(exists.subquery.clone()),
                Expr::InSubquery(inside) => found.push(inside.subquery.clone()),
                Expr::SetComparison(comparison) => found.push(comparison.subquery.clone()),
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        });
    }
    found
}

fn describe(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::Projection(projection) => format!("Projection: {}", list(&projection.expr)),
        LogicalPlan::Filter(filter) => format!("Filter: {}", sql(&filter.predicate)),
        LogicalPlan::Aggregate(aggregate) => {
            let mut text = "Aggregate".to_owned();
            if !aggregate.group_expr.is_empty() {
                text.push_str(&format!(" by {}", list(&aggregate.group_expr)));
            }
            if !aggregate.aggr_expr.is_empty() {
                text.push_str(&format!(": {}", list(&aggregate.aggr_expr)));
            }
            text
        }
        LogicalPlan::Sort(sort) => {
            let limit = sort.fetch.map_or(String::new(), |fetch| format!(", fetch={fetch}"));
            format!("Sort: {}{limit}", order(&sort.expr))
        }
        LogicalPlan::Window(window) => format!("Window: {}", list(&window.window_expr)),
        LogicalPlan::Join(join) => describe_join(join),
        LogicalPlan::Limit(limit) => {
            let bound =
                |name: &str, bound: &Option<Box<Expr>>| bound.as_ref().map(|bound| format!("{name}={}", sql(bound)));
            let bounds: Vec<_> =
                [bound("skip", &limit.skip), bound("fetch", &limit.fetch)].into_iter().flatten().collect();
            format!("Limit: {}", bounds.join(", "))
        }
        LogicalPlan::Values(values) => {
            let rows: Vec<_> = values.values.iter().take(5).map(|row| format!("({})", list(row))).collect();
            let more = if values.values.len() > rows.len() { ", …" } else { "" };
            format!("Values: {}{more}", rows.join(", "))
        }
        LogicalPlan::TableScan(scan) => format!("TableScan: {}", scan.table_name),
        LogicalPlan::SubqueryAlias(alias) => format!("SubqueryAlias: {}", alias.alias),
        LogicalPlan::Distinct(Distinct::On(on)) => format!("Distinct on ({})", list(&on.on_expr)),
        LogicalPlan::EmptyRelation(empty) if empty.produce_one_row => "One row".to_owned(),
        LogicalPlan::EmptyRelation(_) => "No rows".to_owned(),
        other => super::sql_words(&other.display().to_string()),
    }
}

fn describe_join(join: &Join) -> String {
    let kind = match join.join_type {
        JoinType::Inner if join.on.is_empty() && join.filter.is_none() => "cross",
        JoinType::Inner => "inner",
        JoinType::Left => "left",
        JoinType::Right => "right",
        JoinType::Full => "full",
        JoinType::LeftSemi | JoinType::RightSemi => "semi",
        JoinType::LeftAnti | JoinType::RightAnti => "anti",
        JoinType::LeftMark | JoinType::RightMark => "mark",
    };
    let pairs = join.on.iter().map(|(left, right)| format!("{} = {}", sql(left), sql(right)));
    let conditions: Vec<_> = pairs.chain(join.filter.iter().map(sql)).collect();
    match conditions.as_slice() {
        [] => format!("Join {kind}"),
        conditions => format!("Join {kind} on {}", conditions.join(" and ")),
    }
}

fn list(expressions: &[Expr]) -> String {
    expressions.iter().map(sql).collect::<Vec<_>>().join(", ")
}

fn order(by: &[SortExpr]) -> String {
    let one = |by: &SortExpr| {
        let direction = if by.asc { "" } else { " DESC" };
        // NULLs are last where that isn't said, and first in the other direction.
        let nulls = match (by.asc, by.nulls_first) {
            (true, true) => " NULLS FIRST",
            (false, false) => " NULLS LAST",
            _ => "",
        };
        format!("{}{direction}{nulls}", sql(&by.expr))
    };
    by.iter().map(one).collect::<Vec<_>>().join(", ")
}
