//! Digests and keyed digests: `md5` and `sha…` of bytes, and pgcrypto's `digest` and `hmac`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BinaryViewBuilder, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Signature, Volatility};
use hmac::{KeyInit, Mac, SimpleHmac};
use sha2::Digest;

use super::definition::{Definition, arrays, columnar, invalid, undefined};
use super::text::as_views;

pub(super) fn functions() -> Vec<Definition> {
    let any = |count| Signature::any(count, Volatility::Immutable);
    vec![
        Definition::new(
            "digest",
            any(2),
            |fields| of_data("digest", fields, &[0], SqlType::Bytea),
            |args| {
                let columns = arrays(args)?;
                named(args, &columns, 1, |row, kind| Ok(kind.digest(row[0])))
            },
        ),
        Definition::new(
            "hmac",
            any(3),
            |fields| of_data("hmac", fields, &[0, 1], SqlType::Bytea),
            |args| {
                let columns = arrays(args)?;
                named(args, &columns, 2, |row, kind| kind.keyed(row[0], row[1]))
            },
        ),
        Definition::new(
            "md5",
            any(1),
            |fields| of_data("md5", fields, &[0], SqlType::Text),
            |args| {
                let columns = arrays(args)?;
                let data = bytes(&columns[0])?;
                let mut builder = StringViewBuilder::new();
                for value in &data {
                    builder.append_option(value.map(|value| hex(&Kind::Md5.digest(value))));
                }
                columnar(args, Arc::new(builder.finish()))
            },
        ),
    ]
}

/// What is hashed is text or bytea.
fn of_data(function: &str, fields: &[FieldRef], data: &[usize], result: SqlType) -> Result<SqlType> {
    let fits = |at: &usize| {
        let data_type = fields[*at].data_type();
        data_type.is_string() || data_type.is_null() || matches!(data_type, DataType::Binary | DataType::BinaryView)
    };
    if data.iter().all(fits) { Ok(result) } else { undefined(function, fields) }
}

fn bytes(column: &ArrayRef) -> Result<arrow::array::BinaryViewArray> {
    use arrow::array::AsArray;
    let column = match column.data_type() {
        data_type if data_type.is_string() => Arc::new(as_views(column)?) as ArrayRef,
        _ => column.clone(),
    };
    Ok(cast(&column, &DataType::BinaryView)?.as_binary_view().clone())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Clone, Copy)]
enum Kind {
    Md5,
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl Kind {
    fn of(name: &str) -> Result<Self> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "md5" => Self::Md5,
            "sha1" => Self::Sha1,
            "sha224" => Self::Sha224,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            _ => return invalid(format!("Cannot use \"{name}\": No such hash algorithm")),
        })
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Md5 => md5::Md5::digest(data).to_vec(),
            Self::Sha1 => sha1::Sha1::digest(data).to_vec(),
            Self::Sha224 => sha2::Sha224::digest(data).to_vec(),
            Self::Sha256 => sha2::Sha256::digest(data).to_vec(),
            Self::Sha384 => sha2::Sha384::digest(data).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(data).to_vec(),
        }
    }

    fn keyed(self, data: &[u8], key: &[u8]) -> Result<Vec<u8>> {
        macro_rules! of {
            ($digest:ty) => {{
                let mut mac = match SimpleHmac::<$digest>::new_from_slice(key) {
                    Ok(mac) => mac,
                    Err(error) => return invalid(format!("hmac takes no such key: {error}")),
                };
                mac.update(data);
                mac.finalize().into_bytes().to_vec()
            }};
        }
        Ok(match self {
            Self::Md5 => of!(md5::Md5),
            Self::Sha1 => of!(sha1::Sha1),
            Self::Sha224 => of!(sha2::Sha224),
            Self::Sha256 => of!(sha2::Sha256),
            Self::Sha384 => of!(sha2::Sha384),
            Self::Sha512 => of!(sha2::Sha512),
        })
    }
}

/// Bytes for each row, by a digest that the argument `name` names.
fn named(
    args: &ScalarFunctionArgs,
    columns: &[ArrayRef],
    name: usize,
    of: impl Fn(&[&[u8]], Kind) -> Result<Vec<u8>>,
) -> Result<ColumnarValue> {
    let data = columns[..name].iter().map(bytes).collect::<Result<Vec<_>>>()?;
    let names = as_views(&columns[name])?;
    let mut builder = BinaryViewBuilder::new();
    for row in 0..names.len() {
        if names.is_null(row) || data.iter().any(|data| data.is_null(row)) {
            builder.append_null();
            continue;
        }
        let values: Vec<&[u8]> = data.iter().map(|data| data.value(row)).collect();
        builder.append_value(of(&values, Kind::of(names.value(row))?)?);
    }
    columnar(args, Arc::new(builder.finish()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_the_known_ones() {
        assert_eq!(hex(&Kind::Md5.digest(b"abc")), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(hex(&Kind::Sha1.digest(b"abc")), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(
            hex(&Kind::of("SHA256").unwrap().keyed(b"data", b"key").unwrap()),
            "5031fe3d989c6d1537a013fa6e739da23463fdaec3b70137d828e36ace221bd0"
        );
        assert!(Kind::of("foo").is_err());
    }
}
