//! uuid: text of 36 characters inside.

use arrow::datatypes::DataType;
use catalog::SqlType;
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, Volatility};

use super::definition::{Definition, invalid_text, one_of};
use super::text::map_text;

pub(super) fn functions() -> Vec<Definition> {
    vec![
        Definition::new(
            "text_to_uuid",
            one_of(&[&[DataType::Utf8View]], Volatility::Immutable),
            |_| Ok(SqlType::Uuid),
            |args| {
                map_text(args, |text| match crate::query::literal::uuid(text.trim()) {
                    Some(uuid) => Ok(uuid),
                    None => invalid_text("uuid", text),
                })
            },
        ),
        Definition::new("gen_random_uuid", one_of(&[&[]], Volatility::Volatile), |_| Ok(SqlType::Uuid), random)
            .with_alias("uuid_generate_v4"),
    ]
}

/// DataFusion's random uuids, in the carrier of text.
fn random(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let uuids = datafusion::functions::string::uuid().invoke_with_args(args.clone())?;
    uuids.cast_to(&DataType::Utf8View, None)
}
