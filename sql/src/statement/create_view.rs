//! `CREATE [OR REPLACE] VIEW name [(columns)] AS query` and `CREATE [OR REPLACE] MATERIALIZED VIEW … AS query [EMIT ON WINDOW CLOSE]`.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::options::{self, Options};
use super::query::{self, Query};
use crate::cursor::Cursor;
use crate::{Error, Result};

/// CREATE VIEW.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateView {
    /// Its name.
    pub name: ObjectName,
    /// OR REPLACE.
    pub or_replace: bool,
    /// IF NOT EXISTS, which PostgreSQL doesn't have here.
    pub if_not_exists: bool,
    /// Names for the columns; empty: the query's.
    pub columns: Vec<Ident>,
    /// The query.
    pub query: Query,
}

/// CREATE MATERIALIZED VIEW.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateMaterializedView {
    /// Its name.
    pub name: ObjectName,
    /// OR REPLACE, which PostgreSQL doesn't have here.
    pub or_replace: bool,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// Names for the columns; empty: the query's.
    pub columns: Vec<Ident>,
    /// The WITH list.
    pub options: Options,
    /// The query.
    pub query: Query,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>, or_replace: bool) -> Result<CreateView> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name("a name for the view")?;
    let columns = column_names(cursor)?;
    if cursor.peek_words(&["WITH"]) {
        return Err(Error::unsupported("WITH options of a view", cursor.here()));
    }
    cursor.expect("AS")?;
    let query = query::parse(cursor)?;
    if cursor.peek_words(&["WITH"]) {
        return Err(Error::unsupported("WITH CHECK OPTION", cursor.here()));
    }
    Ok(CreateView { name, or_replace, if_not_exists, columns, query })
}

pub(crate) fn parse_materialized(cursor: &mut Cursor<'_>, or_replace: bool) -> Result<CreateMaterializedView> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name("a name for the materialized view")?;
    let columns = column_names(cursor)?;
    let mut options = Options::default();
    options::parse(cursor, &mut options)?;
    cursor.expect("AS")?;
    let mut query = query::parse(cursor)?;
    let span = cursor.here();
    if cursor.words(&["WITH", "NO", "DATA"]) {
        return Err(
            Error::unsupported("WITH NO DATA", span).with_hint("A materialized view is always kept up to date.")
        );
    }
    cursor.words(&["WITH", "DATA"]);
    query::parse_emit(cursor, &mut query)?;
    Ok(CreateMaterializedView { name, or_replace, if_not_exists, columns, options, query })
}

fn column_names(cursor: &mut Cursor<'_>) -> Result<Vec<Ident>> {
    if *cursor.peek() == Token::LParen { cursor.ident_list("a column name") } else { Ok(Vec::new()) }
}
