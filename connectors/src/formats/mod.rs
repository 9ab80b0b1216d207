//! Bytes into rows and back, without I/O. A [`Decoder`] is fed records and gives batches; it is reused from batch to batch.
//!
//! Reading order: this file (what every format shares), `column` (rows under construction), `text` (a value's text form),
//! `datetime`, `decimal`, `interval`, then [`json`] and [`csv`].

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use bytes::Bytes;
use catalog::object::{Generated, IncludeKind};
use catalog::{Column as Declared, SqlType};
use delta::Delta;

use crate::error::{Error, Result};
use crate::options::{DecodeOptions, Format};
use crate::source::{DeadLetter, PartitionId, UpsertKey};

pub(crate) mod column;
pub mod csv;
pub(crate) mod datetime;
pub(crate) mod decimal;
pub(crate) mod interval;
pub mod json;
#[cfg(test)]
pub(crate) mod show;
pub(crate) mod text;

use column::{Column, Values};
use csv::CsvReader;
use json::read::JsonReader;
use text::Reason;

/// What happens to a record that can't become a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// It is kept among the source's dead letters.
    #[default]
    DeadLetter,
    /// It is counted and dropped.
    Skip,
    /// A value that its column can't hold becomes NULL; where that is impossible, a dead letter.
    Null,
    /// The source stops.
    Fail,
}

/// What is known of a record besides its value.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordMeta<'a> {
    /// Where it stood.
    pub partition: PartitionId,
    /// Where it stood.
    pub offset: i64,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its timestamp in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Its headers, if the decoder [wants](Decoder::wants_headers) them.
    pub headers: &'a [(String, Option<Vec<u8>>)],
}

/// What a decoder made of the records that it was fed.
#[derive(Debug)]
pub struct Decoded {
    /// The rows; with weights only if a record deleted a key.
    pub delta: Delta,
    /// Records that became no row and are kept.
    pub dead_letters: Vec<DeadLetter>,
    /// Records that became no row and were dropped.
    pub skipped: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// A column that is being filled.
pub(crate) struct Slot {
    pub(crate) name: String,
    pub(crate) nullable: bool,
    pub(crate) column: Column,
    pub(crate) include: Option<IncludeKind>,
}

/// Why a record became no row.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is not of the format at all.
    Record(String),
    /// One column can't hold what it says.
    Column { column: usize, reason: Reason },
}

enum Reader {
    Json(JsonReader),
    Csv(CsvReader),
}

/// Turns records into rows of the declared columns.
pub struct Decoder {
    schema: SchemaRef,
    slots: Vec<Slot>,
    reader: Reader,
    /// Reads a tombstone's key; set for upsert tables.
    key_reader: Option<JsonReader>,
    key_columns: Vec<usize>,
    includes: bool,
    on_error: OnError,
    rows: usize,
    /// Rows that delete their key.
    deletes: Vec<u32>,
    dead_letters: Vec<DeadLetter>,
    skipped: u64,
    bytes: u64,
}

impl Decoder {
    /// A decoder for these columns.
    pub fn new(columns: &[Declared], upsert: Option<&UpsertKey>, options: &DecodeOptions) -> Result<Self> {
        let slots: Vec<Slot> = columns.iter().map(slot).collect::<Result<_>>()?;
        let targets: Vec<usize> = (0..slots.len()).filter(|index| slots[*index].include.is_none()).collect();
        let fields: Vec<_> =
            columns.iter().map(|column| column.sql_type.field(&column.name, column.nullable)).collect();
        let key_columns = upsert.map(|key| key.columns.clone()).unwrap_or_default();
        if upsert.is_some() && (key_columns.is_empty() || key_columns.iter().any(|column| !targets.contains(column))) {
            return Err(Error::Unsupported(
                "an upsert topic needs a primary key whose columns come from the record's value".to_owned(),
            ));
        }
        let reader = match options.format {
            Format::Json => Reader::Json(JsonReader::new(&slots, targets)),
            Format::Csv(csv) => Reader::Csv(CsvReader::new(csv.delimiter, targets)),
        };
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            key_reader: upsert.map(|key| JsonReader::new(&slots, key.columns.clone())),
            key_columns,
            includes: slots.iter().any(|slot| slot.include.is_some()),
            slots,
            reader,
            on_error: options.on_error,
            rows: 0,
            deletes: Vec::new(),
            dead_letters: Vec::new(),
            skipped: 0,
            bytes: 0,
        })
    }

    /// For CSV: the line that names the columns. Names that no column has are read over; a column without a name stays null.
    pub fn header(&mut self, line: &[u8]) -> Result<()> {
        match &mut self.reader {
            Reader::Csv(reader) => reader.header(line, &self.slots),
            Reader::Json(_) => Ok(()),
        }
    }

    /// The schema of its batches.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether a column needs [`RecordMeta::headers`].
    pub fn wants_headers(&self) -> bool {
        self.slots.iter().any(|slot| slot.include == Some(IncludeKind::Headers))
    }

    /// Rows since the last batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of keys and values since the last batch.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Dead letters since the last batch.
    pub fn dead_letters(&self) -> usize {
        self.dead_letters.len()
    }

    /// Takes a record. An error means that the source must stop: `on_error = 'fail'`; its text says why.
    #[inline]
    pub fn push(&mut self, value: Option<&[u8]>, meta: &RecordMeta<'_>) -> std::result::Result<(), String> {
        self.bytes += (value.map_or(0, <[u8]>::len) + meta.key.map_or(0, <[u8]>::len)) as u64;
        let row = self.rows;
        let null_on_error = self.on_error == OnError::Null;
        let read = match value {
            Some(value) => match &mut self.reader {
                Reader::Json(reader) => reader.read(value, &mut self.slots, row, null_on_error),
                Reader::Csv(reader) => reader.read(value, &mut self.slots, row, null_on_error),
            },
            None => self.read_tombstone(meta),
        };
        let read = match read {
            Ok(()) if self.includes => self.push_includes(meta),
            read => read,
        };
        match read {
            Ok(()) => {
                self.rows += 1;
                Ok(())
            }
            Err(fault) => self.refuse(&fault, value, meta),
        }
    }

    /// The rows and everything else since the last batch.
    pub fn finish(&mut self) -> Result<Decoded> {
        let arrays = self.slots.iter_mut().map(|slot| slot.column.finish()).collect::<Result<Vec<_>>>()?;
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(self.rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?;
        let weights = (!self.deletes.is_empty()).then(|| {
            let mut weights = vec![1; self.rows];
            for row in self.deletes.drain(..) {
                weights[row as usize] = -1;
            }
            Int64Array::from(weights)
        });
        self.rows = 0;
        Ok(Decoded {
            delta: Delta::new(batch, weights),
            dead_letters: std::mem::take(&mut self.dead_letters),
            skipped: std::mem::take(&mut self.skipped),
            bytes: std::mem::take(&mut self.bytes),
        })
    }

    /// A record without a value: it deletes its key's row of an upsert table, and means nothing elsewhere.
    fn read_tombstone(&mut self, meta: &RecordMeta<'_>) -> Result<(), Box<Fault>> {
        let Some(reader) = &mut self.key_reader else {
            return Err(Box::new(Fault::Record("the record has no value".to_owned())));
        };
        let Some(key) = meta.key else {
            return Err(Box::new(Fault::Record("the record has neither a key nor a value".to_owned())));
        };
        let object = key.trim_ascii_start().first() == Some(&b'{');
        if object {
            reader.read(key, &mut self.slots, self.rows, false)?;
        } else if self.key_columns.len() == 1 {
            reader.read_bare(key, &mut self.slots)?;
        } else {
            let found = text::quoted(key);
            let names: Vec<&str> = self.key_columns.iter().map(|column| self.slots[*column].name.as_str()).collect();
            return Err(Box::new(Fault::Record(format!("expected a key with {}, found {found}", names.join(", ")))));
        }
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if slot.include.is_none() && !self.key_columns.contains(&index) {
                if slot.nullable { slot.column.push_null() } else { slot.column.push_zero() }
            }
        }
        self.deletes.push(self.rows as u32);
        Ok(())
    }

    /// The metadata columns of the row.
    fn push_includes(&mut self, meta: &RecordMeta<'_>) -> Result<(), Box<Fault>> {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(kind) = slot.include else { continue };
            let mut present = true;
            match (kind, &mut slot.column.values) {
                (IncludeKind::Key, Values::Text { views, .. }) => match meta.key {
                    Some(key) if std::str::from_utf8(key).is_ok() => views.push(key),
                    Some(_) => {
                        let reason = slot.column.expected("a key that is not UTF-8");
                        return Err(Box::new(Fault::Column { column: index, reason }));
                    }
                    None => present = false,
                },
                (IncludeKind::Key, Values::Binary(views)) => match meta.key {
                    Some(key) => views.push(key),
                    None => present = false,
                },
                (IncludeKind::Partition, Values::Int32(values)) => values.push(meta.partition),
                (IncludeKind::Partition, Values::Int64(values)) => values.push(i64::from(meta.partition)),
                (IncludeKind::Offset, Values::Int64(values)) => values.push(meta.offset),
                (IncludeKind::Timestamp, Values::Timestamp { values, .. }) => {
                    match meta.timestamp_ms.and_then(|ms| ms.checked_mul(1000)) {
                        Some(us) => values.push(us),
                        None => present = false,
                    }
                }
                (IncludeKind::Headers, Values::Text { views, .. }) => views.push(&headers_document(meta.headers)),
                _ => unreachable!("the types were checked when the decoder was made"),
            }
            if !present {
                if !slot.nullable {
                    let reason = "is missing, but the column is NOT NULL".into();
                    return Err(Box::new(Fault::Column { column: index, reason }));
                }
                slot.column.push_null();
            }
        }
        Ok(())
    }

    /// Takes the half-read row back and does what `on_error` says.
    #[cold]
    fn refuse(
        &mut self,
        fault: &Fault,
        value: Option<&[u8]>,
        meta: &RecordMeta<'_>,
    ) -> std::result::Result<(), String> {
        let row = self.rows;
        for slot in &mut self.slots {
            slot.column.truncate(row);
        }
        if self.deletes.last() == Some(&(row as u32)) {
            self.deletes.pop();
        }
        let reason = match fault {
            Fault::Record(reason) => reason.clone(),
            Fault::Column { column, reason } => format!("column \"{}\": {reason}", self.slots[*column].name),
        };
        match self.on_error {
            OnError::Skip => self.skipped += 1,
            OnError::Fail => {
                return Err(format!("record at partition {}, offset {}: {reason}", meta.partition, meta.offset));
            }
            OnError::DeadLetter | OnError::Null => self.dead_letters.push(DeadLetter {
                partition: meta.partition,
                offset: meta.offset,
                key: meta.key.map(Bytes::copy_from_slice),
                payload: value.map(Bytes::copy_from_slice),
                reason,
                timestamp_ms: meta.timestamp_ms,
            }),
        }
        Ok(())
    }
}

fn slot(declared: &Declared) -> Result<Slot> {
    let include = declared.generated.as_ref().map(|Generated::Include(kind)| *kind);
    let fits = match include {
        None => true,
        Some(IncludeKind::Key) => matches!(declared.sql_type, SqlType::Text | SqlType::Varchar(None) | SqlType::Bytea),
        Some(IncludeKind::Partition) => matches!(declared.sql_type, SqlType::Integer | SqlType::BigInt),
        Some(IncludeKind::Offset) => declared.sql_type == SqlType::BigInt,
        Some(IncludeKind::Timestamp) => matches!(declared.sql_type, SqlType::Timestamp | SqlType::Timestamptz),
        Some(IncludeKind::Headers) => matches!(declared.sql_type, SqlType::Json | SqlType::Jsonb | SqlType::Text),
    };
    if !fits {
        return Err(Error::Column {
            column: declared.name.clone(),
            reason: format!("the record's metadata can't be stored as {}", declared.sql_type),
        });
    }
    Ok(Slot {
        name: declared.name.clone(),
        nullable: declared.nullable,
        column: Column::new(&declared.sql_type),
        include,
    })
}

/// Headers as the normal form of a JSON object; the last of equal names counts, bytes that are no UTF-8 are shown in hex (`\x…`).
fn headers_document(headers: &[(String, Option<Vec<u8>>)]) -> Vec<u8> {
    let mut document = vec![b'{'];
    for (index, (name, value)) in headers.iter().enumerate() {
        if index > 0 {
            document.push(b',');
        }
        json::jsonb::write_string(name.as_bytes(), &mut document);
        document.push(b':');
        match value {
            None => document.extend_from_slice(b"null"),
            Some(value) if std::str::from_utf8(value).is_ok_and(|text| !text.contains('\0')) => {
                json::jsonb::write_string(value, &mut document);
            }
            Some(value) => json::jsonb::write_string(&json::write::hex(value), &mut document),
        }
    }
    document.push(b'}');
    let mut normal = Vec::with_capacity(document.len());
    json::jsonb::normalize(&document, &mut normal).expect("it was written as JSON");
    normal
}

#[cfg(test)]
#[path = "decoder_tests.rs"]
mod tests;
