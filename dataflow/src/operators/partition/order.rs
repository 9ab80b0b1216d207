//! Rows of partitions, and their order.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, take};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use planner::incremental::OrderKey;

use crate::expression::{batch_of, physical};
use crate::state::keys::normal_floats;
use crate::{Error, Result};

/// The rows of several partitions, one partition behind the other, each row as often as it is there.
pub(super) struct Partitions {
    pub(super) batch: RecordBatch,
    /// The rows of each.
    pub(super) ranges: Vec<Range<usize>>,
}

impl Partitions {
    /// Some of the partitions.
    pub(super) fn some(&self, which: Range<usize>) -> Self {
        let ranges = &self.ranges[which];
        let (start, end) = (ranges.first().map_or(0, |range| range.start), ranges.last().map_or(0, |range| range.end));
        let shifted = |range: &Range<usize>| range.start - start..range.end - start;
        Self { batch: self.batch.slice(start, end - start), ranges: ranges.iter().map(shifted).collect() }
    }

    /// The same rows in another order, which keeps partitions together.
    pub(super) fn arrange(&self, positions: &UInt32Array) -> Result<RecordBatch> {
        take_rows(&self.batch, positions)
    }
}

/// Rows of a batch.
pub(super) fn take_rows(batch: &RecordBatch, positions: &UInt32Array) -> Result<RecordBatch> {
    let columns =
        batch.columns().iter().map(|column| Ok(take(column, positions, None)?)).collect::<Result<Vec<_>>>()?;
    batch_of(&batch.schema(), columns, positions.len())
}

/// An order of rows. Rows that are equal in its keys stand in the order of their columns, so that it depends on nothing but the rows.
pub(super) struct Order {
    pub(super) keys: Vec<PhysicalSortExpr>,
    converter: RowConverter,
    /// Of whole rows.
    ties: RowConverter,
}

/// The place of each row, partition by partition.
pub(super) struct Sorted {
    /// Positions of rows.
    pub(super) positions: Vec<u32>,
    /// By position in the batch: the keys' bytes. `None`: there are no keys.
    keys: Option<Rows>,
}

impl Sorted {
    /// Whether the rows at two positions are equal in the order's keys.
    pub(super) fn are_peers(&self, a: u32, b: u32) -> bool {
        self.keys.as_ref().is_none_or(|keys| keys.row(a as usize) == keys.row(b as usize))
    }
}

impl Order {
    /// An order of rows of a [positional](crate::expression::positional) schema.
    pub(super) fn new(schema: &SchemaRef, order: &[OrderKey]) -> Result<Self> {
        let mut keys = Vec::with_capacity(order.len());
        let mut fields = Vec::with_capacity(order.len());
        for key in order {
            let expr = physical(schema, &key.expression)?;
            let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
            fields.push(SortField::new_with_options(expr.data_type(schema)?, options));
            keys.push(PhysicalSortExpr { expr, options });
        }
        let columns: Vec<_> = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Self { keys, converter: converter(fields)?, ties: converter(columns)? })
    }

    /// The order's keys of rows.
    pub(super) fn columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let key = |key: &PhysicalSortExpr| Ok(normal_floats(&evaluate(&key.expr, batch)?));
        self.keys.iter().map(key).collect()
    }

    /// Sorts the rows of each partition.
    pub(super) fn sort(&self, partitions: &Partitions) -> Result<Sorted> {
        let rows = u32::try_from(partitions.batch.num_rows());
        let rows = rows.map_err(|_| Error::Unsupported("a partition of more than 2^32 rows".to_owned()))?;
        let mut positions: Vec<u32> = (0..rows).collect();
        let keys = match self.keys.is_empty() {
            true => None,
            false => Some(self.converter.convert_columns(&self.columns(&partitions.batch)?)?),
        };
        let mut sorted = Sorted { positions: vec![], keys };
        if let Some(keys) = &sorted.keys {
            for range in &partitions.ranges {
                positions[range.clone()].sort_unstable_by(|a, b| keys.row(*a as usize).cmp(&keys.row(*b as usize)));
            }
        }
        let peers = |a: &u32, b: &u32| sorted.are_peers(*a, *b);
        // Rows without columns are all alike.
        let has_columns = partitions.batch.num_columns() > 0;
        let has_peers =
            |range: &Range<usize>| positions[range.clone()].windows(2).any(|pair| peers(&pair[0], &pair[1]));
        if has_columns && partitions.ranges.iter().any(has_peers) {
            let rows = self.ties.convert_columns(partitions.batch.columns())?;
            for range in &partitions.ranges {
                for peers in positions[range.clone()].chunk_by_mut(peers) {
                    // Equal rows too stand in one order for all calls.
                    peers.sort_unstable_by(|a, b| rows.row(*a as usize).cmp(&rows.row(*b as usize)).then(a.cmp(b)));
                }
            }
        }
        sorted.positions = positions;
        Ok(sorted)
    }
}

fn converter(fields: Vec<SortField>) -> Result<RowConverter> {
    if !RowConverter::supports_fields(&fields) {
        return Err(Error::Unsupported("an order of a column without one".to_owned()));
    }
    Ok(RowConverter::new(fields)?)
}

/// The values of an expression, one per row.
pub(super) fn evaluate(expression: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef> {
    Ok(expression.evaluate(batch)?.into_array(batch.num_rows())?)
}
