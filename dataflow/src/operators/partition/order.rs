//! Rows of partitions, and their order.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, partition, take};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::scalar::ScalarValue;
use planner::incremental::OrderKey;

use crate::expression::{batch_of, physical, plain_column};
use crate::state::RowCodec;
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
    /// Of each key: which column it is; `None`: a constant.
    plain: Vec<Option<usize>>,
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
        let plain = order.iter().map(|key| plain_column(&key.expression)).collect();
        let mut fields = Vec::with_capacity(order.len());
        for key in order {
            let expr = physical(schema, &key.expression)?;
            let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
            fields.push(SortField::new_with_options(expr.data_type(schema)?, options));
            keys.push(PhysicalSortExpr { expr, options });
        }
        let columns: Vec<_> = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Self { keys, plain, converter: converter(fields)?, ties: converter(columns)? })
    }

    /// Room for the keys of rows.
    pub(super) fn no_keys(&self, rows: usize) -> Rows {
        self.converter.empty_rows(rows, 9 * rows * self.keys.len())
    }

    /// Adds the keys of so many rows, of which only the columns are asked for that the keys are.
    pub(super) fn add_keys(
        &self,
        to: &mut Rows,
        rows: usize,
        column: impl Fn(usize) -> Result<ArrayRef>,
    ) -> Result<()> {
        let nothing = batch_of(&Arc::new(Schema::empty()), vec![], rows)?;
        let key = |(key, plain): (&PhysicalSortExpr, &Option<usize>)| match plain {
            Some(index) => Ok(normal_floats(&column(*index)?)),
            None => evaluate(&key.expr, &nothing),
        };
        let columns: Vec<ArrayRef> = self.keys.iter().zip(&self.plain).map(key).collect::<Result<_>>()?;
        if !columns.is_empty() {
            self.converter.append(to, &columns)?;
        }
        Ok(())
    }

    /// Adds what orders rows whose keys are equal.
    pub(super) fn add_ties(&self, to: &mut Option<Rows>, rows: &RecordBatch) -> Result<()> {
        let to = to.get_or_insert_with(|| self.ties.empty_rows(rows.num_rows(), 0));
        if rows.num_columns() > 0 {
            self.ties.append(to, rows.columns())?;
        }
        Ok(())
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
        // Rows without columns are all alike.
        if partitions.batch.num_columns() > 0 {
            self.sort_peers(partitions, &sorted, &mut positions)?;
        }
        sorted.positions = positions;
        Ok(sorted)
    }

    /// Sorts rows that tie by their columns; others needn't be encoded for that.
    fn sort_peers(&self, partitions: &Partitions, sorted: &Sorted, positions: &mut [u32]) -> Result<()> {
        let peers = |a: &u32, b: &u32| sorted.are_peers(*a, *b);
        let (mut tied, mut runs) = (Vec::new(), Vec::new());
        for range in &partitions.ranges {
            let mut start = range.start;
            for run in positions[range.clone()].chunk_by(peers) {
                if run.len() > 1 {
                    tied.extend_from_slice(run);
                    runs.push(start..start + run.len());
                }
                start += run.len();
            }
        }
        if tied.is_empty() {
            return Ok(());
        }
        let rows = self.ties.convert_columns(take_rows(&partitions.batch, &UInt32Array::from(tied))?.columns())?;
        let mut first = 0;
        for run in runs {
            // Equal rows too stand in one order for all calls.
            let mut order: Vec<usize> = (first..first + run.len()).collect();
            let at = |row: &usize| positions[run.start + row - first];
            order.sort_unstable_by(|a, b| rows.row(*a).cmp(&rows.row(*b)).then(at(a).cmp(&at(b))));
            let in_order: Vec<u32> = order.iter().map(at).collect();
            first += run.len();
            positions[run].copy_from_slice(&in_order);
        }
        Ok(())
    }

    /// The ranges of sorted rows that are peers.
    pub(super) fn peers(&self, sorted: &RecordBatch) -> Result<Vec<Range<usize>>> {
        let keys = self.keys.iter().map(|key| evaluate(&key.expr, sorted)).collect::<Result<Vec<_>>>()?;
        match keys.is_empty() || sorted.num_rows() == 0 {
            true => Ok(std::iter::once(0..sorted.num_rows()).collect()),
            false => Ok(partition(&keys)?.ranges()),
        }
    }

    /// How many groups of peers there are among encoded rows.
    pub(super) fn groups(&self, codec: &RowCodec, rows: &[&[u8]]) -> Result<usize> {
        let mut keys = self.no_keys(rows.len());
        self.add_keys(&mut keys, rows.len(), |column| codec.decode_column(column, rows))?;
        let mut groups: Vec<_> = keys.iter().collect();
        groups.sort_unstable();
        groups.dedup();
        Ok(groups.len())
    }

    /// The key that lies so far before or behind the only key of an order, or a little farther.
    pub(super) fn shift(&self, key: &[u8], by: &ScalarValue, direction: Direction) -> Result<Shifted> {
        let columns = self.converter.convert_rows([self.converter.parser().parse(key)])?;
        let ([of], [column]) = (self.keys.as_slice(), columns.as_slice()) else {
            return Err(Error::Broken("a distance in an order of several keys".to_owned()));
        };
        let value = ScalarValue::try_from_array(column, 0)?;
        if value.is_null() {
            return Ok(Shifted::Null);
        }
        let by = widened(by, &value);
        let shifted = match (direction == Direction::Behind) != of.options.descending {
            true => value.add_checked(&by),
            false => value.sub_checked(&by),
        };
        let shifted = shifted.and_then(|shifted| shifted.cast_to(column.data_type()));
        // Beyond what the type holds there is no key.
        match shifted {
            Ok(shifted) if is_finite(&shifted) => {
                let column = normal_floats(&shifted.to_array()?);
                Ok(Shifted::To(self.converter.convert_columns(&[column])?.row(0).data().to_vec()))
            }
            _ => Ok(Shifted::Beyond),
        }
    }

    /// What partitions are cut by into blocks: the keys, or all columns where there are no keys.
    pub(super) fn fences(&self, rows: &RecordBatch) -> Result<Rows> {
        match self.keys.is_empty() {
            true => Ok(self.ties.convert_columns(rows.columns())?),
            false => Ok(self.converter.convert_columns(&self.columns(rows)?)?),
        }
    }
}

/// A direction in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Before,
    Behind,
}

/// Where a distance from a key leads.
pub(super) enum Shifted {
    To(Vec<u8>),
    /// Beyond all keys.
    Beyond,
    /// From NULL to NULL.
    Null,
}

/// A distance that is no less whether it is added to one key or subtracted from the other: months have different lengths, and what is computed of
/// floats is rounded.
fn widened(by: &ScalarValue, key: &ScalarValue) -> ScalarValue {
    match (by, key) {
        (ScalarValue::IntervalMonthDayNano(Some(by)), key) => {
            let mut by = *by;
            if by.months != 0 {
                by.days = by.days.saturating_add(4);
            }
            if by.nanoseconds != 0 && matches!(key, ScalarValue::Date32(_) | ScalarValue::Date64(_)) {
                by.days = by.days.saturating_add(2);
            }
            ScalarValue::IntervalMonthDayNano(Some(by))
        }
        (ScalarValue::Float64(Some(by)), ScalarValue::Float64(Some(key))) => {
            ScalarValue::Float64(Some(by + (by.abs() + key.abs()) * 1e-12))
        }
        (ScalarValue::Float32(Some(by)), ScalarValue::Float32(Some(key))) => {
            ScalarValue::Float32(Some(by + (by.abs() + key.abs()) * 1e-5))
        }
        (by, _) => by.clone(),
    }
}

fn is_finite(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float64(Some(value)) => value.is_finite(),
        ScalarValue::Float32(Some(value)) => value.is_finite(),
        value => !value.is_null(),
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
