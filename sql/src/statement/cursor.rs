//! `DECLARE name CURSOR FOR …`, `FETCH`, `MOVE`, `CLOSE`.

use datafusion::sql::sqlparser::ast::Ident;

use super::{Statement, StatementKind};
use crate::cursor::Cursor;
use crate::{Error, Result};

/// DECLARE CURSOR.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclareCursor {
    /// Its name.
    pub name: Ident,
    /// WITH HOLD.
    pub hold: bool,
    /// A query, or SUBSCRIBE.
    pub statement: Statement,
}

/// FETCH and MOVE, forward only.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetch {
    /// The cursor.
    pub name: Ident,
    /// How many rows; `None`: all.
    pub count: Option<u64>,
    /// MOVE.
    pub move_only: bool,
}

/// CLOSE; `None`: ALL.
#[derive(Clone, Debug, PartialEq)]
pub struct CloseCursor(pub Option<Ident>);

pub(crate) fn parse_declare(cursor: &mut Cursor<'_>) -> Result<DeclareCursor> {
    cursor.expect("DECLARE")?;
    let name = cursor.ident("a name for the cursor")?;
    loop {
        let span = cursor.here();
        if cursor.word("SCROLL") {
            return Err(Error::unsupported("SCROLL", span).with_hint("A cursor moves forward only."));
        }
        if cursor.word("BINARY") {
            return Err(Error::unsupported("BINARY cursors", span));
        }
        if !cursor.words(&["NO", "SCROLL"]) && cursor.one_of(&["INSENSITIVE", "ASENSITIVE"]).is_none() {
            break;
        }
    }
    cursor.expect("CURSOR")?;
    let hold = cursor.words(&["WITH", "HOLD"]);
    cursor.words(&["WITHOUT", "HOLD"]);
    cursor.expect("FOR")?;
    let (span, text) = cursor.rest();
    let kind = super::parse(cursor)?;
    if !matches!(kind, StatementKind::Query(_) | StatementKind::Subscribe(_)) {
        return Err(Error::syntax(format!("a cursor reads a query, not {kind}"), span));
    }
    Ok(DeclareCursor { name, hold, statement: Statement { kind, text: text.into(), span } })
}

pub(crate) fn parse_fetch(cursor: &mut Cursor<'_>) -> Result<Fetch> {
    let move_only = cursor.one_of(&["FETCH", "MOVE"]) == Some("MOVE");
    let span = cursor.here();
    for word in ["BACKWARD", "PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE"] {
        if cursor.word(word) {
            return Err(Error::unsupported(&format!("FETCH {word}"), span).with_hint("A cursor moves forward only."));
        }
    }
    let forward = cursor.word("FORWARD");
    let count = if cursor.word("ALL") {
        None
    } else if !forward && cursor.word("NEXT") || cursor.peek_words(&["FROM"]) || cursor.peek_words(&["IN"]) {
        Some(1)
    } else if matches!(cursor.peek(), datafusion::sql::sqlparser::tokenizer::Token::Number(..)) {
        Some(cursor.number("a number of rows")?)
    } else {
        Some(1)
    };
    cursor.one_of(&["FROM", "IN"]);
    Ok(Fetch { name: cursor.ident("the name of a cursor")?, count, move_only })
}

pub(crate) fn parse_close(cursor: &mut Cursor<'_>) -> Result<CloseCursor> {
    cursor.expect("CLOSE")?;
    if cursor.word("ALL") {
        return Ok(CloseCursor(None));
    }
    Ok(CloseCursor(Some(cursor.ident("the name of a cursor")?)))
}
