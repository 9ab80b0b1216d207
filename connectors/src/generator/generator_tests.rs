#![allow(clippy::unwrap_used)]

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use catalog::Column;

use super::*;
use crate::source::batch_channel;

fn spec(columns: &[(&str, SqlType)], options: &[(&str, &str)]) -> SourceSpec {
    let columns = columns.iter().map(|(name, sql_type)| Column {
        name: (*name).to_owned(),
        sql_type: sql_type.clone(),
        nullable: true,
        default: None,
        generated: None,
    });
    SourceSpec {
        name: "test".to_owned(),
        columns: columns.collect(),
        options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        upsert: None,
    }
}

fn bids(options: &[(&str, &str)]) -> SourceSpec {
    let columns = [
        ("auction", SqlType::BigInt),
        ("bidder", SqlType::BigInt),
        ("price", SqlType::BigInt),
        ("channel", SqlType::Text),
        ("url", SqlType::Text),
        ("datetime", SqlType::Timestamp),
        ("extra", SqlType::Text),
    ];
    spec(&columns, &[&[("kind", "nexmark"), ("table", "bid")], options].concat())
}

fn read(source: &GeneratorSource, from: &Positions, until: Option<&Positions>) -> BTreeMap<PartitionId, RecordBatch> {
    let (sender, receiver) = batch_channel(Arc::new(|| {}));
    let running = source.run(from, until, sender).unwrap();
    let mut parts: BTreeMap<PartitionId, (i64, Vec<RecordBatch>)> = BTreeMap::new();
    for batch in receiver {
        let start = from.get(&batch.partition).copied().unwrap_or(0);
        let (next, batches) = parts.entry(batch.partition).or_insert_with(|| (start, Vec::new()));
        assert_eq!(batch.first_offset, *next);
        *next = batch.next_offset;
        batches.push(batch.delta.batch().clone());
    }
    drop(running);
    parts
        .into_iter()
        .map(|(partition, (_, batches))| (partition, concat_batches(&batches[0].schema(), &batches).unwrap()))
        .collect()
}

#[test]
fn a_restart_goes_on_with_the_same_rows() {
    let source = GeneratorSource::open(&bids(&[("events", "50000")])).unwrap();
    let whole = &read(&source, &Positions::new(), None)[&0];
    assert_eq!(whole.num_rows(), 46_000);
    let rest = &read(&source, &[(0, 20_001)].into(), None)[&0];
    assert_eq!(rest, &whole.slice(20_001, 25_999));
    let part = &read(&source, &[(0, 10)].into(), Some(&[(0, 30)].into()))[&0];
    assert_eq!(part, &whole.slice(10, 20));
}

#[test]
fn lanes_deal_the_same_rows_round_robin() {
    let one = &read(&GeneratorSource::open(&bids(&[("events", "1001")])).unwrap(), &Positions::new(), None)[&0];
    let three = read(
        &GeneratorSource::open(&bids(&[("events", "1001"), ("partitions", "3")])).unwrap(),
        &Positions::new(),
        None,
    );
    assert_eq!(three.values().map(RecordBatch::num_rows).sum::<usize>(), one.num_rows());
    for (lane, batch) in &three {
        for row in 0..batch.num_rows() {
            assert_eq!(batch.slice(row, 1), one.slice(row * 3 + *lane as usize, 1));
        }
    }
}

#[test]
fn bids_are_distributed_as_in_the_public_generators() {
    let source = GeneratorSource::open(&bids(&[("events", "1000000")])).unwrap();
    let batch = &read(&source, &Positions::new(), None)[&0];
    let rows = batch.num_rows() as f64;
    let share = |count: usize| count as f64 / rows;
    let auctions = batch.column(0).as_primitive::<Int64Type>();
    let near = |value: f64, expected: f64| assert!((value - expected).abs() < 0.01, "{value} is not near {expected}");
    near(share(auctions.values().iter().filter(|id| *id % 100 == 0).count()), 0.505);
    near(
        share(batch.column(1).as_primitive::<Int64Type>().values().iter().filter(|id| *id % 100 == 1).count()),
        0.7525,
    );
    let cheap = batch.column(2).as_primitive::<Int64Type>().values().iter().filter(|price| **price <= 100_000).count();
    near(share(cheap), 0.5);
    let channels = batch.column(3).as_string_view();
    near(share(channels.iter().flatten().filter(|name| *name == "Apple").count()), 0.125);
    near(share(channels.iter().flatten().filter(|name| name.starts_with("channel-")).count()), 0.5);
    let urls = batch.column(4).as_string_view();
    assert!(urls.iter().flatten().take(1000).all(|url| url.starts_with("https://www.nexmark.com/")));
    let extra: usize = batch.column(6).as_string_view().iter().flatten().map(str::len).sum();
    assert!((extra as f64 / rows - 68.0).abs() < 1.0);
    // The newest auction that a bid can name is ten ahead of the last one.
    for row in (0..batch.num_rows()).step_by(997) {
        let last = 1000 + (row as i64 / 46) * 3 + 2;
        assert!(auctions.value(row) <= last + 10 && auctions.value(row) >= (last - 200).max(1000));
    }
    let times = batch.column(5).as_primitive::<TimestampMicrosecondType>().values();
    assert!(times.is_sorted());
    assert_eq!((times[0], times[times.len() - 1]), (1_704_067_200_000_000, 1_704_067_299_999_000));
}

#[test]
fn the_three_tables_are_one_stream_of_events() {
    let count = |table: &str, column: &str, events: &str| {
        let spec = spec(&[(column, SqlType::BigInt)], &[("kind", "nexmark"), ("table", table), ("events", events)]);
        GeneratorSource::open(&spec).unwrap().end_positions().unwrap()[&0]
    };
    for events in [0u64, 1, 2, 4, 5, 49, 50, 51, 53, 100, 12_345] {
        let text = events.to_string();
        let all = count("person", "id", &text) + count("auction", "id", &text) + count("bid", "price", &text);
        assert_eq!(all as u64, events);
    }
    assert_eq!(count("auction", "id", "1000000"), 60_000);
}

#[test]
fn payments_are_for_orders_that_exist() {
    let columns = [("order_id", SqlType::BigInt), ("amount", SqlType::Numeric(Some((12, 2))))];
    let table = |name: &str| {
        let source =
            GeneratorSource::open(&spec(&columns, &[("kind", "orders"), ("table", name), ("events", "1010")])).unwrap();
        read(&source, &Positions::new(), None)[&0].clone()
    };
    let (orders, payments) = (table("orders"), table("payments"));
    assert_eq!(orders.num_rows(), 1010);
    assert!((958..=960).contains(&payments.num_rows()), "{}", payments.num_rows());
    let ids = payments.column(0).as_primitive::<Int64Type>();
    for row in 0..payments.num_rows() {
        let order = orders.slice(ids.value(row) as usize - 1, 1);
        assert_eq!(order, payments.slice(row, 1));
    }
}

#[test]
fn columns_must_be_ones_that_are_made() {
    let open = |columns: &[(&str, SqlType)]| {
        GeneratorSource::open(&spec(columns, &[("kind", "sequence"), ("events", "70000")]))
    };
    let error = |columns: &[(&str, SqlType)]| open(columns).err().unwrap().to_string();
    assert_eq!(error(&[("m", SqlType::BigInt)]), "column \"m\": the generator doesn't make it; it makes n, id");
    assert_eq!(error(&[("n", SqlType::Text)]), "column \"n\": the generator makes bigint, not text");
    let narrow = open(&[("n", SqlType::SmallInt)]).unwrap();
    let (sender, receiver) = batch_channel(Arc::new(|| {}));
    let running = narrow.run(&Positions::new(), None, sender).unwrap();
    let rows: usize = receiver.iter().map(|batch| batch.delta.num_rows()).sum();
    assert!(rows < 70_000);
    assert!(matches!(running.status().health, Health::Failed(_)));
}

#[test]
fn a_rate_is_kept() {
    let source =
        GeneratorSource::open(&spec(&[("n", SqlType::BigInt)], &[("kind", "sequence"), ("rate", "20000")])).unwrap();
    let (sender, receiver) = batch_channel(Arc::new(|| {}));
    let began = Instant::now();
    let running = source.run(&Positions::new(), None, sender).unwrap();
    let mut rows = 0;
    while rows < 4000 {
        rows += receiver.recv().unwrap().delta.num_rows();
    }
    assert!(began.elapsed() >= Duration::from_millis(190), "{:?}", began.elapsed());
    assert!(!running.status().finished);
}

#[test]
fn ids_of_a_sequence_are_skewed_as_wanted() {
    let counts = |skew: &'static str| {
        let options = [("kind", "sequence"), ("events", "100000"), ("keys", "1000"), ("skew", skew)];
        let source = GeneratorSource::open(&spec(&[("id", SqlType::BigInt)], &options)).unwrap();
        let (sender, receiver) = batch_channel(Arc::new(|| {}));
        let running = source.run(&Positions::new(), None, sender).unwrap();
        let mut counts = vec![0_usize; 1000];
        for batch in receiver.iter() {
            let ids = batch.delta.batch().column(0).clone();
            ids.as_primitive::<Int64Type>().values().iter().for_each(|id| counts[*id as usize] += 1);
        }
        drop(running);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    };
    let (even, zipf) = (counts("0"), counts("1"));
    assert!(even[0] < 160 && even[999] > 50, "{} {}", even[0], even[999]);
    // ln 2 of ln 1001 have rank 1; the first ten have ln 11.
    assert!((9_500..10_600).contains(&zipf[0]), "{}", zipf[0]);
    let ten: usize = zipf[..10].iter().sum();
    assert!((33_700..35_700).contains(&ten), "{ten}");
}
