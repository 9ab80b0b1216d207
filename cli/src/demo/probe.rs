//! How long it takes from handing a record to Kafka until a query on a view shows it.
//!
//! Of payments that were just sent, it looks for one at a time in `paid_orders`, by the index, until the row is there: a join's
//! output, so the record has passed the broker, the source, the join and the view.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use engine::{Parameter, Response, Session, SqlType};
use futures::StreamExt;
use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::producer::Sent;
use crate::error::Failure;

const QUERY: &str = "SELECT order_id FROM paid_orders WHERE order_id = $1";

/// Between two looks: what the figures can be too large by.
const PAUSE: Duration = Duration::from_micros(200);

/// A record that isn't there by then is counted with this.
const GIVE_UP: Duration = Duration::from_secs(10);

/// Latencies in microseconds.
pub(crate) type Latency = Histogram<u64>;

/// The task that measures.
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    latency: Arc<Mutex<Latency>>,
    task: tokio::task::JoinHandle<Result<(), Failure>>,
}

impl Probe {
    pub(crate) fn start(session: Session, sent: Receiver<Sent>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let latency = Arc::new(Mutex::new(new_latency()));
        let task = tokio::spawn(measure(session, sent, stop.clone(), latency.clone()));
        Self { stop, latency, task }
    }

    /// What has been measured so far.
    pub(crate) fn latency(&self) -> Latency {
        self.latency.lock().clone()
    }

    pub(crate) async fn stop(self) -> Result<Latency, Failure> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.map_err(|error| Failure::Demo(format!("the probe broke down: {error}")))??;
        Ok(self.latency.lock().clone())
    }
}

fn new_latency() -> Latency {
    let most = GIVE_UP.as_micros() as u64 * 2;
    Histogram::new_with_bounds(1, most, 3).expect("three digits of some seconds are within what a histogram can keep")
}

async fn measure(
    mut session: Session,
    sent: Receiver<Sent>,
    stop: Arc<AtomicBool>,
    latency: Arc<Mutex<Latency>>,
) -> Result<(), Failure> {
    let statements = session.parse(QUERY)?;
    let prepared = session.prepare(&statements[0], &[Some(SqlType::BigInt)]).await?;
    while !stop.load(Ordering::Relaxed) {
        let queue = sent.clone();
        let next = tokio::task::spawn_blocking(move || queue.recv_timeout(Duration::from_millis(100))).await;
        let probe = match next {
            Ok(Ok(probe)) => probe,
            Ok(Err(RecvTimeoutError::Timeout)) => continue,
            Ok(Err(RecvTimeoutError::Disconnected)) | Err(_) => break,
        };
        let wanted = Parameter::Int64(Some(probe.order_id as i64));
        while probe.at.elapsed() < GIVE_UP && !is_there(&mut session, &prepared, &wanted).await? {
            tokio::time::sleep(PAUSE).await;
        }
        let micros = probe.at.elapsed().as_micros() as u64;
        latency.lock().saturating_record(micros);
    }
    Ok(())
}

async fn is_there(
    session: &mut Session,
    prepared: &Arc<engine::Prepared>,
    order_id: &Parameter,
) -> Result<bool, engine::Error> {
    let Response::Rows(mut rows) = session.execute(prepared, vec![order_id.clone()]).await? else {
        return Ok(false);
    };
    let mut found = false;
    while let Some(batch) = rows.batches.next().await {
        found |= batch?.num_rows() > 0;
    }
    Ok(found)
}
