//! A query, with the dialect's `EMIT CHANGES` and `EMIT ON WINDOW CLOSE` behind it.

use datafusion::sql::sqlparser::ast;

use crate::cursor::Cursor;
use crate::{Error, Result, Span};

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// What PostgreSQL knows of it.
    pub query: Box<ast::Query>,
    /// Its text, without EMIT.
    pub text: String,
    /// EMIT, with where it stands.
    pub emit: Option<(Emit, Span)>,
}

/// When results come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// `EMIT CHANGES`: each change, as it happens.
    Changes,
    /// `EMIT ON WINDOW CLOSE`: each window once, when it is complete.
    OnWindowClose,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Query> {
    let (query, text) = cursor.query()?;
    let mut query = Query { query, text, emit: None };
    parse_emit(cursor, &mut query)?;
    Ok(query)
}

/// EMIT, if it is there.
pub(crate) fn parse_emit(cursor: &mut Cursor<'_>, query: &mut Query) -> Result<()> {
    let span = cursor.here();
    if !cursor.emit() {
        return Ok(());
    }
    let emit = if cursor.word("CHANGES") {
        Emit::Changes
    } else {
        cursor.words(&["ON", "WINDOW", "CLOSE"]);
        Emit::OnWindowClose
    };
    if query.emit.is_some() {
        return Err(Error::syntax("EMIT is given twice", span));
    }
    query.emit = Some((emit, span));
    Ok(())
}
