//! `CREATE SOURCE [IF NOT EXISTS] name (columns …) [INCLUDE …] WITH (…)`.

use datafusion::sql::sqlparser::ast::ObjectName;

use super::columns::{self, Elements, IncludeClause};
use super::options::{self, Options};
use crate::Result;
use crate::cursor::Cursor;

/// CREATE SOURCE.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateSource {
    /// Its name.
    pub name: ObjectName,
    /// IF NOT EXISTS.
    pub if_not_exists: bool,
    /// Columns and watermark.
    pub elements: Elements,
    /// Metadata columns.
    pub includes: Vec<IncludeClause>,
    /// The WITH list.
    pub options: Options,
}

pub(crate) fn parse(cursor: &mut Cursor<'_>) -> Result<CreateSource> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.name("a name for the source")?;
    let elements = columns::parse(cursor)?;
    let includes = columns::parse_includes(cursor)?;
    let mut options = Options::default();
    options::parse(cursor, &mut options)?;
    Ok(CreateSource { name, if_not_exists, elements, includes, options })
}
