//! Rows on which an expression fails: by a division by zero, a cast of a text that is no number, a sum that its type can't hold.
//!
//! Such a row doesn't stop the epoch. It is left out of what comes out of the operator, and comes out aside, as an *error*: what is wrong,
//! and the row's values. Errors are changes like any others, with the row's weight. An expression is a function of its row, so the
//! retraction of the row fails as the row did, and takes the error away; the errors of a view are those of the rows that are there now.
//! (With [`OnError::Null`] the expression is NULL instead, and nothing comes out aside.)
//!
//! An expression runs on whole batches. Only where that fails are there smaller batches, down to single rows ([`crate::expression`]).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringViewArray, UInt32Array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use delta::Delta;
use planner::error::{DataError, ErrorKind};
use planner::incremental::OnError;

use crate::expression::batch_of;
use crate::{Error, Result};

/// A value is cut after so many characters: what tells which row it is stands at its beginning.
const VALUE_CHARACTERS: usize = 200;

/// What a row can be wrong about; the names are part of stored errors.
const KINDS: [(ErrorKind, &str); 35] = [
    (ErrorKind::DivisionByZero, "division by zero"),
    (ErrorKind::OutOfRange, "out of range"),
    (ErrorKind::InvalidText, "invalid text"),
    (ErrorKind::InvalidDatetime, "invalid datetime"),
    (ErrorKind::InvalidParameterValue, "invalid parameter"),
    (ErrorKind::StringTooLong, "string too long"),
    (ErrorKind::InvalidRegularExpression, "invalid regular expression"),
    (ErrorKind::InvalidSubscript, "invalid subscript"),
    (ErrorKind::InvalidEscape, "invalid escape"),
    (ErrorKind::InvalidLogarithm, "invalid logarithm"),
    (ErrorKind::InvalidPower, "invalid power"),
    (ErrorKind::InvalidEncoding, "invalid encoding"),
    (ErrorKind::LimitExceeded, "limit exceeded"),
    (ErrorKind::OutOfMemory, "out of memory"),
    (ErrorKind::DatatypeMismatch, "datatype mismatch"),
    (ErrorKind::Data(DataError::DatetimeOverflow), "datetime overflow"),
    (ErrorKind::Data(DataError::IntervalOverflow), "interval overflow"),
    (ErrorKind::Data(DataError::ZoneDisplacement), "time zone displacement"),
    (ErrorKind::Data(DataError::Substring), "substring"),
    (ErrorKind::Data(DataError::WidthBucket), "width_bucket"),
    (ErrorKind::Data(DataError::Ntile), "ntile"),
    (ErrorKind::Data(DataError::NthValue), "nth_value"),
    (ErrorKind::Data(DataError::NullValue), "null value"),
    (ErrorKind::Data(DataError::UntranslatableCharacter), "untranslatable character"),
    (ErrorKind::Data(DataError::JsonSubscript), "json subscript"),
    (ErrorKind::Data(DataError::JsonNonNumeric), "json non-numeric"),
    (ErrorKind::Data(DataError::JsonSingleton), "json singleton"),
    (ErrorKind::Data(DataError::JsonArray), "json array"),
    (ErrorKind::Data(DataError::JsonMember), "json member"),
    (ErrorKind::Data(DataError::JsonNumber), "json number"),
    (ErrorKind::Data(DataError::JsonObject), "json object"),
    (ErrorKind::Syntax, "syntax"),
    (ErrorKind::UndefinedObject, "undefined object"),
    (ErrorKind::Unsupported, "unsupported"),
    (ErrorKind::Internal, "internal"),
];

/// Columns of errors: the kind, the message, the row.
pub static ERROR_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8View, true);
    Arc::new(Schema::new(vec![text("kind"), text("message"), text("row")]))
});

/// One error of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// What sort of mistake it is.
    pub kind: ErrorKind,
    /// What is wrong.
    pub message: String,
    /// The values of the row, as `name=value, …`; empty for a constant.
    pub row: String,
}

impl RowError {
    /// The errors in a batch of [`ERROR_SCHEMA`].
    pub fn read(batch: &RecordBatch) -> Result<Vec<Self>> {
        let column = |index: usize| {
            let column =
                batch.columns().get(index).and_then(|column| column.as_any().downcast_ref::<StringViewArray>());
            column.ok_or_else(|| Error::Corrupt("an error of a view".to_owned()))
        };
        let (kinds, messages, rows) = (column(0)?, column(1)?, column(2)?);
        let error = |index: usize| Self {
            kind: KINDS
                .iter()
                .find(|(_, name)| *name == kinds.value(index))
                .map_or(ErrorKind::Internal, |(kind, _)| *kind),
            message: messages.value(index).to_owned(),
            row: rows.value(index).to_owned(),
        };
        Ok((0..batch.num_rows()).map(error).collect())
    }
}

/// The rows of a batch on which something failed, each with the first thing that did.
#[derive(Debug, Default)]
pub struct Failures(BTreeMap<u32, (ErrorKind, String)>);

impl Failures {
    /// Notes what failed on a row.
    ///
    /// # Errors
    /// With the error itself, if it is none of an expression: the store failed, say.
    pub(crate) fn add(&mut self, row: usize, error: Error) -> Result<()> {
        let error = match error {
            Error::Arrow(error) => planner::Error::from(DataFusionError::ArrowError(Box::new(error), None)),
            Error::Expression(error) => planner::Error::from(*error),
            Error::OutOfRange { .. } => planner::Error::new(ErrorKind::OutOfRange, error.to_string()),
            other => return Err(other),
        };
        self.0.entry(row as u32).or_insert((error.kind, error.message));
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, row: usize) -> bool {
        self.0.contains_key(&(row as u32))
    }

    /// Which of so many rows did not fail.
    pub(crate) fn others(&self, rows: usize) -> BooleanArray {
        BooleanArray::new(BooleanBuffer::collect_bool(rows, |row| !self.contains(row)), None)
    }

    /// Rows that failed, in order.
    fn rows(&self) -> UInt32Array {
        self.0.keys().copied().collect::<Vec<_>>().into()
    }
}

/// How an operator says what its expressions failed on.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    on_error: OnError,
    labels: Vec<String>,
}

impl Report {
    /// `labels` are what the columns of the rows are called.
    pub(crate) fn new(on_error: OnError, labels: Vec<String>) -> Self {
        Self { on_error, labels }
    }

    /// Whether rows that failed are left out, and errors come out.
    pub(crate) fn wants(&self, failures: &Failures) -> bool {
        self.on_error == OnError::Report && !failures.is_empty()
    }

    /// The errors of rows. `columns` are the values to show, as many as there are labels; `weight` says how often a row counts.
    pub(crate) fn errors(
        &self,
        columns: &[ArrayRef],
        failures: &Failures,
        weight: impl Fn(usize) -> i64,
    ) -> Result<Delta> {
        let failed = failures.rows();
        let texts = columns.iter().map(|column| {
            let column = take(column, &failed, None)?;
            planner::functions::text_of(&column).map_err(|error| Error::Broken(format!("a value has no text: {error}")))
        });
        let texts = texts.collect::<Result<Vec<_>>>()?;
        let row = |index: usize| {
            let values = self.labels.iter().zip(&texts).map(|(label, texts)| match texts.is_null(index) {
                true => format!("{label}=NULL"),
                false => format!("{label}={}", shortened(texts.value(index))),
            });
            values.collect::<Vec<_>>().join(", ")
        };
        let kinds = failures
            .0
            .values()
            .map(|(kind, _)| KINDS.iter().find(|(known, _)| known == kind).map_or("internal", |(_, name)| *name));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(kinds)),
            Arc::new(StringViewArray::from_iter_values(failures.0.values().map(|(_, message)| message.as_str()))),
            Arc::new(StringViewArray::from_iter_values((0..failed.len()).map(row))),
        ];
        let weights = Int64Array::from_iter_values(failed.values().iter().map(|row| weight(*row as usize)));
        Ok(Delta::new(batch_of(&ERROR_SCHEMA, columns, failed.len())?, Some(weights)))
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
