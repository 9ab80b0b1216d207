//! Topics in and out over librdkafka's mock broker, which speaks the real protocol over TCP. What needs a real Kafka (fencing, aborted transactions, added
//! partitions, deleted records) is in the suite's `kafka/connector.rs`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema, TimestampMicrosecondType};
use catalog::object::{Generated, IncludeKind};
use catalog::{Column, SqlType};
use connectors::kafka::mock::MockKafka;
use connectors::kafka::produce::{Producer, Record};
use connectors::{
    Error, Health, Positions, RunningSource, SinkRow, SinkSpec, Source, SourceBatch, SourceSpec, UpsertKey,
    batch_channel, open_sink, open_source,
};
use crossbeam_channel::Receiver;
use delta::{Delta, Epoch};

const WAIT: Duration = Duration::from_secs(20);

fn column(name: &str, sql_type: SqlType) -> Column {
    Column { name: name.to_owned(), sql_type, nullable: true, default: None, generated: None }
}

fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn spec(kafka: &MockKafka, topic: &str, columns: Vec<Column>, more: &[(&str, &str)]) -> SourceSpec {
    let mut options = options(&[
        ("connector", "kafka"),
        ("brokers", kafka.brokers()),
        ("topic", topic),
        ("partition_refresh", "200ms"),
    ]);
    options.extend(self::options(more));
    SourceSpec { name: topic.to_owned(), columns, options, upsert: None }
}

/// A source of one bigint `n`.
fn numbers(kafka: &MockKafka, topic: &str, more: &[(&str, &str)]) -> Box<dyn Source> {
    open_source(&spec(kafka, topic, vec![column("n", SqlType::BigInt)], more)).unwrap()
}

fn produce_numbers(kafka: &MockKafka, topic: &str, partitions: i32, range: std::ops::Range<i64>) {
    let producer = Producer::new(kafka.brokers()).unwrap();
    for n in range {
        let value = format!("{{\"n\":{n}}}");
        let record = Record {
            value: Some(value.as_bytes()),
            partition: Some((n % i64::from(partitions)) as i32),
            ..Record::default()
        };
        producer.send(topic, record).unwrap();
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

/// Takes batches until there are `rows` rows; checks that offsets leave no gap.
fn take(receiver: &Receiver<SourceBatch>, rows: usize, next: &mut Positions) -> Vec<SourceBatch> {
    let mut batches = Vec::new();
    let mut count = 0;
    while count < rows {
        let batch = receiver.recv_timeout(WAIT).unwrap_or_else(|error| panic!("{count} of {rows} rows, then {error}"));
        let expected = next.entry(batch.partition).or_insert(batch.first_offset);
        assert_eq!(batch.first_offset, *expected);
        *expected = batch.next_offset;
        count += batch.delta.num_rows();
        batches.push(batch);
    }
    assert_eq!(count, rows);
    batches
}

fn values(batches: &[SourceBatch]) -> Vec<i64> {
    let mut values: Vec<i64> =
        batches.iter().flat_map(|batch| batch.delta.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    values.sort_unstable();
    values
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < WAIT, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn every_record_comes_once_and_a_restart_goes_on() {
    let kafka = MockKafka::start().unwrap();
    kafka.create_topic("numbers", 3).unwrap();
    produce_numbers(&kafka, "numbers", 3, 0..30_000);
    let source = numbers(&kafka, "numbers", &[]);
    let first = source.resolve_start().unwrap();
    assert_eq!(first, [(0, 0), (1, 0), (2, 0)].into());
    assert_eq!(source.end_positions().unwrap(), [(0, 10_000), (1, 10_000), (2, 10_000)].into());

    let (running, receiver) = start(&*source, &first, None);
    let mut next = first.clone();
    let batches = take(&receiver, 30_000, &mut next);
    assert_eq!(values(&batches), (0..30_000).collect::<Vec<_>>());
    assert!(batches.iter().all(|batch| batch.delta.num_rows() <= 8192 && batch.created_ms.is_some()));
    wait_for("the ends of all partitions", || running.status().end_offsets == next);
    drop(running);

    produce_numbers(&kafka, "numbers", 3, 30_000..33_000);
    let middle: Positions = [(0, 5_000), (1, 10_000), (2, 10_500)].into();
    let (_running, receiver) = start(&*source, &middle, None);
    let rest = take(&receiver, 6_000 + 1_000 + 500, &mut middle.clone());
    assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err());
    assert_eq!(rest.iter().map(|batch| batch.next_offset).max(), Some(11_000));
}

#[test]
fn a_part_of_the_past_is_read_and_the_queue_closes() {
    let kafka = MockKafka::start().unwrap();
    kafka.create_topic("past", 2).unwrap();
    produce_numbers(&kafka, "past", 2, 0..2_000);
    let source = numbers(&kafka, "past", &[]);
    let (running, receiver) = start(&*source, &[(0, 10)].into(), Some(&[(0, 400)].into()));
    let batches: Vec<SourceBatch> = receiver.iter().collect();
    assert_eq!(values(&batches), (10..400).map(|row| row * 2).collect::<Vec<_>>());
    assert_eq!(batches.last().unwrap().next_offset, 400);
    wait_for("the end", || running.status().finished);
    let (_running, receiver) = start(&*source, &[(0, 400), (1, 7)].into(), Some(&[(0, 400), (1, 7)].into()));
    assert_eq!(receiver.iter().count(), 0);
}

#[test]
fn starts_are_resolved_once() {
    let kafka = MockKafka::start().unwrap();
    kafka.create_topic("starts", 2).unwrap();
    produce_numbers(&kafka, "starts", 2, 0..20);
    let resolve = |start: &str| numbers(&kafka, "starts", &[("start", start)]).resolve_start();
    assert_eq!(resolve("earliest").unwrap(), [(0, 0), (1, 0)].into());
    assert_eq!(resolve("latest").unwrap(), [(0, 10), (1, 10)].into());
    assert_eq!(resolve("offsets:1=4").unwrap(), [(0, 0), (1, 4)].into());
    assert!(resolve("offsets:1=11").unwrap_err().to_string().contains("partition 1 has offsets 0 to 10, not 11"));
    assert!(resolve("offsets:2=0").unwrap_err().to_string().contains("has partitions 0 to 1, not 2"));
}

#[test]
fn a_topic_that_is_not_there_is_an_error_that_names_others() {
    let kafka = MockKafka::start().unwrap();
    for topic in ["orders", "order_lines", "zebra"] {
        kafka.create_topic(topic, 1).unwrap();
    }
    let error = numbers(&kafka, "ordrs", &[]).resolve_start().unwrap_err();
    assert_eq!(error.to_string(), format!("topic \"ordrs\" does not exist on {}", kafka.brokers()));
    assert_eq!(error.hint().unwrap(), "topics with similar names: orders");
}

#[test]
fn a_broker_that_is_not_there_is_said_so() {
    let list = options(&[
        ("connector", "kafka"),
        ("brokers", "127.0.0.1:1"),
        ("topic", "t"),
        ("kafka.socket.connection.setup.timeout.ms", "1000"),
    ]);
    let spec =
        SourceSpec { name: "t".to_owned(), columns: vec![column("n", SqlType::BigInt)], options: list, upsert: None };
    let error = open_source(&spec).unwrap().resolve_start().unwrap_err();
    assert!(matches!(&error, Error::Unreachable { reason, .. } if reason.contains("127.0.0.1:1")), "{error}");
}

#[test]
fn an_unknown_property_is_refused_without_a_broker() {
    let kafka = MockKafka::start().unwrap();
    let with = |name, value| open_source(&spec(&kafka, "t", vec![], &[(name, value)])).err().unwrap().to_string();
    assert!(with("kafka.fetch.wait.max.m", "1").contains("kafka.fetch.wait.max.m"));
    assert!(!with("kafka.ssl.key.password", "hunter2\0").contains("hunter2"));
}

#[test]
fn metadata_bad_records_and_policies() {
    let kafka = MockKafka::start().unwrap();
    kafka.create_topic("mixed", 1).unwrap();
    let producer = Producer::new(kafka.brokers()).unwrap();
    for (key, value) in [("k0", "{\"n\":0}"), ("k1", "oops"), ("k2", "{\"n\":\"x\"}"), ("k3", "{\"n\":3}")] {
        let record = Record {
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            timestamp_ms: Some(1_704_067_200_000),
            ..Record::default()
        };
        producer.send("mixed", record).unwrap();
    }
    producer.flush(WAIT).unwrap();
    let included =
        |name: &str, sql_type, kind| Column { generated: Some(Generated::Include(kind)), ..column(name, sql_type) };
    let columns = vec![
        column("n", SqlType::BigInt),
        included("k", SqlType::Text, IncludeKind::Key),
        included("p", SqlType::Integer, IncludeKind::Partition),
        included("o", SqlType::BigInt, IncludeKind::Offset),
        included("t", SqlType::Timestamptz, IncludeKind::Timestamp),
        included("h", SqlType::Jsonb, IncludeKind::Headers),
    ];
    let source = open_source(&spec(&kafka, "mixed", columns, &[])).unwrap();
    let (_running, receiver) = start(&*source, &Positions::new(), Some(&[(0, 4)].into()));
    let batches: Vec<SourceBatch> = receiver.iter().collect();
    let rows =
        arrow::compute::concat_batches(&batches[0].delta.schema(), batches.iter().map(|batch| batch.delta.batch()))
            .unwrap();
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &[0, 3]);
    assert_eq!(rows.column(1).as_string_view().iter().flatten().collect::<Vec<_>>(), ["k0", "k3"]);
    assert_eq!(rows.column(2).as_primitive::<Int32Type>().values(), &[0, 0]);
    assert_eq!(rows.column(3).as_primitive::<Int64Type>().values(), &[0, 3]);
    assert_eq!(rows.column(4).as_primitive::<TimestampMicrosecondType>().value(0), 1_704_067_200_000_000);
    assert_eq!(rows.column(5).as_string_view().value(0), "{}");
    let letters: Vec<_> = batches.iter().flat_map(|batch| batch.dead_letters.clone()).collect();
    assert_eq!(letters.len(), 2);
    assert_eq!(
        (letters[0].offset, letters[0].payload.as_deref(), letters[0].key.as_deref()),
        (1, Some(&b"oops"[..]), Some(&b"k1"[..]))
    );
    assert_eq!(letters[1].reason, "column \"n\": expected bigint, found string \"x\"");

    let (running, receiver) = start(&*numbers(&kafka, "mixed", &[("on_error", "skip")]), &[(0, 0)].into(), None);
    assert_eq!(values(&take(&receiver, 2, &mut Positions::new())), [0, 3]);
    assert_eq!(running.status().skipped, 2);

    let (running, receiver) = start(&*numbers(&kafka, "mixed", &[("on_error", "fail")]), &[(0, 0)].into(), None);
    let before: Vec<SourceBatch> = receiver.iter().collect();
    assert_eq!((values(&before), before[0].next_offset), (vec![0], 1));
    assert!(matches!(running.status().health, Health::Failed(reason) if reason.contains("offset 1")));
}

#[test]
fn an_upsert_topic_sets_and_deletes() {
    let kafka = MockKafka::start().unwrap();
    kafka.create_topic("profiles", 1).unwrap();
    let producer = Producer::new(kafka.brokers()).unwrap();
    for (key, value) in [("1", Some("{\"id\":1,\"city\":\"Bonn\"}")), ("2", Some("{\"id\":2}")), ("1", None)] {
        producer
            .send(
                "profiles",
                Record { key: Some(key.as_bytes()), value: value.map(str::as_bytes), ..Record::default() },
            )
            .unwrap();
    }
    producer.flush(WAIT).unwrap();
    let columns = vec![Column { nullable: false, ..column("id", SqlType::BigInt) }, column("city", SqlType::Text)];
    let spec = SourceSpec {
        upsert: Some(UpsertKey { columns: vec![0] }),
        ..spec(&kafka, "profiles", columns, &[("envelope", "upsert")])
    };
    let (_running, receiver) = start(&*open_source(&spec).unwrap(), &Positions::new(), Some(&[(0, 3)].into()));
    let batches: Vec<SourceBatch> = receiver.iter().collect();
    let changes: Vec<(i64, i64)> = batches
        .iter()
        .flat_map(|batch| {
            (0..batch.delta.num_rows())
                .map(|row| (batch.delta.column(0).as_primitive::<Int64Type>().value(row), batch.delta.weight(row)))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(changes, [(1, 1), (2, 1), (1, -1)]);
}

#[test]
fn a_full_queue_holds_the_source_back_and_loses_nothing() {
    let kafka = MockKafka::start().unwrap();
    kafka.create_topic("much", 2).unwrap();
    let total = 60_000;
    let (sender, receiver) = batch_channel(Arc::new(|| {}));
    let source = numbers(&kafka, "much", &[]);
    let running = source.run(&[(0, 0), (1, 0)].into(), None, sender).unwrap();
    // Many small batches: the queue is full long before the topic is read, and stays so for longer than it takes to pause.
    for part in 0..60 {
        produce_numbers(&kafka, "much", 2, part * total / 60..(part + 1) * total / 60);
        std::thread::sleep(Duration::from_millis(25));
    }
    assert_eq!(running.status().health, Health::Running);
    let batches = take(&receiver, total as usize, &mut Positions::new());
    assert_eq!(values(&batches), (0..total).collect::<Vec<_>>());
    // And it goes on after that.
    produce_numbers(&kafka, "much", 2, total..total + 10);
    assert_eq!(values(&take(&receiver, 10, &mut Positions::new())), (total..total + 10).collect::<Vec<_>>());
}

#[test]
fn a_broker_that_goes_away_is_retried() {
    let kafka = MockKafka::start().unwrap();
    kafka.create_topic("away", 1).unwrap();
    produce_numbers(&kafka, "away", 1, 0..10);
    let (running, receiver) = start(&*numbers(&kafka, "away", &[]), &[(0, 0)].into(), None);
    let mut next = Positions::new();
    take(&receiver, 10, &mut next);
    kafka.take_down().unwrap();
    wait_for("an error", || matches!(running.status().health, Health::Retrying(_)));
    kafka.bring_up().unwrap();
    produce_numbers(&kafka, "away", 1, 10..20);
    assert_eq!(values(&take(&receiver, 10, &mut next)), (10..20).collect::<Vec<_>>());
    wait_for("recovery", || running.status().health == Health::Running);
}

#[test]
fn an_idle_topic_delivers_within_milliseconds() {
    let kafka = MockKafka::start().unwrap();
    kafka.create_topic("idle", 1).unwrap();
    let rung = Arc::new(AtomicUsize::new(0));
    let bell = Arc::clone(&rung);
    let (sender, receiver) = batch_channel(Arc::new(move || {
        bell.fetch_add(1, Ordering::SeqCst);
    }));
    let source = numbers(&kafka, "idle", &[]);
    let _running = source.run(&[(0, 0)].into(), None, sender).unwrap();
    let producer = Producer::new(kafka.brokers()).unwrap();
    let mut latencies = Vec::new();
    for n in 0..30 {
        let value = format!("{{\"n\":{n}}}");
        let began = Instant::now();
        producer.send("idle", Record { value: Some(value.as_bytes()), ..Record::default() }).unwrap();
        receiver.recv_timeout(WAIT).unwrap();
        latencies.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    latencies.sort_unstable();
    println!("median {:?}, worst {:?}", latencies[15], latencies[29]);
    assert!(latencies[15] < Duration::from_millis(100), "{latencies:?}");
    assert_eq!(rung.load(Ordering::SeqCst), 30);
}

fn sink_spec(kafka: &MockKafka, topic: &str, key: Vec<usize>, more: &[(&str, &str)]) -> SinkSpec {
    let mut options = options(&[("connector", "kafka"), ("brokers", kafka.brokers()), ("topic", topic)]);
    options.extend(self::options(more));
    let fields: Vec<Field> = vec![SqlType::BigInt.field("id", false), SqlType::Text.field("name", true)];
    SinkSpec {
        name: topic.to_owned(),
        identity: format!("{topic}/1"),
        options,
        schema: Arc::new(Schema::new(fields)),
        key,
    }
}

fn changes(spec: &SinkSpec, epoch: u64, rows: &[(i64, &str, i64)]) -> SinkRow {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)));
    let names: ArrayRef = Arc::new(StringViewArray::from_iter_values(rows.iter().map(|row| row.1)));
    let batch = RecordBatch::try_new(Arc::clone(&spec.schema), vec![ids, names]).unwrap();
    let weights = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
    SinkRow { inputs: "{}".into(), epoch: Epoch(epoch), delta: Delta::new(batch, Some(weights)) }
}

/// Keys and values of a topic's first partition.
fn records(kafka: &MockKafka, topic: &str) -> Vec<(Option<String>, Option<String>)> {
    let included =
        |name: &str, kind| Column { generated: Some(Generated::Include(kind)), ..column(name, SqlType::Text) };
    let spec = spec(kafka, topic, vec![included("k", IncludeKind::Key)], &[]);
    let source = open_source(&spec).unwrap();
    let (_running, receiver) =
        start(&*source, &[(0, 0)].into(), Some(&[(0, source.end_positions().unwrap()[&0])].into()));
    let mut found: Vec<(i64, Option<String>, Option<String>)> = Vec::new();
    for batch in receiver {
        // A tombstone is a dead letter of a source; what is left of each record is its key and offset.
        let letters = batch.dead_letters.iter().map(|letter| {
            (letter.offset, letter.key.clone().map(|key| String::from_utf8(key.to_vec()).unwrap()), None)
        });
        found.extend(letters);
        let keys = batch.delta.column(0).as_string_view();
        found.extend(
            (0..keys.len())
                .map(|row| (row as i64, keys.is_valid(row).then(|| keys.value(row).to_owned()), Some(String::new()))),
        );
    }
    found.into_iter().map(|(_, key, value)| (key, value)).collect()
}

/// Rows that a consumer of the topic sees as JSON: `id`, `name`, `__weight`, `__epoch`.
fn appended(kafka: &MockKafka, topic: &str) -> Vec<(i64, String, i64, i64)> {
    let columns = vec![
        column("id", SqlType::BigInt),
        column("name", SqlType::Text),
        column("__weight", SqlType::BigInt),
        column("__epoch", SqlType::BigInt),
    ];
    let source = open_source(&spec(kafka, topic, columns, &[])).unwrap();
    let (_running, receiver) =
        start(&*source, &[(0, 0)].into(), Some(&[(0, source.end_positions().unwrap()[&0])].into()));
    let mut rows = Vec::new();
    for batch in receiver {
        let integer = |index: usize, row: usize| batch.delta.column(index).as_primitive::<Int64Type>().value(row);
        let names = batch.delta.column(1).as_string_view();
        rows.extend(
            (0..batch.delta.num_rows())
                .map(|row| (integer(0, row), names.value(row).to_owned(), integer(2, row), integer(3, row))),
        );
    }
    rows
}

#[test]
fn a_sink_knows_what_it_has_emitted() {
    let kafka = MockKafka::start().unwrap();
    kafka.create_topic("out", 1).unwrap();
    let spec = sink_spec(&kafka, "out", vec![], &[]);
    let mut sink = open_sink(&spec).unwrap();
    assert!(sink.deliver(&[changes(&spec, 1, &[])]).is_err(), "it has not recovered yet");
    assert_eq!(sink.recover().unwrap(), None);
    sink.deliver(&[changes(&spec, 1, &[(1, "a", 1)]), changes(&spec, 2, &[(1, "a", -1), (2, "b\"", 2)])]).unwrap();
    sink.deliver(&[changes(&spec, 5, &[])]).unwrap();
    assert_eq!(sink.health(), Health::Running);
    // It dies here; another one takes over and goes on behind epoch 5.
    drop(sink);
    let mut sink = open_sink(&spec).unwrap();
    assert_eq!(sink.recover().unwrap(), Some(Epoch(5)));
    sink.deliver(&[changes(&spec, 6, &[(3, "c", 1)])]).unwrap();
    assert_eq!(sink.recover().unwrap(), Some(Epoch(6)), "recovery can be asked for at any time");
    sink.deliver(&[changes(&spec, 7, &[(4, "d", 1)])]).unwrap();
    let expected = [(1, "a", 1, 1), (1, "a", -1, 2), (2, "b\"", 2, 2), (3, "c", 1, 6), (4, "d", 1, 7)];
    let expected: Vec<_> =
        expected.into_iter().map(|(id, name, weight, epoch)| (id, name.to_owned(), weight, epoch)).collect();
    assert_eq!(appended(&kafka, "out"), expected);
}

#[test]
fn upsert_writes_one_record_a_key() {
    let kafka = MockKafka::start().unwrap();
    kafka.create_topic("upserts", 1).unwrap();
    let spec = sink_spec(&kafka, "upserts", vec![0], &[]);
    let mut sink = open_sink(&spec).unwrap();
    sink.recover().unwrap();
    sink.deliver(&[
        changes(&spec, 1, &[(1, "a", 1), (2, "b", 1)]),
        changes(&spec, 2, &[(1, "a", -1), (1, "a2", 1), (2, "b", -1), (3, "c", 1)]),
    ])
    .unwrap();
    let mut keys = records(&kafka, "upserts");
    keys.sort();
    let key = |id: i64| Some(format!("{{\"id\":{id}}}"));
    let (value, none) = (Some(String::new()), None);
    assert_eq!(
        keys,
        [(key(1), value.clone()), (key(1), value.clone()), (key(2), none), (key(2), value.clone()), (key(3), value)]
    );
}

#[test]
fn upsert_needs_a_key_and_append_its_names() {
    let kafka = MockKafka::start().unwrap();
    let error = open_sink(&sink_spec(&kafka, "x", vec![], &[("mode", "upsert")])).err().unwrap();
    assert!(error.to_string().contains("needs rows with a key"));
    let mut spec = sink_spec(&kafka, "x", vec![], &[]);
    spec.schema = Arc::new(Schema::new(vec![SqlType::BigInt.field("__epoch", true)]));
    assert!(matches!(open_sink(&spec).err(), Some(Error::Column { .. })));
}

#[test]
fn a_topic_is_made_for_a_sink() {
    let kafka = MockKafka::start().unwrap();
    let spec = sink_spec(&kafka, "made", vec![0], &[]);
    let mut sink = open_sink(&spec).unwrap();
    sink.recover().unwrap();
    sink.deliver(&[changes(&spec, 1, &[(1, "a", 1)])]).unwrap();
    assert!(!numbers(&kafka, "made", &[]).resolve_start().unwrap().is_empty());
}
