//! Why a benchmark couldn't be run.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine refused.
    #[error("{what}: {error}")]
    Engine {
        /// What was being done.
        what: String,
        /// Its answer.
        error: Box<engine::Error>,
    },
    /// A name that no query has.
    #[error("no query is called \"{name}\"; there are {known}")]
    UnknownQuery {
        /// As given.
        name: String,
        /// Those that exist.
        known: String,
    },
    /// An option that the source under test needs.
    #[error("{0}")]
    Usage(String),
    /// A broker, or a file, or what is between.
    #[error("{what}: {error}")]
    Outside {
        /// What was being done.
        what: String,
        /// Its answer.
        error: connectors::Error,
    },
    /// The operating system refused.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// Its answer.
        error: std::io::Error,
    },
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }

    pub(crate) fn outside(what: impl Into<String>) -> impl FnOnce(connectors::Error) -> Self {
        let what = what.into();
        move |error| Self::Outside { what, error }
    }

    pub(crate) fn engine(what: impl Into<String>) -> impl FnOnce(engine::Error) -> Self {
        let what = what.into();
        move |error| Self::Engine { what, error: Box::new(error) }
    }
}
