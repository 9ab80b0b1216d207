//! What is wrong with a text, in PostgreSQL's words.

use thiserror::Error;

use crate::Span;

/// Results of parsing.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a text can't be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct Error {
    /// What is wrong: `syntax error at or near "x"`.
    pub message: String,
    /// What was expected, or probably meant.
    pub hint: Option<String>,
    /// Where, in the whole text.
    pub span: Option<Span>,
    /// The text is SQL, but of a kind that isn't done.
    pub unsupported: bool,
}

impl Error {
    /// A syntax error with a message of its own.
    pub fn syntax(message: impl Into<String>, span: impl Into<Option<Span>>) -> Self {
        Self { message: message.into(), hint: None, span: span.into(), unsupported: false }
    }

    /// SQL that isn't done: `CREATE FUNCTION`.
    pub fn unsupported(construct: &str, span: impl Into<Option<Span>>) -> Self {
        let message = format!("{construct} is not supported");
        Self { message, hint: None, span: span.into(), unsupported: true }
    }

    /// With advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
