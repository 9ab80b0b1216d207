//! What can go wrong while an epoch is computed.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// An error of this crate.
///
/// After an error from [`crate::Graph::step`] some operators have taken the epoch in and others have not: the graph must be
/// built anew from the last checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A kernel failed: an overflow, a division by zero, a cast.
    #[error("{0}")]
    Arrow(#[from] ArrowError),
    /// An expression could not be built or failed on a row.
    #[error("{0}")]
    Expression(#[from] Box<DataFusionError>),
    /// The delta algebra failed.
    #[error("{0}")]
    Delta(#[from] delta::Error),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] storage::Error),
    /// A number left the range of its type.
    #[error("{what} out of range")]
    OutOfRange {
        /// The SQL type, as PostgreSQL names it.
        what: &'static str,
    },
    /// Stored state can't be read.
    #[error("state is corrupt: {0}")]
    Corrupt(String),
    /// What a plan promised doesn't hold: a fault of the planner, or of whoever feeds the graph.
    #[error("broken promise: {0}")]
    Broken(String),
    /// Nobody wants what was computed any more ([`StepContext::stopped`](crate::operator::StepContext::stopped)).
    #[error("the step was stopped")]
    Stopped,
    /// A plan asks for what no operator does.
    #[error("{0} is not supported")]
    Unsupported(String),
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::ArrowError(arrow, _) => Self::Arrow(*arrow),
            other => Self::Expression(Box::new(other)),
        }
    }
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
