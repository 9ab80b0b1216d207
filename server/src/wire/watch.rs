//! What can end a running statement from outside: a cancel request, its timeout, a client that has gone, the server's end.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use engine::{Cancel, ErrorKind};
use tokio::sync::watch;
use tokio::time::Instant;

use super::socket::Socket;
use crate::error::WireError;
use crate::server::stopped;
use crate::sqlstate;

/// Why nothing more can be done for a statement.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The client is told.
    Statement(WireError),
    /// There is nobody to tell.
    Gone,
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Statement(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

/// Watches over one statement.
pub(crate) struct Watch {
    cancel: Cancel,
    deadline: Option<Instant>,
    shutdown: watch::Receiver<bool>,
}

enum Stop {
    Gone,
    Cancelled,
    TimedOut,
    ShuttingDown,
}

impl Watch {
    /// From now; `timeout` is `statement_timeout`.
    pub(crate) fn new(cancel: Cancel, timeout: Option<Duration>, shutdown: watch::Receiver<bool>) -> Self {
        cancel.reset();
        Self { cancel, deadline: timeout.map(|timeout| Instant::now() + timeout), shutdown }
    }

    /// Runs what must not be dropped half-way (a commit may be in it): it is asked to stop, and waited for.
    pub(crate) async fn finish<T>(
        &self,
        socket: &mut Socket,
        text: &str,
        future: impl Future<Output = engine::Result<T>>,
    ) -> Result<T, Failure> {
        let mut future = pin!(future);
        // What needs no waiting, such as a point query, pays for none of this.
        if let Poll::Ready(result) = futures::poll!(&mut future) {
            return result.map_err(|error| WireError::of_engine(error, text).into());
        }
        let stop = match socket.flush().await {
            Err(_) => Stop::Gone,
            Ok(()) => tokio::select! {
                biased;
                result = &mut future => return result.map_err(|error| WireError::of_engine(error, text).into()),
                () = socket.gone() => Stop::Gone,
                () = until(self.deadline) => Stop::TimedOut,
            },
        };
        self.cancel.cancel();
        let result = future.await;
        match (stop, result) {
            (Stop::Gone, _) => Err(Failure::Gone),
            (_, Ok(value)) => Ok(value),
            (Stop::TimedOut, Err(error)) if error.kind == ErrorKind::QueryCancelled => Err(timed_out().into()),
            (_, Err(error)) => Err(WireError::of_engine(error, text).into()),
        }
    }

    /// Waits for something that may be dropped: the next rows of a query.
    pub(crate) async fn wait<T>(&self, socket: &mut Socket, future: impl Future<Output = T>) -> Result<T, Failure> {
        if self.cancel.is_cancelled() {
            return Err(cancelled().into());
        }
        let mut future = pin!(future);
        if let Poll::Ready(value) = futures::poll!(&mut future) {
            return Ok(value);
        }
        // Rows that have come are shown before waiting for more.
        socket.flush().await?;
        let mut shutdown = self.shutdown.clone();
        let stop = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Stop::Cancelled,
            value = &mut future => return Ok(value),
            () = socket.gone() => Stop::Gone,
            () = until(self.deadline) => Stop::TimedOut,
            () = stopped(&mut shutdown) => Stop::ShuttingDown,
        };
        match stop {
            Stop::Gone => Err(Failure::Gone),
            Stop::Cancelled => Err(cancelled().into()),
            Stop::TimedOut => Err(timed_out().into()),
            Stop::ShuttingDown => Err(shutting_down().into()),
        }
    }

    /// Fails if the statement's time is over; for loops that never wait.
    pub(crate) fn check_time(&self) -> Result<(), Failure> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(timed_out().into()),
            _ => Ok(()),
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn cancelled() -> WireError {
    WireError::new(sqlstate::sqlstate(ErrorKind::QueryCancelled), "canceling statement due to user request")
}

fn timed_out() -> WireError {
    WireError::new(sqlstate::sqlstate(ErrorKind::QueryCancelled), "canceling statement due to statement timeout")
}

/// What every client hears when the server ends.
pub(crate) fn shutting_down() -> WireError {
    WireError::new(sqlstate::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}

/// A duration setting as SHOW prints it (`0`, `1500ms`, `5s`, `2min`): `None` for 0, which switches it off.
pub(crate) fn timeout_setting(text: Option<&str>) -> Option<Duration> {
    let text = text?.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (amount, unit) = text.split_at(digits);
    let amount: u64 = amount.parse().ok()?;
    let us = match unit.trim() {
        "us" => 1,
        "" | "ms" => 1000,
        "s" => 1_000_000,
        "min" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    (amount > 0).then(|| Duration::from_micros(amount.saturating_mul(us)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_have_units() {
        assert_eq!(timeout_setting(Some("0")), None);
        assert_eq!(timeout_setting(None), None);
        assert_eq!(timeout_setting(Some("250")), Some(Duration::from_millis(250)));
        assert_eq!(timeout_setting(Some("5s")), Some(Duration::from_secs(5)));
        assert_eq!(timeout_setting(Some("2min")), Some(Duration::from_secs(120)));
    }
}
