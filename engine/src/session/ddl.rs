//! DDL: what must be asked of the outside is asked here, then the epoch thread makes the change.

use std::collections::HashMap;
use std::sync::Arc;

use catalog::{Object, ObjectId, ObjectKind};
use connectors::{Positions, check_sink};
use planner::statement::plan::{CreatePlan, Plan};
use sql::Statement;

use super::{Prepared, Response, Session};
use crate::command::Command;
use crate::ddl::DdlChange;
use crate::inputs::{external, idle_timeout, spec};
use crate::outside::Outside;
use crate::sinks::sink_spec;
use crate::{Error, ErrorKind, Result};

/// How often a statement is planned again because another session changed the catalog meanwhile.
const ATTEMPTS: usize = 10;

impl Session {
    /// Runs a statement that changes the catalog.
    pub(super) async fn ddl(&mut self, prepared: &Arc<Prepared>, tag: &str) -> Result<Response> {
        self.check_writable(tag)?;
        if self.transaction.is_open() {
            return self.ddl_in_block(prepared, tag).await;
        }
        match &prepared.plan {
            Plan::Alter(_) => self.alter(prepared).await?,
            _ => self.change_catalog(prepared).await?,
        }
        Ok(Response::Done { tag: tag.to_owned() })
    }

    /// Makes the change that a statement asks for, planned again as often as the catalog has changed meanwhile.
    pub(super) async fn change_catalog(&mut self, prepared: &Arc<Prepared>) -> Result<()> {
        if matches!(prepared.plan, Plan::Nothing { .. }) {
            return Ok(());
        }
        let mut prepared = prepared.clone();
        for _ in 0..ATTEMPTS {
            let change = self.change(&prepared).await?;
            let planned_against = prepared.catalog_version;
            let change = Box::new(change);
            let done = self.shared.commands.ask(|reply| Command::Ddl { planned_against, change, reply }).await;
            match done {
                Ok(done) => {
                    for notice in done.notices {
                        self.notice(notice);
                    }
                    return Ok(());
                }
                Err(error) if error.kind == ErrorKind::SerializationFailure => {
                    prepared = Arc::new(self.plan(&prepared.statement, &[])?);
                    if let Plan::Nothing { notice, .. } = &prepared.plan {
                        self.notices_of(notice.iter().cloned());
                        return Ok(());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(ErrorKind::SerializationFailure, "the catalog is being changed by other sessions")
            .with_hint("run the statement again"))
    }

    pub(super) fn notices_of(&mut self, notices: impl IntoIterator<Item = String>) {
        for notice in notices {
            self.notice(notice);
        }
    }

    pub(super) async fn change(&self, prepared: &Prepared) -> Result<DdlChange> {
        Ok(match &prepared.plan {
            Plan::Create(create) => {
                let resolved = self.resolve(create.as_ref().clone()).await;
                let resolved = resolved.map_err(|refused| self.placed(refused, &prepared.statement))?;
                DdlChange::Create { create: Box::new(resolved), past: self.past(create).await }
            }
            Plan::CreateSchema { name } => DdlChange::CreateSchema(name.clone()),
            Plan::Drop(drop) => DdlChange::Drop(drop.clone()),
            Plan::Comment(comment) => DdlChange::Comment(comment.clone()),
            _ => return Err(Error::internal("this statement changes no catalog")),
        })
    }

    /// Whether a connector takes what a statement says.
    pub(super) async fn check_connector(&self, create: &CreatePlan, statement: &Statement) -> Result<()> {
        let resolved = self.resolve(create.clone()).await;
        resolved.map(drop).map_err(|refused| self.placed(refused, statement))
    }

    /// Where the topics and files end that a new relation is the first to read. One that doesn't answer keeps no query waiting.
    pub(super) async fn past(&self, create: &CreatePlan) -> HashMap<ObjectId, Positions> {
        let mut past = HashMap::new();
        if self.shared.settings.offline {
            return past;
        }
        let published = self.published();
        let inputs = create.view.iter().flat_map(|view| &view.inputs);
        let unread = inputs.filter(|id| !published.positions.contains_key(id));
        let sources = unread.filter_map(|id| published.catalog.get(*id)).map(|object| object.as_ref().clone());
        for object in sources.chain([create.object.clone()]) {
            let id = object.id;
            match &object.kind {
                ObjectKind::Source(_) if create.view.is_some() => {}
                ObjectKind::Table(table) if table.connector.is_some() => {}
                _ => continue,
            }
            let outside = self.shared.outside.clone();
            match self.blocking(move || Ok(past_end(&object, &*outside)?)).await {
                Ok(ends) => drop(past.insert(id, ends)),
                Err(Refused { error, .. }) => tracing::warn!("where a topic or file ends is not known: {error}"),
            }
        }
        past
    }

    /// The error with the place of the option that it is about.
    fn placed(&self, refused: Refused, statement: &Statement) -> Error {
        let option = refused.option.and_then(|name| statement.kind.options()?.get(&name));
        let Some(option) = option else { return *refused.error };
        let span = if refused.name { option.span } else { option.value_span };
        let position = span.start.byte_offset(&self.text.lock());
        refused.error.at(position)
    }

    /// Checks a connector's options, and that what it names is there.
    async fn resolve(&self, mut create: CreatePlan) -> Result<CreatePlan, Refused> {
        let object = create.object.clone();
        let reads_outside = match &object.kind {
            ObjectKind::Source(_) => true,
            ObjectKind::Table(table) => table.connector.is_some(),
            _ => false,
        };
        if reads_outside {
            let offline = self.shared.settings.offline;
            let outside = self.shared.outside.clone();
            let start = self.blocking(move || resolve_start(&object, offline, &*outside)).await?;
            match &mut create.object.kind {
                ObjectKind::Source(source) => source.connector.start = start,
                ObjectKind::Table(table) => {
                    if let Some(connector) = &mut table.connector {
                        connector.start = start;
                    }
                }
                _ => return Err(Error::internal("it was one above").into()),
            }
            return Ok(create);
        }
        let sink = match &object.kind {
            ObjectKind::Sink(sink) => {
                let published = self.published();
                let from = published.catalog.get(sink.from).cloned();
                let from = from.ok_or_else(|| Error::new(ErrorKind::UndefinedTable, "its relation was dropped"))?;
                Some((sink.connector.clone(), from))
            }
            ObjectKind::Stream(stream) => {
                stream.connector.clone().map(|connector| (connector, Arc::new(object.clone())))
            }
            _ => None,
        };
        if let Some((connector, from)) = sink {
            let spec = sink_spec(&object, &connector, &from, &self.shared.server_id);
            let offline = self.shared.settings.offline;
            let outside = self.shared.outside.clone();
            self.blocking(move || {
                let opened = if offline { check_sink(&spec) } else { outside.open_sink(&spec).map(drop) };
                opened.map_err(|e| Refused::of(&spec.name, &e))
            })
            .await?;
        }
        Ok(create)
    }

    /// Runs what may wait for the outside on a thread that may wait.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        if !self.shared.outside.has_threads() {
            return work();
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(panic) => Err(Error::internal(panic.to_string()).into()),
        }
    }
}

/// Why a connector can't be used, and which of its options is to blame.
struct Refused {
    error: Box<Error>,
    option: Option<String>,
    /// Whether it is the option's name, not its value.
    name: bool,
}

impl Refused {
    fn of(name: &str, error: &connectors::Error) -> Self {
        Self {
            option: error.option().map(str::to_owned),
            name: matches!(error, connectors::Error::UnknownOption { .. }),
            error: Box::new(external(name, error)),
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error: Box::new(error), option: None, name: false }
    }
}

fn resolve_start(object: &Object, offline: bool, outside: &dyn Outside) -> Result<Positions, Refused> {
    let (spec, connector) = spec(object)?;
    idle_timeout(connector).map_err(|error| Refused { option: Some("idle_timeout".to_owned()), ..error.into() })?;
    let source = outside.open_source(&spec).map_err(|e| Refused::of(&spec.name, &e))?;
    if offline {
        return Ok(Positions::new());
    }
    source.resolve_start().map_err(|e| Refused::of(&spec.name, &e))
}

fn past_end(object: &Object, outside: &dyn Outside) -> Result<Positions> {
    let (spec, _) = spec(object)?;
    let ends = outside.open_source(&spec).and_then(|source| source.past_end());
    ends.map_err(|e| external(&spec.name, &e))
}
