//! One life of a simulated engine: from a start to a death. Nothing in it has a thread of its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use catalog::{Catalog, Object};
use crossbeam_channel::Receiver;
use delta::Epoch;
use parking_lot::Mutex;
use planner::context::{PlanContext, PlanSettings};
use planner::statement::plan::Plan;
use storage::Store;
use storage::fault::FaultStore;
use tokio::sync::oneshot;

use super::model::{CHANGED, CHANGING, variant};
use super::rows::{Bag, add};
use super::world::World;
use crate::command::{Command, DdlDone, Doorbell, command_channel};
use crate::commit::{Committer, Hand};
use crate::coordinator::restored::{CatchUp, Caught};
use crate::coordinator::{Coordinator, Parts, dataflow_error};
use crate::ddl::DdlChange;
use crate::engine::Shared;
use crate::outside::Outside;
use crate::published::{Published, PublishedCell};
use crate::query::Queries;
use crate::session::{Session, SessionParameters};
use crate::{Error, Result, Settings, recovery};

/// An answer that is waited for.
pub(super) type Waiting = oneshot::Receiver<Result<DdlDone>>;

/// Catalogs whose plans are remembered, at most.
const REMEMBERED: usize = 512;

/// A catalog's objects with the plans of its views.
type Plans = Vec<(Arc<Object>, Option<planner::ViewPlan>)>;

/// What all lives of a thread share. Planning views is most of what a start costs, and catalogs repeat.
pub(super) struct Tools {
    pub(super) queries: Arc<Queries>,
    plans: RefCell<HashMap<String, Arc<Plans>>>,
}

impl Tools {
    pub(super) fn new() -> Self {
        let settings = Settings { workers: 1, ..Settings::default() };
        let queries = Arc::new(Queries::by_hand(&settings).expect("functions"));
        Self { queries, plans: RefCell::default() }
    }

    fn plans(&self, catalog: &Catalog) -> Result<Arc<Plans>> {
        let mut key = String::new();
        for object in catalog.objects() {
            key.push_str(&serde_json::to_string(&**object).expect("it is stored like this"));
        }
        if let Some(known) = self.plans.borrow().get(&key) {
            return Ok(known.clone());
        }
        let plans = Arc::new(crate::engine::plan_views(catalog, &self.queries)?);
        let mut known = self.plans.borrow_mut();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, plans.clone());
        Ok(plans)
    }
}

pub(super) struct Life {
    pub(super) coordinator: Coordinator,
    /// What sessions share.
    shared: Arc<Shared>,
    /// It continues a backup, and has not yet caught up.
    catching_up: Option<CatchUp>,
    sessions: i32,
    commands: Receiver<Command>,
    hand: Hand,
    /// Nobody rings without a thread.
    _bell: Receiver<()>,
}

impl Life {
    /// What the process does when it starts.
    pub(super) fn start(
        settings: &Settings,
        store: Arc<FaultStore>,
        world: &Arc<World>,
        tools: &Tools,
    ) -> Result<Self> {
        let store: Arc<dyn Store> = store;
        let snapshot = store.snapshot().map_err(crate::coordinator::storage_error)?;
        let saved = recovery::epoch(&snapshot)?;
        let catalog = Arc::new(recovery::catalog(&snapshot)?);
        let plans = tools.plans(&catalog)?;
        let (sender, commands) = command_channel();
        let (bell, heard) = Doorbell::new();
        let (committer, hand) = Committer::by_hand();
        let first = Published::recovered(saved.epoch, saved.timestamp_us, catalog.clone(), snapshot.clone());
        let outside: Arc<dyn Outside> = Arc::new(world.around());
        let parts = Parts {
            settings: settings.clone(),
            store,
            snapshot,
            saved,
            catalog,
            server_id: "simulated".to_owned(),
            outside,
            committer,
            published: Arc::new(PublishedCell::new(first)),
            runtime: Arc::new(Mutex::default()),
            commands: sender,
            bell,
        };
        let shared = Shared::by_hand(&parts, tools.queries.clone());
        let mut coordinator = Coordinator::new(parts)?;
        coordinator.recover(&plans)?;
        let catching_up = coordinator.begin_catch_up()?;
        Ok(Self { coordinator, shared, catching_up, sessions: 0, commands, hand, _bell: heard })
    }

    /// Whether it continues a backup, and has not yet caught up: commands wait.
    pub(super) fn is_catching_up(&self) -> bool {
        self.catching_up.is_some()
    }

    /// Whether it knows which of its sinks are ahead of it.
    pub(super) fn knows_who_is_ahead(&self) -> bool {
        self.catching_up.as_ref().is_none_or(CatchUp::knows_who_is_ahead)
    }

    /// What it does to catch up next.
    pub(super) fn catch_up(&mut self) {
        let Some(mut past) = self.catching_up.take() else { return };
        match self.coordinator.catch_up_step(&mut past) {
            Ok(Caught::Up) => {}
            Ok(Caught::Went | Caught::Waits) => self.catching_up = Some(past),
            Err(error) => self.coordinator.fail(error),
        }
    }

    /// Whether what it has caught up on waits for room on the disk.
    pub(super) fn waits_for_room(&self) -> bool {
        self.catching_up.as_ref().is_some_and(CatchUp::waits_for_room)
    }

    /// For a test that goes on by itself.
    pub(super) fn into_parts(self) -> (Coordinator, Option<CatchUp>, Receiver<Command>) {
        (self.coordinator, self.catching_up, self.commands)
    }

    /// A client's session.
    pub(super) fn session(&mut self) -> Session {
        self.sessions += 1;
        let parameters = SessionParameters {
            user: "client".to_owned(),
            database: "millrace".to_owned(),
            settings: std::collections::BTreeMap::new(),
        };
        Session::new(self.shared.clone(), self.sessions, parameters).expect("it has no settings")
    }

    /// Hands the epoch thread what it is asked.
    pub(super) fn handle(&mut self, command: Command) {
        self.coordinator.handle(command);
    }

    /// What others have sent to the epoch thread next.
    pub(super) fn sent(&mut self) -> Option<Command> {
        self.commands.try_recv().ok()
    }

    /// At most one epoch, and a checkpoint if one is due. As the epoch thread does it.
    pub(super) fn work(&mut self) {
        if self.coordinator.failure.is_some() {
            return;
        }
        let worked = self.coordinator.build_again().and_then(|()| {
            self.coordinator.epoch_if_wanted()?;
            self.coordinator.checkpoint_if_due()?;
            self.coordinator.end_first_reads();
            Ok(())
        });
        if let Err(error) = worked {
            self.coordinator.fail(error);
        }
    }

    /// One try of the commit that waits, if one does.
    pub(super) fn commit(&mut self) {
        let store = self.coordinator.store.clone();
        if self.hand.has_work()
            && let Some(done) = self.hand.step(&*store)
        {
            self.coordinator.handle(done);
        }
    }

    pub(super) fn published(&self) -> Arc<Published> {
        self.coordinator.published.load()
    }

    /// Begins a DDL statement; `None` if there is nothing to do.
    pub(super) fn define(&mut self, sql: &str, queries: &Queries) -> Option<Waiting> {
        let statement = sql::parse(sql).expect(sql).remove(0);
        let settings = PlanSettings { search_path: vec!["public".to_owned()], ..PlanSettings::default() };
        let system = crate::system::Relations;
        let catalog = self.coordinator.catalog.clone();
        let context = PlanContext {
            catalog: &catalog,
            settings: &settings,
            system: &system,
            functions: &queries.functions,
            parameter_types: &[],
        };
        let change = match planner::plan(&statement, &context) {
            Ok(Plan::Create(mut create)) => {
                if let catalog::ObjectKind::Source(source) = &mut create.object.kind {
                    source.connector.start = (0..super::topic::PARTITIONS).map(|p| (p, 0)).collect();
                }
                DdlChange::Create { create, past: HashMap::new() }
            }
            Ok(Plan::Drop(drop)) => DdlChange::Drop(drop),
            Ok(_) => panic!("{sql} changes the catalog"),
            // What it reads, or what it drops, isn't there.
            Err(_) => return None,
        };
        let (reply, answer) = oneshot::channel();
        let planned_against = self.coordinator.catalog_version;
        self.coordinator.handle(Command::Ddl { planned_against, change: Box::new(change), reply });
        Some(answer)
    }

    /// The number of an object.
    pub(super) fn find(&self, name: &str) -> Option<catalog::ObjectId> {
        let found = self.coordinator.catalog.find_in_path(&["public".to_owned()], name);
        found.map(|object| object.id)
    }
}

/// What is known of something in a catalog: `None` if it isn't there; of [`VARIANT`] which one it is.
pub(super) fn fact(catalog: &Catalog, what: &str) -> Option<i64> {
    match what {
        VARIANT => variant(catalog),
        name => catalog.find_in_path(&["public".to_owned()], name).map(|_| 1),
    }
}

/// Which query `changing` has.
pub(super) const VARIANT: &str = "the variant";

/// A relation's rows in a published epoch; `None` if it doesn't exist there, or is being built.
pub(super) fn contents(published: &Published, name: &str) -> Result<Option<Bag>> {
    let named = |name: &str| published.catalog.find_in_path(&["public".to_owned()], name);
    let found = if name == CHANGING { named(CHANGING).or_else(|| named(CHANGED)) } else { named(name) };
    let Some(object) = found else { return Ok(None) };
    if published.hydrating.contains_key(&object.id) {
        return Ok(None);
    }
    let Some(view) = published.relations.get(&object.id) else {
        return Err(Error::internal(format!("{name} exists, but has no rows")));
    };
    let mut bag = Bag::new();
    for batch in view.scan(published.snapshot.clone(), None).map_err(dataflow_error)? {
        add(&mut bag, &delta::Delta::inserts(batch.map_err(dataflow_error)?));
    }
    Ok(Some(bag))
}

/// The epoch that the store has.
pub(super) fn saved_epoch(store: &FaultStore) -> Result<Epoch> {
    let snapshot = store.snapshot().map_err(crate::coordinator::storage_error)?;
    Ok(recovery::epoch(&snapshot)?.epoch)
}
