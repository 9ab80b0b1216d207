//! Rows on their way to a batch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int16Array, Int32Array,
    Int64Array, IntervalMonthDayNanoArray, ListArray, StringViewArray, TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, FieldRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};

use crate::pg_catalog::layout::{Layout, LayoutColumn};
use crate::{Error, Result, SqlType};

/// A value of a catalog column, before it is fitted to the column's type.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pg_catalog) enum Value {
    Null,
    Bool(bool),
    /// Any integer, OIDs included.
    Int(i64),
    Float(f64),
    Text(String),
    /// Microseconds since 1970.
    Timestamp(i64),
    List(Vec<Value>),
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Value {
            fn from(value: $integer) -> Self {
                Self::Int(i64::from(value))
            }
        }
    )*};
}
from_integer!(i16, i32, i64, u8, u32);

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

/// The rows of one relation.
pub(in crate::pg_catalog) struct Table<'a> {
    layout: &'a Layout,
    /// By column.
    values: Vec<Vec<Value>>,
    rows: usize,
}

impl<'a> Table<'a> {
    pub(in crate::pg_catalog) fn new(layout: &'a Layout) -> Self {
        Self { layout, values: layout.columns.iter().map(|_| Vec::new()).collect(), rows: 0 }
    }

    /// Adds a row. Names that this relation doesn't have are left out: relations that say nearly the same share their rows.
    pub(in crate::pg_catalog) fn row<const N: usize>(&mut self, cells: [(&str, Value); N]) {
        let mut cells = cells;
        for (column, values) in self.layout.columns.iter().zip(&mut self.values) {
            let given = cells.iter_mut().find(|(name, _)| *name == column.name);
            values.push(match given {
                Some((_, value)) => std::mem::replace(value, Value::Null),
                None if self.layout.is_view => Value::Null,
                None => usual(column),
            });
        }
        self.rows += 1;
    }

    /// The batch of all rows.
    pub(in crate::pg_catalog) fn finish(self) -> Result<RecordBatch> {
        let arrays = self.layout.columns.iter().zip(&self.values).zip(self.layout.schema.fields());
        let arrays = arrays
            .map(|((column, values), field)| {
                array(values, &column.sql_type, field).ok_or_else(|| {
                    Error::internal(format!("{}.{} has values of another type", self.layout.name, column.name))
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(self.layout.schema.clone(), arrays, &options)
            .map_err(|error| Error::internal(format!("rows of {}: {error}", self.layout.name)))
    }
}

/// What a column of a catalog table holds when there is nothing to say. Columns of these types are never NULL there.
fn usual(column: &LayoutColumn) -> Value {
    match column.pg_type {
        "bool" => Value::Bool(false),
        "int2" | "int4" | "int8" | "oid" | "xid" => Value::Int(0),
        "float4" | "float8" => Value::Float(0.0),
        "name" | "char" => Value::Text(String::new()),
        "regproc" => Value::Text("-".to_owned()),
        "int2vector" | "oidvector" => Value::List(Vec::new()),
        _ => Value::Null,
    }
}

/// An array of a type; `None` if a value doesn't fit it.
pub(in crate::pg_catalog) fn array(values: &[Value], sql_type: &SqlType, field: &FieldRef) -> Option<ArrayRef> {
    macro_rules! integers {
        ($array:ty, $native:ty) => {{
            let values = values.iter().map(|value| match value {
                Value::Null => Some(None),
                Value::Int(value) => <$native>::try_from(*value).ok().map(Some),
                _ => None,
            });
            Arc::new(values.collect::<Option<$array>>()?)
        }};
    }
    let floats = || {
        values.iter().map(|value| match value {
            Value::Null => Some(None),
            Value::Float(value) => Some(Some(*value)),
            _ => None,
        })
    };
    let all_null = || values.iter().all(|value| *value == Value::Null);
    Some(match sql_type {
        SqlType::Boolean => {
            let values = values.iter().map(|value| match value {
                Value::Null => Some(None),
                Value::Bool(value) => Some(Some(*value)),
                _ => None,
            });
            Arc::new(values.collect::<Option<BooleanArray>>()?)
        }
        SqlType::SmallInt => integers!(Int16Array, i16),
        SqlType::Integer => integers!(Int32Array, i32),
        SqlType::BigInt => integers!(Int64Array, i64),
        SqlType::Oid => integers!(UInt32Array, u32),
        SqlType::Real => Arc::new(
            floats()
                .map(|value| value.map(|value| value.map(|value| value as f32)))
                .collect::<Option<Float32Array>>()?,
        ),
        SqlType::Double => Arc::new(floats().collect::<Option<Float64Array>>()?),
        SqlType::Text
        | SqlType::Varchar(_)
        | SqlType::Char(_)
        | SqlType::Name
        | SqlType::Uuid
        | SqlType::Json
        | SqlType::Jsonb => {
            let values = values.iter().map(|value| match value {
                Value::Null => Some(None),
                Value::Text(value) => Some(Some(value.as_str())),
                _ => None,
            });
            Arc::new(values.collect::<Option<StringViewArray>>()?)
        }
        SqlType::Timestamptz => {
            let values = values.iter().map(|value| match value {
                Value::Null => Some(None),
                Value::Timestamp(value) => Some(Some(*value)),
                _ => None,
            });
            Arc::new(values.collect::<Option<TimestampMicrosecondArray>>()?.with_timezone("UTC"))
        }
        SqlType::Array(element) => {
            let DataType::List(inner) = field.data_type() else { return None };
            let mut elements = Vec::new();
            let mut lengths = Vec::with_capacity(values.len());
            let mut valid = Vec::with_capacity(values.len());
            for value in values {
                let before = elements.len();
                match value {
                    Value::Null => {}
                    Value::List(list) => elements.extend(list.iter().cloned()),
                    _ => return None,
                }
                lengths.push(elements.len() - before);
                valid.push(*value != Value::Null);
            }
            let elements = array(&elements, element, inner)?;
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(ListArray::try_new(inner.clone(), offsets, elements, Some(NullBuffer::from(valid))).ok()?)
        }
        SqlType::Catalog(catalog_type) => return array(values, &catalog_type.carrier(), field),
        // No catalog column with anything to say has these types.
        SqlType::Interval if all_null() => Arc::new(IntervalMonthDayNanoArray::new_null(values.len())),
        SqlType::Bytea if all_null() => Arc::new(BinaryViewArray::new_null(values.len())),
        SqlType::Numeric(_) if all_null() => {
            Arc::new(Decimal128Array::new_null(values.len()).with_data_type(sql_type.data_type()))
        }
        _ => return None,
    })
}
