//! A column with its type known: what the text and binary writers branch on.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int16Array, Int32Array, Int64Array, IntervalMonthDayNanoArray, ListArray, StringViewArray, Time64MicrosecondArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
};
use engine::{CatalogType, Error, SqlType};

/// The scale that plain `numeric` has inside: zeros that it adds were not asked for and aren't shown.
const PLAIN_NUMERIC_SCALE: i8 = 10;

/// An array seen as values of a SQL type.
pub(crate) struct Column<'a> {
    pub(crate) values: Values<'a>,
    nulls: Option<&'a NullBuffer>,
}

/// The values of a [`Column`].
pub(crate) enum Values<'a> {
    Boolean(&'a BooleanArray),
    SmallInt(&'a Int16Array),
    Integer(&'a Int32Array),
    BigInt(&'a Int64Array),
    Oid(&'a UInt32Array),
    Real(&'a Float32Array),
    Double(&'a Float64Array),
    Numeric {
        array: &'a Decimal128Array,
        scale: i8,
        /// Plain `numeric`: trailing zeros aren't shown.
        trim: bool,
    },
    Text(&'a StringViewArray),
    /// `char(n)`: padded with blanks to n characters.
    Padded {
        array: &'a StringViewArray,
        length: u32,
    },
    Uuid(&'a StringViewArray),
    Json(&'a StringViewArray),
    Jsonb(&'a StringViewArray),
    Bytea(&'a BinaryViewArray),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Timestamp(&'a TimestampMicrosecondArray),
    Timestamptz(&'a TimestampMicrosecondArray),
    Interval(&'a IntervalMonthDayNanoArray),
    Array {
        array: &'a ListArray,
        element: Box<Column<'a>>,
        element_oid: u32,
    },
    /// int2vector and oidvector: arrays that count from 0 and are written without braces.
    Vector {
        array: &'a ListArray,
        element: Box<Column<'a>>,
        element_oid: u32,
    },
    /// regclass and its like: the name of a thing that is a number inside PostgreSQL.
    Named {
        array: &'a StringViewArray,
        named: CatalogType,
    },
}

/// The array in the Arrow type that carries `sql_type`; decimals keep their own scale.
pub(crate) fn carried(array: &ArrayRef, sql_type: &SqlType) -> engine::Result<ArrayRef> {
    let wanted = sql_type.data_type();
    if same_shape(array.data_type(), &wanted) {
        return Ok(ArrayRef::clone(array));
    }
    arrow::compute::cast(array, &wanted).map_err(|error| {
        Error::internal(format!("a column of {} can't be read as {sql_type}: {error}", array.data_type()))
    })
}

/// Whether the encoder reads `have` as it is where `wanted` is expected.
fn same_shape(have: &DataType, wanted: &DataType) -> bool {
    match (have, wanted) {
        (DataType::Decimal128(..), DataType::Decimal128(..)) => true,
        (DataType::Timestamp(have, _), DataType::Timestamp(wanted, _)) => have == wanted,
        (DataType::List(have), DataType::List(wanted)) => same_shape(have.data_type(), wanted.data_type()),
        _ => have == wanted,
    }
}

impl<'a> Column<'a> {
    /// Over an array from [`carried`].
    pub(crate) fn new(array: &'a ArrayRef, sql_type: &SqlType) -> engine::Result<Self> {
        let mismatch = || Error::internal(format!("a column of {} can't be read as {sql_type}", array.data_type()));
        let values = match sql_type {
            SqlType::Boolean => array.as_boolean_opt().map(Values::Boolean),
            SqlType::SmallInt => array.as_primitive_opt::<Int16Type>().map(Values::SmallInt),
            SqlType::Integer => array.as_primitive_opt::<Int32Type>().map(Values::Integer),
            SqlType::BigInt => array.as_primitive_opt::<Int64Type>().map(Values::BigInt),
            SqlType::Oid => array.as_primitive_opt::<UInt32Type>().map(Values::Oid),
            SqlType::Real => array.as_primitive_opt::<Float32Type>().map(Values::Real),
            SqlType::Double => array.as_primitive_opt::<Float64Type>().map(Values::Double),
            SqlType::Numeric(typmod) => array.as_primitive_opt::<Decimal128Type>().map(|array| {
                let scale = array.scale();
                Values::Numeric { array, scale, trim: typmod.is_none() && scale == PLAIN_NUMERIC_SCALE }
            }),
            SqlType::Text | SqlType::Varchar(_) | SqlType::Name => array.as_string_view_opt().map(Values::Text),
            SqlType::Catalog(
                named @ (CatalogType::RegClass
                | CatalogType::RegNamespace
                | CatalogType::RegProc
                | CatalogType::RegRole
                | CatalogType::RegType),
            ) => array.as_string_view_opt().map(|array| Values::Named { array, named: *named }),
            SqlType::Catalog(catalog_type) => match Column::new(array, &catalog_type.carrier())?.values {
                Values::Array { array, element, element_oid } => Some(Values::Vector { array, element, element_oid }),
                values => Some(values),
            },
            SqlType::Char(length) => array.as_string_view_opt().map(|array| Values::Padded { array, length: *length }),
            SqlType::Uuid => array.as_string_view_opt().map(Values::Uuid),
            SqlType::Json => array.as_string_view_opt().map(Values::Json),
            SqlType::Jsonb => array.as_string_view_opt().map(Values::Jsonb),
            SqlType::Bytea => array.as_binary_view_opt().map(Values::Bytea),
            SqlType::Date => array.as_primitive_opt::<Date32Type>().map(Values::Date),
            SqlType::Time => array.as_primitive_opt::<Time64MicrosecondType>().map(Values::Time),
            SqlType::Timestamp => array.as_primitive_opt::<TimestampMicrosecondType>().map(Values::Timestamp),
            SqlType::Timestamptz => array.as_primitive_opt::<TimestampMicrosecondType>().map(Values::Timestamptz),
            SqlType::Interval => array.as_primitive_opt::<IntervalMonthDayNanoType>().map(Values::Interval),
            SqlType::Array(element) => {
                let list = array.as_list_opt::<i32>().ok_or_else(mismatch)?;
                let inner = Box::new(Column::new(list.values(), element)?);
                let mut scalar: &SqlType = element;
                while let SqlType::Array(next) = scalar {
                    scalar = next;
                }
                Some(Values::Array { array: list, element: inner, element_oid: engine::type_numbers::oid(scalar) })
            }
        };
        Ok(Self { values: values.ok_or_else(mismatch)?, nulls: array.nulls() })
    }

    /// Whether the value is NULL.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }
}
