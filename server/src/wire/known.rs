//! What a connection reads of its session's settings with each statement, made again when they change.

use std::time::Duration;

use engine::Session;

use super::watch::timeout_setting;
use crate::encode::Style;

/// See the module.
#[derive(Debug)]
pub(crate) struct Known {
    version: u64,
    pub(crate) style: Style,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) idle_session_timeout: Option<Duration>,
    pub(crate) idle_in_transaction_timeout: Option<Duration>,
}

impl Known {
    /// As the settings are now.
    pub(crate) fn of(session: &Session) -> Self {
        let timeout = |name| timeout_setting(session.setting(name).as_deref());
        Self {
            version: session.settings_version(),
            style: Style::of(|name| session.setting(name)),
            statement_timeout: timeout("statement_timeout"),
            idle_session_timeout: timeout("idle_session_timeout"),
            idle_in_transaction_timeout: timeout("idle_in_transaction_session_timeout"),
        }
    }

    /// The same, read again if a setting has changed.
    pub(crate) fn current(&mut self, session: &Session) -> &Self {
        if self.version != session.settings_version() {
            *self = Self::of(session);
        }
        self
    }
}
