//! A source read as it is now, from its start: what an ad-hoc query on an unstored relation answers.
//!
//! Up to the offsets of the published epoch where the source is running (so that it agrees with the views), else up to its end.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use catalog::Object;
use connectors::{Positions, RunningSource, SourceBatch, batch_channel, open_source};
use crossbeam_channel::Receiver;
use datafusion::catalog::Session;
use datafusion::common::Result as DataFusionResult;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};

use super::external as wrap;
use crate::inputs::{external, spec};
use crate::published::Published;
use crate::{Error, Result};

/// See the module.
pub(super) struct SourceRelation {
    object: Arc<Object>,
    until: Option<Positions>,
    schema: SchemaRef,
}

impl SourceRelation {
    pub(super) fn new(object: Arc<Object>, published: &Published) -> Self {
        let until = published.positions.get(&object.id).cloned();
        let schema = object.schema();
        Self { object, until, schema }
    }
}

impl fmt::Debug for SourceRelation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceRelation({})", self.object.name)
    }
}

#[async_trait]
impl TableProvider for SourceRelation {
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
        let partition = Arc::new(SourcePartition {
            object: self.object.clone(),
            until: self.until.clone(),
            schema: self.schema.clone(),
        });
        let exec = StreamingTableExec::try_new(self.schema.clone(), vec![partition], projection, None, false, limit)?;
        Ok(Arc::new(exec))
    }
}

struct SourcePartition {
    object: Arc<Object>,
    until: Option<Positions>,
    schema: SchemaRef,
}

impl fmt::Debug for SourcePartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourcePartition({})", self.object.name)
    }
}

impl PartitionStream for SourcePartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (object, until) = (self.object.clone(), self.until.clone());
        let rows = futures::stream::unfold(Reading::Begin(object, until), |reading| async {
            // Connectors block; their waiting must not hold up the other sessions.
            match tokio::task::spawn_blocking(move || reading.next()).await {
                Ok(Ok(Some((batch, next)))) => Some((Ok(batch), next)),
                Ok(Ok(None)) => None,
                Ok(Err(error)) => Some((Err(wrap(error)), Reading::End)),
                Err(panic) => Some((Err(wrap(Error::internal(panic.to_string()))), Reading::End)),
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), rows))
    }
}

/// A read under way.
enum Reading {
    Begin(Arc<Object>, Option<Positions>),
    Running(Box<dyn RunningSource>, Receiver<SourceBatch>, VecDeque<RecordBatch>),
    End,
}

impl Reading {
    fn next(self) -> Result<Option<(RecordBatch, Self)>> {
        let (source, batches, mut waiting) = match self {
            Self::End => return Ok(None),
            Self::Begin(object, until) => {
                let (spec, connector) = spec(&object)?;
                let source = open_source(&spec).map_err(|e| external(&spec.name, &e))?;
                let until = match until {
                    Some(until) => until,
                    None => source.end_positions().map_err(|e| external(&spec.name, &e))?,
                };
                let (sender, batches) = batch_channel(Arc::new(|| ()));
                let running = source.run(&connector.start, Some(&until), sender);
                (running.map_err(|e| external(&spec.name, &e))?, batches, VecDeque::new())
            }
            Self::Running(source, batches, waiting) => (source, batches, waiting),
        };
        while waiting.is_empty() {
            match batches.recv() {
                Ok(batch) if batch.delta.is_empty() => {}
                Ok(batch) => waiting.push_back(batch.delta.batch().clone()),
                Err(_) => return Ok(None),
            }
        }
        let batch = waiting.pop_front().expect("the loop above ends with one");
        Ok(Some((batch, Self::Running(source, batches, waiting))))
    }
}
