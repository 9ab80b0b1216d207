//! A stored relation of a published epoch as DataFusion scans it.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use catalog::{ObjectId, ObjectKind};
use dataflow::PublishedView;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result as DataFusionResult};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use planner::query::RelationRef;
use storage::Snapshot;

use super::orders::{Bounds, Order, orders};
use super::stored::StoredExec;
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
        return Ok(Arc::new(StoredRelation {
            name: object.name.name.clone(),
            view: view.clone(),
            snapshot: published.snapshot.clone(),
            schema: object.schema(),
            orders: orders(object, &published.catalog, view).into(),
        }));
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
pub(super) struct StoredRelation {
    pub(super) name: String,
    pub(super) view: PublishedView,
    pub(super) snapshot: Arc<dyn Snapshot>,
    /// The columns as the catalog names them; the operators call theirs as they like.
    pub(super) schema: SchemaRef,
    pub(super) orders: Arc<[Order]>,
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

    /// Where one of them bounds an order, all conditions over the relation's rows are taken, none otherwise.
    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        let bounds = Bounds::new(filters.iter().copied(), &self.schema);
        let is_bounded = bounds.best(&self.orders).is_some();
        let support = |filter: &&Expr| match is_bounded && is_of_rows(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let bounds = Bounds::new(filters, &self.schema);
        let filter = match conjunction(filters.iter().cloned()) {
            Some(filter) => {
                let schema = DFSchema::try_from(self.schema.as_ref().clone())?;
                Some(state.create_physical_expr(filter, &schema)?)
            }
            None => None,
        };
        Ok(Arc::new(StoredExec::new(self, projection, (filter, bounds), limit)?))
    }
}

/// Whether a condition reads nothing but the row.
fn is_of_rows(condition: &Expr) -> bool {
    let reads_more = condition.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
        ))
    });
    matches!(reads_more, Ok(false))
}
