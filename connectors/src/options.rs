//! The WITH list: one documented struct per connector, parsed once, everything checked.
//!
//! A name that a connector doesn't know is an error that names the nearest one it knows. Values of options that look like
//! secrets never reach a message.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::formats::OnError;
use crate::formats::datetime;
use crate::sink::{Sink, SinkSpec};
use crate::source::{Positions, Source, SourceSpec};
use crate::{file, generator, kafka};

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

/// Where a Kafka source starts when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// `earliest`: the first record that is still there. The default.
    Earliest,
    /// `latest`: what is produced from now on.
    Latest,
    /// `timestamp:…`: the first record at or after this time, in milliseconds since 1970.
    Timestamp(i64),
    /// `offsets:0=5,1=7`: these; partitions not named start at their earliest record.
    Offsets(Positions),
}

impl Start {
    fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            invalid(
                "start",
                format!(
                    "expected earliest, latest, timestamp:<ISO 8601 or milliseconds> or offsets:<partition>=<offset>,…, found '{text}'"
                ),
            )
        };
        let text = text.trim();
        if let Some(time) = text.strip_prefix("timestamp:") {
            let time = time.trim();
            if let Ok(milliseconds) = time.parse() {
                return Ok(Self::Timestamp(milliseconds));
            }
            let us = datetime::timestamp(time.as_bytes(), datetime::Zone::Apply).ok_or_else(wrong)?;
            return Ok(Self::Timestamp(us.div_euclid(1000)));
        }
        if let Some(list) = text.strip_prefix("offsets:") {
            let mut offsets = Positions::new();
            for entry in list.split(',') {
                let (partition, offset) = entry.split_once('=').ok_or_else(wrong)?;
                let partition = partition.trim().parse::<u16>().map_err(|_| wrong())?;
                let offset = offset
                    .trim()
                    .parse::<u32>()
                    .map(i64::from)
                    .or_else(|_| offset.trim().parse::<i64>())
                    .map_err(|_| wrong())?;
                if offset < 0 || offsets.insert(i32::from(partition), offset).is_some() {
                    return Err(wrong());
                }
            }
            return Ok(Self::Offsets(offsets));
        }
        match text.to_lowercase().as_str() {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => Err(wrong()),
        }
    }
}

/// What to do when the offset to read is no longer in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetReset {
    /// Stop, and say which records are gone. The default: the alternative loses input silently.
    Fail,
    /// Go on with the earliest record that is there.
    Earliest,
}

/// How a Kafka client connects.
#[derive(Clone)]
pub struct KafkaConnection {
    /// `brokers`: host:port, comma-separated. Default `localhost:9092`.
    pub brokers: String,
    /// `topic`.
    pub topic: String,
    /// Each `kafka.<property>`, without the prefix. Secrets are among them: never print.
    pub properties: BTreeMap<String, String>,
}

impl std::fmt::Debug for KafkaConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&String> = self.properties.keys().collect();
        f.debug_struct("KafkaConnection")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("properties", &names)
            .finish()
    }
}

/// Properties that carry the engine's guarantees, and what to use instead.
const RESERVED_PROPERTIES: &[(&str, &str)] = &[
    ("bootstrap.servers", "use the option \"brokers\""),
    ("metadata.broker.list", "use the option \"brokers\""),
    ("enable.auto.commit", "offsets belong to the engine's own commit"),
    ("enable.auto.offset.store", "offsets belong to the engine's own commit"),
    ("auto.offset.reset", "use the options \"start\" and \"offset_reset\""),
    ("enable.partition.eof", "the source depends on it"),
    ("transactional.id", "it is the sink's identity"),
    ("enable.idempotence", "a sink is exactly once"),
    ("statistics.interval.ms", "the source depends on it"),
    ("test.mock.num.brokers", "it replaces the brokers by a mock"),
];

fn kafka_connection(list: &WithList<'_>) -> Result<KafkaConnection> {
    let brokers = list.get("brokers").unwrap_or("localhost:9092").trim();
    if brokers.is_empty() {
        return Err(invalid("brokers", "expected host:port, found nothing"));
    }
    let topic = list.required("topic")?;
    if topic.len() > 249 || !topic.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Err(invalid(
            "topic",
            format!("'{topic}' is no topic name: letters, digits, '.', '_' and '-', at most 249"),
        ));
    }
    let mut properties = BTreeMap::new();
    for (name, value) in list.options {
        let Some(property) = name.strip_prefix(KAFKA_PREFIX) else { continue };
        if let Some((_, instead)) = RESERVED_PROPERTIES.iter().find(|(reserved, _)| *reserved == property) {
            return Err(invalid(name, format!("it can't be set: {instead}")));
        }
        properties.insert(property.to_owned(), value.clone());
    }
    Ok(KafkaConnection { brokers: brokers.to_owned(), topic: topic.to_owned(), properties })
}

/// Options of a Kafka source, or of a table over an upsert topic.
#[derive(Clone, Debug)]
pub struct KafkaSourceOptions {
    /// `brokers`, `topic`, `kafka.*`.
    pub connection: KafkaConnection,
    /// `start`: where reading starts when the source is made.
    pub start: Start,
    /// `format`, `on_error`, `delimiter`.
    pub decode: DecodeOptions,
    /// `decode_threads`, default 2: consumers that read and decode in parallel, at most one per partition.
    pub decode_threads: usize,
    /// `offset_reset`: `fail` (default) or `earliest`.
    pub offset_reset: OffsetReset,
    /// `partition_refresh`, default 10 s: how often to look for added partitions.
    pub partition_refresh: Duration,
}

impl KafkaSourceOptions {
    /// Every option by name.
    pub const NAMES: &'static [&'static str] = &[
        "brokers",
        "topic",
        "start",
        DECODE_OPTIONS[0],
        DECODE_OPTIONS[1],
        DECODE_OPTIONS[2],
        "envelope",
        "decode_threads",
        "offset_reset",
        "partition_refresh",
    ];

    /// Reads the list; `upsert` says that this is a keyed table.
    pub fn parse(options: &BTreeMap<String, String>, upsert: bool) -> Result<Self> {
        let list = WithList::new("kafka", options, Self::NAMES, true)?;
        envelope(&list, upsert)?;
        Ok(Self {
            connection: kafka_connection(&list)?,
            start: list.get("start").map_or(Ok(Start::Earliest), Start::parse)?,
            decode: decode_options(&list, false)?,
            decode_threads: list.number("decode_threads", 1, 64)?.unwrap_or(2),
            offset_reset: list.choice(
                "offset_reset",
                &[("fail", OffsetReset::Fail), ("earliest", OffsetReset::Earliest)],
                OffsetReset::Fail,
            )?,
            partition_refresh: list
                .duration("partition_refresh", Duration::from_secs(10))?
                .max(Duration::from_millis(100)),
        })
    }
}

/// `plain` events, or `upsert`: a key's last record is its row and a null value deletes it. Follows from CREATE SOURCE or TABLE;
/// when written, it must agree.
fn envelope(list: &WithList<'_>, upsert: bool) -> Result<()> {
    match list.get("envelope").map(|name| name.trim().to_lowercase()).as_deref() {
        None => Ok(()),
        Some("plain") if !upsert => Ok(()),
        Some("upsert") if upsert => Ok(()),
        Some("plain") => Err(invalid(
            "envelope",
            "a table with a primary key over a topic is 'upsert'; use CREATE SOURCE for 'plain'",
        )),
        Some("upsert") => Err(invalid("envelope", "'upsert' needs a CREATE TABLE with a primary key")),
        Some(name @ ("debezium" | "maxwell" | "canal")) => {
            Err(Error::Unsupported(format!("envelope '{name}' is not supported; envelopes that exist: plain, upsert")))
        }
        Some(name) => Err(invalid("envelope", format!("expected one of plain, upsert, found '{name}'"))),
    }
}

/// What a sink writes for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkMode {
    /// Per key the row as it is after the epoch, or a tombstone. The default where rows have a key.
    Upsert,
    /// Each change with its weight and epoch. The default where rows have no key.
    Append,
}

/// Options of a Kafka sink.
#[derive(Clone, Debug)]
pub struct KafkaSinkOptions {
    /// `brokers`, `topic`, `kafka.*`.
    pub connection: KafkaConnection,
    /// `mode`: `upsert` or `append`; `None`: as the key allows.
    pub mode: Option<SinkMode>,
    /// `partitions`, default 1: of the topic, if it has to be made.
    pub partitions: i32,
    /// `replication_factor`, default 1: of the topic, if it has to be made, and of the progress topic.
    pub replication_factor: i32,
}

impl KafkaSinkOptions {
    /// Every option by name.
    pub const NAMES: &'static [&'static str] =
        &["brokers", "topic", "format", "mode", "partitions", "replication_factor"];

    /// Reads the list.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let list = WithList::new("kafka", options, Self::NAMES, true)?;
        match list.get("format").map(|name| name.trim().to_lowercase()).as_deref() {
            None | Some("json") => {}
            Some(name) => {
                return Err(Error::Unsupported(format!(
                    "format '{name}' is not supported for a sink; formats that exist: json"
                )));
            }
        }
        let modes = [("upsert", Some(SinkMode::Upsert)), ("append", Some(SinkMode::Append))];
        Ok(Self {
            connection: kafka_connection(&list)?,
            mode: list.choice("mode", &modes, None)?,
            partitions: list.number("partitions", 1, 10_000)?.unwrap_or(1),
            replication_factor: list.number("replication_factor", 1, 100)?.unwrap_or(1),
        })
    }
}

/// Options of a file source.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// `path`: a file, a directory (all files in it that don't start with a dot), or a pattern with `*` and `?` in its last part.
    pub path: String,
    /// `mode`: `once` (default) ends with the files; `follow` waits for more lines and more files.
    pub follow: bool,
    /// `format`, `on_error`, `delimiter`, `header`.
    pub decode: DecodeOptions,
    /// `threads`, default 2: files read at the same time.
    pub threads: usize,
    /// `poll_interval`, default 50 ms: how often a followed file is looked at.
    pub poll_interval: Duration,
}

impl FileOptions {
    /// Every option by name.
    pub const NAMES: &'static [&'static str] = &[
        "path",
        "mode",
        DECODE_OPTIONS[0],
        DECODE_OPTIONS[1],
        DECODE_OPTIONS[2],
        "header",
        "threads",
        "poll_interval",
    ];

    /// Reads the list.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let list = WithList::new("file", options, Self::NAMES, false)?;
        Ok(Self {
            path: list.required("path")?.to_owned(),
            follow: list.choice("mode", &[("once", false), ("follow", true)], false)?,
            decode: decode_options(&list, true)?,
            threads: list.number("threads", 1, 64)?.unwrap_or(2),
            poll_interval: list.duration("poll_interval", Duration::from_millis(50))?.max(Duration::from_millis(1)),
        })
    }
}

/// What a generator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorKind {
    /// The auction benchmark's events.
    Nexmark(NexmarkTable),
    /// Orders and payments.
    Orders(OrdersTable),
    /// Numbers.
    Sequence,
}

/// A table of `kind = 'nexmark'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NexmarkTable {
    /// 1 of 50 events.
    Person,
    /// 3 of 50 events.
    Auction,
    /// 46 of 50 events.
    Bid,
}

/// A table of `kind = 'orders'`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrdersTable {
    /// One order an event.
    Orders,
    /// A payment for most orders, a little later.
    Payments,
}

/// Options of a generator source.
#[derive(Clone, Debug)]
pub struct GeneratorOptions {
    /// `kind`: `nexmark`, `orders` or `sequence`; with `table` where there are several.
    pub kind: GeneratorKind,
    /// `events`: how many in all (for nexmark: over its three tables); none: without end.
    pub events: Option<u64>,
    /// `rate`: events per second (for nexmark: over its three tables); none: as fast as it is read.
    pub rate: Option<f64>,
    /// `seed`, default 42.
    pub seed: u64,
    /// `delay_us`: event time between two events; default 100, for orders 10,000.
    pub delay_us: u64,
    /// `base_time`: event time of the first event, in microseconds; default 2024-01-01 00:00:00 UTC.
    pub base_us: i64,
    /// `partitions`, default 1: lanes, dealt round-robin.
    pub partitions: i32,
    /// `keys`, default 1,000: customers of `orders`, distinct ids of `sequence`.
    pub keys: u64,
}

impl GeneratorOptions {
    /// Every option by name.
    pub const NAMES: &'static [&'static str] =
        &["kind", "table", "events", "rate", "seed", "delay_us", "base_time", "partitions", "keys"];

    /// Reads the list.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let list = WithList::new("generator", options, Self::NAMES, false)?;
        list.required("kind")?;
        let kind = match list.choice("kind", &[("nexmark", 0), ("orders", 1), ("sequence", 2)], 0)? {
            0 => {
                list.required("table")?;
                let tables =
                    [("person", NexmarkTable::Person), ("auction", NexmarkTable::Auction), ("bid", NexmarkTable::Bid)];
                GeneratorKind::Nexmark(list.choice("table", &tables, NexmarkTable::Bid)?)
            }
            1 => {
                list.required("table")?;
                let tables = [("orders", OrdersTable::Orders), ("payments", OrdersTable::Payments)];
                GeneratorKind::Orders(list.choice("table", &tables, OrdersTable::Orders)?)
            }
            _ if list.get("table").is_some() => return Err(invalid("table", "kind 'sequence' has only one")),
            _ => GeneratorKind::Sequence,
        };
        if list.get("keys").is_some() && matches!(kind, GeneratorKind::Nexmark(_)) {
            return Err(invalid("keys", "it belongs to the kinds orders and sequence"));
        }
        let base_us = match list.get("base_time") {
            None => 1_704_067_200_000_000,
            Some(text) => datetime::timestamp(text.trim().as_bytes(), datetime::Zone::Apply)
                .or_else(|| text.trim().parse::<i64>().ok()?.checked_mul(1000))
                .ok_or_else(|| {
                    invalid("base_time", format!("expected a timestamp or milliseconds since 1970, found '{text}'"))
                })?,
        };
        let delay = if matches!(kind, GeneratorKind::Orders(_)) { 10_000 } else { 100 };
        Ok(Self {
            kind,
            events: list.number("events", 0, u64::MAX >> 16)?,
            rate: list.number("rate", 0.001, 1e12)?,
            seed: list.number("seed", 0, u64::MAX)?.unwrap_or(42),
            delay_us: list.number("delay_us", 0, 1 << 40)?.unwrap_or(delay),
            base_us,
            partitions: list.number("partitions", 1, 1024)?.unwrap_or(1),
            keys: list.number("keys", 1, 1 << 40)?.unwrap_or(1000),
        })
    }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
