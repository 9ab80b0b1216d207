//! What only a real Kafka does: fencing, aborted transactions, markers, added partitions, deleted records.
//!
//! The connector without an engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, Schema};
use catalog::{Column, SqlType};
use connectors::kafka::produce::{Producer, Record, ensure_topic};
use connectors::{
    Error, Health, Positions, RunningSource, SinkRow, SinkSpec, Source, SourceBatch, SourceSpec, batch_channel,
    open_sink, open_source,
};
use crossbeam_channel::Receiver;
use delta::{Delta, Epoch};
use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::broker::shared;
use super::client::unique;

const WAIT: Duration = Duration::from_secs(30);

fn brokers() -> String {
    shared().bootstrap.clone()
}

fn options(brokers: &str, topic: &str, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let base = [("connector", "kafka"), ("brokers", brokers), ("topic", topic)];
    base.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A source of one bigint `n`.
fn numbers(brokers: &str, topic: &str, more: &[(&str, &str)]) -> Box<dyn Source> {
    let n = Column { name: "n".to_owned(), sql_type: SqlType::BigInt, nullable: true, default: None, generated: None };
    open_source(&SourceSpec {
        name: topic.to_owned(),
        columns: vec![n],
        options: options(brokers, topic, more),
        upsert: None,
    })
    .unwrap()
}

fn produce(brokers: &str, topic: &str, partition: i32, range: std::ops::Range<i64>) {
    let producer = Producer::new(brokers).unwrap();
    for n in range {
        let value = format!("{{\"n\":{n}}}");
        producer
            .send(topic, Record { value: Some(value.as_bytes()), partition: Some(partition), ..Record::default() })
            .unwrap();
    }
    producer.flush(WAIT).unwrap();
}

fn start(
    source: &dyn Source,
    from: &Positions,
    until: Option<&Positions>,
) -> (Box<dyn RunningSource>, Receiver<SourceBatch>) {
    let (sender, receiver) = batch_channel(Arc::new(|| {}));
    (source.run(from, until, sender).unwrap(), receiver)
}

fn values(batches: &[SourceBatch]) -> Vec<i64> {
    let mut values: Vec<i64> =
        batches.iter().flat_map(|batch| batch.delta.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    values.sort_unstable();
    values
}

fn take(receiver: &Receiver<SourceBatch>, rows: usize) -> Vec<i64> {
    let mut batches: Vec<SourceBatch> = Vec::new();
    while batches.iter().map(|batch| batch.delta.num_rows()).sum::<usize>() < rows {
        batches.push(receiver.recv_timeout(WAIT).unwrap());
    }
    values(&batches)
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < WAIT, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn sink_spec(brokers: &str, topic: &str) -> SinkSpec {
    let schema = Arc::new(Schema::new(vec![SqlType::BigInt.field("n", false)]));
    SinkSpec {
        name: topic.to_owned(),
        identity: topic.to_owned(),
        options: options(brokers, topic, &[]),
        schema,
        key: vec![],
    }
}

fn rows(spec: &SinkSpec, epoch: u64, values: std::ops::Range<i64>) -> SinkRow {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(values));
    SinkRow {
        inputs: "{}".into(),
        epoch: Epoch(epoch),
        delta: Delta::inserts(RecordBatch::try_new(Arc::clone(&spec.schema), vec![column]).unwrap()),
    }
}

/// What a read_committed consumer sees.
fn committed(brokers: &str, topic: &str) -> Vec<i64> {
    let source = numbers(brokers, topic, &[]);
    let (_running, receiver) = start(&*source, &Positions::new(), Some(&source.end_positions().unwrap()));
    values(&receiver.iter().collect::<Vec<_>>())
}

pub fn an_older_instance_is_fenced() {
    let brokers = brokers();
    let topic = unique("fenced");
    let spec = sink_spec(&brokers, &topic);
    let mut old = open_sink(&spec).unwrap();
    assert_eq!(old.recover().unwrap(), None);
    old.deliver(&[rows(&spec, 1, 0..10)]).unwrap();
    let mut new = open_sink(&spec).unwrap();
    assert_eq!(new.recover().unwrap(), Some(Epoch(1)));
    let error = old.deliver(&[rows(&spec, 2, 10..20)]).unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    assert!(matches!(old.health(), Health::Failed(_)));
    new.deliver(&[rows(&spec, 2, 10..20)]).unwrap();
    assert_eq!(committed(&brokers, &topic), (0..20).collect::<Vec<_>>());
}

pub fn a_crash_before_the_commit_leaves_nothing() {
    let brokers = brokers();
    let topic = unique("crash");
    let spec = sink_spec(&brokers, &topic);
    let mut sink = open_sink(&spec).unwrap();
    sink.recover().unwrap();
    sink.deliver(&[rows(&spec, 1, 0..10)]).unwrap();
    drop(sink);
    for crash in 0..3 {
        // What a sink does, up to the moment before its commit.
        let dying: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("transactional.id", format!("millrace-{topic}"))
            .create()
            .unwrap();
        dying.init_transactions(WAIT).unwrap();
        dying.begin_transaction().unwrap();
        dying
            .send(BaseRecord::<[u8], [u8]>::to(&topic).payload(&b"{\"n\":999}"[..]))
            .map_err(|(error, _)| error)
            .unwrap();
        let progress = format!("__millrace_progress_{topic}");
        let record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(&progress).key(topic.as_bytes()).payload(&b"{\"sink\":\"x\",\"epoch\":99}"[..]).partition(0);
        dying.send(record).map_err(|(error, _)| error).unwrap();
        dying.flush(WAIT).unwrap();
        std::mem::forget(dying);

        let mut sink = open_sink(&spec).unwrap();
        assert_eq!(sink.recover().unwrap(), Some(Epoch(1 + crash)));
        sink.deliver(&[rows(&spec, 2 + crash, 10 * (crash as i64 + 1)..10 * (crash as i64 + 2))]).unwrap();
    }
    assert_eq!(committed(&brokers, &topic), (0..40).collect::<Vec<_>>());
}

pub fn markers_at_the_end_of_a_topic_are_passed() {
    let brokers = brokers();
    let topic = unique("markers");
    let spec = sink_spec(&brokers, &topic);
    let mut sink = open_sink(&spec).unwrap();
    sink.recover().unwrap();
    for epoch in 1..=5 {
        sink.deliver(&[rows(&spec, epoch, epoch as i64 * 10..epoch as i64 * 10 + 10)]).unwrap();
    }
    let source = numbers(&brokers, &topic, &[]);
    let ends = source.end_positions().unwrap();
    assert_eq!(ends, [(0, 55)].into());
    // A bounded read ends, although nothing is ever delivered for the last offset.
    let (_running, receiver) = start(&*source, &[(0, 0)].into(), Some(&ends));
    let batches: Vec<SourceBatch> = receiver.iter().collect();
    assert_eq!(values(&batches), (10..60).collect::<Vec<_>>());
    assert_eq!(batches.last().unwrap().next_offset, 55);
    // And the lag of a running one comes to zero.
    let (running, receiver) = start(&*source, &[(0, 0)].into(), None);
    take(&receiver, 50);
    wait_for("no lag", || running.status().end_offsets == [(0, 54)].into());
}

pub fn added_partitions_are_found() {
    let brokers = brokers();
    let topic = unique("grows");
    ensure_topic(&brokers, &topic, 1).unwrap();
    let source = numbers(&brokers, &topic, &[("partition_refresh", "100ms")]);
    let from = source.resolve_start().unwrap();
    let (_running, receiver) = start(&*source, &from, None);
    produce(&brokers, &topic, 0, 0..10);
    assert_eq!(take(&receiver, 10), (0..10).collect::<Vec<_>>());
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    block_on(admin.create_partitions(&[NewPartitions::new(&topic, 4)], &AdminOptions::new())).unwrap();
    let client: BaseProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    wait_for("the partitions", || {
        client.client().fetch_metadata(Some(&topic), WAIT).unwrap().topics()[0].partitions().len() == 4
    });
    for partition in 1..4 {
        produce(&brokers, &topic, partition, i64::from(partition) * 10..i64::from(partition) * 10 + 10);
    }
    assert_eq!(take(&receiver, 30), (10..40).collect::<Vec<_>>());
}

pub fn deleted_records_are_not_passed_over_in_silence() {
    let brokers = brokers();
    let topic = unique("deleted");
    ensure_topic(&brokers, &topic, 1).unwrap();
    produce(&brokers, &topic, 0, 0..100);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let mut until = TopicPartitionList::new();
    until.add_partition_offset(&topic, 0, Offset::Offset(40)).unwrap();
    block_on(admin.delete_records(&until, &AdminOptions::new())).unwrap();

    assert_eq!(numbers(&brokers, &topic, &[]).resolve_start().unwrap(), [(0, 40)].into());
    let (running, receiver) = start(&*numbers(&brokers, &topic, &[]), &[(0, 10)].into(), None);
    assert!(receiver.recv_timeout(WAIT).is_err());
    let Health::Failed(reason) = running.status().health else { panic!("it should have failed") };
    assert!(reason.starts_with("offset 10 of partition 0 is not in topic"), "{reason}");

    let (running, receiver) =
        start(&*numbers(&brokers, &topic, &[("offset_reset", "earliest")]), &[(0, 10)].into(), None);
    assert_eq!(take(&receiver, 60), (40..100).collect::<Vec<_>>());
    assert_eq!(running.status().health, Health::Running);
}

pub fn a_timestamp_finds_its_offset() {
    let brokers = brokers();
    let topic = unique("times");
    ensure_topic(&brokers, &topic, 1).unwrap();
    let producer = Producer::new(&brokers).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64;
    for n in 0..10i64 {
        let value = format!("{{\"n\":{n}}}");
        producer
            .send(
                &topic,
                Record {
                    value: Some(value.as_bytes()),
                    timestamp_ms: Some(now - 10_000 + n * 1000),
                    ..Record::default()
                },
            )
            .unwrap();
    }
    producer.flush(WAIT).unwrap();
    let resolve =
        |ms: i64| numbers(&brokers, &topic, &[("start", &format!("timestamp:{ms}"))]).resolve_start().unwrap()[&0];
    assert_eq!((resolve(now - 6_500), resolve(now - 60_000), resolve(now + 60_000)), (4, 0, 10));
}
