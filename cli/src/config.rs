//! Every setting of a server, in one place: a flag, else its `MILLRACE_…` variable, else the config file, else the default.
//!
//! The config file is TOML with the flags' names, dashes as underscores:
//!
//! ```toml
//! data_dir = "/var/lib/millrace"
//! sql_addr = "127.0.0.1:6565"
//! memory_budget = "8GiB"
//! init = ["schema.sql"]
//! ```

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ::server::ServerSettings;
use clap::Args;
use serde::Deserialize;

use crate::error::Failure;
use crate::units::{Bytes, Span};

/// What the command line, the environment and the file may say; each knows only some of it.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerArguments {
    /// Where everything durable lies [default: millrace-data]
    #[arg(long, env = "MILLRACE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where PostgreSQL's protocol is spoken [default: 127.0.0.1:6565]
    #[arg(long, env = "MILLRACE_SQL_ADDR", value_name = "ADDRESS")]
    sql_addr: Option<SocketAddr>,
    /// Where HTTP is spoken: health, metrics, /api/sql [default: 127.0.0.1:6566]
    #[arg(long, env = "MILLRACE_HTTP_ADDR", value_name = "ADDRESS")]
    http_addr: Option<SocketAddr>,
    /// A TOML file with the same names
    #[arg(long, env = "MILLRACE_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Memory for state, view overlays and the store's caches [default: 4GiB]
    #[arg(long, env = "MILLRACE_MEMORY_BUDGET", value_name = "SIZE")]
    memory_budget: Option<Bytes>,
    /// Memory for ad-hoc queries [default: 1GiB]
    #[arg(long, env = "MILLRACE_QUERY_MEMORY", value_name = "SIZE")]
    query_memory: Option<Bytes>,
    /// Views that are built at the same time; others wait for their turn [default: one a core, 2 to 8]
    #[arg(long, env = "MILLRACE_CONCURRENT_BUILDS", value_name = "N")]
    concurrent_builds: Option<usize>,
    /// Threads that step operators [default: one a core, at most 16]
    #[arg(long, env = "MILLRACE_WORKERS", value_name = "N")]
    workers: Option<usize>,
    /// Time between checkpoints while there is input [default: 1s]
    #[arg(long, env = "MILLRACE_CHECKPOINT_INTERVAL", value_name = "SPAN")]
    checkpoint_interval: Option<Span>,
    /// Changes that make a checkpoint due before its time [default: 256MiB]
    #[arg(long, env = "MILLRACE_CHECKPOINT_BYTES", value_name = "SIZE")]
    checkpoint_bytes: Option<Bytes>,
    /// Time between the durable commits that sinks wait for under load [default: 100ms]
    #[arg(long, env = "MILLRACE_SINK_COMMIT_INTERVAL", value_name = "SPAN")]
    sink_commit_interval: Option<Span>,
    /// Rows taken into one epoch at most [default: 131072]
    #[arg(long, env = "MILLRACE_EPOCH_ROWS", value_name = "N")]
    epoch_rows: Option<usize>,
    /// Bytes of decoded rows taken into one epoch at most [default: 64MiB]
    #[arg(long, env = "MILLRACE_EPOCH_BYTES", value_name = "SIZE")]
    epoch_bytes: Option<Bytes>,
    /// Clients connected at a time [default: 1000]
    #[arg(long, env = "MILLRACE_MAX_CONNECTIONS", value_name = "N")]
    max_connections: Option<usize>,
    /// The longest message that a client may send [default: 64MiB]
    #[arg(long, env = "MILLRACE_MAX_MESSAGE", value_name = "SIZE")]
    max_message: Option<Bytes>,
    /// Listens on other addresses than loopback although there is no authentication and no TLS
    #[arg(long, env = "MILLRACE_INSECURE")]
    #[serde(default)]
    insecure: bool,
    /// SQL that runs before the server takes connections; may be given several times. Statements should say IF NOT EXISTS
    #[arg(long, env = "MILLRACE_INIT", value_name = "FILE.sql", value_delimiter = ',')]
    #[serde(default)]
    init: Vec<PathBuf>,
}

/// What a server runs with.
#[derive(Clone, Debug)]
pub(crate) struct ServerConfig {
    /// The engine's part.
    pub(crate) engine: engine::Settings,
    /// The network's part.
    pub(crate) server: ServerSettings,
    /// Scripts to run first.
    pub(crate) init: Vec<PathBuf>,
}

/// Where a server keeps its data unless told otherwise.
const DEFAULT_DATA_DIR: &str = "millrace-data";

/// More threads than this have nothing to take: state is split into that many shards.
const MAX_WORKERS: usize = 16;

/// Below this not even one batch for each shard fits.
const MIN_MEMORY_BUDGET_BYTES: usize = 1 << 20;

impl ServerArguments {
    /// All three places together, checked.
    pub(crate) fn resolve(self) -> Result<ServerConfig, Failure> {
        let file = match &self.config {
            Some(path) => Self::from_file(path)?,
            None => Self::default(),
        };
        let default = engine::Settings::default();
        let network = ServerSettings::default();
        let workers = self.workers.or(file.workers).unwrap_or(default.workers);
        let budget = self.memory_budget.or(file.memory_budget).map_or(default.memory_budget_bytes, |size| size.0);
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(Failure::Setting(format!("workers is {workers}, but must be from 1 to {MAX_WORKERS}")));
        }
        if budget < MIN_MEMORY_BUDGET_BYTES {
            let least = Bytes(MIN_MEMORY_BUDGET_BYTES);
            return Err(Failure::Setting(format!("memory-budget is {}, but must be at least {least}", Bytes(budget))));
        }
        let data_dir = self.data_dir.or(file.data_dir).unwrap_or_else(|| DEFAULT_DATA_DIR.into());
        let span = |flag: Option<Span>, file: Option<Span>, default| flag.or(file).map_or(default, |span| span.0);
        let size = |flag: Option<Bytes>, file: Option<Bytes>, default| flag.or(file).map_or(default, |size| size.0);
        let engine = engine::Settings {
            data_dir: Some(data_dir),
            memory_budget_bytes: budget,
            workers,
            checkpoint_interval: span(self.checkpoint_interval, file.checkpoint_interval, default.checkpoint_interval),
            checkpoint_bytes: size(self.checkpoint_bytes, file.checkpoint_bytes, default.checkpoint_bytes),
            sink_commit_interval: span(
                self.sink_commit_interval,
                file.sink_commit_interval,
                default.sink_commit_interval,
            ),
            epoch_rows: self.epoch_rows.or(file.epoch_rows).unwrap_or(default.epoch_rows),
            epoch_bytes: size(self.epoch_bytes, file.epoch_bytes, default.epoch_bytes),
            concurrent_builds: self.concurrent_builds.or(file.concurrent_builds).unwrap_or(default.concurrent_builds),
            query_memory_bytes: size(self.query_memory, file.query_memory, default.query_memory_bytes),
            subscriber_bytes: default.subscriber_bytes,
            offline: false,
        };
        if engine.concurrent_builds == 0 {
            return Err(Failure::Setting("concurrent-builds must be above 0".to_owned()));
        }
        if engine.epoch_rows == 0 || engine.epoch_bytes == 0 {
            return Err(Failure::Setting("epoch-rows and epoch-bytes must be above 0".to_owned()));
        }
        Ok(ServerConfig {
            engine,
            server: ServerSettings {
                sql_addr: self.sql_addr.or(file.sql_addr).unwrap_or(network.sql_addr),
                http_addr: self.http_addr.or(file.http_addr).unwrap_or(network.http_addr),
                insecure: self.insecure || file.insecure,
                max_connections: self.max_connections.or(file.max_connections).unwrap_or(network.max_connections),
                max_message_bytes: size(self.max_message, file.max_message, network.max_message_bytes),
            },
            init: if self.init.is_empty() { file.init } else { self.init },
        })
    }

    fn from_file(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, error))?;
        toml::from_str(&text).map_err(|error| Failure::Setting(format!("{}: {error}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = file("workers = 3\nmemory_budget = \"64MiB\"\nsql_addr = \"127.0.0.1:1\"\ninit = [\"a.sql\"]\n");
        let arguments =
            ServerArguments { workers: Some(2), config: Some(file.path().to_owned()), ..ServerArguments::default() };
        let config = arguments.resolve().unwrap();
        assert_eq!(config.engine.workers, 2);
        assert_eq!(config.engine.memory_budget_bytes, 64 << 20);
        assert_eq!(config.server.sql_addr.port(), 1);
        assert_eq!(config.server.http_addr.port(), 6566);
        assert_eq!(config.init, [PathBuf::from("a.sql")]);
        assert!(!config.server.insecure);
    }

    #[test]
    fn a_wrong_name_in_the_file_is_an_error_that_names_it() {
        let file = file("wrokers = 3\n");
        let arguments = ServerArguments { config: Some(file.path().to_owned()), ..ServerArguments::default() };
        let message = arguments.resolve().unwrap_err().to_string();
        assert!(message.contains("wrokers"), "{message}");
    }

    #[test]
    fn impossible_settings_are_refused() {
        for arguments in [
            ServerArguments { workers: Some(0), ..ServerArguments::default() },
            ServerArguments { workers: Some(17), ..ServerArguments::default() },
            ServerArguments { memory_budget: Some(Bytes(1_000)), ..ServerArguments::default() },
            ServerArguments { epoch_rows: Some(0), ..ServerArguments::default() },
        ] {
            assert!(arguments.resolve().is_err());
        }
    }
}
