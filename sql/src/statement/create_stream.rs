//! `CREATE STREAM name (columns …) WITH (…)` declares events over a topic; `CREATE STREAM name [WITH (…)] AS query` is a continuous
//! query that is not stored.

use datafusion::sql::sqlparser::ast::ObjectName;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::columns::{self, Elements, IncludeClause};
use super::options::{self, Options};
use super::query::{self, Query};
use crate::Result;
use crate::cursor::Cursor;

/// CREATE STREAM.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateStream {
    /// Its name.
    pub name: ObjectName,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// Columns and watermark; `None` with AS.
    pub elements: Option<Elements>,
    /// Metadata columns.
    pub includes: Vec<IncludeClause>,
    /// The WITH list.
    pub options: Options,
    /// The query.
    pub query: Option<Box<Query>>,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<CreateStream> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name("a name for the stream")?;
    let mut options = Options::default();
    if *cursor.peek() == Token::LParen {
        let elements = Some(columns::parse(cursor)?);
        let includes = columns::parse_includes(cursor)?;
        options::parse(cursor, &mut options)?;
        return Ok(CreateStream { name, if_not_exists, elements, includes, options, query: None });
    }
    options::parse(cursor, &mut options)?;
    cursor.expect("AS")?;
    let query = Some(Box::new(query::parse(cursor)?));
    Ok(CreateStream { name, if_not_exists, elements: None, includes: Vec::new(), options, query })
}
