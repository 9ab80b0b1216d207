//! The units of EXTRACT, `date_part` and `date_trunc`.

use arrow::datatypes::DataType;
use catalog::SqlType;
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::Expr;

use super::operator::{cast, type_name};
use crate::error::ErrorKind;
use crate::functions::OwnFunctions;
use crate::{Error, Result};

/// Units to which a time can be cut.
const LENGTHS: [&str; 13] = [
    "microsecond",
    "millisecond",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "decade",
    "century",
    "millennium",
];

/// Units that are places in the calendar only.
const PLACES: [&str; 9] =
    ["epoch", "dow", "isodow", "doy", "isoyear", "julian", "timezone", "timezone_hour", "timezone_minute"];

/// `EXTRACT(field FROM value)`: numeric, as in PostgreSQL.
pub(super) fn extract(field: &str, value: Expr, own: &OwnFunctions) -> DataFusionResult<Expr> {
    let field = singular(field);
    let function = match field {
        "epoch" => "extract_epoch",
        "second" => "extract_second",
        "millisecond" => "extract_milliseconds",
        "microsecond" => "extract_microseconds",
        _ => {
            let part = datafusion::functions::datetime::date_part();
            let part = part.call(vec![Expr::Literal(ScalarValue::from(field), None), value]);
            return Ok(cast(part, DataType::Decimal128(10, 0)));
        }
    };
    own.call(function, vec![value])
}

/// The unit as one of [`LENGTHS`] or [`PLACES`], if it is one.
pub(super) fn singular(unit: &str) -> &str {
    match unit {
        "centuries" => "century",
        "millennia" | "millenniums" => "millennium",
        plural => {
            let one = plural.strip_suffix('s').filter(|one| LENGTHS.contains(one));
            one.unwrap_or(plural)
        }
    }
}

/// The unit to which `date_trunc` cuts values of a type.
pub(super) fn of_trunc(unit: &str, sql_type: &SqlType) -> Result<String> {
    let lower = unit.to_lowercase();
    let one = singular(&lower);
    if !LENGTHS.contains(&one) {
        return Err(unknown(unit, sql_type));
    }
    if ["decade", "century", "millennium"].contains(&one) {
        return Err(Error::unsupported(format!("date_trunc to the {one}")));
    }
    Ok(one.to_owned())
}

/// The unit that `date_part` takes of values of a type, and the function of our own that does, if DataFusion's doesn't.
pub(super) fn of_part(unit: &str, sql_type: &SqlType) -> Result<(String, Option<&'static str>)> {
    let lower = unit.to_lowercase();
    let one = singular(&lower);
    if !LENGTHS.contains(&one) && !PLACES.contains(&one) {
        return Err(unknown(unit, sql_type));
    }
    let own = match one {
        "decade" => Some("extract_decade"),
        "century" => Some("extract_century"),
        "millennium" => Some("extract_millennium"),
        _ => None,
    };
    let dated = matches!(sql_type, SqlType::Date | SqlType::Timestamp | SqlType::Timestamptz);
    if own.is_some() && !dated || one == "julian" || one.starts_with("timezone") {
        return Err(Error::unsupported(format!("the {one} of type {}", type_name(sql_type))));
    }
    Ok((one.to_owned(), own))
}

fn unknown(unit: &str, sql_type: &SqlType) -> Error {
    let message = format!("unit \"{unit}\" not recognized for type {}", type_name(sql_type));
    Error::new(ErrorKind::InvalidParameterValue, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_known_in_either_number() {
        assert_eq!(
            [singular("hours"), singular("centuries"), singular("dow"), singular("s")],
            ["hour", "century", "dow", "s"]
        );
        let error = of_part("foo", &SqlType::Timestamp).expect_err("it is none");
        assert_eq!(error.message, "unit \"foo\" not recognized for type timestamp without time zone");
        assert!(of_trunc("dow", &SqlType::Timestamp).is_err());
        assert_eq!(of_part("century", &SqlType::Date), Ok(("century".to_owned(), Some("extract_century"))));
        assert_eq!(of_part("century", &SqlType::Interval).map_err(|error| error.kind), Err(ErrorKind::Unsupported));
    }
}
