//! Rows that need no input.

use std::collections::BTreeSet;

use datafusion::logical_expr::{EmptyRelation, Values};

use super::expression::numbered_schema;
use super::lowered::{ColumnInfo, Lowered};
use super::map::positional_all;
use super::{Lowering, shared};
use crate::Result;
use crate::incremental::{Constant, Node, OnError};

impl Lowering<'_> {
    pub(super) fn values(&mut self, values: &Values) -> Result<Lowered> {
        let types: Vec<_> = values.schema.fields().iter().map(|field| field.data_type()).collect();
        let rows = values.values.iter().map(|row| positional_all(row, &values.schema)).collect::<Result<Vec<_>>>()?;
        Ok(constant(Constant { rows, on_error: OnError::default(), schema: numbered_schema(types) }))
    }

    /// No row, or (a SELECT without FROM) one row without columns.
    pub(super) fn empty_relation(&mut self, empty: &EmptyRelation) -> Result<Lowered> {
        let types: Vec<_> = empty.schema.fields().iter().map(|field| field.data_type()).collect();
        let rows = if empty.produce_one_row { vec![vec![]] } else { vec![] };
        Ok(constant(Constant { rows, on_error: OnError::default(), schema: numbered_schema(types) }))
    }
}

fn constant(node: Constant) -> Lowered {
    Lowered {
        columns: (0..node.schema.fields().len()).map(ColumnInfo::unknown).collect(),
        keys: if node.rows.len() <= 1 { vec![BTreeSet::new()] } else { Vec::new() },
        node: shared(Node::Constant(node)),
    }
}
