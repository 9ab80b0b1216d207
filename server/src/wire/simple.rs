//! The simple query protocol: a script in, each statement's answer out; all of it is one transaction unless it says otherwise.

use std::time::Instant;

use engine::{Response, Statement, TransactionStatus};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};

use super::connection::Connection;
use super::copy_out::copy_out;
use super::rows::{ROWS_AT_ONCE, Sending, Sent, append_rows, description, select_complete};
use super::watch::{Failure, Watch};
use crate::error::WireError;

impl Connection {
    /// Query.
    pub(crate) async fn simple_query(&mut self, text: String) -> Result<(), Failure> {
        let begun = Instant::now();
        // A pipeline that failed ends here too; its implicit transaction ends with it.
        self.end_pipeline().await?;
        // The protocol says that a simple query ends the unnamed statement and portal.
        self.statements.remove("");
        self.portals.remove("");
        match self.script(&text).await {
            Ok(()) => {}
            Err(Failure::Statement(error)) => self.report(error),
            Err(Failure::Gone) => return Err(Failure::Gone),
        }
        self.close_portals_after_transaction();
        self.ready();
        self.simple_seconds.record(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Query, if it is one point query of a shape that is known. Otherwise nothing has been done.
    pub(crate) fn query_now(&mut self, text: &str) -> bool {
        if self.pipeline.implicit || self.pipeline.failed {
            return false;
        }
        let begun = Instant::now();
        let Some((columns, rows)) = self.session.query_now(text) else { return false };
        if rows.num_rows() > ROWS_AT_ONCE {
            return false;
        }
        let style = self.style();
        let before = self.socket.output.len();
        description(&columns, &[], &mut self.socket.output);
        if append_rows(&rows, &columns, &[], &style, &mut self.socket.output).is_err() {
            self.socket.output.truncate(before);
            return false;
        }
        select_complete(rows.num_rows(), &mut self.socket.output);
        self.statements.remove("");
        self.portals.remove("");
        self.pipeline_ended();
        self.simple_seconds.record(begun.elapsed().as_secs_f64());
        true
    }

    async fn script(&mut self, text: &str) -> Result<(), Failure> {
        let statements = match self.session.parse(text) {
            Ok(statements) => statements,
            Err(error) => {
                self.fail_open_transaction();
                return Err(WireError::of_engine(error, text).into());
            }
        };
        if statements.is_empty() {
            self.socket.send(&EmptyQueryResponse::new());
            return Ok(());
        }
        let watch = self.watch();
        let implicit = statements.len() > 1 && self.session.transaction_status() == TransactionStatus::Idle;
        if implicit {
            self.session.begin_implicit();
        }
        let last = statements.len() - 1;
        for (index, statement) in statements.iter().enumerate() {
            let done = self.statement(statement, text, &watch).await;
            match done {
                Ok(tag) => {
                    // What the last statement's tag promises must have happened.
                    if implicit && index == last {
                        let ended = self.session.end_implicit(true);
                        watch.finish(&mut self.socket, text, ended).await?;
                    }
                    self.send_notices();
                    match tag {
                        Some(tag) => self.socket.send(&CommandComplete::new(tag)),
                        None => self.socket.send(&EmptyQueryResponse::new()),
                    }
                }
                Err(failure) => {
                    self.fail_open_transaction();
                    if implicit {
                        // The statement's own error is what the client is told.
                        if let Err(error) = self.session.end_implicit(false).await {
                            tracing::debug!(%error, "an implicit transaction could not be rolled back");
                        }
                    }
                    return Err(failure);
                }
            }
        }
        Ok(())
    }

    /// Runs one statement and sends its rows; returns its tag, or `None` if it was empty.
    async fn statement(&mut self, statement: &Statement, text: &str, watch: &Watch) -> Result<Option<String>, Failure> {
        let running = self.session.run(statement);
        let response = watch.finish(&mut self.socket, text, running).await?;
        Ok(match response {
            Response::Empty => None,
            Response::Done { tag } => Some(tag),
            Response::Rows(rows) if rows.live && self.waits_for_the_end() => {
                self.send_notices();
                let style = self.style();
                Some(copy_out(rows, &mut self.socket, watch, &style, text).await?)
            }
            Response::Rows(rows) => {
                self.send_notices();
                description(&rows.columns, &[], &mut self.socket.output);
                let style = self.style();
                match Sending::new(rows, Vec::new()).send(&mut self.socket, watch, &style, text, 0).await? {
                    Sent::Complete(tag) => Some(tag),
                    Sent::Suspended => unreachable!("there is no row limit"),
                }
            }
        })
    }

    /// After an error in a transaction block nothing but its end is taken.
    pub(crate) fn fail_open_transaction(&mut self) {
        if self.session.transaction_status() == TransactionStatus::Open {
            self.session.fail_transaction();
        }
    }
}
