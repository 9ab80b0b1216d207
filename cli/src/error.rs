//! How a command fails: with a line on stderr and exit code 1.

use std::path::PathBuf;

/// Why a command ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A file can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A setting can't be used.
    #[error("{0}")]
    Setting(String),
    /// The engine said no.
    #[error("{0}")]
    Engine(#[from] engine::Error),
    /// The server said no.
    #[error("{0}")]
    Server(#[from] ::server::Error),
    /// The process's surroundings: threads, signals, the terminal.
    #[error("{what}: {source}")]
    Process {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The demo's broker, or its own check.
    #[error("{0}")]
    Demo(String),
    /// The benchmark said no.
    #[error("{0}")]
    Bench(String),
    /// Everything has been said on the way.
    #[error("failed")]
    Reported,
}

impl Failure {
    /// A file that couldn't be used.
    pub(crate) fn file(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::File { path: path.into(), source }
    }
}
