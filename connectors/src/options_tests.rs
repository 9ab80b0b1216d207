#![allow(clippy::unwrap_used)]

use super::*;

fn list(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_near_miss_is_named() {
    let error = KafkaSourceOptions::parse(&list(&[("topic", "t"), ("formt", "json")]), false).unwrap_err();
    assert_eq!(error.to_string(), "option \"formt\" does not exist for connector 'kafka'");
    assert_eq!(error.hint().unwrap(), "did you mean \"format\"?");
    let error = KafkaSourceOptions::parse(&list(&[("topic", "t"), ("bootstrap.servers", "x:1")]), false).unwrap_err();
    assert_eq!(error.hint().unwrap(), "did you mean \"brokers\"?");
    let error = FileOptions::parse(&list(&[("path", "x"), ("kafka.client.id", "x")])).unwrap_err();
    assert!(matches!(error, Error::UnknownOption { .. }));
    let error = GeneratorOptions::parse(&list(&[("kind", "sequence"), ("zzzzzz", "x")])).unwrap_err();
    assert_eq!(error.hint(), None);
}

#[test]
fn a_topic_is_required_and_checked() {
    assert!(matches!(KafkaSourceOptions::parse(&list(&[]), false), Err(Error::MissingOption { .. })));
    assert!(matches!(KafkaSourceOptions::parse(&list(&[("topic", "a b")]), false), Err(Error::InvalidOption { .. })));
}

#[test]
fn every_form_of_start_is_read() {
    let start = |text: &str| Start::parse(text);
    assert_eq!(start("Earliest").unwrap(), Start::Earliest);
    assert_eq!(start("latest").unwrap(), Start::Latest);
    assert_eq!(start("timestamp:1700000000000").unwrap(), Start::Timestamp(1_700_000_000_000));
    assert_eq!(start("timestamp:2023-11-14T22:13:20Z").unwrap(), Start::Timestamp(1_700_000_000_000));
    assert_eq!(start("timestamp:2023-11-15 00:13:20+02").unwrap(), Start::Timestamp(1_700_000_000_000));
    assert_eq!(start("offsets:0=5, 1=7").unwrap(), Start::Offsets([(0, 5), (1, 7)].into()));
    for wrong in ["now", "offsets:", "offsets:0", "offsets:0=1,0=2", "offsets:0=-1", "timestamp:yesterday"] {
        assert!(start(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn what_passes_through_to_librdkafka_is_kept_and_never_printed() {
    let options = list(&[("topic", "t"), ("kafka.sasl.password", "hunter2"), ("kafka.client.id", "me")]);
    let parsed = KafkaSourceOptions::parse(&options, false).unwrap();
    assert_eq!(parsed.connection.properties["sasl.password"], "hunter2");
    assert!(!format!("{parsed:?}").contains("hunter2"));
    let reserved = KafkaSourceOptions::parse(&list(&[("topic", "t"), ("kafka.enable.auto.commit", "true")]), false);
    assert!(reserved.unwrap_err().to_string().contains("engine's own commit"));
}

#[test]
fn a_format_that_is_not_built_says_which_are() {
    let error = KafkaSourceOptions::parse(&list(&[("topic", "t"), ("format", "avro")]), false).unwrap_err();
    assert_eq!(error.to_string(), "format 'avro' is not supported; formats that exist: json, csv");
    let error = KafkaSourceOptions::parse(&list(&[("topic", "t"), ("delimiter", ";")]), false).unwrap_err();
    assert!(error.to_string().contains("belongs to format 'csv'"));
}

#[test]
fn the_envelope_must_agree_with_the_statement() {
    let upsert = list(&[("topic", "t"), ("envelope", "upsert")]);
    assert!(KafkaSourceOptions::parse(&upsert, true).is_ok());
    assert!(KafkaSourceOptions::parse(&upsert, false).is_err());
    assert!(KafkaSourceOptions::parse(&list(&[("topic", "t"), ("envelope", "debezium")]), true).is_err());
}

#[test]
fn durations_have_units() {
    assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
    assert_eq!(parse_duration("2 seconds"), Some(Duration::from_secs(2)));
    assert_eq!(parse_duration("1.5"), Some(Duration::from_millis(1500)));
    assert_eq!(parse_duration("soon"), None);
}

#[test]
fn a_generator_needs_its_table() {
    assert!(GeneratorOptions::parse(&list(&[("kind", "nexmark")])).is_err());
    let options = list(&[("kind", "nexmark"), ("table", "bid"), ("events", "10_000"), ("base_time", "2024-01-01")]);
    let parsed = GeneratorOptions::parse(&options).unwrap();
    assert_eq!((parsed.events, parsed.base_us), (Some(10_000), 1_704_067_200_000_000));
    assert!(GeneratorOptions::parse(&list(&[("kind", "nexmrk"), ("table", "bid")])).is_err());
}

#[test]
fn every_option_has_its_line_in_the_docs() {
    let page = |name: &str| {
        let path = format!("{}/../docs/connectors/{name}.md", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    for (name, options) in [
        ("kafka", KafkaSourceOptions::NAMES),
        ("kafka", KafkaSinkOptions::NAMES),
        ("file", FileOptions::NAMES),
        ("generator", GeneratorOptions::NAMES),
    ] {
        let page = page(name);
        for option in options {
            assert!(page.contains(&format!("| `{option}` |")), "docs/connectors/{name}.md has no row for {option}");
        }
    }
}

proptest::proptest! {
    /// Whatever a WITH list says, it is options or an error.
    #[test]
    fn whatever_bytes_options_have_they_are_options_or_an_error(
        pairs in proptest::collection::btree_map(
            proptest::prop_oneof![
                proptest::sample::select(
                    ["topic", "brokers", "format", "start", "on_error", "delimiter", "header", "path", "follow", "kind", "table", "events", "rate",
                     "partitions", "keys", "skew", "mode", "idle_timeout", "kafka.client.id", "partition_refresh", "decode_threads"].map(str::to_owned).to_vec()
                ),
                "\\PC{0,12}",
            ],
            proptest::prop_oneof![
                proptest::sample::select(
                    ["json", "csv", "earliest", "offsets:0=1", "timestamp:1", "-1", "0", "1e9", "true", "sequence", "orders", "10 seconds", "\t", ""]
                        .map(str::to_owned).to_vec()
                ),
                "\\PC{0,16}",
            ],
            0..6,
        ),
    ) {
        drop(KafkaSourceOptions::parse(&pairs, false));
        drop(KafkaSinkOptions::parse(&pairs));
        drop(FileOptions::parse(&pairs));
        drop(GeneratorOptions::parse(&pairs));
    }
}
