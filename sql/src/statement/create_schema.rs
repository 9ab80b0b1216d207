//! `CREATE SCHEMA [IF NOT EXISTS] name`.

use datafusion::sql::sqlparser::ast::Ident;

use crate::cursor::Cursor;
use crate::{Error, Result};

/// CREATE SCHEMA.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateSchema {
    /// Its name.
    pub name: Ident,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<CreateSchema> {
    let if_not_exists = cursor.if_not_exists();
    if cursor.peek_words(&["AUTHORIZATION"]) {
        return Err(Error::unsupported("CREATE SCHEMA AUTHORIZATION", cursor.here()));
    }
    let name = cursor.ident("a name for the schema")?;
    if !cursor.at_end() {
        let what = if cursor.peek_words(&["AUTHORIZATION"]) {
            "CREATE SCHEMA AUTHORIZATION"
        } else {
            "CREATE SCHEMA with elements"
        };
        return Err(Error::unsupported(what, cursor.here()));
    }
    Ok(CreateSchema { name, if_not_exists })
}
