//! Literals: texts, intervals, and times that the clock says.

use arrow::datatypes::IntervalMonthDayNano;
use sql::Span;
use sql::ast::{self, BinaryOperator, DataType, DateTimeField, Expr, IntervalFields, Value};

use super::{call, cast};
use crate::query::{interval, types, written_cast};
use crate::{Error, Result};

/// `'today'::date`, `timestamp 'now'`: a time that the clock says.
pub(super) fn moving_time(text: &str, data_type: &DataType) -> Option<Expr> {
    let day = |days: &str| {
        let today = Expr::Nested(Box::new(cast(call("now", Vec::new()), "date")));
        Expr::Nested(Box::new(Expr::BinaryOp {
            left: Box::new(today),
            op: BinaryOperator::Plus,
            right: Box::new(Expr::Nested(Box::new(cast(Expr::value(Value::Number(days.to_owned(), false)), "int4")))),
        }))
    };
    let target = types::sql_type(data_type).ok()?;
    let is_moment =
        matches!(target, catalog::SqlType::Date | catalog::SqlType::Timestamp | catalog::SqlType::Timestamptz);
    let moment = match text.trim().to_lowercase().as_str() {
        "now" if is_moment || target == catalog::SqlType::Time => call("now", Vec::new()),
        "today" if is_moment => day("0"),
        "tomorrow" if is_moment => day("1"),
        "yesterday" if is_moment => day("-1"),
        _ => return None,
    };
    Some(written_cast::call(moment, data_type.clone()))
}

pub(super) fn string_literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => value_text(&value.value),
        Expr::Nested(inner) => string_literal(inner),
        _ => None,
    }
}

/// Whether a pattern of LIKE ends with its escape character.
pub(super) fn is_open(pattern: &str) -> bool {
    pattern.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

pub(super) fn value_text(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
        Value::DollarQuotedString(text) => Some(&text.value),
        _ => None,
    }
}

/// An interval literal in the form that DataFusion's parser reads.
pub(super) fn interval_literal(literal: &ast::Interval, span: Option<Span>) -> Result<ast::Interval> {
    let written = match &*literal.value {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => Some(digits.as_str()),
            other => value_text(other),
        },
        other => string_literal(other),
    };
    let Some(written) = written else {
        return Err(Error::unsupported("an interval that is not a literal")
            .with_hint("Use make_interval, or multiply an interval.")
            .at(span));
    };
    let field = |field: &Option<ast::DateTimeField>| field.as_ref().map(|field| field.to_string().to_lowercase());
    let fields = (field(&literal.leading_field), field(&literal.last_field));
    let value = interval::parse_within(written, (fields.0.as_deref(), fields.1.as_deref()))
        .ok_or_else(|| interval::unreadable(written).at(span))?;
    Ok(ast::Interval {
        value: Box::new(Expr::value(Value::SingleQuotedString(datafusion_text(value)))),
        leading_field: None,
        leading_precision: None,
        last_field: None,
        fractional_seconds_precision: None,
    })
}

/// A cast to an interval of certain fields, `x::interval day to minute`: read as such a literal is, or cut behind the last of them.
pub(super) fn interval_of_fields(value: &Expr, fields: IntervalFields, precision: Option<u64>) -> Expr {
    let named = fields.to_string().to_lowercase();
    let (first, last) = named.split_once(" to ").map_or((named.as_str(), None), |(first, last)| (first, Some(last)));
    let smallest = last.unwrap_or(first);
    if string_literal(value).is_some() {
        return Expr::Interval(ast::Interval {
            value: Box::new(value.clone()),
            leading_field: Some(field_named(first)),
            leading_precision: None,
            last_field: last.map(field_named),
            fractional_seconds_precision: precision,
        });
    }
    let whole = written_cast::call(value.clone(), DataType::Interval { fields: None, precision: None });
    match (smallest, precision) {
        ("second", None) => whole,
        ("second", Some(digits)) => {
            call("interval_scale", vec![whole, Expr::value(Value::Number(digits.to_string(), false))])
        }
        (unit, _) => call("interval_trunc", vec![Expr::value(Value::SingleQuotedString(unit.to_owned())), whole]),
    }
}

fn field_named(name: &str) -> DateTimeField {
    match name {
        "year" => DateTimeField::Year,
        "month" => DateTimeField::Month,
        "day" => DateTimeField::Day,
        "hour" => DateTimeField::Hour,
        "minute" => DateTimeField::Minute,
        _ => DateTimeField::Second,
    }
}

fn datafusion_text(value: IntervalMonthDayNano) -> String {
    format!("{} months {} days {} nanoseconds", value.months, value.days, value.nanoseconds)
}
