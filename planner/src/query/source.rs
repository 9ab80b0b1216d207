//! A relation as DataFusion's logical plan scans it. The engine swaps it for a provider over its snapshot; `lower` reads
//! which relation it is.

use arrow::datatypes::SchemaRef;
use catalog::{ObjectId, QualifiedName};
use datafusion::logical_expr::{LogicalPlan, TableSource, TableType};

/// Which relation is scanned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RelationRef {
    /// An object of the catalog: a source, a declared stream, a table or a materialized view.
    Object(ObjectId),
    /// A relation of the engine's own.
    System(QualifiedName),
}

/// The table source of every scan in a plan: `TableScan::source.downcast_ref::<RelationSource>()`.
#[derive(Clone, Debug)]
pub struct RelationSource {
    /// Which relation.
    pub relation: RelationRef,
    /// Its columns, fields as [`catalog::SqlType::field`] makes them.
    pub schema: SchemaRef,
}

impl TableSource for RelationSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// A view, or a stream that is a query. Its plan takes the place of the scan once the query over it has been typed: the view's own plan is
/// typed already.
pub(crate) struct ViewSource {
    pub(crate) plan: LogicalPlan,
    pub(crate) schema: SchemaRef,
}

impl TableSource for ViewSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }
}
