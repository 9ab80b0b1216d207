//! Columns of types that blocks have no form of their own for, as Arrow IPC record batches: `[checksum of what follows: u32][length of the
//! message: u32][message][body]`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow::ipc::{CompressionType, MetadataVersion, root_as_message};

use storage::checksum;

use crate::{Error, Result};

/// Encodes and decodes columns of one type.
#[derive(Debug)]
pub(super) struct Ipc {
    data_type: DataType,
    /// One column, as it is written: strings with offsets, not as views, which hold on to whole buffers.
    stored: SchemaRef,
    options: IpcWriteOptions,
}

impl Ipc {
    pub(super) fn new(data_type: &DataType) -> Result<Self> {
        let stored = Field::new("c", stored_type(data_type), true);
        let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
        Ok(Self { data_type: data_type.clone(), stored: Arc::new(Schema::new(vec![stored])), options })
    }

    /// Appends a column.
    pub(super) fn encode(&self, column: &ArrayRef, out: &mut Vec<u8>) -> Result<()> {
        let columns = vec![cast(column, self.stored.field(0).data_type())?];
        let options = RecordBatchOptions::new().with_row_count(Some(column.len()));
        let batch = RecordBatch::try_new_with_options(self.stored.clone(), columns, &options)?;
        let mut dictionaries = DictionaryTracker::new(false);
        let mut context = IpcWriteContext::default();
        let (_, block) = IpcDataGenerator::default().encode(&batch, &mut dictionaries, &self.options, &mut context)?;
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(block.ipc_message.len() as u32).to_le_bytes());
        out.extend_from_slice(&block.ipc_message);
        out.extend_from_slice(&block.arrow_data);
        let sum = checksum(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&sum.to_le_bytes());
        Ok(())
    }

    /// The column that `bytes` are.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<ArrayRef> {
        let corrupt = |what: &str| Error::Corrupt(format!("a column of a block: {what}"));
        let (sum, rest) = bytes.split_first_chunk().ok_or_else(|| corrupt("too short"))?;
        // Arrow and its decompression trust what they are given.
        if checksum(rest) != u32::from_le_bytes(*sum) {
            return Err(corrupt("its checksum is another"));
        }
        let (len, rest) = rest.split_first_chunk().ok_or_else(|| corrupt("too short"))?;
        let (message, body) =
            rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(|| corrupt("too short"))?;
        let message = root_as_message(message).map_err(|error| corrupt(&error.to_string()))?;
        let header = message.header_as_record_batch().ok_or_else(|| corrupt("no record batch"))?;
        let batch = read_record_batch(
            &Buffer::from(body),
            header,
            self.stored.clone(),
            &HashMap::new(),
            None,
            &MetadataVersion::V5,
        )?;
        Ok(cast(batch.column(0), &self.data_type)?)
    }
}

fn stored_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(field) => {
            let element = field.as_ref().clone().with_data_type(stored_type(field.data_type()));
            DataType::List(FieldRef::new(element))
        }
        other => other.clone(),
    }
}
