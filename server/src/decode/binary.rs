//! Binary forms of parameters.

use arrow::datatypes::IntervalMonthDayNano;
use engine::{Parameter, SqlType};

use super::{array, json, numeric, out_of_range, utf8};
use crate::encode::datetime::{POSTGRES_EPOCH_DAYS, POSTGRES_EPOCH_US};
use crate::error::WireError;

/// What is wrong with a binary value.
pub(super) enum Problem {
    /// It has the wrong length or layout.
    Shape,
    /// It is well formed but no value of the type.
    Value(Box<WireError>),
}

impl From<WireError> for Problem {
    fn from(error: WireError) -> Self {
        Self::Value(Box::new(error))
    }
}

/// A value from its binary form, all of `bytes`.
pub(super) fn value(bytes: &[u8], sql_type: &SqlType) -> Result<Parameter, Problem> {
    Ok(match sql_type {
        SqlType::Boolean => Parameter::Boolean(Some(fixed::<1>(bytes)?[0] != 0)),
        SqlType::SmallInt => Parameter::Int16(Some(i16::from_be_bytes(fixed(bytes)?))),
        SqlType::Integer => Parameter::Int32(Some(i32::from_be_bytes(fixed(bytes)?))),
        SqlType::BigInt => Parameter::Int64(Some(i64::from_be_bytes(fixed(bytes)?))),
        SqlType::Oid => Parameter::UInt32(Some(u32::from_be_bytes(fixed(bytes)?))),
        SqlType::Real => Parameter::Float32(Some(f32::from_be_bytes(fixed(bytes)?))),
        SqlType::Double => Parameter::Float64(Some(f64::from_be_bytes(fixed(bytes)?))),
        SqlType::Numeric(typmod) => numeric::of_binary(bytes, *typmod, sql_type)?,
        SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name => {
            Parameter::Utf8View(Some(utf8(bytes)?.to_owned()))
        }
        SqlType::Json => {
            let text = utf8(bytes)?;
            json::check(text, sql_type)?;
            Parameter::Utf8View(Some(text.to_owned()))
        }
        SqlType::Jsonb => match bytes {
            [1, text @ ..] => Parameter::Utf8View(Some(json::normalise(utf8(text)?, sql_type)?)),
            _ => return Err(Problem::Shape),
        },
        SqlType::Bytea => Parameter::BinaryView(Some(bytes.to_vec())),
        SqlType::Uuid => {
            let bytes: [u8; 16] = fixed(bytes)?;
            let mut text = String::with_capacity(36);
            for (index, byte) in bytes.iter().enumerate() {
                if matches!(index, 4 | 6 | 8 | 10) {
                    text.push('-');
                }
                text.extend(
                    [byte >> 4, byte & 15].map(|nibble| char::from_digit(u32::from(nibble), 16).expect("a nibble")),
                );
            }
            Parameter::Utf8View(Some(text))
        }
        SqlType::Date => Parameter::Date32(Some(match i32::from_be_bytes(fixed(bytes)?) {
            infinity @ (i32::MAX | i32::MIN) => infinity,
            days => days.checked_add(POSTGRES_EPOCH_DAYS).ok_or_else(|| out_of_range(sql_type, &days.to_string()))?,
        })),
        SqlType::Time => Parameter::Time64Microsecond(Some(i64::from_be_bytes(fixed(bytes)?))),
        SqlType::Timestamp => Parameter::TimestampMicrosecond(Some(instant(bytes, sql_type)?), None),
        SqlType::Timestamptz => Parameter::TimestampMicrosecond(Some(instant(bytes, sql_type)?), Some("UTC".into())),
        SqlType::Interval => {
            let bytes: [u8; 16] = fixed(bytes)?;
            let (us, rest) = bytes.split_at(8);
            let (days, months) = rest.split_at(4);
            let us = i64::from_be_bytes(fixed(us)?);
            Parameter::IntervalMonthDayNano(Some(IntervalMonthDayNano {
                months: i32::from_be_bytes(fixed(months)?),
                days: i32::from_be_bytes(fixed(days)?),
                nanoseconds: us
                    .checked_mul(1000)
                    .ok_or_else(|| out_of_range(sql_type, &format!("{us} microseconds")))?,
            }))
        }
        SqlType::Array(element) => array::of_binary(bytes, element)?,
        SqlType::Catalog(catalog_type) => return value(bytes, &catalog_type.carrier()),
    })
}

/// Exactly `N` bytes.
pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Problem> {
    bytes.try_into().map_err(|_| Problem::Shape)
}

fn instant(bytes: &[u8], sql_type: &SqlType) -> Result<i64, Problem> {
    Ok(match i64::from_be_bytes(fixed(bytes)?) {
        infinity @ (i64::MAX | i64::MIN) => infinity,
        us => us.checked_add(POSTGRES_EPOCH_US).ok_or_else(|| out_of_range(sql_type, &us.to_string()))?,
    })
}
