//! What DataFusion doesn't plan by itself. TUMBLE, HOP, CUMULATE and SESSION in an ad-hoc query: the same assignment of rows to windows that views use.
//! INTERSECT ALL and EXCEPT ALL: DataFusion's own nodes in their place.

use std::fmt;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use dataflow::{assign_sessions, assign_windows};
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    Partitioning, PlanProperties,
};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use futures::StreamExt;
use planner::query::as_of::AsOfJoin;
use planner::query::set_operation::SetOperation;
use planner::query::{WindowTvf, Windows};

use super::as_of::AsOfExec;
use super::recursion::Recursion;

/// DataFusion's planner, which knows windows too.
#[derive(Debug)]
pub(super) struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, state: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.clone().transform_up_with_subqueries(|node| match &node {
            LogicalPlan::Extension(extension) => match extension.node.as_any().downcast_ref::<SetOperation>() {
                Some(operation) => Ok(Transformed::yes(operation.numbered()?)),
                None => Ok(Transformed::no(node)),
            },
            LogicalPlan::RecursiveQuery(query) => Ok(Transformed::yes(Recursion::of(query.clone())?)),
            _ => Ok(Transformed::no(node)),
        })?;
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(WindowPlanner)]);
        planner.create_physical_plan(&plan.data, state).await
    }
}

struct WindowPlanner;

#[async_trait]
impl ExtensionPlanner for WindowPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        state: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let schema: SchemaRef = Arc::new(node.schema().as_arrow().clone());
        if let Some(join) = node.as_any().downcast_ref::<AsOfJoin>() {
            return Ok(Some(Arc::new(AsOfExec::plan(join, schema, inputs, planner, state, context)?)));
        }
        if let Some(recursion) = node.as_any().downcast_ref::<Recursion>() {
            return Ok(Some(Arc::new(recursion.plan(inputs)?)));
        }
        let Some(window) = node.as_any().downcast_ref::<WindowTvf>() else { return Ok(None) };
        let [input] = inputs else {
            return Err(DataFusionError::Internal("a window function has one input".to_owned()));
        };
        Ok(Some(Arc::new(WindowExec::new(input.clone(), window, schema)?)))
    }
}

/// Assigns rows to windows, batch by batch.
#[derive(Debug)]
struct WindowExec {
    input: Arc<dyn ExecutionPlan>,
    time: usize,
    windows: Windows,
    keys: Vec<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl WindowExec {
    fn new(input: Arc<dyn ExecutionPlan>, window: &WindowTvf, schema: SchemaRef) -> Result<Self> {
        let (time, keys) = (window.time_index()?, window.key_indexes()?);
        Ok(Self::over(input, time, window.windows.clone(), keys, schema))
    }

    fn over(input: Arc<dyn ExecutionPlan>, time: usize, windows: Windows, keys: Vec<usize>, schema: SchemaRef) -> Self {
        let partitioning = match windows {
            Windows::Fixed(_) => input.output_partitioning().clone(),
            Windows::Session { .. } => Partitioning::UnknownPartitioning(1),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            partitioning,
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, time, windows, keys, schema, properties: Arc::new(properties) }
    }
}

impl DisplayAs for WindowExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WindowExec: {:?}", self.windows)
    }
}

impl ExecutionPlan for WindowExec {
    fn name(&self) -> &str {
        "WindowExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![match self.windows {
            Windows::Fixed(_) => Distribution::UnspecifiedDistribution,
            Windows::Session { .. } => Distribution::SinglePartition,
        }])
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("a window function has one input".to_owned()))?;
        Ok(Arc::new(Self::over(input, self.time, self.windows.clone(), self.keys.clone(), self.schema.clone())))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (time, schema) = (self.time, self.schema.clone());
        let failed = |error: dataflow::Error| DataFusionError::External(Box::new(error));
        let (gap_us, keys) = match &self.windows {
            Windows::Fixed(kind) => {
                let kind = *kind;
                let rows = self.input.execute(partition, context)?;
                let rows = rows.map(move |batch| assign_windows(&batch?, time, kind, &schema).map_err(failed));
                return Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows)));
            }
            Windows::Session { gap_us, .. } => (*gap_us, self.keys.clone()),
        };
        // Any row may be the first of a session, or join two: all must be there.
        let memory = MemoryConsumer::new("SESSION").register(context.memory_pool());
        let mut input = self.input.execute(partition, context)?;
        let rows = async move {
            let mut batches = Vec::new();
            while let Some(batch) = input.next().await {
                let batch = batch?;
                memory.try_grow(2 * batch.get_array_memory_size())?;
                batches.push(batch);
            }
            let all = concat_batches(&input.schema(), &batches)?;
            assign_sessions(&all, time, gap_us, &keys, &schema).map_err(failed)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::once(rows))))
    }
}
