//! `TRUNCATE [TABLE] name, …`.

use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::cursor::Cursor;
use crate::{Error, Result};

/// TRUNCATE.
#[derive(Clone, Debug, PartialEq)]
pub struct Truncate {
    /// The tables.
    pub names: Vec<ObjectName>,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Truncate> {
    cursor.expect("TRUNCATE")?;
    cursor.word("TABLE");
    cursor.word("ONLY");
    let mut names = vec![cursor.name("the name of a table")?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.name("the name of a table")?);
    }
    let span = cursor.here();
    if cursor.words(&["RESTART", "IDENTITY"]) {
        return Err(Error::unsupported("RESTART IDENTITY", span));
    }
    cursor.words(&["CONTINUE", "IDENTITY"]);
    // No table refers to another one, so that both words mean the same.
    cursor.one_of(&["CASCADE", "RESTRICT"]);
    Ok(Truncate { names })
}
