//! Joins with the current row, with DataFusion's own nodes: in an ad-hoc query, now is when it runs.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};

use super::{AsOfJoin, Meeting, join_type};

/// Puts ordinary joins in the place of those with the current row, in subqueries too.
pub fn expanded(plan: LogicalPlan) -> Result<LogicalPlan> {
    let expanded = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        match extension.node.as_any().downcast_ref::<AsOfJoin>() {
            Some(join) if join.meeting == Meeting::Now => Ok(Transformed::yes(
                LogicalPlanBuilder::from(join.left.clone())
                    .join_on(join.right.clone(), join_type(join.outer), join.conditions.clone())?
                    .build()?,
            )),
            _ => Ok(Transformed::no(node)),
        }
    })?;
    Ok(expanded.data)
}
