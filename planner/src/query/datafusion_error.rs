//! DataFusion's errors in PostgreSQL's words, with the place that they carry.

use catalog::nearest;
use datafusion::common::{Column, DataFusionError, Diagnostic, SchemaError, Span as PlanSpan};
use sql::{Position, Span};

use crate::Error;
use crate::error::{DataError, ErrorKind};

/// Our own error if it is one, else the nearest that PostgreSQL has.
pub(crate) fn translate(error: DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(error) => *error,
            Err(other) => foreign(&other.to_string()),
        },
        DataFusionError::Diagnostic(diagnostic, inner) => {
            let span = diagnostic_span(&diagnostic);
            translate(*inner).at(span)
        }
        DataFusionError::Context(_, inner) => translate(*inner),
        DataFusionError::Shared(inner) => translate_shared(&inner),
        DataFusionError::Collection(errors) => match errors.into_iter().next() {
            Some(first) => translate(first),
            None => Error::internal("no error among the errors"),
        },
        DataFusionError::SchemaError(error, _) => schema_error(&error),
        DataFusionError::Plan(message) => plan_error(first_line(&message)),
        DataFusionError::NotImplemented(message) => not_implemented(&message),
        DataFusionError::ArrowError(error, _) => super::arrow_error::translate(&error),
        DataFusionError::SQL(error, _) => Error::new(ErrorKind::Syntax, error.to_string()),
        DataFusionError::Execution(message) => plan_error(first_line(&message)),
        other => Error::internal(first_line(&other.to_string()).to_owned()),
    }
}

fn translate_shared(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(error) => error.clone(),
            None => foreign(&inner.to_string()),
        },
        DataFusionError::SchemaError(error, _) => schema_error(error),
        DataFusionError::ArrowError(error, _) => super::arrow_error::translate(error),
        DataFusionError::Plan(message) | DataFusionError::Execution(message) => plan_error(first_line(message)),
        DataFusionError::NotImplemented(message) => not_implemented(message),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => translate_shared(inner),
        DataFusionError::Shared(inner) => translate_shared(inner),
        other => Error::internal(other.to_string()),
    }
}

/// What another library says.
fn foreign(message: &str) -> Error {
    regular_expression(message).unwrap_or_else(|| Error::internal(message.to_owned()))
}

/// A regular expression that can't be read, if the message is about one.
pub(crate) fn regular_expression(message: &str) -> Option<Error> {
    let rest = message.strip_prefix("Regular expression did not compile: ");
    if rest.is_none() && !message.starts_with("regex parse error") {
        return None;
    }
    let message = message.replace("\\n", "\n");
    // What is wrong stands in the last line, under a picture of where.
    let reason = message.lines().find_map(|line| line.trim().strip_prefix("error: ").map(str::to_owned));
    let reason = reason.or_else(|| rest.map(|pattern| format!("\"{pattern}\""))).unwrap_or_default();
    Some(Error::new(ErrorKind::InvalidRegularExpression, format!("invalid regular expression: {reason}")))
}

fn not_implemented(message: &str) -> Error {
    if message.starts_with("Physical plan does not support logical expression") {
        let correlated = message.contains("OuterReferenceColumn");
        let what = if correlated { "a correlated subquery of this form" } else { "a subquery of this form" };
        return Error::unsupported(what).with_hint("Write it as a join.");
    }
    Error::new(ErrorKind::Unsupported, format!("not supported: {}", first_line(message)))
}

fn first_line(message: &str) -> &str {
    let cut = message.find("\n\nbacktrace").unwrap_or(message.len());
    message[..cut].trim()
}

fn diagnostic_span(diagnostic: &Diagnostic) -> Option<Span> {
    diagnostic.span.map(of_plan_span)
}

pub(crate) fn of_plan_span(span: PlanSpan) -> Span {
    let position = |location: datafusion::common::Location| Position {
        line: u32::try_from(location.line).unwrap_or(u32::MAX),
        column: u32::try_from(location.column).unwrap_or(u32::MAX),
    };
    Span { start: position(span.start), end: position(span.end) }
}

fn schema_error(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => field_not_found(field, valid_fields),
        SchemaError::AmbiguousReference { field } => {
            let message = format!("column reference \"{}\" is ambiguous", field.name);
            Error::new(ErrorKind::AmbiguousColumn, message).at(field.spans().first().map(of_plan_span))
        }
        SchemaError::DuplicateQualifiedField { qualifier, .. } => Error::new(
            ErrorKind::DuplicateAlias,
            format!("table name \"{}\" specified more than once", qualifier.table()),
        ),
        SchemaError::DuplicateUnqualifiedField { name } => {
            Error::new(ErrorKind::DuplicateColumn, format!("column \"{name}\" specified more than once"))
        }
    }
}

fn field_not_found(field: &Column, valid: &[Column]) -> Error {
    let span = field.spans().first().map(of_plan_span);
    if let Some(relation) = &field.relation {
        let known = |relation: &str| {
            valid.iter().any(|column| column.relation.as_ref().is_some_and(|known| known.table() == relation))
        };
        if !known(relation.table()) {
            let relations = valid.iter().filter_map(|column| column.relation.as_ref().map(|relation| relation.table()));
            let hint = nearest(relation.table(), relations, |relation| relation)
                .map(|near| format!("Perhaps you meant to reference the table alias \"{near}\"."));
            let message = format!("missing FROM-clause entry for table \"{}\"", relation.table());
            return Error::new(ErrorKind::UndefinedTable, message).with_hint_if(hint).at(span);
        }
    }
    let message = match &field.relation {
        Some(relation) => format!("column {}.{} does not exist", relation.table(), field.name),
        None => format!("column \"{}\" does not exist", field.name),
    };
    let hint = nearest(&field.name, valid.iter(), |column| &column.name).map(|near| match &near.relation {
        Some(relation) => format!("Perhaps you meant to reference the column \"{}.{}\".", relation.table(), near.name),
        None => format!("Perhaps you meant to reference the column \"{}\".", near.name),
    });
    Error::new(ErrorKind::UndefinedColumn, message).with_hint_if(hint).at(span)
}

/// DataFusion's planner says most things in words alone.
fn plan_error(message: &str) -> Error {
    let casts = "No function matches the given name and argument types. You might need to add explicit type casts.";
    if let Some(rest) = message.strip_prefix("Invalid function '") {
        let name = rest.split('\'').next().unwrap_or_default();
        return Error::new(ErrorKind::UndefinedFunction, format!("function {name} does not exist")).with_hint(casts);
    }
    if let Some(at) = message.find("No function matches the given name and argument types '") {
        let rest = &message[at + "No function matches the given name and argument types '".len()..];
        let call = rest.split("'.").next().unwrap_or_default();
        return Error::new(ErrorKind::UndefinedFunction, format!("function {} does not exist", sql_names(call)))
            .with_hint(casts);
    }
    if message.starts_with("Cannot infer common argument type for comparison operation")
        || message.starts_with("Cannot infer common argument type for regex operation")
        || message.starts_with("Cannot coerce arithmetic expression")
        || message.starts_with("Cannot get result type for")
        || message.contains("Invalid comparison operation")
    {
        let words = message.rsplit("operation ").next().unwrap_or(message).trim_start_matches("expression ");
        let words = words.split(" to valid types").next().unwrap_or(words);
        let text = format!("operator does not exist: {}", sql_names(words));
        let hint = "No operator matches the given name and argument types. You might need to add explicit type casts.";
        return Error::new(ErrorKind::UndefinedFunction, text).with_hint(hint);
    }
    if message.contains("must appear in the GROUP BY clause")
        || message.contains("could not be resolved from available columns")
        || message.starts_with("Column in SELECT must be in GROUP BY")
        || message.starts_with("Column in HAVING must be in GROUP BY")
        || message.starts_with("Column in ORDER BY must be in GROUP BY")
    {
        let column = message.split('"').nth(1).or_else(|| message.split('\'').nth(1));
        let text = match column {
            Some(column) => {
                format!("column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function")
            }
            None => "a column must appear in the GROUP BY clause or be used in an aggregate function".to_owned(),
        };
        return Error::new(ErrorKind::Grouping, text);
    }
    if message.starts_with("aggregate functions are not allowed")
        || message.starts_with("Aggregate functions are not allowed")
    {
        return Error::new(ErrorKind::Grouping, lower_first(message.split(". ").next().unwrap_or(message)));
    }
    if message.contains("Scalar subquery returned more than one row") {
        let message = "more than one row returned by a subquery used as an expression";
        return Error::new(ErrorKind::CardinalityViolation, message);
    }
    if message.starts_with("Correlated scalar subquery must be aggregated") {
        let error = Error::unsupported("a correlated scalar subquery that is no aggregate");
        return error.with_hint("Write it as a join, or take max(…) of its column.");
    }
    if let Some(error) = regular_expression(message).or_else(|| clause_error(message)) {
        return error;
    }
    if message.contains("require unique expression names") {
        return Error::new(ErrorKind::DuplicateColumn, "a column name is specified more than once");
    }
    if message.starts_with("Source table contains") {
        return Error::new(ErrorKind::InvalidColumnReference, lower_first(message));
    }
    if message.starts_with("unnest() can only be applied") {
        let message = "function unnest of a value that is no array does not exist";
        return Error::new(ErrorKind::UndefinedFunction, message).with_hint(casts);
    }
    if message.contains("must have the same number of columns") || message.contains("have different number of columns")
    {
        return Error::new(
            ErrorKind::Syntax,
            "each UNION, INTERSECT or EXCEPT query must have the same number of columns",
        );
    }
    if message.starts_with("Unsupported") || message.contains("not supported") || message.contains("not implemented") {
        return Error::new(ErrorKind::Unsupported, lower_first(message));
    }
    if message.starts_with("Cannot create filter with non-boolean predicate") {
        let sql_type = message.rsplit("returning ").next().map(sql_names).unwrap_or_default();
        return Error::new(
            ErrorKind::DatatypeMismatch,
            format!("argument of WHERE must be type boolean, not type {sql_type}"),
        );
    }
    Error::new(ErrorKind::DatatypeMismatch, lower_first(message))
}

/// What is said about clauses of a query.
fn clause_error(message: &str) -> Option<Error> {
    let not_in_list = |clause: &str, number: &str| {
        let message = format!("{clause} position {number} is not in select list");
        Some(Error::new(ErrorKind::InvalidColumnReference, message))
    };
    let word = |rest: &str| rest.split([' ', ',', '\'']).next().unwrap_or_default().to_owned();
    if let Some(rest) = message.strip_prefix("Cannot find column with position ") {
        return not_in_list("GROUP BY", &word(rest));
    }
    if let Some(rest) = message.strip_prefix("Order by column out of bounds, specified: ") {
        return not_in_list("ORDER BY", &word(rest));
    }
    if message.starts_with("Order by index starts at 1") {
        return not_in_list("ORDER BY", "0");
    }
    if let Some(rest) = message.strip_prefix("Invalid qualifier ") {
        let relation = rest.trim_matches('"');
        let message = format!("missing FROM-clause entry for table \"{relation}\"");
        return Some(Error::new(ErrorKind::UndefinedTable, message));
    }
    if let Some(rest) = message.strip_prefix("The window ") {
        let name = rest.split(" is not defined").next()?.trim_matches('"');
        return Some(Error::new(ErrorKind::UndefinedObject, format!("window \"{name}\" does not exist")));
    }
    if message.starts_with("factorial of a negative number") {
        return Some(Error::new(ErrorKind::OutOfRange, message));
    }
    if message.starts_with("Overflow happened on FACTORIAL") {
        return Some(Error::new(ErrorKind::OutOfRange, "value overflows numeric format"));
    }
    if message.contains("overflow in LCM") || message.contains("overflow in GCD") {
        return Some(Error::new(ErrorKind::OutOfRange, "bigint out of range"));
    }
    if message.starts_with("Percentile value must be between") {
        return Some(Error::new(ErrorKind::OutOfRange, "percentile value is not between 0 and 1"));
    }
    if message.starts_with("NTILE requires a positive integer") {
        let message = "argument of ntile must be greater than zero";
        return Some(Error::new(ErrorKind::Data(DataError::Ntile), message));
    }
    if message.starts_with("LIMIT must be >=") {
        return Some(Error::new(ErrorKind::InvalidLimit, "LIMIT must not be negative"));
    }
    if message.starts_with("OFFSET must be >=") {
        return Some(Error::new(ErrorKind::InvalidOffset, "OFFSET must not be negative"));
    }
    let unit = message
        .strip_prefix("Unsupported date_trunc granularity: '")
        .or_else(|| message.strip_prefix("Date part '"))
        .map(word)?;
    Some(Error::new(ErrorKind::InvalidParameterValue, format!("unit \"{unit}\" not recognized")))
}

pub(crate) fn lower_first(message: &str) -> String {
    let mut characters = message.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// Arrow's names of types in a message, as SQL calls them.
pub(crate) fn sql_names(text: &str) -> String {
    const NAMES: &[(&str, &str)] = &[
        ("Timestamp(Microsecond, Some(\"UTC\"))", "timestamp with time zone"),
        ("Timestamp(µs, \"UTC\")", "timestamp with time zone"),
        ("Timestamp(Microsecond, None)", "timestamp without time zone"),
        ("Timestamp(µs)", "timestamp without time zone"),
        ("Interval(MonthDayNano)", "interval"),
        ("Utf8View", "text"),
        ("LargeUtf8", "text"),
        ("Utf8", "text"),
        ("BinaryView", "bytea"),
        ("Binary", "bytea"),
        ("Boolean", "boolean"),
        ("Int16", "smallint"),
        ("Int32", "integer"),
        ("Int64", "bigint"),
        ("UInt64", "bigint"),
        ("Float32", "real"),
        ("Float64", "double precision"),
        ("Date32", "date"),
        ("Time64(Microsecond)", "time without time zone"),
        ("Null", "unknown"),
    ];
    let mut text = text.to_owned();
    for (arrow, sql) in NAMES {
        text = text.replace(arrow, sql);
    }
    while let Some(at) = text.find("Decimal128(") {
        let end = text[at..].find(')').map_or(text.len(), |end| at + end + 1);
        text.replace_range(at..end, "numeric");
    }
    text
}
