//! Subqueries in places where only their values are wanted, of which DataFusion makes no joins: in aggregates and their groups, in window functions, in an order, in the condition of
//! a join. Each becomes a column of a projection below, on the side whose columns it refers to. Of an inner join's condition they are asked above it, and what refers to
//! both sides of an outer join is asked of the pairs that meet.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, Filter, Join, LogicalPlan, Projection, Sort, Window};

use super::membership::as_value;
use super::subquery::{is_subquery, plan_of};
use super::{columns, inner, join_on, project, referred, same};

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
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => of_inner_join(join, number, below),
        LogicalPlan::Join(join) => of_outer_join(join, number, below),
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

/// What an inner join has for a condition may as well be asked of its rows.
fn of_inner_join(
    join: &Join,
    number: &mut usize,
    below: &mut dyn FnMut(LogicalPlan, &mut usize) -> Result<LogicalPlan>,
) -> Result<Option<LogicalPlan>> {
    let Some((with, without)) = join.filter.as_ref().map(apart).transpose()? else { return Ok(None) };
    let Some(condition) = conjunction(with) else { return Ok(None) };
    let joined = below(with_filter(join, &join.left, &join.right, conjunction(without))?, number)?;
    below(LogicalPlan::Filter(Filter::try_new(condition, Arc::new(joined))?), number).map(Some)
}

/// The parts of a condition that have subqueries, and those that have none.
fn apart(condition: &Expr) -> Result<(Vec<Expr>, Vec<Expr>)> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for part in split_conjunction(condition) {
        let side = if part.exists(|expr| Ok(is_subquery(expr)))? { &mut with } else { &mut without };
        side.push(part.clone());
    }
    Ok((with, without))
}

/// The join of other sides on another condition.
fn with_filter(
    join: &Join,
    left: &Arc<LogicalPlan>,
    right: &Arc<LogicalPlan>,
    filter: Option<Expr>,
) -> Result<LogicalPlan> {
    let (left, right, on) = (left.clone(), right.clone(), join.on.clone());
    let (kind, nulls) = (join.join_type, join.null_equality);
    Ok(LogicalPlan::Join(Join::try_new(left, right, on, filter, kind, join.join_constraint, nulls, join.null_aware)?))
}

/// A LEFT or RIGHT join on subqueries that refer to both sides. What they say is found out for each combination of the columns that they refer to, and the
/// combinations that pass are joined with the side that is filled up.
fn by_pairs(
    join: &Join,
    number: &mut usize,
    below: &mut dyn FnMut(LogicalPlan, &mut usize) -> Result<LogicalPlan>,
) -> Result<Option<LogicalPlan>> {
    let is_left = join.join_type == JoinType::Left;
    if !is_left && join.join_type != JoinType::Right {
        return Ok(None);
    }
    let Some((with, without)) = join.filter.as_ref().map(apart).transpose()? else { return Ok(None) };
    let Some(condition) = conjunction(with) else { return Ok(None) };
    if !referred(&join.right, join.left.schema())?.is_empty() {
        return Ok(None);
    }
    let (of_left, of_right) = (asked(&condition, join.left.schema())?, asked(&condition, join.right.schema())?);
    if of_left.is_empty() || of_right.is_empty() {
        return Ok(None);
    }
    *number += 1;
    let named = |side: &str, asked: &[Column]| -> Vec<(Column, String)> {
        let name = |(at, column): (usize, &Column)| (column.clone(), format!("{side}{number}:{at}"));
        asked.iter().enumerate().map(name).collect()
    };
    let (of_left, of_right) = (named("left", &of_left), named("right", &of_right));
    let meeting = Join { join_type: JoinType::Inner, ..join.clone() };
    let met = below(with_filter(&meeting, &join.left, &join.right, conjunction(without.clone()))?, number)?;
    let all = of_left.iter().chain(&of_right);
    let met = project(met, all.clone().map(|(column, _)| Expr::Column(column.clone())).collect())?;
    let pairs = LogicalPlan::Distinct(Distinct::All(Arc::new(met)));
    let pairs = below(LogicalPlan::Filter(Filter::try_new(condition, Arc::new(pairs))?), number)?;
    let pairs = project(pairs, all.map(|(column, name)| Expr::Column(column.clone()).alias(name)).collect())?;

    let equal = |side: &[(Column, String)]| {
        conjunction(side.iter().map(|(column, name)| same(Expr::Column(column.clone()), inner(name), true)))
    };
    let (kept, filled) = if is_left { (&of_left, &of_right) } else { (&of_right, &of_left) };
    let filled_side = if is_left { &join.right } else { &join.left };
    let filled_side = Arc::new(join_on(filled_side.as_ref().clone(), pairs, equal(filled), JoinType::Inner)?);
    let filter = conjunction(without.into_iter().chain(equal(kept)));
    let joined = match is_left {
        true => with_filter(join, &join.left, &filled_side, filter)?,
        false => with_filter(join, &filled_side, &join.right, filter)?,
    };
    project(joined, columns(&join.schema).collect()).map(Some)
}

/// The columns of a schema that a condition asks for, its subqueries too.
fn asked(condition: &Expr, schema: &DFSchema) -> Result<Vec<Column>> {
    let mut places: BTreeSet<usize> =
        condition.column_refs().into_iter().filter_map(|column| schema.maybe_index_of_column(column)).collect();
    condition.apply(|expr| {
        if let Some(plan) = plan_of(expr) {
            places.extend(referred(plan, schema)?);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(places.into_iter().map(|place| Column::from(schema.qualified_field(place))).collect())
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
    let is_changed = new_left.is_some() || new_right.is_some();
    let side = |new: Option<LogicalPlan>, old: &Arc<LogicalPlan>| new.map_or_else(|| old.clone(), Arc::new);
    let (left, right) = (side(new_left, &join.left), side(new_right, &join.right));
    let joined = with_filter(join, &left, &right, Some(filter))?;
    let paired = match &joined {
        LogicalPlan::Join(joined) => by_pairs(joined, number, below)?,
        _ => None,
    };
    match paired.or(is_changed.then_some(joined)) {
        Some(plan) => project(plan, columns(&join.schema).collect()).map(Some),
        None => Ok(None),
    }
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
