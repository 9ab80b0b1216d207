//! `CREATE SINK [IF NOT EXISTS] name FROM relation WITH (…)`.

use datafusion::sql::sqlparser::ast::ObjectName;

use super::options::{self, Options};
use crate::cursor::Cursor;
use crate::{Error, Result};

/// CREATE SINK.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateSink {
    /// Its name.
    pub name: ObjectName,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// The relation whose changes go out.
    pub from: ObjectName,
    /// The WITH list.
    pub options: Options,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<CreateSink> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name("a name for the sink")?;
    if cursor.peek_words(&["AS"]) {
        let advice = "Make a materialized view or a stream of the query, and the sink FROM it.";
        return Err(Error::unsupported("CREATE SINK … AS", cursor.here()).with_hint(advice));
    }
    cursor.expect("FROM")?;
    let from = cursor.name("the name of a relation")?;
    let mut options = Options::default();
    options::parse(cursor, &mut options)?;
    Ok(CreateSink { name, if_not_exists, from, options })
}
