//! Aggregates that name a key of their order twice, `first_value(x ORDER BY a, a)`: the second says nothing, and goes. DataFusion's accumulators leave it out of the order
//! but not out of the columns, so that one panics and others sort by the wrong column. Two keys may become one only as the optimizer merges projections, so
//! this is the last of its rules.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::{AggregateFunction, Sort};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// See [the module](self).
#[derive(Debug)]
pub(crate) struct RepeatedKeys;

impl OptimizerRule for RepeatedKeys {
    fn name(&self) -> &str {
        "repeated_keys"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if !matches!(plan, LogicalPlan::Aggregate(_)) {
            return Ok(Transformed::no(plan));
        }
        let names = NamePreserver::new(&plan);
        plan.map_expressions(|call| {
            let name = names.save(&call);
            Ok(call.transform_up(|part| Ok(without_repeated(part)))?.update_data(|call| name.restore(call)))
        })
    }
}

fn without_repeated(expr: Expr) -> Transformed<Expr> {
    let Expr::AggregateFunction(AggregateFunction { func, mut params }) = expr else { return Transformed::no(expr) };
    let before = params.order_by.len();
    let mut kept: Vec<Sort> = Vec::with_capacity(before);
    for key in params.order_by {
        let value = key.expr.clone().unalias_nested().data;
        if !kept.iter().any(|earlier| earlier.expr.clone().unalias_nested().data == value) {
            kept.push(key);
        }
    }
    let changed = kept.len() < before;
    params.order_by = kept;
    let call = Expr::AggregateFunction(AggregateFunction { func, params });
    if changed { Transformed::yes(call) } else { Transformed::no(call) }
}
