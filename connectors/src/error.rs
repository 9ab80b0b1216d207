//! What can go wrong at the edge, in terms that a user can act on.

use std::path::PathBuf;

/// An error of this crate. The message says what; [`Error::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name in the WITH list that the connector doesn't have.
    #[error("option \"{option}\" does not exist for connector '{connector}'")]
    UnknownOption {
        /// The connector.
        connector: String,
        /// The name as written.
        option: String,
        /// The known option that looks most like it.
        near: Option<String>,
    },
    /// An option that must be there is not.
    #[error("connector '{connector}' needs the option \"{option}\"")]
    MissingOption {
        /// The connector.
        connector: String,
        /// Its name.
        option: String,
    },
    /// An option's value makes no sense. The value of a secret is not in here.
    #[error("invalid value for option \"{option}\": {reason}")]
    InvalidOption {
        /// Its name.
        option: String,
        /// What was expected, and what was found.
        reason: String,
    },
    /// No such connector.
    #[error("connector '{name}' does not exist")]
    UnknownConnector {
        /// As written.
        name: String,
        /// Those that exist for this use.
        known: &'static [&'static str],
    },
    /// The topic isn't there.
    #[error("topic \"{topic}\" does not exist on {brokers}")]
    UnknownTopic {
        /// Its name.
        topic: String,
        /// Where it was looked for.
        brokers: String,
        /// Topics with similar names.
        near: Vec<String>,
    },
    /// The other side can't be reached, or took too long.
    #[error("cannot reach {what}: {reason}")]
    Unreachable {
        /// The broker.
        what: String,
        /// What the client library says.
        reason: String,
    },
    /// A combination that isn't built.
    #[error("{0}")]
    Unsupported(String),
    /// A declared column that the connector or format can't fill, or a sink's column that it can't write.
    #[error("column \"{column}\": {reason}")]
    Column {
        /// Its name.
        column: String,
        /// Why.
        reason: String,
    },
    /// A Kafka operation failed.
    #[error("{operation}: {reason}")]
    Kafka {
        /// What was tried.
        operation: String,
        /// What the broker or the client library says.
        reason: String,
    },
    /// Another instance of the same sink has started: this one must not write any more.
    #[error("sink \"{sink}\" was taken over by another instance")]
    Fenced {
        /// The sink's name.
        sink: String,
    },
    /// A file operation failed.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A path or pattern that no file matches.
    #[error("no file matches '{0}'")]
    NoFile(String),
    /// Arrow refused to build a batch.
    #[error("{0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl Error {
    /// The option of the WITH list that it is about.
    pub fn option(&self) -> Option<&str> {
        match self {
            Self::UnknownOption { option, .. } | Self::InvalidOption { option, .. } => Some(option),
            Self::MissingOption { .. } | Self::UnknownConnector { .. } => Some("connector"),
            Self::UnknownTopic { .. } => Some("topic"),
            Self::Unreachable { .. } => Some("brokers"),
            Self::NoFile(_) => Some("path"),
            _ => None,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownOption { near: Some(near), .. } => Some(format!("did you mean \"{near}\"?")),
            Self::UnknownConnector { name, known } => {
                let exist = format!("connectors that exist: {}", known.join(", "));
                Some(match crate::options::nearest(name, known) {
                    Some(near) => format!("did you mean '{near}'? {exist}"),
                    None => exist,
                })
            }
            Self::UnknownTopic { near, .. } if !near.is_empty() => {
                Some(format!("topics with similar names: {}", near.join(", ")))
            }
            Self::UnknownTopic { .. } => Some("create the topic first, or check the option \"topic\"".to_owned()),
            Self::Unreachable { .. } => Some("check the option \"brokers\", and that the broker is running".to_owned()),
            Self::NoFile(_) => Some("the path is relative to the server's working directory".to_owned()),
            _ => None,
        }
    }
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
