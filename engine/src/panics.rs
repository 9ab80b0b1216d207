//! A panic is a bug, and an error of the part in which it happened: the process, the data and everybody else go on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Error, Result};

/// Does some work; a panic in it is an internal error, after which what it worked on is not used any more.
pub(crate) fn contained<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done,
        Err(panic) => Err(Error::internal(format!("{what} panicked: {}", message(&*panic)))),
    }
}

/// What a panic said.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it said nothing")
}

#[cfg(test)]
mod tests {
    use super::contained;
    use crate::ErrorKind;

    #[test]
    fn a_panic_is_an_error_that_says_what_it_said() {
        assert_eq!(contained("a test", || Ok(1)).expect("it doesn't panic"), 1);
        let error = contained("a test", || -> crate::Result<()> { panic!("index {}", 7) }).expect_err("it panics");
        assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Internal, "a test panicked: index 7"));
    }
}
