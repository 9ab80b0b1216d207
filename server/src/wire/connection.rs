//! One client's connection, from its first byte to its last: what it has prepared, and the loop over its messages.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use engine::{Session, TransactionStatus};
use metrics::Histogram;
use pgwire::messages::response::{self, ReadyForQuery};
use pgwire::messages::startup::ParameterStatus;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::extended::{Portal, PreparedStatement};
use super::known::Known;
use super::message::{Frame, Message, is_extended};
use super::socket::{Received, Socket};
use super::startup::{self, Opening};
use super::watch::{Failure, Watch, shutting_down};
use crate::encode::Style;
use crate::error::{WireError, notice_response};
use crate::server::{Shared, stopped};
use crate::sqlstate;

/// Time for a client to say who it is, as PostgreSQL's `authentication_timeout`.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

/// A connection whose session has begun.
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    pub(crate) session: Session,
    pub(crate) shutdown: watch::Receiver<bool>,
    /// By name; the unnamed one under the empty name.
    pub(crate) statements: HashMap<String, Arc<PreparedStatement>>,
    /// By name; the unnamed one under the empty name.
    pub(crate) portals: HashMap<String, Portal>,
    pub(crate) pipeline: Pipeline,
    pub(crate) known: Known,
    /// How long statements took, by protocol.
    pub(crate) simple_seconds: Histogram,
    pub(crate) extended_seconds: Histogram,
}

/// Where the extended protocol stands between two Syncs.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    /// A message has failed: everything up to Sync is skipped.
    pub(crate) failed: bool,
    /// Its statements share one implicit transaction.
    pub(crate) implicit: bool,
}

/// What came of a message that was tried without waiting.
enum Handled {
    /// All of it is done.
    Whole(Result<(), Failure>),
    /// Nothing of it is.
    Not(Message),
}

/// Serves one client until it or the server goes.
pub(crate) async fn serve(stream: TcpStream, shared: Arc<Shared>, shutdown: watch::Receiver<bool>) {
    // Small answers should leave at once; a kernel that can't do so still serves.
    let _ = stream.set_nodelay(true);
    let mut socket = Socket::new(stream, shared.settings.max_message_bytes);
    let opening = match tokio::time::timeout(STARTUP_TIMEOUT, startup::open(&mut socket)).await {
        Ok(Ok(opening)) => opening,
        Ok(Err(error)) => return tracing::debug!(%error, "a client's start-up packet can't be read"),
        Err(_) => return tracing::debug!("a client did not say who it is in time"),
    };
    let startup = match opening {
        Opening::Session(startup) => startup,
        Opening::Cancel { process, key } => return shared.cancel_keys.cancel(process, &key),
        Opening::Nothing => return,
    };
    let Ok(_permit) = shared.connections.try_acquire() else {
        return refuse(socket, WireError::new(sqlstate::TOO_MANY_CONNECTIONS, "sorry, too many clients already")).await;
    };
    let (minor, negotiation) = startup::negotiate(&startup);
    if let Some(negotiation) = negotiation {
        socket.send(&negotiation);
    }
    let parameters = match startup::session_parameters(&startup) {
        Ok(parameters) => parameters,
        Err(error) => return refuse(socket, error).await,
    };
    let session = match shared.engine.session(parameters) {
        Ok(session) => session,
        Err(error) => return refuse(socket, WireError::of_engine(error, "")).await,
    };
    let key = match startup::cancel_key(minor) {
        Ok(key) => key,
        Err(error) => return refuse(socket, WireError::new("58000", format!("no random numbers: {error}"))).await,
    };
    let process = session.id();
    shared.cancel_keys.insert(process, key.clone(), session.cancel_handle());
    startup::welcome(&mut socket, session.reported_parameters(), process, key);
    metrics::gauge!("millrace_sql_connections").increment(1.0);
    let mut connection = Connection {
        known: Known::of(&session),
        socket,
        session,
        shutdown,
        statements: HashMap::new(),
        portals: HashMap::new(),
        pipeline: Pipeline::default(),
        simple_seconds: metrics::histogram!("millrace_sql_statement_seconds", "protocol" => "simple"),
        extended_seconds: metrics::histogram!("millrace_sql_statement_seconds", "protocol" => "extended"),
    };
    let _open = Open { shared: Arc::clone(&shared), process };
    connection.ready();
    connection.run().await;
}

/// A connection that is counted, and can be cancelled; also one whose session panics ends so.
struct Open {
    shared: Arc<Shared>,
    process: i32,
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("millrace_sql_connections").decrement(1.0);
        self.shared.cancel_keys.remove(self.process);
    }
}

/// Says why there will be no session.
async fn refuse(mut socket: Socket, error: WireError) {
    socket.send(&error.fatal());
    // The client may have gone already.
    let _ = socket.flush().await;
}

impl Connection {
    /// Until the client leaves, breaks the protocol, or the server ends.
    async fn run(&mut self) {
        let mut shutdown = self.shutdown.clone();
        let mut stopping = pin!(stopped(&mut shutdown));
        while let Ok(Some(received)) = self.next(stopping.as_mut()).await {
            let ended = match received {
                Received::End => break,
                Received::TooLong { kind, bytes } => self.too_long(kind, bytes),
                Received::Frame(frame) => match self.handle_now(frame) {
                    Handled::Whole(result) => result,
                    Handled::Not(message) => self.handle(message).await,
                },
            };
            match ended {
                Ok(()) => {}
                Err(Failure::Gone) => break,
                Err(Failure::Statement(error)) => {
                    self.socket.send(&error.fatal());
                    break;
                }
            }
            // A pipeline of statements that need no waiting may have left more than should gather.
            if self.socket.is_full() && self.socket.flush().await.is_err() {
                break;
            }
        }
        // What was said last; the client may have gone.
        let _ = self.socket.flush().await;
    }

    /// The next message; `None` when the server ends the session instead.
    async fn next(&mut self, stopping: Pin<&mut impl Future<Output = ()>>) -> std::io::Result<Option<Received>> {
        if let Some(frame) = self.socket.whole_frame() {
            return Ok(Some(Received::Frame(frame)));
        }
        let known = self.known.current(&self.session);
        let (timeout, code, what) = match self.session.transaction_status() {
            TransactionStatus::Idle => (known.idle_session_timeout, "57P05", "idle-session timeout"),
            TransactionStatus::Open | TransactionStatus::Failed => (
                known.idle_in_transaction_timeout,
                sqlstate::IDLE_IN_TRANSACTION_TIMEOUT,
                "idle-in-transaction timeout",
            ),
        };
        let idle = async {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let error = tokio::select! {
            biased;
            received = self.socket.receive() => return received.map(Some),
            () = stopping => shutting_down(),
            () = idle => WireError::new(code, format!("terminating connection due to {what}")),
        };
        self.socket.send(&error.fatal());
        Ok(None)
    }

    /// Does what needs no waiting, as all of a point query doesn't: the futures of what may wait are large, and making one costs
    /// more than the query.
    fn handle_now(&mut self, frame: Frame) -> Handled {
        let kind = frame.kind;
        let extended = frame.is_extended();
        if self.pipeline.failed && extended {
            return Handled::Whole(Ok(()));
        }
        let message = match frame.decode() {
            Ok(message) => message,
            Err(error) if extended => return Handled::Whole(self.fail_pipeline(error)),
            Err(error) if matches!(kind, b'Q' | b'F') => return Handled::Whole(self.answer_error(error)),
            Err(error) => return Handled::Whole(Err(error.into())),
        };
        let result = match message {
            Message::Bind(bind) => self.bind(bind),
            Message::Describe(target) => self.describe(&target),
            Message::Close(target) => {
                self.close(&target);
                Ok(())
            }
            Message::Execute { ref portal, max_rows } => match self.execute_now(portal, max_rows) {
                Ok(true) => Ok(()),
                Ok(false) => return Handled::Not(message),
                Err(error) => Err(error.into()),
            },
            Message::Query(ref text) => {
                return if self.query_now(text) { Handled::Whole(Ok(())) } else { Handled::Not(message) };
            }
            Message::Sync if !self.pipeline.implicit => {
                self.pipeline.failed = false;
                self.pipeline_ended();
                Ok(())
            }
            other => return Handled::Not(other),
        };
        Handled::Whole(match result {
            Err(Failure::Statement(error)) => self.fail_pipeline(error),
            other => other,
        })
    }

    async fn handle(&mut self, message: Message) -> Result<(), Failure> {
        let result = match message {
            Message::Query(text) => return self.simple_query(text).await,
            Message::Sync => return self.sync().await,
            Message::Terminate => return Err(Failure::Gone),
            Message::Copy => return Ok(()),
            Message::Flush => return self.socket.flush().await.map_err(Failure::from),
            Message::FunctionCall { oid } => {
                let message = format!("function with OID {oid} does not exist");
                return self.answer_error(WireError::new(sqlstate::UNDEFINED_FUNCTION, message));
            }
            Message::Password => {
                return Err(WireError::new(sqlstate::PROTOCOL_VIOLATION, "no password was asked for").into());
            }
            Message::Parse { statement, text, type_oids } => self.parse(statement, text, &type_oids).await,
            Message::Execute { portal, max_rows } => self.execute(&portal, max_rows).await,
            Message::Bind(_) | Message::Describe(_) | Message::Close(_) => unreachable!("they never wait"),
        };
        match result {
            Err(Failure::Statement(error)) => self.fail_pipeline(error),
            other => other,
        }
    }

    fn too_long(&mut self, kind: u8, bytes: usize) -> Result<(), Failure> {
        let error = WireError::new(
            sqlstate::PROGRAM_LIMIT_EXCEEDED,
            format!(
                "a message of {bytes} bytes is longer than the {} that are allowed",
                self.socket.max_message_bytes()
            ),
        )
        .with_hint("send the data in smaller parts, or start the server with a larger --max-message");
        if is_extended(kind) { self.fail_pipeline(error) } else { self.answer_error(error) }
    }

    /// An error outside of the extended protocol: told, and ready for the next.
    fn answer_error(&mut self, error: WireError) -> Result<(), Failure> {
        self.report(error);
        if self.session.transaction_status() == TransactionStatus::Open {
            self.session.fail_transaction();
        }
        self.ready();
        Ok(())
    }

    /// Tells the client about an error, after the notices that led to it.
    pub(crate) fn report(&mut self, error: WireError) {
        metrics::counter!("millrace_sql_errors_total", "code" => error.code).increment(1);
        self.send_notices();
        self.socket.send(&error.response());
    }

    pub(crate) fn send_notices(&mut self) {
        for notice in self.session.take_notices() {
            self.socket.send(&notice_response(notice));
        }
    }

    /// ReadyForQuery, after the settings that have changed.
    pub(crate) fn ready(&mut self) {
        self.send_notices();
        for (name, value) in self.session.take_parameter_changes() {
            self.socket.send(&ParameterStatus::new(name, value));
        }
        let status = match self.session.transaction_status() {
            TransactionStatus::Idle => response::TransactionStatus::Idle,
            TransactionStatus::Open => response::TransactionStatus::Transaction,
            TransactionStatus::Failed => response::TransactionStatus::Error,
        };
        self.socket.send(&ReadyForQuery::new(status));
    }

    /// Watches over a statement that begins now.
    pub(crate) fn watch(&mut self) -> Watch {
        let timeout = self.known.current(&self.session).statement_timeout;
        Watch::new(self.session.cancel_handle(), timeout, self.shutdown.clone())
    }

    /// How text output looks now.
    pub(crate) fn style(&mut self) -> Style {
        self.known.current(&self.session).style
    }
}
