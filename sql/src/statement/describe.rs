//! `DESCRIBE name`: the columns of a relation.

use datafusion::sql::sqlparser::ast::ObjectName;

use crate::Result;
use crate::cursor::Cursor;

/// DESCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Describe {
    /// The relation.
    pub name: ObjectName,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Describe> {
    cursor.one_of(&["DESCRIBE", "DESC"]);
    if !cursor.words(&["MATERIALIZED", "VIEW"]) {
        cursor.one_of(&["SOURCE", "STREAM", "TABLE", "VIEW"]);
    }
    Ok(Describe { name: cursor.name("the name of a relation")? })
}
