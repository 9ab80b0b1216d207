//! What a client asks about the server.

use arrow::datatypes::DataType;
use catalog::SqlType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, Volatility};

use super::definition::{Definition, one_of};

/// The version of PostgreSQL whose behaviour clients may count on, and ours.
pub const VERSION: &str = concat!("PostgreSQL 15.10 (Millrace ", env!("CARGO_PKG_VERSION"), ")");

pub(super) fn functions() -> Vec<Definition> {
    let none: &[&[DataType]] = &[&[]];
    vec![Definition::new("version", one_of(none, Volatility::Stable), |_| Ok(SqlType::Text), |_| {
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8View(Some(VERSION.to_owned()))))
    })]
}
