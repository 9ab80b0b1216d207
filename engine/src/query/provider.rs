//! A stored relation of a published epoch as DataFusion scans it.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use catalog::{ObjectId, ObjectKind};
use dataflow::PublishedView;
use datafusion::catalog::Session;
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use planner::query::RelationRef;
use storage::Snapshot;

use super::{external, named};
use crate::coordinator::dataflow_error;
use crate::published::Published;
use crate::{Error, ErrorKind, Result};

/// A provider for a relation as of a published epoch.
pub(super) fn published_relation(relation: &RelationRef, published: &Arc<Published>) -> Result<Arc<dyn TableProvider>> {
    let RelationRef::Object(id) = relation else {
        return Err(Error::internal("system relations are provided by the session"));
    };
    let object = published.catalog.get(*id);
    let object = object.ok_or_else(|| Error::new(ErrorKind::UndefinedTable, "a relation was dropped meanwhile"))?;
    if let Some(view) = published.relations.get(id) {
        let (view, snapshot) = (view.clone(), published.snapshot.clone());
        return Ok(Arc::new(StoredRelation { view, snapshot, schema: object.schema() }));
    }
    match &object.kind {
        ObjectKind::Source(_) => Ok(Arc::new(super::source::SourceRelation::new(object.clone(), published))),
        _ => Err(not_ready(*id, published)),
    }
}

/// A view that is still being built.
pub(crate) fn not_ready(id: ObjectId, published: &Published) -> Error {
    let name = published.catalog.get(id).map_or_else(String::new, |object| object.name.to_string());
    match published.hydrating.get(&id).and_then(|progress| progress.error.clone()) {
        Some(why) => Error::new(ErrorKind::NotReady, format!("\"{name}\" could not be built")).with_detail(why),
        None => Error::new(ErrorKind::NotReady, format!("\"{name}\" is still being built"))
            .with_hint("wait, or SET hydration_wait = on so that queries wait; mr_catalog.views shows the progress"),
    }
}

/// Rows of the store under the overlay of what is not yet in it.
struct StoredRelation {
    view: PublishedView,
    snapshot: Arc<dyn Snapshot>,
    /// The columns as the catalog names them; the operators call theirs as they like.
    schema: SchemaRef,
}

impl fmt::Debug for StoredRelation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredRelation")
    }
}

#[async_trait]
impl TableProvider for StoredRelation {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(columns) => Arc::new(self.schema().project(columns)?),
            None => self.schema(),
        };
        let partition = Arc::new(StoredPartition {
            view: self.view.clone(),
            snapshot: self.snapshot.clone(),
            projection: projection.cloned(),
            schema: schema.clone(),
        });
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![partition], None, None, false, limit)?))
    }
}

struct StoredPartition {
    view: PublishedView,
    snapshot: Arc<dyn Snapshot>,
    projection: Option<Vec<usize>>,
    schema: SchemaRef,
}

impl fmt::Debug for StoredPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredPartition")
    }
}

impl PartitionStream for StoredPartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = self.schema.clone();
        let batches = match self.view.scan(self.snapshot.clone(), self.projection.as_deref()) {
            Ok(batches) => batches,
            Err(error) => {
                let failed = futures::stream::once(async { Err(external(dataflow_error(error))) });
                return Box::pin(RecordBatchStreamAdapter::new(schema, failed));
            }
        };
        let shape = schema.clone();
        let rows = batches.map(move |batch| {
            let batch = batch.map_err(|e| external(dataflow_error(e)))?;
            Ok(named(&batch, &shape)?)
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(rows)))
    }
}
