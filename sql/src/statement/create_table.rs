//! `CREATE TABLE [IF NOT EXISTS] name (columns …) [INCLUDE …] [WITH (…)]`: filled by DML, or by an upsert topic.

use datafusion::sql::sqlparser::ast::ObjectName;

use super::columns::{self, Elements, IncludeClause};
use super::options::{self, Options};
use crate::cursor::Cursor;
use crate::{Error, Result};

/// CREATE TABLE.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    /// Its name.
    pub name: ObjectName,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// Columns and key.
    pub elements: Elements,
    /// Metadata columns.
    pub includes: Vec<IncludeClause>,
    /// The WITH list; empty for a table filled by DML.
    pub options: Options,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<CreateTable> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name("a name for the table")?;
    let start = cursor.here();
    if cursor.peek_words(&["AS"]) {
        let advice = "Use CREATE MATERIALIZED VIEW, or CREATE TABLE and INSERT … SELECT.";
        return Err(Error::unsupported("CREATE TABLE AS", start).with_hint(advice));
    }
    let elements = columns::parse(cursor)?;
    let includes = columns::parse_includes(cursor)?;
    let mut options = Options::default();
    options::parse(cursor, &mut options)?;
    for word in ["INHERITS", "PARTITION", "USING", "TABLESPACE", "ON"] {
        if cursor.peek_words(&[word]) {
            return Err(Error::unsupported(&format!("CREATE TABLE … {word}"), cursor.here()));
        }
    }
    Ok(CreateTable { name, if_not_exists, elements, includes, options })
}
