//! ASOF joins in an ad-hoc query: the right side is brought into memory and put in order, the left side passes by it batch by batch.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, filter, filter_record_batch, is_not_null, take};
use arrow::datatypes::SchemaRef;
use dataflow::NearestRows;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    PlanProperties,
};
use datafusion::physical_planner::PhysicalPlanner;
use futures::{StreamExt, TryStreamExt};
use planner::incremental::Nearest;
use planner::query::as_of::{AsOfJoin, ByTime};

/// See [the module](self).
#[derive(Clone, Debug)]
pub(super) struct AsOfExec {
    left: Arc<dyn ExecutionPlan>,
    right: Arc<dyn ExecutionPlan>,
    /// The keys, then the time.
    left_keys: Vec<Arc<dyn PhysicalExpr>>,
    right_keys: Vec<Arc<dyn PhysicalExpr>>,
    nearest: Nearest,
    outer: bool,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl AsOfExec {
    /// The plan of a join by the nearest time.
    pub(super) fn plan(
        join: &AsOfJoin,
        schema: SchemaRef,
        inputs: &[Arc<dyn ExecutionPlan>],
        planner: &dyn PhysicalPlanner,
        state: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Self> {
        let [left, right] = inputs else { return Err(DataFusionError::Internal("a join has two inputs".to_owned())) };
        let ByTime { on, times, nearest } =
            join.by_time().map_err(|error| DataFusionError::External(Box::new(crate::Error::from(error))))?;
        let (left_keys, right_keys): (Vec<_>, Vec<_>) = on.into_iter().chain([times]).unzip();
        let physical = |keys: &[_], plan: &datafusion::logical_expr::LogicalPlan| {
            keys.iter()
                .map(|key| planner.create_physical_expr(key, plan.schema(), state, context))
                .collect::<Result<Vec<_>>>()
        };
        let (left_keys, right_keys) = (physical(&left_keys, &join.left)?, physical(&right_keys, &join.right)?);
        let (left, right) = (left.clone(), right.clone());
        let properties = properties(&left, &schema);
        Ok(Self { left, right, left_keys, right_keys, nearest, outer: join.outer, schema, properties })
    }

    /// Left rows, each beside the one that it meets.
    fn met(&self, left: &RecordBatch, right: &RecordBatch, rows: &NearestRows) -> Result<RecordBatch> {
        let nearest = rows.find(&columns(&self.left_keys, left)?, left.num_rows()).map_err(failed)?;
        let (left, nearest): (RecordBatch, ArrayRef) = match self.outer {
            true => (left.clone(), Arc::new(nearest)),
            false => {
                let met = is_not_null(&nearest)?;
                (filter_record_batch(left, &met)?, filter(&nearest, &met)?)
            }
        };
        let others = right.columns().iter().map(|column| Ok(take(column, &nearest, None)?));
        let all = left.columns().iter().map(|column| Ok(column.clone())).chain(others).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(left.num_rows()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), all, &options)?)
    }
}

fn properties(left: &Arc<dyn ExecutionPlan>, schema: &SchemaRef) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(schema.clone()),
        left.output_partitioning().clone(),
        EmissionType::Incremental,
        Boundedness::Bounded,
    ))
}

fn failed(error: dataflow::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn columns(keys: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    keys.iter().map(|key| key.evaluate(batch)?.into_array(batch.num_rows())).collect()
}

/// All rows of a stream as one batch.
async fn all(mut stream: SendableRecordBatchStream, memory: &MemoryReservation) -> Result<RecordBatch> {
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        memory.try_grow(2 * batch.get_array_memory_size())?;
        batches.push(batch);
    }
    Ok(concat_batches(&stream.schema(), &batches)?)
}

impl DisplayAs for AsOfExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.outer { "left" } else { "inner" };
        write!(f, "AsOfExec: {kind}, nearest {}", self.nearest.operator())
    }
}

impl ExecutionPlan for AsOfExec {
    fn name(&self) -> &str {
        "AsOfExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.left, &self.right]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition, Distribution::SinglePartition])
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let [left, right] =
            <[_; 2]>::try_from(children).map_err(|_| DataFusionError::Internal("a join has two inputs".to_owned()))?;
        let properties = properties(&left, &self.schema);
        Ok(Arc::new(Self { left, right, properties, ..self.as_ref().clone() }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let memory = MemoryConsumer::new("ASOF JOIN").register(context.memory_pool());
        let left = self.left.execute(partition, context.clone())?;
        let right = self.right.execute(partition, context)?;
        let (join, schema) = (self.clone(), self.schema.clone());
        let rows = async move {
            let right = all(right, &memory).await?;
            let keys = columns(&join.right_keys, &right)?;
            let rows = NearestRows::new(join.nearest, &keys, right.columns(), right.num_rows()).map_err(failed)?;
            memory.try_grow(rows.bytes())?;
            Ok::<_, DataFusionError>(left.map(move |batch| {
                let _held = &memory;
                join.met(&batch?, &right, &rows)
            }))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(rows).try_flatten())))
    }
}
