//! SQL types as statements write them, and as DataFusion's planner wants them.

use arrow::datatypes::FieldRef;
use catalog::{CatalogType, SqlType, nearest};
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::planner::TypePlanner;
use sql::ast::{ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, TimezoneInfo};

use crate::error::ErrorKind;
use crate::{Error, Result};

/// The type that a statement names.
pub fn sql_type(data_type: &DataType) -> Result<SqlType> {
    Ok(match data_type {
        DataType::Boolean | DataType::Bool => SqlType::Boolean,
        DataType::SmallInt(None) | DataType::Int2(None) | DataType::Int16 => SqlType::SmallInt,
        DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) | DataType::Int32 => SqlType::Integer,
        DataType::BigInt(None) | DataType::Int8(None) | DataType::Int64 => SqlType::BigInt,
        DataType::Real | DataType::Float4 | DataType::Float32 => SqlType::Real,
        DataType::Double(ExactNumberInfo::None) | DataType::DoublePrecision | DataType::Float8 | DataType::Float64 => {
            SqlType::Double
        }
        DataType::Float(ExactNumberInfo::None) => SqlType::Double,
        DataType::Float(ExactNumberInfo::Precision(precision)) => match precision {
            1..=24 => SqlType::Real,
            25..=53 => SqlType::Double,
            _ => {
                return Err(Error::new(
                    ErrorKind::InvalidParameterValue,
                    "precision for type float must be from 1 to 53",
                ));
            }
        },
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => numeric(info)?,
        DataType::Text | DataType::String(None) => SqlType::Text,
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            SqlType::Varchar(length_of(length.as_ref())?)
        }
        DataType::Char(length) | DataType::Character(length) => SqlType::Char(length_of(length.as_ref())?.unwrap_or(1)),
        DataType::Bytea => SqlType::Bytea,
        DataType::Date => SqlType::Date,
        DataType::Time(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => SqlType::Time,
        DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => SqlType::Timestamp,
        DataType::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => SqlType::Timestamptz,
        DataType::Interval { fields: None, .. } => SqlType::Interval,
        DataType::Uuid => SqlType::Uuid,
        DataType::JSON => SqlType::Json,
        DataType::JSONB => SqlType::Jsonb,
        DataType::Array(ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::AngleBracket(element)) => {
            SqlType::Array(Box::new(sql_type(element)?))
        }
        DataType::Custom(name, modifiers) => custom(&name.to_string(), modifiers)?,
        other => return Err(unknown(&other.to_string())),
    })
}

/// `timestamp(3)`: the function that rounds to so many digits of a second, and how many.
pub(crate) fn seconds_rounding(data_type: &DataType) -> Option<(&'static str, u64)> {
    let (function, digits) = match data_type {
        DataType::Timestamp(Some(digits), _) => ("timestamp_scale", *digits),
        DataType::Time(Some(digits), _) => ("time_scale", *digits),
        DataType::Interval { precision: Some(digits), .. } => ("interval_scale", *digits),
        _ => return None,
    };
    (digits < 6).then_some((function, digits))
}

fn numeric(info: &ExactNumberInfo) -> Result<SqlType> {
    let (precision, scale) = match *info {
        ExactNumberInfo::None => return Ok(SqlType::Numeric(None)),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let invalid = |message: String| Err(Error::new(ErrorKind::InvalidParameterValue, message));
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) if (0..=i64::from(precision)).contains(&i64::from(scale)) => {
            Ok(SqlType::Numeric(Some((precision, scale))))
        }
        (Ok(1..=38), _) => invalid(format!("NUMERIC scale {scale} must be between 0 and precision {precision}")),
        _ => invalid(format!("NUMERIC precision {precision} must be between 1 and 38")),
    }
}

fn length_of(length: Option<&CharacterLength>) -> Result<Option<u32>> {
    match length {
        None | Some(CharacterLength::Max) => Ok(None),
        Some(CharacterLength::IntegerLength { length, .. }) => match u32::try_from(*length) {
            Ok(0) => Err(Error::new(ErrorKind::InvalidParameterValue, "length for type varchar must be at least 1")),
            Ok(length) if length <= 10_485_760 => Ok(Some(length)),
            _ => Err(Error::new(ErrorKind::InvalidParameterValue, "length for type varchar cannot exceed 10485760")),
        },
    }
}

/// Types that sqlparser has no name for.
fn custom(name: &str, modifiers: &[String]) -> Result<SqlType> {
    let bare = name.to_lowercase();
    let bare = bare.strip_prefix("pg_catalog.").unwrap_or(&bare);
    let bare = bare.trim_matches('"');
    if !modifiers.is_empty() && bare != "bpchar" {
        return Err(Error::new(
            ErrorKind::UndefinedObject,
            format!("type modifier is not allowed for type \"{bare}\""),
        ));
    }
    Ok(match bare {
        "name" => SqlType::Name,
        "oid" => SqlType::Oid,
        "bool" => SqlType::Boolean,
        "int2" => SqlType::SmallInt,
        "int4" | "int" => SqlType::Integer,
        "int8" => SqlType::BigInt,
        "float4" => SqlType::Real,
        "float8" => SqlType::Double,
        "numeric" => SqlType::Numeric(None),
        "text" => SqlType::Text,
        "varchar" => SqlType::Varchar(None),
        "bpchar" => SqlType::Text,
        "date" => SqlType::Date,
        "time" => SqlType::Time,
        "timestamp" => SqlType::Timestamp,
        "timestamptz" => SqlType::Timestamptz,
        "interval" => SqlType::Interval,
        "uuid" => SqlType::Uuid,
        "json" => SqlType::Json,
        "jsonb" => SqlType::Jsonb,
        "bytea" => SqlType::Bytea,
        "serial" | "serial4" | "bigserial" | "serial8" | "smallserial" | "serial2" => {
            return Err(
                Error::unsupported(format!("type {bare}")).with_hint("Use an integer type and give the values.")
            );
        }
        // The quotes make it another type than char.
        "char" if name.ends_with("\"char\"") => SqlType::Catalog(CatalogType::Char),
        "regproc" | "regprocedure" => SqlType::Catalog(CatalogType::RegProc),
        _ => match CatalogType::of_name(bare).filter(|known| !matches!(known, CatalogType::Void | CatalogType::Record))
        {
            Some(catalog_type) => SqlType::Catalog(catalog_type),
            None => return Err(unknown(bare)),
        },
    })
}

fn unknown(name: &str) -> Error {
    const KNOWN: &[&str] = &[
        "bigint",
        "boolean",
        "bytea",
        "char",
        "character",
        "date",
        "decimal",
        "double precision",
        "float",
        "int",
        "int2",
        "int4",
        "int8",
        "integer",
        "interval",
        "json",
        "jsonb",
        "numeric",
        "real",
        "smallint",
        "text",
        "time",
        "timestamp",
        "timestamptz",
        "uuid",
        "varchar",
    ];
    const UNSUPPORTED: &[&str] = &[
        "bit",
        "bit varying",
        "box",
        "cidr",
        "circle",
        "datemultirange",
        "daterange",
        "inet",
        "int4multirange",
        "int4range",
        "int8multirange",
        "int8range",
        "jsonpath",
        "line",
        "lseg",
        "macaddr",
        "macaddr8",
        "money",
        "nummultirange",
        "numrange",
        "path",
        "pg_lsn",
        "point",
        "polygon",
        "time with time zone",
        "timetz",
        "tsmultirange",
        "tsquery",
        "tsrange",
        "tstzmultirange",
        "tstzrange",
        "tsvector",
        "varbit",
        "xml",
    ];
    let name = name.to_lowercase();
    let bare = name.split('(').next().unwrap_or_default().trim();
    if UNSUPPORTED.contains(&bare) {
        return Error::unsupported(format!("type {bare}"));
    }
    let hint = nearest(bare, KNOWN.iter(), |known| known).map(|known| format!("Did you mean \"{known}\"?"));
    Error::new(ErrorKind::UndefinedObject, format!("type \"{name}\" does not exist")).with_hint_if(hint)
}

/// Tells DataFusion's planner which types casts and typed literals mean.
#[derive(Debug)]
pub(crate) struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, data_type: &DataType) -> DataFusionResult<Option<FieldRef>> {
        Ok(Some(sql_type(data_type)?.field("", true).into()))
    }
}
