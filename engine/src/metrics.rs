//! Values for `/metrics`; histograms are recorded where things happen, through the `metrics` crate.

use catalog::Object;
use connectors::Health;

use crate::engine::Shared;
use crate::system::lag;

/// One value of a metric.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The metric's name.
    pub name: &'static str,
    /// What it means, with its unit.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: SampleKind,
    /// Labels.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

/// What a value does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

use SampleKind::{Counter, Gauge};

/// Says what the histograms are that the engine records, so that they are there before anything happens.
pub fn describe() {
    use metrics::{Unit::Seconds, describe_histogram, histogram};
    describe_histogram!("millrace_epoch_seconds", Seconds, "Time that an epoch takes: pull, step, record, publish.");
    describe_histogram!("millrace_commit_seconds", Seconds, "Time that a commit of a checkpoint takes.");
    describe_histogram!(
        "millrace_visible_latency_seconds",
        Seconds,
        "From a record's creation, as its source has it, until queries see it; of each epoch the oldest record."
    );
    describe_histogram!("millrace_sink_seconds", Seconds, "Time that one delivery to a sink takes.");
    describe_histogram!(
        "millrace_sink_latency_seconds",
        Seconds,
        "From the end of an epoch until a sink has its changes."
    );
    drop((histogram!("millrace_epoch_seconds"), histogram!("millrace_commit_seconds")));
}

pub(crate) fn samples(shared: &Shared) -> Vec<Sample> {
    let published = shared.published.load();
    let runtime = shared.runtime.lock().clone();
    let mut out = Vec::new();
    let mut add = |name, help, kind, labels: &[(&'static str, &str)], value: f64| {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        out.push(Sample { name, help, kind, labels, value });
    };
    add("millrace_epoch", "The last published epoch.", Gauge, &[], published.epoch.0 as f64);
    add(
        "millrace_state_bytes",
        "Memory held by operator state and overlays, in bytes.",
        Gauge,
        &[],
        runtime.state_bytes as f64,
    );
    add(
        "millrace_cache_bytes",
        "Memory held by the store's caches, in bytes.",
        Gauge,
        &[],
        runtime.store.memory_bytes as f64,
    );
    for (from, rows) in [("inputs", runtime.build_rows.inputs), ("state", runtime.build_rows.state)] {
        add(
            "millrace_build_rows_total",
            "Rows that views were built from: of sources, tables and views, or of the state of operators that went on.",
            Counter,
            &[("from", from)],
            rows as f64,
        );
    }
    add("millrace_store_bytes", "Live data on disk, in bytes.", Gauge, &[], runtime.store.disk_bytes as f64);
    add(
        "millrace_committed_bytes_total",
        "Keys and values committed, in bytes.",
        Counter,
        &[],
        runtime.store.committed_bytes as f64,
    );
    add("millrace_commits_total", "Commits.", Counter, &[], runtime.store.commits as f64);
    add(
        "millrace_commit_waits",
        "1 while a commit waits for room on the disk.",
        Gauge,
        &[],
        f64::from(u8::from(runtime.commit_trouble.is_some())),
    );
    add(
        "millrace_failed",
        "1 when the engine takes no input any more; readers have the last epoch, a restart goes on.",
        Gauge,
        &[],
        f64::from(u8::from(runtime.failure.is_some())),
    );
    add(
        "millrace_clock_behind_seconds",
        "How far the clock is behind the last epoch's time, in seconds: it was set back, and now() stands still until it has come there.",
        Gauge,
        &[],
        runtime.clock_behind_us as f64 / 1e6,
    );
    add(
        "millrace_memory_budget_bytes",
        "What --memory-budget allows for state, overlays and caches, in bytes.",
        Gauge,
        &[],
        shared.settings.memory_budget_bytes as f64,
    );
    if let Some(resident) = resident_bytes() {
        add(
            "millrace_resident_bytes",
            "Memory that the process has, as the system counts it, in bytes.",
            Gauge,
            &[],
            resident as f64,
        );
    }
    if let Some(free) = runtime.store.free_bytes {
        add("millrace_disk_free_bytes", "Room left on the data directory's disk, in bytes.", Gauge, &[], free as f64);
    }
    for object in published.catalog.objects() {
        let name = object.name.to_string();
        if let Some(input) = runtime.inputs.get(&object.id) {
            let labels = [("source", name.as_str())];
            let counters = input.read.counters;
            add("millrace_source_records_total", "Rows decoded.", Counter, &labels, counters.rows as f64);
            add(
                "millrace_source_bytes_total",
                "Bytes of keys and values read.",
                Counter,
                &labels,
                counters.bytes as f64,
            );
            add(
                "millrace_source_decode_errors_total",
                "Records that could not be decoded.",
                Counter,
                &labels,
                counters.dead_letters as f64,
            );
            add(
                "millrace_source_late_rows_total",
                "Rows left out because their windows were closed.",
                Counter,
                &labels,
                counters.late as f64,
            );
            let healthy = f64::from(u8::from(input.status.health == Health::Running));
            add("millrace_source_up", "1 while the source can be read.", Gauge, &labels, healthy);
            add(
                "millrace_source_skipped_total",
                "Records left out by on_error = 'skip' since the start.",
                Counter,
                &labels,
                input.status.skipped as f64,
            );
            add(
                "millrace_source_lag_records",
                "Records that wait in all partitions.",
                Gauge,
                &labels,
                lag(input) as f64,
            );
            if let Some(watermark) = published.watermarks.get(&object.id) {
                add(
                    "millrace_source_watermark_seconds",
                    "The watermark, in seconds since 1970.",
                    Gauge,
                    &labels,
                    *watermark as f64 / 1e6,
                );
            }
        }
        if object.is_stored() {
            add_view(&mut add, object, &name, &published);
        }
        if let Some(sink) = runtime.sinks.get(&object.id) {
            let labels = [("sink", name.as_str())];
            let healthy = f64::from(u8::from(sink.status.health == Health::Running));
            add("millrace_sink_up", "1 while the sink can be written.", Gauge, &labels, healthy);
            add(
                "millrace_outbox_bytes",
                "Compressed changes that a sink has not confirmed, in bytes.",
                Gauge,
                &labels,
                sink.outbox_bytes as f64,
            );
            add("millrace_sink_rows_total", "Rows emitted.", Counter, &labels, sink.status.rows as f64);
            add(
                "millrace_sink_errors_total",
                "Deliveries that failed and were tried again.",
                Counter,
                &labels,
                sink.status.errors as f64,
            );
        }
    }
    out
}

/// What the kernel says; `None` where there is no /proc.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

fn add_view(
    add: &mut impl FnMut(&'static str, &'static str, SampleKind, &[(&'static str, &str)], f64),
    object: &Object,
    name: &str,
    published: &crate::published::Published,
) {
    let labels = [("view", name)];
    let building = published.hydrating.get(&object.id);
    add("millrace_view_hydrated", "1 when the view is built.", Gauge, &labels, f64::from(u8::from(building.is_none())));
    if let Some(progress) = building {
        add(
            "millrace_view_hydration_rows",
            "Rows of the past that the build has read.",
            Gauge,
            &labels,
            progress.rows as f64,
        );
        let failed = f64::from(u8::from(progress.error.is_some()));
        add("millrace_view_hydration_failed", "1 while something is in the way of the build.", Gauge, &labels, failed);
    }
    add("millrace_view_epoch", "The epoch that the view shows.", Gauge, &labels, published.epoch.0 as f64);
    if let Some(view) = published.relations.get(&object.id)
        && let Ok(rows) = view.row_count(&*published.snapshot)
    {
        add("millrace_view_rows", "Rows of the view.", Gauge, &labels, rows as f64);
    }
}
