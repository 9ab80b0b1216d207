//! `WITH RECURSIVE` in an ad-hoc query: round by round, as PostgreSQL does. The recursive term reads the rows of the round before, however often its
//! plan refers to them (a subquery of it that was taken apart may); DataFusion's own operator takes one reference.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use dataflow::state::KeyEncoder;
use datafusion::catalog::Session;
use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, DataFusionError, Result};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::{TableProvider, TableType, provider_as_source};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, RecursiveQuery, TableScan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, reset_plan_states};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;

/// A recursive query whose recursive term reads its [`Round`].
#[derive(Clone, Debug)]
pub(super) struct Recursion {
    first: LogicalPlan,
    term: LogicalPlan,
    all: bool,
    schema: DFSchemaRef,
    round: Arc<Round>,
}

impl Recursion {
    /// The node for one of DataFusion's. Those in its recursive term must have been replaced.
    pub(super) fn of(query: RecursiveQuery) -> Result<LogicalPlan> {
        let RecursiveQuery { name, static_term, recursive_term, is_distinct, schema } = query;
        let round = Arc::new(Round { rows: Mutex::new(vec![]) });
        let term = Arc::unwrap_or_clone(recursive_term).transform_up_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = &node else { return Ok(Transformed::no(node)) };
            let source = scan.source.downcast_ref::<DefaultTableSource>();
            let table = source.and_then(|source| source.table_provider.downcast_ref::<CteWorkTable>());
            let Some(table) = table.filter(|table| table.name() == name) else { return Ok(Transformed::no(node)) };
            let rows = RowsOfRound { schema: table.schema(), round: round.clone() };
            let LogicalPlan::TableScan(scan) = node else { unreachable!("it was one above") };
            let source = provider_as_source(Arc::new(rows));
            Ok(Transformed::yes(LogicalPlan::TableScan(TableScan { source, ..scan })))
        })?;
        let node = Self { first: Arc::unwrap_or_clone(static_term), term: term.data, all: !is_distinct, schema, round };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// Its operator.
    pub(super) fn plan(&self, inputs: &[Arc<dyn ExecutionPlan>]) -> Result<RecursionExec> {
        let [first, term] = inputs else { return Err(internal("a recursive query has two terms")) };
        let schema: SchemaRef = Arc::new(self.schema.as_arrow().clone());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let (first, term) = (first.clone(), term.clone());
        let properties = Arc::new(properties);
        Ok(RecursionExec { first, term, all: self.all, schema, round: self.round.clone(), properties })
    }
}

fn internal(text: &str) -> DataFusionError {
    DataFusionError::Internal(text.to_owned())
}

impl PartialEq for Recursion {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.round, &other.round) && self.first == other.first && self.term == other.term
    }
}

impl Eq for Recursion {}

impl Hash for Recursion {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.first.hash(state);
        self.term.hash(state);
    }
}

impl PartialOrd for Recursion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for Recursion {
    fn name(&self) -> &str {
        "Recursion"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.first, &self.term]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.all { "Recursion: union all" } else { "Recursion: union" })
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let [first, term] = <[_; 2]>::try_from(inputs).map_err(|_| internal("a recursive query has two terms"))?;
        Ok(Self { first, term, ..self.clone() })
    }
}

/// The rows that the recursive term reads.
#[derive(Debug)]
struct Round {
    rows: Mutex<Vec<RecordBatch>>,
}

/// See [`Round`].
#[derive(Debug)]
struct RowsOfRound {
    /// As the term knows them: any column may be NULL.
    schema: SchemaRef,
    round: Arc<Round>,
}

#[async_trait]
impl TableProvider for RowsOfRound {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema.clone(),
        };
        let (round, projection) = (self.round.clone(), projection.cloned());
        let partition = Arc::new(Partition { round, projection, schema: schema.clone() });
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![partition], None, None, false, limit)?))
    }
}

#[derive(Debug)]
struct Partition {
    round: Arc<Round>,
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
}

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.round.rows.lock().clone();
        let (projection, schema) = (self.projection.clone(), self.schema.clone());
        let rows = rows.into_iter().map(move |batch| {
            let batch = match &projection {
                Some(columns) => batch.project(columns)?,
                None => batch,
            };
            with_schema(&batch, &schema)
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter(rows)))
    }
}

/// A batch under another schema; columns of other types are cast.
fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        match column.data_type() == field.data_type() {
            true => Ok(column.clone()),
            false => cast_with_options(column, field.data_type(), &options),
        }
    });
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// Runs the recursive term again and again.
#[derive(Clone, Debug)]
pub(super) struct RecursionExec {
    first: Arc<dyn ExecutionPlan>,
    term: Arc<dyn ExecutionPlan>,
    all: bool,
    schema: SchemaRef,
    round: Arc<Round>,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for RecursionExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.all { "RecursionExec: union all" } else { "RecursionExec: union" })
    }
}

impl ExecutionPlan for RecursionExec {
    fn name(&self) -> &str {
        "RecursionExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.first, &self.term]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition, Distribution::SinglePartition])
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false, false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false, false]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let [first, term] = <[_; 2]>::try_from(children).map_err(|_| internal("a recursive query has two terms"))?;
        Ok(Arc::new(Self { first, term, ..self.as_ref().clone() }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let columns: Vec<usize> = (0..self.schema.fields().len()).collect();
        let known = match self.all {
            true => None,
            false => Some((KeyEncoder::of_columns(&self.schema, &columns).map_err(failed)?, HashSet::new())),
        };
        let running = Running {
            rows: self.first.execute(partition, context.clone())?,
            is_first: true,
            made: Vec::new(),
            read: 0,
            known,
            memory: MemoryConsumer::new("WITH RECURSIVE").register(context.memory_pool()),
            query: self.clone(),
            context,
        };
        let rows = futures::stream::try_unfold(running, Running::next);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows.boxed())))
    }
}

fn failed(error: dataflow::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn bytes_of(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::get_array_memory_size).sum()
}

struct Running {
    query: RecursionExec,
    context: Arc<TaskContext>,
    /// What the round at hand gives.
    rows: SendableRecordBatchStream,
    is_first: bool,
    /// What it has given: what the next one reads.
    made: Vec<RecordBatch>,
    /// Bytes of what it reads.
    read: usize,
    /// The rows that have been there, where each is there once.
    known: Option<(KeyEncoder, HashSet<Vec<u8>>)>,
    memory: MemoryReservation,
}

impl Running {
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        loop {
            match self.rows.try_next().await? {
                Some(batch) => {
                    let batch = self.new_rows(with_schema(&batch, &self.query.schema)?)?;
                    if batch.num_rows() > 0 {
                        self.memory.try_grow(batch.get_array_memory_size())?;
                        self.made.push(batch.clone());
                        return Ok(Some((batch, self)));
                    }
                }
                // The recursive term sees the first round even if that is empty.
                None if self.is_first || !self.made.is_empty() => {
                    self.is_first = false;
                    let made = std::mem::take(&mut self.made);
                    self.memory.shrink(std::mem::replace(&mut self.read, bytes_of(&made)));
                    *self.query.round.rows.lock() = made;
                    let term = reset_plan_states(self.query.term.clone())?;
                    self.rows = term.execute(0, self.context.clone())?;
                    tokio::task::consume_budget().await;
                }
                None => return Ok(None),
            }
        }
    }

    /// A batch's rows that have not been there.
    fn new_rows(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let Some((encoder, known)) = &mut self.known else { return Ok(batch) };
        let keys = encoder.encode(batch.columns(), batch.num_rows()).map_err(failed)?;
        let mut bytes = 0;
        let is_new = |row: usize| {
            let is_new = known.insert(keys.key(row).to_vec());
            bytes += if is_new { keys.key(row).len() + size_of::<Vec<u8>>() } else { 0 };
            Some(is_new)
        };
        let new: BooleanArray = (0..batch.num_rows()).map(is_new).collect();
        self.memory.try_grow(bytes)?;
        Ok(filter_record_batch(&batch, &new)?)
    }
}
