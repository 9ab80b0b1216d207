//! `millrace bench`: hands its arguments to the crate that measures.

use crate::error::Failure;

pub(crate) use ::bench::Arguments;

/// Measures, and prints what came out.
pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    ::bench::run(arguments).map_err(|error| Failure::Bench(error.to_string()))
}
