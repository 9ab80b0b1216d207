//! The WITH list: one documented struct per connector, parsed once, everything checked.
//!
//! A name that a connector doesn't know is an error that names the nearest one it knows. Values of options that look like
//! secrets never reach a message.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::formats::OnError;
use crate::sink::{Sink, SinkSpec};
use crate::source::{Source, SourceSpec};
use crate::{file, generator, kafka};

mod of_file;
mod of_generator;
mod of_kafka;

pub use of_file::FileOptions;
pub use of_generator::{GeneratorKind, GeneratorOptions, NexmarkTable, OrdersTable};
pub use of_kafka::{KafkaConnection, KafkaSinkOptions, KafkaSourceOptions, OffsetReset, SinkMode, Start};

/// Options that any source takes and the engine understands and strips; they are known here so that they are suggested for a
/// near miss, and harmless if they are still in the list.
pub const ENGINE_OPTIONS: &[&str] = &["idle_timeout", "late", "retention"];

/// The prefix of options that go to librdkafka as they are.
pub const KAFKA_PREFIX: &str = "kafka.";

/// Connectors that can be a source.
pub const SOURCE_CONNECTORS: &[&str] = &["kafka", "file", "generator"];

/// Connectors that can be a sink.
pub const SINK_CONNECTORS: &[&str] = &["kafka"];

/// Makes the source that the option `connector` names.
pub(crate) fn source_connector(spec: &SourceSpec) -> Result<Box<dyn Source>> {
    match connector_name(&spec.options)? {
        "kafka" => Ok(Box::new(kafka::KafkaSource::open(spec)?)),
        "file" => Ok(Box::new(file::FileSource::open(spec)?)),
        "generator" => Ok(Box::new(generator::GeneratorSource::open(spec)?)),
        other => Err(Error::UnknownConnector { name: other.to_owned(), known: SOURCE_CONNECTORS }),
    }
}

/// Makes the sink that the option `connector` names.
pub(crate) fn sink_connector(spec: &SinkSpec) -> Result<Box<dyn Sink>> {
    match connector_name(&spec.options)? {
        "kafka" => Ok(Box::new(kafka::KafkaSink::open(spec)?)),
        other => Err(Error::UnknownConnector { name: other.to_owned(), known: SINK_CONNECTORS }),
    }
}

/// Checks what can be checked of a sink without its other side.
pub(crate) fn check_sink(spec: &SinkSpec) -> Result<()> {
    match connector_name(&spec.options)? {
        "kafka" => kafka::KafkaSink::check(spec).map(drop),
        other => Err(Error::UnknownConnector { name: other.to_owned(), known: SINK_CONNECTORS }),
    }
}

fn connector_name(options: &BTreeMap<String, String>) -> Result<&str> {
    options.get("connector").map(String::as_str).ok_or_else(|| Error::InvalidOption {
        option: "connector".to_owned(),
        reason: format!("it is required: one of {}", SOURCE_CONNECTORS.join(", ")),
    })
}

/// The candidate that looks most like `name`, if any does.
pub fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase();
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Whether the value of this option must not be shown.
pub fn is_secret(name: &str) -> bool {
    ["password", "secret", "token", "credential", "jaas", "private", "key.pem", "oauthbearer.config"]
        .iter()
        .any(|part| name.contains(part))
}

/// A WITH list that is being read by one connector.
struct WithList<'a> {
    connector: &'static str,
    options: &'a BTreeMap<String, String>,
}

impl<'a> WithList<'a> {
    /// Checks every name against what the connector knows; `kafka.…` is left to librdkafka where it may stand.
    fn new(
        connector: &'static str,
        options: &'a BTreeMap<String, String>,
        known: &[&'static str],
        passes_kafka: bool,
    ) -> Result<Self> {
        for name in options.keys() {
            let passed = passes_kafka && name.len() > KAFKA_PREFIX.len() && name.starts_with(KAFKA_PREFIX);
            if name == "connector"
                || passed
                || ENGINE_OPTIONS.contains(&name.as_str())
                || known.contains(&name.as_str())
            {
                continue;
            }
            let mut candidates = known.to_vec();
            candidates.extend_from_slice(ENGINE_OPTIONS);
            candidates.push("connector");
            let near = match alias(name) {
                Some(meant) if known.contains(&meant) => Some(meant),
                _ => nearest(name, &candidates),
            };
            return Err(Error::UnknownOption {
                connector: connector.to_owned(),
                option: name.clone(),
                near: near.map(str::to_owned),
            });
        }
        Ok(Self { connector, options })
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.options.get(name).map(String::as_str)
    }

    fn required(&self, name: &str) -> Result<&'a str> {
        match self.get(name) {
            Some(value) if !value.trim().is_empty() => Ok(value),
            Some(_) => Err(invalid(name, "it is empty")),
            None => Err(Error::MissingOption { connector: self.connector.to_owned(), option: name.to_owned() }),
        }
    }

    fn number<T: FromStr + PartialOrd + std::fmt::Display>(&self, name: &str, least: T, most: T) -> Result<Option<T>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.trim().replace('_', "").parse::<T>() {
            Ok(number) if number >= least && number <= most => Ok(Some(number)),
            _ => Err(invalid(name, format!("expected a number from {least} to {most}, found '{value}'"))),
        }
    }

    fn boolean(&self, name: &str, default: bool) -> Result<bool> {
        self.choice(name, &[("true", true), ("false", false), ("on", true), ("off", false)], default)
    }

    fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)], default: T) -> Result<T> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let folded = value.trim().to_lowercase();
        choices.iter().find(|(text, _)| *text == folded).map(|(_, choice)| *choice).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(text, _)| *text).collect();
            invalid(name, format!("expected one of {}, found '{value}'", names.join(", ")))
        })
    }

    fn duration(&self, name: &str, default: Duration) -> Result<Duration> {
        let Some(value) = self.get(name) else { return Ok(default) };
        parse_duration(value).ok_or_else(|| {
            invalid(name, format!("expected a duration such as '100 ms' or '2 seconds', found '{value}'"))
        })
    }
}

fn invalid(option: &str, reason: impl Into<String>) -> Error {
    Error::InvalidOption { option: option.to_owned(), reason: reason.into() }
}

/// What people who come from elsewhere write, and what it is called here.
fn alias(name: &str) -> Option<&'static str> {
    Some(match name {
        "bootstrap_servers"
        | "bootstrap.servers"
        | "properties.bootstrap.server"
        | "properties.bootstrap.servers"
        | "kafka_broker"
        | "broker" => "brokers",
        "kafka_topic" => "topic",
        "scan.startup.mode" | "auto.offset.reset" | "start_offset" => "start",
        "value_format" | "value.format" => "format",
        "filename" | "file" | "dir" | "directory" => "path",
        _ => return None,
    })
}

/// `250ms`, `2 seconds`, `1 min`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let seconds = match text[digits..].trim() {
        "ms" | "millisecond" | "milliseconds" => number / 1e3,
        "" | "s" | "sec" | "secs" | "second" | "seconds" => number,
        "m" | "min" | "minute" | "minutes" => number * 60.0,
        "h" | "hour" | "hours" => number * 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

/// How the bytes of a record become columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a record.
    Json,
    /// One line of comma-separated values a record.
    Csv(Csv),
}

/// The dialect of comma-separated values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Csv {
    /// `delimiter`, default `,`: one ASCII character.
    pub delimiter: u8,
    /// `header`, default true for files: the first line names the columns. Kafka records never have one.
    pub header: bool,
}

/// What each source that decodes bytes takes.
#[derive(Clone, Copy, Debug)]
pub struct DecodeOptions {
    /// `format`: `json` (default) or `csv`.
    pub format: Format,
    /// `on_error`: `dead_letter` (default), `skip`, `null` or `fail`.
    pub on_error: OnError,
}

const DECODE_OPTIONS: [&str; 3] = ["format", "on_error", "delimiter"];

fn decode_options(list: &WithList<'_>, header_default: bool) -> Result<DecodeOptions> {
    let format = match list.get("format").map(|name| name.trim().to_lowercase()).as_deref() {
        None | Some("json") => Format::Json,
        Some("csv") => Format::Csv(Csv {
            delimiter: delimiter(list)?,
            header: if header_default { list.boolean("header", true)? } else { false },
        }),
        Some(name @ ("avro" | "protobuf" | "debezium" | "raw" | "parquet" | "text" | "plain" | "bytes")) => {
            return Err(Error::Unsupported(format!("format '{name}' is not supported; formats that exist: json, csv")));
        }
        Some(name) => return Err(invalid("format", format!("expected one of json, csv, found '{name}'"))),
    };
    if format == Format::Json {
        for name in ["delimiter", "header"] {
            if list.get(name).is_some() {
                return Err(invalid(name, "it belongs to format 'csv'"));
            }
        }
    }
    let policies = [
        ("dead_letter", OnError::DeadLetter),
        ("skip", OnError::Skip),
        ("null", OnError::Null),
        ("fail", OnError::Fail),
    ];
    Ok(DecodeOptions { format, on_error: list.choice("on_error", &policies, OnError::DeadLetter)? })
}

fn delimiter(list: &WithList<'_>) -> Result<u8> {
    match list.get("delimiter") {
        None => Ok(b','),
        Some("\\t" | "tab") => Ok(b'\t'),
        Some(text) if text.len() == 1 && !matches!(text.as_bytes()[0], b'"' | b'\n' | b'\r') && text.is_ascii() => {
            Ok(text.as_bytes()[0])
        }
        Some(text) => Err(invalid("delimiter", format!("expected one ASCII character, found '{text}'"))),
    }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
