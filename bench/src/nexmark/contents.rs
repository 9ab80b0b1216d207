//! What a view holds, as one number or as a file: so that runs can be compared with each other and with other systems.

use std::path::Path;

use arrow::compute::cast;
use arrow::csv::WriterBuilder;
use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use engine::Session;
use futures::TryStreamExt;

use crate::sql::rows;
use crate::{Error, Result};

/// A number that doesn't depend on the order of a view's rows: the sum of the hashes of all of them.
pub(super) async fn checksum(session: &mut Session, view: &str) -> Result<u64> {
    let mut sum = 0_u64;
    let mut hashes = Vec::new();
    let mut batches = rows(session, &format!("SELECT * FROM {view}")).await?;
    while let Some(batch) = batches.try_next().await.map_err(Error::engine(view))? {
        delta::hash_rows(batch.columns(), &mut hashes);
        sum = hashes.iter().fold(sum, |sum, hash| sum.wrapping_add(*hash));
    }
    Ok(sum)
}

/// Writes a view's rows to `DIR/VIEW.csv`, with a header.
pub(super) async fn export(session: &mut Session, view: &str, directory: &Path) -> Result<()> {
    let path = directory.join(format!("{view}.csv"));
    let name = path.display().to_string();
    let file = std::fs::File::create(&path).map_err(Error::io(name.as_str()))?;
    let mut writer = WriterBuilder::new().with_header(true).build(file);
    let mut batches = rows(session, &format!("SELECT * FROM {view}")).await?;
    while let Some(batch) = batches.try_next().await.map_err(Error::engine(view))? {
        let written = as_text(&batch).and_then(|batch| writer.write(&batch));
        written.map_err(|error| Error::Usage(format!("{name}: {error}")))?;
    }
    Ok(())
}

/// Views of strings as strings: the writer of CSV takes nothing else.
fn as_text(batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let plain = |data_type: &DataType| match data_type {
        DataType::Utf8View => DataType::Utf8,
        other => other.clone(),
    };
    let columns = batch.columns().iter().map(|column| cast(column, &plain(column.data_type())));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let names = batch.schema();
    let names = names.fields().iter().map(|field| field.name().as_str());
    RecordBatch::try_from_iter_with_nullable(names.zip(columns).map(|(name, column)| (name, column, true)))
}
