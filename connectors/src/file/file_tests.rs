#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use catalog::{Column, SqlType};
use crossbeam_channel::Receiver;
use tempfile::TempDir;

use super::*;
use crate::source::{SourceBatch, batch_channel};

fn source(path: &Path, options: &[(&str, &str)]) -> FileSource {
    let column = |name: &str, sql_type| Column {
        name: name.to_owned(),
        sql_type,
        nullable: true,
        default: None,
        generated: None,
    };
    let mut list: BTreeMap<String, String> =
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    list.insert("path".to_owned(), path.display().to_string());
    let spec = SourceSpec {
        name: "test".to_owned(),
        columns: vec![column("a", SqlType::BigInt), column("t", SqlType::Text)],
        options: list,
        upsert: None,
    };
    FileSource::open(&spec).unwrap()
}

fn start(
    source: &FileSource,
    from: &Positions,
    until: Option<&Positions>,
) -> (Box<dyn RunningSource>, Receiver<SourceBatch>) {
    let (sender, receiver) = batch_channel(Arc::new(|| {}));
    (source.run(from, until, sender).unwrap(), receiver)
}

fn values(batch: &SourceBatch) -> Vec<i64> {
    batch.delta.column(0).as_primitive::<Int64Type>().values().to_vec()
}

fn lines(numbers: std::ops::Range<i64>) -> String {
    numbers.map(|n| format!("{{\"a\":{n},\"t\":\"line {n}\"}}\n")).collect()
}

#[test]
fn a_file_is_read_once_and_resumed_at_any_batch() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f.jsonl");
    fs::write(&path, lines(0..30_000) + "{\"a\":30000}").unwrap();
    let source = source(&path, &[]);
    assert_eq!(source.resolve_start().unwrap(), [(0, 0)].into());
    let (running, receiver) = start(&source, &Positions::new(), None);
    let batches: Vec<SourceBatch> = receiver.iter().collect();
    assert!(running.status().finished);
    assert!(batches.len() > 3);
    assert_eq!(batches.iter().flat_map(values).collect::<Vec<_>>(), (0..=30_000).collect::<Vec<_>>());
    assert!(batches.windows(2).all(|pair| pair[0].next_offset == pair[1].first_offset));
    assert_eq!(source.end_positions().unwrap()[&0], batches.last().unwrap().next_offset);

    let (_running, receiver) =
        start(&source, &[(0, batches[1].next_offset)].into(), Some(&[(0, batches[2].next_offset)].into()));
    let again: Vec<i64> = receiver.iter().flat_map(|batch| values(&batch)).collect();
    assert_eq!(again, values(&batches[2]));
}

#[test]
fn a_bad_line_is_a_dead_letter_with_its_offset() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f.jsonl");
    fs::write(&path, "{\"a\":1}\r\n\nnope\n{\"a\":2}\n").unwrap();
    let (_running, receiver) = start(&source(&path, &[]), &Positions::new(), None);
    let batch = receiver.recv().unwrap();
    assert_eq!(values(&batch), [1, 2]);
    assert_eq!((batch.dead_letters[0].offset, batch.dead_letters[0].payload.as_deref()), (10, Some(&b"nope"[..])));

    let (running, receiver) = start(&source(&path, &[("on_error", "fail")]), &Positions::new(), None);
    assert!(receiver.recv().is_err());
    let Health::Failed(reason) = running.status().health else { panic!("it should have failed") };
    assert_eq!(reason, "record at partition 0, offset 10: malformed JSON: a word that is none at byte 0");
    assert!(!running.status().finished);
}

#[test]
fn every_file_of_a_pattern_is_a_partition_of_its_own() {
    let dir = TempDir::new().unwrap();
    for part in 0..5i64 {
        fs::write(dir.path().join(format!("part-{part}.jsonl")), lines(part * 100..part * 100 + 100)).unwrap();
    }
    fs::write(dir.path().join(".hidden"), "nope").unwrap();
    fs::write(dir.path().join("other.txt"), "nope").unwrap();
    let source = source(&dir.path().join("*.jsonl"), &[("threads", "3")]);
    let starts = source.resolve_start().unwrap();
    assert_eq!(starts.len(), 5);
    let (running, receiver) = start(&source, &starts, None);
    let mut all: Vec<i64> = receiver.iter().flat_map(|batch| values(&batch)).collect();
    all.sort_unstable();
    assert_eq!(all, (0..500).collect::<Vec<_>>());
    assert_eq!(running.status().end_offsets.len(), 5);
    assert!(matches!(
        super::FileSource::resolve_start(&self::source(&dir.path().join("*.csv"), &[])),
        Err(Error::NoFile(_))
    ));
}

#[test]
fn a_followed_directory_brings_new_lines_and_new_files() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.jsonl");
    fs::write(&path, lines(0..3) + "{\"a\":3").unwrap();
    let source = source(dir.path(), &[("mode", "follow"), ("poll_interval", "5ms")]);
    let (running, receiver) = start(&source, &Positions::new(), None);
    let next = || values(&receiver.recv_timeout(Duration::from_secs(5)).unwrap());
    assert_eq!(next(), [0, 1, 2]);
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    writeln!(file, "}}").unwrap();
    assert_eq!(next(), [3]);
    fs::write(dir.path().join("b.jsonl"), lines(10..12)).unwrap();
    assert_eq!(next(), [10, 11]);
    assert!(!running.status().finished);
    fs::write(&path, "").unwrap();
    let began = Instant::now();
    while running.status().health == Health::Running {
        assert!(began.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(running);
}

#[test]
fn csv_has_a_header_that_a_restart_knows_too() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("f.csv");
    fs::write(&path, "t,a\n\"x\ny\",1\nz,2\n").unwrap();
    let source = source(&path, &[("format", "csv")]);
    let (_running, receiver) = start(&source, &Positions::new(), None);
    let batch = receiver.recv().unwrap();
    assert_eq!(values(&batch), [1, 2]);
    assert_eq!(batch.delta.column(1).as_string_view().value(0), "x\ny");
    let (_running, receiver) = start(&source, &[(0, 12)].into(), None);
    assert_eq!(values(&receiver.recv().unwrap()), [2]);
    let bare = self::source(&path, &[("format", "csv"), ("header", "false"), ("on_error", "skip")]);
    let (running, receiver) = start(&bare, &Positions::new(), None);
    assert_eq!(receiver.iter().map(|batch| batch.delta.num_rows()).sum::<usize>(), 0);
    assert_eq!(running.status().skipped, 3);
}
