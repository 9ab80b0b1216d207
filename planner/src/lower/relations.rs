//! What lowering needs to know about the relations that a query reads.

use arrow::datatypes::SchemaRef;
use catalog::{Catalog, Growth, ObjectId, ObjectKind, TimeBound, TimeKind};

use crate::{Error, Result};

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
    /// Why there are ever more rows, of a view.
    pub growth: Option<Growth>,
}

/// Looks relations up.
pub trait Relations {
    /// A source, table or materialized view.
    fn relation(&self, id: ObjectId) -> Result<RelationInfo>;
}

impl Relations for Catalog {
    fn relation(&self, id: ObjectId) -> Result<RelationInfo> {
        let object = self.get(id).ok_or_else(|| Error::internal(format!("no object has the number {}", id.0)))?;
        let (key, append_only, times) = match &object.kind {
            ObjectKind::Source(source) => {
                let bound = TimeBound { kind: TimeKind::Event, sources: vec![id], late: source.late };
                let times = source.watermark.iter().map(|watermark| (watermark.column, bound.clone())).collect();
                (Vec::new(), true, times)
            }
            ObjectKind::Table(table) => (table.primary_key.clone(), false, Vec::new()),
            ObjectKind::MaterializedView(view) => (view.key.clone(), view.append_only, view.times.clone()),
            _ => return Err(Error::internal(format!("\"{}\" can't be an operator's input", object.name))),
        };
        let growth = match &object.kind {
            ObjectKind::MaterializedView(view) => view.growth.clone(),
            _ => None,
        };
        Ok(RelationInfo { schema: object.schema(), key, append_only, times, growth })
    }
}
