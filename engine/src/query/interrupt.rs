//! Pauses in plans that would compute without one.
//!
//! DataFusion's leaves let other tasks in after some batches. A join makes many batches out of two, and one whose condition never holds
//! makes none: the outputs of joins pause as leaves do, and the condition of a nested loop or a hash join fails once nobody wants its result.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::{DataType, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, SortMergeJoinExec,
};

use super::external;
use crate::session::cancelled;

/// Set when it is dropped: what computes between two pauses looks at it.
#[derive(Debug, Default)]
pub(super) struct Unwanted(Arc<AtomicBool>);

impl Drop for Unwanted {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The same plan with pauses, in which it can be ended.
pub(super) fn interruptible(plan: Arc<dyn ExecutionPlan>, unwanted: &Unwanted) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        if let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() {
            let filter = join.filter().map(|filter| watched(filter, unwanted));
            let join = NestedLoopJoinExecBuilder::from(join).with_filter(filter).build()?;
            return Ok(Transformed::yes(pausing(Arc::new(join))));
        }
        if let Some(join) = node.downcast_ref::<HashJoinExec>()
            && let Some(filter) = join.filter()
        {
            let join = join.builder().with_filter(Some(watched(filter, unwanted))).build()?;
            return Ok(Transformed::yes(pausing(Arc::new(join))));
        }
        if node.is::<CrossJoinExec>() || node.is::<HashJoinExec>() || node.is::<SortMergeJoinExec>() {
            return Ok(Transformed::yes(pausing(node)));
        }
        Ok(Transformed::no(node))
    })
    .data()
}

fn pausing(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    Arc::new(CooperativeExec::new(plan))
}

fn watched(filter: &JoinFilter, unwanted: &Unwanted) -> JoinFilter {
    let expression = Watched { expression: filter.expression().clone(), unwanted: unwanted.0.clone() };
    JoinFilter::new(Arc::new(expression), filter.column_indices().to_vec(), filter.schema().clone())
}

/// An expression that fails when nobody wants its value any more.
#[derive(Debug)]
struct Watched {
    expression: Arc<dyn PhysicalExpr>,
    unwanted: Arc<AtomicBool>,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.expression.eq(&other.expression)
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.expression.hash(state);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)
    }
}

impl PhysicalExpr for Watched {
    fn data_type(&self, input_schema: &Schema) -> Result<DataType> {
        self.expression.data_type(input_schema)
    }

    fn nullable(&self, input_schema: &Schema) -> Result<bool> {
        self.expression.nullable(input_schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.unwanted.load(Ordering::Relaxed) {
            return Err(external(cancelled()));
        }
        self.expression.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.expression]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let [expression] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("one expression is watched".to_owned()))?;
        Ok(Arc::new(Self { expression, unwanted: self.unwanted.clone() }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expression.fmt_sql(f)
    }
}
