//! Scans: an [`Input`] of the graph, and a map where not all columns are read.

use std::collections::BTreeSet;

use datafusion::common::DFSchema;
use datafusion::logical_expr::TableScan;

use super::expression::column;
use super::lowered::{ColumnInfo, Lowered};
use super::map::project;
use super::temporal::restrict_by;
use super::{Lowering, shared};
use crate::incremental::{Input, Node};
use crate::query::{RelationRef, RelationSource};
use crate::{Error, Result};

impl Lowering<'_> {
    pub(super) fn scan(&mut self, scan: &TableScan) -> Result<Lowered> {
        if let Some(rows) = self.work_table(scan)? {
            return Ok(rows);
        }
        let Some(source) = scan.source.downcast_ref::<RelationSource>() else {
            return Err(Error::internal(format!("the scan of {} is of no relation", scan.table_name)));
        };
        let relation = match &source.relation {
            RelationRef::Object(id) => *id,
            RelationRef::System(name) => {
                return Err(Error::unsupported(format!("the system view {name} in a materialized view")));
            }
        };
        if scan.fetch.is_some() {
            return Err(Error::unsupported("LIMIT in a materialized view"));
        }

        let info = self.relations.relation(relation)?;
        let column_info = |(index, field): (usize, &arrow::datatypes::FieldRef)| ColumnInfo {
            class: index,
            not_null: !field.is_nullable(),
            time: info.times.iter().find(|(position, _)| *position == index).map(|(_, bound)| bound.clone()),
        };
        let mut lowered = Lowered {
            columns: info.schema.fields().iter().enumerate().map(column_info).collect(),
            keys: Vec::new(),
            node: shared(Node::Input(Input { relation, schema: info.schema.clone(), append_only: info.append_only })),
        };
        if !info.key.is_empty() {
            lowered.set_keys(vec![info.key.iter().copied().collect::<BTreeSet<_>>()]);
        }

        if !scan.filters.is_empty() {
            let schema = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &source.schema)?;
            for filter in &scan.filters {
                lowered = restrict_by(lowered, filter, &schema)?;
            }
        }
        match &scan.projection {
            Some(columns) => project(lowered, columns.iter().map(|index| column(*index)).collect()),
            None => Ok(lowered),
        }
    }
}
