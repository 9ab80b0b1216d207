//! What a client can do: prepare and run statements, one after the other, with settings and a transaction of its own.
//!
//! A session is used by one task at a time. The server keeps names of prepared statements and portals; the session keeps what a
//! statement can see: settings, the transaction, the current schema.

mod alter;
mod answer;
mod block_ddl;
mod ddl;
mod dml;
mod execute;
mod point;
mod shape;
mod subscribe;
mod transaction;
pub(crate) mod variables;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use catalog::Catalog;
use datafusion::common::ScalarValue;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use planner::context::{PlanContext, PlanSettings};
use planner::statement::plan::Plan;
use sql::Statement;
use tokio::sync::Notify;

use crate::engine::Shared;
use crate::published::Published;
use crate::query::located;
use crate::{Error, ErrorKind, Result, SqlType};
pub(crate) use answer::cancelled;
pub(crate) use block_ddl::CONFLICT;
pub(crate) use execute::SessionRelations;
use transaction::Transaction;
use variables::Variables;

/// Who connects, and with what settings.
#[derive(Clone, Debug)]
pub struct SessionParameters {
    /// The user's name.
    pub user: String,
    /// The database's name; there is one, whatever it is called.
    pub database: String,
    /// Settings from the startup packet (`application_name`, `options=-c k=v` taken apart, …), as SET would take them.
    pub settings: BTreeMap<String, String>,
}

/// Whether a transaction is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// None is.
    Idle,
    /// One is.
    Open,
    /// One is, and has failed: only ROLLBACK and COMMIT are taken.
    Failed,
}

/// A column of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultColumn {
    /// The name that a client sees; names may repeat.
    pub name: String,
    /// Its type, PostgreSQL's.
    pub sql_type: SqlType,
    /// Where it comes from, when it is a plain column: the relation's catalog id and the column's position from 1.
    pub origin: Option<(u32, i16)>,
}

/// The value of a parameter, of the type that [`Prepared::parameter_types`] gives (as [`SqlType::data_type`] carries it).
pub type Parameter = ScalarValue;

/// A statement that has been planned: its shape is known, and it can be run many times.
pub struct Prepared {
    /// The types of `$1`, `$2`, ….
    pub parameter_types: Vec<SqlType>,
    /// The columns of its result; `None` if it returns no rows.
    pub columns: Option<Arc<[ResultColumn]>>,
    /// What was prepared: planned again when the catalog has changed.
    pub(crate) statement: Statement,
    /// The types that the client gave.
    given_types: Vec<Option<SqlType>>,
    pub(crate) plan: Plan,
    /// What the plan depends on.
    catalog_version: u64,
    settings: Arc<PlanSettings>,
    /// The plan after what it depends on had changed, for the next time.
    again: Mutex<Option<Arc<Prepared>>>,
}

/// Something that a client should see beside the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `NOTICE`, `WARNING` or `INFO`.
    pub severity: &'static str,
    /// The SQLSTATE.
    pub code: &'static str,
    /// The text.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// What a statement answers.
pub enum Response {
    /// Rows, as they come.
    Rows(Rows),
    /// The command tag alone: `CREATE TABLE`, `INSERT 0 3`, `BEGIN`.
    Done {
        /// The tag.
        tag: String,
    },
    /// An empty statement.
    Empty,
}

/// Rows of an answer.
pub struct Rows {
    /// Their columns.
    pub columns: Arc<[ResultColumn]>,
    /// The rows: each batch has these columns in order, as [`SqlType::data_type`] carries them. Endless for SUBSCRIBE and EMIT CHANGES;
    /// dropping it ends the query.
    pub batches: BoxStream<'static, Result<RecordBatch>>,
    /// The command tag's first word(s): `SELECT`, `INSERT 0`, `SHOW`, `EXPLAIN`; the server adds the number of rows where
    /// PostgreSQL does (not after SHOW and EXPLAIN).
    pub tag: String,
    /// Rows should be sent as they come, without waiting for a buffer to fill: SUBSCRIBE, EMIT CHANGES.
    pub live: bool,
}

/// Stops what a session is running, from another task (a cancel request, a statement timeout, a lost connection).
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<CancelState>);

#[derive(Debug, Default)]
struct CancelState {
    cancelled: AtomicBool,
    notify: Notify,
}

impl Cancel {
    /// The running statement fails with `QueryCancelled`; nothing happens if none runs.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        self.0.notify.notify_waiters();
    }

    /// Whether it was asked for since the last [`Cancel::reset`].
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// A new statement begins.
    pub fn reset(&self) {
        self.0.cancelled.store(false, Ordering::SeqCst);
    }

    /// Completes when it is asked for.
    pub async fn cancelled(&self) {
        loop {
            let notified = self.0.notify.notified();
            if self.is_cancelled() {
                return;
            }
            notified.await;
        }
    }
}

/// A client's session.
pub struct Session {
    shared: Arc<Shared>,
    id: i32,
    /// What was parsed last: positions of errors count in it.
    text: Mutex<Arc<str>>,
    user: String,
    database: String,
    variables: Variables,
    known: Mutex<Option<Arc<Known>>>,
    transaction: Transaction,
    cancel: Cancel,
    notices: Vec<Notice>,
    parameter_changes: Vec<(String, String)>,
    /// What `set_config` asked for.
    wishes: variables::Wishes,
    /// Texts that differ in their literals only.
    shapes: shape::Shapes,
    /// PREPARE's names.
    prepared: HashMap<String, Arc<Prepared>>,
    /// Locked by nobody: streams can't be shared between threads, sessions can.
    cursors: HashMap<String, Mutex<Cursor>>,
}

/// What statements need of the settings.
struct Known {
    /// The settings' version that this was made of.
    version: u64,
    plan: Arc<PlanSettings>,
    hydration_wait: bool,
}

/// What others see of a session.
#[derive(Clone, Debug)]
pub(crate) struct SessionView {
    pub(crate) user: String,
    pub(crate) application_name: String,
    pub(crate) started_us: i64,
}

/// A cursor: rows that FETCH takes.
struct Cursor {
    rows: Rows,
    /// Rows of a batch that no FETCH has taken yet.
    rest: Option<RecordBatch>,
    hold: bool,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, id: i32, parameters: SessionParameters) -> Result<Self> {
        let mut variables = Variables::default();
        variables.begin_with("session_authorization", &parameters.user)?;
        for (name, value) in &parameters.settings {
            variables.begin_with(name, value)?;
        }
        let view = SessionView {
            user: parameters.user.clone(),
            application_name: variables.get("application_name").unwrap_or_default(),
            started_us: chrono::Utc::now().timestamp_micros(),
        };
        shared.sessions.lock().insert(id, view);
        Ok(Self {
            shared,
            id,
            text: Mutex::new("".into()),
            user: parameters.user,
            database: parameters.database,
            variables,
            known: Mutex::new(None),
            transaction: Transaction::default(),
            cancel: Cancel::default(),
            notices: Vec::new(),
            parameter_changes: Vec::new(),
            wishes: variables::Wishes::default(),
            shapes: shape::Shapes::new(),
            prepared: HashMap::new(),
            cursors: HashMap::new(),
        })
    }

    /// The number by which a cancel request names this session.
    pub fn id(&self) -> i32 {
        self.id
    }

    /// Takes a script apart; positions are byte offsets in `text`.
    pub fn parse(&self, text: &str) -> Result<Vec<Statement>> {
        *self.text.lock() = text.into();
        sql::parse(text).map_err(|e| located(e.into(), text))
    }

    /// Plans a statement; `parameter_types` are those that the client knows.
    pub async fn prepare(
        &mut self,
        statement: &Statement,
        parameter_types: &[Option<SqlType>],
    ) -> Result<Arc<Prepared>> {
        self.transaction.check_usable(statement)?;
        self.grant_wishes();
        self.plan(statement, parameter_types).map(Arc::new)
    }

    fn plan(&self, statement: &Statement, parameter_types: &[Option<SqlType>]) -> Result<Prepared> {
        let published = self.published();
        self.plan_against(statement, parameter_types, &published, &published.catalog)
    }

    /// Plans against a catalog that is, or might be, that of an epoch.
    fn plan_against(
        &self,
        statement: &Statement,
        parameter_types: &[Option<SqlType>],
        published: &Published,
        catalog: &Catalog,
    ) -> Result<Prepared> {
        let version = published.catalog_version;
        self.plan_with(statement, parameter_types, self.known().plan.clone(), version, published, catalog)
    }

    fn plan_with(
        &self,
        statement: &Statement,
        parameter_types: &[Option<SqlType>],
        settings: Arc<PlanSettings>,
        catalog_version: u64,
        published: &Published,
        catalog: &Catalog,
    ) -> Result<Prepared> {
        let system = crate::system::Relations;
        let context = PlanContext {
            catalog,
            settings: &settings,
            system: &system,
            functions: &self.shared.queries.functions,
            parameter_types,
        };
        let plan = planner::plan(statement, &context).map_err(|e| located(e, &self.text.lock()))?;
        Ok(Prepared {
            parameter_types: plan.parameters().to_vec(),
            columns: self.columns(&plan, published),
            statement: statement.clone(),
            given_types: parameter_types.to_vec(),
            plan,
            catalog_version,
            settings,
            again: Mutex::new(None),
        })
    }

    fn columns(&self, plan: &Plan, published: &Published) -> Option<Arc<[ResultColumn]>> {
        if let Plan::Fetch { name, .. } = plan {
            return self.cursor_columns(name);
        }
        if let Plan::Execute { name, .. } = plan {
            return self.prepared.get(name).and_then(|prepared| prepared.columns.clone());
        }
        let schema = plan.result_schema()?;
        let mut columns = result_columns(&schema);
        if let Plan::Query(query) = plan {
            name_origins(&mut columns, &query.logical, published);
        }
        Some(columns.into())
    }

    /// The plan as it is now: planned again if the catalog or a setting that planning depends on has changed.
    fn refreshed(&self, prepared: &Arc<Prepared>) -> Result<Arc<Prepared>> {
        let (published, known) = (self.published(), self.known());
        let holds = |p: &Prepared| {
            p.catalog_version == published.catalog_version
                && (Arc::ptr_eq(&p.settings, &known.plan) || p.settings == known.plan)
        };
        if holds(prepared) {
            return Ok(prepared.clone());
        }
        let mut last = prepared.again.lock();
        if let Some(again) = last.as_ref().filter(|again| holds(again)) {
            return Ok(again.clone());
        }
        // Positions would be in a text that this statement may not come from.
        let again = self.plan(&prepared.statement, &prepared.given_types).map_err(|e| Error { position: None, ..e })?;
        let types = |p: &Prepared| p.columns.as_ref().map(|c| c.iter().map(|c| c.sql_type.clone()).collect::<Vec<_>>());
        if types(&again) != types(prepared) || again.parameter_types != prepared.parameter_types {
            return Err(Error::new(ErrorKind::Unsupported, "cached plan must not change result type")
                .with_hint("prepare the statement again"));
        }
        Ok(last.insert(Arc::new(again)).clone())
    }

    /// What statements need of the settings as they are now.
    fn known(&self) -> Arc<Known> {
        let version = self.variables.version();
        let mut known = self.known.lock();
        match known.as_ref().filter(|known| known.version == version) {
            Some(known) => known.clone(),
            None => known
                .insert(Arc::new(Known {
                    version,
                    plan: Arc::new(self.plan_settings()),
                    hydration_wait: self.variables.is_on("hydration_wait"),
                }))
                .clone(),
        }
    }

    fn plan_settings(&self) -> PlanSettings {
        let path = self.variables.get("search_path").unwrap_or_default();
        let names = path.split(',').map(|name| name.trim().trim_matches('"'));
        let names = names.map(|name| if name == "$user" { self.user.clone() } else { name.to_owned() });
        PlanSettings {
            search_path: names.filter(|name| !name.is_empty()).collect(),
            time_zone: self.variables.get("TimeZone").unwrap_or_default(),
            database: self.database.clone(),
            user: self.user.clone(),
        }
    }

    /// The epoch that a statement sees: the transaction's, or the last one.
    fn published(&self) -> Arc<Published> {
        self.transaction.pinned().unwrap_or_else(|| self.shared.published.load())
    }

    /// Prepares and runs a statement without parameters.
    pub async fn run(&mut self, statement: &Statement) -> Result<Response> {
        let prepared = self.prepare(statement, &[]).await?;
        if !prepared.parameter_types.is_empty() {
            let unbound = planner::statement::unbound_parameter(statement);
            return Err(located(unbound, &self.text.lock()));
        }
        self.execute(&prepared, Vec::new()).await
    }

    /// Whether a transaction block is open.
    pub fn transaction_status(&self) -> TransactionStatus {
        self.transaction.status()
    }

    /// What cancels this session's statements.
    pub fn cancel_handle(&self) -> Cancel {
        self.cancel.clone()
    }

    /// What the client should be told since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Reported settings that changed since the last call.
    pub fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        self.grant_wishes();
        std::mem::take(&mut self.parameter_changes)
    }

    /// The reported settings, for the start of a connection.
    pub fn reported_parameters(&self) -> Vec<(String, String)> {
        let reported = variables::VARIABLES.iter().filter(|variable| variable.reported);
        reported.map(|v| (v.name.to_owned(), self.variables.get(v.name).unwrap_or_default())).collect()
    }

    /// The columns of a cursor that DECLARE has made.
    pub fn cursor_columns(&self, name: &str) -> Option<Arc<[ResultColumn]>> {
        self.cursors.get(name).map(|cursor| cursor.lock().rows.columns.clone())
    }

    /// Another number than before if a setting may have changed.
    pub fn settings_version(&self) -> u64 {
        self.variables.version()
    }

    /// The value of a setting.
    pub fn setting(&self, name: &str) -> Option<String> {
        self.variables.get(name)
    }

    fn notice(&mut self, message: String) {
        self.notices.push(Notice { severity: "NOTICE", code: "00000", message, hint: None });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.sessions.lock().remove(&self.id);
        self.shared.advisory_locks.unlock_all(self.id);
    }
}

/// The columns of a result as clients see them.
fn result_columns(schema: &Schema) -> Vec<ResultColumn> {
    let column = |field: &arrow::datatypes::FieldRef| ResultColumn {
        name: field.name().clone(),
        sql_type: SqlType::of_field(field).unwrap_or(SqlType::Text),
        origin: None,
    };
    schema.fields().iter().map(column).collect()
}

/// Where plain columns of a query come from, as drivers that edit rows ask.
fn name_origins(columns: &mut [ResultColumn], logical: &datafusion::logical_expr::LogicalPlan, published: &Published) {
    use datafusion::logical_expr::{Expr, LogicalPlan};
    use planner::query::{RelationRef, RelationSource};
    let LogicalPlan::Projection(projection) = logical else { return };
    let mut input = projection.input.as_ref();
    while let LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Sort(_) = input {
        let Some(next) = input.inputs().first().copied() else { return };
        input = next;
    }
    let LogicalPlan::TableScan(scan) = input else { return };
    let Some(source) = scan.source.downcast_ref::<RelationSource>() else { return };
    let RelationRef::Object(id) = source.relation else { return };
    let Some(object) = published.catalog.get(id) else { return };
    for (column, expression) in columns.iter_mut().zip(&projection.expr) {
        let mut expression = expression;
        while let Expr::Alias(alias) = expression {
            expression = &alias.expr;
        }
        if let Expr::Column(from) = expression
            && let Some(position) = object.column_index(&from.name)
        {
            column.origin = i16::try_from(position + 1).ok().map(|position| (id.0, position));
        }
    }
}
