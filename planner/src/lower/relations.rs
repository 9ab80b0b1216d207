//! What lowering needs to know about the relations that a query reads.

use arrow::datatypes::SchemaRef;
use catalog::ObjectId;

use crate::Result;
use crate::incremental::TimeBound;

/// A stored relation or a source, as an input of operators.
#[derive(Clone, Debug)]
pub struct RelationInfo {
    /// All its columns.
    pub schema: SchemaRef,
    /// Positions of the columns that identify a row; empty: rows may repeat.
    pub key: Vec<usize>,
    /// Rows are only ever added.
    pub append_only: bool,
    /// Columns by which time goes on.
    pub times: Vec<(usize, TimeBound)>,
}

/// Looks relations up.
pub trait Relations {
    /// A source, table or materialized view.
    fn relation(&self, id: ObjectId) -> Result<RelationInfo>;
}
