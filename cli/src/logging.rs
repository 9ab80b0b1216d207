//! Log lines go to stderr; stdout is for what a command was asked for.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::error::Failure;

/// What is logged when nobody says.
const DEFAULT_FILTER: &str = "info";

/// Starts logging with a filter such as `info` or `info,rdkafka=debug`.
pub(crate) fn start(filter: Option<&str>, json: bool) -> Result<(), Failure> {
    let text = filter.unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(text).map_err(|error| Failure::Setting(format!("log filter {text:?}: {error}")))?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal());
    let started = if json { builder.json().try_init() } else { builder.try_init() };
    started.map_err(|error| Failure::Setting(format!("logging: {error}")))
}
