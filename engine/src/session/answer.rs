//! Batches as answers.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::{Cancel, Response, ResultColumn, Rows};
use crate::{Error, ErrorKind, Result, SqlType};

/// Rows that are there already.
pub(super) fn batch_answer(columns: Arc<[ResultColumn]>, batch: RecordBatch, tag: &str) -> Response {
    let batches = futures::stream::once(async move { Ok(batch) }).boxed();
    Response::Rows(Rows { columns, batches, tag: tag.to_owned(), live: false })
}

/// Columns of text.
pub(super) fn text_batch(names: &[&str], rows: &[Vec<String>]) -> Result<RecordBatch> {
    let fields: Vec<_> = names.iter().map(|name| SqlType::Text.field(name, true)).collect();
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let column = |i: usize| -> ArrayRef { Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| &row[i]))) };
    let columns = (0..names.len()).map(column).collect();
    RecordBatch::try_new(schema, columns).map_err(|e| Error::internal(e.to_string()))
}

/// Ends a stream with an error when the session is cancelled.
pub(super) fn cancellable(
    batches: BoxStream<'static, Result<RecordBatch>>,
    cancel: Cancel,
) -> BoxStream<'static, Result<RecordBatch>> {
    let next = |(mut batches, cancel): (BoxStream<'static, Result<RecordBatch>>, Option<Cancel>)| async move {
        let cancel = cancel?;
        tokio::select! {
            biased;
            () = cancel.cancelled() => Some((Err(cancelled()), (batches, None))),
            batch = batches.next() => {
                let batch = batch?;
                let more = batch.is_ok().then_some(cancel);
                Some((batch, (batches, more)))
            }
        }
    };
    // A cursor may be asked for more than there is, again and again.
    futures::stream::unfold((batches, Some(cancel)), next).fuse().boxed()
}

pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::QueryCancelled, "canceling statement due to user request")
}
