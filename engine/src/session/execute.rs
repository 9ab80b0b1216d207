//! Running a planned statement.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use catalog::ObjectId;
use datafusion::datasource::{MemTable, TableProvider};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use parking_lot::Mutex;
use planner::ViewPlan;
use planner::incremental::Node;
use planner::query::{QueryPlan, RelationRef};
use planner::statement::plan::{Discard, Plan, SetPlan};

use super::answer::{batch_answer, cancellable, cancelled, text_batch};
use super::{Cursor, Parameter, Prepared, Response, Rows, Session};
use crate::command::Command;
use crate::engine::Shared;
use crate::pg_catalog::FunctionContext;
use crate::published::Published;
use crate::query::{Overrides, conform_columns, evaluate_constants, look_up, not_ready, query_error};
use crate::{Error, ErrorKind, Result};

impl Session {
    /// Runs a prepared statement. Rows come as they are computed; everything else is done when this returns.
    ///
    /// (Boxed, so that what it awaits is compiled here, and not in every crate that calls it.)
    pub fn execute<'a>(
        &'a mut self,
        prepared: &'a Arc<Prepared>,
        parameters: Vec<Parameter>,
    ) -> BoxFuture<'a, Result<Response>> {
        Box::pin(self.run_prepared(prepared, parameters))
    }

    async fn run_prepared(&mut self, prepared: &Arc<Prepared>, parameters: Vec<Parameter>) -> Result<Response> {
        self.transaction.check_usable(&prepared.statement)?;
        self.grant_wishes();
        let prepared = self.refreshed(prepared)?;
        if parameters.len() != prepared.parameter_types.len() {
            let (given, wanted) = (parameters.len(), prepared.parameter_types.len());
            return Err(Error::new(ErrorKind::ProtocolViolation, format!("{given} parameters given, {wanted} needed")));
        }
        self.cancel.reset();
        let cancel = self.cancel.clone();
        tokio::select! {
            biased;
            response = self.dispatch(&prepared, parameters) => response,
            () = cancel.cancelled() => Err(cancelled()),
        }
    }

    async fn dispatch(&mut self, prepared: &Arc<Prepared>, parameters: Vec<Parameter>) -> Result<Response> {
        let done = |tag: &str| Ok(Response::Done { tag: tag.to_owned() });
        match &prepared.plan {
            Plan::Create(create) => self.ddl(prepared, create.tag).await,
            Plan::CreateSchema { .. } => self.ddl(prepared, "CREATE SCHEMA").await,
            Plan::Drop(drop) => self.ddl(prepared, drop.tag).await,
            Plan::Alter(alter) => self.ddl(prepared, alter.tag).await,
            Plan::Comment(_) => self.ddl(prepared, "COMMENT").await,
            Plan::Query(query) => self.query(prepared, query, parameters).await,
            Plan::Insert(insert) => self.insert(prepared, insert, parameters).await,
            Plan::Update(update) => self.update(prepared, update, parameters).await,
            Plan::Delete(delete) => self.delete(prepared, delete, parameters).await,
            Plan::Truncate { tables } => self.truncate(tables).await,
            Plan::Copy(_) => Err(Error::new(ErrorKind::Unsupported, "COPY is not supported")
                .with_hint("use INSERT … VALUES with several rows, or a file source")),
            Plan::Subscribe(subscribe) => self.subscribe(prepared, subscribe).await,
            Plan::Rows(rows) => Ok(batch_answer(self.columns_of(prepared)?, rows.rows.clone(), rows.tag)),
            Plan::ExplainAnalyzeQuery(query) => self.explain_analyze(prepared, query, parameters).await,
            Plan::ExplainAnalyzeView { relation, view } => self.explain_view(prepared, *relation, view).await,
            Plan::ExplainPhysical(query) => self.explain_physical(prepared, query, parameters).await,
            Plan::Set(set) => self.set(set),
            Plan::Reset { name } => {
                self.set_variable(name, None, false)?;
                done("RESET")
            }
            Plan::ResetAll => {
                self.reset_all();
                done("RESET")
            }
            Plan::ShowSetting { name } => self.show(prepared, name),
            Plan::ShowAllSettings => self.show_all(prepared),
            Plan::Transaction(transaction) => Ok(Response::Done { tag: self.transaction(transaction).await? }),
            Plan::Prepare { name, parameter_types, statement } => {
                if self.prepared.contains_key(name) {
                    let message = format!("prepared statement \"{name}\" already exists");
                    return Err(Error::new(ErrorKind::DuplicatePreparedStatement, message));
                }
                let inner = Arc::new(self.plan(statement, parameter_types)?);
                self.prepared.insert(name.clone(), inner);
                done("PREPARE")
            }
            Plan::Execute { name, arguments } => {
                let inner = self.prepared.get(name).cloned();
                let inner = inner.ok_or_else(|| undefined_statement(name))?;
                let inner = self.refreshed(&inner)?;
                let arguments = typed(evaluate_constants(arguments, &parameters)?, &inner)?;
                Box::pin(self.dispatch(&inner, arguments)).await
            }
            Plan::Deallocate { name: None } => {
                self.prepared.clear();
                done("DEALLOCATE ALL")
            }
            Plan::Deallocate { name: Some(name) } => match self.prepared.remove(name) {
                Some(_) => done("DEALLOCATE"),
                None => Err(undefined_statement(name)),
            },
            Plan::Discard(what) => self.discard(*what),
            Plan::DeclareCursor { name, hold, plan } => self.declare(prepared, name, *hold, plan, parameters).await,
            Plan::Fetch { name, count, move_only } => self.fetch(name, *count, *move_only).await,
            Plan::CloseCursor { name: None } => {
                self.cursors.clear();
                done("CLOSE CURSOR ALL")
            }
            Plan::CloseCursor { name: Some(name) } => match self.cursors.remove(name) {
                Some(_) => done("CLOSE CURSOR"),
                None => Err(undefined_cursor(name)),
            },
            Plan::Nothing { tag, notice } => {
                self.notices_of(notice.iter().cloned());
                if tag.is_empty() { Ok(Response::Empty) } else { done(tag) }
            }
        }
    }

    pub(super) fn columns_of(&self, prepared: &Prepared) -> Result<Arc<[super::ResultColumn]>> {
        prepared.columns.clone().ok_or_else(|| Error::internal("this statement returns rows"))
    }

    async fn query(&mut self, prepared: &Prepared, query: &QueryPlan, parameters: Vec<Parameter>) -> Result<Response> {
        let columns = self.columns_of(prepared)?;
        let published = self.readable(&query.reads).await?;
        if let Some(lookup) = &query.point_lookup
            && !self.transaction.has_pending(lookup.relation)
            && let Some(found) = look_up(lookup, &parameters, &published)?
        {
            return Ok(batch_answer(columns, conform_columns(found, &query.schema)?, "SELECT"));
        }
        let overrides = self.overrides(&published, &query.reads);
        let batches = self.shared.queries.run(query, parameters, &published, &overrides).await?;
        let batches = cancellable(batches, self.cancel.clone());
        Ok(Response::Rows(Rows { columns, batches, tag: "SELECT".to_owned(), live: false }))
    }

    /// The epoch that a statement reads, once everything that it reads has been built.
    pub(super) async fn readable(&mut self, reads: &[ObjectId]) -> Result<Arc<Published>> {
        self.check_readable_in_block(reads)?;
        let mut epochs = self.shared.published.watch();
        loop {
            let published = self.published();
            let building = reads.iter().find(|id| published.hydrating.contains_key(id));
            let waits = self.known().hydration_wait && self.transaction.pinned().is_none();
            let Some(building) = building else {
                if waits && reads.iter().any(|id| published.reading_first.contains(id)) {
                    epochs.changed().await.map_err(|_| crate::engine::stopped())?;
                    continue;
                }
                let readable = self.read_epoch();
                crate::row_errors::check(reads, &readable)?;
                return Ok(readable);
            };
            let failed = published.hydrating.get(building).is_some_and(|progress| progress.error.is_some());
            if failed || !waits {
                return Err(not_ready(*building, &published));
            }
            if epochs.changed().await.is_err() {
                return Err(crate::engine::stopped());
            }
        }
    }

    /// What this session sees differently from the published epoch.
    pub(super) fn overrides(&self, published: &Arc<Published>, reads: &[ObjectId]) -> SessionRelations {
        let changed = reads.iter().copied().collect::<HashSet<_>>();
        let changed = changed.into_iter().filter(|id| self.transaction.has_pending(*id));
        let changed = changed.map(|id| (id, self.transaction.pending(id).cloned().collect())).collect();
        SessionRelations {
            shared: self.shared.clone(),
            published: published.clone(),
            changed,
            variables: self.variables.clone(),
            wishes: self.wishes.clone(),
            user: self.user.clone(),
            database: self.database.clone(),
            session: self.id,
        }
    }

    async fn explain_physical(
        &mut self,
        prepared: &Prepared,
        query: &QueryPlan,
        parameters: Vec<Parameter>,
    ) -> Result<Response> {
        let published = self.readable(&query.reads).await?;
        let overrides = self.overrides(&published, &query.reads);
        let physical = self.shared.queries.physical(&query.logical, parameters, &published, &overrides).await?;
        let text = datafusion::physical_plan::displayable(physical.plan.as_ref()).indent(false).to_string();
        self.plan_text(prepared, &planner::explain::sql_words(&text))
    }

    async fn explain_analyze(
        &mut self,
        prepared: &Prepared,
        query: &QueryPlan,
        parameters: Vec<Parameter>,
    ) -> Result<Response> {
        let published = self.readable(&query.reads).await?;
        let overrides = self.overrides(&published, &query.reads);
        let physical = self.shared.queries.physical(&query.logical, parameters, &published, &overrides).await?;
        let plan = physical.plan.clone();
        let mut rows = self.shared.queries.rows(physical);
        while rows.try_next().await?.is_some() {}
        let text =
            datafusion::physical_plan::display::DisplayableExecutionPlan::with_metrics(plan.as_ref()).indent(false);
        self.plan_text(prepared, &planner::explain::sql_words(&text.to_string()))
    }

    /// EXPLAIN ANALYZE of a running view: its operators as they are now. One that is still being built is waited for.
    async fn explain_view(&mut self, prepared: &Prepared, relation: ObjectId, view: &ViewPlan) -> Result<Response> {
        let published = self.readable(&[relation]).await?;
        let operators = self.shared.commands.ask(|reply| Command::Operators { relation, reply }).await?;
        let name =
            |id: ObjectId| published.catalog.get(id).map_or_else(|| format!("#{}", id.0), |o| o.name.to_string());
        let known = |node: &Node| operators.iter().find(|operator| *operator.node == *node).map(operator_figures);
        self.plan_text(prepared, &planner::explain::running(view, &name, &known))
    }

    fn plan_text(&self, prepared: &Prepared, text: &str) -> Result<Response> {
        let lines: Vec<Vec<String>> = text.lines().map(|line| vec![line.to_owned()]).collect();
        Ok(batch_answer(self.columns_of(prepared)?, text_batch(&["QUERY PLAN"], &lines)?, "EXPLAIN"))
    }

    fn set(&mut self, set: &SetPlan) -> Result<Response> {
        self.set_variable(&set.name, set.value.as_deref(), set.local)?;
        Ok(Response::Done { tag: "SET".to_owned() })
    }

    fn set_variable(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<()> {
        if let Some(variable) = self.variables.set(name, value, local)? {
            let value = self.variables.get(variable.name).unwrap_or_default();
            if variable.name == "application_name"
                && let Some(view) = self.shared.sessions.lock().get_mut(&self.id)
            {
                view.application_name.clone_from(&value);
            }
            self.parameter_changes.push((variable.name.to_owned(), value));
        }
        Ok(())
    }

    /// Sets what the last query asked for with `set_config`.
    pub(super) fn grant_wishes(&mut self) {
        for wish in self.wishes.take() {
            // Outside of a block the query was the whole transaction.
            let lasts = !wish.local || self.transaction.is_block();
            if lasts && let Err(error) = self.set_variable(&wish.name, wish.value.as_deref(), wish.local) {
                self.notice(error.message);
            }
        }
    }

    fn reset_all(&mut self) {
        let before = self.reported_parameters();
        self.variables.reset_all();
        let after = self.reported_parameters();
        self.parameter_changes.extend(after.into_iter().zip(before).filter(|(a, b)| a != b).map(|(a, _)| a));
    }

    fn show(&self, prepared: &Prepared, name: &str) -> Result<Response> {
        let value = self.variables.get(name).ok_or_else(|| super::variables::unknown(name))?;
        Ok(batch_answer(self.columns_of(prepared)?, text_batch(&[name], &[vec![value]])?, "SHOW"))
    }

    fn show_all(&self, prepared: &Prepared) -> Result<Response> {
        let row = |v: &super::variables::Variable| {
            vec![v.name.to_owned(), self.variables.get(v.name).unwrap_or_default(), v.description.to_owned()]
        };
        let rows: Vec<_> = super::variables::VARIABLES.iter().map(row).collect();
        Ok(batch_answer(self.columns_of(prepared)?, text_batch(&["name", "setting", "description"], &rows)?, "SHOW"))
    }

    fn discard(&mut self, what: Discard) -> Result<Response> {
        let tag = match what {
            Discard::All => {
                self.outside_block("DISCARD ALL")?;
                self.prepared.clear();
                self.cursors.clear();
                self.shared.advisory_locks.unlock_all(self.id);
                self.reset_all();
                "DISCARD ALL"
            }
            Discard::Plans => "DISCARD PLANS",
            Discard::Sequences => "DISCARD SEQUENCES",
            Discard::Temp => "DISCARD TEMP",
        };
        Ok(Response::Done { tag: tag.to_owned() })
    }

    async fn declare(
        &mut self,
        prepared: &Arc<Prepared>,
        name: &str,
        hold: bool,
        plan: &Plan,
        parameters: Vec<Parameter>,
    ) -> Result<Response> {
        if self.cursors.contains_key(name) {
            return Err(Error::new(ErrorKind::DuplicateCursor, format!("cursor \"{name}\" already exists")));
        }
        if !hold && !self.transaction.is_block() {
            return Err(Error::new(
                ErrorKind::NoActiveTransaction,
                "DECLARE CURSOR can only be used in transaction blocks",
            )
            .with_hint("begin a transaction, or declare the cursor WITH HOLD"));
        }
        let inner = Prepared {
            parameter_types: prepared.parameter_types.clone(),
            columns: self.columns(plan, &self.published()),
            statement: prepared.statement.clone(),
            given_types: prepared.given_types.clone(),
            plan: plan.clone(),
            catalog_version: prepared.catalog_version,
            settings: prepared.settings.clone(),
            again: Mutex::new(None),
        };
        match Box::pin(self.dispatch(&Arc::new(inner), parameters)).await? {
            Response::Rows(rows) => {
                self.cursors.insert(name.to_owned(), Mutex::new(Cursor { rows, rest: None, hold }));
                Ok(Response::Done { tag: "DECLARE CURSOR".to_owned() })
            }
            _ => Err(Error::internal("a cursor reads a query")),
        }
    }

    async fn fetch(&mut self, name: &str, count: Option<u64>, move_only: bool) -> Result<Response> {
        let cursor = self.cursors.get_mut(name).ok_or_else(|| undefined_cursor(name))?.get_mut();
        let mut left = count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
        let mut taken: Vec<RecordBatch> = Vec::new();
        let mut rows = 0;
        while left > 0 {
            let batch = match cursor.rest.take() {
                Some(batch) => batch,
                // What follows changes waits for the first row only: then it gives what is there.
                None if cursor.rows.live && rows > 0 => {
                    match futures::FutureExt::now_or_never(cursor.rows.batches.try_next()) {
                        Some(batch) => match batch? {
                            Some(batch) => batch,
                            None => break,
                        },
                        None => break,
                    }
                }
                None => match cursor.rows.batches.try_next().await? {
                    Some(batch) => batch,
                    None => break,
                },
            };
            let now = batch.num_rows().min(left);
            if now < batch.num_rows() {
                cursor.rest = Some(batch.slice(now, batch.num_rows() - now));
            }
            left -= now;
            rows += now;
            taken.push(batch.slice(0, now));
        }
        if move_only {
            return Ok(Response::Done { tag: format!("MOVE {rows}") });
        }
        let columns = cursor.rows.columns.clone();
        let batches = futures::stream::iter(taken.into_iter().map(Ok)).boxed();
        Ok(Response::Rows(Rows { columns, batches, tag: "FETCH".to_owned(), live: false }))
    }
}

/// System relations, and the tables that the session's transaction has changed.
pub(crate) struct SessionRelations {
    pub(crate) shared: Arc<Shared>,
    pub(crate) published: Arc<Published>,
    pub(crate) changed: Vec<(ObjectId, Vec<delta::Delta>)>,
    pub(crate) variables: super::Variables,
    pub(crate) wishes: super::variables::Wishes,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) session: i32,
}

impl Overrides for SessionRelations {
    fn provider(&self, relation: &RelationRef) -> Result<Option<Arc<dyn TableProvider>>> {
        let rows = match relation {
            RelationRef::System(name) => crate::system::rows(name, self)?,
            RelationRef::Object(id) => match self.changed.iter().find(|(changed, _)| changed == id) {
                Some((_, pending)) => super::dml::contents(*id, pending, &self.published)?,
                None => return Ok(None),
            },
        };
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(query_error)?;
        Ok(Some(Arc::new(table)))
    }

    fn function_context(&self) -> FunctionContext {
        FunctionContext::of(self)
    }
}

/// Arguments under the types of a prepared statement's parameters.
fn typed(arguments: Vec<Parameter>, prepared: &Prepared) -> Result<Vec<Parameter>> {
    if arguments.len() != prepared.parameter_types.len() {
        return Err(Error::new(
            ErrorKind::Syntax,
            format!(
                "wrong number of parameters: expected {} but got {}",
                prepared.parameter_types.len(),
                arguments.len()
            ),
        ));
    }
    let typed = arguments.into_iter().zip(&prepared.parameter_types);
    typed
        .map(|(value, sql_type)| match value.try_as_str().flatten() {
            // A text is read as a literal of the type is: an array by its braces, say.
            Some(text) => Ok(planner::query::value_of_text(text, sql_type)?),
            None => value.cast_to(&sql_type.data_type()).map_err(query_error),
        })
        .collect()
}

fn undefined_statement(name: &str) -> Error {
    Error::new(ErrorKind::UndefinedPreparedStatement, format!("prepared statement \"{name}\" does not exist"))
}

fn undefined_cursor(name: &str) -> Error {
    Error::new(ErrorKind::UndefinedCursor, format!("cursor \"{name}\" does not exist"))
}

/// What EXPLAIN ANALYZE says behind an operator.
fn operator_figures(operator: &dataflow::OperatorStats) -> String {
    let mut text = format!(
        "rows in={} out={} time={:.3} ms",
        operator.rows_in,
        operator.rows_out,
        operator.busy.as_secs_f64() * 1e3
    );
    if !operator.states.is_empty() {
        text.push_str(&format!(" state rows={} bytes={}", operator.state_rows, operator.state_bytes));
    }
    text
}
