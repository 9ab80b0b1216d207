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

/// `EXTRACT(field FROM value)`: numeric, as in PostgreSQL. A `value` with a zone is a place in the calendar of `zone`.
pub(super) fn extract(
    field: &str,
    value: Expr,
    sql_type: &SqlType,
    zone: Option<&str>,
    own: &OwnFunctions,
) -> DataFusionResult<Expr> {
    let (part, of_own) = of_part(field, sql_type)?;
    let value = match zone {
        Some(zone) if *sql_type == SqlType::Timestamptz && part != "epoch" && !part.starts_with("timezone") => {
            own.call("timezone", vec![Expr::Literal(ScalarValue::from(zone), None), value])?
        }
        _ => value,
    };
    let whole = |expr| cast(expr, DataType::Decimal128(10, 0));
    let function = match (part.as_str(), of_own) {
        ("epoch", _) if *sql_type == SqlType::Date => {
            let days = cast(cast(value, DataType::Int32), DataType::Int64);
            let seconds = Expr::Literal(ScalarValue::Int64(Some(86_400)), None);
            return Ok(cast(days * seconds, DataType::Decimal128(20, 0)));
        }
        ("julian", _) if *sql_type == SqlType::Date => return Ok(whole(own.call("extract_julian", vec![value])?)),
        ("julian", _) => return own.call("extract_julian", vec![value]),
        ("epoch", _) => "extract_epoch",
        ("second", _) => "extract_second",
        ("millisecond", _) => "extract_milliseconds",
        ("microsecond", _) => "extract_microseconds",
        (part, Some(function)) if part.starts_with("timezone") => {
            let zone = Expr::Literal(ScalarValue::from(zone.unwrap_or("UTC")), None);
            return Ok(whole(own.call(function, vec![value, zone])?));
        }
        (_, Some(function)) => return Ok(whole(own.call(function, vec![value])?)),
        (part, None) => {
            let call = datafusion::functions::datetime::date_part();
            return Ok(whole(call.call(vec![Expr::Literal(ScalarValue::from(part), None), value])));
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
    Ok(one.to_owned())
}

/// The unit that `date_part` takes of values of a type, and the function of our own that does, if DataFusion's doesn't.
pub(super) fn of_part(unit: &str, sql_type: &SqlType) -> Result<(String, Option<&'static str>)> {
    let lower = unit.to_lowercase();
    let one = singular(&lower);
    if !LENGTHS.contains(&one) && !PLACES.contains(&one) {
        return Err(unknown(unit, sql_type));
    }
    let of_day = ["microsecond", "millisecond", "second", "minute", "hour"].contains(&one);
    let exists = match sql_type {
        SqlType::Date => !of_day && !one.starts_with("timezone"),
        SqlType::Timestamp => !one.starts_with("timezone"),
        SqlType::Timestamptz => true,
        SqlType::Time => of_day || one == "epoch",
        SqlType::Interval => one != "week" && (one == "epoch" || !PLACES.contains(&one)),
        _ => true,
    };
    if !exists {
        let message = format!("unit \"{unit}\" not supported for type {}", type_name(sql_type));
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let of_interval = *sql_type == SqlType::Interval;
    let own = match one {
        "quarter" if of_interval => Some("extract_quarter"),
        "decade" if of_interval => Some("extract_interval_decade"),
        "century" if of_interval => Some("extract_interval_century"),
        "millennium" if of_interval => Some("extract_interval_millennium"),
        "decade" => Some("extract_decade"),
        "century" => Some("extract_century"),
        "millennium" => Some("extract_millennium"),
        "julian" => Some("extract_julian"),
        "timezone" => Some("extract_timezone"),
        "timezone_hour" => Some("extract_timezone_hour"),
        "timezone_minute" => Some("extract_timezone_minute"),
        _ => None,
    };
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
        assert_eq!(of_part("week", &SqlType::Interval).map_err(|error| error.kind), Err(ErrorKind::Unsupported));
    }
}
