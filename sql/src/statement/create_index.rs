//! `CREATE INDEX [IF NOT EXISTS] [name] ON relation (columns)`.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::cursor::Cursor;
use crate::{Error, Result};

/// CREATE INDEX.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateIndex {
    /// Its name; `None`: one is made up.
    pub name: Option<ObjectName>,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// The relation.
    pub on: ObjectName,
    /// Its columns.
    pub columns: Vec<Ident>,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<CreateIndex> {
    let start = cursor.here();
    if cursor.word("UNIQUE") {
        return Err(Error::unsupported("CREATE UNIQUE INDEX", start).with_hint("A PRIMARY KEY is unique."));
    }
    cursor.expect("INDEX")?;
    // No index blocks writes here, so that CONCURRENTLY says nothing new.
    cursor.word("CONCURRENTLY");
    let if_not_exists = cursor.if_not_exists();
    let name = if cursor.peek_words(&["ON"]) { None } else { Some(cursor.name("a name for the index, or ON")?) };
    cursor.expect("ON")?;
    let on = cursor.name("the name of a relation")?;
    let span = cursor.here();
    if cursor.word("USING") {
        let method = cursor.ident("btree")?;
        if !method.value.eq_ignore_ascii_case("btree") {
            return Err(Error::unsupported(&format!("index method {}", method.value), span));
        }
    }
    cursor.expect_token(&Token::LParen)?;
    let mut columns = Vec::new();
    loop {
        columns.push(column(cursor)?);
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)?;
    for word in ["INCLUDE", "WHERE", "WITH", "TABLESPACE", "NULLS"] {
        if cursor.peek_words(&[word]) {
            return Err(Error::unsupported(&format!("CREATE INDEX … {word}"), cursor.here()));
        }
    }
    Ok(CreateIndex { name, if_not_exists, on, columns })
}

fn column(cursor: &mut Cursor<'_>) -> Result<Ident> {
    let span = cursor.here();
    let unsupported = |what: &str| Err(Error::unsupported(&format!("an index on {what}"), span));
    if *cursor.peek() == Token::LParen {
        return unsupported("an expression");
    }
    let column = cursor.ident("a column name")?;
    if *cursor.peek() == Token::LParen {
        return unsupported("an expression");
    }
    cursor.word("ASC");
    if cursor.peek_words(&["DESC"]) || cursor.peek_words(&["NULLS"]) || cursor.peek_words(&["COLLATE"]) {
        return unsupported("columns in another order than ascending");
    }
    Ok(column)
}
