//! A batch of rows with weights.

use std::fmt;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::kernels::numeric::neg_wrapping;
use arrow::compute::{concat, concat_batches, filter, filter_record_batch, take, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::Result;

/// How many copies of a row a delta adds; negative: takes away.
pub type Weight = i64;

/// A change to a relation: rows and how often each is added (positive) or taken away (negative).
///
/// Without weights every row counts +1, which is what sources produce, so append-only paths never touch a
/// weight column. Equal rows may stand in a delta more than once; [`crate::consolidate()`] adds them up.
#[derive(Clone, Debug)]
pub struct Delta {
    batch: RecordBatch,
    weights: Option<Int64Array>,
}

impl Delta {
    /// Rows that are all added once.
    pub fn inserts(batch: RecordBatch) -> Self {
        Self { batch, weights: None }
    }

    /// Rows with their weights; `None` means all +1.
    ///
    /// # Panics
    /// If there are not as many weights as rows, or a weight is null.
    pub fn new(batch: RecordBatch, weights: Option<Int64Array>) -> Self {
        if let Some(weights) = &weights {
            assert_eq!(weights.len(), batch.num_rows(), "one weight per row");
            assert_eq!(weights.null_count(), 0, "a weight is never null");
        }
        Self { batch, weights }
    }

    /// No rows of that schema.
    pub fn empty(schema: SchemaRef) -> Self {
        Self::inserts(RecordBatch::new_empty(schema))
    }

    /// The rows without their weights.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// The weights; `None` means all +1.
    pub fn weights(&self) -> Option<&Int64Array> {
        self.weights.as_ref()
    }

    /// The weight of row `row`.
    pub fn weight(&self, row: usize) -> Weight {
        self.weights.as_ref().map_or(1, |w| w.value(row))
    }

    /// The schema of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.batch.schema()
    }

    /// One column of the rows.
    pub fn column(&self, index: usize) -> &ArrayRef {
        self.batch.column(index)
    }

    /// Rows in this batch, whatever their weights.
    pub fn num_rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.num_rows() == 0
    }

    /// The same weights on other columns; the batch must have as many rows.
    #[must_use]
    pub fn with_batch(&self, batch: RecordBatch) -> Self {
        Self::new(batch, self.weights.clone())
    }

    /// The opposite change.
    pub fn negate(&self) -> Result<Self> {
        let weights = match &self.weights {
            None => Int64Array::from_value(-1, self.num_rows()),
            Some(weights) => {
                let negated = neg_wrapping(weights)?;
                Int64Array::from(negated.to_data())
            }
        };
        Ok(Self::new(self.batch.clone(), Some(weights)))
    }

    /// The rows for which `keep` is true (null counts as false).
    pub fn filter(&self, keep: &BooleanArray) -> Result<Self> {
        let batch = filter_record_batch(&self.batch, keep)?;
        let weights = match &self.weights {
            None => None,
            Some(weights) => Some(Int64Array::from(filter(weights, keep)?.to_data())),
        };
        Ok(Self::new(batch, weights))
    }

    /// The rows at these positions, in that order.
    pub fn take(&self, indices: &UInt32Array) -> Result<Self> {
        let batch = if self.batch.num_columns() == 0 {
            let options = RecordBatchOptions::new().with_row_count(Some(indices.len()));
            RecordBatch::try_new_with_options(self.schema(), vec![], &options)?
        } else {
            take_record_batch(&self.batch, indices)?
        };
        let weights = match &self.weights {
            None => None,
            Some(weights) => Some(Int64Array::from(take(weights, indices, None)?.to_data())),
        };
        Ok(Self::new(batch, weights))
    }

    /// Rows `offset .. offset + length`, without a copy.
    #[must_use]
    pub fn slice(&self, offset: usize, length: usize) -> Self {
        Self::new(self.batch.slice(offset, length), self.weights.as_ref().map(|w| w.slice(offset, length)))
    }

    /// Only these columns.
    pub fn project(&self, columns: &[usize]) -> Result<Self> {
        Ok(Self::new(self.batch.project(columns)?, self.weights.clone()))
    }

    /// All rows of `deltas` in order, in one batch.
    pub fn concat(schema: &SchemaRef, deltas: &[Delta]) -> Result<Self> {
        if let [only] = deltas {
            return Ok(only.clone());
        }
        let batch = concat_batches(schema, deltas.iter().map(|d| &d.batch))?;
        if deltas.iter().all(|d| d.weights.is_none()) {
            return Ok(Self::inserts(batch));
        }
        let weights: Vec<ArrayRef> = deltas
            .iter()
            .map(|d| match &d.weights {
                Some(weights) => std::sync::Arc::new(weights.clone()) as ArrayRef,
                None => std::sync::Arc::new(Int64Array::from_value(1, d.num_rows())),
            })
            .collect();
        let weights = concat(&weights.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
        Ok(Self::new(batch, Some(Int64Array::from(weights.to_data()))))
    }

    /// Memory held by the rows and weights, in bytes. Shared buffers count in full.
    pub fn memory_size(&self) -> usize {
        self.batch.get_array_memory_size() + self.weights.as_ref().map_or(0, |w| w.get_array_memory_size())
    }
}

/// One row per line: the weight with its sign, then the values, separated by ` | `. Meant for tests and logs.
impl fmt::Display for Delta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = FormatOptions::new().with_null("NULL");
        let columns: Result<Vec<_>, _> =
            self.batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options)).collect();
        let columns = columns.map_err(|_| fmt::Error)?;
        for row in 0..self.num_rows() {
            write!(f, "{:+} ", self.weight(row))?;
            for (i, column) in columns.iter().enumerate() {
                let separator = if i == 0 { "" } else { " | " };
                write!(f, "{separator}{}", column.value(row))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
