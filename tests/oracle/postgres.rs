//! A real PostgreSQL that is asked the same, where MILLRACE_TEST_POSTGRES says how to reach one (`host=/tmp/socket user=postgres`):
//! `make fuzz` starts one if its programs are there. What it answers is right, so that DataFusion need not be asked.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::server::{Client, describe};

/// A schema of its own in a running PostgreSQL.
pub struct Postgres {
    client: Client,
    schema: String,
}

impl Postgres {
    /// `None` where there is none.
    pub fn connect() -> Option<Self> {
        static SCHEMAS: AtomicUsize = AtomicUsize::new(0);
        let config = std::env::var("MILLRACE_TEST_POSTGRES").ok()?;
        let client = Client::with_config(&config).unwrap_or_else(|error| panic!("MILLRACE_TEST_POSTGRES: {error}"));
        let schema = format!("oracle_{}_{}", std::process::id(), SCHEMAS.fetch_add(1, Ordering::Relaxed));
        let postgres = Self { client, schema };
        let schema = &postgres.schema;
        // A query that doesn't end is no answer.
        let begin = format!(
            "SET client_min_messages = error; SET statement_timeout = '5s'; CREATE SCHEMA {schema}; SET search_path = {schema}"
        );
        postgres.run(&begin).unwrap_or_else(|error| panic!("{error}"));
        Some(postgres)
    }

    pub fn run(&self, sql: &str) -> Result<(), String> {
        self.client.query(sql).map(drop).map_err(|error| describe(&error))
    }

    /// The rows; NULL reads `NULL`. An error begins with its SQLSTATE.
    pub fn rows(&self, sql: &str) -> Result<Vec<Vec<String>>, String> {
        let rows = self.client.query(sql).map_err(|error| describe(&error))?;
        Ok(rows
            .into_iter()
            .map(|row| row.into_iter().map(|value| value.unwrap_or("NULL".to_owned())).collect())
            .collect())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The whole cluster is thrown away later; this only keeps it small.
        drop(self.run(&format!("DROP SCHEMA {} CASCADE", self.schema)));
    }
}
