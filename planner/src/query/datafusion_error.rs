//! DataFusion's errors in PostgreSQL's words.

use datafusion::common::DataFusionError;

use crate::{Error, error::ErrorKind};

/// Our own errors come out as they went in.
pub(crate) fn translate(error: DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(error) => *error,
            Err(inner) => Error::internal(inner.to_string()),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => translate(*inner),
        DataFusionError::NotImplemented(text) => Error::new(ErrorKind::Unsupported, text),
        other => Error::internal(other.to_string()),
    }
}
