//! What an engine meets beside its store: the clock, sources, sinks, and the threads that work for it.
//!
//! One component, given to the engine when it is made, so that a simulation can take its place: there time passes when a seed says so, and one
//! thread does everything, in an order that the seed decides.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use connectors::{Sink, SinkSpec, Source, SourceSpec};

use crate::hydration::Hydration;
use crate::sinks::Courier;
use crate::{Error, Result};

/// The clock, the connectors and the threads of an engine.
pub(crate) trait Outside: Send + Sync {
    /// A clock that never goes back: for what is due when.
    fn now(&self) -> Instant;

    /// What time it is, microseconds since 1970.
    fn now_us(&self) -> Result<i64>;

    /// Names this process, as long as it lives: of two that run the same sink, each knows the other's records.
    fn instance(&self) -> &str;

    /// Makes a source.
    fn open_source(&self, spec: &SourceSpec) -> connectors::Result<Box<dyn Source>>;

    /// Bytes of rows for which there is room between a source and who reads it, where the settings give it `bounded`.
    fn queued_bytes(&self, bounded: usize) -> usize {
        bounded
    }

    /// Makes a sink.
    fn open_sink(&self, spec: &SinkSpec) -> connectors::Result<Box<dyn Sink>>;

    /// Lets a sink's courier work until it is told to stop; the thread on which it does.
    fn start_courier(&self, courier: Courier) -> Result<Option<JoinHandle<()>>>;

    /// Lets a view be built; the thread on which it is.
    fn start_hydration(&self, hydration: Hydration) -> Result<JoinHandle<()>>;

    /// Whether there are threads on which one can wait for the outside; if not, it is asked at once.
    fn has_threads(&self) -> bool {
        true
    }

    /// A moment at which a view that is being built lets others go on, where everything is done one after the other.
    fn pause(&self) {}
}

/// The world as it is.
#[derive(Default)]
pub(crate) struct System {
    /// What time it is, microseconds since 1970, where somebody else says so.
    clock: Option<Arc<AtomicI64>>,
}

impl System {
    /// As a component.
    pub(crate) fn shared() -> Arc<dyn Outside> {
        Arc::new(Self::default())
    }

    /// As a component, by another clock.
    pub(crate) fn shared_at(clock: Arc<AtomicI64>) -> Arc<dyn Outside> {
        Arc::new(Self { clock: Some(clock) })
    }
}

impl Outside for System {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn now_us(&self) -> Result<i64> {
        if let Some(clock) = &self.clock {
            return Ok(clock.load(Ordering::SeqCst));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.map_err(|_| Error::internal("the clock is before 1970"))?;
        i64::try_from(since.as_micros()).map_err(|_| Error::internal("the clock is beyond all years"))
    }

    fn instance(&self) -> &str {
        static INSTANCE: OnceLock<String> = OnceLock::new();
        INSTANCE.get_or_init(|| uuid::Uuid::new_v4().simple().to_string())
    }

    fn open_source(&self, spec: &SourceSpec) -> connectors::Result<Box<dyn Source>> {
        connectors::open_source(spec)
    }

    fn open_sink(&self, spec: &SinkSpec) -> connectors::Result<Box<dyn Sink>> {
        connectors::open_sink(spec)
    }

    fn start_courier(&self, courier: Courier) -> Result<Option<JoinHandle<()>>> {
        let name = courier.name().to_owned();
        let spawned = std::thread::Builder::new().name(format!("sink {name}")).spawn(move || courier.run());
        spawned.map(Some).map_err(|e| Error::internal(format!("no thread for sink {name}: {e}")))
    }

    fn start_hydration(&self, hydration: Hydration) -> Result<JoinHandle<()>> {
        let name = hydration.view.name.to_string();
        let spawned = std::thread::Builder::new().name(format!("hydrate {name}")).spawn(move || hydration.run());
        spawned.map_err(|e| Error::internal(format!("no thread to build {name}: {e}")))
    }
}
