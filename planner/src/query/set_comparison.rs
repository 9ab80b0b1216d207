//! `x op ANY (SELECT …)` and `x op ALL (SELECT …)`, decided by the least or the greatest value of the subquery and by how many there are.
//!
//! No rows: ANY is false and ALL is true. Else it is as the extreme value says, unless that leaves it open and a NULL among the values might have
//! decided otherwise. DataFusion's own rule looks into the subquery with the outer column, and finds the wrong column where both read one table.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::functions_aggregate::expr_fn::{count, max, min};
use datafusion::logical_expr::expr::{BinaryExpr, SetComparison, SetQuantifier};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, lit, not, when};

use super::operator::binary;
use crate::Error;
use crate::functions::OwnFunctions;

/// Whether there is one in a plan.
pub(super) fn is_in(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            found |= expr.exists(|expr| Ok(matches!(expr, Expr::SetComparison(_))))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found)
}

/// The comparison without a quantifier; `schema` is what its left side sees.
pub(super) fn by_extremes(comparison: SetComparison, schema: &DFSchema, own: &OwnFunctions) -> Result<Expr> {
    let SetComparison { expr, subquery, op, quantifier } = comparison;
    // Some value differs if not all are equal.
    if (op, &quantifier) == (Operator::NotEq, &SetQuantifier::Any) {
        let all = SetComparison { expr, subquery, op: Operator::Eq, quantifier: SetQuantifier::All };
        return Ok(not(by_extremes(all, schema, own)?));
    }
    let column = Expr::Column(Column::from(subquery.subquery.schema().qualified_field(0)));
    let (least, greatest) = (min(column.clone()), max(column.clone()));
    let decides: Vec<Expr> = match (op, &quantifier) {
        (Operator::Gt | Operator::GtEq, SetQuantifier::Any) | (Operator::Lt | Operator::LtEq, SetQuantifier::All) => {
            vec![least]
        }
        (Operator::Gt | Operator::GtEq, SetQuantifier::All) | (Operator::Lt | Operator::LtEq, SetQuantifier::Any) => {
            vec![greatest]
        }
        (Operator::Eq, SetQuantifier::All) => vec![least, greatest],
        _ => return Err(Error::unsupported(format!("{op} {quantifier} with a subquery")).into()),
    };
    let mut holds: Option<Expr> = None;
    for extreme in decides {
        let (left, right) = (expr.as_ref().clone(), aggregated(&subquery, extreme)?);
        let compared = match binary(op, left.clone(), right.clone(), schema, own)? {
            Some(compared) => compared,
            None => Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))),
        };
        holds = Some(match holds {
            Some(before) => before.and(compared),
            None => compared,
        });
    }
    let holds = holds.ok_or_else(|| Error::internal("an extreme value decides"))?;

    let rows = aggregated(&subquery, count(lit(1_i64)))?;
    let values = aggregated(&subquery, count(column))?;
    let any = quantifier == SetQuantifier::Any;
    let decided = if any { holds.clone() } else { not(holds.clone()) };
    when(rows.clone().eq(lit(0_i64)), lit(!any))
        .when(decided, lit(any))
        .when(values.lt(rows), Expr::Literal(ScalarValue::Boolean(None), None))
        .otherwise(holds)
}

/// An aggregate over the rows of a subquery.
fn aggregated(subquery: &Subquery, call: Expr) -> Result<Expr> {
    let rows = subquery.subquery.as_ref().clone();
    let plan = LogicalPlanBuilder::from(rows).aggregate(Vec::<Expr>::new(), [call])?.build()?;
    // Under a name of its own: the outer query may have the same aggregate.
    let value = Expr::Column(Column::from(plan.schema().qualified_field(0))).alias("compared");
    let plan = LogicalPlanBuilder::from(plan).project([value])?.build()?;
    let outer_ref_columns = plan.all_out_ref_exprs();
    Ok(Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: subquery.spans.clone() }))
}
