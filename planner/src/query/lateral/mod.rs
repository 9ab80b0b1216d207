//! What stands in FROM and refers to what stands left of it: `FROM t, unnest(t.tags) AS tag`, `FROM u, LATERAL (SELECT … WHERE o.user_id = u.id …)`.
//!
//! DataFusion plans it as a join with a subquery that refers to the outer row, and removes such subqueries only in their simplest forms. Here the outer
//! columns are taken along through the subquery ([`attach`]), so that nothing in it refers outward any more:
//!
//! - If the subquery makes its rows of each outer row by itself, the outer rows go in where it begins, and all is said: no join is left.
//! - If it looks at several rows at once (LIMIT, DISTINCT, window functions, aggregates), it is computed for each distinct combination of
//!   the outer columns that it refers to, whose rows are then joined with the outer rows. Where equalities say what those columns are (`o.user_id = u.id`), the
//!   combinations are those of the inner side.
//!
//! (Neumann, Kemper: "Unnesting Arbitrary Queries", BTW 2015.)

mod attach;
mod bound;
mod hoist;
mod membership;
mod subquery;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, JoinConstraint, JoinType, NullEquality, Result, ScalarValue};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Distinct, Expr, Filter, Join, LogicalPlan, Operator, Projection, SubqueryAlias, binary_expr,
};

use attach::Outer;
pub(super) use subquery::takes_some;

/// Replaces such joins everywhere in a bound plan, the innermost first; `number`, of the last one, tells their columns apart.
pub(crate) fn attached(plan: LogicalPlan, number: &mut usize) -> Result<LogicalPlan> {
    let replaced = plan.transform_up_with_subqueries(|node| {
        let attached = one(&node, number)?;
        Ok(attached.map_or_else(|| Transformed::no(node), Transformed::yes))
    })?;
    Ok(replaced.data)
}

/// A node over inputs that are done, if something changes.
fn one(node: &LogicalPlan, number: &mut usize) -> Result<Option<LogicalPlan>> {
    let below = &mut |plan: LogicalPlan, number: &mut usize| Ok(one(&plan, number)?.unwrap_or(plan));
    if let LogicalPlan::SubqueryAlias(alias) = node
        && !matches!(*alias.input, LogicalPlan::Subquery(_))
        && !outer_references(&alias.input)?.is_empty()
    {
        // DataFusion can't take the columns that a condition needs through another name.
        let named = columns(alias.input.schema()).zip(alias.schema.columns());
        let named = named.map(|(expr, column)| as_column(expr, &column)).collect();
        return project(alias.input.as_ref().clone(), named).map(Some);
    }
    if let Some(hoisted) = hoist::hoisted(node, number, below)? {
        return Ok(Some(hoisted));
    }
    let told_apart = membership::told_apart(node.clone())?;
    let attached = match &told_apart.data {
        LogicalPlan::Join(join) => {
            *number += 1;
            of_join(join, *number)?
        }
        other => subquery::joined(other, number)?,
    };
    match attached {
        Some(plan) => brought(plan, number).map(Some),
        None => Ok(told_apart.transformed.then_some(told_apart.data)),
    }
}

/// A plan that outer columns were taken along through: subqueries in it that referred two levels out refer one level out now.
fn brought(plan: LogicalPlan, number: &mut usize) -> Result<LogicalPlan> {
    let replaced = plan.transform_up(|node| match subquery::joined(&node, number)? {
        Some(plan) => Ok(Transformed::yes(brought(plan, number)?)),
        None => Ok(Transformed::no(node)),
    })?;
    Ok(replaced.data)
}

/// `number` tells the columns of this join from those of other ones.
fn of_join(join: &Join, number: usize) -> Result<Option<LogicalPlan>> {
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left) {
        return Ok(None);
    }
    let referred = referred(&join.right, join.left.schema())?;
    if referred.is_empty() || is_shadowed(&join.right, join.left.schema())? {
        return Ok(None);
    }
    let equalities = join.on.iter().map(|(left, right)| left.clone().eq(right.clone()));
    let condition = conjunction(equalities.chain(join.filter.clone()).filter(|condition| !is_true(condition)));
    match by_row(join, condition.as_ref(), number)? {
        None if is_datafusions(&join.right, join.left.schema(), |_| false)? => Ok(None),
        None => by_combination(join, referred, condition, number),
        plan => Ok(plan),
    }
}

fn is_true(condition: &Expr) -> bool {
    matches!(condition, Expr::Literal(ScalarValue::Boolean(Some(true)), _))
}

/// The columns of a schema that a plan refers to as an outer row's, by position.
fn referred(plan: &LogicalPlan, outer: &DFSchema) -> Result<BTreeSet<usize>> {
    let references = outer_references(plan)?;
    Ok(references.iter().filter_map(|column| outer.maybe_index_of_column(column)).collect())
}

/// The columns of outer rows that a plan refers to.
fn outer_references(plan: &LogicalPlan) -> Result<HashSet<Column>> {
    let mut found = HashSet::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::OuterReferenceColumn(_, column) = expr {
                    found.insert(column.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(found)
}

/// Whether a name of the outer columns' relations means another one where a subquery in an expression within stands: a reference of that subquery
/// doesn't say which of the two it means.
fn is_shadowed(plan: &LogicalPlan, outer: &DFSchema) -> Result<bool> {
    let relations: HashSet<_> = outer.iter().filter_map(|(relation, _)| relation).collect();
    let mut shadowed = false;
    plan.apply_with_subqueries(|node| {
        let is_named = |input: &LogicalPlan| {
            let mut columns = input.schema().iter();
            columns.any(|(relation, _)| relation.is_some_and(|name| relations.contains(name)))
        };
        if !node.inputs().into_iter().any(is_named) {
            return Ok(TreeNodeRecursion::Continue);
        }
        node.apply_expressions(|expr| {
            shadowed |= expr.exists(|expr| Ok(subquery::is_subquery(expr)))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(shadowed)
}

/// The outer rows in the place of what the subquery begins with.
fn by_row(join: &Join, condition: Option<&Expr>, number: usize) -> Result<Option<LogicalPlan>> {
    let is_left = join.join_type == JoinType::Left;
    // The condition would decide which rows are filled up with NULL.
    if is_left && condition.is_some() {
        return Ok(None);
    }
    let schema = join.left.schema();
    let mut outer = Outer::new(&join.left, 0..schema.fields().len(), number)?;
    outer.keeps_empty = is_left;
    let Some(attached) = outer.attach(&join.right)? else { return Ok(None) };
    let left = outer.columns.iter().map(|(column, name)| as_column(inner(name), column));
    let plan = project(attached, left.chain(columns(join.right.schema())).collect())?;
    match condition {
        Some(condition) => Ok(Some(LogicalPlan::Filter(Filter::try_new(condition.clone(), Arc::new(plan))?))),
        None => Ok(Some(plan)),
    }
}

/// The subquery for each combination of what it refers to, joined with the outer rows.
fn by_combination(
    join: &Join,
    referred: BTreeSet<usize>,
    condition: Option<Expr>,
    number: usize,
) -> Result<Option<LogicalPlan>> {
    let mut outer = Outer::new(&join.left, referred, number)?;
    outer.rows = LogicalPlan::Distinct(Distinct::All(Arc::new(outer.rows)));
    outer.once = true;
    let Some(attached) = outer.attach(&join.right)? else { return Ok(None) };
    let schema = join.left.schema();
    let equal = outer.columns.iter().map(|(column, name)| {
        let nullable = schema.field_from_column(column).is_ok_and(|field| field.is_nullable());
        same(Expr::Column(column.clone()), inner(name), nullable)
    });
    let condition = conjunction(equal.chain(condition));
    let joined = join_on(join.left.as_ref().clone(), attached, condition, join.join_type)?;
    Ok(Some(project(joined, columns(schema).chain(columns(join.right.schema())).collect())?))
}

/// Whether DataFusion's own rule does it: an aggregate over the rows of a relation that equalities pick, and such other conditions as it knows.
fn is_datafusions(plan: &LogicalPlan, outer: &DFSchema, knows: fn(&Expr) -> bool) -> Result<bool> {
    Ok(match plan {
        LogicalPlan::Subquery(subquery) => is_datafusions(&subquery.subquery, outer, knows)?,
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => is_datafusions(input, outer, knows)?,
        LogicalPlan::Projection(projection) => {
            let mut expressions = projection.expr.iter();
            !expressions.any(Expr::contains_outer) && is_datafusions(&projection.input, outer, knows)?
        }
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => {
            let LogicalPlan::Filter(filter) = &*aggregate.input else { return Ok(false) };
            let wanted = referred(plan, outer)?;
            !aggregate.aggr_expr.iter().any(Expr::contains_outer)
                && attach::equalities(filter, outer, wanted)?.is_some_and(|found| found.others.iter().all(knows))
        }
        _ => false,
    })
}

/// A column that came along, by its name.
fn inner(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

fn columns(schema: &DFSchema) -> impl Iterator<Item = Expr> {
    schema.columns().into_iter().map(Expr::Column)
}

/// An expression under the qualified name of a column.
fn as_column(expr: Expr, column: &Column) -> Expr {
    if expr.qualified_name() == (column.relation.clone(), column.name.clone()) {
        return expr;
    }
    expr.alias_qualified(column.relation.clone(), column.name.clone())
}

fn project(input: LogicalPlan, expressions: Vec<Expr>) -> Result<LogicalPlan> {
    Ok(LogicalPlan::Projection(Projection::try_new(expressions, Arc::new(input))?))
}

fn join_on(left: LogicalPlan, right: LogicalPlan, on: Option<Expr>, kind: JoinType) -> Result<LogicalPlan> {
    let (left, right) = (Arc::new(left), Arc::new(right));
    let nulls = NullEquality::NullEqualsNothing;
    Ok(LogicalPlan::Join(Join::try_new(left, right, vec![], on, kind, JoinConstraint::On, nulls, false)?))
}

/// Whether two values are the same, NULL too.
fn same(left: Expr, right: Expr, nullable: bool) -> Expr {
    binary_expr(left, if nullable { Operator::IsNotDistinctFrom } else { Operator::Eq }, right)
}
