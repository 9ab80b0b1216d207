//! The WITH list of a materialized view.

use catalog::{Retention, nearest};
use sql::Span;
use sql::statement::{Options, WithOption};

use crate::error::ErrorKind;
use crate::incremental::OnError;
use crate::query::interval;
use crate::{Error, Result};

const ON_ERROR: &str = "on_error";
const ON_EXPIRY: &str = "on_expiry";
const RETENTION: &str = "retention";
const RETENTION_COLUMN: &str = "retention_column";
const STATE_TTL: &str = "state_ttl";
const NAMES: [&str; 5] = [ON_ERROR, ON_EXPIRY, RETENTION, RETENTION_COLUMN, STATE_TTL];

/// What the list says.
#[derive(Clone, Debug, Default)]
pub(super) struct ViewOptions {
    pub(super) on_error: OnError,
    pub(super) state_ttl_us: Option<i64>,
    /// Its column is not found yet.
    retention: Option<Retention>,
    retention_column: Option<WithOption>,
    /// Where the retention stands.
    span: Option<Span>,
}

impl ViewOptions {
    pub(super) fn read(options: &Options) -> Result<Self> {
        let mut read = Self::default();
        let mut on_expiry = None;
        for option in &options.0 {
            match option.key.as_str() {
                ON_ERROR => {
                    let null = choice(option, ["report", "null"], ON_ERROR_HINT)?;
                    read.on_error = if null { OnError::Null } else { OnError::Report };
                }
                ON_EXPIRY => on_expiry = Some((option, choice(option, ["retract", "silent"], ON_EXPIRY_HINT)?)),
                RETENTION => {
                    read.retention = Some(Retention { us: length_us(option)?, column: None, silent: false });
                    read.span = Some(option.value_span);
                }
                RETENTION_COLUMN => read.retention_column = Some(option.clone()),
                STATE_TTL => read.state_ttl_us = Some(length_us(option)?),
                _ => return Err(unknown(option)),
            }
        }
        let needs = on_expiry.as_ref().map(|(option, _)| *option).or(read.retention_column.as_ref());
        match (&mut read.retention, needs) {
            (None, Some(option)) => {
                let message = format!("the option \"{}\" needs a retention", option.key);
                return Err(Error::new(ErrorKind::InvalidOption, message)
                    .with_hint("Add retention = '7 days' to the WITH list.")
                    .at(option.span));
            }
            (None, None) => {}
            (Some(retention), _) => retention.silent = on_expiry.is_some_and(|(_, silent)| silent),
        }
        Ok(read)
    }

    /// How long rows stay, given the names of the view's columns.
    pub(super) fn retention<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> Result<Option<Retention>> {
        let Some(retention) = self.retention else { return Ok(None) };
        let Some(option) = &self.retention_column else { return Ok(Some(retention)) };
        match names.position(|name| name == option.value) {
            Some(column) => Ok(Some(Retention { column: Some(column), ..retention })),
            None => Err(Error::new(
                ErrorKind::UndefinedColumn,
                format!("the view has no column \"{}\" to keep its rows by", option.value),
            )
            .at(option.value_span)),
        }
    }

    /// An error of an option that was found when the query was looked at, with the option's place.
    pub(super) fn located(&self, error: Error) -> Error {
        if error.kind != ErrorKind::InvalidOption || error.span.is_some() {
            return error;
        }
        error.at(self.retention_column.as_ref().map(|option| option.value_span).or(self.span))
    }
}

const ON_ERROR_HINT: &str = "It is 'report' (the default: queries of the view fail while there is such a row) or 'null' (the expression is NULL).";
const ON_EXPIRY_HINT: &str = "It is 'retract' (the default: views over this one, subscribers and sinks see rows go) or 'silent' (they keep what they have).";

/// Whether an option has the second of its two values.
fn choice(option: &WithOption, values: [&str; 2], hint: &str) -> Result<bool> {
    let value = option.value.to_lowercase();
    match values.iter().position(|known| *known == value) {
        Some(position) => Ok(position == 1),
        None => {
            let message = format!("\"{value}\" is no value of the option \"{}\"", option.key);
            Err(Error::new(ErrorKind::InvalidOption, message).with_hint(hint).at(option.value_span))
        }
    }
}

/// A length of time, in microseconds.
fn length_us(option: &WithOption) -> Result<i64> {
    const DAY_US: i64 = 86_400_000_000;
    let invalid = |message: String| {
        Error::new(ErrorKind::InvalidOption, message)
            .with_hint("Write a length of days or less, such as '7 days' or '12 hours'; months differ in length.")
            .at(option.value_span)
    };
    let text = || format!("\"{}\" is no length of time for the option \"{}\"", option.value, option.key);
    let interval = interval::parse(&option.value).filter(|interval| interval.months == 0).ok_or_else(|| invalid(text()))?;
    let us = i64::from(interval.days).saturating_mul(DAY_US).saturating_add(interval.nanoseconds / 1000);
    if us <= 0 {
        return Err(invalid(format!("the option \"{}\" must be longer than nothing", option.key)));
    }
    Ok(us)
}

fn unknown(option: &WithOption) -> Error {
    let hint = match nearest(&option.key, NAMES.iter(), |known| known) {
        Some(near) => format!("Did you mean \"{near}\"?"),
        None => format!("A materialized view has the options {}.", NAMES.map(|name| format!("\"{name}\"")).join(", ")),
    };
    let message = format!("unrecognized option \"{}\" of a materialized view", option.key);
    Error::new(ErrorKind::UnknownOption, message).with_hint(hint).at(option.span)
}
