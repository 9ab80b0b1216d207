//! Options of Kafka sources and sinks.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{DECODE_OPTIONS, DecodeOptions, KAFKA_PREFIX, WithList, decode_options, invalid};
use crate::error::{Error, Result};
use crate::formats::datetime;
use crate::source::Positions;

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
    pub(super) fn parse(text: &str) -> Result<Self> {
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
    /// `replication_factor` of the topic, if it has to be made, and of the progress topic; -1, the default: as the brokers have it by default.
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
            replication_factor: list.number("replication_factor", 1, 100)?.unwrap_or(-1),
        })
    }
}
