//! Subqueries in places where only their values are wanted, of which DataFusion makes no joins: in aggregates and their groups, in window functions, in an order, in the condition of
//! an outer join. Each becomes a column of a projection below, on the side whose columns it refers to.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, JoinType, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Aggregate, Expr, Join, LogicalPlan, Projection, Sort, Window};

use super::membership::as_value;
use super::subquery::{is_subquery, plan_of};
use super::{columns, project, referred};

/// The node over projections with its subqueries; `below` rewrites those projections in turn.
pub(super) fn hoisted(
    node: &LogicalPlan,
    number: &mut usize,
    below: &mut dyn FnMut(LogicalPlan, &mut usize) -> Result<LogicalPlan>,
) -> Result<Option<LogicalPlan>> {
    match node {
        LogicalPlan::Aggregate(aggregate) => {
            let mut side = Side::new(&aggregate.input);
            let names = NamePreserver::new(node);
            let mut moved = |expr: &Expr, number: &mut usize| -> Result<Expr> {
                let name = names.save(expr);
                Ok(name.restore(side.moved(expr.clone(), number)?))
            };
            let group_expr = aggregate.group_expr.iter().map(|expr| moved(expr, number)).collect::<Result<_>>()?;
            let aggr_expr = aggregate.aggr_expr.iter().map(|expr| moved(expr, number)).collect::<Result<_>>()?;
            let Some(input) = side.finish(number, below)? else { return Ok(None) };
            Ok(Some(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), group_expr, aggr_expr)?)))
        }
        LogicalPlan::Window(window) => {
            let mut side = Side::new(&window.input);
            let names = NamePreserver::new(node);
            let moved = window.window_expr.iter().map(|call| {
                let name = names.save(call);
                Ok(name.restore(side.moved(call.clone(), number)?))
            });
            let calls = moved.collect::<Result<Vec<_>>>()?;
            let Some(input) = side.finish(number, below)? else { return Ok(None) };
            let windows = LogicalPlan::Window(Window::try_new(calls, Arc::new(input))?);
            project(windows, columns(&window.schema).collect()).map(Some)
        }
        LogicalPlan::Sort(sort) => {
            let picked = match &*sort.input {
                LogicalPlan::Projection(projection) => of_order(sort, Some(projection), number, below)?,
                _ => None,
            };
            match picked {
                None => of_order(sort, None, number, below),
                picked => Ok(picked),
            }
        }
        LogicalPlan::Join(join) if join.join_type != JoinType::Inner => of_outer_join(join, number, below),
        _ => Ok(None),
    }
}

/// An order by subqueries, which refer to what is sorted; or, where a projection picks that, to what it picks from.
fn of_order(
    sort: &Sort,
    picking: Option<&Projection>,
    number: &mut usize,
    below: &mut dyn FnMut(LogicalPlan, &mut usize) -> Result<LogicalPlan>,
) -> Result<Option<LogicalPlan>> {
    let mut side = Side::new(picking.map_or(&sort.input, |projection| &projection.input));
    if let Some(projection) = picking {
        side.taken = projection.expr.clone();
    }
    let mut order = Vec::new();
    for key in &sort.expr {
        order.push(key.with_expr(side.moved(key.expr.clone(), number)?));
    }
    let Some(input) = side.finish(number, below)? else { return Ok(None) };
    let sorted = LogicalPlan::Sort(Sort { expr: order, input: Arc::new(input), fetch: sort.fetch });
    project(sorted, columns(sort.input.schema()).collect()).map(Some)
}

fn of_outer_join(
    join: &Join,
    number: &mut usize,
    below: &mut dyn FnMut(LogicalPlan, &mut usize) -> Result<LogicalPlan>,
) -> Result<Option<LogicalPlan>> {
    let Some(filter) = &join.filter else { return Ok(None) };
    let (mut left, mut right) = (Side::new(&join.left), Side::new(&join.right));
    // What refers to both sides is of neither.
    let filter = left.moved_if(filter.clone(), number, right.schema())?;
    let filter = right.moved_if(filter, number, left.schema())?;
    let (new_left, new_right) = (left.finish(number, below)?, right.finish(number, below)?);
    if new_left.is_none() && new_right.is_none() {
        return Ok(None);
    }
    let side = |new: Option<LogicalPlan>, old: &Arc<LogicalPlan>| new.map_or_else(|| old.clone(), Arc::new);
    let joined = Join::try_new(
        side(new_left, &join.left),
        side(new_right, &join.right),
        join.on.clone(),
        Some(filter),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    project(LogicalPlan::Join(joined), columns(&join.schema).collect()).map(Some)
}

/// An input, and what is added to its columns.
struct Side<'a> {
    input: &'a Arc<LogicalPlan>,
    /// What is taken of its columns.
    taken: Vec<Expr>,
    added: Vec<Expr>,
}

impl<'a> Side<'a> {
    fn new(input: &'a Arc<LogicalPlan>) -> Self {
        Self { input, taken: columns(input.schema()).collect(), added: Vec::new() }
    }

    fn schema(&self) -> &'a DFSchema {
        self.input.schema()
    }

    /// The expression with columns in the place of subqueries that refer to this side.
    fn moved(&mut self, expr: Expr, number: &mut usize) -> Result<Expr> {
        self.moved_if(expr, number, &DFSchema::empty())
    }

    fn moved_if(&mut self, expr: Expr, number: &mut usize, not: &DFSchema) -> Result<Expr> {
        let moved = expr.transform_up(|expr| {
            let Some(plan) = plan_of(&expr).filter(|_| is_subquery(&expr)) else { return Ok(Transformed::no(expr)) };
            let own = match &expr {
                Expr::InSubquery(membership) => {
                    let columns = membership.expr.column_refs();
                    !columns.is_empty() && columns.iter().all(|column| self.schema().has_column(column))
                }
                _ => !referred(plan, self.schema())?.is_empty(),
            };
            if !own || !referred(plan, not)?.is_empty() {
                return Ok(Transformed::no(expr));
            }
            let Some(value) = as_value(&expr, self.input)? else { return Ok(Transformed::no(expr)) };
            *number += 1;
            let name = format!("value{number}");
            self.added.push(value.alias(&name));
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name))))
        })?;
        Ok(moved.data)
    }

    fn finish(
        self,
        number: &mut usize,
        below: &mut dyn FnMut(LogicalPlan, &mut usize) -> Result<LogicalPlan>,
    ) -> Result<Option<LogicalPlan>> {
        if self.added.is_empty() {
            return Ok(None);
        }
        let all = self.taken.into_iter().chain(self.added).collect();
        below(project(self.input.as_ref().clone(), all)?, number).map(Some)
    }
}
