//! `/metrics`: the engine's samples and the histograms that were recorded, in Prometheus' text format.

use std::fmt::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use engine::metrics::{Sample, SampleKind};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::error::{Error, Result};
use crate::server::Shared;

/// Bounds of time histograms in seconds: from the shortest epoch to a statement that someone waits for.
const SECONDS: [f64; 15] =
    [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

/// The recorder belongs to the process, like the macros that write to it.
static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
static INSTALLING: Mutex<()> = Mutex::new(());

/// Makes the `metrics` macros of this process record; once is enough, more does no harm. Call it before the engine is opened, or what it records
/// until the server starts is lost.
///
/// # Errors
/// If another recorder has been installed.
pub fn install() -> Result<()> {
    let _one_at_a_time = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if RECORDER.get().is_some() {
        return Ok(());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| Error::Metrics(error.to_string()))?;
    RECORDER.get_or_init(|| handle);
    engine::metrics::describe();
    Ok(())
}

/// Moves recorded values into their buckets; now and then, so that they don't pile up between scrapes.
pub(super) fn upkeep() {
    if let Some(recorder) = RECORDER.get() {
        recorder.run_upkeep();
    }
}

pub(super) async fn scrape(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let mut text = samples(&shared.engine.metrics());
    if let Some(recorder) = RECORDER.get() {
        text.push_str(&recorder.render());
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// The engine's samples; those of one name stand together, as the format demands.
fn samples(samples: &[Sample]) -> String {
    let mut sorted: Vec<&Sample> = samples.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(b.name));
    let mut text = String::new();
    let mut previous = "";
    for sample in sorted {
        if sample.name != previous {
            let kind = match sample.kind {
                SampleKind::Counter => "counter",
                SampleKind::Gauge => "gauge",
            };
            let help = sample.help.replace('\\', "\\\\").replace('\n', "\\n");
            let _infallible = writeln!(text, "# HELP {0} {help}\n# TYPE {0} {kind}", sample.name);
            previous = sample.name;
        }
        text.push_str(sample.name);
        for (index, (name, value)) in sample.labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _infallible = write!(text, "{}{name}=\"{value}\"", if index == 0 { '{' } else { ',' });
        }
        if !sample.labels.is_empty() {
            text.push('}');
        }
        let _infallible = writeln!(text, " {}", sample.value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &'static str, label: &str, value: f64) -> Sample {
        Sample { name, help: "what it is", kind: SampleKind::Counter, labels: vec![("source", label.into())], value }
    }

    #[test]
    fn samples_of_a_name_stand_together_under_one_header() {
        let text = samples(&[
            sample("millrace_b_total", "x", 1.0),
            sample("millrace_a_total", "p\"q", 2.5),
            sample("millrace_b_total", "y", 3.0),
        ]);
        assert_eq!(
            text,
            "# HELP millrace_a_total what it is\n# TYPE millrace_a_total counter\nmillrace_a_total{source=\"p\\\"q\"} 2.5\n\
             # HELP millrace_b_total what it is\n# TYPE millrace_b_total counter\nmillrace_b_total{source=\"x\"} 1\n\
             millrace_b_total{source=\"y\"} 3\n"
        );
    }
}
