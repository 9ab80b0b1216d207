//! An engine in this process, with one session; answers are text as psql shows them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use engine::{Engine, Response, Session, SessionParameters, Settings, SqlType};
use futures::StreamExt;
use tempfile::TempDir;

/// What a statement answered.
#[derive(Debug, Default)]
pub struct Answer {
    /// The columns' types; empty if it returns no rows.
    pub types: Vec<SqlType>,
    /// The rows as text; NULL reads `NULL`.
    pub rows: Vec<Vec<String>>,
    /// The command tag of a statement without rows.
    pub tag: String,
}

/// An engine's error with its SQLSTATE.
#[derive(Debug)]
pub struct Failure(pub engine::Error);

impl Failure {
    pub fn state(&self) -> &'static str {
        server::sqlstate::sqlstate(self.0.kind)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.state())
    }
}

impl std::error::Error for Failure {}

/// Settings of a small engine: few threads, frequent checkpoints.
pub fn settings(data_dir: Option<PathBuf>) -> Settings {
    Settings { data_dir, workers: 1, memory_budget_bytes: 256 << 20, ..Settings::default() }
}

/// Who a test's session is.
pub fn parameters() -> SessionParameters {
    SessionParameters { user: "tests".to_owned(), database: "millrace".to_owned(), settings: Default::default() }
}

/// Runs every statement of `sql`; the last one's answer.
pub async fn run(session: &mut Session, sql: &str) -> Result<Answer, Failure> {
    let mut answer = Answer::default();
    for statement in session.parse(sql).map_err(Failure)? {
        match run_one(session, &statement).await {
            Ok(done) => answer = done,
            Err(error) => {
                session.fail_transaction();
                return Err(Failure(error));
            }
        }
    }
    Ok(answer)
}

async fn run_one(session: &mut Session, statement: &engine::Statement) -> engine::Result<Answer> {
    match session.run(statement).await? {
        Response::Empty => Ok(Answer::default()),
        Response::Done { tag } => Ok(Answer { tag, ..Answer::default() }),
        Response::Rows(mut rows) => {
            let types: Vec<_> = rows.columns.iter().map(|column| column.sql_type.clone()).collect();
            let text = server::text::Text::of(|name| session.setting(name));
            let mut answer = Answer { types, rows: Vec::new(), tag: rows.tag };
            while let Some(batch) = rows.batches.next().await {
                for row in text.rows(&rows.columns, &batch?)? {
                    answer.rows.push(row.into_iter().map(|value| value.unwrap_or("NULL".to_owned())).collect());
                }
            }
            Ok(answer)
        }
    }
}

/// A blocking engine with a session, for tests that read as a story.
pub struct Database {
    pub runtime: tokio::runtime::Runtime,
    engine: Option<Engine>,
    session: Option<Session>,
    settings: Settings,
    /// What time it is, microseconds since 1970, where a test says so.
    clock: Option<Arc<AtomicI64>>,
    directory: Option<TempDir>,
}

impl Database {
    /// With a data directory of its own, which outlives [`Database::reopen`].
    pub fn durable() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut database = Self::open(settings(Some(directory.path().join("data"))));
        database.directory = Some(directory);
        database
    }

    /// As [`Database::durable`], with epochs that take their time from this clock, microseconds since 1970.
    pub fn durable_at(clock: Arc<AtomicI64>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut database = Self::with_clock(settings(Some(directory.path().join("data"))), clock);
        database.directory = Some(directory);
        database
    }

    pub fn open(settings: Settings) -> Self {
        Self::by_clock(settings, None)
    }

    /// With epochs that take their time from this clock, microseconds since 1970.
    pub fn with_clock(settings: Settings, clock: Arc<AtomicI64>) -> Self {
        Self::by_clock(settings, Some(clock))
    }

    fn by_clock(settings: Settings, clock: Option<Arc<AtomicI64>>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut database = Self { runtime, engine: None, session: None, settings, clock, directory: None };
        database.start();
        database
    }

    /// Opens the engine again that was stopped.
    pub fn start(&mut self) {
        let _entered = self.runtime.enter();
        let engine = match &self.clock {
            None => Engine::open(self.settings.clone()).unwrap(),
            Some(clock) => Engine::open_at(self.settings.clone(), clock.clone()).unwrap(),
        };
        self.session = Some(engine.session(parameters()).unwrap());
        self.engine = Some(engine);
    }

    /// Ends the engine in good order.
    pub fn stop(&mut self) {
        self.session = None;
        if let Some(engine) = self.engine.take() {
            self.runtime.block_on(engine.shutdown()).unwrap();
        }
    }

    /// Ends the engine in good order and opens it again from its data directory.
    pub fn reopen(&mut self) {
        self.stop();
        self.start();
    }

    /// Another session.
    pub fn session(&self) -> Session {
        self.engine.as_ref().unwrap().session(parameters()).unwrap()
    }

    /// The last statement's answer, or its error.
    pub fn try_run(&mut self, sql: &str) -> Result<Answer, Failure> {
        self.runtime.block_on(run(self.session.as_mut().unwrap(), sql))
    }

    pub fn run(&mut self, sql: &str) -> Answer {
        self.try_run(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    /// A query's rows.
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        self.run(sql).rows
    }

    /// A query's rows, each as one line, sorted.
    pub fn lines(&mut self, sql: &str) -> Vec<String> {
        let mut lines: Vec<_> = self.rows(sql).into_iter().map(|row| row.join("|")).collect();
        lines.sort();
        lines
    }

    /// Waits until a query answers these lines.
    pub fn wait_for(&mut self, sql: &str, expected: &[&str]) {
        let expected: Vec<_> = expected.iter().map(|line| (*line).to_owned()).collect();
        super::wait::until_equal(sql, &expected, || self.lines(sql));
    }

    /// A metric with a label of that value.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let samples = self.engine.as_ref().unwrap().metrics();
        let found = samples.iter().find(|s| s.name == name && s.labels.iter().any(|(_, value)| value == label));
        found.unwrap_or_else(|| panic!("there is a metric {name} of {label}")).value
    }

    /// The error of a statement that must fail.
    pub fn error(&mut self, sql: &str) -> Failure {
        match self.try_run(sql) {
            Ok(_) => panic!("this should have failed: {sql}"),
            Err(failure) => failure,
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}
