//! What can go wrong in the server itself, and how any error looks on the wire.

use std::net::SocketAddr;

use pgwire::messages::response::{ErrorResponse, NoticeResponse};

use crate::sqlstate::sqlstate;

/// Why a server can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address other machines could reach, without anything to keep them out.
    #[error(
        "refusing to listen on {0}: this version has neither authentication nor TLS, so it only listens on loopback addresses; \
         pass --insecure to let everyone who can reach {0} do everything"
    )]
    NotLoopback(SocketAddr),
    /// The address is taken or may not be used.
    #[error("can't listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The metrics registry belongs to someone else in this process.
    #[error("can't record metrics: {0}")]
    Metrics(String),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireError {
    /// Five characters from [`crate::sqlstate`].
    pub(crate) code: &'static str,
    /// What was wrong.
    pub(crate) message: String,
    /// More about it.
    pub(crate) detail: Option<String>,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// Where in the text, in characters from 1.
    pub(crate) position: Option<usize>,
    /// What of a table it is about.
    pub(crate) subject: Option<Box<engine::error::Subject>>,
}

impl WireError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: None, hint: None, position: None, subject: None }
    }

    /// With what to do.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What the engine said about a statement of `text`.
    pub(crate) fn of_engine(error: engine::Error, text: &str) -> Self {
        Self {
            code: sqlstate(error.kind),
            position: error.position.map(|offset| character_position(text, offset)),
            message: error.message,
            detail: error.detail,
            hint: error.hint,
            subject: error.subject,
        }
    }

    /// The message of a statement that failed.
    pub(crate) fn response(self) -> ErrorResponse {
        ErrorResponse::new(self.fields("ERROR"))
    }

    /// The message before the server hangs up.
    pub(crate) fn fatal(self) -> ErrorResponse {
        ErrorResponse::new(self.fields("FATAL"))
    }

    fn fields(self, severity: &str) -> Vec<(u8, String)> {
        let mut fields = vec![
            (b'S', severity.to_owned()),
            (b'V', severity.to_owned()),
            (b'C', self.code.to_owned()),
            (b'M', self.message),
        ];
        fields.extend(self.detail.map(|detail| (b'D', detail)));
        fields.extend(self.hint.map(|hint| (b'H', hint)));
        fields.extend(self.position.map(|position| (b'P', position.to_string())));
        if let Some(subject) = self.subject {
            fields.extend([(b's', subject.schema), (b't', subject.table)]);
            fields.extend(subject.column.map(|column| (b'c', column)));
            fields.extend(subject.constraint.map(|constraint| (b'n', constraint)));
        }
        // A zero byte would end the field early.
        for (_, value) in &mut fields {
            value.retain(|character| character != '\0');
        }
        fields
    }
}

/// A notice as it goes out.
pub(crate) fn notice_response(notice: engine::Notice) -> NoticeResponse {
    let mut fields = vec![
        (b'S', notice.severity.to_owned()),
        (b'V', notice.severity.to_owned()),
        (b'C', notice.code.to_owned()),
        (b'M', notice.message),
    ];
    fields.extend(notice.hint.map(|hint| (b'H', hint)));
    NoticeResponse::new(fields)
}

/// PostgreSQL counts positions in characters from 1, the engine in bytes from 0.
pub(crate) fn character_position(text: &str, offset: usize) -> usize {
    text.char_indices().take_while(|(start, _)| *start < offset).count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_not_bytes() {
        let text = "select 'é', nosuch";
        let offset = text.find("nosuch").expect("it is there");
        assert_eq!(offset, 13);
        assert_eq!(character_position(text, offset), 13);
        assert_eq!(character_position("", 0), 1);
        assert_eq!(character_position("abc", 99), 4);
    }

    #[test]
    fn an_error_has_its_fields_in_postgresqls_order() {
        let error = engine::Error::new(engine::ErrorKind::UndefinedColumn, "column \"nosuch\" does not exist")
            .with_hint("did you mean \"such\"?")
            .at(7);
        let fields = WireError::of_engine(error, "select nosuch").response().fields;
        let text: Vec<String> = fields.iter().map(|(code, value)| format!("{}{value}", *code as char)).collect();
        assert_eq!(
            text,
            ["SERROR", "VERROR", "C42703", "Mcolumn \"nosuch\" does not exist", "Hdid you mean \"such\"?", "P8"]
        );
    }
}
