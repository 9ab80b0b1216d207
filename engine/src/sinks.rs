//! The threads that carry outboxes to the outside, one per sink.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use catalog::{Connector, Object, ObjectId};
use connectors::{Health, SinkRow, SinkSpec, open_sink};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use delta::Epoch;
use parking_lot::Mutex;
use storage::{StateId, Store};

use crate::command::Doorbell;
use crate::inputs::external;
use crate::outbox::{self, Outbox};
use crate::{Error, Result};

/// Compressed bytes of outbox entries that go out in one transaction at most, unless one epoch alone has more.
const DELIVERY_BYTES: usize = 4 << 20;

/// Epochs on their way to a sink whose latency is measured, at most: of what piles up while it is away, the first ones say enough.
const TIMED_EPOCHS: usize = 1_024;

/// Waiting times after failed deliveries.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LAST_BACKOFF: Duration = Duration::from_secs(15);

/// A sink and its thread; dropping it stops the thread and waits for it.
pub(crate) struct RunningSink {
    /// The relation whose changes go out.
    pub(crate) from: ObjectId,
    /// What waits.
    pub(crate) outbox: Outbox,
    durable: Arc<AtomicU64>,
    bell: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    pub(crate) status: Arc<Mutex<SinkStatus>>,
    computed: Computed,
}

/// When epochs with changes for a sink were computed.
type Computed = Arc<Mutex<VecDeque<(Epoch, Instant)>>>;

/// What is known of a sink, for the system views.
#[derive(Clone, Debug, Default)]
pub(crate) struct SinkStatus {
    pub(crate) health: Health,
    pub(crate) delivered: Epoch,
    pub(crate) rows: u64,
    pub(crate) errors: u64,
}

/// What a sink's thread works with.
struct Courier {
    spec: SinkSpec,
    state: StateId,
    store: Arc<dyn Store>,
    durable: Arc<AtomicU64>,
    delivered: Arc<AtomicU64>,
    bell: Receiver<()>,
    status: Arc<Mutex<SinkStatus>>,
    computed: Computed,
    engine: Doorbell,
}

impl RunningSink {
    /// Starts the thread of a sink. Everything in its outbox up to `durable` may go out at once.
    pub(crate) fn start(
        spec: SinkSpec,
        from: ObjectId,
        state: StateId,
        store: Arc<dyn Store>,
        durable_epoch: Epoch,
        engine: Doorbell,
    ) -> Result<Self> {
        let snapshot = store.snapshot().map_err(crate::coordinator::storage_error)?;
        let outbox = Outbox::open(state, &snapshot)?;
        let durable = Arc::new(AtomicU64::new(durable_epoch.0));
        let (bell, heard) = bounded(1);
        let status = Arc::new(Mutex::new(SinkStatus::default()));
        let computed = Computed::default();
        let name = spec.name.clone();
        let courier = Courier {
            spec,
            state,
            store,
            durable: durable.clone(),
            delivered: outbox.delivered(),
            bell: heard,
            status: status.clone(),
            computed: computed.clone(),
            engine,
        };
        let thread = std::thread::Builder::new()
            .name(format!("sink {name}"))
            .spawn(move || courier.run())
            .map_err(|e| Error::internal(format!("no thread for sink {name}: {e}")))?;
        Ok(Self { from, outbox, durable, bell: Some(bell), thread: Some(thread), status, computed })
    }

    /// An epoch has changes for it.
    pub(crate) fn note(&self, epoch: Epoch) {
        let mut computed = self.computed.lock();
        if computed.len() < TIMED_EPOCHS {
            computed.push_back((epoch, Instant::now()));
        }
    }

    /// Tells the thread to stop, which it does once what it is sending is out or given up.
    pub(crate) fn end(&mut self) -> Option<JoinHandle<()>> {
        self.bell = None;
        self.thread.take()
    }

    /// What others see.
    pub(crate) fn view(&self) -> crate::runtime::SinkView {
        crate::runtime::SinkView { status: self.status.lock().clone(), outbox_bytes: self.outbox.bytes() }
    }

    /// Epochs up to this one are on stable storage and may go out.
    pub(crate) fn durable_up_to(&self, epoch: Epoch) {
        self.durable.store(epoch.0, Ordering::Release);
        if let Some(bell) = &self.bell
            && let Err(crossbeam_channel::TrySendError::Disconnected(())) = bell.try_send(())
        {
            tracing::error!("a sink's thread has ended");
        }
    }
}

impl Drop for RunningSink {
    fn drop(&mut self) {
        if let Some(thread) = self.end()
            && thread.join().is_err()
        {
            tracing::error!("a sink's thread panicked");
        }
    }
}

impl Courier {
    fn run(self) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            match self.serve(&mut backoff) {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(sink = %self.spec.name, %error, "a sink tries again");
                    let mut status = self.status.lock();
                    status.health = Health::Retrying(error.message);
                    status.errors += 1;
                }
            }
            if self.was_stopped_within(backoff) {
                return;
            }
            backoff = (backoff * 2).min(LAST_BACKOFF);
        }
    }

    /// Emits until it is told to stop; an error means: connect and recover again.
    fn serve(&self, backoff: &mut Duration) -> Result<()> {
        let mut sink = open_sink(&self.spec).map_err(|e| external(&self.spec.name, &e))?;
        let mut delivered = sink.recover().map_err(|e| external(&self.spec.name, &e))?.unwrap_or_default();
        self.confirm(delivered, 0);
        loop {
            let durable = Epoch(self.durable.load(Ordering::Acquire));
            if delivered < durable {
                let snapshot = self.store.snapshot().map_err(crate::coordinator::storage_error)?;
                let entries = outbox::read(self.state, delivered, durable, DELIVERY_BYTES, &snapshot)?;
                if let Some((last, _)) = entries.last() {
                    let started = Instant::now();
                    let (last, rows) = (*last, entries.iter().map(|(_, delta)| delta.num_rows() as u64).sum());
                    let epochs: Vec<SinkRow> =
                        entries.into_iter().map(|(epoch, delta)| SinkRow { epoch, delta }).collect();
                    sink.deliver(&epochs).map_err(|e| external(&self.spec.name, &e))?;
                    let seconds = started.elapsed().as_secs_f64();
                    metrics::histogram!("millrace_sink_seconds", "sink" => self.spec.name.clone()).record(seconds);
                    self.measure(last);
                    delivered = last;
                    self.confirm(delivered, rows);
                    *backoff = FIRST_BACKOFF;
                    continue;
                }
                delivered = durable;
            }
            if self.bell.recv().is_err() {
                return Ok(());
            }
        }
    }

    /// From an epoch's end until the sink had it.
    fn measure(&self, delivered: Epoch) {
        let mut computed = self.computed.lock();
        while let Some((epoch, at)) = computed.front().copied()
            && epoch <= delivered
        {
            computed.pop_front();
            let seconds = at.elapsed().as_secs_f64();
            metrics::histogram!("millrace_sink_latency_seconds", "sink" => self.spec.name.clone()).record(seconds);
        }
    }

    fn confirm(&self, delivered: Epoch, rows: u64) {
        self.delivered.store(delivered.0, Ordering::Release);
        let mut status = self.status.lock();
        status.health = Health::Running;
        status.delivered = delivered;
        status.rows += rows;
        drop(status);
        self.engine.ring();
    }

    fn was_stopped_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            match self.bell.recv_deadline(until) {
                Ok(()) => {}
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => return true,
            }
        }
    }
}

/// What the connector must know of a sink.
pub(crate) fn sink_spec(object: &Object, connector: &Connector, from: &Object, server: &str) -> SinkSpec {
    let mut options = connector.options.clone();
    options.insert("connector".to_owned(), connector.name.clone());
    SinkSpec {
        name: object.name.to_string(),
        identity: format!("{server}-{}", object.id.0),
        options,
        schema: from.schema(),
        key: from.key().map(<[usize]>::to_vec).unwrap_or_default(),
    }
}
