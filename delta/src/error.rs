//! What can go wrong in the algebra: only Arrow itself.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An Arrow kernel failed: a schema mismatch, an overflow of offsets.
    #[error("{0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
