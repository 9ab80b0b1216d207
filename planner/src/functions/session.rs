//! What a client asks about the server.

use arrow::datatypes::DataType;
use catalog::SqlType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, Signature, Volatility};

use super::definition::{Definition, one_of, unexpected};

/// The version of PostgreSQL whose behaviour clients may count on, and ours.
const VERSION: &str = concat!("PostgreSQL 15.8 (Millrace ", env!("CARGO_PKG_VERSION"), ")");

pub(super) fn functions() -> Vec<Definition> {
    let none: &[&[DataType]] = &[&[]];
    let any = Signature::any(1, Volatility::Stable);
    vec![
        // Planning puts the name of its argument's type in its place.
        Definition::new("pg_typeof", any, |_| Ok(SqlType::Text), |_| unexpected("pg_typeof")),
        Definition::new(
            "version",
            one_of(none, Volatility::Stable),
            |_| Ok(SqlType::Text),
            |_| Ok(ColumnarValue::Scalar(ScalarValue::Utf8View(Some(VERSION.to_owned())))),
        ),
    ]
}
