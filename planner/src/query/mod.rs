//! From a query's syntax to DataFusion's logical plan, with PostgreSQL's names and types.

pub(crate) mod datafusion_error;
pub mod source;
pub mod window;

use arrow::datatypes::SchemaRef;
use catalog::{ObjectId, QualifiedName, SqlType};
use datafusion::logical_expr::{Expr, LogicalPlan};

pub use source::{RelationRef, RelationSource};
pub use window::WindowTvf;

/// A planned query.
#[derive(Clone, Debug)]
pub struct QueryPlan {
    /// Analyzed (names and types are resolved, casts are in), not optimized. Its columns are those of `schema` by position; their names differ
    /// where the visible ones repeat.
    pub logical: LogicalPlan,
    /// Visible names and types, fields as [`SqlType::field`] makes them.
    pub schema: SchemaRef,
    /// Types of `$1`, `$2`, ….
    pub parameters: Vec<SqlType>,
    /// The relations that are read, views expanded.
    pub reads: Vec<ObjectId>,
    /// The system relations that are read.
    pub system_reads: Vec<QualifiedName>,
    /// Set when a get by key or index answers it.
    pub point_lookup: Option<PointLookup>,
}

/// A query that a get by primary key, or a range of an index, answers.
#[derive(Clone, Debug)]
pub struct PointLookup {
    /// The stored relation: a table or a materialized view.
    pub relation: ObjectId,
    /// Which order is used.
    pub path: LookupPath,
    /// One expression per column of the key or of the index's leading columns, without columns: literals and parameters, cast to the column's type.
    /// A NULL among them finds nothing.
    pub key: Vec<Expr>,
    /// A further condition, over the relation's columns (named as in the catalog, without qualifier).
    pub residual: Option<Expr>,
    /// The answer's columns, over the relation's columns.
    pub projection: Vec<Expr>,
    /// For each answer column that is a plain column: its position in the relation. `Some` only if all are: no expression need be evaluated.
    pub columns: Option<Vec<usize>>,
    /// LIMIT, if it is a constant.
    pub limit: Option<usize>,
}

/// How a point lookup finds its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupPath {
    /// By the whole primary key: at most one row.
    Primary,
    /// By leading columns of an index.
    Index(ObjectId),
}
