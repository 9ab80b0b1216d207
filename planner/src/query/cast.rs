//! Casts with PostgreSQL's meaning: which exist, how they round, what text they make.

use arrow::datatypes::{DataType, FieldRef};
use catalog::{CatalogType, SqlType};
use datafusion::common::{DFSchema, Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::literal;
use super::operator::{Class, OWN_CAST, class_of, is_unknown, sql_type_of, written_numeric};
use crate::error::ErrorKind;
use crate::functions::OwnFunctions;
use crate::{Error, Result};

/// Who casts: an explicit cast goes where an assignment doesn't.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    /// `CAST`, `::`.
    Explicit,
    /// INSERT and UPDATE: a text that is too long is an error, and text isn't parsed.
    Assignment,
}

/// `expr` as a value of `target`.
pub(crate) fn cast(
    expr: Expr,
    target: &SqlType,
    context: Context,
    schema: &DFSchema,
    own: &OwnFunctions,
    zone: &str,
) -> DataFusionResult<Expr> {
    if is_unknown(&expr) {
        return unknown(expr, target, context, own, zone);
    }
    let source = sql_type_of(&expr, schema)?;
    if source == *target {
        // Of one type by its digits alone, or by what its field says.
        let (_, field) = expr.to_field(schema)?;
        let says_so = field.metadata().contains_key(catalog::sql_type::SQL_TYPE_KEY);
        let wants_to = target.metadata().is_some() && *target != SqlType::Numeric(None);
        return Ok(if wants_to && !says_so { tagged(expr, target) } else { expr });
    }
    let expr = match target {
        SqlType::Text | SqlType::Name | SqlType::Varchar(_) => super::operator::unpadded(expr, &source),
        _ => expr,
    };
    let data_type = expr.get_type(schema)?;
    if !castable(&source, target, context) {
        return Err(refused(&source, target, context).into());
    }
    let own_call = |name: &str, expr: Expr| own.call(name, vec![expr]);
    // A cast to a nameless field that says nothing of its SQL type would keep what the value's field says of its own.
    let is_marked = expr.to_field(schema)?.1.metadata().contains_key(catalog::sql_type::SQL_TYPE_KEY);
    let tagged = |expr: Expr| match is_marked && target.metadata().is_none() {
        true => Expr::Cast(Cast::new_from_field(Box::new(expr), target.field(OWN_CAST, true).into())),
        false => tagged(expr, target),
    };
    let source_class = class_of(&data_type);
    Ok(match target {
        // A uuid or JSON is text inside: only a function makes it a text for all.
        SqlType::Text | SqlType::Name if matches!(source, SqlType::Uuid | SqlType::Json | SqlType::Jsonb) => {
            tagged(own.call("to_text", vec![expr])?)
        }
        SqlType::Text | SqlType::Name if source == SqlType::Timestamptz && !is_utc(zone) => {
            tagged(own.call("timestamptz_text", vec![expr, Expr::Literal(ScalarValue::from(zone), None)])?)
        }
        SqlType::Text | SqlType::Name => tagged(to_text(expr, schema, own)?),
        SqlType::Catalog(CatalogType::Char) => {
            tagged(limited(to_text(expr, schema, own)?, Some(1), Context::Explicit, false, own)?)
        }
        SqlType::Catalog(catalog_type) if catalog_type.carrier() == SqlType::Text => {
            tagged(to_text(expr, schema, own)?)
        }
        SqlType::Varchar(length) => tagged(limited(to_text(expr, schema, own)?, *length, context, false, own)?),
        SqlType::Char(length) => tagged(limited(to_text(expr, schema, own)?, Some(*length), context, true, own)?),
        SqlType::Uuid if !matches!(source, SqlType::Uuid) => tagged(own_call("text_to_uuid", expr)?),
        SqlType::Boolean if source == SqlType::Jsonb => own_call("jsonb_to_boolean", expr)?,
        SqlType::Double if source == SqlType::Jsonb => own_call("jsonb_to_double", expr)?,
        SqlType::Real if source == SqlType::Jsonb => tagged(own_call("jsonb_to_double", expr)?),
        SqlType::Numeric(None) if source == SqlType::Jsonb => own_call("jsonb_to_numeric", expr)?,
        SqlType::SmallInt | SqlType::Integer | SqlType::BigInt | SqlType::Numeric(_) if source == SqlType::Jsonb => {
            return cast(own_call("jsonb_to_numeric", expr)?, target, context, schema, own, zone);
        }
        SqlType::Json => tagged(own_call("text_to_json", expr)?),
        SqlType::Jsonb => tagged(own_call("text_to_jsonb", expr)?),
        SqlType::Bytea if source_class == Class::Text => own_call("text_to_bytea", expr)?,
        SqlType::Interval if source_class == Class::Text => own_call("text_to_interval", expr)?,
        SqlType::Timestamptz if source_class == Class::Text => {
            own.call("text_to_timestamptz", vec![expr, Expr::Literal(ScalarValue::from(zone), None)])?
        }
        SqlType::Time if source_class == Class::Text => own_call("text_to_time", expr)?,
        SqlType::Timestamp | SqlType::Date if source_class == Class::Text => {
            let timestamp = own_call("text_to_timestamp", expr)?;
            if *target == SqlType::Timestamp { timestamp } else { tagged(timestamp) }
        }
        SqlType::Timestamptz if !is_utc(zone) && matches!(source, SqlType::Timestamp | SqlType::Date) => {
            let local = Expr::Cast(Cast::new(Box::new(expr), SqlType::Timestamp.data_type()));
            own.call("timezone", vec![Expr::Literal(ScalarValue::from(zone), None), local])?
        }
        SqlType::Timestamp | SqlType::Date | SqlType::Time if !is_utc(zone) && source == SqlType::Timestamptz => {
            let local = own.call("timezone", vec![Expr::Literal(ScalarValue::from(zone), None), expr])?;
            if *target == SqlType::Timestamp { local } else { tagged(local) }
        }
        // A half of a double goes to the even neighbour, one of a numeric away from zero.
        SqlType::SmallInt | SqlType::Integer | SqlType::BigInt if source_class == Class::Float => {
            tagged(own_call("float_round", expr)?)
        }
        SqlType::SmallInt | SqlType::Integer | SqlType::BigInt if source_class == Class::Decimal => {
            tagged(datafusion::functions::math::round().call(vec![expr]))
        }
        SqlType::Array(element)
            if rounds(element) && matches!(&source, SqlType::Array(source) if is_fractional(source)) =>
        {
            tagged(own_call("array_round", expr)?)
        }
        SqlType::Array(_) if source_class == Class::Text => {
            let result = ScalarValue::try_from(&target.data_type())?;
            own.call("text_to_array", vec![expr, Expr::Literal(result, None)])?
        }
        SqlType::Array(_) if is_text_array(target) && !is_text_array(&source) => own_call("array_to_texts", expr)?,
        SqlType::Real if data_type == DataType::Float64 => own_call("double_to_real", expr)?,
        SqlType::Numeric(_) if source_class == Class::Float => {
            let result = ScalarValue::try_from(&target.data_type())?;
            let call = own.call("float_to_numeric", vec![expr, Expr::Literal(result, None)])?;
            if *target == SqlType::Numeric(None) { call } else { tagged(call) }
        }
        SqlType::Double if source_class == Class::Text => own_call("text_to_double", expr)?,
        SqlType::Real if source_class == Class::Text => own_call("text_to_real", expr)?,
        SqlType::Time if source == SqlType::Interval => own_call("interval_to_time", expr)?,
        SqlType::Interval if source == SqlType::Time => own_call("time_to_interval", expr)?,
        SqlType::Numeric(None) => match source_class {
            // Without precision and scale of its own, a numeric keeps what it is.
            Class::Decimal => expr,
            Class::Integer => super::operator::as_decimal(expr, &data_type),
            Class::Text => own_call("text_to_numeric", expr)?,
            _ => tagged(expr),
        },
        _ => tagged(expr),
    })
}

/// Whether a cast to the type, or to what its elements are, leaves no fraction.
fn rounds(target: &SqlType) -> bool {
    match target {
        SqlType::SmallInt | SqlType::Integer | SqlType::BigInt => true,
        SqlType::Array(element) => rounds(element),
        _ => false,
    }
}

fn is_text_array(sql_type: &SqlType) -> bool {
    match sql_type {
        SqlType::Array(element) => **element == SqlType::Text || is_text_array(element),
        _ => false,
    }
}

fn is_fractional(source: &SqlType) -> bool {
    match source {
        SqlType::Real | SqlType::Double | SqlType::Numeric(_) => true,
        SqlType::Array(element) => is_fractional(element),
        _ => false,
    }
}

/// A cast to the Arrow type, with the metadata that names the SQL type.
fn tagged(expr: Expr, target: &SqlType) -> Expr {
    if *target == SqlType::Numeric(None) {
        // Its digits say it.
        return Expr::Cast(Cast::new(Box::new(expr), target.data_type()));
    }
    let field: FieldRef = target.field("", true).into();
    Expr::Cast(Cast::new_from_field(Box::new(expr), field))
}

/// Literals and parameters without a type of their own.
fn unknown(expr: Expr, target: &SqlType, context: Context, own: &OwnFunctions, zone: &str) -> DataFusionResult<Expr> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), None) => {
            if let SqlType::Varchar(Some(length)) | SqlType::Char(length) = target {
                check_length(&text, *length, target, context)?;
            }
            let has_offset = || literal::date_time(text.trim()).is_some_and(|(_, offset)| offset.is_some());
            if *target == SqlType::Timestamptz && !is_utc(zone) && !has_offset() {
                let local = Expr::Literal(literal::parse(&text, &SqlType::Timestamp)?, None);
                return own.call("timezone", vec![Expr::Literal(ScalarValue::from(zone), None), local]);
            }
            let parsed_as = match (target, context) {
                (SqlType::Numeric(None), Context::Explicit) => &written_numeric(&text),
                _ => target,
            };
            let value = literal::parse(&text, parsed_as)?;
            let literal = Expr::Literal(value, None);
            let needs_tag = match target {
                // A bare number that is small is an integer; one that is said to be a bigint stays one.
                SqlType::BigInt => true,
                SqlType::Numeric(None) => false,
                _ => target.metadata().is_some(),
            };
            Ok(if needs_tag { tagged(literal, target) } else { literal })
        }
        placeholder @ Expr::Placeholder(_) => Ok(super::operator::resolve(placeholder, target)?),
        other => Ok(tagged(other, target)),
    }
}

fn check_length(text: &str, length: u32, target: &SqlType, context: Context) -> Result<()> {
    let excess = text.chars().skip(length as usize).any(|character| character != ' ');
    if context == Context::Assignment && excess {
        return Err(Error::new(ErrorKind::StringTooLong, format!("value too long for type {target}")));
    }
    Ok(())
}

/// Cuts a text to a length, or refuses it where a value is stored; `char(n)` is filled with blanks.
fn limited(expr: Expr, length: Option<u32>, context: Context, pad: bool, own: &OwnFunctions) -> DataFusionResult<Expr> {
    let Some(length) = length else { return Ok(expr) };
    let length_literal = Expr::Literal(ScalarValue::Int64(Some(i64::from(length))), None);
    let cut = match context {
        Context::Explicit => datafusion::functions::unicode::left().call(vec![expr, length_literal.clone()]),
        Context::Assignment => own.call("check_length", vec![expr, length_literal.clone()])?,
    };
    Ok(if pad { datafusion::functions::unicode::rpad().call(vec![cut, length_literal]) } else { cut })
}

pub(crate) fn is_utc(zone: &str) -> bool {
    ["utc", "gmt", "etc/utc", "etc/gmt", "zulu", "0", "+00:00", "+0"].contains(&zone.to_lowercase().as_str())
}

/// The text of a value as PostgreSQL prints it.
pub(crate) fn to_text(expr: Expr, schema: &DFSchema, own: &OwnFunctions) -> DataFusionResult<Expr> {
    let data_type = expr.get_type(schema)?;
    let plain_cast = |expr| super::operator::cast(expr, DataType::Utf8View);
    Ok(match &data_type {
        DataType::Utf8View => expr,
        data_type if data_type.is_string() || data_type.is_integer() => plain_cast(expr),
        DataType::Boolean | DataType::Date32 | DataType::Null => plain_cast(expr),
        _ => own.call("to_text", vec![expr])?,
    })
}

/// Whether PostgreSQL has the cast.
fn castable(source: &SqlType, target: &SqlType, context: Context) -> bool {
    use SqlType::{
        Array, BigInt, Boolean, Bytea, Char, Date, Double, Integer, Interval, Json, Jsonb, Name, Numeric, Oid, Real,
        SmallInt, Text, Time, Timestamp, Timestamptz, Uuid, Varchar,
    };
    // Types of the catalog go where the plain types go that they are inside.
    if let SqlType::Catalog(catalog_type) = source {
        return castable(&catalog_type.carrier(), target, context);
    }
    if let SqlType::Catalog(catalog_type) = target {
        return castable(source, &catalog_type.carrier(), context);
    }
    let textual = |sql_type: &SqlType| matches!(sql_type, Text | Varchar(_) | Char(_) | Name);
    let numeric =
        |sql_type: &SqlType| matches!(sql_type, SmallInt | Integer | BigInt | Real | Double | Numeric(_) | Oid);
    match (source, target) {
        _ if source == target => true,
        (_, target) if textual(target) => true,
        (source, _) if textual(source) => context == Context::Explicit || textual(target),
        (source, target) if numeric(source) && numeric(target) => true,
        (Boolean, Integer) | (Integer, Boolean) => context == Context::Explicit,
        (Date | Timestamp | Timestamptz, Date | Timestamp | Timestamptz) => true,
        (Timestamp | Timestamptz | Interval, Time) | (Time, Interval) => true,
        (Json | Jsonb, Json | Jsonb) => true,
        (Jsonb, Boolean | SmallInt | Integer | BigInt | Real | Double | Numeric(_)) => context == Context::Explicit,
        (Array(source), Array(target)) => castable(source, target, context),
        (Uuid, Bytea) | (Bytea, Uuid) => false,
        _ => false,
    }
}

fn refused(source: &SqlType, target: &SqlType, context: Context) -> Error {
    match context {
        Context::Explicit => Error::new(ErrorKind::CannotCoerce, format!("cannot cast type {source} to {target}")),
        Context::Assignment => Error::new(
            ErrorKind::DatatypeMismatch,
            format!("column is of type {target} but expression is of type {source}"),
        )
        .with_hint("You will need to rewrite or cast the expression."),
    }
}
