//! The extended query protocol: named statements and portals, row limits, pipelines that end at Sync.

use std::sync::Arc;
use std::time::Instant;

use engine::{Parameter, Prepared, Response, ResultColumn, TransactionStatus, type_numbers};
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};

use super::connection::Connection;
use super::message::{Bind, Target};
use super::rows::{ROWS_AT_ONCE, Sending, Sent, append_rows, description, select_complete};
use super::watch::Failure;
use crate::decode;
use crate::encode::Format;
use crate::error::WireError;
use crate::sqlstate::{self, sqlstate};

/// Prepared statements and portals that one connection may hold, each: enough for drivers that prepare every text they see, and a bound on
/// what one that never closes them can take.
const MAX_NAMED: usize = 10_000;

/// A statement that a client has prepared.
pub(crate) struct PreparedStatement {
    /// Its text, to which positions in errors refer.
    text: Arc<str>,
    /// `None`: the text holds no statement.
    prepared: Option<Arc<Prepared>>,
}

impl PreparedStatement {
    fn columns(&self) -> Option<&Arc<[ResultColumn]>> {
        self.prepared.as_ref()?.columns.as_ref()
    }
}

/// A statement with its parameters, and how far its result has been read.
pub(crate) struct Portal {
    statement: Arc<PreparedStatement>,
    result_formats: Vec<Format>,
    state: PortalState,
}

enum PortalState {
    /// Not run yet; the parameters wait.
    Bound(Vec<Parameter>),
    /// Rows are on their way.
    Sending(Box<Sending>),
    /// All rows were sent.
    Drained,
    /// It returned no rows and may not be run again.
    Done,
}

impl Connection {
    /// Parse.
    pub(crate) async fn parse(&mut self, name: String, text: String, type_oids: &[u32]) -> Result<(), Failure> {
        if !name.is_empty() && self.statements.contains_key(&name) {
            let code = sqlstate(engine::ErrorKind::DuplicatePreparedStatement);
            return Err(WireError::new(code, format!("prepared statement \"{name}\" already exists")).into());
        }
        if self.statements.len() >= MAX_NAMED {
            return Err(too_many("prepared statements").into());
        }
        let types = type_oids
            .iter()
            .map(|type_oid| type_numbers::parameter_type(*type_oid))
            .collect::<Result<Vec<_>, u32>>()
            .map_err(|unknown| {
                WireError::new(
                    sqlstate::FEATURE_NOT_SUPPORTED,
                    format!("parameters of the type with OID {unknown} are not supported"),
                )
                .with_hint("leave the parameter's type open, or send it as text")
            })?;
        let failed = |error| WireError::of_engine(error, &text);
        let mut statements = self.session.parse(&text).map_err(failed)?;
        let prepared = match statements.len() {
            0 => None,
            1 => {
                let statement = statements.remove(0);
                let watch = self.watch();
                let preparing = self.session.prepare(&statement, &types);
                Some(watch.finish(&mut self.socket, &text, preparing).await?)
            }
            _ => {
                let message = "cannot insert multiple commands into a prepared statement";
                return Err(WireError::new(sqlstate::SYNTAX_ERROR, message).into());
            }
        };
        self.statements.insert(name, Arc::new(PreparedStatement { text: text.into(), prepared }));
        self.socket.send(&ParseComplete::new());
        Ok(())
    }

    /// Bind.
    pub(crate) fn bind(&mut self, bind: Bind) -> Result<(), Failure> {
        let statement = Arc::clone(self.prepared_statement(&bind.statement)?);
        if !bind.portal.is_empty() && self.portals.contains_key(&bind.portal) {
            let code = sqlstate(engine::ErrorKind::DuplicateCursor);
            return Err(WireError::new(code, format!("portal \"{}\" already exists", bind.portal)).into());
        }
        if self.portals.len() >= MAX_NAMED {
            return Err(too_many("portals").into());
        }
        let types = statement.prepared.as_ref().map_or(&[][..], |prepared| &prepared.parameter_types);
        if bind.parameters.len() != types.len() {
            let message = format!(
                "bind message supplies {} parameters, but prepared statement \"{}\" requires {}",
                bind.parameters.len(),
                bind.statement,
                types.len()
            );
            return Err(WireError::new(sqlstate::PROTOCOL_VIOLATION, message).into());
        }
        let formats = spread(&bind.parameter_formats, types.len()).ok_or_else(|| {
            let message = format!(
                "bind message has {} parameter formats but {} parameters",
                bind.parameter_formats.len(),
                types.len()
            );
            WireError::new(sqlstate::PROTOCOL_VIOLATION, message)
        })?;
        let columns = statement.columns().map_or(0, |columns| columns.len());
        let result_formats = spread(&bind.result_formats, columns).ok_or_else(|| {
            let message = format!(
                "bind message has {} result formats but query has {columns} columns",
                bind.result_formats.len()
            );
            WireError::new(sqlstate::PROTOCOL_VIOLATION, message)
        })?;
        let zone = self.style().zone;
        let parameters = bind
            .parameters
            .iter()
            .zip(types)
            .zip(formats)
            .enumerate()
            .map(|(index, ((bytes, sql_type), format))| {
                decode::parameter(bytes.as_deref(), format, sql_type, zone, index + 1)
            })
            .collect::<Result<_, _>>()?;
        self.portals.insert(bind.portal, Portal { statement, result_formats, state: PortalState::Bound(parameters) });
        self.socket.send(&BindComplete::new());
        Ok(())
    }

    /// Describe.
    pub(crate) fn describe(&mut self, target: &Target) -> Result<(), Failure> {
        let (statement, formats) = match target {
            Target::Statement(name) => {
                let statement = Arc::clone(self.prepared_statement(name)?);
                let types = statement.prepared.as_ref().map_or(&[][..], |prepared| &prepared.parameter_types);
                self.socket.send(&ParameterDescription::new(types.iter().map(type_numbers::oid).collect()));
                (statement, Vec::new())
            }
            Target::Portal(name) => {
                let Some(portal) = self.portals.get(name) else {
                    // A cursor is a portal too: drivers ask what they have declared.
                    let columns = self.session.cursor_columns(name).ok_or_else(|| no_portal(name))?;
                    description(&columns, &[], &mut self.socket.output);
                    return Ok(());
                };
                (Arc::clone(&portal.statement), portal.result_formats.clone())
            }
        };
        match statement.columns() {
            Some(columns) => description(columns, &formats, &mut self.socket.output),
            None => self.socket.send(&NoData::new()),
        }
        Ok(())
    }

    /// Execute, if it needs no waiting: a point query that has not begun yet, with few rows. Otherwise nothing has been done, or a part
    /// of it, and [`Connection::execute`] goes on.
    pub(crate) fn execute_now(&mut self, name: &str, max_rows: usize) -> Result<bool, WireError> {
        let Some(portal) = self.portals.get(name) else { return Ok(false) };
        let Some(prepared) = portal.statement.prepared.as_ref().filter(|prepared| prepared.is_point_query()) else {
            return Ok(false);
        };
        if !matches!(portal.state, PortalState::Bound(_)) {
            return Ok(false);
        }
        let begun = Instant::now();
        let prepared = Arc::clone(prepared);
        self.begin_pipeline();
        // Taken out while it runs: an error ends it.
        let Some(mut portal) = self.portals.remove(name) else { return Ok(false) };
        let statement = Arc::clone(&portal.statement);
        let PortalState::Bound(parameters) = &portal.state else { return Ok(false) };
        let failed = |error| WireError::of_engine(error, &statement.text);
        let rows = self.session.execute_now(&prepared, parameters).map_err(failed)?;
        let (Some(rows), Some(columns)) = (rows, &prepared.columns) else {
            self.portals.insert(name.to_owned(), portal);
            return Ok(false);
        };
        if rows.num_rows() > ROWS_AT_ONCE || (max_rows != 0 && rows.num_rows() > max_rows) {
            let formats = portal.result_formats.clone();
            portal.state = PortalState::Sending(Box::new(Sending::of_batch(Arc::clone(columns), rows, formats)));
            self.portals.insert(name.to_owned(), portal);
            return Ok(false);
        }
        let style = self.style();
        append_rows(&rows, columns, &portal.result_formats, &style, &mut self.socket.output).map_err(failed)?;
        self.send_notices();
        select_complete(rows.num_rows(), &mut self.socket.output);
        portal.state = PortalState::Drained;
        self.portals.insert(name.to_owned(), portal);
        self.extended_seconds.record(begun.elapsed().as_secs_f64());
        Ok(true)
    }

    /// Execute.
    pub(crate) async fn execute(&mut self, name: &str, max_rows: usize) -> Result<(), Failure> {
        let begun = Instant::now();
        // Taken out while it runs: an error ends it.
        let mut portal = self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let statement = Arc::clone(&portal.statement);
        let Some(prepared) = &statement.prepared else {
            self.portals.insert(name.to_owned(), portal);
            self.socket.send(&EmptyQueryResponse::new());
            return Ok(());
        };
        let watch = self.watch();
        let style = self.style();
        let text = &statement.text;
        if let PortalState::Bound(parameters) = &mut portal.state {
            let parameters = std::mem::take(parameters);
            self.begin_pipeline();
            let executing = self.session.execute(prepared, parameters);
            portal.state = match watch.finish(&mut self.socket, text, executing).await? {
                Response::Rows(rows) => {
                    PortalState::Sending(Box::new(Sending::new(rows, portal.result_formats.clone())))
                }
                Response::Done { tag } => {
                    self.send_notices();
                    self.socket.send(&CommandComplete::new(tag));
                    portal.state = PortalState::Done;
                    self.portals.insert(name.to_owned(), portal);
                    return Ok(());
                }
                Response::Empty => {
                    self.socket.send(&EmptyQueryResponse::new());
                    portal.state = PortalState::Done;
                    self.portals.insert(name.to_owned(), portal);
                    return Ok(());
                }
            };
        }
        match &mut portal.state {
            PortalState::Sending(sending) => {
                let sent = sending.send(&mut self.socket, &watch, &style, text, max_rows).await?;
                self.send_notices();
                match sent {
                    Sent::Suspended => self.socket.send(&PortalSuspended::new()),
                    Sent::Complete(tag) => {
                        self.socket.send(&CommandComplete::new(tag));
                        portal.state = PortalState::Drained;
                    }
                }
            }
            PortalState::Drained => self.socket.send(&CommandComplete::new("SELECT 0".into())),
            PortalState::Done | PortalState::Bound(_) => {
                let code = sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE;
                return Err(WireError::new(code, format!("portal \"{name}\" cannot be run")).into());
            }
        }
        self.portals.insert(name.to_owned(), portal);
        self.extended_seconds.record(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Close: a name that doesn't exist is no error.
    pub(crate) fn close(&mut self, target: &Target) {
        match target {
            Target::Statement(name) => drop(self.statements.remove(name)),
            Target::Portal(name) => drop(self.portals.remove(name)),
        }
        self.socket.send(&CloseComplete::new());
    }

    /// Sync: the pipeline's transaction ends.
    pub(crate) async fn sync(&mut self) -> Result<(), Failure> {
        self.end_pipeline().await?;
        self.pipeline_ended();
        Ok(())
    }

    /// What follows the end of a pipeline's transaction.
    pub(crate) fn pipeline_ended(&mut self) {
        self.close_portals_after_transaction();
        self.ready();
    }

    /// Several statements up to Sync are one transaction. A statement that is alone, as most are, goes without.
    fn begin_pipeline(&mut self) {
        if self.pipeline.implicit || self.session.transaction_status() != TransactionStatus::Idle {
            return;
        }
        if !self.socket.pipeline_ends_here() {
            self.session.begin_implicit();
            self.pipeline.implicit = true;
        }
    }

    /// A message has failed: the client is told, and the rest up to Sync is skipped.
    pub(crate) fn fail_pipeline(&mut self, error: WireError) -> Result<(), Failure> {
        self.report(error);
        self.fail_open_transaction();
        self.pipeline.failed = true;
        Ok(())
    }

    /// Ends the implicit transaction, if there is one.
    pub(crate) async fn end_pipeline(&mut self) -> Result<(), Failure> {
        let pipeline = std::mem::take(&mut self.pipeline);
        if pipeline.implicit {
            let watch = self.watch();
            let ended = self.session.end_implicit(!pipeline.failed);
            match watch.finish(&mut self.socket, "", ended).await {
                Err(Failure::Statement(error)) => self.report(error),
                other => other?,
            }
        }
        Ok(())
    }

    /// Portals live as long as their transaction.
    pub(crate) fn close_portals_after_transaction(&mut self) {
        if self.session.transaction_status() == TransactionStatus::Idle {
            self.portals.clear();
        }
    }

    fn prepared_statement(&self, name: &str) -> Result<&Arc<PreparedStatement>, WireError> {
        self.statements.get(name).ok_or_else(|| {
            let message = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            WireError::new(sqlstate(engine::ErrorKind::UndefinedPreparedStatement), message)
        })
    }
}

fn no_portal(name: &str) -> WireError {
    WireError::new(sqlstate(engine::ErrorKind::UndefinedCursor), format!("portal \"{name}\" does not exist"))
}

fn too_many(what: &str) -> WireError {
    WireError::new(sqlstate::PROGRAM_LIMIT_EXCEEDED, format!("this connection holds {MAX_NAMED} {what} already"))
        .with_hint("close those that are no longer needed")
}

/// Format codes as Bind gives them: none is text, one is for all, else one each.
fn spread(formats: &[Format], count: usize) -> Option<Vec<Format>> {
    match formats {
        [] => Some(vec![Format::Text; count]),
        [one] => Some(vec![*one; count]),
        each if each.len() == count => Some(each.to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_format_is_for_all() {
        assert_eq!(spread(&[], 2), Some(vec![Format::Text; 2]));
        assert_eq!(spread(&[Format::Binary], 2), Some(vec![Format::Binary; 2]));
        assert_eq!(spread(&[Format::Binary, Format::Text], 2), Some(vec![Format::Binary, Format::Text]));
        assert_eq!(spread(&[Format::Binary, Format::Text], 3), None);
    }
}
