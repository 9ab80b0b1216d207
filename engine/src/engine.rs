//! The engine: opened once per data directory, cheap to clone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use catalog::{Catalog, Object, ObjectKind};
use dataflow::GraphSettings;
use parking_lot::Mutex;
use planner::ViewPlan;
use storage::{ChangeSet, Durability, MemoryStore, RocksOptions, RocksStore, Store, meta};

use crate::advisory::AdvisoryLocks;
use crate::command::{Command, CommandSender, Doorbell, command_channel};
use crate::commit::Committer;
use crate::coordinator::{Coordinator, Parts, storage_error};
use crate::outside::Outside;
use crate::published::{Published, PublishedCell};
use crate::query::Queries;
use crate::runtime::Runtime;
use crate::session::{Session, SessionParameters};
use crate::{Error, ErrorKind, Result, Settings, recovery};

/// A running engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

/// What sessions share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) published: Arc<PublishedCell>,
    pub(crate) commands: CommandSender,
    pub(crate) runtime: Arc<Mutex<Runtime>>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) outside: Arc<dyn Outside>,
    pub(crate) server_id: String,
    pub(crate) started: std::time::SystemTime,
    pub(crate) sessions: Mutex<HashMap<i32, crate::session::SessionView>>,
    pub(crate) advisory_locks: Arc<AdvisoryLocks>,
    /// Held while views are built that are to take the place of others: one statement after the other.
    pub(crate) altering: tokio::sync::Mutex<()>,
    next_session: AtomicI32,
    /// The number of the next query that is followed as a view.
    pub(crate) next_followed: AtomicU64,
    /// The number of the next catalog that only a transaction block sees.
    pub(crate) next_in_block: AtomicU64,
    stopped: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The part of the memory budget that the store's caches get.
const STORE_SHARE: usize = 4;

/// The part that operators' state gets. What is left is for what an epoch takes in, and for its changes: on top of what is stored until a checkpoint
/// has written them, and once more while it does.
const STATE_SHARE: usize = 2;

/// The part that a recursion may hold of the changes of one epoch, beside its state as it was. Nothing of that can be written before the epoch ends.
const RECURSION_SHARE: usize = 4;

/// What a recursion gets of a budget that is ever so small.
const LEAST_RECURSION_BYTES: usize = 64 << 20;

impl Engine {
    /// Opens a data directory (or memory), recovers what it holds, and runs. Blocks while it recovers.
    ///
    /// # Errors
    /// If another engine uses the directory, if it is damaged, or if a view's definition can't be planned any more.
    pub fn open(settings: Settings) -> Result<Self> {
        let store = opened_store(&settings)?;
        Self::open_on(settings, store)
    }

    /// As [`Engine::open`], with epochs whose timestamps are those of a clock that somebody else sets, microseconds since 1970: for tests.
    ///
    /// An epoch takes place when something is written, not when the clock is set.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_at(settings: Settings, clock: Arc<AtomicI64>) -> Result<Self> {
        let store = opened_store(&settings)?;
        Self::open_in(settings, store, crate::outside::System::shared_at(clock))
    }

    /// As [`Engine::open`], over a store of one's own: for simulations.
    pub fn open_on(settings: Settings, store: Arc<dyn Store>) -> Result<Self> {
        let settings = settings.within_budget();
        Self::open_in(settings, store, crate::outside::System::shared())
    }

    fn open_in(settings: Settings, store: Arc<dyn Store>, outside: Arc<dyn Outside>) -> Result<Self> {
        let server_id = server_id(&*store)?;
        let snapshot = store.snapshot().map_err(storage_error)?;
        let saved = recovery::epoch(&snapshot)?;
        let catalog = Arc::new(recovery::catalog(&snapshot)?);
        let queries = Arc::new(Queries::new(&settings)?);
        let plans = plan_views(&catalog, &queries)?;

        let (commands, command_queue) = command_channel();
        let (bell, heard) = Doorbell::new();
        let committer = Committer::start(store.clone(), commands.clone())
            .map_err(|e| Error::internal(format!("no thread for commits: {e}")))?;
        let runtime = Arc::new(Mutex::new(Runtime::default()));
        let first = Published::recovered(saved.epoch, saved.timestamp_us, catalog.clone(), snapshot.clone());
        let published = Arc::new(PublishedCell::new(first));
        let parts = Parts {
            settings: settings.clone(),
            store: store.clone(),
            snapshot,
            saved,
            catalog,
            server_id: server_id.clone(),
            outside: outside.clone(),
            committer,
            published: published.clone(),
            runtime: runtime.clone(),
            commands: commands.clone(),
            bell,
        };
        let mut coordinator = Coordinator::new(parts)?;
        coordinator.recover(&plans)?;
        let thread = std::thread::Builder::new()
            .name("epochs".into())
            .spawn(move || coordinator.run(&command_queue, &heard))
            .map_err(|e| Error::internal(format!("no thread for epochs: {e}")))?;
        Ok(Self {
            shared: Arc::new(Shared {
                settings,
                store,
                published,
                commands,
                runtime,
                queries,
                outside,
                server_id,
                started: std::time::SystemTime::now(),
                sessions: Mutex::new(HashMap::new()),
                advisory_locks: Arc::default(),
                altering: tokio::sync::Mutex::default(),
                next_session: AtomicI32::new(1),
                next_followed: AtomicU64::new(1),
                next_in_block: AtomicU64::new(0),
                stopped: AtomicBool::new(false),
                thread: Mutex::new(Some(thread)),
            }),
        })
    }

    /// A session of one client.
    ///
    /// # Errors
    /// If a setting doesn't exist or can't have that value.
    pub fn session(&self, parameters: SessionParameters) -> Result<Session> {
        let id = self.shared.next_session.fetch_add(1, Ordering::Relaxed);
        Session::new(self.shared.clone(), id, parameters)
    }

    /// Whether it has recovered and takes input.
    pub fn is_ready(&self) -> bool {
        !self.shared.stopped.load(Ordering::Acquire) && self.shared.runtime.lock().failure.is_none()
    }

    /// Finishes the running epoch, commits, and stops all threads.
    pub async fn shutdown(&self) -> Result<()> {
        if self.shared.stopped.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let done = self.shared.commands.ask(|reply| Command::Shutdown { reply }).await;
        let thread = self.shared.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
            if !joined.unwrap_or(false) {
                return Err(Error::internal("the epoch thread panicked"));
            }
        }
        let shared = self.shared.clone();
        if tokio::task::spawn_blocking(move || shared.queries.threads.stop()).await.is_err() {
            return Err(Error::internal("the threads of queries could not be ended"));
        }
        done
    }

    /// Waits until every source that will end (a file read once, a bounded generator) has been read to its end, and all of it is visible.
    pub async fn drained(&self) {
        let finished = |runtime: &Runtime| runtime.inputs.values().all(|input| input.finished);
        while !(finished(&self.shared.runtime.lock()) && self.shared.published.load().hydrating.is_empty()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Values for `/metrics`.
    pub fn metrics(&self) -> Vec<crate::metrics::Sample> {
        crate::metrics::samples(&self.shared)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Without a shutdown before it, this is one: the thread finishes its epoch and commits.
        let thread = self.thread.get_mut().take();
        let (reply, _) = tokio::sync::oneshot::channel();
        self.commands.send_from_thread(Command::Shutdown { reply });
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the epoch thread panicked");
        }
    }
}

/// The store that the settings say.
fn opened_store(settings: &Settings) -> Result<Arc<dyn Store>> {
    let Some(directory) = &settings.data_dir else { return Ok(Arc::new(MemoryStore::default())) };
    let options = RocksOptions {
        block_cache_bytes: settings.memory_budget_bytes / STORE_SHARE / 2,
        memtable_bytes: (settings.memory_budget_bytes / STORE_SHARE / 4).clamp(4 << 20, 64 << 20),
        ..RocksOptions::default()
    };
    Ok(Arc::new(RocksStore::open(directory, &options).map_err(storage_error)?))
}

pub(crate) fn graph_settings(settings: &Settings) -> GraphSettings {
    GraphSettings {
        workers: settings.workers,
        memory_budget_bytes: settings.memory_budget_bytes / STATE_SHARE,
        recursion_bytes: (settings.memory_budget_bytes / RECURSION_SHARE).max(LEAST_RECURSION_BYTES),
        clock: monotonic,
    }
}

/// Time since the process asked first: for operators' statistics.
fn monotonic() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// Names a data directory for good.
pub(crate) fn server_id(store: &dyn Store) -> Result<String> {
    const KEY: &str = "server_id";
    let snapshot = store.snapshot().map_err(storage_error)?;
    if let Some(id) = meta::get(&*snapshot, KEY).map_err(storage_error)? {
        return Ok(id);
    }
    let id = uuid::Uuid::new_v4().simple().to_string();
    let mut changes = ChangeSet::new();
    meta::put(&mut changes, KEY, &id).map_err(storage_error)?;
    store.commit(changes, Durability::Disk).map_err(storage_error)?;
    Ok(id)
}

#[cfg(test)]
impl Shared {
    /// What sessions share over an engine whose epoch thread somebody plays by hand.
    pub(crate) fn by_hand(parts: &Parts, queries: Arc<Queries>) -> Arc<Self> {
        Arc::new(Self {
            settings: parts.settings.clone(),
            store: parts.store.clone(),
            published: parts.published.clone(),
            commands: parts.commands.clone(),
            runtime: parts.runtime.clone(),
            queries,
            outside: parts.outside.clone(),
            server_id: parts.server_id.clone(),
            started: std::time::SystemTime::now(),
            sessions: Mutex::new(HashMap::new()),
            advisory_locks: Arc::default(),
            altering: tokio::sync::Mutex::default(),
            next_session: AtomicI32::new(1),
            next_followed: AtomicU64::new(1),
            next_in_block: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            thread: Mutex::new(None),
        })
    }
}

/// Plans every stored definition again; what an object reads comes before it.
pub(crate) fn plan_views(catalog: &Catalog, queries: &Queries) -> Result<Vec<(Arc<Object>, Option<ViewPlan>)>> {
    let plan = |object: &Arc<Object>| -> Result<(Arc<Object>, Option<ViewPlan>)> {
        let planned = match &object.kind {
            ObjectKind::MaterializedView(_) | ObjectKind::Stream(_) => Some(queries.plan_view(object, catalog)?),
            _ => None,
        };
        Ok((object.clone(), planned))
    };
    let temporary = crate::ddl::temporary(catalog);
    let lasting = catalog.in_order_of_reading().into_iter().filter(|object| !temporary.contains(&object.id));
    lasting.map(plan).collect()
}

/// What a client sees when the engine has been stopped.
pub(crate) fn stopped() -> Error {
    Error::new(ErrorKind::ShuttingDown, "the engine has stopped")
}
