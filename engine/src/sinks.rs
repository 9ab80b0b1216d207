//! The threads that carry outboxes to the outside, one per sink.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use catalog::{Connector, Object, ObjectId};
use connectors::{Health, Sink, SinkSpec};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use delta::Epoch;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use storage::{StateId, Store};

use crate::command::Doorbell;
use crate::inputs::external;
use crate::outbox::{self, Outbox};
use crate::outside::Outside;
use crate::panics::contained;
use crate::planted::{Bug, is_planted};
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
    /// When it was first connected: up to which epoch it had everything, and how far sources had been read by then.
    pub(crate) found: Option<(Epoch, Option<String>)>,
}

/// What a sink's thread works with.
pub(crate) struct Courier {
    spec: SinkSpec,
    state: StateId,
    store: Arc<dyn Store>,
    durable: Arc<AtomicU64>,
    delivered: Arc<AtomicU64>,
    bell: Receiver<()>,
    status: Arc<Mutex<SinkStatus>>,
    computed: Computed,
    engine: Doorbell,
    outside: Arc<dyn Outside>,
    /// The sink while it works, and up to which epoch it has everything.
    connected: Option<(Box<dyn Sink>, Epoch)>,
    /// The progress that was found first, and what went with it: until this server has written something, it finds the same again.
    found_first: Option<(Epoch, Option<String>)>,
}

/// What goes with the progress of a sink.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// Who wrote it.
    instance: String,
    /// How far sources had been read by then, as JSON.
    read: String,
}

impl Note {
    fn of(sink: &dyn Sink) -> Option<Self> {
        serde_json::from_str(sink.read_up_to()?).ok()
    }
}

/// What a courier's step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something went out; there may be more.
    Delivered,
    /// There is nothing to send.
    Idle,
    /// Another server writes to the same sink: this one doesn't any more.
    TakenOver,
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
        outside: &Arc<dyn Outside>,
    ) -> Result<Self> {
        let snapshot = store.snapshot().map_err(crate::coordinator::storage_error)?;
        let outbox = Outbox::open(state, &snapshot)?;
        let durable = Arc::new(AtomicU64::new(durable_epoch.0));
        let (bell, heard) = bounded(1);
        let status = Arc::new(Mutex::new(SinkStatus::default()));
        let computed = Computed::default();
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
            outside: outside.clone(),
            connected: None,
            found_first: None,
        };
        let thread = outside.start_courier(courier)?;
        Ok(Self { from, outbox, durable, bell: Some(bell), thread, status, computed })
    }

    /// Up to which epoch it had everything when it was first connected, and how far sources had been read by then; `None` before.
    pub(crate) fn sent(&self) -> Option<(Epoch, Option<String>)> {
        self.status.lock().found.clone()
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
    /// The sink's name.
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// Emits until it is told to stop.
    pub(crate) fn run(mut self) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            match contained("a sink", || self.step()) {
                Ok(Step::Delivered) => backoff = FIRST_BACKOFF,
                Ok(Step::TakenOver) => return self.wait_for_the_end(),
                Ok(Step::Idle) => {
                    if self.bell.recv().is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(sink = %self.spec.name, %error, "a sink tries again");
                    self.failed(error);
                    if self.was_stopped_within(backoff) {
                        return;
                    }
                    backoff = (backoff * 2).min(LAST_BACKOFF);
                }
            }
        }
    }

    /// Connects if it isn't connected, and sends once what is durable and not yet out. After an error it begins with connecting again:
    /// only the other side knows what has arrived.
    pub(crate) fn step(&mut self) -> Result<Step> {
        let (mut sink, mut delivered) = match self.connected.take() {
            Some(connected) => connected,
            None => match self.connect()? {
                Some(connected) => connected,
                None => return Ok(Step::TakenOver),
            },
        };
        let durable = Epoch(self.durable.load(Ordering::Acquire));
        if delivered < durable {
            let snapshot = self.store.snapshot().map_err(crate::coordinator::storage_error)?;
            let entries = outbox::read(self.state, delivered, durable, DELIVERY_BYTES, &snapshot);
            let mut entries = if is_planted(Bug::OutboxTakenForEmpty) { entries.unwrap_or_default() } else { entries? };
            if let Some(last) = entries.last_mut() {
                let note = Note { instance: self.outside.instance().to_owned(), read: last.inputs.to_string() };
                let note = serde_json::to_string(&note);
                last.inputs = note.map_err(|e| Error::internal(format!("a sink's progress: {e}")))?.into();
                let started = self.outside.now();
                let (last, rows) = (last.epoch, entries.iter().map(|row| row.delta.num_rows() as u64).sum());
                sink.deliver(&entries).map_err(|e| external(&self.spec.name, &e))?;
                let seconds = self.outside.now().saturating_duration_since(started).as_secs_f64();
                metrics::histogram!("millrace_sink_seconds", "sink" => self.spec.name.clone()).record(seconds);
                self.measure(last);
                self.confirm(last, rows);
                self.connected = Some((sink, last));
                return Ok(Step::Delivered);
            }
            delivered = durable;
        }
        self.connected = Some((sink, delivered));
        Ok(Step::Idle)
    }

    /// `None`: another server has taken the sink over since this one was connected.
    fn connect(&mut self) -> Result<Option<(Box<dyn Sink>, Epoch)>> {
        let mut sink = self.outside.open_sink(&self.spec).map_err(|e| external(&self.spec.name, &e))?;
        let mut delivered = sink.recover().map_err(|e| external(&self.spec.name, &e))?.unwrap_or_default();
        if is_planted(Bug::ProgressNotChecked) {
            delivered = Epoch(self.delivered.load(Ordering::Acquire));
        }
        let note = Note::of(&*sink);
        let found = (delivered, sink.read_up_to().map(str::to_owned));
        let is_as_before = *self.found_first.get_or_insert_with(|| found.clone()) == found;
        if !is_as_before
            && !is_planted(Bug::TakenOverGoesOn)
            && note.as_ref().is_some_and(|note| note.instance != self.outside.instance())
        {
            let why =
                "another server writes to this sink; stop one of them, and start this one again if it is to go on";
            tracing::error!(sink = %self.spec.name, why);
            self.status.lock().health = Health::Failed(why.to_owned());
            return Ok(None);
        }
        self.status.lock().found.get_or_insert_with(|| (delivered, note.map(|note| note.read)));
        self.confirm(delivered, 0);
        Ok(Some((sink, delivered)))
    }

    /// A step has failed.
    pub(crate) fn failed(&self, error: Error) {
        let mut status = self.status.lock();
        status.health = Health::Retrying(error.message);
        status.errors += 1;
    }

    /// Whether the engine has no use for it any more.
    #[cfg(test)]
    pub(crate) fn is_dismissed(&self) -> bool {
        self.bell.try_recv() == Err(crossbeam_channel::TryRecvError::Disconnected)
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

    /// Until it is told to stop.
    fn wait_for_the_end(&self) {
        while self.bell.recv().is_ok() {}
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
