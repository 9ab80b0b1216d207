//! `COMMENT ON kind name IS 'text' | NULL`.

use datafusion::sql::sqlparser::ast::ObjectName;

use crate::cursor::Cursor;
use crate::{Error, Result};

/// COMMENT ON.
#[derive(Clone, Debug, PartialEq)]
pub struct Comment {
    /// What it is about: a relation's name, or a relation's with a column's.
    pub name: ObjectName,
    /// The name ends with a column's.
    pub column: bool,
    /// The text; `None` takes the comment away.
    pub text: Option<String>,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<Comment> {
    let start = cursor.here();
    cursor.expect("COMMENT")?;
    cursor.expect("ON")?;
    let column = cursor.word("COLUMN");
    if !column && !cursor.words(&["MATERIALIZED", "VIEW"]) {
        let kinds = ["SOURCE", "STREAM", "TABLE", "VIEW", "SINK", "INDEX"];
        if cursor.one_of(&kinds).is_none() {
            for other in ["SCHEMA", "DATABASE", "FUNCTION", "EXTENSION", "ROLE", "TYPE", "CONSTRAINT"] {
                if cursor.peek_words(&[other]) {
                    return Err(Error::unsupported(&format!("COMMENT ON {other}"), start));
                }
            }
            return Err(cursor.unexpected("TABLE, VIEW, MATERIALIZED VIEW, SOURCE, STREAM, SINK, INDEX or COLUMN"));
        }
    }
    let name = cursor.name("a name")?;
    cursor.expect("IS")?;
    let text = if cursor.word("NULL") { None } else { Some(cursor.string("a text in quotes, or NULL")?) };
    Ok(Comment { name, column, text })
}
