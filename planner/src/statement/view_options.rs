//! The WITH list of a materialized view.

use catalog::{MaterializedView, Object, ObjectKind, Retention, nearest};
use sql::Span;
use sql::statement::{Options, WithOption};

use crate::error::ErrorKind;
use crate::incremental::{Node, OnError, ViewPlan};
use crate::lower::LowerOptions;
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
    ttl_span: Option<Span>,
    /// Its column is not found yet.
    retention: Option<Retention>,
    retention_column: Option<String>,
    /// Where it stands, or its column.
    span: Option<Span>,
}

impl ViewOptions {
    pub(super) fn read(options: &Options) -> Result<Self> {
        let mut read = Self::default();
        let (mut on_expiry, mut column) = (None, None);
        for option in &options.0 {
            match option.key.as_str() {
                ON_ERROR => {
                    let null = choice(option, ["report", "null"], ON_ERROR_HINT)?;
                    read.on_error = if null { OnError::Null } else { OnError::Report };
                }
                ON_EXPIRY => on_expiry = Some((option, choice(option, ["retract", "silent"], ON_EXPIRY_HINT)?)),
                RETENTION => {
                    read.retention = Some(Retention { us: length_us(option)?, column: None, silent: false });
                    read.span.get_or_insert(option.value_span);
                }
                RETENTION_COLUMN => column = Some(option),
                STATE_TTL => {
                    read.state_ttl_us = Some(length_us(option)?);
                    read.ttl_span = Some(option.value_span);
                }
                _ => return Err(unknown(option)),
            }
        }
        if let Some(option) = column {
            read.retention_column = Some(option.value.clone());
            read.span = Some(option.value_span);
        }
        let needs = on_expiry.as_ref().map(|(option, _)| *option).or(column);
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

    /// What was said of a view that exists.
    pub(super) fn of(object: &Object) -> Self {
        let ObjectKind::MaterializedView(view) = &object.kind else { return Self::default() };
        let MaterializedView { null_on_error, retention, state_ttl_us, .. } = view;
        Self {
            on_error: if *null_on_error { OnError::Null } else { OnError::Report },
            state_ttl_us: *state_ttl_us,
            ttl_span: None,
            retention: retention.map(|retention| Retention { column: None, ..retention }),
            retention_column: retention.and_then(|retention| Some(object.columns.get(retention.column?)?.name.clone())),
            span: None,
        }
    }

    /// The list as it is written, with a blank behind it; nothing if nothing was said.
    pub(super) fn text(&self) -> String {
        let mut options: Vec<String> = Vec::new();
        if self.on_error == OnError::Null {
            options.push(format!("{ON_ERROR} = 'null'"));
        }
        if let Some(retention) = &self.retention {
            options.push(format!("{RETENTION} = '{}'", length_text(retention.us)));
            if let Some(column) = &self.retention_column {
                options.push(format!("{RETENTION_COLUMN} = {}", format_args!("'{}'", column.replace('\'', "''"))));
            }
            if retention.silent {
                options.push(format!("{ON_EXPIRY} = 'silent'"));
            }
        }
        if let Some(us) = self.state_ttl_us {
            options.push(format!("{STATE_TTL} = '{}'", length_text(us)));
        }
        if options.is_empty() { String::new() } else { format!("WITH ({}) ", options.join(", ")) }
    }

    /// What the planner of operators is told.
    pub(super) fn lowering(&self, emit_on_window_close: bool, retention: Option<Retention>) -> LowerOptions {
        LowerOptions { emit_on_window_close, on_error: self.on_error, retention, state_ttl_us: self.state_ttl_us }
    }

    /// Refuses to forget what can't be forgotten: an ASOF join doesn't know which of its rows nothing will be nearest to.
    ///
    /// A view that was made with it is still planned as it was.
    pub(super) fn check(&self, view: &ViewPlan) -> Result<()> {
        if self.state_ttl_us.is_none() {
            return Ok(());
        }
        let mut grows = false;
        view.root.visit(&mut |node| {
            grows |= matches!(node, Node::AsOf(join) if join.left.append_only() || join.right.append_only());
        });
        match grows {
            true => Err(Error::unsupported("state_ttl with an ASOF join of rows that are only ever added")
                .with_hint("It keeps all of them, as a late row may be the nearest. Leave state_ttl out, join tables, or join FOR SYSTEM_TIME AS OF PROCTIME().")
                .at(self.ttl_span)),
            false => Ok(()),
        }
    }

    /// How long rows stay, given the names of the view's columns.
    pub(super) fn retention<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> Result<Option<Retention>> {
        let Some(retention) = self.retention else { return Ok(None) };
        let Some(column) = &self.retention_column else { return Ok(Some(retention)) };
        match names.position(|name| name == column) {
            Some(column) => Ok(Some(Retention { column: Some(column), ..retention })),
            None => Err(Error::new(
                ErrorKind::UndefinedColumn,
                format!("the view has no column \"{column}\" to keep its rows by"),
            )
            .at(self.span)),
        }
    }

    /// An error of an option that was found when the query was looked at, with the option's place.
    pub(super) fn located(&self, error: Error) -> Error {
        if error.kind != ErrorKind::InvalidOption || error.span.is_some() {
            return error;
        }
        error.at(self.span)
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
    let interval =
        interval::parse(&option.value).filter(|interval| interval.months == 0).ok_or_else(|| invalid(text()))?;
    let us = i64::from(interval.days).saturating_mul(DAY_US).saturating_add(interval.nanoseconds / 1000);
    if us <= 0 {
        return Err(invalid(format!("the option \"{}\" must be longer than nothing", option.key)));
    }
    Ok(us)
}

/// A length of time in the largest unit that says it exactly.
fn length_text(us: i64) -> String {
    const UNITS: [(i64, &str); 5] = [
        (86_400_000_000, "day"),
        (3_600_000_000, "hour"),
        (60_000_000, "minute"),
        (1_000_000, "second"),
        (1_000, "millisecond"),
    ];
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| us % unit == 0).unwrap_or((1, "microsecond"));
    let count = us / unit;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

fn unknown(option: &WithOption) -> Error {
    let hint = match nearest(&option.key, NAMES.iter(), |known| known) {
        Some(near) => format!("Did you mean \"{near}\"?"),
        None => format!("A materialized view has the options {}.", NAMES.map(|name| format!("\"{name}\"")).join(", ")),
    };
    let message = format!("unrecognized option \"{}\" of a materialized view", option.key);
    Error::new(ErrorKind::UnknownOption, message).with_hint(hint).at(option.span)
}
