//! DDL in a transaction block: the block's own statements see what it has made so far, nobody else does; COMMIT makes all of it at once.
//!
//! Until COMMIT a block's DDL is its statements, and the catalog that they would give. COMMIT plans them again, one after the other, against the catalog as
//! it is then, and hands all changes to the epoch thread together with the block's rows: they appear in one epoch, or not at all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use catalog::{Catalog, ObjectId, ObjectKind};
use planner::context::PlanSettings;
use planner::statement::plan::{Attached, Plan};
use sql::Statement;

use super::alter::Builds;
use super::{Prepared, Response, Session};
use crate::command::{Command, Write};
use crate::coordinator::{catalog_error, dataflow_error};
use crate::ddl::{Alteration, DdlChange};
use crate::published::Published;
use crate::{Error, ErrorKind, Result};

/// How often COMMIT plans a block again because another session changed the catalog meanwhile.
const ATTEMPTS: usize = 20;

/// What the versions of blocks' catalogs count from: none that is published has such a number, and no two blocks have the same.
const BLOCK_VERSIONS: u64 = 1 << 48;

/// A statement of a block that changes the catalog.
#[derive(Clone)]
pub(super) struct BlockDdl {
    statement: Statement,
    settings: Arc<PlanSettings>,
    /// What the block sees after it.
    pub(super) after: Arc<Published>,
    /// The number that what it makes has in the block.
    made: Option<ObjectId>,
    /// It changes stored rows, not only names.
    moves_state: bool,
    /// Relations whose rows can't be read before COMMIT.
    unreadable: Vec<ObjectId>,
}

impl Session {
    /// Takes a statement into the block.
    pub(super) async fn ddl_in_block(&mut self, prepared: &Arc<Prepared>, tag: &str) -> Result<Response> {
        let done = Ok(Response::Done { tag: tag.to_owned() });
        if let Plan::Nothing { notice, .. } = &prepared.plan {
            self.notices_of(notice.iter().cloned());
            return done;
        }
        let moves_state = match &prepared.plan {
            Plan::Alter(alter) => !alter.attach.is_empty() || alter.rewrite.is_some(),
            _ => false,
        };
        let block = self.transaction.ddl();
        if moves_state && !block.is_empty() {
            let message = format!("{tag} that changes stored rows, after other changes in the same transaction,");
            return Err(Error::new(ErrorKind::Unsupported, format!("{message} is not supported"))
                .with_hint("make it the first of the transaction, or run it by itself"));
        }
        if let Plan::Create(create) = &prepared.plan {
            let makes_index = match &create.object.kind {
                ObjectKind::Index(index) => Some(index.on),
                _ => None,
            };
            let after_a_move = block.iter().any(|ddl| ddl.moves_state);
            if let Some(on) = makes_index
                && after_a_move
                && !block.iter().any(|ddl| ddl.made == Some(on))
            {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "CREATE INDEX in a transaction that has changed stored rows is not supported",
                )
                .with_hint("create the index in a transaction of its own"));
            }
            // What a connector refuses is told now, not at COMMIT.
            self.check_connector(create, &prepared.statement).await?;
        }
        if !self.transaction.pending_tables().is_empty() && moves_state {
            return Err(Error::new(ErrorKind::Unsupported, format!("{tag} after rows were changed is not supported"))
                .with_hint("make it the first of the transaction, or run it by itself"));
        }
        let before = self.read_epoch();
        let (catalog, made) = speculate(&before.catalog, &prepared.plan)?;
        let unreadable = unreadable(&prepared.plan, made);
        let version = BLOCK_VERSIONS + self.shared.next_in_block.fetch_add(1, Ordering::Relaxed);
        let after = Arc::new(seen(&before, version, catalog, made)?);
        self.notices_of(notices(&prepared.plan));
        self.transaction.add_ddl(BlockDdl {
            statement: prepared.statement.clone(),
            settings: self.known().plan.clone(),
            after,
            made,
            moves_state,
            unreadable,
        });
        done
    }

    /// Whether the block's statements can read these relations.
    pub(super) fn check_readable_in_block(&self, reads: &[ObjectId]) -> Result<()> {
        let unreadable: HashSet<ObjectId> =
            self.transaction.ddl().iter().flat_map(|ddl| ddl.unreadable.iter().copied()).collect();
        let Some(id) = reads.iter().find(|id| unreadable.contains(id)) else { return Ok(()) };
        let published = self.published();
        let name = published.catalog.get(*id).map_or_else(|| format!("#{}", id.0), |object| object.name.to_string());
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("reading or changing \"{name}\" in the transaction that makes or changes it is not supported"),
        )
        .with_hint("its rows are there after COMMIT"))
    }

    /// Makes all that a block has asked for, with the rows that it has changed.
    pub(super) async fn commit_ddl(
        &mut self,
        block: Vec<BlockDdl>,
        writes: Vec<(ObjectId, delta::Delta)>,
        read: &Published,
    ) -> Result<()> {
        let shared = self.shared.clone();
        let _one_at_a_time = shared.altering.lock().await;
        let mut builds = Builds::new(shared.commands.clone());
        for _ in 0..ATTEMPTS {
            let published = self.shared.published.load();
            let mut catalog = builds.without(&published.catalog)?;
            let mut changes = Vec::new();
            let mut numbers: HashMap<ObjectId, ObjectId> = HashMap::new();
            let mut built_now = false;
            for ddl in &block {
                let prepared = self.plan_with(
                    &ddl.statement,
                    &[],
                    ddl.settings.clone(),
                    published.catalog_version,
                    &published,
                    &catalog,
                );
                let prepared = prepared.map_err(|error| Error { position: None, ..error })?;
                if matches!(prepared.plan, Plan::Nothing { .. }) {
                    continue;
                }
                if let Plan::Alter(alter) = &prepared.plan
                    && !builds.are_for(alter)
                    && alter.attach.iter().any(|attach| matches!(attach.how, Attached::Built))
                {
                    builds.give_up();
                    self.build(alter, &mut builds).await?;
                    built_now = true;
                    break;
                }
                if let Plan::Alter(alter) = &prepared.plan {
                    self.wait_for_builds(alter, &builds).await?;
                    changes.push(DdlChange::Alter(Box::new(self.alteration(alter, &builds)?)));
                } else {
                    changes.push(self.change(&prepared).await?);
                }
                let (next, made) = speculate(&catalog, &prepared.plan)?;
                catalog = next;
                numbers.extend(ddl.made.zip(made));
            }
            if built_now {
                continue;
            }
            let deltas: Vec<_> =
                writes.iter().map(|(id, delta)| (*numbers.get(id).unwrap_or(id), delta.clone())).collect();
            let write = Write { deltas, read_at: read.epoch, planned_against: published.catalog_version };
            let change = Box::new(DdlChange::Batch { changes, write });
            let planned_against = published.catalog_version;
            match self.shared.commands.ask(|reply| Command::Ddl { planned_against, change, reply }).await {
                Ok(_) => {
                    builds.done();
                    return Ok(());
                }
                Err(error) if error.kind == ErrorKind::SerializationFailure && error.message != CONFLICT => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::SerializationFailure, "the catalog is being changed by other sessions")
            .with_hint("run the transaction again"))
    }

    fn alteration(&self, alter: &planner::statement::plan::AlterPlan, builds: &Builds) -> Result<Alteration> {
        Ok(Alteration { plan: alter.clone(), built: builds.as_built_for(alter), values: super::alter::values(alter)? })
    }
}

/// What a write says that met another one; planning the block again doesn't help against that.
pub(crate) const CONFLICT: &str = "could not serialize access due to concurrent update";

/// The catalog after a statement, and the number of what it makes, as they would be if it were run now.
fn speculate(catalog: &Catalog, plan: &Plan) -> Result<(Catalog, Option<ObjectId>)> {
    let done = || -> catalog::Result<(Catalog, Option<ObjectId>)> {
        Ok(match plan {
            Plan::Create(create) => {
                let (next, object) = catalog.assign(create.object.clone());
                let id = object.id;
                (next.create(object)?, Some(id))
            }
            Plan::CreateSchema { name } => (catalog.create_schema(name)?, None),
            Plan::Drop(drop) => {
                let mut next = catalog.clone();
                for id in &drop.objects {
                    next = next.drop_object(*id)?;
                }
                for schema in &drop.schemas {
                    next = next.drop_schema(schema)?;
                }
                (next, None)
            }
            Plan::Comment(comment) => {
                (catalog.set_comment(comment.object, comment.column, comment.comment.clone())?, None)
            }
            Plan::Alter(alter) => {
                let mut next = catalog.clone();
                for id in &alter.drops {
                    next = next.drop_object(*id)?;
                }
                (next.alter(alter.objects.clone())?, None)
            }
            _ => (catalog.clone(), None),
        })
    };
    done().map_err(catalog_error)
}

/// Relations whose rows are not what they will be before the change is made.
fn unreadable(plan: &Plan, made: Option<ObjectId>) -> Vec<ObjectId> {
    match plan {
        Plan::Create(create) => match &create.object.kind {
            ObjectKind::Table(table) if table.connector.is_none() => Vec::new(),
            ObjectKind::View(_) | ObjectKind::Index(_) | ObjectKind::Sink(_) => Vec::new(),
            _ => made.into_iter().collect(),
        },
        Plan::Alter(alter) => {
            let rewritten = alter.rewrite.iter().map(|rewrite| rewrite.table);
            alter.attach.iter().map(|attach| attach.relation).chain(rewritten).collect()
        }
        _ => Vec::new(),
    }
}

/// What the block sees: a table that it has made is there, and empty.
fn seen(before: &Published, version: u64, catalog: Catalog, made: Option<ObjectId>) -> Result<Published> {
    let mut after = before.clone();
    after.catalog_version = version;
    if let Some(object) = made.and_then(|id| catalog.get(id))
        && let ObjectKind::Table(table) = &object.kind
    {
        let layout = crate::coordinator::layout(table.state_id, &table.primary_key, false);
        let empty = dataflow::view::Materialize::new(object.schema(), layout, true);
        after.relations.insert(object.id, empty.map_err(dataflow_error)?.published());
    }
    after.catalog = Arc::new(catalog);
    Ok(after)
}

fn notices(plan: &Plan) -> Vec<String> {
    match plan {
        Plan::Create(create) => create.notices.clone(),
        Plan::Drop(drop) => drop.notices.clone(),
        Plan::Alter(alter) => alter.notices.clone(),
        _ => Vec::new(),
    }
}
