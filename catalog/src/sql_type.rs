//! SQL types and the Arrow types that carry them.

use std::collections::HashMap;
use std::fmt;

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::CatalogType;

/// The key of a field's metadata that names its SQL type where Arrow's type says too little.
pub const SQL_TYPE_KEY: &str = "sql_type";

/// A type of the SQL dialect: PostgreSQL's, as far as they are supported.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SqlType {
    /// `boolean`.
    Boolean,
    /// `smallint`, int2.
    SmallInt,
    /// `integer`, int4.
    Integer,
    /// `bigint`, int8.
    BigInt,
    /// `real`, float4.
    Real,
    /// `double precision`, float8.
    Double,
    /// `numeric(precision, scale)`; plain `numeric` columns are (38, 10) inside and print without trailing zeros that weren't asked for. A
    /// computed value is a plain `numeric` of whatever precision and scale its Arrow type says, and prints with that scale.
    Numeric(Option<(u8, i8)>),
    /// `text`.
    Text,
    /// `varchar(n)`.
    Varchar(Option<u32>),
    /// `char(n)`.
    Char(u32),
    /// `name`, PostgreSQL's type of identifiers (catalog columns).
    Name,
    /// `bytea`.
    Bytea,
    /// `date`.
    Date,
    /// `time`, microseconds.
    Time,
    /// `timestamp`, microseconds without a zone.
    Timestamp,
    /// `timestamptz`, microseconds in UTC.
    Timestamptz,
    /// `interval`.
    Interval,
    /// `uuid`: its 36-character text inside.
    Uuid,
    /// `json`: its text.
    Json,
    /// `jsonb`: its normalised text.
    Jsonb,
    /// `oid` (catalog columns).
    Oid,
    /// `element[]`.
    Array(Box<SqlType>),
    /// A type that only the catalog has.
    Catalog(CatalogType),
}

/// Precision and scale that plain `numeric` has inside.
pub const NUMERIC_DEFAULT: (u8, i8) = (38, 10);

impl SqlType {
    /// The Arrow type that carries values of this type.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::SmallInt => DataType::Int16,
            Self::Integer => DataType::Int32,
            Self::BigInt => DataType::Int64,
            Self::Real => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Numeric(typmod) => {
                let (precision, scale) = typmod.unwrap_or(NUMERIC_DEFAULT);
                DataType::Decimal128(precision, scale)
            }
            Self::Text | Self::Varchar(_) | Self::Char(_) | Self::Name | Self::Uuid | Self::Json | Self::Jsonb => {
                DataType::Utf8View
            }
            Self::Bytea => DataType::BinaryView,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::Oid => DataType::UInt32,
            Self::Array(element) => DataType::List(FieldRef::new(element.field("item", true))),
            Self::Catalog(catalog_type) => catalog_type.carrier().data_type(),
        }
    }

    /// A field of this type; its metadata keeps what Arrow's type can't say.
    pub fn field(&self, name: &str, nullable: bool) -> Field {
        let field = Field::new(name, self.data_type(), nullable);
        match self.metadata() {
            Some(text) => field.with_metadata(HashMap::from([(SQL_TYPE_KEY.to_owned(), text)])),
            None => field,
        }
    }

    /// What the metadata of a field must say; `None` where the Arrow type says it all.
    pub fn metadata(&self) -> Option<String> {
        match self {
            Self::Varchar(_)
            | Self::Char(_)
            | Self::Name
            | Self::Uuid
            | Self::Json
            | Self::Jsonb
            | Self::Numeric(_)
            | Self::Catalog(_) => Some(self.to_string()),
            _ => None,
        }
    }

    /// The SQL type of a field: by its metadata, else by its Arrow type (types that SQL doesn't have map to the nearest one:
    /// unsigned integers to the next wider signed type, large and dictionary strings to text); `None` for types without any (struct, map, union …).
    pub fn of_field(field: &Field) -> Option<Self> {
        if let Some(sql_type) = field.metadata().get(SQL_TYPE_KEY).and_then(|text| Self::parse_metadata(text)) {
            return Some(sql_type);
        }
        Self::of_data_type(field.data_type())
    }

    /// As [`SqlType::of_field`], for a type without metadata.
    pub fn of_data_type(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => Self::SmallInt,
            DataType::Int32 | DataType::UInt16 => Self::Integer,
            DataType::UInt32 => Self::Oid,
            DataType::Int64 => Self::BigInt,
            DataType::UInt64 => Self::Numeric(Some((20, 0))),
            DataType::Float16 | DataType::Float32 => Self::Real,
            DataType::Float64 => Self::Double,
            DataType::Decimal32(p, s)
            | DataType::Decimal64(p, s)
            | DataType::Decimal128(p, s)
            | DataType::Decimal256(p, s) => Self::Numeric(Some((*p, *s))),
            DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                Self::Bytea
            }
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Timestamp(_, Some(_)) => Self::Timestamptz,
            DataType::Interval(_) | DataType::Duration(_) => Self::Interval,
            DataType::List(element)
            | DataType::LargeList(element)
            | DataType::FixedSizeList(element, _)
            | DataType::ListView(element)
            | DataType::LargeListView(element) => Self::Array(Box::new(Self::of_field(element)?)),
            DataType::Dictionary(_, value) => Self::of_data_type(value)?,
            DataType::RunEndEncoded(_, value) => Self::of_field(value)?,
            DataType::Struct(_) | DataType::Union(..) | DataType::Map(..) => return None,
        })
    }

    fn parse_metadata(text: &str) -> Option<Self> {
        if let Some(typmod) = text.strip_prefix("numeric(") {
            let (precision, scale) = typmod.strip_suffix(')')?.split_once(',')?;
            return Some(Self::Numeric(Some((precision.parse().ok()?, scale.parse().ok()?))));
        }
        let (name, length) = match text.split_once('(') {
            Some((name, rest)) => (name, rest.strip_suffix(')')?.parse().ok()),
            None => (text, None),
        };
        Some(match name {
            "character varying" => Self::Varchar(length),
            "character" => Self::Char(length?),
            "name" => Self::Name,
            "uuid" => Self::Uuid,
            "json" => Self::Json,
            "jsonb" => Self::Jsonb,
            "numeric" => Self::Numeric(None),
            other => Self::Catalog(CatalogType::of_name(other)?),
        })
    }
}

/// PostgreSQL's own words, as in `format_type` and information_schema.
impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "boolean",
            Self::SmallInt => "smallint",
            Self::Integer => "integer",
            Self::BigInt => "bigint",
            Self::Real => "real",
            Self::Double => "double precision",
            Self::Numeric(Some((precision, scale))) => return write!(f, "numeric({precision},{scale})"),
            Self::Numeric(None) => "numeric",
            Self::Text => "text",
            Self::Varchar(Some(length)) => return write!(f, "character varying({length})"),
            Self::Varchar(None) => "character varying",
            Self::Char(length) => return write!(f, "character({length})"),
            Self::Name => "name",
            Self::Bytea => "bytea",
            Self::Date => "date",
            Self::Time => "time without time zone",
            Self::Timestamp => "timestamp without time zone",
            Self::Timestamptz => "timestamp with time zone",
            Self::Interval => "interval",
            Self::Uuid => "uuid",
            Self::Json => "json",
            Self::Jsonb => "jsonb",
            Self::Oid => "oid",
            Self::Array(element) => return write!(f, "{element}[]"),
            Self::Catalog(catalog_type) => catalog_type.name(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_says_which_type_it_is() {
        for sql_type in [
            SqlType::Numeric(Some((12, 2))),
            SqlType::Numeric(None),
            SqlType::Varchar(Some(20)),
            SqlType::Char(3),
            SqlType::Uuid,
            SqlType::Jsonb,
            SqlType::Timestamptz,
            SqlType::Array(Box::new(SqlType::Varchar(Some(5)))),
            SqlType::Catalog(CatalogType::Char),
            SqlType::Catalog(CatalogType::OidVector),
            SqlType::Array(Box::new(SqlType::Catalog(CatalogType::AclItem))),
        ] {
            assert_eq!(SqlType::of_field(&sql_type.field("x", true)), Some(sql_type));
        }
    }
}
