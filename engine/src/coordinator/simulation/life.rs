//! One life of a simulated engine: from a start to a death. Nothing in it has a thread of its own.

use std::collections::HashMap;
use std::sync::Arc;

use crossbeam_channel::Receiver;
use delta::Epoch;
use parking_lot::Mutex;
use planner::context::{PlanContext, PlanSettings};
use planner::statement::plan::Plan;
use storage::Store;
use storage::fault::FaultStore;
use tokio::sync::oneshot;

use super::rows::{Bag, add};
use super::world::World;
use crate::command::{Command, DdlDone, Doorbell, command_channel};
use crate::commit::{Committer, Hand};
use crate::coordinator::{Coordinator, Parts, dataflow_error};
use crate::ddl::DdlChange;
use crate::outside::Outside;
use crate::published::{Published, PublishedCell};
use crate::query::Queries;
use crate::{Error, Result, Settings, recovery};

/// An answer that is waited for.
pub(super) type Waiting = oneshot::Receiver<Result<DdlDone>>;

pub(super) struct Life {
    pub(super) coordinator: Coordinator,
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
        queries: &Queries,
    ) -> Result<Self> {
        let store: Arc<dyn Store> = store;
        let snapshot = store.snapshot().map_err(crate::coordinator::storage_error)?;
        let saved = recovery::epoch(&snapshot)?;
        let catalog = Arc::new(recovery::catalog(&snapshot)?);
        let plans = crate::engine::plan_views(&catalog, queries)?;
        let (sender, commands) = command_channel();
        let (bell, heard) = Doorbell::new();
        let (committer, hand) = Committer::by_hand();
        let first = Published::recovered(saved.epoch, saved.timestamp_us, catalog.clone(), snapshot.clone());
        let outside: Arc<dyn Outside> = world.clone();
        let mut coordinator = Coordinator::new(Parts {
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
        })?;
        coordinator.recover(&plans)?;
        Ok(Self { coordinator, commands, hand, _bell: heard })
    }

    /// Hands the epoch thread what it is asked.
    pub(super) fn handle(&mut self, command: Command) {
        self.coordinator.handle(command);
    }

    /// What others have sent to the epoch thread.
    pub(super) fn hear(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.coordinator.handle(command);
        }
    }

    /// At most one epoch, and a checkpoint if one is due; whether there was an epoch. As the epoch thread does it.
    pub(super) fn work(&mut self) -> bool {
        if self.coordinator.failure.is_some() {
            return false;
        }
        let worked = self.coordinator.build_again().and_then(|()| {
            let ran = self.coordinator.epoch_if_wanted()?;
            self.coordinator.checkpoint_if_due()?;
            self.coordinator.end_first_reads();
            Ok(ran)
        });
        match worked {
            Ok(ran) => ran,
            Err(error) => {
                self.coordinator.fail(error);
                false
            }
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

/// A relation's rows in a published epoch; `None` if it doesn't exist there, or is being built.
pub(super) fn contents(published: &Published, name: &str) -> Result<Option<Bag>> {
    let Some(object) = published.catalog.find_in_path(&["public".to_owned()], name) else { return Ok(None) };
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
