//! Conditions on their way down a plan: DataFusion's rule, but for a condition that names no column of an aggregate's groups, and none below
//! DISTINCT ON: a condition on the first row of each key is none on the others, and its columns have other names there.
//!
//! An aggregate without groups has a row of nothing, so a condition above it says something else than below it. DataFusion pushes down what only names
//! columns of groups, and so what names none at all: `ON false`, `ON NULL`, or a function of the session.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule};

use crate::repeated_keys::RepeatedKeys;

/// See [the module](self).
#[derive(Debug, Default)]
pub(crate) struct PushDown(PushDownFilter);

impl OptimizerRule for PushDown {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if let LogicalPlan::Filter(filter) = &plan
            && matches!(&*filter.input, LogicalPlan::Distinct(Distinct::On(_)))
        {
            return Ok(Transformed::no(plan));
        }
        if let LogicalPlan::Filter(filter) = &plan
            && let LogicalPlan::Aggregate(aggregate) = &*filter.input
            && has_a_row_of_nothing(&aggregate.group_expr)
            && split_conjunction(&filter.predicate).iter().any(|condition| condition.column_refs().is_empty())
        {
            return Ok(Transformed::no(plan));
        }
        self.0.rewrite(plan, config)
    }
}

fn has_a_row_of_nothing(groups: &[Expr]) -> bool {
    groups.is_empty() || groups.iter().any(|group| matches!(group, Expr::GroupingSet(_)))
}

/// DataFusion's rules for an ad-hoc query, with [this one](self) in the place of its own, and [one more](crate::repeated_keys).
pub fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let ours = |rule: Arc<dyn OptimizerRule + Send + Sync>| -> Arc<dyn OptimizerRule + Send + Sync> {
        if rule.name() == PushDownFilter::new().name() { Arc::new(PushDown::default()) } else { rule }
    };
    Optimizer::new().rules.into_iter().map(ours).chain([Arc::new(RepeatedKeys) as _]).collect()
}
