//! A stored relation as a query reads it: all of it, the part of an order that its conditions leave, or only the first rows of an order.
//!
//! What an order finds is got row by row, which is dearer than reading on: a range that has too many of the rows is left, and all are read.
//! The conditions are looked at again in any case, so how rows were found makes no difference to the answer.

use std::fmt;
use std::sync::Arc;

use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use dataflow::{Direction, PublishedView, RangeScan, Scan};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::{collect_columns, reassign_expr_columns};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use storage::Snapshot;

use super::orders::{Bounds, Order, Part};
use super::{external, named};
use crate::coordinator::dataflow_error;

/// A range is read by its order if it has at most one of so many rows: a row that is got by itself costs some twenty times one that is read in passing.
const ONE_OF: usize = 16;
/// A range of so few rows is read by its order in any case.
const FEW: usize = 1000;
/// So many first rows are taken from an order at most.
const MOST_FIRST: usize = 10_000;
/// Rows of a batch.
const BATCH: usize = 1024;

/// See [the module](self).
#[derive(Clone)]
pub(super) struct StoredExec {
    name: String,
    view: PublishedView,
    snapshot: Arc<dyn Snapshot>,
    /// The relation's columns.
    schema: SchemaRef,
    projection: Vec<usize>,
    /// Over the relation's columns.
    filter: Option<Arc<dyn PhysicalExpr>>,
    limit: Option<usize>,
    orders: Arc<[Order]>,
    bounds: Bounds,
    part: Option<Part>,
    /// The order in which somebody wants the rows, and how many of them.
    first: Option<(Direction, Option<usize>)>,
    properties: Arc<PlanProperties>,
}

impl StoredExec {
    /// Reads these columns of the rows for which `filter` holds, of which `bounds` is what orders can make use of.
    pub(super) fn new(
        relation: &super::provider::StoredRelation,
        projection: Option<&Vec<usize>>,
        (filter, bounds): (Option<Arc<dyn PhysicalExpr>>, Bounds),
        limit: Option<usize>,
    ) -> Result<Self> {
        let schema = relation.schema.clone();
        let projection = projection.map_or_else(|| (0..schema.fields().len()).collect(), Clone::clone);
        let projected = Arc::new(schema.project(&projection)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(projected),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self {
            name: relation.name.clone(),
            view: relation.view.clone(),
            snapshot: relation.snapshot.clone(),
            schema,
            projection,
            filter,
            limit,
            part: bounds.best(&relation.orders),
            orders: relation.orders.clone(),
            bounds,
            first: None,
            properties: Arc::new(properties),
        })
    }

    /// The first rows, of which there are wanted so many.
    fn first(&self) -> Option<(Direction, usize)> {
        self.first.and_then(|(direction, count)| Some((direction, count.filter(|count| *count <= MOST_FIRST)?)))
    }

    fn rows(&self) -> Result<Rows> {
        // Columns that the conditions need come along until they have been looked at.
        let mut needed = self.projection.clone();
        if let Some(filter) = &self.filter {
            needed.extend(collect_columns(filter).iter().map(Column::index));
        }
        needed.sort_unstable();
        needed.dedup();
        let needed_schema = Arc::new(self.schema.project(&needed)?);
        let position = |column: &usize| needed.iter().position(|needed| needed == column).unwrap_or(0);
        Ok(Rows {
            filter: match &self.filter {
                Some(filter) => Some(reassign_expr_columns(filter.clone(), &needed_schema)?),
                None => None,
            },
            projection: self.projection.iter().map(position).collect(),
            left: self.limit,
            needed,
            needed_schema,
            exec: self.clone(),
            from: From::Begin,
        })
    }
}

impl fmt::Debug for StoredExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredExec({})", self.name)
    }
}

impl DisplayAs for StoredExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> =
            self.projection.iter().map(|column| self.schema.field(*column).name().as_str()).collect();
        write!(f, "StoredExec: {}, columns=[{}]", self.name, columns.join(", "))?;
        let first = self.first();
        if let Some(part) = self.part.as_ref().filter(|part| first.is_some() || part.strength() > (0, 0)) {
            write!(f, ", index={}", part.order.name)?;
            if !part.conditions.is_empty() {
                write!(f, ", range=[{}]", part.conditions.join(", "))?;
            }
        }
        if let Some((direction, count)) = first {
            write!(f, ", first={count}{}", if direction.descending { " from the end" } else { "" })?;
        }
        if let Some(filter) = &self.filter {
            write!(f, ", filter={filter}")?;
        }
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for StoredExec {
    fn name(&self) -> &str {
        "StoredExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn fetch(&self) -> Option<usize> {
        self.limit
    }

    /// Takes note of the order; how many rows are wanted is told by [`FirstRows`].
    fn try_pushdown_sort(&self, order: &[PhysicalSortExpr]) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let column = order.first().and_then(|first| Some((first.expr.downcast_ref::<Column>()?, first.options)));
        let Some((column, options)) = column.filter(|_| self.limit.is_none()) else {
            return Ok(SortOrderPushdownResult::Unsupported);
        };
        let by = self.projection.get(column.index()).and_then(|column| self.bounds.ordered_by(&self.orders, *column));
        let strength = self.part.as_ref().map_or((0, 0), Part::strength);
        let Some(part) = by.filter(|part| part.strength() >= strength) else {
            return Ok(SortOrderPushdownResult::Unsupported);
        };
        let direction = Direction { descending: options.descending, nulls_first: options.nulls_first };
        let inner = Arc::new(Self { part: Some(part), first: Some((direction, None)), ..self.clone() });
        Ok(SortOrderPushdownResult::Inexact { inner })
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(self.rows()?))))
    }
}

/// Batches, as they are read.
struct Rows {
    exec: StoredExec,
    needed: Vec<usize>,
    needed_schema: SchemaRef,
    /// Over the needed columns.
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Positions among the needed columns.
    projection: Vec<usize>,
    left: Option<usize>,
    from: From,
}

enum From {
    Begin,
    /// Gathered already.
    Found(std::vec::IntoIter<RecordBatch>),
    Range(Box<RangeScan>),
    All(Box<Scan>),
    End,
}

impl Rows {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let batch = match &mut self.from {
                From::Begin => {
                    self.from = self.begin()?;
                    continue;
                }
                From::Found(found) => return Ok(found.next()),
                From::Range(range) => match range.next_batch(BATCH, false).map_err(failed)? {
                    Some(rows) => Some(rows.project(&self.needed)?),
                    None => None,
                },
                From::All(scan) => scan.next_batch().map_err(failed)?,
                From::End => None,
            };
            let Some(batch) = batch.filter(|_| self.left != Some(0)) else {
                self.from = From::End;
                return Ok(None);
            };
            let mut rows = self.wanted(&batch)?;
            if let Some(left) = &mut self.left {
                rows = rows.slice(0, rows.num_rows().min(*left));
                *left -= rows.num_rows();
            }
            if rows.num_rows() > 0 {
                return Ok(Some(rows));
            }
        }
    }

    fn begin(&self) -> Result<From> {
        let exec = &self.exec;
        let all = || -> Result<From> {
            Ok(From::All(Box::new(exec.view.scan(exec.snapshot.clone(), Some(&self.needed)).map_err(failed)?)))
        };
        let first = exec.first();
        let Some(part) = exec.part.as_ref().filter(|part| first.is_some() || part.strength() > (0, 0)) else {
            return all();
        };
        let count = exec.view.row_count(&*exec.snapshot).map_err(failed)?;
        let most = (count / ONE_OF).max(FEW);
        let range = |direction| exec.view.range(exec.snapshot.clone(), &part.range, direction).map_err(failed);
        if let Some((direction, wanted)) = first {
            return match self.first_rows(range(Some(direction))?, wanted, most.max(2 * wanted))? {
                Some(found) => Ok(From::Found(found.into_iter())),
                None => all(),
            };
        }
        if range(None)?.count_up_to(most + 1).map_err(failed)? > most {
            return all();
        }
        Ok(From::Range(Box::new(range(None)?)))
    }

    /// The first rows for which the conditions hold, with all that tie with the last of them; `None` if more than `most` rows would have to
    /// be looked at.
    fn first_rows(&self, mut range: RangeScan, wanted: usize, most: usize) -> Result<Option<Vec<RecordBatch>>> {
        let (mut found, mut rows, mut looked_at) = (Vec::new(), 0, 0);
        while rows < wanted {
            let Some(batch) = range.next_batch((wanted - rows).max(16), true).map_err(failed)? else { break };
            looked_at += batch.num_rows();
            let batch = self.wanted(&batch.project(&self.needed)?)?;
            rows += batch.num_rows();
            found.push(batch);
            if looked_at > most && rows < wanted {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    /// The rows of a batch of the needed columns for which the conditions hold, as they go out.
    fn wanted(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut batch = named(batch, &self.needed_schema)?;
        if let Some(filter) = &self.filter {
            let keep = filter.evaluate(&batch)?.into_array(batch.num_rows())?;
            batch = filter_record_batch(&batch, as_boolean_array(&keep)?)?;
        }
        Ok(batch.project(&self.projection)?)
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.next_batch();
        if batch.is_err() {
            self.from = From::End;
        }
        batch.transpose()
    }
}

fn failed(error: dataflow::Error) -> DataFusionError {
    external(dataflow_error(error))
}

/// Tells relations whose rows are sorted, and of which only the first are wanted, how many that are. The sort stays: it orders rows that tie.
#[derive(Debug)]
pub(super) struct FirstRows;

impl PhysicalOptimizerRule for FirstRows {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
        plan.transform_down(|node| {
            let Some((sort, fetch)) = node.downcast_ref::<SortExec>().and_then(|sort| Some((sort, sort.fetch()?)))
            else {
                return Ok(Transformed::no(node));
            };
            match told(sort.input(), fetch)? {
                Some(input) => Ok(Transformed::yes(with_input(&node, input)?)),
                None => Ok(Transformed::no(node)),
            }
        })
        .data()
    }

    fn name(&self) -> &str {
        "first_rows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The same plan over a relation that knows how many rows are wanted; only nodes that give each row once are between.
fn told(plan: &Arc<dyn ExecutionPlan>, wanted: usize) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(stored) = plan.downcast_ref::<StoredExec>() {
        let first = stored.first.map(|(direction, _)| (direction, Some(wanted)));
        return Ok(first.map(|first| Arc::new(StoredExec { first: Some(first), ..stored.clone() }) as _));
    }
    if !plan.is::<ProjectionExec>() && !plan.is::<CooperativeExec>() {
        return Ok(None);
    }
    match told(plan.children()[0], wanted)? {
        Some(input) => Ok(Some(with_input(plan, input)?)),
        None => Ok(None),
    }
}

fn with_input(plan: &Arc<dyn ExecutionPlan>, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    plan.clone().replace_children(vec![input], options)
}
