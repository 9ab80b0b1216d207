//! The table of results, for people and as JSON.

use std::path::Path;

use serde::Serialize;

use crate::{Error, Result};

/// What one run of one query showed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) query: String,
    pub(crate) source: String,
    /// Rows that the query's sources gave.
    pub(crate) events: u64,
    /// Until all of them were visible in the view.
    pub(crate) seconds: f64,
    pub(crate) events_per_second: f64,
    pub(crate) cpu_seconds_per_million: f64,
    /// The part of the CPU time that went into commits, and into RocksDB's flushes and compactions. What it takes to encode them isn't in it.
    pub(crate) commit_cpu_share: f64,
    pub(crate) peak_memory_bytes: u64,
    /// Keys and values handed to the store.
    pub(crate) committed_bytes: u64,
    /// Rows of the view at the end.
    pub(crate) view_rows: i64,
    /// How often memory was asked for, of which some may be other threads' business: readers', compaction's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) allocations_per_million: Option<f64>,
    /// A number for its contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) checksum: Option<String>,
}

/// The line above the results.
pub(crate) fn print_head(with_checksum: bool, with_allocations: bool) {
    println!(
        "{:<6}{:<12}{:>12}{:>9}{:>12}{:>12}{:>10}{:>11}{:>12}{:>12}{}{}",
        "query",
        "source",
        "events",
        "s",
        "k events/s",
        "CPU s/M",
        "commit %",
        "peak MiB",
        "written MiB",
        "view rows",
        if with_allocations { "  allocations/M" } else { "" },
        if with_checksum { "  checksum" } else { "" }
    );
}

/// One result.
pub(crate) fn print(measured: &Measured) {
    const MIB: f64 = 1024.0 * 1024.0;
    println!(
        "{:<6}{:<12}{:>12}{:>9.2}{:>12.0}{:>12.2}{:>10.0}{:>11.0}{:>12.1}{:>12}{}{}",
        measured.query,
        measured.source,
        measured.events,
        measured.seconds,
        measured.events_per_second / 1e3,
        measured.cpu_seconds_per_million,
        measured.commit_cpu_share * 100.0,
        measured.peak_memory_bytes as f64 / MIB,
        measured.committed_bytes as f64 / MIB,
        measured.view_rows,
        measured.allocations_per_million.map_or_else(String::new, |count| format!("{count:>15.0}")),
        measured.checksum.as_ref().map_or_else(String::new, |checksum| format!("  {checksum}")),
    );
}

/// All results as a JSON array.
pub(crate) fn write_json(path: &Path, all: &[Measured]) -> Result<()> {
    let text = serde_json::to_string_pretty(all).map_err(|e| Error::Usage(e.to_string()))?;
    std::fs::write(path, text + "\n").map_err(Error::io(path.display().to_string()))
}
