//! Operators with PostgreSQL's types: which operands go together, what literals without a type become, what the result is.

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use catalog::SqlType;
use datafusion::common::{DFSchema, Result as DataFusionResult, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, Cast, Placeholder};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};
use sql::ast::BinaryOperator;

use super::literal;
use crate::error::ErrorKind;
use crate::functions::{OwnFunctions, json_contains};
use crate::{Error, Result};

/// Plans operators that DataFusion lacks, as it reads the syntax tree.
#[derive(Debug)]
pub(crate) struct Operators {
    own: OwnFunctions,
}

impl Operators {
    pub(crate) fn new(own: OwnFunctions) -> Self {
        Self { own }
    }
}

impl Operators {
    /// `||`, `&&`, `@>` and `<@` with an array on one side.
    fn array_operator(&self, raw: &RawBinaryExpr, schema: &DFSchema) -> DataFusionResult<Option<Expr>> {
        let array_type = |expr: &Expr| match sql_type_of(expr, schema) {
            Ok(array @ SqlType::Array(_)) if !is_unknown(expr) => Some(array),
            _ => None,
        };
        let (left, right) = (narrowed(raw.left.clone()), narrowed(raw.right.clone()));
        let known = match (array_type(&left), array_type(&right)) {
            (Some(array), _) | (None, Some(array)) => array,
            (None, None) => return Ok(None),
        };
        let operands =
            || -> Result<Vec<Expr>> { Ok(vec![resolve(left.clone(), &known)?, resolve(right.clone(), &known)?]) };
        let both =
            (is_unknown(&left) || array_type(&left).is_some()) && (is_unknown(&right) || array_type(&right).is_some());
        Ok(match raw.op {
            BinaryOperator::PGOverlap if both => Some(self.own.call("array_overlap", operands()?)?),
            BinaryOperator::AtArrow if both => Some(self.own.call("array_contains", operands()?)?),
            BinaryOperator::ArrowAt if both => {
                let mut operands = operands()?;
                operands.reverse();
                Some(self.own.call("array_contains", operands)?)
            }
            BinaryOperator::StringConcat
                if both && (array_type(&left) == array_type(&right) || is_unknown(&left) || is_unknown(&right)) =>
            {
                Some(self.own.call("array_cat", operands()?)?)
            }
            _ => None,
        })
    }

    /// An operator that jsonb shares with arrays, or has alone.
    fn jsonb_operator(&self, raw: RawBinaryExpr, schema: &DFSchema) -> DataFusionResult<PlannerResult<RawBinaryExpr>> {
        let is_jsonb = |expr: &Expr| matches!(sql_type_of(expr, schema), Ok(SqlType::Jsonb));
        let Some((function, swapped)) = json_contains::of_operator(&raw.op) else {
            return Ok(PlannerResult::Original(raw));
        };
        let names =
            matches!(raw.op, BinaryOperator::QuestionPipe | BinaryOperator::QuestionAnd | BinaryOperator::HashMinus);
        let (left, right) = match (is_jsonb(&raw.left), is_jsonb(&raw.right)) {
            (true, _) if names => (raw.left, resolve(raw.right, &SqlType::Array(Box::new(SqlType::Text)))?),
            (true, _)
                if matches!(raw.op, BinaryOperator::Question | BinaryOperator::AtQuestion | BinaryOperator::AtAt) =>
            {
                (raw.left, resolve(raw.right, &SqlType::Text)?)
            }
            (true, _) => (raw.left, resolve(raw.right, &SqlType::Jsonb)?),
            (false, true) => (resolve(raw.left, &SqlType::Jsonb)?, raw.right),
            _ => return Ok(PlannerResult::Original(raw)),
        };
        let operands = if swapped { vec![right, left] } else { vec![left, right] };
        Ok(PlannerResult::Planned(self.own.call(function, operands)?))
    }
}

impl ExprPlanner for Operators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> DataFusionResult<PlannerResult<RawBinaryExpr>> {
        if matches!(
            raw.op,
            BinaryOperator::StringConcat
                | BinaryOperator::PGOverlap
                | BinaryOperator::AtArrow
                | BinaryOperator::ArrowAt
        ) && let Some(planned) = self.array_operator(&raw, schema)?
        {
            return Ok(PlannerResult::Planned(planned));
        }
        let function = match raw.op {
            BinaryOperator::Arrow => "json_get",
            BinaryOperator::LongArrow => "json_get_text",
            BinaryOperator::HashArrow => "json_get_path",
            BinaryOperator::HashLongArrow => "json_get_path_text",
            BinaryOperator::PGExp => "power",
            BinaryOperator::Custom(name) => {
                let name_of = |expr: &Expr| sql_type_of(&narrowed(expr.clone()), schema).unwrap_or(SqlType::Text);
                return Err(missing_operator(&name, &name_of(&raw.left), &name_of(&raw.right)).into());
            }
            BinaryOperator::AtArrow
            | BinaryOperator::ArrowAt
            | BinaryOperator::Question
            | BinaryOperator::QuestionPipe
            | BinaryOperator::QuestionAnd
            | BinaryOperator::HashMinus
            | BinaryOperator::AtQuestion
            | BinaryOperator::AtAt => return self.jsonb_operator(raw, schema),
            _ => {
                let Some(op) = typed_operator(&raw.op) else { return Ok(PlannerResult::Original(raw)) };
                let (left, right) = (raw.left.clone(), raw.right.clone());
                return Ok(match binary(op, left, right, schema, &self.own)? {
                    Some(planned) => PlannerResult::Planned(planned),
                    None => PlannerResult::Original(raw),
                });
            }
        };
        if function == "power" {
            return Ok(PlannerResult::Planned(self.own.call(function, vec![raw.left, raw.right])?));
        }
        // A number picks an element of an array, a text a member of an object.
        let right = narrowed(raw.right);
        Ok(PlannerResult::Planned(self.own.call(function, vec![raw.left, right])?))
    }
}

/// The operators whose operands are typed here.
fn typed_operator(op: &BinaryOperator) -> Option<Operator> {
    Some(match op {
        BinaryOperator::Plus => Operator::Plus,
        BinaryOperator::Minus => Operator::Minus,
        BinaryOperator::Multiply => Operator::Multiply,
        BinaryOperator::Divide => Operator::Divide,
        BinaryOperator::Modulo => Operator::Modulo,
        BinaryOperator::Eq => Operator::Eq,
        BinaryOperator::NotEq => Operator::NotEq,
        BinaryOperator::Lt => Operator::Lt,
        BinaryOperator::LtEq => Operator::LtEq,
        BinaryOperator::Gt => Operator::Gt,
        BinaryOperator::GtEq => Operator::GtEq,
        BinaryOperator::StringConcat => Operator::StringConcat,
        _ => return None,
    })
}

/// What kind of value an expression has, as far as operators care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A literal, a NULL or a parameter whose type the context decides.
    Unknown,
    Boolean,
    Integer,
    Decimal,
    Float,
    Text,
    Bytes,
    Date,
    Time,
    Timestamp,
    Interval,
    /// Lists, and whatever else DataFusion may know better.
    Other,
}

/// The kind of an Arrow type.
pub(crate) fn class_of(data_type: &DataType) -> Class {
    match data_type {
        DataType::Null => Class::Unknown,
        DataType::Boolean => Class::Boolean,
        data_type if data_type.is_integer() => Class::Integer,
        data_type if data_type.is_decimal() => Class::Decimal,
        data_type if data_type.is_floating() => Class::Float,
        data_type if data_type.is_string() => Class::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Class::Bytes,
        DataType::Date32 | DataType::Date64 => Class::Date,
        DataType::Time32(_) | DataType::Time64(_) => Class::Time,
        DataType::Timestamp(..) => Class::Timestamp,
        DataType::Interval(_) | DataType::Duration(_) => Class::Interval,
        _ => Class::Other,
    }
}

/// Whether the context decides about the type of this expression.
pub(crate) fn is_unknown(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(_)) | ScalarValue::Null, None) => true,
        Expr::Placeholder(placeholder) => placeholder.field.is_none(),
        _ => false,
    }
}

/// The SQL type of an expression.
pub(crate) fn sql_type_of(expr: &Expr, schema: &DFSchema) -> DataFusionResult<SqlType> {
    let (_, field) = expr.to_field(schema)?;
    Ok(SqlType::of_field(&field).unwrap_or(SqlType::Text))
}

/// An expression of unknown type as one of `sql_type`; any other one as it is.
pub(crate) fn resolve(expr: Expr, sql_type: &SqlType) -> Result<Expr> {
    Ok(match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), None) => typed_literal(&text, sql_type)?,
        Expr::Placeholder(Placeholder { id, field: None }) => {
            Expr::Placeholder(Placeholder { field: Some(sql_type.field(&id, true).into()), id })
        }
        other => other,
    })
}

/// A text as a literal of a type; a numeric keeps the digits that were written.
pub(crate) fn typed_literal(text: &str, sql_type: &SqlType) -> Result<Expr> {
    let sql_type = match sql_type {
        SqlType::Numeric(_) => &written_numeric(text),
        // A value of a limited type need not fit to be compared.
        SqlType::Varchar(_) | SqlType::Char(_) => &SqlType::Text,
        other => other,
    };
    Ok(Expr::Literal(literal::parse(text, sql_type)?, None))
}

/// The type as which a literal that is cast is read: a plain numeric keeps the digits that were written.
pub(crate) fn of_literal(text: &str, target: SqlType) -> SqlType {
    match target {
        SqlType::Numeric(None) => written_numeric(text),
        other => other,
    }
}

/// The precision and scale of a number as it is written.
pub(crate) fn written_numeric(text: &str) -> SqlType {
    let text = text.trim();
    if text.contains(['e', 'E']) {
        return SqlType::Numeric(None);
    }
    let digits = text.trim_start_matches(['-', '+']);
    let scale = digits.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let precision = digits.bytes().filter(u8::is_ascii_digit).count().max(1);
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) => SqlType::Numeric(Some((precision.max(scale as u8), scale))),
        _ => SqlType::Numeric(None),
    }
}

/// An integer literal is an int4 if it fits.
pub(crate) fn narrowed(expr: Expr) -> Expr {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => match i32::try_from(value) {
            Ok(value) => Expr::Literal(ScalarValue::Int32(Some(value)), metadata),
            Err(_) => Expr::Literal(ScalarValue::Int64(Some(value)), metadata),
        },
        Expr::Literal(ScalarValue::UInt64(Some(value)), metadata) => {
            Expr::Literal(ScalarValue::Decimal128(Some(i128::from(value)), 20, 0), metadata)
        }
        other => other,
    }
}

/// Types the operands of an operator; `None` leaves the expression to DataFusion as it is. Doing it twice changes nothing.
pub(crate) fn binary(
    op: Operator,
    left: Expr,
    right: Expr,
    schema: &DFSchema,
    own: &OwnFunctions,
) -> DataFusionResult<Option<Expr>> {
    let (left, right) = (narrowed(left), narrowed(right));
    // A column that doesn't exist is told by DataFusion, which knows where it stands.
    let (Ok(left_type), Ok(right_type)) = (sql_type_of(&left, schema), sql_type_of(&right, schema)) else {
        return Ok(None);
    };
    if let Some(planned) = of_jsonb(op, (&left, &left_type), (&right, &right_type), own)? {
        return Ok(Some(planned));
    }
    let (left, right) = (unpadded(left, &left_type), unpadded(right, &right_type));
    let (left, right) = match (is_unknown(&left), is_unknown(&right)) {
        (true, false) => (resolve(left, &partner(op, &right_type, false))?, right),
        (false, true) => {
            let partner = partner(op, &left_type, true);
            (left, resolve(right, &partner)?)
        }
        _ => (left, right),
    };
    let (Ok(left_arrow), Ok(right_arrow)) = (left.get_type(schema), right.get_type(schema)) else { return Ok(None) };
    let classes =
        |expr: &Expr, data_type: &DataType| if is_unknown(expr) { Class::Unknown } else { class_of(data_type) };
    let (left_class, right_class) = (classes(&left, &left_arrow), classes(&right, &right_arrow));
    let plain = |left: Expr, right: Expr| Some(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))));
    let compares = compares(op);
    if left_class == Class::Other || right_class == Class::Other {
        // Two lists are compared as they are; DataFusion has functions for the rest.
        return Ok(if compares && left_class == right_class { plain(left, right) } else { None });
    }
    let none = || missing(op, &left_type, &right_type);
    // A double beside a numeric makes a double of it: NaN and infinity have no numeric.
    let (left, left_class, left_arrow, right, right_class, right_arrow) = match (left_class, right_class) {
        (Class::Float, Class::Decimal) => {
            (left, left_class, left_arrow, cast(right, DataType::Float64), Class::Float, DataType::Float64)
        }
        (Class::Decimal, Class::Float) => {
            (cast(left, DataType::Float64), Class::Float, DataType::Float64, right, right_class, right_arrow)
        }
        _ => (left, left_class, left_arrow, right, right_class, right_arrow),
    };
    if op == Operator::StringConcat {
        return Ok(match (left_class, right_class) {
            (Class::Text | Class::Unknown, Class::Text | Class::Unknown) => plain(left, right),
            (Class::Text | Class::Unknown, _) => plain(left, super::cast::to_text(right, schema, own)?),
            (_, Class::Text | Class::Unknown) => plain(super::cast::to_text(left, schema, own)?, right),
            (Class::Bytes, Class::Bytes) => plain(left, right),
            _ => return Err(none().into()),
        });
    }
    if compares && left_class == Class::Interval && right_class == Class::Interval {
        // By its length: a month has 30 days, and a day 24 hours.
        let length = |expr| own.call("interval_length", vec![expr]);
        return Ok(plain(length(left)?, length(right)?));
    }
    if compares {
        return if comparable(left_class, right_class) { Ok(plain(left, right)) } else { Err(none().into()) };
    }
    if !matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo) {
        return Ok(None);
    }
    let (left, left_class, left_arrow) = signed(left, left_class, left_arrow);
    let (right, right_class, right_arrow) = signed(right, right_class, right_arrow);
    arithmetic(op, (left, left_class, &left_arrow), (right, right_class, &right_arrow), own)?
        .map_or_else(|| Err(none().into()), |planned| Ok(Some(planned)))
}

fn is_comparison(op: Operator) -> bool {
    matches!(op, Operator::Eq | Operator::NotEq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

/// Comparisons, and those that tell a NULL from what is none.
fn compares(op: Operator) -> bool {
    is_comparison(op) || matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
}

/// Operators of jsonb that other types have too: `||`, `-`, comparisons.
fn of_jsonb(
    op: Operator,
    (left, left_type): (&Expr, &SqlType),
    (right, right_type): (&Expr, &SqlType),
    own: &OwnFunctions,
) -> DataFusionResult<Option<Expr>> {
    let is_jsonb = |expr: &Expr, sql_type: &SqlType| *sql_type == SqlType::Jsonb && !is_unknown(expr);
    let (left_is, right_is) = (is_jsonb(left, left_type), is_jsonb(right, right_type));
    let joins = |expr: &Expr, is: bool| is || is_unknown(expr);
    let is_json = |expr: &Expr, sql_type: &SqlType| *sql_type == SqlType::Json && !is_unknown(expr);
    // Rows of json are told apart as well, where they are taken along.
    if is_comparison(op) && (is_json(left, left_type) || is_json(right, right_type)) {
        return Err(missing(op, left_type, right_type).into());
    }
    Ok(match op {
        Operator::StringConcat if (left_is || right_is) && joins(left, left_is) && joins(right, right_is) => {
            let operands = vec![resolve(left.clone(), &SqlType::Jsonb)?, resolve(right.clone(), &SqlType::Jsonb)?];
            Some(own.call("jsonb_concat", operands)?)
        }
        Operator::Minus if left_is => {
            let right = resolve(right.clone(), &SqlType::Text)?;
            let takes = is_unknown(&right)
                || matches!(right_type, SqlType::Text | SqlType::Varchar(_) | SqlType::SmallInt | SqlType::Integer)
                || *right_type == SqlType::Array(Box::new(SqlType::Text));
            match takes {
                true => Some(own.call("jsonb_delete", vec![left.clone(), right])?),
                false => return Err(missing(op, left_type, right_type).into()),
            }
        }
        op if compares(op) && (left_is || right_is) && joins(left, left_is) && joins(right, right_is) => {
            let key = |expr: &Expr| -> DataFusionResult<Box<Expr>> {
                Ok(Box::new(own.call("jsonb_sort_key", vec![resolve(expr.clone(), &SqlType::Jsonb)?])?))
            };
            Some(Expr::BinaryExpr(BinaryExpr::new(key(left)?, op, key(right)?)))
        }
        _ => None,
    })
}

/// What DataFusion counts without a sign (`row_number()`, `regr_count`) is a bigint, and divides as one.
fn signed(expr: Expr, class: Class, data_type: DataType) -> (Expr, Class, DataType) {
    match data_type {
        DataType::UInt64 => (cast(expr, DataType::Int64), Class::Integer, DataType::Int64),
        other => (expr, class, other),
    }
}

/// The blanks that fill a `char(n)` up are no part of the value that operators and functions see.
pub(crate) fn unpadded(expr: Expr, sql_type: &SqlType) -> Expr {
    match sql_type {
        SqlType::Char(_) if !is_unknown(&expr) => datafusion::functions::string::rtrim().call(vec![expr]),
        _ => expr,
    }
}

/// What an operand without a type becomes, opposite to one of type `known`.
fn partner(op: Operator, known: &SqlType, known_is_left: bool) -> SqlType {
    match (op, known) {
        (Operator::StringConcat, SqlType::Bytea | SqlType::Array(_)) => known.clone(),
        (Operator::StringConcat, _) => SqlType::Text,
        (Operator::Plus, SqlType::Timestamp | SqlType::Timestamptz) => SqlType::Interval,
        (Operator::Plus, SqlType::Time) if known_is_left => SqlType::Interval,
        (Operator::Plus | Operator::Minus, SqlType::Date) => {
            if op == Operator::Minus {
                SqlType::Date
            } else {
                SqlType::Integer
            }
        }
        (Operator::Multiply | Operator::Divide, SqlType::Interval) => SqlType::Double,
        (_, known) => known.clone(),
    }
}

pub(crate) fn comparable(left: Class, right: Class) -> bool {
    use Class::{Date, Decimal, Float, Integer, Timestamp, Unknown};
    let numeric = |class| matches!(class, Integer | Decimal | Float);
    left == right
        || left == Unknown
        || right == Unknown
        || numeric(left) && numeric(right)
        || matches!((left, right), (Date, Timestamp) | (Timestamp, Date))
}

/// `operator does not exist: integer = text`.
pub(crate) fn missing(op: Operator, left: &SqlType, right: &SqlType) -> Error {
    missing_operator(&op.to_string(), left, right)
}

/// The name of a type without what limits its values.
pub(crate) fn type_name(sql_type: &SqlType) -> String {
    match sql_type {
        SqlType::Numeric(_) => "numeric".to_owned(),
        SqlType::Varchar(_) => "character varying".to_owned(),
        SqlType::Char(_) => "character".to_owned(),
        other => other.to_string(),
    }
}

/// As [`missing`], for an operator that nothing has.
pub(crate) fn missing_operator(op: &str, left: &SqlType, right: &SqlType) -> Error {
    let message = format!("operator does not exist: {} {op} {}", type_name(left), type_name(right));
    Error::new(ErrorKind::UndefinedFunction, message)
        .with_hint("No operator matches the given name and argument types. You might need to add explicit type casts.")
}

/// The name of the field of a cast that no statement has written: [`super::typing`] leaves it as it is.
pub(crate) const OWN_CAST: &str = "~";

/// A cast of our own.
pub(crate) fn cast(expr: Expr, data_type: DataType) -> Expr {
    let field = Field::new(OWN_CAST, data_type, true);
    Expr::Cast(Cast::new_from_field(Box::new(expr), field.into()))
}

/// Arithmetic; `None` if there is no such operator.
fn arithmetic(
    op: Operator,
    (left, left_class, left_type): (Expr, Class, &DataType),
    (right, right_class, right_type): (Expr, Class, &DataType),
    own: &OwnFunctions,
) -> DataFusionResult<Option<Expr>> {
    use Class::{Boolean, Bytes, Date, Decimal, Float, Integer, Interval, Text, Time, Timestamp, Unknown};
    let plain = |left: Expr, right: Expr| Some(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))));
    let micros = |zone| DataType::Timestamp(TimeUnit::Microsecond, zone);
    Ok(match (left_class, op, right_class) {
        (Decimal, Operator::Divide, Decimal | Integer) | (Integer, Operator::Divide, Decimal) => {
            let mut args = vec![as_decimal(left, left_type), as_decimal(right, right_type)];
            if let Some(scale) = super::result_scale::of_quotient(&args[0], &args[1]) {
                args.push(Expr::Literal(ScalarValue::Decimal128(None, 38, scale), None));
            }
            Some(own.call("numeric_div", args)?)
        }
        // A real beside another type of number is double precision.
        (Float, _, Integer | Decimal) if *left_type == DataType::Float32 => {
            plain(cast(left, DataType::Float64), cast(right, DataType::Float64))
        }
        (Integer | Decimal, _, Float) if *right_type == DataType::Float32 => {
            plain(cast(left, DataType::Float64), cast(right, DataType::Float64))
        }
        (Integer | Decimal | Float | Unknown, _, Integer | Decimal | Float | Unknown) => plain(left, right),
        (Date, Operator::Minus, Date) => {
            let days = |expr| cast(expr, DataType::Int32);
            plain(days(left), days(right))
        }
        (Date, Operator::Plus | Operator::Minus, Integer) => {
            let days = plain(cast(left, DataType::Int32), cast(right, DataType::Int32));
            days.map(|days| cast(days, DataType::Date32))
        }
        (Integer, Operator::Plus, Date) => {
            let days = plain(cast(left, DataType::Int32), cast(right, DataType::Int32));
            days.map(|days| cast(days, DataType::Date32))
        }
        (Timestamp, Operator::Minus, Timestamp) => Some(own.call("timestamp_diff", vec![left, right])?),
        (Timestamp, Operator::Minus, Date) => {
            Some(own.call("timestamp_diff", vec![left, cast(right, left_type.clone())])?)
        }
        (Date, Operator::Minus, Timestamp) => {
            Some(own.call("timestamp_diff", vec![cast(left, right_type.clone()), right])?)
        }
        (Date, Operator::Plus | Operator::Minus, Interval) => {
            plain(cast(left, micros(None)), interval(right, right_type))
        }
        (Interval, Operator::Plus, Date) => plain(interval(left, left_type), cast(right, micros(None))),
        (Date | Timestamp, Operator::Plus, Time) | (Timestamp, Operator::Minus, Time) => {
            let left = if left_class == Date { cast(left, micros(None)) } else { left };
            plain(left, own.call("time_to_interval", vec![right])?)
        }
        (Time, Operator::Plus, Date | Timestamp) => {
            let right = if right_class == Date { cast(right, micros(None)) } else { right };
            plain(own.call("time_to_interval", vec![left])?, right)
        }
        (Timestamp, Operator::Plus | Operator::Minus, Interval) => plain(left, interval(right, right_type)),
        (Interval, Operator::Plus, Timestamp) => plain(interval(left, left_type), right),
        (Interval, Operator::Plus | Operator::Minus, Interval) => {
            plain(interval(left, left_type), interval(right, right_type))
        }
        (Interval, Operator::Multiply, Integer | Decimal | Float) => {
            Some(own.call("interval_mul", vec![interval(left, left_type), cast(right, DataType::Float64)])?)
        }
        (Integer | Decimal | Float, Operator::Multiply, Interval) => {
            Some(own.call("interval_mul", vec![interval(right, right_type), cast(left, DataType::Float64)])?)
        }
        (Interval, Operator::Divide, Integer | Decimal | Float) => {
            Some(own.call("interval_div", vec![interval(left, left_type), cast(right, DataType::Float64)])?)
        }
        (Time, Operator::Minus, Time) => {
            let interval = |expr| own.call("time_to_interval", vec![expr]);
            plain(interval(left)?, interval(right)?)
        }
        (Time, Operator::Plus | Operator::Minus, Interval) | (Interval, Operator::Plus, Time) => plain(left, right),
        (Unknown, _, _) | (_, _, Unknown) => plain(left, right),
        (Text | Bytes | Boolean, ..) | (_, _, Text | Bytes | Boolean) => None,
        _ => None,
    })
}

fn month_day_nano() -> DataType {
    DataType::Interval(IntervalUnit::MonthDayNano)
}

fn interval(expr: Expr, data_type: &DataType) -> Expr {
    if *data_type == month_day_nano() { expr } else { cast(expr, month_day_nano()) }
}

/// An integer as a decimal that holds all its values.
pub(crate) fn as_decimal(expr: Expr, data_type: &DataType) -> Expr {
    match data_type {
        DataType::Decimal128(..) => expr,
        DataType::Decimal256(_, scale) => cast(expr, DataType::Decimal128(38, *scale)),
        DataType::Int64 | DataType::UInt64 => cast(expr, DataType::Decimal128(20, 0)),
        _ => cast(expr, DataType::Decimal128(10, 0)),
    }
}
