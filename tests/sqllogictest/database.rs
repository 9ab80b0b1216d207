//! The engine as the runner wants a database to be.

use std::path::PathBuf;

use async_trait::async_trait;
use engine::{Engine, Session, Settings, SqlType};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};

use super::Way;
use crate::support::database::{self, Failure};

/// Less than any file's data needs, so that each epoch evicts what the one before had cached.
const TINY_BUDGET_BYTES: usize = 64 << 10;

/// A session of an engine, and the engine itself, which some ways open anew.
pub struct Connection {
    settings: Settings,
    restarts: bool,
    running: Option<(Engine, Session)>,
    /// SET and RESET so far: a new session needs them too.
    session_settings: Vec<String>,
}

impl Connection {
    pub fn open(way: Way, data_dir: PathBuf) -> Self {
        let durable = matches!(way, Way::Restart | Way::Tiny);
        let mut settings = database::settings(durable.then_some(data_dir));
        match way {
            Way::Workers => settings.workers = 4,
            Way::Tiny => settings.memory_budget_bytes = TINY_BUDGET_BYTES,
            Way::AdHoc | Way::Before | Way::After | Way::Restart => {}
        }
        Self { settings, restarts: way == Way::Restart, running: None, session_settings: Vec::new() }
    }

    async fn session(&mut self) -> Result<&mut Session, Failure> {
        if self.restarts {
            self.stop().await?;
        }
        if self.running.is_none() {
            let engine = Engine::open(self.settings.clone()).map_err(Failure)?;
            let mut session = engine.session(database::parameters()).map_err(Failure)?;
            for setting in &self.session_settings {
                database::run(&mut session, setting).await?;
            }
            self.running = Some((engine, session));
        }
        Ok(&mut self.running.as_mut().expect("opened above").1)
    }

    async fn stop(&mut self) -> Result<(), Failure> {
        if let Some((engine, session)) = self.running.take() {
            drop(session);
            engine.shutdown().await.map_err(Failure)?;
        }
        Ok(())
    }
}

#[async_trait]
impl AsyncDB for Connection {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let answer = database::run(self.session().await?, sql).await?;
        let word = sql.split_whitespace().next().unwrap_or_default();
        if word.eq_ignore_ascii_case("set") || word.eq_ignore_ascii_case("reset") {
            self.session_settings.push(sql.to_owned());
        }
        if answer.types.is_empty() {
            let count = answer.tag.rsplit(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0);
            return Ok(DBOutput::StatementComplete(count));
        }
        let types = answer.types.iter().map(column_type).collect();
        let shown = |value: String| if value.is_empty() { "(empty)".to_owned() } else { value };
        let rows = answer.rows.into_iter().map(|row| row.into_iter().map(shown).collect()).collect();
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {
        self.stop().await.expect("an engine that has answered every query can stop");
    }

    fn engine_name(&self) -> &str {
        "millrace"
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        Some(error.state().to_owned())
    }
}

/// The letter that a file writes for a type; scripts/slt_postgres.py has the same list.
fn column_type(sql_type: &SqlType) -> DefaultColumnType {
    match sql_type {
        SqlType::SmallInt | SqlType::Integer | SqlType::BigInt | SqlType::Oid => DefaultColumnType::Integer,
        SqlType::Real | SqlType::Double | SqlType::Numeric(_) => DefaultColumnType::FloatingPoint,
        SqlType::Text | SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Name => DefaultColumnType::Text,
        _ => DefaultColumnType::Any,
    }
}
